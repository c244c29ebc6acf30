"""Whether a host answers for an address that another node holds.

A switch with port security or ARP inspection, or a cloud that checks what a port may send, lets a
node's adverts pass and drops its answers for the address. The node then holds an address that no
client reaches. Clients notice it, the nodes do not. So a BACKUP asks now and then, as any host
does before it sends to another one, and reports it when no answer comes. The report decides
nothing.

:class:`Answering` is one state for all addresses. The caller calls :func:`due` no later than
:func:`deadline` says, with the holders of :func:`due_instances` by :func:`holder_of`, and sends
what :class:`AskForAddress` names.

An address is asked for at most once per ``interval``, at a point of it that depends on the
address and on the asking node. The first question goes to the holder alone: no other host
receives it, and no proxy answers instead. When that one stays unanswered, the next ones go to all
hosts, as a client's questions do, and the holder's own address is asked for too. When that is not
answered either, ARP itself does not work between the two nodes, which shows nothing about the
address.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.conflict.state import ContestPhase
from ipfailover_agent.model import IPAddress, VrrpState
from ipfailover_agent.text import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfailover_agent.conflict import contexts
    from ipfailover_agent.conflict.state import Contest
    from ipfailover_agent.model import KeepalivedConfig

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
        asked_at: when that was; ``judge_at`` when its answer would have come, infinite when no
            answer is waited for.
        unanswered: questions in a row.
        since: when it was found that no host answers, None while that is not so.
        reported_for: the holder that was reported; stays until a host answers.
    """

    instance: str = ""
    own: IPAddress
    due_at: float = 0.0
    holder: ForeignMaster | None = None
    asked_at: float = -math.inf
    judge_at: float = math.inf
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
            and (self.holder.source, self.holder.mac) == (holder.source, holder.mac)
            and holder.since <= self.asked_at
        )

    def is_judged(self, now: float) -> bool:
        """Return whether an answer would have come by now."""
        return now >= self.judge_at

    def asked(self, now: float, policy: AnsweringPolicy) -> AddressQuestion:
        """Return the question as it is asked now."""
        again, judged = now + policy.interval, now + policy.timeout
        return replace(self, asked_at=now, judge_at=judged, due_at=again)

    def missed(self) -> AddressQuestion:
        """Return the question as no host has answered it."""
        return replace(self, judge_at=math.inf, unanswered=self.unanswered + 1)

    def forgotten(self) -> AddressQuestion:
        """Return the question without its findings, but with what was reported."""
        return replace(self, holder=None, judge_at=math.inf, unanswered=0, since=None)

    def answered(self) -> AddressQuestion:
        """Return the question as a host has answered it."""
        return replace(self, judge_at=math.inf, unanswered=0, since=None, reported_for=None)


Questions = Mapping[IPAddress, AddressQuestion]


class Answering(Struct, frozen=True, kw_only=True):
    """Everything that is remembered.

    Attributes:
        inquiries: questions for the configured addresses.
        holders: questions for holders' own addresses, while they are of interest.
        links: networks of the interface, each with the address of this node that asks in it.
        past: when to ask again for addresses that are configured no more.
        ask_at: when the next burst of questions may go; ``report_at`` likewise.
        regained: addresses that are answered for again, still to be reported.
    """

    inquiries: Questions = field(default_factory=dict)
    holders: Questions = field(default_factory=dict)
    links: tuple[contexts.Link, ...] = ()
    past: Mapping[IPAddress, float] = field(default_factory=dict)
    ask_at: float = 0.0
    report_at: float = 0.0
    regained: tuple[IPAddress, ...] = ()

    def own_for(self, address: IPAddress) -> IPAddress | None:
        """Return the address of this node to ask from; None for one outside of its networks."""
        return next((own for network, own in self.links if address in network), None)


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


Report = Unanswered | HolderUnanswered | Regained


# --- what the caller has to know ----------------------------------------------------------------


