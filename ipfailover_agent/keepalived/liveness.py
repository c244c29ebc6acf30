"""Whether keepalived hangs, as a state machine: dumps and the passing of time -> ask, kill.

:func:`step` is pure. Two faults, and nothing else, lead to :class:`Kill`:

- a question, repeated once, stays unanswered;
- an instance is MASTER in every dump and counts nothing: no advert sent, and none received.

Both are measured in time in which the agent's loop ran on time, counted in ticks. A tick that
comes late counts nothing: while this node was stunned, frozen or starved, so was keepalived, and
how long it has really run is unknown. Silence on the wire is only a reason to ask.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.keepalived.dump import InstanceDump, VrrpStatistics

_HARMLESS_INTERVALS = 1.5  # of adverts; with less between them two dumps may well be equal
_ROUNDING = 1e-6  # seconds

# Delays in seconds. A keepalived that is frozen for good is killed within ASK_EVERY and
# UNANSWERED_LIMIT of time on time; within the latter after SUSPECTED. With fast adverts its
# successor takes over sooner, and the limit is UNANSWERED_LEAST and UNANSWERED_INTERVALS adverts.
# keepalived 2.2.7 answers within 2 ms, within 0.25 s while 254 instances start. In a reload it is
# asked as well, every RELOAD_EVERY, and has RELOAD_LIMIT: a keepalived that was frozen before it
# could read of the reload would else hold its addresses until the agent gives the reload up.
# A question is lost when the VRRP child ends, and now and then right after a reload (2.2.7).
ASK_EVERY: Final = 5.0
ASK_LEAST: Final = 0.1  # between two questions, whatever wants them
UNANSWERED_LIMIT: Final = 2.0
UNANSWERED_INTERVALS: Final = 3.0
UNANSWERED_LEAST: Final = 1.0
REPEAT_AFTER: Final = (0.1, 0.5)  # of the limit: questions can be lost
RELOAD_LIMIT: Final = 3.0
RELOAD_EVERY: Final = 1.0
TICK: Final = 0.1
TOLERANCE: Final = 0.05  # by which a tick may come late
STANDING_INTERVALS: Final = 3.0
STANDING_LEAST: Final = 1.0
INSPECT_LEAST: Final = 0.25  # between two questions while an instance seems to stand still


# --- events -------------------------------------------------------------------------------------


class WatchOccurrence(enum.Enum):
    """An event of the watch that has no fields."""

    WATCH_BEGAN = enum.auto()  # keepalived reported that it has started: it may be signalled
    WATCH_ENDED = enum.auto()  # keepalived ended, or is about to
    REREADING_BEGAN = enum.auto()  # keepalived got the signal to read its file again
    REREADING_ENDED = enum.auto()  # keepalived has read its file, or the agent waits no longer
    TICKED = enum.auto()  # ``Liveness.deadline`` has passed; look for an answer before
    SUSPECTED = enum.auto()  # own adverts are not seen, or a rival is: look closely
    DUMP_WANTED = enum.auto()  # a dump is wanted that is newer than this moment
    TICKS_MISSED = enum.auto()  # the loop did not run: what was measured across is worth nothing


class DumpReceived(Struct, frozen=True, kw_only=True):
    """The open question was answered; ``instances`` is never empty."""

    instances: tuple[InstanceDump, ...]


class DumpFailed(Struct, frozen=True, kw_only=True):
    """The open question will not be answered, and that is not keepalived's fault."""

    reason: str


Event = WatchOccurrence | DumpReceived | DumpFailed


# --- actions ------------------------------------------------------------------------------------


class RequestDump(Struct, frozen=True):
    """Ask for a dump. One that was asked for before is no longer waited for."""


class Kill(Struct, frozen=True, kw_only=True):
    """keepalived hangs: kill its process group. ``reason`` is for the log."""

    reason: str


Action = RequestDump | Kill
Step = tuple["Liveness", tuple[Action, ...]]


# --- the state ----------------------------------------------------------------------------------


class Mode(enum.Enum):
    """Whether keepalived is watched."""

    OFF = "off"  # it is not there, starts or stops
    ON = "on"
    PAUSED = "paused"  # it reloads: only whether it answers at all counts


class Unchanged(Struct, frozen=True, kw_only=True):
    """Since when an instance has counted as it does: monotonic seconds, and ticks on time."""

    counters: VrrpStatistics
    at: float
    ticks: int = 0


def unchanged(
    before: Mapping[str, Unchanged], instance: InstanceDump, now: float, ticks: int = 0
) -> Unchanged:
    """Return since when an instance counted nothing; ``before``: what is known, by name."""
    known = before.get(instance.name)
    if known is not None and known.counters == instance.counters:
        return known
    return Unchanged(counters=instance.counters, at=now, ticks=ticks)


