"""The agent reloads by itself when variables or the node change, with the real keepalived."""

from __future__ import annotations

import time

import pytest

from tests.lab.kit.lab import MakeLab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, ConfigMap, stays, variables
from tests.support.waiting import wait_until

#: Two looks, each as late as can be, a test of the candidate and a slow machine.
SEEN = 2 * 5.0 + 3.0


def reload_by_itself(node: Node, ended: int) -> str:
    """Wait for that many reloads; return the last verdict."""

    def verdict() -> str:
        found = node.status()["reload"]
        return str(found["verdict"]) if found["ended"] >= ended else ""

    return wait_until(verdict, SEEN, f"{node.name} reloads", interval=0.2)


def test_a_configmap_that_changes_is_applied_on_every_node(make_lab: MakeLab) -> None:
    """No command is called; what stays has no event on the holder, and each has one holder."""
    lab = make_lab(2, ipv6=False)
    old = lab.numbered(2)
    source = ConfigMap(lab.directory / "variables", variables(*old))
    lab.start_everywhere(source.variable)
    lab.wait_for_each(old, timeout=ELECTION)
    began = time.monotonic()
    source.write(variables(*old, lab.virtual(3)))
    assert [reload_by_itself(node, 1) for node in lab.nodes] == ["accepted", "accepted"]
    lab.wait_for_each([lab.virtual(3)], timeout=ELECTION)
    assert [lab.recorder.changes(each, since=began) for each in old] == [(), ()]
    stays(5)
    assert [node.status()["reload"]["ended"] for node in lab.nodes] == [1, 1]


def test_an_interface_that_moves_under_a_bridge_is_followed(make_lab: MakeLab) -> None:
    """As OVN-Kubernetes makes br-ex: the address is served there, and the agent runs on."""
    lab = make_lab(1, ipv6=False)
    address = lab.virtual(1)
    node = lab.serve(address, NETWORK_INTERFACE="br-ex eth0")
    pid = node.status()["pid"]
    node.network.ip(
        [
            "link add br-ex type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set br-ex address {node.own.mac}",
            "link set br-ex up",
            f"address del {node.own.ipv4} dev eth0",
            "link set eth0 master br-ex",
            f"address add {node.own.ipv4} dev br-ex",
        ]
    )
    assert reload_by_itself(node, 1) == "accepted"
    wait_until(
        lambda: f"{address}/32" in node.run(["ip", "address", "show", "dev", "br-ex"]).stdout,
        ELECTION,
        "the address is on br-ex",
    )
    assert address not in node.run(["ip", "address", "show", "dev", "eth0"]).stdout
    found = node.status()
    assert (found["pid"], found["phase"], found["config"]["interface"]) == (
        pid,
        "running",
        "br-ex",
    )
    assert node.events("node.changed")


def test_another_address_of_the_node_does_not_cost_the_virtual_one(make_lab: MakeLab) -> None:
    """DHCP gives another one: the check follows, and the virtual address is back in seconds."""
    lab = make_lab(1, ipv6=False)
    address = lab.virtual(1)
    node = lab.serve(address)
    began = time.monotonic()
    node.network.ip([f"address add 192.0.2.77/24 dev {node.interface}"])
    node.network.ip(
        [
            f"address del {node.own.ipv4} dev {node.interface}",
            f"address replace 192.0.2.77/24 dev {node.interface}",
            # a DHCP client does so too: the route went if keepalived was quicker than this and had
            # taken the last address away
            f"route replace default via 192.0.2.250 dev {node.interface}",
        ]
    )
    assert reload_by_itself(node, 1) == "accepted"
    assert "of 192.0.2.77\n" in node.read("/etc/keepalived/keepalived.conf")
    lab.wait_for_holder(address, timeout=ELECTION)
    lost = lab.recorder.seconds_with_none(address, since=began)
    print(f"without the address for {lost:.2f} s")


def rename(node: Node, old: str, new: str) -> None:
    """Give an interface another name, as an operator does; its routes go with the link."""
    routes = node.run(["ip", "route", "show", "default"]).stdout.strip()
    node.network.ip([f"link set {old} down", f"link set {old} name {new}", f"link set {new} up"])
    if routes:
        node.network.ip([f"route add {routes.replace(old, new)}"])


@pytest.mark.parametrize("named", ["", "eth0"], ids=["found by its route", "named in a variable"])
def test_an_interface_that_is_renamed_is_followed(make_lab: MakeLab, named: str) -> None:
    """Found or named: the address is served on it. A name that is wrong now is told."""
    lab = make_lab(1, ipv6=False)
    address = lab.virtual(1)
    node = lab.serve(address, NETWORK_INTERFACE=named)
    pid = node.status()["pid"]
    rename(node, "eth0", "net0")
    assert reload_by_itself(node, 1) == "accepted"
    wait_until(
        lambda: f"{address}/32" in node.run(["ip", "address", "show", "dev", "net0"]).stdout,
        2 * ELECTION,
        "the address is on net0",
    )
    found = node.status()
    assert (found["pid"], found["config"]["interface"]) == (pid, "net0")
    assert ("eth0" in "".join(found["reasons"])) is bool(named)
