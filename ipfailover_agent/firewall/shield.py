"""Which adverts keepalived must not read: those for this node's ids of senders that are no rivals.

keepalived 2.2.7 to 2.4.3 set an instance's timer anew after each packet for its id, also after one
that they refuse. So a router that uses one of these ids for other addresses puts a MASTER's next
advert off by a whole interval, again and again, and its BACKUP takes over.

Rules match the content, not only the sender and the id: another node of the cluster may run a
second VRRP speaker. An advert that lists an address of this node matches no rule for a foreign
one, so that it does not matter when rules come and go.

Times are monotonic seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from ipfailover_agent.conflict.contexts import is_from_segment

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.vrrp.packets import Advert

LIFETIME: Final = 60.0  # of an element of the kernel's, from the last such advert on
LIMIT: Final = 64  # elements at a time
_WINDOW: Final = 5.0  # in which the second advert has to come, or two own intervals if longer
_RENEWED_AFTER: Final = 20.0
_SUSPECTS: Final = 256  # remembered at a time: others may send anything
_LISTED: Final = 16  # the last of so many IPv6 addresses begins as far in as nftables looks, 255 B


class Signature(Struct, frozen=True, kw_only=True):
    """What is alike in all adverts that one rule drops.

    Attributes:
        source: the sender's address.
        router_id: the id, ``version`` that of VRRP.
        count: how many addresses it lists; ``listed`` are those, the first 16.
        is_carp: it is CARP, which has no such list.
        hop_limit: None unless it is dropped for not coming from this segment.
    """

    source: IPAddress
    router_id: int
    version: int = 2
    count: int = 0
    listed: tuple[IPAddress, ...] = ()
    is_carp: bool = False
    hop_limit: int | None = None


def signature_of_advert(
    advert: Advert, *, is_ours: bool, peers: Collection[IPAddress]
) -> Signature | None:
    """Return what to drop, None for an advert that keepalived has to read.

    Args:
        advert: a received one, for an id of this node.
        is_ours: it lists an address of this node, under whatever id.
        peers: the unicast peers of the instance, which may be behind a router.
    """
    is_routed = advert.source not in peers and not is_from_segment(advert)
    if is_ours and not is_routed:
        return None
    return _signature(advert, hop_limit=advert.ttl if is_ours else None)


def _signature(advert: Advert, *, hop_limit: int | None = None) -> Signature:
    return Signature(
        source=advert.source,
        router_id=advert.virtual_router_id,
        version=advert.version,
        count=len(advert.addresses),
        listed=advert.addresses[:_LISTED],
        hop_limit=hop_limit,
    )


class Shield(Struct, frozen=True):
    """What was received of foreign speakers.

    Attributes:
        suspects: received once, and when.
        foreign: received twice in time, and when last.
        overflowed: there were more than the kernel is to hold.
    """

    suspects: Mapping[Signature, float] = field(default_factory=dict)
    foreign: Mapping[Signature, float] = field(default_factory=dict)
    overflowed: bool = False


def on_advert(shield: Shield, signature: Signature, now: float, advert_interval: float) -> Shield:
    """Return the state after an advert to drop; ``advert_interval`` is the instance's own."""
    if signature in shield.foreign:
        return Shield(shield.suspects, {**shield.foreign, signature: now}, shield.overflowed)
    window = max(_WINDOW, 2 * advert_interval)
    before = shield.suspects.get(signature)
    if before is None or now - before > window:
        suspects = {**shield.suspects, signature: now}
        if len(suspects) > _SUSPECTS:
            suspects = {each: at for each, at in suspects.items() if now - at <= window}
            suspects = dict(list(suspects.items())[-_SUSPECTS:])
        return Shield(suspects, shield.foreign, shield.overflowed)
    if len(shield.foreign) >= LIMIT:
        return Shield(shield.suspects, shield.foreign, overflowed=True)
    suspects = {each: at for each, at in shield.suspects.items() if each != signature}
    return Shield(suspects, {**shield.foreign, signature: now}, shield.overflowed)


def heard_of_ours(shield: Shield, advert: Advert) -> Shield:
    """Return the state after an advert that lists an address of this node.

    A rule compares only the first addresses. Where this one is behind them, the rule has to go.
    """
    if len(advert.addresses) <= _LISTED or not shield.foreign:
        return shield
    signature = _signature(advert)
    foreign = {each: at for each, at in shield.foreign.items() if each != signature}
    return Shield(shield.suspects, foreign, shield.overflowed)


def without_ended(shield: Shield, now: float) -> Shield:
    """Return the state without those that were silent for the lifetime of their elements."""
    living = {each: at for each, at in shield.foreign.items() if now - at < LIFETIME}
    if len(living) == len(shield.foreign):
        return shield
    return Shield(shield.suspects, living)


def kept(
    shield: Shield,
    *,
    ids: Collection[tuple[int, int]],
    ours: Collection[IPAddress],
    peers: Collection[IPAddress],
) -> Shield:
    """Return the state under another configuration: its own ids and addresses are not foreign.

    Args:
        shield: the state before.
        ids: the router ids of the instances, with the IP version of each.
        ours: every virtual address.
        peers: every unicast peer.
    """

    def stays(each: Signature) -> bool:
        if (each.router_id, each.source.version) not in ids:
            return False
        if each.hop_limit is not None:
            return each.source not in peers
        return not any(address in ours for address in each.listed)

    foreign = {each: at for each, at in shield.foreign.items() if stays(each)}
    return Shield(foreign=foreign, overflowed=shield.overflowed and len(foreign) >= LIMIT)


# --- the elements of the kernel -----------------------------------------------------------------


def ends(shield: Shield) -> dict[Signature, float]:
    """Return what is to be dropped, and until when."""
    return {each: at + LIFETIME for each, at in shield.foreign.items()}


def is_due(shield: Shield, applied: Mapping[Signature, float], now: float) -> bool:
    """Return whether the kernel needs other rules; ``applied`` are its rules, and until when."""
    wanted = ends(shield)
    if any(until > now and each not in wanted for each, until in applied.items()):
        return True
    return any(
        each not in applied or (until - applied[each] >= _RENEWED_AFTER)
        for each, until in wanted.items()
    )
