"""Who held which address when: pure data, all times seconds of ``time.monotonic``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From ``time`` on ``node`` has ``address`` on an interface (``held``), or no longer."""

    time: float
    node: str
    address: str
    held: bool


class Timeline:
    """The changes that were seen, in order of time."""

    def __init__(self, changes: Sequence[Change] = ()) -> None:
        self._changes: dict[str, list[Change]] = {}
        for each in changes:
            self.add(each)

    def add(self, change: Change) -> None:
        """Take note of a change that is later than all others."""
        self._changes.setdefault(change.address, []).append(change)

    def addresses(self) -> list[str]:
        """Return every address that was ever seen."""
        return sorted(self._changes)

    def changes(self, address: str) -> tuple[Change, ...]:
        """Return all changes of one address."""
        return tuple(self._changes.get(address, ()))

    def holders(self, address: str, at: float | None = None) -> list[str]:
        """Return the nodes that hold an address now, or held it at a time, sorted."""
        holding: set[str] = set()
        for each in self.changes(address):
            if at is not None and each.time > at:
                break
            (holding.add if each.held else holding.discard)(each.node)
        return sorted(holding)

    def seconds(
        self,
        address: str,
        counts: Callable[[int], bool],
        *,
        since: float,
        until: float,
        among: Collection[str] | None = None,
    ) -> float:
        """Return for how long the number of holders satisfied ``counts`` in a span of time.

        Only nodes ``among`` count, where given.
        """
        holding: set[str] = set()
        total, reached = 0.0, since
        for each in self.changes(address):
            moment = min(max(each.time, since), until)
            if counts(len(holding)):
                total += moment - reached
            reached = moment
            if among is None or each.node in among:
                (holding.add if each.held else holding.discard)(each.node)
        return total + (until - reached if counts(len(holding)) else 0.0)
