"""Copies of frozen dataclasses with a few fields changed, for where that happens all the time."""

from __future__ import annotations

import operator
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Kind = TypeVar("_Kind")


def changer(kind: type[_Kind], *names: str) -> Callable[..., _Kind]:
    """Return a function of an instance and new values of those fields, in that order.

    It gives what ``dataclasses.replace`` gives, at less than half the cost: it looks at the fields
    once, here, and writes them past the lock that freezes them.

    Args:
        kind: a dataclass with slots, all of whose fields are arguments and which makes nothing of
            them (no ``__post_init__``).
        names: of at least one field, not of all.
    """
    kept = [each.name for each in fields(kind) if each.name not in names]  # type: ignore[arg-type]
    read = operator.attrgetter(*kept)
    puts = [getattr(kind, name).__set__ for name in (*kept, *names)]
    is_alone = len(kept) == 1  # then attrgetter gives no tuple

    def change(before: _Kind, *values: object) -> _Kind:
        after = object.__new__(kind)
        others = (read(before),) if is_alone else read(before)
        for put, value in zip(puts, (*others, *values), strict=True):
            put(after, value)
        return after

    return change
