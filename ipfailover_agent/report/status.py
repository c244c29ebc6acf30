"""What is known of a running agent, as one immutable snapshot, and its JSON.

The file ``status.json`` in the run directory holds the newest snapshot, replaced atomically. It
is the interface to the ``status`` and ``reload`` commands; ``schema`` grows when a field changes
its meaning, new fields do not count.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipfailover_agent.core.dump import Counters

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionStatus:
    """A transition of an instance: when, from what to what, and why.

    ``kind`` is a value of ``core.transition.TransitionKind``, ``cause`` a sentence. ``lasted`` is
    how many seconds ``previous`` took, None where that is not known.
    """

    at: str
    previous: str
    state: str
    kind: str
    cause: str
    priority: int = 0
    lasted: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStatus:
    """Something that happened, as ``events`` prints it.

    ``event`` is the name that the log has for it, ``kind`` a short word (the kind of cause, a
    verdict), ``instance`` None where it is about the whole node.
    """

    at: str
    event: str
    kind: str
    cause: str
    instance: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalStatus:
    """The last that was told of a rival of an instance: its address or MAC, and why it is one."""

    rival: str
    kind: str
    cause: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpStatus:
    """What keepalived itself said of an instance, and when it was asked.

    ``effective_priority`` is 0 in FAULT. The counters begin at 0 when keepalived starts.
    ``garp_delay`` is in seconds.
    """

    at: str
    effective_priority: int
    has_addresses: bool
    counters: Counters
    garp_delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """One VRRP instance. ``since`` is UTC in ISO 8601, or None before the first transition.

    ``addresses`` are the configured ones; the instance holds them while it is MASTER. ``held``
    says in words why it is kept in FAULT on purpose, ``drained`` how it is drained.

    Attributes:
        lease_remaining: seconds after which the kernel removes the addresses if nobody renews
            their lease, below 0 where it may have done so; None while nothing is leased.
        dump: keepalived's own word, None before its first.
        rivals: the newest last, at most 4; those that were told of within the last hour.
        transitions: the last five, the newest last.
        timeline: pairs of a time and the state from then on, for the last hour, at most 32; the
            first may be older.
        transition_counts: triples of a state, a kind of cause and how many transitions into that
            state had such a cause, since the agent started.
    """

    name: str
    virtual_router_id: int
    state: str
    since: str | None
    priority: int
    addresses: tuple[str, ...]
    held: str | None = None
    drained: str | None = None
    lease_remaining: float | None = None
    dump: DumpStatus | None = None
    rivals: tuple[RivalStatus, ...] = ()
    transitions: tuple[TransitionStatus, ...] = ()
    timeline: tuple[tuple[str, str], ...] = ()
    transition_counts: tuple[tuple[str, str, int], ...] = ()


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
class CheckStatus:
    """The check of this node: it is one for all instances.

    ``state`` is ok, failing or unknown; ``reason`` says in words why it fails. ``duration`` is how
    many seconds its last run took, None where that is not known.
    """

    state: str = "unknown"
    reason: str = ""
    since: str | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseStatus:
    """The lease on held addresses, in seconds; 0 is none.

    ``lateness`` is by how much the last renewal came too late, ``worst_lateness`` the worst since
    the agent started; ``lapses`` counts those after which the kernel may have removed addresses.
    """

    seconds: int = 0
    lateness: float = 0.0
    worst_lateness: float = 0.0
    lapses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What happened since the agent started; reloads by verdict.

    ``contests`` counts holds in favour of a rival, ``kills`` a keepalived that hung.
    """

    accepted: int = 0
    unchanged: int = 0
    refused: int = 0
    unconfirmed: int = 0
    contests: int = 0
    holds: int = 0
    kills: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenStatus:
    """Where HTTP is to be answered, and whether it is; ``reason`` says why not."""

    address: str
    active: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """The agent at one moment. Times are UTC in ISO 8601.

    Attributes:
        fingerprint: of what must be equal on all nodes, see ``core.fingerprint``.
        keepalived_version: empty before keepalived has told it.
        python: version of the interpreter.
        events: of the last hour, the newest last, at most 50.
        listen: None where HTTP is off.
    """

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
    worst_seconds: tuple[tuple[str, float | None], ...] = ()
    drain_requests: tuple[DrainRequestStatus, ...] = ()
    check: CheckStatus | None = None
    lease: LeaseStatus = LeaseStatus()
    counts: Counts = Counts()
    fingerprint: str = ""
    keepalived_version: str = ""
    python: str = ""
    events: tuple[EventStatus, ...] = ()
    listen: ListenStatus | None = None
    schema: int = SCHEMA


def to_json(status: AgentStatus) -> str:
    """Return the snapshot as one JSON object on one line."""
    return json.dumps(status, default=_as_dict, separators=(",", ":")) + "\n"


def _as_dict(value: Any) -> dict[str, object]:  # noqa: ANN401 - as json calls it
    """Return one of these classes as a dictionary: ``asdict`` would copy all that it holds."""
    return {name: getattr(value, name) for name in value.__slots__}


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
    ) and _may_have(data, check=_optional(_is_check))


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
        and _may_have(value, transitions=_each(_is_transition))
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