class Liveness(Struct, frozen=True, kw_only=True):
    """Everything that watching remembers. Times are monotonic seconds.

    Attributes:
        deadline: when to send TICKED, None for never.
        dump: the newest one, empty before the first and without keepalived.
        is_open: a question has no answer yet.
        repeats: how often it was asked again.
        asked_at: when the last question was asked.
        asked_ticks: ``ticks`` when counting began for the open question.
        ask_at: when the next question is due.
        is_wanted: it is due as soon as the open one is answered.
        ticks: ticks on time, in all; they are counted only while that is needed.
        tick_at: when the next one is due, None while they are not counted.
        standing: by name, the instances that were MASTER in the last dump.
        is_alarmed: every MASTER of the next dump becomes a suspect.
        suspects: names of instances that have yet to show that they send adverts.
        cleared_at: when the last suspicion proved wrong.
    """

    mode: Mode = Mode.OFF
    deadline: float | None = None
    dump: tuple[InstanceDump, ...] = ()
    is_open: bool = False
    repeats: int = 0
    asked_at: float = 0.0
    asked_ticks: int = 0
    ask_at: float = 0.0
    is_wanted: bool = False
    ticks: int = 0
    tick_at: float | None = None
    standing: Mapping[str, Unchanged] = field(default_factory=dict)
    is_alarmed: bool = False
    suspects: frozenset[str] = frozenset()
    cleared_at: float | None = None


def unanswered(state: Liveness) -> float:
    """Return for how many seconds on time the open question has been open, 0 without one."""
    if not state.is_open:
        return 0.0
    return (state.ticks - state.asked_ticks) * TICK


def unanswered_limit(state: Liveness) -> float:
    """Return for how many seconds on time a question may stay open."""
    intervals = [each.advert_interval for each in state.dump]
    if not intervals:
        return UNANSWERED_LIMIT
    wanted = UNANSWERED_LEAST + UNANSWERED_INTERVALS * min(intervals)
    return min(wanted, UNANSWERED_LIMIT)


def step(state: Liveness, event: Event, now: float) -> Step:
    """Return the state after ``event`` at ``now`` and what to do.

    An event that does not matter leaves everything as it is.
    """
    match event:
        case WatchOccurrence.WATCH_BEGAN:
            # also when only its VRRP child is a new one: nothing that was measured holds
            return _ask(Liveness(mode=Mode.ON), now)
        case WatchOccurrence.WATCH_ENDED:
            return Liveness(), ()
        case _ if state.mode is Mode.OFF:
            return state, ()
        case WatchOccurrence.REREADING_BEGAN:
            # An open question stays open: signals wait for keepalived, it answers after all.
            state = replace(state, mode=Mode.PAUSED, standing={})
            if not state.is_open:
                return _ask(state, now)
            return _plan(state, now), ()
        case WatchOccurrence.REREADING_ENDED if state.mode is Mode.PAUSED:
            return _want(_forget(replace(state, mode=Mode.ON)), now)
        case DumpReceived(instances=instances) if state.is_open:
            return _on_answer(state, instances, now)
        case DumpFailed() if state.is_open:
            state = replace(_forget(state), is_open=False, is_alarmed=False, suspects=frozenset())
            return _plan(_schedule(state, {}, now), now), ()
        case WatchOccurrence.TICKED:
            return _on_tick(state, now)
        case WatchOccurrence.SUSPECTED:
            return _on_suspicion(state, now)
        case WatchOccurrence.DUMP_WANTED:
            return _want(state, now)
        case WatchOccurrence.TICKS_MISSED:
            return _plan(_forget(state), now), ()
        case WatchOccurrence.REREADING_ENDED | DumpReceived() | DumpFailed():
            return state, ()
    assert_never(event)


def _on_suspicion(state: Liveness, now: float) -> Step:
    """Look closely, unless that goes on, or was just done and found nothing."""
    if state.is_alarmed or state.suspects:
        return state, ()
    if state.cleared_at is not None and now - state.cleared_at < ASK_EVERY:
        return state, ()
    return _want(replace(state, is_alarmed=True), now)


def _on_tick(state: Liveness, now: float) -> Step:
    """Count time on time; ask, repeat or give up where it is time to."""
    state = _count(state, now)
    if not state.is_open:
        return _ask(state, now) if now >= state.ask_at else (_plan(state, now), ())
    waited = state.ticks - state.asked_ticks
    is_reloading = state.mode is Mode.PAUSED
    limit = RELOAD_LIMIT if is_reloading else unanswered_limit(state)
    if _reached(waited, limit):
        reason = f"it gave no answer within {limit:g} s in which this agent ran on time"
        return Liveness(), (Kill(reason=reason),)
    due = REPEAT_AFTER[state.repeats : state.repeats + 1]
    if due and _reached(waited, due[0] * limit):
        return _put(replace(state, repeats=state.repeats + 1), now)
    return _plan(state, now), ()


