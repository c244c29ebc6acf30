"""Why an address moved: does the agent say what really happened?"""

from __future__ import annotations

import json
import time

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, UNPLANNED, variables
from tests.support.waiting import wait_until


def moves(node: Node) -> list[tuple[str, str, str]]:
    """Return state, kind and sentence of every transition that is kept, oldest first."""
    lines = node.ask("events", "--json").stdout.splitlines()
    found = [json.loads(each) for each in lines]
    return [
        (each["state"], each["kind"], each["cause"])
        for each in found
        if each["event"] == "vrrp.transition"
    ]


def wait_for_move(node: Node, state: str, kind: str, *words: str) -> None:
    """Wait until a node's newest transition is into that state and of that kind."""

    def is_there() -> bool:
        newest = (moves(node) or [("", "", "")])[-1]
        return newest[:2] == (state, kind) and all(each in newest[2] for each in words)

    what = f"{node.name} is {state} because of {kind} {words}"
    try:
        wait_until(is_there, 3, what)
    except AssertionError as error:
        raise AssertionError(f"{error}; its transitions: {moves(node)}") from error


@pytest.mark.slow
def test_each_move_of_an_address_has_its_cause(pair: Lab) -> None:
    """A failed check, a higher rank that returns, a cut cable, a planned stop, a sudden death."""
    address = pair.virtual(1)
    first, second = pair.nodes
    pair.serve_ranked(address, PREEMPTION="preempt")
    wait_for_move(first, "MASTER", "silence")
    wait_for_move(second, "BACKUP", "started")

    first.application.stop()
    pair.wait_for_each([address], timeout=5, among=[second])
    wait_for_move(first, "FAULT", "check failed", "port 8080", "refused")
    wait_for_move(second, "MASTER", "handover", first.ip)
    assert first.status()["check"]["state"] == "failing"

    first.application.start()
    pair.wait_for_each([address], timeout=ELECTION, among=[first])
    wait_for_move(first, "MASTER", "preempted", second.ip)
    wait_for_move(second, "BACKUP", "outranked", f"higher priority 250 from {first.ip}")
    assert [each[:2] for each in moves(first)][-2] == ("BACKUP", "check passed")

    first.link_down()
    pair.wait_for_each([address], timeout=UNPLANNED, among=[second])
    wait_for_move(first, "FAULT", "interface down")
    wait_for_move(second, "MASTER", "silence", f"the last one of {first.ip}")
    first.link_up()
    pair.wait_for_each([address], timeout=ELECTION, among=[first])
    assert [each[:2] for each in moves(first)][-2] == ("BACKUP", "interface up")

    first.stop()
    pair.wait_for_each([address], timeout=PLANNED, among=[second])
    wait_for_move(second, "MASTER", "handover", f"priority-0 advert of {first.ip}")
    first.start()
    pair.wait_for_each([address], timeout=ELECTION, among=[first])
    first.kill()
    pair.wait_for_each([address], timeout=UNPLANNED, among=[second])
    wait_for_move(second, "MASTER", "silence", f"the last one of {first.ip}")


def test_a_reload_and_a_restart_are_causes_too(lone: Lab, node: Node) -> None:
    """An instance that a reload adds; a keepalived that was killed; counters and the lease."""
    first, added = lone.virtual(1), lone.virtual(2)
    source = node.directory / "variables"
    source.write_text(f"OPENSHIFT_HA_VIRTUAL_IPS={first}\n")
    node.start({**variables(first), "IPFAILOVER_CONFIG": str(source)})
    lone.wait_for_each([first], timeout=ELECTION)
    source.write_text(f"OPENSHIFT_HA_VIRTUAL_IPS={first},{added}\n")
    node.reload()
    lone.wait_for_each([first, added], timeout=ELECTION)
    node.wait_for_state("MASTER", timeout=2)
    assert ("BACKUP", "reloaded") in [each[:2] for each in moves(node)]
    found = node.status()
    assert found["lease"]["seconds"] == 3
    assert all(0 < each["lease_remaining"] <= 3 for each in found["instances"])
    assert found["counts"]["accepted"] == 1
    assert found["keepalived_version"]
    for pid in node.pids("keepalived")[1:]:
        node.run(["kill", "-KILL", str(pid)])
    wait_until(
        lambda: ("BACKUP", "restarted") in [each[:2] for each in moves(node)],
        5,
        "the restart of keepalived's child is the cause",
    )
    lone.wait_for_each([first, added], timeout=ELECTION)


INTERVAL = 1.0  # seconds between adverts
SKEW = 1.5  # seconds: 0.18 at priority 210, and half of the master-down time at most


@pytest.mark.parametrize("mode", ["multicast", "unicast"])
def test_an_own_address_that_goes_for_a_moment_costs_no_master_down_time(
    pair: Lab, mode: str
) -> None:
    """As network managers do it; keepalived's goodbye fails or goes to the router.

    The cause says which address it was, also where it is back before the agent looks.
    """
    four, six = pair.virtual(1), pair.virtual6(1)
    first = pair.serve_ranked(four, six, PREEMPTION="nopreempt", **pair.peers(mode))

    def costs_a_skew(address: str) -> None:
        """Wait until the address goes and is back, in less than the other node's skew."""
        wait_until(
            lambda: pair.recorder.seconds_with_none(address, since=began) > 0, 3, f"{address} goes"
        )
        pair.wait_for_each([address], timeout=ELECTION)
        assert pair.recorder.seconds_with_none(address, since=began) < SKEW

    began = time.monotonic()
    own = f"{first.ip}/24 dev eth0"
    first.run(["sh", "-c", f"ip address del {own}; ip address add {own}"])
    costs_a_skew(four)
    _, kind, cause = [each for each in moves(first) if each[0] == "FAULT"][-1]
    assert "interface down" == kind
    assert "IPv4 address" in cause

    began = time.monotonic()
    back = "".join(
        f"ip address add {each}/64 dev eth0 nodad;" for each in (first.link_local, first.ipv6)
    )
    first.run(["sh", "-c", f"ip -6 address flush dev eth0; sleep 0.3; {back}"])
    costs_a_skew(six)
    # Its goodbye may leave before its own address goes, and its advert as MASTER again fail after
    # that: then the other node takes over, and hears the next advert an interval later.
    assert pair.recorder.seconds_with_two(six) < INTERVAL + 0.2
    assert not [each for each in moves(first) if each[1] == "unknown"]
    if mode == "multicast":
        _, _, cause = [each for each in moves(first) if each[0] == "FAULT"][-1]
        assert "link-local address" in cause
        assert "instance=ipfailover_VIP_2" in first.events("goodbye.sent")[-1]
