"""Whether a host answers for an address that another node holds.

A switch with port security or ARP inspection, or a cloud that checks what a port may send, lets a
node's adverts pass and drops its answers for the address. The node then holds an address that no
client reaches. Clients notice it, the nodes do not. So a BACKUP asks now and then, as any host
does before it sends to another one, and reports it when no answer comes. The report decides
nothing.

:func:`step` is pure, with one state for all addresses. Its caller looks up the holders of
:func:`due_instances` with :func:`holder_of`, passes them in :class:`Due` no later than
:func:`deadline` says, and sends what :class:`AskForAddress` names.

An address is asked for at most once per ``interval``, at a point of it that depends on the
address and on the asking node. The first question goes to the holder alone: no other host
receives it, and no proxy answers instead. When that one stays unanswered, the next ones go to all
hosts, as a client's questions do, and the holder's own address is asked for too. When that is not
answered either, ARP itself does not work between the two nodes, which shows nothing about the
address.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.conflict import contexts
from ipfailover_agent.conflict.state import ContestPhase
from ipfailover_agent.model import IPAddress, VrrpState
from ipfailover_agent.text import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipfailover_agent.conflict.state import Contest
    from ipfailover_agent.model import HostFacts, KeepalivedConfig

_SILENT: Final = 2  # questions for a holder's own address: one may have been lost


class AnsweringPolicy(Struct, frozen=True, kw_only=True):
    """Every delay by name, in seconds, and every limit.

    Attributes:
        interval: between two questions for one address, at least.
        settle: adverts of a holder come for so long before the agent asks anything.
        timeout: the agent waits so long for an answer; it takes milliseconds.
        limit: so many questions in a row stay unanswered before the agent reports it.
        burst: questions that may go at once; ``tick`` between two bursts.
        report_interval: between two reports; what is found meanwhile goes into one report.
    """

    interval: float = 60.0
    settle: float = 10.0
    timeout: float = 2.0
    limit: int = 3
    burst: int = 5
    tick: float = 1.0
    report_interval: float = 60.0


class ForeignMaster(Struct, frozen=True, kw_only=True):
    """Another node that is the master of an instance, by adverts that count here.

    Attributes:
        source: the node's own address, which its adverts come from.
        mac: 6 bytes, likewise.
        addresses: those that its adverts list. It may not hold an address that they do not list.
        since: when it became the only one while this node is BACKUP, in monotonic seconds.
    """

    source: IPAddress
    mac: bytes
    addresses: frozenset[IPAddress]
    since: float


class AddressQuestion(Struct, frozen=True, kw_only=True):
    """What is known of one address. Times are monotonic seconds.

    Attributes:
        instance: the one that serves the address; empty for a holder's own address.
        own: the address of this node that asks.
        due_at: when to ask again.
        holder: the holder at the last question; None for a holder's own address.
        asked_at: when that was; ``is_open`` while an answer may come.
        unanswered: questions in a row.
        since: when it was found that no host answers, None while that is not so.
        reported_for: the holder that was reported; stays until a host answers.
    """

    instance: str = ""
    own: IPAddress
    due_at: float = 0.0
    holder: ForeignMaster | None = None
    asked_at: float | None = None
    is_open: bool = False
    unanswered: int = 0
    since: float | None = None
    reported_for: IPAddress | None = None

    @property
    def is_silent(self) -> bool:
        """Return, of a holder's own address, whether its silence is still to be reported."""
        return self.unanswered >= _SILENT and self.reported_for is None

    @property
    def is_unreported(self) -> bool:
        """Return whether there is something to report about the address."""
        is_known = self.holder is not None and self.reported_for == self.holder.source
        return self.since is not None and not is_known

    def is_about(self, holder: ForeignMaster | None) -> bool:
        """Return whether ``holder`` was the holder at the last question, and ever since."""
        return (
            holder is not None
            and self.holder is not None
            and self.asked_at is not None
            and (self.holder.source, self.holder.mac) == (holder.source, holder.mac)
            and holder.since <= self.asked_at
        )

    def is_judged(self, now: float, policy: AnsweringPolicy) -> bool:
        """Return whether an answer would have come by now."""
        return self.is_open and self.asked_at is not None and now >= self.asked_at + policy.timeout

    def forgotten(self) -> AddressQuestion:
        """Return the question without its findings, but with what was reported."""
        return replace(self, holder=None, is_open=False, unanswered=0, since=None)

    def answered(self) -> AddressQuestion:
        """Return the question as a host has answered it."""
        return replace(self, is_open=False, unanswered=0, since=None, reported_for=None)


