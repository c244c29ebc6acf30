"""Watching keepalived: what makes it a hang, and all that does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest

from ipfailover_agent.keepalived.dump import InstanceDump, VrrpStatistics
from ipfailover_agent.keepalived.liveness import (
    TICK,
    Action,
    DumpFailed,
    DumpReceived,
    Event,
    Liveness,
    Mode,
    RequestDump,
    step,
    unanswered,
)
from ipfailover_agent.keepalived.liveness import WatchOccurrence as Occurs
from ipfailover_agent.model import VrrpState
from tests.support.dumps import instance_dump as instance

MASTER = VrrpState.MASTER


class Watcher:
    """The machine, its clock, and a keepalived that answers ``answer`` or, with None, nothing."""

    def __init__(self, answer: Callable[[float], tuple[InstanceDump, ...] | None]) -> None:
        self.state = Liveness()
        self.now = 1000.0
        self.answer = answer
        self.asks: list[float] = []
        self.kills: list[tuple[float, str]] = []
        self.ticks = 0
        self.has_open = False

    def feed(self, event: Event) -> tuple[Action, ...]:
        self.state, actions = step(self.state, event, self.now)
        for action in actions:
            if isinstance(action, RequestDump):
                self.asks.append(self.now)
                self.has_open = True
            else:
                self.kills.append((self.now, action.reason))
        return actions

    def run(self, seconds: float, late: float = 0.0) -> None:
        """Let time pass; each tick comes ``late`` seconds after its deadline."""
        end = self.now + seconds
        while True:
            self._answer()
            if self.state.deadline is None or self.state.deadline + late > end:
                break
            self.now = max(self.now, self.state.deadline + late)
            self._answer()
            self.ticks += 1
            self.feed(Occurs.TICKED)
        self.now = end

    def expect_kill(self, after: float, within: float, late: float = 0.0) -> None:
        """Let time pass: keepalived is killed ``within`` so long, and not before ``after``."""
        self.run(after, late)
        assert [] == self.kills
        self.run(within, late)
        assert 1 == len(self.kills)

    def sleep(self, seconds: float) -> None:
        """Let time pass in which we do not run; then what is due is done."""
        self.now += seconds
        self._answer()
        self.feed(Occurs.TICKED)

    def _answer(self) -> None:
        while self.has_open and (found := self.answer(self.now)) is not None:
            self.has_open = False
            self.feed(DumpReceived(instances=found))


def sends(interval: float = 1.0) -> Callable[[float], tuple[InstanceDump, ...]]:
    """Return a MASTER that sends its adverts."""
    return lambda now: (instance(MASTER, sent=int(now / interval), interval=interval),)


def silent(_: float) -> None:
    """Answer nothing."""


def ready(answer: Callable[[float], tuple[InstanceDump, ...] | None]) -> Watcher:
    watcher = Watcher(answer)
    watcher.feed(Occurs.WATCH_BEGAN)
    return watcher


def test_nothing_is_asked_before_keepalived_has_spoken() -> None:
    """The signal would kill it."""
    watcher = Watcher(silent)
    for event in set(Occurs) - {Occurs.WATCH_BEGAN}:
        assert () == watcher.feed(event)
    assert Liveness() == watcher.state


def test_it_is_asked_at_once_and_then_at_intervals() -> None:
    """Between two questions nothing wakes the loop."""
    watcher = ready(sends())
    watcher.run(26)
    assert [1000.0, 1005.0, 1010.0, 1015.0, 1020.0, 1025.0] == watcher.asks
    assert watcher.ticks == 5
    assert sends()(1025.0) == watcher.state.dump


def test_a_question_that_stays_unanswered_kills() -> None:
    """After two seconds and two repetitions, once."""
    watcher = ready(silent)
    watcher.run(30)
    (at, reason) = watcher.kills[0]
    assert at == pytest.approx(1002.0)
    assert reason == "it gave no answer within 2 s in which this agent ran on time"
    assert 1 == len(watcher.kills)
    asked = [1000.0, pytest.approx(1000.2), pytest.approx(1001.0)]
    assert asked == watcher.asks
    assert Liveness() == watcher.state


@pytest.mark.parametrize(
    ("interval", "limit"), [(0.1, 1.3), (0.25, 1.75), (1.0, 2.0), (40.0, 2.0)]
)
def test_a_fast_keepalived_has_to_answer_sooner(interval: float, limit: float) -> None:
    """Its successor takes over sooner, too; never less than a second."""
    watcher = ready(sends(interval))
    watcher.run(0.5)
    watcher.answer = silent
    watcher.feed(Occurs.SUSPECTED)
    asked_at = watcher.asks[-1]
    watcher.run(limit - 0.05)
    assert [] == watcher.kills
    watcher.run(0.2)
    [(at, reason)] = watcher.kills
    assert at == pytest.approx(asked_at + limit, abs=0.11)
    assert f"within {limit:g} s in which" in reason


@pytest.mark.parametrize(
    "late",
    [DumpReceived(instances=(instance(MASTER),)), DumpFailed(reason="x")],
    ids=["answer", "failure"],
)
def test_what_comes_without_a_question_is_no_answer(late: Event) -> None:
    """A late answer says nothing about now; neither does a late failure."""
    watcher = ready(sends())
    watcher.run(0.5)
    before = watcher.state
    assert () == watcher.feed(late)
    assert before == watcher.state


def test_the_first_answer_closes_a_repeated_question() -> None:
    """Once answered, there is nothing left to wait for, and the next question starts anew."""
    watcher = ready(silent)
    watcher.run(1.5)
    watcher.answer = sends()
    watcher.run(3)
    watcher.answer = silent
    watcher.expect_kill(3.4, 1)


@pytest.mark.parametrize("late", [0.051, 1.0, 30.0])
def test_time_in_which_we_came_late_does_not_count(late: float) -> None:
    """However often: nobody knows whether keepalived ran either."""
    watcher = ready(silent)
    watcher.run(500, late=late)
    assert [] == watcher.kills
    assert unanswered(watcher.state) == 0.0
    watcher.run(2.3)
    assert 1 == len(watcher.kills)


def test_a_little_late_is_on_time() -> None:
    """A busy node must not keep us from seeing a hang: then it takes a little longer."""
    watcher = ready(silent)
    watcher.expect_kill(2.9, 0.2, late=0.05)


def test_a_stun_counts_nothing_and_what_was_counted_before_is_kept() -> None:
    """Two seconds on time, with an hour between them."""
    watcher = ready(silent)
    watcher.run(1.05)
    watcher.sleep(3600)
    assert unanswered(watcher.state) == pytest.approx(1.0)
    watcher.expect_kill(0.95, 0.1)


def test_a_gap_that_the_loop_tells_starts_the_count_anew() -> None:
    """The tick that follows it is on time again."""
    watcher = ready(silent)
    watcher.run(1.95)
    watcher.now += 5
    watcher.feed(Occurs.TICKS_MISSED)
    watcher.expect_kill(1.95, 0.1)
    assert 3 == len(watcher.asks), "a question is repeated twice, so that signals never pile up"


def test_a_stun_right_before_an_answer_is_harmless() -> None:
    """What has arrived is looked at before the clock is."""
    watcher = ready(silent)
    watcher.run(1.95)
    watcher.answer = sends()
    watcher.sleep(60)
    watcher.run(10)
    assert [] == watcher.kills


def test_a_reload_is_given_more_time_and_not_for_ever() -> None:
    """What keepalived owes since before the reload counts as well: it may hang since then."""
    watcher = ready(silent)
    watcher.run(1.5)
    watcher.feed(Occurs.REREADING_BEGAN)
    assert Mode.PAUSED is watcher.state.mode
    watcher.run(1.45)
    assert () == watcher.feed(Occurs.SUSPECTED)
    assert [] == watcher.kills
    watcher.run(0.1)
    assert 1 == len(watcher.kills)


def test_a_question_begins_after_a_tick_that_is_due() -> None:
    """A tick that has passed before the question counts before it, and wakes nobody again."""
    watcher = ready(silent)
    watcher.feed(Occurs.SUSPECTED)
    watcher.now += TICK / 2
    watcher.feed(DumpReceived(instances=(instance(MASTER),)))
    assert watcher.state.tick_at is not None
    watcher.now = watcher.state.tick_at
    watcher.feed(Occurs.REREADING_BEGAN)
    assert 2 == len(watcher.asks)
    assert watcher.now + TICK == watcher.state.deadline
    assert 1 == watcher.state.ticks == watcher.state.asked_ticks


def test_the_end_of_a_reload_begins_the_count_anew() -> None:
    """keepalived had other things to do."""
    watcher = ready(silent)
    watcher.run(1.5)
    watcher.feed(Occurs.REREADING_BEGAN)
    watcher.run(1.4)
    assert () == watcher.feed(Occurs.REREADING_ENDED)
    assert () == watcher.feed(Occurs.REREADING_ENDED)
    watcher.expect_kill(1.85, 0.2)  # a tick was under way


def test_a_keepalived_that_hangs_is_asked_when_a_reload_begins() -> None:
    """No question was open: without one it would hang until the reload is given up."""
    watcher = ready(sends())
    watcher.run(2)
    watcher.answer = silent
    assert (RequestDump(),) == watcher.feed(Occurs.REREADING_BEGAN)
    watcher.expect_kill(2.95, 0.2)


def test_an_answer_during_a_reload_is_taken_and_measures_nothing() -> None:
    """Signals are not lost in a reload; that it answers at all is what counts."""
    watcher = ready(silent)
    watcher.run(0.5)
    watcher.feed(Occurs.REREADING_BEGAN)
    watcher.answer = lambda _: (instance(MASTER, sent=5),)
    watcher.run(60)
    assert [] == watcher.kills
    assert (instance(MASTER, sent=5),) == watcher.state.dump
    assert {} == watcher.state.standing
    assert 55 <= len(watcher.asks) <= 65
    watcher.feed(Occurs.REREADING_ENDED)
    assert Mode.ON is watcher.state.mode


def test_nothing_is_watched_once_keepalived_ends() -> None:
    """The dump of one that is gone is true no more; questions go on being numbered."""
    watcher = ready(sends())
    watcher.run(7)
    watcher.feed(Occurs.WATCH_ENDED)
    assert Liveness() == watcher.state
    watcher.feed(Occurs.WATCH_BEGAN)
    assert watcher.state.is_open


def test_a_new_vrrp_child_is_measured_anew() -> None:
    """keepalived says that it is ready again when it had to replace it."""
    watcher = ready(silent)
    watcher.run(1.9)
    watcher.feed(Occurs.WATCH_BEGAN)
    watcher.run(1.9)
    assert [] == watcher.kills
    assert (6, True) == (len(watcher.asks), watcher.state.is_open)


def test_a_question_that_cannot_be_answered_kills_nobody() -> None:
    """A full run directory is not keepalived's fault; it is asked again, and said."""
    watcher = ready(silent)
    for _ in range(20):
        watcher.run(0.15)
        watcher.feed(DumpFailed(reason="no space left"))
        watcher.run(4.85)
    assert [] == watcher.kills
    assert 21 == len(watcher.asks)


