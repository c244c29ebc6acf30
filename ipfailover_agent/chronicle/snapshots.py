"""Hands the newest snapshot from the loop's thread to whoever asks, in any thread.

Snapshots are immutable and made by the loop's thread alone. Nothing is made while nobody asks.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.report.status import AgentStatus

FRESH: Final = 0.1  # seconds: as often as that a new one is made, however often one asks
PATIENCE: Final = 0.5  # for a loop that is busy; after that the last one has to do


class Snapshots:
    """The newest snapshot, made anew for whoever asks."""

    def __init__(self, make: Callable[[], AgentStatus]) -> None:
        self._make = make
        self._latest: tuple[AgentStatus, float] | None = None
        self._wake: Callable[[], None] | None = None
        self._thread: int | None = None
        self._made = threading.Condition()
        self.is_wanted = False

    def attach(self, wake: Callable[[], None]) -> None:
        """Take what wakes the loop of this thread."""
        self._wake, self._thread = wake, threading.get_ident()

    def detach(self) -> None:
        """The loop has ended: nobody makes a new one."""
        self._wake = None

    def make(self) -> AgentStatus:
        """Make one now; for the loop's thread."""
        made = self._make()
        self.is_wanted = False
        self._latest = (made, time.monotonic())
        with self._made:
            self._made.notify_all()
        return made

    def get(self) -> AgentStatus:
        """Return one that is at most :data:`FRESH` old, or the last one of a loop that is stuck.

        ``written_at`` says how old it is.
        """
        latest = self._latest
        if latest is not None and time.monotonic() - latest[1] < FRESH:
            return latest[0]
        wake = self._wake
        if wake is None or self._thread == threading.get_ident():
            return self.make() if latest is None or wake is not None else latest[0]
        with self._made:
            self.is_wanted = True
            wake()
            self._made.wait_for(lambda: self._latest is not latest, PATIENCE)
        return self._latest[0] if self._latest is not None else self.make()
