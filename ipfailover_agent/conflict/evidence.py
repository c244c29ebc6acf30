"""What adverts, announcements and keepalived's counters show about the rivals of an instance."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.conflict.causes import difference, other_errors
from ipfailover_agent.conflict.state import NEVER, POLICY, Rival
from ipfailover_agent.model import Family, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.conflict.state import Contest, DumpAnswered
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.vrrp.packets import Advert

Claims = dict["IPAddress", tuple[Rival, ...]]
ClaimedIds = dict[tuple[int, Family], frozenset[str]]


_treatment = attrgetter(
    "virtual_router_id", "version", "interval", "authentication", "password", "addresses",
    "destination",
)  # fmt: skip


def is_alike(one: Advert | None, other: Advert) -> bool:
    """Return whether keepalived treats two adverts alike, ranks aside."""
    return one is not None and bool(_treatment(one) == _treatment(other))


def is_recent(rival: Rival, context: ContestContext, now: float) -> bool:
    """Return whether a rival's adverts go on: the newest is not overdue."""
    if rival.advert is None:
        return False
    return now - rival.advert_at <= 1.5 * max(context.advert_interval, rival.advert.interval)


def is_advertising(state: Contest, mac: bytes, now: float) -> bool:
    """Return whether adverts of a MAC are recent, for whichever id."""
    return any(each.mac == mac and each.advertises(state.context, now) for each in state.rivals)


def is_other_id_below(context: ContestContext, rival: Rival) -> bool:
    """Return whether a rival has this instance's addresses under another id, and must yield."""
    return rival.router_id != context.virtual_router_id and not rival.outranks(context)


def forget(state: Contest, mac: bytes, router_id: int, now: float) -> Contest:
    """Forget a rival that has sent priority 0, but for what is still under way from it."""
    rivals = tuple(
        replace(
            each.forgiven(),
            first_seen=now,
            advert_at=NEVER,
            announced_at=NEVER,
            disputed_at=None,
            left_at=now,
        )
        if each.mac == mac and each.router_id in {router_id, None}
        else each
        for each in state.rivals
    )
    return replace(state, rivals=rivals, alive_until=min(state.alive_until, now))


def disclaimed(state: Contest, known: Rival | None, now: float) -> Contest:
    """Note that a rival's newest advert lists none of this instance's addresses.

    Under another id the rival has released them, as a node does that was reloaded at the same
    time. Under this instance's id the advert may come from another program of that node, and
    what each program sends is kept apart.
    """
    if known is None:
        return state
    if known.router_id == state.context.virtual_router_id:
        return state.with_rival(replace(known, disclaimed_at=now))
    return replace(state, rivals=tuple(each for each in state.rivals if each is not known))


# --- which of several rivals should step down ---------------------------------------------------


def was_disputing(state: Contest, rival: Rival, now: float) -> bool:
    """Return whether a rival disputed the address with the former MASTER until now.

    It had been announcing for a while without adverts when this instance became MASTER, so it is
    the older one, and would have yielded if it could.
    """
    disputed_at, announced_at = rival.disputed_at, rival.announced_at
    if disputed_at is None or is_advertising(state, rival.mac, now):
        return False
    is_repeated = announced_at - disputed_at >= POLICY.confirm
    return is_repeated and now - announced_at <= 1.5 * state.context.paced(POLICY.defend_interval)


def was_defying(state: Contest, rival: Rival, now: float) -> bool:
    """Return whether a rival went on advertising against the higher rank of the former MASTER.

    Then it does not receive adverts, and will not receive this instance's either.
    """
    context = state.context
    within = 1.5 * context.advert_interval + context.skew_time + POLICY.confirm
    return is_recent(rival, context, now) and now - rival.defied_at <= within


def note_defiance(state: Contest, leaving: Rival, now: float) -> Contest:
    """Note to which rival the leaving one has yielded: a lower rank that had time to yield."""
    enough = POLICY.confirm + POLICY.dump_grace
    for each in state.rivals:
        if (
            each.answered_at is not None
            and each.rank < leaving.rank
            and now - each.answered_at >= enough
            and is_recent(each, state.context, now)
        ):
            state = state.with_rival(replace(each, defied_at=now))
    return state


def compare(state: Contest, heard: Rival, now: float) -> Contest:
    """Note, while BACKUP, which of several advertisers should step down and does not."""
    others = [
        each
        for each in state.rivals
        if each.mac != heard.mac and is_recent(each, state.context, now)
    ]
    for each in others:
        if each.rank < heard.rank and each.answered_at is None:
            state = state.with_rival(replace(each, answered_at=now))
    higher = [each for each in others if each.rank > heard.rank]
    if not higher:
        heard = replace(heard, answered_at=None)
    elif heard.answered_at is None:
        # The answer to its first advert may have overtaken it.
        if any(now - each.advert_at <= POLICY.settle for each in higher):
            heard = replace(heard, answered_at=now)
    elif now >= heard.answered_at + POLICY.answer:
        heard = replace(heard, defied_at=now)
    return state.with_rival(heard)


