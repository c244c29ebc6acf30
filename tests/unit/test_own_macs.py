"""Which MACs are this host's: what it had a moment ago counts for a while."""

from __future__ import annotations

from ipfailover_agent.conflict.own_macs import OwnMacs, learned

ONE, TWO, THREE = (bytes((2, 0, 0, 0, 0, each)) for each in (1, 2, 3))
MEMORY = 4.0


def test_a_mac_that_was_ours_stays_ours_for_a_while() -> None:
    """What left under it may come back; later it may be another host's."""
    known = learned(OwnMacs(), {ONE, TWO}, 100.0, MEMORY)
    assert known == OwnMacs(present=frozenset({ONE, TWO}))
    assert known.deadline is None
    known = learned(known, {TWO, THREE}, 110.0, MEMORY)
    assert frozenset({ONE, TWO, THREE}) == known.all
    assert known.deadline == 114.0
    known = learned(known, {THREE}, 113.0, MEMORY)
    assert frozenset({ONE, TWO, THREE}) == known.all
    known = learned(known, {THREE}, 114.0, MEMORY)
    assert frozenset({TWO, THREE}) == known.all
    assert known.deadline == 117.0


def test_a_mac_that_comes_back_is_present_again() -> None:
    """And is remembered anew when it goes once more."""
    known = learned(OwnMacs(present=frozenset({ONE})), {TWO}, 100.0, MEMORY)
    known = learned(known, {ONE}, 101.0, MEMORY)
    assert known == OwnMacs(present=frozenset({ONE}), former=((TWO, 105.0),))
    known = learned(known, {TWO}, 104.0, MEMORY)
    assert known == OwnMacs(present=frozenset({TWO}), former=((ONE, 108.0),))
