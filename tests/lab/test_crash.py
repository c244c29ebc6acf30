"""Sudden deaths: of the agent, of keepalived's processes, of the whole container."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest

from tests.lab.kit.container import PROJECT
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, RELEASE, UNPLANNED, variables
from tests.support.waiting import wait_until


def keepalived_processes(node: Node) -> tuple[int, int]:
    """Return the pids of keepalived's parent and of its VRRP child."""
    # Born in this order; a check that is just being started has the name for a moment, too.
    parent, child, *_ = node.pids("keepalived")
    return parent, child


def test_an_agent_that_is_killed_and_is_not_pid_1_takes_keepalived_along(pair: Lab) -> None:
    """SIGKILL of the agent: keepalived ends and its addresses are gone within 2 s."""
    addresses = [*(pair.virtual(number) for number in (1, 2)), pair.virtual6(1)]
    pair.start_ranked(variables(*addresses, PREEMPTION="preempt"), as_pid_1=False)
    first, second = pair.nodes
    pair.wait_for_each(addresses, timeout=ELECTION, among=[first])
    killed = time.monotonic()
    first.signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    pair.wait_for_none(addresses, on=first, timeout=2)
    print(f"agent killed: its addresses are gone after {time.monotonic() - killed:.2f} s")
    wait_until(lambda: not first.pids("keepalived"), RELEASE, "keepalived has ended")
    pair.wait_for_each(addresses, timeout=PLANNED, among=[second])
    assert pair.recorder.seconds_with_two(*addresses, since=killed) == 0


@pytest.mark.parametrize("victims", ["parent", "child", "both"])
def test_a_killed_keepalived_is_replaced_and_the_address_has_one_holder(
    pair: Lab, victims: str
) -> None:
    """Parent, VRRP child or both killed: the other node takes over, never two, the first returns.

    keepalived does not replace its child by itself: the end of either is that of keepalived.
    """
    addresses = [pair.virtual(1), pair.virtual6(1)]
    first = pair.serve_ranked(*addresses)
    parent, child = keepalived_processes(first)
    killed = time.monotonic()
    for pid in {"parent": [parent], "child": [child], "both": [parent, child]}[victims]:
        os.kill(pid, signal.SIGKILL)
    pair.wait_for_none(addresses, on=first, timeout=RELEASE)
    pair.wait_for_each(addresses, timeout=UNPLANNED, among=pair.others(first))
    none = pair.recorder.seconds_with_none(*addresses, since=killed)
    print(f"keepalived's {victims} killed: no node held an address for {none:.2f} s")
    assert none < UNPLANNED
    wait_until(
        lambda: len(first.pids("keepalived")) >= 2 and child not in first.pids("keepalived"),
        RELEASE + 2,
        "keepalived runs again",
    )
    first.wait_for_state("BACKUP", timeout=5)
    assert pair.recorder.seconds_with_two(*addresses, since=killed) == 0
    (ended,) = first.events("keepalived.exited")
    meaning = "its VRRP process died (signal 9)" if victims == "child" else "killed by signal 9"
    assert meaning in ended
    assert len(first.events("restart.scheduled")) == 1
    pair.stop_everywhere()
    assert first.virtual_addresses() == []


def test_a_vrrp_child_that_dies_again_and_again_is_restarted_ever_later_and_then_given_up(
    pair: Lab,
) -> None:
    """Killed as MASTER, then at each start: never two holders, back-off, then exit 75."""
    addresses = [pair.virtual(1), pair.virtual6(1)]
    first, second = pair.nodes
    runner = PROJECT / "tests/support/agent_runner.py"
    given = {"options": {}, "policy": {"attempts": 3}, "has_bug": False, "hangs_on_reload": False}
    environment = {**variables(*addresses, PREEMPTION="nopreempt"), "PYTHONPATH": str(PROJECT)}
    pair.start_ranked(environment, (sys.executable, str(runner), json.dumps(given)))
    pair.wait_for_each(addresses, timeout=ELECTION, among=[first])
    begin = time.monotonic()
    killed: set[int] = set()
    for _ in range(4):
        child = _newborn(first, killed)
        os.kill(child, signal.SIGKILL)
        killed.add(child)
    assert first.wait() == 75
    pair.wait_for_each(addresses, timeout=UNPLANNED, among=[second])
    assert pair.recorder.seconds_with_two(*addresses, since=begin) == 0
    none = pair.recorder.seconds_with_none(*addresses, since=begin)
    print(f"VRRP child killed four times: no node held an address for {none:.2f} s")
    assert none < UNPLANNED
    delays = [each.rpartition("delay=")[2] for each in first.events("restart.scheduled")]
    assert [each.split()[0] for each in delays] == ["0.5", "1.0", "2.0"]
    assert "keepalived keeps failing" in first.stderr()


