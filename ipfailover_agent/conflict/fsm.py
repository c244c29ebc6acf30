"""Which node may hold an address: events of one VRRP instance -> what to do about its rivals.

:func:`step` is pure. ``Contests`` passes events as they happen, with the monotonic time, and
carries out the actions in order. ``Contest.deadline`` is when to send ``DEADLINE_PASSED``.
An instance begins with ``Contest(context=...)``, unheld, and so it does whenever keepalived is
started; only where keepalived is started anew at once, an instance that is held stays so.

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
           that MAC in sight               MAC again: stages of 0.36 s, see ``master.yields``
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
  nodes' adverts; within A + 0.7 s where its keepalived refuses the list of the rival, whose next
  advert its own may put off; where it got adverts of one only after it became MASTER, the above
  begins anew;
- an instance that is held and sees adverts is MASTER 2 D after a rival's last sign of life; one
  that lost by announcements D and the silence above after it: 7.5 s, 35 s once the contest is
  old. If all yield at once, as they may where frames are lost, the same brings the first one back.
- After that no node changes, but where the rules of VRRP itself let a higher rank return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from ipfailover_agent.conflict import backup, causes, contexts, evidence, held, master
from ipfailover_agent.conflict import state as conflict
from ipfailover_agent.conflict.state import POLICY, Contest, ContestOrder, ContestPhase, HoldReason
from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfailover_agent.conflict.state import Action, Event, Step


def step(state: Contest, event: Event, now: float) -> Step:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order."""
    actions: tuple[Action, ...] = ()
    match event:
        case VrrpState():
            state, actions = _on_state(state, event, now)
        case conflict.AdvertSeen(advert=advert):
            heard_at = min(now, event.heard_at)
            if (routine := backup.on_routine(state, advert, heard_at, now)) is not None:
                return routine, ()
            state, actions = _on_advert(state, event, heard_at, now)
        case conflict.AnnouncementSeen():
            state, actions = _on_announcement(state, event, min(now, event.heard_at))
        case conflict.AdvertLeft(heard_at=heard_at):
            rules = backup if state.state is VrrpState.BACKUP else master
            state = rules.on_left(state, min(now, heard_at))
        case conflict.DumpAnswered():
            state, actions = _on_dump(state, event, now)
        case conflict.LoopStalled(seconds=seconds):
            state = _on_stall(state, seconds, now)
        case conflict.InstanceReconfigured():
            state, actions = _on_context(state, event, now)
        case conflict.ContestSign.NOT_LEAVING:
            state = master.on_not_leaving(state, now)
        case conflict.ContestSign.DEADLINE_PASSED:
            pass
        case _:
            assert_never(event)
    state, more = _judge(state, now)
    due = min(_deadlines(state, now))
    deadline = None if due == conflict.UNPLANNED else due
    if deadline != state.deadline:
        state = replace(state, deadline=deadline)
    return state, actions + more


# --- what is due, whatever has happened ---------------------------------------------------------


def _judge(state: Contest, now: float) -> Step:
    actions: tuple[Action, ...] = ()
    if now >= state.announce_at:
        is_serving = state.state is VrrpState.MASTER
        state = replace(state, announce_at=conflict.UNPLANNED, announced_at=now)
        actions = (ContestOrder.ANNOUNCE,) if is_serving else ()
    for judge in (held.judge, master.judge, backup.judge):
        state, more = judge(state, now)
        actions += more
    return state, actions


def _deadlines(state: Contest, now: float) -> Iterator[float]:
    """Yield when there may be something to do though nothing happens meanwhile."""
    yield state.announce_at
    yield state.trial_at
    if state.phase is ContestPhase.HELD:
        yield held.alive_until(state, now)
    elif state.state is VrrpState.BACKUP and state.dump_at is not None:
        yield state.dump_at
    elif state.state is VrrpState.MASTER and state.phase is ContestPhase.WATCHING:
        yield from master.deadlines(state, now)


# --- keepalived and the agent's own loop --------------------------------------------------------