# --- adverts ------------------------------------------------------------------------------------


def test_a_master_that_sends_nothing_is_killed() -> None:
    """Its dumps are answered all the while."""
    watcher = ready(lambda _: (instance(MASTER, sent=7), instance(VrrpState.BACKUP, name="vi2")))
    watcher.run(60)
    ((at, reason),) = watcher.kills
    assert 1008.0 <= at <= 1009.0
    assert re.fullmatch(
        r"instance vi1 is MASTER and sent no advert for 3\.\d s in which this agent ran on time;"
        r" it should every 1 s",
        reason,
    )


def test_after_a_suspicion_a_master_that_sends_nothing_is_killed_sooner() -> None:
    """Three of its intervals after the question that the suspicion asks."""
    watcher = ready(lambda now: (instance(MASTER, sent=min(int(now), 1006)),))
    watcher.run(8)
    watcher.feed(Occurs.SUSPECTED)
    watcher.run(3.6)
    ((at, _),) = watcher.kills
    assert 1011.0 <= at <= 1011.6


@pytest.mark.parametrize(
    "states",
    [
        (VrrpState.BACKUP,),
        (VrrpState.FAULT,),
        (MASTER, VrrpState.BACKUP),
        (MASTER, MASTER, MASTER, VrrpState.FAULT),
    ],
    ids=["backup", "fault", "flapping", "falling now and then"],
)
def test_only_a_master_in_every_dump_has_to_send(states: tuple[VrrpState, ...]) -> None:
    """Whoever was no MASTER in between had no advert to send."""
    numbers = iter(range(10_000))
    watcher = ready(lambda _: (instance(states[next(numbers) % len(states)], sent=7),))
    for _ in range(30):
        watcher.feed(Occurs.SUSPECTED)
        watcher.run(1)
    assert [] == watcher.kills