def _newborn(node: Node, known: set[int]) -> int:
    """Return the pid of the VRRP child that runs now and is none of those that are known."""

    def found() -> int:
        running = node.pids("keepalived")
        return running[1] if len(running) > 1 and running[1] not in known else 0

    return wait_until(found, RELEASE + 3, "keepalived has a new VRRP child")


def test_a_lone_node_serves_again_after_keepalived_was_killed(lone: Lab) -> None:
    """There is no node to take over: back-off, start, election, and it is held again."""
    addresses = [lone.virtual(1), lone.virtual6(1)]
    node = lone.serve(*addresses)
    lone.wait_for_each(addresses, timeout=ELECTION)
    killed = time.monotonic()
    for pid in keepalived_processes(node):
        os.kill(pid, signal.SIGKILL)
    # Before the back-off, by the agent: keepalived left them.
    lone.wait_for_none(addresses, on=node, timeout=RELEASE)
    lone.wait_for_each(addresses, timeout=ELECTION)
    print(f"lone node, keepalived killed: held again after {time.monotonic() - killed:.1f} s")


def test_a_killed_container_is_replaced_and_returns_without_its_leftover(lab: Lab) -> None:
    """Without a lease it stays after SIGKILL of all; started again, the node removes it."""
    addresses = [lab.virtual(1), lab.virtual6(1)]
    first = lab.serve_ranked(*addresses, ADDRESS_LEASE="0")
    with lab.client.watch(addresses[0]) as watch:
        killed = time.monotonic()
        first.kill()
        wait_until(
            lambda: all(len(lab.recorder.holders(each)) == 2 for each in addresses),
            UNPLANNED,
            "another node holds each address, beside the leftover",
        )
        taken = [lab.recorder.changes(each, since=killed)[0].time - killed for each in addresses]
        print(f"container killed: taken over after {max(taken):.2f} s")
        assert max(taken) < UNPLANNED
        returned = time.monotonic()
        first.start()
        lab.wait_for_each(addresses, timeout=RELEASE, among=lab.others(first))
        gone = time.monotonic()
        print(f"container started again: one holder after {gone - returned:.2f} s")
        first.wait_for_state("BACKUP")
        outage = watch.worst_outage(since=killed)
    print(f"container killed: the client saw {outage:.2f} s of outage at worst")
    assert lab.recorder.seconds_with_two(*addresses, since=gone) == 0
    assert lab.recorder.seconds_with_none(*addresses, since=killed) == 0
    assert first.virtual_addresses() == []


@pytest.mark.parametrize("mark", ["labelled", "bare", "before"])
def test_a_leftover_is_removed_before_anything_else(pair: Lab, mark: str) -> None:
    """With the agent's label or none, even listed before the node's own: gone at the start."""
    first, second = pair.nodes
    address, address6 = pair.virtual(1), pair.virtual6(1)
    if mark == "before":
        first.network.ip(
            [
                f"address del {first.own.ipv4} dev eth0",
                f"address add {address}/32 dev eth0",
                f"address add {first.own.ipv4} dev eth0",
                f"route replace default via {pair.client.own.ipv4.ip} dev eth0",
            ]
        )
        assert first.addresses()[0] == f"{address}/32"
    else:
        label = "label eth0:vip" if mark == "labelled" else ""
        first.network.ip([f"address add {address}/32 dev eth0 {label}"])
    first.network.ip([f"address add {address6}/128 dev eth0 nodad preferred_lft 0"])
    second.start(variables(address, address6, PRIORITY="200"))
    wait_until(
        lambda: len(pair.recorder.holders(address)) == len(pair.recorder.holders(address6)) == 2,
        ELECTION,
        "both nodes hold both",
    )
    returned = time.monotonic()
    first.start(variables(address, address6, PRIORITY="100"))
    pair.wait_for_each([address, address6], timeout=RELEASE, among=[second])
    gone = time.monotonic()
    first.wait_for_state("BACKUP")
    assert pair.recorder.seconds_with_two(address, address6, since=gone) == 0
    assert pair.recorder.seconds_with_none(address, address6, since=returned) == 0
    assert first.addresses() == [str(first.own.ipv4), str(first.own.ipv6)]
    (released,) = first.events("addresses.released")
    assert f"{address}/32 on eth0" in released
    assert f"{address6}/128 on eth0" in released
