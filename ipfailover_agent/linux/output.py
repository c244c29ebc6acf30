"""Writes lines to the agent's stdout and stderr without ever waiting for their readers.

A full pipe must not stall the loop: a stalled loop costs addresses. Setting O_NONBLOCK on an
inherited descriptor would change it for every process that shares the open file description, so
pipes and terminals are opened anew, and messages to sockets carry the flag not to wait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.text import dropped_lines

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_STANDARD_STREAMS: Final = 3
_BYTES_PER_WRITE: Final = 1 << 16
_PIPE_CHUNK: Final = select.PIPE_BUF  # poll(2) calls a pipe writable when this much fits
_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TERMINAL_CHUNK: Final = 256  # poll(2) calls a terminal writable when about this much fits


def secure_standard_streams() -> None:
    """Open /dev/null on each of the descriptors 0 to 2 that is closed.

    Otherwise the next file that is opened becomes the stdout, and log lines go into it.
    """
    for fd in range(_STANDARD_STREAMS):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is fd


class LineSink:
    """A buffer of whole lines in front of a descriptor that may be slow, stuck or closed.

    Lines that do not fit into ``limit_bytes`` are dropped whole and counted in ``dropped``; once
    half of the buffer is free again a line made by ``notice`` has how many are missing, in the
    place where they are missing. A reader that went away is no error: lines are counted only.
    Nothing here raises or blocks; SIGPIPE must be ignored, as Python does.

    Args:
        fd: the descriptor; stays open and unchanged.
        limit_bytes: how much is kept for a reader that is late.
        notice: makes the line about dropped lines out of their number.
    """

    def __init__(
        self,
        fd: int,
        *,
        limit_bytes: int = 1 << 20,
        notice: Callable[[int], bytes] = lambda count: dropped_lines(count).encode(),
    ) -> None:
        self.dropped = 0
        self._limit = limit_bytes
        self._notice = notice
        self._unsaid = 0
        self._buffer = bytearray()
        self._can_be_watched = True
        self._is_closed = False
        self._fd = fd
        self._opened = contextlib.ExitStack()
        self._socket: socket.socket | None = None
        self._chunk: int | None = None  # set where poll has to be asked before each write
        self._prepare()

    @property
    def wants_write(self) -> bool:
        """Return whether lines wait for the descriptor to become writable.

        Lines that wait for room on a disk do not count: epoll takes no regular files.
        """
        return bool(self._buffer) and self._can_be_watched

    def fileno(self) -> int:
        """Return the descriptor to watch while ``wants_write``."""
        return self._fd

    def write_line(self, line: bytes) -> None:
        """Append one line (its newline may be missing) and write what can be written now."""
        whole = line if line.endswith(b"\n") else line + b"\n"
        is_late = self._unsaid and len(self._buffer) > self._limit // 2
        if not self._is_closed and not is_late:
            self._say_dropped()
            if len(self._buffer) + len(whole) <= self._limit:
                self._buffer += whole
                self.flush()
                return
        self.dropped += 1
        self._unsaid += 1

    def flush(self) -> bool:
        """Write as much as goes without waiting; return whether nothing is left."""
        while self._buffer and self._write_some():
            if not self._buffer:
                self._say_dropped()
        return not self._buffer

    def drain(self, seconds: float) -> bool:
        """Write the rest, waiting at most ``seconds`` for the reader; for the very end only."""
        deadline = time.monotonic() + seconds
        while not self.flush():
            left = deadline - time.monotonic()
            if left <= 0 or not self._can_be_watched:
                return False
            self._is_writable(left)
        return True

    def close(self) -> None:
        """Let go of what was opened here; lines that are still buffered are counted as dropped."""
        self._give_up()
        self._opened.close()

    def _prepare(self) -> None:
        try:
            mode = os.fstat(self._fd).st_mode
        except OSError:
            self._is_closed = True
            return
        if stat.S_ISSOCK(mode):
            import socket  # noqa: PLC0415 - stdout is hardly ever a socket

            self._socket = self._opened.enter_context(socket.socket(fileno=os.dup(self._fd)))
        elif stat.S_ISREG(mode):
            # not opened anew: its offset is shared with the process that opened it
            self._can_be_watched = False
        else:
            self._reopen(is_terminal=stat.S_ISCHR(mode))
            self._can_be_watched = _can_be_watched(self._fd)

    def _reopen(self, *, is_terminal: bool) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            anew = os.open(f"/proc/self/fd/{self._fd}", flags)
        except OSError:
            # Another user's pipe (a container that does not run as root), no /proc, no reader.
            self._chunk = _TERMINAL_CHUNK if is_terminal else _PIPE_CHUNK
        else:
            self._opened.callback(os.close, anew)
            self._fd = anew

    def _write_some(self) -> bool:
        """Write one piece; return whether another attempt makes sense now."""
        try:
            written = self._write(memoryview(self._buffer))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _DISK_FULL:  # then it is tried again with the next line
                self._give_up()
            return False
        del self._buffer[:written]
        return written > 0

    def _write(self, data: memoryview) -> int:
        with data, data[: self._chunk or _BYTES_PER_WRITE] as piece:
            if self._socket is not None:
                import socket  # noqa: PLC0415 - see above

                return self._socket.send(piece, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            if self._chunk is not None and not self._is_writable():
                return 0
            return os.write(self._fd, piece)

    def _is_writable(self, within: float = 0.0) -> bool:
        poller = select.poll()
        poller.register(self._fd, select.POLLOUT)
        return bool(poller.poll(within * 1000))

    def _say_dropped(self) -> None:
        if self._unsaid and not self._is_closed:
            self._buffer += self._notice(self._unsaid).rstrip(b"\n") + b"\n"
            self._unsaid = 0

    def _give_up(self) -> None:
        self.dropped += self._buffer.count(b"\n")
        self._buffer.clear()
        self._is_closed = True


def _can_be_watched(fd: int) -> bool:
    """Return whether epoll takes the descriptor; some devices (/dev/null) are always writable."""
    with select.epoll() as selector:
        try:
            selector.register(fd, select.EPOLLOUT)
        except PermissionError:
            return False
    return True
