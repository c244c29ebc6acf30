"""Words that several sentences share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address

    from msgspec import Struct

_SHORTEST_RANGE = 3  # addresses; two are named
_SHOWN = 8  # as many as fit a line
_LINE = 300  # characters of a sentence that others write


def listed(items: Iterable[object], shown: int = _SHOWN) -> str:
    """Return items in a row, the first few where there are many; empty for none."""
    texts = [str(each) for each in items]
    rest = len(texts) - shown
    return " ".join(texts[:shown]) + (f" and {rest} more" if rest > 0 else "")


def ranges(addresses: Iterable[IPv4Address | IPv6Address]) -> str:
    """Return addresses for a sentence; of a run without gaps the first and the last."""
    runs: list[list[IPv4Address | IPv6Address]] = []
    for each in addresses:
        if runs and each.version == runs[-1][-1].version and int(each) == int(runs[-1][-1]) + 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) >= _SHORTEST_RANGE else ", ".join(map(str, run))
        for run in runs
    )


def counted(count: int, noun: str) -> str:
    """Return ``1 address``, ``2 addresses``, ``0 lines``."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{ending}"


def times(count: int) -> str:
    """Return ``once``, ``2 times``."""
    return "once" if count == 1 else f"{count} times"


def duration(seconds: float) -> str:
    """Return a length of time in the two largest units: ``3d 4h``, ``2m 5s``, ``7s``."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def dropped_lines(count: int) -> str:
    """Return the sentence that stands where lines are missing."""
    return f"{counted(count, 'line')} dropped: no program read the output"


def harmless(text: str, kept: str = "") -> str:
    """Return a text that moves no cursor, ends no line and changes no colour.

    What would, other than ``kept``, is written as Python writes it.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text)


def one_line(text: str, limit: int = _LINE) -> str:
    """Return what another program wrote as one :func:`harmless` line.

    Its lines are joined; it has at most ``limit`` characters.
    """
    lines = (each.strip() for each in text[: 4 * limit].splitlines())
    line = harmless("; ".join(filter(None, lines)))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def shown_without(value: Struct, secret: str) -> str:
    """Return a value's ``repr`` without one of its fields, which no log and no trace may show."""
    names = [each for each in value.__struct_fields__ if each != secret]
    shown = ", ".join(f"{each}={getattr(value, each)!r}" for each in names)
    return f"{type(value).__name__}({shown})"


def taken_by(interface: str, port_of: str) -> str:
    """Return a sentence about an interface that is the port of another one.

    Tried with a bridge (Linux 6.18): ARP is answered and no packet that follows, a neighbour
    solicitation is not; adverts leave, and none arrives. A bond and Open vSwitch take what comes
    in just so.
    """
    return (
        f"{interface} is a port of {port_of}, which takes all that comes in there: no client "
        f"reaches an address on {interface}"
    )


def named(names: tuple[str, ...]) -> str:
    """Return names for a sentence, at most two."""
    first, *others = names
    if not others:
        return first
    return f"{first} and {others[0] if len(others) == 1 else f'{len(others)} more'}"
