"""Text for a person at a terminal: tables, addresses, times."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.text import duration, harmless, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_SHOWN_ADDRESSES = 4
WIDTH = 80  # columns, where the output is no terminal
_COLOURS = {"good": "32", "bad": "31;1", "doubtful": "33"}


def width() -> int:
    """Return the columns of the terminal; of 80 where the output is none."""
    return max(shutil.get_terminal_size((WIDTH, 24)).columns, 40) if is_terminal() else WIDTH


def is_terminal() -> bool:
    """Return whether a person looks at the standard output; it may have been closed before."""
    return bool(sys.stdout) and sys.stdout.isatty()


def is_read() -> bool:
    """Return whether the standard output may still have a reader.

    It has none where it was closed before the start, or the reader of a pipe or terminal has left.
    """
    if not sys.stdout:
        return False
    import select  # noqa: PLC0415 - for what prints again and again

    poll = select.poll()
    poll.register(1, 0)  # POLLERR and POLLHUP come unasked
    return not poll.poll(0)


def painter(environment: Mapping[str, str], *, is_terminal: bool) -> Callable[[str, str], str]:
    """Return what paints a text: ``paint(text, "bad")``; it leaves it alone unless it may.

    It may on a terminal that knows colours, unless NO_COLOR is set (no-color.org).
    """
    is_dull = environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb"
    if is_dull or not is_terminal:
        return lambda text, _tone: text

    def paint(text: str, tone: str) -> str:
        colour = _COLOURS.get(tone)
        return f"\x1b[{colour}m{text}\x1b[0m" if colour else text

    return paint


def fold(text: str, columns: int, indent: str = "", lead: str = "") -> list[str]:
    """Return a sentence in lines of at most so many columns.

    The first begins with ``lead``, all others with ``indent``. A word that is longer than that,
    such as an IPv6 address, stays whole.
    """
    lines: list[str] = []
    line = lead
    is_begun = False
    for word in text.split(" "):
        if is_begun and len(line) + 1 + len(word) > columns:
            lines.append(line)
            line = indent + word
        else:
            line += f" {word}" if is_begun else word
        is_begun = True
    return [*lines, line]


def say(text: str) -> bool:
    """Print a command's output; return False when it has no reader any more (head, less).

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


def addresses(texts: Iterable[str], columns: int | None = None) -> str:
    """Return addresses in a row, the first few where there are many.

    ``columns`` is what there is room for; one is shown in any case, and whole.
    """
    every = list(texts)
    for count in range(min(len(every), _SHOWN_ADDRESSES), 0, -1):
        shown = listed(every, count)
        if columns is None or len(shown) <= columns or count == 1:
            return shown
    return ""


def age(at: str, now: datetime) -> float:
    """Return how many seconds ago a moment in ISO 8601 was."""
    return (now - datetime.fromisoformat(at)).total_seconds()


def since(at: str, now: datetime) -> str:
    """Return how long ago a moment in ISO 8601 was."""
    return duration(age(at, now))


def states(previous: str, state: str, lasted: float | None, arrow: str = "->") -> str:
    """Return a transition, and how many seconds the state before it lasted."""
    after = "" if lasted is None else f" after {duration(lasted)}"
    return f"{previous} {arrow} {state}{after}"


def event(at: str, instance: str | None, what: str, cause: str) -> str:
    """Return something that happened as one line: when, to which instance, what, why."""
    where = f" {instance}" if instance else ""
    return harmless(f"{at}{where} {what}: {cause}")
