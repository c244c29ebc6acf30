"""Builds the status: what is known of the agent at one moment."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from ipfailover_agent import __version__
from ipfailover_agent.config import budget
from ipfailover_agent.config.fingerprint import fingerprint
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.keepalived.supervision import Lifecycle
from ipfailover_agent.linux import files
from ipfailover_agent.model import VrrpState
from ipfailover_agent.status import readiness, status_model
from ipfailover_agent.status.history import utc, utc_now
from ipfailover_agent.status.readiness import InstanceFacts, NodeFacts

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.keepalived.instance_states import InstanceState
    from ipfailover_agent.model import KeepalivedConfig
    from ipfailover_agent.paths import RunPaths
    from ipfailover_agent.status.history import History
    from ipfailover_agent.status.readiness import Readiness
    from ipfailover_agent.status.status_model import StatusPart
    from ipfailover_agent.status.transition_causes import TransitionCauses

_CHECK_SLACK: Final = 2.0  # seconds by which a run of the check may be late


class Active(Struct, frozen=True, kw_only=True):
    """The configuration in force, and what follows from it.

    Attributes:
        since: when it was put in force, in ISO 8601.
        worst_seconds: of each kind of failure, by its name; None where it has no bound.
        unserved: why clients do not reach addresses that this node serves.
    """

    config: KeepalivedConfig
    digest: str
    since: str
    fingerprint: str
    worst_seconds: tuple[tuple[str, float | None], ...]
    unserved: tuple[str, ...] = ()

    @property
    def check(self) -> str | None:
        """Return the name of the check, None where there is none."""
        check = self.config.track_script or self.config.port_probes
        return None if check is None else check.name

    @classmethod
    def of(cls, candidate: Candidate, since: str) -> Active:
        """Return a candidate as it is in force from ``since`` on."""
        times = budget.compute(candidate.settings, candidate.config).times()
        return cls(
            config=candidate.config,
            digest=candidate.rendering.digest,
            since=since,
            fingerprint=fingerprint(candidate.config),
            worst_seconds=tuple((name, seconds) for name, _, seconds in times),
            unserved=candidate.unserved,
        )


class Known(Struct, kw_only=True):
    """What the status is built from, beside what the services show; its owner changes it.

    Attributes:
        problems: keep the node from being ready.
        starts: how often keepalived was started.
        lines_dropped: lines of output for which there was no room.
    """

    paths: RunPaths
    source: str
    started_at: str
    history: History
    transition_causes: TransitionCauses
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    active: Active | None = None
    instance_states: InstanceStates = field(default_factory=InstanceStates)
    problems: tuple[str, ...] = ()
    reload: status_model.ReloadStatus = status_model.ReloadStatus(
        started=0, ended=0, verdict=None, at=None, lines=()
    )
    starts: int = 0
    lines_dropped: int = 0


def build_status(known: Known, part: StatusPart) -> status_model.AgentStatus:
    """Return the status at this moment; ``part`` is what all services show."""
    active, now, ready = known.active, time.time(), judge_readiness(known, part)
    return status_model.AgentStatus(
        version=__version__,
        pid=os.getpid(),
        started_at=known.started_at,
        written_at=utc_now(),
        phase=known.lifecycle.phase.value,
        ready=ready.is_ready,
        reasons=ready.reasons,
        notes=ready.notes,
        config=None if active is None else _config(active, known.source),
        instances=tuple(
            _instance(each, known, part, now) for each in known.instance_states.entries
        ),
        reload=known.reload,
        keepalived_pid=known.lifecycle.pid,
        restarts=max(known.starts - 1, 0),
        lines_dropped=known.lines_dropped,
        protections=part.protections,
        worst_seconds=() if active is None else active.worst_seconds,
        drain_requests=part.drain_requests,
        listen=part.listen,
        check=None if active is None else _check(active.config, known, part),
        lease=part.lease,
        counts=_counts(known.history, part),
        fingerprint="" if active is None else active.fingerprint,
        keepalived_version=known.transition_causes.keepalived_version,
        python=sys.version.split()[0],
        events=known.history.events(now),
    )


def judge_readiness(known: Known, part: StatusPart) -> Readiness:
    """Return whether the node is ready at this moment."""
    now = time.monotonic()
    return readiness.judge(
        NodeFacts(
            phase=known.lifecycle.phase,
            has_config=known.active is not None,
            problems=(*known.problems, *part.troubles),
            notes=() if known.active is None else known.active.unserved,
            instances=tuple(_facts(each, part, now) for each in known.instance_states.entries),
            check_failure=_check_failure(known),
            present=part.present,
            can_ask=part.can_ask,
            answered_ago=part.answered_ago,
            owed=part.owed,
        )
    )


def _config(active: Active, source: str) -> status_model.ConfigStatus:
    return status_model.ConfigStatus(
        name=active.config.config_name,
        interface=active.config.interface,
        digest=active.digest,
        since=active.since,
        source=source,
    )


def _facts(entry: InstanceState, part: StatusPart, now: float) -> InstanceFacts:
    name = entry.instance.name
    withheld = ""
    if entry.state is VrrpState.FAULT:
        drained = part.drained.get(name)
        withheld = part.held.get(name) or (f"drained: {drained}" if drained else "")
    return InstanceFacts(
        name=name,
        state=entry.state,
        age=None if entry.entered is None else now - entry.entered,
        addresses=tuple(str(held.address) for held in entry.instance.all_addresses),
        withheld=withheld,
    )


def _check_failure(known: Known) -> str | None:
    """Return why the check fails, None where it does not or where there is none."""
    active, verdict = known.active, known.transition_causes.check
    if active is None or active.check is None or verdict is None:
        return None
    return None if verdict.failure is None else known.transition_causes.check_reason()


def _instance(
    entry: InstanceState, known: Known, part: StatusPart, now: float
) -> status_model.InstanceStatus:
    name, history = entry.instance.name, known.history
    holders = part.holders.get(name, ())
    return status_model.InstanceStatus(
        name=name,
        virtual_router_id=entry.instance.virtual_router_id,
        state=entry.state.value,
        since=None if entry.since is None else utc(entry.since),
        priority=entry.instance.priority,
        addresses=tuple(str(held.address) for held in entry.instance.all_addresses),
        held=part.held.get(name),
        drained=part.drained.get(name),
        lease_remaining=part.lease_remaining if entry.state is VrrpState.MASTER else None,
        holder=", ".join(each.address for each in holders) or status_model.UNKNOWN,
        holders=holders,
        dump=part.dumps.get(name),
        rivals=part.rivals.get(name, ()),
        unanswered=part.unanswered.get(name, ()),
        transitions=history.transitions(name),
        timeline=history.timeline(name, now),
        transition_counts=history.causes(name),
    )


def _check(
    config: KeepalivedConfig, known: Known, part: StatusPart
) -> status_model.CheckStatus | None:
    """Return the newest result of the check, None where there is no check."""
    if known.active is None or known.active.check is None:
        return None
    verdict = known.transition_causes.check
    if verdict is None:
        return status_model.CheckStatus(state="unknown", reason="", since=None)
    return status_model.CheckStatus(
        state="ok" if verdict.failure is None else "failing",
        reason=known.transition_causes.check_reason(),
        since=utc(verdict.since),
        duration=_check_took(config, known.paths, part),
    )


def _check_took(config: KeepalivedConfig, paths: RunPaths, part: StatusPart) -> float | None:
    """Return what the last run of the check took in seconds; a user's script is not timed."""
    track = config.track_script
    if track is None:
        return part.check_took
    if track.command or track.always_fails:
        return None
    within = track.interval + track.timeout + _CHECK_SLACK
    return files.read_duration(paths.check_duration, within)


def _counts(history: History, part: StatusPart) -> status_model.Counts:
    return status_model.Counts(
        accepted=history.count("reload.accepted"),
        unchanged=history.count("reload.unchanged"),
        refused=history.count("reload.refused"),
        unconfirmed=history.count("reload.unconfirmed"),
        kills=history.count("keepalived.hangs"),
        contests=part.contests,
        holds=part.holds,
    )
