"""The types of contests: events, actions, delays and what is remembered of one instance.

``contest`` decides with them; ``protection.contests`` reports events and carries out actions.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.core.model import VrrpState

if TYPE_CHECKING:
    from ipfailover_agent.core.network.packets import Advert, Announcement
    from ipfailover_agent.core.rivalry.causes import Cause
    from ipfailover_agent.core.rivalry.counters import AdvertCounters
    from ipfailover_agent.core.rivalry.rivals import ContestContext, Rival


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
        dump_patience: the same where keepalived would take the advert. A late answer shows that
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
        brisk_interval: between this node's announcements when a contest by announcements has
            begun, or when its adverts have ceased to leave; ``brisk_rounds`` times.
        defend_interval: between this node's announcements after that.
        escalation: from one stage of a contest by announcements to the next, a part of
            ``brisk_interval``, a little less than the time between a rival's announcements.
        lapses_limit: a rival that cannot be contested, since it announces too rarely, is yielded
            to when it has returned so many times.
        fresh_for: how long a winner goes on announcing at ``defend_interval`` after the last
            sign of a rival; then every ``slow_announce``.
        missed_announcements: so many may be lost until the winner counts as gone.
        silence_limit: the longest that a loser waits for announcements, however often it lost.
        leaving: adverts so soon after priority 0 of the same MAC were overtaken on the way.
        gap_delay: from a stall of the agent's loop to the announcement of what the node serves.
        report_interval: between reports where nothing is done about the cause.
        rivals_limit: how many are remembered per instance: a node that groups addresses otherwise
            advertises this node's under up to 255 ids. ``macs_limit``: of how many senders. Each
            event looks at all of them, and forged frames name any number.
        yields_as_senior: yield to a lower rank that does not step down even where this node was
            MASTER before that rank was seen.
    """

    confirm: float = 0.3
    dump_lead: float = 0.1
    dump_grace: float = 0.2
    dump_patience: float = 2.5
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
    brisk_interval: float = 0.4
    brisk_rounds: int = 8
    defend_interval: float = 1.0
    escalation: float = 0.9
    lapses_limit: int = 3
    fresh_for: float = 600.0
    slow_announce: float = 10.0
    missed_announcements: int = 3
    silence_limit: float = 300.0
    leaving: float = 0.5
    gap_delay: float = 0.5
    report_interval: float = 60.0
    rivals_limit: int = 256
    macs_limit: int = 64
    yields_as_senior: bool = True


# --- events -------------------------------------------------------------------------------------
# For what came by the wire ``heard_at`` is when the kernel received it, None for this moment: on
# a node that stood still, or is starved, long before it is read.


class StateEntered(Struct, frozen=True, kw_only=True):
    """keepalived reports that the instance has entered a state."""

    state: VrrpState


class AdvertSeen(Struct, frozen=True, kw_only=True):
    """A received advert for this instance's router id, or one that lists an address of it.

    ``seen_ids`` are all router ids received on the interface so far, for suggesting a free one.
    ``outlook`` is what happens next with a sender that is no rival, as the end of a sentence.
    """

    advert: Advert
    seen_ids: frozenset[int] = frozenset()
    outlook: str = ""
    heard_at: float | None = None


class AnnouncementSeen(Struct, frozen=True, kw_only=True):
    """A received announcement of an address."""

    announcement: Announcement
    heard_at: float | None = None


class DumpAnswered(Struct, frozen=True, kw_only=True):
    """keepalived answered; answers to other instances' AskDump may be given to all."""

    counters: AdvertCounters


class LoopStalled(Struct, frozen=True, kw_only=True):
    """The agent's loop did not run for ``seconds``; give it before what arrived meanwhile."""

    seconds: float


class InstanceReconfigured(Struct, frozen=True, kw_only=True):
    """A reload changed the instance, or this host has other MACs.

    ``rivals``: those that claim its addresses under other ids, see ``claims.against``.
    """

    context: ContestContext
    rivals: tuple[Rival, ...] = ()


class AdvertLeft(Struct, frozen=True, kw_only=True):
    """An advert of this instance was seen leaving."""

    heard_at: float | None = None


class NotLeaving(Struct, frozen=True):
    """Adverts of this instance were not seen leaving; with unicast, those for one of the peers.

    Comes again every second or so while that lasts.
    """


class ContestDeadlinePassed(Struct, frozen=True):
    """``Contest.deadline`` has passed."""


