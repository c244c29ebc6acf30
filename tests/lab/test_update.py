"""A cluster of the former release is updated node by node, with the real keepalived."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.kit.former import FormerAgent, unpack
from tests.lab.kit.lab import Lab
from tests.lab.kit.names import NAME, NameServer, keep_run_directory
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, stays, variables
from tests.support.waiting import wait_until

#: A node that takes an address back overlaps with the one before for some milliseconds.
TWO = 0.25
#: Longer than a master-down time: the node that is to hold an address has taken it by then.
SETTLED = 4.0
SECOND_PREFIX = "fd00:0:0:1::"
CONFIG = "/etc/keepalived/keepalived.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A kind of cluster: variables without their prefix, and what is special about it."""

    more: dict[str, str] = field(default_factory=dict)
    families: str = "46"
    is_drained: bool = False
    has_names: bool = False
    has_peers: bool = False


ROWS = {
    "multicast": Row(),
    "peers are listed": Row(has_peers=True),
    "peers have names": Row(more={"UNICAST_PEERS_DNS": NAME}, families="4", has_names=True),
    "IPv6 only": Row(families="6"),
    "groups, a node is drained": Row(
        more={"VIP_GROUPS": "3", "PREEMPTION": "preempt"}, is_drained=True
    ),
}


def addresses_of(lab: Lab, row: Row) -> list[str]:
    """Return what is served."""
    v4 = lab.numbered(4) if "4" in row.families else []
    return v4 + (lab.numbered6(4) if "6" in row.families else [])


def variables_of(lab: Lab, row: Row) -> dict[str, str]:
    """Return the variables of every node, of the former release and of this one."""
    more = {**row.more, **lab.peers("unicast" if row.has_peers else "multicast")}
    return variables(*addresses_of(lab, row), **more)


def without_ipv4(lab: Lab) -> None:
    """Leave the nodes IPv6 alone, and give them a second prefix, as a renumbering does."""
    for number, node in enumerate(lab.nodes, start=1):
        node.network.ip(
            [
                f"address del {node.own.ipv4} dev {node.interface}",
                f"address add {SECOND_PREFIX}{number + 32:x}/64 dev {node.interface} nodad",
            ]
        )


def served(node: Node) -> list[str]:
    """Return the virtual addresses that are on a node's interface."""
    return [each for each in node.virtual_addresses() if not each.startswith(SECOND_PREFIX)]


def priorities(node: Node) -> dict[str, str]:
    """Return the priority of each virtual router id in the file that is in force."""
    text = node.read(CONFIG)
    found = re.findall(r"^    virtual_router_id (\d+).*\n    priority (\d+)", text, re.MULTILINE)
    assert len(found) == text.count("vrrp_instance ")
    return dict(found)


def equal_priorities(nodes: Sequence[Node]) -> list[tuple[str, list[str]]]:
    """Return the virtual router ids for which two nodes have one priority."""
    found = [priorities(node) for node in nodes]
    by_id = {each: [some[each] for some in found] for each in found[0]}
    return [(each, some) for each, some in by_id.items() if len(set(some)) < len(some)]


def start_former(
    lab: Lab, row: Row, former: FormerAgent, prepare: dict[str, str]
) -> dict[str, str]:
    """Start the former agent everywhere; return the holder of each address."""
    addresses = addresses_of(lab, row)
    for node in lab.nodes:
        node.start(variables_of(lab, row), former.command("run"), prepare=prepare[node.name])
    lab.wait_for_each(addresses, timeout=2 * ELECTION)
    for node in lab.nodes:
        wait_until(
            lambda: node.noted().get("phase") == "running",  # noqa: B023 - called here
            ELECTION,
            f"{node.name} runs",
        )
    stays(SETTLED)
    holders = lab.wait_for_each(addresses, timeout=ELECTION)
    if row.is_drained:
        first = lab.nodes[0]
        done = first.run_in_container(former.command("drain"))
        assert done.returncode == 0, done.stdout + done.stderr
        lab.wait_for_each(addresses, timeout=4, among=lab.others(first))
    return holders


def replace(lab: Lab, node: Node, row: Row, prepare: dict[str, str]) -> None:
    """Stop the former agent of a node, and start this one in its place."""
    node.stop()
    lab.wait_for_each(addresses_of(lab, row), timeout=4, among=lab.others(node))
    assert served(node) == []
    node.start(variables_of(lab, row), prepare=prepare[node.name])
    node.wait_for_status("phase", "running")
    if "PREEMPTION" in row.more or node is lab.nodes[-1]:
        stays(SETTLED)
    lab.wait_for_each(addresses_of(lab, row), timeout=ELECTION)
    assert equal_priorities(lab.nodes) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_nodes_of_the_first_release_are_replaced_one_by_one(
    lab: Lab, former_agent: Callable[[], FormerAgent], name: str
) -> None:
    """Each replacement costs what a planned stop costs, and what the old agent noted is read."""
    former, row = former_agent(), ROWS[name]
    if "4" not in row.families:
        without_ipv4(lab)
    server = NameServer(lab)
    prepare = {each.name: keep_run_directory(lab, each.name) for each in lab.nodes}
    if row.has_names:
        prepare = {each.name: server.preparation(each.name) for each in lab.nodes}
        server.say([each.ip for each in lab.nodes])
    try:
        before = start_former(lab, row, former, prepare)
    finally:
        server.die()  # from here on only what was recorded says which nodes are peers
    began = time.monotonic()
    for node in lab.nodes:
        replace(lab, node, row, prepare)
    addresses = addresses_of(lab, row)
    none = max(lab.longest_gap(each, began) for each in addresses)
    two = lab.recorder.seconds_with_two(*addresses, since=began)
    after = lab.wait_for_each(addresses, timeout=1)
    print(f"{name}: none {none:.3f} s at a time, two {two:.3f} s; {before}, then {after}")
    assert none < PLANNED + lab.recorder.lateness
    assert two <= TWO + lab.recorder.lateness
    for node in lab.nodes:
        assert node.events("contest.held") == node.events("rival.seen") == []
    if row.is_drained:
        first = lab.nodes[0]
        assert first.name not in after.values()
        assert all(each["drained"] for each in first.status()["instances"])
        assert first.ask("undrain").returncode == 0
        stays(SETTLED)
        assert before == lab.wait_for_each(addresses, timeout=ELECTION)


def test_addresses_that_the_first_release_left_behind_are_released(
    lone: Lab, node: Node, former_agent: Callable[[], FormerAgent]
) -> None:
    """It was killed, and its successor serves other addresses: only the record names them."""
    former = former_agent()
    left, wanted = [lone.virtual(1), lone.virtual6(1)], [lone.virtual(2), lone.virtual6(2)]
    prepare = keep_run_directory(lone, node.name)
    unleased = {"ADDRESS_LEASE": "0", "ADDRESS_LABEL": ""}
    node.start(variables(*left, **unleased), former.command("run"), prepare=prepare)
    lone.wait_for_each(left, timeout=ELECTION)
    node.kill()
    assert sorted(served(node)) == sorted([f"{left[0]}/32", f"{left[1]}/128"])
    node.start(variables(*wanted, **unleased), prepare=prepare)
    lone.wait_for_each(wanted, timeout=ELECTION)
    assert [lone.recorder.holders(each) for each in left] == [[], []]
    (line,) = node.events("addresses.released")
    assert all(each in line for each in left)


def test_a_commit_that_the_history_lacks_is_named(tmp_path: Path) -> None:
    """As in a shallow clone: with what to do about it."""
    with pytest.raises(LookupError, match="git fetch --unshallow"):
        unpack("0" * 40, tmp_path / "former")
