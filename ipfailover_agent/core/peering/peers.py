"""Peers by name: which of the addresses from DNS are taken for nodes, and since when.

:func:`step` is pure: what happened -> the state after it and what to do. Each name is a question
per family that is served.

- A family is *ready* once its set may be used. At a first start that is when every question got
  the same answer for ``PeersPolicy.settle`` seconds with this node in it: the others look up the
  same names, and have had the answer for so long before this node can become MASTER. After
  ``PeersPolicy.timeout`` whatever is known will do. A restart has the stored set, and uses it at
  once when it was stored for these names, has this node in it and was confirmed by an answer
  within ``PeersPolicy.trust``; else it waits for the first answer to add to it, no longer than
  ``PeersPolicy.grace``.
- From then on an address is added once it was seen twice, and dropped when answers have lacked it
  for ten minutes: too many peers cost a packet a second each, too few cost a second holder.
- A failed, empty or incredible answer changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from ipfailover_agent.core.model import Family, IPAddress, family_of
from ipfailover_agent.core.peering.inquiries import (
    Action,
    Event,
    LookUp,
    LookupEnded,
    LookupFailed,
    LookupRecovered,
    LookupState,
    OwnMissing,
    Peers,
    PeersChanged,
    PeersConfirmed,
    PeersDeadlinePassed,
    PeersPolicy,
    PeersWanted,
    ResolvedAddress,
)
from ipfailover_agent.core.peering.names import LookupResult, Question, in_order, judged
from ipfailover_agent.core.planning import unicast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipfailover_agent.core.model import HostFacts, Settings

VARIABLE = unicast.NAMES


Step = tuple[Peers, tuple[Action, ...]]


def want(settings: Settings, facts: HostFacts) -> PeersWanted:
    """Return what a plan needs: each name is asked for each family that is served."""
    return PeersWanted(
        questions=questions(settings),
        own=unicast.own_addresses(settings, facts),
        listed=frozenset(settings.unicast_peers),
        virtual=frozenset(settings.virtual_addresses),
        no_hosts=unicast.no_hosts(settings, facts),
    )


def questions(settings: Settings) -> tuple[Question, ...]:
    """Return what has to be asked."""
    families = sorted({family_of(each) for each in settings.virtual_addresses})
    return tuple(
        Question(name=name, family=each)
        for name in settings.unicast_peer_names
        for each in families
    )


def obstacle(state: Peers) -> str:
    """Return why there is no set yet, as text; nothing while all goes its usual way."""
    failures = [f"{each.question}: {each.failure}" for each in state.inquiries if each.failure]
    if failures:
        return "; ".join(failures)
    missing = _without_own(state)
    if missing and all(each.last for each in state.inquiries):
        return "no answer has an address of this node yet"
    return ""


def first_set(
    wanted: PeersWanted, answers: Iterable[LookupResult], stored: Iterable[LookupResult]
) -> tuple[tuple[IPAddress, ...] | None, tuple[str, ...]]:
    """Return what an agent with these answers would start with, None for waiting; and remarks."""
    given = tuple(answers)
    state, _ = step(Peers(), replace(wanted, stored=tuple(stored)), 0.0, PeersPolicy())
    for each in given:
        state, _ = step(state, LookupEnded(answer=each), 0.0, PeersPolicy())
    remarks = [f"{VARIABLE}: {each.question}: {each.failure}" for each in given if each.failure]
    if all(each.last for each in state.inquiries):
        remarks += [
            f"{VARIABLE}: no name resolves to an IPv{family:d} address of this node: the others "
            "will not send to it"
            for family in sorted(_without_own(state))
        ]
    state, _ = step(state, PeersDeadlinePassed(), PeersPolicy().timeout, PeersPolicy())
    return (state.addresses if state.is_ready else None), tuple(remarks)


def step(state: Peers, event: Event, now: float, policy: PeersPolicy) -> Step:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order."""
    before, was_ready = frozenset(state.addresses), state.ready
    actions: tuple[Action, ...] = ()
    match event:
        case PeersWanted():
            state = _want(state, event, now, policy)
            before = frozenset(state.addresses)
        case LookupEnded(answer=answer, own=own):
            state = _know_own(state, own)
            state, actions = _take(state, answer, now, policy)
        case PeersDeadlinePassed():
            pass
        case _:
            assert_never(event)
    state, basis = _settle(state, now, policy)
    state, asked = _ask(state, now, policy)
    after = frozenset(state.addresses)
    if state.is_ready and (state.ready != was_ready or after != before):
        known = before if was_ready else frozenset[IPAddress]()
        added, removed = in_order(after - known), in_order(known - after)
        actions += (PeersChanged(added=added, removed=removed, basis=basis),)
        state = replace(state, noted_at=now)
    elif (
        state.is_ready
        and _is_confirmed(state, event)
        and now - state.noted_at >= (policy.note_every)
    ):
        actions += (PeersConfirmed(),)
        state = replace(state, noted_at=now)
    return replace(state, deadline=_deadline(state, now, policy)), (*actions, *asked)


