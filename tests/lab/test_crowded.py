"""A node with thousands of foreign addresses and a full routing table serves like any other."""

from __future__ import annotations

import time

import pytest

from tests.bench.cost import cpu_seconds
from tests.bench.crowd import crowd
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, ConfigMap, stays, variables


@pytest.mark.slow
def test_what_is_not_ours_costs_no_address(lone: Lab, node: Node) -> None:
    """Start, leases, reload, commands and the end, with 8,000 addresses and 300,000 routes.

    kube-proxy has one of the virtual addresses on kube-ipvs0 as well, which is not the agent's.
    """
    crowd(node, addresses=8000, interfaces=4, routes=300_000)
    both = [lone.virtual(1), lone.virtual6(1)]
    node.network.ip([f"address add {both[0]}/32 dev kube-ipvs0", "link set other1 up"])
    values = variables(*both)
    source = ConfigMap(lone.directory / "variables", values)
    node.start(source.variable)
    lone.wait_for_each(both, timeout=ELECTION)
    node.wait_for_status("ready", value=True)
    began, used = time.monotonic(), cpu_seconds(node.container.agent_pid)
    stays(11)  # two looks at the node, and renewals all along
    share = (cpu_seconds(node.container.agent_pid) - used) / (time.monotonic() - began)
    print(f"the agent took {100 * share:.2f} % of a core")
    assert share < 0.05
    assert [(), ()] == [lone.recorder.changes(each, since=began) for each in both]

    more = [*both, lone.virtual(2)]
    source.write(variables(*more))
    assert "accepted" in node.reload()
    lone.wait_for_each(more, timeout=ELECTION)

    checked = node.ask("check")
    assert checked.returncode == 0, checked.stdout
    doctor = node.ask("doctor", "--seconds", "1").stdout
    assert f"elsewhere: {both[0]} also on kube-ipvs0" in doctor
    assert "pass  agent: " in doctor

    node.kill()  # and what a former run left is on another interface
    lone.wait_for_none([more[2]], on=node, timeout=6)
    node.network.ip([f"address add {more[2]}/32 dev other1 label other1:vip"])
    node.start(source.variable)
    node.wait_for_masters(len(more))
    assert f"{more[2]}/32" not in node.run(["ip", "address", "show", "dev", "other1"]).stdout
    assert f"{both[0]}/32" in node.run(["ip", "address", "show", "dev", "kube-ipvs0"]).stdout
