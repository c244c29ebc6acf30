"""Watches adverts and announcements for rivals, and holds an instance that has to yield.

:mod:`conflict.fsm` decides, for an instance at a time. This module passes it what comes
from the wire, from keepalived and from the clock, and carries out its actions. Nothing here
raises.
"""

from __future__ import annotations

import time
from contextlib import suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ipfailover_agent.conflict import announcing, causes, contexts, evidence, fsm, held, master
from ipfailover_agent.conflict import state as conflict
from ipfailover_agent.conflict.advert_listener import SOURCE
from ipfailover_agent.conflict.answer_monitor import AnswerMonitor
from ipfailover_agent.conflict.farewell_sender import Farewells
from ipfailover_agent.conflict.own_adverts import OwnAdvertMonitor
from ipfailover_agent.conflict.state import Contest, ContestOrder, ContestPhase, ContestSign
from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError
from ipfailover_agent.linux import host
from ipfailover_agent.model import ConflictMode, Family, VrrpState, family_of
from ipfailover_agent.service import Service
from ipfailover_agent.status.history import utc
from ipfailover_agent.status.logs import Repeats
from ipfailover_agent.status.status_model import Protection, RivalStatus, StatusPart
from ipfailover_agent.status.transition import NewestAdvert, Withholding
from ipfailover_agent.text import listed
from ipfailover_agent.vrrp import packets
from ipfailover_agent.vrrp.packet_socket import usable_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.conflict.advert_listener import AdvertListener
    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.firewall.shields import Shields
    from ipfailover_agent.holds import Holds
    from ipfailover_agent.keepalived.dump import InstanceDump
    from ipfailover_agent.keepalived.instance_states import InstanceState, InstanceStates
    from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog
    from ipfailover_agent.model import HostFacts, IPAddress
    from ipfailover_agent.service import Common
    from ipfailover_agent.vrrp.packet_socket import Frame, PacketSocket
    from ipfailover_agent.vrrp.packets import Advert, Announcement, Carp

REASON: Final = "contest"

_READ_LIMIT: Final = 0.25  # seconds of work per read; 1024 adverts of 254 instances take 0.06
_LOOK_INTERVAL: Final = 5.0  # while nothing can be received
_SOURCE_ROUNDS: Final = 3  # announcements of the adverts' source addresses, under another MAC
_SOURCE_INTERVAL: Final = 0.8  # between them
_SETTLED: Final = 5.0  # after a reload
_NO_SOURCE: Final = "no address to advertise from is on the interface yet"
_OVERDUE: Final = 0.2  # an answer of keepalived's; within 2 ms as a rule
_SHOWN: Final = 4  # rivals of an instance, in the status
_EVENTS: Final = {
    causes.CauseKind.ID_CLASH: "vrrp.id_clash",
    causes.CauseKind.OWN_ECHO: "wire.own_echo",
}


