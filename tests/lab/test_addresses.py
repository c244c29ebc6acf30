"""Families, groups, unicast, ids and many addresses, with the real keepalived."""

from __future__ import annotations

import time

import pytest

from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, NAME, PLANNED, stays, variables
from tests.support.waiting import wait_until

CONFIG = "/etc/keepalived/keepalived.conf"


def ids(node: Node) -> dict[str, list[str]]:
    """Return the addresses of each virtual router id, as ``status`` tells them."""
    return {
        str(each["virtual_router_id"]): each["addresses"] for each in node.status()["instances"]
    }


def test_ipv6_addresses_are_served_and_handed_over(pair: Lab) -> None:
    """A range of IPv6 addresses: one holder each, /128 and deprecated, a fast planned handover."""
    addresses = [f"fd00::{number:x}" for number in range(0xA0, 0xA3)]
    pair.start_everywhere(variables("fd00::A0-A2"))
    found = pair.wait_for_each(addresses, timeout=ELECTION)
    holder = pair.node(found[addresses[0]])
    assert f"{addresses[0]}/128" in holder.addresses()
    assert pair.client.ask(addresses[0]) == holder.name
    asked = pair.hand_over(holder, *addresses)
    assert pair.recorder.seconds_with_two(*addresses, since=asked) == 0
    assert holder.virtual_addresses() == []


def test_mixed_families_in_groups_are_all_served(pair: Lab) -> None:
    """Groups of both families: the other family gets instances of its own, after the last one."""
    v4, v6 = pair.numbered(2), [pair.virtual6(1), pair.virtual6(2)]
    addresses = [v4[0], v6[0], v4[1], v6[1]]
    pair.start_everywhere(variables(*addresses, VIP_GROUPS="2"))
    found = pair.wait_for_each(addresses, timeout=ELECTION)
    assert ids(pair.nodes[0]) == {"11": [v4[0]], "12": [v4[1]], "13": [v6[0]], "14": [v6[1]]}
    for address in addresses:
        assert pair.client.ask(address) == found[address]
    stays(2.5)  # two adverts
    assert pair.wait_for_each(addresses, timeout=1) == found


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_unicast_with_the_nodes_own_address_in_the_list(lab: Lab, family: str) -> None:
    """The same list on every node, multicast unused: one holder, and it hands over."""
    is_four = family == "IPv4"
    address = lab.virtual(1) if is_four else lab.virtual6(1)
    peers = [node.ip if is_four else node.ipv6 for node in lab.nodes]
    holder = lab.serve(address, UNICAST_PEERS=",".join(peers))
    for node, own in zip(lab.nodes, peers, strict=True):
        listed = node.read(CONFIG).partition("unicast_peer {")[2].partition("}")[0].split()
        assert listed == [each for each in peers if each != own]
    stays(2.5)  # two adverts
    assert lab.recorder.holders(address) == [holder.name]
    assert lab.client.ask(address) == holder.name
    lab.hand_over(holder, address)


def test_mixed_families_over_unicast_have_peers_of_their_own_family(pair: Lab) -> None:
    """One list with both families, blanks and commas: every address has one holder."""
    first, second = pair.nodes
    peers = f"{first.ip},{first.ipv6} {second.ip}, {second.ipv6}"
    addresses = [pair.virtual(1), pair.virtual6(1), pair.virtual(2), pair.virtual6(2)]
    pair.serve(*addresses, UNICAST_PEERS=peers, PREEMPTION="preempt")
    stays(2.5)  # two adverts
    found = pair.wait_for_each(addresses, timeout=1)
    assert sorted(found.values()) == ["n1", "n1", "n2", "n2"]


def test_excluded_ids_are_skipped(lone: Lab) -> None:
    """Offset 0 without 2, 3 and 5: five addresses have the ids 1, 4, 6, 7 and 8."""
    addresses = lone.numbered(5)
    environment = variables(*addresses, VRRP_ID_OFFSET="0") | {"HA_EXCLUDED_VRRP_IDS": "2 3 5"}
    lone.start_everywhere(environment)
    lone.wait_for_each(addresses, timeout=ELECTION)
    assert list(ids(lone.nodes[0])) == ["1", "4", "6", "7", "8"]


