"""Says in a small file whether the node is ready, for a probe that may not cost anything.

The run directory may be the host's, and outlives containers: so the file names the process that
wrote it and when. The script ``image/ready.sh`` believes it only while that process runs.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.chronicle.status_file import StatusFile
from ipfailover_agent.core.words import one_line
from ipfailover_agent.system import host

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.report.probes import Verdict
    from ipfailover_agent.report.status import AgentStatus

_EVERY: Final = 5.0  # seconds; the script takes 15 without a word for an agent that stands still


class ReadyFile:
    """The first line: pid, when that process started in ticks, uptime in seconds, the word.

    Every other line is a reason, or a note where the node is ready.

    Args:
        path: of the file.
        judge: says whether the node of a snapshot is ready.
    """

    def __init__(
        self,
        path: str,
        judge: Callable[[AgentStatus], Verdict],
    ) -> None:
        self._file = StatusFile(path, None)  # the status beside it tells of a full disk
        self._judge = judge
        self._whose = f"{os.getpid()} {host.process_started_at(os.getpid()) or 0}"
        self._due: float | None = None

    @property
    def deadline(self) -> float | None:
        """Return when to :meth:`write` again at the latest, in monotonic seconds."""
        return self._due

    def write(self, status: AgentStatus) -> None:
        """Replace the file."""
        self._due = time.monotonic() + _EVERY
        verdict = self._judge(status)
        word = "ready" if verdict.is_good else "unready"
        # The line that /readyz begins with says the same as the word.
        _, *lines = verdict.lines("ready")
        head = f"{self._whose} {host.uptime():.2f} {word}"
        self._file.write("\n".join((head, *map(one_line, lines), "")))
