"""Addresses on a lease: what the kernels of real nodes do when their agent cannot."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterable
from pathlib import Path
from signal import SIGHUP

import pytest

from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.node import Node
from tests.lab.kit.renewals import Renewals
from tests.lab.kit.scenarios import ELECTION, ConfigMap, in_front_of, stays, variables
from tests.support.waiting import wait_until

FOR_EVER = 0xFFFFFFFF
#: The kernel counts whole seconds and its timer is a lazy one; then other tests run beside.
MARGIN = 0.5


def lifetimes(node: Node, addresses: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return the valid and preferred seconds that ``ip`` shows for each of the addresses."""
    wanted = set(addresses)
    (link,) = json.loads(node.run(["ip", "-json", "address", "show", "dev", "eth0"]).stdout)
    return {
        each["local"]: (each["valid_life_time"], each["preferred_life_time"])
        for each in link["addr_info"]
        if each["local"] in wanted
    }


def wait_for_lease(node: Node, addresses: list[str], seconds: int) -> None:
    """Wait until every address has at most so many seconds left, and more than half of them."""
    wait_until(
        lambda: (
            [seconds / 2 < valid <= seconds for valid, _ in lifetimes(node, addresses).values()]
            == [True] * len(addresses)
        ),
        3,
        f"{len(addresses)} addresses have a lease of {seconds} s",
    )


@pytest.mark.parametrize("lease", [1, 3, 7])
@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_the_kernel_removes_what_nobody_renews_any_more(lone: Lab, fault: str, lease: int) -> None:
    """N to N + 1 s after the last renewal, both families, and no other node is needed."""
    addresses = [lone.virtual(1), lone.virtual(2), lone.virtual6(1)]
    node = lone.serve(*addresses, ADDRESS_LEASE=str(lease), VIP_GROUPS="2")
    with Renewals(node.network) as renewals:
        stays(1.5 * lease)
        held = lone.recorder.changes(addresses[0])
        assert [each.held for each in held] == [True], "renewed all along"
        node.kill() if fault == "killed" else node.freeze()
        lone.wait_for_none(addresses, on=node, timeout=lease + 1 + MARGIN)
        for address in addresses:
            last = renewals.latest(address)
            assert last is not None
            assert last.held.valid_seconds == lease
            gone = lone.recorder.changes(address)[-1].time
            print(f"{fault}, lease {lease}: {address} gone after {gone - last.time:.2f} s")
            early = 0.1 + lone.recorder.lateness  # the listener hears of a renewal as late
            assert lease - early <= gone - last.time <= lease + 1 + MARGIN


def test_a_renewal_leaves_label_and_preferred_lifetime_alone(lone: Lab) -> None:
    """``eth0:vip`` for IPv4; IPv6 stays deprecated, so that the node never speaks with it."""
    addresses = [lone.virtual(1), lone.virtual6(1)]
    node = lone.serve(*addresses)
    with Renewals(node.network) as renewals:
        moment = time.monotonic()
        for address in addresses:
            found = wait_until(functools.partial(renewals.since, address, moment), 3, "a renewal")
            is_ipv4 = address == addresses[0]
            assert found.held.address.label == ("eth0:vip" if is_ipv4 else "")
            assert found.held.address.is_deprecated is not is_ipv4
    assert lifetimes(node, addresses)[addresses[1]][1] == 0


def test_a_reload_changes_the_lease_at_once(lone: Lab, node: Node, tmp_path: Path) -> None:
    """3 s, off, 5 s, off again: the addresses are never away, and off means for ever."""
    addresses = [lone.virtual(1), lone.virtual6(1)]
    values = variables(*addresses)
    mounted = ConfigMap(tmp_path / "config", values)
    node.start(mounted.variable)
    lone.wait_for_each(addresses, timeout=ELECTION)
    wait_for_lease(node, addresses, 3)
    for lease in (0, 5, 0):
        mounted.write({**values, "OPENSHIFT_HA_ADDRESS_LEASE": str(lease)})
        node.signal(SIGHUP)
        if lease:
            wait_for_lease(node, addresses, lease)
            continue
        wait_until(
            lambda: [valid for valid, _ in lifetimes(node, addresses).values()] == [FOR_EVER] * 2,
            3,
            "no address has a limit",
        )
        assert lifetimes(node, addresses)[addresses[1]][1] == 0
        stays(4.5)  # the former lease and a second
    assert lone.recorder.seconds_with_none(*addresses) == 0
    node.kill()
    stays(6)
    assert [lone.recorder.holders(each) for each in addresses] == [["n1"]] * 2
    assert node.events("lease.late") == node.events("lease.lapsed") == []


