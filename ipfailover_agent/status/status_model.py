"""What is known of a running agent, as one immutable snapshot, and its JSON.

The file ``status.json`` in the run directory holds the newest snapshot, replaced atomically. It
is the interface to the ``status`` and ``reload`` commands; ``schema`` grows when a field changes
its meaning, new fields do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from ipfailover_agent import codec
from ipfailover_agent.keepalived.dump import VrrpStatistics  # noqa: TC001 - codec reads it
from ipfailover_agent.status.event_entries import is_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SCHEMA = 1

UNKNOWN = "unknown"
"""The holder where no master's advert comes."""


class TransitionStatus(Struct, frozen=True, kw_only=True):
    """A transition of an instance: when, from what to what, and why.

    ``kind`` is a value of ``status.transition.TransitionKind``, ``cause`` a sentence.
    ``lasted`` is how many seconds ``previous`` took, None where that is not known.
    """

    at: str
    previous: str
    state: str
    kind: str
    cause: str
    priority: int = 0
    lasted: float | None = None


class EventStatus(Struct, frozen=True, kw_only=True):
    """Something that happened, as ``events`` prints it.

    ``event`` is the name that the log has for it, ``kind`` a short word (the kind of cause, a
    verdict), ``instance`` None where it is about the whole node.
    """

    at: str
    event: str
    kind: str
    cause: str
    instance: str | None = None


class RivalStatus(Struct, frozen=True, kw_only=True):
    """The last report about a rival of an instance: its address or MAC, and why it is one."""

    rival: str
    kind: str
    cause: str
    at: str


class UnansweredStatus(Struct, frozen=True, kw_only=True):
    """An address that another node advertises and no host answers for.

    ``holder`` is that node's own address, ``cause`` a sentence on what it means.
    """

    address: str
    holder: str
    since: str
    cause: str


class HolderStatus(Struct, frozen=True, kw_only=True):
    """A holder of an instance's addresses: this node, or the sender of a master's adverts.

    ``address`` is the holder's own, that its adverts come from. ``priority`` is that of its newest
    advert, which came at ``heard_at``; None where it is this node, ``is_here``.
    """

    address: str
    is_here: bool
    priority: int
    heard_at: str | None = None


class DumpStatus(Struct, frozen=True, kw_only=True):
    """What keepalived itself reported of an instance, and when it was asked.

    ``effective_priority`` is 0 in FAULT. The counters begin at 0 when keepalived starts.
    ``garp_delay`` is in seconds.
    """

    at: str
    effective_priority: int
    has_addresses: bool
    counters: VrrpStatistics
    garp_delay: float = 0.0


