"""Whether this node's adverts are seen leaving, by instance. Silence alone ends no keepalived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ipfailover_agent.model import IPAddress

SILENT_INTERVALS: Final = 1.6  # without an advert leaving: then keepalived may hang
SILENT_LEAST: Final = 0.5  # seconds, likewise
FIRST: Final = 0.3  # in which a new MASTER's first one has left, if it can
_EARLIER: Final = 0.2  # by which an advert may leave before the transition is reported
_UNSEEN_LIMIT: Final = 3  # adverts counted and not seen: as many as a backup misses


class MasterLook(Struct, frozen=True, kw_only=True):
    """What a look at a MASTER showed.

    Attributes:
        is_partial: some receivers of its adverts can have got none.
        is_silent: no advert leaves at all: its keepalived may hang.
        again_at: when to look again, in monotonic seconds.
    """

    is_partial: bool
    is_silent: bool
    again_at: float


class OwnAdvertMonitor:
    """Own adverts, as the packet socket shows them. Times are monotonic, intervals in seconds.

    With unicast, an advert to one peer shows nothing about the others: each is looked at.
    """

    def __init__(self) -> None:
        self._left_at: dict[str, float] = {}  # a stall counts as an advert that left
        self._seen_at: dict[str, float] = {}
        self._reached_at: dict[tuple[str, IPAddress], float] = {}
        self._masters: dict[str, float] = {}  # since when, as far as is known
        self._sent: dict[str, tuple[int, float]] = {}  # adverts counted, and when

    def configure(self, before: Mapping[str, str]) -> None:
        """Keep what concerns the instances that stay; ``before``: their former names."""
        now = {old: name for name, old in before.items()}
        self._masters = {now[old]: at for old, at in self._masters.items() if old in now}
        self._sent = {now[old]: sent for old, sent in self._sent.items() if old in now}
        self._left_at = {now[old]: at for old, at in self._left_at.items() if old in now}
        self._seen_at = {now[old]: at for old, at in self._seen_at.items() if old in now}
        self._reached_at = {
            (now[old], to): at for (old, to), at in self._reached_at.items() if old in now
        }

    def advert_left(self, name: str, destination: IPAddress, now: float) -> None:
        """Note that an advert has left."""
        self._left_at[name] = self._seen_at[name] = self._reached_at[name, destination] = now

    def promoted(self, name: str, now: float) -> None:
        """Note that the instance is MASTER from now on."""
        self._masters[name] = now

    def left_master(self, name: str) -> None:
        """Note that the instance is no longer MASTER."""
        self._masters.pop(name, None)
        self._sent.pop(name, None)

    def gap(self, now: float) -> None:
        """Begin anew: the agent did not look for a while."""
        self._masters = dict.fromkeys(self._masters, now)
        self._left_at.update(self._masters)
        self._reached_at = dict.fromkeys(self._reached_at, now)

    def clear(self) -> None:
        """Note that keepalived is not running."""
        self._masters.clear()
        self._sent.clear()

    def masters(self) -> list[str]:
        """Return the names of the instances that should advertise."""
        return list(self._masters)

    def look(
        self, name: str, interval: float, peers: Collection[IPAddress], now: float
    ) -> MasterLook:
        """Look at a MASTER whose adverts should leave every ``interval``, for all ``peers``."""
        since = self._masters[name]
        timeout = max(SILENT_INTERVALS * interval, SILENT_LEAST)
        left_at = self._left_at.get(name, 0.0)
        reached_at = left_at
        if peers:  # the longest without an advert first
            reached_at = min(self._reached_at.get((name, each), 0.0) for each in peers)
        is_first = reached_at < since - _EARLIER
        partly_at = since + FIRST if is_first else max(since, reached_at) + timeout
        silent_at = max(since, left_at) + timeout
        moments = partly_at, silent_at, now + max(interval, SILENT_LEAST)
        again_at = min(each for each in moments if now < each)
        return MasterLook(
            is_partial=now >= partly_at, is_silent=now >= silent_at, again_at=again_at
        )

    def has_left(self, name: str, since: float) -> bool:
        """Return whether an advert of a MASTER was seen leaving since."""
        return name in self._masters and self._seen_at.get(name, 0.0) > since

    def forget_count(self, name: str) -> None:
        """Forget the count of an instance: its keepalived counts nothing now."""
        self._sent.pop(name, None)

    def counts_unseen(self, name: str, sent: int, now: float) -> bool:
        """Return whether keepalived counts adverts as ``sent`` that no socket sees leave."""
        before, since = self._sent.get(name, (sent, now))
        if self._left_at.get(name, 0.0) >= since or sent < before:
            self._sent[name] = (sent, now)
            return False
        self._sent.setdefault(name, (before, since))
        return sent - before >= _UNSEEN_LIMIT
