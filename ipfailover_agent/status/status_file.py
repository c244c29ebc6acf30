"""The status file, and a small one that holds whether the node is ready, for a probe without cost.

The status file is written, or gone, never older than its content would be. The run directory may
be the host's, and outlives containers: so the ready file names the process that wrote it and when.
The script ``image/ready.sh`` uses it only while that process runs.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from ipfailover_agent.errors import AgentError
from ipfailover_agent.linux import files, host
from ipfailover_agent.status.readiness import first
from ipfailover_agent.text import one_line

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.status.readiness import Readiness

_MODE: Final = 0o644
_EVERY: Final = 5.0  # seconds; after 15 without a write the script takes the agent for dead


class StatusFile:
    """A file that is replaced as a whole; one that cannot be costs a line in the log, if any."""

    def __init__(self, path: str, log: FilteringBoundLogger | None) -> None:
        self._path = path
        self._log = log
        self.is_behind = False

    def write(self, text: str) -> None:
        """Replace the file, or remove it where that fails: an old one would pass for a new one.

        ``is_behind`` shows afterwards whether to try again; the log has an event when that begins
        and when it ends.
        """
        error = self._replace(text)
        if error is not None:
            with contextlib.suppress(AgentError):
                files.remove_stale(self._path)
                error = self._replace(text)  # removing needs no room, and makes some
        if self._log is not None:
            if error is not None and not self.is_behind:
                self._log.error("status.unwritten", error=str(error))
            elif error is None and self.is_behind:
                self._log.info("status.written")
        self.is_behind = error is not None

    def _replace(self, text: str) -> AgentError | None:
        try:
            files.write_atomically(self._path, text, _MODE)
        except AgentError as error:  # a full run directory must not cost an address
            return error
        return None


class ReadyFile:
    """The first line: pid, when that process started in ticks, uptime in seconds, the verdict.

    Every other line is a reason, or a note where the node is ready.
    """

    def __init__(self, path: str) -> None:
        self._file = StatusFile(path, None)  # the status beside it reports a full disk
        self._whose = f"{os.getpid()} {host.process_started_at(os.getpid()) or 0}"
        self.deadline: float | None = None  # to write again at the latest, in monotonic seconds

    def write(self, ready: Readiness, now: float) -> None:
        """Replace the file."""
        self.deadline = now + _EVERY
        word = "ready" if ready.is_ready else "unready"
        lines = first((*ready.reasons, *ready.notes))
        head = f"{self._whose} {host.uptime():.2f} {word}"
        self._file.write("\n".join((head, *map(one_line, lines), "")))
