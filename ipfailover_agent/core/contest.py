"""Who may hold an address: what happened to one VRRP instance -> what to do about its rivals.

:func:`step` is pure. The agent feeds it events as they happen, with the monotonic time, and
carries out the actions in order. ``Contest.deadline`` says when to send ``DeadlinePassed``. An
instance begins with ``Contest(context=...)``, unheld; so it does whenever keepalived is started.

The rules, with the default delays. D is our master-down time (3 advert intervals and the skew), A
the advert interval, "yields" means that the hold file is set.

=========  ==============================  =======================================================
state      seen                            done
=========  ==============================  =======================================================
any        own MAC or own address;         nothing, or a report: no rivals
           priority 0; other addresses
MASTER     advert of a higher rank         still MASTER 0.3 s later, by the FIFO and by a dump
                                           unless none comes in 0.2 s: yields
MASTER     adverts of a lower rank         reported after 0.3 s, announces every second; still
                                           there after A + 0.7 s: it cannot yield, so we do
BACKUP     two adverts between two dumps,  yields before its master-down timer ends (A >= 1 s)
           none of them counted
MASTER     announcement, no advert of      announces at once and every second; the same MAC
           that MAC in sight               again after 0.3 s: stages, see ``verdicts.yields``
BACKUP     the same, after such a loss     yields
HELD       adverts in sight                a trial after 10, 20, ... 300 s (A >= 1 s): released
                                           for 2.5 A; counted: it stays released; else held again
HELD       no sign of any rival            released: D after adverts, else see below
MASTER     own loop stood still            announces 0.5 s later, unless it has left MASTER
=========  ==============================  =======================================================

Silence after a loss by announcements: the winner announces every second for ten minutes after it
last heard of a rival, then every ten seconds; the loser waits for 3.5 of these, at least D, and
one second more for each lower MAC it heard. The wait doubles with each loss in a row, up to
300 s, so that one who announces seldom ends the changes as well.

Bounds, where frames arrive within 0.1 s and agents run on both sides, from the first frame that a
node sees of the other while both are MASTER (adverts come every A, announcements every 10 s or
when one becomes MASTER):

- adverts of the higher rank seen: one holder 0.3 s later, 0.5 s where no dump comes;
- only announcements seen: 1.3 s if one was new, and knew the other for old or has the higher
  MAC; up to 3.5 s otherwise, as after a partition;
- adverts of a lower rank that cannot yield: A + 0.7 s;
- an instance that is held and sees adverts is MASTER 2 D after a rival's last sign of life; one
  that lost by announcements D and the silence above after it: 7.5 s, 35 s once the contest is
  old. If all yield at once, as they may where frames are lost, the same brings the first one back.
- After that nobody changes, but where the rules of VRRP itself let a higher rank return.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from ipfailover_agent.core import causes, verdicts, yielding
from ipfailover_agent.core.conflict import (
    Action,
    AdvertSeen,
    AnnouncementSeen,
    Contest,
    ContestPolicy,
    Counters,
    DeadlinePassed,
    DumpAnswered,
    EndTrial,
    Event,
    Gap,
    HoldReason,
    Phase,
    Reconfigured,
    Release,
    Report,
    StateEntered,
)
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.rivals import ContestContext, Rival, is_alike

if TYPE_CHECKING:
    from ipfailover_agent.core.packets import Advert, Announcement

Step = tuple[Contest, tuple[Action, ...]]


def step(state: Contest, event: Event, now: float, policy: ContestPolicy) -> Step:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order."""
    match event:
        case StateEntered(state=entered):
            state, actions = _on_state(state, entered, now, policy)
        case AdvertSeen(advert=advert) if _is_routine(state, advert, now):
            return _on_routine(state, now), ()
        case AdvertSeen():
            state, actions = _on_advert(state, event, now, policy)
        case AnnouncementSeen(announcement=announcement):
            state, actions = _on_announcement(state, announcement, now, policy)
        case DumpAnswered(counters=counters):
            state, actions = _on_dump(state, counters, now, policy)
        case Gap(seconds=seconds):
            state, actions = _on_gap(state, seconds, now, policy), ()
        case Reconfigured(context=context):
            state, actions = _on_reconfigured(state, context, now), ()
        case DeadlinePassed():
            actions = ()
        case _:
            assert_never(event)
    state, more = yielding.judge(state, now, policy)
    return replace(state, deadline=verdicts.next_deadline(state, now, policy)), actions + more


