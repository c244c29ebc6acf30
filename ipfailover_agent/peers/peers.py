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

from ipaddress import IPv6Address
from typing import TYPE_CHECKING, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.config import unicast
from ipfailover_agent.model import Family, IPAddress, family_of, in_order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ipfailover_agent.model import HostFacts, Settings


class PeersPolicy(Struct, frozen=True, kw_only=True):
    """Every delay in seconds, and the limit.

    A node that is new needs the others to look twice (``interval`` and ``again``) before they send
    to it; keepalived waits three adverts before it becomes MASTER, ``settle`` is the rest of it.
    """

    interval: float = 5.0  # from an answer to the next question
    again: float = 1.0  # likewise while something is new, or nothing is known yet
    answer_within: float = 4.0  # later counts as failed, and is taken all the same
    settle: float = 4.0
    grace: float = 2.0
    trust: float = 600.0  # since the last answer that confirmed a stored set
    note_every: float = 60.0  # how often it is stored that answers confirm the set
    timeout: float = 30.0
    drop_after: float = 600.0
    forget_after: float = 60.0  # what was seen only once
    sightings: int = 2
    limit: int = 64  # addresses of one name and family


# --- questions and answers ----------------------------------------------------------------------


class Question(Struct, frozen=True, kw_only=True, order=True):
    """What is asked: the addresses of one family that a host name has."""

    name: str
    family: Family

    def __str__(self) -> str:
        return f"{self.name} (IPv{self.family:d})"


class LookupResult(Struct, frozen=True, kw_only=True):
    """The result of a look-up: addresses, or none where there are none, or why it failed.

    ``age``: of a set that was stored, for how many seconds no answer has confirmed it; None where
    that is not known.
    """

    question: Question
    addresses: tuple[IPAddress, ...] = ()
    failure: str = ""
    age: float | None = None

    def __str__(self) -> str:
        return f"{self.question}: {self.failure or ' '.join(map(str, self.addresses))}"


def judged(answer: LookupResult, wanted: PeersWanted, policy: PeersPolicy) -> LookupResult:
    """Return the answer, or as a failure what is not believed or empty.

    One address that cannot be a node's discredits the others: then DNS is wrong.
    """
    reason, found = answer.failure, answer.addresses
    if not reason and len(found) > policy.limit:
        reason = f"{len(found)} addresses, at most {policy.limit} are taken"
    if not reason:
        flaws = ((e, _why_no_node(e, wanted.virtual) or wanted.no_hosts.get(e)) for e in found)
        reason = next((f"{each} {why}" for each, why in flaws if why), "")
    if not reason and not found:
        reason = "no address"
    if reason:
        return LookupResult(question=answer.question, failure=reason)
    return LookupResult(question=answer.question, addresses=in_order(found))


def _why_no_node(address: IPAddress, virtual: Collection[IPAddress]) -> str:
    if address in virtual:
        return "is one of the virtual addresses, and no node"
    kinds = (
        (address.is_unspecified, "is the unspecified address"),
        (address.is_loopback, "is a loopback address"),
        (address.is_multicast, "is a multicast address"),
        (address.is_link_local, "is a link-local address"),
    )
    for applies, words in kinds:
        if applies:
            return words
    if isinstance(address, IPv6Address):
        return "is an IPv4 address in disguise" if address.ipv4_mapped else ""
    return "is no host's address" if address.is_reserved or int(address) < 1 << 24 else ""


# --- events -------------------------------------------------------------------------------------


class PeersWanted(Struct, frozen=True, kw_only=True):
    """A plan needs the peers.

    Attributes:
        questions: what there is to ask, each once.
        own: every address of this node that is known, the virtual ones left out.
        listed: addresses that are peers anyway.
        virtual: the addresses that are served; none of them is a peer.
        no_hosts: likewise, with the reason as text: ends of this node's networks.
        stored: what a former run stored.
    """

    questions: tuple[Question, ...]
    own: frozenset[IPAddress] = frozenset()
    listed: frozenset[IPAddress] = frozenset()
    virtual: frozenset[IPAddress] = frozenset()
    no_hosts: Mapping[IPAddress, str] = field(default_factory=dict)
    stored: tuple[LookupResult, ...] = ()


class LookupEnded(Struct, frozen=True, kw_only=True):
    """A question was answered; ``own``: those of the addresses that this node has."""

    answer: LookupResult
    own: frozenset[IPAddress] = frozenset()


class PeersDeadlinePassed(Struct, frozen=True):
    """``Peers.deadline`` has passed."""


Event = PeersWanted | LookupEnded | PeersDeadlinePassed


# --- actions ------------------------------------------------------------------------------------


class LookUp(Struct, frozen=True, kw_only=True):
    """Have the question answered; it is not asked again before it is."""

    question: Question


class PeersChanged(Struct, frozen=True, kw_only=True):
    """The set of a family that is ready is another one: store it, plan again.

    ``basis``: why the set of a family may be used from now on, as text; else nothing.
    """

    added: tuple[IPAddress, ...]
    removed: tuple[IPAddress, ...]
    basis: str = ""


class PeersConfirmed(Struct, frozen=True, kw_only=True):
    """Answers go on to confirm the set: store when, once a minute."""


class LookupFailed(Struct, frozen=True, kw_only=True):
    """A question was not answered, with the reason; what was known stays. Comes each time."""

    question: Question
    reason: str


class LookupRecovered(Struct, frozen=True, kw_only=True):
    """A question that had failed was answered."""

    question: Question


class OwnMissing(Struct, frozen=True, kw_only=True):
    """No answer has an address of this node: the others do not send to it. Comes each time."""

    family: Family
    own: tuple[IPAddress, ...]


