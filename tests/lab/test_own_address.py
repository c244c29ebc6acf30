"""Which of its addresses names a node: the same whatever else comes and goes beside it."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from ipfailover_agent.linux import rtnetlink
from ipfailover_agent.model import InterfaceAddress
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, UNPLANNED, stays, variables


def planned(node: Node) -> dict[str, Any]:
    """Return what ``check`` says that is made of the node's address."""
    found = json.loads(node.ask("check", "--json").stdout)
    instances = [(each["priority"], each.get("unicast_source")) for each in found["instances"]]
    return {"own": found["node_addresses"], "instances": instances}


def renumber(node: Node) -> None:
    """Give a node a newer prefix, a privacy address and one that expires, as routers do."""
    node.network.set_sysctls({"ipv6/conf/eth0/use_tempaddr": "2"})
    node.network.ip(
        [
            "address add fd00:1::77/64 dev eth0 nodad",
            "address add fd00:2::78/64 dev eth0 nodad mngtmpaddr",
            "address add fd00:3::79/64 dev eth0 nodad preferred_lft 0 valid_lft 9000",
        ]
    )


def test_newer_addresses_move_nothing(pair: Lab) -> None:
    """Priorities, the check's target and the source are those of before, after a restart too."""
    holder, other = pair.nodes
    virtual = pair.virtual6(1)
    peers = f"{holder.ipv6},{other.ipv6}"
    for node in pair.nodes:  # without IPv4, so that the IPv6 address names the node
        node.network.ip([f"address del {node.own.ipv4} dev eth0"])
    for more in ({}, {"UNICAST_PEERS": peers}):
        pair.serve(virtual, pair.virtual6(2), PREEMPTION="preempt", **more)
        pair.wait_for_each([virtual, pair.virtual6(2)], timeout=ELECTION)
        before = planned(holder)
        assert [holder.ipv6] == before["own"]
        began = time.monotonic()
        renumber(holder)
        assert planned(holder) == before
        assert "unchanged" in holder.reload()
        assert pair.recorder.changes(virtual, since=began) == ()
        holder.stop()
        assert pair.recorder.seconds_with_two(virtual, since=began) == 0
        holder.start()
        holder.wait_for_status("phase", "running")
        assert planned(holder) == before
        for node in (other, holder):
            node.stop()
        holder.network.ip([f"address flush dev eth0 to fd00:{each}::/64" for each in (1, 2, 3)])


def test_the_address_in_use_stays_until_it_expires(lone: Lab, node: Node) -> None:
    """The oldest goes for a while and comes back; ``check`` and ``doctor`` say what runs."""
    own, second = f"{node.ipv6}/64", "fd00::22"
    node.network.ip([f"address del {node.own.ipv4} dev eth0"])
    node.start({**variables(lone.virtual6(1)), "IPFAILOVER_WATCH": "false"})
    lone.wait_for_holder(lone.virtual6(1), timeout=ELECTION)
    node.network.ip([f"address add {second}/64 dev eth0 nodad", f"address del {own} dev eth0"])
    assert "accepted" in node.reload()
    node.network.ip([f"address add {own} dev eth0 nodad"])
    assert [second] == planned(node)["own"]
    assert "unchanged" in node.reload()
    node.network.ip([f"address change {second}/64 dev eth0 preferred_lft 0"])
    assert [node.ipv6] == planned(node)["own"]
    assert "accepted" in node.reload()
    assert lone.recorder.holders(lone.virtual6(1)) == [node.name]


def blink(node: Node) -> None:
    """Take a node's own addresses away and give them back, in one call, as networkd 252 does."""
    shown = json.loads(node.run(["ip", "-json", "link", "show", "eth0"]).stdout)
    index, requests = int(shown[0]["ifindex"]), []
    for own in (node.own.ipv4, node.own.ipv6):
        assert own is not None
        held = rtnetlink.HeldAddress(
            index=index,
            address=InterfaceAddress(address=own.ip, prefix_length=own.network.prefixlen),
            peer=own.ip,
            flags=0x02,  # IFA_F_NODAD
        )
        payload = rtnetlink.build_lease(held, rtnetlink.FOR_EVER)
        requests.append((rtnetlink.DELETE_ADDRESS, 0, payload))
        requests.append((rtnetlink.NEW_ADDRESS, rtnetlink.CREATE, payload))
    datagram = b"".join(
        rtnetlink.build_message(kind, rtnetlink.REQUEST | flags, number, payload)
        for number, (kind, flags, payload) in enumerate(requests, start=1)
    )
    with node.network.open_socket(socket.AF_NETLINK, socket.SOCK_RAW) as rtnl:
        rtnl.send(datagram)


