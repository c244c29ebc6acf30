"""Why an instance changed its state, as far as this node can know.

:func:`infer` is pure: it infers from keepalived's reports, from the adverts of other nodes and
from the agent's own actions. Where none of that explains a transition, the cause names that.

Times are monotonic seconds. keepalived's behaviour and lines as in 2.2.7 and 2.3.3 (vrrp.c,
vrrp_scheduler.c, vrrp_track.c, keepalived_netlink.c).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from collections.abc import Iterable

_RECENT: Final = 2.0  # from a cause to the transition that keepalived reports, at most
_MISSED: Final = 2.0  # advert intervals after which the adverts of a rival no longer go on
_SHAKEN: Final = 4.0  # advert intervals after a foreign advert: a master-down interval
_REMEMBERED: Final = 8  # senders of adverts, per instance; as many foreign ones


class TransitionKind(enum.Enum):
    """Kinds of causes; the values are shown to operators and label metrics."""

    STARTED = "started"
    RESTARTED = "restarted"  # keepalived was started again
    RELOADED = "reloaded"
    SILENCE = "silence"  # no advert came for the master-down interval
    HANDOVER = "handover"  # the master sent priority 0
    PREEMPTED = "preempted"  # this node outranks the master that is there
    ID_SHARED = "id shared"  # the master's adverts stopped: another speaker has the same id
    UNCOUNTED = "uncounted"  # a master advertises, and keepalived does not take it
    OUTRANKED = "outranked"  # another node ranks higher
    CHECK_FAILED = "check failed"
    CHECK_PASSED = "check passed"
    HELD = "held"
    RELEASED = "released"
    DRAINED = "drained"
    UNDRAINED = "undrained"
    INTERFACE_DOWN = "interface down"
    INTERFACE_UP = "interface up"
    LEASE_LAPSED = "lease lapsed"
    ADDRESS_LOST = "address lost"  # another program removed it from the interface
    STOPPED = "stopped"
    ENDED = "keepalived ended"
    UNKNOWN = "unknown"


class TransitionCause(Struct, frozen=True, kw_only=True):
    """Why: a kind to count it under, and a sentence for people."""

    kind: TransitionKind
    text: str


class NewestAdvert(Struct, frozen=True, kw_only=True):
    """The newest advert of a sender for an instance's id.

    Attributes:
        source: its address.
        priority: 0 where it has left.
        at: when it came.
        ranks_higher: by VRRP: priority, then address.
        foreign: a description of the sender, where it has none of this node's addresses.
        is_dropped: the advert does not get to keepalived here.
        gap: seconds between two of its adverts, the longest of those that ended just now; None
            for the first advert.
        gap_ended: when that ended.
    """

    source: str
    priority: int
    at: float
    ranks_higher: bool = False
    foreign: str = ""
    is_dropped: bool = False
    gap: float | None = None
    gap_ended: float = 0.0


def seen(sightings: tuple[NewestAdvert, ...], newest: NewestAdvert) -> tuple[NewestAdvert, ...]:
    """Return what is remembered of senders, newest last, after one more advert.

    One that has left with priority 0 may still have an advert on its way; that counts for it. A
    node may be a foreign speaker beside, and those are no reason to forget nodes.
    """
    alike, others = [], []
    for each in sightings:
        if bool(each.foreign) is not bool(newest.foreign):
            others.append(each)
        elif each.source != newest.source:
            alike.append(each)
        else:
            newest = _after(each, newest)
    return (*others, *alike[1 - _REMEMBERED :], newest)


def _after(before: NewestAdvert, newest: NewestAdvert) -> NewestAdvert:
    """Return the newest of two adverts, with the longest gap that has just ended."""
    gap = newest.at - before.at
    if before.gap is not None and before.gap > gap and is_recent(before.gap_ended, newest.at):
        return replace(newest, gap=before.gap, gap_ended=before.gap_ended)
    return replace(newest, gap=gap, gap_ended=newest.at)


class Withholding(Struct, frozen=True, kw_only=True):
    """Why the agent keeps an instance in FAULT: a kind and a sentence."""

    reason: str
    text: str


class KnownSince(Struct, frozen=True, kw_only=True):
    """Something that is known since a moment."""

    text: str
    at: float


class Knowledge(Struct, frozen=True, kw_only=True):
    """What is known at the moment of a transition.

    Attributes:
        previous, state: of the instance.
        now: the moment.
        priority: of this node.
        advert_interval: seconds.
        is_wire_watched: without it nothing is known of adverts but keepalived's log lines.
        sightings: adverts of other nodes, newest last.
        outranked: keepalived's line that it steps down for a higher rank.
        preempted: keepalived's line that it passes over a lower rank.
        withholdings: why the agent's track file is set.
        check_failure: why the check fails; None while it does not, as far as is known.
        link_failure: why the interface cannot serve, None while it can.
        sender: the address of the interface that keepalived cannot do without, as text; empty
            where the configuration names the one to send from.
        before: the cause of the transition before this one; ``lasted`` how long ago it was.
        lapsed_at: when the lease lapsed last.
        start: why keepalived was started last.
        reload_at: when keepalived last read its file again.
        ending: why keepalived ends or has ended, None while it runs.
    """

    previous: VrrpState
    state: VrrpState
    now: float
    priority: int
    advert_interval: float = 1.0
    is_wire_watched: bool = True
    sightings: tuple[NewestAdvert, ...] = ()
    outranked: KnownSince | None = None
    preempted: KnownSince | None = None
    withholdings: tuple[Withholding, ...] = ()
    check_failure: str | None = None
    link_failure: str | None = None
    sender: str = ""
    before: TransitionCause | None = None
    lasted: float | None = None
    lapsed_at: float | None = None
    start: TransitionCause | None = None
    reload_at: float | None = None
    ending: TransitionCause | None = None


_LOST: Final = frozenset((TransitionKind.LEASE_LAPSED, TransitionKind.ADDRESS_LOST))

DRAIN: Final = "drain"
"""The withholding reason of a drained instance."""


def infer(known: Knowledge) -> TransitionCause:
    """Return why the instance went from ``previous`` to ``state``."""
    match known.state:
        case VrrpState.MASTER:
            return _to_master(known)
        case VrrpState.BACKUP:
            return _to_backup(known)
        case VrrpState.FAULT:
            return _to_fault(known)
        case VrrpState.STOP | VrrpState.DELETED:
            return _to_stop(known)
        case _:
            return _cause(TransitionKind.STARTED, "started")


def _cause(kind: TransitionKind, text: str) -> TransitionCause:
    return TransitionCause(kind=kind, text=text)


def _unknown(text: str) -> TransitionCause:
    return _cause(TransitionKind.UNKNOWN, f"unknown: {text}")


def is_recent(at: float | None, now: float) -> bool:
    """Return whether something happened so shortly before ``now`` that it may be the cause."""
    return at is not None and now - at <= _RECENT


def _to_master(known: Knowledge) -> TransitionCause:
    if (
        known.before is not None
        and known.before.kind in _LOST
        and known.lasted is not None
        and known.lasted < known.advert_interval
    ):
        return known.before  # keepalived sets what was removed again, without an election
    if known.preempted is not None and is_recent(
        known.preempted.at, known.now - known.advert_interval
    ):
        return _cause(TransitionKind.PREEMPTED, known.preempted.text)
    if not known.is_wire_watched:
        return _unknown("no advert was accepted, and no adverts are watched here")
    nodes = [each for each in known.sightings if not each.foreign]
    living = [each for each in nodes if _goes_on(each, known)]
    if living:
        return _beside(living, known)
    sharing = _sharing(known)
    if not nodes:
        return _cause(
            TransitionKind.SILENCE,
            "no advert for the master-down time (no other node heard"
            f"{f'; {sharing.foreign}' if sharing else ''})",
        )
    last = nodes[-1]
    if last.priority == 0:
        return _cause(
            TransitionKind.HANDOVER,
            f"priority-0 advert of {last.source}: planned handover (it stops, or may not serve)",
        )
    silence = max(known.now - last.at, last.gap or 0.0)
    if sharing is not None and not sharing.is_dropped:
        return _cause(
            TransitionKind.ID_SHARED,
            f"the adverts of {last.source} stopped (the last one {silence:.1f} s ago) since the"
            f" id is shared: {sharing.foreign}, and each of its adverts puts off the next one of"
            " a master: choose another OPENSHIFT_HA_VRRP_ID_OFFSET",
        )
    return _cause(
        TransitionKind.SILENCE,
        f"no advert for the master-down time (the last one of {last.source},"
        f" {silence:.1f} s ago): it died, or the network lost it"
        f"{f', or it is shaken: {sharing.foreign}' if sharing else ''}",
    )


def _sharing(known: Knowledge) -> NewestAdvert | None:
    """Return a present foreign speaker of this id, rather one whose adverts reach keepalived."""
    there = [
        each
        for each in known.sightings
        if each.foreign and known.now - each.at < _SHAKEN * known.advert_interval
    ]
    return min(there, key=lambda each: each.is_dropped, default=None)


def _goes_on(sighting: NewestAdvert, known: Knowledge) -> bool:
    """Return whether a sender went on advertising, by its last adverts.

    A sender that was silent before the very last advert did not: a MASTER answers a successor.
    """
    longest = _MISSED * known.advert_interval
    is_there = sighting.priority > 0 and known.now - sighting.at < longest
    return is_there and (sighting.gap is None or sighting.gap < longest)


def _beside(living: Iterable[NewestAdvert], known: Knowledge) -> TransitionCause:
    """Return why this node is MASTER though others advertise."""
    highest = max(living, key=lambda each: (each.ranks_higher, each.priority))
    if highest.ranks_higher:
        return _cause(
            TransitionKind.UNCOUNTED,
            f"adverts of {highest.source} (priority {highest.priority}) arrive"
            " and keepalived does not take them",
        )
    return _cause(
        TransitionKind.PREEMPTED,
        f"outranks {highest.source} (priority {highest.priority}, this node {known.priority})",
    )


def _to_backup(known: Knowledge) -> TransitionCause:
    match known.previous:
        case VrrpState.MASTER:
            return _from_master(known)
        case VrrpState.FAULT if known.before is not None:
            return _recovered(known.before)
        case _:
            return _begun(known)


def _from_master(known: Knowledge) -> TransitionCause:
    if known.outranked is not None and is_recent(known.outranked.at, known.now):
        return _cause(TransitionKind.OUTRANKED, known.outranked.text)
    for each in reversed(known.sightings):
        if (
            each.ranks_higher
            and not each.foreign
            and each.priority > 0
            and is_recent(each.at, known.now)
        ):
            return _cause(
                TransitionKind.OUTRANKED,
                f"advert of higher priority {each.priority} from {each.source}"
                if each.priority > known.priority
                else f"advert of equal priority {each.priority} from {each.source},"
                " whose address is higher",
            )
    if is_recent(known.lapsed_at, known.now):
        return _cause(
            TransitionKind.LEASE_LAPSED,
            "lease lapsed: the agent could not renew it in time and the kernel removed addresses",
        )
    if not known.is_wire_watched:
        return _unknown("no adverts are watched here")
    return _cause(
        TransitionKind.ADDRESS_LOST,
        "an address was removed from the interface by another program (no node ranks higher)",
    )


def _recovered(fault: TransitionCause) -> TransitionCause:
    match fault.kind:
        case TransitionKind.CHECK_FAILED:
            return _cause(TransitionKind.CHECK_PASSED, "the check succeeds again")
        case TransitionKind.HELD:
            return _cause(TransitionKind.RELEASED, f"let go again, it was {fault.text}")
        case TransitionKind.DRAINED:
            return _cause(TransitionKind.UNDRAINED, "the drain has ended")
        case TransitionKind.INTERFACE_DOWN:
            has_lost_address = "address" in fault.text
            what = "has its address" if has_lost_address else "is up"
            return _cause(TransitionKind.INTERFACE_UP, f"the interface {what} again")
        case TransitionKind.STARTED | TransitionKind.RESTARTED | TransitionKind.RELOADED:
            return fault
        case _:
            return _unknown(f"FAULT has ended, its cause was {fault.text}")


def _begun(known: Knowledge) -> TransitionCause:
    """Return why an instance that was nothing before is something now."""
    if is_recent(known.reload_at, known.now):
        return _cause(TransitionKind.RELOADED, "reload: a new or changed instance")
    return known.start or _unknown("keepalived was not started by this agent")


def _to_fault(known: Knowledge) -> TransitionCause:
    drains = [each for each in known.withholdings if each.reason == DRAIN]
    if drains:
        return _cause(TransitionKind.DRAINED, drains[0].text)
    if known.link_failure is not None:
        return _cause(TransitionKind.INTERFACE_DOWN, known.link_failure)
    if known.withholdings:
        return _cause(TransitionKind.HELD, f"held: {known.withholdings[0].text}")
    if known.check_failure is not None:
        reason = known.check_failure or "it does not say why"
        return _cause(TransitionKind.CHECK_FAILED, f"check failed: {reason}")
    if known.previous in {VrrpState.INIT, VrrpState.STOP}:
        return _begun(known)  # until the check has run for the first time
    if known.sender:  # nothing else makes keepalived do this, and it writes no line about it
        return _cause(
            TransitionKind.INTERFACE_DOWN,
            f"{known.sender} was gone for a moment: another program removed it and set it "
            "again, as network managers do",
        )
    return _unknown("no check failed, nothing is held, the interface is up")


def _to_stop(known: Knowledge) -> TransitionCause:
    if known.ending is not None:
        return known.ending
    if known.state is VrrpState.DELETED:
        return _cause(TransitionKind.RELOADED, "reload: the instance is no longer configured")
    return _unknown("keepalived stops without a request")