Action = LookUp | PeersChanged | PeersConfirmed | LookupFailed | LookupRecovered | OwnMissing


# --- state --------------------------------------------------------------------------------------


class ResolvedAddress(Struct, frozen=True, kw_only=True):
    """One address of one answer; ``missing_since`` is set while good answers lack it."""

    address: IPAddress
    seen: int
    seen_at: float
    missing_since: float | None = None
    is_peer: bool = False


class LookupState(Struct, frozen=True, kw_only=True):
    """One question and all that came of it. Times are monotonic seconds.

    Attributes:
        question: what is asked.
        ask_at: when to ask next, or by when the answer counts as failed while ``is_asked``.
        is_asked: an answer is under way.
        was_answered: there was an answer of any kind.
        failure: why the last answer was none; empty where it was one.
        same_since: since when good answers have been the same, None before the first.
        last: the last good answer.
        was_stored: its set is that of a former run, and has not been used yet.
        confirmed_at: when the last good answer came, in this run or in a former one.
        sightings: the addresses, sorted.
    """

    question: Question
    ask_at: float
    is_asked: bool = False
    was_answered: bool = False
    failure: str = ""
    same_since: float | None = None
    last: frozenset[IPAddress] = frozenset()
    was_stored: bool = False
    confirmed_at: float | None = None
    sightings: tuple[ResolvedAddress, ...] = ()

    @property
    def peers(self) -> frozenset[IPAddress]:
        """Return what is taken for nodes."""
        return frozenset(each.address for each in self.sightings if each.is_peer)


class Peers(Struct, frozen=True, kw_only=True):
    """Everything that is remembered.

    ``ready``: families whose set may be used. ``noted_at``: when the set was stored last.
    """

    wanted: PeersWanted = PeersWanted(questions=())
    inquiries: tuple[LookupState, ...] = ()
    began_at: float = 0.0
    noted_at: float = 0.0
    ready: frozenset[Family] = frozenset()
    deadline: float | None = None

    @property
    def families(self) -> frozenset[Family]:
        """Return the families that are asked for."""
        return frozenset(each.question.family for each in self.inquiries)

    @property
    def is_ready(self) -> bool:
        """Return whether a plan can be made."""
        return self.families <= self.ready

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Return the set of all names together, this node's own included, sorted."""
        return in_order({address for each in self.inquiries for address in each.peers})

    @property
    def is_restart(self) -> bool:
        """Return whether a former run's set is to be used soon."""
        return not self.is_ready and any(each.was_stored for each in self.inquiries)

    def known(self, now: float) -> tuple[LookupResult, ...]:
        """Return what to store at ``now``: the set of each question whose family is ready."""
        return tuple(
            LookupResult(
                question=each.question,
                addresses=in_order(each.peers),
                age=None if each.confirmed_at is None else now - each.confirmed_at,
            )
            for each in self.inquiries
            if each.question.family in self.ready
        )


Step = tuple[Peers, tuple[Action, ...]]


# --- the machine --------------------------------------------------------------------------------


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
    """Return why there is no set yet, as text; empty while that is the usual wait."""
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
    remarks = [f"{unicast.NAMES}: {each}" for each in given if each.failure]
    if all(each.last for each in state.inquiries):
        remarks += [
            f"{unicast.NAMES}: no name resolves to an IPv{family:d} address of this node: "
            "the others will not send to it"
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
            # An answer's addresses may be this node's, on whatever interface.
            wanted = replace(state.wanted, own=state.wanted.own | own - state.wanted.virtual)
            state, actions = _take(replace(state, wanted=wanted), answer, now, policy)
        case PeersDeadlinePassed():
            pass
        case _:
            assert_never(event)
    state, basis = _settle(state, now, policy)
    state, asked = _ask(state, now, policy)
    after = frozenset(state.addresses)
    is_confirmed = any(each.confirmed_at == now for each in state.inquiries)
    if state.is_ready and (state.ready != was_ready or after != before):
        known = before if was_ready else frozenset[IPAddress]()
        added, removed = in_order(after - known), in_order(known - after)
        actions += (PeersChanged(added=added, removed=removed, basis=basis),)
        state = replace(state, noted_at=now)
    elif state.is_ready and is_confirmed and now - state.noted_at >= policy.note_every:
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
        each.question: each for each in wanted.stored if not judged(each, wanted, policy).failure
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
    reason = judged(answer, state.wanted, policy).failure
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
    is_same = listed == inquiry.last and inquiry.same_since is not None
    inquiry = replace(
        inquiry,
        failure="",
        last=listed,
        same_since=inquiry.same_since if is_same else now,
        sightings=tuple(taken),
        confirmed_at=now,
    )
    return inquiry, overflow


# --- ready --------------------------------------------------------------------------------------


def _settle(state: Peers, now: float, policy: PeersPolicy) -> tuple[Peers, str]:
    """Find the families whose set may be used from now on, and why that of the last one may."""
    ready, basis = state.ready & state.families, ""
    for family in sorted(state.families - ready):
        if why := _basis(state, family, now, policy):
            ready, basis = ready | {family}, why
    # A set that is in use is a former run's no more: what is asked beside it later is new.
    inquiries = tuple(
        replace(each, was_stored=each.was_stored and each.question.family not in ready)
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
    resolved = {address for each in state.inquiries for address in each.last} | state.wanted.listed
    return frozenset(
        family
        for family in state.families
        if (own := [each for each in state.wanted.own if family_of(each) is family])
        and not resolved.intersection(own)
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
