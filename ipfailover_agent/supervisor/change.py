"""What a reload would do to each address: the active configuration beside the candidate.

keepalived distinguishes instances by id and interface across a reload and keeps the state of those
that stay (see ``VrrpInstance.identity``). What it does to an address follows from where the
address was and where it is to be; what the other nodes do, from the content of the adverts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.supervisor import advert_diff, steps

if TYPE_CHECKING:
    from ipfailover_agent.model import Family, IPAddress, KeepalivedConfig, VrrpInstance
    from ipfailover_agent.supervisor.advert_diff import Difference

_SHOWN_LINES = 10


class Move(Struct, frozen=True, kw_only=True):
    """An address that changes its instance and its id; names of instances."""

    address: IPAddress
    origin: str
    target: str


class Renumbering(Struct, frozen=True, kw_only=True):
    """An address that is advertised under another virtual router id."""

    address: IPAddress
    old_id: int
    new_id: int


class ConfigChange(Struct, frozen=True, kw_only=True):
    """The difference between two configurations, address by address, in the candidate's order.

    ``kept`` addresses have the same id as before. An address may be both moved and renumbered.
    ``renamed`` are the old and the new name of instances that stay. ``resized`` names the
    instances whose id advertises another set of addresses: a node that has the old set and one
    that has the new refuse each other's adverts. ``differences`` are in all that the other nodes
    receive. ``needs_second_signal`` is set when an address would be lost in one step (see
    ``steps``).
    """

    kept: tuple[IPAddress, ...] = ()
    added: tuple[IPAddress, ...] = ()
    removed: tuple[IPAddress, ...] = ()
    moved: tuple[Move, ...] = ()
    renumbered: tuple[Renumbering, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    resized: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    needs_second_signal: bool = False

    def lines(self) -> tuple[str, ...]:
        """Return the change as text, at most ten lines of each kind.

        Empty only where every address stays as it is and the other nodes receive the same adverts.
        """
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
            [f"{old} is called {new} now" for old, new in self.renamed],
            [str(each) for each in self.differences],
        )
        lines = tuple(line for kind in kinds for line in _some(kind))
        if self.needs_second_signal:
            lines += ("keepalived is signalled twice: in one step it would lose an address",)
        return lines


def compare(active: KeepalivedConfig, candidate: KeepalivedConfig) -> ConfigChange:
    """Return what changes for each address when ``candidate`` replaces ``active``."""
    old, new = active.by_address, candidate.by_address
    both = [
        (address, old[address], instance) for address, instance in new.items() if address in old
    ]
    renumbered = [each for each in both if each[1].virtual_router_id != each[2].virtual_router_id]
    pairs = {(was.number, now.number): (was, now) for _, was, now in both}.values()
    return ConfigChange(
        kept=tuple(
            address for address, was, now in both if was.virtual_router_id == now.virtual_router_id
        ),
        added=tuple(address for address in new if address not in old),
        removed=tuple(address for address in old if address not in new),
        moved=tuple(
            Move(address=address, origin=was.name, target=now.name)
            for address, was, now in renumbered
            if was.name != now.name
        ),
        renumbered=tuple(
            Renumbering(
                address=address, old_id=was.virtual_router_id, new_id=now.virtual_router_id
            )
            for address, was, now in renumbered
        ),
        renamed=tuple(
            (was.name, now.name)
            for was, now in pairs
            if was.name != now.name and was.virtual_router_id == now.virtual_router_id
        ),
        resized=_resized(active, candidate),
        differences=advert_diff.differences(active, candidate, pairs),
        needs_second_signal=steps.first_step(active, candidate) is not None,
    )


def _some(lines: list[str]) -> list[str]:
    if len(lines) <= _SHOWN_LINES:
        return lines
    return [*lines[:_SHOWN_LINES], f"... and {len(lines) - _SHOWN_LINES} more like that"]


def _resized(active: KeepalivedConfig, candidate: KeepalivedConfig) -> tuple[str, ...]:
    old, new = advertised(active), advertised(candidate)
    return tuple(
        instance.name
        for heard_as, (instance, addresses) in new.items()
        if heard_as in old and old[heard_as][1] != addresses
    )


def advertised(
    config: KeepalivedConfig,
) -> dict[tuple[int, Family], tuple[VrrpInstance, frozenset[IPAddress]]]:
    """Return the instances and what they advertise, by what other nodes distinguish them by."""
    return {
        (each.virtual_router_id, each.family): (
            each,
            frozenset(held.address for held in each.virtual_addresses),
        )
        for each in config.instances
    }
