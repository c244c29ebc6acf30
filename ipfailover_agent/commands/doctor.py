"""``doctor``: looks at this node and its network, changes nothing, says what to mend."""

from __future__ import annotations

import json
import os
import shlex
import time
from dataclasses import asdict
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ipfailover_agent import prepare
from ipfailover_agent.commands import peers_once, running
from ipfailover_agent.core.errors import (
    AgentError,
    ExitCode,
    HostNotReadyError,
    NotPermittedError,
    SettingsError,
)
from ipfailover_agent.core.model import family_of
from ipfailover_agent.core.network import asking, firewall, packet_filter, ruleset
from ipfailover_agent.core.rivalry import contexts
from ipfailover_agent.core.telling import diagnosis, doctor
from ipfailover_agent.core.telling.doctor import Finding, Verdict
from ipfailover_agent.report import terminal
from ipfailover_agent.system import asking as network
from ipfailover_agent.system import examining, host, process, wire
from ipfailover_agent.system import firewall as nft

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.network.ruleset import Chain
    from ipfailover_agent.core.rivalry.rivals import ContestContext
    from ipfailover_agent.prepare import Candidate, Options


def examine(options: Options, *, seconds: float, as_json: bool) -> int:
    """Print a line per finding; return 0, or 78 where something fails."""
    findings: list[Finding] = []
    for each in _findings(options, seconds):
        findings.append(each)
        if not as_json and not terminal.say(_line(each)):
            break
    if as_json:
        told = [{**asdict(each), "verdict": each.verdict.value} for each in findings]
        terminal.say(json.dumps({"findings": told}, indent=2))
    has_failed = any(each.verdict is Verdict.FAIL for each in findings)
    return int(ExitCode.CONFIG if has_failed else ExitCode.OK)


def _line(finding: Finding) -> str:
    text = f"{finding.verdict.value}  {finding.check}: {finding.text}"
    return f"{text}\n      {finding.advice}" if finding.advice else text


def _findings(options: Options, seconds: float) -> Iterator[Finding]:
    yield from _program()
    yield from _agent(options)
    candidate = None
    try:
        variables = prepare.read_variables(os.environ, options)
        candidate = prepare.build(variables.values, options, peers_once.Found(options))
    except SettingsError as error:
        for problem in error.problems:
            yield doctor.failed("settings", str(problem), "see `ipfailover-agent check`")
    except HostNotReadyError as error:
        yield doctor.failed("interface", str(error), "run would wait for it")
    except AgentError as error:
        yield doctor.failed("settings", str(error), "see `ipfailover-agent check`")
    if candidate is None:
        return
    count = len(candidate.config.instances)
    yield doctor.passed("settings", f"{count} instances on {candidate.config.interface}")
    for text in (*candidate.warnings, *candidate.config.degraded):
        yield doctor.warned("settings", text, "see `ipfailover-agent check`")
    yield from _interface(candidate)
    yield from _firewall(candidate)
    yield from _service(candidate)
    yield from _network(candidate, seconds)


def _program() -> Iterator[Finding]:
    try:
        yield doctor.of_capabilities(host.missing_capabilities())
    except AgentError as error:
        yield doctor.warned("capabilities", str(error), "run it as root on the node")
    try:
        program = process.find_program("keepalived", os.environ.get("PATH"))
    except AgentError:
        printed = ""
    else:
        printed = examining.output_of((program, "--version"), os.environ)
    yield from doctor.of_keepalived(printed)


def _agent(options: Options) -> Iterator[Finding]:
    try:
        pid = running.find_agent(options.run_directory)
        told = running.read_status(options.run_directory)
    except AgentError:
        yield doctor.passed("agent", "none runs with this run directory")
        return
    if told is None:
        yield doctor.warned("agent", f"pid {pid} tells no status", "wait a moment, look again")
    elif told["ready"]:
        yield doctor.passed("agent", f"pid {pid} runs and is ready")
    else:
        reasons = "; ".join(told["reasons"]) or told["phase"]
        yield doctor.warned(
            "agent", f"pid {pid} is not ready: {reasons}", "see `ipfailover-agent status`"
        )


def _interface(candidate: Candidate) -> Iterator[Finding]:
    config, facts = candidate.config, candidate.facts
    interface = facts.interface(config.interface)
    if interface is None:
        return
    state = examining.operstate(interface.name)
    yield doctor.of_link(interface.name, state, is_up=interface.is_up)
    yield doctor.of_subnets(config, facts)
    yield from doctor.of_other_holders(config, facts)
    yield from doctor.of_managers(interface.name, examining.managers(interface.index))
    yield from doctor.of_reverse_path(config, examining.reverse_path(interface.name))


