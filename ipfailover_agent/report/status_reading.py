"""Reads the status file, checked for what the commands rely on."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from ipfailover_agent.report.status_model import SCHEMA


def from_json(text: str) -> dict[str, Any]:
    """Return the snapshot in ``text`` as plain data, checked for what the commands rely on.

    Fields of a later version, which this one does not know, are left as they are.

    Raises:
        ValueError: this is no snapshot, one with a schema that this version does not know, or a
            damaged one.
    """
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        message = f"not a status of schema {SCHEMA}"
        raise ValueError(message)
    if not _is_whole(data):
        message = "a damaged status"
        raise ValueError(message)
    return data


# --- what the commands rely on ------------------------------------------------------------------

_Check = Callable[[object], bool]


def _is_whole(data: dict[str, object]) -> bool:
    return _has(
        data,
        version=_is_text,
        pid=_is_count,
        phase=_is_text,
        ready=_is_flag,
        reasons=_each(_is_text),
        config=_optional(_is_config),
        instances=_each(_is_instance),
        reload=_is_reload,
        restarts=_is_count,
        lines_dropped=_is_count,
        protections=_each(_is_protection),
        drain_requests=_each(_is_drain_request),
    ) and _may_have(data, check=_optional(_is_check), notes=_each(_is_text), written_at=_is_time)


def _may_have(data: dict[str, Any], **checks: _Check) -> bool:
    """Check what an agent of an earlier version does not write."""
    return all(check(data[name]) for name, check in checks.items() if name in data)


def _has(data: object, **checks: _Check) -> bool:
    return isinstance(data, dict) and all(
        name in data and check(data[name]) for name, check in checks.items()
    )


def _is_config(value: object) -> bool:
    texts = dict.fromkeys(("name", "interface", "digest", "source"), _is_text)
    return _has(value, since=_is_time, **texts)


def _is_check(value: object) -> bool:
    return _has(value, state=_is_text, reason=_is_text, since=_optional(_is_time))


def _is_transition(value: object) -> bool:
    texts = dict.fromkeys(("previous", "state", "kind", "cause"), _is_text)
    return _has(value, at=_is_time, **texts)


def _is_holder(value: object) -> bool:
    return _has(
        value,
        address=_is_text,
        is_here=_is_flag,
        priority=_is_count,
        heard_at=_optional(_is_time),
    )


def _is_unanswered(value: object) -> bool:
    return _has(value, address=_is_text, holder=_is_text, since=_is_time, cause=_is_text)


def _is_instance(value: object) -> bool:
    is_known = _has(
        value,
        name=_is_text,
        virtual_router_id=_is_count,
        state=_is_text,
        since=_optional(_is_time),
        priority=_is_count,
        addresses=_each(_is_text),
        held=_optional(_is_text),
        drained=_optional(_is_text),
    )
    return (
        is_known
        and isinstance(value, dict)
        and _may_have(
            value,
            transitions=_each(_is_transition),
            unanswered=_each(_is_unanswered),
            holders=_each(_is_holder),
        )
    )


def _is_protection(value: object) -> bool:
    return _has(value, kind=_is_text, active=_is_flag, reason=_is_text)


def _is_drain_request(value: object) -> bool:
    return _has(
        value,
        id=_is_text,
        verdict=_optional(_is_text),
        lines=_each(_is_text),
        within=_is_number,
    )


def _is_reload(value: object) -> bool:
    return _has(
        value,
        started=_is_count,
        ended=_is_count,
        verdict=_optional(_is_text),
        at=_optional(_is_time),
        lines=_each(_is_text),
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(value: object) -> bool:
    """Return whether it is a time with its distance to UTC, so that it can be counted from."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _optional(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _each(check: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(check, value))
