"""The lab itself, with keepalived alone: does it show what it is there to show?"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.lab.kit.container import PROJECT
from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.namespaces import LabError, NetworkNamespace
from tests.lab.kit.node import Node
from tests.lab.kit.processes import process
from tests.lab.kit.raw import keepalived_config
from tests.lab.kit.switch import Direction
from tests.support.waiting import wait_until

ADDRESS = "192.0.2.101"  # the lab's first virtual one


def start_keepalived_everywhere(lab: Lab, address: str) -> Node:
    """Start keepalived on all nodes, n1 with the highest priority; return the first holder."""
    for node, priority in zip(lab.nodes, (250, 200, 150), strict=False):
        node.start_keepalived(keepalived_config(address, priority=priority))
    return lab.wait_for_holder(address)


@pytest.fixture
def holder(lab: Lab) -> Node:
    """Give the node that holds ADDRESS among three keepaliveds."""
    return start_keepalived_everywhere(lab, ADDRESS)


def test_a_lab_starts_fast_and_everybody_reaches_everybody(make_lab: MakeLab) -> None:
    """Three nodes stand within 1.5 s, and the client reaches every application, both families."""
    started = time.monotonic()
    lab = make_lab(3)
    assert time.monotonic() - started < 1.5
    assert [lab.client.ask(node.ip) for node in lab.nodes] == ["n1", "n2", "n3"]
    assert [lab.client.ask(node.ipv6) for node in lab.nodes] == ["n1", "n2", "n3"]
    assert lab.nodes[1].addresses() == ["192.0.2.12/24", "fd00::12/64"]


def test_a_lab_without_ipv6_has_none(make_lab: MakeLab) -> None:
    """``ipv6=False`` leaves not even a link-local address."""
    lab = make_lab(1, ipv6=False)
    shown = lab.nodes[0].run(["ip", "-6", "address"]).stdout
    assert not shown
    wait_until(lambda: lab.client.ask(lab.nodes[0].ip) == "n1", 5, "the node answers")


def test_the_highest_priority_is_elected_and_the_client_gets_its_answer(lab: Lab) -> None:
    """One node holds the address, in the kernel's words, by ARP and by the application."""
    address = lab.virtual(1)
    assert start_keepalived_everywhere(lab, address) is lab.nodes[0]
    assert f"{address}/32" in lab.nodes[0].addresses()
    assert lab.client.who_has(address) == ["n1"]
    assert lab.client.ask(address) == "n1"
    assert lab.client.neighbour(address) == "n1"


def test_ipv6_addresses_are_recorded_and_answered(lab: Lab) -> None:
    """An IPv6 address is elected, recorded and answered like an IPv4 one."""
    address = lab.virtual6(1)
    assert start_keepalived_everywhere(lab, address) is lab.nodes[0]
    with lab.client.watch(address) as watch:
        assert watch.nodes() == ["n1"]


@pytest.mark.timing
def test_a_terminated_keepalived_hands_over_within_its_skew(lab: Lab, holder: Node) -> None:
    """TERM: the address is gone at once and on the next node within 56/256 s, exit code 0."""
    with lab.client.watch(ADDRESS) as watch:
        before = time.monotonic()
        holder.terminate()
        assert lab.wait_for_holder(ADDRESS, among=lab.others(holder)) is lab.nodes[1]
        wait_until(lambda: watch.answering() == "n2", 2, "n2 answers")
    assert holder.wait() == 0
    assert lab.recorder.seconds_with_two(ADDRESS) == 0
    gap = lab.recorder.seconds_with_none(ADDRESS, since=before)
    assert 0.15 < gap < 0.6
    (outage,) = watch.outages()
    assert outage.is_over
    assert abs(outage.seconds - gap) < 0.2
    assert watch.nodes() == ["n1", "n2"]


