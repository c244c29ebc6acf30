"""Watching keepalived while it, we or the whole node stand still at arbitrary times.

A little world in steps of 10 ms: in each of them keepalived runs or not, and so do we. keepalived
answers after it has run for a while, and sends adverts when their time has come and it runs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfailover_agent.keepalived import liveness
from ipfailover_agent.keepalived.dump import InstanceDump, VrrpStatistics
from ipfailover_agent.keepalived.liveness import (
    DumpFailed,
    DumpReceived,
    Event,
    Kill,
    Liveness,
    Mode,
    RequestDump,
    WatchOccurrence,
    step,
)
from ipfailover_agent.model import VrrpState
from tests.support.building import builds
from tests.support.dumps import instance_dump

STEP = 0.01
GRAIN = round(1 / STEP)


class Runs(enum.Enum):
    """Who runs."""

    BOTH = "both"
    NOBODY = "nobody"  # the node is stunned, migrated, frozen or starved
    WE = "we"  # keepalived is stopped
    KEEPALIVED = "keepalived"  # we are


@dataclass
class World:
    """keepalived, the agent's loop, and the clock."""

    cost: float  # seconds that keepalived has to run before it answers
    interval: float = 1.0
    sends: bool = True
    suspects: bool = False  # the wire looks silent all the time
    steps: int = 0
    state: Liveness = Liveness()  # noqa: RUF009 - it is frozen
    has_open: bool = False
    ran_for_it: int = 0
    is_answered: bool = False
    sent: int = 0
    next_advert: float = 0.0
    killed_at: float | None = None
    asks: int = 0

    @property
    def now(self) -> float:
        return self.steps * STEP

    def feed(self, event: Event) -> None:
        if self.killed_at is not None:
            return
        self.state, actions = step(self.state, event, self.now)
        for action in actions:
            match action:
                case RequestDump():
                    self.has_open, self.ran_for_it, self.is_answered = True, 0, False
                    self.asks += 1
                case Kill():
                    self.killed_at = self.now

    def run(self, seconds: float, who: Runs) -> None:
        for _ in range(round(seconds * GRAIN)):
            self.steps += 1
            if who in {Runs.BOTH, Runs.KEEPALIVED}:
                self._run_keepalived()
            if who in {Runs.BOTH, Runs.WE}:
                self._run_agent()

    def _run_keepalived(self) -> None:
        if self.has_open:
            self.ran_for_it += 1
            if self.ran_for_it >= self.cost * GRAIN:
                self.is_answered = True
        if self.sends and self.now >= self.next_advert:
            self.sent += 1
            self.next_advert = self.now + self.interval

    def _run_agent(self) -> None:
        if self.is_answered and self.has_open:
            self.has_open = self.is_answered = False
            self.feed(DumpReceived(instances=(self._instance(),)))
        if self.state.deadline is not None and self.now >= self.state.deadline:
            self.feed(WatchOccurrence.TICKED)
        if self.suspects:
            self.feed(WatchOccurrence.SUSPECTED)

    def _instance(self) -> InstanceDump:
        return instance_dump(VrrpState.MASTER, sent=self.sent, interval=self.interval)


def seconds(low: float, high: float) -> st.SearchStrategy[float]:
    return st.integers(round(low * GRAIN), round(high * GRAIN)).map(lambda n: n * STEP)


# A stun that is longer than a tick and what it may be late makes the tick it falls into late.
long_stuns = st.lists(
    st.tuples(seconds(0, 3), st.sampled_from([Runs.NOBODY, Runs.KEEPALIVED]), seconds(0.17, 12)),
    max_size=15,
)
# keepalived alone stands still for less than its share of a question's time
short_stops = st.lists(st.tuples(seconds(3, 6), st.just(Runs.WE), seconds(0, 0.4)), max_size=4)
# shorter stuns hide between two ticks that are both on time: half of all time at most
short_stuns = st.lists(
    seconds(0.01, 0.15).flatmap(
        lambda length: st.tuples(seconds(length, 0.4), st.just(Runs.NOBODY), st.just(length))
    ),
    min_size=20,
    max_size=60,
)


