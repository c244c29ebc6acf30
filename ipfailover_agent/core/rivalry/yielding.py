"""What is due in a contest, and yielding: the part of ``contest`` that any event may cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.rivalry import causes, timing
from ipfailover_agent.core.rivalry.conflict import (
    Action,
    Announce,
    AskDump,
    Contest,
    ContestPhase,
    ContestPolicy,
    EndTrial,
    HoldInstance,
    HoldReason,
    ReleaseInstance,
    ReportCause,
)

if TYPE_CHECKING:
    from ipfailover_agent.core.network.packets import Advert
    from ipfailover_agent.core.rivalry.rivals import Rival

Step = tuple[Contest, tuple[Action, ...]]


def judge(state: Contest, now: float, policy: ContestPolicy) -> Step:
    """Do what is due at ``now``, whatever has happened."""
    actions: tuple[Action, ...] = ()
    if state.announce_at is not None and now >= state.announce_at:
        is_serving = state.state is VrrpState.MASTER
        state = replace(state, announce_at=None, announced_at=now)
        actions = (Announce(),) if is_serving else ()
    if state.phase is ContestPhase.HELD:
        state, more = _judge_held(state, now, policy)
        actions += more
    elif state.phase is ContestPhase.TRIAL:
        state, more = _judge_trial(state, now, policy)
        actions += more
    if state.phase is ContestPhase.WATCHING and state.state is VrrpState.MASTER:
        state, more = _judge_master(state, now, policy)
        actions += more
    if (
        state.state is VrrpState.BACKUP
        and state.phase is not ContestPhase.HELD
        and state.dump_at is not None
        and now >= state.dump_at
    ):
        state = replace(state, dump_at=now + policy.dump_interval)
        state, more = _ask(state, now)
        actions += more
    return state, actions


def _judge_held(state: Contest, now: float, policy: ContestPolicy) -> Step:
    if now >= timing.alive_until(state, now, policy):
        is_blind = state.reason is HoldReason.ANNOUNCED
        blind_until = now + policy.fresh_for if is_blind else None
        return replace(calm(state, now), blind_until=blind_until), (ReleaseInstance(),)
    if state.trial_at is None or now < state.trial_at:
        return state, ()
    if not timing.may_try(state, now, policy):
        return replace(state, trial_at=now + policy.trial_first), ()
    lasts = policy.trial_adverts * state.context.advert_interval
    state = replace(
        state,
        phase=ContestPhase.TRIAL,
        trial_at=now + lasts,
        baseline=None,
        passed=0,
        second_at=None,
        is_counting=False,
    )
    return state, (ReleaseInstance(is_trial=True),)


def _judge_trial(state: Contest, now: float, policy: ContestPolicy) -> Step:
    is_over = state.trial_at is not None and now >= state.trial_at
    if not is_over and state.state is not VrrpState.MASTER:
        return state, ()
    if now >= timing.alive_until(state, now, policy):
        return calm(state, now), (EndTrial(),)
    return _resume(state, now, policy)


def _judge_master(state: Contest, now: float, policy: ContestPolicy) -> Step:
    context = state.context
    actions: tuple[Action, ...] = ()
    for rival in state.rivals:
        advert, begin = rival.advert, rival.challenged_at
        if advert is None or begin is None or is_muted(state, now):
            continue
        if not timing.is_challenge(rival, begin, context, now):
            continue
        if rival.outranks(context):
            state, more = _judge_outranked(state, advert, begin, now, policy)
        else:
            state, more = _judge_lower(state, rival, advert, now, policy)
        actions += more
        if state.phase is not ContestPhase.WATCHING:
            return state, actions
    due = timing.next_announcement(state, now, policy)
    if due is not None and now >= due:
        state, actions = replace(state, announced_at=now), (*actions, Announce())
    return state, actions


def _judge_outranked(
    state: Contest, advert: Advert, begin: float, now: float, policy: ContestPolicy
) -> Step:
    ask_at, decide_at = begin + policy.confirm - policy.dump_lead, begin + policy.confirm
    actions: tuple[Action, ...] = ()
    if now >= ask_at and timing.has_to_ask(state, advert, ask_at):
        state, actions = _ask(state, now)
    if now < decide_at:
        return state, actions
    is_answered = timing.has_answered(state, advert, ask_at)
    if not is_answered and now < decide_at + timing.dump_wait(state, advert, policy):
        return state, actions
    cause = causes.explain(advert, state.context)
    state, more = hold(state, HoldReason.OUTRANKED, cause, now, policy)
    return state, actions + more


def _judge_lower(
    state: Contest, rival: Rival, advert: Advert, now: float, policy: ContestPolicy
) -> Step:
    context, begin = state.context, rival.challenged_at or now
    cause = causes.unheard(advert, context)
    actions: tuple[Action, ...] = ()
    if (
        not rival.is_reported
        and rival.advert_at is not None
        and rival.advert_at >= begin + policy.confirm
    ):
        # Asking also shows whether keepalived hangs, which the keepalived watchdog deals with.
        state, asking = _ask(remember(state, replace(rival, is_reported=True), policy), now)
        actions = (ReportCause(cause=cause), *asking)
        rival = replace(rival, is_reported=True)
    if rival.is_reported and rival.advert_at is not None:
        # The rival may not receive this node's adverts and know it by announcements only.
        state = replace(state, is_winner=True, fresh_until=rival.advert_at + policy.fresh_for)
    is_senior = rival.first_seen >= state.since
    if (
        (rival.advert_at or now) < state.patient_until
        or not timing.is_unyielding(rival, context, now, policy)
        or not rival.is_reported  # one advert proves nothing
        or not timing.is_recent(rival, context, now)
        or (is_senior and not policy.yields_as_senior)
    ):
        return state, actions
    state, more = hold(state, HoldReason.UNYIELDING, cause, now, policy)
    return state, actions + more


def hold(
    state: Contest, reason: HoldReason, cause: causes.Cause, now: float, policy: ContestPolicy
) -> Step:
    """Yield, or report that the instance would yield."""
    if not state.context.is_resolving:
        rivals = tuple(each.forgiven() for each in state.rivals)
        state = replace(state, rivals=rivals, not_before=now + policy.report_interval)
        return state, (ReportCause(cause=cause, would_hold=True),)
    if state.phase is ContestPhase.TRIAL:
        return _resume(replace(state, cause=cause), now, policy)
    if state.calm_at is None or now - state.calm_at > policy.trial_limit:
        state = replace(state, trials=0, losses=0)
    state = replace(
        state,
        phase=ContestPhase.HELD,
        reason=reason,
        cause=cause,
        held_at=now,
        alive_until=now + state.context.master_down_interval,
        trial_at=now + timing.trial_delay(state.trials, policy),
        losses=state.losses + (reason is HoldReason.ANNOUNCED),
        announce_at=None,
        is_winner=False,
        fresh_until=None,
    )
    return state, hold_again(state)


def _resume(state: Contest, now: float, policy: ContestPolicy) -> Step:
    """Hold again after a trial that went wrong."""
    trials = state.trials + 1
    delay = timing.trial_delay(trials, policy)
    state = replace(state, phase=ContestPhase.HELD, trials=trials, trial_at=now + delay)
    return state, hold_again(state)


def hold_again(state: Contest) -> tuple[Action, ...]:
    """Return the hold that is in force, to be set once more."""
    if state.reason is None or state.cause is None:
        raise AssertionError("internal error: held without a reason")
    return (HoldInstance(reason=state.reason, cause=state.cause),)


def burst(state: Contest, now: float, policy: ContestPolicy) -> Contest:
    """Return the state of an instance that announces often for a while, then as a winner does."""
    lasts = policy.brisk_rounds * timing.brisk_cadence(state.context, policy)
    return replace(
        state,
        is_winner=True,
        brisk_until=now + lasts,
        fresh_until=now + max(policy.fresh_for, lasts),
    )


def calm(state: Contest, now: float) -> Contest:
    """Return the state without a hold, and without the challenge that led to it."""
    rivals = tuple(replace(each, challenged_at=None) for each in state.rivals)
    return replace(
        state,
        phase=ContestPhase.WATCHING,
        reason=None,
        cause=None,
        trial_at=None,
        calm_at=now,
        rivals=rivals,
    )


def _ask(state: Contest, now: float) -> Step:
    return replace(state, asked_at=now), (AskDump(),)


def is_muted(state: Contest, now: float) -> bool:
    """Return whether no decision is due since the conflict was reported a moment ago."""
    return state.not_before is not None and now < state.not_before


def is_blind(state: Contest, now: float) -> bool:
    """Return whether an announcement alone keeps a BACKUP from becoming MASTER."""
    return state.blind_until is not None and now < state.blind_until


def remember(state: Contest, rival: Rival, policy: ContestPolicy) -> Contest:
    """Return the state with what is known of a rival now, less those that were silent longest."""
    others = tuple(
        each for each in state.rivals if each.mac != rival.mac or each.router_id != rival.router_id
    )
    rivals = (*others, rival)[-policy.rivals_limit :]
    if len(rivals) > policy.macs_limit:
        newest = dict.fromkeys(each.mac for each in reversed(rivals))
        kept = frozenset(tuple(newest)[: policy.macs_limit])
        rivals = tuple(each for each in rivals if each.mac in kept)
    return replace(state, rivals=rivals)
