"""A bounded file of lines that outlives the process that writes it.

Lines are appended; now and then the file is replaced by its newest part. A line that was torn by
a full disk or a crash ends where the next append begins.
"""

# pathlib costs start-up time and has no descriptors.

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ipfailover_agent.errors import AgentError, SystemRefusedError
from ipfailover_agent.linux import files

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 1 << 22  # bytes, the last ones, that are read of a file that was made longer


class Journal:
    """Lines in a file, the newest ``limit`` of them, and at most twice as many."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._count: int | None = None  # lines in the file, None before it was looked at
        self._is_torn = True  # what was written last may lack its end

    def append(self, lines: Sequence[str]) -> None:
        """Append lines, without their newlines.

        Raises:
            SystemRefusedError: that cannot be done; the lines are lost.
        """
        if not lines:
            return
        if self._count is None:
            self._count = len(read_lines(self._path))
        self._count += len(lines)
        if self._count > 2 * self._limit:
            kept = (*read_lines(self._path), *lines)[-self._limit :]
            files.write_atomically(self._path, "".join(f"{each}\n" for each in kept))
            self._count, self._is_torn = len(kept), False
            return
        text = "".join(f"{each}\n" for each in lines)
        self._write(("\n" if self._is_torn else "").encode() + text.encode("utf-8", "replace"))

    def _write(self, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK  # no link elsewhere, no pipe that blocks
        self._is_torn = True
        try:
            fd = os.open(self._path, flags, 0o600)
            try:
                written = os.write(fd, data)
            finally:
                os.close(fd)
        except OSError as error:
            raise SystemRefusedError(f"cannot write {self._path}: {error.strerror}") from error
        if written < len(data):
            raise SystemRefusedError(f"cannot write {self._path}: no room is left")
        self._is_torn = False


def read_lines(path: str) -> list[str]:
    """Return the lines of a journal, without empty ones; none where it cannot be read."""
    with contextlib.suppress(OSError, AgentError):
        with open(path, "rb", opener=files.without_waiting) as file:
            if (size := os.fstat(file.fileno()).st_size) > _LONGEST:
                file.seek(size - _LONGEST)
            text = (file.read(_LONGEST) or b"").decode("utf-8", "replace")
        return [line for line in text.split("\n") if line]
    return []
