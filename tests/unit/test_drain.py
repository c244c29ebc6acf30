"""Drains: every row of the table in drain/fsm.py, requests, reloads, restarts."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.drain import fsm
from ipfailover_agent.drain.drain_requests import DrainRequest
from ipfailover_agent.drain.fsm import DrainEnded, DrainSpec, SaveDrains, Target
from ipfailover_agent.model import Advertisement, VirtualAddress
from ipfailover_agent.status.status_model import DrainRequestStatus as Answer
from tests.support.adverts import heard_advert
from tests.unit.test_instance_states import instance

Actions = list[fsm.DrainAction]
POLICY = fsm.DrainPolicy(requests_limit=2)
ONE, TWO, THREE = "VIP_1", "VIP_2", "VIP_3"
FIVE, SIX = ip_address("10.0.0.5"), ip_address("10.0.0.6")
GONE = "a reload removed it from the configuration"
MIXED = "a reload put its addresses together with others, which are not drained"
SERVING, PENDING, DRAINING, DRAINED = fsm.DrainPhase


def target(*numbers: int, **changes: Any) -> Target:  # noqa: ANN401 - fields of Target
    addresses = frozenset(ip_address(f"10.0.0.{4 + number}") for number in numbers)
    return Target(addresses=addresses, **changes)


TARGETS = {name: target(number) for number, name in enumerate((ONE, TWO, THREE), start=1)}
ALL = frozenset(address for each in TARGETS.values() for address in each.addresses)
BOTH = target(1, 2)


def record(name: str, **spec: Any) -> fsm.Record:  # noqa: ANN401 - fields of DrainSpec
    return fsm.Record(spec=DrainSpec(**spec), addresses=TARGETS[name].addresses)


class Agent:
    """Feeds events, and keeps the state."""

    def __init__(self, *names: str, **targets: Target) -> None:
        self.state = fsm.DrainState()
        self.now = 0.0
        if names or targets:
            self.configure(*names, masters=(), **targets)

    def feed(self, event: fsm.DrainEvent) -> Actions:
        self.state, actions = fsm.step(self.state, event, self.now, POLICY)
        return list(actions)

    def drain_of(self, name: str) -> fsm.InstanceDrain:
        return self.state.drains[name]

    @property
    def phases(self) -> list[fsm.DrainPhase]:
        return [each.phase for each in self.state.drains.values()]

    def has_everything(self) -> bool:
        """Tell whether there is a drain of everything."""
        return self.state.everything is not None

    def configure(self, *names: str, masters: Iterable[str] = (), **targets: Target) -> Actions:
        every = {**{each: TARGETS[each] for each in names}, **targets}
        return self.feed(fsm.TargetsConfigured(targets=every, masters=frozenset(masters)))

    def restore(self, **changes: Any) -> Actions:  # noqa: ANN401 - fields
        return self.feed(fsm.DrainsRestored(**changes))

    def drain(
        self,
        key: str,
        *words: str,
        masters: Iterable[str] = (),
        leaves: bool = True,
        blind: str = "",
        is_forced: bool = False,
        seconds: float | None = None,
    ) -> Actions:
        request = DrainRequest(action="drain", words=words, is_forced=is_forced, seconds=seconds)
        event = fsm.DrainRequested(
            id=key, request=request, masters=frozenset(masters), blind=blind
        )
        actions = self.feed(event)
        for name in masters if leaves else ():  # keepalived does as the hold file says
            self.enter(name)
        return actions

    def undrain(self, key: str, *words: str) -> Actions:
        request = DrainRequest(action="undrain", words=words)
        return self.feed(fsm.DrainRequested(id=key, request=request))

    def enter(self, name: str, at: float | None = None, *, is_master: bool = False) -> Actions:
        self.now = self.now if at is None else at
        return self.feed(fsm.InstanceEntered(name=name, is_master=is_master))

    def hear(
        self, name: str, at: float, *numbers: int, mac: int = 2, **changes: object
    ) -> Actions:
        """Have 10.0.0.<mac> advertise addresses, by default those of the instance at first.

        ``changes`` are other fields of the advert.
        """
        self.now = at
        listed = (target(*numbers) if numbers else TARGETS[name]).addresses
        source = ip_address(f"10.0.0.{mac}")
        advert = heard_advert(source, *listed, mac=bytes([mac] * 6), **changes)
        return self.feed(fsm.SuccessorHeard(name=name, advert=advert))

    def wait(self, until: float, blind: str = "", *, has_link: bool = True) -> Actions:
        self.now = until
        return self.feed(fsm.DrainTimePassed(blind=blind, has_link=has_link))

    def pause(self, seconds: float, at: float) -> Actions:
        self.now = at
        return self.feed(fsm.ListeningPaused(seconds=seconds))


def lone(phase: fsm.DrainPhase) -> Agent:
    """Return an agent whose only instance came to a phase: asked at 0, heard at 1."""
    agent = Agent(ONE)
    if phase is not SERVING:
        agent.drain("a", masters=[] if phase is PENDING else [ONE])
    if phase is DRAINED:
        agent.hear(ONE, 1)
    assert phase is agent.state.phase(ONE)
    return agent


def verdict(actions: Iterable[fsm.DrainAction]) -> Answer:
    (found,) = (each for each in actions if isinstance(each, Answer) and each.verdict)
    return found


def effects(actions: Iterable[fsm.DrainAction]) -> Actions:
    """Return the actions but answers and saving."""
    return [each for each in actions if not isinstance(each, Answer | SaveDrains)]


def sets(name: str) -> fsm.SetHold:
    return fsm.SetHold(name=name, is_held=True)


def undone(cause: str) -> DrainEnded:
    return DrainEnded(name=ONE, cause=cause, is_undone=True)


def clears(name: str) -> fsm.SetHold:
    return fsm.SetHold(name=name, is_held=False)


# --- one instance -------------------------------------------------------------------------------


def test_a_master_is_held_at_once_and_drained_when_another_node_serves() -> None:
    """The ordinary way."""
    agent = Agent(ONE)
    assert [sets(ONE)] == effects(agent.drain("a", masters=[ONE]))
    assert [fsm.InstanceDrained(name=ONE, holder="10.0.0.2")] == effects(agent.hear(ONE, 0.2))
    found = agent.drain_of(ONE)
    assert (DRAINED, "10.0.0.2", True) == (found.phase, found.holder, found.phase.is_held)


def test_a_backup_is_held_only_once_another_node_serves() -> None:
    """Nothing is set before; that it does not serve says nothing of others."""
    agent = Agent(ONE)
    assert [] == effects(agent.drain("a"))
    assert PENDING is agent.state.phase(ONE)
    drained = fsm.InstanceDrained(name=ONE, holder="10.0.0.2")
    assert [sets(ONE), drained] == effects(agent.hear(ONE, 0.9))


def test_a_backup_that_becomes_master_is_not_drained() -> None:
    """Then no other node was there."""
    agent = lone(PENDING)
    assert [] == agent.enter(ONE)
    done = agent.enter(ONE, 3, is_master=True)
    assert [undone("it became MASTER itself: no other node serves it")] == effects(done)
    assert SERVING is agent.state.phase(ONE)


@pytest.mark.parametrize("phase", [DRAINING, DRAINED])
def test_a_line_that_comes_late_frees_nothing_that_is_held(phase: fsm.DrainPhase) -> None:
    """keepalived wrote MASTER before the hold file took effect."""
    agent = lone(phase)
    before = agent.state
    assert [] == agent.enter(ONE, 1.1, is_master=True)
    assert before == agent.state


@pytest.mark.parametrize(
    ("phase", "at", "words"),
    [
        (DRAINING, 5.0, "no other node took over within 5 s"),
        (PENDING, 5.0, "no other node was heard to serve it within 5 s"),
        (
            DRAINED,
            6.0,
            "10.0.0.2 had taken over, and then no node was heard to serve it within 5 s",
        ),
    ],
)
def test_silence_undoes_it(phase: fsm.DrainPhase, at: float, words: str) -> None:
    """Not a moment sooner than the deadline says; what was not held is not released."""
    agent = lone(phase)
    agent.wait(1)  # brings the deadline up to date
    assert at == agent.state.deadline
    before = agent.state
    assert [] == agent.wait(at - 0.01)
    assert before == agent.state
    released = [clears(ONE)] if phase.is_held else []
    assert [*released, undone(words)] == effects(agent.wait(at))
    assert Agent(ONE).state == agent.state


def test_silence_counts_from_the_moment_it_leaves_master() -> None:
    """Until then it serves; keepalived may be busy, but not for ever."""
    agent = Agent(ONE)
    agent.drain("a", masters=[ONE], leaves=False)
    assert 10.0 == agent.state.deadline
    leaving = agent.state
    assert [] == agent.enter(ONE, 3)
    assert [] == agent.wait(5)
    assert 8.0 == agent.state.deadline
    before = agent.state
    assert [] == agent.enter(ONE, 4)
    assert before == agent.state

    agent.state = leaving
    ended = undone("keepalived was not seen to leave MASTER within 10 s")
    assert [clears(ONE), ended] == effects(agent.wait(10))


def test_being_blind_is_the_cause_where_it_is() -> None:
    """The wire is not watched any more."""
    assert [clears(ONE), undone("no socket")] == effects(lone(DRAINED).wait(6, "no socket"))


def test_without_a_link_a_drained_instance_stays_drained() -> None:
    """A release would bring the address back to no node; without a successor it is released."""
    agent = lone(DRAINED)
    assert [] == agent.wait(6, has_link=False)
    assert 11.0 == agent.state.deadline
    agent = lone(DRAINING)
    agent.wait(5, has_link=False)
    assert SERVING is agent.state.phase(ONE)


def test_a_target_is_what_an_instance_serves() -> None:
    """Its adverts list some of the addresses, as a rule all."""
    served = replace(
        instance(1),
        advertisement=Advertisement(version=3, interval=0.5),
        virtual_addresses=(VirtualAddress(address=FIVE),),
        excluded_addresses=(VirtualAddress(address=SIX),),
    )
    expected = target(1, excluded=frozenset({SIX}), version=3, advert_interval=0.5)
    assert expected == Target.of(served)
    assert {FIVE, SIX} == expected.every


def test_force_holds_whatever_is_heard() -> None:
    """At once, also a backup; the verdict says that no node took over, then nothing is due."""
    agent = Agent(ONE)
    assert [sets(ONE)] == effects(agent.drain("a", is_forced=True))
    assert [fsm.InstanceDrained(name=ONE, holder="")] == effects(agent.wait(5))
    assert agent.state.deadline is None
    before = agent.state
    assert [] == agent.wait(500)
    assert before == agent.state
    assert [] == agent.hear(ONE, 600)
    assert "10.0.0.2" == agent.drain_of(ONE).holder


@pytest.mark.parametrize("is_forced", [False, True], ids=["watched", "forced"])
@pytest.mark.parametrize("masters", [[], [ONE]], ids=["backup", "master"])
def test_it_ends_when_its_time_is_over(masters: list[str], *, is_forced: bool) -> None:
    """Whatever else is the case; that is not called undone."""
    agent = Agent(ONE)
    agent.drain("a", is_forced=is_forced, seconds=7.0, masters=masters)
    agent.hear(ONE, 3)
    agent.hear(ONE, 6.5)
    agent.wait(6.6)
    assert 7.0 == agent.state.deadline
    ended = DrainEnded(name=ONE, cause="its time is over")
    assert [clears(ONE), ended] == effects(agent.wait(7))
    assert Agent(ONE).state == agent.state


@pytest.mark.parametrize("phase", [DRAINING, PENDING, DRAINED])
def test_undraining_frees_from_everywhere(phase: fsm.DrainPhase) -> None:
    """And twice is as good as once."""
    agent = lone(phase)
    assert DrainEnded(name=ONE, cause="undrained") in agent.undrain("b")
    assert Agent(ONE).state == agent.state
    assert [] == effects(agent.undrain("c"))
    assert Agent(ONE).state == agent.state


def test_a_node_that_serves_a_part_has_not_taken_over() -> None:
    """All addresses must be served, by one node or by several between them."""
    agent = Agent(VIP_1=BOTH)
    agent.drain("a", masters=[ONE])
    assert [] == agent.hear(ONE, 1)
    again = agent.state
    holder = "10.0.0.2 and 10.0.0.3"
    assert [fsm.InstanceDrained(name=ONE, holder=holder)] == effects(
        agent.hear(ONE, 1.5, 2, mac=3)
    )
    agent.state = again
    agent.hear(ONE, 4)
    cause = "no other node serves 10.0.0.6, though others of its addresses are served"
    assert undone(cause) in agent.wait(6)


def test_a_node_that_says_goodbye_serves_no_more() -> None:
    """What it listed counts for nothing from then on; its successor has the full time."""
    agent = lone(DRAINED)
    assert [] == agent.hear(ONE, 1.5, priority=0)
    assert () == agent.drain_of(ONE).adverts
    agent.wait(1.5)
    assert 6.0 == agent.state.deadline
    assert [] == agent.hear(ONE, 2, mac=3)
    agent.wait(2)
    assert ("10.0.0.3", 7.0) == (agent.drain_of(ONE).holder, agent.state.deadline)
    before = agent.state
    assert [] == agent.hear(ONE, 2.5, mac=3, virtual_router_id=12, priority=0)
    assert before == agent.state


def test_a_node_that_was_heard_long_ago_serves_no_more() -> None:
    """Two halves at different times are no whole."""
    agent = Agent(VIP_1=BOTH)
    agent.drain("a", is_forced=True)
    assert [] == agent.hear(ONE, 1)
    assert [] == agent.hear(ONE, 7, 2, mac=3)
    assert [3] == [each.advert.source_mac[0] for each in agent.drain_of(ONE).adverts]


def test_a_slow_advertiser_is_waited_for() -> None:
    """Three of its own intervals; in version 3 the skew is one of them as well."""
    agent = lone(DRAINING)
    agent.hear(ONE, 1, interval=10.0)
    agent.wait(2)
    assert 1 + 30 + 1 + 1 == agent.state.deadline
    fast = fsm.InstanceDrain(target=target(1, version=3, advert_interval=0.1))
    assert pytest.approx(0.3 + 0.1 + 1) == fast.silence(POLICY)


def test_time_in_which_the_loop_stood_still_counts_for_nothing() -> None:
    """No advert was heard meanwhile; what is not drained is as it was."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE, masters=[ONE])
    agent.hear(ONE, 1)
    assert [] == agent.pause(58.5, at=60)
    assert 59.5 + 5 == agent.state.deadline
    assert "10.0.0.2" == agent.drain_of(ONE).holder
    assert [59.5] == [each.at for each in agent.drain_of(ONE).adverts]
    assert fsm.InstanceDrain(target=TARGETS[TWO]) == agent.drain_of(TWO)
    agent.pause(300, at=60)
    assert 60 == agent.drain_of(ONE).anchor


