"""Who is asked whether anybody answers for an address, when, and what is made of silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from math import inf

import pytest
from msgspec.structs import replace

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.settings import parse
from ipfailover_agent.conflict import answering, contexts
from ipfailover_agent.conflict.answering import (
    AddressQuestion,
    Answering,
    AnsweringPolicy,
    AskForAddress,
    ForeignMaster,
    HolderUnanswered,
    Regained,
    Unanswered,
    asked_addresses,
    holder_of,
)
from ipfailover_agent.conflict.contexts import ContestContext
from ipfailover_agent.conflict.state import AdvertCount, Contest, ContestPhase, Rival
from ipfailover_agent.model import IPAddress, VrrpState
from tests.support.adverts import heard_advert
from tests.support.answering_world import AnsweringWorld
from tests.support.vectors import host_facts

POLICY = AnsweringPolicy()
OWN = IPv4Address("10.0.0.11")
THEIRS = IPv4Address("10.0.0.12")
VIRTUAL = IPv4Address("10.0.0.5")
SECOND = IPv4Address("10.0.0.6")
MAC = bytes.fromhex("525400000012")
OTHER_MAC = bytes.fromhex("525400000013")
LINK = (ip_network("10.0.0.0/24"), OWN)
HOLDER = ForeignMaster(source=THEIRS, mac=MAC, addresses=frozenset((VIRTUAL, SECOND)), since=0.0)
BOTH = {"one": HOLDER, "two": HOLDER}


class World(AnsweringWorld):
    """Addresses of instances ``one``, ``two`` and further ones, each held by THEIRS at first."""

    def __init__(
        self,
        *addresses: IPAddress,
        holders: dict[str, ForeignMaster] | None = None,
        answers: Callable[[AskForAddress], bool] = lambda _: False,
    ) -> None:
        super().__init__(POLICY, LINK, BOTH if holders is None else holders, answers)
        names = ("one", "two", *(f"further {number}" for number in range(len(addresses))))
        self.configure(dict(zip(addresses, names, strict=False)))

    def targets(self, address: IPAddress) -> list[bytes | None]:
        """Return whom the questions for an address went to."""
        return [each.mac for _, each in self.asked if each.target == address]

    def run_until_asked(self) -> None:
        """Let time pass until the next question."""
        count = len(self.asked)
        while len(self.asked) == count:
            self.run(0.5)


def only(address: IPAddress) -> Callable[[AskForAddress], bool]:
    """Answer for one address."""
    return lambda asked: asked.target == address


def unanswered(*addresses: IPAddress, is_answering: bool = True) -> Unanswered:
    return Unanswered(
        holder=THEIRS,
        addresses=addresses,
        cause=answering.explain(addresses, THEIRS, is_answering=is_answering),
    )


# --- asking -------------------------------------------------------------------------------------


def test_a_holder_that_answers_is_asked_alone_once_a_minute() -> None:
    """Nobody else hears the question, and there is nothing to tell."""
    world = World(VIRTUAL, answers=lambda _: True)
    world.run(600)
    assert 10 == len(world.asked)
    assert {MAC} == set(world.targets(VIRTUAL))
    assert {OWN} == {each.own for _, each in world.asked}
    assert [] == world.reports


def test_silence_is_told_after_three_questions() -> None:
    """The later ones go to everybody, and the holder's own address answers meanwhile."""
    world = World(VIRTUAL, answers=only(THEIRS))
    world.run(POLICY.settle + 3 * POLICY.interval + POLICY.timeout)
    assert [MAC, None, None] == world.targets(VIRTUAL)
    assert [MAC, MAC] == world.targets(THEIRS)
    assert [unanswered(VIRTUAL)] == world.reports
    world.run(3600)
    assert [unanswered(VIRTUAL)] == world.reports


