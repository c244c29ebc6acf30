"""One host on the wire, or one signal at a bad moment, against the bounds that are promised."""

from __future__ import annotations

import os
import time
from collections import deque
from ipaddress import IPv4Address
from signal import SIGHUP

import pytest

from tests.lab.kit import speakers
from tests.lab.kit.lab import MakeLab
from tests.lab.kit.scenarios import ELECTION, ConfigMap, stays, variables
from tests.support import frames
from tests.support.waiting import wait_until

STRANGER = IPv4Address("192.0.2.66")
GROUP = IPv4Address("224.0.0.18")
#: Two holders, at the default lease, when keepalived hangs (docs/how-it-works.md).
TWO = 2.0


def forged(address: str, *, mac: bytes, router_id: int, priority: int) -> bytes:
    """Return a stranger's advert for that address."""
    claimed = [IPv4Address(address)]
    message = frames.vrrp(STRANGER, GROUP, claimed, router_id=router_id, priority=priority)
    frame = frames.packet(message, STRANGER, GROUP)
    return frame[:6] + mac + frame[12:]


@pytest.mark.timing
def test_a_flood_of_forged_senders_costs_no_lease(make_lab: MakeLab) -> None:
    """They use another id, so that only the agent looks at them; each is a new rival."""
    lab = make_lab(2, ipv6=False)
    holder, stranger = lab.nodes
    address = lab.virtual(1)
    holder.start(variables(address))
    lab.wait_for_holder(address, timeout=ELECTION)
    since = time.monotonic()

    def rival() -> bytes:
        return forged(address, mac=b"\x02\xaa" + os.urandom(4), router_id=99, priority=1)

    with speakers.sending(stranger, [(1 / 5000, rival)]):
        stays(10)
        # What is too much depends on the processor: a quick one looks at all of them at times.
        wait_until(lambda: holder.events("wire.flooded"), 30, "it is flooded")
    assert 0 == lab.recorder.seconds_with_none(address, since=since)
    assert [] == holder.events("lease.late") + holder.events("lease.lapsed")


def test_nobody_yields_to_a_host_behind_a_router(make_lab: MakeLab) -> None:
    """Two packets a second, to both nodes' own addresses, with no password."""
    lab = make_lab(3, ipv6=False)
    *nodes, router = lab.nodes
    address = lab.virtual(1)
    for node in nodes:
        node.start(variables(address))
    lab.wait_for_holder(address, timeout=ELECTION)
    far = IPv4Address("198.51.100.7")
    sent: deque[bytes] = deque()
    for node in nodes:
        own = node.own.ipv4.ip
        message = frames.vrrp(far, own, [IPv4Address(address)], router_id=11, priority=255)
        frame = frames.packet(message, far, own, ttl=60)
        sent.append(bytes.fromhex(node.own.mac.replace(":", "")) + frame[6:])
    since = time.monotonic()

    def take_turns() -> bytes:
        sent.rotate()
        return sent[0]

    with speakers.sending(router, [(0.25, take_turns)]):
        stays(8)
    assert 0 == lab.recorder.seconds_with_none(address, since=since)
    for node in nodes:
        assert [] == node.events("contest.held")
        assert "do not come from this segment" in "".join(node.events("rival.seen"))


@pytest.mark.parametrize("how", ["reload", "stop"])
def test_a_keepalived_that_hangs_before_a_signal_holds_no_address_for_long(
    make_lab: MakeLab, how: str
) -> None:
    """The reload is never confirmed, the stop takes five seconds; others take over meanwhile."""
    lab = make_lab(2, ipv6=False)
    address = lab.virtual(1)
    source = ConfigMap(lab.directory / "variables", variables(address))
    lab.start_everywhere(source.variable)
    holder = lab.wait_for_holder(address, timeout=ELECTION)
    since = time.monotonic()
    for pid in holder.pids("keepalived"):
        holder.freeze(pid)
    stays(0.5)
    if how == "reload":
        source.write(variables(address, lab.virtual(2)))
        holder.signal(SIGHUP)
    else:
        holder.terminate()
    lab.wait_for_holder(address, timeout=ELECTION, among=lab.others(holder))
    stays(1)
    assert lab.recorder.seconds_with_two(address, since=since) <= TWO
    assert len(lab.recorder.changes(address, since=since)) == 2  # it was taken over for good


def test_conflicts_that_are_to_be_resolved_from_now_on_are(make_lab: MakeLab) -> None:
    """Both have been MASTER since before the wire was watched."""
    lab = make_lab(2, ipv6=False)
    address = lab.virtual(1)
    source = ConfigMap(lab.directory / "variables", variables(address, CONFLICT="off"))
    for node in lab.nodes:
        node.firewall("in")
        node.start(source.variable)
    wait_until(lambda: len(lab.recorder.holders(address)) == 2, ELECTION, "both hold it")
    source.write(variables(address))
    for node in lab.nodes:
        node.signal(SIGHUP)
    lab.wait_for_holder(address, timeout=5)


def test_a_long_reload_is_no_reason_to_yield(make_lab: MakeLab) -> None:
    """keepalived hears no node while it reads a file with 240 instances: for a second or more."""
    lab = make_lab(2, ipv6=False)
    everything = [f"198.18.0.{number}" for number in range(1, 241)]
    source = ConfigMap(lab.directory / "variables", variables(*everything))
    lab.start_everywhere(source.variable)
    lab.wait_for_each(everything, timeout=4 * ELECTION)
    for interval in ("2", "1"):
        source.write(variables(*everything, CHECK_INTERVAL=interval))
        for node in lab.nodes:
            node.signal(SIGHUP)
        stays(8)
    for node in lab.nodes:
        assert [] == node.events("contest.held") + node.events("keepalived.hangs")
        assert 2 == len(node.events("reload.accepted"))
