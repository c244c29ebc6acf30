"""What is known of a running agent, as one immutable snapshot, and its JSON.

The file ``status.json`` in the run directory holds the newest snapshot, replaced atomically. It
is the interface to the ``status`` and ``reload`` commands; ``schema`` grows when a field changes
its meaning, new fields do not count.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """One VRRP instance. ``since`` is UTC in ISO 8601, or None before the first transition.

    ``addresses`` are the configured ones; the instance holds them while it is MASTER. ``held``
    says in words why it is kept in FAULT on purpose.
    """

    name: str
    virtual_router_id: int
    state: str
    since: str | None
    priority: int
    addresses: tuple[str, ...]
    held: str | None = None


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
    schema: int = SCHEMA


def to_json(status: AgentStatus) -> str:
    """Return the snapshot as one JSON object on one line."""
    return json.dumps(asdict(status), separators=(",", ":")) + "\n"


def from_json(text: str) -> dict[str, Any]:
    """Return the snapshot in ``text`` as plain data, checked for what the commands rely on.

    Raises:
        ValueError: this is no snapshot, or one with a schema that this version does not know.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        message = f"not a status of schema {SCHEMA}"
        raise ValueError(message)
    return data
