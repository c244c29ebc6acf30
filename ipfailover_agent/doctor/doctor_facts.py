"""What ``doctor`` judges: facts about this node and its network, each collected once."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.config import memory, prepare, reach, unicast, variables
from ipfailover_agent.conflict import contexts
from ipfailover_agent.doctor import firewall_findings, host_facts
from ipfailover_agent.doctor.network_findings import ReceivedPackets
from ipfailover_agent.errors import AgentError, HostNotReadyError, NotPermittedError
from ipfailover_agent.firewall import accept_rules, nft, nft_commands, ruleset
from ipfailover_agent.linux import process, sockets
from ipfailover_agent.model import ConflictMode, family_of
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.peers import peers_once
from ipfailover_agent.status import running
from ipfailover_agent.vrrp import bpf, packet_socket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.config.memory import ActiveRecord
    from ipfailover_agent.config.prepare import Candidate, Options
    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.firewall.ruleset import Chain, Table
    from ipfailover_agent.model import HostFacts, IPAddress

AS_ROOT: Final = "run it as root on the node"
_BOUND: Final = 10.0  # seconds that everything may take, unless more is to be listened
_LEAST: Final = 6.0  # seconds for everything but listening
_SHORTEST: Final = 0.3  # seconds that anything gets, when time is up
_NAMES_SECONDS: Final = 3.0
_VERSION_SECONDS: Final = 2.0
_RULES_SECONDS: Final = 3.0  # 20000 rules take nft 1.5 s


class UnknownError(Exception):
    """A fact is not known: ``reason``, and what to do about that, empty where nothing is."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice


class _Configuration(Struct, frozen=True, kw_only=True):
    """What became of the settings.

    Attributes:
        names: the answers of DNS.
        candidate: None where there is none.
        warnings: of the variables.
        problems: why the settings cannot be used.
        not_ready: what the node lacks, though the settings can be used.
    """

    names: peers_once.Found
    candidate: Candidate | None = None
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    not_ready: HostNotReadyError | None = None

    @property
    def lacks_peers(self) -> bool:
        """Return whether the node lacks the peers alone."""
        return self.not_ready is not None and self.not_ready.problem.variable == unicast.NAMES


class _Network(Struct, frozen=True, kw_only=True):
    """What was heard; ``near`` peers are on the interface's own networks, ``far`` ones are not."""

    contexts: tuple[ContestContext, ...]
    near: tuple[IPAddress, ...]
    far: tuple[IPAddress, ...]
    heard: ReceivedPackets


