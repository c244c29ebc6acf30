"""The nodes that adverts go to by unicast, and the address of this node that adverts come from."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ipfailover_agent.config import ownership
from ipfailover_agent.errors import AwaitedSource, HostNotReadyError, Problem
from ipfailover_agent.model import Family, family_of, first_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ipfailover_agent.model import HostFacts, Interface, IPAddress, Settings

_VARIABLE: Final = "OPENSHIFT_HA_UNICAST_PEERS"
NAMES: Final = "OPENSHIFT_HA_UNICAST_PEERS_DNS"
_UNICAST_SOURCE: Final = "UNICAST_SOURCE_IPADDRESS"
_MULTICAST_SOURCE: Final = "MULTICAST_SOURCE_IPADDRESS"
_FIRST: Final = "is the network address of"
_LONGEST_WITH_ANYCAST: Final = 126  # a /127 between two routers has none (RFC 6164)
_LONGEST_WITH_ENDS: Final = 30  # in a /31 (RFC 3021) and a /32 every address is a host's


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
    ends = no_hosts(settings, facts)
    virtual = "is a virtual address: the node that has it as its own would share it"
    elsewhere = "take it out of OPENSHIFT_HA_VIRTUAL_IPS, or out of here if no node has it"
    for each in settings.unicast_peers:
        if each in ends:
            instead = "write the address of a node"
            problems.append(Problem(_VARIABLE, str(each), ends[each], instead))
        if each in settings.virtual_addresses:
            problems.append(Problem(_VARIABLE, str(each), virtual, elsewhere))
    own = own_addresses(settings, facts)
    others = [each for each in dict.fromkeys(candidates(settings, facts)) if each not in own]
    found = {
        family: tuple(each for each in others if family_of(each) is family) for family in Family
    }
    for family in families:
        if not (found[family] or settings.unicast_peer_names):
            written = " ".join(map(str, settings.unicast_peers))
            reason = f"no IPv{family:d} peer beside this node, and IPv{family:d} is served"
            instead = f"list the IPv{family:d} addresses of the other nodes too"
            problems.append(Problem(_VARIABLE, written, reason, instead))
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
        Problem(NAMES, " ".join(settings.unicast_peer_names), reason, instead),
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
        reason = f"no IPv{family:d} peer, and this node has no IPv{family:d} address"
        instead = f"have the names resolve to the nodes' IPv{family:d} addresses"
        written = " ".join(settings.unicast_peer_names)
        raise HostNotReadyError(Problem(NAMES, written, reason, instead))
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

    ``node`` has the node's address per family on the VRRP interface, ``peers`` the peers of one
    instance, all of its family; none with multicast.
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
    held = ownership.unmarked(interface, settings.virtual_addresses, settings.address_label, facts)
    return own if own != first_of(Family.IPV4, (each.address for each in held)) else None


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

    ``interface`` is the one whose networks count, None for all that hold addresses.
    """
    own = own_addresses(settings, facts)
    ends: dict[IPAddress, str] = {}
    found = _networks(settings, facts, interface, Family.IPV4, _LONGEST_WITH_ENDS)
    for network in sorted(found, key=lambda each: (each.network_address, each.prefixlen)):
        ends[network.network_address] = f"{_FIRST} {network}"
        ends[network.broadcast_address] = f"is the broadcast address of {network}"
    return {address: words for address, words in ends.items() if address not in own}


def unreached(settings: Settings, facts: HostFacts, interface: str) -> tuple[str, ...]:
    """Return a sentence for each virtual address that clients in its network do not ask for.

    To an IPv4 network's first address Linux sends from 5.14 on; most others do not. An IPv6 one's
    is that of all its routers (RFC 4291, section 2.6.1): where nodes forward IPv6, each of them
    answers for it, holder or not (tried with Linux 6.18).
    """
    ends = no_hosts(settings, facts, interface)
    networks = _networks(settings, facts, interface, Family.IPV6, _LONGEST_WITH_ANYCAST)
    shared = {each.network_address: each for each in networks}
    some = "of the clients in that network only some reach it (Linux from 5.14 on does)"
    none = "no client in that network reaches it"
    return (
        *(
            f"{each} {ends[each]} on {interface}: "
            f"{some if ends[each].startswith(_FIRST) else none}"
            for each in settings.virtual_addresses
            if each in ends
        ),
        *(
            f"{each} is the subnet-router anycast address of {shared[each]} on {interface}: every "
            "router there answers for it, and every node that forwards IPv6, whichever node "
            "holds it"
            for each in settings.virtual_addresses
            if each in shared
        ),
    )


