"""Keeps what is told of the agent: the instances' states, reload verdicts, the status file.

The agent says what happened; this says it to people (log) and machines (status file), and never
fails in a way that could cost an address.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ipfailover_agent import __version__
from ipfailover_agent.core import keepalived
from ipfailover_agent.core.errors import (
    AgentError,
    ConfigTestError,
    HostNotReadyError,
    SettingsError,
)
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.roster import Roster
from ipfailover_agent.core.supervision import Lifecycle, Phase, Verdict
from ipfailover_agent.report import status
from ipfailover_agent.report.logs import Repeats
from ipfailover_agent.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.core.model import RunPaths
    from ipfailover_agent.prepare import Candidate

_STATUS_INTERVAL = 0.1  # seconds; 254 transitions at once are one write
_NAG_INTERVAL = 60.0


class Reporter:
    """Collects news and passes it on."""

    def __init__(
        self,
        *,
        log: FilteringBoundLogger,
        paths: RunPaths,
        source: str | None,
        lines_dropped: Callable[[], int],
    ) -> None:
        self.log = log
        self._paths = paths
        self._source = source or "environment"
        self._lines_dropped = lines_dropped
        self._started_at = utc_now()
        self._state = Lifecycle()
        self._active: Candidate | None = None
        self._active_since = ""
        self._roster = Roster()
        self._problems: tuple[str, ...] = ()
        self._changes: tuple[str, ...] = ()
        self._refusal: tuple[str, ...] = ()
        self._is_unchanged = False
        self._reload = status.ReloadStatus()
        self._starts = 0
        self._repeats = Repeats()
        self._status_due: float | None = None
        self._status_at = 0.0
        self._dropped_told = 0
        self._nag_at: float | None = None

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        due = (self._status_due, self._nag_at)
        return min((each for each in due if each is not None), default=None)

    def tick(self, now: float) -> None:
        """Write the status if it changed, and repeat what must not be forgotten."""
        if self._nag_at is not None and now >= self._nag_at:
            self._nag_at = now + _NAG_INTERVAL
            if self._active is not None:
                self.log.error("config.degraded", reasons=self._active.config.degraded)
        if self._lines_dropped() != self._dropped_told:
            self._touch()
        if self._status_due is not None and now >= self._status_due:
            self.write_status()

    # --- news -----------------------------------------------------------------------------------

    def state_is(self, state: Lifecycle) -> None:
        """Take the state of supervision."""
        if (state.phase, state.pid) != (self._state.phase, self._state.pid):
            self._touch()
        self._state = state

    def activated(
        self, candidate: Candidate, previous: Candidate | None, notes: tuple[str, ...]
    ) -> None:
        """Tell that a configuration was put in force."""
        self._set_active(candidate)
        self._warn(candidate, notes)
        self.log.info(
            "config.activated",
            digest=candidate.rendering.digest[:12],
            previous=previous.rendering.digest[:12] if previous else None,
            serving=keepalived.summary(candidate.config),
            source=self._source,
        )

    def unchanged(self, candidate: Candidate, notes: tuple[str, ...]) -> None:
        """Tell that a candidate's files are those in force; what is said of them may differ."""
        since = self._active_since
        self._set_active(candidate)
        self._active_since = since
        self._is_unchanged = True
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
        """Tell that the files of a former configuration were put in place again."""
        self._set_active(candidate)
        self.log.warning("config.restored", digest=candidate.rendering.digest[:12])

    def _set_active(self, candidate: Candidate) -> None:
        self._active = candidate
        self._active_since = utc_now()
        self._problems = candidate.config.degraded
        self._roster = self._roster.reconfigured(candidate.config.instances)
        self._repeats.forget()
        self._nag_at = time.monotonic() + _NAG_INTERVAL if candidate.config.degraded else None
        self._touch()

    def changes_are(self, lines: Iterable[str]) -> None:
        """Take what the candidate would change, for the verdict."""
        self._changes = tuple(lines)

    @property
    def refusal(self) -> tuple[str, ...]:
        """Return what is wrong with the last candidate; nothing if it was accepted."""
        return self._refusal

    def refused(self, error: AgentError, verdict: Verdict) -> None:
        """Tell that a candidate was refused, once, and then how often, each minute."""
        problems = self._refusal = problems_of(error)
        if self._state.phase in {Phase.PREPARING, Phase.WAITING}:
            self._problems = problems
        self._touch()
        repeated = self._repeats.seen("\n".join(problems), time.monotonic())
        if repeated is not None:
            event = "host.awaited" if verdict is Verdict.NOT_READY else "config.rejected"
            counted = {"repeated": repeated} if repeated else {}
            self.log.error(event, problems=problems, **counted)

    def reload_began(self) -> None:
        """Tell that variables are about to be read for a reload."""
        self._changes = self._refusal = ()
        self._is_unchanged = False
        self._repeats.forget()
        self._reload = replace(self._reload, started=self._reload.started + 1)
        # On disk before anything is read: whoever changes a variable after this asks again.
        self.write_status()

    def reload_ended(self, reason: str, *, is_confirmed: bool = True) -> None:
        """Tell the verdict on a reload; ``reason`` is empty where it was carried out."""
        ended = max(self._reload.started, self._reload.ended + 1)
        if not is_confirmed:
            verdict, lines = "unconfirmed", (reason, *self._changes)
            self.log.error("reload.unconfirmed", reason=reason)
        elif reason:
            verdict, lines = "refused", self._refusal or (reason,)
            self.log.error("reload.refused", reason=reason)
        elif self._is_unchanged:
            verdict, lines = "unchanged", ("nothing changed",)
            self.log.info("reload.unchanged")
        else:
            verdict, lines = "accepted", self._changes or ("no address is affected",)
            self.log.info("reload.accepted", changes=lines)
        self._reload = status.ReloadStatus(
            started=ended, ended=ended, verdict=verdict, at=utc_now(), lines=lines
        )
        self.write_status()

    def keepalived_started(self, pid: int) -> None:
        """Tell that keepalived was started."""
        self._starts += 1
        self.log.info("keepalived.started", pid=pid)
        self._touch()

    def keepalived_ended(
        self, *, expected: bool, pid: int, code: int | None, signal: int | None
    ) -> None:
        """Tell that keepalived ended; nothing is served by it any more."""
        self._roster = self._roster.ended(time.time())
        event = "keepalived.terminated" if expected else "keepalived.exited"
        say = self.log.info if expected else self.log.error
        meaning = keepalived.meaning_of(code, signal)
        say(event, pid=pid, exit_code=code, meaning=meaning)
        self._touch()

    def notify_line(self, line: bytes) -> None:
        """Take a line of the notify FIFO."""
        transition = keepalived.parse_transition(line)
        if transition is None:
            self.log.debug("vrrp.line_unparsed", line=line)
            return
        before = self._roster.entry(transition.instance)
        if before is None or before.state is transition.state:
            return
        now = time.time()
        self._roster = self._roster.told(transition, now)
        self.log.info(
            "vrrp.transition",
            instance=transition.instance,
            previous=before.state.value,
            state=transition.state.value,
            priority=transition.priority,
            lasted=None if before.since is None else round(now - before.since, 2),
            addresses=[str(each.address) for each in before.instance.all_addresses],
        )
        self._touch()

    # --- the status file ------------------------------------------------------------------------

    def _touch(self) -> None:
        """Have the status written soon."""
        if self._status_due is None:
            self._status_due = max(time.monotonic(), self._status_at + _STATUS_INTERVAL)

    def write_status(self) -> None:
        """Write the status file now."""
        self._status_due = None
        self._status_at = time.monotonic()
        self._dropped_told = self._lines_dropped()
        with contextlib.suppress(AgentError):  # a full run directory must not cost an address
            files.write_atomically(self._paths.status, status.to_json(self._snapshot()), 0o644)

    def _faults(self) -> tuple[str, ...]:
        """Return why instances are not fit to serve, as far as is known."""
        faulty = [
            each.instance.name for each in self._roster.entries if each.state is VrrpState.FAULT
        ]
        if not faulty:
            return ()
        why = files.read_reason(self._paths.check_reason)
        text = f"{len(faulty)} of {len(self._roster.entries)} instances in FAULT"
        return (f"{text}: {why}" if why else text,)

    def _snapshot(self) -> status.AgentStatus:
        active = self._active
        config = None
        if active is not None:
            config = status.ConfigStatus(
                name=active.config.config_name,
                interface=active.config.interface,
                digest=active.rendering.digest,
                since=self._active_since,
                source=self._source,
            )
        return status.AgentStatus(
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            written_at=utc_now(),
            phase=self._state.phase.value,
            ready=self._state.phase is Phase.RUNNING
            and not self._problems
            and all(each.state is not VrrpState.FAULT for each in self._roster.entries),
            reasons=(*self._problems, *self._faults()),
            config=config,
            instances=tuple(
                status.InstanceStatus(
                    name=each.instance.name,
                    virtual_router_id=each.instance.virtual_router_id,
                    state=each.state.value,
                    since=None if each.since is None else _utc(each.since),
                    priority=each.instance.priority,
                    addresses=tuple(str(held.address) for held in each.instance.all_addresses),
                )
                for each in self._roster.entries
            ),
            reload=self._reload,
            keepalived_pid=self._state.pid,
            restarts=max(self._starts - 1, 0),
            lines_dropped=self._lines_dropped(),
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


def utc_now() -> str:
    """Return the time in ISO 8601."""
    return _utc(time.time())


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
