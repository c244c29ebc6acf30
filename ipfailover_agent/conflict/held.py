"""HELD and TRIAL: the instance has yielded, until no rival lives or keepalived counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.conflict import state as conflict
from ipfailover_agent.conflict.causes import difference
from ipfailover_agent.conflict.state import POLICY, Contest, ContestOrder, ContestPhase, HoldReason
from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from ipfailover_agent.conflict.causes import Cause
    from ipfailover_agent.conflict.state import Step


def hold(state: Contest, reason: HoldReason, cause: Cause, now: float) -> Step:
    """Yield, or report that the instance would yield."""
    if not state.context.is_resolving:
        rivals = tuple(each.forgiven() for each in state.rivals)
        state = replace(state, rivals=rivals, not_before=now + POLICY.report_interval)
        return state, (conflict.ReportCause(cause=cause, would_hold=True),)
    if state.phase is ContestPhase.TRIAL:
        return _hold_after_trial(replace(state, cause=cause), now)
    if now - state.calm_at > POLICY.trial_limit:
        state = replace(state, trials=0, losses=0)
    state = replace(
        state,
        phase=ContestPhase.HELD,
        reason=reason,
        cause=cause,
        held_at=now,
        alive_until=now + state.context.master_down_interval,
        trial_at=now + _trial_delay(state.trials),
        losses=state.losses + (reason is HoldReason.ANNOUNCED),
        announce_at=conflict.UNPLANNED,
        fresh_until=None,
    )
    return state, (hold_again(state),)


def hold_again(state: Contest) -> conflict.HoldInstance:
    """Return the hold that is in force, to be set once more."""
    if state.reason is None or state.cause is None:
        raise AssertionError("internal error: held without a reason")
    return conflict.HoldInstance(reason=state.reason, cause=state.cause)


def _hold_after_trial(state: Contest, now: float) -> Step:
    """Hold again after a trial that went wrong."""
    trials = state.trials + 1
    delay = _trial_delay(trials)
    state = replace(state, phase=ContestPhase.HELD, trials=trials, trial_at=now + delay)
    return state, (hold_again(state),)


def _trial_delay(trials: int) -> float:
    """Return the seconds before trial number ``trials`` + 1, growing up to the limit."""
    delay: float = POLICY.trial_first * POLICY.trial_factor ** min(trials, 64)
    return min(delay, POLICY.trial_limit)


def calm(state: Contest, now: float) -> Contest:
    """Return the state without a hold, and without the challenge that led to it."""
    rivals = tuple(replace(each, challenged_at=None) for each in state.rivals)
    return replace(
        state,
        phase=ContestPhase.WATCHING,
        reason=None,
        cause=None,
        trial_at=conflict.UNPLANNED,
        calm_at=now,
        rivals=rivals,
    )


def restarted(state: Contest) -> Contest:
    """Return the state of an instance that stays held while keepalived is started anew.

    What keepalived counted is past; which rival holds the address, and until when, is not.
    """
    return replace(
        state,
        state=VrrpState.INIT,
        dump=None,
        count=conflict.AdvertCount(),
        asked_at=conflict.NEVER,
        dump_at=None,
    )


def judge(state: Contest, now: float) -> Step:
    """End the hold once no rival lives; try without it where keepalived may count the rival.

    A trial ends when it has lasted long enough, or has made this instance MASTER.
    """
    is_trial = state.phase is ContestPhase.TRIAL
    if state.phase is ContestPhase.WATCHING:
        return state, ()
    if is_trial and now < state.trial_at and state.state is not VrrpState.MASTER:
        return state, ()
    if now >= alive_until(state, now):
        if is_trial:
            return calm(state, now), (ContestOrder.END_TRIAL,)
        is_blind = state.reason is HoldReason.ANNOUNCED
        blind_until = now + POLICY.fresh_for if is_blind else conflict.NEVER
        return replace(calm(state, now), blind_until=blind_until), (ContestOrder.RELEASE,)
    if is_trial:
        return _hold_after_trial(state, now)
    if now < state.trial_at:
        return state, ()
    if not _may_try(state, now):
        return replace(state, trial_at=now + POLICY.trial_first), ()
    lasts = POLICY.trial_adverts * state.context.advert_interval
    state = replace(
        state, phase=ContestPhase.TRIAL, trial_at=now + lasts, count=conflict.AdvertCount()
    )
    return state, (ContestOrder.BEGIN_TRIAL,)


def alive_until(state: Contest, now: float) -> float:
    """Return when the last rival that keeps the instance held counts as gone."""
    until = state.alive_until
    silence = state.context.master_down_interval
    if state.reason is HoldReason.ANNOUNCED:
        silence = silence_after_loss(state, now)
    for rival in state.rivals:
        until = max(until, rival.silent_at(state.context), rival.announced_at + silence)
    return until


def silence_after_loss(state: Contest, now: float) -> float:
    """Return the seconds without an announcement after which the winner counts as gone.

    The winner announces every ``defend_interval`` for ``fresh_for`` seconds after it last heard of
    this node, then every ``slow_announce``. Each further loss doubles the time, for a rival
    that announces too rarely, and from the second on the higher MACs wait longer: if all have
    yielded at once, they return one by one.
    """
    context = state.context
    often, seldom = context.paced(POLICY.defend_interval), context.paced(POLICY.slow_announce)
    missed = POLICY.missed_announcements
    silence = max(context.master_down_interval, (missed + 0.5) * often)
    silence = min(silence * 2.0 ** min(max(state.losses - 1, 0), 16), POLICY.silence_limit)
    if now >= state.held_at + POLICY.fresh_for - seldom:
        silence = max(silence, missed * seldom + 0.5 * often)
    lower = sum(
        rival.mac < context.mac and rival.announced_at >= state.held_at - silence
        for rival in state.rivals
    )
    return silence + (lower * often if state.losses > 1 else 0.0)


def _may_try(state: Contest, now: float) -> bool:
    """Return whether a trial can succeed: there are adverts that keepalived may now count.

    Adverts that show themselves why they are refused do not count: then a trial waits until they
    change. After yielding to a lower rank, a trial would end with preempting it again.
    """
    context = state.context
    if not state.watches_counters:
        return False
    rivals = state.advertisers(now)
    if state.reason is HoldReason.UNYIELDING and any(
        not each.outranks(context) for each in rivals
    ):
        return False
    return any(
        each.advert is not None and difference(each.advert, context) is None for each in rivals
    )


def try_by(state: Contest, moment: float) -> Contest:
    """Look soon whether keepalived counts a rival's adverts: something about them has changed."""
    if state.phase is not ContestPhase.HELD:
        return state
    return replace(state, trial_at=min(state.trial_at, moment), trials=0)