def asked_addresses(config: KeepalivedConfig) -> dict[IPAddress, str]:
    """Return the addresses to ask for, on the interface where adverts come, with the instance."""
    return {
        held.address: each.name
        for each in config.instances
        for held in each.virtual_addresses
        if held.interface in {None, config.interface}
    }


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


def due_instances(state: Answering, now: float) -> frozenset[str]:
    """Return the instances whose holder :func:`due` needs at ``now``."""
    may_report = now >= state.report_at
    return frozenset(
        each.instance
        for each in state.inquiries.values()
        if now >= each.due_at or each.is_judged(now) or (may_report and each.is_unreported)
    )


def deadline(state: Answering) -> float | None:
    """Return when to call :func:`due`, in monotonic seconds; None for never."""
    inquiries, holders = state.inquiries.values(), state.holders.values()
    moments = [min(each.due_at, each.judge_at) for each in inquiries]
    if (
        state.regained
        or any(each.is_unreported for each in inquiries)
        or any(each.is_silent for each in holders)
    ):
        moments.append(state.report_at)
    return max(min(moments), state.ask_at) if moments else None


# --- what happens -------------------------------------------------------------------------------


def configured(
    state: Answering,
    addresses: Mapping[IPAddress, str],
    links: tuple[contexts.Link, ...],
    now: float,
    policy: AnsweringPolicy,
) -> Answering:
    """Return the state for other addresses, each with its instance, or for other networks."""
    known = {
        address: each.asked_at + policy.interval
        for address, each in state.inquiries.items()
        if each.asked_at > -math.inf
    }
    past = {address: at for address, at in {**state.past, **known}.items() if now < at}
    state = replace(state, links=links, past=past)
    holders = {
        address: replace(each, own=own)
        for address, each in state.holders.items()
        if (own := state.own_for(address)) is not None
    }
    inquiries = {}
    for address, instance in addresses.items():
        own = state.own_for(address)
        if own is None:
            continue
        # Another place of the interval for each node and address.
        phase = zlib.crc32(own.packed + address.packed) / 2**32
        first = now + policy.settle + phase * policy.interval
        fresh = AddressQuestion(own=own, due_at=max(first, past.get(address, first)))
        each = state.inquiries.get(address, fresh)
        inquiries[address] = replace(each, instance=instance, own=own)
    return replace(state, inquiries=inquiries, holders=holders)


def missed(state: Answering, target: IPAddress | None = None) -> Answering:
    """Return the state where answers may have been missed: for ``target``, or for any address."""

    def closed(questions: Questions) -> Questions:
        return {
            address: replace(each, judge_at=math.inf) if target in {None, address} else each
            for address, each in questions.items()
        }

    return replace(state, inquiries=closed(state.inquiries), holders=closed(state.holders))


def answered(state: Answering, address: IPAddress, mac: bytes, *, is_unasked: bool) -> Answering:
    """Return the state after a host answered for an address, or (``is_unasked``) announced it."""
    found = state.inquiries.get(address) or state.holders.get(address)
    if found is None or found == found.answered():
        return state
    is_holder = found.holder is not None and found.holder.mac == mac
    if is_unasked and address in state.inquiries and not is_holder:
        return state
    if found.reported_for is not None:
        state = replace(state, regained=(*state.regained, address))
    if address in state.inquiries:
        return replace(state, inquiries={**state.inquiries, address: found.answered()})
    return replace(state, holders={**state.holders, address: found.answered()})


def due(
    state: Answering, holders: Mapping[str, ForeignMaster], now: float, policy: AnsweringPolicy
) -> tuple[Answering, list[AskForAddress], list[Report]]:
    """Return the state once it is time, and what to ask and to report.

    ``holders``: of the instances that :func:`due_instances` named, where they are known.
    """
    state = _judge(state, holders, now, policy)
    state, questions = _ask(state, holders, now, policy)
    state, reports = _report(state, holders, now, policy)
    return state, questions, reports


