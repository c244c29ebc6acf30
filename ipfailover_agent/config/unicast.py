"""Unicast: which nodes are the peers, and which address of this node they send to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from ipfailover_agent.config import ownership
from ipfailover_agent.errors import HostNotReadyError, Problem
from ipfailover_agent.model import Family, family_of, first_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ipfailover_agent.model import HostFacts, Interface, IPAddress, Settings

_VARIABLE = "OPENSHIFT_HA_UNICAST_PEERS"
NAMES = "OPENSHIFT_HA_UNICAST_PEERS_DNS"
_FIRST = "is the network address of"
_LONGEST_WITH_ANYCAST = 126  # a /127 between two routers has none (RFC 6164)
_SMALLEST_WITH_ENDS = 30  # in a /31 (RFC 3021) and a /32 every address is a host's


def peers(
    settings: Settings, facts: HostFacts, families: Collection[Family], problems: list[Problem]
) -> dict[Family, tuple[IPAddress, ...]]:
    """Return the peers per family, without this node; empty = multicast.

    Adds a problem for each listed address that is no host's, or a virtual one, and for each of the
    ``families`` that are served and have no peer, unless there are names: what they resolve to may
    come yet (see :func:`alone`).
    """
    if not is_on(settings):
        return {}
    own = own_addresses(settings, facts)
    words = no_hosts(settings, facts)
    refused = [
        (each, words[each], "write the address of a node")
        for each in settings.unicast_peers
        if each in words
    ]
    refused += [
        (
            each,
            "is a virtual address: the node that has it as its own would share it",
            "take it out of OPENSHIFT_HA_VIRTUAL_IPS, or out of here if no node has it",
        )
        for each in settings.unicast_peers
        if each in settings.virtual_addresses
    ]
    problems += [
        Problem(variable=_VARIABLE, element=str(each), reason=reason, instead=instead)
        for each, reason, instead in refused
    ]
    found = {
        family: tuple(
            dict.fromkeys(
                each
                for each in candidates(settings, facts)
                if family_of(each) is family and each not in own
            )
        )
        for family in Family
    }
    if settings.unicast_peer_names:
        return found
    problems += [
        Problem(
            variable=_VARIABLE,
            element=" ".join(map(str, settings.unicast_peers)),
            reason=f"no IPv{family:d} peer beside this node, and IPv{family:d} is served",
            instead=f"list the IPv{family:d} addresses of the other nodes too",
        )
        for family in sorted(families)
        if not found[family]
    ]
    return found


def is_on(settings: Settings) -> bool:
    """Return whether adverts are unicast: peers given in any way, whether there are any or not."""
    return bool(settings.unicast_peers or settings.unicast_peer_names)


def candidates(settings: Settings, facts: HostFacts) -> tuple[IPAddress, ...]:
    """Return everything that is listed or resolved, this node included; no virtual address."""
    resolved = facts.resolved_peers or ()
    return (
        *settings.unicast_peers,
        *(each for each in resolved if each not in settings.virtual_addresses),
    )


def check_resolved(settings: Settings, facts: HostFacts) -> None:
    """Raise HostNotReadyError while there are names and it is not known what they stand for."""
    if not settings.unicast_peer_names or facts.resolved_peers is not None:
        return
    if facts.stored_peers:
        reason = f"{facts.stored_peers} peers are known from before, and a first answer is awaited"
        instead = "this takes two seconds at most"
    elif facts.peers_awaited:
        reason = f"no peers yet: {facts.peers_awaited}"
        instead = f"mend DNS, or list addresses in {_VARIABLE}"
    else:
        reason, instead = "the names are being resolved", "this takes some seconds"
    raise HostNotReadyError(
        Problem(
            variable=NAMES,
            element=" ".join(settings.unicast_peer_names),
            reason=reason,
            instead=instead,
        ),
        is_usual=bool(facts.stored_peers) or not facts.peers_awaited,
    )


def alone(
    settings: Settings, facts: HostFacts, node: Collection[IPAddress], family: Family
) -> IPAddress:
    """Return what stands in for peers where names resolve to this node alone: its own address.

    Without any peer keepalived 2.2.7 turns to multicast, which no other node would hear; to itself
    it sends through the loopback device, and serves.

    Raises:
        HostNotReadyError: it has no address of that family.
    """
    own = first_of(family, (settings.unicast_source, listed(settings, facts, family), *node))
    if own is None:
        raise HostNotReadyError(
            Problem(
                variable=NAMES,
                element=" ".join(settings.unicast_peer_names),
                reason=f"no IPv{family:d} peer, and this node has no IPv{family:d} address",
                instead=f"have the names resolve to the nodes' IPv{family:d} addresses",
            )
        )
    return own


def source(
    settings: Settings,
    facts: HostFacts,
    interface: Interface,
    node: Collection[IPAddress],
    peers: Collection[IPAddress],
) -> IPAddress | None:
    """Return the address that unicast adverts leave from and arrive at, where it has to be named.

    keepalived 2.2.7 listens at one address: unless configured otherwise at the interface's first
    one, for IPv6 at the link-local one. Where the peers send to another, no node receives any.

    Args:
        settings: the variables.
        facts: what is known of the node.
        interface: the VRRP interface.
        node: the node's address per family on it.
        peers: the peers of one instance, all of its family; none with multicast.
    """
    if not peers:
        return None
    family = family_of(next(iter(peers)))
    if settings.unicast_peer_names:
        # Always named: it is part of an instance's identity in keepalived, and peers come and go.
        return alone(settings, facts, node, family)
    given = settings.unicast_source
    if given is not None and family_of(given) is family:
        return given
    own = first_of(family, (listed(settings, facts, family), *node))
    if family is Family.IPV6:
        return None if all(each.is_link_local for each in peers) else own
    return own if own != _first_ipv4(settings, facts, interface) else None


def _first_ipv4(settings: Settings, facts: HostFacts, interface: Interface) -> IPAddress | None:
    """Return the address that keepalived 2.2.7 sends from where none is configured."""
    found = ownership.unmarked(
        interface, settings.virtual_addresses, settings.address_label, facts
    )
    return first_of(Family.IPV4, (each.address for each in found))


def link_local_families(
    settings: Settings, peers: Mapping[Family, Collection[IPAddress]]
) -> set[Family]:
    """Return in which families the others would receive adverts of a link-local address.

    With multicast in both; with peers where all of them are known by such addresses too.
    """
    if not is_on(settings):
        return set(Family)
    return {
        family for family, found in peers.items() if found and all(p.is_link_local for p in found)
    }


def listed(settings: Settings, facts: HostFacts, family: Family) -> IPAddress | None:
    """Return the address by which the list of peers names this node, if it does."""
    own = own_addresses(settings, facts)
    return first_of(family, (each for each in candidates(settings, facts) if each in own))


def no_hosts(
    settings: Settings, facts: HostFacts, interface: str | None = None
) -> dict[IPAddress, str]:
    """Return which addresses are no host's in the IPv4 networks of this node, with the reason.

    Those are the first and the last of each (RFC 1122, section 3.2.1.3). To the last the kernel
    refuses to send, and keepalived 2.2.7 logs that for each advert; since Linux 5.14 it sends to
    the first, where no host is. What this node has itself is a host's all the same. IPv6 has no
    broadcast, and nodes may have the subnet-router anycast address of their network.

    Args:
        settings: the variables.
        facts: what is known of the node.
        interface: the one whose networks count; all that hold addresses if None.
    """
    own = own_addresses(settings, facts)
    networks = {
        IPv4Network((held.address, held.prefix_length), strict=False)
        for each in facts.interfaces
        if (ownership.holds_addresses(each) if interface is None else each.name == interface)
        for held in each.addresses
        if isinstance(held.address, IPv4Address)
        and held.address in own
        and held.prefix_length <= _SMALLEST_WITH_ENDS
    }
    ends: dict[IPAddress, str] = {}
    for network in sorted(networks):
        ends[network.network_address] = f"{_FIRST} {network}"
        ends[network.broadcast_address] = f"is the broadcast address of {network}"
    return {address: words for address, words in ends.items() if address not in own}


def unreached(settings: Settings, facts: HostFacts, interface: str) -> tuple[str, ...]:
    """Return a sentence for each virtual address that clients in its network do not ask for.

    To an IPv4 network's first address Linux sends from 5.14 on; most others do not. An IPv6 one's
    is that of all its routers (RFC 4291, section 2.6.1): where nodes forward IPv6, each of them
    answers for it, holder or not (tried with Linux 6.18).
    """
    words = no_hosts(settings, facts, interface)
    shared = _anycast(settings, facts, interface)
    return (
        *_unasked(settings, words, interface),
        *(
            f"{each} is the subnet-router anycast address of {shared[each]} on {interface}: every "
            "router there answers for it, and every node that forwards IPv6, whichever node "
            "holds it"
            for each in settings.virtual_addresses
            if each in shared
        ),
    )


def _unasked(
    settings: Settings, words: Mapping[IPAddress, str], interface: str
) -> tuple[str, ...]:
    return tuple(
        f"{each} {words[each]} on {interface}: "
        + (
            "of the clients in that network only some reach it (Linux from 5.14 on does)"
            if words[each].startswith(_FIRST)
            else "no client in that network reaches it"
        )
        for each in settings.virtual_addresses
        if each in words
    )


def _anycast(settings: Settings, facts: HostFacts, interface: str) -> dict[IPAddress, IPv6Network]:
    """Return the first addresses of the IPv6 networks that the interface is in."""
    own = own_addresses(settings, facts)
    networks = (
        IPv6Network((held.address, held.prefix_length), strict=False)
        for each in facts.interfaces
        if each.name == interface
        for held in each.addresses
        if isinstance(held.address, IPv6Address)
        and held.address in own
        and held.prefix_length <= _LONGEST_WITH_ANYCAST
    )
    return {each.network_address: each for each in networks}


def own_addresses(settings: Settings, facts: HostFacts) -> frozenset[IPAddress]:
    """Return every address of this node that is known, the virtual ones left out."""
    found = {held.address for interface in facts.interfaces for held in interface.addresses}
    return (facts.local_addresses | found) - frozenset(settings.virtual_addresses)
