"""Peers by name: when a set may be used, what is added, dropped, and not believed."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

import pytest
from msgspec.structs import replace

from ipfailover_agent.model import Family, IPAddress, Settings
from ipfailover_agent.peers import peers
from ipfailover_agent.peers.peers import LookUp, LookupFailed, LookupResult, PeersChanged, Question
from tests.support.vectors import host_facts

POLICY = peers.PeersPolicy()
NAME = Question(name="nodes", family=Family.IPV4)
OTHER = Question(name="more", family=Family.IPV4)
SIX = Question(name="nodes", family=Family.IPV6)
SELF, VIP = "10.0.0.1", "10.0.0.100"
NAMED = peers.PeersWanted(
    questions=(NAME,),
    own=frozenset({ip_address(SELF), ip_address("127.0.0.1")}),
    virtual=frozenset({ip_address(VIP)}),
    no_hosts={ip_address("10.0.0.255"): "is the broadcast address of 10.0.0.0/24"},
)


def many(texts: str) -> tuple[IPAddress, ...]:
    return tuple(map(ip_address, texts.split()))


def says(texts: str, question: Question = NAME, failure: str = "") -> peers.LookupEnded:
    """Return an answer with these addresses."""
    return peers.LookupEnded(
        answer=LookupResult(question=question, addresses=many(texts), failure=failure)
    )


class Story:
    """A state, a clock, and what the last event caused."""

    def __init__(self, wanted: peers.PeersWanted = NAMED) -> None:
        self.now = 100.0
        self.state = peers.Peers()
        self.actions: tuple[peers.Action, ...] = ()
        self.tell(wanted)

    def tell(self, event: peers.Event) -> Story:
        self.state, self.actions = peers.step(self.state, event, self.now, POLICY)
        return self

    def later(self, seconds: float) -> Story:
        """Let time pass, with every deadline on the way."""
        until = self.now + seconds
        while (due := self.state.deadline) is not None and due <= until:
            assert due >= self.now
            self.now = due
            self.tell(peers.PeersDeadlinePassed())
            assert self.state.deadline != due
        self.now = until
        return self

    def looks(self, texts: str, times: int = 1, question: Question = NAME) -> Story:
        """Go to the next question and answer it, ``times`` over."""
        for _ in range(times):
            inquiry = next(each for each in self.state.inquiries if each.question == question)
            if not inquiry.is_asked:
                self.later(inquiry.ask_at - self.now)
            self.tell(says(texts, question))
        return self

    @property
    def known(self) -> str:
        return " ".join(map(str, self.state.addresses))

    def is_ready(self) -> bool:
        return self.state.is_ready

    def last(self) -> tuple[peers.Action, ...]:
        return self.actions

    @property
    def basis(self) -> str:
        """Return why the set may be used from now on, which was told once."""
        (changed,) = (each for each in self.actions if isinstance(each, PeersChanged))
        return changed.basis

    def did(self, kind: type[peers.Action]) -> list[peers.Action]:
        return [each for each in self.actions if isinstance(each, kind)]


def settled(texts: str = f"{SELF} 10.0.0.2", **more: object) -> Story:
    """Return a story in which the set is in use."""
    story = Story(replace(NAMED, **more)).looks(texts, times=6)
    assert story.is_ready()
    return story


# --- a first start ------------------------------------------------------------------------------


def test_a_first_start_asks_at_once() -> None:
    """Every question, and nothing is known."""
    story = Story(replace(NAMED, questions=(NAME, OTHER)))
    assert (LookUp(question=NAME), LookUp(question=OTHER)) == story.last()
    assert not story.is_ready()
    assert "" == peers.obstacle(story.state)


def test_a_first_set_is_used_once_it_has_settled() -> None:
    """The same answer, with this node in it, for as long as the others need to see us."""
    story = Story().tell(says(f"{SELF} 10.0.0.2"))
    for _ in range(round(POLICY.settle / POLICY.again) - 1):
        assert not story.looks(f"{SELF} 10.0.0.2").is_ready()
    story.now += POLICY.again
    story.tell(says(f"{SELF} 10.0.0.2"))
    basis = "the same answers for 4 s"
    added = many(f"{SELF} 10.0.0.2")
    assert [PeersChanged(added=added, removed=(), basis=basis)] == story.did(PeersChanged)
    assert story.is_ready()


def test_settling_needs_no_further_answer() -> None:
    """A server that hangs after its first answer delays nothing more."""
    story = Story().tell(says(f"{SELF} 10.0.0.2")).later(POLICY.settle)
    assert story.is_ready()


def test_a_half_filled_first_answer_begins_the_wait_anew() -> None:
    """While nodes are being added, the set grows from look to look."""
    story = Story().looks(SELF, times=3)
    story.looks(f"{SELF} 10.0.0.2", times=3)
    assert not story.is_ready()
    story.looks(f"{SELF} 10.0.0.2", times=3)
    assert story.is_ready()
    assert f"{SELF} 10.0.0.2" == story.known


def test_what_vanishes_before_the_set_is_used_is_not_kept() -> None:
    """Ten minutes are for what has been in use."""
    assert f"{SELF} 10.0.0.3" == Story().looks("10.0.0.2").looks(f"{SELF} 10.0.0.3").known


def test_an_answer_without_this_node_is_used_after_long() -> None:
    """It may have been left out for good, and is said loudly all along."""
    story = Story().looks("10.0.0.2", times=10)
    assert [peers.OwnMissing(family=Family.IPV4, own=many(SELF))] == story.did(peers.OwnMissing)
    assert not story.is_ready()
    assert "no answer has an address of this node yet" == peers.obstacle(story.state)
    story.looks("10.0.0.2", times=21)
    assert story.is_ready()


def test_a_node_that_is_late_in_the_answer_is_not_alarmed() -> None:
    """A pod may be in its Service a moment after it has started; later it is said at once."""
    story = Story().looks("10.0.0.2", times=2)
    assert [] == story.did(peers.OwnMissing)
    story.looks(f"{SELF} 10.0.0.2", times=6)
    assert 1 == len(story.looks("10.0.0.2").did(peers.OwnMissing))


def test_no_answer_at_all_is_waited_for() -> None:
    """Without a single peer there is nothing to serve with, however long it lasts."""
    story = Story()
    for _ in range(200):
        story.later(1).tell(says("", failure="timed out"))
    assert not story.is_ready()
    assert "nodes (IPv4): timed out" == peers.obstacle(story.state)
    assert [LookupFailed(question=NAME, reason="timed out")] == story.did(LookupFailed)


def test_a_dead_name_beside_a_living_one_is_passed_over_after_long() -> None:
    """Half a set is better than none, but not at once."""
    story = Story(replace(NAMED, questions=(NAME, OTHER))).looks(SELF, times=8)
    assert not story.is_ready()
    story.later(POLICY.timeout)
    assert story.is_ready()


def test_a_name_without_the_family_beside_listed_peers_is_no_obstacle() -> None:
    """Peers of that family are given by address."""
    wanted = replace(NAMED, questions=(SIX,), listed=frozenset(many("fd00::1 fd00::2")))
    story = Story(replace(wanted, own=frozenset(many("fd00::1")))).tell(says("", SIX))
    assert [LookupFailed(question=SIX, reason="no address")] == story.did(LookupFailed)
    assert story.later(POLICY.settle).is_ready()
    assert () == story.state.addresses


def test_each_family_waits_for_itself_and_a_plan_for_both() -> None:
    """A plan with one of two families would have the other fall back to nobody."""
    story = Story(replace(NAMED, questions=(NAME, SIX))).looks(SELF, times=6)
    assert frozenset({Family.IPV4}) == story.state.ready
    assert not story.is_ready()
    story.looks("fd00::2", times=6, question=SIX)
    assert story.is_ready()
    assert f"{SELF} fd00::2" == story.known


def test_a_node_without_an_address_of_the_family_misses_none() -> None:
    """It has nothing that could be in the answer."""
    story = Story(replace(NAMED, own=frozenset())).looks("10.0.0.2", times=6)
    assert [] == story.did(peers.OwnMissing)
    assert story.is_ready()


# --- a restart ----------------------------------------------------------------------------------

STORED = replace(NAMED, stored=(LookupResult(question=NAME, addresses=many("10.0.0.2 10.0.0.3")),))


def test_a_restart_waits_for_the_first_answer_and_adds_it() -> None:
    """Both what was known and what is told."""
    story = Story(STORED)
    assert not story.is_ready()
    story.tell(says(f"{SELF} 10.0.0.2"))
    assert story.is_ready()
    assert f"{SELF} 10.0.0.2 10.0.0.3" == story.known


@pytest.mark.parametrize("answer", [None, says("", failure="refused"), says("127.0.0.1")])
def test_a_restart_without_dns_takes_what_was_stored(answer: peers.LookupEnded | None) -> None:
    """At once when the answer is a failure, after a little when there is none."""
    story = Story(STORED)
    story = story.later(POLICY.grace) if answer is None else story.tell(answer)
    assert story.is_ready()
    assert "10.0.0.2 10.0.0.3" == story.known
    (known,) = story.state.known(story.now)
    assert many("10.0.0.2 10.0.0.3") == known.addresses
    assert known.age is None


def stored(
    age: float | None, texts: str = f"{SELF} 10.0.0.2", *, also: str = ""
) -> peers.PeersWanted:
    """Return what a restart finds stored, confirmed so many seconds ago."""
    kept = [LookupResult(question=NAME, addresses=many(texts), age=age)]
    if also not in {"", "nothing"}:
        kept.append(LookupResult(question=OTHER, addresses=many(also), age=age))
    questions = (NAME, OTHER) if also else (NAME,)
    return replace(NAMED, questions=questions, stored=tuple(kept))


@pytest.mark.parametrize("wanted", [stored(0), stored(599.9), stored(3, also="10.0.0.3")])
def test_a_restart_uses_a_set_that_was_confirmed_a_moment_ago_at_once(
    wanted: peers.PeersWanted,
) -> None:
    """No answer is waited for, and the log says on what the set rests."""
    story = Story(wanted)
    assert story.is_ready()
    assert "stored, and confirmed by DNS within the last 600 s" == story.basis
    assert LookUp(question=NAME) in story.last()
    assert wanted.stored == story.state.known(story.now)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(stored(None), id="a record of an earlier version, or of another boot"),
        pytest.param(stored(600), id="too old"),
        pytest.param(stored(3, "10.0.0.2 10.0.0.3"), id="without this node"),
        pytest.param(stored(3, also="nothing"), id="one of two names"),
        pytest.param(replace(stored(3), own=frozenset()), id="a node without an address"),
    ],
)
def test_else_a_restart_waits_for_the_first_answer_and_no_longer(
    wanted: peers.PeersWanted,
) -> None:
    """One that confirms the whole set is enough: there is nothing to settle."""
    story = Story(wanted)
    assert not story.is_ready()
    assert story.state.is_restart
    for question in wanted.questions:
        story.tell(says(f"{SELF} 10.0.0.2", question))
    assert story.is_ready()
    assert "stored, and what DNS answered first" == story.basis
    story = Story(wanted).later(POLICY.grace)
    assert story.is_ready()
    assert not story.state.is_restart


def test_a_restart_without_any_answer_says_so() -> None:
    """After two seconds."""
    story = Story(stored(None))
    story.now += POLICY.grace
    story.tell(peers.PeersDeadlinePassed())
    assert "stored; DNS has not answered for 2 s" == story.basis


def test_a_name_that_a_reload_adds_beside_a_stored_one_settles_as_ever() -> None:
    """The other nodes have to see this one first."""
    story = Story(stored(3))
    story.tell(replace(NAMED, questions=(NAME, OTHER)))
    story.tell(says(f"{SELF} 10.0.0.2")).tell(says(f"{SELF} 10.0.0.3", OTHER))
    assert not story.is_ready()
    assert not story.state.is_restart
    story.looks(f"{SELF} 10.0.0.2", times=6).looks(f"{SELF} 10.0.0.3", 6, OTHER)
    assert story.is_ready()


def test_that_answers_confirm_the_set_is_noted_once_a_minute() -> None:
    """Failures confirm nothing."""
    story = settled()
    noted = []
    for _ in range(60):
        story.looks(f"{SELF} 10.0.0.2")
        if story.did(peers.PeersConfirmed):
            noted.append(story.now)
            (known,) = story.state.known(story.now + 7)
            assert 7 == known.age
    assert 5 == len(noted)
    assert all(60 <= later - earlier < 66 for earlier, later in pairwise(noted))
    for _ in range(60):
        story.looks("")
        assert [] == story.did(peers.PeersConfirmed)
    (known,) = story.state.known(story.now)
    assert known.age is not None
    assert known.age >= 60 * POLICY.interval


def test_an_answer_tells_which_of_its_addresses_are_this_nodes() -> None:
    """They may be on an interface that nothing else asks about; a virtual one is no node's."""
    story = Story(replace(NAMED, own=frozenset())).tell(
        replace(says("10.8.0.1 10.8.0.2"), own=frozenset(many(f"10.8.0.1 {VIP}")))
    )
    assert frozenset(many("10.8.0.1")) == story.state.wanted.own