def test_one_answer_ends_it() -> None:
    """What was told is taken back, and later silence is told again."""
    world = World(VIRTUAL, answers=only(THEIRS))
    world.run(300)
    world.answers = lambda _: True
    world.run(120)
    assert [unanswered(VIRTUAL), Regained(addresses=(VIRTUAL,))] == world.reports
    assert MAC == world.targets(VIRTUAL)[-1]
    world.answers = only(THEIRS)
    world.run(300)
    assert unanswered(VIRTUAL) == world.reports[-1]


@pytest.mark.parametrize(
    ("mac", "is_over"), [(MAC, True), (OTHER_MAC, False)], ids=["the holder's", "another one's"]
)
def test_an_announcement_counts_as_the_holders_answer_only(mac: bytes, *, is_over: bool) -> None:
    """Others who announce the address are no concern of this."""
    world = World(VIRTUAL, answers=only(THEIRS))
    world.run(300)
    world.answer(VIRTUAL, mac, is_unasked=True)
    assert is_over == (world.state.inquiries[VIRTUAL].since is None)


def test_a_holder_that_announces_its_own_address_has_answered() -> None:
    """Whether it was asked or not: it is there, and what was reported of it is taken back."""
    world = World(VIRTUAL, SECOND)
    world.run(300)
    assert [HolderUnanswered] == [type(each) for each in world.reports]
    world.answer(THEIRS, MAC, is_unasked=True)
    world.run(60)
    assert Regained(addresses=(THEIRS,)) in world.reports


def test_an_answer_by_anybody_counts() -> None:
    """A proxy answers for it: then somebody does."""
    world = World(VIRTUAL)
    world.answers = lambda asked: asked.mac is None
    world.run(1200)
    assert [] == world.reports


def test_answers_for_what_nobody_asked_change_nothing() -> None:
    """The node itself talks to these addresses too."""
    world = World(VIRTUAL)
    before = world.state
    world.answer(VIRTUAL, MAC)
    world.answer(SECOND, MAC)
    assert before is world.state


def test_a_segment_without_arp_is_another_matter() -> None:
    """The holder's own address is not answered for either: told once, apart, and taken back."""
    world = World(VIRTUAL, SECOND)
    world.run(1200)
    (told,) = world.reports
    assert isinstance(told, HolderUnanswered)
    assert THEIRS == told.holder
    world.answers = only(THEIRS)
    world.run(180)
    assert Regained(addresses=(THEIRS,)) in world.reports
    assert {VIRTUAL, SECOND} == {
        address
        for each in world.reports
        if isinstance(each, Unanswered)
        for address in each.addresses
    }


def test_a_holder_behind_no_link_of_ours_is_not_asked_for() -> None:
    """It is left out of the sentence."""
    far = replace(HOLDER, source=IPv4Address("172.16.0.1"))
    world = World(VIRTUAL, holders={"one": far})
    world.run(300)
    assert {VIRTUAL} == {each.target for _, each in world.asked}
    (told,) = world.reports
    assert isinstance(told, Unanswered)
    assert "itself" not in told.cause


def test_questions_are_spread_and_bounded() -> None:
    """254 addresses: a few a second, never two within a minute for one."""
    addresses = [IPv4Address(int(IPv4Address("10.0.0.0")) + number) for number in range(1, 255)]
    world = World(*addresses, answers=lambda _: True)
    holder = replace(HOLDER, addresses=frozenset(addresses))
    world.holders = dict.fromkeys(
        (each.instance for each in world.state.inquiries.values()), holder
    )
    world.run(300)
    times = [at for at, _ in world.asked]
    assert 254 * 4 <= len(times) <= 254 * 5
    world.now += 60  # the loop stood still, and all of them are due
    world.run(60)
    times = [at for at, _ in world.asked]
    assert 254 * 5 <= len(times) <= 254 * 6
    for first, later in zip(times, times[POLICY.burst :], strict=False):
        assert later - first >= POLICY.tick - 1e-6


