"""What a reload would do to each address: the active configuration beside the candidate.

keepalived distinguishes instances by id and interface across a reload and keeps the state of those
that stay (see ``VrrpInstance.identity``). What it does to an address follows from where the
address was and where it is to be; what the other nodes do, from the content of the adverts. Two
nodes that do not understand each other's adverts both hold the address, and each of them reports
success: the operator that reloads one node has to know it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.supervisor import steps
from ipfailover_agent.text import named

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ipfailover_agent.model import IPAddress, KeepalivedConfig, VrrpInstance

    #: What adverts say otherwise, and what follows from it.
    Found = Iterator[tuple[str, "Consequence"]]

_SHOWN_LINES = 10
_V2 = 2


class Consequence(enum.Enum):
    """What follows from a difference, as text; NONE where the difference itself has it."""

    SPLIT = ": until every node has it, two nodes may hold each address"
    NAMES = ": the other nodes read the same names and follow by themselves"
    NETWORK = ": nodes that are not reached there may hold each address too"
    HOLDER = ": another node may become the holder"
    GAP = ": each address is taken off and set anew"
    NONE = ""


class Difference(Struct, frozen=True, kw_only=True):
    """One thing that differs, in the instances of these (new) names, empty where it is in all."""

    what: str
    consequence: Consequence
    instances: tuple[str, ...] = ()

    def __str__(self) -> str:
        scope = f" in {named(self.instances)}" if self.instances else ""
        return f"{self.what}{scope}{self.consequence.value}"


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
    that has the new refuse each other's adverts. ``disputed`` are those whose sets have an address
    in common: otherwise such nodes serve different addresses, and refuse adverts that do not
    concern them. ``differences`` are in all that the other nodes receive. ``first_step`` is what
    keepalived is given before the candidate, where an address would be lost in one step (see
    ``steps``).
    """

    kept: tuple[IPAddress, ...] = ()
    added: tuple[IPAddress, ...] = ()
    removed: tuple[IPAddress, ...] = ()
    moved: tuple[Move, ...] = ()
    renumbered: tuple[Renumbering, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    resized: tuple[str, ...] = ()
    disputed: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    first_step: KeepalivedConfig | None = None

    @property
    def signals(self) -> int:
        """Return how many SIGHUPs apply it to a running keepalived."""
        return 1 if self.first_step is None else 2

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
        if self.first_step is not None:
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
    before, after = _advertised(active), _advertised(candidate)
    resized = [
        (instance.name, bool(before[heard_as][1] & addresses))
        for heard_as, (instance, addresses) in after.items()
        if heard_as in before and before[heard_as][1] != addresses
    ]
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
        resized=tuple(name for name, _ in resized),
        disputed=tuple(name for name, is_disputed in resized if is_disputed),
        differences=_differences(active, candidate, pairs),
        first_step=steps.first_step(active, candidate),
    )


def _some(lines: list[str]) -> list[str]:
    if len(lines) <= _SHOWN_LINES:
        return lines
    return [*lines[:_SHOWN_LINES], f"... and {len(lines) - _SHOWN_LINES} more like that"]


def _advertised(
    config: KeepalivedConfig,
) -> dict[tuple[object, ...], tuple[VrrpInstance, frozenset[IPAddress]]]:
    """Return the instances and what they advertise, by what other nodes distinguish them by."""
    return {
        (each.virtual_router_id, each.family): (
            each,
            frozenset(held.address for held in each.virtual_addresses),
        )
        for each in config.instances
    }


# --- what adverts of instances that go on serving the same addresses say otherwise --------------