def test_a_stored_set_that_cannot_be_is_not_used() -> None:
    """An address that has become a virtual one since, say."""
    stored = (LookupResult(question=NAME, addresses=many(f"10.0.0.2 {VIP}")),)
    assert "" == Story(replace(NAMED, stored=stored)).later(POLICY.grace).known


# --- in use -------------------------------------------------------------------------------------


def test_a_new_peer_is_added_once_seen_twice() -> None:
    """The second look follows soon."""
    story = settled().looks(f"{SELF} 10.0.0.2 10.0.0.3")
    assert f"{SELF} 10.0.0.2" == story.known
    seen = story.now
    story.looks(f"{SELF} 10.0.0.2 10.0.0.3")
    assert POLICY.again == story.now - seen
    assert (PeersChanged(added=many("10.0.0.3"), removed=()),) == story.last()
    assert POLICY.interval == story.state.inquiries[0].ask_at - story.now


def test_what_was_seen_once_is_forgotten() -> None:
    """A minute later it begins anew."""
    story = settled().looks(f"{SELF} 10.0.0.3").looks(SELF)
    story.looks(SELF, times=14)
    story.looks(f"{SELF} 10.0.0.3")
    assert f"{SELF} 10.0.0.2" == story.known


def test_a_vanished_peer_is_dropped_after_ten_minutes() -> None:
    """Not before, and said."""
    story = settled()
    began = story.now
    story.looks(SELF, times=120)
    assert story.now - began <= POLICY.drop_after
    assert f"{SELF} 10.0.0.2" == story.known
    story.looks(SELF, times=2)
    assert SELF == story.known
    assert [] == story.did(LookupFailed)


