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
        self._noted_due: float | None = None  # of the round after the last one that was noted
        self._is_healthy = False  # the content of the track file, written or due
        self._reason_in_file: str | None = None  # None before the agent wrote the file for people
        self._retry_at: float | None = None  # of writing the track file
        self._has_news = False  # the present call wrote to a file or to the log
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
        self._is_healthy = self._provisional_verdict(probes, instance_states)
        track.write(self._paths.check_track, is_set=not self._is_healthy)
        self._retry_at = None

    def _provisional_verdict(self, probes: PortProbes, instance_states: InstanceStates) -> bool:
        """Return whether the check counts as passed until the probes have their first verdict."""
        former = None if self._rounds is None else self._rounds.state.is_healthy
        if former is False:
            return False
        if former and self._probes_ports:
            return True
        # There is no verdict yet, or a script's, which shows nothing about the ports.
        return not probes.ports or _is_any_eligible(instance_states)

    @property
    def _probes_ports(self) -> bool:
        """Return whether ports are probed at the moment: the agent alone makes the check."""
        return self._rounds is not None and not self._rounds.is_script

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Probe as the active configuration asks for; a check that stays is left alone."""
        probes = candidate.config.port_probes
        if probes is None:
            self.close()
            return
        # A script may be judged as its only port was, and is another check all the same.
        is_script = not probes.ports
        if self._rounds is None or self._rounds.is_script != is_script:
            self._close_rounds()
            self._begin(probes)
        elif _terms(probes) != _terms(self._probes):
            self._rounds.begin(time.monotonic(), probes)
        self._probes = probes
        self.listeners.configure(probes.listeners, probes.watch)
        self._follow_up()

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
        self._rounds = self._prober_fd = self._reason_in_file = self._noted_due = None

    def on_instance_states(self, instance_states: InstanceStates, _: float) -> None:
        """Note the states of all instances: while none is eligible, no listener is watched."""
        self._is_eligible = _is_any_eligible(instance_states)
        self._watch_listeners()

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
            self._follow_up()

    def child_exited(self, child: ChildExit) -> bool:
        """Handle the end of a child; return whether it was a run of the check script."""
        if self._rounds is None or not self._rounds.child_exited(child):
            return False
        self._follow_up()
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
        self._follow_up()
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
        cause = {"cause": report.cause} if report.cause else {}
        self._log.warning("check.failed", reason=reason, **cause)

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

    def _follow_up(self) -> None:
        """Do what follows from the state of the check, after each event that may change it."""
        if self._rounds is None:
            return
        state = self._rounds.state
        self._log_trouble(state.trouble)
        if self._probes_ports and state.is_healthy is not None:
            self._write_reason("" if state.is_healthy else f"cannot reach {state.reason}\n")
        self._watch_listeners()
        self._note_accepting_ports(state)

    def _log_trouble(self, trouble: str) -> None:
        """Log what keeps the agent from probing."""
        if not trouble:
            return
        self._has_news = True
        if (repeated := self._repeats.seen(trouble, time.monotonic())) is not None:
            self._log.warning("check.inconclusive", reason=trouble, repeated=repeated or None)

    def _write_reason(self, reason: str) -> None:
        """Write the reason into the file for people; a failure to write changes nothing."""
        if reason == self._reason_in_file:
            return
        self._has_news, self._reason_in_file = True, reason
        with contextlib.suppress(AgentError):
            if reason:
                files.write_atomically(self._paths.check_reason, reason)
            else:
                files.remove_file(self._paths.check_reason)

    def _watch_listeners(self) -> None:
        """Watch the listeners while it matters whether they are there."""
        is_steady = self._rounds is not None and self._rounds.state.is_steady
        self.listeners.want(is_wanted=is_steady and self._is_eligible)

    def _note_accepting_ports(self, state: fsm.ProbeState) -> None:
        """Pass on, once a round, that all ports have just accepted a connection."""
        if state.waiting or state.due == self._noted_due:
            return
        self._noted_due = state.due
        if state.is_steady and self._probes_ports and not state.trouble:
            self.listeners.accepted()


def _is_any_eligible(instance_states: InstanceStates) -> bool:
    """Return whether an instance may hold its addresses, or holds them."""
    return any(each.state in _ELIGIBLE for each in instance_states.entries)


def _terms(probes: PortProbes | None) -> tuple[object, ...] | None:
    """Return what the rounds of a check go by: another name or watch begins none anew."""
    if probes is None:
        return None
    asked = probes.ports or probes.listeners[:1]
    return asked, probes.interval, probes.timeout, probes.rise, probes.fall
