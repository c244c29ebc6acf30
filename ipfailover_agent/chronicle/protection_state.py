"""What the mechanisms know at one moment, for the status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from ipfailover_agent.report.status_model import (
    DumpStatus,
    HolderStatus,
    LeaseStatus,
    RivalStatus,
    UnansweredStatus,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class NodeAnswers(Struct, frozen=True, kw_only=True):
    """The answers of the kernel and of keepalived at one moment; see ``readiness.NodeFacts``."""

    present: frozenset[str] | None = None
    can_ask: bool = True
    answered_ago: float | None = None
    owed: float = 0.0


class ProtectionState(Struct, frozen=True, kw_only=True):
    """The state of leases, dumps, holders, rivals, unanswered addresses and holds.

    ``lease_remaining`` is in seconds, for every instance that is MASTER; mappings are by the
    instance's name. ``probes_took`` is how many seconds the agent's own check took last.
    """

    lease: LeaseStatus = field(default_factory=LeaseStatus)
    lease_remaining: float | None = None
    dumps: Mapping[str, DumpStatus] = field(default_factory=dict)
    holders: Mapping[str, tuple[HolderStatus, ...]] = field(default_factory=dict)
    rivals: Mapping[str, tuple[RivalStatus, ...]] = field(default_factory=dict)
    unanswered: Mapping[str, tuple[UnansweredStatus, ...]] = field(default_factory=dict)
    contests: int = 0
    holds: int = 0
    probes_took: float | None = None
