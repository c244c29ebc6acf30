"""Reading Markdown as far as the tests of the documents need it."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from functools import cache
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a document."""

    language: str
    body: str


@cache
def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def blocks(text: str) -> list[Block]:
    return [Block(language, textwrap.dedent(body)) for language, body in _FENCED.findall(text)]


def prose(text: str) -> str:
    """Return the text without its fenced blocks."""
    return _FENCED.sub("", text)


def section(document: Path, heading: str) -> str:
    """Return what stands below a heading, up to the next of the same or a higher level."""
    level, lines = 0, []
    for line in text_of(document).splitlines():
        marks = re.match(r"(#+) (.*)", line)
        if level and marks and len(marks[1]) <= level:
            break
        if level:
            lines.append(line)
        elif marks and marks[2] == heading:
            level = len(marks[1])
    assert level, f"{document.name} has no heading {heading!r}"
    return "\n".join(lines)


def table(text: str) -> list[tuple[str, ...]]:
    """Return the rows of the first table of a text, without its head."""
    rows = [
        tuple(cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        for line in text.partition("\n|")[2].partition("\n\n")[0].splitlines()
        if line
    ]
    return [row for row in rows[1:] if set("".join(row)) - set(":- ")]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def slug(heading: str) -> str:
    """Return the anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
