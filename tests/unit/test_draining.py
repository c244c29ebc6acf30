"""All drains together: requests, verdicts, orders for everything, reloads, restarts."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from ipfailover_agent.core.drains import directing, drain, draining
from ipfailover_agent.core.drains.drain import Order, Phase, Policy, Sighting, Subject
from ipfailover_agent.core.drains.drain_requests import Request
from ipfailover_agent.core.drains.draining import (
    Answer,
    Draining,
    Freed,
    Hold,
    Release,
    Save,
    Settled,
)
from ipfailover_agent.core.drains.restoring import Kept, addresses

if TYPE_CHECKING:
    from collections.abc import Iterable

POLICY = Policy(requests_limit=2)
ONE, TWO, THREE = "VIP_1", "VIP_2", "VIP_3"


def subject(number: int) -> Subject:
    return Subject(addresses=frozenset({ip_address(f"10.0.0.{4 + number}")}))


SUBJECTS = {name: subject(number) for number, name in enumerate((ONE, TWO, THREE), start=1)}


def kept(name: str, **order: Any) -> Kept:  # noqa: ANN401 - fields of Order
    return Kept(order=Order(**order), addresses=SUBJECTS[name].addresses)


class Agent:
    """Feeds events and keeps what was done."""

    def __init__(self, *names: str) -> None:
        self.state = Draining()
        self.now = 0.0
        if names:
            self.configure(*names)

    def feed(self, event: draining.Event) -> list[draining.Action]:
        self.state, actions = directing.step(self.state, event, self.now, POLICY)
        return list(actions)

    def has_order(self) -> bool:
        """Tell whether there is an order for everything."""
        return self.state.everything is not None

    def configure(self, *names: str, masters: Iterable[str] = ()) -> list[draining.Action]:
        subjects = {each: SUBJECTS[each] for each in names}
        return self.feed(draining.Configured(subjects=subjects, masters=frozenset(masters)))

    def drain(
        self,
        key: str,
        *words: str,
        masters: Iterable[str] = (),
        blind: str = "",
        is_forced: bool = False,
        seconds: float | None = None,
    ) -> list[draining.Action]:
        request = Request(is_drain=True, words=words, is_forced=is_forced, seconds=seconds)
        event = draining.Requested(
            id=key, request=request, masters=frozenset(masters), blind=blind
        )
        actions = self.feed(event)
        for name in masters:  # keepalived does as the hold file says
            self.feed(draining.Told(name=name, event=drain.Demoted()))
        return actions

    def undrain(self, key: str, *words: str) -> list[draining.Action]:
        request = Request(is_drain=False, words=words)
        return self.feed(draining.Requested(id=key, request=request))

    def hear(self, name: str, at: float) -> list[draining.Action]:
        self.now = at
        seen = Sighting(
            mac=b"222222",
            router_id=11,
            source="10.0.0.2",
            addresses=SUBJECTS[name].addresses,
            interval=1.0,
            at=at,
        )
        return self.feed(draining.Told(name=name, event=drain.Heard(sighting=seen)))

    def wait(self, until: float, blind: str = "") -> list[draining.Action]:
        self.now = until
        return self.feed(draining.TimePassed(blind=blind))


def verdict(actions: Iterable[draining.Action]) -> Answer:
    (found,) = (each for each in actions if isinstance(each, Answer) and each.verdict)
    return found


def test_a_request_is_accepted_at_once_and_answered_when_all_have_come_to_something() -> None:
    """And what is drained is written down."""
    agent = Agent(ONE, TWO)
    done = agent.drain("a", masters=[ONE])
    assert [Save(), Answer(id="a", verdict=None, within=10.0), Hold(name=ONE)] == done
    assert [Save(), Settled(name=ONE, holder="10.0.0.2")][1:] == agent.hear(ONE, 1)
    done = agent.hear(TWO, 2)
    line = f"10.0.0.2 has taken over {ONE} {TWO}"
    assert [
        Save(),
        Hold(name=TWO),
        Settled(name=TWO, holder="10.0.0.2"),
        Answer(id="a", verdict="drained", lines=(line,)),
    ] == done
    assert {ONE, TWO} == set(agent.state.held)
    assert Phase.FREE is agent.state.phase("unknown")


def test_what_nobody_took_over_is_named_beside_what_somebody_did() -> None:
    """Causes are grouped; the order for everything goes on with what is left."""
    agent = Agent(ONE, TWO, THREE)
    agent.drain("a", masters=[ONE, TWO])
    agent.hear(THREE, 1)
    agent.hear(THREE, 4)
    done = agent.wait(5)
    assert verdict(done) == Answer(
        id="a",
        verdict="undone",
        lines=(
            f"10.0.0.2 has taken over {THREE}",
            f"not drained: {ONE} {TWO}: nobody took over within 5 s",
        ),
    )
    assert {THREE} == set(agent.state.held)
    assert 9.0 == agent.state.deadline
    assert agent.state.everything is not None
    assert [Save(), Release(name=THREE)] == agent.wait(9)[:2]
    assert Draining(drains=agent.state.drains) == agent.state


@pytest.mark.parametrize(
    ("words", "blind", "said"),
    [
        (("VIP_9",), "", "unknown instance 'VIP_9': this agent serves VIP_1 VIP_2"),
        ((), "no wire", "no wire; --force drains all the same"),
    ],
    ids=["unknown", "blind"],
)
def test_a_request_that_cannot_be_met_is_refused(
    words: tuple[str, ...], blind: str, said: str
) -> None:
    """And changes nothing."""
    agent = Agent(ONE, TWO)
    before = agent.state
    (answer,) = agent.drain("a", *words, blind=blind)
    assert isinstance(answer, Answer)
    assert "refused" == answer.verdict
    assert said in answer.lines[0]
    assert before == agent.state


def test_undraining_the_unknown_is_refused() -> None:
    """As draining it is."""
    assert "refused" == verdict(Agent(ONE).undrain("a", "VIP_9")).verdict


def test_force_needs_no_wire() -> None:
    """Its verdict says that nobody was heard."""
    agent = Agent(ONE)
    agent.drain("a", blind="no wire", is_forced=True)
    line = f"nobody was heard to take over {ONE}: drained by force"
    assert Answer(id="a", verdict="drained", lines=(line,)) == verdict(agent.wait(5, "no wire"))
    assert agent.state.deadline is None


def test_so_many_requests_wait_and_no_more() -> None:
    """The next one is refused in words; all others get their verdict."""
    agent = Agent(ONE)
    agent.drain("a")
    agent.drain("b", ONE)
    assert "2 requests wait" in verdict(agent.drain("c")).lines[0]
    answers = [each for each in agent.hear(ONE, 1) if isinstance(each, Answer)]
    assert ["a", "b"] == [each.id for each in answers]
    assert () == agent.state.pending


def test_without_a_configuration_there_is_nothing_to_drain() -> None:
    """Nor to undrain."""
    agent = Agent()
    assert ("serves nothing yet",) == tuple(each[-18:] for each in verdict(agent.drain("a")).lines)
    assert "refused" == verdict(agent.undrain("b")).verdict


def test_undraining_ends_what_is_under_way() -> None:
    """Who asked for it learns of that, and only of its part."""
    agent = Agent(ONE, TWO)
    agent.drain("a", masters=[ONE])
    answers = [each for each in agent.undrain("b", ONE) if isinstance(each, Answer)]
    assert [Answer(id="b", verdict="undrained", lines=(f"{ONE} may serve again",))] == answers
    assert "undone" == verdict(agent.hear(TWO, 1)).verdict
    (answer,) = agent.undrain("c", ONE)
    assert answer == Answer(id="c", verdict="undrained", lines=("nothing of that was drained",))
    assert agent.has_order()
    agent.undrain("d")
    assert not agent.has_order()
    assert {} == agent.state.held


def test_everything_means_also_what_a_reload_adds() -> None:
    """A backup is proven first, a master watched; what was undrained stays so."""
    agent = Agent(ONE)
    agent.drain("a", masters=[ONE])
    agent.hear(ONE, 1)
    done = agent.configure(ONE, TWO, THREE, masters=[THREE])
    assert [Save(), Hold(name=THREE)] == done
    assert [Phase.HELD, Phase.PROVING, Phase.MOVING] == [
        each.phase for each in agent.state.drains.values()
    ]
    agent.undrain("b", TWO)
    assert [] == agent.configure(ONE, TWO, THREE)
    assert Phase.FREE is agent.state.phase(TWO)


def test_a_reload_ends_the_drain_of_what_it_removes() -> None:
    """Whoever waits for it is told; an instance that changed is watched anew."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE, TWO, masters=[ONE, TWO])
    agent.hear(ONE, 1)
    agent.now = 3.0
    more = SUBJECTS[ONE].addresses | {ip_address("10.0.0.99")}
    done = agent.feed(draining.Configured(subjects={ONE: Subject(addresses=more)}))
    cause = "a reload removed it from the configuration"
    assert Release(name=TWO) in done
    assert Freed(name=TWO, cause=cause, is_undone=False) in done
    assert f"not drained: {TWO}: {cause}" == verdict(done).lines[1]
    assert 8.0 == agent.state.deadline