class Facts:
    """The facts; each is collected when a check asks for it, and kept where several do.

    Args:
        options: of the command line.
        seconds: how long to listen.
    """

    def __init__(self, options: Options, seconds: float) -> None:
        self._options = options
        self.run_directory = options.run_directory
        self._seconds = seconds
        self._end = time.monotonic() + max(_BOUND - seconds, _LEAST)
        self.late: float | None = None  # seconds that this process woke too late, while listening
        self.shift = 0.0  # seconds by which the wall clock was set meanwhile

    def at_most(self, seconds: float) -> float:
        """Return how long something may take, ``seconds`` or what is left.

        So one thing that hangs does not stop the rest.
        """
        return max(min(seconds, self._end - time.monotonic()), _SHORTEST)

    # --- the program and the agent --------------------------------------------------------------

    def keepalived_version(self) -> str | None:
        """Return what ``keepalived --version`` prints; None where there is no keepalived."""
        try:
            program = process.find_program("keepalived", os.environ.get("PATH"))
        except AgentError:
            return None
        words = (program, "--version")
        return host_facts.output_of(words, self.at_most(_VERSION_SECONDS)) or ""

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

    # --- the configuration ----------------------------------------------------------------------

    @functools.cached_property
    def configuration(self) -> _Configuration:
        """Return the candidate, and what was asked of DNS for it.

        Without the peers of names it is built as if there were no names.
        """
        environment: Mapping[str, str] = os.environ
        options, record = self._options, self.agent_record
        if record is not None:
            environment = dict(record.environment)
            options = replace(
                options, config=record.source, template_directory=record.template_directory
            )
        names = peers_once.Found(options, self.at_most(_NAMES_SECONDS))
        attempt = prepare.attempt(environment, options, names)
        read = attempt.variables or prepare.Variables(values={}, start_only={})
        found = _Configuration(names=names, candidate=attempt.candidate, warnings=read.warnings)
        if not isinstance(attempt.outcome, HostNotReadyError):
            return replace(found, problems=attempt.problems)
        found = replace(found, not_ready=attempt.outcome)
        if found.lacks_peers:
            without = replace(read, values={**read.values, unicast.NAMES: ""})
            with contextlib.suppress(AgentError):
                return replace(found, candidate=prepare.build(without, options, names))
        return found

    @property
    def candidate(self) -> Candidate:
        """Return the candidate.

        Raises:
            UnknownError: there is none.
        """
        if self.configuration.candidate is None:
            raise UnknownError("there is no configuration to look with")
        return self.configuration.candidate

    @functools.cached_property
    def host(self) -> HostFacts:
        """Return the facts about every interface; the plan did not need all addresses."""
        candidate = self.candidate
        resolved = candidate.facts.resolved_peers or ()
        return prepare.look_at_host(candidate.settings, candidate.paths, resolved, is_whole=True)

    # --- the firewall ---------------------------------------------------------------------------

    @functools.cached_property
    def owned_tables(self) -> frozenset[Table]:
        """Return the tables that only the process that made them can change."""
        return nft.owned_tables()

    def closed_chains(self) -> list[Chain]:
        """Return base chains that may drop VRRP and hold no rule that lets it in.

        nft 1.0.6 shows an owned table with whatever lies in memory, at times no JSON: then its
        chains of input and output count as such.

        Raises:
            RulesetError, AgentError: nft cannot list the rules.
        """
        program = process.find_program("nft", os.environ.get("PATH"))
        config = self.candidate.config
        tag = accept_rules.tag_for(self.candidate.settings.config_name)
        ends_at = time.monotonic() + self.at_most(_RULES_SECONDS)

        def entries(arguments: tuple[str, ...]) -> list[ruleset.Entry]:
            left = max(ends_at - time.monotonic(), _SHORTEST)
            printed = host_facts.output_of((program, *arguments), left)
            if printed is None:
                raise ruleset.RulesetError("nft does not end, or cannot be run")
            if '"nftables"' not in printed:
                lines = printed.strip().splitlines()
                raise ruleset.RulesetError(
                    f"nft prints {lines[0][:120]!r}" if lines else "nft prints nothing"
                )
            return [each for each in ruleset.read(printed) if each is not None]

        found: list[Chain] = []
        listed = entries(nft_commands.LIST_CHAINS)
        for table in firewall_findings.passed_tables(listed, config.interface):
            try:
                listed_rules = entries(nft_commands.list_table(table))
                found += firewall_findings.closed_chains(listed_rules, config, tag)
            except ruleset.RulesetError:
                if table not in self.owned_tables:
                    raise
                chains = (each for each in listed if isinstance(each, ruleset.Chain))
                found += (each for each in chains if each.table == table and each.takes_rules)
        return found

    # --- the network ----------------------------------------------------------------------------

    def network(self) -> _Network:
        """Listen and ask; return what came in.

        Raises:
            UnknownError: there is no configuration, it lacks its peers, or that is refused.
        """
        candidate = self.candidate
        if self.configuration.lacks_peers:
            raise UnknownError("the peers are not known")
        config = candidate.config
        near, far = self._peers()
        try:
            macs = packet_socket.host_macs()
            program = bpf.kernel_filter(config.addresses)
            with packet_socket.PacketSocket(config.interface, program) as socket:
                found = contexts.build(config, candidate.facts, mac=socket.mac, host_macs=macs)
                targets = tuple(dict.fromkeys((*config.addresses, *near)))
                began = time.time() - time.monotonic()
                packets, answers, self.late = host_facts.listen(
                    socket, self._askers(), targets, self._seconds
                )
                self.shift = time.time() - time.monotonic() - began
                after = prepare.look_for((), (config.interface,))
        except AgentError as error:
            self.late, self.shift = None, 0.0
            is_denied = isinstance(error, NotPermittedError)
            raise UnknownError(str(error), AS_ROOT if is_denied else "") from error
        return _Network(
            contexts=tuple(found.values()),
            near=near,
            far=far,
            heard=ReceivedPackets(
                seconds=self._seconds,
                packets=packets,
                answers={address: frozenset(each) - macs for address, each in answers.items()},
                held=self._held(candidate.facts) & self._held(after),
                neighbours=host_facts.neighbours(),
            ),
        )

    def _held(self, facts: HostFacts) -> frozenset[IPAddress]:
        """Return the virtual addresses that are on the interface."""
        interface = facts.interface(self.candidate.config.interface)
        here = {each.address for each in (interface.addresses if interface else ())}
        return frozenset(self.candidate.config.addresses) & here

    def _peers(self) -> tuple[tuple[IPAddress, ...], tuple[IPAddress, ...]]:
        """Return the unicast peers on the interface's own networks, and those behind a router."""
        config = self.candidate.config
        interface = self.candidate.facts.interface(config.interface)
        networks = reach.networks(config, interface)
        peers = dict.fromkeys(peer for each in config.instances for peer in each.unicast_peers)
        near = tuple(peer for peer in peers if any(peer in network for network in networks))
        return near, tuple(peer for peer in peers if peer not in near)

    def _askers(self) -> tuple[IPAddress, ...]:
        """Return this node's own address of each family to ask from, where there is one."""
        found = contexts.askers(self.candidate.config, self.candidate.facts)
        first = {family_of(each.address): each.address for each in reversed(found)}
        return tuple(first.values())

    def why_unshielded(self) -> str:
        """Return why foreign adverts for these ids reach keepalived; nothing where they do not."""
        settings, status = self.candidate.settings, self.agent_status
        if settings.conflict is not ConflictMode.RESOLVE:
            return "OPENSHIFT_HA_CONFLICT is not resolve"
        if not settings.shield:
            return "OPENSHIFT_HA_SHIELD=off"
        if status is None:
            return "another VRRP program runs on this node" if sockets.vrrp_sockets() else ""
        reasons = [each["reason"] for each in status["protections"] if each["kind"] == "shield"]
        return "".join(reasons)
