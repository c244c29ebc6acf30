"""Whether keepalived counts the adverts that the agent sees: ``contest`` of a BACKUP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.rivalry import causes, timing, yielding
from ipfailover_agent.core.rivalry.conflict import (
    Action,
    Contest,
    ContestPhase,
    ContestPolicy,
    EndTrial,
    HoldReason,
)

if TYPE_CHECKING:
    from ipfailover_agent.core.rivalry.counters import AdvertCounters

Step = tuple[Contest, tuple[Action, ...]]


def count(
    state: Contest, heard_at: float, now: float, policy: ContestPolicy, *, is_new: bool
) -> Contest:
    """Count an advert that keepalived should count, in BACKUP.

    An agent that reads the advert late runs late, and keepalived may do so too: the time in which
    keepalived has to count it begins ``now``.
    """
    dump_at = state.dump_at
    if dump_at is None:
        return state
    if is_new:
        dump_at = now
        if state.is_counting or state.passed:
            # What was counted since the baseline shows nothing about this advert.
            state = replace(state, baseline=None, passed=0, second_at=None)
        state = replace(state, is_counting=False, dump_at=now)
    if state.baseline is None or heard_at <= state.baseline.taken_at:
        return state
    state = replace(state, passed=state.passed + 1)
    if state.passed in {timing.needed(state, now), 2}:
        state = replace(state, second_at=now)
        if not state.is_counting:
            state = replace(state, dump_at=min(dump_at, now + policy.settle))
    return state


def hope(state: Contest, until: float) -> Contest:
    """Look soon whether keepalived counts a rival's adverts: something about them has changed."""
    if state.phase is not ContestPhase.HELD or state.trial_at is None:
        return state
    return replace(state, trial_at=min(state.trial_at, until), trials=0)


def on_dump(state: Contest, counters: AdvertCounters, now: float, policy: ContestPolicy) -> Step:
    """Return the state after keepalived's answer, and whether a BACKUP has to yield."""
    if state.state is not VrrpState.BACKUP or counters.taken_at < state.since:
        return state, ()
    state = plan_dump(state, counters, now, policy)
    baseline = state.baseline
    if baseline is None or timing.went_back(baseline, counters):
        state = replace(state, baseline=counters, passed=0, second_at=None, is_counting=False)
        return state, ()
    if timing.accepted(state, baseline, counters) > 0:
        state = replace(state, baseline=counters, passed=0, second_at=None, is_counting=True)
        if state.phase is ContestPhase.TRIAL:
            state = replace(yielding.calm(state, now), blind_until=None)
            return state, (EndTrial(),)
        return state, ()
    is_refused = timing.refused(baseline, counters)
    if not is_refused and not timing.has_read_second(state, policy):
        return state, ()
    if (
        state.passed < (timing.needed(state, now) if is_refused else 2)
        or state.second_at is None
        or counters.taken_at
        < state.second_at + (policy.settle if is_refused else policy.doubt) - 1e-6
        or counters.state is not VrrpState.BACKUP
        or yielding.is_muted(state, now)
    ):
        return state, ()
    rivals = [each for each in state.rivals if each.advertises(state.context, now)]
    if not rivals or (advert := rivals[-1].advert) is None:
        return state, ()
    cause = causes.explain(advert, state.context, baseline, counters)
    return yielding.hold(state, HoldReason.UNCOUNTED, cause, now, policy)


def plan_dump(
    state: Contest, counters: AdvertCounters, now: float, policy: ContestPolicy
) -> Contest:
    """Return when to look again, given that ``counters`` have just come."""
    if state.dump_at is None:
        return state
    if state.second_at is not None and not state.is_counting:
        for timeout in (policy.settle, policy.doubt):
            wanted_at = state.second_at + timeout
            if counters.taken_at < wanted_at - 1e-6:
                # Asked before the adverts in question could be counted.
                return replace(state, dump_at=max(now, wanted_at))
        if not timing.has_read_second(state, policy):
            return replace(state, dump_at=now)
    wait = policy.dump_interval
    if state.phase is ContestPhase.TRIAL:
        wait = state.context.advert_interval
    return replace(state, dump_at=now + wait)