def test_255_addresses_in_238_groups_at_offset_0(lone: Lab, node: Node) -> None:
    """An acceptance case of the image that this replaces: all are MASTER, a stop leaves none."""
    addresses = [f"192.168.254.{octet}" for octet in range(1, 256)]
    started = time.monotonic()
    node.start(variables("192.168.254.1-255", VIP_GROUPS="238", VRRP_ID_OFFSET="0"))
    lone.wait_for_each(addresses, timeout=2 * ELECTION)
    print(f"255 addresses in 238 groups: all held after {time.monotonic() - started:.1f} s")
    names = [f"{NAME}_VIP_{number}" for number in range(1, 239)]
    wait_until(lambda: node.states() == dict.fromkeys(names, "MASTER"), 3, "238 MASTERs")
    found = ids(node)
    assert list(found) == [str(number) for number in range(1, 239)]
    assert [len(each) for each in found.values()] == [2] * 17 + [1] * 221
    asked = time.monotonic()
    node.stop()
    print(f"255 addresses in 238 groups: stopped after {time.monotonic() - asked:.1f} s")
    assert node.virtual_addresses() == []
    lone.wait_for_none(addresses, on=node, timeout=1)


def test_254_addresses_one_by_one_move_together(make_lab: MakeLab) -> None:
    """Two nodes share them; one is stopped and the other holds all 254, none twice."""
    lab = make_lab(2, ipv6=False)
    addresses = [f"198.51.100.{octet}" for octet in range(1, 255)]
    started = time.monotonic()
    environment = variables("198.51.100.1-254", VRRP_ID_OFFSET="0", PREEMPTION="preempt")
    lab.start_everywhere(environment)
    lab.wait_for_each(addresses, timeout=2 * ELECTION)
    print(f"254 addresses on two nodes: one holder each after {time.monotonic() - started:.1f} s")

    def shares() -> list[int]:
        found = [lab.recorder.holders(each) for each in addresses]
        return [found.count([node.name]) for node in lab.nodes]

    def is_settled() -> bool:
        """Tell whether the node that started last has taken its share, two adverts ago."""
        since = time.monotonic() - 2.5
        is_shared = sum(shares()) == 254 and min(shares()) > 254 / 4
        return is_shared and not any(lab.recorder.changes(each, since) for each in addresses)

    wait_until(is_settled, 2 * ELECTION, "each of the two has a share of them")
    print(f"254 addresses on two nodes: {shares()}")
    first, second = lab.nodes
    asked = time.monotonic()
    first.terminate()
    lab.wait_for_each(addresses, timeout=5 * PLANNED, among=[second])
    taken = time.monotonic() - asked
    assert first.wait() == 0
    none = lab.recorder.seconds_with_none(*addresses, since=asked)
    two = lab.recorder.seconds_with_two(*addresses, since=asked)
    print(f"254 addresses, planned stop: {taken:.1f} s; at worst {none:.2f} s none, {two:.2f} two")
    assert two == 0
    assert first.virtual_addresses() == []
    assert lab.recorder.resyncs == 0


def test_serve_needs_no_interface_name(make_lab: MakeLab) -> None:
    """Nothing but the addresses is set: the interface of the default route, port 80, defaults."""
    lab = make_lab(2, port=80)
    address = lab.virtual(1)
    lab.start_everywhere({"OPENSHIFT_HA_VIRTUAL_IPS": address})
    holder = lab.wait_for_holder(address, timeout=ELECTION)
    holder.wait_for_line("(OpenShift_IPFailover_VIP_1) Entering MASTER STATE")


def test_a_label_marks_ipv4_addresses(lone: Lab) -> None:
    """``eth0:vip`` by default; set to another word, that one."""
    node = lone.serve(lone.virtual(1), ADDRESS_LABEL="ours")
    assert "eth0:ours" in node.run(["ip", "address", "show", "dev", "eth0"]).stdout