def test_a_killed_container_leaves_its_address_on_the_node(lab: Lab, holder: Node) -> None:
    """SIGKILL of everything: the address stays, a second node takes it 2.9 to 3.6 s later."""
    killed = time.monotonic()
    holder.kill()
    assert holder.wait() == -signal.SIGKILL
    assert holder.pids() == []
    wait_until(lambda: lab.recorder.holders(ADDRESS) == ["n1", "n2"], 6, "two holders")
    taken = lab.recorder.changes(ADDRESS, since=killed)[0]
    assert 2.0 < taken.time - killed < 4.5
    assert lab.client.who_has(ADDRESS) == ["n1", "n2"]
    assert lab.recorder.seconds_with_two(ADDRESS) > 0
    holder.start_keepalived(keepalived_config(ADDRESS, priority=250))
    wait_until(
        lambda: lab.recorder.holders(ADDRESS, at=time.monotonic()) != ["n1", "n2"],
        3,
        "the returning keepalived removes what it left",
    )


def test_a_frozen_container_stays_holder_until_it_thaws(lab: Lab, holder: Node) -> None:
    """SIGSTOP of everything: two holders after 3.6 s; SIGCONT: one again, at once."""
    holder.freeze()
    wait_until(lambda: lab.recorder.holders(ADDRESS) == ["n1", "n2"], 6, "two holders")
    holder.thaw()
    lab.wait_for_holder(ADDRESS, timeout=3)


def test_a_cut_node_and_the_rest_each_have_a_holder(lab: Lab, holder: Node) -> None:
    """Both directions lost: two holders, of whom the client reaches one; joined: one again."""
    holder.cut()
    assert lab.client.ask(holder.ip, timeout=0.2) is None
    wait_until(lambda: lab.recorder.holders(ADDRESS) == ["n1", "n2"], 6, "two holders")
    assert lab.client.who_has(ADDRESS) == ["n2"]
    assert lab.recorder.seconds_with_two(ADDRESS, among=["n2", "n3"]) == 0
    holder.join()
    assert lab.wait_for_holder(ADDRESS, timeout=4) is holder


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("in", (True, False)), ("out", (False, True)), ("both", (False, False))],
)
def test_a_cut_loses_frames_of_its_direction_only(
    make_lab: MakeLab, direction: Direction, expected: tuple[bool, bool]
) -> None:
    """Broadcasts of the node and to the node arrive as the direction says, and all when joined."""
    lab = make_lab(1, ipv6=False)
    node, client = lab.nodes[0].network, lab.client.network
    lab.nodes[0].cut(direction)
    assert (_hears(node, client), _hears(client, node)) == expected
    lab.nodes[0].join(direction)
    assert (_hears(node, client), _hears(client, node)) == (True, True)


def _hears(sender: NetworkNamespace, receiver: NetworkNamespace) -> bool:
    """Return whether a broadcast of one host reaches the other."""
    with (
        sender.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
        receiver.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
    ):
        mouth.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        ear.bind(("", 5000))
        ear.settimeout(0.3)
        mouth.sendto(b"?", ("192.0.2.255", 5000))
        try:
            return ear.recv(16) == b"?"
        except TimeoutError:
            return False


def test_vrrp_lost_between_two_nodes_makes_the_deaf_one_a_holder(lab: Lab, holder: Node) -> None:
    """Adverts from n1 to n2 lost: n2 takes the address too, n3 hears n1 and does not."""
    lab.switch.drop_vrrp(source="n1", target="n2")
    wait_until(lambda: lab.recorder.holders(ADDRESS) == ["n1", "n2"], 6, "two holders")
    assert "Entering MASTER" not in lab.nodes[2].stderr()
    assert lab.client.ask(holder.ip) == "n1"
    lab.switch.restore_all()
    assert lab.wait_for_holder(ADDRESS, timeout=4) is holder


@pytest.mark.parametrize(
    ("victim", "direction"), [(0, "out"), (1, "in")], ids=["holder sends", "backup receives"]
)
def test_a_firewall_makes_a_second_holder(
    lab: Lab, holder: Node, victim: int, direction: str
) -> None:
    """VRRP dropped on the node itself: the backup takes the address too, until it is let in."""
    lab.nodes[2].terminate()
    lab.nodes[victim].firewall("out" if direction == "out" else "in")
    wait_until(lambda: lab.recorder.holders(ADDRESS) == ["n1", "n2"], 6, "two holders")
    lab.nodes[victim].firewall_off()
    assert lab.wait_for_holder(ADDRESS, timeout=4) is holder


