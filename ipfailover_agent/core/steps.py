"""What keepalived must be given before a new configuration, so that it loses no address.

A reload of keepalived 2.2.7 goes through the instances in the order of the *old* file. From each
it removes the addresses that the instance no longer has, and then adds those that are new to it.
An address whose new instance comes before its old one is found to be there, and is removed a
moment later: nobody holds it, keepalived believes that it does, and no number of further reloads
mends that. (IPv6 addresses are put back after a moment, by way of BACKUP.)

So the old configuration is given once more in an order in which every address leaves its old
instance before it is due in the new one, which nobody notices. Where addresses change places in
a circle there is no such order: then some of them are taken down first.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from ipfailover_agent.core.model import Family, VirtualAddress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.core.model import IPAddress, KeepalivedConfig, VrrpInstance

_LOOPBACK = "lo"
_PLACES: dict[Family, IPAddress] = {
    Family.IPV4: IPv4Address("127.255.0.0"),
    Family.IPV6: IPv6Address("fe80::ffff:0"),
}

#: Names of the instances that an instance's new addresses come from, with these addresses.
_Origins = dict[str, dict[str, set["IPAddress"]]]


def first_step(active: KeepalivedConfig, candidate: KeepalivedConfig) -> KeepalivedConfig | None:
    """Return what keepalived has to be given first; None where ``candidate`` will do at once."""
    origins = _origins(active, candidate)
    places = {each.name: place for place, each in enumerate(active.instances)}
    if all(places[origin] < places[name] for name in origins for origin in origins[name]):
        return None
    order, parked = _order(list(places), origins)
    by_name = {each.name: each for each in active.instances}
    return replace(active, instances=tuple(_without(by_name[name], parked) for name in order))


def _origins(active: KeepalivedConfig, candidate: KeepalivedConfig) -> _Origins:
    """Return where addresses of instances that stay come from, if from another instance."""
    before = {held.address: each.name for each in active.instances for held in each.all_addresses}
    names = set(before.values())
    found: _Origins = {}
    for each in candidate.instances:
        if each.name not in names:
            continue
        for held in each.all_addresses:
            origin = before.get(held.address, each.name)
            if origin != each.name:
                found.setdefault(each.name, {}).setdefault(origin, set()).add(held.address)
    return found


def _order(
    names: list[str], origins: Mapping[str, Mapping[str, set[IPAddress]]]
) -> tuple[list[str], set[IPAddress]]:
    """Return the names so that origins come first, and the addresses that had to be parked."""
    order: list[str] = []
    parked: set[IPAddress] = set()
    left = dict.fromkeys(names)
    while left:
        name = next((each for each in left if not left.keys() & origins.get(each, {}).keys()), "")
        if not name:
            name = next(iter(left))
            for origin, addresses in origins[name].items():
                if origin in left:
                    parked |= addresses
        order.append(name)
        del left[name]
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
