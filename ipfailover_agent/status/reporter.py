"""Keeps what is known of the agent: the instances' states, reload verdicts, the status file.

The agent reports what happened. This module passes it on, to people in the log and to machines in
the status file, and never fails in a way that could cost an address.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent import __version__, codec
from ipfailover_agent.config import budget
from ipfailover_agent.config.fingerprint import fingerprint
from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError, ConfigTestError, HostNotReadyError, SettingsError
from ipfailover_agent.keepalived import protocol
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.keepalived.lifecycle import (
    AgentPhase,
    CandidateVerdict,
    Lifecycle,
    ReloadVerdict,
)
from ipfailover_agent.linux import files
from ipfailover_agent.model import VrrpState
from ipfailover_agent.status import readiness, status_model
from ipfailover_agent.status.exchange import StatusView
from ipfailover_agent.status.history import utc
from ipfailover_agent.status.logs import Repeats
from ipfailover_agent.status.readiness import InstanceFacts, Readiness
from ipfailover_agent.status.status_file import ReadyFile, StatusFile
from ipfailover_agent.status.transition import TransitionCause, TransitionKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.keepalived.instance_states import InstanceState
    from ipfailover_agent.keepalived.lifecycle import EndReload
    from ipfailover_agent.linux.output import LineSink
    from ipfailover_agent.linux.process import ChildExit
    from ipfailover_agent.paths import RunPaths
    from ipfailover_agent.status.history import History
    from ipfailover_agent.status.status_model import StatusPart
    from ipfailover_agent.status.transition_causes import TransitionCauses

_STATUS_INTERVAL = 0.1  # seconds; 254 transitions at once are one write
_RETRY_INTERVAL = 1.0  # after a write that failed
_NAG_INTERVAL = 60.0
_RECHECK_INTERVAL = 5.0  # between two looks whether a node that is ready still is
_UNREADY_INTERVAL = 0.5  # likewise, while it is not
_CHECK_SLACK = 2.0  # seconds by which a run of the check may be late


class Active(Struct, frozen=True, kw_only=True):
    """The configuration in force, and what follows from it.

    Attributes:
        candidate: what was put in force.
        shown: the same as the status shows it.
        worst_seconds: of each kind of failure, by its name; None where it has no bound.
    """

    candidate: Candidate
    shown: status_model.ConfigStatus
    fingerprint: str
    worst_seconds: tuple[tuple[str, float | None], ...]

    @property
    def check(self) -> str | None:
        """Return the name of the check, None where there is none."""
        config = self.candidate.config
        check = config.track_script or config.port_probes
        return None if check is None else check.name


class Reporter:
    """Collects what happened, and passes it on.

    Args:
        log: where events go.
        paths: of the run directory.
        source: of the variables, None for the environment.
        sinks: of the agent's output, which may drop lines.
        parts: returns what all services show in the status.
        history: the events so far.
        transition_causes: what may explain a transition.
    """

    def __init__(
        self,
        *,
        log: FilteringBoundLogger,
        paths: RunPaths,
        source: str | None,
        sinks: Iterable[LineSink],
        parts: Callable[[], StatusPart],
        history: History,
        transition_causes: TransitionCauses,
    ) -> None:
        self.log = log
        self.instance_states = InstanceStates()
        self._paths = paths
        self._source = source or "environment"
        self._sinks = sinks
        self._parts = parts
        self._history = history
        self._transition_causes = transition_causes
        self._file = StatusFile(paths.status, log)
        self._ready = ReadyFile(paths.ready)
        self._started_at = utc(time.time())
        self._lifecycle = Lifecycle()
        self._active: Active | None = None
        self._problems: tuple[str, ...] = ()  # keep the node from being ready
        self._reload = status_model.ReloadStatus(
            started=0, ended=0, verdict=None, at=None, lines=()
        )
        self._starts = 0  # of keepalived
        self._lines_dropped = 0  # of output for which there was no room
        self._repeats = Repeats()
        self._status_due: float | None = None
        self._status_at = 0.0
        self._nag_at: float | None = None
        self._written = Readiness()  # in the status file
        self._recheck_at: float | None = None

    @property
    def config_name(self) -> str | None:
        """Return the OPENSHIFT_HA_CONFIG_NAME in force, None before the first configuration."""
        return None if self._active is None else self._active.shown.name

    @property
    def phase(self) -> AgentPhase:
        """Return the phase of supervision."""
        return self._lifecycle.phase

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return earliest(self._status_due, self._nag_at, self._recheck_at, self._ready.deadline)

    def tick(self, now: float) -> None:
        """Write the status if it changed, and repeat log events that are still true."""
        if self._nag_at is not None and now >= self._nag_at:
            self._nag_at = now + _NAG_INTERVAL
            if self._active is not None:
                self.log.error("config.degraded", reasons=self._active.candidate.config.degraded)
        if self._count_dropped() != self._lines_dropped or self._history.has_unwritten:
            self.touch()
        recheck_at = earliest(self._recheck_at, self._ready.deadline)
        if recheck_at is not None and now >= recheck_at:
            self._recheck_readiness(now)
        if self._status_due is not None and now >= self._status_due:
            self.write_status()

    def _recheck_readiness(self, now: float) -> None:
        """Have the status written where the node has become ready, or is no longer.

        Kernel and keepalived may change without an event; while keepalived does not run there is
        nothing to ask.
        """
        found = self._readiness(self._parts())
        self._ready.write(found, now)
        if found != self._written:
            self.touch()
        self._recheck_at = now + (_RECHECK_INTERVAL if found.is_ready else _UNREADY_INTERVAL)
        if self.phase is not AgentPhase.RUNNING:
            self._recheck_at = None

    def _count_dropped(self) -> int:
        return sum(each.dropped for each in self._sinks)

    # --- what happens ---------------------------------------------------------------------------

    def note_state(self, state: Lifecycle) -> None:
        """Note the state of supervision."""
        before, self._lifecycle = self._lifecycle, state
        if (state.phase, state.pid) != (before.phase, before.pid):
            self.touch()
        if state.phase is AgentPhase.RUNNING and self._recheck_at is None:
            self._recheck_at = time.monotonic()

    def activated(
        self, candidate: Candidate, previous: Candidate | None, notes: tuple[str, ...]
    ) -> None:
        """Report that a configuration was put in force."""
        self._set_active(candidate)
        self._warn(candidate, notes)
        self.log.info(
            "config.activated",
            digest=candidate.rendering.digest[:12],
            previous=previous.rendering.digest[:12] if previous else None,
            serving=f"{protocol.summary(candidate.config)}, "
            f"{budget.summary(candidate.settings, candidate.config)}",
            source=self._source,
        )

    def unchanged(self, candidate: Candidate, notes: tuple[str, ...]) -> None:
        """Report that a candidate's files are those in force; its warnings may differ."""
        self._set_active(
            candidate, since=None if self._active is None else self._active.shown.since
        )
        self._warn(candidate, notes)
        self.log.info("config.unchanged", digest=candidate.rendering.digest[:12])

    def _warn(self, candidate: Candidate, notes: Iterable[str]) -> None:
        config = candidate.config
        for text in (*notes, *candidate.warnings):
            if text in config.errors:
                self.log.error("check.unusable", text=text)
            elif text not in config.degraded:
                self.log.warning("settings.warning", text=text)
        if config.degraded:
            self.log.error("config.degraded", reasons=config.degraded)

    def restored(self, candidate: Candidate) -> None:
        """Report that the files of a former configuration were put in place again."""
        self._set_active(candidate)
        self.log.warning("config.restored", digest=candidate.rendering.digest[:12])

    def _set_active(self, candidate: Candidate, since: str | None = None) -> None:
        config = candidate.config
        if self._active is not None:
            self._transition_causes.check_replaced(self._active.candidate.config, config)
        times = budget.compute(candidate.settings, config).times()
        self._active = Active(
            candidate=candidate,
            shown=status_model.ConfigStatus(
                name=config.config_name,
                interface=config.interface,
                digest=candidate.rendering.digest,
                since=since or utc(time.time()),
                source=self._source,
            ),
            fingerprint=fingerprint(config),
            worst_seconds=tuple((name, seconds) for name, _, seconds in times),
        )
        self._problems = config.degraded
        self.instance_states = self.instance_states.reconfigured(config.instances)
        names = {each.name for each in config.instances}
        self._transition_causes.keep(names)
        self._history.keep(names)
        self._repeats.forget()
        self._nag_at = time.monotonic() + _NAG_INTERVAL if config.degraded else None
        self.touch()

    def refused(self, error: AgentError, verdict: CandidateVerdict) -> tuple[str, ...]:
        """Report that a candidate was refused, once, and then how often, each minute.

        Returns what is wrong with it.
        """
        problems = problems_of(error)
        if self.phase in {AgentPhase.PREPARING, AgentPhase.WAITING}:
            self._problems = problems
        self.touch()
        repeated = self._repeats.seen("\n".join(problems), time.monotonic())
        if repeated is not None:
            event = "host.awaited" if verdict is CandidateVerdict.NOT_READY else "config.rejected"
            counted = {"repeated": repeated} if repeated else {}
            is_usual = isinstance(error, HostNotReadyError) and error.is_usual
            say = self.log.info if is_usual else self.log.error
            say(event, problems=problems, **counted)
        return problems

    def reload_began(self) -> None:
        """Report that variables are about to be read for a reload."""
        self._repeats.forget()
        self._reload = replace(self._reload, started=self._reload.started + 1)
        # On disk before anything is read: a later change of a variable needs another request.
        self.write_status()

    def reload_ended(self, end: EndReload) -> None:
        """Report the verdict on a reload."""
        lines = end.lines
        self.instance_states = self.instance_states.settled()
        ended = max(self._reload.started, self._reload.ended + 1)
        match end.verdict:
            case ReloadVerdict.UNCONFIRMED:
                self.log.error("reload.unconfirmed", reason=end.reason)
            case ReloadVerdict.REFUSED:
                self.log.error("reload.refused", reason=end.reason)
            case ReloadVerdict.UNCHANGED:
                self.log.info("reload.unchanged", changes=lines or None)
                lines = lines or ("nothing changed",)
            case ReloadVerdict.ACCEPTED:
                lines = lines or ("no address is affected",)
                self.log.info("reload.accepted", changes=lines)
        self._reload = status_model.ReloadStatus(
            started=ended, ended=ended, verdict=end.verdict.value, at=utc(time.time()), lines=lines
        )
        self.write_status()

    def keepalived_started(self, pid: int) -> None:
        """Report that keepalived was started."""
        self._starts += 1
        self._transition_causes.started()
        self.log.info("keepalived.started", pid=pid)
        self.touch()

    def keepalived_ended(self, child: ChildExit, *, is_expected: bool) -> None:
        """Report that keepalived ended; it serves nothing any more."""
        event = "keepalived.terminated" if is_expected else "keepalived.exited"
        say = self.log.info if is_expected else self.log.error
        code, death = child.exit_code, self._transition_causes.child_death
        meaning = death or protocol.meaning_of(code, child.signal)
        if code == 0 and not (is_expected or death):
            # an end that the agent did not ask for, and no line of its log says why
            meaning = "its VRRP process died, or something else stopped it"
        kind = TransitionKind.STOPPED if is_expected else TransitionKind.ENDED
        self._transition_causes.ends(
            TransitionCause(kind=kind, text=f"keepalived ended ({meaning})")
        )
        self._end_states()
        say(event, pid=child.pid, exit_code=code, meaning=meaning)
        self.touch()

    def _end_states(self) -> None:
        """Note transitions that keepalived could not report any more."""
        before, now = self.instance_states, time.monotonic()
        self.instance_states = before.ended(time.time(), now)
        for was, entry in zip(before.entries, self.instance_states.entries, strict=True):
            if was.state is not entry.state:
                self._history.record("vrrp.transition", **self._explained(was, entry.state, now))

    def _explained(
        self, was: InstanceState, state: VrrpState, now: float, **more: object
    ) -> dict[str, Any]:
        """Return what an event says of a transition.

        How long the former state lasted is by the monotonic clock, as that of the wall may be
        stepped meanwhile; None where it is unknown.
        """
        lasted = None if was.entered is None else round(now - was.entered, 2)
        cause = self._transition_causes.explain(was, state, now, lasted)
        return {
            "instance": was.instance.name,
            "previous": was.state.value,
            "state": state.value,
            **more,
            "lasted": lasted,
            "kind": cause.kind.value,
            "cause": cause.text,
        }

    def take_transition(self, line: bytes) -> tuple[InstanceState, VrrpState] | None:
        """Take a line of the notify FIFO: record the state, log it as ``vrrp.transition``.

        The status is written soon. Returns what the instance was and what it became, None where
        the line brings no change.
        """
        transition = protocol.parse_transition(line)
        if transition is None:
            self.log.debug("vrrp.line_unparsed", line=line)
            return None
        states = self.instance_states
        if states.is_last_word(transition):
            self.instance_states = states.record(transition, time.time())
            return None
        before = states.entry(transition.instance)
        if before is None or before.state is transition.state:
            return None
        now = time.monotonic()
        state, priority = transition.state, transition.priority
        explained = self._explained(before, state, now, priority=priority)
        self.instance_states = states.record(transition, time.time(), now)
        self.log.info("vrrp.transition", **explained, addresses=_addresses(before))
        self.touch()
        return before, state

    # --- the status file ------------------------------------------------------------------------

    def touch(self) -> None:
        """Have the status written soon."""
        if self._status_due is None:
            self._status_due = max(time.monotonic(), self._status_at + _STATUS_INTERVAL)

    def write_status(self) -> None:
        """Write the status file now."""
        self._status_due = None
        self._status_at = time.monotonic()
        self._lines_dropped = self._count_dropped()
        made = self._status(self._parts())
        self._written = Readiness(reasons=made.reasons, notes=made.notes)
        self._history.write()
        self._file.write(codec.encode(made))
        self._ready.write(self._written, self._status_at)
        if self._file.is_behind:
            self._status_due = self._status_at + _RETRY_INTERVAL

    # --- the status -----------------------------------------------------------------------------

    def view(self) -> StatusView:
        """Return the status of this moment, and what else HTTP shows."""
        part, check = self._parts(), self._active and self._active.check
        return StatusView(
            at=time.monotonic(), status=self._status(part), part=part, check_name=check or ""
        )

    def _status(self, part: StatusPart) -> status_model.AgentStatus:
        """Return the status at this moment; ``part`` is what all services show."""
        active, now, ready = self._active, time.time(), self._readiness(part)
        count, entries = self._history.count, self.instance_states.entries
        return status_model.AgentStatus(
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            written_at=utc(now),
            phase=self.phase.value,
            ready=ready.is_ready,
            reasons=ready.reasons,
            notes=ready.notes,
            config=None if active is None else active.shown,
            instances=tuple(self._instance(each, part, now) for each in entries),
            reload=self._reload,
            keepalived_pid=self._lifecycle.pid,
            restarts=max(self._starts - 1, 0),
            lines_dropped=self._lines_dropped,
            protections=part.protections,
            worst_seconds=() if active is None else active.worst_seconds,
            drain_requests=part.drain_requests,
            listen=part.listen,
            check=None if active is None else self._check(active, part),
            lease=part.lease,
            counts=status_model.Counts(
                **{each.value: count(f"reload.{each.value}") for each in ReloadVerdict},
                kills=count("keepalived.hangs"),
                contests=part.contests,
                holds=part.holds,
            ),
            fingerprint="" if active is None else active.fingerprint,
            keepalived_version=self._transition_causes.keepalived_version,
            python=sys.version.split()[0],
            events=self._history.events(now),
        )

    def _readiness(self, part: StatusPart) -> Readiness:
        """Return whether the node is ready at this moment."""
        active, now = self._active, time.monotonic()
        has_check = active is not None and active.check is not None
        return readiness.judge(
            part,
            phase=self.phase,
            has_config=active is not None,
            problems=self._problems,
            notes=() if active is None else active.candidate.unserved,
            instances=(_facts(each, part, now) for each in self.instance_states.entries),
            check_failure=self._transition_causes.check_failure() if has_check else None,
        )

    def _instance(
        self, entry: InstanceState, part: StatusPart, now: float
    ) -> status_model.InstanceStatus:
        name, history = entry.instance.name, self._history
        holders = part.holders.get(name, ())
        return status_model.InstanceStatus(
            name=name,
            virtual_router_id=entry.instance.virtual_router_id,
            state=entry.state.value,
            since=None if entry.since is None else utc(entry.since),
            priority=entry.instance.priority,
            addresses=_addresses(entry),
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

    def _check(self, active: Active, part: StatusPart) -> status_model.CheckStatus | None:
        """Return the newest result of the check, None where there is no check."""
        verdict = self._transition_causes.check
        if active.check is None:
            return None
        if verdict is None:
            return status_model.CheckStatus(state="unknown", reason="", since=None)
        return status_model.CheckStatus(
            state="ok" if verdict.failure is None else "failing",
            reason=self._transition_causes.check_failure() or "",
            since=utc(verdict.since),
            duration=self._check_took(active, part),
        )

    def _check_took(self, active: Active, part: StatusPart) -> float | None:
        """Return what the last run of the check took in seconds; a user's script is not timed."""
        track = active.candidate.config.track_script
        if track is None:
            return part.check_took
        if track.command or track.always_fails:
            return None
        within = track.interval + track.timeout + _CHECK_SLACK
        return files.read_duration(self._paths.check_duration, within)


def _addresses(entry: InstanceState) -> tuple[str, ...]:
    return tuple(str(each.address) for each in entry.instance.all_addresses)


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
        addresses=_addresses(entry),
        withheld=withheld,
    )


def problems_of(error: AgentError) -> tuple[str, ...]:
    """Return what went wrong, a sentence for each thing to mend."""
    match error:
        case SettingsError(problems=problems):
            return tuple(map(str, problems))
        case HostNotReadyError(problem=problem):
            return (str(problem),)
        case ConfigTestError(output=output):
            return (str(error), *filter(None, output.splitlines()))
        case _:
            return (str(error),)
