"""Which side yields, which rival lives, what is due when: questions of ``contest``. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.rivalry.causes import difference
from ipfailover_agent.core.rivalry.conflict import Contest, ContestPhase, ContestPolicy, HoldReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfailover_agent.core.network.packets import Advert
    from ipfailover_agent.core.rivalry.counters import AdvertCounters
    from ipfailover_agent.core.rivalry.rivals import ContestContext, Rival


def watches_counters(context: ContestContext, policy: ContestPolicy) -> bool:
    """Return whether adverts are slow enough for trials and for holding a BACKUP in time."""
    return context.advert_interval >= policy.slowest_trial


def brisk_cadence(context: ContestContext, policy: ContestPolicy) -> float:
    """Return the seconds between two announcements while a contest is decided."""
    return max(policy.brisk_interval, context.announce_interval)


def stage_length(context: ContestContext, policy: ContestPolicy) -> float:
    """Return the seconds from one stage of a contest by announcements to the next."""
    return max(policy.confirm, policy.escalation * brisk_cadence(context, policy))


def lapse(context: ContestContext, policy: ContestPolicy) -> float:
    """Return the seconds without an announcement after which a contest begins anew.

    More than keepalived takes for its second burst, 5 s at the default timing; less than a loser
    waits before it returns.
    """
    return context.master_down_interval + 2.5 * repeat_interval(context, policy)


def was_disputing(state: Contest, rival: Rival, now: float, policy: ContestPolicy) -> bool:
    """Return whether a rival disputed the address with the former MASTER until now.

    It had been announcing for a while without adverts when this instance became MASTER, so it is
    the older one, and would have yielded if it could.
    """
    disputed_at, announced_at = rival.disputed_at, rival.announced_at
    if disputed_at is None or announced_at is None or is_advertising(state, rival.mac, now):
        return False
    is_repeated = announced_at - disputed_at >= policy.confirm
    return is_repeated and now - announced_at <= 1.5 * repeat_interval(state.context, policy)


def was_defying(state: Contest, rival: Rival, now: float, policy: ContestPolicy) -> bool:
    """Return whether a rival went on advertising against the higher rank of the former MASTER.

    Then it does not receive adverts, and will not receive this instance's either.
    """
    context = state.context
    if rival.defied_at is None or not is_recent(rival, context, now):
        return False
    return (
        now - rival.defied_at <= 1.5 * context.advert_interval + context.skew_time + policy.confirm
    )


def repeat_interval(context: ContestContext, policy: ContestPolicy) -> float:
    """Return the seconds between two announcements of the winner of a fresh contest."""
    return max(policy.defend_interval, context.announce_interval)


def slow_repeat_interval(context: ContestContext, policy: ContestPolicy) -> float:
    """Return the same for a contest that is no longer fresh."""
    return max(policy.slow_announce, context.announce_interval)


def memory_of(policy: ContestPolicy) -> float:
    """Return after how many seconds without a sign a rival is seen as if for the first time."""
    return (policy.missed_announcements + 0.5) * policy.slow_announce


def is_advertising(state: Contest, mac: bytes, now: float) -> bool:
    """Return whether adverts of a MAC are recent, for whichever id."""
    return any(each.mac == mac and each.advertises(state.context, now) for each in state.rivals)


def accepted(state: Contest, before: AdvertCounters, after: AdvertCounters) -> int:
    """Return how many adverts keepalived took between two dumps, at least.

    Adverts that list as many addresses as the instance has, but others, are counted before they
    are refused.
    """
    counted = after.advert_rcvd - before.advert_rcvd
    context = state.context
    own = sorted(map(int, context.addresses))
    if any(
        rival.advert is not None
        and rival.advertises(context, after.taken_at)
        and len(rival.advert.addresses) == len(own)
        and sorted(map(int, rival.advert.addresses)) != own
        for rival in state.rivals
    ):
        counted -= after.addr_list_err - before.addr_list_err
    return counted


def needed(state: Contest, now: float) -> int:
    """Return how many adverts after a dump have to be uncounted until a BACKUP yields.

    Two, since the first may have come before the dump; one where every rival's adverts show
    themselves that they will be refused, and keepalived's counters of errors confirm it: a node
    whose neighbour was reloaded is MASTER three adverts after the last that it counted.
    """
    rivals = [each for each in state.rivals if each.advertises(state.context, now)]
    is_plain = bool(rivals) and all(
        each.advert is not None and difference(each.advert, state.context) is not None
        for each in rivals
    )
    return 1 if is_plain else 2


def refused(before: AdvertCounters, after: AdvertCounters) -> bool:
    """Return whether keepalived counted adverts that it refused, between two dumps."""
    return (
        after.addr_list_err > before.addr_list_err
        or after.auth_failure > before.auth_failure
        or after.other_errors > before.other_errors
    )


def went_back(before: AdvertCounters, after: AdvertCounters) -> bool:
    """Return whether keepalived counts anew: it was restarted."""
    return after.advert_rcvd < before.advert_rcvd or after.advert_sent < before.advert_sent


def stage_of(rival: Rival, context: ContestContext, now: float, policy: ContestPolicy) -> int:
    """Return how far a contest by announcements has come when a rival is heard at ``now``."""
    begin = now if rival.contact_at is None else rival.contact_at
    return math.floor((now - begin) / stage_length(context, policy) + 1e-6)


def yields(state: Contest, rival: Rival, policy: ContestPolicy) -> bool:
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
    if rival.lapses >= policy.lapses_limit:
        return True
    contact_at = rival.last_seen if rival.contact_at is None else rival.contact_at
    down = state.context.master_down_interval
    is_new = contact_at - state.since < down
    is_higher = state.context.mac > rival.mac
    first_seen = min(
        each.first_seen
        for each in state.rivals
        if each.mac == rival.mac and contact_at - each.last_seen <= memory_of(policy)
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


def silence_after_loss(state: Contest, now: float, policy: ContestPolicy) -> float:
    """Return the seconds without an announcement after which the winner counts as gone.

    The winner announces every ``repeat_interval`` for ``fresh_for`` seconds after it last heard of
    this node, then every ``slow_repeat_interval``. Each further loss doubles the time, for a rival
    that announces too rarely, and from the second on the higher MACs wait longer: if all have
    yielded at once, they return one by one.
    """
    context = state.context
    often = repeat_interval(context, policy)
    seldom = slow_repeat_interval(context, policy)
    missed = policy.missed_announcements
    silence = max(context.master_down_interval, (missed + 0.5) * often)
    silence = min(silence * 2.0 ** min(max(state.losses - 1, 0), 16), policy.silence_limit)
    if now >= state.held_at + policy.fresh_for - seldom:
        silence = max(silence, missed * seldom + 0.5 * often)
    lower = sum(
        rival.announced_at is not None
        and rival.mac < context.mac
        and rival.announced_at >= state.held_at - silence
        for rival in state.rivals
    )
    return silence + (lower * often if state.losses > 1 else 0.0)


def alive_until(state: Contest, now: float, policy: ContestPolicy) -> float:
    """Return when the last rival that keeps the instance held counts as gone."""
    until = state.alive_until
    for rival in state.rivals:
        silent_at = rival.silent_at(state.context)
        if silent_at is not None:
            until = max(until, silent_at)
        if rival.announced_at is not None:
            silence = (
                silence_after_loss(state, now, policy)
                if state.reason is HoldReason.ANNOUNCED
                else state.context.master_down_interval
            )
            until = max(until, rival.announced_at + silence)
    return until


def may_try(state: Contest, now: float, policy: ContestPolicy) -> bool:
    """Return whether a trial can succeed: there are adverts that keepalived may now count.

    Adverts that show themselves why they are refused do not count: then a trial waits until they
    change. After yielding to a lower rank, a trial would end with preempting it again.
    """
    context = state.context
    if not watches_counters(context, policy):
        return False
    rivals = [each for each in state.rivals if each.advertises(context, now)]
    if state.reason is HoldReason.UNYIELDING and any(
        not each.outranks(context) for each in rivals
    ):
        return False
    return any(
        each.advert is not None and difference(each.advert, context) is None for each in rivals
    )


def trial_delay(trials: int, policy: ContestPolicy) -> float:
    """Return the seconds before trial number ``trials`` + 1, growing up to the limit."""
    delay: float = policy.trial_first * policy.trial_factor ** min(trials, 64)
    return min(delay, policy.trial_limit)


def patience_of(context: ContestContext, policy: ContestPolicy) -> float:
    """Return how long a lower rank may advertise beside this instance before that is unyielding.

    A rival with an agent that receives this node's adverts yields within an advert interval,
    ``confirm`` and ``dump_grace``; that is not much less than a second, however fast the timing.
    """
    slowest = context.advert_interval + policy.confirm + policy.dump_grace
    return max(slowest, policy.timeout) + policy.dump_grace


def is_unyielding(
    rival: Rival, context: ContestContext, now: float, policy: ContestPolicy
) -> bool:
    """Return whether a lower rank that is challenged had time to step down, and did not.

    keepalived advertises once more as it steps down, and may be late: that is no sign of it.
    """
    advert_at, begin = rival.advert_at or now, rival.challenged_at or now
    if rival.answered_at is not None and advert_at >= rival.answered_at + policy.answer:
        return True
    return advert_at >= begin + policy.answer and now >= begin + patience_of(context, policy)


def has_to_ask(state: Contest, advert: Advert, ask_at: float) -> bool:
    """Return whether to ask keepalived for its state at ``ask_at`` or later.

    A second time, too, when its answer came too late to show whether it has read what had come.
    """
    if state.asked_at is None or state.asked_at < ask_at:
        return True
    return not has_answered(state, advert, ask_at) and state.asked_at < state.answered_at


def has_answered(state: Contest, advert: Advert, ask_at: float) -> bool:
    """Return whether an answer shows that keepalived does not step down for a rival's advert.

    An advert that it refuses changes nothing, read or not; one that it would take it must have
    read.
    """
    if state.dump is None or difference(advert, state.context) is None:
        return state.read_until >= ask_at
    return state.dump.taken_at >= ask_at


def has_read_second(state: Contest, policy: ContestPolicy) -> bool:
    """Return whether keepalived has read the second advert that a BACKUP should have counted.

    A late answer does not show it, see ``Contest.read_until``.
    """
    return state.second_at is None or state.read_until >= state.second_at + policy.settle - 1e-6


def dump_wait(state: Contest, advert: Advert, policy: ContestPolicy) -> float:
    """Return how long to wait for keepalived's answer."""
    if state.dump is None or difference(advert, state.context) is not None:
        return policy.dump_grace
    return policy.dump_patience