def test_two_nodes_ask_at_different_times() -> None:
    """So that not all of them ask at once."""
    here, there = World(VIRTUAL), World()
    there.links = ((LINK[0], IPv4Address("10.0.0.13")),)
    there.configure({VIRTUAL: "one"})
    due_at = [each.state.inquiries[VIRTUAL].due_at for each in (here, there)]
    assert 1 < abs(due_at[0] - due_at[1])


def test_nobody_is_asked_without_a_holder_that_is_settled_and_names_the_address() -> None:
    """An instance that is MASTER, held or in FAULT has none; a takeover is a moment ago."""
    absent = World(VIRTUAL, holders={})
    absent.run(600)
    unnamed = World(VIRTUAL, holders={"one": replace(HOLDER, addresses=frozenset((SECOND,)))})
    unnamed.run(600)
    fresh = World(VIRTUAL, holders={"one": replace(HOLDER, since=1600 - POLICY.settle)})
    fresh.run(599)
    assert [[], [], []] == [absent.asked, unnamed.asked, fresh.asked]
    fresh.run(61)
    assert 1 == len(fresh.asked)


# --- what begins anew ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "another",
    [
        replace(HOLDER, mac=OTHER_MAC),
        replace(HOLDER, source=IPv4Address("10.0.0.13")),
        replace(HOLDER, since=1150.0),
    ],
    ids=["MAC", "node", "heard anew"],
)
def test_another_holder_is_given_as_many_questions(another: ForeignMaster) -> None:
    """Silence counts only while the same master is heard."""
    world = World(VIRTUAL, answers=only(THEIRS))
    world.run(150)
    before = len(world.targets(VIRTUAL))
    world.holders = {"one": another}
    world.run(120)
    assert [another.mac, None] == world.targets(VIRTUAL)[before:]
    assert [] == world.reports


def test_a_holder_that_is_gone_when_the_answer_is_due_counts_for_nothing() -> None:
    """The node may be MASTER itself by now."""
    world = World(VIRTUAL)
    world.run_until_asked()
    world.holders = {}
    world.run(POLICY.timeout)
    found = world.state.inquiries[VIRTUAL]
    assert (0, inf) == (found.unanswered, found.judge_at)


def test_answers_that_may_have_been_missed_count_for_nothing() -> None:
    """The loop stood still, or too much came in."""
    world = World(VIRTUAL)
    for _ in range(6):
        world.run_until_asked()
        world.miss()
    assert [] == world.reports
    assert 0 == world.state.inquiries[VIRTUAL].unanswered


def test_one_question_that_could_not_be_sent_counts_for_nothing() -> None:
    """The others do, in their time."""
    world = World(VIRTUAL, SECOND, answers=only(THEIRS))
    until = world.now + 600
    while world.now < until:
        count = len(world.targets(SECOND))
        world.run(0.5)
        if len(world.targets(SECOND)) > count:
            world.miss(SECOND)
    assert [unanswered(VIRTUAL)] == world.reports
    assert {MAC} == set(world.targets(SECOND))


def test_what_is_found_soon_after_a_report_is_told_together() -> None:
    """One line for the first, one for all others, a minute later."""
    addresses = [IPv4Address(f"10.0.0.{number}") for number in range(100, 120)]
    world = World(*addresses, answers=only(THEIRS))
    holder = replace(HOLDER, addresses=frozenset(addresses))
    world.holders = dict.fromkeys(
        (each.instance for each in world.state.inquiries.values()), holder
    )
    world.run(360)
    assert 2 == len(world.reports)
    assert set(addresses) == {
        address
        for each in world.reports
        if isinstance(each, Unanswered)
        for address in each.addresses
    }


def test_what_is_over_before_it_could_be_told_is_not_told() -> None:
    """The node became MASTER, or another one did."""
    world = World(VIRTUAL, SECOND, answers=only(THEIRS))
    while not world.reports:
        world.run(0.5)
    world.run(40)
    (first,) = world.reports
    assert isinstance(first, Unanswered)
    assert 1 == len(first.addresses)
    assert all(each.since is not None for each in world.state.inquiries.values())
    world.holders = {}
    world.run(120)
    assert [first] == world.reports
    assert all(each.since is None for each in world.state.inquiries.values())


