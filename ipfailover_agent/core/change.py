"""What a reload would do to each address: the active configuration beside the candidate.

keepalived tells instances by name across a reload and keeps the state of those that stay. What it
does to an address follows from where the address was and where it is to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipfailover_agent.core.model import IPAddress, KeepalivedConfig, VrrpInstance


_SHOWN_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An address that changes its instance; names of instances."""

    address: IPAddress
    origin: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renumbering:
    """An address that is advertised under another virtual router id."""

    address: IPAddress
    old_id: int
    new_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The difference between two configurations, address by address, in the candidate's order.

    ``kept`` addresses have the same instance and the same id as before. An address may be both
    moved and renumbered. ``resized`` names the instances that stay and advertise another set of
    addresses: a node that has the old set and one that has the new refuse each other's adverts.
    ``needs_second_signal`` is set when an address moves from a later to an earlier instance:
    keepalived 2.2.7 loses it unless it is told in two steps (see ``steps``).
    """

    kept: tuple[IPAddress, ...] = ()
    added: tuple[IPAddress, ...] = ()
    removed: tuple[IPAddress, ...] = ()
    moved: tuple[Move, ...] = ()
    renumbered: tuple[Renumbering, ...] = ()
    resized: tuple[str, ...] = ()
    needs_second_signal: bool = False

    def lines(self) -> tuple[str, ...]:
        """Say it in words, nothing for what stays; at most ten lines of each kind."""
        kinds = (
            [f"{address} is added" for address in self.added],
            [f"{address} is removed" for address in self.removed],
            [f"{each.address} moves from {each.origin} to {each.target}" for each in self.moved],
            [
                f"{each.address} changes its virtual router id from {each.old_id} to "
                f"{each.new_id}: until every node has the new one, two may hold it"
                for each in self.renumbered
            ],
            [
                f"{name} advertises another set of addresses: until every node has it, two may "
                "hold what is in it"
                for name in self.resized
            ],
        )
        lines = tuple(line for kind in kinds for line in _some(kind))
        if self.needs_second_signal:
            lines += ("keepalived is signalled twice: in one step it would lose an address",)
        return lines


def compare(active: KeepalivedConfig, candidate: KeepalivedConfig) -> Change:
    """Return what changes for each address when ``candidate`` replaces ``active``."""
    old = _by_address(active)
    new = _by_address(candidate)
    both = [
        (address, old[address], instance) for address, instance in new.items() if address in old
    ]
    moved = [(address, was, now) for address, was, now in both if was.name != now.name]
    return Change(
        kept=tuple(
            address
            for address, was, now in both
            if was.name == now.name and was.virtual_router_id == now.virtual_router_id
        ),
        added=tuple(address for address in new if address not in old),
        removed=tuple(address for address in old if address not in new),
        moved=tuple(
            Move(address=address, origin=was.name, target=now.name) for address, was, now in moved
        ),
        renumbered=tuple(
            Renumbering(
                address=address, old_id=was.virtual_router_id, new_id=now.virtual_router_id
            )
            for address, was, now in both
            if was.virtual_router_id != now.virtual_router_id
        ),
        resized=_resized(active, candidate),
        needs_second_signal=any(now.number < was.number for _, was, now in moved),
    )


def _some(lines: list[str]) -> list[str]:
    if len(lines) <= _SHOWN_LINES:
        return lines
    return [*lines[:_SHOWN_LINES], f"... and {len(lines) - _SHOWN_LINES} more like that"]


def _by_address(config: KeepalivedConfig) -> dict[IPAddress, VrrpInstance]:
    return {held.address: each for each in config.instances for held in each.all_addresses}


def _resized(active: KeepalivedConfig, candidate: KeepalivedConfig) -> tuple[str, ...]:
    old = {each.name: _advertised(each) for each in active.instances}
    return tuple(
        each.name
        for each in candidate.instances
        if each.name in old and old[each.name] != _advertised(each)
    )


def _advertised(instance: VrrpInstance) -> frozenset[IPAddress]:
    return frozenset(each.address for each in instance.virtual_addresses)