def test_a_second_drain_replaces_the_specification() -> None:
    """It is drained at once where another node serves, and else watched anew."""
    agent = lone(DRAINED)
    agent.now = 2.0
    done = agent.drain("b", seconds=98.0)
    assert [fsm.InstanceDrained(name=ONE, holder="10.0.0.2")] == effects(done)
    assert DrainSpec(until=100.0) == agent.drain_of(ONE).spec

    forced = Agent(ONE)
    forced.drain("a", is_forced=True)
    forced.wait(10)
    forced.now = 50.0
    assert [] == effects(forced.drain("b"))
    assert (DRAINING, 55.0) == (forced.state.phase(ONE), forced.state.deadline)

    pending = lone(PENDING)
    pending.hear(ONE, 1, 2)  # not an address of ours
    pending.now = 2.0
    assert [sets(ONE)] == effects(pending.drain("b", is_forced=True))
    assert DRAINING is pending.state.phase(ONE)
    assert 1 == len(pending.drain_of(ONE).adverts)


def test_nothing_matters_to_what_is_not_drained() -> None:
    """And nothing is ever due; nor is anything heard of what is not known."""
    agent = Agent(ONE)
    before = agent.state
    done = [agent.wait(1), agent.enter(ONE, is_master=True), agent.pause(5, at=1)]
    assert [[]] * 5 == [*done, agent.hear(ONE, 1), agent.hear(TWO, 1)]
    assert before == agent.state
    assert agent.state.deadline is None


