"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE = 0.005  # seconds between two looks


def wait_until(
    predicate: Callable[[], object], timeout: float, message: str | Callable[[], str]
) -> None:
    """Return once the predicate holds; fail with the message after ``timeout`` seconds.

    A message that is a function is called at the failure: it can show what was there instead.
    """
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() >= deadline:
            text = message if isinstance(message, str) else message()
            raise AssertionError(f"not within {timeout:g} s: {text}")
        time.sleep(_PAUSE)