def is_recent(rival: Rival, context: ContestContext, now: float) -> bool:
    """Return whether a rival's adverts go on: the newest is not overdue."""
    if rival.advert is None or rival.advert_at is None:
        return False
    return now - rival.advert_at <= 1.5 * max(context.advert_interval, rival.advert.interval)


def is_challenge(rival: Rival, begin: float, context: ContestContext, now: float) -> bool:
    """Return whether a challenge by a rival's adverts, which began then, still stands.

    A rival that ranks above this instance was there when the challenge began, and that decides:
    it may be kept from advertising for as long as it takes to yield to it. A rival of lower rank
    has to be there now.
    """
    return rival.advertises(context, begin if rival.outranks(context) else now)


def next_announcement(state: Contest, now: float, policy: ContestPolicy) -> float | None:
    """Return when a MASTER whose addresses are or were disputed announces next."""
    if not state.is_winner or state.fresh_until is None:
        return None
    if state.announced_at is None:
        return now
    if now < state.brisk_until:
        return state.announced_at + brisk_cadence(state.context, policy)
    is_fresh = now < state.fresh_until
    wait = (
        repeat_interval(state.context, policy)
        if is_fresh
        else slow_repeat_interval(state.context, policy)
    )
    return state.announced_at + wait


def next_deadline(state: Contest, now: float, policy: ContestPolicy) -> float | None:
    """Return when to look at a state again though nothing is reported meanwhile."""
    return min(_due(state, now, policy), default=None)


