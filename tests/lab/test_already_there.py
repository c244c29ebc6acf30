"""An address is on an interface already when it comes into the list, with the real keepalived."""

from __future__ import annotations

import json
import time

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, ConfigMap, stays, variables
from tests.support.waiting import wait_until

#: From another node's first advert for the address until it is off here.
TWO = 0.3
#: The same, and the second between two looks at the interface and between two adverts.
UNEXPECTED = TWO + 2.0
PAUSE = 0.5  # between the reloads of two nodes: both before the first election is over
ADVERT = 1.1  # until the next advert


def shown(node: Node, address: str) -> dict[str, object]:
    """Return what the kernel tells of an address."""
    found = json.loads(node.run(["ip", "-json", "address", "show", "to", address]).stdout)
    listed = [each for link in found for each in link.get("addr_info", ())]
    (entry,) = [each for each in listed if each.get("local") == address]
    return dict(entry)


def start_ranked(lab: Lab, source: ConfigMap, **more: str) -> tuple[Node, Node]:
    """Start two nodes that read their list from a map; return the lower and the higher rank."""
    for node, priority in zip(reversed(lab.nodes), ("250", "210"), strict=True):
        named = {f"OPENSHIFT_HA_{name}": value for name, value in more.items()}
        node.start(
            {
                **source.variable,
                "IPFAILOVER_WATCH": "false",
                "OPENSHIFT_HA_PRIORITY": priority,
                "OPENSHIFT_HA_PREEMPTION": "nopreempt",
                **named,
            }
        )
        node.wait_for_status("phase", "running")  # which begins its election first
    return lab.nodes[0], lab.nodes[1]


@pytest.mark.parametrize("order", ["lower first", "higher first"])
@pytest.mark.parametrize("wire", ["multicast", "unicast"])
def test_an_address_that_was_set_by_hand_is_taken_over_without_a_gap(
    pair: Lab, wire: str, order: str
) -> None:
    """It serves until a node is MASTER of it, and from then on one node has it."""
    base, added = [pair.virtual(1), pair.virtual6(1)], [pair.virtual(9), pair.virtual6(9)]
    source = ConfigMap(pair.directory / "variables", variables(*base))
    lower, higher = start_ranked(pair, source, **pair.peers(wire))
    pair.wait_for_each(base, timeout=ELECTION, among=[higher])
    lower.add(*added)
    pair.wait_for_each(added, timeout=1, among=[lower])
    source.write(variables(*base, *added))
    said = lower.ask("plan").stdout
    assert all(f"{each} is on eth0 already" in " ".join(said.split()) for each in added)

    began = time.monotonic()
    nodes = [lower, higher] if order == "lower first" else [higher, lower]
    masters = nodes[0].stdout().count("Entering MASTER STATE") + len(added)
    nodes[0].reload()
    stays(PAUSE)
    nodes[1].reload()
    known = time.monotonic()
    nodes[0].wait_for_masters(masters)
    stays(2.5)  # two adverts
    pair.wait_for_each(added, timeout=1, among=[nodes[0]])
    none = pair.recorder.seconds_with_none(*added, since=began)
    two = pair.recorder.seconds_with_two(*added, since=known)
    print(f"{wire}, {order}: none {none:.3f} s, two {two:.3f} s")
    print(pair.recorder.describe(since=began))
    assert none == 0
    # A node whose reload came too late hears of the other at its next advert.
    was_master = any(len(pair.recorder.holders(each, at=known)) > 1 for each in added)
    assert two <= TWO + ADVERT * was_master + pair.recorder.lateness
    assert [pair.recorder.changes(each, since=began) for each in base] == [(), ()]
    held = shown(nodes[0], added[0])
    assert held["label"] == "eth0:vip"
    assert int(str(held["valid_life_time"])) <= 3


