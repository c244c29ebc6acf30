"""What one node can see of a handover: when its addresses left, and when another had them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.vrrp.packets import Advert

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.vrrp.packets import Announcement


class AddressLook(Struct, frozen=True, kw_only=True):
    """Which of the addresses were on the interface here at a moment, in monotonic seconds."""

    at: float
    here: frozenset[IPAddress]


class OtherHolderSeen(Struct, frozen=True, kw_only=True):
    """Another node claimed addresses at a moment.

    ``holder``: the sender's address where it was an advert, else the MAC that was announced.
    """

    at: float
    holder: str
    addresses: frozenset[IPAddress]
    is_advert: bool


class Handover(Struct, frozen=True, kw_only=True):
    """What was seen, the worst of all addresses, in seconds.

    Attributes:
        taken_by: the node that had the last address; None where some were not taken.
        after: from the request until that node had it.
        no_holder: for how long no node had an address.
        two_holders: for how long both nodes had one.
    """

    taken_by: str | None
    after: float = 0.0
    no_holder: float = 0.0
    two_holders: float = 0.0


def sighting(
    packet: Advert | Announcement, at: float, addresses: Collection[IPAddress], router_id: int
) -> OtherHolderSeen | None:
    """Return what a received packet shows about these addresses, None for nothing.

    An advert for this node's id claims the addresses that it need not list (excluded ones) as
    well; one of priority 0 claims none.
    """
    if isinstance(packet, Advert):
        listed = set(packet.addresses) & set(addresses)
        if not packet.priority or not listed:
            return None
        spoken = addresses if packet.virtual_router_id == router_id else listed
        return OtherHolderSeen(
            at=at, holder=str(packet.source), addresses=frozenset(spoken), is_advert=True
        )
    if packet.address not in addresses:
        return None
    return OtherHolderSeen(
        at=at,
        holder=packet.announced_mac.hex(":"),
        addresses=frozenset((packet.address,)),
        is_advert=False,
    )


def measure(
    addresses: Collection[IPAddress],
    asked_at: float,
    looks: Sequence[AddressLook],
    sightings: Iterable[OtherHolderSeen],
) -> Handover:
    """Return how it went since ``asked_at``.

    An address that never left counts as here until the last look.
    """
    later = [each for each in sightings if each.at >= asked_at]
    first: dict[IPAddress, OtherHolderSeen] = {}
    for each in later:
        for address in each.addresses:
            first.setdefault(address, each)
    if not addresses or not first.keys() >= set(addresses):
        return Handover(taken_by=None)
    no_holder = two_holders = 0.0
    for address in addresses:
        gone = next(
            (each.at for each in looks if each.at >= asked_at and address not in each.here),
            looks[-1].at if looks else asked_at,
        )
        no_holder = max(no_holder, first[address].at - gone)
        two_holders = max(two_holders, gone - first[address].at)
    names = [each.holder for each in later if each.is_advert] or [each.holder for each in later]
    return Handover(
        taken_by=names[-1],
        after=max(each.at for each in first.values()) - asked_at,
        no_holder=no_holder,
        two_holders=two_holders,
    )
