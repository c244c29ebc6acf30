"""The active configuration as a file of the run directory: what a running agent serves.

Other commands compare with it. It holds the password and the agent's variables, so it is written
for root alone.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from msgspec import Struct

from ipfailover_agent.core.model import KeepalivedConfig  # noqa: TC001 - read at run time

SCHEMA = 1


class ActiveRecord(Struct, frozen=True, kw_only=True):
    """What an agent put in force.

    Attributes:
        pid: of the agent that wrote it.
        agent_started_at: when that process started, in clock ticks after boot: with the pid it
            shows whether the agent that runs now wrote it.
        environment: its contract variables, before the source overrides them.
        start_only: the variables among those in force that only a restart can change.
        source: absolute path of what IPFAILOVER_CONFIG named, None for the environment alone.
        template_directory: of the user's own templates.
        digest: of the rendered files.
        config: the plan that they were rendered from.
    """

    pid: int
    agent_started_at: int
    environment: tuple[tuple[str, str], ...]
    start_only: tuple[tuple[str, str], ...]
    source: str | None
    template_directory: str | None
    digest: str
    config: KeepalivedConfig


def to_json(record: ActiveRecord) -> str:
    """Return the record as one JSON object on one line."""
    return json.dumps({"schema": SCHEMA, **_plain(record)}, separators=(",", ":")) + "\n"


def from_json(text: str) -> ActiveRecord | None:
    """Return the record in ``text``; None for one of another version, and for a damaged one."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            return None
        found = _value(ActiveRecord, data)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return found if isinstance(found, ActiveRecord) else None


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON has
    match value:
        case enum.Enum():
            return value.value
        case IPv4Address() | IPv6Address():
            return str(value)
        case tuple():
            return [_plain(each) for each in value]
        case Struct():
            return {each: _plain(getattr(value, each)) for each in value.__struct_fields__}
        case _:
            return value


def _value(kind: Any, plain: Any) -> Any:  # noqa: ANN401 - of the type that ``kind`` names
    """Return what ``plain`` stands for as a ``kind``; raises where it cannot be one."""
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        return _member(typing.get_args(kind), plain)
    if origin is tuple:
        return _items(typing.get_args(kind), plain)
    if issubclass(kind, Struct):
        return _built(kind, plain)
    if issubclass(kind, enum.Enum):
        return kind(plain)
    if kind is float and type(plain) is int:
        return plain
    if type(plain) is not kind:
        raise TypeError
    return plain


def _built(kind: Any, plain: Any) -> Any:  # noqa: ANN401 - see _value
    hints = _hints(kind)
    if not isinstance(plain, dict) or plain.keys() != hints.keys():
        raise ValueError
    return kind(**{name: _value(each, plain[name]) for name, each in hints.items()})


def _member(kinds: tuple[Any, ...], plain: Any) -> Any:  # noqa: ANN401 - see _value
    if types.NoneType in kinds:
        others = tuple(each for each in kinds if each is not types.NoneType)
        return None if plain is None else _member(others, plain)
    return ip_address(str(plain)) if IPv4Address in kinds else _value(kinds[0], plain)


def _items(kinds: tuple[Any, ...], plain: Any) -> tuple[Any, ...]:  # noqa: ANN401 - see _value
    if not isinstance(plain, list):
        raise TypeError
    if kinds[-1] is Ellipsis:
        return tuple(_value(kinds[0], each) for each in plain)
    return tuple(_value(kind, each) for kind, each in zip(kinds, plain, strict=True))


_known: dict[type, dict[str, Any]] = {}  # working them out anew for 254 instances takes a while


def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a Struct
    if kind not in _known:
        _known[kind] = typing.get_type_hints(kind)
    return _known[kind]
