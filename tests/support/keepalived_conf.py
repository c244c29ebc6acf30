"""A reader of keepalived.conf that shares nothing with the templates: what a file really says.

One statement a line; ``{`` at its end opens a block, ``}`` closes it; ``#`` and ``!`` outside of
double quotes start a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(r'\s+|"(?P<quoted>[^"\n]*)"|(?P<comment>[#!].*)|(?P<word>[^\s"#!]+)')


class MalformedError(Exception):
    """The text is no keepalived.conf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The words of a line and what its block holds, None where it opens none."""

    words: tuple[str, ...]
    block: tuple[Statement, ...] | None = None

    @property
    def name(self) -> str:
        """Return the first word."""
        return self.words[0]

    def all(self, name: str) -> tuple[Statement, ...]:
        """Return the statements of that name in the block."""
        return tuple(each for each in self.block or () if each.name == name)

    def one(self, name: str) -> Statement:
        """Return the only statement of that name in the block."""
        found = self.all(name)
        if len(found) != 1:
            raise MalformedError(f"{len(found)} statements {name!r} in {self.words}")
        return found[0]

    def value(self, name: str) -> str:
        """Return the only argument of the only statement of that name."""
        (_, argument) = self.one(name).words
        return argument

    def lines(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Return the words of each line in the only block of that name; none without it."""
        if not self.all(name):
            return ()
        return tuple(each.words for each in self.one(name).block or ())


def parse(text: str) -> Statement:
    """Return the whole file as the block of a nameless statement."""
    lines = iter([(number, _words(line)) for number, line in enumerate(text.split("\n"), 1)])
    block = tuple(_block(lines, depth=0))
    return Statement(words=("",), block=block)


def _block(lines: Iterator[tuple[int, list[str]]], depth: int) -> Iterator[Statement]:
    for number, words in lines:
        if not words:
            continue
        if words == ["}"]:
            if not depth:
                raise MalformedError(f"line {number}: nothing to close")
            return
        if words[-1] == "{":
            inner = tuple(_block(lines, depth + 1))
            yield Statement(words=tuple(words[:-1]), block=inner)
        elif "{" in words or "}" in words:
            raise MalformedError(f"line {number}: a brace in the middle")
        else:
            yield Statement(words=tuple(words))
    if depth:
        raise MalformedError("a block is not closed")


def _words(line: str) -> list[str]:
    words = []
    end = 0
    while end < len(line):
        match = _TOKEN.match(line, end)
        if match is None:
            raise MalformedError(f"a quote is not closed: {line!r}")
        end = match.end()
        if match["comment"] is not None:
            break
        word = match["quoted"] if match["quoted"] is not None else match["word"]
        if word is not None:
            words.append(word)
    return words
