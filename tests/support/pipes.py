"""Pipes whose ends a test may close itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def open_pipe(flags: int = os.O_CLOEXEC) -> Iterator[tuple[int, int]]:
    """Make a pipe, ``flags`` as pipe2(2); close what is still open of it at the end."""
    ends = os.pipe2(flags)
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)