@pytest.mark.parametrize("interval", [0.01, 0.1, 0.25, 1.0, 2.0, 10.0, 255.0])
def test_whoever_sends_at_its_interval_is_left_alone(interval: float) -> None:
    """Also one slower than our questions, which finds two dumps alike, and under suspicion."""
    watcher = ready(sends(interval))
    for _ in range(300):
        watcher.feed(Occurs.SUSPECTED)
        watcher.run(7)
    assert [] == watcher.kills


def test_the_longer_one_of_two_intervals_counts() -> None:
    """Version 3 keeps the interval of the master it heard last beside its own."""
    watcher = ready(lambda _: (instance(MASTER, sent=1, master_advert_interval=10.0),))
    watcher.expect_kill(30, 20)


def test_a_fast_instance_gets_a_second() -> None:
    """At 0.1 s adverts three intervals are less than a node may be busy."""
    watcher = ready(lambda _: (instance(MASTER, sent=1, interval=0.1),))
    watcher.run(5)
    watcher.feed(Occurs.SUSPECTED)
    watcher.expect_kill(0.9, 0.7)


def test_silence_that_we_slept_through_kills_nobody() -> None:
    """Every dump looks alike, but no tick came on time between them."""
    watcher = ready(lambda _: (instance(MASTER, sent=1),))
    watcher.run(600, late=0.2)
    assert [] == watcher.kills
    watcher.run(5)
    assert 1 == len(watcher.kills)


