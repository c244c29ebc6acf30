"""Who holds an instance's addresses, by the adverts that are heard: pure, an instance at a time.

A MASTER advertises, a BACKUP does not: whose adverts come holds the addresses. Times are monotonic
seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.core.rivalry.rivals import is_from_segment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipfailover_agent.core.model import IPAddress, VrrpInstance
    from ipfailover_agent.core.network.packets import Advert
    from ipfailover_agent.core.rivalry.rivals import ContestContext

_MISSED: Final = 2.0  # own intervals after which one who was succeeded has ceased
_REMEMBERED: Final = 8  # claims of an instance: forged adverts name any number of senders


class AdvertClaim(Struct, frozen=True, kw_only=True):
    """A sender whose adverts list an address of ours.

    Attributes:
        source: its own address; with ``router_id`` it says whose claim this is.
        priority: of its newest advert.
        interval: seconds between its adverts.
        silence: seconds without one after which it is gone.
        began: when the first of an unbroken row came, ``last`` when the newest did.
        is_own: it is this node; then ``last`` is now.
    """

    source: IPAddress
    router_id: int
    priority: int
    interval: float
    silence: float
    began: float
    last: float
    is_own: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """Return what VRRP ranks it by."""
        return self.priority, int(self.source)


def counts(advert: Advert, context: ContestContext, peers: Collection[IPAddress]) -> bool:
    """Tell whether an advert may be that of a holder of our addresses, or of one that leaves.

    Not what this node sent, what keepalived drops as damaged, and what came from behind a router
    unless its sender is one of ``peers``.
    """
    return (
        advert.is_checksum_right
        and not context.is_own(advert.source_mac)
        and not context.is_own_address(advert.source)
        and (is_from_segment(advert) or advert.source in peers)
    )


def heard(
    claims: tuple[AdvertClaim, ...], advert: Advert, context: ContestContext, now: float
) -> tuple[AdvertClaim, ...]:
    """Return the claims after an advert that :func:`counts`.

    One that lists none of our addresses claims nothing: a router or a CARP device that has our id.
    """
    whose = advert.source, advert.virtual_router_id
    known = next((each for each in claims if (each.source, each.router_id) == whose), None)
    others = tuple(each for each in claims if each is not known)
    if not advert.priority:
        return others
    if not context.is_claimed_by(advert):
        return claims
    goes_on = known is not None and now < known.last + known.silence
    claim = AdvertClaim(
        source=advert.source,
        router_id=advert.virtual_router_id,
        priority=advert.priority,
        interval=advert.interval,
        silence=context.silence_of(advert),
        began=known.began if known is not None and goes_on else now,
        last=now,
    )
    return (*others, claim)[-_REMEMBERED:]


def heard_again(claims: tuple[AdvertClaim, ...], now: float) -> tuple[AdvertClaim, ...] | None:
    """Return the claims after the same advert of the only one once more; None where it is not so.

    A short way: a BACKUP of 254 instances hears 254 a second.
    """
    if len(claims) != 1 or now >= claims[0].last + claims[0].silence:
        return None
    return (replace(claims[0], last=now),)


def is_news(before: tuple[AdvertClaim, ...], after: tuple[AdvertClaim, ...]) -> bool:
    """Tell whether others may hold the addresses, or with another priority."""
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
        silence=math.inf,
        began=since,
        last=now,
        is_own=True,
    )


def holding(claims: Iterable[AdvertClaim], now: float) -> tuple[AdvertClaim, ...]:
    """Return those who hold the addresses, the highest rank first; none where nobody is heard.

    Of a handover only the successor is named. Two go on advertising: then both are.
    """
    living = [each for each in claims if now < each.last + each.silence]
    found: dict[IPAddress, AdvertClaim] = {}
    for each in sorted(living, key=lambda one: (one.rank, one.last), reverse=True):
        if not any(_has_succeeded(other, each, now) for other in living):
            found.setdefault(each.source, each)  # one that groups addresses otherwise has more
    return tuple(found.values())


def _has_succeeded(other: AdvertClaim, one: AdvertClaim, now: float) -> bool:
    """Tell whether one has ceased for another who began after its newest advert.

    At once where that one ranks higher: VRRP has the lower one step down. A lower one begins only
    when it has heard nobody; it may be deaf, so that the silence must be seen here as well.
    """
    if other.began <= one.last or other.source == one.source:
        return False
    return other.rank > one.rank or now >= one.last + _MISSED * one.interval


def changes_at(claims: tuple[AdvertClaim, ...], now: float) -> float | None:
    """Return when :func:`holding` may name others though nobody is heard; None for never."""
    moments = [each.last + each.silence for each in claims if not each.is_own]
    if len(claims) > 1:
        moments += [each.last + _MISSED * each.interval for each in claims if not each.is_own]
    return min((each for each in moments if each > now), default=None)


def later(claims: tuple[AdvertClaim, ...], gap: float, now: float) -> tuple[AdvertClaim, ...]:
    """Return the claims as if the last ``gap`` seconds, in which we did not look, had not been."""
    return tuple(replace(each, last=min(now, each.last + gap)) for each in claims)
