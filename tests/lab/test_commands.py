"""status, check and release beside a real agent: do they tell the truth?"""

from __future__ import annotations

import json

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, NAME, command, variables


def release(node: Node, environment: dict[str, str]) -> tuple[int, str]:
    """Run ``release`` in a container of its own; return the exit code and what it said."""
    node.start(environment, command("release"))
    return node.wait(), node.output()


def test_status_shows_what_the_kernel_has(pair: Lab) -> None:
    """MASTER here and BACKUP there, as text and JSON; exit code 0 while ready."""
    addresses = [pair.virtual(1), pair.virtual6(1)]
    holder = pair.serve_ranked(*addresses)
    for node in pair.nodes:
        node.wait_for_state("MASTER" if node is holder else "BACKUP", timeout=1)
        shown = node.ask("status")
        assert shown.returncode == 0
        expected = "MASTER" if node is holder else "BACKUP"
        for number, address in enumerate(addresses, start=1):
            lines = [each for each in shown.stdout.splitlines() if each.startswith(NAME)]
            (line,) = [each for each in lines if address in each]
            assert line.split()[:2] == [f"{NAME}_VIP_{number}", expected]
    found = json.loads(holder.ask("status", "--json").stdout)
    assert found["phase"] == "running"
    assert found["ready"]
    assert found["config"]["interface"] == "eth0"
    assert [each["addresses"] for each in found["instances"]] == [[each] for each in addresses]
    assert [each["virtual_router_id"] for each in found["instances"]] == [11, 12]
    assert found["keepalived_pid"] > 1
    holder.application.stop()
    holder.wait_for_state("FAULT", timeout=5)
    pair.wait_for_each(addresses, timeout=5, among=pair.others(holder))


def test_check_beside_a_running_agent_says_what_runs(lone: Lab) -> None:
    """The same addresses and ids, exit code 0, although they are on the interface by now."""
    addresses = [lone.virtual(1), lone.virtual6(1)]
    node = lone.serve(*addresses)
    before = node.virtual_addresses()
    checked = node.ask("check", "--json", "--compare-old")
    assert checked.returncode == 0, checked.stdout
    found = json.loads(checked.stdout)
    assert found["interface"] == "eth0"
    assert found["node_addresses"] == [node.ip, node.ipv6]
    assert [(each["virtual_router_id"], each["addresses"]) for each in found["instances"]] == [
        (11, addresses[:1]),
        (12, addresses[1:]),
    ]
    assert node.ask("check").returncode == 0
    assert node.virtual_addresses() == before


def test_release_refuses_while_the_agent_runs(lone: Lab) -> None:
    """It says so and touches nothing."""
    address = lone.virtual(1)
    node = lone.serve(address)
    refused = node.ask("release")
    assert refused.returncode == 75
    assert "the agent runs" in refused.stderr
    assert lone.recorder.holders(address) == ["n1"]


def test_release_removes_what_a_killed_container_left(lone: Lab, node: Node) -> None:
    """Both families, by the variables alone; without them it says why and removes nothing."""
    addresses = [lone.virtual(1), lone.virtual6(1)]
    environment = variables(*addresses)
    node.start(environment)
    lone.wait_for_each(addresses, timeout=ELECTION)
    node.kill()
    left = [f"{addresses[0]}/32", f"{addresses[1]}/128"]
    assert sorted(node.virtual_addresses()) == sorted(left)
    code, said = release(node, {})
    assert code == 78
    assert "OPENSHIFT_HA_VIRTUAL_IPS" in said
    assert sorted(node.virtual_addresses()) == sorted(left)
    code, said = release(node, environment)
    assert code == 0
    assert all(f"removed {each}" in said for each in left)
    assert node.virtual_addresses() == []
    code, said = release(node, environment)
    assert code == 0
    assert "none of 2 addresses" in said


def test_release_without_the_nodes_network_does_not_pretend(lone: Lab, node: Node) -> None:
    """The documented removal job lacks hostNetwork: non-zero, and it says what is missing."""
    environment = variables(lone.virtual(1), NETWORK_INTERFACE="eth0")
    node.start(environment, ("unshare", "--net", *command("release")))
    assert node.wait() == 78
    assert "hostNetwork" in node.output()