@pytest.mark.parametrize(
    "event", [Occurs.TICKS_MISSED, Occurs.REREADING_BEGAN], ids=["gap", "reload"]
)
def test_what_is_measured_across_a_break_is_worth_nothing(event: Event) -> None:
    """Adverts are counted from the first dump after it."""
    watcher = ready(lambda _: (instance(MASTER, sent=1),))
    watcher.feed(Occurs.SUSPECTED)
    watcher.run(2.5)
    watcher.feed(event)
    watcher.feed(Occurs.REREADING_ENDED)
    watcher.expect_kill(2.5, 6)


def test_counters_that_start_anew_are_progress() -> None:
    """A VRRP child that was replaced counts from 0."""
    numbers = iter(range(10_000, 0, -1))
    watcher = ready(lambda _: (instance(MASTER, sent=next(numbers)),))
    watcher.feed(Occurs.SUSPECTED)
    watcher.run(60)
    assert [] == watcher.kills


# --- suspicions ---------------------------------------------------------------------------------


def test_a_suspicion_ends_when_everybody_has_sent() -> None:
    """Instances send at their own times; who has sent once is cleared."""

    def answer(now: float) -> tuple[InstanceDump, ...]:
        return tuple(instance(MASTER, name=f"vi{n}", sent=int(now + n / 50)) for n in range(50))

    watcher = ready(answer)
    watcher.run(2.7)
    watcher.feed(Occurs.SUSPECTED)
    assert watcher.state.is_alarmed
    watcher.run(0.3)
    assert 0 < len(watcher.state.suspects) <= 50
    watcher.run(1.5)
    assert frozenset() == watcher.state.suspects
    asked = len(watcher.asks)
    ticks = watcher.ticks
    watcher.run(1)
    assert (asked, ticks) == (len(watcher.asks), watcher.ticks)
    assert asked <= 6


def test_adverts_sent_before_a_suspicion_prove_nothing() -> None:
    """The first dump after it only says where to count from."""
    watcher = ready(lambda now: (instance(MASTER, sent=1 if now < 1002 else 2),))
    watcher.run(4)
    watcher.feed(Occurs.SUSPECTED)
    watcher.run(0.1)
    assert {"vi1"} == watcher.state.suspects


def test_lasting_silence_on_the_wire_is_looked_at_now_and_then() -> None:
    """The last unicast peer is off, or a firewall drops what we send: adverts are counted."""
    watcher = ready(sends())
    for _ in range(1200):
        watcher.feed(Occurs.SUSPECTED)
        watcher.run(0.5)
    assert [] == watcher.kills
    assert len(watcher.asks) < 600 / 5 * 6


def test_a_slow_instance_is_looked_at_twice_an_interval() -> None:
    """More often would show nothing new."""
    watcher = ready(sends(6.0))
    watcher.run(1)
    watcher.feed(Occurs.SUSPECTED)
    asked = len(watcher.asks)
    watcher.run(2.9)
    assert 0 == len(watcher.asks) - asked
    watcher.run(2.8)
    assert 1 == len(watcher.asks) - asked


