"""``doctor``: examines this node and its network, changes nothing, names what to repair."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict

from ipfailover_agent import terminal
from ipfailover_agent.config import config_test, unicast
from ipfailover_agent.doctor import (
    findings,
    firewall_findings,
    host_facts,
    managers,
    network_findings,
    node_findings,
)
from ipfailover_agent.doctor.doctor_facts import AS_ROOT, Facts, UnknownError
from ipfailover_agent.doctor.findings import CheckResult, Finding
from ipfailover_agent.errors import AgentError, ExitCode
from ipfailover_agent.firewall import nft
from ipfailover_agent.firewall.ruleset import RulesetError
from ipfailover_agent.health import listener_socket
from ipfailover_agent.linux import host
from ipfailover_agent.linux.files import TERMINATION_LOG, write_termination_message
from ipfailover_agent.status import running
from ipfailover_agent.text import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from ipfailover_agent.config.prepare import Options
    from ipfailover_agent.peers import peers_once

_INDENT: Final = " " * 6
_TEST_SECONDS: Final = 2.0
_CONNECT_SECONDS: Final = 2.0
_WITHOUT: Final = {"listener": "an application that dies is found by the periodic check alone"}
_SEE_CHECK: Final = "see `ipfailover-agent check`"
_DENIED: Final = ("not permitted", "ermission denied")


def examine(
    options: Options, *, seconds: float, as_json: bool, tolerated: Collection[str] = ()
) -> int:
    """Print a line per finding, as it is found; return 0, or 78 where something fails.

    ``tolerated`` are checks that only warn.
    """
    found: list[Finding] = []
    columns = terminal.width() if terminal.is_terminal() else None
    for each in _findings(Facts(options, seconds)):
        finding = findings.tolerated(each, tolerated)
        found.append(finding)
        if not as_json:
            terminal.say(_lines(finding, columns))  # unread or not, the exit code counts them all
    if as_json:
        shown = [{**asdict(each), "verdict": each.verdict.value} for each in found]
        terminal.say(json.dumps({"findings": shown}, indent=2))
    failed = [each for each in found if each.verdict is CheckResult.FAIL]
    if failed and os.getpid() == 1:  # a container of its own, not beside an agent
        write_termination_message(
            TERMINATION_LOG, "\n".join(_lines(each, None) for each in failed)
        )
    return int(ExitCode.CONFIG if failed else ExitCode.OK)


def _lines(finding: Finding, columns: int | None) -> str:
    """Return a line, and one of advice; folded where a person looks at a terminal."""
    text = harmless(f"{finding.verdict.value}  {finding.check}: {finding.text}")
    advice = harmless(finding.advice)
    if columns is None:
        return f"{text}\n{_INDENT}{advice}" if advice else text
    lines = terminal.fold(text, columns, indent=_INDENT)
    if advice:
        lines += terminal.fold(advice, columns, indent=_INDENT, lead=_INDENT)
    return "\n".join(lines)


def _findings(facts: Facts) -> Iterator[Finding]:
    """Yield the findings of every check, one at least of each."""
    judged: set[str] = set()
    for names, judge in _CHECKS:
        reason, advice = "nothing is known of it", ""
        try:
            for each in judge(facts):
                judged.add(each.check)
                yield each
        except UnknownError as error:
            reason, advice = str(error), error.advice
        left = [name for name in names if name not in judged]
        yield from findings.all_skipped(left, reason, advice)


# --- the program and the agent ------------------------------------------------------------------


def _capabilities(_facts: Facts) -> Iterator[Finding]:
    try:
        yield node_findings.judge_capabilities(host.missing_capabilities())
    except AgentError as error:
        yield findings.skipped("capabilities", str(error), AS_ROOT)


def _keepalived(facts: Facts) -> Iterator[Finding]:
    return node_findings.judge_keepalived(facts.keepalived_version())


def _agent(facts: Facts) -> Iterator[Finding]:
    pid, status = facts.agent_pid, facts.agent_status
    if not pid:
        yield findings.passed("agent", "none runs with this run directory")
        return
    whose = "; its variables are looked at" if facts.agent_record else ""
    if status is None:
        unseen = running.unseen(facts.run_directory, pid)
        yield findings.warned("agent", f"{unseen}{whose}", "wait a moment, look again")
    elif status["ready"]:
        yield findings.passed("agent", f"pid {pid} runs and is ready{whose}")
    else:
        reasons = "; ".join(status["reasons"]) or status["phase"]
        yield findings.warned(
            "agent", f"pid {pid} is not ready: {reasons}{whose}", "see `ipfailover-agent status`"
        )
    yield from _hindered(status or {})


def _hindered(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Report what an agent would do and cannot, and what it keeps from serving on purpose."""
    for each in status.get("protections", ()):
        if not each["active"] and each["reason"]:
            text = f"its protection {each['kind']} is off: {each['reason']}"
            advice = _WITHOUT.get(each["kind"], "two nodes may hold an address for longer")
            yield findings.warned("agent", text, advice)
    for each in status.get("instances", ()):
        if each["held"]:
            text = f"{each['name']} is held in FAULT: {each['held']}"
            yield findings.warned("agent", text, "mend that; it is let go by itself")


