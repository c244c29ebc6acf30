"""The JSON of the agent's own files: structs as text, and the text as structs or refused.

A struct whose text has a version declares it as its tag: ``tag_field="schema", tag=1``.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

if TYPE_CHECKING:
    from msgspec import Struct

_CAUSE_LIMIT: Final = 200  # characters
_Content = TypeVar("_Content", bound="Struct")


def encode(content: Struct, *, indent: int | None = None) -> str:
    """Return a struct as one JSON object, on one line unless it is indented for people."""
    separators = (",", ":") if indent is None else None
    plain = msgspec.to_builtins(content, enc_hook=str)
    return json.dumps(plain, indent=indent, separators=separators) + "\n"


def decode(text: str, kind: type[_Content], what: str) -> _Content:
    """Return the struct in a text; ``what`` names it in the error.

    Raises:
        ValueError: it is none of this schema; nothing else is raised, whatever the text is.
    """
    return read(text, kind, what)[0]


def read(
    text: str, kind: type[_Content], what: str, unread: frozenset[str] = frozenset()
) -> tuple[_Content, dict[str, Any]]:
    """Return the struct in a text as :func:`decode` does, and all that the text holds.

    Fields of ``unread`` names keep their defaults, at any level: they may be damaged.
    """

    def sound(each: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in each.items() if name not in unread}

    schema = kind.__struct_config__.tag
    try:
        data: Any = json.loads(text)
        if isinstance(data, dict) and (schema is None or data.get("schema") == schema):
            taken = json.loads(text, object_hook=sound) if unread else data
            return msgspec.convert(taken, kind, dec_hook=_address), data
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(f"it is no {what}: {str(error)[:_CAUSE_LIMIT]}") from error
    raise ValueError(f"it is no {what} of schema {schema}")


def _address(_: type, value: object) -> object:
    """Return an address: all other types are those of JSON, or enums of them."""
    if isinstance(value, str):
        return ip_address(value)
    raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
