"""What each instance of a configuration is to others on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfailover_agent.core.model import ConflictMode, Family, family_of
from ipfailover_agent.core.rivalry import announcing
from ipfailover_agent.core.rivalry.rivals import ContestContext

if TYPE_CHECKING:
    from ipfailover_agent.core.model import HostFacts, IPAddress, KeepalivedConfig, VrrpInstance


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
    interface = facts.interface(config.interface)
    held = () if interface is None else interface.addresses
    virtual = frozenset(config.addresses)
    own = [each.address for each in held if each.address not in virtual]
    found = {}
    for each in config.instances:
        nodes = [address for address in own if family_of(address) is each.family]
        source = source_of(each, nodes)
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
            is_unicast=bool(each.unicast_peers),
            announce_interval=len(config.addresses) / announcing.FRAMES_A_SECOND,
            router_ids=len(config.instances),
            is_resolving=config.conflict is ConflictMode.RESOLVE,
        )
    return found


def source_of(instance: VrrpInstance, nodes: list[IPAddress]) -> IPAddress | None:
    """Return the address that keepalived's adverts come from: IPv6 ones link-local (2.2.7).

    ``nodes``: the node's own addresses of the instance's family, in the interface's order.
    """
    chosen = instance.unicast_source if instance.unicast_peers else instance.multicast_source
    if chosen is not None:
        return chosen
    wants_link_local = instance.family is Family.IPV6
    return next((each for each in nodes if each.is_link_local is wants_link_local), None)
