"""When the loop stands still for good, as a second thread sees it."""

from __future__ import annotations

from ipfailover_agent.supervisor import standstill
from ipfailover_agent.supervisor.standstill import LIMIT, PERIOD, Standstill


def after(*looks: tuple[float, float]) -> Standstill:
    """Return what is known after looks at these moments, each with the loop's newest beat."""
    seen = Standstill(beat=0.0, at=0.0)
    for now, beat in looks:
        seen = standstill.looked(seen, beat, now)
    return seen


def test_fifteen_seconds_on_time_are_for_good() -> None:
    """Not one look less."""
    looks = [(PERIOD * each, 0.0) for each in range(1, 16)]
    assert after(*looks[:-1]).still < LIMIT == after(*looks).still


def test_a_loop_that_goes_on_is_counted_from_anew() -> None:
    """However seldom it does."""
    looks = [(each, 14.0 if each >= 14 else 0.0) for each in map(float, range(1, 28))]
    assert 13.0 == after(*looks).still


def test_time_in_which_the_second_thread_did_not_run_counts_for_nothing() -> None:
    """The machine was paused: both stood still."""
    looks = [(1.0, 0.0), (301.0, 0.0), (302.0, 0.0)]
    assert 2.0 == after(*looks).still
