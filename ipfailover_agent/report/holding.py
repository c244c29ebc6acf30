"""The holders of addresses as text, for the command ``status`` and for the page."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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


def holder(
    address: str, priority: int, heard_at: str | None, *, at: str, is_here: bool
) -> ShownHolder:
    """Return a holder as it was at a moment, in ISO 8601.

    That is the moment of the snapshot: until the next one the holder has advertised, or there
    would be one that does not name it.
    """
    heard = None
    if heard_at is not None:
        seconds = (datetime.fromisoformat(at) - datetime.fromisoformat(heard_at)).total_seconds()
        heard = max(seconds, 0.0)
    return ShownHolder(address=address, is_here=is_here, priorities=(priority,), heard=heard)


def grouped(every: Iterable[Sequence[ShownHolder]]) -> tuple[Group, ...]:
    """Return the instances by their holders: those of this node first, the unknown ones last."""
    members: dict[tuple[tuple[str, bool], ...], list[int]] = {}
    found: dict[tuple[tuple[str, bool], ...], list[Sequence[ShownHolder]]] = {}
    for number, holders in enumerate(every):
        key = tuple((each.address, each.is_here) for each in holders)
        members.setdefault(key, []).append(number)
        found.setdefault(key, []).append(holders)
    groups = [
        Group(
            holders=tuple(_merged(one) for one in zip(*found[key], strict=True)),
            members=tuple(members[key]),
        )
        for key in found
    ]
    return tuple(sorted(groups, key=_order))


def _order(group: Group) -> tuple[bool, bool]:
    return not group.holders, not any(each.is_here for each in group.holders)


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
