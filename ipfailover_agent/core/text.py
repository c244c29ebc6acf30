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


def one_line(text: str, limit: int = _LINE) -> str:
    """Return what another program wrote as one line of at most ``limit`` characters.

    Its lines are joined, and what moves a cursor is written as Python writes it.
    """
    lines = (each.strip() for each in text[: 4 * limit].splitlines())
    line = "; ".join(filter(None, lines))
    if not line.isprintable():
        line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)
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
