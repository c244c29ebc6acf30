"""What each instance of a configuration is to other nodes, and which address asks hosts."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.model import ConflictMode, Family, family_of
from ipfailover_agent.core.network import timers
from ipfailover_agent.core.rivalry import announcing
from ipfailover_agent.core.rivalry.rivals import ContestContext

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from ipfailover_agent.core.model import (
        HostFacts,
        InterfaceAddress,
        IPAddress,
        KeepalivedConfig,
        VrrpInstance,
    )
    from ipfailover_agent.core.rivalry.questions import Link

_LEAST_PRIORITY: Final = 0
_VERSIONS: Final = (2, 3)


def build(
    config: KeepalivedConfig, facts: HostFacts, *, mac: bytes, host_macs: frozenset[bytes]
) -> dict[str, ContestContext]:
    """Return a context by the name of each instance that has an address to send from.

    Args:
        config: the configuration.
        facts: the node it was planned for.
        mac: of the interface, 6 bytes; ``host_macs`` are all of this host.
        host_macs: see ``mac``.
    """
    own = [each.address for each in _not_virtual(config, facts)]
    found = {}
    by_name = sources(config, facts)
    for each in config.instances:
        nodes = [address for address in own if family_of(address) is each.family]
        source = by_name.get(each.name)
        if source is None:
            continue
        found[each.name] = ContestContext(
            addresses=tuple(held.address for held in each.virtual_addresses),
            excluded_addresses=tuple(held.address for held in each.excluded_addresses),
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
    return found


def sources(config: KeepalivedConfig, facts: HostFacts) -> dict[str, IPAddress]:
    """Return the address that adverts come from, by the instance, of those that have one."""
    own = [each.address for each in _not_virtual(config, facts)]
    found = {}
    for each in config.instances:
        nodes = [address for address in own if family_of(address) is each.family]
        source = source_of(each, nodes)
        if source is not None:
            found[each.name] = source
    return found


def down_time(config: KeepalivedConfig) -> float:
    """Return the longest master-down time of any instance, whatever its priority and version."""
    return max(
        timers.master_down_interval(_LEAST_PRIORITY, version, each.advertisement.interval)
        for each in config.instances
        for version in _VERSIONS
    )


def source_of(instance: VrrpInstance, nodes: list[IPAddress]) -> IPAddress | None:
    """Return the address that keepalived's adverts come from, for IPv6 a link-local one (2.2.7).

    ``nodes``: the node's own addresses of the instance's family, in the interface's order.
    """
    chosen = instance.unicast_source if instance.unicast_peers else instance.multicast_source
    if chosen is not None:
        return chosen
    is_ipv4 = instance.family is Family.IPV4
    return next((each for each in nodes if is_ipv4 or each.is_link_local), None)


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
    held = _not_virtual(config, facts)
    found = [each for each in held if _is_ipv4(each) and each.address in named]
    link_local = [
        each
        for each in held
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
        found += [(_network(each), asker.address) for each in near]
    return tuple(found)


def _not_virtual(config: KeepalivedConfig, facts: HostFacts) -> list[InterfaceAddress]:
    """Return the addresses on the interface that are not virtual; other programs' among them."""
    interface = facts.interface(config.interface)
    virtual = frozenset(config.addresses)
    held = () if interface is None else interface.addresses
    return [each for each in held if each.address not in virtual]


def _is_ipv4(held: InterfaceAddress) -> bool:
    return family_of(held.address) is Family.IPV4


def _network(held: InterfaceAddress) -> IPv4Network | IPv6Network:
    return ip_network(f"{held.address}/{held.prefix_length}", strict=False)
