"""BACKUP: does keepalived count the adverts of the rivals that the agent sees?

A keepalived that does not becomes MASTER beside them when its master-down timer ends. Its
counters show that before: two adverts between two dumps, none of them counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ipfailover_agent.conflict import causes, evidence, held
from ipfailover_agent.conflict import state as conflict
from ipfailover_agent.conflict.state import POLICY, ContestOrder, ContestPhase, HoldReason
from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from ipfailover_agent.conflict.state import Contest, DumpAnswered, Step
    from ipfailover_agent.vrrp.packets import Advert


def on_routine(state: Contest, advert: Advert, heard_at: float, now: float) -> Contest | None:
    """Return the state after an advert like the one before, None where it may change more.

    A BACKUP that counts gets such a one a second. A short path for it is worth its lines: a node
    may be BACKUP of 254 instances.
    """
    count = state.count
    if (
        state.state is not VrrpState.BACKUP
        or not count.is_counting
        or state.phase is not ContestPhase.WATCHING
        or not state.rivals
        or (state.deadline is not None and now >= state.deadline)
    ):
        return None
    rival = state.rivals[-1]
    if rival.advert != advert or not rival.advertises(state.context, heard_at):
        return None
    passed = count.passed + 1
    second_at = now if passed == 2 else count.second_at  # noqa: PLR2004 - as in on_advert
    rivals = (*state.rivals[:-1], replace(rival, advert_at=heard_at))
    return replace(state, rivals=rivals, count=replace(count, passed=passed, second_at=second_at))


def on_advert(state: Contest, heard_at: float, now: float, *, is_new: bool) -> Contest:
    """Count an advert that keepalived should count.

    An agent that reads the advert late runs late, and keepalived may do so too: the time in which
    keepalived has to count it begins ``now``.
    """
    count, dump_at = state.count, state.dump_at
    if dump_at is None:
        return state
    if is_new:
        # What was counted since the baseline shows nothing about this advert.
        count = conflict.AdvertCount() if count.is_counting or count.passed else count
        dump_at = now
        state = replace(state, count=count, dump_at=now)
    if count.baseline is None or heard_at <= count.baseline.taken_at:
        return state
    count = replace(count, passed=count.passed + 1)
    if count.passed in {evidence.adverts_needed(state, now), 2}:
        count = replace(count, second_at=now)
        if not count.is_counting:
            state = replace(state, dump_at=min(dump_at, now + POLICY.settle))
    return replace(state, count=count)


def on_left(state: Contest, heard_at: float) -> Contest:
    """Note that keepalived has become MASTER: an advert of this instance was seen leaving.

    With unicast one leaves for each peer, and the first may be answered before the last.
    """
    is_first = heard_at - state.left_at > POLICY.confirm
    return replace(state, left_at=heard_at) if is_first else state


def on_dump(state: Contest, answer: DumpAnswered, now: float) -> Step:
    """Return the state after keepalived's answer, and whether a BACKUP has to yield."""
    if state.state is not VrrpState.BACKUP or answer.taken_at < state.since:
        return state, ()
    state = _plan_dump(state, answer, now)
    count, baseline = state.count, state.count.baseline
    if baseline is None or evidence.went_back(baseline, answer):
        return replace(state, count=conflict.AdvertCount(baseline=answer)), ()
    if evidence.accepted(state, baseline, answer) > 0:
        state = replace(state, count=conflict.AdvertCount(baseline=answer, is_counting=True))
        if state.phase is ContestPhase.TRIAL:
            state = replace(held.calm(state, now), blind_until=conflict.NEVER)
            return state, (ContestOrder.END_TRIAL,)
        return state, ()
    is_refused = evidence.refused(baseline, answer)
    if not is_refused and not evidence.has_read_second(state):
        return state, ()
    if (
        count.passed < (evidence.adverts_needed(state, now) if is_refused else 2)
        or count.second_at is None
        or answer.taken_at
        < count.second_at + (POLICY.settle if is_refused else POLICY.doubt) - 1e-6
        or answer.state is not VrrpState.BACKUP
        or state.is_muted(now)
    ):
        return state, ()
    rivals = state.advertisers(now)
    if not rivals or (advert := rivals[-1].advert) is None:
        return state, ()
    cause = causes.explain(advert, state.context, baseline.counters, answer.counters)
    return held.hold(state, HoldReason.UNCOUNTED, cause, now)


def _plan_dump(state: Contest, answer: DumpAnswered, now: float) -> Contest:
    """Return when to ask again, given that an answer has just come."""
    if state.dump_at is None:
        return state
    count = state.count
    if count.second_at is not None and not count.is_counting:
        for timeout in (POLICY.settle, POLICY.doubt):
            wanted_at = count.second_at + timeout
            if answer.taken_at < wanted_at - 1e-6:
                # Asked before the adverts in question could be counted.
                return replace(state, dump_at=max(now, wanted_at))
        if not evidence.has_read_second(state):
            return replace(state, dump_at=now)
    wait = POLICY.dump_interval
    if state.phase is ContestPhase.TRIAL:
        wait = state.context.advert_interval
    return replace(state, dump_at=now + wait)


def judge(state: Contest, now: float) -> Step:
    """Ask keepalived for its counters where that is due."""
    if (
        state.state is not VrrpState.BACKUP
        or state.phase is ContestPhase.HELD
        or state.dump_at is None
        or now < state.dump_at
    ):
        return state, ()
    state = replace(state, dump_at=now + POLICY.dump_interval, asked_at=now)
    return state, (ContestOrder.ASK_DUMP,)
