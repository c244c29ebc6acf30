"""Which options of keepalived's command line KEEPALIVED_OPTIONS may hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=,+@%^-]+")

_FILE = "the agent names the configuration file; set KEEPALIVED_CONFIG"
_PID = "the agent keeps keepalived's pid files in its run directory"
_ENDS = "keepalived would print something and end instead of running"


class _Option(Struct, frozen=True, kw_only=True):
    """One option of keepalived 2.2.7; ``refusal`` is why it cannot be taken, if so."""

    short: str
    long: str
    argument: Literal["none", "required", "optional"] = "none"
    refusal: str = ""


_OPTIONS = (
    _Option(short="f", long="use-file", argument="required", refusal=_FILE),
    _Option(short="P", long="vrrp"),
    _Option(short="C", long="check", refusal="keepalived would hold no address"),
    _Option(short="B", long="no_bfd"),
    _Option(short="", long="all"),
    _Option(short="l", long="log-console"),
    _Option(short="D", long="log-detail"),
    _Option(short="S", long="log-facility", argument="required"),
    _Option(short="G", long="no-syslog"),
    _Option(short="u", long="umask", argument="required"),
    _Option(short="X", long="release-vips"),
    _Option(
        short="V",
        long="dont-release-vrrp",
        refusal="addresses would stay on the node after keepalived has ended",
    ),
    _Option(short="I", long="dont-release-ipvs"),
    _Option(short="R", long="dont-respawn"),
    _Option(short="n", long="dont-fork"),
    _Option(short="d", long="dump-conf"),
    _Option(short="p", long="pid", argument="required", refusal=_PID),
    _Option(short="r", long="vrrp_pid", argument="required", refusal=_PID),
    _Option(short="c", long="checkers_pid", argument="required", refusal=_PID),
    _Option(short="b", long="bfd_pid", argument="required", refusal=_PID),
    _Option(short="T", long="genhash", refusal=_ENDS),
    _Option(short="a", long="address-monitoring"),
    _Option(short="x", long="snmp"),
    _Option(short="A", long="snmp-agent-socket", argument="required"),
    _Option(
        short="s",
        long="namespace",
        argument="required",
        refusal="keepalived would serve another network namespace than the agent looks at",
    ),
    _Option(short="m", long="core-dump"),
    _Option(short="M", long="core-dump-pattern", argument="optional"),
    _Option(short="e", long="all-config"),
    _Option(short="i", long="config-id", argument="required"),
    _Option(short="", long="signum", argument="required", refusal=_ENDS),
    _Option(short="t", long="config-test", argument="optional", refusal=_ENDS),
    _Option(short="v", long="version", refusal=_ENDS),
    _Option(short="h", long="help", refusal=_ENDS),
)
_BY_SHORT = {each.short: each for each in _OPTIONS if each.short}
_BY_LONG = {each.long: each for each in _OPTIONS}


def refusals(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield every word that keepalived must not be given, and why.

    Read as getopt_long(3) does: bundled short options, arguments attached or in the next word.
    """
    remaining = iter(words)
    for word in remaining:
        if not _PLAIN_WORD.fullmatch(word):
            yield word, "quotes and special characters cannot be passed on"
        elif word.startswith("--") and word != "--":
            yield from _long(word, remaining)
        elif word.startswith("-") and word not in {"-", "--"}:
            yield from _short(word, remaining)
        else:
            yield word, "this is no option"


def _long(word: str, remaining: Iterator[str]) -> Iterator[tuple[str, str]]:
    name, equals, _ = word[2:].partition("=")
    option = _BY_LONG.get(name)
    if option is None:
        yield word, "the agent knows no such option of keepalived (names are written in full)"
    elif equals and option.argument == "none":
        yield word, "this option takes no argument"
    else:
        yield from _taken(word, option, remaining, has_argument=bool(equals))


def _short(word: str, remaining: Iterator[str]) -> Iterator[tuple[str, str]]:
    for position, letter in enumerate(word[1:], start=2):
        option = _BY_SHORT.get(letter)
        if option is None:
            yield word, f"the agent knows no option -{letter} of keepalived"
            return
        if option.argument != "none":
            yield from _taken(word, option, remaining, has_argument=position < len(word))
            return
        if option.refusal:
            yield word, option.refusal


def _taken(
    word: str, option: _Option, remaining: Iterator[str], *, has_argument: bool
) -> Iterator[tuple[str, str]]:
    """Take the next word too where the option needs one, and judge the option."""
    argument: str | None = ""
    if option.argument == "required" and not has_argument:
        argument = next(remaining, None)
    if option.refusal:
        yield word, option.refusal
    elif argument is None:
        yield word, "this option needs an argument"
    elif argument and not _PLAIN_WORD.fullmatch(argument):
        yield argument, "quotes and special characters cannot be passed on"
