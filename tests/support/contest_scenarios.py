"""What may happen to nodes and the network between them, as hypothesis strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from hypothesis import strategies as st

from ipfailover_agent.conflict import held
from ipfailover_agent.model import PreemptionMode
from tests.support.contest_model import VIRTUAL, Dialect, Network, NodeSetup, World

Pair = tuple[int, int]

DIALECTS: Final = (
    Dialect(),
    Dialect(password=b"other"),
    Dialect(password=None),
    Dialect(addresses=(VIRTUAL, VIRTUAL + 1)),
    Dialect(addresses=(VIRTUAL, VIRTUAL + 2)),
    Dialect(version=3, password=None),
    Dialect(is_unicast=True),
)
CALM_DELAY: Final = 0.05  # seconds a frame takes at most once the network is stable


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Something happens to a node or to the network, then time passes."""

    kind: str
    node: int
    seconds: float
    network: Network
    pause: float


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Nodes, what happens to them, and the network that they are left with."""

    setups: tuple[NodeSetup, ...]
    begins: tuple[bool, ...]
    disturbances: tuple[Disturbance, ...]
    network: Network
    seed: int


def setups(
    count: int, *, interval: float = 1.0, dialects: tuple[Dialect, ...] = DIALECTS
) -> st.SearchStrategy[tuple[NodeSetup, ...]]:
    """Return so many nodes; most of them speak the first dialect."""
    node = st.builds(
        NodeSetup,
        priority=st.sampled_from([1, 100, 100, 150, 200, 254]),
        mac=st.just(0),
        preemption=st.sampled_from(PreemptionMode),
        preempt_delay=st.sampled_from([5.0, 20.0]),
        dialect=st.sampled_from((dialects[0],) * 2 * len(dialects) + dialects),
        interval=st.just(interval),
    )
    macs = st.permutations(range(1, count + 1))
    return st.tuples(st.tuples(*[node] * count), macs).map(
        lambda drawn: tuple(replace(node, mac=mac) for node, mac in zip(*drawn, strict=True))
    )


@st.composite
def networks(draw: st.DrawFn, count: int, *, is_final: bool) -> Network:
    """Return a network that lets some things pass and others not.

    A final one is calm, and frames that are not VRRP's pass both ways or, to one node that is cut
    off, not at all.
    """
    pairs = [(one, other) for one in range(count) for other in range(count) if one != other]
    some: st.SearchStrategy[set[Pair]] = st.sets(st.sampled_from(pairs))
    cut = st.integers(0, count - 1).map(lambda node: {pair for pair in pairs if node in pair})
    lost: st.SearchStrategy[set[Pair]] = (
        st.just(set()) | cut if is_final else st.just(set()) | cut | some
    )
    return Network(
        vrrp_blocked=draw(st.just(set()) | st.just(set(pairs)) | some),
        frames_blocked=draw(lost),
        input_blocked=draw(st.just(set()) | st.sets(st.integers(0, count - 1))),
        is_unresolved=draw(st.booleans()),
        loss=0.0 if is_final else draw(st.sampled_from([0.0, 0.0, 0.1, 0.5])),
        delay=draw(st.sampled_from([0.002, CALM_DELAY] + [0.3] * (not is_final))),
    )


def disturbances(
    count: int, kinds: tuple[str, ...] = ("network", "freeze", "agent", "kill", "start")
) -> st.SearchStrategy[tuple[Disturbance, ...]]:
    """Return up to six things that happen one after the other."""
    one = st.builds(
        Disturbance,
        kind=st.sampled_from(kinds),
        node=st.integers(0, count - 1),
        seconds=st.floats(0.1, 30.0),
        network=networks(count, is_final=False),
        pause=st.sampled_from([0.2, 1.0, 3.0, 6.0]) | st.floats(0.0, 40.0),
    )
    return st.lists(one, max_size=6).map(tuple)


@st.composite
def scenarios(
    draw: st.DrawFn, *, interval: float = 1.0, dialects: tuple[Dialect, ...] = DIALECTS
) -> Scenario:
    """Return two or three nodes with agents, and everything that may happen to them."""
    count = draw(st.sampled_from([2, 3]))
    return Scenario(
        setups=draw(setups(count, interval=interval, dialects=dialects)),
        begins=draw(st.tuples(*[st.booleans()] * count)),
        disturbances=draw(disturbances(count)),
        network=draw(networks(count, is_final=True)),
        seed=draw(st.integers(0, 2**32)),
    )


def disturb(world: World, disturbance: Disturbance) -> None:
    """Let one thing happen, and time pass."""
    node = world.nodes[disturbance.node]
    match disturbance.kind:
        case "network":
            world.network = disturbance.network
        case "freeze":
            world.freeze(node.index, disturbance.seconds)
        case "agent":
            world.freeze(node.index, disturbance.seconds, agent_only=True)
        case "kill":
            node.kill()
        case _:
            if not node.is_alive:
                node.start()
    world.run(disturbance.pause)


def stabilise(scenario: Scenario) -> World:
    """Play a scenario until everything is calm: the network as it stays, nothing frozen."""
    world = World(scenario.setups, scenario.seed)
    for node, begins in zip(world.nodes, scenario.begins, strict=True):
        if begins:
            node.start()
    for each in scenario.disturbances:
        disturb(world, each)
    world.network = scenario.network
    if not any(node.is_alive for node in world.nodes):
        world.nodes[0].start()
    thawed = max(max(node.frozen_until, node.agent_frozen_until) for node in world.nodes)
    # what was under way when the network became calm has arrived by then
    world.run(max(0.0, thawed - world.now) + 0.5)
    return world


def parts(world: World) -> list[set[int]]:
    """Return the nodes that live, in groups that hear each other."""
    found: list[set[int]] = []
    for node in world.nodes:
        if not node.is_alive:
            continue
        for part in found:
            if all((node.index, other) not in world.network.frames_blocked for other in part):
                part.add(node.index)
                break
        else:
            found.append({node.index})
    return found


def settling_time(world: World) -> float:
    """Return the seconds within which exactly one node of each part holds the address.

    With D the longest master-down time and S the longest silence that a held loser still waits
    for (0 where nobody lost by announcements): S until it counts the winner as gone, D until it
    is MASTER, then the longest contest: D and 0.3 s of patience with a lower rank, and one by
    announcements, 3.5 s, in which both may have yielded, and hence D and D again.
    """
    living = [node for node in world.nodes if node.is_alive]
    down = max(node.down_time for node in living)
    silence = max(
        held.silence_after_loss(node.contest, world.now) if node.contest.losses else 0.0
        for node in living
    )
    return silence + 4 * down + 0.3 + 3.5


def longest(world: World, begin: float, is_wrong: Callable[[frozenset[int]], bool]) -> float:
    """Return the longest time in one piece, since ``begin``, that holders were wrong."""
    worst = current = 0.0
    for seconds, holders in world.spans(begin):
        current = current + seconds if is_wrong(holders) else 0.0
        worst = max(worst, current)
    return worst
