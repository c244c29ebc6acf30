"""Interfaces that are deleted and made anew, and source addresses that come and go."""

from __future__ import annotations

import functools
import time
from typing import Any

import pytest

from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, ConfigMap, stays, variables
from tests.support.waiting import wait_until

BRIDGE = "br-ex"
#: At most 2 s from the address to a restart, the end of keepalived, a start, a busy machine.
NOTICED = 8.0
#: How often a holder's interface is made anew; 30 in a minute took as well.
INDEXES = 10


def make_bridge(node: Node, *, addresses: bool = True, index: str = "") -> None:
    """Put a bridge over the node's interface, as OVN-Kubernetes and os-net-config do.

    ``index``: the one that it is to have, else the kernel chooses the next one.
    """
    chosen = f"index {index} " if index else ""
    quick = "stp_state 0 forward_delay 0 mcast_snooping 0"
    node.network.ip(
        [
            f"link add {BRIDGE} {chosen}address {node.own.mac} type bridge {quick}",
            f"link set {node.interface} master {BRIDGE}",
            f"link set {BRIDGE} up",
        ]
    )
    if addresses:
        give_addresses(node)


def give_addresses(node: Node) -> None:
    """Give the bridge the node's addresses."""
    node.network.ip([f"address add {each} dev {BRIDGE} nodad" for each in own_addresses(node)])


def own_addresses(node: Node) -> list[str]:
    """Return the node's own addresses with their prefixes."""
    return [str(each) for each in (node.own.ipv4, node.own.ipv6) if each is not None]


def move_to_bridge(node: Node) -> None:
    """Move the node's addresses from its interface to a bridge over that."""
    node.network.ip([f"address del {each} dev {node.interface}" for each in own_addresses(node)])
    make_bridge(node)


def remake(node: Node, *, pause: float = 0.3, **more: Any) -> None:  # noqa: ANN401
    """Delete the bridge and make it again: under the same name, by default with another index."""
    node.network.ip([f"link del {BRIDGE}"])
    stays(pause)
    make_bridge(node, **more)


def serve_on_bridges(
    make_lab: MakeLab, *, unicast: bool, ipv6: bool = True, **more: str
) -> tuple[Lab, list[str]]:
    """Have two nodes serve an address of each family on a bridge; the first holds both."""
    lab = make_lab(2, ipv6=ipv6)
    for node in lab.nodes:
        move_to_bridge(node)
    addresses = [lab.virtual(1), lab.virtual6(1)][: 2 if ipv6 else 1]
    more |= lab.peers() if unicast else {}
    lab.serve_ranked(*addresses, NETWORK_INTERFACE=BRIDGE, PREEMPTION="preempt", **more)
    return lab, addresses


def restarts(node: Node) -> int:
    """Return how often the agent had keepalived started anew."""
    return len(node.events("keepalived.restarting"))


def is_ready(node: Node) -> bool:
    """Tell whether the node is ready and every instance serves or stands by."""
    found = node.status()
    states = {each["state"] for each in found.get("instances", ())}
    return bool(found.get("ready")) and states <= {"MASTER", "BACKUP"}


def wait_until_ready(lab: Lab) -> None:
    """Wait until every node is ready."""
    for node in lab.nodes:
        ready = functools.partial(is_ready, node)
        wait_until(ready, NOTICED + ELECTION, f"{node.name} is ready", interval=0.2)


@pytest.mark.slow
def test_a_node_moves_to_a_bridge_and_back(lone: Lab) -> None:
    """keepalived takes an interface that leaves a bridge for gone, also where it is not its own.

    It missed the link-local address then (2.2.7), and IPv6 stayed in FAULT for ever.
    """
    addresses = [lone.virtual(1), lone.virtual6(1)]
    node = lone.serve(*addresses, NETWORK_INTERFACE=f"{BRIDGE} eth0")
    move_to_bridge(node)
    wait_for_reloads(lone, 1)
    lone.wait_for_each(addresses, timeout=2 * ELECTION)
    node.network.ip([f"link del {BRIDGE}"])
    node.network.ip([f"address add {each} dev {node.interface}" for each in own_addresses(node)])
    wait_for_reloads(lone, 2)
    lone.wait_for_each(addresses, timeout=2 * ELECTION)
    wait_until_ready(lone)
    assert 1 == restarts(node)


