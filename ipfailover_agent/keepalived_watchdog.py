"""Watches keepalived itself: asks it for dumps, and has it killed when it hangs.

:mod:`keepalived.liveness` decides. This module carries its requests to keepalived, and the
dumps to all that subscribed to them. Nothing here raises.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived import dump, liveness
from ipfailover_agent.keepalived.dumping import DumpRequest
from ipfailover_agent.linux import process
from ipfailover_agent.linux.process import CapturedRun
from ipfailover_agent.service import Service
from ipfailover_agent.status.history import utc
from ipfailover_agent.status.status_model import DumpStatus, Protection, StatusPart

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.keepalived.dump import InstanceDump
    from ipfailover_agent.linux.process import ChildExit
    from ipfailover_agent.service import Common


class KeepalivedWatchdog(Service):
    """One keepalived at a time.

    Args:
        kill: ends keepalived's process group at once.
        answered: called with every dump and when it was asked for.
    """

    def __init__(
        self,
        common: Common,
        *,
        kill: Callable[[], None],
        answered: Callable[[tuple[InstanceDump, ...], float], None],
    ) -> None:
        super().__init__(common)
        self._kill = kill
        self._answered = answered
        self._policy = liveness.LivenessPolicy()
        self._state = liveness.Liveness()
        self._request = DumpRequest(self._paths.temporary)
        self._lookup: CapturedRun | None = None
        self._pid: int | None = None
        self.refusal = ""
        self.latest: tuple[InstanceDump, ...] = ()
        self._latest_at = 0.0  # UTC seconds
        self.dumped_at: float | None = None  # when the newest dump was asked for, monotonic

    # --- which signal asks for a dump ------------------------------------------------------------

    def begin(self) -> None:
        """Ask the program for the number of its signal; until then no dump is asked for."""
        environment = {**self._environment, "TMPDIR": self._paths.temporary}
        try:
            program = process.find_program("keepalived", environment.get("PATH"))
            self._lookup = CapturedRun(dump.signal_command(program), environment)
        except AgentError as error:
            self._refuse(str(error))  # the candidate's test will report it

    def child_exited(self, child: ChildExit) -> bool:
        """Handle the end of a child; return whether it was the look-up."""
        lookup = self._lookup
        if lookup is None or lookup.pid != child.pid:
            return False
        self._lookup = None
        number = dump.parse_signal(child.exit_code, lookup.end_in_lines())
        self._request.signal_number = number
        if number is None:
            self._refuse("this keepalived was built without JSON dumps")
        elif self._pid is not None:
            self._step(liveness.WatchBegan())
        return True

    def _refuse(self, reason: str) -> None:
        self.refusal = reason
        self._log.error("protection.off", kind="watch", reason=reason)

    # --- keepalived -----------------------------------------------------------------------------

    @property
    def keepalived(self) -> int | None:
        """Return the pid of the keepalived that has reported its start, None while none has."""
        return self._pid

    def keepalived_ready(self, pid: int) -> None:
        """Note that keepalived has reported that it runs; before that a signal would kill it."""
        self._pid = pid
        if self._request.signal_number is not None:
            self._step(liveness.WatchBegan())

    def keepalived_ends(self) -> None:
        """Note that keepalived ended, or is about to."""
        self._pid = None
        self.latest = ()
        self._request.abandon()
        self._step(liveness.WatchEnded())

    def keepalived_ended(self, *, keeps_holds: bool) -> None:  # noqa: ARG002 - for others
        """Note that keepalived ended: its newest dump is no answer of the next one."""
        self.keepalived_ends()
        self.dumped_at = None

    def reload_began(self) -> None:
        """Note that keepalived got the signal to read its file again."""
        self._step(liveness.ReloadBegan())

    def reload_ended(self) -> None:
        """Note that keepalived has read it, or that the reload is over."""
        self._step(liveness.ReloadEnded())

    @property
    def can_ask(self) -> bool:
        """Return whether keepalived runs and can be asked."""
        return self._pid is not None and self._request.signal_number is not None

    def want_dump(self) -> None:
        """Ask for a dump soon: a caller needs a fresh one."""
        self._step(liveness.DumpWanted())

    def suspect(self) -> None:
        """Look closely: keepalived may hang."""
        self._step(liveness.Suspicion())

    def stalled(self, _: float) -> None:
        """Note that the loop stood still."""
        self._step(liveness.TicksMissed())

    @property
    def unanswered(self) -> float:
        """Return for how many seconds keepalived has owed an answer, 0 if it does not."""
        return liveness.unanswered(self._state, self._policy)

    def status(self) -> StatusPart:
        """Return what keepalived itself reported, and whether it answers."""
        at = utc(self._latest_at)
        return StatusPart(
            protections=(Protection(kind="watch", active=not self.refusal, reason=self.refusal),),
            dumps={
                each.name: DumpStatus(
                    at=at,
                    effective_priority=each.effective_priority,
                    has_addresses=each.has_addresses,
                    counters=each.counters,
                    garp_delay=each.garp_delay,
                )
                for each in self.latest
            },
            can_ask=not self.refusal,
            answered_ago=None if self.dumped_at is None else time.monotonic() - self.dumped_at,
            owed=self.unanswered,
        )

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return earliest(self._state.deadline, self._request.deadline)

    def tick(self, now: float) -> None:
        """Look for an answer, then let time pass."""
        if self._request.deadline is not None and now >= self._request.deadline:
            asked_at = self._state.asked_at
            answer = self._request.poll(now)
            if isinstance(answer, liveness.DumpReceived):
                self._step(answer)
                self.latest, self._latest_at = answer.instances, time.time()
                self.dumped_at = asked_at
                self._answered(answer.instances, asked_at)
            elif answer is not None:
                self._log.warning("dump.failed", reason=answer.reason)
                self._step(answer)
        if self._state.deadline is not None and now >= self._state.deadline:
            self._step(liveness.Ticked())

    def _step(self, event: liveness.Event) -> None:
        now = time.monotonic()
        self._state, actions = liveness.step(self._state, event, now, self._policy)
        for action in actions:
            match action:
                case liveness.RequestDump(question=question):
                    if self._pid is not None:
                        self._request.ask(question, self._pid, now)
                case liveness.Kill(reason=reason):
                    self._request.abandon()
                    self._log.error("keepalived.hangs", pid=self._pid, reason=reason)
                    self._kill()