# --- the configuration --------------------------------------------------------------------------


def _settings(facts: Facts) -> Iterator[Finding]:
    """Judge the settings, and what DNS answered for them; where the node is not ready, say so."""
    found = facts.configuration
    if found.problems:
        for problem in found.problems:
            yield findings.failed("settings", problem, _SEE_CHECK)
        yield findings.skipped("dns", "no usable settings")
        return
    if found.candidate is None:
        yield findings.passed("settings", "they can be used")
    else:
        config = found.candidate.config
        count = len(config.addresses)
        noun = "address" if count == 1 else "addresses"
        instances = "instance" if len(config.instances) == 1 else "instances"
        text = f"{count} {noun} in {len(config.instances)} {instances} on {config.interface}"
        yield findings.passed("settings", text)
        warnings = (*found.warnings, *found.candidate.warnings, *config.degraded)
        for each in dict.fromkeys(warnings):
            yield findings.warned("settings", each, _SEE_CHECK)
    if not found.lacks_peers:
        yield from _names(found.names)
    if found.not_ready is not None:
        lacking = "dns" if found.lacks_peers else "interface"
        yield findings.failed(lacking, str(found.not_ready), "run waits for it")


def _names(names: peers_once.Found) -> Iterator[Finding]:
    """Say what was asked of DNS, and what came back."""
    if not names.answers:
        yield findings.skipped("dns", f"{unicast.NAMES} is not set")
    for each in names.answers:
        if not each.failure:
            yield findings.passed("dns", str(each))
    for text in names.warnings:
        yield findings.warned("dns", text, "mend DNS, or list addresses instead")


def _config(facts: Facts) -> Iterator[Finding]:
    candidate = facts.candidate
    if os.geteuid():  # scripts that are not its user's are insecure to keepalived (2.2.7)
        yield findings.skipped("config", "keepalived judges scripts as root only", AS_ROOT)
        return
    try:
        complaints = config_test.complaints(candidate, facts.at_most(_TEST_SECONDS))
        yield node_findings.judge_config(complaints)
    except subprocess.TimeoutExpired:
        yield findings.skipped("config", "keepalived takes too long", _SEE_CHECK)
    except AgentError as error:
        yield findings.skipped("config", str(error))


def _password(facts: Facts) -> Iterator[Finding]:
    yield node_findings.judge_password(facts.candidate.settings, facts.candidate.config)


# --- this node ----------------------------------------------------------------------------------


def _interface(facts: Facts) -> Iterator[Finding]:
    settings, config, node = facts.candidate.settings, facts.candidate.config, facts.host
    interface = node.interface(config.interface)
    if interface is None:
        yield findings.failed("interface", f"{config.interface} is gone", "run waits for it")
        return
    name = interface.name
    state = host_facts.operstate(name)
    yield node_findings.judge_link(name, state, is_up=interface.is_up)
    arp_ignore = host.ipv4_setting("arp_ignore", name) or 0
    yield from node_findings.judge_reach(config, node, arp_ignore)
    yield node_findings.judge_subnets(settings, config, node)
    yield node_findings.judge_routers(settings, node, host_facts.next_hops())
    yield from node_findings.judge_other_holders(config, node)
    found = host_facts.managers(name, interface.index)
    yield from managers.judge_managers(name, found, config.address_lease)
    strictness = host.ipv4_setting("rp_filter", name)
    yield node_findings.judge_reverse_path(config, node, strictness)