def _on_state(state: Contest, entered: VrrpState, now: float) -> Step:
    if entered is state.state and entered is not VrrpState.BACKUP:
        return state, ()
    rivals = tuple(each.forgiven() for each in state.rivals)
    if entered is VrrpState.MASTER:
        rivals = tuple(master.challenged_early(each, state, now) for each in rivals)
    state = replace(
        state,
        state=entered,
        since=now,
        rivals=rivals,
        count=conflict.AdvertCount(),
        dump_at=None,
        announce_at=conflict.UNPLANNED,
        fresh_until=None,
        left_at=conflict.NEVER,
    )
    match entered:
        case VrrpState.BACKUP if state.watches_counters:
            return replace(state, dump_at=now), ()
        case VrrpState.MASTER if state.phase is ContestPhase.HELD:
            return state, (held.hold_again(state),)
        case VrrpState.MASTER:
            return master.on_promotion(state, now)
        case VrrpState.STOP | VrrpState.DELETED:
            # A hold ends with its instance.
            ending = () if state.phase is ContestPhase.WATCHING else (ContestOrder.RELEASE,)
            return Contest(context=state.context, state=entered, since=now), ending
        case _:
            return state, ()


def _on_dump(state: Contest, answer: conflict.DumpAnswered, now: float) -> Step:
    state = evidence.believe(state, answer, now)
    if (
        state.state is VrrpState.MASTER
        and answer.state in {VrrpState.BACKUP, VrrpState.FAULT}
        and answer.taken_at > state.since
        and any(each.challenged_at is not None for each in state.rivals)
    ):
        # The FIFO's line is late, or lost: a full pipe drops lines.
        return _on_state(state, answer.state, now)
    return backup.on_dump(state, answer, now)


def _on_stall(state: Contest, gap: float, now: float) -> Contest:
    """Count time in which the agent did not look against no node.

    That keepalived counted a rival's adverts shows nothing about the next ones: a reload, or its
    first step of two, ends with this too, and keepalived may have another list from then on.
    """
    context = state.context
    state = replace(
        state,
        rivals=tuple(each.shifted(gap, now) for each in state.rivals),
        alive_until=state.alive_until + gap,
        count=conflict.AdvertCount(),
        left_at=conflict.NEVER,
        blind_at=now,
    )
    if state.phase is ContestPhase.HELD:
        state = replace(state, trial_at=state.trial_at + gap)
    if state.dump_at is not None:
        state = replace(state, dump_at=now)
    if state.state is VrrpState.MASTER:
        state = master.meet_claims(state, now)
        if gap > context.advert_interval:
            # A node that took over has got adverts until now, and will again, however busy.
            exempt_until = now + context.master_down_interval
            announce_at = now + POLICY.stall_delay
            state = replace(state, announce_at=announce_at, exempt_until=exempt_until)
        if gap >= context.master_down_interval:
            # Another node may have taken over, with good reason: then this node is the new one.
            state = replace(state, since=now)
    return state


# --- other nodes --------------------------------------------------------------------------------


def _on_advert(state: Contest, event: conflict.AdvertSeen, now: float, read_at: float) -> Step:
    """Return the state after a received advert, and the reports about it.

    ``now`` is when the kernel received the advert, ``read_at`` when the agent reads it.
    """
    advert, context = event.advert, state.context
    if context.is_own_advert(advert):
        return state, (conflict.ReportCause(cause=causes.own_echo(advert)),)
    if not contexts.is_from_segment(advert, context.unicast_peers):
        return state, (conflict.ReportCause(cause=causes.routed(advert, event.outlook)),)
    mac, router_id = advert.source_mac, advert.virtual_router_id
    known = state.rival(mac, router_id)
    if not advert.priority:
        if known is not None:
            state = evidence.note_defiance(state, known, now)
        if known is not None and known.challenged_at is not None:
            # The rival was MASTER too, and clients may have taken its announcements for the last.
            state = replace(state, announce_at=now)
        return evidence.forget(state, mac, router_id, now), ()
    if not context.is_claimed_by(advert):
        state = evidence.disclaimed(state, known, now)
        if router_id != context.virtual_router_id:
            return state, ()
        cause = causes.id_clash([advert], context.router_ids, event.seen_ids, event.outlook)
        return state, (conflict.ReportCause(cause=cause),)
    if known is None:
        known = conflict.Rival(mac=mac, router_id=router_id, first_seen=now)
    elif now - known.left_at < POLICY.leaving:
        return state, ()
    was_in_sight = known.advertises(context, now)
    is_same = was_in_sight and evidence.is_alike(known.advert, advert)
    challenged_at = known.challenged_at if was_in_sight else None
    has_changed_rank = known.outranks(context) is not context.ranks_below(advert)
    answered_at = known.answered_at if was_in_sight else None
    if state.is_challenged_by(now) and (challenged_at is None or has_changed_rank):
        challenged_at, answered_at = now, None
    rival = replace(
        known.sighted(now),
        advert=advert,
        advert_at=now,
        challenged_at=challenged_at,
        answered_at=answered_at,
        is_reported=known.is_reported and was_in_sight,
    )
    state = state.with_rival(rival)
    if challenged_at == now and evidence.is_other_id_below(context, rival):
        # The rival's adverts for this id may put off this node's adverts, not its announcements.
        state = state.burst(now)
    if was_in_sight and not is_same and causes.difference(advert, context) is None:
        state = held.try_by(state, now)
    if state.state is VrrpState.BACKUP:
        state = evidence.compare(state, rival, now)
        state = backup.on_advert(state, now, read_at, is_new=not is_same)
    return state, ()


