"""Which node holds an instance's addresses, judged by the adverts that come. Pure.

A MASTER advertises, a BACKUP does not: the node whose adverts come holds the addresses. Each
instance has a state of its own. Times are monotonic seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.conflict.contexts import is_from_segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.model import IPAddress, VrrpInstance
    from ipfailover_agent.vrrp.packets import Advert

_MISSED: Final = 2.0  # of its own intervals, after which a sender that has a successor has ceased
_REMEMBERED: Final = 8  # claims of an instance: forged adverts name any number of senders


class AdvertClaim(Struct, frozen=True, kw_only=True):
    """A sender whose adverts list an address of this instance.

    Attributes:
        source: the sender's own address; together with ``router_id`` it names the claim.
        priority: of its newest advert.
        interval: seconds between its adverts.
        master_down_interval: seconds without an advert after which the sender is gone.
        began: when the first of an unbroken row came, ``last`` when the newest did.
        is_own: it is this node; then ``last`` is now.
    """

    source: IPAddress
    router_id: int
    priority: int
    interval: float
    master_down_interval: float
    began: float
    last: float
    is_own: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """Return what VRRP ranks the sender by."""
        return self.priority, int(self.source)


def counts(advert: Advert, context: ContestContext) -> bool:
    """Return whether an advert may come from a holder of these addresses, or from one that leaves.

    Left out are this node's own adverts, those that keepalived drops as damaged, and those from
    behind a router unless their sender is a peer.
    """
    return (
        advert.is_checksum_right
        and not context.is_own_advert(advert)
        and (is_from_segment(advert) or advert.source in context.unicast_peers)
    )


def on_advert(
    claims: tuple[AdvertClaim, ...], advert: Advert, context: ContestContext, now: float
) -> tuple[AdvertClaim, ...]:
    """Return the claims after an advert that :func:`counts`.

    An advert that lists none of these addresses claims nothing: a router or a CARP device uses
    the same id.
    """
    whose = advert.source, advert.virtual_router_id
    known = next((each for each in claims if (each.source, each.router_id) == whose), None)
    others = tuple(each for each in claims if each is not known)
    if not advert.priority:
        return others
    if not context.is_claimed_by(advert):
        return claims
    goes_on = known is not None and now < known.last + known.master_down_interval
    claim = AdvertClaim(
        source=advert.source,
        router_id=advert.virtual_router_id,
        priority=advert.priority,
        interval=advert.interval,
        master_down_interval=context.master_down_interval_for(advert),
        began=known.began if known is not None and goes_on else now,
        last=now,
    )
    return (*others, claim)[-_REMEMBERED:]


def heard_again(claims: tuple[AdvertClaim, ...], now: float) -> tuple[AdvertClaim, ...] | None:
    """Return the claims after the only sender has sent the same advert again; None for any other.

    A short path: a BACKUP of 254 instances gets 254 adverts a second.
    """
    if len(claims) != 1 or now >= claims[0].last + claims[0].master_down_interval:
        return None
    return (replace(claims[0], last=now),)


def is_news(before: tuple[AdvertClaim, ...], after: tuple[AdvertClaim, ...]) -> bool:
    """Return whether other nodes may hold the addresses, or with another priority."""
    return len(before) != len(after) or any(
        (one.began, one.rank) != (other.began, other.rank)
        for one, other in zip(before, after, strict=True)
    )


def own(instance: VrrpInstance, source: IPAddress, since: float, now: float) -> AdvertClaim:
    """Return the claim of this node, which has been MASTER since then."""
    return AdvertClaim(
        source=source,
        router_id=instance.virtual_router_id,
        priority=instance.priority,
        interval=instance.advertisement.interval,
        master_down_interval=math.inf,
        began=since,
        last=now,
        is_own=True,
    )


def holding(claims: Iterable[AdvertClaim], now: float) -> tuple[AdvertClaim, ...]:
    """Return the senders that hold the addresses, the highest rank first; none where none lives.

    Of a handover only the successor is returned; where two go on advertising, both are.
    """
    living = [each for each in claims if now < each.last + each.master_down_interval]
    found: dict[IPAddress, AdvertClaim] = {}
    for each in sorted(living, key=lambda one: (one.rank, one.last), reverse=True):
        if not any(_has_succeeded(other, each, now) for other in living):
            found.setdefault(each.source, each)  # one with other groups has more
    return tuple(found.values())


def _has_succeeded(other: AdvertClaim, one: AdvertClaim, now: float) -> bool:
    """Return whether a sender has ceased for another one that began after its newest advert.

    At once where the other one ranks higher: VRRP has the lower one step down. A lower one begins
    only when it has received no advert; it may be deaf, so that this node must miss them as well.
    """
    if other.began <= one.last or other.source == one.source:
        return False
    return other.rank > one.rank or now >= one.last + _MISSED * one.interval


def changes_at(claims: tuple[AdvertClaim, ...], now: float) -> float | None:
    """Return when :func:`holding` may change though no advert comes; None for never."""
    moments = [each.last + each.master_down_interval for each in claims if not each.is_own]
    if len(claims) > 1:
        moments += [each.last + _MISSED * each.interval for each in claims if not each.is_own]
    return min((each for each in moments if each > now), default=None)


def later(claims: tuple[AdvertClaim, ...], gap: float, now: float) -> tuple[AdvertClaim, ...]:
    """Return the claims as if the last ``gap`` seconds, unobserved by the agent, had not been."""
    return tuple(replace(each, last=min(now, each.last + gap)) for each in claims)
