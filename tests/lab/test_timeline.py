"""The time line's arithmetic, on data alone."""

from __future__ import annotations

import pytest

from tests.lab.kit.timeline import Change, Timeline

ADDRESS = "192.0.2.101"


def timeline(*steps: tuple[float, str, bool]) -> Timeline:
    """Return the time line of these (time, node, held)."""
    return Timeline(
        [Change(time=time, node=node, address=ADDRESS, held=held) for time, node, held in steps]
    )


OVERLAP = timeline((1, "a", True), (3, "b", True), (4, "a", False), (6, "b", False))


def test_holders_are_known_for_every_moment() -> None:
    """A change counts from its own moment on."""
    seen = [OVERLAP.holders(ADDRESS, at) for at in (0.9, 1, 3.5, 4, 6)]
    assert seen == [[], ["a"], ["a", "b"], ["b"], []]
    assert OVERLAP.holders(ADDRESS) == []
    assert OVERLAP.holders("192.0.2.102") == []


@pytest.mark.parametrize(
    ("count", "since", "until", "expected"),
    [
        (0, 0, 10, 5),
        (1, 0, 10, 4),
        (2, 0, 10, 1),
        (2, 3.25, 10, 0.75),
        (2, 0, 3.25, 0.25),
        (2, 3.25, 3.5, 0.25),
        (0, 7, 10, 3),
        (1, 7, 10, 0),
    ],
    ids=[
        "none", "one", "two", "two from", "two up to", "two within", "none later", "one later",
    ],
)  # fmt: skip
def test_seconds_are_cut_to_the_span_that_was_asked(
    count: int, since: float, until: float, expected: float
) -> None:
    """Time with a number of holders, at the edges of changes and of the span."""
    seconds = OVERLAP.seconds(ADDRESS, lambda holders: holders == count, since=since, until=until)
    assert seconds == pytest.approx(expected)


def test_only_the_nodes_that_were_asked_for_count() -> None:
    """``among`` leaves out a node that is cut off."""
    seconds = OVERLAP.seconds(
        ADDRESS, lambda holders: holders == 1, since=0, until=10, among=["a"]
    )
    assert seconds == pytest.approx(3)
