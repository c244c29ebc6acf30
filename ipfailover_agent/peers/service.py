"""Peers by name at work: has names resolved, keeps the set, reports what changes.

``peers.peers`` decides, ``peers.resolving`` asks. This module has the clock, the record in the
run directory and the log. Nothing here waits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived.lifecycle import Occurrence
from ipfailover_agent.linux import host
from ipfailover_agent.model import family_of
from ipfailover_agent.service import Service
from ipfailover_agent.status.logs import Repeats

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.keepalived.instance_states import InstanceStates
    from ipfailover_agent.model import HostFacts, IPAddress, Settings
    from ipfailover_agent.peers import peers
    from ipfailover_agent.peers.peers import LookupResult, Question
    from ipfailover_agent.peers.resolving import Resolver
    from ipfailover_agent.service import Common

SOURCE = "peers"
_INSIST_AFTER = 60.0  # seconds


class Peering(Service):
    """The peers of one agent; idle, and not even imported, while there are no names.

    Args:
        policy: every delay.

    INPUTS_CHANGED is dispatched when there is another set to plan with; again each minute while
    the active configuration has not got it, since what refused it may pass.
    """

    source = SOURCE

    def __init__(self, common: Common, policy: peers.PeersPolicy | None = None) -> None:
        super().__init__(common)
        self._policy = policy
        self._repeats = Repeats()
        self._state: peers.Peers | None = None
        self._resolver: Resolver | None = None
        self._in_force: tuple[IPAddress, ...] | None = None
        self._dispatched_at = 0.0  # when INPUTS_CHANGED was dispatched last

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Note the set that the configuration in force has, None where there is none."""
        self._in_force = candidate.facts.resolved_peers

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return None if self._state is None else self._state.deadline

    def add_to(self, settings: Settings, facts: HostFacts) -> HostFacts:
        """Return the facts with the peers as far as they are known; has them looked up if new.

        Raises:
            SystemRefusedError: the kernel does not answer which of them is this node.
        """
        if not settings.unicast_peer_names:
            self._state = None
            return facts
        from ipfailover_agent.peers import peers, peers_record  # noqa: PLC0415 - start-up time

        stored: tuple[LookupResult, ...] = ()
        state = self._state
        if state is None:
            state = peers.Peers()
            stored = peers_record.read_recorded_peers(self._paths.peers, peers.questions(settings))
        known = (*state.addresses, *(each for result in stored for each in result.addresses))
        local = facts.local_addresses | host.local_addresses(known)
        facts = replace(facts, local_addresses=local)
        # The kernel has answered: where it refuses, the next attempt reads what is stored again.
        state, _ = self._step(state, replace(peers.want(settings, facts), stored=stored))
        if not state.is_ready:
            stored_peers = len(state.addresses) if state.is_restart else 0
            awaited = peers.obstacle(state)
            return replace(facts, peers_awaited=awaited, stored_peers=stored_peers)
        return replace(facts, resolved_peers=state.addresses)

    def tick(self, now: float) -> None:
        """Do what is due; ask for a plan again where the last one did not come into force."""
        state = self._state
        if state is None or state.deadline is None or now < state.deadline:
            return
        from ipfailover_agent.peers import peers  # noqa: PLC0415 - start-up time

        self._on_event(peers.PeersDeadlinePassed())
        state, in_force = self._state, self._in_force
        if state is None or not state.is_ready or in_force is None:
            return
        if in_force != state.addresses and now >= self._dispatched_at + _INSIST_AFTER:
            self._dispatched_at = now
            self._dispatch(Occurrence.INPUTS_CHANGED)

    def readable(self) -> None:
        """Take the answers that have come."""
        from ipfailover_agent.peers import peers  # noqa: PLC0415 - start-up time

        for each in self._resolver.answers() if self._resolver else ():
            self._on_event(peers.LookupEnded(answer=each, own=_own_of(each)))

    def close(self) -> None:
        """Take no more answers; look-ups that still run are not waited for."""
        if self._resolver is not None:
            self._resolver.close()

    def _on_event(self, event: peers.Event) -> None:
        """Take an event, and ask for a plan where the set is another one."""
        if self._state is not None and self._step(self._state, event)[1]:
            self._dispatched_at = time.monotonic()
            self._dispatch(Occurrence.INPUTS_CHANGED)

    def _step(self, state: peers.Peers, event: peers.Event) -> tuple[peers.Peers, bool]:
        """Return the state after an event, and whether the set is another one."""
        from ipfailover_agent.peers import peers  # noqa: PLC0415 - start-up time

        policy, now = self._policy or peers.PeersPolicy(), time.monotonic()
        state, actions = peers.step(state, event, now, policy)
        self._state = state
        is_changed = False
        for each in actions:
            match each:
                case peers.LookUp(question=question):
                    self._ask(question)
                case peers.PeersChanged(added=added, removed=removed, basis=basis):
                    self._log.info(
                        "peers.changed",
                        added=[str(address) for address in added],
                        removed=[str(address) for address in removed],
                        count=len(state.addresses),
                        **({"basis": basis} if basis else {}),
                    )
                    self._record(state)
                    is_changed = True
                case peers.PeersConfirmed():
                    self._record(state)
                case peers.LookupFailed(question=question, reason=reason):
                    kept = sum(family_of(one) is question.family for one in state.addresses)
                    self._log_repeated(
                        "peers.unresolved", name=str(question), reason=reason, kept=kept
                    )
                case peers.LookupRecovered(question=question):
                    self._repeats.forget()
                    self._log.info("peers.resolved", name=str(question))
                case peers.OwnMissing(own=own):
                    self._log_repeated(
                        "peers.self_missing",
                        names=sorted({each.name for each in state.wanted.questions}),
                        own=[str(address) for address in own],
                        reason="no name resolves to this node: the others do not send to it, and "
                        "it takes their addresses; add it to the names",
                    )
                case _:
                    assert_never(each)
        return state, is_changed

    def _record(self, state: peers.Peers) -> None:
        """Write down the set and when an answer confirmed it last, for a restart."""
        from ipfailover_agent.peers import peers_record  # noqa: PLC0415 - start-up time

        try:
            peers_record.record_peers(self._paths.peers, state.known(time.monotonic()))
        except AgentError as error:
            self._log_repeated("peers.record_failed", reason=str(error))

    def _ask(self, question: Question) -> None:
        if self._resolver is None:
            from ipfailover_agent.peers.resolving import Resolver  # noqa: PLC0415 - seldom

            self._resolver = Resolver()
            self._loop.watch_readable(self._resolver.fileno(), SOURCE)
        self._resolver.ask(question)

    def _log_repeated(self, event: str, **fields: object) -> None:
        """Log an event once, and then how often it happened again, each minute."""
        # With another number of kept addresses it is the same event.
        what = {name: value for name, value in fields.items() if name != "kept"}
        repeated = self._repeats.seen(f"{event} {what}", time.monotonic())
        if repeated is not None:
            counted = {"repeated": repeated} if repeated else {}
            self._log.error(event, **fields, **counted)


def _own_of(answer: LookupResult) -> frozenset[IPAddress]:
    """Return which of the addresses this node has; none where the kernel gives no answer."""
    try:
        return host.local_addresses(answer.addresses)
    except AgentError:
        return frozenset()
