"""Requests: how commands ask the agent to drain instances, and to end that, as text of files."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

LONGEST: Final = 366 * 86400.0
"""Seconds that a drain may be asked for; without ``--for`` it has no end."""

_SCHEMA: Final = 1
_CAUSE_LIMIT: Final = 200  # characters
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", re.ASCII)
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_Word = Annotated[str, Meta(min_length=1, max_length=200)]
_Content = TypeVar("_Content")


class DrainRequest(Struct, frozen=True, kw_only=True):
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


def encode_request(request: DrainRequest) -> str:
    """Return the text of a request file."""
    return json.dumps({"schema": _SCHEMA, **msgspec.to_builtins(request)}) + "\n"


def decode_request(text: str) -> DrainRequest:
    """Return the request in a text; raise ValueError with the reason where there is none."""
    return read(text, DrainRequest, "request", _SCHEMA)


def read(text: str, kind: type[_Content], what: str, schema: int) -> _Content:
    """Return the content of a JSON text as a ``kind``.

    Raises:
        ValueError: it is none of this schema; nothing else is raised, whatever the text is.
    """
    try:
        data: Any = json.loads(text)
        if isinstance(data, dict) and data.get("schema") == schema:
            return msgspec.convert(data, kind)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(f"it is no {what}: {str(error)[:_CAUSE_LIMIT]}") from error
    raise ValueError(f"it is no {what} of schema {schema}")
