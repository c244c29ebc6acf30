"""Which node may hold an address: events of one VRRP instance -> what to do about its rivals.

:func:`step` is pure. The agent feeds it events as they happen, with the monotonic time, and
carries out the actions in order. ``Contest.deadline`` is when to send ``ContestDeadlinePassed``.
An instance begins with ``Contest(context=...)``, unheld, and so it does whenever keepalived is
started.

The rules, with the default delays. D is the instance's master-down interval (3 advert intervals
and the skew time), A the advert interval, "yields" means that the hold file is set.

=========  ==============================  =======================================================
state      seen                            done
=========  ==============================  =======================================================
any        own MAC or own address;         nothing, or a report: no rivals
           priority 0; other addresses
MASTER     advert of a higher rank, also   still MASTER 0.3 s later, by the FIFO and by a dump
                                           unless none comes in 0.2 s: yields. An advert that
                                           keepalived would take it must have read: asked again
                                           after a late answer, 2.5 s at most
MASTER     by a reload, of an address of   the same: in sight at the reload is enough
           which adverts for another id
           were in sight until then
MASTER     adverts of a lower rank for     announces at once and every 0.4 s, 8 times: own adverts
           another id                      may be put off; the rival yields in 0.3 s, see above
MASTER     adverts of a lower rank         reported after 0.3 s, announces every second; an
                                           advert 0.8 s after an own one has left, or any A +
                                           0.7 s after the first: the rival cannot yield, so this
                                           instance does
MASTER     a rival that advertised beside  announces once
           it sends priority 0
MASTER     a rank that advertised against  yields at once: that rival receives no adverts
           the former MASTER until now
BACKUP     two adverts between two dumps,  yields before its master-down timer ends (A >= 1 s)
           none of them counted
MASTER     announcement, no advert of      announces at once and every 0.4 s, 8 times; the same
           that MAC in sight               MAC again: stages of 0.36 s, see ``timing.yields``
MASTER     such announcements for 0.3 s    yields at once: the former MASTER lost against that
           before it became MASTER         rival
MASTER     own adverts do not leave, all   announces likewise, and every second while that lasts:
           or those for one peer           nodes without the adverts get the announcements
BACKUP     an announcement, after a loss   yields
           by announcements
HELD       adverts in sight                a trial after 10, 20, ... 300 s (A >= 1 s): released
                                           for 2.5 A; counted: it stays released; else held again
HELD       no sign of any rival            released: D after adverts, else see below
MASTER     own loop stood still            announces 0.5 s later, unless it has left MASTER;
                                           what was received until then challenges no node, and
                                           a lower rank has D to step down
=========  ==============================  =======================================================

Silence after a loss by announcements: the winner announces every second for ten minutes after the
last sign of a rival, then every ten seconds; the loser waits for 3.5 of these, at least D, and
one second more for each lower MAC that announced. The wait doubles with each loss in a row, up to
300 s, so that a rival that announces seldom ends the changes as well. A node announces 10
addresses a second: with more than 4 (10) all that 0.4 s (a second) bounds here takes as long as a
round.

Bounds, where frames arrive within 0.1 s and agents run on both sides, from the first frame that a
node sees of the other while both are MASTER (adverts come every A, announcements when a node
becomes MASTER, and every 10 s):

- adverts of the higher rank seen: one holder 0.3 s later, 0.5 s where no dump comes; where a
  keepalived that would take them answers late, when it does, or as it hangs and is killed;
- only announcements seen: 0.5 s if one node was new, and knew the other for old or has the higher
  MAC; 0.9 s if both were new, 1.3 s if both were old, as after a partition; 1.7 s if the other
  never yields, and announces as often as an agent does. Of one that announces every S seconds,
  the first that comes 1.44 s or more after the first one decides: S = 1: 2 s; plain keepalived,
  where it sends its second burst: 5 s. Above 5.5 s: the third return;
- adverts of a lower rank that cannot yield: A, at least 0.8 s, where keepalived answers them, as
  it does unless a firewall keeps them from it; else A + 0.7 s;
- a third node that succeeds the one that has yielded yields within 0.1 s, where it received both
  nodes' adverts; where it got adverts of one only after it became MASTER, the above begins anew;
- an instance that is held and sees adverts is MASTER 2 D after a rival's last sign of life; one
  that lost by announcements D and the silence above after it: 7.5 s, 35 s once the contest is
  old. If all yield at once, as they may where frames are lost, the same brings the first one back.
- After that no node changes, but where the rules of VRRP itself let a higher rank return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.rivalry import adverts, causes, counting, timing, yielding
from ipfailover_agent.core.rivalry.conflict import (
    Action,
    AdvertLeft,
    AdvertSeen,
    Announce,
    AnnouncementSeen,
    AskDump,
    Contest,
    ContestDeadlinePassed,
    ContestPhase,
    ContestPolicy,
    DumpAnswered,
    Event,
    HoldReason,
    InstanceReconfigured,
    LoopStalled,
    NotLeaving,
    ReleaseInstance,
    ReportCause,
    StateEntered,
)
from ipfailover_agent.core.rivalry.rivals import Rival

if TYPE_CHECKING:
    from ipfailover_agent.core.network.packets import Announcement
    from ipfailover_agent.core.rivalry.counters import AdvertCounters

Step = tuple[Contest, tuple[Action, ...]]


def step(state: Contest, event: Event, now: float, policy: ContestPolicy) -> Step:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order."""
    match event:
        case StateEntered(state=entered):
            state, actions = _on_state(state, entered, now, policy)
        case AdvertSeen(advert=advert) if adverts.is_routine(
            state, advert, _heard(event, now), now
        ):
            return adverts.on_routine(state, _heard(event, now), now), ()
        case AdvertSeen():
            heard_at = _heard(event, now)
            state, actions = adverts.on_advert(state, event, heard_at, now, policy)
        case AnnouncementSeen(announcement=announcement):
            state, actions = _on_announcement(state, announcement, _heard(event, now), policy)
        case DumpAnswered(counters=counters):
            state, actions = _on_dump(state, counters, now, policy)
        case LoopStalled(seconds=seconds):
            state, actions = _on_gap(state, seconds, now, policy), ()
        case InstanceReconfigured():
            state, actions = _on_context(state, event, now, policy)
        case AdvertLeft():
            state, actions = _on_advert_left(state, _heard(event, now), policy), ()
        case NotLeaving():
            state, actions = _on_not_leaving(state, now, policy), ()
        case ContestDeadlinePassed():
            actions = ()
        case _:
            assert_never(event)
    state, more = yielding.judge(state, now, policy)
    deadline = timing.next_deadline(state, now, policy)
    if deadline != state.deadline:
        state = replace(state, deadline=deadline)
    return state, actions + more


