"""Writes into a small file whether the node is ready, for a probe that must cost nothing.

The run directory may be the host's, and outlives containers: so the file names the process that
wrote it and when. The script ``image/ready.sh`` believes it only while that process runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ipfailover_agent.chronicle.status_file import StatusFile
from ipfailover_agent.core.text import one_line
from ipfailover_agent.report import health
from ipfailover_agent.system import host

if TYPE_CHECKING:
    from ipfailover_agent.core.telling.readiness import Readiness

_EVERY: Final = 5.0  # seconds; after 15 without a write the script takes the agent for dead


class ReadyFile:
    """The first line: pid, when that process started in ticks, uptime in seconds, the verdict.

    Every other line is a reason, or a note where the node is ready.
    """

    def __init__(self, path: str) -> None:
        self._file = StatusFile(path, None)  # the status beside it reports a full disk
        self._whose = f"{os.getpid()} {host.process_started_at(os.getpid()) or 0}"
        self._due: float | None = None

    @property
    def deadline(self) -> float | None:
        """Return when to :meth:`write` again at the latest, in monotonic seconds."""
        return self._due

    def write(self, ready: Readiness, now: float) -> None:
        """Replace the file."""
        self._due = now + _EVERY
        word = "ready" if ready.is_ready else "unready"
        lines = health.first((*ready.reasons, *ready.notes))
        head = f"{self._whose} {host.uptime():.2f} {word}"
        self._file.write("\n".join((head, *map(one_line, lines), "")))
