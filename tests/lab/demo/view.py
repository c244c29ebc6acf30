"""What the demo shows: a story that scrolls, and below it a table of who holds what."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from tests.lab.kit.client import Watch
from tests.lab.kit.lab import Lab

_BOLD, _PLAIN, _CLEAR_BELOW = "\x1b[1m", "\x1b[0m", "\x1b[J"
_WIDTH = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One look at the lab: all that the table shows."""

    nodes: tuple[str, ...]
    holders: tuple[tuple[str, tuple[str, ...]], ...]
    heard: tuple[str | None, ...]
    containers: tuple[str, ...]
    applications: tuple[str, ...]


def look(lab: Lab, watches: Mapping[str, Watch], words: Mapping[str, str]) -> Facts:
    """Look at the lab; ``words`` replaces the word for a node's container where it has one."""
    return Facts(
        nodes=tuple(node.name for node in lab.nodes),
        holders=tuple((each, tuple(lab.recorder.holders(each))) for each in watches),
        heard=tuple(watch.answering() for watch in watches.values()),
        containers=tuple(
            words.get(node.name) or ("runs" if node.is_running else "killed") for node in lab.nodes
        ),
        applications=tuple(
            "answers" if node.application.is_running else "killed" for node in lab.nodes
        ),
    )


def table(facts: Facts) -> list[str]:
    """Return the table's lines."""
    lines = [_row("address", facts.nodes, "the client hears")]
    for (address, holders), heard in zip(facts.holders, facts.heard, strict=True):
        cells = ["HOLDS IT" if node in holders else "." for node in facts.nodes]
        lines.append(_row(address, cells, heard or "no node"))
    lines.append(_row("container", facts.containers))
    lines.append(_row("application", facts.applications))
    return lines


class Screen:
    """Where the demo writes: on a terminal the table is redrawn in place, else changes are lines.

    ``footer`` lines are shown below the table, on a terminal only.
    """

    def __init__(self, stream: TextIO, *, footer: Sequence[str] = ()) -> None:
        self._stream = stream
        self._redraws = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._bold = self._redraws and not os.environ.get("NO_COLOR")
        self._footer = list(footer)
        self._started = time.monotonic()
        self._facts: Facts | None = None
        self._height = 0

    def say(self, text: str = "") -> None:
        """Write a line of the story."""
        self._erase()
        self._write(f"{text}\n")
        self._draw()

    def show(self, facts: Facts) -> None:
        """Show what is new in ``facts``."""
        before, self._facts = self._facts, facts
        if facts == before:
            return
        if self._redraws:
            self._erase()
            self._draw()
        else:
            for line in differences(before, facts):
                self._write(f"   {time.monotonic() - self._started:5.1f} s  {line}\n")

    def finish(self) -> None:
        """Leave the table as it is and write below it from now on."""
        self._height = 0
        self._facts = None

    def _draw(self) -> None:
        if not self._redraws or self._facts is None:
            return
        lines = ["", *(f"   {each}" for each in table(self._facts)), "", *self._footer]
        text = "".join(f"{each}\n" for each in lines)
        if self._bold:
            text = text.replace("HOLDS IT", f"{_BOLD}HOLDS IT{_PLAIN}")
        self._height = len(lines)
        self._write(text)

    def _erase(self) -> None:
        if self._height:
            self._write(f"\x1b[{self._height}A\r{_CLEAR_BELOW}")
            self._height = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def differences(before: Facts | None, after: Facts) -> list[str]:
    """Return one sentence per thing that changed."""
    found = []
    old_holders = dict(before.holders) if before else {}
    for address, holders in after.holders:
        if set(holders) != set(old_holders.get(address, ())):
            found.append(f"{address} is held by {' and '.join(holders) or 'no node'}")
    for what, old, new in (
        ("container", before.containers if before else after.containers, after.containers),
        ("application", before.applications if before else after.applications, after.applications),
    ):
        found += [
            f"the {what} on {node} {_sentence(now)}"
            for node, then, now in zip(after.nodes, old, new, strict=True)
            if then != now
        ]
    return found


def _sentence(word: str) -> str:
    return word if word in {"runs", "answers"} else f"is {word}"


def _row(head: str, cells: Sequence[str], last: str = "") -> str:
    return (
        f"{head:<{_WIDTH + 2}}" + "".join(f"{each:<{_WIDTH}}" for each in [*cells, last]).rstrip()
    )