def renumbered(agent: Agent, **numbers: int) -> list[draining.Action]:
    """Have names stand for the addresses of others: VIP_1=2 is what VIP_2 was at first."""
    subjects = {name: subject(number) for name, number in numbers.items()}
    return agent.feed(draining.Configured(subjects=subjects))


def test_a_drain_follows_its_address_to_another_instance() -> None:
    """VIP_1 is removed, VIP_2 and VIP_3 are called VIP_1 and VIP_2 now: who was held still is."""
    agent = Agent(ONE, TWO, THREE)
    agent.drain("a", TWO, masters=[TWO])
    agent.hear(TWO, 1)
    assert Save() in renumbered(agent, VIP_1=2, VIP_2=3)
    assert (Phase.HELD, Phase.FREE) == (agent.state.phase(ONE), agent.state.phase(TWO))
    assert {ONE: kept(TWO)} == agent.state.held


def test_an_address_that_nobody_drained_is_not_held_for_its_instance() -> None:
    """The drained one is removed, and another one gets its instance: it is served."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE, masters=[ONE])
    agent.hear(ONE, 1)
    done = renumbered(agent, VIP_1=2)
    cause = "a reload removed it from the configuration"
    assert Freed(name=ONE, cause=cause, is_undone=False) in done
    assert {} == agent.state.held


def test_a_drained_address_among_others_is_let_go() -> None:
    """Holding it would hold the others; whoever asked for it is told."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE, masters=[ONE])
    both = Subject(addresses=SUBJECTS[ONE].addresses | SUBJECTS[TWO].addresses)
    done = agent.feed(draining.Configured(subjects={ONE: both}))
    cause = "a reload put its addresses together with others, which are not drained"
    assert (f"not drained: {ONE}: {cause}",) == verdict(done).lines
    assert Phase.FREE is agent.state.phase(ONE)