def test_an_own_address_that_is_away_for_a_moment_costs_a_handover_unless_it_is_the_named_source(
    pair: Lab,
) -> None:
    """As networkd 252 reconfigures an interface; unicast names its IPv6 source by itself."""
    holder, other = pair.nodes
    addresses = [pair.virtual(1), pair.virtual6(1)]
    for variable, more in (("MULTICAST", {}), ("UNICAST", pair.peers())):
        for is_named in (True, False):
            for number, node in enumerate(pair.nodes):
                ranked = {"PRIORITY": str(250 - 40 * number), **more}
                if is_named:
                    ranked[f"{variable}_SOURCE_IPADDRESS"] = node.ip
                node.start(variables(*addresses, PREEMPTION="nopreempt", **ranked))
                node.wait_for_line("Entering BACKUP STATE")
                if number == 0:
                    pair.wait_for_each(addresses, timeout=ELECTION, among=[holder])
            for node in pair.nodes:
                node.wait_for_status("ready", value=True)
            began = time.monotonic()
            blink(other)  # which goes on hearing the master
            blink(holder)
            if is_named:
                stays(UNPLANNED)
                assert [(), ()] == [pair.recorder.changes(each, since=began) for each in addresses]
            else:
                pair.wait_for_each(addresses[:1], timeout=PLANNED, among=[other])
                assert () == pair.recorder.changes(addresses[1], since=began)
                assert pair.longest_gap(addresses[0], began) <= PLANNED
            for each in addresses:
                assert pair.recorder.seconds_with_two(each, since=began) == 0
            pair.stop_everywhere()


def only_link_local(node: Node, *more: str) -> None:
    """Leave a node nothing but link-local addresses; ``more`` are added."""
    node.network.ip(
        [
            f"address del {node.own.ipv4} dev eth0",
            f"address del {node.own.ipv6} dev eth0",
            *(f"address add {each} dev eth0" for each in more),
        ]
    )


@pytest.mark.slow
def test_nodes_with_link_local_addresses_only_serve(pair: Lab) -> None:
    """A cross-link: an IPv6 one as it is, an IPv4 one, and with peers."""
    one, two = pair.nodes
    for node in pair.nodes:
        only_link_local(node)
    virtual6 = pair.virtual6(1)
    listed = "169.254.10.11,169.254.10.12"
    rounds = [
        ([virtual6], {}),
        (["169.254.10.100", "10.9.9.100", virtual6], {}),
        (["169.254.10.100", "10.9.9.100"], {"UNICAST_PEERS": listed}),
    ]
    for number, (addresses, more) in enumerate(rounds):
        if number == 1:
            for last, node in enumerate(pair.nodes, start=11):
                node.network.ip([f"address add 169.254.10.{last}/24 dev eth0 scope link"])
        pair.serve(*addresses, **more)
        found = pair.wait_for_each(addresses, timeout=ELECTION)
        for node in pair.nodes:
            node.wait_for_status("ready", value=True)
        assert one.ask("check").returncode == 0
        assert not [line for line in one.ask("doctor").stdout.splitlines() if "FAIL" in line]
        dying = pair.node(found[addresses[0]])
        dying.kill()
        (left,) = pair.others(dying)
        pair.wait_for_each(addresses, timeout=UNPLANNED, among=[left])
        left.stop()
    one.start(variables("10.9.9.100", UNICAST_PEERS=f"{one.ip},{two.ip}"))
    found = one.wait_for_status("phase", "waiting")
    assert "a link-local one serves only" in "".join(found["reasons"])