class InstanceStatus(Struct, frozen=True, kw_only=True):
    """One VRRP instance. ``since`` is UTC in ISO 8601, or None before the first transition.

    ``addresses`` are the configured ones; the instance holds them while it is MASTER. ``held``
    is the reason why it is kept in FAULT on purpose, ``drained`` how it is drained.

    Attributes:
        lease_remaining: seconds after which the kernel removes the addresses if their lease is
            not renewed, below 0 where it may have done so; None while nothing is leased.
        holder: the node that holds the addresses, by its own address; two are separated by a
            comma, and "unknown" means that no master's advert came within a master-down interval.
        holders: the same with what is known of each; a holder that falls silent is taken out.
        dump: keepalived's own report, None before its first.
        rivals: the newest last, at most 4; those that were reported within the last hour.
        unanswered: addresses that another node holds and no host answers for.
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
    held: str | None
    drained: str | None
    lease_remaining: float | None = None
    holder: str = UNKNOWN
    holders: tuple[HolderStatus, ...] = ()
    dump: DumpStatus | None = None
    rivals: tuple[RivalStatus, ...] = ()
    unanswered: tuple[UnansweredStatus, ...] = ()
    transitions: tuple[TransitionStatus, ...] = ()
    timeline: tuple[tuple[str, str], ...] = ()
    transition_counts: tuple[tuple[str, str, int], ...] = ()


class DrainRequestStatus(Struct, frozen=True, kw_only=True):
    """A request to drain or undrain and what became of it.

    ``verdict`` is drained, undone, undrained or refused, or None while there is none; there will
    be within ``within`` seconds of the request.
    """

    id: str
    verdict: str | None
    lines: tuple[str, ...] = ()
    within: float = 0.0


class Protection(Struct, frozen=True, kw_only=True):
    """One mechanism that bounds how long two nodes hold an address, or none does.

    ``kind`` is lease, watch, conflict, shield or listener (which bounds nothing, but finds sooner
    what the check finds); ``reason`` is why it is off though it was asked for.
    """

    kind: str
    active: bool
    reason: str


class ReloadStatus(Struct, frozen=True, kw_only=True):
    """Reloads so far and the verdict on the last one that ended.

    ``started`` and ``ended`` count. ``verdict`` is one of accepted, unchanged, refused,
    unconfirmed, or None.
    """

    started: int
    ended: int
    verdict: str | None
    at: str | None
    lines: tuple[str, ...]


class ConfigStatus(Struct, frozen=True, kw_only=True):
    """The active configuration."""

    name: str
    interface: str
    digest: str
    since: str
    source: str


class CheckStatus(Struct, frozen=True, kw_only=True):
    """The check of this node: it is one for all instances.

    ``state`` is ok, failing or unknown; ``reason`` is why it fails. ``duration`` is how many
    seconds its last run took, None where that is not known.
    """

    state: str
    reason: str
    since: str | None
    duration: float | None = None


class LeaseStatus(Struct, frozen=True, kw_only=True):
    """The lease on held addresses, in seconds; 0 is none.

    ``lateness`` is by how much the last renewal came too late, ``worst_lateness`` the worst since
    the agent started; ``lapses`` counts those after which the kernel may have removed addresses.
    """

    seconds: int = 0
    lateness: float = 0.0
    worst_lateness: float = 0.0
    lapses: int = 0


class Counts(Struct, frozen=True, kw_only=True):
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


class ListenStatus(Struct, frozen=True, kw_only=True):
    """Where HTTP is to be answered, and whether it is; ``reason`` is why not."""

    address: str
    active: bool
    reason: str = ""


class StatusPart(Struct, frozen=True, kw_only=True):
    """What one service knows, for the status; mappings are by the instance's name.

    Attributes:
        protections: the mechanisms of the service.
        troubles: why the node is not ready.
        lease_remaining: seconds, for every instance that is MASTER.
        held: why instances are kept in FAULT for a rival, or are on trial; ``drained``: how
            they are drained.
        contests: how often an instance was held for a rival; ``holds``: for any reason.
        check_took: how many seconds the agent's own check took last.
        present: the configured addresses that the kernel has, None where it gives no answer.
        can_ask: keepalived can be asked; ``dump_asked_ago``: seconds since it was asked for its
            newest dump, None without one; ``owed``: for how long it has owed the next one.
    """

    protections: tuple[Protection, ...] = ()
    troubles: tuple[str, ...] = ()
    lease: LeaseStatus = LeaseStatus()
    lease_remaining: float | None = None
    dumps: Mapping[str, DumpStatus] = field(default_factory=dict)
    holders: Mapping[str, tuple[HolderStatus, ...]] = field(default_factory=dict)
    rivals: Mapping[str, tuple[RivalStatus, ...]] = field(default_factory=dict)
    unanswered: Mapping[str, tuple[UnansweredStatus, ...]] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    drained: Mapping[str, str] = field(default_factory=dict)
    drain_requests: tuple[DrainRequestStatus, ...] = ()
    contests: int = 0
    holds: int = 0
    check_took: float | None = None
    listen: ListenStatus | None = None
    present: frozenset[str] | None = None
    can_ask: bool = True
    dump_asked_ago: float | None = None
    owed: float = 0.0


NOTHING: Final = StatusPart()


def together(parts: Iterable[StatusPart]) -> StatusPart:
    """Return what all parts show; each field is that of one part, or tuples one after another."""
    found: dict[str, Any] = {}
    for part in parts:
        if part is NOTHING:
            continue
        for name in StatusPart.__struct_fields__:
            value = getattr(part, name)
            if isinstance(value, tuple):
                found[name] = (*found.get(name, ()), *value)
            elif value != getattr(NOTHING, name):
                found[name] = value
    return StatusPart(**found)


class AgentStatus(Struct, frozen=True, kw_only=True, tag_field="schema", tag=SCHEMA):
    """The agent at one moment. Times are UTC in ISO 8601.

    The commands rely on what has no default here.

    Attributes:
        ready: whether the node does its part, as ``status.readiness`` judges; ``reasons``
            why it does not, ``notes`` beside it though it does.
        fingerprint: of what must be equal on all nodes, see ``config.fingerprint``.
        keepalived_version: empty before keepalived has reported it.
        python: version of the interpreter.
        events: of the last hour, the newest last, at most 50.
        listen: None where HTTP is off.
    """

    version: str
    pid: int
    started_at: str = ""
    written_at: str
    phase: str
    ready: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    config: ConfigStatus | None
    instances: tuple[InstanceStatus, ...]
    reload: ReloadStatus
    keepalived_pid: int | None = None
    restarts: int
    lines_dropped: int
    protections: tuple[Protection, ...]
    worst_seconds: tuple[tuple[str, float | None], ...] = ()
    drain_requests: tuple[DrainRequestStatus, ...]
    check: CheckStatus | None = None
    lease: LeaseStatus = LeaseStatus()
    counts: Counts = Counts()
    fingerprint: str = ""
    keepalived_version: str = ""
    python: str = ""
    events: tuple[EventStatus, ...] = ()
    listen: ListenStatus | None = None


_UNREAD: Final = frozenset(  # by the commands
    (
        *("started_at", "keepalived_pid", "worst_seconds", "lease", "counts", "fingerprint"),
        *("keepalived_version", "python", "events", "listen", "lease_remaining", "dump"),
        *("rivals", "timeline", "transition_counts", "duration", "lasted"),
    )
)


def from_json(text: str) -> dict[str, Any]:
    """Return the snapshot in ``text`` as plain data, checked for what the commands rely on.

    Fields of a later version and those that no command reads are left as they are.

    Raises:
        ValueError: this is no snapshot, one with a schema that this version does not know, or a
            damaged one.
    """
    status, data = codec.read(text, AgentStatus, "status", _UNREAD)
    if not all(map(is_time, _times(status))):
        raise ValueError("it is no status: a time of it is none")
    return data


def _times(status: AgentStatus) -> Iterator[str]:
    """Yield the times that the commands count from."""
    known = [status.written_at, status.reload.at]
    known += [each.since for each in (status.config, status.check) if each is not None]
    for instance in status.instances:
        known += (instance.since, *(each.at for each in instance.transitions))
        known += (each.since for each in instance.unanswered)
        known += (each.heard_at for each in instance.holders)
    return (each for each in known if each is not None)
