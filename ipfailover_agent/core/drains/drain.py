"""Draining one instance: held in FAULT on request, as long as somebody else serves its addresses.

:func:`step` is pure. The agent feeds it what is asked, heard and due, with the monotonic time,
and carries out the actions in order.

=======  ================================  =====================================================
phase    seen                              done
=======  ================================  =====================================================
FREE     asked while MASTER, or forced     held at once (priority 0, addresses dropped): MOVING
FREE     asked otherwise                   nothing yet: PROVING
PROVING  a foreign master has them         held: HELD
PROVING  becomes MASTER, or silence        undone: nobody else is there to serve
MOVING   a foreign master has them         taken over: HELD
MOVING   silence                           undone and released; stays HELD if it was forced
HELD     silence                           the same: the node that had taken over is gone; not
                                           while this node has no link
any      undrain, time over, removed       released
=======  ================================  =====================================================

A foreign master has them when living masters list every advertised address between them. Silence
is a master-down time (RFC 5798 section 6.1) of the slowest and lowest-ranking successor, and
``Policy.margin``: whoever is there has spoken by then, even where our priority 0 was lost.
So without force no address is off every node for longer than that and our own election.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, assert_never

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.core.text import listed

if TYPE_CHECKING:
    from ipfailover_agent.core.model import IPAddress, VrrpInstance

_ADVERTS = 3  # missed adverts until a master counts as gone (RFC 5798 section 6.1)
_LONGEST_SKEW = 1.0  # seconds, or intervals in version 3 (likewise)
_SECONDS_VERSION = 2
TIME_OVER = "its time is over"


class Policy(Struct, frozen=True, kw_only=True):
    """Delays in seconds, and limits.

    Attributes:
        margin: by which silence lasts longer than the longest master-down time.
        sightings_limit: how many senders are remembered per instance.
        requests_limit: how many requests may wait for their verdict.
    """

    margin: float = 1.0
    sightings_limit: int = 256
    requests_limit: int = 32


class Phase(enum.Enum):
    """How far a drain has come."""

    FREE = "free"
    PROVING = "proving"  # not held: it did not serve, and nobody else is known to
    MOVING = "moving"  # held; nobody is known to have taken over
    HELD = "held"  # held, and somebody else serves, or it was forced


class Order(Struct, frozen=True, kw_only=True):
    """What was asked for: ``until`` is monotonic seconds, None for no end."""

    is_forced: bool = False
    until: float | None = None


class Subject(Struct, frozen=True, kw_only=True):
    """What is drained; ``addresses`` are those that its adverts list, ``excluded`` the others."""

    addresses: frozenset[IPAddress]
    excluded: frozenset[IPAddress] = frozenset()
    version: int = 2
    advert_interval: float = 1.0

    @classmethod
    def of(cls, instance: VrrpInstance) -> Subject:
        """Return the subject that an instance is."""
        return cls(
            addresses=frozenset(each.address for each in instance.virtual_addresses),
            excluded=frozenset(each.address for each in instance.excluded_addresses),
            version=instance.advertisement.version,
            advert_interval=instance.advertisement.interval,
        )


class Sighting(Struct, frozen=True, kw_only=True):
    """An advert of a living foreign master: who, what it lists, its interval, when it came."""

    mac: bytes
    router_id: int
    source: str
    addresses: frozenset[IPAddress]
    interval: float
    at: float


class Drain(Struct, frozen=True, kw_only=True):
    """What is remembered of one instance. Times are monotonic seconds.

    Attributes:
        anchor: from when on silence counts: the last moment at which somebody else was known to
            serve every address, or when the instance was asked for.
        sightings: of senders that list addresses of ours.
        holder: who serves the addresses, by source addresses; empty while nobody is known to.
        is_leaving: it was MASTER when it was held, and has not said yet that it is no more. Of
            254 instances the last one does so after 3 s on a busy node; until then it serves.
    """

    subject: Subject
    phase: Phase = Phase.FREE
    order: Order = Order()
    anchor: float = 0.0
    sightings: tuple[Sighting, ...] = ()
    holder: str = ""
    is_leaving: bool = False

    @property
    def is_held(self) -> bool:
        """Tell whether the hold file is set for this."""
        return self.phase in {Phase.MOVING, Phase.HELD}

    def patience(self, policy: Policy) -> float:
        """Return how many seconds of silence mean that nobody else is there."""
        paces = (self.subject.advert_interval, *(each.interval for each in self.sightings))
        slowest = max(paces)
        scale = 1.0 if self.subject.version == _SECONDS_VERSION else slowest
        return _ADVERTS * slowest + _LONGEST_SKEW * scale + policy.margin

    def silent_at(self, policy: Policy) -> float:
        """Return until when to listen: twice as long for one that has not left MASTER."""
        return self.anchor + self.patience(policy) * (2 if self.is_leaving else 1)

    def deadline(self, policy: Policy) -> float | None:
        """Return when to send DeadlinePassed, None for never."""
        if self.phase is Phase.FREE:
            return None
        if self.phase is Phase.HELD and self.order.is_forced:
            return self.order.until
        silent_at = self.silent_at(policy)
        return silent_at if self.order.until is None else min(silent_at, self.order.until)


# --- events -------------------------------------------------------------------------------------


class Asked(Struct, frozen=True, kw_only=True):
    """Somebody wants it drained; the newest order is the one that counts."""

    order: Order
    is_master: bool


class Ended(Struct, frozen=True, kw_only=True):
    """The drain is to end: undrained, or the instance is gone."""

    cause: str


class Promoted(Struct, frozen=True):
    """keepalived says that the instance is MASTER."""


class Demoted(Struct, frozen=True):
    """keepalived says that the instance is something else than MASTER."""


class Heard(Struct, frozen=True, kw_only=True):
    """An advert came, with another priority than 0, from another host."""

    sighting: Sighting


class Left(Struct, frozen=True, kw_only=True):
    """Somebody said with priority 0 that it serves no more."""

    mac: bytes
    router_id: int


class Gap(Struct, frozen=True, kw_only=True):
    """Our own loop did not run for ``seconds``; what came meanwhile was not heard."""

    seconds: float


class Reconfigured(Struct, frozen=True, kw_only=True):
    """A reload changed the instance."""

    subject: Subject


class DeadlinePassed(Struct, frozen=True, kw_only=True):
    """``Drain.deadline`` lies behind us; ``blind`` says why nothing can be heard, or nothing.

    ``has_link`` is False while this node could not serve anyway: its cable is out, for example.
    """

    blind: str = ""
    has_link: bool = True


Event = Asked | Ended | Promoted | Demoted | Heard | Left | Gap | Reconfigured | DeadlinePassed


# --- actions ------------------------------------------------------------------------------------


class Hold(Struct, frozen=True):
    """Set the hold file."""


class Release(Struct, frozen=True):
    """Clear the hold file."""


class Settled(Struct, frozen=True, kw_only=True):
    """It is drained. ``holder`` is empty where nobody took over and that was forced."""

    holder: str


class Freed(Struct, frozen=True, kw_only=True):
    """It is drained no more, or never was; ``is_undone``: because it would be with nobody."""

    cause: str
    is_undone: bool = False


Action = Hold | Release | Settled | Freed
Step = tuple[Drain, tuple[Action, ...]]


def step(state: Drain, event: Event, now: float, policy: Policy) -> Step:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order."""
    match event:
        case Asked(order=order, is_master=is_master):
            return _on_asked(state, order, now, policy, is_master=is_master)
        case Reconfigured(subject=subject):
            return replace(state, subject=subject, anchor=now), ()
        case _ if state.phase is Phase.FREE:
            return state, ()
        case Ended(cause=cause):
            return _free(state, cause)
        case Promoted():
            if state.phase is not Phase.PROVING:
                return state, ()
            return _free(state, "it became MASTER itself: nobody else serves it", is_undone=True)
        case Demoted():
            if not state.is_leaving:
                return state, ()
            return replace(state, is_leaving=False, anchor=now), ()
        case Heard(sighting=sighting):
            return _on_heard(state, sighting, now, policy)
        case Left(mac=mac, router_id=router_id):
            kept = tuple(
                each for each in state.sightings if (each.mac, each.router_id) != (mac, router_id)
            )
            return replace(state, sightings=kept), ()
        case Gap(seconds=seconds):
            return _on_gap(state, seconds, now), ()
        case DeadlinePassed():
            return _on_deadline(state, event, now, policy)
    assert_never(event)


