"""Adverts of other nodes: the part of ``contest`` that remembers the senders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.rivalry import causes, counting, timing, yielding
from ipfailover_agent.core.rivalry.conflict import (
    Action,
    AdvertSeen,
    Contest,
    ContestPhase,
    ContestPolicy,
    ReportCause,
)
from ipfailover_agent.core.rivalry.rivals import Rival, is_alike, is_from_segment

if TYPE_CHECKING:
    from ipfailover_agent.core.network.packets import Advert
    from ipfailover_agent.core.rivalry.rivals import ContestContext

Step = tuple[Contest, tuple[Action, ...]]


def is_routine(state: Contest, advert: Advert, heard_at: float, now: float) -> bool:
    """Return whether an advert changes nothing: a BACKUP that counts gets such a one a second.

    A short path for it is worth its lines: a node may be BACKUP of 254 instances.
    """
    if (
        state.state is not VrrpState.BACKUP
        or not state.is_counting
        or state.phase is not ContestPhase.WATCHING
        or not state.rivals
        or (state.deadline is not None and now >= state.deadline)
    ):
        return False
    rival = state.rivals[-1]
    return rival.advert == advert and rival.advertises(state.context, heard_at)


def on_routine(state: Contest, heard_at: float, now: float) -> Contest:
    """Return the state after such an advert."""
    passed = state.passed + 1
    rivals = (*state.rivals[:-1], replace(state.rivals[-1], advert_at=heard_at))
    second_at = now if passed == 2 else state.second_at  # noqa: PLR2004 - see _count
    return replace(state, rivals=rivals, passed=passed, second_at=second_at)


def on_advert(
    state: Contest, event: AdvertSeen, now: float, read_at: float, policy: ContestPolicy
) -> Step:
    """Return the state after a received advert, and the reports about it.

    ``now`` is when the kernel received the advert, ``read_at`` when the agent reads it.
    """
    advert, context = event.advert, state.context
    if context.is_own_advert(advert):
        return state, (ReportCause(cause=causes.own_echo(str(advert.source), advert.source_mac)),)
    if not is_from_segment(advert, context.unicast_peers):
        return state, (ReportCause(cause=causes.routed(advert, event.outlook)),)
    known = state.rival(advert.source_mac, advert.virtual_router_id)
    if not advert.priority:
        if known is not None:
            state = _note_defiance(state, known, now, policy)
        if known is not None and known.challenged_at is not None:
            # The rival was MASTER too, and clients may have taken its announcements for the last.
            state = replace(state, announce_at=now)
        return _on_leaving(state, advert.source_mac, advert.virtual_router_id, now), ()
    if not context.is_claimed_by(advert):
        state = _on_disclaimed(state, known, now, policy)
        if advert.virtual_router_id != context.virtual_router_id:
            return state, ()
        cause = causes.id_clash([advert], context.router_ids, event.seen_ids, event.outlook)
        return state, (ReportCause(cause=cause),)
    if known is None:
        known = Rival(mac=advert.source_mac, router_id=advert.virtual_router_id, first_seen=now)
    elif known.left_at is not None and now - known.left_at < policy.leaving:
        return state, ()
    was_in_sight = known.advertises(context, now)
    is_same = was_in_sight and is_alike(known.advert, advert)
    challenged_at = known.challenged_at if was_in_sight else None
    has_changed_rank = known.outranks(context) is not context.ranks_below(advert)
    answered_at = known.answered_at if was_in_sight else None
    if state.is_challenged_by(now) and (challenged_at is None or has_changed_rank):
        challenged_at, answered_at = now, None
    rival = replace(
        known.sighted(now, timing.memory_of(policy)),
        advert=advert,
        advert_at=now,
        challenged_at=challenged_at,
        answered_at=answered_at,
        is_reported=known.is_reported and was_in_sight,
    )
    state = yielding.remember(state, rival, policy)
    if challenged_at == now and is_other_id_below(context, rival):
        # The rival's adverts for this id may put off this node's adverts, not its announcements.
        state = yielding.burst(state, now, policy)
    if was_in_sight and not is_same and causes.difference(advert, context) is None:
        state = counting.hope(state, now)
    if state.state is VrrpState.BACKUP:
        state = _compare(state, rival, now, policy)
        state = counting.count(state, now, read_at, policy, is_new=not is_same)
    return state, ()


def _on_disclaimed(
    state: Contest, known: Rival | None, now: float, policy: ContestPolicy
) -> Contest:
    """Note that a rival's newest advert lists none of this instance's addresses.

    Under another id the rival has released them, as a node does that was reloaded at the same
    time. Under this instance's id the advert may come from another program of that node, and
    what each program sends is kept apart.
    """
    if known is None:
        return state
    if known.router_id == state.context.virtual_router_id:
        return yielding.remember(state, replace(known, disclaimed_at=now), policy)
    return replace(state, rivals=tuple(each for each in state.rivals if each is not known))


def is_other_id_below(context: ContestContext, rival: Rival) -> bool:
    """Return whether a rival has this instance's addresses under another id, and must yield."""
    return rival.router_id != context.virtual_router_id and not rival.outranks(context)


def _compare(state: Contest, heard: Rival, now: float, policy: ContestPolicy) -> Contest:
    """Note, while BACKUP, which of several advertisers should step down and does not."""
    others = [
        each
        for each in state.rivals
        if each.mac != heard.mac and timing.is_recent(each, state.context, now)
    ]
    for each in others:
        if each.rank < heard.rank and each.answered_at is None:
            state = yielding.remember(state, replace(each, answered_at=now), policy)
    higher = [each for each in others if each.rank > heard.rank]
    if not higher:
        heard = replace(heard, answered_at=None)
    elif heard.answered_at is None:
        # The answer to its first advert may have overtaken it.
        if any(now - (each.advert_at or 0.0) <= policy.settle for each in higher):
            heard = replace(heard, answered_at=now)
    elif now >= heard.answered_at + policy.answer:
        heard = replace(heard, defied_at=now)
    return yielding.remember(state, heard, policy)


def _note_defiance(state: Contest, left: Rival, now: float, policy: ContestPolicy) -> Contest:
    """Note to which rival the leaving one has yielded: a lower rank that had time to yield."""
    enough = policy.confirm + policy.dump_grace
    for each in state.rivals:
        if (
            each.answered_at is not None
            and each.rank < left.rank
            and now - each.answered_at >= enough
            and timing.is_recent(each, state.context, now)
        ):
            state = yielding.remember(state, replace(each, defied_at=now), policy)
    return state


def _on_leaving(state: Contest, mac: bytes, router_id: int, now: float) -> Contest:
    """Forget a rival that has sent priority 0, but for what is still under way from it."""
    rivals = tuple(
        replace(
            each.forgiven(),
            first_seen=now,
            advert_at=None,
            announced_at=None,
            disputed_at=None,
            left_at=now,
        )
        if each.mac == mac and each.router_id in {router_id, None}
        else each
        for each in state.rivals
    )
    return replace(state, rivals=rivals, alive_until=min(state.alive_until, now))
