"""A program that runs beside the loop, and whose output is kept in memory.

Nothing has to be read while it runs, it cannot be blocked, and a child that it leaves behind does
not keep its run from ending. What it writes beyond a limit is refused to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from typing import TYPE_CHECKING, Final

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.linux import process
from ipfailover_agent.text import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LIMIT: Final = 1 << 22  # bytes of a stream
_LINES: Final = 50  # what a person reads; keepalived may write a line per instance
_LINE_LIMIT: Final = 1 << 16  # characters
_OF_LINES: Final = 1 << 18  # bytes that are read for lines: to decode all would hold up the loop
_FLAGS: Final = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
_NOEXEC_SEAL: Final = 8  # linux/memfd.h; from 6.3 on, which may then ask for it (vm.memfd_noexec)
_SEALS: Final = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK


class CapturedRun:
    """One run of a program; it is over, and everything is known, once it was reaped.

    Args:
        argv: the command line.
        environment: what the program gets.
        limit: bytes of each stream.
        is_split: its errors are a stream of their own, and not part of its output.

    Raises:
        KeepalivedMissingError: the program cannot be executed.
        SystemRefusedError: no process or no memory is to be had.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        limit: int = _LIMIT,
        is_split: bool = False,
    ) -> None:
        self._limit = limit
        with contextlib.ExitStack() as opened:
            self._files = [_memory(opened, limit) for _ in range(1 + is_split)]
            output, errors = self._files[0], self._files[-1]
            self.pid = process.spawn(argv, environment=environment, stdout=output, stderr=errors)
            self._opened = opened.pop_all()

    def kill(self) -> None:
        """End it with all processes of its group; it must not have been reaped."""
        process.signal_group(self.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """Kill it and forget its output; the reaper of the agent finds an orphan."""
        self.kill()
        self._opened.close()

    def end(self) -> tuple[str, ...]:
        """Return the text of each stream; the run is over."""
        with self._opened:
            return tuple(_text(each, self._limit) for each in self._files)

    def end_in_lines(self) -> tuple[str, ...]:
        """Return the first lines of its output, harmless ones; the run is over."""
        with self._opened:
            text = _text(self._files[0], _OF_LINES).removesuffix("\n")
        lines = text.split("\n")[:_LINES] if text else ()
        return tuple(harmless(each[:_LINE_LIMIT], kept="\t") for each in lines)


def _memory(opened: contextlib.ExitStack, limit: int) -> int:
    """Return a file in memory that cannot grow beyond its limit, and takes up what is written."""
    try:
        try:
            fd = os.memfd_create("output", _FLAGS | _NOEXEC_SEAL)
        except OSError:  # an older kernel does not know that flag
            fd = os.memfd_create("output", _FLAGS)
    except OSError as error:
        raise SystemRefusedError(f"cannot keep output in memory: {error.strerror}") from error
    opened.callback(os.close, fd)
    with contextlib.suppress(OSError):  # a sandbox without seals, RLIMIT_FSIZE: then it may grow
        os.ftruncate(fd, limit)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def _text(fd: int, limit: int) -> str:
    written = os.lseek(fd, 0, os.SEEK_CUR)  # the program's writes moved the offset that it shares
    return os.pread(fd, min(written, limit), 0).decode("utf-8", "backslashreplace")
