"""``keepalived -t`` as a child beside the loop: started here, fed by the loop's events."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from ipfailover_agent.system import process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OUTPUT_LINES = 50  # what a person reads of it; keepalived may print a line per instance


class ConfigTest:
    """One run of ``keepalived -t``.

    It has ended when the process was reaped *and* its output was read to the end.
    """

    def __init__(self, pid: int, output: int) -> None:
        self.pid = pid
        self.output = output
        self.exit_code: int | None = None
        self._lines: list[str] = []
        self._reaped = False
        self._closed = False

    @classmethod
    def start(cls, argv: Sequence[str], environment: Mapping[str, str]) -> ConfigTest:
        """Start it.

        Raises:
            KeepalivedMissingError: the program cannot be executed.
            SystemRefusedError: no process or pipe is to be had.
        """
        read_end, write_end = process.make_output_pipe()
        try:
            pid = process.spawn(argv, environment=environment, stdout=write_end, stderr=write_end)
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return cls(pid, read_end)

    def on_line(self, line: bytes) -> None:
        """Take a line of its output."""
        if len(self._lines) < _OUTPUT_LINES:
            self._lines.append(line.decode("utf-8", "backslashreplace"))

    def closed(self) -> None:
        """Note the end of its output."""
        self._closed = True

    def reaped(self, exit_code: int | None) -> None:
        """Note its exit code, None after a signal."""
        self._reaped = True
        self.exit_code = exit_code

    @property
    def has_ended(self) -> bool:
        """Return whether everything is known."""
        return self._reaped and self._closed

    @property
    def lines(self) -> tuple[str, ...]:
        """Return what it printed."""
        return tuple(self._lines)

    def kill(self) -> None:
        """End it; the loop's owner unwatches and closes ``output``."""
        if not self._reaped:
            process.signal_group(self.pid, signal.SIGKILL)
