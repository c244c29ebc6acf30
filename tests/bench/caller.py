"""A client that opens a connection every 5 ms: ``python -I -S caller.py ADDRESS PORT``.

Each connection has 50 ms to be answered. A line for each that was, ``TIME NAME``, and ``late
SECONDS`` when this process was later than ever before; times are of the monotonic clock. It
imports little, so that it starts fast.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import time

EVERY = 0.005
PATIENCE = 0.05
_ON_CLOSE = struct.pack("ii", 1, 0)  # reset: no side keeps a closed connection in mind


class Caller:
    """Connections on their way, the oldest first."""

    def __init__(self, address: str, port: int) -> None:
        self._target = (address, port)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._waiting: dict[int, tuple[float, socket.socket]] = {}
        self._poller = select.epoll()
        self._worst = 0.0

    def run(self) -> None:
        """Call until killed."""
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= due:
                self._note(now - due)
                self._call(now)
                due = max(due + EVERY, now)
            self._give_up(now)
            for fd, _ in self._poller.poll(max(0.0, due - time.monotonic())):
                self._hear(fd)

    def _call(self, now: float) -> None:
        each = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ON_CLOSE)
        try:
            each.connect(self._target)
        except BlockingIOError:
            self._waiting[each.fileno()] = (now, each)
            self._poller.register(each, select.EPOLLIN)
        except OSError:  # no way there: no answer, that is all
            each.close()

    def _give_up(self, now: float) -> None:
        for fd, (begun, _) in list(self._waiting.items()):
            if now - begun <= PATIENCE:
                break
            self._end(fd)

    def _hear(self, fd: int) -> None:
        name = b""
        with contextlib.suppress(OSError):
            name = self._waiting[fd][1].recv(64).strip()
        if name:
            _say(f"{time.monotonic():.6f} {name.decode()}")
        self._end(fd)

    def _end(self, fd: int) -> None:
        _, each = self._waiting.pop(fd)
        self._poller.unregister(each)
        each.close()

    def _note(self, late: float) -> None:
        if late > self._worst:
            self._worst = late
            _say(f"late {late:.6f}")


def _say(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    Caller(sys.argv[1], int(sys.argv[2])).run()
