"""Reads the status file, checked for what the commands rely on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from ipfailover_agent import codec
from ipfailover_agent.status.status_model import SCHEMA

# A time with its distance to UTC, so that it can be counted from.
_Time = Annotated[datetime, Meta(tz=True)]


class _Config(Struct):
    name: str
    interface: str
    digest: str
    source: str
    since: _Time


class _Check(Struct):
    state: str
    reason: str
    since: _Time | None


class _Transition(Struct):
    at: _Time
    previous: str
    state: str
    kind: str
    cause: str


class _Unanswered(Struct):
    address: str
    holder: str
    since: _Time
    cause: str


class _Holder(Struct):
    address: str
    is_here: bool
    priority: int
    heard_at: _Time | None


class _Instance(Struct):
    name: str
    virtual_router_id: int
    state: str
    since: _Time | None
    priority: int
    addresses: list[str]
    held: str | None
    drained: str | None
    transitions: list[_Transition] | UnsetType = UNSET
    unanswered: list[_Unanswered] | UnsetType = UNSET
    holders: list[_Holder] | UnsetType = UNSET


class _Protection(Struct):
    kind: str
    active: bool
    reason: str


class _DrainRequest(Struct):
    id: str
    verdict: str | None
    lines: list[str]
    within: float


class _Reload(Struct):
    started: int
    ended: int
    verdict: str | None
    at: _Time | None
    lines: list[str]


class _Status(Struct, tag_field="schema", tag=SCHEMA):
    """What is unset here an agent of an earlier version does not write."""

    version: str
    pid: int
    phase: str
    ready: bool
    reasons: list[str]
    config: _Config | None
    instances: list[_Instance]
    reload: _Reload
    restarts: int
    lines_dropped: int
    protections: list[_Protection]
    drain_requests: list[_DrainRequest]
    check: _Check | UnsetType | None = UNSET
    notes: list[str] | UnsetType = UNSET
    written_at: _Time | UnsetType = UNSET


def from_json(text: str) -> dict[str, Any]:
    """Return the snapshot in ``text`` as plain data, checked for what the commands rely on.

    Fields of a later version, which this one does not know, are left as they are.

    Raises:
        ValueError: this is no snapshot, one with a schema that this version does not know, or a
            damaged one.
    """
    return codec.read(text, _Status, "status")[1]