def _firewall(facts: Facts) -> Iterator[Finding]:
    settings = facts.candidate.settings
    try:
        closed = facts.closed_chains()
    except (AgentError, RulesetError) as error:
        is_denied = isinstance(error, AgentError) or any(each in str(error) for each in _DENIED)
        yield firewall_findings.judge_unlisted_rules(str(error), is_denied=is_denied)
    else:
        yield from firewall_findings.judge_chains(
            closed,
            is_managed=settings.manages_firewall,
            is_running=facts.agent_pid != 0,
            owned=facts.owned_tables,
        )
    yield from firewall_findings.judge_legacy(nft.legacy_tables())


def _ports(facts: Facts) -> Iterator[Finding]:
    config = facts.candidate.config
    probes = config.track_script or config.port_probes
    ports = () if probes is None else probes.ports
    if not ports:
        yield node_findings.judge_ports(facts.candidate.settings)
    if config.port_probes is not None and config.port_probes.listeners:
        yield from node_findings.judge_listeners(listener_socket.refusal())
    for each, error in host_facts.connect(ports, facts.at_most(_CONNECT_SECONDS)).items():
        listeners = host_facts.listeners(each.port)
        yield node_findings.judge_port(each.address, each.port, error, listeners, config.addresses)


def _scripts(facts: Facts) -> Iterator[Finding]:
    settings, node = facts.candidate.settings, facts.candidate.facts
    if settings.check_script is not None and node.check_script is not None:
        path = shlex.split(settings.check_script)[0]
        yield node_findings.judge_check_script(
            path, node.check_script, host_facts.obstacle(path), settings.check_script_missing
        )
    if settings.notify_script is not None and node.notify_script is not None:
        path = shlex.split(settings.notify_script)[0]
        yield node_findings.judge_script(
            "OPENSHIFT_HA_NOTIFY_SCRIPT", path, node.notify_script, host_facts.obstacle(path)
        )
    if node.check_script is None and node.notify_script is None:
        yield findings.skipped("script", "no script is set")


def _clock(facts: Facts) -> Iterator[Finding]:
    yield node_findings.judge_clock(host_facts.clock_source(), facts.shift)


def _cpu(facts: Facts) -> Iterator[Finding]:
    pressure = host.cpu_share().pressure
    yield node_findings.judge_starvation(pressure, host.throttled(), facts.late)


# --- the network --------------------------------------------------------------------------------


def _wire(facts: Facts) -> Iterator[Finding]:
    network = facts.network()
    unshielded = facts.why_unshielded()
    yield from network_findings.judge_wire(network.contexts, network.heard, unshielded)
    yield network_findings.judge_multicast(network.contexts, network.heard)
    yield from network_findings.judge_answers(network.contexts, network.heard, network.near)
    yield from network_findings.judge_peers(
        network.contexts, network.near, network.far, network.heard
    )


# --- the table ----------------------------------------------------------------------------------

_CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[Facts], Iterator[Finding]]], ...]] = (
    (("capabilities",), _capabilities),
    (("keepalived", "build"), _keepalived),
    (("agent",), _agent),
    (("settings", "dns"), _settings),
    (("config",), _config),
    (("password",), _password),
    (("interface", "subnet", "router", "elsewhere", "manager", "rp_filter"), _interface),
    (("firewall",), _firewall),
    (("port",), _ports),
    (("script",), _scripts),
    (("rivals", "ids", "holders", "multicast", "answers", "peers"), _wire),
    (("clock",), _clock),
    (("cpu",), _cpu),
)
"""Names of checks, and what judges them, in the order of the lines.

A check that asks for a fact which is not known is skipped.
"""

CHECKS: Final = tuple(name for names, _ in _CHECKS for name in names)
"""Every check; each has a line at least."""