def test_drained_addresses_put_together_stay_drained() -> None:
    """The verdict waits for the last of them."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE, TWO, masters=[ONE, TWO])
    agent.hear(ONE, 1)
    both = Subject(addresses=SUBJECTS[ONE].addresses, excluded=SUBJECTS[TWO].addresses)
    agent.feed(draining.Configured(subjects={THREE: both}))
    assert Phase.MOVING is agent.state.phase(THREE)
    (pending,) = agent.state.pending
    assert {THREE} == pending.waiting


def test_an_order_for_everything_means_a_new_address_under_an_old_name() -> None:
    """It is put in front, and is called what another was called."""
    agent = Agent(ONE, TWO)
    agent.drain("a", masters=[ONE, TWO])
    agent.hear(ONE, 1)
    agent.hear(TWO, 1)
    renumbered(agent, VIP_1=3, VIP_2=1, VIP_3=2)
    assert [Phase.PROVING, Phase.HELD, Phase.HELD] == [
        each.phase for each in agent.state.drains.values()
    ]


def test_a_former_drain_is_held_from_the_start_and_watched_once_configured() -> None:
    """What is not configured any more is let go; orders for everything know whom they met."""
    agent = Agent()
    held = {ONE: kept(ONE), THREE: kept(THREE, is_forced=True)}
    event = draining.Restored(held=held, everything=Order(), known=addresses(SUBJECTS.values()))
    assert [Save(), Hold(name=ONE), Hold(name=THREE)] == agent.feed(event)
    assert held == agent.state.held
    agent.now = 100.0
    done = agent.configure(ONE, TWO)
    assert Release(name=THREE) in done
    assert (Phase.MOVING, Phase.FREE) == (agent.state.phase(ONE), agent.state.phase(TWO))
    assert 105.0 == agent.state.deadline


def restarted(**subjects: Subject) -> tuple[Agent, list[draining.Action]]:
    """Return an agent after a run that had the second of three drained; what it serves is new."""
    agent = Agent()
    known = addresses(SUBJECTS.values())
    agent.feed(draining.Restored(held={TWO: kept(TWO)}, everything=None, known=known))
    return agent, agent.feed(draining.Configured(subjects=subjects))


def test_a_former_drain_follows_its_addresses_to_another_name() -> None:
    """The first one was removed while no agent ran: what was the second is the first now."""
    agent, done = restarted(VIP_1=SUBJECTS[TWO], VIP_2=SUBJECTS[THREE])
    assert (Phase.MOVING, Phase.FREE) == (agent.state.phase(ONE), agent.state.phase(TWO))
    assert [Save(), Release(name=TWO), Hold(name=ONE)] == done
    assert {ONE: kept(TWO)} == agent.state.held


def test_a_former_drain_that_is_a_group_with_what_was_not_drained_ends() -> None:
    """As after a reload; with an address that is new it does not."""
    both = Subject(addresses=SUBJECTS[TWO].addresses | SUBJECTS[THREE].addresses)
    agent, done = restarted(VIP_1=both)
    assert Phase.FREE is agent.state.phase(ONE)
    (freed,) = (each for each in done if isinstance(each, Freed))
    assert "together with others" in freed.cause
    grown = Subject(addresses=SUBJECTS[TWO].addresses | subject(99).addresses)
    agent, done = restarted(VIP_2=grown)
    assert Phase.MOVING is agent.state.phase(TWO)
    assert not [each for each in done if isinstance(each, (Hold, Release))]


def test_a_name_that_a_former_drain_loses_to_another_one_is_not_told_to_be_free() -> None:
    """Two were drained and the first is gone: the second has its name, and is held."""
    agent = Agent()
    held = {ONE: kept(ONE), TWO: kept(TWO, until=9.0)}
    agent.feed(draining.Restored(held=held, known=addresses(SUBJECTS.values())))
    done = agent.feed(draining.Configured(subjects={ONE: SUBJECTS[TWO], TWO: SUBJECTS[THREE]}))
    assert [Save(), Release(name=TWO)] == done
    assert {ONE: kept(TWO, until=9.0)} == agent.state.held


def test_of_several_former_drains_in_one_group_the_shortest_counts() -> None:
    """An address too many that is held would be on nobody."""
    agent = Agent()
    held = {ONE: kept(ONE, is_forced=True), TWO: kept(TWO), THREE: kept(THREE, until=9.0)}
    agent.feed(draining.Restored(held=held))
    agent.feed(
        draining.Configured(subjects={ONE: Subject(addresses=addresses(SUBJECTS.values()))})
    )
    assert Order(until=9.0) == agent.state.held[ONE].order


def test_a_former_order_for_everything_means_a_new_address_under_an_old_name() -> None:
    """And not an old one under a new name that had been undrained."""
    agent = Agent()
    known = SUBJECTS[ONE].addresses | SUBJECTS[TWO].addresses
    agent.feed(draining.Restored(held={ONE: kept(ONE)}, everything=Order(), known=known))
    agent.feed(
        draining.Configured(
            subjects={ONE: SUBJECTS[THREE], TWO: SUBJECTS[ONE], THREE: SUBJECTS[TWO]}
        )
    )
    assert [Phase.PROVING, Phase.MOVING, Phase.FREE] == [
        each.phase for each in agent.state.drains.values()
    ]


def test_a_former_drain_ends_before_anything_is_configured() -> None:
    """By its time, or because somebody undrains it."""
    agent = Agent()
    held = {ONE: kept(ONE, until=7.0), TWO: kept(TWO, until=9.0), THREE: kept(THREE)}
    agent.feed(draining.Restored(held=held))
    assert 7.0 == agent.state.deadline
    assert Freed(name=ONE, cause="its time is over", is_undone=False) == agent.wait(7)[-1]
    assert (f"{TWO} may serve again",) == verdict(agent.undrain("a", "10.0.0.6")).lines
    assert {THREE} == set(agent.state.held)
    agent.undrain("b")
    assert {} == agent.state.held


def test_an_order_for_everything_ends_with_its_time() -> None:
    """Nothing that is added later is drained by it."""
    agent = Agent(ONE)
    agent.drain("a", masters=[ONE], seconds=3.0)
    agent.hear(ONE, 1)
    assert 3.0 == agent.state.deadline
    agent.wait(2)
    assert agent.has_order()
    assert Freed(name=ONE, cause="its time is over", is_undone=False) in agent.wait(3)
    assert not agent.has_order()
    assert [] == agent.configure(ONE, TWO)


def test_a_gap_in_our_loop_is_nobodys_fault() -> None:
    """Every instance learns of it; one that is not known learns nothing."""
    agent = Agent(ONE)
    agent.drain("a", masters=[ONE])
    agent.now = 60.0
    agent.feed(drain.Gap(seconds=59.0))
    assert 64.0 == agent.state.deadline
    assert [] == agent.hear(TWO, 61)


def test_a_request_learns_only_of_its_own_instances() -> None:
    """What becomes of another one is not its verdict."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE)
    agent.drain("b", TWO)
    assert "b" == verdict(agent.hear(TWO, 1)).id
    assert "a" == verdict(agent.hear(ONE, 1)).id


def test_being_heard_moves_the_deadline_only_away() -> None:
    """It may come too soon, and then finds nothing due."""
    agent = Agent(ONE)
    agent.drain("a", masters=[ONE])
    agent.hear(ONE, 1)
    agent.hear(ONE, 4)
    before = agent.state.deadline
    assert before is not None
    assert before <= 9.0
    assert [] == agent.wait(before)
    assert 9.0 == agent.state.deadline
