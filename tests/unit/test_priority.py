"""Priorities: in range, distinct, and spread over the nodes, beside the shell image's formula.

``pytest -s -k side_by_side`` prints the comparison as a table.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from ipfailover_agent.config import priority
from ipfailover_agent.model import PreemptionMode

NODE_COUNTS = range(2, 10)
ADDRESS_COUNTS = (1, 3, 16, 254)


def node(octet: int) -> IPv4Address:
    return IPv4Address(f"192.168.55.{octet}")


def ours_multicast(octets: Sequence[int], count: int) -> list[list[int]]:
    """Return the priorities per node and instance."""
    return [
        [priority.among_strangers(node(each), number) for number in range(1, count + 1)]
        for each in octets
    ]


def ours_unicast(octets: Sequence[int], count: int) -> list[list[int]]:
    nodes = [node(each) for each in octets]
    return [
        [priority.among_peers(each, nodes, position) for position in range(count)]
        for each in nodes
    ]


def old(
    octets: Sequence[int], count: int, *, mode: PreemptionMode, chance: random.Random
) -> list[list[int]]:
    """Return what the shell image computes on each node, with REPLICA_COUNT right."""
    table = []
    for octet in octets:
        slot = octet % 128
        every = slot % len(octets) + 1
        previous_master = False
        row = []
        for number in range(1, count + 1):
            value = slot % 64 + chance.randrange(32)
            if number % every == 0:
                value = slot + 1 if previous_master else 255 - slot
                previous_master = not previous_master and mode is not PreemptionMode.NEVER
            row.append(value or 100)  # keepalived reads 0 as its default
        table.append(row)
    return table


def owned(octets: Sequence[int], table: Sequence[Sequence[int]]) -> list[int]:
    """Return how many instances each node wins: the higher priority, then the higher address."""
    counts = dict.fromkeys(octets, 0)
    for column in zip(*table, strict=True):
        counts[max(zip(column, octets, strict=True))[1]] += 1
    return list(counts.values())


def clusters(count: int, chance: random.Random) -> list[list[int]]:
    """Return octets of clusters: consecutive, every tenth, and random ones."""
    first = chance.randrange(1, 255 - count)
    tenth = chance.randrange(1, 255 - count * 10)
    return [
        [first + number for number in range(count)],
        [tenth + number * 10 for number in range(count)],
        *(_distinct(count, chance) for _ in range(2)),
    ]


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same clusters in every run


def _distinct(count: int, chance: random.Random) -> list[int]:
    """Return random octets of which no two are equal modulo 127."""
    return [each + 127 * chance.randrange(2) for each in chance.sample(range(1, 127), count)]


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_listed_nodes_own_the_same_number_of_instances(nodes: int) -> None:
    """Where the peers are known, ownership differs by at most one."""
    for octets in clusters(nodes, _chance(nodes)):
        for count in ADDRESS_COUNTS:
            counts = owned(octets, ours_unicast(octets, count))
            assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_the_instances_of_a_dead_listed_node_are_spread_over_the_others(nodes: int) -> None:
    """No neighbour gets them all: after a death the shares differ by one round's worth."""
    octets = list(range(10, 10 + nodes))
    table = ours_unicast(octets, 254)
    dead = nodes // 2
    left = [each for number, each in enumerate(octets) if number != dead]
    counts = owned(left, [row for number, row in enumerate(table) if number != dead])
    assert max(counts) - min(counts) <= 2


@pytest.mark.parametrize("nodes", [2, 3, 9, 64, 100, 254])
def test_priorities_of_listed_nodes_are_distinct_and_in_range(nodes: int) -> None:
    """Two equal ones would both be master for a moment (keepalived issue 1515)."""
    octets = list(range(1, 1 + nodes))
    for column in zip(*ours_unicast(octets, 5), strict=True):
        assert nodes == len(set(column))
        assert 1 <= min(column) <= max(column) == 254


