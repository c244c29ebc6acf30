"""Keeps what is known of the agent: the instances' states, reload verdicts, the status file.

The agent reports what happened. This module passes it on, to people in the log and to machines in
the status file, and never fails in a way that could cost an address.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.chronicle.history import History, utc_now
from ipfailover_agent.chronicle.protection_state import NodeAnswers, ProtectionState
from ipfailover_agent.chronicle.ready_file import ReadyFile
from ipfailover_agent.chronicle.status_builder import Active, StatusBuilder, StatusInputs
from ipfailover_agent.chronicle.status_file import StatusFile
from ipfailover_agent.chronicle.transition_causes import TransitionCauses
from ipfailover_agent.core.errors import (
    AgentError,
    ConfigTestError,
    HostNotReadyError,
    SettingsError,
)
from ipfailover_agent.core.planning import budget
from ipfailover_agent.core.supervising import keepalived
from ipfailover_agent.core.supervising.instance_states import InstanceStates
from ipfailover_agent.core.supervising.supervision import AgentPhase, CandidateVerdict, Lifecycle
from ipfailover_agent.core.telling.readiness import Readiness
from ipfailover_agent.core.telling.transition import TransitionCause, TransitionKind
from ipfailover_agent.core.text import listed
from ipfailover_agent.report import status_model
from ipfailover_agent.report.logs import Repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.chronicle.status_builder import DrainView
    from ipfailover_agent.core.model import VrrpState
    from ipfailover_agent.core.paths import RunPaths
    from ipfailover_agent.core.supervising.instance_states import InstanceState
    from ipfailover_agent.prepare import Candidate

_STATUS_INTERVAL = 0.1  # seconds; 254 transitions at once are one write
_RETRY_INTERVAL = 1.0  # after a write that failed
_NAG_INTERVAL = 60.0
_JUDGE_INTERVAL = 5.0  # between two looks whether a node that is ready still is
_UNREADY_INTERVAL = 0.5  # likewise, while it is not


class Reporter:
    """Collects what happened, and passes it on."""

    def __init__(
        self,
        *,
        log: FilteringBoundLogger,
        paths: RunPaths,
        source: str | None,
        lines_dropped: Callable[[], int],
        held: Callable[[str], str | None],
        protections: Callable[[], tuple[status_model.Protection, ...]],
        drains: DrainView,
        look: Callable[[], ProtectionState] = ProtectionState,
        answers: Callable[[], NodeAnswers] = NodeAnswers,
        troubles: Callable[[], tuple[str, ...]] = tuple,
        history: History | None = None,
        transition_causes: TransitionCauses | None = None,
    ) -> None:
        self.log = log
        self._file = StatusFile(paths.status, log)
        self._ready = ReadyFile(paths.ready)
        self._source = source or "environment"
        self._lines_dropped = lines_dropped
        self._troubles = troubles
        self._state = Lifecycle()
        self._active: Active | None = None
        self._instance_states = InstanceStates()
        self._problems: tuple[str, ...] = ()
        self._changes: tuple[str, ...] = ()
        self._refusal: tuple[str, ...] = ()
        self._is_unchanged = False
        self._reload = status_model.ReloadStatus()
        self._starts = 0
        self._repeats = Repeats()
        self._status_due: float | None = None
        self._status_at = 0.0
        self._dropped_told = 0
        self._nag_at: float | None = None
        self.listening: status_model.ListenStatus | None = None
        self.history = history or History(paths.events)
        self.transition_causes = transition_causes or TransitionCauses(paths)
        account = StatusBuilder(
            paths=paths,
            source=self._source,
            lines_dropped=lines_dropped,
            held=held,
            protections=protections,
            drains=drains,
            look=look,
            answers=answers,
            history=self.history,
            transition_causes=self.transition_causes,
        )
        self._account = account
        self._written = Readiness()  # in the status file
        self._judge_at: float | None = None

    @property
    def config_name(self) -> str | None:
        """Return the OPENSHIFT_HA_CONFIG_NAME in force, None before the first configuration."""
        return None if self._active is None else self._active.config.config_name

    @property
    def script(self) -> str:
        """Return the check's name in the active configuration, empty for none."""
        if self._active is None:
            return ""
        config = self._active.config
        check = config.track_script or config.port_probes
        return "" if check is None else check.name

    @property
    def phase(self) -> AgentPhase:
        """Return the phase of supervision."""
        return self._state.phase

    @property
    def _told(self) -> StatusInputs:
        return StatusInputs(
            lifecycle=self._state,
            active=self._active,
            instance_states=self._instance_states,
            problems=(*self._problems, *self._troubles()),
            reload=self._reload,
            starts=self._starts,
            listening=self.listening,
        )

    def snapshot(self) -> status_model.AgentStatus:
        """Return what is known of the agent now; for the loop's thread."""
        return self._account.snapshot(self._told)

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        due = (self._status_due, self._nag_at, self._judge_at, self._ready.deadline)
        return min((each for each in due if each is not None), default=None)

    def tick(self, now: float) -> None:
        """Write the status if it changed, and repeat log events that are still true."""
        if self._nag_at is not None and now >= self._nag_at:
            self._nag_at = now + _NAG_INTERVAL
            if self._active is not None:
                self.log.error("config.degraded", reasons=self._active.config.degraded)
        if self._lines_dropped() != self._dropped_told or self.history.has_unwritten:
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
        found = self._account.readiness(self._told)
        self._ready.write(found, now)
        if found != self._written:
            self.touch()
        self._judge_at = now + (_JUDGE_INTERVAL if found.is_ready else _UNREADY_INTERVAL)
        if self._state.phase is not AgentPhase.RUNNING:
            self._judge_at = None

    # --- what happens ---------------------------------------------------------------------------

    def state_is(self, state: Lifecycle) -> None:
        """Note the state of supervision."""
        if (state.phase, state.pid) != (self._state.phase, self._state.pid):
            self.touch()
        self._state = state
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
            serving=f"{keepalived.summary(candidate.config)}, "
            f"{budget.summary(candidate.settings, candidate.config)}",
            source=self._source,
        )

    def unchanged(
        self, candidate: Candidate, notes: tuple[str, ...], variables: Iterable[str] = ()
    ) -> None:
        """Report that a candidate's files are those in force; its warnings may differ.

        ``variables`` have other values all the same: only the agent uses them.
        """
        self._set_active(candidate, since=None if self._active is None else self._active.since)
        self._is_unchanged = True
        if names := listed(variables):
            self._changes = (f"keepalived's configuration stays as it is; in force now: {names}",)
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
        if self._active is not None:
            self.transition_causes.check_replaced(self._active.config, candidate.config)
        self._active = Active.of(candidate, since or utc_now())
        self._problems = candidate.config.degraded
        self._instance_states = self._instance_states.reconfigured(candidate.config.instances)
        names = {each.name for each in candidate.config.instances}
        self.transition_causes.keep(names)
        self.history.keep(names)
        self._repeats.forget()
        self._nag_at = time.monotonic() + _NAG_INTERVAL if candidate.config.degraded else None
        self.touch()

    def changes_are(self, lines: Iterable[str]) -> None:
        """Note what the candidate would change, for the verdict."""
        self._changes = tuple(lines)

    @property
    def refusal(self) -> tuple[str, ...]:
        """Return what is wrong with the last candidate; nothing if it was accepted."""
        return self._refusal

    def refused(self, error: AgentError, verdict: CandidateVerdict) -> None:
        """Report that a candidate was refused, once, and then how often, each minute."""
        problems = self._refusal = problems_of(error)
        if self._state.phase in {AgentPhase.PREPARING, AgentPhase.WAITING}:
            self._problems = problems
        self.touch()
        repeated = self._repeats.seen("\n".join(problems), time.monotonic())
        if repeated is not None:
            event = "host.awaited" if verdict is CandidateVerdict.NOT_READY else "config.rejected"
            counted = {"repeated": repeated} if repeated else {}
            is_usual = isinstance(error, HostNotReadyError) and error.is_usual
            say = self.log.info if is_usual else self.log.error
            say(event, problems=problems, **counted)

    def reload_began(self) -> None:
        """Report that variables are about to be read for a reload."""
        self._changes = self._refusal = ()
        self._is_unchanged = False
        self._repeats.forget()
        self._reload = replace(self._reload, started=self._reload.started + 1)
        # On disk before anything is read: a later change of a variable needs another request.
        self.write_status()

    def reload_ended(self, reason: str, *, is_confirmed: bool = True) -> None:
        """Report the verdict on a reload; ``reason`` is empty where it was carried out."""
        self._instance_states = self._instance_states.settled()
        ended = max(self._reload.started, self._reload.ended + 1)
        if not is_confirmed:
            verdict, lines = "unconfirmed", (reason, *self._changes)
            self.log.error("reload.unconfirmed", reason=reason)
        elif reason:
            verdict, lines = "refused", self._refusal or (reason,)
            self.log.error("reload.refused", reason=reason)
        elif self._is_unchanged:
            verdict, lines = "unchanged", self._changes or ("nothing changed",)
            self.log.info("reload.unchanged", changes=self._changes or None)
        else:
            verdict, lines = "accepted", self._changes or ("no address is affected",)
            self.log.info("reload.accepted", changes=lines)
        self._reload = status_model.ReloadStatus(
            started=ended, ended=ended, verdict=verdict, at=utc_now(), lines=lines
        )
        self.write_status()

    def keepalived_started(self, pid: int) -> None:
        """Report that keepalived was started."""
        self._starts += 1
        self.transition_causes.started()
        self.log.info("keepalived.started", pid=pid)
        self.touch()

    def keepalived_ended(
        self, *, expected: bool, pid: int, code: int | None, signal: int | None
    ) -> None:
        """Report that keepalived ended; it serves nothing any more."""
        event = "keepalived.terminated" if expected else "keepalived.exited"
        say = self.log.info if expected else self.log.error
        meaning = self.transition_causes.child_death or keepalived.meaning_of(code, signal)
        if code == 0 and not (expected or self.transition_causes.child_death):
            meaning = "its VRRP process died, or something else stopped it"  # unseen
        kind = TransitionKind.STOPPED if expected else TransitionKind.ENDED
        self.transition_causes.ends(
            TransitionCause(kind=kind, text=f"keepalived ended ({meaning})")
        )
        self._end_roster()
        say(event, pid=pid, exit_code=code, meaning=meaning)
        self.touch()

    def _end_roster(self) -> None:
        """Note transitions that keepalived could not report any more."""
        before, now = self._instance_states, time.monotonic()
        self._instance_states = before.ended(time.time(), now)
        for was, entry in zip(before.entries, self._instance_states.entries, strict=True):
            if was.state is not entry.state:
                lasted = _lasted(was, now)
                cause = self.transition_causes.explain(was, entry.state, now, lasted)
                self.history.record(
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
        return self._instance_states

    def notify_line(self, line: bytes) -> tuple[InstanceState, VrrpState] | None:
        """Read a line of the notify FIFO; return what an instance was and what it became."""
        transition = keepalived.parse_transition(line)
        if transition is None:
            self.log.debug("vrrp.line_unparsed", line=line)
            return None
        if self._instance_states.is_last_word(transition):
            self._instance_states = self._instance_states.record(transition, time.time())
            return None
        before = self._instance_states.entry(transition.instance)
        if before is None or before.state is transition.state:
            return None
        now = time.monotonic()
        lasted = _lasted(before, now)
        cause = self.transition_causes.explain(before, transition.state, now, lasted)
        self._instance_states = self._instance_states.record(transition, time.time(), now)
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
        self._dropped_told = self._lines_dropped()
        made = self.snapshot()
        self._written = Readiness(reasons=made.reasons, notes=made.notes)
        self.history.write()
        self._file.write(status_model.to_json(made))
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
