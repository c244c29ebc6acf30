"""One event loop: signals, lines, writability and deadlines, as typed events.

Signals are noted by their handler and wake the loop through ``signal.set_wakeup_fd``; deadlines
are ``time.monotonic`` seconds. Nothing polls. signalfd and sigwait are not used because they need
a blocked mask, which children would inherit: keepalived would start deaf.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct

from ipfailover_agent.linux.output import secure_standard_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

LINE_LIMIT: Final = 1 << 16
"""Bytes of a line that are reported; the rest of it is left out."""

_BYTES_PER_ROUND: Final = 1 << 12  # of one stream; 2048 empty lines take 4 ms
_LONGEST_SLEEP: Final = 3600.0  # epoll refuses waits beyond some weeks; the loop just goes round


class SignalReceived(Struct, frozen=True, kw_only=True):
    """A signal came in, however often since the last batch."""

    signum: signal.Signals


class LineReceived(Struct, frozen=True, kw_only=True):
    """One line of a watched stream, without its newline; of a longer one the first LINE_LIMIT."""

    source: str
    line: bytes


class StreamClosed(Struct, frozen=True, kw_only=True):
    """A watched stream has ended and is no longer watched; closing it is the caller's business."""

    source: str


class Writable(Struct, frozen=True, kw_only=True):
    """A descriptor under ``watch_writable`` takes bytes again, or its reader is gone."""

    source: str


class Readable(Struct, frozen=True, kw_only=True):
    """A descriptor under ``watch_readable`` has something to read."""

    source: str


class Woken(Struct, frozen=True):
    """A look (:meth:`Loop.look_every`) found something."""


Event = SignalReceived | LineReceived | StreamClosed | Writable | Readable | Woken


class _LineReader:
    """Splits the bytes of one descriptor into lines."""

    def __init__(self, fd: int, source: str) -> None:
        self._fd = fd
        self._source = source
        self._partial = bytearray()
        self._is_skipping = False  # inside the rest of a truncated line

    def read(self, events: list[Event]) -> bool:
        """Append what one bounded read brings; return False at the end of the stream."""
        try:
            data = os.read(self._fd, _BYTES_PER_ROUND)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:  # a terminal that hung up, a descriptor that was closed meanwhile
            data = b""
        if not data:
            if self._partial:
                self._finish_line(events)
            events.append(StreamClosed(source=self._source))
            return False
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._append(piece, events)
            self._finish_line(events)
        self._append(rest, events)
        return True

    def _append(self, piece: bytes, events: list[Event]) -> None:
        if self._is_skipping:
            return
        self._partial += piece
        if len(self._partial) > LINE_LIMIT:
            line = bytes(self._partial[:LINE_LIMIT])
            events.append(LineReceived(source=self._source, line=line))
            self._partial.clear()
            self._is_skipping = True

    def _finish_line(self, events: list[Event]) -> None:
        if not self._is_skipping:
            events.append(LineReceived(source=self._source, line=bytes(self._partial)))
        self._partial.clear()
        self._is_skipping = False


