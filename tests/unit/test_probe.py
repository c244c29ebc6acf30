"""Rounds of probes, and the verdict that they lead to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from ipfailover_agent.health import fsm
from ipfailover_agent.health.fsm import Close, Connect, ConnectResult, ConnectsEnded, ProbeSign
from ipfailover_agent.model import PortCheck, PortProbes

HERE = ip_address("192.0.2.11")
WEB, MAIL = PortCheck(address=HERE, port=8080), PortCheck(address=HERE, port=25)


class Bench:
    """A state machine with its clock, and the actions of the last event."""

    def __init__(self, *ports: PortCheck, rise: int = 1, fall: int = 1, **times: float) -> None:
        self.probes = PortProbes(
            name="chk",
            ports=ports or (WEB,),
            interval=times.get("interval", 0.25),
            timeout=times.get("timeout", 0.25),
            rise=rise,
            fall=fall,
        )
        self.state = fsm.ProbeState()
        self.now = 100.0

    def feed(self, event: fsm.Event) -> tuple[fsm.Action, ...]:
        """Feed an event."""
        self.state, actions = fsm.step(self.state, event, self.now, self.probes)
        return actions

    def wait(self, seconds: float | None = None) -> tuple[fsm.Action, ...]:
        """Go on to the deadline, or by so many seconds, and feed that it passed."""
        deadline = self.state.deadline
        assert deadline is not None
        self.now = deadline if seconds is None else self.now + seconds
        return self.feed(ProbeSign.DEADLINE_PASSED)

    def answer(self, *failures: str) -> list[fsm.ReportHealth]:
        """Answer every port in waiting, in order; return the reports."""
        waiting = self.state.waiting
        answers = tuple(
            ConnectResult(port=port, failure=failure)
            for port, failure in zip(waiting, failures or [""] * len(waiting), strict=True)
        )
        return [
            each
            for each in self.feed(ConnectsEnded(answers))
            if isinstance(each, fsm.ReportHealth)
        ]

    def round(self, failure: str = "") -> list[fsm.ReportHealth]:
        """Have one whole round of one port end like that."""
        assert self.wait()[-1:] == (Connect(WEB),)
        return self.answer(failure)


def begun(*ports: PortCheck, rise: int = 1, fall: int = 1, **times: float) -> Bench:
    """Return a bench whose first round has begun."""
    bench = Bench(*ports, rise=rise, fall=fall, **times)
    bench.feed(ProbeSign.BEGAN)
    return bench


GOOD = fsm.ReportHealth(is_healthy=True, reason="")
REFUSED = fsm.ReportHealth(is_healthy=False, reason="port 8080 of 192.0.2.11: refused")
TIMED_OUT = fsm.ReportHealth(
    is_healthy=False, reason="port 8080 of 192.0.2.11: timed out after 0.25 s"
)


@pytest.mark.parametrize(("failure", "expected"), [("", GOOD), ("refused", REFUSED)])
def test_the_first_round_decides_whatever_rise_and_fall_say(
    failure: str, expected: fsm.ReportHealth
) -> None:
    """As keepalived 2.2.7 does with the first result of a script."""
    bench = Bench(rise=3, fall=3)
    assert bench.state.is_healthy is None
    assert bench.feed(ProbeSign.BEGAN) == (Connect(WEB),)
    assert bench.answer(failure) == [expected]
    assert bench.state.reason == expected.reason


def test_a_verdict_changes_after_fall_and_rise_rounds_in_a_row() -> None:
    """Each change is told once; a round between that says otherwise begins the count again."""
    bench = begun(rise=3, fall=2)
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
    assert bench.feed(ProbeSign.BEGAN) == (Connect(WEB), Connect(MAIL))
    assert bench.feed(ConnectsEnded((ConnectResult(port=MAIL),))) == ()
    assert bench.state.waiting == (WEB,)
    assert bench.feed(ConnectsEnded((ConnectResult(port=WEB),))) == (GOOD,)


def test_a_refusal_ends_the_round_at_once() -> None:
    """Whatever the others would have said: their connections are closed."""
    bench = begun(MAIL, WEB)
    actions = bench.feed(ConnectsEnded((ConnectResult(port=WEB, failure="refused"),)))
    assert actions == (Close(MAIL), REFUSED)
    assert bench.feed(ConnectsEnded((ConnectResult(port=MAIL),))) == ()


def test_all_that_failed_together_is_named() -> None:
    """In the order of the answers."""
    bench = begun(WEB, MAIL)
    [report] = bench.answer("refused", "no route to host")
    assert report.reason == (
        "port 8080 of 192.0.2.11: refused; port 25 of 192.0.2.11: no route to host"
    )


def test_silence_counts_as_failed_after_the_timeout_and_the_next_round_begins() -> None:
    """With a timeout of one interval both are due at the same moment."""
    bench = begun()
    assert bench.state.deadline == 100.25
    assert bench.wait() == (Close(WEB), TIMED_OUT, Connect(WEB))
    assert bench.state.deadline == 100.5


def test_a_short_timeout_does_not_bring_the_next_round_forward() -> None:
    """The grid stays."""
    bench = begun(timeout=0.1)
    assert bench.wait()[0] == Close(WEB)
    assert (100.1, 100.25) == (bench.now, bench.state.deadline)


def test_rounds_that_a_long_timeout_overlaps_are_left_out() -> None:
    """One round at a time; the next one begins on the grid."""
    bench = begun(timeout=0.6)
    assert bench.state.deadline == 100.6
    assert bench.wait()[-1] == Connect(WEB)
    assert bench.state.due == 100.75
    bench.answer()
    assert bench.wait()[-1] == Connect(WEB)
    assert bench.now == 100.75


def test_lateness_neither_drifts_nor_bursts() -> None:
    """Late by 0.1 s: the next is in time. After ten seconds of sleep: one round, then the grid."""
    bench = begun()
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
    bench = begun(WEB, MAIL)
    unclear = ConnectResult(port=WEB, failure="too many open files", is_inconclusive=True)
    assert bench.feed(ConnectsEnded((unclear,))) == (Close(MAIL),)
    assert bench.state == replace(bench.state, is_healthy=None)
    assert bench.state.trouble == "port 8080 of 192.0.2.11: too many open files"
    bench.wait()
    assert bench.state.trouble == ""
    assert bench.answer() == [GOOD]
    bench.wait()
    bench.feed(ConnectsEnded((unclear,)))
    assert (True, 0) == (bench.state.is_healthy, bench.state.streak)


def test_a_refusal_beside_want_on_our_side_is_a_refusal() -> None:
    """The port that did answer is known to be bad."""
    bench = begun(MAIL, WEB)
    unclear = ConnectResult(port=MAIL, failure="too many open files", is_inconclusive=True)
    actions = bench.feed(ConnectsEnded((unclear, ConnectResult(port=WEB, failure="refused"))))
    assert actions == (REFUSED,)


def test_an_end_closes_and_a_new_beginning_keeps_the_verdict() -> None:
    """A reload asks for other ports: unhealthy meanwhile would cost the addresses."""
    bench = begun()
    bench.answer()
    bench.wait()
    assert bench.feed(ProbeSign.ENDED) == (Close(WEB),)
    assert bench.state.deadline is None
    assert bench.feed(ProbeSign.DEADLINE_PASSED) == ()
    bench.now += 7
    bench.probes = replace(bench.probes, ports=(MAIL,), interval=1, timeout=1, fall=2)
    assert bench.feed(ProbeSign.BEGAN) == (Connect(MAIL),)
    assert bench.state.is_healthy
    assert bench.answer("refused") == []
    assert bench.feed(ProbeSign.BEGAN) == (Connect(MAIL),)
    assert bench.feed(ProbeSign.BEGAN) == (Close(MAIL), Connect(MAIL))


def test_the_reason_follows_while_the_verdict_stays_bad() -> None:
    """Told is the change only; whoever asks gets the newest."""
    bench = begun()
    assert bench.answer("refused") == [REFUSED]
    bench.wait()
    assert bench.wait()[:-1] == (Close(WEB),)
    assert bench.state.reason == TIMED_OUT.reason


def test_a_round_took_as_long_as_its_slowest_answer() -> None:
    """However it ended; one that said nothing leaves the figure of the one before."""
    bench = Bench(WEB, MAIL, timeout=0.2)
    figures = [bench.state.took]
    bench.feed(ProbeSign.BEGAN)
    figures.append(bench.state.took)
    for port, seconds in ((MAIL, 0.1), (WEB, 0.02)):
        bench.feed(ConnectsEnded((ConnectResult(port=port, seconds=seconds),)))
        figures.append(bench.state.took)
    assert figures == [None, None, None, 0.1]
    bench.wait()
    assert bench.state.took == 0.1
    bench.feed(
        ConnectsEnded((ConnectResult(port=WEB, failure="no descriptor", is_inconclusive=True),))
    )
    assert bench.state.took == 0.1
    bench.wait()
    bench.feed(ConnectsEnded((ConnectResult(port=WEB, failure="refused", seconds=0.03),)))
    assert bench.state.took == 0.03
    bench.wait()
    bench.wait()
    assert bench.state.took == 0.2


def test_a_round_that_changes_nothing_yet_is_timed_too() -> None:
    """The verdict needs another one."""
    bench = begun(fall=2)
    bench.feed(ConnectsEnded((ConnectResult(port=WEB, seconds=0.01),)))
    bench.wait()
    bench.feed(ConnectsEnded((ConnectResult(port=WEB, failure="refused", seconds=0.05),)))
    assert bench.state.took == 0.05


def test_the_next_round_is_ahead_however_floats_round() -> None:
    """24 intervals of 0.3 s after 472.25 may be 479.45 itself, and not a moment later."""
    bench = Bench(interval=0.3)
    bench.state = replace(bench.state, due=472.25)
    bench.now = 479.45
    bench.feed(ProbeSign.DEADLINE_PASSED)

    assert bench.state.due is not None
    assert bench.state.due > bench.now


# --- asked for ----------------------------------------------------------------------------------

GONE = fsm.ProbeRequested(cause="listener of port 8080 is gone")
REFUSED_THEN = replace(REFUSED, cause=GONE.cause)


def steady(*, rise: int = 1, fall: int = 1, **times: float) -> Bench:
    """Return a healthy one, 0.1 s after its last round."""
    bench = begun(rise=rise, fall=fall, **times)
    assert bench.answer() == [GOOD]
    bench.now += 0.1
    return bench


def test_a_round_that_is_asked_for_begins_at_once_and_moves_the_grid() -> None:
    """Its verdict names the cause; one that is good changes nothing."""
    bench = steady()
    assert bench.feed(GONE) == (Connect(WEB),)
    assert bench.answer() == []
    assert (bench.now + 0.25, "") == (bench.state.due, bench.state.cause)
    assert bench.feed(GONE) == (Connect(WEB),)
    assert bench.answer("refused") == [REFUSED_THEN]
    assert bench.round() == [GOOD]
    assert bench.round("refused") == [REFUSED]


def test_with_fall_the_first_failure_is_found_at_once_and_the_others_keep_the_interval() -> None:
    """However often something is gone meanwhile."""
    bench = steady(fall=3)
    began = bench.now
    bench.feed(GONE)
    assert bench.answer("refused") == []
    for _ in range(5):
        bench.now += 0.01
        assert bench.feed(GONE) == ()
    assert bench.round("refused") == []
    assert bench.feed(GONE) == ()
    assert bench.round("refused") == [REFUSED_THEN]
    assert bench.now == began + 2 * 0.25


def test_with_rise_the_successes_keep_the_interval() -> None:
    """A failure between begins the count again, and is waited for."""
    bench = steady(rise=2)
    bench.feed(GONE)
    assert bench.answer("refused") == [REFUSED_THEN]
    began = bench.now
    assert [bench.feed(GONE), bench.round()] == [(), []]
    assert [bench.feed(GONE), bench.round()] == [(), [GOOD]]
    assert bench.now == began + 2 * 0.25


def test_after_a_bad_verdict_the_next_round_is_an_interval_away() -> None:
    """After one that took long, too; the grid begins there."""
    bench = steady(timeout=0.2)
    bench.feed(GONE)
    assert bench.wait()[-1] == replace(
        TIMED_OUT, reason="port 8080 of 192.0.2.11: timed out after 0.2 s", cause=GONE.cause
    )
    assert bench.state.due == bench.now + 0.25


def test_a_round_that_waits_is_replaced_by_one_that_is_asked_for_once() -> None:
    """Its connection may wait for a listener that is gone; a second time the timeout ends it."""
    bench = steady()
    bench.wait(0.25)
    limit = bench.state.limit
    bench.now += 0.05
    assert bench.feed(GONE) == (Close(WEB), Connect(WEB))
    assert bench.state.limit == limit + 0.05
    bench.now += 0.05
    assert bench.feed(GONE) == ()


def test_nothing_is_asked_where_nothing_is_probed() -> None:
    """Before the beginning, before the first verdict, and after the end."""
    bench = Bench()
    assert bench.feed(GONE) == ()
    bench.feed(ProbeSign.BEGAN)
    assert bench.feed(GONE) == ()
    bench.answer()
    bench.feed(ProbeSign.ENDED)
    assert bench.feed(GONE) == ()


def test_a_script_is_judged_as_one_port() -> None:
    """Whatever it asks: it is run, and ends in one way or the other."""
    bench = Bench()
    bench.probes = replace(bench.probes, ports=(), listeners=(WEB, MAIL), watch=0.1)
    assert bench.feed(ProbeSign.BEGAN) == (Connect(WEB),)
    assert bench.answer() == [GOOD]
