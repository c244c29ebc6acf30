"""What a conflict about an address consists of: events, actions, delays, and what is remembered.

:mod:`conflict.fsm` decides with these types. ``conflict.service`` reports the events and
carries out the actions.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from ipfailover_agent.conflict.causes import Cause
    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.keepalived.dump import VrrpStatistics
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.vrrp.packets import Advert, Announcement


class ContestPhase(enum.Enum):
    """Where an instance stands; the values are shown to operators."""

    WATCHING = "watching"
    HELD = "held"  # in FAULT by its hold file
    TRIAL = "trial"  # released for less than a master-down time


class HoldReason(enum.Enum):
    """Why an instance is held; the values are shown to operators."""

    OUTRANKED = "outranked"  # MASTER, and keepalived does not step down for a higher rank
    UNCOUNTED = "uncounted"  # BACKUP, and keepalived does not count the master's adverts
    UNYIELDING = "unyielding"  # MASTER, and a lower rank does not step down
    ANNOUNCED = "announced"  # lost against a node of which only announcements are seen


class ContestPolicy(Struct, frozen=True, kw_only=True):
    """Every delay by name, in seconds, and every limit.

    Attributes:
        confirm: a handover is over by then: keepalived steps down within milliseconds.
        dump_lead: how long before ``confirm`` ends keepalived is asked for its state.
        dump_grace: how long after that the agent waits for the answer, where none has ever come,
            and where the advert is one that keepalived refuses.
        dump_timeout: the same where keepalived would take the advert. A late answer shows that
            keepalived runs late: it may not have read the advert yet, and would act on a hold no
            sooner. More than the time after which keepalived counts as hanging and is killed.
        dump_interval: between looks at the counters of a BACKUP.
        settle: from an advert on the wire to its being counted, and from a question to its answer.
            An answer that takes longer may have been given before earlier adverts were read.
        doubt: the same while keepalived is busy: with 254 instances, on a starved machine, after
            a reload. A BACKUP whose keepalived counts no refusals either is held only then. Two
            advert intervals and this are less than a master-down interval.
        trial_adverts: how many advert intervals a trial lasts; below 3, where keepalived's
            master-down timer ends, by enough for the hold to take effect.
        slowest_trial: the shortest advert interval with trials and holds of a BACKUP.
        trial_first, trial_factor, trial_limit: back-off between trials.
        timeout: a lower rank has so long to yield, or an advert interval and 0.5 s if more.
        answer: it has so long where an advert of this node, or of another higher rank, was seen
            leaving: its keepalived takes milliseconds, its agent ``confirm`` and ``dump_grace``.
        burst_interval: between this node's announcements when a contest by announcements has
            begun, or when its adverts have ceased to leave; ``burst_rounds`` times.
        defend_interval: between this node's announcements after that.
        escalation: from one stage of a contest by announcements to the next, a part of
            ``burst_interval``, a little less than the time between a rival's announcements.
        lapses_limit: a rival that cannot be contested, since it announces too rarely, is yielded
            to when it has returned so many times.
        fresh_for: how long a winner goes on announcing at ``defend_interval`` after the last
            sign of a rival; then every ``slow_announce``.
        missed_announcements: so many may be lost until the winner counts as gone.
        silence_limit: the longest that a loser waits for announcements, however often it lost.
        leaving: adverts so soon after priority 0 of the same MAC were overtaken on the way.
        stall_delay: from a stall of the agent's loop to the announcement of what the node serves.
        report_interval: between reports where nothing is done about the cause.
        rivals_limit: how many are remembered per instance: a node that groups addresses otherwise
            advertises this node's under up to 255 ids. ``macs_limit``: of how many senders. Each
            event looks at all of them, and forged frames name any number.
    """

    confirm: float = 0.3
    dump_lead: float = 0.1
    dump_grace: float = 0.2
    dump_timeout: float = 2.5
    dump_interval: float = 5.0
    settle: float = 0.1
    doubt: float = 0.4
    trial_adverts: float = 2.5
    slowest_trial: float = 1.0
    trial_first: float = 10.0
    trial_factor: float = 2.0
    trial_limit: float = 300.0
    timeout: float = 1.0
    answer: float = 0.8
    burst_interval: float = 0.4
    burst_rounds: int = 8
    defend_interval: float = 1.0
    escalation: float = 0.9
    lapses_limit: int = 3
    fresh_for: float = 600.0
    slow_announce: float = 10.0
    missed_announcements: int = 3
    silence_limit: float = 300.0
    leaving: float = 0.5
    stall_delay: float = 0.5
    report_interval: float = 60.0
    rivals_limit: int = 256
    macs_limit: int = 64

    @property
    def memory(self) -> float:
        """Return the seconds without a sign after which a rival is seen as for the first time."""
        return (self.missed_announcements + 0.5) * self.slow_announce


POLICY: Final = ContestPolicy()
NEVER: Final = -math.inf
"""The moment of what has not happened."""
UNPLANNED: Final = math.inf
"""The moment of what is not planned."""


# --- events -------------------------------------------------------------------------------------
# That keepalived reports a state of the instance is the state itself.
# What came by the wire has in ``heard_at`` when the kernel received it, never later than now: on a
# node that stood still, or is starved, long before the agent reads it.


class AdvertSeen(Struct, frozen=True, kw_only=True):
    """A received advert for this instance's router id, or one that lists an address of it.

    ``seen_ids`` are all router ids received on the interface so far, for suggesting a free one.
    ``outlook`` is what happens next with a sender that is no rival, as the end of a sentence.
    """

    advert: Advert
    seen_ids: frozenset[int] = frozenset()
    outlook: str = ""
    heard_at: float = math.inf


class AnnouncementSeen(Struct, frozen=True, kw_only=True):
    """A received announcement of an address."""

    announcement: Announcement
    heard_at: float = math.inf


class AdvertLeft(Struct, frozen=True, kw_only=True):
    """An advert of this instance was seen leaving."""

    heard_at: float = math.inf


class DumpAnswered(Struct, frozen=True, kw_only=True):
    """What keepalived's dump shows of the instance; one answer to ASK_DUMP may serve many.

    ``taken_at`` is when keepalived was asked, in monotonic seconds: whatever was counted before
    is in it. ``advert_rcvd`` counts before the addresses are compared one by one (2.2.7): an
    advert that lists as many addresses as the instance has, but others, moves it *and*
    ``addr_list_err``. Another version or advert interval moves no counter.
    """

    taken_at: float
    state: VrrpState
    counters: VrrpStatistics


class LoopStalled(Struct, frozen=True, kw_only=True):
    """The agent's loop did not run for ``seconds``; comes before what arrived meanwhile.

    Also when keepalived has read its file again: then no time is missing.
    """

    seconds: float


class InstanceReconfigured(Struct, frozen=True, kw_only=True):
    """A reload changed the instance, or this host has other MACs.

    ``rivals``: those that claim its addresses under other ids, see ``evidence.claims_against``.
    """

    context: ContestContext
    rivals: tuple[Rival, ...] = ()


class ContestSign(enum.Enum):
    """Events that have no more to them."""

    DEADLINE_PASSED = "Contest.deadline has passed"
    #: With unicast, those for one of the peers. Comes every second or so while that lasts.
    NOT_LEAVING = "adverts of this instance were not seen leaving"


Event = (
    VrrpState
    | AdvertSeen
    | AnnouncementSeen
    | AdvertLeft
    | DumpAnswered
    | LoopStalled
    | InstanceReconfigured
    | ContestSign
)


# --- actions ------------------------------------------------------------------------------------


class HoldInstance(Struct, frozen=True, kw_only=True):
    """Set the hold file: keepalived goes FAULT. May come again while it is set already."""

    reason: HoldReason
    cause: Cause


class ReportCause(Struct, frozen=True, kw_only=True):
    """Report a cause; repetitions have an equal ``cause.key``.

    ``would_hold``: OPENSHIFT_HA_CONFLICT=report kept the instance from being held.
    """

    cause: Cause
    would_hold: bool = False


class ContestOrder(enum.Enum):
    """Actions that have no more to them."""

    RELEASE = "clear the hold file, for good"
    BEGIN_TRIAL = "clear the hold file, for less than a master-down time"
    END_TRIAL = "report that the trial went well: the instance stays released"
    ANNOUNCE = "announce every address of the instance, ahead of routine announcements"
    ANNOUNCE_AT_ONCE = "likewise, however many there are"
    ASK_DUMP = "ask keepalived for its counters"


Action = HoldInstance | ReportCause | ContestOrder


# --- what is remembered -------------------------------------------------------------------------


class Rival(Struct, frozen=True, kw_only=True):
    """What was seen of one MAC that claims addresses of this instance, in monotonic seconds.

    Its adverts are remembered per router id, since a node with other groups advertises the same
    addresses under several ids, and its announcements apart from them.

    Attributes:
        router_id: of its adverts; None where this is about its announcements.
        first_seen: its first sign of life of the present, continuous sighting.
        advert: its newest advert; ``advert_at`` when, NEVER once it has left.
        announced_at: when it last announced such an address, ``address`` which one.
        disputed_at: when it first announced the address while none of its adverts came.
        challenged_at: its first advert since this instance became MASTER.
        answered_at: when an advert of a higher rank first asked it to step down: one of this
            instance that left after ``challenged_at``, or, while BACKUP, another rival's.
        defied_at: when it last went on advertising all the same, the higher rank still there.
        contact_at: its first announcement since this instance became MASTER, without adverts.
        stage: how far the contest has come since, see ``master.yields``; 0 until it announces
            again.
        lapses: how often it announced anew after a silence in which a node that receives this
            node's announcements would not have been silent.
        left_at: when it last sent priority 0.
        disclaimed_at: when an advert of it for the same id last listed none of these addresses.
        is_reported: the agent has reported that it advertises beside this instance.
    """

    mac: bytes
    router_id: int | None = None
    first_seen: float
    advert: Advert | None = None
    advert_at: float = NEVER
    announced_at: float = NEVER
    address: IPAddress | None = None
    disputed_at: float | None = None
    challenged_at: float | None = None
    answered_at: float | None = None
    defied_at: float = NEVER
    contact_at: float | None = None
    stage: int = 0
    lapses: int = 0
    left_at: float = NEVER
    disclaimed_at: float = NEVER
    is_reported: bool = False

    @property
    def last_seen(self) -> float:
        """Return when it last gave any sign of life."""
        return max(self.first_seen, self.advert_at, self.announced_at)

    @property
    def rank(self) -> tuple[int, int]:
        """Return what VRRP ranks its newest advert by, below all others without one."""
        return (0, 0) if self.advert is None else (self.advert.priority, int(self.advert.source))

    def advertises(self, context: ContestContext, now: float) -> bool:
        """Return whether its adverts are recent: one came within the master-down interval."""
        return now < self.silent_at(context)

    def silent_at(self, context: ContestContext) -> float:
        """Return when its adverts count as ended unless another one comes; NEVER without any."""
        if self.advert is None:
            return NEVER
        return self.advert_at + context.master_down_interval_for(self.advert)

    def claims_elsewhere(self, context: ContestContext, now: float) -> bool:
        """Return whether recent adverts of it list this instance's addresses under another id."""
        is_elsewhere = self.router_id not in {None, context.virtual_router_id}
        return is_elsewhere and self.advertises(context, now)

    def outranks(self, context: ContestContext) -> bool:
        """Return whether its newest advert ranks above this instance."""
        return self.advert is not None and context.ranks_below(self.advert)

    def sighted(self, now: float) -> Rival:
        """Return it as seen again; after ``POLICY.memory`` silent, as for the first time."""
        if now - self.last_seen <= POLICY.memory:
            return self
        return Rival(mac=self.mac, router_id=self.router_id, first_seen=now, advert=self.advert)

    def forgiven(self) -> Rival:
        """Return it as it is to an instance that is not, or has just become, MASTER."""
        if self.challenged_at is None and self.contact_at is None and self.answered_at is None:
            return self
        return replace(
            self,
            challenged_at=None,
            answered_at=None,
            contact_at=None,
            stage=0,
            lapses=0,
            is_reported=False,
        )

    def lapsed(self) -> Rival:
        """Return it as seen again after a silence: the contest between the two begins anew."""
        return replace(
            self,
            disputed_at=None,
            contact_at=None,
            stage=0,
            lapses=self.lapses + (self.contact_at is not None),
        )

    def shifted(self, gap: float, now: float) -> Rival:
        """Return it as if the last ``gap`` seconds, unobserved by the agent, had not been."""
        return replace(
            self,
            first_seen=min(now, self.first_seen + gap),
            advert_at=min(now, self.advert_at + gap),
            announced_at=min(now, self.announced_at + gap),
            challenged_at=None if self.challenged_at is None else now,
            disputed_at=None,
            answered_at=None,
            defied_at=NEVER,
            contact_at=None,
            stage=0,
            lapses=0,
        )


