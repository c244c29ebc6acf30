"""Who holds an address: election, handover, preemption, with the real agent and keepalived."""

from __future__ import annotations

import signal
import time

import pytest

from ipfailover_agent.config import priority
from tests.lab.kit.lab import Lab
from tests.lab.kit.scenarios import ELECTION, PLANNED, RELEASE, UNPLANNED, stays, variables
from tests.support.waiting import wait_until


def test_one_of_three_nodes_holds_the_address_and_says_so(lab: Lab) -> None:
    """One holder, keepalived's line word for word on stdout, the client reaches the service."""
    address = lab.virtual(1)
    started = time.monotonic()
    holder = lab.serve(address)
    print(f"one address: held {time.monotonic() - started:.1f} s after three starts")
    assert "(ipfailover_VIP_1) Entering MASTER STATE" in holder.stdout()
    assert f"{address}/32" in holder.addresses()
    assert lab.client.ask(address) == holder.name
    stays(2.5)  # two adverts: a node that has not heard of the holder would show now
    assert lab.recorder.holders(address) == [holder.name]
    assert lab.recorder.seconds_with_two(address) < 1
    assert lab.recorder.seconds_with_none(address) < 1
    for other in lab.others(holder):
        other.wait_for_state("BACKUP", timeout=1)
    holder.wait_for_state("MASTER", timeout=1)


def test_several_addresses_are_spread_by_priority_over_multicast(lab: Lab) -> None:
    """No list of nodes: each address is where its priority is highest, no node has none."""
    addresses = lab.numbered(12)
    lab.start_everywhere(variables(*addresses, PREEMPTION="preempt"))
    expected = {
        address: max(
            lab.nodes, key=lambda node: priority.among_strangers(node.own.ipv4.ip, number)
        ).name
        for number, address in enumerate(addresses, start=1)
    }
    wait_until(
        lambda: all(lab.recorder.holders(each) == [name] for each, name in expected.items()),
        ELECTION,
        f"every address is where its priority is highest: {expected}",
    )
    assert set(expected.values()) == {"n1", "n2", "n3"}


def test_several_addresses_are_spread_evenly_over_known_peers(lab: Lab) -> None:
    """The nodes are listed, this one too: six addresses on three nodes are two each."""
    addresses = lab.numbered(6)
    peers = ",".join(node.ip for node in lab.nodes)
    lab.start_everywhere(variables(*addresses, PREEMPTION="preempt", UNICAST_PEERS=peers))

    def counts() -> list[int]:
        held = [lab.recorder.holders(each) for each in addresses]
        return [held.count([node.name]) for node in lab.nodes]

    wait_until(lambda: counts() == [2, 2, 2], ELECTION, "two each")


def test_an_application_that_dies_takes_the_address_along(lab: Lab) -> None:
    """The check fails: FAULT, another node takes over; back again it is a BACKUP that waits."""
    address = lab.virtual(1)
    holder = lab.serve(address)
    with lab.client.watch(address) as watch:
        died = time.monotonic()
        holder.application.stop()
        # one interval of the check (1 s) and the skew
        other = lab.wait_for_holder(address, timeout=1 + PLANNED, among=lab.others(holder))
        wait_until(lambda: watch.answering() == other.name, 2, "it answers")
        outage = watch.worst_outage(since=died)
    print(f"application dies: the client saw {outage:.2f} s of outage")
    assert 1 + PLANNED > outage
    assert lab.recorder.seconds_with_two(address, since=died) == 0
    holder.wait_for_state("FAULT", timeout=1)
    again = time.monotonic()
    holder.application.start()
    holder.wait_for_state("BACKUP", timeout=4)
    stays(1.5)
    assert lab.recorder.changes(address, since=again) == ()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_planned_stop_hands_over_and_leaves_nothing(lab: Lab, number: signal.Signals) -> None:
    """TERM or INT: the address moves within the skew, nothing is left behind, exit code 0."""
    address = lab.virtual(1)
    holder = lab.serve(address)
    with lab.client.watch(address) as watch:
        asked = time.monotonic()
        holder.signal(number)
        other = lab.wait_for_holder(address, timeout=PLANNED, among=lab.others(holder))
        wait_until(lambda: watch.answering() == other.name, 2, "it answers")
        outage = watch.worst_outage(since=asked)
    gap = lab.recorder.seconds_with_none(address, since=asked)
    assert holder.wait() == 0
    print(f"planned stop: no node held it for {gap:.2f} s, the client saw {outage:.2f} s")
    assert gap < PLANNED
    assert lab.recorder.seconds_with_two(address, since=asked) == 0
    assert holder.virtual_addresses() == []


