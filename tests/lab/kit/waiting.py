"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Value = TypeVar("_Value")


def wait_until(
    predicate: Callable[[], _Value | None], *, timeout: float, what: str, interval: float = 0.01
) -> _Value:
    """Return the predicate's first true value.

    AssertionError that names ``what`` when there is none within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() >= deadline
        value = predicate()
        if value:
            return value
        if late:
            message = f"not within {timeout:g} s: {what} (last seen: {value!r})"
            raise AssertionError(message)
        time.sleep(interval)
