"""A node that stands still for some seconds, as a virtual machine does for a snapshot."""

from __future__ import annotations

import json
import os
import time
from collections import Counter

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import AGENT, Node
from tests.lab.kit.scenarios import ELECTION, UNPLANNED, variables
from tests.support.waiting import wait_until

#: The capability with which keepalived could have real-time priority, or not.
COMMANDS = {
    "privileged": AGENT,
    "without SYS_NICE": ("setpriv", "--bounding-set", "-sys_nice", "--", *AGENT),
}
#: Longer than any lease of 3 s lasts.
LAPSE = 4.5


def leased(node: Node) -> int:
    """Return how many addresses of a node have a lifetime."""
    shown = node.run(["ip", "-json", "address", "show", "dev", node.interface]).stdout
    return sum(each["valid_life_time"] < 100 for each in json.loads(shown)[0]["addr_info"])


def stop_for(node: Node, seconds: float) -> None:
    """Stop every process of a node, and let all go on."""
    node.freeze()
    node.application.freeze()
    time.sleep(seconds)
    node.thaw()
    node.application.thaw()


@pytest.mark.parametrize("rights", COMMANDS)
def test_a_pause_of_the_holder_costs_each_address_one_failover_at_most(
    pair: Lab, rights: str
) -> None:
    """Three seconds, 20 addresses of both families: keepalived goes on and has no real time."""
    addresses = [*pair.numbered(10), *pair.numbered6(10)]
    pair.start_ranked(variables(*addresses, PREEMPTION="preempt"), COMMANDS[rights])
    first = pair.nodes[0]
    pair.wait_for_each(addresses, timeout=ELECTION, among=[first])
    before = first.pids("keepalived")
    for _ in range(2):
        paused = time.monotonic()
        stop_for(first, 3)
        pair.wait_for_each(addresses, timeout=ELECTION, among=[first])
        none = pair.recorder.seconds_with_none(*addresses, since=paused)
        print(f"paused for 3 s, {rights}: no node held an address for {none:.2f} s")
        assert none < UNPLANNED
    assert first.pids("keepalived")[:2] == before[:2]
    assert {os.sched_getscheduler(pid) for pid in before} == {os.SCHED_OTHER}
    assert first.events("keepalived.exited") == []


@pytest.mark.parametrize("rights", COMMANDS)
@pytest.mark.parametrize("count", [120, pytest.param(245, marks=pytest.mark.timing)])
def test_a_pause_of_the_holder_of_many_addresses_is_no_contest(
    pair: Lab, count: int, rights: str
) -> None:
    """Adverts that waited in sockets meanwhile, and a keepalived that is late, hold no instance.

    A hypervisor stops the kernel's clock as well, and no lease ends. Here it goes on, so the
    leases are long.
    """
    addresses = [*pair.numbered(count // 2), *pair.numbered6(count - count // 2)]
    environment = variables(*addresses, PREEMPTION="preempt", ADDRESS_LEASE="10")
    pair.start_ranked(environment, COMMANDS[rights])
    first, second = pair.nodes
    pair.wait_for_each(addresses, timeout=2 * ELECTION, among=[first])
    before = first.pids("keepalived")
    at_start = len(second.events("vrrp.transition"))
    paused = time.monotonic()
    stop_for(first, 3)
    pair.wait_for_each(addresses, timeout=2 * ELECTION, among=[first])
    none = pair.recorder.seconds_with_none(*addresses, since=paused)
    two = pair.recorder.seconds_with_two(*addresses, since=paused)
    taken = Counter(
        line.rpartition("addresses=")[2]
        for line in second.events("vrrp.transition")[at_start:]
        if " state=MASTER " in line
    )
    print(f"{count} addresses, 3 s, {rights}: none {none:.2f} s, two {two:.2f} s at most")
    print(f"the other node took {len(taken)}, one of them {max(taken.values(), default=0)} times")
    assert [node.events("contest.held") for node in pair.nodes] == [[], []]
    assert none < UNPLANNED
    assert max(taken.values(), default=0) <= 1
    assert first.pids("keepalived")[:2] == before[:2]


def test_a_lone_node_has_all_of_245_addresses_again_after_a_pause_that_took_them(
    lone: Lab, node: Node
) -> None:
    """The kernel removes all at once while keepalived stands still, and it misses none of that."""
    addresses = [*lone.numbered(120), *lone.numbered6(125)]
    node.start(variables(*addresses, PRIORITY="250"))
    lone.wait_for_each(addresses, timeout=2 * ELECTION)
    wait_until(lambda: leased(node) == 245, 5, "every address is on a lease")
    paused = time.monotonic()
    stop_for(node, LAPSE)
    assert all(lone.recorder.seconds_with_none(each, since=paused) > 0 for each in addresses)
    lone.wait_for_each(addresses, timeout=2 * ELECTION)
    none = lone.recorder.seconds_with_none(*addresses, since=paused)
    print(f"245 addresses, paused for {LAPSE} s: no node held one for {none:.2f} s at worst")
    assert none < LAPSE + UNPLANNED
    assert node.events("keepalived.exited") == []