class AdvertCount(Struct, frozen=True, kw_only=True):
    """Whether keepalived counts the adverts that the agent sees, while the instance is BACKUP.

    Attributes:
        baseline: the answer that adverts are counted from.
        passed: adverts of rivals since then; ``second_at`` when the second came, or the first
            where that is enough.
        is_counting: keepalived has counted adverts since the baseline began, and the rivals, its
            configuration and it itself are the same.
    """

    baseline: DumpAnswered | None = None
    passed: int = 0
    second_at: float | None = None
    is_counting: bool = False


class Contest(Struct, frozen=True, kw_only=True):
    """Everything that is remembered of one instance. Times are monotonic seconds.

    Attributes:
        deadline: when to send DEADLINE_PASSED, None for never.
        state: the one that keepalived reported last; ``since`` when (or the end of a long stall).
        rivals: newest last.
        reason, cause: of the hold, while HELD or TRIAL.
        held_at: when the hold began, trials aside.
        alive_until: when the last rival that keeps the instance held counts as gone.
        trials: made since a hold began after a quiet time; ``trial_at`` the next or present one.
        losses: holds by announcements in a row.
        calm_at: when the last hold ended.
        blind_until: until then announcements alone keep a BACKUP from becoming MASTER.
        dump: the newest answer; ``answered_at`` when it came.
        read_until: keepalived has read what had come until then.
        count: of rivals' adverts, while BACKUP.
        asked_at: when keepalived was asked last; ``dump_at`` when to ask again.
        announced_at: when this node announced last; ``burst_until`` and ``fresh_until`` (None
            where no rival was there): see :meth:`next_announcement`.
        announce_at: when to announce after a stall.
        not_before: after a report without a hold, no other decision until then.
        left_at: when an advert of this instance was seen leaving while keepalived had last
            reported BACKUP: it has become MASTER and is about to report so.
        blind_at: when a stall ended: what was received before that challenges no node.
        exempt_until: until then a lower rank that took over in a stall may advertise, as it has
            time to step down.
    """

    context: ContestContext
    deadline: float | None = None
    state: VrrpState = VrrpState.INIT
    since: float = 0.0
    rivals: tuple[Rival, ...] = ()
    phase: ContestPhase = ContestPhase.WATCHING
    reason: HoldReason | None = None
    cause: Cause | None = None
    held_at: float = 0.0
    alive_until: float = 0.0
    trials: int = 0
    trial_at: float = UNPLANNED
    losses: int = 0
    calm_at: float = NEVER
    blind_until: float = NEVER
    dump: DumpAnswered | None = None
    answered_at: float = 0.0
    read_until: float = 0.0
    count: AdvertCount = AdvertCount()
    asked_at: float = NEVER
    dump_at: float | None = None
    announced_at: float = NEVER
    burst_until: float = 0.0
    fresh_until: float | None = None
    announce_at: float = UNPLANNED
    not_before: float = NEVER
    left_at: float = NEVER
    blind_at: float = 0.0
    exempt_until: float = 0.0

    @property
    def is_held(self) -> bool:
        """Return whether the hold file is set."""
        return self.phase is ContestPhase.HELD

    def is_challenged_by(self, heard_at: float) -> bool:
        """Return whether what was received then was meant for the MASTER that this instance is.

        A node that took over while this one stood still was right to, until this one was back.
        """
        is_meant = heard_at >= max(self.since, self.blind_at)
        return self.state is VrrpState.MASTER and is_meant

    @property
    def watches_counters(self) -> bool:
        """Return whether adverts are slow enough for trials and for holding a BACKUP in time."""
        return self.context.advert_interval >= POLICY.slowest_trial

    def burst(self, now: float) -> Contest:
        """Return the state of one that announces often for a while, then as a winner does."""
        until = now + POLICY.burst_rounds * self.context.paced(POLICY.burst_interval)
        fresh_until = max(now + POLICY.fresh_for, until)
        return replace(self, burst_until=until, fresh_until=fresh_until)

    def next_announcement(self, now: float) -> float:
        """Return when a MASTER announces next: UNPLANNED unless its addresses were disputed."""
        if self.fresh_until is None:
            return UNPLANNED
        wanted = POLICY.defend_interval if now < self.fresh_until else POLICY.slow_announce
        if now < self.burst_until:
            wanted = POLICY.burst_interval
        return self.announced_at + self.context.paced(wanted)

    def rival(self, mac: bytes, router_id: int | None) -> Rival | None:
        """Return what is remembered of a MAC's adverts for an id, or (None) its announcements."""
        return next(
            (each for each in self.rivals if each.mac == mac and each.router_id == router_id), None
        )

    def is_muted(self, now: float) -> bool:
        """Return whether no decision is due since the conflict was reported a moment ago."""
        return now < self.not_before

    def is_blind(self, now: float) -> bool:
        """Return whether an announcement alone keeps a BACKUP from becoming MASTER."""
        return now < self.blind_until

    def advertisers(self, now: float) -> list[Rival]:
        """Return the rivals whose adverts are recent."""
        return [each for each in self.rivals if each.advertises(self.context, now)]

    def with_rival(self, rival: Rival) -> Contest:
        """Return the state with what is known of a rival now.

        The rivals that were silent longest are forgotten beyond the limits.
        """
        others = tuple(
            each
            for each in self.rivals
            if each.mac != rival.mac or each.router_id != rival.router_id
        )
        rivals = (*others, rival)[-POLICY.rivals_limit :]
        if len(rivals) > POLICY.macs_limit:
            newest = dict.fromkeys(each.mac for each in reversed(rivals))
            kept = frozenset(tuple(newest)[: POLICY.macs_limit])
            rivals = tuple(each for each in rivals if each.mac in kept)
        return replace(self, rivals=rivals)


Step = tuple[Contest, tuple[Action, ...]]