def test_without_dumps_nobody_is_looked_at_closely() -> None:
    """A suspicion that cannot be followed ends."""
    watcher = ready(sends())
    watcher.run(1)
    watcher.answer = silent
    watcher.feed(Occurs.SUSPECTED)
    watcher.feed(DumpFailed(reason="x"))
    assert (False, frozenset(), None) == (
        watcher.state.is_alarmed,
        watcher.state.suspects,
        watcher.state.tick_at,
    )
    watcher.answer = lambda _: (instance(MASTER, sent=1),)
    watcher.feed(Occurs.SUSPECTED)
    assert {"vi1"} != watcher.state.suspects
    watcher.run(0.3)
    assert {"vi1"} == watcher.state.suspects
    watcher.answer = silent
    watcher.run(0.5)
    watcher.feed(DumpFailed(reason="x"))
    assert frozenset() == watcher.state.suspects


def test_a_tick_before_its_time_changes_nothing() -> None:
    """Neither is it counted, nor is anything asked."""
    watcher = ready(silent)
    watcher.now += 0.09
    before = watcher.state
    assert () == watcher.feed(Occurs.TICKED)
    assert before == watcher.state


def test_questions_keep_their_distance() -> None:
    """Whoever wants dumps, however often, gets ten a second; only the last wish is kept."""
    watcher = ready(sends())
    for _ in range(100):
        watcher.feed(Occurs.DUMP_WANTED)
        watcher.run(0.02)
    times = watcher.asks
    assert all(later - at >= 0.1 - 1e-9 for at, later in pairwise(times))
    assert 18 <= len(times) <= 21


def test_a_dump_that_is_wanted_is_newer_than_the_wish() -> None:
    """The open question was asked before."""
    watcher = ready(silent)
    watcher.run(0.15)
    assert () == watcher.feed(Occurs.DUMP_WANTED)
    watcher.answer = sends()
    watcher.run(0.01)
    assert 2 == len(watcher.asks)
    watcher.run(4)
    assert 2 == len(watcher.asks)


def test_a_wish_does_not_postpone_what_is_due() -> None:
    """Right after an answer the next question comes after the least delay, not five seconds."""
    watcher = ready(sends())
    watcher.run(0.05)
    watcher.feed(Occurs.DUMP_WANTED)
    assert watcher.state.deadline == pytest.approx(1000.1)


@pytest.mark.parametrize(
    "event", [Occurs.TICKED, Occurs.REREADING_ENDED], ids=["tick", "end of a reload"]
)
def test_an_event_out_of_place_changes_nothing(event: Event) -> None:
    """Nothing is due, nothing was reloaded."""
    watcher = ready(sends())
    watcher.run(1)
    before = watcher.state
    assert () == watcher.feed(event)
    assert before == watcher.state


def test_between_questions_the_machine_is_at_rest() -> None:
    """No ticks are counted while nothing is measured."""
    watcher = ready(sends())
    watcher.run(1)
    assert (None, 1005.0) == (watcher.state.tick_at, watcher.state.deadline)


def test_without_a_question_nothing_is_unanswered() -> None:
    """Nor before the first."""
    assert unanswered(Liveness()) == 0.0


def test_a_master_that_counts_what_it_receives_is_not_killed() -> None:
    """Whoever floods it with adverts that it refuses is not to take its addresses away."""

    def flooded(now: float) -> tuple[InstanceDump, ...]:
        counters = VrrpStatistics(advert_rcvd=0, advert_sent=7, addr_list_err=int(now * 100))
        return (instance(MASTER, counters=counters),)

    watcher = Watcher(flooded)
    watcher.feed(Occurs.WATCH_BEGAN)
    watcher.feed(Occurs.SUSPECTED)
    watcher.run(60.0)
    assert [] == watcher.kills


@pytest.mark.parametrize(
    "event",
    [
        *(each for each in Occurs if each is not Occurs.WATCH_BEGAN),
        DumpFailed(reason="late"),
        DumpReceived(instances=(instance(MASTER),)),
    ],
    ids=lambda each: getattr(each, "name", type(each).__name__),
)
def test_without_a_keepalived_nobody_is_asked_or_killed(event: Event) -> None:
    """Whatever arrives late."""
    state, actions = step(Liveness(), event, 5.0)
    assert ((), None) == (actions, state.deadline)
