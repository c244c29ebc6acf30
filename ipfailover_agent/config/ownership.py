"""Which addresses on an interface are the node's own, or a leftover of a former run of the agent.

keepalived puts its addresses on an interface as /32 or /128, IPv4 with the agent's label, IPv6
deprecated (preferred lifetime 0). A leftover stays when everything was killed at once, and then
two nodes answer for it. The node's own address must never be taken for one: deleting it takes the
node off the network.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from ipfailover_agent.model import Family, family_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.model import HostFacts, Interface, InterfaceAddress, IPAddress

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
    """Return whether addresses on this interface count: those on lo and kube-ipvs0 do not."""
    return interface.name not in NOT_A_NETWORK


def is_marked(held: InterfaceAddress, interface: str, label: str, facts: HostFacts) -> bool:
    """Return whether an address bears a mark of the agent, whatever else holds.

    The marks: its label, deprecated and /128, or recorded in the run directory as served before.
    A record counts for /32 and /128 only: the agent sets no other prefix, so an address with
    another one was put there by another program since.
    """
    if held.label and held.label == label_for(interface, label):
        return True
    if not _is_host(held):
        return False
    deprecated = held.is_deprecated and family_of(held.address) is Family.IPV6
    return deprecated or held.address in facts.recorded_addresses


def node_addresses(
    addresses: Collection[IPAddress],
    label: str,
    facts: HostFacts,
    interface: str,
    *,
    known_by: Collection[IPAddress | None] = (),
    link_local: Collection[Family] = (),
) -> tuple[IPAddress, ...]:
    """Return this node's own address per family on ``interface``, IPv4 first.

    ``addresses`` (the virtual ones) and whatever bears a mark of the agent do not count. Of the
    rest it is the one by which other nodes know this one; else the one in use, as long as it is
    not deprecated; else the one that has been there longest, so that a restart chooses the same.
    Temporary, deprecated and tentative ones are the last resort; a duplicate is another host's.
    Among equals the kernel's order stays, as it decides for the old image.

    ``known_by`` are the addresses of this node in the list of peers, or behind their names;
    ``link_local`` the families in which a link-local address will do where there is no other. For
    IPv6, which always has one, only where there is no address of the other family either.
    """

    def rank(held: InterfaceAddress) -> tuple[int, ...]:
        return (
            held.address.is_link_local,
            held.address not in known_by,
            held.is_deprecated or held.address not in facts.used_addresses,
            held.is_tentative,
            held.is_deprecated,
            held.is_temporary,
            held.created,
        )

    found = facts.interface(interface)
    own = [] if found is None else unmarked(found, addresses, label, facts)
    best: dict[Family, IPAddress] = {}
    for each in sorted(own, key=rank):
        if not each.is_duplicate:
            may_be = not each.address.is_link_local
            family = family_of(each.address)
            if may_be or (family in link_local and (family is Family.IPV4 or not best)):
                best.setdefault(family, each.address)
    return tuple(best[family] for family in Family if family in best)


def classify(
    held: InterfaceAddress,
    on: Interface,
    addresses: Collection[IPAddress],
    label: str,
    facts: HostFacts,
    *,
    interface: str,
) -> Ownership:
    """Say what the virtual address ``held``, found on the interface ``on``, is.

    ``addresses`` are all virtual ones, ``label`` is OPENSHIFT_HA_ADDRESS_LABEL, ``interface`` the
    name of the VRRP interface.
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
    beside = virtual if is_host else addresses
    # Only where the address is link-local too can such a one be the node's: IPv6 always has one.
    if not any(
        family_of(each.address) is family
        and (held.address.is_link_local or not each.address.is_link_local)
        for each in unmarked(on, beside, label, facts)
    ):
        return Ownership.NODE
    return Ownership.LEFTOVER if is_host else Ownership.FOREIGN


def leftovers(
    addresses: Collection[IPAddress], label: str, facts: HostFacts, interface: str
) -> tuple[tuple[Interface, InterfaceAddress], ...]:
    """Return exactly what may be deleted: ``addresses`` that a former run left on an interface.

    Other interfaces than ``interface`` are looked at too, since it may have changed between runs;
    there only a mark of the agent makes an address a leftover. The node's own address is none.
    """
    wanted = frozenset(addresses)
    return tuple(
        (on, held)
        for on in filter(holds_addresses, facts.interfaces)
        for held in on.addresses
        if held.address in wanted
        and classify(held, on, wanted, label, facts, interface=interface) is Ownership.LEFTOVER
    )


def unmarked(
    interface: Interface, addresses: Collection[IPAddress], label: str, facts: HostFacts
) -> list[InterfaceAddress]:
    """Return what is on an interface beside virtual and marked addresses, as the kernel does."""
    return [
        each
        for each in interface.addresses
        if each.address not in addresses and not is_marked(each, interface.name, label, facts)
    ]


def _is_host(held: InterfaceAddress) -> bool:
    return held.prefix_length == family_of(held.address).host_prefix_length
