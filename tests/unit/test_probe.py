"""Rounds of probes, and the verdict that they lead to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from ipfailover_agent.core.model import PortCheck, PortProbes
from ipfailover_agent.core.supervising.probe import (
    Action,
    Answer,
    Answered,
    Begin,
    Close,
    Connect,
    DeadlinePassed,
    End,
    Event,
    ProbePolicy,
    ProbeState,
    Report,
    policy_for,
    step,
)

HERE = ip_address("192.0.2.11")
WEB, MAIL = PortCheck(address=HERE, port=8080), PortCheck(address=HERE, port=25)


class Bench:
    """A state machine with its clock, and the actions of the last event."""

    def __init__(self, *ports: PortCheck, rise: int = 1, fall: int = 1, **times: float) -> None:
        self.policy = ProbePolicy(
            ports=ports or (WEB,),
            interval=times.get("interval", 0.25),
            timeout=times.get("timeout", 0.25),
            rise=rise,
            fall=fall,
        )
        self.state = ProbeState()
        self.now = 100.0

    def feed(self, event: Event) -> tuple[Action, ...]:
        """Feed an event."""
        self.state, actions = step(self.state, event, self.now, self.policy)
        return actions

    def wait(self, seconds: float | None = None) -> tuple[Action, ...]:
        """Go on to the deadline, or by so many seconds, and feed that it passed."""
        deadline = self.state.deadline
        assert deadline is not None
        self.now = deadline if seconds is None else self.now + seconds
        return self.feed(DeadlinePassed())

    def answer(self, *failures: str) -> list[Report]:
        """Answer every port in waiting, in order; return the reports."""
        waiting = self.state.waiting
        answers = tuple(
            Answer(port=port, failure=failure)
            for port, failure in zip(waiting, failures or [""] * len(waiting), strict=True)
        )
        return [each for each in self.feed(Answered(answers)) if isinstance(each, Report)]

    def round(self, failure: str = "") -> list[Report]:
        """Have one whole round of one port end like that."""
        assert self.wait()[-1:] == (Connect(WEB),)
        return self.answer(failure)


GOOD = Report(is_healthy=True, reason="")
REFUSED = Report(is_healthy=False, reason="port 8080 of 192.0.2.11: refused")
TIMED_OUT = Report(is_healthy=False, reason="port 8080 of 192.0.2.11: timed out after 0.25 s")


@pytest.mark.parametrize(("failure", "expected"), [("", GOOD), ("refused", REFUSED)])
def test_the_first_round_decides_whatever_rise_and_fall_say(
    failure: str, expected: Report
) -> None:
    """As keepalived 2.2.7 does with the first result of a script."""
    bench = Bench(rise=3, fall=3)
    assert bench.state.is_healthy is None
    assert bench.feed(Begin()) == (Connect(WEB),)
    assert bench.answer(failure) == [expected]
    assert bench.state.reason == expected.reason


def test_a_verdict_changes_after_fall_and_rise_rounds_in_a_row() -> None:
    """Each change is told once; a round between that says otherwise begins the count again."""
    bench = Bench(rise=3, fall=2)
    bench.feed(Begin())
    assert bench.answer() == [GOOD]
    told = [
        bench.round(failure) for failure in ("no", "", "refused", "refused", "refused", "", "", "")
    ]
    assert told == [[], [], [], [REFUSED], [], [], [], [GOOD]]
    interrupted = [bench.round(each) for each in ("x", "refused", "", "", "x", "", "", "")]
    assert interrupted == [[], [REFUSED], [], [], [], [], [], [GOOD]]


def test_every_port_has_to_answer() -> None:
    """One by one, and the verdict is known with the last one."""
    bench = Bench(WEB, MAIL)
    assert bench.feed(Begin()) == (Connect(WEB), Connect(MAIL))
    assert bench.feed(Answered((Answer(port=MAIL),))) == ()
    assert bench.state.waiting == (WEB,)
    assert bench.feed(Answered((Answer(port=WEB),))) == (GOOD,)


def test_a_refusal_ends_the_round_at_once() -> None:
    """Whatever the others would have said: their connections are closed."""
    bench = Bench(MAIL, WEB)
    bench.feed(Begin())
    actions = bench.feed(Answered((Answer(port=WEB, failure="refused"),)))
    assert actions == (Close(MAIL), REFUSED)
    assert bench.feed(Answered((Answer(port=MAIL),))) == ()


def test_all_that_failed_together_is_named() -> None:
    """In the order of the answers."""
    bench = Bench(WEB, MAIL)
    bench.feed(Begin())
    [report] = bench.answer("refused", "no route to host")
    assert report.reason == (
        "port 8080 of 192.0.2.11: refused; port 25 of 192.0.2.11: no route to host"
    )


def test_silence_counts_as_failed_after_the_timeout_and_the_next_round_begins() -> None:
    """With a timeout of one interval both are due at the same moment."""
    bench = Bench()
    bench.feed(Begin())
    assert bench.state.deadline == 100.25
    assert bench.wait() == (Close(WEB), TIMED_OUT, Connect(WEB))
    assert bench.state.deadline == 100.5


def test_a_short_timeout_does_not_bring_the_next_round_forward() -> None:
    """The grid stays."""
    bench = Bench(timeout=0.1)
    bench.feed(Begin())
    assert bench.wait()[0] == Close(WEB)
    assert (100.1, 100.25) == (bench.now, bench.state.deadline)


def test_rounds_that_a_long_timeout_overlaps_are_left_out() -> None:
    """One round at a time; the next one begins on the grid."""
    bench = Bench(timeout=0.6)
    bench.feed(Begin())
    assert bench.state.deadline == 100.6
    assert bench.wait()[-1] == Connect(WEB)
    assert bench.state.due == 100.75
    bench.answer()
    assert bench.wait()[-1] == Connect(WEB)
    assert bench.now == 100.75


def test_lateness_neither_drifts_nor_bursts() -> None:
    """Late by 0.1 s: the next is in time. After ten seconds of sleep: one round, then the grid."""
    bench = Bench()
    bench.feed(Begin())
    bench.answer()
    assert bench.wait(0.35) == (Connect(WEB),)
    assert bench.state.due == 100.5
    bench.answer()
    assert bench.wait(10) == (Connect(WEB),)
    bench.answer()
    assert bench.state.due == 110.5
    assert bench.wait(0) == ()


def test_want_on_our_side_says_nothing_about_the_port() -> None:
    """No verdict, no count; what was in the way is remembered until the next round."""
    bench = Bench(WEB, MAIL)
    bench.feed(Begin())
    unclear = Answer(port=WEB, failure="too many open files", is_inconclusive=True)
    assert bench.feed(Answered((unclear,))) == (Close(MAIL),)
    assert bench.state == replace(bench.state, is_healthy=None)
    assert bench.state.trouble == "port 8080 of 192.0.2.11: too many open files"
    bench.wait()
    assert bench.state.trouble == ""
    assert bench.answer() == [GOOD]
    bench.wait()
    bench.feed(Answered((unclear,)))
    assert (True, 0) == (bench.state.is_healthy, bench.state.streak)


def test_a_refusal_beside_want_on_our_side_is_a_refusal() -> None:
    """The port that did answer is known to be bad."""
    bench = Bench(MAIL, WEB)
    bench.feed(Begin())
    unclear = Answer(port=MAIL, failure="too many open files", is_inconclusive=True)
    actions = bench.feed(Answered((unclear, Answer(port=WEB, failure="refused"))))
    assert actions == (REFUSED,)


def test_an_end_closes_and_a_new_beginning_keeps_the_verdict() -> None:
    """A reload asks for other ports: unhealthy meanwhile would cost the addresses."""
    bench = Bench()
    bench.feed(Begin())
    bench.answer()
    bench.wait()
    assert bench.feed(End()) == (Close(WEB),)
    assert bench.state.deadline is None
    assert bench.feed(DeadlinePassed()) == ()
    bench.now += 7
    bench.policy = ProbePolicy(ports=(MAIL,), interval=1, timeout=1, fall=2)
    assert bench.feed(Begin()) == (Connect(MAIL),)
    assert bench.state.is_healthy
    assert bench.answer("refused") == []
    assert bench.feed(Begin()) == (Connect(MAIL),)
    assert bench.feed(Begin()) == (Close(MAIL), Connect(MAIL))


def test_ports_are_probed_as_the_plan_says() -> None:
    """Nothing of the check is lost on the way."""
    probes = PortProbes(name="chk", interval=0.2, timeout=1, rise=3, fall=4, ports=(WEB, MAIL))
    expected = ProbePolicy(ports=(WEB, MAIL), interval=0.2, timeout=1, rise=3, fall=4)
    assert policy_for(probes) == expected


def test_the_reason_follows_while_the_verdict_stays_bad() -> None:
    """Told is the change only; whoever asks gets the newest."""
    bench = Bench()
    bench.feed(Begin())
    assert bench.answer("refused") == [REFUSED]
    bench.wait()
    assert bench.wait()[:-1] == (Close(WEB),)
    assert bench.state.reason == TIMED_OUT.reason


def test_a_round_took_as_long_as_its_slowest_answer() -> None:
    """However it ended; one that said nothing leaves the figure of the one before."""
    bench = Bench(WEB, MAIL, timeout=0.2)
    figures = [bench.state.took]
    bench.feed(Begin())
    figures.append(bench.state.took)
    for port, seconds in ((MAIL, 0.1), (WEB, 0.02)):
        bench.feed(Answered((Answer(port=port, seconds=seconds),)))
        figures.append(bench.state.took)
    assert figures == [None, None, None, 0.1]
    bench.wait()
    assert bench.state.took == 0.1
    bench.feed(Answered((Answer(port=WEB, failure="no descriptor", is_inconclusive=True),)))
    assert bench.state.took == 0.1
    bench.wait()
    bench.feed(Answered((Answer(port=WEB, failure="refused", seconds=0.03),)))
    assert bench.state.took == 0.03
    bench.wait()
    bench.wait()
    assert bench.state.took == 0.2


def test_a_round_that_changes_nothing_yet_is_timed_too() -> None:
    """The verdict needs another one."""
    bench = Bench(fall=2)
    bench.feed(Begin())
    bench.feed(Answered((Answer(port=WEB, seconds=0.01),)))
    bench.wait()
    bench.feed(Answered((Answer(port=WEB, failure="refused", seconds=0.05),)))
    assert bench.state.took == 0.05


def test_the_next_round_is_ahead_however_floats_round() -> None:
    """24 intervals of 0.3 s after 472.25 may be 479.45 itself, and not a moment later."""
    bench = Bench(interval=0.3)
    bench.state = replace(bench.state, due=472.25)
    bench.now = 479.45
    bench.feed(DeadlinePassed())

    assert bench.state.due is not None
    assert bench.state.due > bench.now
