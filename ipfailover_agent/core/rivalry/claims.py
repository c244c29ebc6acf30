"""What was heard of addresses, for an instance that serves them from now on under another id.

A list that changes moves addresses between ids. Who has an address under its old id was heard by
the instance that had it here until now. It may not be heard again for seconds: each advert of
somebody else for that id puts its next one off (keepalived 2.2.7 to 2.4.3).
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


def heard(contests: Iterable[Contest], now: float) -> Claims:
    """Return who advertises which address, as far as adverts of it are in sight."""
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
    """Return who of them claims an address of an instance under another id, oldest advert first.

    Not who does so under its own: whether keepalived takes those adverts, the next one shows.
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
    """Return by id and family whose addresses others claim there; it is another id than theirs."""
    found: Ids = {}
    for name, state in contests.items():
        for each in state.rivals:
            if each.advert is not None and each.claims_elsewhere(state.context, now):
                key = each.advert.virtual_router_id, family_of(each.advert.source)
                found[key] = found.get(key, frozenset()) | {name}
    return found


def _moment(rival: Rival) -> float:
    return rival.advert_at or 0.0
