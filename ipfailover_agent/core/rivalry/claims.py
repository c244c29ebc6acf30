"""What was received about addresses that an instance serves from now on under another id.

A list that changes moves addresses between ids. The instance that had an address until now has
received the adverts of its holder under the old id. No more of them may come for seconds: each
advert of another sender for that id puts the holder's next one off (keepalived 2.2.7 to 2.4.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfailover_agent.core.model import Family, family_of
from ipfailover_agent.core.rivalry.rivals import Rival

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.rivalry.conflict import Contest
    from ipfailover_agent.core.rivalry.rivals import ContestContext

Claims = dict["IPAddress", tuple[Rival, ...]]
Ids = dict[tuple[int, Family], frozenset[str]]


def claims_of(contests: Iterable[Contest], now: float) -> Claims:
    """Return which rivals advertise which address, as far as their adverts are recent."""
    newest: dict[tuple[bytes, int | None], Rival] = {}
    for state in contests:
        for each in state.rivals:
            if not each.advertises(state.context, now) or each.has_disclaimed:
                continue
            key = each.mac, each.router_id
            if key not in newest or _moment(newest[key]) < _moment(each):
                newest[key] = each
    found: Claims = {}
    for rival in newest.values():
        for address in () if rival.advert is None else rival.advert.addresses:
            found[address] = (*found.get(address, ()), rival)
    return found


def against(
    context: ContestContext, claims: Mapping[IPAddress, tuple[Rival, ...]]
) -> tuple[Rival, ...]:
    """Return the rivals that claim an instance's address under another id, oldest advert first.

    Rivals that claim it under the instance's own id are left out: whether keepalived takes those
    adverts, the next one shows.
    """
    found = {
        (each.mac, each.router_id): each
        for address in context.served
        for each in claims.get(address, ())
        if each.router_id != context.virtual_router_id and not context.is_own(each.mac)
    }
    return tuple(
        Rival(
            mac=each.mac,
            router_id=each.router_id,
            first_seen=each.first_seen,
            advert=each.advert,
            advert_at=each.advert_at,
        )
        for each in sorted(found.values(), key=lambda each: (_moment(each), each.mac))
    )


def ids(contests: Mapping[str, Contest], now: float) -> Ids:
    """Return, by id and family, the instances whose addresses rivals claim under that id."""
    found: Ids = {}
    for name, state in contests.items():
        for each in state.rivals:
            if each.advert is not None and each.claims_elsewhere(state.context, now):
                key = each.advert.virtual_router_id, family_of(each.advert.source)
                found[key] = found.get(key, frozenset()) | {name}
    return found


def _moment(rival: Rival) -> float:
    return rival.advert_at or 0.0
