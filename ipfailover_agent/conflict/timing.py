"""The intervals of a conflict, as they follow from the policy and from the instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.conflict.causes import difference
from ipfailover_agent.conflict.state import POLICY

if TYPE_CHECKING:
    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.conflict.state import Contest
    from ipfailover_agent.vrrp.packets import Advert


def watches_counters(context: ContestContext) -> bool:
    """Return whether adverts are slow enough for trials and for holding a BACKUP in time."""
    return context.advert_interval >= POLICY.slowest_trial


def burst_interval(context: ContestContext) -> float:
    """Return the seconds between two announcements while a contest is decided."""
    return max(POLICY.burst_interval, context.announce_interval)


def repeat_interval(context: ContestContext) -> float:
    """Return the seconds between two announcements of the winner of a fresh contest."""
    return max(POLICY.defend_interval, context.announce_interval)


def slow_repeat_interval(context: ContestContext) -> float:
    """Return the same for a contest that is no longer fresh."""
    return max(POLICY.slow_announce, context.announce_interval)


def stage_length(context: ContestContext) -> float:
    """Return the seconds from one stage of a contest by announcements to the next."""
    return max(POLICY.confirm, POLICY.escalation * burst_interval(context))


def lapse(context: ContestContext) -> float:
    """Return the seconds without an announcement after which a contest begins anew.

    More than keepalived takes for its second burst, 5 s at the default timing; less than a loser
    waits before it returns.
    """
    return context.master_down_interval + 2.5 * repeat_interval(context)


def burst(state: Contest, now: float) -> Contest:
    """Return the state of an instance that announces often for a while, then as a winner does."""
    lasts = POLICY.burst_rounds * burst_interval(state.context)
    return replace(
        state,
        is_winner=True,
        burst_until=now + lasts,
        fresh_until=now + max(POLICY.fresh_for, lasts),
    )


def next_announcement(state: Contest, now: float) -> float | None:
    """Return when a MASTER whose addresses are or were disputed announces next."""
    if not state.is_winner or state.fresh_until is None:
        return None
    if state.announced_at is None:
        return now
    if now < state.burst_until:
        return state.announced_at + burst_interval(state.context)
    interval = repeat_interval if now < state.fresh_until else slow_repeat_interval
    return state.announced_at + interval(state.context)


def silence_after_loss(state: Contest, now: float) -> float:
    """Return the seconds without an announcement after which the winner counts as gone.

    The winner announces every ``repeat_interval`` for ``fresh_for`` seconds after it last heard of
    this node, then every ``slow_repeat_interval``. Each further loss doubles the time, for a rival
    that announces too rarely, and from the second on the higher MACs wait longer: if all have
    yielded at once, they return one by one.
    """
    context = state.context
    often = repeat_interval(context)
    seldom = slow_repeat_interval(context)
    missed = POLICY.missed_announcements
    silence = max(context.master_down_interval, (missed + 0.5) * often)
    silence = min(silence * 2.0 ** min(max(state.losses - 1, 0), 16), POLICY.silence_limit)
    if now >= state.held_at + POLICY.fresh_for - seldom:
        silence = max(silence, missed * seldom + 0.5 * often)
    lower = sum(
        rival.announced_at is not None
        and rival.mac < context.mac
        and rival.announced_at >= state.held_at - silence
        for rival in state.rivals
    )
    return silence + (lower * often if state.losses > 1 else 0.0)


def trial_delay(trials: int) -> float:
    """Return the seconds before trial number ``trials`` + 1, growing up to the limit."""
    delay: float = POLICY.trial_first * POLICY.trial_factor ** min(trials, 64)
    return min(delay, POLICY.trial_limit)


def yield_timeout(context: ContestContext) -> float:
    """Return how long a lower rank may advertise beside this instance before that is unyielding.

    A rival with an agent that receives this node's adverts yields within an advert interval,
    ``confirm`` and ``dump_grace``; that is not much less than a second, however fast the timing.
    """
    slowest = context.advert_interval + POLICY.confirm + POLICY.dump_grace
    return max(slowest, POLICY.timeout) + POLICY.dump_grace


def dump_timeout(state: Contest, advert: Advert) -> float:
    """Return how long to wait for keepalived's answer before yielding to a higher rank."""
    if state.dump is None or difference(advert, state.context) is not None:
        return POLICY.dump_grace
    return POLICY.dump_timeout