# --- keepalived's answers -----------------------------------------------------------------------


def believe(state: Contest, answer: DumpAnswered, now: float) -> Contest:
    """Note an answer of keepalived, and what follows from when it came.

    A keepalived that ran late finds the question beside the adverts that wait for it, and answers
    first. It has read those once it answers another question, which was asked after that.
    """
    read_until = state.read_until
    if now - answer.taken_at <= POLICY.settle:
        read_until = max(read_until, answer.taken_at)
    elif state.dump is not None and answer.taken_at >= state.answered_at:
        read_until = max(read_until, state.dump.taken_at)
    return replace(state, dump=answer, answered_at=now, read_until=read_until)


def has_answered(state: Contest, advert: Advert, ask_at: float) -> bool:
    """Return whether an answer shows that keepalived does not step down for a rival's advert.

    An advert that it refuses changes nothing, read or not; one that it would take it must have
    read.
    """
    if state.dump is None or difference(advert, state.context) is None:
        return state.read_until >= ask_at
    return state.dump.taken_at >= ask_at


def has_read_second(state: Contest) -> bool:
    """Return whether keepalived has read the second advert that a BACKUP should have counted.

    A late answer does not show it, see ``Contest.read_until``.
    """
    second_at = state.count.second_at
    return second_at is None or state.read_until >= second_at + POLICY.settle - 1e-6


def accepted(state: Contest, before: DumpAnswered, after: DumpAnswered) -> int:
    """Return how many adverts keepalived took between two dumps, at least.

    Adverts that list as many addresses as the instance has, but others, are counted before they
    are refused.
    """
    counted = after.counters.advert_rcvd - before.counters.advert_rcvd
    context = state.context
    own = sorted(map(int, context.addresses))
    if any(
        rival.advert is not None
        and rival.advertises(context, after.taken_at)
        and len(rival.advert.addresses) == len(own)
        and sorted(map(int, rival.advert.addresses)) != own
        for rival in state.rivals
    ):
        counted -= after.counters.addr_list_err - before.counters.addr_list_err
    return counted


def adverts_needed(state: Contest, now: float) -> int:
    """Return how many adverts after a dump have to be uncounted until a BACKUP yields.

    Two, since the first may have come before the dump; one where every rival's adverts show
    themselves that they will be refused, and keepalived's counters of errors confirm it: a node
    whose neighbour was reloaded is MASTER three adverts after the last that it counted.
    """
    rivals = state.advertisers(now)
    is_plain = bool(rivals) and all(
        each.advert is not None and difference(each.advert, state.context) is not None
        for each in rivals
    )
    return 1 if is_plain else 2


def refused(before: DumpAnswered, after: DumpAnswered) -> bool:
    """Return whether keepalived counted adverts that it refused, between two dumps."""
    one, other = before.counters, after.counters
    return (
        other.addr_list_err > one.addr_list_err
        or other.auth_failure > one.auth_failure
        or other_errors(other) > other_errors(one)
    )


def went_back(before: DumpAnswered, after: DumpAnswered) -> bool:
    """Return whether keepalived counts anew: it was restarted."""
    one, other = before.counters, after.counters
    return other.advert_rcvd < one.advert_rcvd or other.advert_sent < one.advert_sent


# --- addresses that move between ids ------------------------------------------------------------
# A list that changes moves addresses between ids. The instance that had an address until now has
# received the adverts of its holder under the old id. No more of them may come for seconds: each
# advert of another sender for that id puts the holder's next one off (keepalived 2.2.7 to 2.4.3).


def claims_of(contests: Iterable[Contest], now: float) -> Claims:
    """Return which rivals advertise which address, as far as their adverts are recent."""
    newest: dict[tuple[bytes, int | None], Rival] = {}
    for state in contests:
        for each in state.rivals:
            if not each.advertises(state.context, now) or each.disclaimed_at >= each.advert_at:
                continue
            key = each.mac, each.router_id
            if key not in newest or newest[key].advert_at < each.advert_at:
                newest[key] = each
    found: Claims = {}
    for rival in newest.values():
        for address in () if rival.advert is None else rival.advert.addresses:
            found[address] = (*found.get(address, ()), rival)
    return found


def claims_against(context: ContestContext, claims: Claims) -> tuple[Rival, ...]:
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
        for each in sorted(found.values(), key=lambda each: (each.advert_at, each.mac))
    )


def claimed_ids(contests: Mapping[str, Contest], now: float) -> ClaimedIds:
    """Return, by id and family, the instances whose addresses rivals claim under that id."""
    found: ClaimedIds = {}
    for name, state in contests.items():
        for each in state.rivals:
            if each.advert is not None and each.claims_elsewhere(state.context, now):
                key = each.advert.virtual_router_id, family_of(each.advert.source)
                found[key] = found.get(key, frozenset()) | {name}
    return found
