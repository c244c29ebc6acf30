"""Whether clients reach the virtual addresses on this node, as far as the node itself can see.

What is wrong here is no reason to refuse: addresses may be routed to the nodes, or the node may be
mended while it runs. But keepalived serves all the same, and nothing else would report it.

A virtual address that is the segment's gateway takes the gateway away from every host of the
segment. The nodes may be the routers of their network, and a node whose own uplink is gone may use
the one that serves.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.config import unicast
from ipfailover_agent.model import Family, family_of
from ipfailover_agent.text import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ipfailover_agent.model import HostFacts, Interface, IPAddress, KeepalivedConfig, Settings

    NextHop = tuple[IPAddress, str]

ADDRESSES: Final = "OPENSHIFT_HA_VIRTUAL_IPS"
_SAME_NETWORK: Final = 2  # arp_ignore, ip-sysctl.rst
_NOBODY: Final = 8
_LOST: Final = (
    "the node that serves it takes that router away from every host of the network, "
    "and from itself"
)


class Fault(Struct, frozen=True, kw_only=True):
    """Why clients are not answered, and what to do."""

    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.text}; {self.advice}"


def unserved(
    settings: Settings, config: KeepalivedConfig, facts: HostFacts, arp_ignore: int
) -> tuple[str, ...]:
    """Return a sentence for each reason why clients do not reach addresses that are served here.

    ``arp_ignore``: net.ipv4.conf.*.arp_ignore, the larger of all and the interface.
    """
    found = (
        *unicast.unreached(settings, facts, config.interface),
        *unanswered(config, facts, arp_ignore),
        outside(config, facts),
    )
    return tuple(f"{ADDRESSES}: {each}" for each in found if each is not None)


def unanswered(config: KeepalivedConfig, facts: HostFacts, arp_ignore: int) -> tuple[Fault, ...]:
    """Return why the node does not answer hosts that ask for its addresses; nothing where it does.

    Tried (Linux 6.18): without ARP neither family is reached, since an interface without it sends
    what it sends to itself. With arp_ignore 2 an address is answered for where asker and address
    are both in a network of the interface, though the address itself is a host's.
    """
    name = config.interface
    interface = facts.interface(name)
    found = []
    if interface is not None and not interface.speaks_arp:
        text = (
            f"ARP is off on {name}, and neighbour discovery with it: no client in its network "
            "reaches an address there"
        )
        advice = f"ip link set {name} arp on, or name another interface"
        found.append(Fault(text=text, advice=advice))
    served = [each for each in config.addresses if family_of(each) is Family.IPV4]
    mute = served if arp_ignore == _NOBODY else []
    if arp_ignore == _SAME_NETWORK:
        own = networks(config, interface)
        mute = [each for each in served if not _is_in(each, own)]
    if mute:
        text = f"arp_ignore is {arp_ignore} on {name}: no client that asks by ARP for"
        found.append(
            Fault(
                text=f"{text} {listed(mute)} is answered",
                advice=f"sysctl -w net/ipv4/conf/{name}/arp_ignore=1, and that of all as well",
            )
        )
    return tuple(found)


def outside(config: KeepalivedConfig, facts: HostFacts) -> Fault | None:
    """Return the faults of addresses that are in no network of the interface."""
    name = config.interface
    own = networks(config, facts.interface(config.interface))
    ways = {each.address: each for each in facts.approaches}
    far: list[IPAddress] = []
    theirs: dict[IPAddress, str] = {}  # by the interface of whose network they are
    for each in config.addresses:
        way = ways.get(each)
        # By the addresses alone IPv6 cannot be judged: a router may announce the network, too.
        is_known = way is not None or family_of(each) is Family.IPV4
        is_here = way is not None and way.is_on_link and way.interface == name
        if is_known and not is_here and not _is_in(each, own):
            far.append(each)
            if way is not None and way.is_on_link:
                theirs[each] = way.interface
    if not far:
        return None
    others = listed(dict.fromkeys(theirs.values()))
    instead = f" ({listed(theirs)} in that of {others})" if theirs else ""
    return Fault(
        text=f"{listed(far)} in no network of {name}{instead}",
        advice="neighbours will not ask for them by ARP: route them to these nodes, or correct "
        f"{ADDRESSES} or OPENSHIFT_HA_NETWORK_INTERFACE",
    )


def networks(
    config: KeepalivedConfig, interface: Interface | None
) -> list[IPv4Network | IPv6Network]:
    """Return the networks of the node's own addresses on an interface."""
    virtual = frozenset(config.addresses)
    return [
        ip_network((each.address, each.prefix_length), strict=False)
        for each in (() if interface is None else interface.addresses)
        if each.address not in virtual
    ]


def _is_in(address: IPAddress, found: list[IPv4Network | IPv6Network]) -> bool:
    return any(address in each for each in found)


# --- addresses of routers ------------------------------------------------------------------------


def gateways(settings: Settings, facts: HostFacts) -> tuple[str, ...]:
    """Return a sentence for each virtual address that is the gateway of a default route."""
    routes = facts.default_routes
    known = ((each.gateway, each.interface) for each in routes if each.gateway is not None)
    return tuple(_of_routers(settings, known, "the gateway of this node's default route"))


def next_hops(settings: Settings, facts: HostFacts, known: Collection[NextHop]) -> tuple[str, ...]:
    """Return a sentence for each one that is the next hop of another route of this node.

    ``known`` are the next hops of all its routes, each with its interface.
    """
    defaults = {(each.gateway, each.interface) for each in facts.default_routes}
    others = (each for each in known if each not in defaults)
    return tuple(_of_routers(settings, others, "the next hop of a route of this node"))


def _of_routers(settings: Settings, known: Iterable[NextHop], what: str) -> Iterator[str]:
    virtual = frozenset(settings.virtual_addresses)
    for address, interface in dict.fromkeys(known):
        if address in virtual:
            yield f"{address} is {what} through {interface}: {_LOST}"