class Answering(Struct, frozen=True, kw_only=True):
    """Everything that is remembered.

    Attributes:
        inquiries: questions for the configured addresses.
        holders: questions for holders' own addresses, while they are of interest.
        links: networks of the interface, each with the address of this node that asks in it.
        past: when addresses were asked for that are configured no more.
        looked_at: the last Due that counted; ``reported_at`` the last report.
        regained: addresses that are answered for again, still to be reported.
    """

    inquiries: Mapping[IPAddress, AddressQuestion] = field(default_factory=dict)
    holders: Mapping[IPAddress, AddressQuestion] = field(default_factory=dict)
    links: tuple[contexts.Link, ...] = ()
    past: Mapping[IPAddress, float] = field(default_factory=dict)
    looked_at: float | None = None
    reported_at: float | None = None
    regained: tuple[IPAddress, ...] = ()

    def may_report(self, now: float, policy: AnsweringPolicy) -> bool:
        """Return whether the last report is old enough."""
        return self.reported_at is None or now >= self.reported_at + policy.report_interval

    def own_for(self, address: IPAddress) -> IPAddress | None:
        """Return the address of this node to ask from; None for one outside of its networks."""
        return next((own for network, own in self.links if address in network), None)


# --- events and actions -------------------------------------------------------------------------


class AddressesConfigured(Struct, frozen=True, kw_only=True):
    """Other addresses, or another network: ``instances`` by address; ``links`` as above."""

    instances: Mapping[IPAddress, str]
    links: tuple[contexts.Link, ...]


class Due(Struct, frozen=True, kw_only=True):
    """It is time; ``holders`` of the instances that :func:`due_instances` named, where known."""

    holders: Mapping[str, ForeignMaster]


class AddressAnswered(Struct, frozen=True, kw_only=True):
    """A host with ``mac`` answered for an address, or (``is_unasked``) announced it."""

    address: IPAddress
    mac: bytes
    is_unasked: bool = False


class Missed(Struct, frozen=True):
    """Answers may have been missed: for ``target``, or for any address."""

    target: IPAddress | None = None


Event = AddressesConfigured | Due | AddressAnswered | Missed


class AskForAddress(Struct, frozen=True, kw_only=True):
    """Ask for ``target`` from ``own``: the host with ``mac``, or all hosts."""

    target: IPAddress
    own: IPAddress
    mac: bytes | None = None


class Unanswered(Struct, frozen=True, kw_only=True):
    """No host answers for these addresses of a holder, all of them found since the last report."""

    holder: IPAddress
    addresses: tuple[IPAddress, ...]
    cause: str


class HolderUnanswered(Struct, frozen=True, kw_only=True):
    """A holder's own address is not answered for either."""

    holder: IPAddress
    cause: str


class Regained(Struct, frozen=True, kw_only=True):
    """A host answers again for addresses that were reported."""

    addresses: tuple[IPAddress, ...]


Action = AskForAddress | Unanswered | HolderUnanswered | Regained
Step = tuple[Answering, tuple[Action, ...]]


# --- what is fed --------------------------------------------------------------------------------


def configured(config: KeepalivedConfig, facts: HostFacts) -> AddressesConfigured:
    """Return the addresses of a configuration and the networks of its interface."""
    return AddressesConfigured(
        instances={
            held.address: each.name
            for each in config.instances
            for held in each.virtual_addresses
            if held.interface in {None, config.interface}
        },
        links=contexts.links(config, facts),
    )


def holder_of(contest: Contest, now: float) -> ForeignMaster | None:
    """Return the holder of an instance's addresses, where this node is BACKUP and one node holds.

    keepalived has to count the holder's adverts. Where that is not watched (fast adverts),
    keepalived would be MASTER after a master-down interval if it did not.
    """
    if contest.state is not VrrpState.BACKUP or contest.phase is not ContestPhase.WATCHING:
        return None
    if contest.dump_at is not None and not contest.count.is_counting:
        return None
    context = contest.context
    found = contest.advertisers(now)
    if len(found) != 1 or (advert := found[0].advert) is None:
        return None
    if advert.virtual_router_id != context.virtual_router_id:
        return None
    return ForeignMaster(
        source=advert.source,
        mac=found[0].mac,
        addresses=frozenset(advert.addresses),
        since=max(contest.since, found[0].first_seen) + context.master_down_interval,
    )


def due_instances(state: Answering, now: float, policy: AnsweringPolicy) -> frozenset[str]:
    """Return the instances whose holder :class:`Due` needs at ``now``."""
    may_report = state.may_report(now, policy)
    return frozenset(
        each.instance
        for each in state.inquiries.values()
        if now >= each.due_at
        or (each.is_open and each.is_judged(now, policy))  # most of 254 need no call
        or (each.since is not None and may_report and each.is_unreported)
    )