def _heard(event: AdvertSeen | AnnouncementSeen | AdvertLeft, now: float) -> float:
    """Return when something was received; not later than now."""
    return now if event.heard_at is None else min(now, event.heard_at)


def awaits_own_advert(state: Contest) -> bool:
    """Return whether ``AdvertLeft`` means anything: most adverts of a MASTER bring nothing new."""
    if state.state is VrrpState.BACKUP:
        return True
    return any(
        each.challenged_at is not None and each.answered_at is None for each in state.rivals
    )


# --- what happened ------------------------------------------------------------------------------


def _on_state(state: Contest, entered: VrrpState, now: float, policy: ContestPolicy) -> Step:
    if entered is state.state and entered is not VrrpState.BACKUP:
        return state, ()
    rivals = tuple(each.forgiven() for each in state.rivals)
    if entered is VrrpState.MASTER:
        rivals = tuple(_challenged_early(each, state, now, policy) for each in rivals)
    state = replace(
        state,
        state=entered,
        since=now,
        rivals=rivals,
        baseline=None,
        passed=0,
        second_at=None,
        is_counting=False,
        dump_at=None,
        announce_at=None,
        is_winner=False,
        fresh_until=None,
        left_at=None,
    )
    match entered:
        case VrrpState.BACKUP if timing.watches_counters(state.context, policy):
            return replace(state, dump_at=now), ()
        case VrrpState.MASTER if state.phase is ContestPhase.HELD:
            return state, yielding.hold_again(state)
        case VrrpState.MASTER:
            return _on_promotion(state, now, policy)
        case VrrpState.STOP | VrrpState.DELETED:
            # Where an instance ends, so does what was done to it.
            ending = () if state.phase is ContestPhase.WATCHING else (ReleaseInstance(),)
            return Contest(context=state.context, state=entered, since=now), ending
        case _:
            return state, ()


