"""Interfaces that are not there yet, that are not the one named, or that go away."""

from __future__ import annotations

import time

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, RELEASE, stays, variables

LATE = "late0"
ADDRESS = "198.51.100.50"


def add_interface(node: Node) -> None:
    """Give a node a second interface with a network of its own."""
    node.network.ip(
        [
            f"link add {LATE} type veth peer name {LATE}p",
            f"link set {LATE}p up",
            f"link set {LATE} up",
            f"address add 198.51.100.11/24 dev {LATE}",
        ]
    )


def remove_interface(node: Node) -> None:
    """Take it away again, its addresses with it."""
    node.network.ip([f"link del {LATE}"])


def test_a_missing_interface_is_waited_for(lone: Lab, node: Node) -> None:
    """Phase waiting, not ready, said; when it appears its address is served there."""
    node.start(variables(ADDRESS, NETWORK_INTERFACE=LATE))
    found = node.wait_for_status("phase", "waiting")
    assert not found["ready"]
    assert LATE in "".join(found["reasons"])
    checked = node.ask("check")
    assert checked.returncode == 78
    assert LATE in checked.stdout
    stays(2.5)  # it looks every second, and says it once
    assert len(node.events("host.awaited")) == 1
    add_interface(node)
    lone.wait_for_holder(ADDRESS, timeout=ELECTION)
    assert f"{ADDRESS}/32" in node.run(["ip", "address", "show", "dev", LATE]).stdout
    found = node.wait_for_status("ready", value=True)
    assert found["reasons"] == []
    node.stop()
    assert ADDRESS not in node.run(["ip", "address", "show", "dev", LATE]).stdout


def test_an_interface_that_goes_away_and_returns_serves_again(lone: Lab, node: Node) -> None:
    """Removed while it holds an address: the agent lives on; made anew, the address is back."""
    add_interface(node)
    lone.serve(ADDRESS, NETWORK_INTERFACE=LATE)
    remove_interface(node)
    lone.wait_for_none([ADDRESS], timeout=RELEASE)
    stays(2)  # whatever keepalived and the agent do about it
    assert node.is_running
    returned = time.monotonic()
    add_interface(node)
    lone.wait_for_holder(ADDRESS, timeout=2 * ELECTION)
    print(f"interface made anew: held again after {time.monotonic() - returned:.1f} s")
    node.stop()


def test_a_pulled_cable_moves_the_address_and_a_plugged_one_makes_a_backup(pair: Lab) -> None:
    """No carrier: FAULT at once, another node takes over; with carrier again: BACKUP."""
    address = pair.virtual(1)
    first = pair.serve_ranked(address)
    cut = time.monotonic()
    first.link_down()
    pair.wait_for_holder(address, timeout=5, among=pair.others(first))
    assert pair.recorder.seconds_with_two(address, since=cut) == 0
    first.wait_for_state("FAULT", timeout=1)
    first.link_up()
    first.wait_for_state("BACKUP", timeout=5)


def test_an_interface_that_no_node_has_is_replaced_by_the_one_in_use(pair: Lab) -> None:
    """The documented manifest names ``ens3``: served on eth0, an error each time, not ready."""
    address = pair.virtual(1)
    holder = pair.serve(address, NETWORK_INTERFACE="ens3")
    assert f"{address}/32" in holder.virtual_addresses()
    found = holder.status()
    assert not found["ready"]
    assert "ens3" in "".join(found["reasons"])
    assert any("level=error" in line and "ens3" in line for line in holder.stderr().splitlines())
    holder.terminate()
    pair.wait_for_holder(address, timeout=PLANNED, among=pair.others(holder))
