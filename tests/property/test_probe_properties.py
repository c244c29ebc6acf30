"""Properties of probing, whatever the ports do and however late we are."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.health import fsm
from ipfailover_agent.health.fsm import ConnectResult, ConnectsEnded, ProbeSign, ProbeState, step
from ipfailover_agent.model import PortCheck, PortProbes
from tests.support.building import builds

PORTS = tuple(PortCheck(address=ip_address("::1"), port=number) for number in (1, 2, 3))

checks = builds(
    PortProbes,
    name=st.just("chk"),
    ports=st.lists(st.sampled_from(PORTS), min_size=1, unique=True).map(tuple),
    interval=st.floats(0.1, 5),
    timeout=st.floats(0.05, 9),
    rise=st.integers(1, 4),
    fall=st.integers(1, 4),
)
answers = builds(
    ConnectResult,
    port=st.sampled_from(PORTS),
    failure=st.sampled_from(["", "", "refused"]),
    is_inconclusive=st.booleans(),
)
events = st.one_of(
    st.just(ProbeSign.BEGAN),
    st.just(ProbeSign.DEADLINE_PASSED),
    st.just(ProbeSign.DEADLINE_PASSED),
    st.just(ProbeSign.ENDED),
    st.just(fsm.ProbeRequested(cause="gone")),
    builds(ConnectsEnded, st.lists(answers, min_size=1, max_size=3).map(tuple)),
)


def answered(state: ProbeState, *, is_good: bool = True) -> ConnectsEnded:
    """Return the answers of all that are waited for."""
    failure = "" if is_good else "refused"
    return ConnectsEnded(
        tuple(ConnectResult(port=each, failure=failure) for each in state.waiting)
    )


@given(checks, st.lists(st.tuples(events, st.floats(0, 20))))
def test_whatever_happens_connections_are_bounded_and_reports_alternate(
    probes: PortProbes, story: list[tuple[fsm.Event, float]]
) -> None:
    """Never two connections to a port, none forgotten, and never the same verdict twice."""
    state, now, verdict = ProbeState(), 1000.0, None
    opened: set[PortCheck] = set()
    for event, pause in story:
        now += pause
        if isinstance(event, ConnectsEnded):
            opened -= {each.port for each in event.answers}
        state, actions = step(state, event, now, probes)
        for action in actions:
            match action:
                case fsm.Connect(port=port):
                    assert port not in opened
                    opened.add(port)
                case fsm.Close(port=port):
                    opened.discard(port)
                case fsm.ReportHealth(is_healthy=is_healthy, reason=reason):
                    assert is_healthy != verdict
                    assert bool(reason) != is_healthy
                    verdict = is_healthy
        assert opened == set(state.waiting)
        assert state.is_healthy == verdict
        assert not state.waiting or state.due is not None
        if event is ProbeSign.DEADLINE_PASSED and state.deadline is not None:
            assert state.deadline > now


@given(checks, st.lists(st.floats(0, 1), max_size=60))
def test_rounds_begin_on_the_grid_at_most_once_an_interval(
    probes: PortProbes, lateness: list[float]
) -> None:
    """However late each look is; n intervals after the beginning, up to rounding."""
    start = now = 50.0
    state, actions = step(ProbeState(), ProbeSign.BEGAN, now, probes)
    slots = [0]
    for late in lateness:
        assert actions
        state, _ = step(state, answered(state), now, probes)
        assert state.deadline is not None
        slot = (state.deadline - start) / probes.interval
        assert abs(slot - round(slot)) < 1e-6
        slots.append(round(slot))
        now = state.deadline + late
        state, actions = step(state, ProbeSign.DEADLINE_PASSED, now, probes)
    assert sorted(set(slots)) == slots


@given(checks, st.lists(st.booleans(), min_size=1, max_size=40))
def test_the_verdict_is_that_of_a_naive_count(probes: PortProbes, rounds: list[bool]) -> None:
    """The first one decides, then ``fall`` or ``rise`` in a row."""
    now = 0.0
    state, _ = step(ProbeState(), ProbeSign.BEGAN, now, probes)
    for number, is_good in enumerate(rounds):
        state, _ = step(state, answered(state, is_good=is_good), now, probes)
        expected = rounds[0]
        for end in range(1, number + 2):
            needed = probes.fall if expected else probes.rise
            last = rounds[max(end - needed, 0) : end]
            if len(last) == needed and all(each != expected for each in last):
                expected = not expected
        assert state.is_healthy == expected
        assert state.deadline is not None
        now = state.deadline
        state, _ = step(state, ProbeSign.DEADLINE_PASSED, now, probes)


@given(checks, st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=80))
def test_between_down_and_up_there_is_an_interval_however_often_a_listener_goes(
    probes: PortProbes, story: list[tuple[float, bool]]
) -> None:
    """An application that crashes in a circle: each step it is there or not, and has just gone."""
    now, down = 0.0, float("-inf")
    state, _ = step(ProbeState(), ProbeSign.BEGAN, now, probes)
    state, _ = step(state, answered(state), now, probes)
    is_there = True
    for pause, is_next in story:
        due = state.deadline
        now = now + pause if due is None else min(now + pause, max(due, now))
        events: list[fsm.Event] = [ProbeSign.DEADLINE_PASSED]
        if is_there and not is_next:
            events.append(fsm.ProbeRequested(cause="gone"))
        is_there = is_next
        for event in events:
            state, _ = step(state, event, now, probes)
            state, actions = step(state, answered(state, is_good=is_there), now, probes)
            for action in actions:
                if isinstance(action, fsm.ReportHealth):
                    assert not action.is_healthy or now >= down + probes.interval
                    down = now if not action.is_healthy else down
