"""What a change would mean, before it is made: for each address, and for the other nodes.

``change`` names what happens on this node. This adds in how many steps, what nodes that still have
the old list make of it, and how ids could be kept.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.config import budget, groups
from ipfailover_agent.supervisor import change, steps
from ipfailover_agent.supervisor.change import Consequence
from ipfailover_agent.text import named, ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipfailover_agent.errors import Problem
    from ipfailover_agent.model import IPAddress, KeepalivedConfig, Settings
    from ipfailover_agent.supervisor.change import ConfigChange, Difference, Renumbering

PINS = "OPENSHIFT_HA_VRRP_IDS"
_NONE = Consequence.NONE
_SAFE = "drain all nodes but one before, and undrain them after"
_MOST_ALIKE = 2  # differences of one kind that are listed one by one


class Impact(Struct, frozen=True, kw_only=True):
    """The change from what is active to a candidate, and what it means elsewhere.

    Attributes:
        change: address by address.
        warnings: what other nodes would notice, and what to do about it; sentences.
        pins: a value for OPENSHIFT_HA_VRRP_IDS with which no address changes its id, empty where
            none does, or where ids cannot be kept.
        first_step: what keepalived is given before the candidate, empty where it needs nothing.
    """

    change: ConfigChange
    warnings: tuple[str, ...] = ()
    pins: str = ""
    first_step: str = ""


def assess(active: KeepalivedConfig, candidate: KeepalivedConfig, settings: Settings) -> Impact:
    """Return what it means to replace ``active`` by ``candidate``, the plan of ``settings``."""
    found = change.compare(active, candidate)
    pins = pins_for(active, settings) if found.renumbered else ""
    nobody = budget.compute(settings, candidate).silent_death_held
    return Impact(
        change=found,
        warnings=tuple(_warnings(active, candidate, found, pins=pins, nobody=nobody)),
        pins=pins,
        first_step=steps.describe(active, found.first_step) if found.first_step else "",
    )


def pins_for(active: KeepalivedConfig, settings: Settings) -> str:
    """Return the value of OPENSHIFT_HA_VRRP_IDS that keeps the ids of ``active``.

    It names every address that is in the active list and in the one of ``settings``, in the
    latter's order. Empty where ids cannot be pinned: with groups, or where an id that is in use is
    excluded now.
    """
    old = active.by_address
    pinned = {
        each: old[each].virtual_router_id for each in settings.virtual_addresses if each in old
    }
    wanted_ids = set(pinned.values())
    is_taken = wanted_ids.intersection(settings.excluded_virtual_router_ids)
    if settings.address_groups or len(wanted_ids) < len(pinned) or is_taken:
        return ""
    problems: list[Problem] = []
    wanted = replace(settings, pinned_virtual_router_ids=tuple(pinned.items()))
    grouped = groups.build(wanted.virtual_addresses, wanted.address_groups)
    groups.virtual_router_ids(wanted, grouped, problems)
    return (
        "" if problems else ",".join(f"{address}={number}" for address, number in pinned.items())
    )


def shifts(renumbered: Sequence[Renumbering]) -> tuple[tuple[Renumbering, ...], ...]:
    """Return the addresses that get another id, those together that shift by the same number."""
    runs = itertools.groupby(renumbered, key=lambda each: each.new_id - each.old_id)
    return tuple(tuple(run) for _, run in runs)


def describe_shift(run: Sequence[Renumbering]) -> str:
    """Return which ids a run of addresses had and gets, as text."""
    first, last = run[0], run[-1]
    if first is last:
        return f"the id of {first.address} changes from {first.old_id} to {first.new_id}"
    distance = abs(first.new_id - first.old_id)
    shown = ranges(each.address for each in run)
    return (
        f"the ids of {shown} shift by {'one' if distance == 1 else distance}, "
        f"from {first.old_id}-{last.old_id} to {first.new_id}-{last.new_id}"
    )


def summed(differences: Iterable[Difference]) -> tuple[str, ...]:
    """Return differences as text, those in one number of many instances together."""
    shown: dict[tuple[str, Consequence], list[Difference]] = {}
    for each in differences:
        shown.setdefault((each.what.partition(" from ")[0], each.consequence), []).append(each)
    lines: list[str] = []
    for (what, consequence), alike in shown.items():
        if len(alike) <= _MOST_ALIKE:
            lines += map(str, alike)
        else:
            count = sum(len(each.instances) for each in alike)
            lines.append(f"{what} in {count} instances{consequence.value}")
    return tuple(lines)


def _warnings(
    active: KeepalivedConfig,
    candidate: KeepalivedConfig,
    found: ConfigChange,
    *,
    pins: str,
    nobody: float,
) -> Iterable[str]:
    """Yield the effects on other nodes; ``nobody`` (seconds): an election, a successor held."""
    lost = f"on no node for up to {nobody:.1f} s at a time"
    advice = f"append at the end, or pin ids, or {_SAFE}" if pins else _SAFE
    for run in shifts(found.renumbered):
        them, may = ("it", "it may") if len(run) == 1 else ("them", "each may")
        yield (
            f"{describe_shift(run)}: nodes that still run the old list will contest {them}, and "
            f"{may} be {lost}; {advice}"
        )
    if disputed := found.disputed:
        sets = "another set" if len(disputed) == 1 else "other sets"
        verb = "advertises" if len(disputed) == 1 else "advertise"
        yield (
            f"{named(disputed)} {verb} {sets} of addresses: peers reject each other's "
            "adverts until all have the new list, and two may hold what is in it until one "
            "yields; change all nodes quickly after one another"
        )
    if crossing := _crossing(active, candidate, found):
        it, its = ("it", "its") if len(crossing) == 1 else ("them", "their")
        verb = "moves" if len(crossing) == 1 else "move"
        yield (
            f"{ranges(crossing)} {verb} to another group: where that one has another holder, "
            f"no node holds {it} from the reload of {its} holder until that of the other, and "
            f"reloaded the other way round the whole group yields and is {lost}; {_SAFE}, or "
            f"reload {its} holder first and the other right after it"
        )
    yield from summed(each for each in found.differences if each.consequence is not _NONE)


def _crossing(
    active: KeepalivedConfig, candidate: KeepalivedConfig, found: ConfigChange
) -> tuple[IPAddress, ...]:
    """Return the addresses that leave an instance or join one that holds others as well."""
    groups = {each.name for each in active.instances if len(each.all_addresses) > 1}
    joined = {each.name for each in candidate.instances if len(each.all_addresses) > 1}
    return tuple(
        each.address for each in found.moved if each.origin in groups or each.target in joined
    )
