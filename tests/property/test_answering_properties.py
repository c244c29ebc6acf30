"""Questions for addresses that others hold, whatever happens: bounded, and fair to who answers."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.conflict.answering import (
    AddressAnswered,
    AddressesConfigured,
    Answering,
    AnsweringPolicy,
    AskForAddress,
    Due,
    Event,
    ForeignMaster,
    Missed,
    Unanswered,
    deadline,
    due_instances,
    step,
)

if TYPE_CHECKING:
    from ipfailover_agent.conflict.answering import Action
    from ipfailover_agent.model import IPAddress

POLICY = AnsweringPolicy(burst=2)
OWN = IPv4Address("10.0.0.99")
VIRTUAL = [IPv4Address(f"10.0.0.{number}") for number in range(1, 7)]
LINKS = ((ip_network("10.0.0.0/24"), OWN),)
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


class World:
    """The machine, fed at its deadlines, and what it did."""

    def __init__(self) -> None:
        self.state = Answering()
        self.now = 1000.0
        self.holders: dict[str, ForeignMaster] = {}
        self.answering: set[IPAddress] = set()
        self.asked: list[tuple[float, IPAddress]] = []
        self.silent: dict[IPAddress, int] = dict.fromkeys(VIRTUAL, 0)
        self.feed(
            AddressesConfigured(instances={each: str(each) for each in VIRTUAL}, links=LINKS)
        )
        self.hold([0] * 6)

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

    def feed(self, event: Event) -> None:
        self.state, actions = step(self.state, event, self.now, POLICY)
        for each in actions:
            self.take(each)

    def take(self, action: Action) -> None:
        match action:
            case AskForAddress(target=target):
                self.asked.append((self.now, target))
                if target in self.silent:
                    self.silent[target] += 1
                    name = self.state.inquiries[target].instance
                    holder = self.holders[name]
                    assert self.now >= holder.since + POLICY.settle
                if target in self.answering:
                    self.answer(target)
            case Unanswered(addresses=addresses):
                for address in addresses:
                    assert self.silent[address] >= POLICY.limit, "an answer came"
            case _:
                pass

    def answer(self, address: IPAddress, *, is_unasked: bool = False) -> None:
        found = self.state.inquiries.get(address)
        is_holder = found is not None and found.holder is not None and found.holder.mac == MACS[0]
        self.feed(AddressAnswered(address=address, mac=MACS[0], is_unasked=is_unasked))
        if address in self.silent and (not is_unasked or is_holder):
            self.silent[address] = 0

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := deadline(self.state, POLICY)) is not None and due <= until:
            self.now = max(self.now, due)
            names = due_instances(self.state, self.now, POLICY)
            self.feed(Due(holders={k: v for k, v in self.holders.items() if k in names}))
            following = deadline(self.state, POLICY)
            assert following is None or following > self.now, "that would keep the loop busy"
        self.now = until

    def happen(self, kind: str, value: object) -> None:
        match kind, value:
            case "configure", set() as chosen:
                instances: dict[IPAddress, str] = {
                    VIRTUAL[each]: str(VIRTUAL[each]) for each in chosen
                }
                self.feed(AddressesConfigured(instances=instances, links=LINKS))
            case "holders", list() as choice:
                self.hold(choice)
            case "answering", set() as addresses:
                self.answering = addresses
            case "announce", IPv4Address() as address:
                self.answer(address, is_unasked=True)
            case "missed", IPv4Address() | None as target:
                self.feed(Missed(target))
            case "wait", float() as seconds:
                self.wait(seconds)
            case _:
                raise AssertionError(kind)


@given(happened=st.lists(happenings, max_size=60))
def test_no_address_is_asked_for_twice_a_minute(happened: list[tuple[str, object]]) -> None:
    """Nor are more than a burst of them within a second, with the holders' own beside them."""
    world = World()
    for kind, value in happened:
        world.happen(kind, value)
    latest: dict[IPAddress, float] = {}
    for at, target in world.asked:
        if target in latest:
            assert at - latest[target] >= POLICY.interval - 1e-6
        latest[target] = at
    times = [at for at, target in world.asked if target in VIRTUAL]
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
    world.feed(AddressesConfigured(instances={each: str(each) for each in VIRTUAL}, links=LINKS))
    world.hold([0] * 6)
    world.answering = {SOURCES[0], *VIRTUAL[3:]}
    world.wait(900)
    silent = {address for address, each in world.state.inquiries.items() if each.since is not None}
    assert set(VIRTUAL[:3]) == silent
    assert {SOURCES[0]} == {world.state.inquiries[each].reported_for for each in silent}
