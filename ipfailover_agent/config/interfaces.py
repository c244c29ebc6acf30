"""Which interface the virtual addresses go on."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.config import checks, ownership
from ipfailover_agent.errors import HostNotReadyError, Problem
from ipfailover_agent.model import Family, HostScope, family_of
from ipfailover_agent.text import taken_by

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipfailover_agent.model import HostFacts, Interface, IPAddress, Settings

VARIABLE = "OPENSHIFT_HA_NETWORK_INTERFACE"
_OPEN_VSWITCH = "ovs-system"  # what all ports of all its bridges are ports of
_OWN_PORT = (
    "the bridge's own interface, which ovs-vsctl port-to-br prints (br-ex with OVN-Kubernetes)"
)
_TRIED_BY_NAME = ("enp0s3", "enp0s8", "eth1", "ens3")  # the old image's list, in its order


class Choice(Struct, frozen=True, kw_only=True):
    """The interface, what the operator should hear about it, and why the node is not ready."""

    interface: Interface
    reports: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


def scope(settings: Settings, resolved: Collection[IPAddress] = ()) -> HostScope:
    """Return what has to be known of the node to plan for these settings.

    ``resolved``: what the names of peers stand for, as far as that is known.
    """
    sources = (settings.unicast_source, settings.multicast_source)
    named = (*(each for each in sources if each), *checks.asked_nodes(settings))
    return HostScope(
        interfaces=(*settings.interfaces, *_TRIED_BY_NAME),
        virtual=settings.virtual_addresses,
        nodes=(*settings.unicast_peers, *resolved, *named),
        passed_by=ownership.NOT_A_NETWORK,
    )


def choose(settings: Settings, facts: HostFacts) -> Choice:
    """Choose the VRRP interface.

    Without one of those that are named, the old order is fallen back to where that serves the
    addresses on their own network.

    Raises:
        HostNotReadyError: there is none yet.
    """
    named = _first_free(settings.interfaces, facts)
    if named is not None:
        return Choice(interface=named)
    found = _first_free((*_TRIED_BY_NAME, *_routed(facts)), facts)
    missing = _no_interface(settings, facts)
    if found is None or (settings.interfaces and not _all_on_link(settings, found, facts)):
        raise HostNotReadyError(missing)
    if settings.interfaces:
        why = f"{found.name} is used instead, because every address belongs to its network"
        text = f"{missing}; {why}"
        return Choice(interface=found, reports=(text,), degraded=(text,))
    routed = _first_free(_routed(facts), facts)
    if routed is None or routed.name == found.name:
        return Choice(interface=found)
    report = (
        f"{VARIABLE} is not set: {found.name} is used because its name comes first, but the "
        f"default route leaves through {routed.name}; set {VARIABLE} to the one you mean"
    )
    return Choice(interface=found, reports=(report,))


def _no_interface(settings: Settings, facts: HostFacts) -> Problem:
    """Return why none of the interfaces that are named, or would be found, will do."""
    wanted = settings.interfaces or (*_TRIED_BY_NAME, *_routed(facts))
    found = dict.fromkeys(each for each in map(facts.interface, wanted) if each is not None)
    if found:
        reason = "; ".join(taken_by(each.name, each.port_of) for each in found)
        masters = dict.fromkeys(each.port_of for each in found)
        free = (_OWN_PORT if each == _OPEN_VSWITCH else each for each in masters)
        instead = f"name {' or '.join(free)}"
    elif settings.interfaces:
        fit = (each for each in facts.interfaces if ownership.holds_addresses(each))
        present = ", ".join(each.name for each in fit if not each.port_of)
        reason = "no such interface on this node"
        instead = f"name one of: {present or 'none is there'}"
    else:
        reason = (
            f"no interface found: neither {', '.join(_TRIED_BY_NAME)} is there "
            "nor a default route in the main table (that of a VRF is not looked at)"
        )
        instead = "name the interface"
    return Problem(VARIABLE, " ".join(settings.interfaces), reason, instead)


def _first_free(names: Iterable[str], facts: HostFacts) -> Interface | None:
    """Return the first interface of these names that is there and no port of another one."""
    found = map(facts.interface, names)
    return next((each for each in found if each is not None and not each.port_of), None)


def _routed(facts: HostFacts) -> tuple[str, ...]:
    """Return the interfaces of default routes, the one that the kernel prefers first."""
    routes = sorted(facts.default_routes, key=lambda route: (route.family, route.metric))
    return tuple(each.interface for each in routes)


def _all_on_link(settings: Settings, interface: Interface, facts: HostFacts) -> bool:
    addresses = settings.virtual_addresses
    networks = [
        ipaddress.ip_network((held.address, held.prefix_length), strict=False)
        for held in ownership.unmarked(interface, addresses, settings.address_label, facts)
        if held.prefix_length < Family(family_of(held.address)).host_prefix_length
    ]
    return all(any(address in network for network in networks) for address in addresses)