def _on_asked(state: Drain, order: Order, now: float, policy: Policy, *, is_master: bool) -> Step:
    if state.is_held:
        state = replace(state, order=order)
        if state.phase is Phase.HELD and _coverage(state, now, policy):
            return state, (Settled(holder=state.holder),)
        # was forced, or is under way: the time to hear somebody begins anew
        return replace(state, phase=Phase.MOVING, anchor=now), ()
    known = () if state.phase is Phase.FREE else state.sightings
    state = replace(state, order=order, anchor=now, sightings=known, holder="")
    if is_master or order.is_forced:
        return replace(state, phase=Phase.MOVING, is_leaving=is_master), (Hold(),)
    return replace(state, phase=Phase.PROVING), ()


def _on_heard(state: Drain, sighting: Sighting, now: float, policy: Policy) -> Step:
    others = tuple(
        each
        for each in state.sightings
        if (each.mac, each.router_id) != (sighting.mac, sighting.router_id)
        and now - each.at < state.patience(policy)
    )
    state = replace(state, sightings=(*others, sighting)[-policy.sightings_limit :])
    holder = _coverage(state, now, policy)
    if not holder:
        return state, ()
    before = state.phase
    state = replace(state, phase=Phase.HELD, anchor=now, holder=holder, is_leaving=False)
    match before:
        case Phase.HELD:
            return state, ()
        case Phase.MOVING:
            return state, (Settled(holder=holder),)
        case _:
            return state, (Hold(), Settled(holder=holder))


