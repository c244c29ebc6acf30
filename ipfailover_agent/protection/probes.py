"""The check that the agent makes itself, where keepalived would be too slow.

Decisions are :mod:`core.supervising.probe`'s; this carries the verdict to keepalived by a track
file, to people by the file that the check script uses too, and to the log.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.errors import AgentError
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.supervising import probe
from ipfailover_agent.report.logs import Repeats
from ipfailover_agent.system import files, track

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.core.model import PortProbes
    from ipfailover_agent.core.paths import RunPaths
    from ipfailover_agent.core.supervising.roster import Roster
    from ipfailover_agent.system.loop import Loop
    from ipfailover_agent.system.probing import Prober

SOURCE: Final = "probes"

_RETRY: Final = 1.0  # seconds after which a track file that could not be written is tried again
_ELIGIBLE: Final = {VrrpState.BACKUP, VrrpState.MASTER}


class Probes:
    """The probes of the active configuration, if it has any. Only :meth:`prepare` raises."""

    def __init__(self, log: FilteringBoundLogger, paths: RunPaths) -> None:
        self._log = log
        self._paths = paths
        self._loop: Loop | None = None
        self._prober: Prober | None = None
        self._policy: probe.ProbePolicy | None = None
        self._is_healthy = False  # what the track file says, or should say
        self._told: str | None = None  # in the file for people, None before we wrote there
        self._retry_at: float | None = None
        self._has_news = False
        self._repeats = Repeats()

    # --- configuration --------------------------------------------------------------------------

    def prepare(self, probes: PortProbes | None, roster: Roster) -> None:
        """Have the track file there, as it should be, before keepalived reads of it.

        Before the first verdict nobody may hold an address, as with a script of keepalived's.
        Where a reload brings the probes, what was found so far holds until they know better.

        Raises:
            SystemRefusedError: it cannot be written.
        """
        if probes is None:
            return
        verdict = None if self._prober is None else self._prober.state.is_healthy
        if verdict is None:
            verdict = any(each.state in _ELIGIBLE for each in roster.entries)
        self._is_healthy = verdict
        track.write(self._paths.check_track, is_set=not verdict)
        self._retry_at = None

    def configure(self, probes: PortProbes | None, loop: Loop) -> None:
        """Probe as the active configuration says; a policy that stays is left alone."""
        if probes is None:
            self.close()
            return
        policy = probe.policy_for(probes)
        if policy == self._policy:
            return
        now = time.monotonic()
        if self._prober is None:
            from ipfailover_agent.system.probing import Prober  # noqa: PLC0415 - seldom

            self._loop = loop
            self._prober = Prober(policy, self._on_report)
            loop.watch_readable(self._prober.fileno(), SOURCE)
            self._prober.begin(now)
        else:
            self._prober.begin(now, policy)
        self._policy = policy
        self._explain()

    def close(self) -> None:
        """Probe no more."""
        if self._prober is None:
            return
        if self._loop is not None:
            self._loop.unwatch(self._prober.fileno())
        self._prober.close()
        self._prober = self._policy = self._retry_at = self._told = None
        with contextlib.suppress(AgentError):  # what we said there is no longer so
            files.remove_file(self._paths.check_reason)

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        due = None if self._prober is None else self._prober.deadline
        if due is None or self._retry_at is None:
            return due
        return min(due, self._retry_at)

    def tick(self, now: float) -> bool:
        """Probe if it is time, write again what could not be written; tell if there is news."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return False
        self._has_news = False
        if self._retry_at is not None and now >= self._retry_at:
            self._write()
        self.readable()
        return self._has_news

    def readable(self) -> None:
        """Take the answers that are there."""
        if self._prober is not None:
            self._prober.tick(time.monotonic())
            self._explain()

    @property
    def took(self) -> float | None:
        """Return the seconds that the last round took: the slowest port's, None before one."""
        return None if self._prober is None else self._prober.state.took

    # --- the verdict ----------------------------------------------------------------------------

    def _on_report(self, report: probe.Report) -> None:
        self._is_healthy = report.is_healthy
        self._has_news = True
        self._write()
        if report.is_healthy:
            self._log.info("check.passed")
        else:
            self._log.warning("check.failed", reason=report.reason)

    def _write(self) -> None:
        """Tell keepalived. The byte is there since the file was prepared: no disk is too full."""
        self._retry_at = None
        try:
            track.write(self._paths.check_track, is_set=not self._is_healthy)
        except AgentError as error:
            self._has_news = True
            now = time.monotonic()
            self._retry_at = now + _RETRY
            if (repeated := self._repeats.seen("track file", now)) is not None:
                self._log.error("check.unwritten", error=str(error), repeated=repeated or None)

    def _explain(self) -> None:
        """Tell people why; a file that cannot be written for them changes nothing."""
        if self._prober is None:
            return
        state = self._prober.state
        if state.trouble:
            self._has_news = True
            repeated = self._repeats.seen(state.trouble, time.monotonic())
            if repeated is not None:
                self._log.warning(
                    "check.inconclusive", reason=state.trouble, repeated=repeated or None
                )
        if state.is_healthy is None:
            return
        reason = "" if state.is_healthy else f"cannot reach {state.reason}\n"
        if reason == self._told:
            return
        self._has_news = True
        with contextlib.suppress(AgentError):
            if reason:
                files.write_atomically(self._paths.check_reason, reason)
            else:
                files.remove_file(self._paths.check_reason)
        self._told = reason
