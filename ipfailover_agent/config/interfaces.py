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

    Raises:
        HostNotReadyError: there is none yet.
    """
    for name in settings.interfaces:
        found = facts.interface(name)
        if found is not None and not found.port_of:
            return Choice(interface=found)
    if settings.interfaces:
        return _choose_instead(settings, facts)
    return _detect(settings, facts)


def _detect(settings: Settings, facts: HostFacts) -> Choice:
    found = _old_order(facts)
    if found is None:
        raise HostNotReadyError(_no_interface(settings, facts))
    routed = _default_interface(facts)
    if routed is None or routed == found.name:
        return Choice(interface=found)
    report = (
        f"{VARIABLE} is not set: {found.name} is used because its name comes first, but the "
        f"default route leaves through {routed}; set {VARIABLE} to the one you mean"
    )
    return Choice(interface=found, reports=(report,))


def _choose_instead(settings: Settings, facts: HostFacts) -> Choice:
    """Fall back to the old order where that serves the addresses on their own network."""
    missing = _no_interface(settings, facts)
    found = _old_order(facts)
    if found is None or not _all_on_link(settings.virtual_addresses, settings, found, facts):
        raise HostNotReadyError(missing)
    text = f"{missing}; {found.name} is used instead, because every address belongs to its network"
    return Choice(interface=found, reports=(text,), degraded=(text,))


def _no_interface(settings: Settings, facts: HostFacts) -> Problem:
    """Return why none of the interfaces that are named, or would be found, will do."""
    wanted = settings.interfaces or (*_TRIED_BY_NAME, *_routed(facts))
    found = dict.fromkeys(each for each in map(facts.interface, wanted) if each is not None)
    if found:
        reason = "; ".join(taken_by(each.name, each.port_of) for each in found)
        masters = dict.fromkeys(each.port_of for each in found)
        instead = _name_one_of(masters)
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
    return Problem(
        variable=VARIABLE, element=" ".join(settings.interfaces), reason=reason, instead=instead
    )


def _name_one_of(masters: Iterable[str]) -> str:
    words = (_OWN_PORT if each == _OPEN_VSWITCH else each for each in masters)
    return f"name {' or '.join(words)}"


def _old_order(facts: HostFacts) -> Interface | None:
    """Return the interface that the old image took, ports of another one left out."""
    for name in _TRIED_BY_NAME:
        found = facts.interface(name)
        if found is not None and not found.port_of:
            return found
    routed = _default_interface(facts)
    return None if routed is None else facts.interface(routed)


def _default_interface(facts: HostFacts) -> str | None:
    """Return the interface of the default route that the kernel prefers: IPv4's, else IPv6's."""
    found = map(facts.interface, _routed(facts))
    return next((each.name for each in found if each is not None and not each.port_of), None)


def _routed(facts: HostFacts) -> tuple[str, ...]:
    """Return the interfaces of default routes, the one that the kernel prefers first."""
    routes = sorted(facts.default_routes, key=lambda route: (route.family, route.metric))
    return tuple(each.interface for each in routes)


def _all_on_link(
    addresses: Collection[IPAddress], settings: Settings, interface: Interface, facts: HostFacts
) -> bool:
    networks = [
        ipaddress.ip_network((held.address, held.prefix_length), strict=False)
        for held in interface.addresses
        if held.address not in addresses
        and not ownership.is_marked(held, interface.name, settings.address_label, facts)
        and held.prefix_length < Family(family_of(held.address)).host_prefix_length
    ]
    return all(any(address in network for network in networks) for address in addresses)