def _firewall(candidate: Candidate) -> Iterator[Finding]:
    yield from doctor.of_firewall(
        _dropping_chains(candidate),
        is_managed=candidate.settings.manages_firewall,
        legacy=nft.legacy_tables(),
    )


def _dropping_chains(candidate: Candidate) -> list[Chain] | None:
    """Return base chains that may drop VRRP and hold no rule of ours; None: cannot be listed."""
    try:
        program = process.find_program("nft", os.environ.get("PATH"))
        printed = examining.output_of((program, *firewall.LIST_CHAINS), os.environ)
        if '"nftables"' not in printed:
            return None
        entries = [each for each in ruleset.read(printed) if each is not None]
        found = []
        for table in ruleset.tables_to_look_at(entries):
            text = examining.output_of((program, *firewall.list_table(table)), os.environ)
            if not text:
                return None
            listed = [each for each in ruleset.read(text) if each is not None]
            wanted = firewall.wanted_addresses(candidate.config)
            change = firewall.plan(
                listed, wanted, firewall.tag_for(candidate.settings.config_name)
            )
            names = {each.chain for each in change.inserted} if change else set[str]()
            names -= firewall.open_chains(listed, wanted)
            found += [
                each for each in ruleset.TableRules(listed).base_chains if each.name in names
            ]
    except (AgentError, ruleset.RulesetError):
        return None
    return found


def _service(candidate: Candidate) -> Iterator[Finding]:
    check = candidate.config.track_script or candidate.config.port_probes
    for each in () if check is None else check.ports:
        yield doctor.of_port(each.address, each.port, examining.connect(each.address, each.port))
    settings, facts = candidate.settings, candidate.facts
    for variable, command, state in (
        ("OPENSHIFT_HA_CHECK_SCRIPT", settings.check_script, facts.check_script),
        ("OPENSHIFT_HA_NOTIFY_SCRIPT", settings.notify_script, facts.notify_script),
    ):
        if command is not None and state is not None:
            path = shlex.split(command)[0]
            yield doctor.of_script(variable, path, state, examining.obstacle(path))


def _network(candidate: Candidate, seconds: float) -> Iterator[Finding]:
    """Listen and ask."""
    config = candidate.config
    try:
        macs = wire.host_macs()
        with wire.WireSocket(
            config.interface, packet_filter.kernel_filter(config.addresses)
        ) as socket:
            found = list(
                contexts.build(config, candidate.facts, mac=socket.mac, host_macs=macs).values()
            )
            peers, far = _peers(candidate)
            questions = _questions(candidate, socket.mac, (*config.addresses, *peers))
            began = time.time() - time.monotonic()
            packets, answers, late = network.listen(socket, questions, seconds)
            shift = time.time() - time.monotonic() - began
    except NotPermittedError as error:
        yield doctor.warned("network", str(error), "run it as root on the node")
        return
    except AgentError as error:
        advice = "nothing was listened to: mend that, or name another interface"
        yield doctor.warned("network", str(error), advice)
        return
    heard = diagnosis.Heard(
        seconds=seconds,
        packets=packets,
        answers={address: frozenset(each) - macs for address, each in answers.items()},
    )
    yield from _judged(found, peers, heard)
    yield from diagnosis.of_far_peers(far)
    yield doctor.of_clock(examining.clock_source(), shift)
    yield doctor.of_starvation(examining.pressure(), examining.throttled(), late)


def _judged(
    found: list[ContestContext], peers: tuple[IPAddress, ...], heard: diagnosis.Heard
) -> Iterator[Finding]:
    yield from diagnosis.of_wire(found, heard)
    yield from diagnosis.of_answers(found, heard, peers)
    yield from diagnosis.of_peers(found, peers, heard)


def _peers(candidate: Candidate) -> tuple[tuple[IPAddress, ...], tuple[IPAddress, ...]]:
    """Return the unicast peers on the interface's own networks, and those behind a router."""
    interface = candidate.facts.interface(candidate.config.interface)
    held = () if interface is None else interface.addresses
    networks = [ip_network(f"{each.address}/{each.prefix_length}", strict=False) for each in held]
    peers = dict.fromkeys(
        peer for each in candidate.config.instances for peer in each.unicast_peers
    )
    near = tuple(peer for peer in peers if any(peer in network for network in networks))
    return near, tuple(peer for peer in peers if peer not in near)


def _questions(
    candidate: Candidate, mac: bytes, targets: tuple[IPAddress, ...]
) -> dict[IPAddress, bytes]:
    """Return a question for each address, from an own address of its family."""
    own = {family_of(each): each for each in reversed(candidate.config.node_addresses)}
    return {
        target: asking.question(mac, own[family_of(target)], target)
        for target in targets
        if family_of(target) in own
    }
