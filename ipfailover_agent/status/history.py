"""Keeps what happened: in memory for the status, in a bounded file for later readers.

Every event of the log passes here, whatever the log's level. A file that cannot be written costs
an entry and nothing else.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ipfailover_agent.errors import AgentError
from ipfailover_agent.status import event_entries
from ipfailover_agent.status.journal import Journal, read_lines
from ipfailover_agent.status.status_model import EventStatus, TransitionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.status.event_entries import Entry

LIMIT: Final = 500
_TRANSITION: Final = "vrrp.transition"
_TRANSITIONS: Final = 5  # of an instance, in the status
_POINTS: Final = 32  # of its time line
_EVENTS: Final = 50  # in the status
_HOUR: Final = 3600.0
_UNWRITTEN: Final = 4 * LIMIT  # while the file cannot be written


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
        for each in event_entries.from_lines(read_lines(self._path)):
            self._remember(each)

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
        if found.event == _TRANSITION:
            known = self._transitions.setdefault(
                found.instance or "", deque(maxlen=_POINTS + _TRANSITIONS)
            )
            known.append(
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
        else:
            self._events.append(
                EventStatus(
                    at=found.at,
                    event=found.event,
                    kind=found.kind,
                    cause=found.cause,
                    instance=found.instance,
                )
            )

    @property
    def has_unwritten(self) -> bool:
        """Return whether :meth:`write` has something to do."""
        return bool(self._unwritten)

    def write(self) -> None:
        """Append what is new to the file, as well as it goes."""
        lines, self._unwritten = list(self._unwritten), deque(maxlen=_UNWRITTEN)
        try:
            self._journal.append(lines)
        except AgentError:  # a full disk; the log has the event all the same
            return

    # --- the contents, for others ---------------------------------------------------------------

    def count(self, event: str) -> int:
        """Return how often an event of the log has happened since the agent started."""
        return self._counts[event]

    def keep(self, names: Iterable[str]) -> None:
        """Forget the transitions of every other instance."""
        wanted = frozenset(names)
        for name in self._transitions.keys() - wanted:
            del self._transitions[name]
        for name in self._causes.keys() - wanted:
            del self._causes[name]

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


def utc(seconds: float) -> str:
    """Return a time in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def utc_now() -> str:
    """Return the time in ISO 8601."""
    return utc(time.time())
