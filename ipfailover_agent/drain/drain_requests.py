"""Requests: how commands ask the agent to drain instances, and to end that, as text of files."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

LONGEST: Final = 366 * 86400.0
"""Seconds that a drain may be asked for; without ``--for`` it has no end."""

_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", re.ASCII)
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_Word = Annotated[str, Meta(min_length=1, max_length=200)]


class DrainRequest(Struct, frozen=True, kw_only=True, tag_field="schema", tag=1):
    """A request; ``words`` name instances, or addresses of them; none means all.

    ``seconds`` is how long a drain lasts, None for until an undrain.
    """

    action: Literal["drain", "undrain"]
    words: Annotated[tuple[_Word, ...], Meta(max_length=4096)] = msgspec.field(name="instances")
    is_forced: bool = msgspec.field(name="force", default=False)
    seconds: Annotated[float, Meta(gt=0, le=LONGEST)] | None = msgspec.field(
        name="for", default=None
    )


def parse_duration(text: str) -> float:
    """Return the seconds that ``90``, ``90s``, ``10m``, ``2h`` or ``1d`` means.

    Raises:
        ValueError: it means nothing, or is 0 or longer than a year.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration: write seconds, or a number with s, m, h or d")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"{text!r} is no duration: it must be more than 0 and at most a year")
    return seconds