# --- what happened ------------------------------------------------------------------------------


def _on_state(state: Contest, entered: VrrpState, now: float, policy: ContestPolicy) -> Step:
    if entered is state.state and entered is not VrrpState.BACKUP:
        return state, ()
    state = replace(
        state,
        state=entered,
        since=now,
        rivals=tuple(each.forgiven() for each in state.rivals),
        baseline=None,
        passed=0,
        second_at=None,
        is_counting=False,
        dump_at=None,
        announce_at=None,
        is_winner=False,
        fresh_until=None,
    )
    match entered:
        case VrrpState.BACKUP if verdicts.watches_counters(state.context, policy):
            return replace(state, dump_at=now), ()
        case VrrpState.MASTER if state.phase is Phase.HELD:
            return state, yielding.hold_again(state)
        case VrrpState.MASTER:
            return _on_promotion(state, now, policy), ()
        case VrrpState.STOP | VrrpState.DELETED:
            # Where an instance ends, so does what was done to it.
            ending = () if state.phase is Phase.WATCHING else (Release(),)
            return Contest(context=state.context, state=entered, since=now), ending
        case _:
            return state, ()


def _on_promotion(state: Contest, now: float, policy: ContestPolicy) -> Contest:
    """Become MASTER, perhaps together with somebody who was heard before keepalived told us."""
    contacts = [
        each
        for each in state.rivals
        if each.announced_at is not None
        and now - each.announced_at < policy.confirm
        and not verdicts.is_advertising(state, each.mac, now + policy.confirm)
    ]
    for each in contacts:
        state = yielding.remember(state, replace(each, contact_at=now), policy)
    if contacts or yielding.is_blind(state, now):
        # Who lost as we did, against the one that is gone, knows us by announcements only.
        return replace(state, is_winner=True, fresh_until=now + policy.fresh_for)
    return state


def _is_routine(state: Contest, advert: Advert, now: float) -> bool:
    """Tell whether an advert is what a BACKUP that counts hears every second, and changes nothing.

    Worth a short way: a node may be BACKUP of 254 instances.
    """
    if (
        state.state is not VrrpState.BACKUP
        or not state.is_counting
        or state.phase is not Phase.WATCHING
        or not state.rivals
        or (state.deadline is not None and now >= state.deadline)
    ):
        return False
    rival = state.rivals[-1]
    return rival.advert == advert and rival.advertises(state.context, now)


def _on_routine(state: Contest, now: float) -> Contest:
    passed = state.passed + 1
    return replace(
        state,
        rivals=(*state.rivals[:-1], replace(state.rivals[-1], advert_at=now)),
        passed=passed,
        second_at=now if passed == 2 else state.second_at,  # noqa: PLR2004 - see _count
    )


def _on_advert(state: Contest, event: AdvertSeen, now: float, policy: ContestPolicy) -> Step:
    advert, context = event.advert, state.context
    if context.is_own(advert.source_mac) or context.is_own_address(advert.source):
        return state, (Report(cause=causes.own_echo(str(advert.source), advert.source_mac)),)
    known = state.rival(advert.source_mac, advert.virtual_router_id)
    if not advert.priority:
        return _on_leaving(state, advert.source_mac, advert.virtual_router_id, now), ()
    if not context.is_claimed_by(advert):
        if advert.virtual_router_id != context.virtual_router_id:
            return state, ()
        return state, (Report(cause=causes.id_clash(advert, context, event.seen_ids)),)
    if known is None:
        known = Rival(mac=advert.source_mac, router_id=advert.virtual_router_id, first_seen=now)
    elif known.left_at is not None and now - known.left_at < policy.leaving:
        return state, ()
    was_in_sight = known.advertises(context, now)
    is_same = was_in_sight and is_alike(known.advert, advert)
    challenged_at = known.challenged_at if was_in_sight else None
    has_changed_rank = known.outranks(context) is not context.ranks_below(advert)
    if state.state is VrrpState.MASTER and (challenged_at is None or has_changed_rank):
        challenged_at = now
    rival = replace(
        known.sighted(now, verdicts.memory_of(policy)),
        advert=advert,
        advert_at=now,
        challenged_at=challenged_at,
        is_reported=known.is_reported and was_in_sight,
    )
    state = yielding.remember(state, rival, policy)
    if was_in_sight and not is_same and causes.difference(advert, context) is None:
        state = _hope(state, now)
    if state.state is VrrpState.BACKUP:
        state = _count(state, now, policy, is_new=not is_same)
    return state, ()


