"""Resolution of host names, in threads that the loop never waits for.

getaddrinfo(3) may hang for as long as it likes and cannot be interrupted. Each question has a
daemon thread of its own, which neither spawns, signals nor waits, and which the end of the process
does not wait for; its answer is handed over through a pipe that the loop watches.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections import deque
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ipfailover_agent.model import Family
from ipfailover_agent.peers.peers import LookupResult, Question

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE = "peers"
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
# The name is there and has no address of the family, or it is not there: an answer, and empty.
_EMPTY = frozenset(
    getattr(socket, each)
    for each in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")
    if hasattr(socket, each)
)


def resolve(question: Question) -> LookupResult:
    """Ask the system's resolver, and wait for it; a fault becomes a failure with its reason."""
    try:
        found = socket.getaddrinfo(
            question.name, None, family=_FAMILIES[question.family], type=socket.SOCK_STREAM
        )
        texts = (str(address[0]).partition("%")[0] for *_, address in found)
        addresses = tuple(dict.fromkeys(map(ip_address, texts)))
    except socket.gaierror as error:
        failure = "" if error.errno in _EMPTY else (error.strerror or str(error)).lower()
        return LookupResult(question=question, failure=failure)
    except (OSError, ValueError) as error:  # UnicodeError is a ValueError: a label too long
        return LookupResult(question=question, failure=str(error).lower() or "it cannot be asked")
    return LookupResult(question=question, addresses=addresses)


class Resolver:
    """Answers questions in the background; watch :meth:`fileno`, then take :meth:`answers`."""

    def __init__(self) -> None:
        self._answers: deque[LookupResult] = deque()
        self._lock = threading.Lock()
        self._is_closed = False
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        """Return the descriptor that can be read when there are answers."""
        return self._read

    def ask(self, question: Question) -> None:
        """Have a question answered; returns at once."""
        thread = threading.Thread(
            target=self._work, args=(question,), name=f"resolve {question}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads: a limit of the container
            self._hand_over(LookupResult(question=question, failure=str(error)))

    def answers(self) -> tuple[LookupResult, ...]:
        """Return what has been answered since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        return tuple(self._answers.popleft() for _ in range(len(self._answers)))

    def close(self) -> None:
        """Take no more answers; a look-up that hangs is left alone."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._read)
                os.close(self._write)

    def _work(self, question: Question) -> None:
        # Signals are the main thread's: none shall interrupt a resolver.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._hand_over(resolve(question))

    def _hand_over(self, answer: LookupResult) -> None:
        with self._lock:
            if self._is_closed:
                return  # the descriptor may be another file's by now
            self._answers.append(answer)
            with contextlib.suppress(BlockingIOError):  # full: the loop is awake already
                os.write(self._write, b".")


def resolve_once(questions: Iterable[Question], deadline: float) -> tuple[LookupResult, ...]:
    """Ask everything at once and wait at most ``deadline`` seconds: for commands, not the loop."""
    import select  # noqa: PLC0415 - needed here only

    open_ = dict.fromkeys(questions)
    answers: list[LookupResult] = []
    resolver = Resolver()
    for each in open_:
        resolver.ask(each)
    ends_at = time.monotonic() + deadline
    try:
        while open_ and (left := ends_at - time.monotonic()) > 0:
            select.select([resolver], [], [], left)
            for answer in resolver.answers():
                answers.append(answer)
                open_.pop(answer.question, None)
    finally:
        resolver.close()
    late = f"no answer within {deadline:g} s"
    return (*answers, *(LookupResult(question=each, failure=late) for each in open_))