def test_a_peer_that_comes_back_is_not_dropped() -> None:
    """Its ten minutes begin anew."""
    story = settled()
    for _ in range(4):
        story.looks(SELF, times=100).looks(f"{SELF} 10.0.0.2")
    assert f"{SELF} 10.0.0.2" == story.known


def test_the_last_peers_wait_for_their_successors() -> None:
    """All nodes renumbered: what was is dropped once what is now has been seen twice."""
    story = settled().looks("10.0.0.8")
    story.now += POLICY.drop_after
    assert f"{SELF} 10.0.0.2" == story.tell(says("10.0.0.9")).known
    assert f"{SELF} 10.0.0.2 10.0.0.9" == story.looks("10.0.0.9").known
    assert "10.0.0.9" == story.looks("10.0.0.9").known


def test_the_drop_is_told_as_a_change() -> None:
    """What is dropped is named."""
    story = settled().looks(SELF)
    story.now += POLICY.drop_after
    assert (PeersChanged(added=(), removed=many("10.0.0.2")),) == story.tell(says(SELF)).last()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(says("", failure="timed out"), "timed out", id="failed"),
        pytest.param(says(""), "no address", id="empty"),
        pytest.param(says(f"10.0.0.3 {VIP}"), "virtual", id="a virtual address"),
        pytest.param(says("127.0.1.1"), "loopback", id="loopback"),
        pytest.param(says("0.0.0.0"), "unspecified", id="unspecified"),
        pytest.param(says("224.0.0.18"), "multicast", id="multicast"),
        pytest.param(says("169.254.1.1"), "link-local", id="link-local"),
        pytest.param(says("255.255.255.255"), "no host's address", id="broadcast"),
        pytest.param(says("10.0.0.2 10.0.0.255"), "of 10.0.0.0/24", id="broadcast of a network"),
        pytest.param(says("0.0.0.9"), "no host's address", id="this network"),
        pytest.param(
            says(" ".join(f"10.1.0.{each}" for each in range(65))), "at most 64", id="too many"
        ),
    ],
)
def test_an_answer_that_is_none_changes_nothing(answer: peers.LookupEnded, reason: str) -> None:
    """However long it goes on; it is told each time, and its end once."""
    story = settled()
    for _ in range(300):
        story.later(POLICY.interval).tell(answer)
        (failed,) = story.did(LookupFailed)
        assert isinstance(failed, LookupFailed)
        assert reason in failed.reason
    assert f"{SELF} 10.0.0.2" == story.known
    story.later(POLICY.interval).tell(says(f"{SELF} 10.0.0.2"))
    assert [peers.LookupRecovered(question=NAME)] == story.did(peers.LookupRecovered)
    story.looks(f"{SELF} 10.0.0.2")
    assert () == story.last()


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        pytest.param("fd00::2", "", id="a node"),
        pytest.param("::ffff:10.0.0.2", "in disguise", id="mapped"),
        pytest.param("::1", "loopback", id="loopback"),
        pytest.param("fe80::1", "link-local", id="link-local"),
    ],
)
def test_an_ipv6_answer_is_judged_likewise(text: str, flaw: str) -> None:
    """Empty where it is believed."""
    judged = peers.judged(LookupResult(question=SIX, addresses=many(text)), NAMED, POLICY)
    assert flaw in judged.failure
    assert bool(flaw) == bool(judged.failure)