def deadline(state: Answering, policy: AnsweringPolicy) -> float | None:
    """Return when to send :class:`Due`, in monotonic seconds; None for never."""
    inquiries = state.inquiries.values()
    due = [each.due_at for each in inquiries]
    due += [
        each.asked_at + policy.timeout
        for each in inquiries
        if each.is_open and each.asked_at is not None
    ]
    if (
        state.regained
        or any(each.since is not None and each.is_unreported for each in inquiries)
        or any(each.is_silent for each in state.holders.values())
    ):
        reported_at = state.reported_at
        due.append(0.0 if reported_at is None else reported_at + policy.report_interval)
    if not due:
        return None
    first = min(due)
    return first if state.looked_at is None else max(first, state.looked_at + policy.tick)


# --- what happens -------------------------------------------------------------------------------


def step(state: Answering, event: Event, now: float, policy: AnsweringPolicy) -> Step:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order."""
    match event:
        case AddressesConfigured():
            return _on_configured(state, event, now, policy), ()
        case Due(holders=holders):
            state = _judge(state, holders, now, policy)
            state, questions = _ask(state, holders, now, policy)
            state, reports = _report(state, holders, now, policy)
            return state, questions + reports
        case AddressAnswered():
            return _on_answer(state, event), ()
        case Missed(target=target):
            return replace(
                state,
                inquiries=_closed(state.inquiries, target),
                holders=_closed(state.holders, target),
            ), ()
        case _:
            assert_never(event)


def _on_configured(
    state: Answering, event: AddressesConfigured, now: float, policy: AnsweringPolicy
) -> Answering:
    asked = ((address, each.asked_at) for address, each in state.inquiries.items())
    past = {
        address: asked_at
        for address, asked_at in (*state.past.items(), *asked)
        if asked_at is not None and now < asked_at + policy.interval
    }
    state = replace(state, links=event.links, past=past)
    holders = {
        address: replace(each, own=own)
        for address, each in state.holders.items()
        if (own := state.own_for(address)) is not None
    }
    inquiries = {}
    for address, instance in event.instances.items():
        own = state.own_for(address)
        if own is None:
            continue
        known = state.inquiries.get(address)
        if known is None:
            first = now + policy.settle + _phase(own, address) * policy.interval
            again = past[address] + policy.interval if address in past else first
            known = AddressQuestion(own=own, due_at=max(first, again))
        inquiries[address] = replace(known, instance=instance, own=own)
    return replace(state, inquiries=inquiries, holders=holders)


def _phase(own: IPAddress, address: IPAddress) -> float:
    """Return where in the interval to ask: another place for each node and address."""
    return zlib.crc32(own.packed + address.packed) / 2**32


def _closed(
    inquiries: Mapping[IPAddress, AddressQuestion], target: IPAddress | None
) -> dict[IPAddress, AddressQuestion]:
    return {
        address: replace(each, is_open=False)
        if each.is_open and target in {None, address}
        else each
        for address, each in inquiries.items()
    }


def _on_answer(state: Answering, event: AddressAnswered) -> Answering:
    found = state.inquiries.get(event.address)
    if found is not None:
        is_holder = found.holder is not None and found.holder.mac == event.mac
        if (event.is_unasked and not is_holder) or found == found.answered():
            return state
        inquiries = {**state.inquiries, event.address: found.answered()}
        return replace(_regained(state, event.address, found), inquiries=inquiries)
    found = state.holders.get(event.address)
    if found is None:
        return state
    holders = {**state.holders, event.address: found.answered()}
    return replace(_regained(state, event.address, found), holders=holders)


def _regained(state: Answering, address: IPAddress, before: AddressQuestion) -> Answering:
    if before.reported_for is None:
        return state
    return replace(state, regained=(*state.regained, address))


def _judge(
    state: Answering, holders: Mapping[str, ForeignMaster], now: float, policy: AnsweringPolicy
) -> Answering:
    """Count questions that stayed unanswered while the holder stayed the same."""
    own = {
        address: replace(each, is_open=False, unanswered=each.unanswered + 1)
        if each.is_judged(now, policy)
        else each
        for address, each in state.holders.items()
    }
    state = replace(state, holders=own)
    found = {}
    for address, each in state.inquiries.items():
        if not each.is_open or not each.is_judged(now, policy):
            continue
        if not each.is_about(holders.get(each.instance)):
            found[address] = each.forgotten()
            continue
        judged = replace(each, is_open=False, unanswered=each.unanswered + 1)
        if judged.since is None and _is_cut_off(state, judged, policy):
            judged = replace(judged, since=now)
        found[address] = judged
    return replace(state, inquiries={**state.inquiries, **found}) if found else state


def _is_cut_off(state: Answering, inquiry: AddressQuestion, policy: AnsweringPolicy) -> bool:
    """Return whether no host answers for it, as far as a dead segment does not explain that."""
    if inquiry.unanswered < policy.limit or inquiry.holder is None:
        return False
    own = state.holders.get(inquiry.holder.source)
    return own is None or not (own.is_open or own.unanswered)


def _ask(
    state: Answering, holders: Mapping[str, ForeignMaster], now: float, policy: AnsweringPolicy
) -> tuple[Answering, tuple[Action, ...]]:
    is_time = state.looked_at is None or now >= state.looked_at + policy.tick
    left = policy.burst if is_time else 0
    found: dict[IPAddress, AddressQuestion] = {}
    own = {
        address: each
        for address, each in state.holders.items()
        if each.asked_at is not None and now < each.asked_at + policy.limit * policy.interval
    }
    actions: list[Action] = []
    due = [item for item in state.inquiries.items() if now >= item[1].due_at]
    for address, each in sorted(due, key=lambda item: item[1].due_at):
        holder = holders.get(each.instance)
        if holder is None or address not in holder.addresses or now < holder.since + policy.settle:
            found[address] = replace(each.forgotten(), due_at=now + policy.interval)
            continue
        if not left:
            continue
        left -= 1
        known = each if each.is_about(holder) else each.forgotten()
        actions.append(
            AskForAddress(
                target=address, own=each.own, mac=None if known.unanswered else holder.mac
            )
        )
        found[address] = replace(
            known, holder=holder, asked_at=now, is_open=True, due_at=now + policy.interval
        )
        if known.unanswered:
            actions += _ask_holder(state, own, holder, now, policy)
    state = replace(state, inquiries={**state.inquiries, **found}, holders=own)
    return (replace(state, looked_at=now) if is_time else state), tuple(actions)


def _ask_holder(
    state: Answering,
    own: dict[IPAddress, AddressQuestion],
    holder: ForeignMaster,
    now: float,
    policy: AnsweringPolicy,
) -> list[Action]:
    """Ask for a holder's own address, unless that was done lately."""
    known = own.get(holder.source)
    if known is not None and now < known.due_at:
        return []
    source = state.own_for(holder.source)
    if source is None:
        return []
    known = known or AddressQuestion(own=source)
    is_first = not known.unanswered
    own[holder.source] = replace(known, asked_at=now, is_open=True, due_at=now + policy.interval)
    return [AskForAddress(target=holder.source, own=source, mac=holder.mac if is_first else None)]