def _on_answer(state: Liveness, instances: tuple[InstanceDump, ...], now: float) -> Step:
    state = replace(state, is_open=False, dump=instances)
    if state.mode is Mode.PAUSED:
        ask_at = max(state.asked_at + RELOAD_EVERY, now)
        return _plan(replace(state, ask_at=ask_at), now), ()
    masters = {each.name: each for each in instances if each.state is VrrpState.MASTER}
    # An instance that counts what it receives, refused adverts too, works: a flood of those can
    # keep keepalived (2.2.7) from sending for seconds, and must not have it killed.
    standing = {
        name: unchanged(state.standing, each, now, state.ticks) for name, each in masters.items()
    }
    for name, since in standing.items():
        ticks = state.ticks - since.ticks
        own, heard = masters[name].advert_interval, masters[name].master_advert_interval
        if _reached(ticks, max(STANDING_INTERVALS * max(own, heard), STANDING_LEAST)):
            reason = (
                f"instance {name} is MASTER and sent no advert for {ticks * TICK:.1f} s in which"
                f" this agent ran on time; it should every {own:g} s"
            )
            return Liveness(), (Kill(reason=reason),)
    suspects = _suspects(state, masters, standing, now)
    if (state.is_alarmed or state.suspects) and not suspects:
        state = replace(state, cleared_at=now)
    state = replace(state, standing=standing, is_alarmed=False, suspects=suspects)
    return _plan(_schedule(state, masters, now), now), ()


# --- adverts ------------------------------------------------------------------------------------


def _suspects(
    state: Liveness,
    masters: Mapping[str, InstanceDump],
    standing: Mapping[str, Unchanged],
    now: float,
) -> frozenset[str]:
    """Return the MASTERs that have yet to send an advert; time passes unmeasured until here."""
    if state.is_alarmed:  # adverts sent before the alarm show nothing
        return frozenset(masters)
    found = set()
    for name, since in standing.items():
        has_moved = name in state.standing and since.at == now
        too_long = now - since.at >= _HARMLESS_INTERVALS * masters[name].advert_interval
        if too_long or (name in state.suspects and not has_moved):
            found.add(name)
    return frozenset(found)


def _want(state: Liveness, now: float) -> Step:
    """Ask now, or as soon as that is allowed."""
    if state.mode is Mode.PAUSED or state.is_open:
        return _plan(replace(state, is_wanted=True), now), ()
    if now < state.asked_at + ASK_LEAST:
        ask_at = min(state.ask_at, state.asked_at + ASK_LEAST)
        return _plan(replace(state, ask_at=ask_at), now), ()
    return _ask(state, now)


def _count(state: Liveness, now: float) -> Liveness:
    """Count a tick that is due."""
    if state.tick_at is None or now < state.tick_at:
        return state
    on_time = now - state.tick_at <= TOLERANCE
    return replace(state, ticks=state.ticks + on_time, tick_at=now + TICK)


def _ask(state: Liveness, now: float) -> Step:
    state = _count(state, now)  # it passed before the question
    state = replace(state, repeats=0, is_wanted=False, asked_ticks=state.ticks)
    return _put(state, now)


def _put(state: Liveness, now: float) -> Step:
    return _plan(replace(state, is_open=True, asked_at=now), now), (RequestDump(),)


def _schedule(state: Liveness, masters: Mapping[str, InstanceDump], now: float) -> Liveness:
    """Say when the next question is due, now that the last one is closed."""
    delay = ASK_EVERY
    if state.suspects:
        shortest = min(masters[name].advert_interval for name in state.suspects)
        delay = min(max(shortest / 2, INSPECT_LEAST), ASK_EVERY)
    if state.is_wanted:
        delay = ASK_LEAST
    return replace(state, is_wanted=False, ask_at=max(state.asked_at + delay, now))


def _forget(state: Liveness) -> Liveness:
    """Drop what was measured: what it was measured across is no time on time."""
    return replace(state, standing={}, asked_ticks=state.ticks)


def _plan(state: Liveness, now: float) -> Liveness:
    """Set the deadline, and count ticks only while they are needed."""
    if not (state.is_open or state.is_alarmed or state.suspects):
        return replace(state, tick_at=None, deadline=state.ask_at)
    tick_at = now + TICK if state.tick_at is None else state.tick_at
    deadline = tick_at if state.is_open else min(tick_at, state.ask_at)
    return replace(state, tick_at=tick_at, deadline=deadline)


def _reached(ticks: int, limit: float) -> bool:
    return ticks * TICK >= limit - _ROUNDING
