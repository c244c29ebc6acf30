"""How often a lease is renewed, and when a renewal is late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.lease.lifetimes import Punctuality, interval, judge


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1, 1 / 3), (3, 1.0), (60, 20.0)], ids=["1", "3", "60"]
)
def test_a_lease_is_renewed_three_times(seconds: int, expected: float) -> None:
    """Two renewals may be missed."""
    assert expected == pytest.approx(interval(seconds))


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (0.0, Punctuality.ON_TIME),
        (1.0, Punctuality.ON_TIME),
        (2.49, Punctuality.ON_TIME),
        (2.5, Punctuality.LATE),
        (2.99, Punctuality.LATE),
        (3.0, Punctuality.LAPSED),
        (3600.0, Punctuality.LAPSED),
    ],
)
def test_a_renewal_is_late_by_half_a_lease_and_too_late_by_a_whole_one(
    since: float, expected: Punctuality
) -> None:
    """The kernel removes an address from 3 s after the last renewal on."""
    assert expected is judge(3, 1000.0, 1000.0 + since)


@given(st.integers(1, 86400), st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_later_the_worse(seconds: int, one: float, other: float) -> None:
    """And a renewal at its time is always on time."""
    order = list(Punctuality)
    early, late = sorted((one, other))
    assert order.index(judge(seconds, 0.0, early)) <= order.index(judge(seconds, 0.0, late))
    assert judge(seconds, 0.0, interval(seconds)) is Punctuality.ON_TIME
