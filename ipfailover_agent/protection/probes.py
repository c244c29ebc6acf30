"""The check that the agent makes itself, where keepalived would be too slow.

Ports are probed here. The script of a URL is run by keepalived, and only once more here when a
listener is gone. :mod:`core.supervising.probe` decides. This module writes the verdict into
keepalived's track file, into the file for people that the check script uses too, and to the log.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.errors import AgentError
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.supervising import probe
from ipfailover_agent.protection.listener_watch import ListenerWatch
from ipfailover_agent.report.logs import Repeats
from ipfailover_agent.system import files, track

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.core.model import PortProbes
    from ipfailover_agent.core.paths import RunPaths
    from ipfailover_agent.core.supervising.instance_states import InstanceStates
    from ipfailover_agent.system.check_runs import CheckRuns
    from ipfailover_agent.system.loop import Loop
    from ipfailover_agent.system.probing import Prober
    from ipfailover_agent.system.process import ChildExit

SOURCE: Final = "probes"

_RETRY: Final = 1.0  # seconds after which a track file that could not be written is tried again
_ELIGIBLE: Final = {VrrpState.BACKUP, VrrpState.MASTER}


class Probes:
    """The probes of the active configuration, if it has any. Only :meth:`prepare` raises.

    Args:
        log: where events go.
        paths: of the run directory.
        environment: of the check script.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        paths: RunPaths,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        self._paths = paths
        self._environment = environment or {}
        self._loop: Loop | None = None
        self._prober: Prober | None = None
        self._runs: CheckRuns | None = None
        self._policy: probe.ProbePolicy | None = None
        self.listeners = ListenerWatch(log, self._on_gone)
        self._is_eligible = False  # an instance may hold its addresses, or holds them
        self._judged_at: float | None = None  # when the round after the last one judged is due
        self._is_healthy = False  # the content of the track file, written or due
        self._told: str | None = None  # in the file for people, None before the agent wrote there
        self._retry_at: float | None = None
        self._has_news = False
        self._repeats = Repeats()

    # --- configuration --------------------------------------------------------------------------

    def prepare(self, probes: PortProbes | None, instance_states: InstanceStates) -> None:
        """Have the track file there, with the right content, before keepalived reads it.

        Before the first verdict no instance may hold an address, as with a script of keepalived's.
        Where a reload brings the probes, the former result holds until they have one.
        Beside a script that keepalived runs, only a failure counts.

        Raises:
            SystemRefusedError: it cannot be written.
        """
        if probes is None:
            return
        verdict = self._verdict(probes)
        if verdict is None:
            verdict = any(each.state in _ELIGIBLE for each in instance_states.entries)
        self._is_healthy = verdict
        track.write(self._paths.check_track, is_set=not verdict)
        self._retry_at = None

    def _verdict(self, probes: PortProbes) -> bool | None:
        """Return what is known for these probes, None where the instances' states show it."""
        known = self._maker.state.is_healthy if self._maker else None
        if not probes.ports:
            return known is not False
        return known if self._prober is not None or known is False else None

    @property
    def _maker(self) -> Prober | CheckRuns | None:
        """Return what runs the check at the moment."""
        return self._prober or self._runs

    def configure(self, probes: PortProbes | None, loop: Loop) -> None:
        """Probe as the active configuration has it; a policy that stays is left alone."""
        if probes is None:
            self.close()
            return
        self._loop = loop
        policy, is_script = probe.policy_for(probes), not probes.ports
        # A script may be judged as its only port was, and is another check all the same.
        if policy != self._policy or is_script != (self._runs is not None):
            self._configure(policy, loop, time.monotonic(), is_script=is_script)
            self._policy = policy
        self.listeners.configure(probes.listeners, probes.watch, loop)
        self._explain()

    def _configure(
        self, policy: probe.ProbePolicy, loop: Loop, now: float, *, is_script: bool
    ) -> None:
        is_kept = (self._runs if is_script else self._prober) is not None
        if is_kept and self._maker is not None:
            self._maker.begin(now, policy)
            return
        self._close_maker()
        if is_script:
            from ipfailover_agent.system.check_runs import CheckRuns  # noqa: PLC0415 - seldom

            self._runs = CheckRuns(
                policy,
                script=self._paths.check,
                environment=self._environment,
                report=self._on_report,
                is_healthy=self._is_healthy,
            )
            self._runs.begin(now)
            return
        from ipfailover_agent.system.probing import Prober  # noqa: PLC0415 - not always

        self._prober = Prober(policy, self._on_report)
        loop.watch_readable(self._prober.fileno(), SOURCE)
        self._prober.begin(now)

    def close(self) -> None:
        """Probe no more."""
        self.listeners.close()
        if self._maker is None:
            return
        self._close_maker()
        self._policy = self._retry_at = None

    def _close_maker(self) -> None:
        if self._prober is not None:
            if self._loop is not None:
                self._loop.unwatch(self._prober.fileno())
            with contextlib.suppress(AgentError):  # the last line in that file is no longer true
                files.remove_file(self._paths.check_reason)
        if self._maker is not None:
            self._maker.close()
        self._prober = self._runs = self._told = self._judged_at = None

    def roster_is(self, instance_states: InstanceStates) -> None:
        """Note the states of all instances: while none is eligible, no listener is watched."""
        self._is_eligible = any(each.state in _ELIGIBLE for each in instance_states.entries)
        self._regulate()

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        maker = self._maker
        due = (None if maker is None else maker.deadline, self._retry_at)
        return min((each for each in due if each is not None), default=None)

    def tick(self, now: float) -> bool:
        """Probe if it is time, write again what could not be written; return if there is news."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return False
        self._has_news = False
        if self._retry_at is not None and now >= self._retry_at:
            self._write()
        self.readable()
        return self._has_news

    def readable(self) -> None:
        """Read the answers that are there."""
        if self._maker is not None:
            self._maker.tick(time.monotonic())
            self._explain()

    def child_exited(self, child: ChildExit) -> bool:
        """Handle the end of a child; return whether it was a run of the check script."""
        if self._runs is None or not self._runs.child_exited(child):
            return False
        self._explain()
        return True

    @property
    def took(self) -> float | None:
        """Return the seconds that the last round took: the slowest port's, None before one."""
        return None if self._prober is None else self._prober.state.took

    def _on_gone(self, cause: str) -> bool:
        """Probe at once: a listener is gone; return whether there is news, or something due."""
        if self._maker is None:
            return False
        self._has_news = False
        self._maker.ask(cause, time.monotonic())
        self._explain()
        return self._has_news or bool(self._maker.state.waiting)

    # --- the verdict ----------------------------------------------------------------------------

    def _on_report(self, report: probe.ReportHealth) -> None:
        self._is_healthy = report.is_healthy
        self._has_news = True
        self._write()
        if report.is_healthy:
            self._log.info("check.passed")
            return
        reason = report.reason
        if self._runs is not None:
            reason = files.read_reason(self._paths.check_reason) or "the check script fails"
        told = {"cause": report.cause} if report.cause else {}
        self._log.warning("check.failed", reason=reason, **told)

    def _write(self) -> None:
        """Set the track file. Its byte is there already, so that a full disk does not matter."""
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
        """Write the reason into the file for people; a failure to write changes nothing."""
        if self._maker is None:
            return
        state = self._maker.state
        if state.trouble:
            self._has_news = True
            repeated = self._repeats.seen(state.trouble, time.monotonic())
            if repeated is not None:
                self._log.warning(
                    "check.inconclusive", reason=state.trouble, repeated=repeated or None
                )
        if self._prober is not None and state.is_healthy is not None:
            self._write_reason("" if state.is_healthy else f"cannot reach {state.reason}\n")
        self._regulate()

    def _write_reason(self, reason: str) -> None:
        if reason == self._told:
            return
        self._has_news = True
        with contextlib.suppress(AgentError):
            if reason:
                files.write_atomically(self._paths.check_reason, reason)
            else:
                files.remove_file(self._paths.check_reason)
        self._told = reason

    def _regulate(self) -> None:
        """Watch the listeners while it matters whether they are there."""
        state = None if self._maker is None else self._maker.state
        is_steady = state is not None and state.is_steady
        self.listeners.want(is_wanted=is_steady and self._is_eligible)
        if state is None or state.waiting or state.due == self._judged_at:
            return
        self._judged_at = state.due
        if is_steady and self._prober is not None and not state.trouble:
            self.listeners.accepted()