# --- what is wanted -----------------------------------------------------------------------------


def _want(state: Peers, wanted: PeersWanted, now: float, policy: PeersPolicy) -> Peers:
    """Take what a plan needs; what is known of a question that stays is kept."""
    if wanted.questions == state.wanted.questions:
        return replace(state, wanted=replace(wanted, stored=state.wanted.stored))
    known = {each.question: each for each in state.inquiries}
    stored = {
        each.question: each
        for each in wanted.stored
        if not judged(each, wanted.virtual, policy.limit, wanted.no_hosts).failure
    }
    inquiries = tuple(
        known.get(each) or _begin(each, stored.get(each), now) for each in wanted.questions
    )
    # A name that is new makes its family wait again; the reload that brought it is refused
    # until then, and what is in force stays.
    fresh = {each.family for each in wanted.questions if each not in known}
    return replace(
        state, wanted=wanted, inquiries=inquiries, began_at=now, ready=state.ready - fresh
    )


def _know_own(state: Peers, own: frozenset[IPAddress]) -> Peers:
    """Note which of an answer's addresses this node has, on whatever interface."""
    wanted = state.wanted
    return replace(state, wanted=replace(wanted, own=wanted.own | own - wanted.virtual))


def _begin(question: Question, stored: LookupResult | None, now: float) -> LookupState:
    sightings = tuple(
        ResolvedAddress(address=each, seen=0, seen_at=now, is_peer=True)
        for each in (stored.addresses if stored else ())
    )
    return LookupState(
        question=question,
        ask_at=now,
        sightings=sightings,
        was_stored=bool(sightings),
        confirmed_at=None if stored is None or stored.age is None else now - stored.age,
    )


# --- asking -------------------------------------------------------------------------------------


def _ask(state: Peers, now: float, policy: PeersPolicy) -> Step:
    """Ask what is due; an answer that is overdue counts as failed."""
    inquiries, actions = [], list[Action]()
    for each in state.inquiries:
        following = each
        if now >= each.ask_at:
            if each.is_asked:
                reason = f"no answer within {policy.answer_within:g} s"
                actions.append(LookupFailed(question=each.question, reason=reason))
                # Not asked again: behind a look-up that hangs, another one would hang too.
                following = replace(
                    each, failure=reason, was_answered=True, ask_at=now + policy.interval
                )
            else:
                actions.append(LookUp(question=each.question))
                following = replace(each, is_asked=True, ask_at=now + policy.answer_within)
        inquiries.append(following)
    return replace(state, inquiries=tuple(inquiries)), tuple(actions)


def _deadline(state: Peers, now: float, policy: PeersPolicy) -> float | None:
    due = [each.ask_at for each in state.inquiries]
    if not state.is_ready:
        moments = [state.began_at + policy.grace, state.began_at + policy.timeout]
        moments += [
            each.same_since + policy.settle
            for each in state.inquiries
            if each.same_since is not None
        ]
        due += [each for each in moments if each > now]
    return min(due, default=None)


# --- answers ------------------------------------------------------------------------------------


def _take(state: Peers, answer: LookupResult, now: float, policy: PeersPolicy) -> Step:
    inquiry = next((each for each in state.inquiries if each.question == answer.question), None)
    if inquiry is None:
        return state, ()  # asked for by a configuration that is no longer wanted
    is_ready = answer.question.family in state.ready
    wanted = state.wanted
    reason = judged(answer, wanted.virtual, policy.limit, wanted.no_hosts).failure
    actions: list[Action] = []
    if reason:
        actions.append(LookupFailed(question=answer.question, reason=reason))
        taken = replace(inquiry, failure=reason)
        if not answer.failure and not answer.addresses and inquiry.same_since is None:
            taken = replace(taken, same_since=now)
    else:
        if inquiry.failure:
            actions.append(LookupRecovered(question=answer.question))
        taken, overflow = _look(inquiry, answer, now, policy, is_ready=is_ready)
        if overflow:
            reason = f"more than {policy.limit} different addresses within ten minutes"
            actions.append(LookupFailed(question=answer.question, reason=reason))
    is_new = any(not each.is_peer and each.seen_at == now for each in taken.sightings)
    pause = policy.again if not is_ready or (is_new and not reason) else policy.interval
    taken = replace(taken, is_asked=False, was_answered=True, ask_at=now + pause)
    inquiries = tuple(taken if each is inquiry else each for each in state.inquiries)
    state = replace(state, inquiries=inquiries)
    if not reason:
        actions += _own_missing(state, answer.question.family, now, policy)
    return state, tuple(actions)