def test_a_planned_stop_among_known_peers_takes_no_time(lab: Lab) -> None:
    """Listed peers have priorities near 254: their skew is some hundredths of a second."""
    address = lab.virtual(1)
    holder = lab.serve(address, UNICAST_PEERS=",".join(node.ip for node in lab.nodes))
    asked = lab.hand_over(holder, address)
    gap = lab.recorder.seconds_with_none(address, since=asked)
    print(f"planned stop among known peers: no node held it for {gap:.3f} s")
    assert gap < 0.5


def test_a_planned_stop_of_sixty_addresses_leaves_none(pair: Lab) -> None:
    """TERM while sixty addresses are held: all of them move, none stays, exit code 0."""
    addresses = pair.numbered(60)
    holder = pair.serve_ranked(*addresses)
    asked = pair.hand_over(holder, *addresses, timeout=2 * PLANNED)
    gap = pair.recorder.seconds_with_none(*addresses, since=asked)
    two = pair.recorder.seconds_with_two(*addresses, since=asked)
    print(f"planned stop of 60 addresses: at worst {gap:.2f} s with none, {two:.2f} s with two")
    assert two == 0
    assert holder.virtual_addresses() == []


def test_all_nodes_are_stopped_and_started_at_once(lab: Lab) -> None:
    """Nothing is held after the stop; after the start each address has one holder again."""
    addresses = lab.numbered(3)
    lab.serve(*addresses)
    lab.wait_for_each(addresses, timeout=ELECTION)
    lab.stop_everywhere()
    for node in lab.nodes:
        lab.wait_for_none(addresses, on=node, timeout=RELEASE)
        assert node.virtual_addresses() == []
    started = time.monotonic()
    for node in lab.nodes:
        node.start()
    lab.wait_for_each(addresses, timeout=ELECTION)
    stays(2.5)  # two adverts
    lab.wait_for_each(addresses, timeout=1)
    assert lab.recorder.seconds_with_two(*addresses, since=started) < 1


def test_without_preemption_a_returning_node_leaves_the_address_where_it_is(pair: Lab) -> None:
    """``nopreempt``: the former holder has the higher priority and stays BACKUP."""
    address = pair.virtual(1)
    first = pair.serve_ranked(address, PREEMPTION="nopreempt")
    first.stop()
    second = pair.wait_for_holder(address, timeout=PLANNED, among=pair.others(first))
    returned = time.monotonic()
    first.start()
    first.wait_for_line("(ipfailover_VIP_1) Entering BACKUP STATE")
    stays(5)  # longer than an election
    assert pair.recorder.changes(address, since=returned) == ()
    assert pair.recorder.holders(address) == [second.name]


def test_a_preemption_delay_moves_the_address_back_after_it_and_not_before(pair: Lab) -> None:
    """``preempt_delay 6``: six seconds after its return the former holder has it again."""
    address = pair.virtual(1)
    first = pair.serve_ranked(address, PREEMPTION="preempt_delay 6")
    first.stop()
    pair.wait_for_holder(address, timeout=PLANNED, among=pair.others(first))
    first.start()
    first.wait_for_line("(ipfailover_VIP_1) Entering BACKUP STATE")
    returned = time.monotonic()
    # the delay, then keepalived ignores adverts until the master down time (3.x s) is over
    pair.wait_for_holder(address, timeout=6 + UNPLANNED, among=[first])
    (taken,) = (
        each
        for each in pair.recorder.changes(address, since=returned)
        if each.held and each.node == first.name
    )
    print(f"preempt_delay 6: back after {taken.time - returned:.1f} s")
    assert taken.time - returned > 5.5
    assert pair.recorder.seconds_with_two(address, since=returned) < 1