def _networks(
    settings: Settings, facts: HostFacts, interface: str | None, family: Family, longest: int
) -> dict[IPv4Network | IPv6Network, None]:
    """Return the networks of a family, with prefixes up to ``longest``, that this node is in."""
    own = own_addresses(settings, facts)
    return {
        ip_network((held.address, held.prefix_length), strict=False): None
        for each in facts.interfaces
        if (ownership.holds_addresses(each) if interface is None else each.name == interface)
        for held in each.addresses
        if family_of(held.address) is family
        and held.address in own
        and held.prefix_length <= longest
    }


def own_addresses(settings: Settings, facts: HostFacts) -> frozenset[IPAddress]:
    """Return every address of this node that is known, the virtual ones left out."""
    found = {held.address for interface in facts.interfaces for held in interface.addresses}
    return (facts.local_addresses | found) - frozenset(settings.virtual_addresses)


# --- a source that is named ---------------------------------------------------------------------


def refuse_virtual_source(settings: Settings, problems: list[Problem]) -> None:
    """Add a problem where adverts are to come from an address that is on one node at a time.

    A node that lacks it would wait for it, and the one that has it for the time when it goes.
    """
    variable, source = _named_source(settings)
    if source is not None and source in settings.virtual_addresses:
        reason = (
            "it is a virtual address, which moves, and adverts are to come from it on every node"
        )
        instead = "write an address that stays on this node, or leave it out"
        problems.append(Problem(variable, str(source), reason, instead))


def _named_source(settings: Settings) -> tuple[str, IPAddress | None]:
    """Return the variable that names the source of adverts, and its value."""
    if is_on(settings):
        return _UNICAST_SOURCE, settings.unicast_source
    return _MULTICAST_SOURCE, settings.multicast_source


def require_source(
    settings: Settings, facts: HostFacts, families: Collection[Family], interface: str
) -> None:
    """Raise HostNotReadyError while the node lacks an address that adverts are to come from.

    keepalived (2.2.7) goes to FAULT without it and does not look again. Where nothing is sent
    from it, see :func:`source_reports`.
    """
    variable, source = _named_source(settings)
    if source is None or family_of(source) not in families:
        return
    if source in own_addresses(settings, facts):
        return
    reason = "it is not an address of this node, and adverts are to come from it"
    instead = (
        "give the node this address if it comes late; if it is another node's, set"
        f" {variable} for each node by itself, or leave it out"
    )
    raise HostNotReadyError(
        Problem(variable, str(source), reason, instead),
        source=AwaitedSource(interface=interface, address=str(source)),
    )


def source_held_by(error: HostNotReadyError, mac: str) -> HostNotReadyError:
    """Return the error of :func:`require_source` once adverts from the address have come."""
    reason = f"another node has it: adverts from it are heard, sent by {mac}"
    instead = f"set {error.problem.variable} for each node by itself, or leave it out"
    problem = replace(error.problem, reason=reason, instead=instead)
    return HostNotReadyError(problem, source=error.source)


def source_reports(settings: Settings, facts: HostFacts) -> tuple[str, ...]:
    """Return the reports about a source that the node lacks."""
    own = own_addresses(settings, facts)
    named: dict[str, IPAddress | None] = {
        _UNICAST_SOURCE: settings.unicast_source,
        _MULTICAST_SOURCE: settings.multicast_source,
    }
    return tuple(
        f"{variable}: {source} is not an address of this node"
        for variable, source in named.items()
        if source is not None and source not in own
    )
