"""Which instances are kept in FAULT on purpose, and the track files that do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived import track
from ipfailover_agent.service import Service
from ipfailover_agent.status.status_model import StatusPart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.keepalived.instance_states import InstanceStates
    from ipfailover_agent.service import Common


class Holds(Service):
    """Reasons by instance; a file is set while there is any. Instances are named.

    The files are called by what a reload keeps (``VrrpInstance.hold_name``): names of instances
    may pass to others.
    """

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self._reasons: dict[str, set[str]] = {}
        self._files: dict[str, str] = {}  # of the active configuration, by instance
        self.count = 0  # of instances that were held, each time

    def reasons(self, name: str) -> frozenset[str]:
        """Return why an instance is held; nothing where it is not."""
        return frozenset(self._reasons.get(name, ()))

    def prepare(self, names: Mapping[str, str]) -> None:
        """Have every file there, with the right content, before keepalived looks for it.

        Args:
            names: the files' names by instance.

        Raises:
            SystemRefusedError: one cannot be written.
        """
        for name, reasons in self._following(names).items():
            track.write(self._paths.hold(names[name]), is_set=bool(reasons))

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Apply the active configuration."""
        self.apply(candidate.config.hold_names)

    def apply(self, names: Mapping[str, str]) -> None:
        """Use these files, given as in :meth:`prepare`; reasons stay with their files."""
        left = [name for name, file in self._files.items() if file not in names.values()]
        for name in left:
            self._reasons.pop(name, None)
            self._write(name)
        self._reasons = self._following(names)
        self._files = dict(names)

    def status(self) -> StatusPart:
        """Return how often an instance was held."""
        return StatusPart(holds=self.count)

    def _following(self, names: Mapping[str, str]) -> dict[str, set[str]]:
        """Return the reasons that instances have when these names come into force."""
        before = {file: name for name, file in self._files.items()}
        # What a former run held is known by name only.
        held_as = {name: before.get(file, "") if before else name for name, file in names.items()}
        return {name: set(self._reasons.get(old, ())) for name, old in held_as.items()}

    def set(self, name: str, reason: str) -> None:
        """Keep an instance in FAULT."""
        self.count += not self._reasons.get(name)
        self._reasons.setdefault(name, set()).add(reason)
        self._write(name)

    def clear(self, name: str, reason: str) -> None:
        """Remove a reason; the instance is released when no other is left."""
        self._reasons.get(name, set()).discard(reason)
        self._write(name)

    def _write(self, name: str) -> None:
        file = self._files.get(name)
        if file is None:
            return  # written when it is known which
        try:
            track.write(self._paths.hold(file), is_set=bool(self._reasons.get(name)))
        except AgentError as error:
            self._log.error("hold.failed", instance=name, error=str(error))