def test_a_resolver_that_hangs_is_a_failure_again_and_again() -> None:
    """It is not asked again, and its late answer is taken."""
    story = settled()
    story.later(story.state.inquiries[0].ask_at - story.now)
    assert (LookUp(question=NAME),) == story.last()
    story.later(POLICY.answer_within)
    assert (LookupFailed(question=NAME, reason="no answer within 4 s"),) == story.last()
    story.later(POLICY.interval)
    assert (LookupFailed(question=NAME, reason="no answer within 4 s"),) == story.last()
    story.tell(says(f"{SELF} 10.0.0.2"))
    assert (peers.LookupRecovered(question=NAME),) == story.last()


def test_a_lying_server_cannot_fill_the_list() -> None:
    """Sixty-four peers of one name at most; what was known stays."""
    story = settled()
    for block in range(30):
        texts = " ".join(f"10.1.{block}.{each}" for each in range(1, 31))
        story.looks(f"{SELF} {texts}", times=2)
    assert POLICY.limit == len(story.state.addresses)
    assert {*many(f"{SELF} 10.0.0.2")} <= {*story.state.addresses}
    assert "more than 64" in str(story.did(LookupFailed))


def test_an_answer_that_nobody_waits_for_is_ignored() -> None:
    """Of a name that a reload took away."""
    story = settled()
    before = story.state
    assert before == story.tell(says("10.0.0.9", OTHER)).state


