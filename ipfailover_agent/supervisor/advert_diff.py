"""What a reload changes in the adverts of instances that go on serving the same addresses.

Two nodes that do not understand each other's adverts both hold the address, and each of them
reports success: the operator that reloads one node has to know it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.text import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfailover_agent.model import IPAddress, KeepalivedConfig, VrrpInstance

    #: An instance before and after the reload.
    Pair = tuple[VrrpInstance, VrrpInstance]

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


def differences(
    active: KeepalivedConfig, candidate: KeepalivedConfig, pairs: Iterable[Pair]
) -> tuple[Difference, ...]:
    """Return what differs, equal things of many instances together.

    Args:
        active: the configuration in force.
        candidate: the one that replaces it.
        pairs: the instances that serve an address in both.
    """
    named_peers = frozenset(active.named_peers + candidate.named_peers)
    found: dict[tuple[str, Consequence], list[str]] = {}
    total = 0
    for was, now in pairs:
        total += 1
        for what, consequence in _of_pair(was, now, named_peers):
            found.setdefault((what, consequence), []).append(now.name)
    return (
        *(
            Difference(
                what=what,
                consequence=consequence,
                instances=tuple(names) if len(names) < total else (),
            )
            for (what, consequence), names in found.items()
        ),
        *_announcements(active.garp.refresh, candidate.garp.refresh),
    )


def _of_pair(
    was: VrrpInstance, now: VrrpInstance, named_peers: frozenset[IPAddress]
) -> Iterator[tuple[str, Consequence]]:
    if was.interface != now.interface:
        what = f"the interface changes from {was.interface} to {now.interface}"
        yield what, Consequence.NETWORK
    else:
        yield from _labels(was, now)
    yield from _paths(was, now, named_peers)
    yield from _contents(was, now)
    if was.identity != now.identity and was.virtual_router_id == now.virtual_router_id:
        yield "keepalived starts anew", Consequence.GAP


def _paths(
    was: VrrpInstance, now: VrrpInstance, named_peers: frozenset[IPAddress]
) -> Iterator[tuple[str, Consequence]]:
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


def _contents(was: VrrpInstance, now: VrrpInstance) -> Iterator[tuple[str, Consequence]]:
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


def _labels(was: VrrpInstance, now: VrrpInstance) -> Iterator[tuple[str, Consequence]]:
    old = {each.address: each.label for each in was.all_addresses}
    changes = {
        (old[each.address], each.label): None
        for each in now.all_addresses
        if each.address in old and old[each.address] != each.label
    }
    for before, after in changes:
        what = f"the address label changes from {before or 'none'} to {after or 'none'}"
        yield what, Consequence.GAP


def _announcements(before: int, after: int) -> Iterator[Difference]:
    if before == after:
        return
    how = f"every {after} s" if after else "only when an address is taken over"
    yield Difference(what=f"addresses are announced {how}", consequence=Consequence.NONE)
