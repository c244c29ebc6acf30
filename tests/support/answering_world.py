"""The questions for addresses that other nodes hold, asked at their deadlines, in no real time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ipfailover_agent.conflict import answering
from ipfailover_agent.conflict.answering import (
    Answering,
    AnsweringPolicy,
    AskForAddress,
    ForeignMaster,
)
from ipfailover_agent.conflict.contexts import Link
from ipfailover_agent.model import IPAddress


class AnsweringWorld:
    """A state that is fed as the agent feeds it: at its deadlines.

    ``answers`` says which questions a host answers.
    """

    def __init__(
        self,
        policy: AnsweringPolicy,
        link: Link,
        holders: Mapping[str, ForeignMaster],
        answers: Callable[[AskForAddress], bool],
    ) -> None:
        self.policy = policy
        self.links = (link,)
        self.state = Answering()
        self.now = 1000.0
        self.holders = holders
        self.answers = answers
        self.reports: list[answering.Report] = []
        self.asked: list[tuple[float, AskForAddress]] = []

    def configure(
        self, addresses: Mapping[IPAddress, str], links: tuple[Link, ...] | None = None
    ) -> None:
        """Ask for these addresses from now on, each with its instance."""
        links = self.links if links is None else links
        self.state = answering.configured(self.state, addresses, links, self.now, self.policy)

    def answer(self, address: IPAddress, mac: bytes, *, is_unasked: bool = False) -> None:
        """Have a host answer for an address, or announce it."""
        self.state = answering.answered(self.state, address, mac, is_unasked=is_unasked)

    def miss(self, target: IPAddress | None = None) -> None:
        """Have answers be missed."""
        self.state = answering.missed(self.state, target)

    def ask(self, question: AskForAddress) -> None:
        """Take a question."""
        self.asked.append((self.now, question))
        if self.answers(question):
            self.answer(question.target, question.mac or bytes(6))

    def take(self, report: answering.Report) -> None:
        """Take a report."""
        self.reports.append(report)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while (due_at := answering.deadline(self.state)) is not None and due_at <= until:
            self.now = max(self.now, due_at)
            names = answering.due_instances(self.state, self.now)
            holders = {name: each for name, each in self.holders.items() if name in names}
            self.state, asked, reports = answering.due(self.state, holders, self.now, self.policy)
            for question in asked:
                self.ask(question)
            for report in reports:
                self.take(report)
            following = answering.deadline(self.state)
            assert following is None or following > self.now, "that would keep the loop busy"
        self.now = until
