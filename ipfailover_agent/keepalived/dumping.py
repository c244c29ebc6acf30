"""Asking a running keepalived for its JSON dump: a signal there, a file back.

keepalived's parent passes the signal on to its VRRP child, which writes the file. Both take it
from a signalfd: it waits through a reload or a stun and is not lost (keepalived 2.2.7 to 2.4.3).
Before keepalived has reported its start the signal kills it.

2.2.7 creates the file and then fills it; later versions rename it when it is whole. Either way a
file that was not there at the question was begun after the question.
"""

# pathlib costs start-up time and has no descriptors.
# ruff: noqa: PTH108, PTH123

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from ipfailover_agent.errors import NotPermittedError
from ipfailover_agent.keepalived import dump
from ipfailover_agent.keepalived.liveness import DumpFailed, DumpReceived
from ipfailover_agent.linux import process

if TYPE_CHECKING:
    from ipfailover_agent.keepalived.dump import InstanceDump

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
        self._question: int | None = None
        self._asked_at = 0.0
        self._begun_at: float | None = None
        self._pause = _FIRST_LOOK
        self._failure = ""

    def ask(self, question: int, pid: int, now: float) -> None:
        """Ask keepalived's parent; an open question is forgotten.

        Args:
            question: the answer's number.
            pid: a child of the agent that was not reaped and that has reported its start.
            now: monotonic seconds.
        """
        self._question, self._asked_at, self._begun_at = question, now, None
        self._pause = _FIRST_LOOK
        self._failure = self._signal(pid)
        self.deadline = now if self._failure else now + self._pause

    def poll(self, now: float) -> DumpReceived | DumpFailed | None:
        """Return the answer if it has come; look at it before anything that depends on time."""
        if (question := self._question) is None:
            return None
        outcome = self._look(now)
        if outcome is None:
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            self.deadline = now + self._pause
            return None
        self.abandon()
        if isinstance(outcome, str):
            return DumpFailed(question=question, reason=outcome)
        return DumpReceived(question=question, instances=outcome)

    def abandon(self) -> None:
        """Forget the open question."""
        self._question, self.deadline = None, None

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
