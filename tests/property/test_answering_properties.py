"""Questions for addresses that others hold, whatever happens: bounded, and fair to who answers."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.conflict.answering import (
    AnsweringPolicy,
    AskForAddress,
    ForeignMaster,
    Report,
    Unanswered,
)
from ipfailover_agent.model import IPAddress
from tests.support.answering_world import AnsweringWorld

POLICY = AnsweringPolicy(burst=2)
OWN = IPv4Address("10.0.0.99")
VIRTUAL = [IPv4Address(f"10.0.0.{number}") for number in range(1, 7)]
LINK = (ip_network("10.0.0.0/24"), OWN)
SOURCES = (IPv4Address("10.0.0.50"), IPv4Address("10.0.0.51"))
MACS = (b"\2\0\0\0\0\1", b"\2\0\0\0\0\2")

choices = st.sets(st.integers(0, 5))
answering_sets = st.sets(st.sampled_from([*VIRTUAL, *SOURCES]))
happenings = st.one_of(
    st.tuples(st.just("configure"), choices),
    st.tuples(st.just("holders"), st.lists(st.integers(0, 2), min_size=6, max_size=6)),
    st.tuples(st.just("answering"), answering_sets),
    st.tuples(st.just("announce"), st.sampled_from(VIRTUAL)),
    st.tuples(st.just("missed"), st.none() | st.sampled_from([*VIRTUAL, *SOURCES])),
    st.tuples(st.just("wait"), st.floats(0, 400)),
    st.tuples(st.just("wait"), st.floats(0, 3)),
)


class World(AnsweringWorld):
    """The machine, and which of its questions stayed unanswered."""

    def __init__(self) -> None:
        super().__init__(POLICY, LINK, {}, lambda _: False)
        self.answering: set[IPAddress] = set()
        self.silent: dict[IPAddress, int] = dict.fromkeys(VIRTUAL, 0)
        self.choose(range(6))
        self.hold([0] * 6)

    def choose(self, chosen: Iterable[int]) -> None:
        """Configure some of the addresses."""
        self.configure({VIRTUAL[each]: str(VIRTUAL[each]) for each in chosen})

    def hold(self, choice: list[int]) -> None:
        """Choose a holder for each address, 2 for none."""
        chosen = {
            str(address): ForeignMaster(
                source=SOURCES[number],
                mac=MACS[number],
                addresses=frozenset(VIRTUAL),
                since=self.now,
            )
            for address, number in zip(VIRTUAL, choice, strict=True)
            if number < len(SOURCES)
        }
        for name, each in chosen.items():
            before = self.holders.get(name)
            if before is not None and before.source == each.source:
                chosen[name] = before
        self.holders = chosen

    def ask(self, question: AskForAddress) -> None:
        super().ask(question)
        if question.target in self.silent:
            self.silent[question.target] += 1
            holder = self.holders[self.state.inquiries[question.target].instance]
            assert self.now >= holder.since + POLICY.settle
        if question.target in self.answering:
            self.answer(question.target, MACS[0])

    def take(self, report: Report) -> None:
        if isinstance(report, Unanswered):
            for address in report.addresses:
                assert self.silent[address] >= POLICY.limit, "an answer came"

    def answer(self, address: IPAddress, mac: bytes, *, is_unasked: bool = False) -> None:
        found = self.state.inquiries.get(address)
        is_holder = found is not None and found.holder is not None and found.holder.mac == mac
        super().answer(address, mac, is_unasked=is_unasked)
        if address in self.silent and (not is_unasked or is_holder):
            self.silent[address] = 0

    def happen(self, kind: str, value: object) -> None:
        match kind, value:
            case "configure", set() as chosen:
                self.choose(chosen)
            case "holders", list() as choice:
                self.hold(choice)
            case "answering", set() as addresses:
                self.answering = addresses
            case "announce", IPv4Address() as address:
                self.answer(address, MACS[0], is_unasked=True)
            case "missed", IPv4Address() | None as target:
                self.miss(target)
            case "wait", float() as seconds:
                self.run(seconds)
            case _:
                raise AssertionError(kind)


@given(happened=st.lists(happenings, max_size=60))
def test_no_address_is_asked_for_twice_a_minute(happened: list[tuple[str, object]]) -> None:
    """Nor are more than a burst of them within a second, with the holders' own beside them."""
    world = World()
    for kind, value in happened:
        world.happen(kind, value)
    latest: dict[IPAddress, float] = {}
    for at, each in world.asked:
        if each.target in latest:
            assert at - latest[each.target] >= POLICY.interval - 1e-6
        latest[each.target] = at
    times = [at for at, each in world.asked if each.target in VIRTUAL]
    for first, later in zip(times, times[POLICY.burst :], strict=False):
        assert later - first >= POLICY.tick - 1e-6


@given(happened=st.lists(happenings.filter(lambda each: each[0] != "answering"), max_size=60))
def test_whoever_answers_is_never_suspected(happened: list[tuple[str, object]]) -> None:
    """However holders come and go, and configurations."""
    world = World()
    world.answering = set(VIRTUAL)
    for kind, value in happened:
        world.happen(kind, value)
    assert all(each.since is None for each in world.state.inquiries.values())


@given(happened=st.lists(happenings, max_size=40))
def test_a_holder_that_stays_silent_is_named_at_last(happened: list[tuple[str, object]]) -> None:
    """Whatever was before: some minutes later everything that is not answered for is known."""
    world = World()
    for kind, value in happened:
        world.happen(kind, value)
    world.choose(range(6))
    world.hold([0] * 6)
    world.answering = {SOURCES[0], *VIRTUAL[3:]}
    world.run(900)
    silent = {address for address, each in world.state.inquiries.items() if each.since is not None}
    assert set(VIRTUAL[:3]) == silent
    assert {SOURCES[0]} == {world.state.inquiries[each].reported_for for each in silent}