@given(
    st.one_of(
        st.tuples(seconds(0, 1.0), long_stuns),
        st.tuples(seconds(0, 0.5), short_stops),
        st.tuples(seconds(0, 0.45), short_stuns),  # half of what seems to be its time is hidden
    ),
    st.sampled_from([0.1, 1.0, 3.0]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_keepalived_that_answers_in_time_of_its_own_is_never_killed(
    schedule: tuple[float, list[tuple[float, Runs, float]]],
    interval: float,
    suspects: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    """Whatever stands still meanwhile, and whatever the wire looks like.

    In time means: within half of the limit less a tick, since a question that is repeated at a
    tick begins anew.
    """
    cost, stuns = schedule
    limit = liveness.UNANSWERED_LEAST + liveness.UNANSWERED_INTERVALS * interval
    fast = min(1.0, limit / 2 - liveness.TICK)
    world = World(cost=int(cost * fast * GRAIN) * STEP, interval=interval, suspects=suspects)
    world.feed(WatchOccurrence.WATCH_BEGAN)
    for quiet, who, length in stuns:
        world.run(quiet, Runs.BOTH)
        world.run(length * (fast if who is Runs.WE else 1), who)
    world.run(3, Runs.BOTH)
    assert world.killed_at is None


BOUND = liveness.ASK_EVERY + liveness.UNANSWERED_LIMIT + 1.5  # of rounding in a world of steps


@given(long_stuns, seconds(0, 8), seconds(0, 1.0), st.booleans())
@settings(max_examples=80, deadline=None)
def test_a_keepalived_that_stops_for_good_is_killed_in_time(
    stuns: list[tuple[float, Runs, float]],
    quiet: float,
    cost: float,
    suspects: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    """Within the interval of questions and the limit; under suspicion within the limit."""
    world = World(cost=cost, suspects=suspects)
    world.feed(WatchOccurrence.WATCH_BEGAN)
    for between, who, length in stuns:
        world.run(between, Runs.BOTH)
        world.run(length, who)
    world.run(quiet, Runs.BOTH)
    begin = world.now
    world.run(BOUND + cost, Runs.WE)
    assert world.killed_at is not None
    assert world.killed_at - begin <= BOUND


@given(st.lists(seconds(0.06, 30), max_size=60), seconds(0, 3))
@settings(max_examples=50, deadline=None)
def test_time_in_which_only_late_ticks_come_kills_nobody(
    pauses: list[float], quiet: float
) -> None:
    """We run for a moment after each pause, and keepalived not at all."""
    world = World(cost=0.05)
    world.feed(WatchOccurrence.WATCH_BEGAN)
    world.run(quiet, Runs.BOTH)
    for pause in pauses:
        world.run(liveness.TICK + pause, Runs.NOBODY)
        world.run(STEP, Runs.WE)
    assert world.killed_at is None


@given(seconds(0, 8), st.sampled_from([0.1, 1.0, 3.0, 10.0]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_master_that_stops_sending_is_killed_in_time(
    quiet: float,
    interval: float,
    suspects: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    """Two dumps alike, further apart than its interval, then its limit in time on time."""
    world = World(cost=0.01, interval=interval)
    world.feed(WatchOccurrence.WATCH_BEGAN)
    world.run(quiet, Runs.BOTH)
    world.sends, world.suspects = False, suspects
    begin = world.now
    limit = max(liveness.STANDING_LEAST, liveness.STANDING_INTERVALS * interval)
    first_dumps = liveness.ASK_EVERY + max(liveness.ASK_EVERY, 2.5 * interval)
    # a question may be open or just closed, the next dump comes half an interval later
    bound = (liveness.ASK_EVERY if suspects else first_dumps) + limit + max(1.0, interval)
    world.run(bound + 0.5, Runs.BOTH)
    assert world.killed_at is not None
    assert limit - interval - 0.5 <= world.killed_at - begin <= bound + 0.5


states = builds(
    InstanceDump,
    name=st.sampled_from("ab"),
    virtual_router_id=st.just(1),
    state=st.sampled_from(VrrpState),
    effective_priority=st.just(1),
    advert_interval=st.sampled_from([0.01, 1.0, 300.0]),
    master_advert_interval=st.sampled_from([0.01, 1.0, 300.0]),
    has_addresses=st.booleans(),
    last_transition=st.just(0.0),
    counters=builds(VrrpStatistics, advert_rcvd=st.just(0), advert_sent=st.integers(0, 3)),
)
events: st.SearchStrategy[Event] = st.one_of(
    st.sampled_from([*WatchOccurrence, WatchOccurrence.TICKED]),
    builds(DumpReceived, instances=st.lists(states, min_size=1, max_size=2).map(tuple)),
    builds(DumpFailed, reason=st.just("x")),
)


@given(st.lists(st.tuples(events, st.sampled_from([0.0, 0.05, 0.1, 0.12, 1.0, 9.0])), max_size=60))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_in_whatever_order_the_machine_stays_sound(
    story: list[tuple[Event, float]],
) -> None:
    """Nobody who is off is asked or killed, a deadline waits."""
    state, now, is_up = Liveness(), 0.0, False
    for event, pause in story:
        now += pause
        state, actions = step(state, event, now)
        match event:
            case WatchOccurrence.WATCH_BEGAN:
                is_up = True
            case WatchOccurrence.WATCH_ENDED:
                is_up = False
            case _:
                pass
        assert len(actions) <= 1
        if actions:
            assert is_up
            assert state.deadline is None or state.deadline > now
        for action in actions:
            match action:
                case RequestDump():
                    assert state.is_open
                case Kill():
                    is_up = False
        assert is_up == (state.mode is not Mode.OFF)
        assert (state.mode is not Mode.OFF) == (state.deadline is not None)
        assert is_up or not state.is_open


@pytest.mark.parametrize("frozen", [False, True], ids=["alive", "frozen"])
def test_the_world_itself_tells_the_two_apart(frozen: bool) -> None:  # noqa: FBT001
    """A check of the world: otherwise nothing here would show anything."""
    world = World(cost=0.05)
    world.feed(WatchOccurrence.WATCH_BEGAN)
    world.run(20, Runs.BOTH)
    world.run(20, Runs.WE if frozen else Runs.BOTH)
    assert frozen == (world.killed_at is not None)
    assert 4 <= world.asks <= 10
