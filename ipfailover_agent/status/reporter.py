"""Keeps what is known of the agent: the instances' states, reload verdicts, the status file.

The agent reports what happened. This module passes it on, to people in the log and to machines in
the status file, and never fails in a way that could cost an address.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent import codec
from ipfailover_agent.config import budget
from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError, ConfigTestError, HostNotReadyError, SettingsError
from ipfailover_agent.keepalived import protocol
from ipfailover_agent.keepalived.supervision import AgentPhase, CandidateVerdict, ReloadVerdict
from ipfailover_agent.status import status_model
from ipfailover_agent.status.exchange import StatusView
from ipfailover_agent.status.history import utc_now
from ipfailover_agent.status.logs import Repeats
from ipfailover_agent.status.readiness import Readiness
from ipfailover_agent.status.status_builder import Active, Known, build_status, judge_readiness
from ipfailover_agent.status.status_file import ReadyFile, StatusFile
from ipfailover_agent.status.transition import TransitionCause, TransitionKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.keepalived.instance_states import InstanceState, InstanceStates
    from ipfailover_agent.keepalived.supervision import EndReload, Lifecycle
    from ipfailover_agent.linux.output import LineSink
    from ipfailover_agent.linux.process import ChildExit
    from ipfailover_agent.model import VrrpState
    from ipfailover_agent.paths import RunPaths
    from ipfailover_agent.status.history import History
    from ipfailover_agent.status.status_model import StatusPart
    from ipfailover_agent.status.transition_causes import TransitionCauses

_STATUS_INTERVAL = 0.1  # seconds; 254 transitions at once are one write
_RETRY_INTERVAL = 1.0  # after a write that failed
_NAG_INTERVAL = 60.0
_JUDGE_INTERVAL = 5.0  # between two looks whether a node that is ready still is
_UNREADY_INTERVAL = 0.5  # likewise, while it is not


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
        self._file = StatusFile(paths.status, log)
        self._ready = ReadyFile(paths.ready)
        self._sinks = sinks
        self._parts = parts
        self._history = history
        self._transition_causes = transition_causes
        self._known = Known(
            paths=paths,
            source=source or "environment",
            started_at=utc_now(),
            history=history,
            transition_causes=transition_causes,
        )
        self._repeats = Repeats()
        self._status_due: float | None = None
        self._status_at = 0.0
        self._nag_at: float | None = None
        self._written = Readiness()  # in the status file
        self._judge_at: float | None = None

    @property
    def config_name(self) -> str | None:
        """Return the OPENSHIFT_HA_CONFIG_NAME in force, None before the first configuration."""
        active = self._known.active
        return None if active is None else active.config.config_name

    @property
    def phase(self) -> AgentPhase:
        """Return the phase of supervision."""
        return self._known.lifecycle.phase

    def view(self) -> StatusView:
        """Return the status of this moment, and what else HTTP shows."""
        part, active = self._parts(), self._known.active
        status = build_status(self._known, part)
        return StatusView(
            at=time.monotonic(),
            status=status,
            dump_age=part.answered_ago,
            can_ask=part.can_ask,
            present=part.present,
            script=(active and active.check) or "",
        )

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return earliest(self._status_due, self._nag_at, self._judge_at, self._ready.deadline)

    def tick(self, now: float) -> None:
        """Write the status if it changed, and repeat log events that are still true."""
        if self._nag_at is not None and now >= self._nag_at:
            self._nag_at = now + _NAG_INTERVAL
            if self._known.active is not None:
                self.log.error("config.degraded", reasons=self._known.active.config.degraded)
        if self._lines_dropped() != self._known.lines_dropped or self._history.has_unwritten:
            self.touch()
        if any(
            each is not None and now >= each for each in (self._judge_at, self._ready.deadline)
        ):
            self._judge(now)
        if self._status_due is not None and now >= self._status_due:
            self.write_status()

    def _judge(self, now: float) -> None:
        """Have the status written where the node has become ready, or is no longer.

        Kernel and keepalived may change without an event; while keepalived does not run there is
        nothing to ask.
        """
        found = judge_readiness(self._known, self._parts())
        self._ready.write(found, now)
        if found != self._written:
            self.touch()
        self._judge_at = now + (_JUDGE_INTERVAL if found.is_ready else _UNREADY_INTERVAL)
        if self.phase is not AgentPhase.RUNNING:
            self._judge_at = None

    def _lines_dropped(self) -> int:
        return sum(each.dropped for each in self._sinks)

    # --- what happens ---------------------------------------------------------------------------

    def state_is(self, state: Lifecycle) -> None:
        """Note the state of supervision."""
        before, self._known.lifecycle = self._known.lifecycle, state
        if (state.phase, state.pid) != (before.phase, before.pid):
            self.touch()
        if state.phase is AgentPhase.RUNNING and self._judge_at is None:
            self._judge_at = time.monotonic()

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
            source=self._known.source,
        )

    def unchanged(self, candidate: Candidate, notes: tuple[str, ...]) -> None:
        """Report that a candidate's files are those in force; its warnings may differ."""
        active = self._known.active
        self._set_active(candidate, since=None if active is None else active.since)
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
        known = self._known
        if known.active is not None:
            self._transition_causes.check_replaced(known.active.config, candidate.config)
        known.active = Active.of(candidate, since or utc_now())
        known.problems = candidate.config.degraded
        known.instance_states = known.instance_states.reconfigured(candidate.config.instances)
        names = {each.name for each in candidate.config.instances}
        self._transition_causes.keep(names)
        self._history.keep(names)
        self._repeats.forget()
        self._nag_at = time.monotonic() + _NAG_INTERVAL if candidate.config.degraded else None
        self.touch()

    def refused(self, error: AgentError, verdict: CandidateVerdict) -> tuple[str, ...]:
        """Report that a candidate was refused, once, and then how often, each minute.

        Returns what is wrong with it.
        """
        problems = problems_of(error)
        if self.phase in {AgentPhase.PREPARING, AgentPhase.WAITING}:
            self._known.problems = problems
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
        reload = self._known.reload
        self._known.reload = replace(reload, started=reload.started + 1)
        # On disk before anything is read: a later change of a variable needs another request.
        self.write_status()

    def reload_ended(self, end: EndReload) -> None:
        """Report the verdict on a reload."""
        known, lines = self._known, end.lines
        known.instance_states = known.instance_states.settled()
        ended = max(known.reload.started, known.reload.ended + 1)
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
        known.reload = status_model.ReloadStatus(
            started=ended, ended=ended, verdict=end.verdict.value, at=utc_now(), lines=lines
        )
        self.write_status()

    def keepalived_started(self, pid: int) -> None:
        """Report that keepalived was started."""
        self._known.starts += 1
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
            meaning = "its VRRP process died, or something else stopped it"  # unseen
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
        after = self._known.instance_states = before.ended(time.time(), now)
        for was, entry in zip(before.entries, after.entries, strict=True):
            if was.state is not entry.state:
                lasted = _lasted(was, now)
                cause = self._transition_causes.explain(was, entry.state, now, lasted)
                self._history.record(
                    "vrrp.transition",
                    instance=was.instance.name,
                    previous=was.state.value,
                    state=entry.state.value,
                    lasted=lasted,
                    kind=cause.kind.value,
                    cause=cause.text,
                )

    @property
    def instance_states(self) -> InstanceStates:
        """Return what each instance does."""
        return self._known.instance_states

    def notify_line(self, line: bytes) -> tuple[InstanceState, VrrpState] | None:
        """Read a line of the notify FIFO; return what an instance was and what it became."""
        transition = protocol.parse_transition(line)
        if transition is None:
            self.log.debug("vrrp.line_unparsed", line=line)
            return None
        states = self.instance_states
        if states.is_last_word(transition):
            self._known.instance_states = states.record(transition, time.time())
            return None
        before = states.entry(transition.instance)
        if before is None or before.state is transition.state:
            return None
        now = time.monotonic()
        lasted = _lasted(before, now)
        cause = self._transition_causes.explain(before, transition.state, now, lasted)
        self._known.instance_states = states.record(transition, time.time(), now)
        self.log.info(
            "vrrp.transition",
            instance=transition.instance,
            previous=before.state.value,
            state=transition.state.value,
            priority=transition.priority,
            lasted=lasted,
            kind=cause.kind.value,
            cause=cause.text,
            addresses=[str(each.address) for each in before.instance.all_addresses],
        )
        self.touch()
        return before, transition.state

    # --- the status file ------------------------------------------------------------------------

    def touch(self) -> None:
        """Have the status written soon."""
        if self._status_due is None:
            self._status_due = max(time.monotonic(), self._status_at + _STATUS_INTERVAL)

    def write_status(self) -> None:
        """Write the status file now."""
        self._status_due = None
        self._status_at = time.monotonic()
        self._known.lines_dropped = self._lines_dropped()
        made = build_status(self._known, self._parts())
        self._written = Readiness(reasons=made.reasons, notes=made.notes)
        self._history.write()
        self._file.write(codec.encode(made))
        self._ready.write(self._written, self._status_at)
        if self._file.is_behind:
            self._status_due = self._status_at + _RETRY_INTERVAL


def _lasted(entry: InstanceState, now: float) -> float | None:
    """Return for how many seconds an instance was what it is; None where that is unknown.

    By the monotonic clock: that of the wall may be stepped meanwhile.
    """
    return None if entry.entered is None else round(now - entry.entered, 2)


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