@pytest.mark.parametrize("wire", ["multicast", "unicast"])
def test_an_address_of_another_node_that_is_set_by_hand_is_removed(pair: Lab, wire: str) -> None:
    """While the agents run; a lone node takes over what it has; another prefix is refused."""
    base, added = [pair.virtual(1), pair.virtual6(1)], [pair.virtual(9), pair.virtual6(9)]
    source = ConfigMap(pair.directory / "variables", variables(*base))
    lower, higher = start_ranked(pair, source, **pair.peers(wire))
    pair.wait_for_each(base, timeout=ELECTION, among=[higher])
    stays(1.5)  # an advert, by which the lower rank has looked at its interface
    began = time.monotonic()
    lower.add(*base)
    pair.wait_for_each(base, timeout=ELECTION, among=[higher])
    two = pair.recorder.seconds_with_two(*base, since=began)
    print(f"{wire}: two for {two:.3f} s")
    assert two <= UNEXPECTED + pair.recorder.lateness
    (line, *_) = lower.events("addresses.released")
    assert "not by this node" in line
    assert higher.events("contest.held") == lower.events("contest.held") == []

    higher.stop()
    pair.wait_for_each(base, timeout=ELECTION, among=[lower])
    lower.add(*added)
    wrong = pair.virtual(8)
    lower.add(f"{wrong}/24")
    began = time.monotonic()
    source.write(variables(*base, *added, wrong))
    refused = lower.reload(code=78)
    assert f"remove it with: ip address del {wrong}/24 dev eth0" in " ".join(refused.split())
    lower.remove(f"{wrong}/24")
    source.write(variables(*base, *added))
    lower.reload()
    held = shown(lower, added[0])
    assert (held["label"], held["valid_life_time"]) == ("eth0:vip", 2**32 - 1)
    masters = len(base) + len(added)
    lower.wait_for_masters(masters)
    wait_until(
        lambda: all(int(str(shown(lower, each)["valid_life_time"])) <= 3 for each in added),
        3,
        "they are on a lease",
    )
    assert shown(lower, added[1])["preferred_life_time"] == 0
    assert [pair.recorder.changes(each, since=began) for each in added] == [(), ()]
    lower.stop()
    assert lower.virtual_addresses() == []


def test_an_address_that_was_found_to_be_a_duplicate_is_set_anew(pair: Lab) -> None:
    """It would stay unusable, though this node is MASTER of it and the other host is gone."""
    base, added = pair.virtual6(1), pair.virtual6(9)
    source = ConfigMap(pair.directory / "variables", variables(base))
    node, host = pair.nodes
    node.start({**source.variable, "IPFAILOVER_WATCH": "false"})
    pair.wait_for_holder(base, timeout=ELECTION, among=[node])
    node.network.set_sysctls(
        {"ipv6/conf/eth0/accept_dad": "1", "ipv6/conf/eth0/dad_transmits": "1"}
    )
    host.network.ip([f"address add {added}/128 dev eth0 nodad"])
    node.add(added)
    wait_until(lambda: shown(node, added).get("dadfailed"), 5, "it is a duplicate")
    host.remove(added)
    source.write(variables(base, added))
    assert "accepted" in node.reload()
    node.wait_for_masters(2)
    wait_until(lambda: int(str(shown(node, added)["valid_life_time"])) <= 3, 5, "it is on a lease")
    assert shown(node, added).keys().isdisjoint({"dadfailed", "tentative"})
    host.run(["ping", "-6", "-c", "1", "-W", "2", added])


def test_an_announcement_of_another_node_is_enough(pair: Lab) -> None:
    """Where the network drops VRRP, announcements say who is MASTER."""
    base = [pair.virtual(1), pair.virtual6(1)]
    source = ConfigMap(pair.directory / "variables", variables(*base))
    lower, higher = start_ranked(pair, source)
    pair.wait_for_each(base, timeout=ELECTION, among=[higher])
    pair.switch.drop_vrrp()
    wait_until(
        lambda: len(lower.events("contest.held") + higher.events("contest.held")) == len(base),
        ELECTION,
        "one of the two yields",
    )
    found = pair.wait_for_each(base, timeout=3)
    losers = [
        (next(each for each in pair.nodes if each.name != name), address)
        for address, name in found.items()
    ]
    for node, address in losers:
        node.add(address)
    assert pair.wait_for_each(base, timeout=ELECTION) == found  # what was set by hand is removed
    for node, address in losers:
        holder = pair.node(found[address])
        line = node.wait_for_line(f'addresses.released addresses="{address}/')
        assert f"held by {holder.own.mac} and not by this node" in line