# --- another configuration ----------------------------------------------------------------------


def test_the_same_names_keep_what_is_known() -> None:
    """Every preparation asks; only new names are looked up."""
    story = settled()
    story.tell(replace(NAMED, virtual=frozenset(many("10.0.0.101"))))
    assert () == story.last()
    assert story.is_ready()
    assert frozenset(many("10.0.0.101")) == story.state.wanted.virtual


def test_a_new_name_is_waited_for_as_at_a_start() -> None:
    """The others need time to see this change too; what the old name told is kept."""
    story = settled()
    story.tell(replace(NAMED, questions=(NAME, OTHER)))
    assert [LookUp(question=OTHER)] == story.did(LookUp)
    assert not story.is_ready()
    story.looks("10.0.0.9", times=6, question=OTHER)
    assert story.is_ready()
    assert f"{SELF} 10.0.0.2 10.0.0.9" == story.known


def test_a_name_that_is_gone_takes_its_peers_with_it() -> None:
    """That is what the operator asked for; no change is told, since a plan is being made."""
    story = settled(questions=(NAME,))
    story.tell(replace(NAMED, questions=(NAME, OTHER)))
    story.looks("10.0.0.9", times=6, question=OTHER)
    story.tell(NAMED)
    assert [] == story.did(PeersChanged)
    assert f"{SELF} 10.0.0.2" == story.known


