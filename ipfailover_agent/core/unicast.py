"""Unicast: who the peers are, and which address of this node they know it by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfailover_agent.core.errors import Problem
from ipfailover_agent.core.model import Family, family_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.core.model import HostFacts, IPAddress, Settings

_VARIABLE = "OPENSHIFT_HA_UNICAST_PEERS"


def peers(
    settings: Settings, facts: HostFacts, families: Collection[Family], problems: list[Problem]
) -> dict[Family, tuple[IPAddress, ...]]:
    """Return the peers per family, without this node; empty = multicast.

    Adds a problem for each of the ``families`` that are served and have no peer.
    """
    if settings.unicast_peer_names:
        problems.append(
            Problem(
                variable="OPENSHIFT_HA_UNICAST_PEERS_DNS",
                element=" ".join(settings.unicast_peer_names),
                reason="peers by name are not supported yet",
                instead=f"list the addresses in {_VARIABLE}",
            )
        )
        return {}
    if not settings.unicast_peers:
        return {}
    own = own_addresses(settings, facts)
    found = {
        family: tuple(
            dict.fromkeys(
                each
                for each in settings.unicast_peers
                if family_of(each) is family and each not in own
            )
        )
        for family in Family
    }
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


def source(
    settings: Settings,
    facts: HostFacts,
    node: Collection[IPAddress],
    peers: Collection[IPAddress],
) -> IPAddress | None:
    """Return the address that unicast adverts leave from and arrive at, where it has to be said.

    keepalived 2.2.7 listens at one address: unless told otherwise at the interface's first one,
    for IPv6 at the link-local one. Where the peers send to another, nobody hears anybody.

    Args:
        settings: the variables.
        facts: what is known of the node.
        node: the node's address per family on the VRRP interface.
        peers: the peers of one instance, all of its family; none with multicast.
    """
    if not peers:
        return None
    family = family_of(next(iter(peers)))
    given = settings.unicast_source
    if given is not None and family_of(given) is family:
        return given
    first = next((each for each in node if family_of(each) is family), None)
    known = listed(settings, facts, family)
    if family is Family.IPV6:
        return None if all(each.is_link_local for each in peers) else known or first
    return known if known != first else None


def listed(settings: Settings, facts: HostFacts, family: Family) -> IPAddress | None:
    """Return the address by which the list of peers names this node, if it does."""
    own = own_addresses(settings, facts)
    return next(
        (each for each in settings.unicast_peers if family_of(each) is family and each in own),
        None,
    )


def own_addresses(settings: Settings, facts: HostFacts) -> frozenset[IPAddress]:
    """Return every address of this node, the virtual ones left out."""
    return frozenset(
        held.address
        for interface in facts.interfaces
        for held in interface.addresses
        if held.address not in settings.virtual_addresses
    )
