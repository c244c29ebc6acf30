"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")


def wait_until(
    predicate: Callable[[], _Value | None],
    timeout: float,
    message: str | Callable[[], str],
    interval: float = 0.01,
) -> _Value:
    """Return the predicate's first true value.

    AssertionError with the message when there is none within ``timeout`` seconds. A message that
    is a function is called at the failure: it can show what was there instead.
    """
    deadline = time.monotonic() + timeout
    while True:
        is_late = time.monotonic() >= deadline
        value = predicate()
        if value:
            return value
        if is_late:
            text = message if isinstance(message, str) else message()
            raise AssertionError(f"not within {timeout:g} s: {text} (last seen: {value!r})")
        time.sleep(interval)