def wait_for_reloads(lab: Lab, count: int) -> None:
    """Wait until the first node has reloaded so many times."""
    wait_until(
        lambda: count == len(lab.nodes[0].events("reload.accepted")),
        2 * ELECTION,
        f"reload {count}",
    )


@pytest.mark.slow
@pytest.mark.parametrize("unicast", [True, False], ids=["unicast", "multicast"])
def test_an_interface_that_is_made_anew_is_served_on_by_each_node_in_turn_and_both_at_once(
    make_lab: MakeLab, *, unicast: bool
) -> None:
    """Both families have one holder again each time, and each can lose the other node."""
    lab, addresses = serve_on_bridges(make_lab, unicast=unicast)
    first, second = lab.nodes
    for turn in ([first], [second], [first, second]):
        for node in turn:
            remake(node)
        lab.wait_for_each(addresses, timeout=NOTICED + ELECTION)
        wait_until_ready(lab)
    assert max(map(restarts, lab.nodes)) <= 2
    assert [node.events("restart.scheduled") for node in lab.nodes] == [[], []]
    lab.wait_for_each(addresses, timeout=ELECTION, among=[first])
    first.kill()
    lab.wait_for_each(addresses, timeout=ELECTION, among=[second])
    second.stop()


@pytest.mark.timing
def test_an_interface_that_keepalived_serves_on_again_by_itself_is_no_reason_for_a_restart(
    make_lab: MakeLab,
) -> None:
    """IPv4 by multicast, on a backup: it counts the holder's adverts again within a second."""
    lab, addresses = serve_on_bridges(make_lab, unicast=False, ipv6=False, MONITOR_PORT="0")
    first, second = lab.nodes
    remake(second)
    second.wait_for_state("BACKUP")
    stays(4)
    wait_until_ready(lab)
    assert [restarts(node) for node in lab.nodes] == [0, 0]
    assert [lab.recorder.holders(each) for each in addresses] == [[first.name]]


def test_a_backup_whose_interface_is_another_one_can_send_when_it_takes_over(
    make_lab: MakeLab,
) -> None:
    """keepalived 2.2.7 receives IPv6 adverts there, and sends its own to the former interface."""
    lab, addresses = serve_on_bridges(make_lab, unicast=False, MONITOR_PORT="0")
    first, second = lab.nodes
    remake(second)
    wait_until(lambda: restarts(second) == 1, NOTICED, "keepalived starts anew")
    wait_until_ready(lab)
    first.terminate()
    lab.wait_for_each(addresses, timeout=ELECTION, among=[second])
    stays(2)
    assert "send advert error" not in second.stdout().rpartition("Entering MASTER STATE")[2]


@pytest.mark.slow
def test_an_interface_that_is_made_anew_again_and_again_costs_no_failed_attempt(
    make_lab: MakeLab,
) -> None:
    """Ten times, every 2 s, on the holder: the other serves meanwhile, both are ready after it.

    Its address then comes 10 s after the link; what is awaited is said until then.
    """
    lab, addresses = serve_on_bridges(make_lab, unicast=True)
    first, second = lab.nodes
    began = time.monotonic()
    for _ in range(INDEXES):
        remake(first, pause=0)
        stays(2)
    settled = lab.wait_for_each(addresses, timeout=NOTICED + ELECTION)
    assert set(settled.values()) <= {"n1", "n2"}
    wait_until_ready(lab)
    none = [lab.recorder.seconds_with_none(each, since=began) for each in addresses]
    two = [lab.recorder.seconds_with_two(each, since=began) for each in addresses]
    print(f"{INDEXES} indexes: {restarts(first)} restarts, on none {none} s, on two {two} s")
    assert first.events("restart.scheduled") == []
    assert restarts(first) <= INDEXES + 1
    assert [restarts(second), first.is_running] == [0, True]
    assert max(two) < 1
    count = restarts(first)
    remake(first, addresses=False)
    said = wait_until(
        lambda: [each for each in first.status()["reasons"] if BRIDGE in each],
        NOTICED,
        "the node says what it waits for",
        interval=0.2,
    )
    stays(10)
    assert restarts(first) == count
    assert "is another interface now" in said[0]
    came = time.monotonic()
    give_addresses(first)
    wait_until(lambda: restarts(first) > count, NOTICED, "keepalived starts anew")
    print(f"restarted {time.monotonic() - came:.1f} s after the address")
    wait_until_ready(lab)
    lab.wait_for_each(addresses, timeout=ELECTION, among=[first])


