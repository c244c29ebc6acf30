"""The JSON schema of the status, made from its dataclasses.

``python -m tests.support.status_schema > docs/status.schema.json`` writes it anew.
"""

from __future__ import annotations

import json
import sys
import types
import typing
from typing import Any

from msgspec import Struct

from ipfailover_agent.keepalived.dump import VrrpStatistics
from ipfailover_agent.status import status_model

_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema() -> dict[str, Any]:
    """Return the schema; fields that are not in it may be added by later versions."""
    definitions: dict[str, Any] = {}
    top = _object(status_model.AgentStatus, definitions)
    top["required"].append("schema")
    top["properties"]["schema"] = {"const": status_model.SCHEMA}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Status of ipfailover-agent, schema {status_model.SCHEMA}",
        "description": "What /status answers, status.json holds and `status --json` prints. "
        "A later version may add fields; `schema` grows when one changes its meaning.",
        **top,
        "$defs": definitions,
    }


def text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(schema(), indent=2) + "\n"


def _object(kind: type[Struct], definitions: dict[str, Any]) -> dict[str, Any]:
    names = {**vars(status_model), "VrrpStatistics": VrrpStatistics}
    hints = typing.get_type_hints(kind, names)
    fields = list(kind.__struct_fields__)
    properties = {name: _of(hints[name], definitions) for name in fields}
    return {"type": "object", "required": fields, "properties": properties}


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - any type
    if hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    if isinstance(hint, type) and issubclass(hint, Struct):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # no struct holds itself, but two may hold a third
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    parts = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return {"anyOf": [_of(each, definitions) for each in parts]}
    if parts[-1] is Ellipsis:
        return {"type": "array", "items": _of(parts[0], definitions)}
    return {
        "type": "array",
        "prefixItems": [_of(each, definitions) for each in parts],
        "minItems": len(parts),
        "maxItems": len(parts),
    }


if __name__ == "__main__":
    sys.stdout.write(text())
