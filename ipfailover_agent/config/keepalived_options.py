"""Which options of keepalived's command line KEEPALIVED_OPTIONS may hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=,+@%^-]+")

_FILE = "the agent names the configuration file; set KEEPALIVED_CONFIG"
_PID = "the agent keeps keepalived's pid files in its run directory"
_ENDS = "keepalived would print something and end instead of running"
_STAYS = "addresses would stay on the node after keepalived has ended"
_ELSEWHERE = "keepalived would serve another network namespace than the agent looks at"


#: Options of keepalived 2.2.7 to 2.4.3: what argument they take, and why not, if so. Others are
#: refused: only of an option that is known it is clear whether the next word is its argument;
#: getopt_long(3) takes the beginning of a long name for it; and some that no help text names write
#: what they should not (``--config-fd``: the configuration, to a file descriptor).
_OPTIONS: Final[dict[str, tuple[str, str]]] = {
    name: (argument, refusal)
    for names, argument, refusal in (
        ("-P --vrrp -B --no_bfd --all -e --all-config -d --dump-conf -n --dont-fork", "none", ""),
        ("-l --log-console -D --log-detail -G --no-syslog -m --core-dump -x --snmp", "none", ""),
        ("-X --release-vips -I --dont-release-ipvs -R --dont-respawn", "none", ""),
        ("-a --address-monitoring", "none", ""),
        ("-S --log-facility -u --umask -A --snmp-agent-socket -i --config-id", "required", ""),
        ("-M --core-dump-pattern", "optional", ""),
        ("-f --use-file", "required", _FILE),
        ("-C --check", "none", "keepalived would hold no address"),
        ("-V --dont-release-vrrp", "none", _STAYS),
        ("-p --pid -r --vrrp_pid -c --checkers_pid -b --bfd_pid", "required", _PID),
        ("-T --genhash -v --version -h --help", "none", _ENDS),
        ("-s --namespace", "required", _ELSEWHERE),
        ("--signum", "required", _ENDS),
        ("-t --config-test", "optional", _ENDS),
    )
    for name in names.split()
}


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
    name, equals, _ = word.partition("=")
    if name not in _OPTIONS:
        yield word, "the agent knows no such option of keepalived (names are written in full)"
    elif equals and _OPTIONS[name][0] == "none":
        yield word, "this option takes no argument"
    else:
        yield from _taken(word, name, remaining, has_argument=bool(equals))


def _short(word: str, remaining: Iterator[str]) -> Iterator[tuple[str, str]]:
    for position, letter in enumerate(word[1:], start=2):
        name = f"-{letter}"
        if name not in _OPTIONS:
            yield word, f"the agent knows no option {name} of keepalived"
            return
        argument, refusal = _OPTIONS[name]
        if argument != "none":
            yield from _taken(word, name, remaining, has_argument=position < len(word))
            return
        if refusal:
            yield word, refusal


def _taken(
    word: str, name: str, remaining: Iterator[str], *, has_argument: bool
) -> Iterator[tuple[str, str]]:
    """Take the next word too where the option needs one, and judge the option."""
    wanted, refusal = _OPTIONS[name]
    argument: str | None = ""
    if wanted == "required" and not has_argument:
        argument = next(remaining, None)
    if refusal:
        yield word, refusal
    elif argument is None:
        yield word, "this option needs an argument"
    elif argument and not _PLAIN_WORD.fullmatch(argument):
        yield argument, "quotes and special characters cannot be passed on"
