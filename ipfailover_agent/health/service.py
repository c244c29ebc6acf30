"""The check that the agent makes itself, where keepalived would be too slow.

Ports are probed here. The script of a URL is run by keepalived, and only once more here when a
listener is gone. :mod:`health.fsm` decides. This module writes the verdict into
keepalived's track file, into the file for people that the check script uses too, and to the log.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError
from ipfailover_agent.health.listener_watch import ListenerWatch
from ipfailover_agent.keepalived import track
from ipfailover_agent.linux import files
from ipfailover_agent.model import VrrpState
from ipfailover_agent.service import Service
from ipfailover_agent.status.logs import Repeats
from ipfailover_agent.status.status_model import StatusPart

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.health import fsm
    from ipfailover_agent.health.probing import CheckRounds
    from ipfailover_agent.keepalived.instance_states import InstanceStates
    from ipfailover_agent.linux.process import ChildExit
    from ipfailover_agent.model import PortProbes
    from ipfailover_agent.service import Common

SOURCE: Final = "probes"

_RETRY: Final = 1.0  # seconds after which a track file that could not be written is tried again
_ELIGIBLE: Final = {VrrpState.BACKUP, VrrpState.MASTER}


class Probes(Service):
    """The probes of the active configuration, if it has any. Only :meth:`prepare` raises.

    Args:
        judged: called with each verdict: why the check fails, None where it passes.
    """

    source = SOURCE

    def __init__(self, common: Common, judged: Callable[[str | None], None]) -> None:
        super().__init__(common)
        self._judged = judged
        self._rounds: CheckRounds | None = None
        self._prober_fd: int | None = None
        self._probes: PortProbes | None = None
        self.listeners = ListenerWatch(self._log, self._loop, self._on_gone)
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
        known = self._rounds.state.is_healthy if self._rounds else None
        if known and probes.ports and not self._probes_ports:
            known = None  # that a script which was run once more passes shows nothing of the ports
        if known is None:
            is_eligible = any(each.state in _ELIGIBLE for each in instance_states.entries)
            known = is_eligible or not probes.ports
        self._is_healthy = known
        track.write(self._paths.check_track, is_set=not known)
        self._retry_at = None

    @property
    def _probes_ports(self) -> bool:
        """Return whether ports are probed at the moment: the agent alone makes the check."""
        return self._rounds is not None and not self._rounds.is_script

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Probe as the active configuration says; a check that stays is left alone."""
        probes = candidate.config.port_probes
        if probes is None:
            self.close()
            return
        # A script may be judged as its only port was, and is another check all the same.
        is_same = self._rounds is not None and self._rounds.is_script is not bool(probes.ports)
        if self._rounds is not None and is_same and _how(probes) != _how(self._probes):
            self._rounds.begin(time.monotonic(), probes)
        elif not is_same:
            self._close_rounds()
            self._begin(probes)
        self._probes = probes
        self.listeners.configure(probes.listeners, probes.watch)
        self._explain()

    def _begin(self, probes: PortProbes) -> None:
        from ipfailover_agent.health import probing  # noqa: PLC0415 - not always

        if probes.ports:
            self._rounds = prober = probing.Prober(probes, self._on_report)
            self._prober_fd = prober.fileno()
            self._loop.watch_readable(self._prober_fd, SOURCE)
        else:
            self._rounds = probing.CheckRuns(
                probes,
                self._on_report,
                script=self._paths.check,
                environment=self._environment,
                is_healthy=self._is_healthy,
            )
        self._rounds.begin(time.monotonic())

    def close(self) -> None:
        """Probe no more."""
        self.listeners.close()
        if self._rounds is not None:
            self._close_rounds()
            self._probes = self._retry_at = None

    def _close_rounds(self) -> None:
        if self._prober_fd is not None:
            self._loop.unwatch(self._prober_fd)
            with contextlib.suppress(AgentError):  # the last line in that file is no longer true
                files.remove_file(self._paths.check_reason)
        if self._rounds is not None:
            self._rounds.close()
        self._rounds = self._prober_fd = self._told = self._judged_at = None

    def on_instance_states(self, instance_states: InstanceStates, _: float) -> None:
        """Note the states of all instances: while none is eligible, no listener is watched."""
        self._is_eligible = any(each.state in _ELIGIBLE for each in instance_states.entries)
        self._regulate()

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when to look after the listeners."""
        return self.listeners.deadline

    def tick(self, now: float) -> None:
        """Probe if it is time, and look after the listeners."""
        self.resume(now)
        self.listeners.tick(now)

    @property
    def resume_at(self) -> float | None:
        """Return when to :meth:`resume`."""
        return earliest(
            None if self._rounds is None else self._rounds.state.deadline, self._retry_at
        )

    def resume(self, now: float) -> bool:
        """Probe if it is time, write again what could not be written; return if there is news."""
        due = self.resume_at
        if due is None or now < due:
            return False
        self._has_news = False
        if self._retry_at is not None and now >= self._retry_at:
            self._write()
        self.readable()
        return self._has_news

    def readable(self) -> None:
        """Read the answers that are there."""
        if self._rounds is not None:
            self._rounds.tick(time.monotonic())
            self._explain()

    def child_exited(self, child: ChildExit) -> bool:
        """Handle the end of a child; return whether it was a run of the check script."""
        if self._rounds is None or not self._rounds.child_exited(child):
            return False
        self._explain()
        return True

    def status(self) -> StatusPart:
        """Return how long the last round took: the slowest port's time."""
        took = self._rounds.state.took if self._rounds and self._probes_ports else None
        return StatusPart(
            protections=(self.listeners.protection(),),
            check_took=None if took is None else round(took, 6),
        )

    def _on_gone(self, cause: str) -> bool:
        """Probe at once: a listener is gone; return whether there is news, or something due."""
        if self._rounds is None:
            return False
        self._has_news = False
        self._rounds.ask(cause, time.monotonic())
        self._explain()
        return self._has_news or bool(self._rounds.state.waiting)

    # --- the verdict ----------------------------------------------------------------------------

    def _on_report(self, report: fsm.ReportHealth) -> None:
        self._is_healthy = report.is_healthy
        self._has_news = True
        self._write()
        if report.is_healthy:
            self._judged(None)
            self._log.info("check.passed")
            return
        reason = report.reason
        if not self._probes_ports:
            reason = files.read_reason(self._paths.check_reason) or "the check script fails"
        self._judged(reason)
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
        if self._rounds is None:
            return
        state = self._rounds.state
        if state.trouble:
            self._has_news = True
            repeated = self._repeats.seen(state.trouble, time.monotonic())
            if repeated is not None:
                self._log.warning(
                    "check.inconclusive", reason=state.trouble, repeated=repeated or None
                )
        told = "" if state.is_healthy else f"cannot reach {state.reason}\n"
        if self._probes_ports and state.is_healthy is not None and told != self._told:
            self._has_news, self._told = True, told
            with contextlib.suppress(AgentError):
                if told:
                    files.write_atomically(self._paths.check_reason, told)
                else:
                    files.remove_file(self._paths.check_reason)
        self._regulate()

    def _regulate(self) -> None:
        """Watch the listeners while it matters whether they are there."""
        state = None if self._rounds is None else self._rounds.state
        is_steady = state is not None and state.is_steady
        self.listeners.want(is_wanted=is_steady and self._is_eligible)
        if state is None or state.waiting or state.due == self._judged_at:
            return
        self._judged_at = state.due
        if is_steady and self._probes_ports and not state.trouble:
            self.listeners.accepted()


def _how(probes: PortProbes | None) -> tuple[object, ...] | None:
    """Return what of a check its rounds go by: another name or watch begins none anew."""
    if probes is None:
        return None
    asked = probes.ports or probes.listeners[:1]
    return asked, probes.interval, probes.timeout, probes.rise, probes.fall