# --- configurations -----------------------------------------------------------------------------


def test_an_address_that_comes_back_is_not_asked_for_sooner() -> None:
    """Reloads within a minute change nothing about the minute, however many."""
    world = World(VIRTUAL, answers=lambda _: True)
    world.run_until_asked()
    ((asked_at, _),) = world.asked
    configured: tuple[dict[IPAddress, str], ...] = ({}, {VIRTUAL: "one"})
    for addresses in configured * 3:
        world.configure(addresses)
        world.now += 1
    world.run(300)
    assert world.asked[1][0] >= asked_at + POLICY.interval


def test_a_reload_keeps_what_is_known_of_addresses_that_stay() -> None:
    """Names of instances may change."""
    world = World(VIRTUAL, answers=only(THEIRS))
    world.run(300)
    world.configure({VIRTUAL: "two"})
    found = world.state.inquiries[VIRTUAL]
    assert ("two", True) == (found.instance, found.since is not None)
    assert {THEIRS} == set(world.state.holders)
    world.configure({VIRTUAL: "two"}, links=())
    assert ({}, {}) == (world.state.inquiries, world.state.holders)


VARIABLES = {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.5,172.16.0.5,fd00::5"}
FACTS = host_facts(
    {"eth0": ["10.0.0.5/32", "10.0.0.11/24", "fd00::11/64", "fe80::11/64"]},
    ["default via 10.0.0.1 dev eth0"],
)


def test_only_addresses_on_the_link_are_asked_for() -> None:
    """Nobody asks for the others here; IPv6 is asked for from the link-local address."""
    config = plan(parse(VARIABLES), FACTS)
    addresses, links = asked_addresses(config), contexts.links(config, FACTS)
    state = answering.configured(Answering(), addresses, links, 0.0, POLICY)
    assert {
        IPv4Address("10.0.0.5"): IPv4Address("10.0.0.11"),
        IPv6Address("fd00::5"): IPv6Address("fe80::11"),
    } == {address: each.own for address, each in state.inquiries.items()}


@pytest.mark.parametrize(
    ("held", "variables", "askers"),
    [
        pytest.param(
            ["10.0.0.11/24", "10.0.0.77/24"],
            {},
            ["10.0.0.11"],
            id="another's address in our network",
        ),
        pytest.param(["10.0.0.11/24", "172.16.0.77/24"], {}, ["10.0.0.11"], id="another network"),
        pytest.param(
            ["10.0.0.11/24", "172.16.0.11/24"],
            {
                "OPENSHIFT_HA_UNICAST_PEERS": "172.16.0.12,fe80::12",
                "OPENSHIFT_HA_UNICAST_SOURCE_IPADDRESS": "172.16.0.11",
            },
            ["10.0.0.11", "172.16.0.11"],
            id="another network whose address is named",
        ),
        pytest.param(
            ["10.0.0.11/24", "fd00::77/64", "fd00::11/64"],
            {},
            ["10.0.0.11"],
            id="no link-local address",
        ),
        pytest.param(
            ["10.0.0.11/24", "fd00::77/64", "fe80::1/64", "fe80::11/64", "fe80::2/128"],
            {},
            ["10.0.0.11", "fe80::11"],
            id="another's link-local addresses",
        ),
    ],
)
def test_nobody_asks_from_what_may_be_anothers_virtual_address(
    held: list[str], variables: dict[str, str], askers: list[str]
) -> None:
    """It looks like the node's own, and is elsewhere a moment later."""
    facts = host_facts({"eth0": held}, ["default via 10.0.0.1 dev eth0"])
    links = contexts.links(plan(parse(VARIABLES | variables), facts), facts)
    assert askers == list(dict.fromkeys(str(own) for _, own in links))


@pytest.mark.parametrize(
    ("interface", "is_asked"), [("eth0", True), ("eth1", False)], ids=["the same", "another"]
)
def test_addresses_on_another_interface_are_left_alone(interface: str, *, is_asked: bool) -> None:
    """Adverts come in here, and the address is elsewhere."""
    config = plan(parse({"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.5"}), FACTS)
    (instance,) = config.instances
    (held,) = instance.virtual_addresses
    moved = replace(instance, virtual_addresses=(replace(held, interface=interface),))
    assert is_asked == (VIRTUAL in asked_addresses(replace(config, instances=(moved,))))


def test_an_interface_that_is_gone_has_no_links() -> None:
    """Nothing is asked then."""
    assert () == contexts.links(plan(parse(VARIABLES), FACTS), host_facts({}))


# --- holders ------------------------------------------------------------------------------------

ADVERT = heard_advert(THEIRS, VIRTUAL, mac=MAC)
RIVAL = Rival(mac=MAC, router_id=11, first_seen=90.0, advert=ADVERT, advert_at=199.5)
CONTEXT = ContestContext(
    addresses=(VIRTUAL,), virtual_router_id=11, priority=150, source=OWN, mac=OTHER_MAC
)
LISTENING = Contest(
    context=CONTEXT,
    state=VrrpState.BACKUP,
    since=80.0,
    rivals=(RIVAL,),
    count=AdvertCount(is_counting=True),
    dump_at=201.0,
)


def test_the_holder_is_whom_a_backup_hears() -> None:
    """Since both have been so for a master-down time."""
    expected = ForeignMaster(
        source=THEIRS,
        mac=MAC,
        addresses=frozenset((VIRTUAL,)),
        since=90.0 + CONTEXT.master_down_interval,
    )
    assert expected == holder_of(LISTENING, 200.0)
    fast = replace(LISTENING, count=AdvertCount(), dump_at=None)
    assert expected == holder_of(fast, 200.0)


@pytest.mark.parametrize(
    "contest",
    [
        pytest.param(replace(LISTENING, state=VrrpState.MASTER), id="MASTER"),
        pytest.param(replace(LISTENING, state=VrrpState.FAULT), id="FAULT"),
        pytest.param(replace(LISTENING, phase=ContestPhase.TRIAL), id="on trial"),
        pytest.param(replace(LISTENING, count=AdvertCount()), id="not counted"),
        pytest.param(replace(LISTENING, rivals=()), id="nobody"),
        pytest.param(replace(LISTENING, rivals=(replace(RIVAL, advert_at=190.0),)), id="silent"),
        pytest.param(
            replace(LISTENING, rivals=(replace(RIVAL, mac=OTHER_MAC), RIVAL)), id="two masters"
        ),
        pytest.param(
            replace(
                LISTENING, rivals=(replace(RIVAL, advert=replace(ADVERT, virtual_router_id=12)),)
            ),
            id="another id",
        ),
    ],
)
def test_there_is_no_holder_to_ask(contest: Contest) -> None:
    """Only a BACKUP that hears one master, whose adverts count, asks anything."""
    assert holder_of(contest, 200.0) is None


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        ((VIRTUAL,), "10.0.0.12 advertises 10.0.0.5, but no host answers for it:"),
        ((VIRTUAL, SECOND), "advertises 10.0.0.5 10.0.0.6, but no host answers for them:"),
    ],
    ids=["one", "two"],
)
def test_the_cause_names_what_it_usually_is(addresses: Sequence[IPAddress], words: str) -> None:
    """Port security, and what clouds call it."""
    found = answering.explain(addresses, THEIRS)
    assert words in found
    for each in ("port security", "ARP inspection", "allowed address pairs"):
        assert each in found


def test_a_new_state_waits_for_nothing() -> None:
    """Before the first configuration there is no deadline."""
    assert answering.deadline(Answering()) is None
    assert not AddressQuestion(own=OWN).is_unreported