def _on_gap(state: Drain, seconds: float, now: float) -> Drain:
    """Let time in which we did not listen count for nothing."""
    return replace(
        state,
        anchor=min(now, state.anchor + seconds),
        sightings=tuple(replace(each, at=min(now, each.at + seconds)) for each in state.sightings),
    )


def _on_deadline(state: Drain, event: DeadlinePassed, now: float, policy: Policy) -> Step:
    until = state.order.until
    if until is not None and now >= until:
        return _free(state, TIME_OVER)
    if now < state.silent_at(policy):
        return state, ()
    if state.order.is_forced:
        if state.phase is Phase.HELD:
            return state, ()
        forced = replace(state, phase=Phase.HELD, holder="", is_leaving=False)
        return forced, (Settled(holder=""),)
    if state.phase is Phase.HELD and not event.has_link:
        # Maintenance of the network: letting go would give nobody the addresses back.
        return replace(state, anchor=now), ()
    return _free(state, event.blind or _describe_silence(state, now, policy), is_undone=True)


def _free(state: Drain, cause: str, *, is_undone: bool = False) -> Step:
    release = (Release(),) if state.is_held else ()
    freed = Drain(subject=state.subject)
    return freed, (*release, Freed(cause=cause, is_undone=is_undone))


def _coverage(state: Drain, now: float, policy: Policy) -> str:
    """Return who serves every address between them, empty when one is served by nobody."""
    patience = state.patience(policy)
    fresh = [each for each in state.sightings if now - each.at < patience]
    listed = frozenset[object]().union(*(each.addresses for each in fresh))
    if not state.subject.addresses <= listed:
        return ""
    return " and ".join(dict.fromkeys(each.source for each in fresh))


def _describe_silence(state: Drain, now: float, policy: Policy) -> str:
    patience = state.patience(policy)
    if state.is_leaving:
        return f"keepalived was not seen to leave MASTER within {2 * patience:g} s"
    fresh = [each for each in state.sightings if now - each.at < patience]
    within = f"within {patience:g} s"
    if fresh:
        claimed = frozenset[object]().union(*(each.addresses for each in fresh))
        missing = listed(sorted(map(str, state.subject.addresses - claimed)))
        return f"nobody serves {missing}, though others of its addresses are served"
    match state.phase:
        case Phase.PROVING:
            return f"nobody else was heard to serve it {within}"
        case Phase.MOVING:
            return f"nobody took over {within}"
        case _:
            return f"{state.holder} had taken over, and nobody was heard to serve it {within}"
