"""What the loop and the HTTP thread leave for each other.

Each attribute has one writer, holds an immutable value and is replaced as a whole, which CPython
does at once: neither thread needs a lock, and neither waits for the other.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from ipfailover_agent.status.status_model import AgentStatus, StatusPart


class StatusView(Struct, frozen=True, kw_only=True):
    """This node, looked at because of a request.

    Attributes:
        at: when, in monotonic seconds.
        status: the agent's snapshot of that moment.
        part: what all services showed for it.
        check_name: of the check, whether keepalived runs it or the agent; empty for none.
    """

    at: float
    status: AgentStatus
    part: StatusPart
    check_name: str = ""


class Listening(Struct, frozen=True, kw_only=True):
    """Whether the HTTP thread listens, and why not. ``failure``: a bug that it met."""

    active: bool = False
    reason: str = ""
    failure: str = ""


class Exchange:
    """Shared by two threads."""

    def __init__(self) -> None:
        self.beat = time.monotonic()  # by the loop
        self.name: str | None = None  # likewise: the OPENSHIFT_HA_CONFIG_NAME in force
        self.look: StatusView | None = None  # likewise
        self.wanted_at = 0.0  # by the thread: a look that is newer than this is wanted
        self.listening = Listening()  # likewise
        self.is_closing = False  # by the loop
        self.to_loop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self.to_thread = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            os.close(self.to_loop)
            raise

    def close(self) -> None:
        """Close what the threads wake each other with."""
        os.close(self.to_loop)
        os.close(self.to_thread)


def wake(descriptor: int) -> None:
    """Wake the thread that waits for it; never blocks."""
    with contextlib.suppress(BlockingIOError):
        os.eventfd_write(descriptor, 1)


def drain_wakeups(descriptor: int) -> None:
    """Take note of having been woken."""
    with contextlib.suppress(BlockingIOError):
        os.eventfd_read(descriptor)