def _challenged_early(rival: Rival, state: Contest, now: float, policy: ContestPolicy) -> Rival:
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
    if left_at is None or heard_at is None or heard_at < left_at or now - left_at > policy.confirm:
        return rival
    return replace(rival, challenged_at=now)


def _on_promotion(state: Contest, now: float, policy: ContestPolicy) -> Step:
    """Become MASTER, perhaps beside a rival that advertised before keepalived reported it."""
    disputing = [each for each in state.rivals if timing.was_disputing(state, each, now, policy)]
    if disputing and not yielding.is_muted(state, now):
        cause = _cause_of(state, disputing[-1])
        return yielding.hold(state, HoldReason.ANNOUNCED, cause, now, policy)
    if not yielding.is_muted(state, now):
        for each in state.rivals:
            if each.advert is not None and timing.was_defying(state, each, now, policy):
                # A higher rank is left to keepalived again as soon as a trial shows it.
                is_higher = each.outranks(state.context)
                reason = HoldReason.OUTRANKED if is_higher else HoldReason.UNYIELDING
                cause = causes.unheard(each.advert, state.context)
                return yielding.hold(state, reason, cause, now, policy)
    contacts = [
        each
        for each in state.rivals
        if each.announced_at is not None
        and now - each.announced_at < policy.confirm
        and not timing.is_advertising(state, each.mac, now + policy.confirm)
    ]
    for each in contacts:
        state = yielding.remember(state, replace(each, contact_at=now), policy)
    if contacts or yielding.is_blind(state, now):
        # A node that lost as well, against the rival that is gone, may get no adverts of this one.
        return yielding.burst(state, now, policy), ()
    return state, ()


def _cause_of(state: Contest, rival: Rival) -> causes.Cause:
    """Return the cause that a rival is of which only announcements are seen."""
    context = state.context
    adverts = [each.advert for each in state.rivals if each.mac == rival.mac]
    advert = next((each for each in reversed(adverts) if each is not None), None)
    address = rival.address or context.addresses[0]
    return causes.announcer(rival.mac, address, advert, context)


def _on_advert_left(state: Contest, now: float, policy: ContestPolicy) -> Contest:
    """Note which rivals should step down now, or that keepalived has become MASTER."""
    if state.state is VrrpState.BACKUP:
        # With unicast one leaves for each peer, and the first may be answered before the last.
        is_first = state.left_at is None or now - state.left_at > policy.confirm
        return replace(state, left_at=now) if is_first else state
    rivals = tuple(
        replace(each, answered_at=now)
        if each.challenged_at is not None and each.answered_at is None
        else each
        for each in state.rivals
    )
    return replace(state, rivals=rivals)