def test_so_many_senders_are_remembered_and_no_more() -> None:
    """A host may invent them."""
    agent = Agent(VIP_1=BOTH)
    agent.drain("a", masters=[ONE])
    for each in range(300):
        agent.hear(ONE, 1 + each / 1000, virtual_router_id=each)
    assert POLICY.adverts_limit == len(agent.drain_of(ONE).adverts)


# --- requests -----------------------------------------------------------------------------------


def test_a_request_is_accepted_at_once_and_answered_when_all_have_an_outcome() -> None:
    """And what is drained is written down."""
    agent = Agent(ONE, TWO)
    done = agent.drain("a", masters=[ONE])
    answer = Answer(id="a", verdict=None, within=10.0)
    assert [SaveDrains(), sets(ONE), answer] == done
    assert [fsm.InstanceDrained(name=ONE, holder="10.0.0.2")] == agent.hear(ONE, 1)
    line = f"10.0.0.2 has taken over {ONE} {TWO}"
    assert [
        SaveDrains(),
        sets(TWO),
        fsm.InstanceDrained(name=TWO, holder="10.0.0.2"),
        Answer(id="a", verdict="drained", lines=(line,)),
    ] == agent.hear(TWO, 2)
    assert {ONE, TWO} == set(agent.state.records)
    assert SERVING is agent.state.phase("unknown")


