"""Text for a person at a terminal: tables, addresses, times."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ipfailover_agent.core.errors import SystemRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SHOWN_ADDRESSES = 4


def say(text: str) -> bool:
    """Print a command's output; return False when nobody reads it any more (head, less).

    That is no error, and must not hide the command's own exit code.

    Raises:
        SystemRefusedError: it cannot be written: a full disk.
    """
    try:
        print(text, flush=True)  # noqa: T201 - the one place that prints
    except OSError as error:
        # Python flushes what is left once more at exit, and complains where that fails.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            return False
        raise SystemRefusedError(f"cannot write the output: {error.strerror}") from error
    return True


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, columns two blanks apart, the last one ragged."""
    whole = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in whole
    ]


def addresses(texts: Iterable[str]) -> str:
    """Return addresses in a row, the first few where there are many."""
    every = list(texts)
    shown = " ".join(every[:_SHOWN_ADDRESSES])
    rest = len(every) - _SHOWN_ADDRESSES
    return f"{shown} and {rest} more" if rest > 0 else shown


def duration(seconds: float) -> str:
    """Return a length of time in the two largest units: ``3d 4h``, ``2m 5s``, ``7s``."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
