"""What holds for peers by name: whatever DNS says, and however nodes come and go."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from ipfailover_agent.config import priority
from ipfailover_agent.model import Family, IPAddress
from ipfailover_agent.peers import peers
from ipfailover_agent.peers.peers import Event, LookUp, LookupEnded, LookupResult, Peers, Question

POLICY = peers.PeersPolicy()
QUESTION = Question(name="nodes", family=Family.IPV4)
OWN = IPv4Address("10.0.0.1")
VIRTUAL = frozenset({IPv4Address("10.0.0.5")})

nodes = st.sets(st.integers(0, 2**32 - 1).map(IPv4Address), min_size=1, max_size=60)
identifiers = st.integers(1, 255)

some = st.sampled_from(
    [ip_address(f"10.0.0.{each}") for each in range(1, 10)] + [ip_address("127.0.0.1")]
)
answers = st.one_of(
    st.none(), st.text(min_size=1, max_size=5), st.lists(some, max_size=6, unique=True).map(tuple)
)


@given(nodes=nodes, identifier=identifiers)
def test_no_two_nodes_have_the_same_priority(nodes: set[IPAddress], identifier: int) -> None:
    """In range, distinct, and the same whatever the order and whether the node lists itself."""
    found = [priority.among_resolved(each, nodes, identifier) for each in sorted(nodes, key=int)]
    assert len(nodes) == len(set(found))
    assert all(priority.LOWEST <= each <= priority.HIGHEST for each in found)
    backwards = [
        priority.among_resolved(each, sorted(nodes - {each}, key=int, reverse=True), identifier)
        for each in sorted(nodes, key=int)
    ]
    assert found == backwards


def owner(nodes: set[IPAddress], identifier: int) -> IPAddress:
    return max(nodes, key=lambda each: priority.among_resolved(each, nodes, identifier))


@given(nodes=nodes, new=st.integers(0, 2**32 - 1).map(IPv4Address), identifier=identifiers)
def test_a_node_more_takes_from_the_others_and_moves_nothing_between_them(
    nodes: set[IPAddress], new: IPAddress, identifier: int
) -> None:
    """The owner stays, or is the new node."""
    assert owner(nodes | {new}, identifier) in {owner(nodes - {new} or nodes, identifier), new}


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 12), base=st.integers(0, 2**16))
def test_a_node_more_owns_about_its_share(count: int, base: int) -> None:
    """One in n of 255 instances, within four standard deviations."""
    before: set[IPAddress] = {IPv4Address("10.0.0.0") + base + each for each in range(count)}
    after = {*before, IPv4Address("10.0.0.0") + base + count}
    moved = sum(owner(before, each) != owner(after, each) for each in range(1, 256))
    share = 1 / (count + 1)
    deviation = (255 * share * (1 - share)) ** 0.5
    assert abs(moved - 255 * share) <= 4 * deviation


@given(nodes=nodes, views=st.data(), identifier=identifiers)
def test_nodes_that_disagree_about_the_set_still_have_one_owner(
    nodes: set[IPAddress], views: st.DataObject, identifier: int
) -> None:
    """Each ranks the nodes it knows; equal priorities are decided by the address."""
    ranks = {}
    for each in nodes:
        known = views.draw(st.sets(st.sampled_from(sorted(nodes, key=int))))
        ranks[each] = (priority.among_resolved(each, known, identifier), int(each))
    highest = max(ranks.values())
    assert 1 == list(ranks.values()).count(highest)


@settings(deadline=None)
@given(
    story=st.lists(st.tuples(st.floats(0.0, 900.0), answers), max_size=30), stores=st.booleans()
)
def test_whatever_dns_says_the_set_holds_nodes_only(
    story: list[tuple[float, str | tuple[IPAddress, ...] | None]], *, stores: bool
) -> None:
    """Never a bad address, never empty again, each change told, a question never asked twice."""
    stored = (
        (LookupResult(question=QUESTION, addresses=(ip_address("10.0.0.2"),)),) if stores else ()
    )
    wanted = peers.PeersWanted(
        questions=(QUESTION,), own=frozenset({OWN}), virtual=VIRTUAL, stored=stored
    )
    state, now, told, is_asked = Peers(), 50.0, set[IPAddress](), False
    for seconds, said in [(0.0, None), *story]:
        events: list[Event] = [wanted if state == Peers() else peers.PeersDeadlinePassed()]
        if said is not None and is_asked:
            text, found = (said, ()) if isinstance(said, str) else ("", said)
            answer = LookupResult(question=QUESTION, addresses=found, failure=text)
            events.append(LookupEnded(answer=answer))
        now += seconds
        for event in events:
            is_asked = is_asked and not isinstance(event, LookupEnded)
            state, actions = peers.step(state, event, now, POLICY)
            for action in actions:
                if isinstance(action, LookUp):
                    assert not is_asked
                    is_asked = True
                if isinstance(action, peers.PeersChanged):
                    told = (told | {*action.added}) - {*action.removed}
        assert state.deadline is not None
        if state.is_ready:
            assert told == {*state.addresses}
            assert told
        known = LookupResult(question=QUESTION, addresses=state.addresses)
        assert not told or not peers.judged(known, wanted, POLICY).failure
