"""What each instance of a configuration is to other nodes, and which address asks hosts.

keepalived's behaviour as in 2.2.7 (vrrp.c: vrrp_check_packet, vrrp_state_master_rx).
"""

from __future__ import annotations

import math
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from ipfailover_agent.conflict import announcing
from ipfailover_agent.model import ConflictMode, Family, IPAddress, family_of
from ipfailover_agent.text import shown_without
from ipfailover_agent.vrrp import packets, timers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ipfailover_agent.model import HostFacts, InterfaceAddress, KeepalivedConfig, VrrpInstance
    from ipfailover_agent.vrrp.packets import Advert

_LEAST_PRIORITY: Final = 0
_VERSIONS: Final = (2, 3)
_IPV6: Final = 6

Link = tuple[IPv4Network | IPv6Network, IPAddress]
"""A network of the interface, and the address of this node that asks in it."""


def is_from_segment(advert: Advert, peers: Collection[IPAddress] = ()) -> bool:
    """Return whether an advert was sent on this segment, as far as its hop limit shows.

    Protocol 112 is routed as any other, to a node's own address. A node behind a router can hold
    no address here, and must make no instance yield. For the ``peers``, with IPv6, the hop limit
    shows nothing: unless it has ``unicast_ttl``, keepalived 2.2.7 sends with that of the
    interface, 64 or what the last router advertisement set.
    """
    if advert.ttl == packets.HOP_LIMIT:
        return True
    is_unicast = not advert.destination.is_multicast
    return advert.source.version == _IPV6 and is_unicast and advert.source in peers


class ContestContext(Struct, frozen=True, kw_only=True):
    """What an instance of this node is to other nodes. Replaced as a whole on a reload.

    Attributes:
        addresses: those that its adverts list; ``excluded_addresses`` it serves besides.
        source: the node's address that its adverts come from; it ranks equal priorities.
        node_addresses: all addresses of this node itself, in the instance's family.
        mac: of the interface that announces; ``host_macs`` are all MACs of this host.
        advert_interval: seconds.
        password: as ``Advert.password``; None for no authentication.
        unicast_peers: the nodes that its adverts go to; none with multicast.
        announce_interval: seconds that one round of announcing all addresses of this node takes
            at the permitted rate; no delay between announcements is shorter. Nodes of one
            configuration must agree on it: the loser of a contest counts with it.
        router_ids: how many ids the whole configuration needs, for suggesting a free offset.
        is_resolving: False only reports (OPENSHIFT_HA_CONFLICT=report).
        served: all of its addresses; made of the others.
    """

    addresses: tuple[IPAddress, ...]
    excluded_addresses: tuple[IPAddress, ...] = ()
    virtual_router_id: int
    priority: int
    source: IPAddress
    node_addresses: frozenset[IPAddress] = frozenset()
    mac: bytes
    host_macs: frozenset[bytes] = frozenset()
    version: int = 2
    advert_interval: float = 1.0
    password: bytes | None = None
    unicast_peers: frozenset[IPAddress] = frozenset()
    announce_interval: float = 0.1
    router_ids: int = 1
    is_resolving: bool = True
    served: frozenset[IPAddress] = frozenset()

    def __post_init__(self) -> None:
        # An advert may list 255 addresses and comes every second.
        served = frozenset(self.addresses + self.excluded_addresses)
        force_setattr(self, "served", served)

    def __repr__(self) -> str:
        return shown_without(self, "password")

    @property
    def is_unicast(self) -> bool:
        """Return whether its adverts go to peers."""
        return bool(self.unicast_peers)

    @property
    def skew_time(self) -> float:
        """Return the Skew_Time of this instance, in seconds."""
        return timers.skew_time(self.priority, self.version, self.advert_interval)

    @property
    def master_down_interval(self) -> float:
        """Return the Master_Down_Interval of this instance, in seconds."""
        return timers.master_down_interval(self.priority, self.version, self.advert_interval)

    def master_down_interval_for(self, advert: Advert) -> float:
        """Return the seconds without an advert after which the sender of ``advert`` is gone.

        A rival may advertise more slowly than this instance; then its own interval counts.
        """
        return timers.MISSED_ADVERTS * max(self.advert_interval, advert.interval) + self.skew_time

    def paced(self, seconds: float) -> float:
        """Return the seconds between two announcements where ``seconds`` are wanted."""
        return max(seconds, self.announce_interval)

    def is_own(self, mac: bytes) -> bool:
        """Return whether a MAC is one of this host, whichever interface it belongs to."""
        return mac == self.mac or mac in self.host_macs

    def differs_by_the_node(self, other: ContestContext) -> bool:
        """Return whether ``other`` differs only in what surrounds the instance.

        MACs and addresses of this host, and the number of further instances, change nothing about
        how the instance and other nodes judge each other's adverts. An address that a reload
        removes counts as the node's own until a moment later.
        """
        surrounded = replace(
            other,
            mac=self.mac,
            host_macs=self.host_macs,
            node_addresses=self.node_addresses,
            announce_interval=self.announce_interval,
            router_ids=self.router_ids,
        )
        return self != other and self == surrounded

    def is_own_advert(self, advert: Advert) -> bool:
        """Return whether an advert comes from this host, by its MAC or its source."""
        return self.is_own(advert.source_mac) or self.is_own_address(advert.source)

    def is_own_address(self, address: IPAddress) -> bool:
        """Return whether an address is one of this node itself."""
        return address == self.source or address in self.node_addresses

    def serves(self, address: IPAddress) -> bool:
        """Return whether this instance serves ``address``."""
        return address in self.served

    def is_claimed_by(self, advert: Advert) -> bool:
        """Return whether an advert lists at least one address that this instance serves."""
        return not self.served.isdisjoint(advert.addresses)

    def ranks_below(self, advert: Advert) -> bool:
        """Return whether VRRP ranks the advert's sender higher: priority, then address.

        Addresses compare as numbers in network byte order (RFC 5798 section 6.4.3). They are never
        equal: what comes from an address of this node is no rival.
        """
        return (advert.priority, int(advert.source)) > (self.priority, int(self.source))


