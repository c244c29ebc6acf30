"""Whose is an address that is on an interface already: the node's, a leftover of ours, or neither.

keepalived puts its addresses on an interface as /32 or /128, IPv4 with the label we give, IPv6
deprecated (preferred lifetime 0). A leftover stays when everything was killed at once, and then
two nodes answer for it. The node's own address must never be taken for one: deleting it takes the
node off the network.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from ipfailover_agent.core.model import Family, family_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.core.model import HostFacts, Interface, InterfaceAddress, IPAddress

#: Interfaces of which the addresses are not held on any wire.
NOT_A_NETWORK = frozenset({"lo", "kube-ipvs0"})
_LABEL_LENGTH = 15  # IFNAMSIZ without the final zero


class Ownership(enum.Enum):
    """What a virtual address found on an interface of this node is."""

    LEFTOVER = "leftover"
    NODE = "the node's own"
    FOREIGN = "neither"


def label_for(interface: str, label: str) -> str | None:
    """Return the IPv4 label ``IF:label``, or None where it is empty or exceeds 15 characters."""
    text = f"{interface}:{label}"
    return text if label and len(text) <= _LABEL_LENGTH else None


def holds_addresses(interface: Interface) -> bool:
    """Tell whether addresses on this interface count: those on lo and kube-ipvs0 do not."""
    return interface.name not in NOT_A_NETWORK


def is_marked(held: InterfaceAddress, interface: str, label: str, facts: HostFacts) -> bool:
    """Tell whether an address bears a mark of ours, whatever else holds.

    The marks: our label, deprecated and /128, or recorded in the run directory as served before.
    A record counts for /32 and /128 only: we set no other prefix, so an address with another one
    was put there by somebody else since.
    """
    if held.label and held.label == label_for(interface, label):
        return True
    if not _is_host(held):
        return False
    deprecated = held.is_deprecated and family_of(held.address) is Family.IPV6
    return deprecated or held.address in facts.recorded_addresses


def node_addresses(
    addresses: Collection[IPAddress], label: str, facts: HostFacts, interface: str
) -> tuple[IPAddress, ...]:
    """Return this node's own address per family on ``interface``, IPv4 first.

    Link-local addresses, ``addresses`` (the virtual ones) and whatever bears a mark of ours do not
    count; of the rest the kernel's order decides, as it does for the old image.
    """
    found = facts.interface(interface)
    if found is None:
        return ()
    own = _others(found, addresses, label, facts)
    firsts = (
        next((each.address for each in own if family_of(each.address) is family), None)
        for family in Family
    )
    return tuple(first for first in firsts if first is not None)


def classify(
    held: InterfaceAddress,
    on: Interface,
    *,
    addresses: Collection[IPAddress],
    label: str,
    facts: HostFacts,
    interface: str,
) -> Ownership:
    """Say what the virtual address ``held``, found on the interface ``on``, is.

    Args:
        held: the address as the kernel shows it; its address is one of ``addresses``.
        on: the interface that it is on.
        addresses: all virtual addresses of the configuration.
        label: OPENSHIFT_HA_ADDRESS_LABEL.
        facts: what is known of the node.
        interface: name of the VRRP interface.
    """
    if is_marked(held, on.name, label, facts):
        return Ownership.LEFTOVER
    if any(route.source == held.address for route in facts.default_routes):
        return Ownership.NODE
    if on.name != interface:
        return Ownership.FOREIGN
    family = family_of(held.address)
    is_host = held.prefix_length == family.host_prefix_length
    # An address with a network's prefix is the node's even when it is listed by mistake.
    virtual = {each.address for each in on.addresses if _is_host(each)} & set(addresses)
    others = _others(on, virtual if is_host else addresses, label, facts)
    if not any(family_of(each.address) is family for each in others):
        return Ownership.NODE
    return Ownership.LEFTOVER if is_host else Ownership.FOREIGN


def leftovers(
    addresses: Collection[IPAddress], label: str, facts: HostFacts, interface: str
) -> tuple[tuple[Interface, InterfaceAddress], ...]:
    """Return exactly what may be deleted: ``addresses`` that a former run left on an interface.

    Other interfaces than ``interface`` are looked at too, since it may have changed between runs;
    there only a mark of ours makes an address a leftover. The node's own address never is one.
    """
    wanted = frozenset(addresses)
    return tuple(
        (on, held)
        for on in facts.interfaces
        if holds_addresses(on)
        for held in on.addresses
        if held.address in wanted
        and classify(held, on, addresses=wanted, label=label, facts=facts, interface=interface)
        is Ownership.LEFTOVER
    )


def _others(
    interface: Interface, addresses: Collection[IPAddress], label: str, facts: HostFacts
) -> list[InterfaceAddress]:
    """Return what is on an interface beside virtual, marked and link-local addresses."""
    return [
        each
        for each in interface.addresses
        if not each.address.is_link_local
        and each.address not in addresses
        and not is_marked(each, interface.name, label, facts)
    ]


def _is_host(held: InterfaceAddress) -> bool:
    return held.prefix_length == family_of(held.address).host_prefix_length
