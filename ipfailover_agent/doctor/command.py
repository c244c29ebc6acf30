"""``doctor``: examines this node and its network, changes nothing, names what to repair."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from ipfailover_agent import terminal
from ipfailover_agent.config import config_test, memory, prepare, reach, unicast, variables
from ipfailover_agent.conflict import contexts
from ipfailover_agent.doctor import (
    findings,
    firewall_findings,
    host_facts,
    network_findings,
    node_findings,
)
from ipfailover_agent.doctor.findings import CheckResult, Finding
from ipfailover_agent.errors import AgentError, ExitCode, HostNotReadyError, NotPermittedError
from ipfailover_agent.firewall import accept_rules, nft, nft_commands, ruleset
from ipfailover_agent.health import listener_socket
from ipfailover_agent.linux import host, process, sockets
from ipfailover_agent.linux.files import TERMINATION_LOG, write_termination_message
from ipfailover_agent.model import ConflictMode, MissingScript, family_of
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.peers import peers_once
from ipfailover_agent.status import running
from ipfailover_agent.text import counted, harmless
from ipfailover_agent.vrrp import bpf, packet_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from ipfailover_agent.config.memory import ActiveRecord
    from ipfailover_agent.config.prepare import Attempt, Candidate, Options
    from ipfailover_agent.firewall.ruleset import Chain, Table
    from ipfailover_agent.model import HostFacts, IPAddress

_INDENT: Final = " " * 6
_UNFOLDED: Final = 1 << 30  # columns, where no person looks at a terminal
_BOUND: Final = 10.0  # seconds that everything may take, unless more is to be listened
_LEAST: Final = 6.0  # seconds for everything but listening
_SHORTEST: Final = 0.3  # seconds that anything gets, when time is up
_NAMES_SECONDS: Final = 3.0
_VERSION_SECONDS: Final = 2.0
_RULES_SECONDS: Final = 3.0  # 20000 rules take nft 1.5 s
_TEST_SECONDS: Final = 2.0
_CONNECT_SECONDS: Final = 2.0
_WITHOUT: Final = {"listener": "an application that dies is found by the periodic check alone"}
_SEE_CHECK: Final = "see `ipfailover-agent check`"
_AS_ROOT: Final = "run it as root on the node"
_DENIED: Final = ("not permitted", "ermission denied")


def examine(options: Options, *, seconds: float, as_json: bool, tolerated: Collection[str]) -> int:
    """Print a line per finding, as it is found; return 0, or 78 where something fails.

    ``tolerated`` are checks that only warn.
    """
    found: list[Finding] = []
    columns = terminal.width() if terminal.is_terminal() else _UNFOLDED
    for each in _findings(_Facts(options, seconds)):
        finding = findings.tolerated(each, tolerated)
        found.append(finding)
        if not as_json:
            terminal.say(_lines(finding, columns))  # unread or not, the exit code counts them all
    if as_json:
        shown = [{**asdict(each), "verdict": each.verdict.value} for each in found]
        terminal.say(json.dumps({"findings": shown}, indent=2))
    failed = [each for each in found if each.verdict is CheckResult.FAIL]
    if failed and os.getpid() == 1:  # a container of its own, not beside an agent
        text = "\n".join(_lines(each, _UNFOLDED) for each in failed)
        write_termination_message(TERMINATION_LOG, text)
    return int(ExitCode.CONFIG if failed else ExitCode.OK)


def _lines(finding: Finding, columns: int) -> str:
    """Return a line, and one of advice, for so many columns."""
    text = harmless(f"{finding.verdict.value}  {finding.check}: {finding.text}")
    lines = terminal.fold(text, columns, indent=_INDENT)
    if finding.advice:
        lines += terminal.fold(harmless(finding.advice), columns, indent=_INDENT, lead=_INDENT)
    return "\n".join(lines)


def _findings(facts: _Facts) -> Iterator[Finding]:
    """Yield the findings of every check, one at least of each."""
    judged: set[str] = set()
    for names, judge in _CHECKS:
        reason, advice = "nothing is known of it", ""
        try:
            for each in judge(facts):
                judged.add(each.check)
                yield each
        except AgentError as error:
            reason, advice = str(error), _AS_ROOT if isinstance(error, NotPermittedError) else ""
        left = [name for name in names if name not in judged]
        yield from findings.all_skipped(left, reason, advice)


# --- what several checks ask for ----------------------------------------------------------------


class _UnknownError(AgentError):
    """A fact is not known, and the message says why."""


class _Configuration(Struct, frozen=True, kw_only=True):
    """What became of the settings.

    Attributes:
        names: the answers of DNS.
        attempt: where the node lacks the peers alone, the one as if there were no names.
        not_ready: what the node lacks, though the settings can be used.
    """

    names: peers_once.Found
    attempt: Attempt
    not_ready: HostNotReadyError | None = None

    @property
    def lacks_peers(self) -> bool:
        """Return whether the node lacks the peers alone."""
        return self.not_ready is not None and self.not_ready.problem.variable == unicast.NAMES


class _Facts:
    """The facts; each is collected when a check asks for it, and kept where several do."""

    def __init__(self, options: Options, seconds: float) -> None:
        self._options = options
        self.run_directory = options.run_directory
        self.seconds = seconds  # to listen for
        self._end = time.monotonic() + max(_BOUND - seconds, _LEAST)
        self.late: float | None = None  # seconds that this process woke too late, while listening
        self.shift = 0.0  # seconds by which the wall clock was set meanwhile

    def at_most(self, seconds: float) -> float:
        """Return ``seconds`` or what is left: one thing that hangs does not stop the rest."""
        return max(min(seconds, self._end - time.monotonic()), _SHORTEST)

    @functools.cached_property
    def agent_record(self) -> ActiveRecord | None:
        """Return the record of the agent that runs here, None where there are own variables."""
        if self._options.config or any(map(variables.is_contract, os.environ)):
            return None
        record = memory.read_active(RunPaths(directory=self.run_directory, config="").active)
        return record if record and running.wrote(record, self.agent_pid) else None

    @functools.cached_property
    def agent_pid(self) -> int:
        """Return the pid of the agent that runs with the run directory, 0 where none does."""
        return running.find_agent(self.run_directory, must_run=False)

    @functools.cached_property
    def agent_status(self) -> Mapping[str, Any] | None:
        """Return the status of the agent that runs here, None where none does or shows it."""
        return running.read_status(self.run_directory) if self.agent_pid else None

    @functools.cached_property
    def configuration(self) -> _Configuration:
        """Return what became of the settings, and what was asked of DNS for them."""
        environment: Mapping[str, str] = os.environ
        options = self._options
        if self.agent_record is not None:
            environment, options = prepare.as_recorded(self.agent_record, options)
        names = peers_once.Found(options, self.at_most(_NAMES_SECONDS))
        attempt = prepare.attempt(environment, options, names)
        not_ready = attempt.outcome if isinstance(attempt.outcome, HostNotReadyError) else None
        found = _Configuration(names=names, attempt=attempt, not_ready=not_ready)
        read = attempt.variables
        if read is not None and found.lacks_peers:
            without = replace(read, values={**read.values, unicast.NAMES: ""})
            with contextlib.suppress(AgentError):
                candidate = prepare.build(without, options, names)
                return replace(found, attempt=replace(attempt, outcome=candidate))
        return found

    @property
    def candidate(self) -> Candidate:
        """Return the candidate; a check that asks for it where there is none is skipped."""
        found = self.configuration.attempt.candidate
        if found is None:
            raise _UnknownError("there is no configuration to look with")
        return found


# --- the program and the agent ------------------------------------------------------------------


def _capabilities(_facts: _Facts) -> Iterator[Finding]:
    yield node_findings.judge_capabilities(host.missing_capabilities())


def _keepalived(facts: _Facts) -> Iterator[Finding]:
    try:
        program = process.find_program("keepalived", os.environ.get("PATH"))
    except AgentError:
        return node_findings.judge_keepalived(None)
    seconds = facts.at_most(_VERSION_SECONDS)
    printed = host_facts.output_of((program, "--version"), seconds)
    return node_findings.judge_keepalived(printed or "")


def _agent(facts: _Facts) -> Iterator[Finding]:
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
        text = f"pid {pid} is not ready: {reasons}{whose}"
        yield findings.warned("agent", text, "see `ipfailover-agent status`")
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


def _settings(facts: _Facts) -> Iterator[Finding]:
    """Judge the settings, and what DNS answered for them; where the node is not ready, say so."""
    found, attempt = facts.configuration, facts.configuration.attempt
    if attempt.problems and found.not_ready is None:
        for problem in attempt.problems:
            yield findings.failed("settings", problem, _SEE_CHECK)
        yield findings.skipped("dns", "no usable settings")
        return
    if attempt.candidate is None:
        yield findings.passed("settings", "they can be used")
    else:
        config = attempt.candidate.config
        text = f"{counted(len(config.addresses), 'address')} in "
        text += f"{counted(len(config.instances), 'instance')} on {config.interface}"
        yield findings.passed("settings", text)
        for each in dict.fromkeys(attempt.warnings):
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


def _config(facts: _Facts) -> Iterator[Finding]:
    candidate = facts.candidate
    if os.geteuid():  # scripts that are not its user's are insecure to keepalived (2.2.7)
        yield findings.skipped("config", "keepalived judges scripts as root only", _AS_ROOT)
        return
    try:
        complaints = config_test.complaints(candidate, facts.at_most(_TEST_SECONDS))
        yield node_findings.judge_config(complaints)
    except subprocess.TimeoutExpired:
        yield findings.skipped("config", "keepalived takes too long", _SEE_CHECK)


def _password(facts: _Facts) -> Iterator[Finding]:
    yield node_findings.judge_password(facts.candidate.settings, facts.candidate.config)


# --- this node ----------------------------------------------------------------------------------


def _interface(facts: _Facts) -> Iterator[Finding]:
    candidate = facts.candidate
    settings, config = candidate.settings, candidate.config
    # the plan did not need all addresses
    resolved = candidate.facts.resolved_peers or ()
    node = prepare.look_at_host(settings, candidate.paths, resolved, is_whole=True)
    interface = node.interface(config.interface)
    if interface is None:
        yield findings.failed("interface", f"{config.interface} is gone", "run waits for it")
        return
    name = interface.name
    state = host_facts.read(f"/sys/class/net/{name}/operstate")
    yield node_findings.judge_link(name, state, is_up=interface.is_up)
    arp_ignore = host.ipv4_setting("arp_ignore", name) or 0
    yield from node_findings.judge_reach(config, node, arp_ignore)
    yield node_findings.judge_subnets(settings, config, node)
    yield node_findings.judge_routers(settings, node, host_facts.next_hops())
    yield from node_findings.judge_other_holders(config, node)
    found = host_facts.managers(name, interface.index)
    yield from node_findings.judge_managers(name, found, config.address_lease)
    strictness = host.ipv4_setting("rp_filter", name)
    yield node_findings.judge_reverse_path(config, node, strictness)


def _firewall(facts: _Facts) -> Iterator[Finding]:
    owned = nft.owned_tables()
    try:
        closed = _closed_chains(facts, owned)
    except (AgentError, ruleset.RulesetError) as error:
        is_denied = isinstance(error, AgentError) or any(each in str(error) for each in _DENIED)
        yield firewall_findings.judge_unlisted_rules(str(error), is_denied=is_denied)
    else:
        yield from firewall_findings.judge_chains(
            closed,
            is_managed=facts.candidate.settings.manages_firewall,
            is_running=facts.agent_pid != 0,
            owned=owned,
        )
    yield from firewall_findings.judge_legacy(nft.legacy_tables())


def _closed_chains(facts: _Facts, owned: Collection[Table]) -> list[Chain]:
    """Return base chains that may drop VRRP and hold no rule that lets it in.

    nft 1.0.6 shows an owned table with whatever lies in memory, at times no JSON: then its
    chains of input and output count as such.

    Raises:
        RulesetError, AgentError: nft cannot list the rules.
    """
    config = facts.candidate.config
    program = process.find_program("nft", os.environ.get("PATH"))
    tag = accept_rules.tag_for(facts.candidate.settings.config_name)
    ends_at = time.monotonic() + facts.at_most(_RULES_SECONDS)

    def entries(arguments: tuple[str, ...]) -> list[ruleset.Entry]:
        left = max(ends_at - time.monotonic(), _SHORTEST)
        printed = host_facts.output_of((program, *arguments), left)
        if printed is None:
            raise ruleset.RulesetError("nft does not end, or cannot be run")
        if '"nftables"' not in printed:
            lines = printed.strip().splitlines()
            what = repr(lines[0][:120]) if lines else "nothing"
            raise ruleset.RulesetError(f"nft prints {what}")
        return [each for each in ruleset.read(printed) if each is not None]

    found: list[Chain] = []
    listed = entries(nft_commands.LIST_CHAINS)
    for table in firewall_findings.passed_tables(listed, config.interface):
        try:
            listed_rules = entries(nft_commands.list_table(table))
            found += firewall_findings.closed_chains(listed_rules, config, tag)
        except ruleset.RulesetError:
            if table not in owned:
                raise
            chains = (each for each in listed if isinstance(each, ruleset.Chain))
            found += (each for each in chains if each.table == table and each.takes_rules)
    return found


def _ports(facts: _Facts) -> Iterator[Finding]:
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


def _scripts(facts: _Facts) -> Iterator[Finding]:
    settings, node = facts.candidate.settings, facts.candidate.facts
    check, notify = "OPENSHIFT_HA_CHECK_SCRIPT", "OPENSHIFT_HA_NOTIFY_SCRIPT"
    for variable, command, state, missing in (
        (check, settings.check_script, node.check_script, settings.check_script_missing),
        (notify, settings.notify_script, node.notify_script, MissingScript.IGNORE),
    ):
        if command is not None and state is not None:
            path = shlex.split(command)[0]
            obstacle = host_facts.obstacle(path)
            yield node_findings.judge_script(variable, path, state, obstacle, missing)
    if node.check_script is None and node.notify_script is None:
        yield findings.skipped("script", "no script is set")


def _machine(facts: _Facts) -> Iterator[Finding]:
    yield node_findings.judge_clock(host_facts.clock_source(), facts.shift)
    pressure = host.cpu_share().pressure
    yield node_findings.judge_starvation(pressure, host.throttled(), facts.late)


# --- the network --------------------------------------------------------------------------------


def _wire(facts: _Facts) -> Iterator[Finding]:
    network = _observe(facts)
    yield from network_findings.judge_wire(network, _why_unshielded(facts))
    yield network_findings.judge_multicast(network)
    yield from network_findings.judge_answers(network)
    yield from network_findings.judge_peers(network)


def _observe(facts: _Facts) -> network_findings.ObservedNetwork:
    """Listen and ask; return what came in."""
    config, node = facts.candidate.config, facts.candidate.facts
    if facts.configuration.lacks_peers:
        raise _UnknownError("the peers are not known")
    name = config.interface
    networks = reach.networks(config, node.interface(name))
    peers = dict.fromkeys(peer for each in config.instances for peer in each.unicast_peers)
    near = tuple(peer for peer in peers if any(peer in network for network in networks))
    own = contexts.askers(config, node)
    askers = {family_of(each.address): each.address for each in reversed(own)}
    macs = packet_socket.host_macs()
    with packet_socket.PacketSocket(name, bpf.kernel_filter(config.addresses)) as socket:
        found = contexts.build(config, node, mac=socket.mac, host_macs=macs)
        targets = tuple(dict.fromkeys((*config.addresses, *near)))
        began = time.time() - time.monotonic()
        packets, answers, late = host_facts.listen(socket, askers, targets, facts.seconds)
        shift = time.time() - time.monotonic() - began
        after = prepare.look_for((), (name,))
    facts.late, facts.shift = late, shift
    return network_findings.ObservedNetwork(
        contexts=tuple(found.values()),
        near=near,
        far=tuple(peer for peer in peers if peer not in near),
        seconds=facts.seconds,
        packets=packets,
        answers={address: frozenset(each) - macs for address, each in answers.items()},
        held=frozenset(config.addresses) & _present(node, name) & _present(after, name),
        neighbours=host_facts.neighbours(),
    )


def _present(node: HostFacts, name: str) -> frozenset[IPAddress]:
    """Return the addresses of an interface."""
    interface = node.interface(name)
    return frozenset(each.address for each in interface.addresses) if interface else frozenset()


def _why_unshielded(facts: _Facts) -> str:
    """Return why foreign adverts for these ids reach keepalived; nothing where they do not."""
    settings, status = facts.candidate.settings, facts.agent_status
    if settings.conflict is not ConflictMode.RESOLVE:
        return "OPENSHIFT_HA_CONFLICT is not resolve"
    if not settings.shield:
        return "OPENSHIFT_HA_SHIELD=off"
    if status is None:
        return "another VRRP program runs on this node" if sockets.vrrp_sockets() else ""
    return "".join(each["reason"] for each in status["protections"] if each["kind"] == "shield")


# --- the table ----------------------------------------------------------------------------------

_CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[_Facts], Iterator[Finding]]], ...]] = (
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
    (("clock", "cpu"), _machine),
)
"""Names of checks, and what judges them, in the order of the lines.

A check that asks for a fact which is not known is skipped.
"""

CHECKS: Final = tuple(name for names, _ in _CHECKS for name in names)
"""Every check; each has a line at least."""