class Contests(Service):
    """The contests of the active configuration, on its interface.

    Args:
        listener: the packet socket.
        holds: the track files.
        keepalived_watchdog: asks keepalived.
        shields: keep foreign adverts from it.
        hearers: get each advert that concerns an instance with a contest, if the advert was sent
            on this segment or by a unicast peer.
        announced: called with each announcement of an address of an instance with a contest.
        note_sighting: called with each advert, of VRRP or CARP, that keepalived may act on.
    """

    source = SOURCE

    def __init__(
        self,
        common: Common,
        *,
        listener: AdvertListener,
        holds: Holds,
        keepalived_watchdog: KeepalivedWatchdog,
        shields: Shields,
        hearers: Collection[Service] = (),
        announced: Callable[[str, Announcement, ContestContext], None] = lambda *_: None,
        note_sighting: Callable[[str, NewestAdvert], None] = lambda *_: None,
    ) -> None:
        super().__init__(common)
        self._hearers = hearers
        self._announced = announced
        self._listener = listener
        self._answers = AnswerMonitor(self._log, self._listener)
        self._note_sighting = note_sighting
        self._holds = holds
        self._keepalived_watchdog = keepalived_watchdog
        self._shields = shields
        self._news = RivalNews(self._log)
        self._candidate: Candidate | None = None
        self._states: dict[str, Contest] = {}
        # Deadlines of the contests that have one: a round does not go through 254 that have none.
        self._due: dict[str, float] = {}
        self._identities: dict[str, tuple[object, ...]] = {}
        self._entered: dict[str, VrrpState] = {}  # of every instance, watched or not
        self._by_id: dict[tuple[int, Family], str] = {}
        self._by_address: dict[IPAddress, str] = {}
        self._claimed: evidence.ClaimedIds = {}  # where other nodes had whose addresses
        self._announcer = announcing.Announcer()
        self._is_ending = False  # keepalived is about to end
        self._is_rereading = False
        self._seen_ids: frozenset[int] = frozenset()
        # Since when this host's adverts with an instance's id have listed none of the addresses.
        self._foreign_list_since: dict[str, float] = {}
        self._own_adverts = OwnAdvertMonitor()
        self._farewells = Farewells(self._log)
        self._alone: frozenset[str] = frozenset()  # instances that send to themselves
        self._silent_at: float | None = None  # when to look whether their adverts leave
        self._announce_sources_at: float | None = None
        self._source_rounds_left = 0  # of announcing the adverts' source addresses
        # When an advert of another node came last, adverts of foreign VRRP programs aside.
        self.peer_heard_at: float | None = None
        self.contests_lost = 0

    # --- the state, for others ------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Return whether the wire is watched."""
        return self._listener.wire is not None

    def withholding(self, name: str) -> Withholding | None:
        """Return for which rival the agent keeps an instance in FAULT, None where for none."""
        if REASON not in self._holds.reasons(name):
            return None
        cause = self._states[name].cause if name in self._states else None
        return Withholding(reason=REASON, text=REASON if cause is None else cause.text)

    def status(self) -> StatusPart:
        """Return rivals and holds, and for which addresses no host answers.

        An instance counts as held during a trial too, while its hold file is clear.
        """
        is_on, reason = self.is_on, self._listener.refusal
        # These have no address to send from: their adverts compare with no other node's.
        lacking = [name for name in self._identities if name not in self._states]
        if is_on and lacking:
            is_on, reason = False, f"not for {listed(lacking)}: {_NO_SOURCE}"
        return StatusPart(
            protections=(Protection(kind="conflict", active=is_on, reason=reason),),
            rivals=self._news.rivals(time.time()),
            unanswered=self._answers.unanswered(self._states),
            held={
                name: f"{state.phase.value}: {state.cause.text}"
                for name, state in self._states.items()
                if state.phase is not ContestPhase.WATCHING and state.cause is not None
            },
            contests=self.contests_lost,
        )

    def has_left(self, name: str, since: float, index: int) -> bool:
        """Return whether a MASTER's advert was seen leaving by the interface of that index."""
        wire = self._listener.wire
        is_there = wire is not None and wire.index == index
        return is_there and self._own_adverts.has_left(name, since)

    def close(self) -> None:
        """Close the socket."""
        self._listener.close()

    # --- configuration --------------------------------------------------------------------------

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Apply the active configuration; contests of instances that stay go on.

        An instance stays where its identity does, as for keepalived: its name may pass to another.
        """
        self._candidate = candidate
        is_wanted = candidate.settings.conflict is not ConflictMode.OFF
        self._listener.configure(candidate.config, is_wanted=is_wanted)
        instances = candidate.config.instances
        names = {identity: name for name, identity in self._identities.items()}
        self._identities = {each.name: each.identity for each in instances}
        before = {each.name: names[each.identity] for each in instances if each.identity in names}
        self._news.configure(before)
        self._foreign_list_since.clear()
        self._entered = {
            name: self._entered[old] for name, old in before.items() if old in self._entered
        }
        self._take_contexts(candidate, before)
        self._farewells.configure(before)
        self._own_adverts.configure(before)
        self._by_id = {(each.virtual_router_id, each.family): each.name for each in instances}
        by_address = candidate.config.by_address
        self._by_address = {address: each.name for address, each in by_address.items()}
        self._alone = frozenset(each.name for each in instances if each.is_alone)
        self._answers.configure(candidate.config, candidate.facts, time.monotonic())

    def apply_facts(self, facts: HostFacts) -> None:
        """Apply the node's state of now: another interface, or other addresses on it."""
        if self._candidate is None:
            return
        self._candidate = replace(self._candidate, facts=facts)
        now = time.monotonic()
        self._look(now)
        self._take_contexts(self._candidate, {each: each for each in self._identities})
        self._answers.configure(self._candidate.config, facts, now)
        self._answers.missed()

    def rereading_began(self) -> None:
        """Note that keepalived reads its file, and receives nothing meanwhile: up to a second."""
        self._is_rereading = True

    def rereading_ended(self) -> None:
        """Note that keepalived has read its file; that it counted no advert then shows nothing."""
        if not self._is_rereading:
            return
        self.readable()  # what waits has come before it could be counted
        self._is_rereading = False
        self._foreign_list_since.clear()
        now = time.monotonic()
        for name in self._states:
            self._feed(name, conflict.LoopStalled(seconds=0.0), now)

    def keepalived_ends(self) -> None:
        """Note that keepalived is about to end: no successor must yield to this node."""
        self._is_ending = True

    def keepalived_ended(self, *, keeps_holds: bool) -> None:
        """Note that keepalived is not running, and end all holds.

        ``keeps_holds``: keepalived is started anew at once, and the rivals that its instances
        lost against are still there.
        """
        self._is_ending = self._is_rereading = False
        self._entered.clear()
        self._states = {
            name: held.restarted(state)
            if keeps_holds and state.is_held
            else Contest(context=state.context)
            for name, state in self._states.items()
        }
        self._schedule()
        self._announcer = announcing.Announcer()
        self._own_adverts.clear()
        self._farewells.clear()
        for name in self._identities:
            if name not in self._states or not self._states[name].is_held:
                self._holds.clear(name, REASON)

    def _take_contexts(self, candidate: Candidate, before: Mapping[str, str]) -> None:
        """Have a contest for every instance; ``before``: the former names of those that stay."""
        now = time.monotonic()
        wire = self._listener.wire
        current: dict[str, ContestContext] = {}
        if wire is not None:
            current = contexts.build(
                candidate.config, candidate.facts, mac=wire.mac, host_macs=self._listener.macs
            )
        heard = evidence.claims_of(self._states.values(), now)
        # The source address may be gone for a moment only: a lost contest stays lost.
        self._states = {
            name: self._states[old]
            for name, old in before.items()
            if old in self._states
            and (name in current or (self.is_on and self._states[old].is_held))
        }
        self._schedule()
        for name in self._identities:
            if name not in self._states and REASON in self._holds.reasons(name):
                self._holds.clear(name, REASON)
        for name, context in current.items():
            rivals = evidence.claims_against(context, heard)
            if name not in self._states:
                self._states[name] = Contest(context=context, rivals=rivals)
                if name in self._entered:  # the wire was not watched at the transition
                    self._feed(name, self._entered[name], now)
            elif context != self._states[name].context:
                reconfigured = conflict.InstanceReconfigured(context=context, rivals=rivals)
                self._feed(name, reconfigured, now)
        self._claimed = evidence.claimed_ids(self._states, now)

    def _schedule(self) -> None:
        self._due = {
            name: each.deadline for name, each in self._states.items() if each.deadline is not None
        }

    # --- received frames ------------------------------------------------------------------------

    def readable(self) -> None:
        """Read what was received."""
        now = time.monotonic()
        found = self._listener.receive(now)
        if found and self._listener.has_moved(now):
            self._look(now)  # keepalived may have sent some of it after the move
        begun = time.thread_time()  # on a starved node no host floods: work counts, not time
        for number, frame in enumerate(found):
            now = time.monotonic()
            if (worked := time.thread_time() - begun) >= _READ_LIMIT:
                self._flooded(len(found) - number, worked, now)
                return
            match frame.packet:
                case packets.Advert() as advert if frame.is_outgoing:
                    self._on_own(advert, frame, now)
                case packets.Advert() as advert:
                    self._on_advert(advert, now, frame.heard_at)
                case packets.Carp() as carp if not frame.is_outgoing:
                    self._on_carp(carp, now)
                case packets.Announcement() as announcement if not frame.is_outgoing:
                    self._on_announcement(announcement, now, frame.heard_at)
                case packets.NeighbourReply(address=address, mac=mac):
                    self._answers.on_answer(address, mac, is_unasked=False)
                case _:
                    pass  # this node's announcements, the agent's and keepalived's

    def _flooded(self, dropped: int, worked: float, now: float) -> None:
        """Report that frames were dropped, and give leases and keepalived their time."""
        self._listener.rest(worked, now)
        self._answers.missed()
        self._news.log_event(
            "wire.flooded",
            dropped=dropped,
            cause="more adverts and announcements of virtual addresses than the agent can read",
        )

    def _on_own(self, advert: Advert, frame: Frame, now: float) -> None:
        name = self._by_id.get((advert.virtual_router_id, family_of(advert.source)))
        if name is None:
            return
        if any(each in self._by_address for each in advert.addresses):
            self._farewells.sent(name, advert, frame.octets, now)
        elif now - self._foreign_list_since.setdefault(name, now) >= _SETTLED:
            # Around a reload the advert may list the addresses of another configuration.
            self._on_other_program(name, advert, now)
            return
        if advert.priority:
            self._own_adverts.advert_left(name, advert.destination, now)
            state = self._states.get(name)
            if state is not None and master.awaits_own_advert(state):
                self._feed(name, conflict.AdvertLeft(heard_at=frame.heard_at), now)

    def _on_advert(self, advert: Advert, now: float, heard_at: float) -> None:
        if advert.virtual_router_id not in self._seen_ids:
            self._seen_ids |= {advert.virtual_router_id}
        speaks_as = self._by_id.get((advert.virtual_router_id, family_of(advert.source)))
        names = {self._by_address[each] for each in advert.addresses if each in self._by_address}
        is_ours, outlook = bool(names), ""
        if speaks_as is not None:
            names.add(speaks_as)
            if (state := self._states.get(speaks_as)) is not None:
                outlook = self._on_speaker(speaks_as, state.context, advert, now, is_ours=is_ours)
        names |= self._formerly_claimed_by(advert)
        event = conflict.AdvertSeen(
            advert=advert, seen_ids=self._seen_ids, outlook=outlook, heard_at=heard_at
        )
        for name in names:
            self._feed(name, event, now)
            # Unicast peers may be behind a router.
            if (state := self._states.get(name)) is not None and (
                advert.source in state.context.unicast_peers or contexts.is_from_segment(advert)
            ):
                for each in self._hearers:
                    each.on_advert(name, advert, state.context)

    def _on_speaker(
        self, name: str, context: ContestContext, advert: Advert, now: float, *, is_ours: bool
    ) -> str:
        """Judge an advert with the id of an instance, and report what keepalived may act on.

        Returns what happens next with a sender that is no rival, as the end of a sentence.
        """
        foreign = self._shields.judge(name, advert, context, now, is_ours=is_ours)
        if not context.is_own(advert.source_mac):
            if foreign is None:
                self.peer_heard_at = now
            sighting = NewestAdvert(
                source=str(advert.source),
                priority=advert.priority,
                at=now,
                ranks_higher=context.ranks_below(advert),
                foreign="" if foreign is None else causes.speaker(advert, context),
                is_dropped=foreign is not None and self._shields.drops(foreign),
            )
            if advert.priority:
                self._farewells.on_advert(name, now)
            self._note_sighting(name, sighting)
        return "" if foreign is None else self._shields.outlook()

    def _formerly_claimed_by(self, advert: Advert) -> frozenset[str]:
        """Return the instances whose addresses the sender had under that id before a reload.

        A sender that lists other addresses now has been reloaded too.
        """
        router_id = advert.virtual_router_id
        return frozenset(
            name
            for name in self._claimed.get((router_id, family_of(advert.source)), ())
            if name in self._states
            and self._states[name].rival(advert.source_mac, router_id) is not None
        )

    def _on_other_program(self, name: str, advert: Advert, now: float) -> None:
        """Handle an advert that another VRRP program of this node sends with one of its ids.

        The two programs receive nothing of each other, but the keepalived of other nodes does.
        """
        state = self._states.get(name)
        if state is None:
            return
        cause = causes.id_clash(
            [advert], state.context.router_ids, self._seen_ids, causes.OTHER_PROGRAM
        )
        self._news.report(name, cause, would_hold=False)
        foreign = f"{causes.speaker(advert, state.context)}, another VRRP program on this node"
        source, priority = str(advert.source), advert.priority
        self._note_sighting(
            name, NewestAdvert(source=source, priority=priority, at=now, foreign=foreign)
        )

    def _on_carp(self, carp: Carp, now: float) -> None:
        """Handle a CARP advertisement, which keepalived refuses and which puts its timer off."""
        self._seen_ids |= {carp.router_id}
        name = self._by_id.get((carp.router_id, family_of(carp.source)))
        state = None if name is None else self._states.get(name)
        if name is None or state is None or state.context.is_own_address(carp.source):
            return
        foreign = self._shields.heard_carp(carp, state.context, now)
        outlook = self._shields.outlook()
        cause = causes.carp_clash([carp], state.context.router_ids, self._seen_ids, outlook)
        self._news.report(name, cause, would_hold=False)
        sighting = NewestAdvert(
            source=str(carp.source),
            priority=carp.skew,
            at=now,
            foreign=causes.carp_speaker(carp),
            is_dropped=self._shields.drops(foreign),
        )
        self._note_sighting(name, sighting)

    def _on_announcement(self, announcement: Announcement, now: float, heard_at: float) -> None:
        name = self._by_address.get(announcement.address)
        if name is not None:
            event = conflict.AnnouncementSeen(announcement=announcement, heard_at=heard_at)
            self._feed(name, event, now)
            if name in self._states:
                self._announced(name, announcement, self._states[name].context)
            address, mac = announcement.address, announcement.announced_mac
            self._answers.on_answer(address, mac, is_unasked=True)

    def on_transition(self, before: InstanceState, state: VrrpState) -> None:
        """Note that keepalived reported a transition of an instance."""
        name = before.instance.name
        self._entered[name] = state
        now = time.monotonic()
        if state is VrrpState.MASTER:
            self.readable()  # what was received before shows to whom the former MASTER yielded
            self._own_adverts.promoted(name, now)
            self._silent_at = now
        else:
            self._own_adverts.left_master(name)
            if name in self._states:
                served = self._states[name].context.served
                self._announcer = announcing.drop(self._announcer, served)
        if state is VrrpState.FAULT:
            self.readable()  # keepalived may have sent priority 0 itself
        self._farewells.entered(before.instance, state, now, self._listener.wire)
        self._feed(name, state, now)

    def on_dump(self, instances: tuple[InstanceDump, ...], asked_at: float) -> None:
        """Note keepalived's answer to a question of ``asked_at``."""
        if self._is_rereading:
            return
        self.readable()  # what waits to be read may have been counted before the answer
        now = time.monotonic()
        for each in instances:
            self._check_leaving(each, now)
            state, counters = each.state, each.counters
            answered = conflict.DumpAnswered(taken_at=asked_at, state=state, counters=counters)
            self._feed(each.name, answered, now)

    def _check_leaving(self, each: InstanceDump, now: float) -> None:
        """Log that keepalived counts adverts as sent which no socket sees leave.

        keepalived is not restarted for that: it may be the only holder.
        """
        cannot_be_seen = each.name not in self._states or each.name in self._alone
        if cannot_be_seen or each.state is not VrrpState.MASTER:
            self._own_adverts.forget_count(each.name)
        elif self._own_adverts.counts_unseen(each.name, each.counters.advert_sent, now):
            self._news.log_event(
                "adverts.not_leaving",
                instance=each.name,
                cause="keepalived sends adverts and they do not leave: the peer does not answer"
                " ARP, or something drops protocol 112 on its way out: a firewall (nft list"
                " ruleset), eBPF or tc (tc filter show dev INTERFACE egress)",
            )

    def _look_for_silence(self, now: float) -> None:
        """Where a MASTER's adverts do not leave, announce, and look closely at keepalived."""
        due: list[float] = []
        for name in self._own_adverts.masters():
            state = self._states.get(name)
            if state is None or not self.is_on:
                continue
            interval, peers = state.context.advert_interval, state.context.unicast_peers
            look = self._own_adverts.look(name, interval, peers, now)
            if look.is_partial:
                self._feed(name, ContestSign.NOT_LEAVING, now)
            if look.is_silent:
                self._keepalived_watchdog.suspect()
            due.append(look.again_at)
        if not self.is_on:
            due.append(now + _LOOK_INTERVAL)
        self._silent_at = min(due, default=None)

    def stalled(self, seconds: float) -> None:
        """Note that the loop did not run for so long; before what arrived meanwhile is read."""
        now = time.monotonic()
        self._own_adverts.gap(now)
        self._answers.missed()
        for name in self._states:
            self._feed(name, conflict.LoopStalled(seconds=seconds), now)

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return earliest(
            self._listener.deadline,
            self._silent_at,
            self._announce_sources_at,
            self._announcer.deadline,
            self._answers.deadline,
            self._farewells.deadline,
            *self._due.values(),
        )

    @property
    def resume_at(self) -> float | None:
        """Return when to :meth:`resume`; that is no reason for a round of the loop."""
        return self._listener.resume_at

    def resume(self, now: float) -> bool:
        """Listen again after the pause that follows each read; no round follows from that."""
        self._listener.resume(now)
        return False

    def tick(self, now: float) -> None:
        """Let time pass for every contest, and announce."""
        self._listener.resume(now)
        if self._listener.tick(now):
            self._look(now)
        if self._announce_sources_at is not None and now >= self._announce_sources_at:
            self._announce_sources(now)
        if self._silent_at is not None and now >= self._silent_at:
            self._look_for_silence(now)
        for name, due_at in list(self._due.items()):
            if now >= due_at:
                self._feed(name, ContestSign.DEADLINE_PASSED, now)
        self._announce(now)
        self._farewells.tick(now)
        if self._answers.deadline is not None and now >= self._answers.deadline:
            self.readable()  # an answer that waits to be read is one
            self._answers.tick(now, self._states)

    def _look(self, now: float) -> None:
        """Look whether the interface, or a MAC of this host, is another one now."""
        if not self._listener.look(now) or self._candidate is None:
            return
        self._take_contexts(self._candidate, {each: each for each in self._identities})
        self._answers.missed()
        if self._listener.moved_at == now and any(
            each.context.is_unicast for each in self._states.values()
        ):
            self._source_rounds_left = _SOURCE_ROUNDS
            self._announce_sources(now)

    def _announce_sources(self, now: float) -> None:
        """Show the peers which MAC to send adverts to; they would use the former one for long.

        A MASTER asks for the MACs of its peers, and its question shows its own. A BACKUP sends
        nothing, so it would receive nothing any more, and become MASTER beside the holder.
        """
        wire = self._listener.wire
        self._announce_sources_at = None
        if wire is None or not self._source_rounds_left:
            return
        sources = {
            each.context.source for each in self._states.values() if each.context.is_unicast
        }
        self._announce_sources_at = now + _SOURCE_INTERVAL
        with suppress(AgentError):  # then once more
            usable = sources & usable_addresses(wire.index)
            for each in usable:
                wire.send(_announcement(wire, each))
            self._source_rounds_left -= bool(usable)

    def _announce(self, now: float) -> None:
        wire = self._listener.wire
        if wire is None or self._announcer.deadline is None:
            return
        self._announcer, addresses = announcing.due(self._announcer, now)
        if self._is_ending or self._keepalived_watchdog.unanswered >= _OVERDUE:
            return  # no node should yield to a keepalived that hangs
        for address in addresses:
            try:
                wire.send(_announcement(wire, address))
            except AgentError as error:
                self._news.log_event("announce.failed", error=str(error))

    # --- decisions ------------------------------------------------------------------------------

    def _feed(self, name: str, event: conflict.Event, now: float) -> None:
        state = self._states.get(name)
        if state is None:
            return
        after, actions = fsm.step(state, event, now)
        self._states[name] = after
        if after.deadline is None:
            self._due.pop(name, None)
        else:
            self._due[name] = after.deadline
        if state.phase is ContestPhase.WATCHING and after.is_held:
            self.contests_lost += 1
        for action in actions:
            self._carry_out(name, action)

    def _carry_out(self, name: str, action: conflict.Action) -> None:
        match action:
            case conflict.HoldInstance(reason=reason, cause=cause):
                self._holds.set(name, REASON)
                self._news.report_hold(name, reason, cause)
            case conflict.ReportCause(cause=cause, would_hold=would_hold):
                self._news.report(name, cause, would_hold=would_hold)
            case ContestOrder.RELEASE | ContestOrder.BEGIN_TRIAL:
                self._holds.clear(name, REASON)
                is_trial = action is ContestOrder.BEGIN_TRIAL
                self._log.info("contest.trial" if is_trial else "contest.released", instance=name)
            case ContestOrder.END_TRIAL:
                self._log.info("contest.ended", instance=name)
            case ContestOrder.ANNOUNCE | ContestOrder.ANNOUNCE_AT_ONCE:
                is_urgent = action is ContestOrder.ANNOUNCE_AT_ONCE
                into = announcing.urge if is_urgent else announcing.enqueue
                context = self._states[name].context
                addresses = (*context.addresses, *context.excluded_addresses)
                self._announcer = into(self._announcer, addresses)
            case ContestOrder.ASK_DUMP:
                self._keepalived_watchdog.want_dump()