def test_254_addresses_live_on_a_lease_of_one_second(make_lab: MakeLab) -> None:
    """None is lost in ten seconds; killed, all are gone within two."""
    lab = make_lab(1, ipv6=False)
    (node,) = lab.nodes
    addresses = [f"198.51.100.{octet}" for octet in range(1, 255)]
    node.start(variables("198.51.100.1-254", VRRP_ID_OFFSET="0", ADDRESS_LEASE="1"))
    lab.wait_for_each(addresses, timeout=2 * ELECTION)
    stays(10)
    assert lab.recorder.seconds_with_none(*addresses) == 0
    assert node.events("lease.lapsed") == []
    with Renewals(node.network) as renewals:
        stays(2)
        node.kill()
        killed = time.monotonic()
        lab.wait_for_none(addresses, on=node, timeout=2 + MARGIN)
        print(f"254 addresses, lease 1: all gone {time.monotonic() - killed:.2f} s after SIGKILL")
        last = [each for each in map(renewals.latest, addresses) if each is not None]
    assert len(last) == 254
    assert max(each.time for each in last) <= killed + 0.1 + lab.recorder.lateness


@pytest.mark.parametrize("is_frozen_too_long", [False, True], ids=["late", "lapsed"])
def test_an_agent_that_stood_still_says_so_and_the_address_stays_with_its_node(
    pair: Lab, *, is_frozen_too_long: bool
) -> None:
    """Half a lease late warns. keepalived itself sets a lapsed address again, on this node."""
    lease = 4
    addresses = [pair.virtual(1), pair.virtual6(1)]
    holder = pair.serve_ranked(*addresses, ADDRESS_LEASE=str(lease))
    with Renewals(holder.network) as renewals:
        moment = time.monotonic()
        last = wait_until(lambda: renewals.since(addresses[0], moment), lease, "a renewal")
        stays(last.time + 0.3 * lease - time.monotonic())  # just before the next one
        holder.freeze(holder.container.agent_pid)
        frozen = time.monotonic()
        stays(1.8 * lease if is_frozen_too_long else 0.6 * lease)
        if is_frozen_too_long:
            assert [pair.recorder.holders(each) for each in addresses] == [["n1"]] * 2
        holder.thaw(holder.container.agent_pid)
        event = "lease.lapsed" if is_frozen_too_long else "lease.late"
        told = holder.wait_for_line(f"event={event} ", timeout=1)
        thawed = time.monotonic()
        assert f"lease={lease}" in told
        wait_until(
            lambda: all(renewals.since(each, thawed - 0.5) for each in addresses),
            lease / 2,
            "both are renewed again",
        )
    none = [pair.recorder.seconds_with_none(each, since=frozen) for each in addresses]
    print(f"agent frozen, {event}: no node held the addresses for {max(none):.2f} s")
    assert (max(none) > 0) is is_frozen_too_long
    assert max(none) <= 1
    assert len(holder.events(event)) == 1
    stays(lease)
    assert [pair.recorder.holders(each) for each in addresses] == [["n1"]] * 2
    assert pair.recorder.seconds_with_two(*addresses) == 0
    assert holder.events("lease.late" if is_frozen_too_long else "lease.lapsed") == []


def test_an_instance_that_lost_its_check_is_not_leased_any_more(pair: Lab) -> None:
    """Back and forth with a lease of one second: never two, and nothing returns by a renewal."""
    addresses = [pair.virtual(1), pair.virtual6(1)]
    here = pair.serve_ranked(*addresses, ADDRESS_LEASE="1", PREEMPTION="nopreempt")
    (there,) = pair.others(here)
    handovers = 4
    for _ in range(handovers):
        here.application.stop()
        pair.wait_for_each(addresses, timeout=ELECTION, among=[there])
        here.application.start()
        here.wait_for_state("BACKUP")
        here, there = there, here
    for address in addresses:
        assert pair.recorder.seconds_with_two(address) == 0
        # A loss and a gain for each hand-over: what a renewal brings back would be one more.
        assert len(pair.recorder.changes(address)) == 1 + 2 * handovers


_NOISY = """#!/bin/sh
case " $* " in
*" -t "* | *" --config-test"* | *" --signum"* | *" -v "* | *" --version "*) ;;
*) yes "noise, noise, noise" & ;;
esac
exec {program} "$@"
"""


def test_renewals_come_before_a_flood_of_other_work(lone: Lab, node: Node, tmp_path: Path) -> None:
    """keepalived's output never ends, reloads come one after the other: no renewal is late."""
    addresses = [lone.virtual(1), lone.virtual6(1)]
    noisy = in_front_of("keepalived", _NOISY, tmp_path)
    node.start(variables(*addresses, ADDRESS_LEASE="2"), prepare=noisy)
    lone.wait_for_each(addresses, timeout=ELECTION)
    with Renewals(node.network) as renewals:
        stays(1)
        worst, last = 0.0, renewals.latest(addresses[0])
        assert last is not None
        end = time.monotonic() + 8
        while time.monotonic() < end:
            node.signal(SIGHUP)
            again = wait_until(
                functools.partial(renewals.since, addresses[0], last.time), 3, "the next renewal"
            )
            worst, last = max(worst, again.time - last.time), again
    print(f"flooded, lease 2: at most {worst:.2f} s between two renewals")
    assert worst < 2 / 3 + MARGIN
    assert lone.recorder.seconds_with_none(*addresses) == 0
    assert node.events("lease.late") == node.events("lease.lapsed") == []
    assert node.stdout().count("noise") > 10_000
