"""Asks now and then whether a host answers for addresses that another node holds.

:mod:`conflict.answering` decides. This module sends its questions and reports what it finds.
Nothing here raises, and nothing depends on it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from ipfailover_agent.conflict import answering, contexts
from ipfailover_agent.conflict.answering import Answering, AnsweringPolicy
from ipfailover_agent.errors import AgentError
from ipfailover_agent.model import VrrpState
from ipfailover_agent.status.history import utc
from ipfailover_agent.status.status_model import UnansweredStatus
from ipfailover_agent.vrrp import packets
from ipfailover_agent.vrrp.packet_socket import usable_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.conflict.advert_listener import AdvertListener
    from ipfailover_agent.conflict.state import Contest
    from ipfailover_agent.model import HostFacts, IPAddress, KeepalivedConfig


class AnswerMonitor:
    """All addresses of the active configuration; sends and receives through ``listener``."""

    policy: ClassVar[AnsweringPolicy] = AnsweringPolicy()

    def __init__(self, log: FilteringBoundLogger, listener: AdvertListener) -> None:
        self._log = log
        self._listener = listener
        self._state = Answering()
        self._found_at: dict[IPAddress, str] = {}
        self._due_at: float | None = None

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return None if self._listener.wire is None else self._due_at

    def configure(self, config: KeepalivedConfig, facts: HostFacts, now: float) -> None:
        """Apply the active configuration; what is known of addresses that stay is kept."""
        addresses, links = answering.asked_addresses(config), contexts.links(config, facts)
        self._become(answering.configured(self._state, addresses, links, now, self.policy))

    def missed(self) -> None:
        """Note that answers may have been missed."""
        self._become(answering.missed(self._state))

    def on_answer(self, address: IPAddress, mac: bytes, *, is_unasked: bool) -> None:
        """Note that another host answered for an address, or announced it."""
        if mac in self._listener.macs:
            return
        state = answering.answered(self._state, address, mac, is_unasked=is_unasked)
        if state.regained or self._found_at:
            self._become(state)
        else:  # an answer like those that come all the time: nothing is due sooner
            self._state = state

    def tick(self, now: float, contests: Mapping[str, Contest]) -> None:
        """Ask and judge; at the deadline, and once everything that came was read."""
        holders = {}
        for name in answering.due_instances(self._state, now):
            contest = contests.get(name)
            holder = None if contest is None else answering.holder_of(contest, now)
            if holder is not None:
                holders[name] = holder
        state, questions, reports = answering.due(self._state, holders, now, self.policy)
        self._become(state)
        if questions:
            self._ask(questions)
        for each in reports:
            self._log_report(each)

    def unanswered(
        self, contests: Mapping[str, Contest]
    ) -> dict[str, tuple[UnansweredStatus, ...]]:
        """Return the addresses for which no host answers, by the instance, while it is BACKUP."""
        found: dict[str, tuple[UnansweredStatus, ...]] = {}
        for address, at in self._found_at.items():
            each = self._state.inquiries[address]
            contest = contests.get(each.instance)
            if each.holder is None or contest is None or contest.state is not VrrpState.BACKUP:
                continue
            status = UnansweredStatus(
                address=str(address),
                holder=str(each.holder.source),
                since=at,
                cause=answering.explain((address,), each.holder.source),
            )
            found[each.instance] = (*found.get(each.instance, ()), status)
        return found

    def _become(self, state: Answering) -> None:
        """Take over a state; remember since when no host answers, in UTC."""
        if state is self._state:
            return
        self._state = state
        self._due_at = answering.deadline(state)
        found = [address for address, each in state.inquiries.items() if each.since is not None]
        if found or self._found_at:
            at = utc(time.time())
            self._found_at = {each: self._found_at.get(each, at) for each in found}
        self._listener.hear_also(frozenset(state.holders))

    def _log_report(self, report: answering.Report) -> None:
        match report:
            case answering.Unanswered(holder=holder, addresses=addresses, cause=cause):
                self._log.warning(
                    "address.unanswered",
                    addresses=[str(each) for each in addresses],
                    holder=str(holder),
                    cause=cause,
                )
            case answering.HolderUnanswered(holder=holder, cause=cause):
                self._log.warning("holder.unanswered", holder=str(holder), cause=cause)
            case answering.Regained(addresses=addresses):
                self._log.info("address.answered", addresses=[str(each) for each in addresses])

    def _ask(self, questions: Iterable[answering.AskForAddress]) -> None:
        """Send questions, but never from an address that this node has no more.

        A host that is asked would send that address's traffic here, wherever the address is now.
        """
        wire = self._listener.wire
        if wire is None:
            return
        try:
            usable = usable_addresses(wire.index)
            for each in questions:
                if each.own not in usable:
                    self._become(answering.missed(self._state, each.target))
                    continue
                wire.send(
                    packets.neighbour_question(wire.mac, each.own, each.target, receiver=each.mac)
                )
        except AgentError:
            self.missed()  # a host that was not asked cannot answer
