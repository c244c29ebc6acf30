"""In which order the workers of a test run take the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def slow_first(
    items: Sequence[_Item], is_slow: Callable[[_Item], bool], workers: int
) -> list[_Item]:
    """Return the items so that each worker begins with its share of the slow ones.

    Every worker first gets equally many in a row (``--dist worksteal``), and takes over what
    others have not begun when it has done them. So no slow one begins when all others are done.
    """
    slow = [each for each in items if is_slow(each)]
    others = [each for each in items if not is_slow(each)]
    ordered: list[_Item] = []
    for number in range(workers):
        share = (len(items) - len(ordered)) // (workers - number)
        first = slow[number::workers]
        count = max(share - len(first), 0)
        ordered += [*first, *others[:count]]
        del others[:count]
    return ordered + others
