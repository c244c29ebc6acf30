"""Commands in variables: what a shell would do with them, and keepalived and the agent do not.

A command is split into words as a shell splits it, and the program gets those words: there is no
shell between. What only a shell has a meaning for would be one argument more, and a check with
one argument more always succeeds or always fails.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BLANKS: Final = " \t\r\n"
_MASK: Final = "\0"  # no value of a variable has it
_OPERATOR: Final = re.compile(r"[|&;<>()]+|^#.*")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_EXPANSION: Final = re.compile(r"\$[A-Za-z0-9_@*#?$!({-][A-Za-z0-9_]*|`")
_PATTERN: Final = re.compile(r"^~|[*?]|\[[^\]]+\]")
_ADDRESS_OF_A_PAGE: Final = "://"  # a question mark in one is no pattern that names a file
_RUN_THE_NEXT_WORD: Final = re.compile(r"-[A-Za-z]*c")
_SHELLS: Final = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"})
_PROGRAMLESS: Final = frozenset(
    {
        *("!", "{", "[[", "if", "for", "while", "until", "case"),
        *(".", ":", "eval", "exec", "exit", "export", "set", "source", "trap"),
    }
)
"""What a shell does by itself: no system has programs of these names."""


class Word(Struct, frozen=True):
    """One word of a command.

    Attributes:
        text: what the program gets.
        bare: the same length, quoted and escaped characters masked.
        exposed: likewise, but those in double quotes are left: a shell expands some of them.
    """

    text: str
    bare: str
    exposed: str


def split(command: str) -> tuple[Word, ...]:
    """Return the words of a command, as ``shlex.split`` makes them.

    Raises:
        ValueError: a quote or an escape does not end.
    """
    shlex.split(command)  # its error names what is wrong with the quotes
    words: list[Word] = []
    letters: list[tuple[str, str, str]] | None = None
    quote = ""
    characters = iter(command)
    for each in characters:
        if not quote and each in _BLANKS:
            if letters is not None:
                words.append(_word(letters))
            letters = None
            continue
        letters = letters if letters is not None else []
        if each == quote:
            quote = ""
        elif not quote and each in "'\"":
            quote = each
        elif each == "\\" and quote != "'":
            letters += _escaped(next(characters), quote)
        else:
            is_exposed = quote != "'"
            letters.append((each, _MASK if quote else each, each if is_exposed else _MASK))
    if letters is not None:
        words.append(_word(letters))
    return tuple(words)


def _escaped(letter: str, quote: str) -> Iterator[tuple[str, str, str]]:
    if quote and letter not in '"\\':
        yield "\\", _MASK, "\\"
    yield letter, _MASK, _MASK


def _word(letters: Sequence[tuple[str, str, str]]) -> Word:
    columns = zip(*letters, strict=True) if letters else ("", "", "")
    text, bare, exposed = map("".join, columns)
    return Word(text, bare, exposed)


def objection(command: str, words: Sequence[Word]) -> tuple[str, str] | None:
    """Return why a command cannot be meant as it is, and what to write; None if it can.

    keepalived ran a full path, a command that it found on PATH, and a path relative to the
    directory it happened to start in; the last is refused. So is what only a shell understands:
    neither the old image nor the agent has one read the command.
    """
    first = words[0] if words else Word("", "", "")
    if not first.text:
        return "names no command", "write its full path"
    operators = dict.fromkeys(found for each in words for found in _OPERATOR.findall(each.bare))
    in_a_shell = f"write /bin/sh -c {shlex.quote(command)}"
    if operators:
        shown = " ".join(operators)
        return (
            f"no shell reads this, so the program would get {shown} as an argument",
            f"{in_a_shell}, or quote {shown} if the program is to have it",
        )
    reason = f"no shell reads this, and {first.text!r} is no program"
    if _ASSIGNMENT.match(first.bare):
        return reason, f"write /usr/bin/env {command}"
    if first.bare in _PROGRAMLESS:
        return reason, in_a_shell
    if "/" in first.text and not first.text.startswith("/"):
        return f"{first.text!r} is no full path", "begin it with '/'"
    return None


def warnings(words: Sequence[Word]) -> Iterator[str]:
    """Yield a sentence for everything that a shell, or another PATH, makes something else of."""
    script = _script_of_shell(words)
    found: dict[str, None] = {}
    for position, each in enumerate(words):
        if position == script:
            continue
        found |= dict.fromkeys(_EXPANSION.findall(each.exposed))
        if _PATTERN.search(each.bare) and _ADDRESS_OF_A_PAGE not in each.text:
            found[each.text] = None
    if found:
        yield (
            f"no shell reads this, so the program gets {', '.join(found)} as written; write "
            "/bin/sh -c '...' if a shell is to replace it, or quote it if not"
        )
    if any(map(_keeps_backslash, words)):
        yield "a backslash before $ or ` stays in double quotes; write single quotes, without it"
    if script is not None and "$" not in words[script].text and len(words) > script + 1:
        yield (
            f"of this the shell runs {words[script].text!r} alone; put all that it is to run into "
            "one pair of quotes"
        )
    if not words[0].text.startswith("/"):
        yield f"{words[0].text!r} is looked for on PATH; write its full path"


def _keeps_backslash(word: Word) -> bool:
    """Return whether double quotes keep a backslash that a shell would take away."""
    pairs = zip(word.exposed, word.text[1:], strict=False)
    return any(one == "\\" and following in "$`" for one, following in pairs)


def _script_of_shell(words: Sequence[Word]) -> int | None:
    """Return the position of the word that a shell is to run (``sh -c WORD``), if there is one."""
    shells = (
        position for position, each in enumerate(words) if each.text.rpartition("/")[2] in _SHELLS
    )
    for position in shells:
        for option in range(position + 1, len(words) - 1):
            if _RUN_THE_NEXT_WORD.fullmatch(words[option].text):
                return option + 1
    return None