def test_an_interface_that_was_renamed_and_replaced_keeps_no_address_of_ours(
    make_lab: MakeLab,
) -> None:
    """The old one is still there, under another name, with the virtual addresses: they go."""
    lab, addresses = serve_on_bridges(make_lab, unicast=False)
    first, second = lab.nodes
    began = time.monotonic()
    first.network.ip(
        [
            f"link set {first.interface} nomaster",
            f"link set {BRIDGE} down",
            f"link set {BRIDGE} name old0",
            "link set old0 up",
            f"address del {first.own.ipv4} dev old0",
        ]
    )
    for each in addresses:  # as a tool does that copies what it finds
        first.network.ip([f"address replace {each}/{128 if ':' in each else 32} dev old0"])
    make_bridge(first)

    def left() -> list[str]:
        shown = first.run(["ip", "address", "show", "dev", "old0"]).stdout
        return [each for each in addresses if f"{each}/" in shown]

    wait_until(lambda: left() == [], NOTICED, "old0 has none of them", interval=0.1)
    wait_until_ready(lab)
    lab.wait_for_each(addresses, timeout=NOTICED + ELECTION)
    assert left() == []
    two = [lab.recorder.seconds_with_two(each, since=began) for each in addresses]
    print(f"on two {two} s")
    assert second.is_running


def test_an_instance_that_neither_hears_nor_takes_over_is_said_to_be_deaf_and_mended(
    make_lab: MakeLab,
) -> None:
    """The interface comes back with the same index: nothing shows it but that it hears nothing.

    The MASTER beside it is left alone.
    """
    lab, addresses = serve_on_bridges(make_lab, unicast=True)
    first, second = lab.nodes
    index = second.run(["ip", "-oneline", "link", "show", "dev", BRIDGE]).stdout.split(":")[0]
    began = time.monotonic()
    remake(second, index=index, addresses=False)
    stays(0.5)
    give_addresses(second)
    said = wait_until(lambda: second.events("instance.deaf"), 30, "deafness is said", interval=0.2)
    print(f"deaf after {time.monotonic() - began:.1f} s: {said[0]}")
    assert BRIDGE in said[0]
    wait_until_ready(lab)
    assert [restarts(each) for each in lab.nodes] == [0, 1]
    assert [lab.recorder.changes(each, since=began) for each in addresses] == [(), ()]
    first.kill()
    lab.wait_for_each(addresses, timeout=ELECTION, among=[second])