def _on_not_leaving(state: Contest, now: float, policy: ContestPolicy) -> Contest:
    """Have announcements show what adverts cannot: that this instance is MASTER."""
    if state.state is not VrrpState.MASTER or state.phase is not ContestPhase.WATCHING:
        return state
    if state.fresh_until is None or state.fresh_until < now:
        state = yielding.burst(state, now, policy)
        state = replace(state, fresh_until=now)
    wait = policy.missed_announcements * timing.repeat_interval(state.context, policy)
    return replace(state, fresh_until=max(state.fresh_until or now, now + wait))


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
    if rival.announced_at is not None and now - rival.announced_at > timing.lapse(context, policy):
        rival = rival.lapsed()
    rival = rival.sighted(now, timing.memory_of(policy))
    rival = replace(rival, announced_at=now, address=announcement.address)
    same = [each for each in state.rivals if each.mac in {mac, announcement.source_mac}]
    # A MASTER's keepalived counts the same silence, and was there a little sooner.
    in_sight_at = now + policy.confirm if state.state is VrrpState.MASTER else now
    if any(each.advertises(context, in_sight_at) for each in same):
        rival = replace(rival.forgiven(), disputed_at=None)
        return yielding.remember(state, rival, policy), ()
    if rival.disputed_at is None:
        rival = replace(rival, disputed_at=now)
    state = yielding.remember(state, rival, policy)
    if state.phase is ContestPhase.HELD and state.reason is not HoldReason.ANNOUNCED:
        if any(each.advertises(context, now) for each in state.rivals):
            return state, ()
        # Adverts have ceased to arrive: from now on its announcements say whether it lives.
        return replace(state, reason=HoldReason.ANNOUNCED, losses=max(state.losses, 1)), ()
    if state.phase is not ContestPhase.WATCHING:
        return state, ()
    cause = _cause_of(state, rival)
    if state.is_challenged_by(now):
        return _on_challenge(state, rival, cause, now, policy)
    if state.state is VrrpState.BACKUP and yielding.is_blind(state, now):
        return yielding.hold(state, HoldReason.ANNOUNCED, cause, now, policy)
    return state, ()


def _on_challenge(
    state: Contest, rival: Rival, cause: causes.Cause, now: float, policy: ContestPolicy
) -> Step:
    """Answer an announcement while MASTER: defend the address, or yield by the rules."""
    actions: tuple[Action, ...] = ()
    if rival.contact_at is None:
        # A dump shows whether keepalived hangs: a node that took over then was right to.
        state = replace(yielding.burst(state, now, policy), asked_at=now)
        rival, actions = replace(rival, contact_at=now), (AskDump(),)
    else:
        state = replace(state, is_winner=True, fresh_until=now + policy.fresh_for)
        stage = timing.stage_of(rival, state.context, now, policy)
        if stage and not rival.stage:
            actions = (ReportCause(cause=cause),)
        rival = replace(rival, stage=stage)
    state = yielding.remember(state, rival, policy)
    if not yielding.is_muted(state, now) and timing.yields(state, rival, policy):
        return yielding.hold(state, HoldReason.ANNOUNCED, cause, now, policy)
    return state, actions


def _on_dump(state: Contest, counters: AdvertCounters, now: float, policy: ContestPolicy) -> Step:
    state = _believe(state, counters, now, policy)
    if (
        state.state is VrrpState.MASTER
        and counters.state in {VrrpState.BACKUP, VrrpState.FAULT}
        and counters.taken_at > state.since
        and any(each.challenged_at is not None for each in state.rivals)
    ):
        # The FIFO's line is late, or lost: a full pipe drops lines.
        return _on_state(state, counters.state, now, policy)
    return counting.on_dump(state, counters, now, policy)


def _believe(
    state: Contest, counters: AdvertCounters, now: float, policy: ContestPolicy
) -> Contest:
    """Note an answer of keepalived, and what follows from when it came.

    A keepalived that ran late finds the question beside the adverts that wait for it, and answers
    first. It has read those once it answers another question, which was asked after that.
    """
    read_until = state.read_until
    if now - counters.taken_at <= policy.settle:
        read_until = max(read_until, counters.taken_at)
    elif state.dump is not None and counters.taken_at >= state.answered_at:
        read_until = max(read_until, state.dump.taken_at)
    return replace(state, dump=counters, answered_at=now, read_until=read_until)


