"""Watches keepalived itself: asks it for dumps, and has it killed when it hangs.

:mod:`keepalived.liveness` decides. This module carries its requests to keepalived, and hands each
dump to ``answered``, which passes it to every service. Nothing here raises.

keepalived's parent passes the signal that asks on to its VRRP child, which writes a file. Both
take it from a signalfd: it waits through a reload or a stun and is not lost (keepalived 2.2.7 to
2.4.3). Before keepalived has reported its start the signal kills it.

2.2.7 creates the file and then fills it; later versions rename it when it is whole. Either way a
file that was not there at the question was begun after the question.
"""

# pathlib costs start-up time and has no descriptors.
# ruff: noqa: PTH108, PTH123

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError, NotPermittedError
from ipfailover_agent.keepalived import dump, liveness
from ipfailover_agent.keepalived.liveness import DumpFailed, DumpReceived, WatchOccurrence
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


_FIRST_LOOK: Final = 0.005  # seconds after the question; 1 to 2 ms are usual
_LONGEST_PAUSE: Final = 0.1
_DOUBT: Final = 0.5  # without an answer for so long, look whether one can be written
_UNFINISHED: Final = 1.0  # a file that is not whole by then will not be


class DumpRequest:
    """One question at a time. Nothing blocks, and no error is raised: answers are events.

    Args:
        directory: keepalived's TMPDIR, which is the agent's alone.

    Attributes:
        signal_number: of the signal that asks, None until it is known or where there is none.
        deadline: monotonic seconds when to :meth:`poll`, None without a question.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path = f"{directory}/{dump.FILE_NAME}"
        self._probe = f"{directory}/probe"
        self.signal_number: int | None = None
        self.deadline: float | None = None
        self._asked_at = 0.0
        self._begun_at: float | None = None
        self._pause = _FIRST_LOOK
        self._failure = ""

    def ask(self, pid: int, now: float) -> None:
        """Ask keepalived's parent; an open question is forgotten.

        Args:
            pid: a child of the agent that was not reaped and that has reported its start.
            now: monotonic seconds.
        """
        self._asked_at, self._begun_at = now, None
        self._pause = _FIRST_LOOK
        self._failure = self._signal(pid)
        self.deadline = now if self._failure else now + self._pause

    def poll(self, now: float) -> DumpReceived | DumpFailed | None:
        """Return the answer if it has come; look at it before anything that depends on time."""
        if self.deadline is None:
            return None
        outcome = self._look(now)
        if outcome is None:
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            self.deadline = now + self._pause
            return None
        self.abandon()
        if isinstance(outcome, str):
            return DumpFailed(reason=outcome)
        return DumpReceived(instances=outcome)

    def abandon(self) -> None:
        """Forget the open question."""
        self.deadline = None

    def _look(self, now: float) -> tuple[InstanceDump, ...] | str | None:
        """Return the answer, or why there will be none, or nothing yet."""
        if self._failure:
            return self._failure
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                found = dump.parse(file.read())
        except FileNotFoundError:
            return self._why_not() if now - self._asked_at >= _DOUBT else None
        except OSError as error:
            return f"cannot read {self._path}: {error.strerror}"
        if found is None:
            if self._begun_at is None:
                self._begun_at = now
            if now - self._begun_at >= _UNFINISHED:
                return f"{self._path} is cut off, or not what this version understands"
        return found

    def _signal(self, pid: int) -> str:
        """Remove the last answer and ask for a new one; return why that is impossible."""
        if self.signal_number is None:
            return "this keepalived was built without JSON dumps"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            # one that is gone has ended, and the loop learns it when it is reaped
            process.signal_process(pid, self.signal_number)
        except NotPermittedError as error:
            return str(error)
        except OSError as error:
            return f"cannot remove {self._path}: {error.strerror}"
        return ""

    def _why_not(self) -> str | None:
        """Return why keepalived cannot write an answer there, None where it can."""
        try:
            descriptor = os.open(self._probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, b"x")
            finally:
                os.close(descriptor)
                os.unlink(self._probe)
        except OSError as error:
            return f"cannot write to {self._directory}: {error.strerror}"
        return None


class KeepalivedWatchdog(Service):
    """One keepalived at a time.

    Args:
        kill: ends keepalived's process group at once.
        answered: called with every dump and when it was asked for.

    Attributes:
        keepalived: the pid of the keepalived that has reported its start, None while none has.
        refusal: why no dump can be asked for, empty where one can.
        dump_asked_at: when the newest dump was asked for, in monotonic seconds.
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
        self._state = liveness.Liveness()
        self._request = DumpRequest(self._paths.temporary)
        self._lookup: CapturedRun | None = None
        self.keepalived: int | None = None
        self.refusal = ""
        self._latest: tuple[InstanceDump, ...] = ()
        self._latest_at = 0.0  # UTC seconds
        self.dump_asked_at: float | None = None

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
        elif self.can_ask:
            self._step(WatchOccurrence.WATCH_BEGAN)
        return True

    def _refuse(self, reason: str) -> None:
        self.refusal = reason
        self._log.error("protection.off", kind="watch", reason=reason)

    # --- keepalived -----------------------------------------------------------------------------

    def keepalived_ready(self, pid: int) -> None:
        """Note that keepalived has reported that it runs; before that a signal would kill it."""
        self.keepalived = pid
        if self.can_ask:
            self._step(WatchOccurrence.WATCH_BEGAN)

    def keepalived_ends(self) -> None:
        """Note that keepalived ended, or is about to."""
        self.keepalived = None
        self._latest = ()
        self._request.abandon()
        self._step(WatchOccurrence.WATCH_ENDED)

    def keepalived_ended(self, *, keeps_holds: bool) -> None:  # noqa: ARG002 - for others
        """Note that keepalived ended: its newest dump is no answer of the next one."""
        self.keepalived_ends()
        self.dump_asked_at = None

    def rereading_began(self) -> None:
        """Note that keepalived got the signal to read its file again."""
        self._step(WatchOccurrence.REREADING_BEGAN)

    def rereading_ended(self) -> None:
        """Note that keepalived has read it, or that the agent waits for that no longer."""
        self._step(WatchOccurrence.REREADING_ENDED)

    @property
    def can_ask(self) -> bool:
        """Return whether keepalived runs and can be asked."""
        return self.keepalived is not None and self._request.signal_number is not None

    def want_dump(self) -> None:
        """Ask for a dump soon: a caller needs a fresh one."""
        self._step(WatchOccurrence.DUMP_WANTED)

    def suspect(self) -> None:
        """Look closely: keepalived may hang."""
        self._step(WatchOccurrence.SUSPECTED)

    def stalled(self, _: float) -> None:
        """Note that the loop stood still."""
        self._step(WatchOccurrence.TICKS_MISSED)

    @property
    def unanswered(self) -> float:
        """Return for how many seconds keepalived has owed an answer, 0 if it does not."""
        return liveness.unanswered(self._state)

    def status(self) -> StatusPart:
        """Return what keepalived itself reported, and whether it answers."""
        at, asked_at = utc(self._latest_at), self.dump_asked_at
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
                for each in self._latest
            },
            can_ask=not self.refusal,
            dump_asked_ago=None if asked_at is None else time.monotonic() - asked_at,
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
            if isinstance(answer, DumpReceived):
                self._step(answer)
                self._latest, self._latest_at = answer.instances, time.time()
                self.dump_asked_at = asked_at
                self._answered(answer.instances, asked_at)
            elif answer is not None:
                self._log.warning("dump.failed", reason=answer.reason)
                self._step(answer)
        if self._state.deadline is not None and now >= self._state.deadline:
            self._step(WatchOccurrence.TICKED)

    def _step(self, event: liveness.Event) -> None:
        now = time.monotonic()
        self._state, actions = liveness.step(self._state, event, now)
        for action in actions:
            match action:
                case liveness.RequestDump():
                    if self.keepalived is not None:
                        self._request.ask(self.keepalived, now)
                case liveness.Kill(reason=reason):
                    self._request.abandon()
                    self._log.error("keepalived.hangs", pid=self.keepalived, reason=reason)
                    self._kill()
