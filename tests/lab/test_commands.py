"""status, check and release beside a real agent: do they tell the truth?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tests.lab.kit.scenarios import (
    ELECTION,
    NAME,
    ask,
    serve_ranked,
    variables,
    virtual_addresses,
    wait_for_each,
    wait_for_state,
)

if TYPE_CHECKING:
    from tests.lab.kit.lab import MakeLab
    from tests.lab.kit.node import Node

RELEASE_COMMAND = (sys.executable, "-m", "ipfailover_agent", "release")


def release(node: Node, environment: dict[str, str]) -> tuple[int, str]:
    """Run ``release`` in a container of its own; return the exit code and what it said."""
    node.start(environment, RELEASE_COMMAND)
    return node.wait(), node.output()


def test_status_shows_what_the_kernel_has(make_lab: MakeLab) -> None:
    """MASTER here and BACKUP there, as text and JSON; exit code 0 while ready."""
    lab = make_lab(2)
    addresses = [lab.virtual(1), lab.virtual6(1)]
    holder = serve_ranked(lab, *addresses)
    for node in lab.nodes:
        wait_for_state(node, "MASTER" if node is holder else "BACKUP", timeout=1)
        shown = ask(node, "status")
        assert shown.returncode == 0
        expected = "MASTER" if node is holder else "BACKUP"
        for number, address in enumerate(addresses, start=1):
            lines = [each for each in shown.stdout.splitlines() if each.startswith(NAME)]
            (line,) = [each for each in lines if address in each]
            assert line.split()[:2] == [f"{NAME}_VIP_{number}", expected]
    found = json.loads(ask(holder, "status", "--json").stdout)
    assert found["phase"] == "running"
    assert found["ready"]
    assert found["config"]["interface"] == "eth0"
    assert [each["addresses"] for each in found["instances"]] == [[each] for each in addresses]
    assert [each["virtual_router_id"] for each in found["instances"]] == [11, 12]
    assert found["keepalived_pid"] > 1
    holder.application.stop()
    wait_for_state(holder, "FAULT", timeout=5)
    wait_for_each(lab, addresses, timeout=5, among=lab.others(holder))


def test_check_beside_a_running_agent_says_what_runs(make_lab: MakeLab) -> None:
    """The same addresses and ids, exit code 0, although they are on the interface by now."""
    lab = make_lab(1)
    (node,) = lab.nodes
    addresses = [lab.virtual(1), lab.virtual6(1)]
    node.start(variables(*addresses))
    wait_for_each(lab, addresses, timeout=ELECTION)
    before = virtual_addresses(node)
    checked = ask(node, "check", "--json", "--compare-old")
    assert checked.returncode == 0, checked.stdout
    found = json.loads(checked.stdout)
    assert found["interface"] == "eth0"
    assert found["node_addresses"] == [node.ip, node.ipv6]
    assert [(each["virtual_router_id"], each["addresses"]) for each in found["instances"]] == [
        (11, addresses[:1]),
        (12, addresses[1:]),
    ]
    assert ask(node, "check").returncode == 0
    assert virtual_addresses(node) == before


def test_release_refuses_while_the_agent_runs(make_lab: MakeLab) -> None:
    """It says so and touches nothing."""
    lab = make_lab(1)
    (node,) = lab.nodes
    address = lab.virtual(1)
    node.start(variables(address))
    lab.wait_for_holder(address, timeout=ELECTION)
    refused = ask(node, "release")
    assert refused.returncode == 75
    assert "the agent runs" in refused.stderr
    assert lab.recorder.holders(address) == ["n1"]


def test_release_removes_what_a_killed_container_left(make_lab: MakeLab) -> None:
    """Both families, by the variables alone; without them it says why and removes nothing."""
    lab = make_lab(1)
    (node,) = lab.nodes
    addresses = [lab.virtual(1), lab.virtual6(1)]
    environment = variables(*addresses)
    node.start(environment)
    wait_for_each(lab, addresses, timeout=ELECTION)
    node.kill()
    left = [f"{addresses[0]}/32", f"{addresses[1]}/128"]
    assert sorted(virtual_addresses(node)) == sorted(left)
    code, said = release(node, {})
    assert code == 78
    assert "OPENSHIFT_HA_VIRTUAL_IPS" in said
    assert sorted(virtual_addresses(node)) == sorted(left)
    code, said = release(node, environment)
    assert code == 0
    assert all(f"removed {each}" in said for each in left)
    assert virtual_addresses(node) == []
    code, said = release(node, environment)
    assert code == 0
    assert "none of 2 addresses" in said


def test_release_without_the_nodes_network_does_not_pretend(make_lab: MakeLab) -> None:
    """The documented removal job lacks hostNetwork: non-zero, and it says what is missing."""
    lab = make_lab(1)
    (node,) = lab.nodes
    environment = variables(lab.virtual(1), NETWORK_INTERFACE="eth0")
    node.start(environment, ("unshare", "--net", *RELEASE_COMMAND))
    assert node.wait() == 78
    assert "hostNetwork" in node.output()
