"""Virtual addresses that are a router's, as far as the routes of this node show.

One that is the segment's gateway and is served here takes the gateway away from every host of the
segment. It is no reason to refuse: the nodes may be the routers of their network, and a node whose
own uplink is gone may use the one that serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ipfailover_agent.core.model import HostFacts, IPAddress, Settings

    NextHop = tuple[IPAddress, str]

_LOST = (
    "the node that serves it takes that router away from every host of the network, "
    "and from itself"
)


def gateways(settings: Settings, facts: HostFacts) -> tuple[str, ...]:
    """Return a sentence for each virtual address that is the gateway of a default route."""
    hops = ((each.gateway, each.interface) for each in facts.default_routes)
    known = ((gateway, name) for gateway, name in hops if gateway is not None)
    return tuple(_found(settings, known, "the gateway of this node's default route"))


def next_hops(settings: Settings, facts: HostFacts, known: Collection[NextHop]) -> tuple[str, ...]:
    """Return a sentence for each one that is the next hop of another route of this node.

    Args:
        settings: the variables.
        facts: what is known of the node.
        known: the next hops of all its routes, each with its interface.
    """
    defaults = {(each.gateway, each.interface) for each in facts.default_routes}
    others = (each for each in known if each not in defaults)
    return tuple(_found(settings, others, "the next hop of a route of this node"))


def _found(settings: Settings, known: Iterable[NextHop], what: str) -> Iterator[str]:
    virtual = frozenset(settings.virtual_addresses)
    for address, interface in dict.fromkeys(known):
        if address in virtual:
            yield f"{address} is {what} through {interface}: {_LOST}"
