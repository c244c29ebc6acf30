"""What ``doctor`` looks at once it has a configuration: this node, and its network."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from ipfailover_agent import prepare
from ipfailover_agent.commands import check
from ipfailover_agent.core.errors import AgentError, NotPermittedError
from ipfailover_agent.core.model import ConflictMode, family_of
from ipfailover_agent.core.network import accept_rules, bpf, ruleset, vrrp_chains
from ipfailover_agent.core.rivalry import contexts
from ipfailover_agent.core.telling import (
    findings,
    firewall_findings,
    managers,
    network_findings,
    node_findings,
)
from ipfailover_agent.system import (
    examining,
    host,
    listener_socket,
    network_survey,
    nft,
    nftables,
    packet_socket,
    process,
    raw_sockets,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ipfailover_agent.core.model import HostFacts, IPAddress
    from ipfailover_agent.core.network.ruleset import Chain, Table
    from ipfailover_agent.core.rivalry.rivals import ContestContext
    from ipfailover_agent.core.telling.findings import Finding
    from ipfailover_agent.prepare import Candidate

_BOUND: Final = 10.0  # seconds that everything may take, unless more is to be listened
_LEAST: Final = 6.0  # seconds for everything but listening
_SHORTEST: Final = 0.3  # seconds that anything gets, when time is up
_TEST_SECONDS: Final = 2.0
_RULES_SECONDS: Final = 3.0  # 20000 rules take nft 1.5 s
_CONNECT_SECONDS: Final = 2.0
_AS_ROOT: Final = "run it as root on the node"
_DENIED: Final = ("not permitted", "ermission denied")


class Deadline:
    """Shares out the time, so that one thing that hangs does not stop the rest."""

    def __init__(self, listening: float) -> None:
        self._end = time.monotonic() + max(_BOUND - listening, _LEAST)

    def at_most(self, seconds: float) -> float:
        """Return how long something may take, ``seconds`` or what is left."""
        return max(min(seconds, self._end - time.monotonic()), _SHORTEST)


# --- this node ----------------------------------------------------------------------------------


def node(candidate: Candidate, deadline: Deadline, *, is_running: bool) -> Iterator[Finding]:
    """Look at this node, for what the configuration needs of it; ``is_running``: an agent runs."""
    yield _tested(candidate, deadline)
    yield node_findings.judge_password(candidate.settings, candidate.config)
    yield from _interface(candidate)
    yield from _firewall(candidate, deadline, is_running=is_running)
    yield from _ports(candidate, deadline)
    yield from _scripts(candidate)


def machine(late: float | None = None, shift: float = 0.0) -> Iterator[Finding]:
    """Look at clock and processor; ``late`` and ``shift`` as they were seen while listening."""
    yield node_findings.judge_clock(examining.clock_source(), shift)
    yield node_findings.judge_starvation(examining.pressure(), examining.throttled(), late)


def _tested(candidate: Candidate, deadline: Deadline) -> Finding:
    if os.geteuid():  # scripts that are not its user's are insecure to keepalived (2.2.7)
        return findings.skipped("config", "keepalived judges scripts as root only", _AS_ROOT)
    try:
        return node_findings.judge_config(
            check.complaints(candidate, deadline.at_most(_TEST_SECONDS))
        )
    except subprocess.TimeoutExpired:
        return findings.skipped(
            "config", "keepalived takes too long", "see `ipfailover-agent check`"
        )
    except AgentError as error:
        return findings.skipped("config", str(error))


def _interface(candidate: Candidate) -> Iterator[Finding]:
    config, resolved = candidate.config, candidate.facts.resolved_peers or ()
    # The plan did not need the addresses of every interface.
    facts = prepare.look_at_host(candidate.settings, candidate.paths, resolved, is_whole=True)
    interface = facts.interface(config.interface)
    if interface is None:  # it is what the plan was made for
        return
    state = examining.operstate(interface.name)
    yield node_findings.judge_link(interface.name, state, is_up=interface.is_up)
    yield from node_findings.judge_reach(
        config, facts, host.ipv4_setting("arp_ignore", interface.name) or 0
    )
    yield node_findings.judge_subnets(candidate.settings, config, facts)
    yield node_findings.judge_routers(candidate.settings, facts, examining.next_hops())
    yield from node_findings.judge_other_holders(config, facts)
    found = examining.managers(interface.name, interface.index)
    yield from managers.judge_managers(interface.name, found, config.address_lease)
    strictness = host.ipv4_setting("rp_filter", interface.name)
    yield node_findings.judge_reverse_path(config, facts, strictness)


def _firewall(candidate: Candidate, deadline: Deadline, *, is_running: bool) -> Iterator[Finding]:
    owned = nftables.owned_tables()
    try:
        closed = _closed_chains(candidate, deadline, owned)
    except (_UnlistedError, AgentError, ruleset.RulesetError) as error:
        is_denied = isinstance(error, AgentError) or any(each in str(error) for each in _DENIED)
        yield firewall_findings.judge_unlisted_rules(str(error), is_denied=is_denied)
    else:
        yield from firewall_findings.judge_chains(
            closed,
            is_managed=candidate.settings.manages_firewall,
            is_running=is_running,
            owned=owned,
        )
    yield from firewall_findings.judge_legacy(nft.legacy_tables())


class _UnlistedError(Exception):
    """What nft printed is no list of rules."""


def _closed_chains(
    candidate: Candidate, deadline: Deadline, owned: Collection[Table]
) -> list[Chain]:
    """Return base chains that may drop VRRP and hold no rule that lets it in.

    nft 1.0.6 shows a table that is ``owned`` with whatever lies in memory, at times no JSON: then
    its chains of input and output count as such.
    """
    program = process.find_program("nft", os.environ.get("PATH"))
    config = candidate.config
    tag = accept_rules.tag_for(candidate.settings.config_name)
    ends_at = time.monotonic() + deadline.at_most(_RULES_SECONDS)

    def entries(arguments: tuple[str, ...]) -> list[ruleset.Entry]:
        left = max(ends_at - time.monotonic(), _SHORTEST)
        printed = examining.output_of((program, *arguments), os.environ, left)
        if printed is None:
            raise _UnlistedError("nft does not end, or cannot be run")
        if '"nftables"' not in printed:
            said = printed.strip().splitlines()
            raise _UnlistedError(f"nft prints {said[0][:120]!r}" if said else "nft prints nothing")
        return [each for each in ruleset.read(printed) if each is not None]

    found: list[Chain] = []
    listed = entries(accept_rules.LIST_CHAINS)
    for table in vrrp_chains.tables(listed, config.interface):
        try:
            found += vrrp_chains.closed_chains(
                entries(accept_rules.list_table(table)), config, tag
            )
        except (_UnlistedError, ruleset.RulesetError):
            if table not in owned:
                raise
            chains = (each for each in listed if isinstance(each, ruleset.Chain))
            found += (each for each in chains if each.table == table and each.takes_rules)
    return found


def _ports(candidate: Candidate, deadline: Deadline) -> Iterator[Finding]:
    probes = candidate.config.track_script or candidate.config.port_probes
    ports = () if probes is None else probes.ports
    if not ports:
        yield node_findings.judge_ports(candidate.settings)
    watched = candidate.config.port_probes
    if watched is not None and watched.listeners:
        yield from node_findings.judge_listeners(listener_socket.refusal())
    for each, error in examining.connect(ports, deadline.at_most(_CONNECT_SECONDS)).items():
        yield node_findings.judge_port(
            each.address,
            each.port,
            error,
            examining.listeners(each.port),
            candidate.config.addresses,
        )


def _scripts(candidate: Candidate) -> Iterator[Finding]:
    settings, facts = candidate.settings, candidate.facts
    if settings.check_script is not None and facts.check_script is not None:
        path = shlex.split(settings.check_script)[0]
        yield node_findings.judge_check_script(
            path, facts.check_script, examining.obstacle(path), settings.check_script_missing
        )
    if settings.notify_script is not None and facts.notify_script is not None:
        path = shlex.split(settings.notify_script)[0]
        yield node_findings.judge_script(
            "OPENSHIFT_HA_NOTIFY_SCRIPT", path, facts.notify_script, examining.obstacle(path)
        )
    if facts.check_script is None and facts.notify_script is None:
        yield findings.skipped("script", "no script is set")


# --- the network --------------------------------------------------------------------------------


def network(
    candidate: Candidate, seconds: float, told: Mapping[str, Any] | None = None
) -> Iterator[Finding]:
    """Listen and ask; then report how punctual this process was, too.

    ``told`` is the status of the agent that runs here, None where none does.
    """
    config = candidate.config
    try:
        macs = packet_socket.host_macs()
        program = bpf.kernel_filter(config.addresses)
        with packet_socket.PacketSocket(config.interface, program) as socket:
            found = list(
                contexts.build(config, candidate.facts, mac=socket.mac, host_macs=macs).values()
            )
            near, far = _peers(candidate)
            askers = _askers(candidate)
            targets = tuple(dict.fromkeys((*config.addresses, *near)))
            began = time.time() - time.monotonic()
            packets, answers, late = network_survey.listen(socket, askers, targets, seconds)
            shift = time.time() - time.monotonic() - began
            after = prepare.look_for((), (config.interface,))
    except AgentError as error:
        advice = _AS_ROOT if isinstance(error, NotPermittedError) else ""
        yield from findings.all_skipped(findings.WIRE_CHECKS, str(error), advice)
        yield from machine()
        return
    heard = network_findings.ReceivedPackets(
        seconds=seconds,
        packets=packets,
        answers={address: frozenset(each) - macs for address, each in answers.items()},
        held=_held(candidate, candidate.facts) & _held(candidate, after),
        neighbours=examining.neighbours(),
    )
    yield from _judged(found, (near, far), heard, _unshielded(candidate, told))
    yield from machine(late, shift)


def _judged(
    found: list[ContestContext],
    peers: tuple[tuple[IPAddress, ...], tuple[IPAddress, ...]],
    heard: network_findings.ReceivedPackets,
    unshielded: str,
) -> Iterator[Finding]:
    near, far = peers
    yield from network_findings.judge_wire(found, heard, unshielded)
    yield network_findings.judge_multicast(found, heard)
    yield from network_findings.judge_answers(found, heard, near)
    yield from network_findings.judge_peers(found, near, far, heard)


def _unshielded(candidate: Candidate, told: Mapping[str, Any] | None) -> str:
    """Return why foreign adverts for these ids reach keepalived; nothing where they do not."""
    if candidate.settings.conflict is not ConflictMode.RESOLVE:
        return "OPENSHIFT_HA_CONFLICT is not resolve"
    if not candidate.settings.shield:
        return "OPENSHIFT_HA_SHIELD=off"
    if told is None:
        return "another VRRP program runs on this node" if raw_sockets.vrrp_sockets() else ""
    reasons = [each["reason"] for each in told["protections"] if each["kind"] == "shield"]
    return "".join(reasons)


def _held(candidate: Candidate, facts: HostFacts) -> frozenset[IPAddress]:
    """Return the virtual addresses that are on the interface."""
    interface = facts.interface(candidate.config.interface)
    here = {each.address for each in (interface.addresses if interface else ())}
    return frozenset(candidate.config.addresses) & here


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


def _askers(candidate: Candidate) -> tuple[IPAddress, ...]:
    """Return this node's own address of each family to ask from, where there is one."""
    found = contexts.askers(candidate.config, candidate.facts)
    first = {family_of(each.address): each.address for each in reversed(found)}
    return tuple(first.values())