def _hope(state: Contest, until: float) -> Contest:
    """Try soon whether keepalived counts a rival's adverts: something has changed about them."""
    if state.phase is not Phase.HELD or state.trial_at is None:
        return state
    return replace(state, trial_at=min(state.trial_at, until), trials=0)


def _on_leaving(state: Contest, mac: bytes, router_id: int, now: float) -> Contest:
    """Forget a rival that has sent priority 0, but for what is still under way from it."""
    rivals = tuple(
        replace(each.forgiven(), first_seen=now, advert_at=None, announced_at=None, left_at=now)
        if each.mac == mac and each.router_id in {router_id, None}
        else each
        for each in state.rivals
    )
    return replace(state, rivals=rivals, alive_until=min(state.alive_until, now))


def _count(state: Contest, now: float, policy: ContestPolicy, *, is_new: bool) -> Contest:
    """Count an advert that keepalived should count, in BACKUP."""
    if state.dump_at is None:
        return state
    if is_new:
        if state.is_counting:  # what was counted since the baseline says nothing of this one
            state = replace(state, baseline=None, passed=0, second_at=None)
        state = replace(state, is_counting=False, dump_at=now)
    if state.baseline is None or now <= state.baseline.taken_at:
        return state
    state = replace(state, passed=state.passed + 1)
    if state.passed in {verdicts.needed(state, now), 2}:
        state = replace(state, second_at=now)
        if not state.is_counting and state.dump_at is not None:
            state = replace(state, dump_at=min(state.dump_at, now + policy.settle))
    return state


def _on_announcement(
    state: Contest, announcement: Announcement, now: float, policy: ContestPolicy
) -> Step:
    context, mac = state.context, announcement.announced_mac
    if context.is_own(mac) or context.is_own(announcement.source_mac):
        return state, ()
    if not context.holds(announcement.address):
        return state, ()
    rival = state.rival(mac, None) or Rival(mac=mac, first_seen=now)
    if rival.left_at is not None and now - rival.left_at < policy.leaving:
        return state, ()
    rival = replace(rival.sighted(now, verdicts.memory_of(policy)), announced_at=now)
    same = [each for each in state.rivals if each.mac in {mac, announcement.source_mac}]
    # A MASTER's keepalived counts the same silence, and was there a little sooner.
    in_sight_at = now + policy.confirm if state.state is VrrpState.MASTER else now
    if any(each.advertises(context, in_sight_at) for each in same):
        return yielding.remember(state, rival.forgiven(), policy), ()
    state = yielding.remember(state, rival, policy)
    if state.phase is Phase.HELD and state.reason is not HoldReason.ANNOUNCED:
        # Adverts have ceased to arrive: from now on its announcements say whether it lives.
        return replace(state, reason=HoldReason.ANNOUNCED, losses=max(state.losses, 1)), ()
    if state.phase is not Phase.WATCHING:
        return state, ()
    advert = next((each.advert for each in reversed(same) if each.advert is not None), None)
    cause = causes.announcer(announcement, advert, context.virtual_router_id)
    if state.state is VrrpState.MASTER:
        return _on_challenge(state, rival, cause, now, policy)
    if state.state is VrrpState.BACKUP and yielding.is_blind(state, now):
        return yielding.hold(state, HoldReason.ANNOUNCED, cause, now, policy)
    return state, ()


def _on_challenge(
    state: Contest, rival: Rival, cause: causes.Cause, now: float, policy: ContestPolicy
) -> Step:
    """Answer an announcement while MASTER: defend, and yield if it is ours to yield."""
    actions: tuple[Action, ...] = ()
    state = replace(state, is_winner=True, fresh_until=now + policy.fresh_for)
    if rival.contact_at is None:
        rival = replace(rival, contact_at=now)
    elif rival.repeated_at is None:
        if now >= rival.contact_at + policy.confirm:
            rival = replace(rival, repeated_at=now, stage=1)
            actions = (Report(cause=cause),)
    elif now >= rival.repeated_at + rival.stage * policy.escalation:
        rival = replace(rival, stage=rival.stage + 1)
    state = yielding.remember(state, rival, policy)
    if not yielding.is_muted(state, now) and verdicts.yields(state, rival, policy):
        return yielding.hold(state, HoldReason.ANNOUNCED, cause, now, policy)
    return state, actions


