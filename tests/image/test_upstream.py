"""The six end-to-end scenarios that the project of the old image tests a cluster with.

Its tests find out who is MASTER as its users do: by the last log line that says "Entering".
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from tests.image.conftest import StartPod
from tests.image.podman import SUITES, Pod
from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.scenarios import ELECTION, PLANNED, UNPLANNED, documented, variables
from tests.support.waiting import wait_until

_INSTANCE = "ipfailover_VIP_1"


def states(pods: Sequence[Pod]) -> list[str]:
    """Return what each pod entered last, sorted: BACKUP, MASTER, ..."""
    return sorted(each.entered(_INSTANCE) for each in pods)


def wait_for_one_master(pods: Sequence[Pod], timeout: float = ELECTION) -> Pod:
    """Return the only pod that says it is MASTER, once all others say BACKUP."""
    expected = [*["BACKUP"] * (len(pods) - 1), "MASTER"]
    wait_until(
        lambda: states(pods) == expected,
        timeout,
        f"one MASTER among {len(pods)} pods",
        interval=0.3,
    )
    return next(each for each in pods if each.entered(_INSTANCE) == "MASTER")


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_a_deployment_has_exactly_one_master(start: StartPod, make_nodes: MakeLab) -> None:
    """As its pods' logs tell, and as the nodes' interfaces tell."""
    lab = make_nodes(nodes=3)
    address = lab.virtual(1)
    pods = [start(each, variables(address)) for each in lab.nodes]
    master = wait_for_one_master(pods)
    assert master.node is not None
    assert [master.node.name] == lab.recorder.holders(address)
    assert master.node.name == lab.client.ask(address)


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_another_pod_takes_the_address_when_the_masters_is_deleted(
    start: StartPod, lab: Lab
) -> None:
    """Deleted as a cluster deletes it: SIGTERM first. A client hardly notices."""
    address = lab.virtual(1)
    pods = [start(each, variables(address)) for each in lab.nodes]
    master = wait_for_one_master(pods)
    with lab.client.watch(address) as watch:
        assert master.stop().exit_code == 0
        other = wait_for_one_master([each for each in pods if each is not master], PLANNED)
        assert other.node is not None
        name = other.node.name
        wait_until(lambda: watch.answering() == name, 2, f"{name} answers")
    assert watch.worst_outage() < PLANNED


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_all_variables_at_once_still_make_a_master(start: StartPod, lab: Lab) -> None:
    """USE_UNICAST without peers, scripts that are not there, empty values, all of them strings."""
    address = lab.virtual(1)
    environment = documented(
        f"{address}-{int(address.rpartition('.')[2]) + 1}",
        VIP_GROUPS="2",
        NETWORK_INTERFACE="eth0",
        MONITOR_PORT="30061",
        VRRP_ID_OFFSET="2",
        IPTABLES_CHAIN="OUTPUT",
        PREEMPTION="preempt_delay 600",
        CHECK_INTERVAL="3",
    )
    pods = [start(each, environment) for each in lab.nodes]
    wait_for_one_master(pods)
    lab.wait_for_holder(lab.virtual(1))
    lab.wait_for_holder(lab.virtual(2))


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_255_addresses_in_238_groups_are_served_at_offset_0(start: StartPod, lab: Lab) -> None:
    """All of a /24's range, on a network that is not the node's own: each held exactly once."""
    environment = variables(
        "192.168.254.1-255", VIP_GROUPS="238", VRRP_ID_OFFSET="0", NETWORK_INTERFACE="eth0"
    )
    addresses = [f"192.168.254.{number}" for number in range(1, 256)]
    pods = [start(each, environment) for each in lab.nodes]
    wait_until(
        lambda: all(len(lab.recorder.holders(each)) == 1 for each in addresses),
        30,
        "255 addresses with one holder each",
        interval=0.2,
    )
    shares = [
        sum(lab.recorder.holders(address) == [node.name] for address in addresses)
        for node in lab.nodes
    ]
    assert sum(shares) == 255
    ended = [each.stop() for each in pods]
    assert [0, 0] == [each.exit_code for each in ended]
    assert max(each.seconds for each in ended) < 15
    assert not any(lab.recorder.holders(each) for each in addresses)


def test_nopreempt_leaves_the_address_where_it_is(start: StartPod, lab: Lab) -> None:
    """The preferred node comes back and stays BACKUP."""
    address = lab.virtual(1)
    first, second = lab.nodes
    settings = variables(address, PREEMPTION="nopreempt")
    preferred = start(first, {**settings, "OPENSHIFT_HA_PRIORITY": "200"})
    start(second, {**settings, "OPENSHIFT_HA_PRIORITY": "100"})
    lab.wait_for_holder(address, among=[first], timeout=ELECTION)
    preferred.stop()
    lab.wait_for_holder(address, among=[second], timeout=PLANNED)
    back = start(first, {**settings, "OPENSHIFT_HA_PRIORITY": "200"})
    back.wait_for_log("Entering BACKUP STATE")
    came_back = time.monotonic()
    wait_until(lambda: time.monotonic() - came_back > 6, 8, "6 seconds pass")
    assert ["n2"] == lab.recorder.holders(address)
    assert lab.recorder.seconds_with_two(address) == 0


def test_preempt_delay_moves_the_address_back_after_the_delay_and_not_before(
    start: StartPod, lab: Lab
) -> None:
    """8 seconds, counted from the moment at which the returning node hears the other."""
    address, delay = lab.virtual(1), 8
    first, second = lab.nodes
    settings = variables(address, PREEMPTION=f"preempt_delay {delay}")
    preferred = start(first, {**settings, "OPENSHIFT_HA_PRIORITY": "200"})
    lab.wait_for_holder(address, among=[first], timeout=ELECTION)
    start(second, {**settings, "OPENSHIFT_HA_PRIORITY": "100"}).wait_for_log("Entering BACKUP")
    preferred.stop()
    lab.wait_for_holder(address, among=[second], timeout=PLANNED)
    begun = time.monotonic()
    start(first, {**settings, "OPENSHIFT_HA_PRIORITY": "200"})
    lab.wait_for_holder(address, among=[first], timeout=delay + UNPLANNED)
    assert delay <= time.monotonic() - begun


def test_excluded_ids_are_left_out(start: StartPod, lab: Lab) -> None:
    """Offset 0 without 2, 3 and 5: the ids on the wire are 1, 4 and 6."""
    addresses = [lab.virtual(number) for number in (1, 2, 3)]
    environment = variables(*addresses, VRRP_ID_OFFSET="0") | {"HA_EXCLUDED_VRRP_IDS": "2 3 5"}
    pod = start(lab.nodes[0], environment)
    for each in addresses:
        lab.wait_for_holder(each, timeout=ELECTION)
    config = pod.run("cat", "/etc/keepalived/keepalived.conf").stdout
    ids = [line.split()[1] for line in config.splitlines() if "virtual_router_id" in line]
    assert ["1", "4", "6"] == ids