def _due(state: Contest, now: float, policy: ContestPolicy) -> Iterator[float]:
    if state.announce_at is not None:
        yield state.announce_at
    if state.phase is ContestPhase.HELD:
        yield alive_until(state, now, policy)
        yield from () if state.trial_at is None else (state.trial_at,)
        return
    if state.phase is ContestPhase.TRIAL and state.trial_at is not None:
        yield state.trial_at
    if state.state is VrrpState.BACKUP and state.dump_at is not None:
        yield state.dump_at
    if state.state is not VrrpState.MASTER or state.phase is not ContestPhase.WATCHING:
        return
    announcement = next_announcement(state, now, policy)
    if announcement is not None:
        yield announcement
    for rival in state.rivals:
        due = _challenge_due(state, rival, now, policy)
        if due is not None:
            yield due if state.not_before is None else max(due, state.not_before)


def _challenge_due(
    state: Contest, rival: Rival, now: float, policy: ContestPolicy
) -> float | None:
    context = state.context
    begin, advert = rival.challenged_at, rival.advert
    if begin is None or advert is None or not is_challenge(rival, begin, context, now):
        return None
    if not rival.outranks(context):
        due = begin + patience_of(context, policy)
        return due if now < due else None
    ask_at, decide_at = begin + policy.confirm - policy.dump_lead, begin + policy.confirm
    if has_to_ask(state, advert, ask_at):
        return ask_at
    return decide_at if now < decide_at else decide_at + dump_wait(state, advert, policy)