def build(
    config: KeepalivedConfig, facts: HostFacts, *, mac: bytes, host_macs: frozenset[bytes]
) -> dict[str, ContestContext]:
    """Return a context by the name of each instance that has an address to send from.

    ``mac`` is the interface's, 6 bytes; ``host_macs`` are all of this host.
    """
    return {
        each.name: ContestContext(
            addresses=tuple(one.address for one in each.virtual_addresses),
            excluded_addresses=tuple(one.address for one in each.excluded_addresses),
            virtual_router_id=each.virtual_router_id,
            priority=each.priority,
            source=source,
            node_addresses=frozenset(nodes),
            mac=mac,
            host_macs=host_macs,
            version=each.advertisement.version,
            advert_interval=each.advertisement.interval,
            password=None if each.password is None else each.password.encode(),
            unicast_peers=frozenset(each.unicast_peers),
            announce_interval=len(config.addresses) / announcing.FRAMES_A_SECOND,
            router_ids=len(config.instances),
            is_resolving=config.conflict is ConflictMode.RESOLVE,
        )
        for each, nodes, source in _senders(config, facts)
    }


def sources(config: KeepalivedConfig, facts: HostFacts) -> dict[str, IPAddress]:
    """Return the address that adverts come from, by the instance, of those that have one."""
    return {each.name: source for each, _, source in _senders(config, facts)}


def _senders(
    config: KeepalivedConfig, facts: HostFacts
) -> Iterator[tuple[VrrpInstance, list[IPAddress], IPAddress]]:
    """Yield the instances whose adverts have a source, with the node's addresses and with it.

    An unnamed source is the interface's first address, for IPv6 a link-local one (2.2.7).
    """
    own = [each.address for each in _not_virtual(config, facts)]
    for each in config.instances:
        nodes = [address for address in own if family_of(address) is each.family]
        usable = (one for one in nodes if one.is_link_local or each.family is Family.IPV4)
        source = each.named_source or next(usable, None)
        if source is not None:
            yield each, nodes, source


def down_time(config: KeepalivedConfig) -> float:
    """Return the longest master-down time of any instance, whatever its priority and version."""
    return max(
        timers.master_down_interval(_LEAST_PRIORITY, version, each.advertisement.interval)
        for each in config.instances
        for version in _VERSIONS
    )


def known_macs(
    known: Mapping[bytes, float], present: Collection[bytes], now: float, memory: float
) -> dict[bytes, float]:
    """Return the MACs of this host, each with the time until which it counts, after a look.

    Those that are gone count for ``memory`` seconds more: a frame that left under a MAC may come
    back when the interface has another one, by a bond that fails over, a bridge that gets a port,
    a network manager that sets one.
    """
    lasting = {mac: min(until, now + memory) for mac, until in known.items() if until > now}
    return lasting | dict.fromkeys(present, math.inf)


def askers(config: KeepalivedConfig, facts: HostFacts) -> tuple[InterfaceAddress, ...]:
    """Return the addresses to ask other hosts from, IPv4 first: surely this node's own.

    A host that is asked remembers the asker's address. If that is a virtual address, of this node
    or of another program on it, the host's traffic comes here even when the address has moved
    away. With a network's prefix a virtual address looks like the node's own, and IPv6 lists the
    newest address first. So for IPv4 only those count that the plan takes for the node's or that
    the variables name, for IPv6 the link-local address that has been there longest.
    """
    named = {*config.node_addresses}
    for instance in config.instances:
        named |= {each for each in (instance.unicast_source, instance.multicast_source) if each}
    present = _not_virtual(config, facts)
    found = [each for each in present if _is_ipv4(each) and each.address in named]
    link_local = [
        each
        for each in present
        if not _is_ipv4(each)
        and each.address.is_link_local
        and each.prefix_length != Family.IPV6.host_prefix_length
    ]
    return (*found, *link_local[-1:])


def links(config: KeepalivedConfig, facts: HostFacts) -> tuple[Link, ...]:
    """Return the networks of the interface in which an address of this node may ask.

    For IPv4 those of the asking addresses: a host of another network need not answer. For IPv6
    all of them, since every host on the link answers a link-local address.
    """
    found: list[Link] = []
    for asker in askers(config, facts):
        near = [asker]
        if not _is_ipv4(asker):
            near = [each for each in _not_virtual(config, facts) if not _is_ipv4(each)]
        found += [
            (ip_network((each.address, each.prefix_length), strict=False), asker.address)
            for each in near
        ]
    return tuple(found)


def _not_virtual(config: KeepalivedConfig, facts: HostFacts) -> list[InterfaceAddress]:
    """Return the addresses on the interface that are not virtual; other programs' among them."""
    interface = facts.interface(config.interface)
    virtual = frozenset(config.addresses)
    present = () if interface is None else interface.addresses
    return [each for each in present if each.address not in virtual]


def _is_ipv4(each: InterfaceAddress) -> bool:
    return family_of(each.address) is Family.IPV4