class Loop:
    """Waits for signals, lines, room to write and deadlines; a context manager.

    Use it in the main thread. Entering it opens /dev/null on closed standard descriptors, installs
    handlers for ``signals`` and unblocks them; leaving it restores
    what was before, and watched descriptors stay open.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._signals = tuple(signals)
        self._noted: dict[int, None] = {}
        self._readers: dict[int, _LineReader] = {}
        self._watched: dict[int, Writable | Readable] = {}  # what is reported where one is ready
        self._cleanup = contextlib.ExitStack()
        self._poller: select.epoll
        self._wakeups: socket.socket
        self._look: Callable[[], bool] | None = None
        self._found: Callable[[], bool] = bool
        self._look_period = 0.0
        self._look_at = 0.0

    def __enter__(self) -> Self:
        secure_standard_streams()
        with contextlib.ExitStack() as cleanup:
            self._poller = cleanup.enter_context(select.epoll())
            self._wakeups, wakes = socket.socketpair()
            cleanup.enter_context(self._wakeups)
            cleanup.enter_context(wakes)
            self._wakeups.setblocking(False)  # noqa: FBT003 - the standard library's signature
            wakes.setblocking(False)  # noqa: FBT003 - likewise
            self._poller.register(self._wakeups, select.EPOLLIN)
            previous = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
            cleanup.callback(signal.set_wakeup_fd, previous)
            for signum in self._signals:
                handler = signal.signal(signum, self._note)
                # None: installed by something that is not Python, which cannot be put back
                cleanup.callback(signal.signal, signum, handler or signal.SIG_DFL)
            # the parent process may have left them blocked, and then none would arrive
            mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)
            cleanup.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._readers.clear()
        self._watched.clear()
        self._look = None
        self._cleanup.close()

    def look_every(
        self, seconds: float, look: Callable[[], bool], found: Callable[[], bool]
    ) -> None:
        """Call ``look`` so often from within :meth:`wait`, and ``found`` when it returns True.

        For what is looked at many times a second and nearly always the same: no round of the
        loop's owner follows, no event is made, unless ``found`` returns True. There is one such
        look; it replaces the last one.
        """
        self._look, self._found, self._look_period = look, found, seconds
        self._look_at = time.monotonic() + seconds

    def look_no_more(self) -> None:
        """Forget :meth:`look_every`, from within ``found`` too."""
        self._look = None

    def watch_lines(self, fd: int, source: str) -> None:
        """Report the lines of a non-blocking pipe, FIFO, socket or terminal under that name."""
        self._readers[fd] = _LineReader(fd, source)
        self._poller.register(fd, select.EPOLLIN)

    def watch_writable(self, fd: int, source: str) -> None:
        """Report that the descriptor takes bytes, in every round until ``unwatch``."""
        self._watch(fd, select.EPOLLOUT, Writable(source=source))

    def watch_readable(self, fd: int, source: str) -> None:
        """Report that the descriptor can be read, in every round until ``unwatch``."""
        self._watch(fd, select.EPOLLIN, Readable(source=source))

    def _watch(self, fd: int, events: int, event: Writable | Readable) -> None:
        if fd not in self._watched:
            self._poller.register(fd, events)
        self._watched[fd] = event

    def unwatch(self, fd: int) -> None:
        """Stop watching; a descriptor that is not watched is no error."""
        for watched in (self._readers, self._watched):
            if watched.pop(fd, None) is not None:
                with contextlib.suppress(OSError):  # closed before: the kernel forgot it itself
                    self._poller.unregister(fd)

    def wait(self, deadline: float | None) -> tuple[Event, ...]:
        """Return what happened: signals first, each once, then the rest.

        Reads at most 4 KiB of each stream per call, so that no stream starves another one, a
        signal or a deadline; the caller compares its deadlines with the clock after every batch.

        Args:
            deadline: ``time.monotonic`` seconds; None waits without limit.

        Returns:
            Events, never none before the deadline; empty when the deadline has passed.
            :class:`Woken` means that a look (:meth:`look_every`) found something.
        """
        while True:
            if self._look is not None and self._found_by_look(self._look, deadline):
                return (Woken(),)
            left = _LONGEST_SLEEP if deadline is None else deadline - time.monotonic()
            events = self._wait_once(min(max(left, 0.0), _LONGEST_SLEEP))
            if events or (deadline is not None and time.monotonic() >= deadline):
                return tuple(events)

    def _found_by_look(self, look: Callable[[], bool], deadline: float | None) -> bool:
        """Look as often as is wanted until a descriptor or the deadline is due; return what came.

        It runs many times a second, mostly out of cold caches, and so does little: what is ready
        is only noticed here, and taken afterwards.
        """
        at, period = self._look_at, self._look_period
        poll, clock = self._poller.poll, time.monotonic
        while deadline is None or at <= deadline:
            left = at - clock()
            if left > 0:
                if poll(left, 1):
                    break
                at += period
            else:  # what was slept through is left out
                at += period - left
            if look():
                self._look_at = at
                if self._found():
                    return True
                if self._look is None:
                    return False
                look, at, period = self._look, self._look_at, self._look_period
        self._look_at = at
        return False

    def _wait_once(self, timeout: float) -> list[Event]:
        ready = self._poller.poll(timeout)
        if not ready:  # every signal has its byte
            return []
        events: list[Event] = list(self._signal_events())
        for fd, _ in ready:
            if fd in self._readers:
                if not self._readers[fd].read(events):
                    self.unwatch(fd)
            elif fd in self._watched:
                events.append(self._watched[fd])
        return events

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        """Note the signal, nothing else: logging or locking in a handler can deadlock."""
        self._noted[signum] = None

    def _signal_events(self) -> list[SignalReceived]:
        """Return what the handlers noted, in the order in which the signals woke the loop.

        The notes decide what came, the wakeup bytes only the order: bytes get lost when a flood
        of signals fills the socket. A byte is written after CPython has marked its handler as due,
        so a reader of the byte finds the note.
        """
        order = bytearray()
        with contextlib.suppress(BlockingIOError):
            while data := self._wakeups.recv(4096):
                order += data
        noted, self._noted = self._noted, {}
        arrived = (signum for signum in order if signum in noted)
        return [
            SignalReceived(signum=signal.Signals(signum))
            for signum in dict.fromkeys([*arrived, *noted])
        ]