def _on_announcement(state: Contest, event: conflict.AnnouncementSeen, now: float) -> Step:
    context, announcement = state.context, event.announcement
    mac = announcement.announced_mac
    if context.is_own(mac) or context.is_own(announcement.source_mac):
        return state, ()
    if not context.serves(announcement.address):
        return state, ()
    rival = state.rival(mac, None) or conflict.Rival(mac=mac, first_seen=now)
    if now - rival.left_at < POLICY.leaving:
        return state, ()
    # More than keepalived takes for its second burst, 5 s at the default timing; less than a loser
    # waits before it returns.
    silence = context.master_down_interval + 2.5 * context.paced(POLICY.defend_interval)
    if now - rival.announced_at > silence:
        rival = rival.lapsed()
    rival = rival.sighted(now)
    rival = replace(rival, announced_at=now, address=announcement.address)
    same = [each for each in state.rivals if each.mac in {mac, announcement.source_mac}]
    # A MASTER's keepalived counts the same silence, and was there a little sooner.
    in_sight_at = now + POLICY.confirm if state.state is VrrpState.MASTER else now
    if any(each.advertises(context, in_sight_at) for each in same):
        rival = replace(rival.forgiven(), disputed_at=None)
        return state.with_rival(rival), ()
    if rival.disputed_at is None:
        rival = replace(rival, disputed_at=now)
    state = state.with_rival(rival)
    if state.phase is ContestPhase.HELD and state.reason is not HoldReason.ANNOUNCED:
        if state.advertisers(now):
            return state, ()
        # Adverts have ceased to arrive: from now on its announcements show whether it lives.
        return replace(state, reason=HoldReason.ANNOUNCED, losses=max(state.losses, 1)), ()
    if state.phase is not ContestPhase.WATCHING:
        return state, ()
    cause = master.cause_of(state, rival)
    if state.is_challenged_by(now):
        return master.on_announcement(state, rival, cause, now)
    if state.state is VrrpState.BACKUP and state.is_blind(now):
        return held.hold(state, HoldReason.ANNOUNCED, cause, now)
    return state, ()


# --- the configuration --------------------------------------------------------------------------


def _on_context(state: Contest, event: conflict.InstanceReconfigured, now: float) -> Step:
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
        state = state.burst(now)
        state = replace(state, fresh_until=state.burst_until, announced_at=now)
        actions = (*actions, ContestOrder.ANNOUNCE_AT_ONCE)
    return state, actions


def _on_reconfigured(state: Contest, event: conflict.InstanceReconfigured, now: float) -> Step:
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
    dump_at = None if state.dump_at is None else now
    ending: tuple[Action, ...] = ()
    if state.phase is not ContestPhase.WATCHING:
        if context.served.isdisjoint(state.context.served):
            fresh = Contest(context=context, state=state.state, since=since, rivals=rivals)
            return replace(fresh, dump_at=dump_at), (ContestOrder.RELEASE,)
        if not context.is_resolving:
            state, ending = held.calm(state, now), (ContestOrder.RELEASE,)
    state = replace(
        state,
        context=context,
        since=since,
        rivals=rivals,
        alive_until=now + context.master_down_interval,
        count=conflict.AdvertCount(),
        dump_at=dump_at,
    )
    # By then an advert has shown whether its sender has the same configuration.
    return held.try_by(state, now + 1.5 * context.advert_interval), ending