def test_what_is_wanted_follows_from_settings_and_node() -> None:
    """Each name, for each family that is served."""
    settings = Settings(
        virtual_addresses=many("10.0.0.100 fd00::100"),
        unicast_peer_names=("nodes",),
        unicast_peers=many("10.0.0.7"),
    )
    wanted = peers.want(settings, host_facts({"eth0": ["10.0.0.1/24", "10.0.0.100/32"]}))
    assert (NAME, SIX) == wanted.questions
    assert frozenset(many(SELF)) == wanted.own
    assert frozenset(many("10.0.0.7")) == wanted.listed
    assert frozenset(many("10.0.0.100 fd00::100")) == wanted.virtual
    assert [*many("10.0.0.0 10.0.0.255")] == [*wanted.no_hosts]


# --- for commands -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "stored", "expected", "remark"),
    [
        pytest.param(f"{SELF} 10.0.0.2", "", f"{SELF} 10.0.0.2", "", id="an answer"),
        pytest.param("10.0.0.2", "", "10.0.0.2", "no name resolves to an IPv4", id="without us"),
        pytest.param("", "10.0.0.3", "10.0.0.3", "nodes (IPv4): no", id="stored"),
        pytest.param("", "", None, "nodes (IPv4): no", id="nothing"),
    ],
)
def test_commands_find_what_an_agent_would_start_with(
    answer: str, stored: str, expected: str | None, remark: str
) -> None:
    """One answer has to do; a failure is said."""
    given = LookupResult(question=NAME, addresses=many(answer), failure="" if answer else "no")
    kept = (LookupResult(question=NAME, addresses=many(stored)),) if stored else ()
    used, remarks = peers.first_set(NAMED, (given,), kept)
    assert (None if expected is None else many(expected)) == used
    assert bool(remark) == bool(remarks)
    assert all(remark in each for each in remarks)


def test_no_names_need_nothing() -> None:
    """An empty state has no deadline."""
    assert Story(peers.PeersWanted(questions=())).state.deadline is None
