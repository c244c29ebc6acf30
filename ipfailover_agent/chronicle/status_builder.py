"""Builds a snapshot of what is known of the agent at one moment."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from ipfailover_agent import __version__
from ipfailover_agent.chronicle.history import utc, utc_now
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.planning import budget
from ipfailover_agent.core.planning.fingerprint import fingerprint
from ipfailover_agent.core.telling import readiness
from ipfailover_agent.core.telling.readiness import InstanceFacts, NodeFacts
from ipfailover_agent.report import status_model
from ipfailover_agent.system import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.chronicle.history import History
    from ipfailover_agent.chronicle.protection_state import NodeAnswers, ProtectionState
    from ipfailover_agent.chronicle.transition_causes import TransitionCauses
    from ipfailover_agent.core.model import KeepalivedConfig
    from ipfailover_agent.core.paths import RunPaths
    from ipfailover_agent.core.supervising.instance_states import InstanceState, InstanceStates
    from ipfailover_agent.core.supervising.supervision import Lifecycle
    from ipfailover_agent.core.telling.readiness import Readiness
    from ipfailover_agent.prepare import Candidate

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


class StatusInputs(Struct, frozen=True, kw_only=True):
    """The newest reports of everything that the status shows.

    ``problems`` keep the node from being ready; ``starts`` is how often keepalived was started.
    """

    lifecycle: Lifecycle
    active: Active | None
    instance_states: InstanceStates
    problems: tuple[str, ...]
    reload: status_model.ReloadStatus
    starts: int
    listening: status_model.ListenStatus | None


class DrainView(Protocol):
    """What the status shows of drains."""

    @property
    def answers(self) -> tuple[status_model.DrainRequestStatus, ...]:
        """Return the newest requests and what became of them."""

    def describe(self, name: str) -> str | None:
        """Return how an instance is drained, as text for people, None when it is not."""


class StatusBuilder:
    """Builds snapshots from the reports, and from what is to be seen beside them."""

    def __init__(
        self,
        *,
        paths: RunPaths,
        source: str,
        lines_dropped: Callable[[], int],
        held: Callable[[str], str | None],
        protections: Callable[[], tuple[status_model.Protection, ...]],
        drains: DrainView,
        look: Callable[[], ProtectionState],
        answers: Callable[[], NodeAnswers],
        history: History,
        transition_causes: TransitionCauses,
    ) -> None:
        self._paths = paths
        self._source = source
        self._lines_dropped = lines_dropped
        self._held = held
        self._protections = protections
        self._drains = drains
        self._look = look
        self._answers = answers
        self._history = history
        self._transition_causes = transition_causes
        self._started_at = utc_now()

    def snapshot(self, told: StatusInputs) -> status_model.AgentStatus:
        """Return the status at this moment."""
        active, now, look = told.active, time.time(), self._look()
        ready = self.readiness(told)
        return status_model.AgentStatus(
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            written_at=utc_now(),
            phase=told.lifecycle.phase.value,
            ready=ready.is_ready,
            reasons=ready.reasons,
            notes=ready.notes,
            config=None if active is None else self._config(active),
            instances=tuple(
                self._instance(each, look, now) for each in told.instance_states.entries
            ),
            reload=told.reload,
            keepalived_pid=told.lifecycle.pid,
            restarts=max(told.starts - 1, 0),
            lines_dropped=self._lines_dropped(),
            protections=self._protections(),
            worst_seconds=() if active is None else active.worst_seconds,
            drain_requests=self._drains.answers,
            listen=told.listening,
            check=None if active is None else self._check(active.config, look),
            lease=look.lease,
            counts=self._counts(look),
            fingerprint="" if active is None else active.fingerprint,
            keepalived_version=self._transition_causes.keepalived_version,
            python=sys.version.split()[0],
            events=self._history.events(now),
        )

    def _config(self, active: Active) -> status_model.ConfigStatus:
        return status_model.ConfigStatus(
            name=active.config.config_name,
            interface=active.config.interface,
            digest=active.digest,
            since=active.since,
            source=self._source,
        )

    def readiness(self, told: StatusInputs) -> Readiness:
        """Return whether the node is ready at this moment."""
        answers, now = self._answers(), time.monotonic()
        return readiness.judge(
            NodeFacts(
                phase=told.lifecycle.phase,
                has_config=told.active is not None,
                problems=told.problems,
                notes=() if told.active is None else told.active.unserved,
                instances=tuple(self._facts(each, now) for each in told.instance_states.entries),
                check_failure=self._check_failure(told.active),
                present=answers.present,
                can_ask=answers.can_ask,
                answered_ago=answers.answered_ago,
                owed=answers.owed,
            )
        )

    def _facts(self, entry: InstanceState, now: float) -> InstanceFacts:
        name = entry.instance.name
        withheld = ""
        if entry.state is VrrpState.FAULT:
            drained = self._drains.describe(name)
            withheld = self._held(name) or (f"drained: {drained}" if drained else "")
        return InstanceFacts(
            name=name,
            state=entry.state,
            age=None if entry.entered is None else now - entry.entered,
            addresses=tuple(str(held.address) for held in entry.instance.all_addresses),
            withheld=withheld,
        )

    def _check_failure(self, active: Active | None) -> str | None:
        """Return why the check fails, None where it does not or where there is none."""
        verdict = self._transition_causes.check
        if active is None or not _has_check(active.config) or verdict is None:
            return None
        return None if verdict.failure is None else self._transition_causes.check_reason()

    def _instance(
        self, entry: InstanceState, look: ProtectionState, now: float
    ) -> status_model.InstanceStatus:
        name = entry.instance.name
        holders = look.holders.get(name, ())
        return status_model.InstanceStatus(
            name=name,
            virtual_router_id=entry.instance.virtual_router_id,
            state=entry.state.value,
            since=None if entry.since is None else utc(entry.since),
            priority=entry.instance.priority,
            addresses=tuple(str(held.address) for held in entry.instance.all_addresses),
            held=self._held(name),
            drained=self._drains.describe(name),
            lease_remaining=look.lease_remaining if entry.state is VrrpState.MASTER else None,
            holder=", ".join(each.address for each in holders) or status_model.UNKNOWN,
            holders=holders,
            dump=look.dumps.get(name),
            rivals=look.rivals.get(name, ()),
            unanswered=look.unanswered.get(name, ()),
            transitions=self._history.transitions(name),
            timeline=self._history.timeline(name, now),
            transition_counts=self._history.causes(name),
        )

    def _check(
        self, config: KeepalivedConfig, look: ProtectionState
    ) -> status_model.CheckStatus | None:
        """Return the newest result of the check, None where there is no check."""
        if not _has_check(config):
            return None
        verdict = self._transition_causes.check
        if verdict is None:
            return status_model.CheckStatus()
        return status_model.CheckStatus(
            state="ok" if verdict.failure is None else "failing",
            reason=self._transition_causes.check_reason(),
            since=utc(verdict.since),
            duration=self._check_took(config, look),
        )

    def _check_took(self, config: KeepalivedConfig, look: ProtectionState) -> float | None:
        """Return what the last run of the check took in seconds; a user's script is not timed."""
        track = config.track_script
        if track is None:
            return look.probes_took
        if track.command or track.always_fails:
            return None
        within = track.interval + track.timeout + _CHECK_SLACK
        return files.read_duration(self._paths.check_duration, within)

    def _counts(self, look: ProtectionState) -> status_model.Counts:
        count = self._history.count
        return status_model.Counts(
            accepted=count("reload.accepted"),
            unchanged=count("reload.unchanged"),
            refused=count("reload.refused"),
            unconfirmed=count("reload.unconfirmed"),
            kills=count("keepalived.hangs"),
            contests=look.contests,
            holds=look.holds,
        )


def _has_check(config: KeepalivedConfig) -> bool:
    return config.track_script is not None or config.port_probes is not None
