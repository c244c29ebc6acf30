"""The order in which the tests themselves run: none is left out, and slow ones are begun first."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.support.order import slow_first


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 9))
def test_every_test_is_run_once_whatever_is_slow(slow: list[bool], workers: int) -> None:
    """However many workers there are."""
    found = slow_first(range(len(slow)), slow.__getitem__, workers)
    assert list(range(len(slow))) == sorted(found)


@given(st.sets(st.integers(0, 39), max_size=12), st.integers(1, 4))
def test_each_worker_begins_with_its_share_of_the_slow_ones(slow: set[int], workers: int) -> None:
    """Its share of all of them is as large as the others', and the order is kept otherwise."""
    found = slow_first(range(40), slow.__contains__, workers)
    bounds = [0]
    for number in range(workers):
        bounds.append(bounds[-1] + (40 - bounds[-1]) // (workers - number))
    shares = [found[one:other] for one, other in itertools.pairwise(bounds)]
    counts = [sum(each in slow for each in share) for share in shares]
    assert max(counts) - min(counts) <= 1
    for share, count in zip(shares, counts, strict=True):
        assert all(each in slow for each in share[:count])
    quick = [each for each in found if each not in slow]
    assert sorted(quick) == quick