def _on_dump(state: Contest, counters: Counters, now: float, policy: ContestPolicy) -> Step:
    state = replace(state, dump=counters)
    if (
        state.state is VrrpState.MASTER
        and counters.state in {VrrpState.BACKUP, VrrpState.FAULT}
        and counters.taken_at > state.since
        and any(each.challenged_at is not None for each in state.rivals)
    ):
        # The FIFO's line is late, or lost: a full pipe drops lines.
        return _on_state(state, counters.state, now, policy)
    if state.state is not VrrpState.BACKUP or counters.taken_at < state.since:
        return state, ()
    state = _plan_dump(state, counters, now, policy)
    baseline = state.baseline
    if baseline is None or verdicts.went_back(baseline, counters):
        return replace(state, baseline=counters, passed=0, second_at=None), ()
    if verdicts.accepted(state, baseline, counters) > 0:
        state = replace(state, baseline=counters, passed=0, second_at=None, is_counting=True)
        if state.phase is Phase.TRIAL:
            state = replace(yielding.calm(state, now), blind_until=None)
            return state, (EndTrial(),)
        return state, ()
    is_refused = verdicts.refused(baseline, counters)
    if (
        state.passed < (verdicts.needed(state, now) if is_refused else 2)
        or state.second_at is None
        or counters.taken_at < state.second_at + policy.settle - 1e-6
        or counters.state is not VrrpState.BACKUP
        or yielding.is_muted(state, now)
    ):
        return state, ()
    rivals = [each for each in state.rivals if each.advertises(state.context, now)]
    if not rivals or (advert := rivals[-1].advert) is None:
        return state, ()
    cause = causes.explain(advert, state.context, baseline, counters)
    return yielding.hold(state, HoldReason.UNCOUNTED, cause, now, policy)


def _plan_dump(state: Contest, counters: Counters, now: float, policy: ContestPolicy) -> Contest:
    """Say when to look again, given that ``counters`` have just come."""
    if state.dump_at is None:
        return state
    wanted_at = None if state.second_at is None else state.second_at + policy.settle
    if wanted_at is not None and not state.is_counting and counters.taken_at < wanted_at:
        # Asked before the adverts in question could be counted.
        return replace(state, dump_at=max(now, wanted_at))
    wait = policy.dump_interval
    if state.phase is Phase.TRIAL:
        wait = state.context.advert_interval
    return replace(state, dump_at=now + wait)


def _on_gap(state: Contest, gap: float, now: float, policy: ContestPolicy) -> Contest:
    """Let time in which we did not look count against nobody."""
    context = state.context
    state = replace(
        state,
        rivals=tuple(each.shifted(gap, now) for each in state.rivals),
        alive_until=state.alive_until + gap,
        baseline=None,
        passed=0,
        second_at=None,
    )
    if state.phase is Phase.HELD and state.trial_at is not None:
        state = replace(state, trial_at=state.trial_at + gap)
    if state.dump_at is not None:
        state = replace(state, dump_at=now)
    if state.state is VrrpState.MASTER:
        if gap > context.advert_interval:
            state = replace(state, announce_at=now + policy.gap_delay)
        if gap >= context.master_down_time:
            # Somebody may have taken over meanwhile, with good reason: we are the new one.
            state = replace(state, since=now)
    return state


def _on_reconfigured(state: Contest, context: ContestContext, now: float) -> Contest:
    """Begin to look anew; a hold lasts until rivals of the new configuration are seen or not."""
    state = replace(
        state,
        context=context,
        rivals=(),
        alive_until=now + context.master_down_time,
        baseline=None,
        passed=0,
        second_at=None,
        is_counting=False,
    )
    if state.dump_at is not None:
        state = replace(state, dump_at=now)
    # By then an advert has shown whether its sender has the same configuration.
    return _hope(state, now + 1.5 * context.advert_interval)