def _on_gap(state: Contest, gap: float, now: float, policy: ContestPolicy) -> Contest:
    """Count time in which the agent did not look against no node."""
    context = state.context
    state = replace(
        state,
        rivals=tuple(each.shifted(gap, now) for each in state.rivals),
        alive_until=state.alive_until + gap,
        baseline=None,
        passed=0,
        second_at=None,
        left_at=None,
        blind_at=now,
    )
    if state.phase is ContestPhase.HELD and state.trial_at is not None:
        state = replace(state, trial_at=state.trial_at + gap)
    if state.dump_at is not None:
        state = replace(state, dump_at=now)
    if state.state is VrrpState.MASTER:
        state = _meet_claims(state, now, policy)
        if gap > context.advert_interval:
            # A node that took over has got adverts until now, and will again, however busy.
            patient_until = now + context.master_down_interval
            announce_at = now + policy.gap_delay
            state = replace(state, announce_at=announce_at, patient_until=patient_until)
        if gap >= context.master_down_interval:
            # Another node may have taken over meanwhile, with good reason: this is the new one.
            state = replace(state, since=now)
    return state


def _meet_claims(state: Contest, now: float, policy: ContestPolicy) -> Contest:
    """Take as challenges what came about these addresses before a reload brought them here.

    keepalived stays MASTER of an id over a reload, and has the id's new addresses at once, however
    long the adverts of the node that has them under another id are put off.
    """
    for each in state.rivals:
        if each.challenged_at is None and each.claims_elsewhere(state.context, now):
            state = yielding.remember(state, replace(each, challenged_at=now), policy)
            if adverts.is_other_id_below(state.context, each):
                state = yielding.burst(state, now, policy)
    return state


def _on_context(
    state: Contest, event: InstanceReconfigured, now: float, policy: ContestPolicy
) -> Step:
    """Apply another configuration, or other MACs or addresses of this host, without a new contest.

    Under another MAC than before a MASTER announces, and more than once: a switch may not forward
    at once. A rival that was taken for one by this host's own frames is removed.
    """
    context = event.context
    has_moved = context.mac != state.context.mac
    actions: tuple[Action, ...] = ()
    if context.differs_by_the_node(state.context):
        rivals = tuple(
            each
            for each in state.rivals
            if not context.is_own(each.mac)
            and (each.advert is None or not context.is_own_advert(each.advert))
        )
        state = replace(state, context=context, rivals=rivals)
    else:
        state, actions = _on_reconfigured(state, event, now)
    if has_moved and state.state is VrrpState.MASTER and state.phase is ContestPhase.WATCHING:
        state = yielding.burst(state, now, policy)
        state = replace(state, fresh_until=state.brisk_until, announced_at=now)
        actions = (*actions, Announce(is_urgent=True))
    return state, actions


def _on_reconfigured(state: Contest, event: InstanceReconfigured, now: float) -> Step:
    """Begin to look anew; a hold lasts until rivals of the new configuration are seen or not.

    A node that claims the addresses under another id is a rival already. A MASTER that gets an
    address by the reload is a new holder of that address: keepalived stays MASTER of the id, and
    another node may have held the address under another id for long.

    Where the id serves other addresses now, the reason of its hold does not concern them; where
    rivals are only reported from now on, a hold ends.
    """
    context, rivals = event.context, event.rivals
    if state.state is VrrpState.MASTER:
        # In sight now is enough: until the reload is over nothing is decided.
        rivals = tuple(replace(each, advert_at=now) for each in rivals)
    since = state.since if context.served <= state.context.served else now
    if state.phase is not ContestPhase.WATCHING and not context.shares(state.context):
        dump_at = None if state.dump_at is None else now
        fresh = Contest(
            context=context,
            state=state.state,
            since=since,
            dump_at=dump_at,
            rivals=rivals,
        )
        return fresh, (ReleaseInstance(),)
    ending: tuple[Action, ...] = ()
    if state.phase is not ContestPhase.WATCHING and not context.is_resolving:
        state, ending = yielding.calm(state, now), (ReleaseInstance(),)
    state = replace(
        state,
        context=context,
        since=since,
        rivals=rivals,
        alive_until=now + context.master_down_interval,
        baseline=None,
        passed=0,
        second_at=None,
        is_counting=False,
    )
    if state.dump_at is not None:
        state = replace(state, dump_at=now)
    # By then an advert has shown whether its sender has the same configuration.
    return counting.hope(state, now + 1.5 * context.advert_interval), ending
