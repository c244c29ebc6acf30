"""What keepalived must be given before a new configuration, so that it loses no address.

A reload of keepalived 2.2.7 goes through the instances in the order of the *old* file. From each
it removes the addresses that the instance no longer has, and then adds those that are new to it.
An address whose new instance comes before its old one is found to be there, and is removed a
moment later: no node holds it, keepalived counts it as set, and no number of further reloads
mends that.

So the old configuration is given once more in an order in which every address leaves its old
instance before it is due in the new one, which no other node notices. Where addresses change
places in a circle there is no such order: then some of them are taken down first.

An IPv6 address is always taken down first: the kernel's notice of its removal comes a moment
later, when keepalived has set it again in its new instance: that one takes it for lost, and goes
to BACKUP and back with every address it has, which is a tenth of a second without them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.model import Family, VirtualAddress
from ipfailover_agent.text import ranges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.model import IPAddress, KeepalivedConfig, VrrpInstance

_LOOPBACK = "lo"
_PLACES: dict[Family, IPAddress] = {
    Family.IPV4: IPv4Address("127.255.0.0"),
    Family.IPV6: IPv6Address("fe80::ffff:0"),
}

#: What keepalived knows an instance by; see ``VrrpInstance.identity``.
_Identity = tuple[object, ...]
#: The instances that an instance's new addresses come from, with these addresses.
_Origins = dict[_Identity, dict[_Identity, set["IPAddress"]]]


def first_step(active: KeepalivedConfig, candidate: KeepalivedConfig) -> KeepalivedConfig | None:
    """Return what keepalived has to be given first; None where ``candidate`` will do at once."""
    identities = [each.identity for each in active.instances]
    origins, told_late = _origins(active, candidate)
    order, parked = _order(identities, origins)
    parked |= told_late
    if order == identities and not parked:
        return None
    by_identity = {each.identity: each for each in active.instances}
    return replace(active, instances=tuple(_without(by_identity[each], parked) for each in order))


def describe(active: KeepalivedConfig, first: KeepalivedConfig) -> str:
    """Return a description of the first step, for a sentence."""
    left = frozenset(first.addresses)
    down = tuple(each for each in active.addresses if each not in left)
    is_in_order = [each.identity for each in active.instances] == [
        each.identity for each in first.instances
    ]
    how = [] if is_in_order else ["in another order"]
    if down:
        verb = "is" if len(down) == 1 else "are"
        how.append(f"without {ranges(down)}, which {verb} away for about a tenth of a second")
    return f"the old configuration {' and '.join(how)}"


def _origins(
    active: KeepalivedConfig, candidate: KeepalivedConfig
) -> tuple[_Origins, set[IPAddress]]:
    """Return where IPv4 addresses of instances that stay come from, if from another instance.

    And the IPv6 addresses that come from another one.
    """
    before = {address: each.identity for address, each in active.by_address.items()}
    known = set(before.values())
    found: _Origins = {}
    told_late = set()
    for each in candidate.instances:
        if each.identity not in known:
            continue
        for held in each.all_addresses:
            origin = before.get(held.address, each.identity)
            if origin == each.identity:
                continue
            if each.family is Family.IPV6:
                told_late.add(held.address)
            else:
                found.setdefault(each.identity, {}).setdefault(origin, set()).add(held.address)
    return found, told_late


def _order(
    identities: list[_Identity], origins: Mapping[_Identity, Mapping[_Identity, set[IPAddress]]]
) -> tuple[list[_Identity], set[IPAddress]]:
    """Return the instances so that origins come first, and the addresses that had to be parked."""
    order: list[_Identity] = []
    parked: set[IPAddress] = set()
    left = dict.fromkeys(identities)
    while left:
        free = (each for each in left if not left.keys() & origins.get(each, {}).keys())
        chosen = next(free, None)
        if chosen is None:
            chosen = next(iter(left))
            for origin, addresses in origins[chosen].items():
                if origin in left:
                    parked |= addresses
        order.append(chosen)
        del left[chosen]
    return order, parked


def _without(instance: VrrpInstance, parked: set[IPAddress]) -> VrrpInstance:
    """Return an instance without its parked addresses.

    keepalived ends when an instance of version 3 has no address: one that would be empty gets an
    address that means nothing, on the loopback interface, for the moment until the next step.
    """
    held = tuple(each for each in instance.virtual_addresses if each.address not in parked)
    if not held:
        place = _PLACES[instance.family] + instance.number
        held = (VirtualAddress(address=place, interface=_LOOPBACK),)
    excluded = tuple(each for each in instance.excluded_addresses if each.address not in parked)
    return replace(instance, virtual_addresses=held, excluded_addresses=excluded)
