"""Keeps what happened: in memory for the status, in a bounded file for later readers.

Every event of the log passes here, whatever the log's level. A file that cannot be written costs
an entry and nothing else.
"""

# pathlib costs start-up time and has no descriptors.

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import convert

from ipfailover_agent.errors import AgentError, SystemRefusedError
from ipfailover_agent.linux import files
from ipfailover_agent.status import event_entries
from ipfailover_agent.status.status_model import EventStatus, TransitionStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfailover_agent.status.event_entries import Entry

LIMIT: Final = 500
_TRANSITION: Final = "vrrp.transition"
_TRANSITIONS: Final = 5  # of an instance, in the status
_POINTS: Final = 32  # of its time line
_EVENTS: Final = 50  # in the status
_HOUR: Final = 3600.0
_UNWRITTEN: Final = 4 * LIMIT  # while the file cannot be written
_LONGEST: Final = 1 << 22  # bytes, the last ones, that are read of a file that was made longer


class History:
    """What happened, newest last."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._journal = Journal(path, LIMIT)
        self._unwritten: deque[str] = deque(maxlen=_UNWRITTEN)
        self._events: deque[EventStatus] = deque(maxlen=_EVENTS)
        self._transitions: dict[str, deque[TransitionStatus]] = {}
        self._counts: Counter[str] = Counter()
        self._causes: dict[str, Counter[tuple[str, str]]] = {}

    def load(self) -> None:
        """Read what an earlier agent left."""
        for line in read_lines(self._path):
            if (found := event_entries.from_line(line)) is not None:
                self._remember(found)

    def record(self, event: str, **details: object) -> None:
        """Note an event of the log, or one that is only part of another one there."""
        self._counts[event] += 1
        found = event_entries.entry(utc(time.time()), event, details)
        if found is None:
            return
        self._remember(found)
        self._unwritten.append(event_entries.to_line(found))
        if found.event == _TRANSITION and found.instance is not None:
            counted = self._causes.setdefault(found.instance, Counter())
            counted[found.state or "", found.kind] += 1

    def _remember(self, found: Entry) -> None:
        if found.event != _TRANSITION:
            self._events.append(convert(found, EventStatus, from_attributes=True))
            return
        kept = deque[TransitionStatus](maxlen=_POINTS + _TRANSITIONS)
        self._transitions.setdefault(found.instance or "", kept).append(
            TransitionStatus(
                at=found.at,
                previous=found.previous or "",
                state=found.state or "",
                kind=found.kind,
                cause=found.cause,
                priority=found.priority or 0,
                lasted=found.lasted,
            )
        )

    @property
    def has_unwritten(self) -> bool:
        """Return whether :meth:`write` has something to do."""
        return bool(self._unwritten)

    def write(self) -> None:
        """Append what is new to the file, as well as it goes."""
        lines, self._unwritten = list(self._unwritten), deque(maxlen=_UNWRITTEN)
        with contextlib.suppress(AgentError):  # a full disk; the log has the event all the same
            self._journal.append(lines)

    # --- the contents, for others ---------------------------------------------------------------

    def count(self, event: str) -> int:
        """Return how often an event of the log has happened since the agent started."""
        return self._counts[event]

    def keep(self, names: set[str]) -> None:
        """Forget the transitions of every other instance."""
        for name in (self._transitions.keys() | self._causes.keys()) - names:
            self._transitions.pop(name, None)
            self._causes.pop(name, None)

    def events(self, now: float) -> tuple[EventStatus, ...]:
        """Return what happened within the last hour before ``now`` (UTC seconds)."""
        since = utc(now - _HOUR)
        return tuple(each for each in self._events if each.at >= since)  # both as ``utc`` writes

    def transitions(self, name: str) -> tuple[TransitionStatus, ...]:
        """Return the last transitions of an instance."""
        return tuple(self._transitions.get(name, ()))[-_TRANSITIONS:]

    def timeline(self, name: str, now: float) -> tuple[tuple[str, str], ...]:
        """Return in which states an instance was and since when, for the hour before ``now``."""
        since = utc(now - _HOUR)
        points = [(each.at, each.state) for each in self._transitions.get(name, ())]
        before = sum(at < since for at, _ in points)
        return tuple(points[max(before - 1, 0) :][-_POINTS:])

    def causes(self, name: str) -> tuple[tuple[str, str, int], ...]:
        """Return how many transitions of an instance led to each state, by kind of cause."""
        counted = self._causes.get(name, Counter())
        return tuple((state, kind, number) for (state, kind), number in counted.items())


class Journal:
    """A file of lines that outlives the process: the newest ``limit``, at most twice as many.

    Lines are appended; now and then the file is replaced by its newest part. A line that was torn
    by a full disk or a crash ends where the next append begins.
    """

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


def utc(seconds: float) -> str:
    """Return a time in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
