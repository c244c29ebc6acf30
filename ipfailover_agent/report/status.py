"""What is known of a running agent, as one immutable snapshot, and its JSON.

The file ``status.json`` in the run directory holds the newest snapshot, replaced atomically. It
is the interface to the ``status`` and ``reload`` commands; ``schema`` grows when a field changes
its meaning, new fields do not count.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """One VRRP instance. ``since`` is UTC in ISO 8601, or None before the first transition.

    ``addresses`` are the configured ones; the instance holds them while it is MASTER. ``held``
    says in words why it is kept in FAULT on purpose, ``drained`` how it is drained.
    """

    name: str
    virtual_router_id: int
    state: str
    since: str | None
    priority: int
    addresses: tuple[str, ...]
    held: str | None = None
    drained: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainRequestStatus:
    """A request to drain or undrain and what became of it.

    ``verdict`` is drained, undone, undrained or refused, or None while there is none; there will
    be within ``within`` seconds of the request.
    """

    id: str
    verdict: str | None
    lines: tuple[str, ...] = ()
    within: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """One mechanism that bounds how long two nodes hold an address, or none does.

    ``kind`` is lease, watch or conflict; ``reason`` says why it is off though it was asked for.
    """

    kind: str
    active: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadStatus:
    """Reloads so far and the verdict on the last one that ended.

    ``started`` and ``ended`` count. ``verdict`` is one of accepted, unchanged, refused,
    unconfirmed, or None.
    """

    started: int = 0
    ended: int = 0
    verdict: str | None = None
    at: str | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigStatus:
    """The active configuration."""

    name: str
    interface: str
    digest: str
    since: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """The agent at one moment. Times are UTC in ISO 8601."""

    version: str
    pid: int
    started_at: str
    written_at: str
    phase: str
    ready: bool
    reasons: tuple[str, ...] = ()
    config: ConfigStatus | None = None
    instances: tuple[InstanceStatus, ...] = ()
    reload: ReloadStatus = ReloadStatus()
    keepalived_pid: int | None = None
    restarts: int = 0
    lines_dropped: int = 0
    protections: tuple[Protection, ...] = ()
    drain_requests: tuple[DrainRequestStatus, ...] = ()
    schema: int = SCHEMA


def to_json(status: AgentStatus) -> str:
    """Return the snapshot as one JSON object on one line."""
    return json.dumps(asdict(status), separators=(",", ":")) + "\n"


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
    )


def _has(data: object, **checks: _Check) -> bool:
    return isinstance(data, dict) and all(
        name in data and check(data[name]) for name, check in checks.items()
    )


def _is_config(value: object) -> bool:
    texts = dict.fromkeys(("name", "interface", "digest", "source"), _is_text)
    return _has(value, since=_is_time, **texts)


def _is_instance(value: object) -> bool:
    return _has(
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
    """Tell whether it is a time with its distance to UTC, so that it can be counted from."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _optional(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _each(check: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(check, value))