# --- reports ------------------------------------------------------------------------------------


def _report(
    state: Answering, holders: Mapping[str, ForeignMaster], now: float, policy: AnsweringPolicy
) -> tuple[Answering, tuple[Action, ...]]:
    """Report what was found since the last report."""
    if not state.may_report(now, policy):
        return state, ()
    actions: list[Action] = []
    if state.regained:
        actions.append(Regained(addresses=tuple(dict.fromkeys(state.regained))))
    groups: dict[IPAddress, list[IPAddress]] = {}
    reported = {}
    for address, each in state.inquiries.items():
        if each.since is None or not each.is_unreported:
            continue
        holder = holders.get(each.instance)
        if holder is None or not each.is_about(holder):
            reported[address] = each.forgotten()
            continue
        groups.setdefault(holder.source, []).append(address)
        reported[address] = replace(each, reported_for=holder.source)
    for source, addresses in groups.items():
        own = state.holders.get(source)
        is_answering = own is not None and not own.unanswered
        cause = explain(addresses, source, is_answering=is_answering)
        actions.append(Unanswered(holder=source, addresses=tuple(addresses), cause=cause))
    silent = {
        source: replace(each, reported_for=source)
        for source, each in state.holders.items()
        if each.is_silent
    }
    actions += [HolderUnanswered(holder=source, cause=_dead(source)) for source in silent]
    if reported:
        state = replace(state, inquiries={**state.inquiries, **reported})
    if not actions:
        return state, ()
    silent = {**state.holders, **silent}
    return replace(state, holders=silent, regained=(), reported_at=now), tuple(actions)


def explain(
    addresses: Sequence[IPAddress | str], holder: IPAddress | str, *, is_answering: bool = False
) -> str:
    """Return a sentence about what it means that no host answers for these addresses.

    ``is_answering``: a host answers for the holder's own address.
    """
    it, address = ("it", "the address") if len(addresses) == 1 else ("them", "the addresses")
    contrast = f", though {holder} itself answers" if is_answering else ""
    return (
        f"{holder} advertises {listed(addresses)}, but no host answers for {it}{contrast}: "
        "usually port security or ARP inspection on a switch, or a cloud or hypervisor that does "
        f"not allow {address} at that node (allowed address pairs); clients do not reach {it} "
        "either"
    )


def _dead(holder: IPAddress) -> str:
    return (
        f"{holder} is heard as master, but answers neither for its addresses nor for its own: ARP "
        "or neighbour discovery does not get through between it and this node (isolated ports, a "
        "filter, arp_ignore), which says nothing of clients"
    )