Event = (
    StateEntered
    | AdvertSeen
    | AnnouncementSeen
    | DumpAnswered
    | LoopStalled
    | InstanceReconfigured
    | AdvertLeft
    | NotLeaving
    | ContestDeadlinePassed
)


# --- actions ------------------------------------------------------------------------------------


class HoldInstance(Struct, frozen=True, kw_only=True):
    """Set the hold file: keepalived goes FAULT. May come again while it is set already."""

    reason: HoldReason
    cause: Cause


class ReleaseInstance(Struct, frozen=True, kw_only=True):
    """Clear the hold file, for good or (``is_trial``) for less than a master-down time."""

    is_trial: bool = False


class EndTrial(Struct, frozen=True):
    """The trial went well and the instance stays released: say so."""


class Announce(Struct, frozen=True):
    """Announce every address of the instance, ahead of routine announcements.

    ``is_urgent``: at once, however many there are.
    """

    is_urgent: bool = False


class AskDump(Struct, frozen=True):
    """Ask keepalived for its counters; answer with DumpAnswered. One answer serves many."""


class ReportCause(Struct, frozen=True, kw_only=True):
    """Report a cause; repetitions have an equal ``cause.key``.

    ``would_hold``: OPENSHIFT_HA_CONFLICT=report kept the instance from being held.
    """

    cause: Cause
    would_hold: bool = False


Action = HoldInstance | ReleaseInstance | EndTrial | Announce | AskDump | ReportCause


# --- the state ----------------------------------------------------------------------------------


class Contest(Struct, frozen=True, kw_only=True):
    """Everything that is remembered of one instance. Times are monotonic seconds.

    Attributes:
        deadline: when to send ContestDeadlinePassed, None for never.
        state: the one that keepalived reported last; ``since`` when (or the end of a long stall).
        rivals: newest last.
        reason, cause: of the hold, while HELD or TRIAL.
        held_at: when the hold began, trials aside.
        alive_until: when the last rival that keeps the instance held counts as gone.
        trials: made since a hold began after a quiet time; ``trial_at`` the next or present one.
        losses: holds by announcements in a row.
        calm_at: when the last hold ended.
        blind_until: until then announcements alone keep a BACKUP from becoming MASTER.
        dump: the newest answer; ``baseline`` the one that adverts are counted from.
        answered_at: when it came; ``read_until``: keepalived has read what had come until then.
        passed: adverts of rivals since ``baseline``; ``second_at`` when the second came.
        is_counting: keepalived has counted adverts since it is BACKUP and rivals are the same.
        asked_at: when keepalived was asked last; ``dump_at`` when to ask again.
        announced_at: when this node announced last; ``brisk_until``, ``fresh_until``,
            ``is_winner``: see ``timing.next_announcement``.
        announce_at: when to announce after a stall.
        not_before: after a report without a hold, no other decision until then.
        left_at: when an advert of this instance was seen leaving while keepalived had last
            reported BACKUP: it has become MASTER and is about to report so.
        blind_at: when a stall ended: what was received before that challenges no node.
        patient_until: until then a lower rank that took over in a stall may advertise, as it has
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
    trial_at: float | None = None
    losses: int = 0
    calm_at: float | None = None
    blind_until: float | None = None
    dump: AdvertCounters | None = None
    answered_at: float = 0.0
    read_until: float = 0.0
    baseline: AdvertCounters | None = None
    passed: int = 0
    second_at: float | None = None
    is_counting: bool = False
    asked_at: float | None = None
    dump_at: float | None = None
    announced_at: float | None = None
    brisk_until: float = 0.0
    fresh_until: float | None = None
    is_winner: bool = False
    announce_at: float | None = None
    not_before: float | None = None
    left_at: float | None = None
    blind_at: float = 0.0
    patient_until: float = 0.0

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

    def rival(self, mac: bytes, router_id: int | None) -> Rival | None:
        """Return what is remembered of a MAC's adverts for an id, or (None) its announcements."""
        return next(
            (each for each in self.rivals if each.mac == mac and each.router_id == router_id), None
        )


def restarted(state: Contest) -> Contest:
    """Return the state of an instance that stays held while keepalived is started anew.

    What keepalived counted is past; which rival holds the address, and until when, is not.
    """
    return replace(
        state,
        state=VrrpState.INIT,
        dump=None,
        baseline=None,
        passed=0,
        second_at=None,
        is_counting=False,
        asked_at=None,
        dump_at=None,
    )