class RivalNews:
    """The reported rivals: in the log once and then how often, and in the status for an hour."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._repeats = Repeats()
        self._hold_repeats = Repeats()  # apart: adverts of strangers must not drown them
        self._rivals: dict[str, tuple[RivalStatus, ...]] = {}

    def configure(self, before: Mapping[str, str]) -> None:
        """Keep what concerns the instances that stay; ``before``: their former names."""
        self._rivals = {name: self._rivals.get(old, ()) for name, old in before.items()}

    def rivals(self, now: float) -> dict[str, tuple[RivalStatus, ...]]:
        """Return the rivals reported within the last hour before ``now`` (UTC seconds)."""
        since = utc(now - 3600)
        self._rivals = {
            name: recent
            for name, each in self._rivals.items()
            if (recent := tuple(rival for rival in each if rival.at >= since))
        }
        return dict(self._rivals)

    def report_hold(self, name: str, reason: conflict.HoldReason, cause: causes.Cause) -> None:
        """Report that the agent holds an instance for a rival."""
        self._remember(name, cause)
        self.log_event(
            "contest.held",
            instance=name,
            reason=reason.value,
            kind=cause.kind.value,
            rival=cause.rival,
            cause=cause.text,
        )

    def report(self, name: str, cause: causes.Cause, *, would_hold: bool) -> None:
        """Report a rival for which the agent holds no instance."""
        self._remember(name, cause)
        self.log_event(
            _EVENTS.get(cause.kind, "rival.seen"),
            cause.outlook,
            instance=name,
            kind=cause.kind.value,
            rival=cause.rival,
            cause=cause.text,
            would_hold=would_hold or None,
        )

    def log_event(self, event: str, outlook: str = "", /, **fields: object) -> None:
        """Log an event once, and then how often it was repeated, each minute.

        With another ``outlook`` it is another event.
        """
        key = " ".join(str(fields.get(each)) for each in ("instance", "kind", "rival", "error"))
        repeats = self._hold_repeats if event == "contest.held" else self._repeats
        repeated = repeats.seen(f"{event} {key}{outlook}", time.monotonic())
        if repeated is not None:
            self._log.warning(event, **fields, repeated=repeated or None)

    def _remember(self, name: str, cause: causes.Cause) -> None:
        """Remember a rival for the status."""
        newest = RivalStatus(
            rival=cause.rival, kind=cause.kind.value, cause=cause.text, at=utc(time.time())
        )
        others = [
            each
            for each in self._rivals.get(name, ())
            if (each.rival, each.kind) != (newest.rival, newest.kind)
        ]
        self._rivals[name] = (*others, newest)[-_SHOWN:]


def _announcement(on: PacketSocket, address: IPAddress) -> bytes:
    if isinstance(address, IPv4Address):
        return packets.gratuitous_arp(on.mac, address)
    is_router = host.forwards_ipv6(on.interface)
    return packets.unsolicited_advertisement(on.mac, address, is_router=is_router)