#: The variable, the address that comes late on n1, and what it is deleted and added as.
SOURCES = {
    "unicast": ("UNICAST_SOURCE_IPADDRESS", "192.0.2.31/24"),
    "unicast IPv6": ("UNICAST_SOURCE_IPADDRESS", "fd00::31/64"),
    "multicast": ("MULTICAST_SOURCE_IPADDRESS", "192.0.2.31/24"),
    "multicast IPv6": ("MULTICAST_SOURCE_IPADDRESS", "fe80::31/64"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("variable", "late"), SOURCES.values(), ids=SOURCES)
def test_a_source_address_that_comes_late_and_goes_again_is_waited_for(
    pair: Lab, variable: str, late: str
) -> None:
    """Phase waiting, then it serves; without it FAULT with that cause; it serves again."""
    first, second = pair.nodes
    source = late.partition("/")[0]
    is_ipv6 = ":" in source
    address = pair.virtual6(1) if is_ipv6 else pair.virtual(1)
    own = second.ipv6 if is_ipv6 else second.ip
    common = {"PREEMPTION": "preempt", "MONITOR_PORT": "0"}
    both: list[dict[str, str]] = [{}, {}]
    if variable.startswith("UNICAST"):
        both = [{"UNICAST_PEERS": own}, {"UNICAST_PEERS": source}]
    second.start(variables(address, PRIORITY="210", **common, **both[1]))
    pair.wait_for_holder(address, timeout=ELECTION, among=[second])
    first.start({**variables(address, PRIORITY="250", **common, **both[0]), variable: source})
    found = first.wait_for_status("phase", "waiting")
    assert not found["ready"]
    assert f"{variable}: '{source}'" in "".join(found["reasons"])
    checked = first.ask("check")
    assert (checked.returncode, source in checked.stdout) == (78, True)
    change = f"{late} dev {first.interface}{' nodad' if is_ipv6 else ''}"
    first.network.ip([f"address add {change}"])
    pair.wait_for_holder(address, timeout=2 * ELECTION, among=[first])
    began = time.monotonic()
    first.network.ip([f"address del {late} dev {first.interface}"])
    pair.wait_for_holder(address, timeout=ELECTION, among=[second])
    first.wait_for_state("FAULT")
    found = first.status()
    cause = found["instances"][0]["transitions"][-1]["cause"]
    assert f"the source address {source} is no longer on this node" in cause
    assert (found["ready"], source in "".join(found["reasons"])) == (False, True)
    first.network.ip([f"address add {change}"])
    pair.wait_for_holder(address, timeout=2 * ELECTION, among=[first])
    assert restarts(first) == 1
    assert pair.recorder.seconds_with_two(address, since=began) < 1
    wait_until_ready(pair)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("holds", [False, True], ids=["stands by", "holds"])
def test_a_node_that_gets_another_address_hears_the_others_there(
    pair: Lab,
    version: int,
    holds: bool,  # noqa: FBT001
) -> None:
    """By unicast, where no variable names the source; the other node lists both addresses."""
    changed, other = pair.nodes if holds else pair.nodes[::-1]
    if version == 4:
        address, own, old, new = pair.virtual(1), other.ip, str(changed.own.ipv4), "192.0.2.41/24"
        changed.network.set_sysctls({"ipv4/conf/all/promote_secondaries": "1"})
    else:
        address, own = pair.virtual6(1), other.link_local
        old, new = f"{changed.link_local}/64", "fe80::41/64"
    listed = ",".join(each.partition("/")[0] for each in (old, new))
    common = {"PREEMPTION": "preempt", "MONITOR_PORT": "0"}  # a check would ask the old address
    for node, priority in zip(pair.nodes, ("250", "210"), strict=True):
        peers = own if node is changed else listed
        node.start(variables(address, PRIORITY=priority, UNICAST_PEERS=peers, **common))
    pair.wait_for_holder(address, timeout=ELECTION, among=pair.nodes[:1])
    began = time.monotonic()
    nodad = " nodad" if version == 6 else ""
    changed.network.ip([f"address add {new} dev {changed.interface}{nodad}"])
    changed.network.ip([f"address del {old} dev {changed.interface}"])
    wait_until(lambda: restarts(changed) == 1, NOTICED, "keepalived is started anew")
    stays(2 * NOTICED)
    pair.wait_for_holder(address, timeout=ELECTION, among=pair.nodes[:1])
    print(changed.events("keepalived.restarting"), pair.recorder.changes(address, since=began))
    assert [restarts(each) for each in (changed, other)] == [1, 0]
    assert pair.recorder.seconds_with_two(address, since=began) < 0.1
    assert (pair.recorder.changes(address, since=began) == ()) is not holds
    wait_until_ready(pair)


def test_a_reload_without_a_signal_leaves_keepalived_where_it_listens(pair: Lab) -> None:
    """The new address comes, a script changes, and only then the former address goes."""
    address, (other, changed) = pair.virtual(1), pair.nodes
    changed.network.set_sysctls({"ipv4/conf/all/promote_secondaries": "1"})
    common = {"PREEMPTION": "preempt", "MONITOR_PORT": "0"}
    peers = f"{changed.ip},192.0.2.41"
    other.start(variables(address, PRIORITY="250", UNICAST_PEERS=peers, **common))
    pair.wait_for_holder(address, timeout=ELECTION, among=[other])
    common |= {"PRIORITY": "210", "UNICAST_PEERS": other.ip}
    checks = [{"CHECK_SCRIPT": f"/bin/true {each}"} for each in range(2)]
    source = ConfigMap(pair.directory / "variables", variables(address, **common, **checks[0]))
    changed.start({**source.variable, "IPFAILOVER_WATCH": "false"})
    changed.wait_for_state("BACKUP")
    stays(1)
    changed.network.ip([f"address add 192.0.2.41/24 dev {changed.interface}"])
    source.write(variables(address, **common, **checks[1]))
    assert "accepted" in changed.reload()
    began = time.monotonic()
    changed.network.ip([f"address del {changed.own.ipv4} dev {changed.interface}"])
    wait_until(lambda: restarts(changed) == 1, NOTICED, "keepalived is started anew")
    stays(ELECTION / 2)
    assert pair.recorder.changes(address, since=began) == ()
    wait_until_ready(pair)


def test_a_source_address_that_another_node_advertises_from_is_said_to_be_its(pair: Lab) -> None:
    """One value for all nodes: it is waited for, and certain who has it."""
    first, second = pair.nodes
    address = pair.virtual(1)
    environment = {**variables(address), "MULTICAST_SOURCE_IPADDRESS": second.ip}
    pair.start_everywhere(environment)
    pair.wait_for_holder(address, timeout=ELECTION, among=[second])
    said = wait_until(
        lambda: [each for each in first.noted()["reasons"] if "another node has it" in each],
        ELECTION,
        "it is said who has the address",
    )
    assert second.own.mac in said[0]
    assert first.is_running


def test_an_interface_that_becomes_the_port_of_a_bridge_leaves_its_addresses_to_other_nodes(
    pair: Lab,
) -> None:
    """Its adverts would still leave, so that no node took over, and no client would reach it.

    Multicast and unicast, both families; where it is a port at the start it is not served on.
    """
    holder, other = pair.nodes
    addresses = [pair.virtual(1), pair.virtual6(1)]
    told = f"eth0 is a port of {BRIDGE}, which takes all that comes in there: no client reaches"
    more = {"PREEMPTION": "preempt", "NETWORK_INTERFACE": "eth0"}
    for peers in ({}, pair.peers()):
        pair.serve_ranked(*addresses, **more, **peers)
        wait_until_ready(pair)
        began = time.monotonic()
        make_bridge(holder, addresses=False)
        pair.wait_for_each(addresses, timeout=PLANNED, among=[other])
        found = holder.wait_for_status("ready", value=False)
        assert told in "".join(found["reasons"])
        assert any(told in line for line in holder.events("interface.taken"))
        for each in addresses:
            assert pair.longest_gap(each, began) <= PLANNED
            assert pair.recorder.seconds_with_two(each, since=began) == 0
        holder.network.ip([f"link del {BRIDGE}"])
        pair.wait_for_each(addresses, timeout=ELECTION, among=[holder])
        wait_until_ready(pair)
        pair.stop_everywhere()
    make_bridge(holder, addresses=False)
    holder.start(variables(*addresses, **more, **pair.peers()))
    found = holder.wait_for_status("phase", "waiting")
    assert told in "".join(found["reasons"])
    checked = holder.ask("check")
    assert (78, True) == (checked.returncode, f"{told}" in checked.stdout)
    assert f"name {BRIDGE}" in checked.stdout
    assert "fail" in holder.ask("doctor", "--seconds", "0.3").stdout
    holder.network.ip([f"link del {BRIDGE}"])
    pair.wait_for_each(addresses, timeout=ELECTION, among=[holder])


def lose_carrier(node: Node) -> None:
    """Boot a node before its switch: no carrier, and so no link-local address."""
    node.link_down()
    node.network.ip(
        [
            f"link set {node.interface} down",
            f"link set {node.interface} up",
            f"address replace {node.own.ipv6} dev {node.interface} nodad",
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("lacks", ["carrier", "link-local address"])
def test_a_node_that_starts_without_its_link_is_protected_once_it_has_it(
    pair: Lab, lacks: str
) -> None:
    """Contests follow the node: until then it is said for which instance they are off.

    With the link, a node that hears nothing of VRRP yields, and a drain hears who takes over.
    """
    first, second = pair.nodes
    addresses = [pair.virtual(1), pair.virtual6(1)]
    common = {"PREEMPTION": "nopreempt", "NETWORK_INTERFACE": first.interface}
    second.start(variables(*addresses, PRIORITY="250", **common))
    pair.wait_for_each(addresses, timeout=ELECTION, among=[second])
    address = f"{first.link_local}/64"
    if lacks == "carrier":
        lose_carrier(first)
    else:
        first.network.ip([f"address del {address} dev {first.interface}"])
    first.start(variables(*addresses, PRIORITY="210", **common))
    first.wait_for_status("phase", "running")
    protection = first.protection("conflict")
    assert protection["active"] is False
    assert "VIP_2" in str(protection["reason"])
    began = time.monotonic()
    if lacks == "carrier":
        first.link_up()
    else:
        first.network.ip([f"address add {address} dev {first.interface} nodad"])
    first.wait_for_state("BACKUP")
    wait_until(
        lambda: first.protection("conflict")["active"],
        NOTICED,
        "the protection is active for every instance",
        interval=0.2,
    )
    first.firewall("in")
    wait_until(
        lambda: len(pair.recorder.holders(addresses[1])) > 1 or first.events("contest.held"),
        ELECTION,
        "a second holder, or one that is kept from it",
    )
    pair.wait_for_each(addresses, timeout=5)
    two = pair.recorder.seconds_with_two(addresses[1], since=began)
    print(f"no {lacks} at the start: IPv6 on two for {two:.2f} s once VRRP is blocked")
    first.firewall_off()
    second.stop()
    pair.wait_for_each(addresses, timeout=3 * ELECTION, among=[first])
    second.start()
    second.wait_for_state("BACKUP")
    done = first.ask("drain")
    assert (done.returncode, second.ip in done.stdout) == (0, True), done.stdout
    pair.wait_for_each(addresses, timeout=ELECTION, among=[second])


@pytest.mark.slow
def test_holds_and_drains_stay_when_keepalived_is_started_anew(make_lab: MakeLab) -> None:
    """A drained node stays drained; one that hears nothing of VRRP is never a second holder."""
    lab, addresses = serve_on_bridges(make_lab, unicast=False)
    first, second = lab.nodes
    assert first.ask("drain").returncode == 0
    lab.wait_for_each(addresses, timeout=ELECTION, among=[second])
    began = time.monotonic()
    remake(first)
    wait_until(lambda: restarts(first) == 1, NOTICED, "keepalived starts anew")
    first.wait_for_state("FAULT")
    assert all(each["drained"] for each in first.status()["instances"])
    assert [lab.recorder.changes(each, since=began) for each in addresses] == [(), ()]
    first.ask("undrain")
    lab.wait_for_each(addresses, timeout=2 * ELECTION, among=[first])
    second.firewall("in")
    wait_until(
        lambda: len(second.events("contest.held")) >= 2, 2 * ELECTION, "both instances are held"
    )
    second.wait_for_state("FAULT")
    lab.wait_for_each(addresses, timeout=ELECTION)
    held = len(second.events("contest.held"))
    began = time.monotonic()
    remake(second)
    wait_until(lambda: restarts(second) == 1, NOTICED, "keepalived starts anew")
    second.wait_for_state("FAULT")
    stays(5)
    assert [lab.recorder.seconds_with_two(each, since=began) for each in addresses] == [0, 0]
    print(f"holds before and after: {held}, {len(second.events('contest.held'))}")