def test_a_pulled_cable_is_a_fault_that_the_node_sees(lab: Lab, holder: Node) -> None:
    """Carrier gone: the address leaves the node at once and comes back with the cable."""
    holder.link_down()
    lab.wait_for_none([ADDRESS], timeout=1)
    assert lab.wait_for_holder(ADDRESS) is lab.nodes[1]
    holder.link_up()
    wait_until(lambda: lab.recorder.holders(ADDRESS) == ["n1"], 8, "n1 is back")


def test_an_application_that_stops_and_starts(lab: Lab) -> None:
    """A stopped application refuses; a started one answers at once; a frozen one is silent."""
    node = lab.nodes[0]
    node.application.stop()
    assert lab.client.ask(node.ip) is None
    node.application.start()
    assert lab.client.ask(node.ip) == "n1"
    node.application.freeze()
    assert lab.client.ask(node.ip, timeout=0.2) is None
    node.application.thaw()
    assert lab.client.ask(node.ip) == "n1"


def test_a_container_has_its_own_run_and_processes(lab: Lab) -> None:
    """PID 1 is the command; /run and /etc/keepalived are private; the network is the node's."""
    first, second, _ = lab.nodes
    for node in (first, second):
        node.start({"COLOUR": "blue"}, ["sleep", "1000"], run_mount="noexec")
        wait_until(partial(node.pids, "sleep"), 2, "sleep runs")
    first.write("/run/colour", "red")
    assert first.read("/run/colour") == "red"
    assert not second.container.path("/run/colour").exists()
    shown = first.run_in_container(
        ["sh", "-c", "echo $COLOUR $TMPDIR; cat /proc/1/comm; ip -br a"]
    )
    assert shown.stdout.startswith("blue /run/tmp\nsleep\n")
    assert first.ip in shown.stdout
    mounts = first.run_in_container(["cat", "/proc/mounts"]).stdout
    assert any(" /run tmpfs" in line and "noexec" in line for line in mounts.splitlines())
    with pytest.raises(LabError, match="the machine's"):
        first.write("/etc/passwd", "")


def test_an_agent_below_an_init_has_its_own_end(lab: Lab) -> None:
    """Not as PID 1: the agent's exit code is known, orphans are adopted, the container lives."""
    node = lab.nodes[0]
    node.start({}, ["sh", "-c", "sleep 1000 & exec sleep 1000"], as_pid_1=False)
    wait_until(lambda: len(node.pids("sleep")) == 2, 10, "two sleeps")
    node.signal(signal.SIGKILL)
    assert node.wait() == -signal.SIGKILL
    assert node.is_running
    [orphan] = node.pids("sleep")
    os.kill(orphan, signal.SIGTERM)
    wait_until(lambda: process(orphan) is None, 10, "the orphan is reaped")
    with pytest.raises(LabError, match="runs already"):
        node.start({}, ["true"])


def test_exit_codes_are_the_commands(lab: Lab) -> None:
    """``wait`` gives what the command ended with."""
    node = lab.nodes[0]
    node.start({}, ["sh", "-c", "echo said; exit 7"])
    assert node.wait() == 7
    assert node.output() == "said\n"


def test_nothing_is_left_when_the_program_is_killed(make_lab: MakeLab) -> None:
    """SIGKILL of the program that made a lab ends every process of the lab."""
    make_lab(1).close()
    program = (
        "import sys, time\n"
        "from tests.lab.kit.lab import Lab\n"
        "from tests.support.waiting import wait_until\n"
        "with Lab(2) as lab:\n"
        "    for node in lab.nodes: node.start({}, ['sh', '-c', 'echo up; exec sleep 4321'])\n"
        "    is_up = lambda: all(node.output() for node in lab.nodes)\n"
        "    wait_until(is_up, 10, 'both run their command')\n"
        "    pids = [node.container.pid for node in lab.nodes]\n"
        "    print(*pids, *(node.application.pid for node in lab.nodes), lab.directory)\n"
        "    sys.stdout.flush(); time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    )
    with child:
        assert child.stdout is not None
        *pids, directory = child.stdout.readline().split()
        assert len(pids) == 4
        child.kill()
    wait_until(
        lambda: all(each is None or each.state == "Z" for each in map(process, map(int, pids))),
        10,
        "all processes end",
    )
    make_lab(1)
    assert not Path(directory).exists(), "the next lab sweeps what a dead one left"
