"""The status file: written, or gone, never older than its content would be."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ipfailover_agent.core.errors import AgentError
from ipfailover_agent.system import files

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_MODE = 0o644


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