def _look(
    inquiry: LookupState, answer: LookupResult, now: float, policy: PeersPolicy, *, is_ready: bool
) -> tuple[LookupState, bool]:
    """Compare a good answer with what is known; return whether something found no room."""
    listed = frozenset(answer.addresses)
    known = {each.address: each for each in inquiry.sightings}
    kept: list[ResolvedAddress] = []
    for each in inquiry.sightings:
        missing_since = None
        if each.address in listed:
            kept.append(replace(each, seen=each.seen + 1, seen_at=now, missing_since=None))
            continue
        missing_since = now if each.missing_since is None else each.missing_since
        lasts = policy.drop_after if each.is_peer else policy.forget_after
        # Before anything is in use, only what a former run knew is kept beside the answer.
        used = is_ready or (each.is_peer and each.seen == 0)
        is_last = each.is_peer and not (inquiry.peers & listed)
        if used and (is_last or now - missing_since < lasts):
            kept.append(replace(each, missing_since=missing_since))
    kept += [
        ResolvedAddress(address=each, seen=1, seen_at=now) for each in listed if each not in known
    ]
    needed = policy.sightings if is_ready else 1
    room = policy.limit - sum(each.is_peer for each in kept)
    taken, overflow = [], False
    for each in sorted(kept, key=lambda each: int(each.address)):
        joins = not each.is_peer and each.seen >= needed
        overflow = overflow or (joins and room <= 0)
        joins = joins and room > 0
        room -= joins
        taken.append(replace(each, is_peer=each.is_peer or joins))
    same_since = inquiry.same_since
    if listed != inquiry.last or same_since is None:
        same_since = now
    inquiry = replace(
        inquiry,
        failure="",
        last=listed,
        same_since=same_since,
        sightings=tuple(taken),
        confirmed_at=now,
    )
    return inquiry, overflow


# --- ready --------------------------------------------------------------------------------------


def _is_confirmed(state: Peers, event: Event) -> bool:
    """Return whether the event was a good answer."""
    return isinstance(event, LookupEnded) and any(
        each.question == event.answer.question and not each.failure for each in state.inquiries
    )


def _settle(state: Peers, now: float, policy: PeersPolicy) -> tuple[Peers, str]:
    """Find the families whose set may be used from now on, and why that of the last one may."""
    ready, basis = state.ready & state.families, ""
    for family in sorted(state.families - ready):
        if why := _basis(state, family, now, policy):
            ready, basis = ready | {family}, why
    # A set that is in use is a former run's no more: what is asked beside it later is new.
    inquiries = tuple(
        replace(each, was_stored=False)
        if each.was_stored and each.question.family in ready
        else each
        for each in state.inquiries
    )
    return replace(state, ready=ready, inquiries=inquiries), basis


def _basis(state: Peers, family: Family, now: float, policy: PeersPolicy) -> str:
    """Return why the set of a family may be used, as text, or nothing."""
    inquiries = [each for each in state.inquiries if each.question.family is family]
    listed = [each for each in state.wanted.listed if family_of(each) is family]
    if not listed and not any(each.peers for each in inquiries):
        return ""
    waited = now - state.began_at
    if any(each.was_stored for each in inquiries):
        if all(each.was_answered for each in inquiries):
            return "stored, and what DNS answered first"
        if _is_trusted(state, inquiries, now, policy):
            return f"stored, and confirmed by DNS within the last {policy.trust:.0f} s"
        return f"stored; DNS has not answered for {waited:.0f} s" if waited >= policy.grace else ""
    if waited >= policy.timeout:
        return f"all that is known after {waited:.0f} s"
    is_settled = family not in _without_own(state) and all(
        each.same_since is not None and now - each.same_since >= policy.settle
        for each in inquiries
    )
    return f"the same answers for {policy.settle:.0f} s" if is_settled else ""


def _is_trusted(
    state: Peers, inquiries: Collection[LookupState], now: float, policy: PeersPolicy
) -> bool:
    """Return whether a stored set may be used before any answer: recent, with this node in it."""
    known = frozenset[IPAddress]().union(*(each.peers for each in inquiries))
    return bool(known & state.wanted.own) and all(
        each.was_stored
        and each.confirmed_at is not None
        and now - each.confirmed_at < policy.trust
        for each in inquiries
    )


def _without_own(state: Peers) -> frozenset[Family]:
    """Return the families in which this node has addresses and no answer has one of them."""
    told = {address for each in state.inquiries for address in each.last} | state.wanted.listed
    return frozenset(
        family
        for family in state.families
        if (own := [each for each in state.wanted.own if family_of(each) is family])
        and not told.intersection(own)
    )


def _own_missing(state: Peers, family: Family, now: float, policy: PeersPolicy) -> list[Action]:
    if family not in state.ready and now - state.began_at < policy.settle:
        return []  # a pod may be in its Service a moment after it has started
    inquiries = [each for each in state.inquiries if each.question.family is family]
    if family not in _without_own(state) or not all(each.last for each in inquiries):
        return []
    own = (each for each in state.wanted.own if family_of(each) is family)
    usual = (each for each in own if not each.is_loopback and not each.is_link_local)
    return [OwnMissing(family=family, own=in_order(usual))]
