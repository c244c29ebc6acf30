"""Which instances are kept in FAULT on purpose, and the track files that say so to keepalived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfailover_agent.core.errors import AgentError
from ipfailover_agent.system import track

if TYPE_CHECKING:
    from collections.abc import Iterable

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.core.paths import RunPaths


class Holds:
    """Reasons by instance; a file is set while there is any. Instances are named."""

    def __init__(self, log: FilteringBoundLogger, paths: RunPaths) -> None:
        self._log = log
        self._paths = paths
        self._reasons: dict[str, set[str]] = {}
        self.count = 0  # of instances that were held, each time

    def reasons(self, name: str) -> frozenset[str]:
        """Return why an instance is held; nothing where it is not."""
        return frozenset(self._reasons.get(name, ()))

    def prepare(self, names: Iterable[str]) -> None:
        """Have every file there, as it should be, before keepalived reads of them.

        Raises:
            SystemRefusedError: one cannot be written.
        """
        for name in names:
            track.write(self._paths.hold(name), is_set=bool(self._reasons.get(name)))

    def reset(self, reason: str) -> None:
        """Forget that reason for every instance; keepalived is not running."""
        for reasons in self._reasons.values():
            reasons.discard(reason)

    def set(self, name: str, reason: str) -> None:
        """Keep an instance in FAULT."""
        self.count += not self._reasons.get(name)
        self._reasons.setdefault(name, set()).add(reason)
        self._write(name)

    def clear(self, name: str, reason: str) -> None:
        """Take a reason back; the instance is let go when no other is left."""
        self._reasons.get(name, set()).discard(reason)
        self._write(name)

    def _write(self, name: str) -> None:
        try:
            track.write(self._paths.hold(name), is_set=bool(self._reasons.get(name)))
        except AgentError as error:
            self._log.error("hold.failed", instance=name, error=str(error))
