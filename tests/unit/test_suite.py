"""How the tests themselves are run: none is left out or run twice, slow ones are begun first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.support import suite
from tests.support.order import slow_first

TESTS = Path(__file__).parents[1]


def is_selected(path: str, words: Sequence[str]) -> bool:
    """Tell whether pytest's command line has a file of tests run."""
    ignored = [each.removeprefix("--ignore=") for each in words if each.startswith("--ignore=")]
    return path not in ignored and any(f"{path}/".startswith(f"{each}/") for each in words)


def test_every_file_of_tests_is_in_one_stage() -> None:
    """But for those of the image, which ``make test-image`` runs."""
    files = [str(each.relative_to(TESTS.parent)) for each in TESTS.rglob("test_*.py")]
    stages = {
        each: [is_selected(each, suite.COMPUTING), is_selected(each, suite.WAITING)].count(True)
        for each in files
    }
    assert {each for each in files if each.startswith("tests/image/")} == {
        each for each, count in stages.items() if count != 1
    }


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