def _differences(
    active: KeepalivedConfig,
    candidate: KeepalivedConfig,
    pairs: Collection[tuple[VrrpInstance, VrrpInstance]],
) -> tuple[Difference, ...]:
    """Return what differs in ``pairs`` before and after, equal things of many together."""
    named_peers = frozenset(active.named_peers + candidate.named_peers)
    found: dict[tuple[str, Consequence], list[str]] = {}
    for was, now in pairs:
        for what, consequence in _of_pair(was, now, named_peers):
            found.setdefault((what, consequence), []).append(now.name)
    if active.garp.refresh != (after := candidate.garp.refresh):
        how = f"every {after} s" if after else "only when an address is taken over"
        found[f"addresses are announced {how}", Consequence.NONE] = []
    return tuple(
        Difference(
            what=what,
            consequence=consequence,
            instances=tuple(names) if len(names) < len(pairs) else (),
        )
        for (what, consequence), names in found.items()
    )


def _of_pair(was: VrrpInstance, now: VrrpInstance, named_peers: frozenset[IPAddress]) -> Found:
    if was.interface != now.interface:
        what = f"the interface changes from {was.interface} to {now.interface}"
        yield what, Consequence.NETWORK
    else:
        yield from _labels(was, now)
    yield from _paths(was, now, named_peers)
    yield from _contents(was, now)
    if was.identity != now.identity and was.virtual_router_id == now.virtual_router_id:
        yield "keepalived starts anew", Consequence.GAP


def _paths(was: VrrpInstance, now: VrrpInstance, named_peers: frozenset[IPAddress]) -> Found:
    """Yield from where and to which nodes adverts are sent otherwise."""
    if bool(was.unicast_peers) != bool(now.unicast_peers):
        both = ("unicast", "multicast") if was.unicast_peers else ("multicast", "unicast")
        yield f"adverts change from {both[0]} to {both[1]}", Consequence.SPLIT
        return
    old, new = _others(was), _others(now)
    if old != new:
        text = ", ".join(filter(None, (_listed(new - old, "with"), _listed(old - new, "without"))))
        follows = Consequence.NAMES if old ^ new <= named_peers else Consequence.SPLIT
        yield f"the unicast peers change ({text})", follows
    before = was.unicast_source or was.multicast_source
    after = now.unicast_source or now.multicast_source
    if before != after:
        usual = "the interface's own address"
        what = f"the source of adverts changes from {before or usual} to {after or usual}"
        yield what, Consequence.NONE


def _others(instance: VrrpInstance) -> frozenset[IPAddress]:
    """Return the peers, without the node itself, which stands in where there is no other."""
    return frozenset(() if instance.is_alone else instance.unicast_peers)


def _listed(addresses: frozenset[IPAddress], word: str) -> str:
    return f"{word} {', '.join(map(str, sorted(addresses, key=int)))}" if addresses else ""


def _contents(was: VrrpInstance, now: VrrpInstance) -> Found:
    """Yield what adverts say otherwise."""
    before, after = was.advertisement, now.advertisement
    if before.version != after.version:
        what = f"the VRRP version changes from {before.version} to {after.version}"
        yield what, Consequence.SPLIT
    elif was.password != now.password:
        what = "the password changes (the first 8 bytes of OPENSHIFT_HA_CONFIG_NAME)"
        yield what, Consequence.SPLIT
    if before.interval != after.interval:
        # Version 3 sends its interval to the others, and they follow (RFC 5798, section 6.1).
        split = _V2 in {before.version, after.version}
        yield (
            f"the advert interval changes from {before.interval:g} s to {after.interval:g} s",
            Consequence.SPLIT if split else Consequence.NONE,
        )
    # Under another id it is an election of its own, and the id's change is reported already.
    if was.priority != now.priority and was.virtual_router_id == now.virtual_router_id:
        what = f"the priority changes from {was.priority} to {now.priority}"
        yield what, Consequence.HOLDER


def _labels(was: VrrpInstance, now: VrrpInstance) -> Found:
    old = {each.address: each.label for each in was.all_addresses}
    changes = {
        (old[each.address], each.label): None
        for each in now.all_addresses
        if each.address in old and old[each.address] != each.label
    }
    for before, after in changes:
        what = f"the address label changes from {before or 'none'} to {after or 'none'}"
        yield what, Consequence.GAP