def test_more_nodes_than_priorities_stay_in_range() -> None:
    """300 nodes share the lowest priority rather than get none."""
    nodes = [ip_address("10.0.0.0") + number for number in range(300)]
    values = [priority.among_peers(each, nodes, 0) for each in nodes]
    assert (1, 254) == (min(values), max(values))


def test_a_node_counts_itself_whether_listed_or_not() -> None:
    """Some lists hold every node, some hold the others."""
    others = [node(11), node(12)]
    assert [priority.among_peers(node(10), others, position) for position in range(9)] == [
        priority.among_peers(node(10), [*others, node(10)], position) for position in range(9)
    ]


@pytest.mark.parametrize("number", [1, 2, 3, 254])
def test_strangers_are_equal_only_where_their_octets_are(number: int) -> None:
    """Modulo 127 each octet has a priority of its own, 128 to 254."""
    values = [priority.among_strangers(node(octet), number) for octet in range(127)]
    assert set(range(128, 255)) == set(values)
    assert values[10] == priority.among_strangers(node(137), number)


def test_an_ipv6_node_counts_by_its_last_sixteen_bits() -> None:
    """fd00::1:a and fd00::2:a are the same to an election, ::a and ::10a are not."""
    values = {
        text: priority.among_strangers(IPv6Address(text), 1)
        for text in ("fd00::1:a", "fd00::2:a", "fd00::10a")
    }
    assert values["fd00::1:a"] == values["fd00::2:a"] != values["fd00::10a"]


def test_two_strangers_share_every_pair_of_instances() -> None:
    """Whatever their octets (unless equal modulo 127): 4 and 4 of 8."""
    for octets in itertools.combinations(range(1, 127, 5), 2):
        assert [4, 4] == owned(octets, ours_multicast(octets, 8))


@pytest.mark.parametrize("nodes", NODE_COUNTS)
def test_strangers_stay_under_twice_their_fair_share(nodes: int) -> None:
    """At 254 addresses, for consecutive, spaced and random octets."""
    for seed in range(2):
        for octets in clusters(nodes, _chance(seed * 10 + nodes)):
            counts = owned(octets, ours_multicast(octets, 254))
            assert max(counts) < 2 * 254 / nodes
            assert min(counts) > 0


def test_the_result_is_the_same_in_every_process() -> None:
    """Fixed values: another process, another Python, another day, and the same election."""
    assert [177, 205, 223, 159] == [
        priority.among_strangers(ip_address("192.168.55.10"), number) for number in range(1, 5)
    ]


@pytest.mark.parametrize(
    "mode", [PreemptionMode.DELAYED, PreemptionMode.NEVER], ids=lambda mode: mode.value
)
def test_the_spread_is_better_than_the_shell_images_side_by_side(mode: PreemptionMode) -> None:
    """Share of the busiest node over its fair share, mean over clusters: ours never worse."""
    chance = _chance(2024)
    print(f"\n{mode.value}: busiest node over its fair share, mean (worst)")
    print(f"{'nodes':>5} {'addresses':>9} {'shell':>13} {'multicast':>13} {'unicast':>13}")
    for nodes, count in itertools.product((2, 3, 5, 9), (8, 64, 254)):
        fair = count / nodes
        shares: dict[str, list[float]] = {"shell": [], "multicast": [], "unicast": []}
        for octets in itertools.chain.from_iterable(clusters(nodes, chance) for _ in range(2)):
            tables = {
                "shell": old(octets, count, mode=mode, chance=chance),
                "multicast": ours_multicast(octets, count),
                "unicast": ours_unicast(octets, count),
            }
            for name, table in tables.items():
                shares[name].append(max(owned(octets, table)) / fair)
        means = {name: sum(each) / len(each) for name, each in shares.items()}
        cells = " ".join(f"{means[name]:>6.2f} ({max(shares[name]):.2f})" for name in shares)
        print(f"{nodes:>5} {count:>9} {cells}")
        assert means["unicast"] <= means["multicast"]
        # nine nodes and eight addresses: luck decides, for both
        assert means["multicast"] < means["shell"] + (0.1 if count < nodes else 0)