def _judge(
    state: Answering, holders: Mapping[str, ForeignMaster], now: float, policy: AnsweringPolicy
) -> Answering:
    """Count questions that stayed unanswered while the holder stayed the same."""
    own = {
        address: each.missed() if each.is_judged(now) else each
        for address, each in state.holders.items()
    }
    found = {}
    for address, each in state.inquiries.items():
        if not each.is_judged(now):
            continue
        if not each.is_about(holders.get(each.instance)):
            found[address] = each.forgotten()
            continue
        judged = each.missed()
        if judged.since is None and _is_cut_off(own, judged, policy):
            judged = replace(judged, since=now)
        found[address] = judged
    return replace(state, holders=own, inquiries={**state.inquiries, **found})


def _is_cut_off(own: Questions, inquiry: AddressQuestion, policy: AnsweringPolicy) -> bool:
    """Return whether no host answers for it, as far as a dead segment does not explain that."""
    if inquiry.unanswered < policy.limit or inquiry.holder is None:
        return False
    known = own.get(inquiry.holder.source)
    return known is None or (known.judge_at == math.inf and not known.unanswered)


def _ask(
    state: Answering, holders: Mapping[str, ForeignMaster], now: float, policy: AnsweringPolicy
) -> tuple[Answering, list[AskForAddress]]:
    is_time = now >= state.ask_at
    left = policy.burst if is_time else 0
    found: dict[IPAddress, AddressQuestion] = {}
    own = {
        address: each
        for address, each in state.holders.items()
        if now < each.asked_at + policy.limit * policy.interval
    }
    questions: list[AskForAddress] = []
    waiting = [item for item in state.inquiries.items() if now >= item[1].due_at]
    for address, each in sorted(waiting, key=lambda item: item[1].due_at):
        holder = holders.get(each.instance)
        if holder is None or address not in holder.addresses or now < holder.since + policy.settle:
            found[address] = replace(each.forgotten(), due_at=now + policy.interval)
            continue
        if not left:
            continue
        left -= 1
        known = each if each.is_about(holder) else each.forgotten()
        receiver = None if known.unanswered else holder.mac
        questions.append(AskForAddress(target=address, own=each.own, mac=receiver))
        found[address] = replace(known.asked(now, policy), holder=holder)
        if known.unanswered:
            questions += _ask_holder(state, own, holder, now, policy)
    state = replace(state, inquiries={**state.inquiries, **found}, holders=own)
    return (replace(state, ask_at=now + policy.tick) if is_time else state), questions


def _ask_holder(
    state: Answering,
    own: dict[IPAddress, AddressQuestion],
    holder: ForeignMaster,
    now: float,
    policy: AnsweringPolicy,
) -> list[AskForAddress]:
    """Ask for a holder's own address, unless that was done lately."""
    source = state.own_for(holder.source)
    if source is None:
        return []
    known = own.get(holder.source) or AddressQuestion(own=source)
    if now < known.due_at:
        return []
    own[holder.source] = known.asked(now, policy)
    receiver = None if known.unanswered else holder.mac
    return [AskForAddress(target=holder.source, own=source, mac=receiver)]


# --- reports ------------------------------------------------------------------------------------


def _report(
    state: Answering, holders: Mapping[str, ForeignMaster], now: float, policy: AnsweringPolicy
) -> tuple[Answering, list[Report]]:
    """Report what was found since the last report."""
    if now < state.report_at:
        return state, []
    reports: list[Report] = []
    if state.regained:
        reports.append(Regained(addresses=tuple(dict.fromkeys(state.regained))))
    groups: dict[IPAddress, list[IPAddress]] = {}
    reported = {}
    for address, each in state.inquiries.items():
        if not each.is_unreported:
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
        reports.append(Unanswered(holder=source, addresses=tuple(addresses), cause=cause))
    silent = {
        source: replace(each, reported_for=source)
        for source, each in state.holders.items()
        if each.is_silent
    }
    reports += [HolderUnanswered(holder=source, cause=_dead(source)) for source in silent]
    state = replace(
        state,
        inquiries={**state.inquiries, **reported},
        holders={**state.holders, **silent},
        regained=(),
    )
    return replace(state, report_at=now + policy.report_interval) if reports else state, reports


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