def test_what_no_node_took_over_is_named_beside_what_a_node_did() -> None:
    """Causes are grouped; the drain of everything goes on with what is left."""
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
            f"not drained: {ONE} {TWO}: no other node took over within 5 s",
        ),
    )
    assert {THREE} == set(agent.state.records)
    assert 9.0 == agent.state.deadline
    assert agent.has_everything()
    assert [SaveDrains(), clears(THREE)] == agent.wait(9)[:2]
    assert Agent(ONE, TWO, THREE).state == agent.state


@pytest.mark.parametrize(
    ("words", "blind", "said"),
    [
        (("VIP_9",), "", "unknown instance 'VIP_9': this agent serves VIP_1 VIP_2"),
        (("10.0.0.9", ONE), "", "unknown instance '10.0.0.9': this agent serves VIP_1 VIP_2"),
        (("a", TWO, "b"), "", "unknown instances 'a' 'b': this agent serves VIP_1 VIP_2"),
        ((), "no wire", "no wire; --force drains all the same"),
    ],
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


@pytest.mark.parametrize(
    ("words", "drained"),
    [
        ([], [ONE, TWO]),
        (["10.0.0.7", "fd00:0::6", ONE], [ONE, TWO]),
        ([TWO, TWO], [TWO]),
        (["10.0.0.5"], [ONE]),
    ],
)
def test_instances_are_named_by_name_or_address(words: list[str], drained: list[str]) -> None:
    """In the order of the configuration, each once; none means all; excluded ones count too."""
    second = Target(
        addresses=frozenset({ip_address("fd00::6")}), excluded=frozenset({ip_address("10.0.0.7")})
    )
    agent = Agent(ONE, VIP_2=second)
    held = effects(agent.drain("a", *words, is_forced=True))
    assert [sets(each) for each in drained] == held


def test_force_needs_no_wire() -> None:
    """Its verdict says that no successor was heard."""
    agent = Agent(ONE)
    agent.drain("a", blind="no wire", is_forced=True)
    line = f"no other node was heard to take over {ONE}: drained by force"
    expected = Answer(id="a", verdict="drained", lines=(line,))
    assert expected == verdict(agent.wait(5, "no wire"))
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
    """Nor to undrain, nor with an empty one; what a former run left is not drained anew."""
    agent = Agent()
    for _ in range(2):
        assert ("the agent serves nothing yet",) == verdict(agent.drain("a")).lines
        assert "refused" == verdict(agent.undrain("b")).verdict
        assert () == agent.state.pending
        agent.configure()
    agent = Agent()
    agent.restore(records={ONE: record(ONE)})
    assert ("the agent serves nothing yet",) == verdict(agent.drain("c")).lines


def test_undraining_ends_what_is_under_way() -> None:
    """A request for it learns of that, and only of its part."""
    agent = Agent(ONE, TWO)
    agent.drain("a", masters=[ONE])
    answers = [each for each in agent.undrain("b", ONE) if isinstance(each, Answer)]
    line = f"{ONE} may serve again"
    assert [Answer(id="b", verdict="undrained", lines=(line,))] == answers
    found = verdict(agent.hear(TWO, 1))
    lines = (f"10.0.0.2 has taken over {TWO}", f"not drained: {ONE}: undrained")
    assert Answer(id="a", verdict="undone", lines=lines) == found
    (answer,) = agent.undrain("c", ONE)
    line = "nothing of that was drained"
    assert answer == Answer(id="c", verdict="undrained", lines=(line,))
    assert agent.has_everything()
    agent.undrain("d")
    assert not agent.has_everything()
    assert {} == agent.state.records


def test_a_request_learns_only_of_its_own_instances() -> None:
    """What becomes of another one is not its verdict."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE)
    agent.drain("b", TWO)
    assert "b" == verdict(agent.hear(TWO, 1)).id
    assert "a" == verdict(agent.hear(ONE, 1)).id


def test_a_drain_of_everything_ends_with_its_time() -> None:
    """Nothing that is added later is drained by it."""
    agent = Agent(ONE)
    agent.drain("a", masters=[ONE], seconds=3.0)
    agent.hear(ONE, 1)
    assert 3.0 == agent.state.deadline
    agent.wait(2)
    assert agent.has_everything()
    assert DrainEnded(name=ONE, cause="its time is over") in agent.wait(3)
    assert not agent.has_everything()
    assert [] == agent.configure(ONE, TWO)


def test_a_drain_of_everything_goes_on_without_its_time_where_another_was_asked_for() -> None:
    """The instance has a specification of its own since."""
    agent = Agent(ONE)
    agent.drain("a", seconds=3.0, is_forced=True)
    agent.drain("b", ONE, is_forced=True)
    assert [SaveDrains()] == agent.wait(3)
    assert not agent.has_everything()
    assert DRAINING is agent.state.phase(ONE)


def test_being_heard_moves_the_deadline_only_away() -> None:
    """It may come too soon, and then finds nothing due."""
    agent = lone(DRAINED)
    agent.hear(ONE, 4)
    before = agent.state.deadline
    assert before is not None
    assert before <= 9.0
    assert [] == agent.wait(before)
    assert 9.0 == agent.state.deadline


# --- reloads ------------------------------------------------------------------------------------


def test_everything_means_also_what_a_reload_adds() -> None:
    """A backup is pending first, a master is held; what was undrained stays so."""
    agent = Agent(ONE)
    agent.drain("a", masters=[ONE])
    agent.hear(ONE, 1)
    done = agent.configure(ONE, TWO, THREE, masters=[THREE])
    assert [SaveDrains(), sets(THREE)] == done
    assert [DRAINED, PENDING, DRAINING] == agent.phases
    agent.undrain("b", TWO)
    assert [] == agent.configure(ONE, TWO, THREE)
    assert SERVING is agent.state.phase(TWO)


def test_a_reload_ends_the_drain_of_what_it_removes() -> None:
    """The request for it is answered; an instance that changed is watched anew."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE, TWO, masters=[ONE, TWO])
    agent.hear(ONE, 1)
    agent.now = 3.0
    more = target(1, 95)
    done = agent.configure(VIP_1=more)
    assert [
        SaveDrains(),
        clears(TWO),
        DrainEnded(name=TWO, cause=GONE),
        Answer(
            id="a",
            verdict="undone",
            lines=(f"10.0.0.2 has taken over {ONE}", f"not drained: {TWO}: {GONE}"),
        ),
    ] == done
    assert (8.0, more) == (agent.state.deadline, agent.drain_of(ONE).target)


def test_a_reload_of_the_same_leaves_the_watch_alone() -> None:
    """Else reloads, one after the other, would keep an address from every node."""
    agent = lone(DRAINING)
    agent.now = 4.0
    assert [] == agent.configure(ONE)
    assert 5.0 == agent.state.deadline


def test_a_drain_follows_its_address_to_another_instance() -> None:
    """VIP_1 is removed, VIP_2 and VIP_3 are VIP_1 and VIP_2 now; the watch goes on."""
    agent = Agent(ONE, TWO, THREE)
    agent.drain("a", TWO, masters=[TWO])
    agent.hear(TWO, 1)
    done = agent.configure(VIP_1=target(2), VIP_2=target(3))
    assert [SaveDrains(), sets(ONE), clears(TWO)] == done
    assert [DRAINED, SERVING] == agent.phases
    assert {ONE: record(TWO)} == agent.state.records
    assert 6.0 == agent.state.deadline


def test_a_name_that_stays_drained_is_neither_released_nor_called_ended() -> None:
    """VIP_1 is removed and VIP_2 is VIP_1 now, both drained; the request learns of the removal."""
    agent = Agent(ONE, TWO)
    agent.drain("a", masters=[ONE, TWO])
    agent.now = 1.0
    assert [SaveDrains(), clears(TWO)] == agent.configure(VIP_1=target(2))
    assert {ONE: record(TWO)} == agent.state.records
    lines = (f"10.0.0.2 has taken over {ONE}", f"not drained: {ONE}: {GONE}")
    assert lines == verdict(agent.hear(ONE, 2, 2)).lines


def test_an_address_that_was_not_drained_is_not_held_for_its_instance() -> None:
    """The drained one is removed, and another one gets its instance: it is served."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE, masters=[ONE])
    agent.hear(ONE, 1)
    done = agent.configure(VIP_1=target(2))
    assert DrainEnded(name=ONE, cause=GONE) in done
    assert {} == agent.state.records


def test_a_drained_address_among_others_is_released() -> None:
    """Holding it would hold the others; the request for it is answered."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE, masters=[ONE])
    done = agent.configure(VIP_1=BOTH)
    assert (f"not drained: {ONE}: {MIXED}",) == verdict(done).lines
    assert SERVING is agent.state.phase(ONE)


def test_drained_addresses_put_together_stay_drained() -> None:
    """The verdict waits for the last of them."""
    agent = Agent(ONE, TWO)
    agent.drain("a", ONE, TWO, masters=[ONE, TWO])
    agent.hear(ONE, 1)
    agent.configure(VIP_3=target(1, excluded=target(2).addresses))
    assert DRAINING is agent.state.phase(THREE)
    (pending,) = agent.state.pending
    assert {THREE} == pending.waiting


@pytest.mark.parametrize("names", [(ONE, TWO), (TWO, ONE)])
def test_of_several_drains_put_together_the_one_that_releases_soonest_counts(
    names: tuple[str, str],
) -> None:
    """An address that stays held without need would be on no node."""
    agent = Agent(*names)
    agent.drain("a", ONE, is_forced=True)
    agent.drain("b", TWO, masters=[TWO], seconds=50.0)
    agent.hear(TWO, 1)
    agent.configure(VIP_3=BOTH)
    found = agent.drain_of(THREE)
    assert (DRAINING, DrainSpec(until=50.0)) == (found.phase, found.spec)
    assert 6.0 == agent.state.deadline


def test_a_drain_of_everything_means_a_new_address_under_an_old_name() -> None:
    """It is put in front, and is called what another was called."""
    agent = Agent(ONE, TWO)
    agent.drain("a", masters=[ONE, TWO])
    agent.hear(ONE, 1)
    agent.hear(TWO, 1)
    agent.configure(VIP_1=target(3), VIP_2=target(1), VIP_3=target(2))
    assert [PENDING, DRAINED, DRAINED] == agent.phases


# --- restarts -----------------------------------------------------------------------------------


def test_a_former_drain_is_held_from_the_start_and_watched_once_configured() -> None:
    """What is not configured any more is released; a drain of everything knows what it met."""
    agent = Agent()
    records = {ONE: record(ONE), THREE: record(THREE, is_forced=True)}
    done = agent.restore(records=records, everything=DrainSpec(), known=ALL)
    assert [SaveDrains(), sets(ONE), sets(THREE)] == done
    assert records == agent.state.records
    assert ALL == agent.state.known
    assert [] == agent.hear(ONE, 1) == agent.enter(ONE, is_master=True)
    agent.pause(2, at=50)
    assert [] == agent.wait(100)
    done = agent.configure(ONE, TWO)
    assert [clears(THREE), DrainEnded(name=THREE, cause=GONE)] == effects(done)
    assert [DRAINING, SERVING] == agent.phases
    assert 105.0 == agent.state.deadline


def restarted(**targets: Target) -> tuple[Agent, Actions]:
    """Return an agent after a run that had the second of three drained, with new targets."""
    agent = Agent()
    agent.restore(records={TWO: record(TWO)}, known=ALL)
    return agent, agent.configure(masters=(), **targets)


def test_a_former_drain_follows_its_addresses_to_another_name() -> None:
    """The first one was removed while no agent ran: what was the second is the first now."""
    agent, done = restarted(VIP_1=TARGETS[TWO], VIP_2=TARGETS[THREE])
    assert [DRAINING, SERVING] == agent.phases
    assert [SaveDrains(), clears(TWO), sets(ONE)] == done
    assert {ONE: record(TWO)} == agent.state.records


def test_a_former_drain_that_is_a_group_with_what_was_not_drained_ends() -> None:
    """As after a reload; with an address that is new it does not."""
    agent, done = restarted(VIP_1=target(2, 3))
    assert SERVING is agent.state.phase(ONE)
    assert [clears(TWO), DrainEnded(name=TWO, cause=MIXED)] == effects(done)
    agent, done = restarted(VIP_2=target(2, 99))
    assert DRAINING is agent.state.phase(TWO)
    assert [] == effects(done)


def test_a_name_that_a_former_drain_loses_to_another_one_is_not_called_ended() -> None:
    """Two were drained and the first is gone: the second has its name, and is held."""
    agent = Agent()
    agent.restore(records={ONE: record(ONE), TWO: record(TWO, until=9.0)}, known=ALL)
    done = agent.configure(VIP_1=TARGETS[TWO], VIP_2=TARGETS[THREE])
    assert [SaveDrains(), clears(TWO)] == done
    assert {ONE: record(TWO, until=9.0)} == agent.state.records


def test_of_several_former_drains_in_one_group_the_shortest_counts() -> None:
    """An address too many that is held would be on no node."""
    agent = Agent()
    records = {ONE: record(ONE, is_forced=True), TWO: record(TWO), THREE: record(THREE, until=9.0)}
    agent.restore(records=records)
    agent.configure(VIP_1=target(1, 2, 3))
    assert DrainSpec(until=9.0) == agent.state.records[ONE].spec


def test_a_former_drain_of_everything_means_a_new_address_under_an_old_name() -> None:
    """And not an old one under a new name that had been undrained."""
    agent = Agent()
    known = TARGETS[ONE].addresses | TARGETS[TWO].addresses
    agent.restore(records={ONE: record(ONE)}, everything=DrainSpec(), known=known)
    agent.configure(VIP_1=TARGETS[THREE], VIP_2=TARGETS[ONE], VIP_3=TARGETS[TWO])
    assert [PENDING, DRAINING, SERVING] == agent.phases


def test_a_former_configuration_counts_only_until_ours_is_in_force() -> None:
    """An address that comes back later is new to a drain of everything."""
    agent = Agent()
    agent.restore(records={ONE: record(ONE)}, everything=DrainSpec(), known=ALL)
    agent.configure(ONE)
    agent.configure(ONE, TWO)
    assert [DRAINING, PENDING] == agent.phases


def test_a_former_drain_ends_before_anything_is_configured() -> None:
    """By its time, or by an undrain."""
    agent = Agent()
    records = {ONE: record(ONE, until=7.0), TWO: record(TWO, until=9.0), THREE: record(THREE)}
    agent.restore(records=records)
    assert 7.0 == agent.state.deadline
    assert DrainEnded(name=ONE, cause="its time is over") == agent.wait(7)[-1]
    assert (f"{TWO} may serve again",) == verdict(agent.undrain("a", "10.0.0.6")).lines
    assert {THREE} == set(agent.state.records)
    agent.undrain("b")
    assert {} == agent.state.records
