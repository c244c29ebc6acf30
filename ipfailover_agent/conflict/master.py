"""MASTER: what is done about a rival that claims the addresses too.

keepalived steps down for adverts of a higher rank. Where it does not receive them, or refuses
them, this instance yields. A rival of lower rank has time to yield first. Where adverts do not
arrive at all, announcements decide.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.conflict import causes, evidence, held
from ipfailover_agent.conflict import state as conflict
from ipfailover_agent.conflict.state import POLICY, ContestOrder, ContestPhase, HoldReason
from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.conflict.state import Action, Contest, Rival, Step
    from ipfailover_agent.vrrp.packets import Advert


def on_promotion(state: Contest, now: float) -> Step:
    """Become MASTER, perhaps beside a rival that advertised before keepalived reported it."""
    if not state.is_muted(now):
        for each in reversed(state.rivals):
            if evidence.was_disputing(state, each, now):
                cause = cause_of(state, each)
                return held.hold(state, HoldReason.ANNOUNCED, cause, now)
        for each in state.rivals:
            if each.advert is not None and evidence.was_defying(state, each, now):
                # A higher rank is left to keepalived again as soon as a trial shows it.
                is_higher = each.outranks(state.context)
                reason = HoldReason.OUTRANKED if is_higher else HoldReason.UNYIELDING
                cause = causes.unheard(each.advert, state.context)
                return held.hold(state, reason, cause, now)
    contacts = [
        each
        for each in state.rivals
        if now - each.announced_at < POLICY.confirm
        and not evidence.is_advertising(state, each.mac, now + POLICY.confirm)
    ]
    for each in contacts:
        state = state.with_rival(replace(each, contact_at=now))
    if contacts or state.is_blind(now):
        # A node that lost as well, against the rival that is gone, may get no adverts of this one.
        return state.burst(now), ()
    return state, ()


def challenged_early(rival: Rival, state: Contest, now: float) -> Rival:
    """Return a rival as challenged where it does not have to advertise anew for that.

    keepalived advertises as it becomes MASTER, and a living master answers within a millisecond:
    before the agent has read keepalived's line about the change. The rival advertises next an
    interval later, and by then it would give way to this instance, which went on beside it.

    Of a rival that has the addresses under another id, keepalived receives nothing. And it may
    be silent from now on: each advert of this node for its id, which lists other addresses, puts
    its next one off by an interval (2.2.7 to 2.4.3).
    """
    if rival.router_id not in {None, state.context.virtual_router_id}:
        is_there = rival.claims_elsewhere(state.context, now)
        return replace(rival, challenged_at=now) if is_there else rival
    left_at, heard_at = state.left_at, rival.advert_at
    if heard_at < left_at or now - left_at > POLICY.confirm:
        return rival
    return replace(rival, challenged_at=now)


# --- announcements ------------------------------------------------------------------------------


def on_announcement(state: Contest, rival: Rival, cause: causes.Cause, now: float) -> Step:
    """Answer an announcement while MASTER: defend the address, or yield by the rules."""
    actions: tuple[Action, ...] = ()
    if rival.contact_at is None:
        # A dump shows whether keepalived hangs: a node that took over then was right to.
        state = replace(state.burst(now), asked_at=now)
        rival, actions = replace(rival, contact_at=now), (ContestOrder.ASK_DUMP,)
    else:
        state = replace(state, fresh_until=now + POLICY.fresh_for)
        lasted = now - rival.contact_at
        stage = math.floor(lasted / stage_length(state.context) + 1e-6)
        if stage and not rival.stage:
            actions = (conflict.ReportCause(cause=cause),)
        rival = replace(rival, stage=stage)
    state = state.with_rival(rival)
    if not state.is_muted(now) and _yields(state, rival):
        return held.hold(state, HoldReason.ANNOUNCED, cause, now)
    return state, actions


def cause_of(state: Contest, rival: Rival) -> causes.Cause:
    """Return the cause for a rival of which only announcements are seen."""
    context = state.context
    adverts = [each.advert for each in state.rivals if each.mac == rival.mac]
    advert = next((each for each in reversed(adverts) if each is not None), None)
    address = rival.address or context.addresses[0]
    return causes.announcer(rival.mac, address, advert, context)


def stage_length(context: ContestContext) -> float:
    """Return the seconds from one stage of a contest by announcements to the next."""
    return max(POLICY.confirm, POLICY.escalation * context.paced(POLICY.burst_interval))


def _yields(state: Contest, rival: Rival) -> bool:
    """Return whether this instance yields to a rival that announced at ``now``.

    No node knows the age of another one, only since when it announces. So the contest goes by
    stages, and a node that is in doubt leaves the other time to yield first:

    1. an instance that was new (MASTER for less than a master-down interval) at the first contact
       yields to a rival that was known for longer than that, and else by the higher MAC;
    2. an instance that was new yields, since a rival that had to would be gone;
    3. both were old, and the higher MAC yields;
    4. a rival that is still there does not receive this node's announcements, or never yields:
       this instance yields.
    """
    if rival.lapses >= POLICY.lapses_limit:
        return True
    contact_at = rival.last_seen if rival.contact_at is None else rival.contact_at
    down = state.context.master_down_interval
    is_new = contact_at - state.since < down
    is_higher = state.context.mac > rival.mac
    first_seen = min(
        each.first_seen
        for each in state.rivals
        if each.mac == rival.mac and contact_at - each.last_seen <= POLICY.memory
    )
    match rival.stage:
        case 0:
            return False
        case 1:
            return is_new and (is_higher or contact_at - first_seen >= down)
        case 2:
            return is_new
        case 3:
            return is_new or is_higher
        case _:
            return True


def on_not_leaving(state: Contest, now: float) -> Contest:
    """Have announcements show what adverts cannot: that this instance is MASTER."""
    if state.state is not VrrpState.MASTER or state.phase is not ContestPhase.WATCHING:
        return state
    fresh_until = state.fresh_until
    if fresh_until is None or fresh_until < now:
        state, fresh_until = state.burst(now), now
    wait = POLICY.missed_announcements * state.context.paced(POLICY.defend_interval)
    return replace(state, fresh_until=max(fresh_until, now + wait))


# --- adverts ------------------------------------------------------------------------------------


def meet_claims(state: Contest, now: float) -> Contest:
    """Take as challenges what came about these addresses before a reload brought them here.

    keepalived stays MASTER of an id over a reload, and has the id's new addresses at once, however
    long the adverts of the node that has them under another id are put off.
    """
    for each in state.rivals:
        if each.challenged_at is None and each.claims_elsewhere(state.context, now):
            state = state.with_rival(replace(each, challenged_at=now))
            if evidence.is_other_id_below(state.context, each):
                state = state.burst(now)
    return state


def awaits_own_advert(state: Contest) -> bool:
    """Return whether ``AdvertLeft`` means anything: most adverts of a MASTER bring nothing new."""
    if state.state is VrrpState.BACKUP:
        return True
    return any(
        each.challenged_at is not None and each.answered_at is None for each in state.rivals
    )


def on_left(state: Contest, heard_at: float) -> Contest:
    """Note which rivals should step down: an advert of this instance was seen leaving."""
    rivals = tuple(
        replace(each, answered_at=heard_at)
        if each.challenged_at is not None and each.answered_at is None
        else each
        for each in state.rivals
    )
    return replace(state, rivals=rivals)


def judge(state: Contest, now: float) -> Step:
    """Yield to a rival that has had its time to step down; announce where that is due."""
    actions: tuple[Action, ...] = ()
    if state.state is not VrrpState.MASTER or state.phase is not ContestPhase.WATCHING:
        return state, actions
    for rival, advert, begin in _challenges(state, now):
        if state.is_muted(now):
            break
        if rival.outranks(state.context):
            state, more = _judge_outranked(state, advert, begin, now)
        else:
            state, more = _judge_lower(state, rival, advert, begin, now)
        actions += more
        if state.phase is not ContestPhase.WATCHING:
            return state, actions
    if now >= state.next_announcement(now):
        state, actions = replace(state, announced_at=now), (*actions, ContestOrder.ANNOUNCE)
    return state, actions


def _challenges(state: Contest, now: float) -> Iterator[tuple[Rival, Advert, float]]:
    """Yield the rivals whose adverts challenge this instance, the newest one, and since when.

    A rival that ranks above this instance was there when the challenge began, and that decides:
    it may be kept from advertising for as long as it takes to yield to it. A rival of lower rank
    has to be there now.
    """
    for rival in state.rivals:
        advert, begin = rival.advert, rival.challenged_at
        if advert is not None and begin is not None:
            there_at = begin if rival.outranks(state.context) else now
            if rival.advertises(state.context, there_at):
                yield rival, advert, begin


def _judge_outranked(state: Contest, advert: Advert, begin: float, now: float) -> Step:
    ask_at, decide_at = begin + POLICY.confirm - POLICY.dump_lead, begin + POLICY.confirm
    actions: tuple[Action, ...] = ()
    if now >= ask_at and _has_to_ask(state, advert, ask_at):
        state, actions = replace(state, asked_at=now), (ContestOrder.ASK_DUMP,)
    if now < decide_at:
        return state, actions
    is_answered = evidence.has_answered(state, advert, ask_at)
    if not is_answered and now < decide_at + _dump_timeout(state, advert):
        return state, actions
    cause = causes.explain(advert, state.context)
    state, more = held.hold(state, HoldReason.OUTRANKED, cause, now)
    return state, actions + more


def _judge_lower(state: Contest, rival: Rival, advert: Advert, begin: float, now: float) -> Step:
    context = state.context
    cause = causes.unheard(advert, context)
    actions: tuple[Action, ...] = ()
    if not rival.is_reported and rival.advert_at >= begin + POLICY.confirm:
        # Asking also shows whether keepalived hangs, which the keepalived watchdog deals with.
        rival = replace(rival, is_reported=True)
        state = replace(state.with_rival(rival), asked_at=now)
        actions = (conflict.ReportCause(cause=cause), ContestOrder.ASK_DUMP)
    if rival.is_reported:
        # The rival may not receive this node's adverts and know it by announcements only.
        state = replace(state, fresh_until=rival.advert_at + POLICY.fresh_for)
    if (
        rival.advert_at < state.exempt_until
        or not _is_unyielding(rival, begin, context, now)
        or not rival.is_reported  # one advert proves nothing
        or not evidence.is_recent(rival, context, now)
    ):
        return state, actions
    state, more = held.hold(state, HoldReason.UNYIELDING, cause, now)
    return state, actions + more


def _is_unyielding(rival: Rival, begin: float, context: ContestContext, now: float) -> bool:
    """Return whether a lower rank that is challenged had time to step down, and did not.

    keepalived advertises once more as it steps down, and may be late: that is no sign of it.
    """
    if rival.answered_at is not None and rival.advert_at >= rival.answered_at + POLICY.answer:
        return True
    is_over = now >= begin + _yield_timeout(context)
    return is_over and rival.advert_at >= begin + POLICY.answer


def _yield_timeout(context: ContestContext) -> float:
    """Return how long a lower rank may advertise beside this instance before that is unyielding.

    A rival with an agent that receives this node's adverts yields within an advert interval,
    ``confirm`` and ``dump_grace``; that is not much less than a second, however fast the timing.
    """
    slowest = context.advert_interval + POLICY.confirm + POLICY.dump_grace
    return max(slowest, POLICY.timeout) + POLICY.dump_grace


def _dump_timeout(state: Contest, advert: Advert) -> float:
    """Return how long to wait for keepalived's answer before yielding to a higher rank."""
    if state.dump is None or causes.difference(advert, state.context) is not None:
        return POLICY.dump_grace
    return POLICY.dump_timeout


def _has_to_ask(state: Contest, advert: Advert, ask_at: float) -> bool:
    """Return whether to ask keepalived for its state at ``ask_at`` or later.

    A second time, too, when its answer came too late to show whether it has read what had come.
    """
    if state.asked_at < ask_at:
        return True
    return not evidence.has_answered(state, advert, ask_at) and state.asked_at < state.answered_at


def deadlines(state: Contest, now: float) -> Iterator[float]:
    """Yield when :func:`judge` may have something to do."""
    yield state.next_announcement(now)
    for rival, advert, begin in _challenges(state, now):
        decide_at = begin + POLICY.confirm
        if not rival.outranks(state.context):
            due = begin + _yield_timeout(state.context)
            if now >= due:
                continue
        elif _has_to_ask(state, advert, decide_at - POLICY.dump_lead):
            due = decide_at - POLICY.dump_lead
        else:
            due = decide_at if now < decide_at else decide_at + _dump_timeout(state, advert)
        yield max(due, state.not_before)
