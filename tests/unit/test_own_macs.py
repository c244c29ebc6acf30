"""Which MACs are this host's: what it had a moment ago counts for a while."""

from __future__ import annotations

from math import inf

from ipfailover_agent.conflict.contexts import known_macs

ONE, TWO, THREE = (bytes((2, 0, 0, 0, 0, each)) for each in (1, 2, 3))
MEMORY = 4.0


def test_a_mac_that_was_ours_stays_ours_for_a_while() -> None:
    """What left under it may come back; later it may be another host's."""
    known = known_macs({}, {ONE, TWO}, 100.0, MEMORY)
    assert {ONE: inf, TWO: inf} == known
    known = known_macs(known, {TWO, THREE}, 110.0, MEMORY)
    assert {ONE: 114.0, TWO: inf, THREE: inf} == known
    known = known_macs(known, {THREE}, 113.0, MEMORY)
    assert {ONE: 114.0, TWO: 117.0, THREE: inf} == known
    known = known_macs(known, {THREE}, 114.0, MEMORY)
    assert {TWO: 117.0, THREE: inf} == known


def test_a_mac_that_comes_back_is_present_again() -> None:
    """And is remembered anew when it goes once more."""
    known = known_macs({ONE: inf}, {TWO}, 100.0, MEMORY)
    known = known_macs(known, {ONE}, 101.0, MEMORY)
    assert {ONE: inf, TWO: 105.0} == known
    known = known_macs(known, {TWO}, 104.0, MEMORY)
    assert {ONE: 108.0, TWO: inf} == known
