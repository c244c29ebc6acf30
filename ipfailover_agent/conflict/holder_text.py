"""Holders, and addresses without an answer, as text: for the command ``status`` and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent import terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from ipfailover_agent.status.status_model import HolderStatus

UNKNOWN = "unknown, no master is heard"


class Group(Struct, frozen=True, kw_only=True):
    """Instances, by their place in the list, that have the same holders.

    Each of the ``holders`` is there as every one of the instances has it.
    """

    holders: tuple[Sequence[HolderStatus], ...]
    members: tuple[int, ...]


def grouped(every: Iterable[Sequence[HolderStatus]]) -> tuple[Group, ...]:
    """Return the instances by their holders: those of this node first, the unknown ones last."""
    found: dict[object, list[tuple[int, Sequence[HolderStatus]]]] = {}
    for number, holders in enumerate(every):
        key = tuple((each.address, each.is_here) for each in holders)
        found.setdefault(key, []).append((number, holders))
    groups = [
        Group(
            holders=tuple(zip(*(holders for _, holders in same), strict=True)),
            members=tuple(number for number, _ in same),
        )
        for same in found.values()
    ]
    return tuple(sorted(groups, key=_order))


def _order(group: Group) -> tuple[bool, bool]:
    return not group.holders, not any(same[0].is_here for same in group.holders)


def words(holders: Iterable[Sequence[HolderStatus]], now: datetime) -> str:
    """Return the holder: ``10.0.0.12 (priority 250, heard 0.4 s ago)``, or "unknown".

    ``holders`` as in :class:`Group`; ``now`` is the moment of the snapshot: until the next one a
    holder has advertised, or there would be one that does not name it.
    """
    return " and ".join(_words(same, now) for same in holders) or UNKNOWN


def _words(same: Sequence[HolderStatus], now: datetime) -> str:
    priorities = sorted(each.priority for each in same)
    first, last = priorities[0], priorities[-1]
    rank = f"priority {first}" if first == last else f"priorities {first} to {last}"
    if same[0].is_here:
        return f"this node ({same[0].address}, {rank})"
    ages = [terminal.age(each.heard_at, now) for each in same if each.heard_at is not None]
    heard = f", heard {max(*ages, 0.0):.1f} s ago" if ages else ""
    return f"{same[0].address} ({rank}{heard})"


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
