"""Holders, and addresses without an answer, as text: for the command ``status`` and the page."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent import terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ipfailover_agent.status.status_model import HolderStatus

UNKNOWN = "unknown, no master is heard"


class ShownHolder(Struct, frozen=True, kw_only=True):
    """One holder; ``heard`` is how many seconds ago its advert came, None for this node."""

    address: str
    is_here: bool
    priorities: tuple[int, ...]
    heard: float | None = None


class Group(Struct, frozen=True, kw_only=True):
    """Instances, by their place in the list, that have the same holders."""

    holders: tuple[ShownHolder, ...]
    members: tuple[int, ...]


def holders(found: Iterable[HolderStatus], at: str) -> tuple[ShownHolder, ...]:
    """Return the holders of an instance as they were at a moment, in ISO 8601.

    That is the moment of the snapshot: until the next one a holder has advertised, or there would
    be one that does not name it.
    """
    now = datetime.fromisoformat(at)
    return tuple(
        ShownHolder(
            address=each.address,
            is_here=each.is_here,
            priorities=(each.priority,),
            heard=None if each.heard_at is None else max(terminal.age(each.heard_at, now), 0.0),
        )
        for each in found
    )


def grouped(every: Iterable[Sequence[ShownHolder]]) -> tuple[Group, ...]:
    """Return the instances by their holders: those of this node first, the unknown ones last."""
    found: dict[object, list[tuple[int, Sequence[ShownHolder]]]] = {}
    for number, holders in enumerate(every):
        key = tuple((each.address, each.is_here) for each in holders)
        found.setdefault(key, []).append((number, holders))
    groups = [
        Group(
            holders=tuple(map(_merged, zip(*(holders for _, holders in same), strict=True))),
            members=tuple(number for number, _ in same),
        )
        for same in found.values()
    ]
    return tuple(
        sorted(
            groups,
            key=lambda group: (not group.holders, not any(each.is_here for each in group.holders)),
        )
    )


def _merged(same: Sequence[ShownHolder]) -> ShownHolder:
    heard = [each.heard for each in same if each.heard is not None]
    return ShownHolder(
        address=same[0].address,
        is_here=same[0].is_here,
        priorities=tuple(sorted({number for each in same for number in each.priorities})),
        heard=max(heard, default=None),
    )


def words(holders: Sequence[ShownHolder]) -> str:
    """Return the holder: ``10.0.0.12 (priority 250, heard 0.4 s ago)``, or "unknown"."""
    return " and ".join(map(_words, holders)) or UNKNOWN


def _words(holder: ShownHolder) -> str:
    first, last = holder.priorities[0], holder.priorities[-1]
    rank = f"priority {first}" if first == last else f"priorities {first} to {last}"
    if holder.is_here:
        return f"this node ({holder.address}, {rank})"
    heard = "" if holder.heard is None else f", heard {holder.heard:.1f} s ago"
    return f"{holder.address} ({rank}{heard})"


def silences(unanswered: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    """Yield since when no host answers for addresses, and a sentence; once for each holder.

    ``unanswered``: of each address the holder, the address itself, and since when.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for holder, address, since in unanswered:
        groups.setdefault(holder, []).append((address, since))
    if groups:
        from ipfailover_agent.conflict.answering import explain  # noqa: PLC0415 - hardly ever

        for holder, silent in groups.items():
            yield min(since for _, since in silent), explain([each for each, _ in silent], holder)
