"""The MAC of an interface changes while the agent runs: a bond, a bridge, a cloned MAC."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from ipaddress import IPv4Address, IPv6Address
from typing import Self

import pytest

from ipfailover_agent.vrrp import bpf, packets
from tests.lab.kit.client import Watch
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, stays
from tests.support.waiting import wait_until

NEW_MAC = "02:00:00:00:00:77"
EVERY_PROTOCOL = 0x0003
#: What was promised is a second; the rest is for a machine that has other things to do.
ANNOUNCED = 2.5


class Ear:
    """Hears on the client who announces which address, in a thread, until it is left."""

    def __init__(self, lab: Lab) -> None:
        self._found: list[tuple[float, str, str]] = []
        self._is_ending = threading.Event()
        protocol = socket.htons(EVERY_PROTOCOL)
        self._socket = lab.client.network.open_socket(socket.AF_PACKET, socket.SOCK_RAW, protocol)
        self._socket.settimeout(0.2)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def macs(self, address: str, since: float) -> set[str]:
        """Return the MACs under which an address was announced after a time."""
        return {mac for at, told, mac in self._found if told == address and at >= since}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._is_ending.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._is_ending.is_set():
            with contextlib.suppress(TimeoutError):
                frame, sender = self._socket.recvfrom(bpf.SNAP_LENGTH)
                packet = packets.parse_frame(frame)
                if isinstance(packet, packets.Announcement) and sender[2] != 4:  # not this node's
                    mac = packet.announced_mac.hex(":")
                    self._found.append((time.monotonic(), str(packet.address), mac))


def announce(node: Node, address: str) -> None:
    """Have a host claim an address, once, by its own MAC."""
    mac = bytes.fromhex(node.own.mac.replace(":", ""))
    if ":" in address:
        frame = packets.unsolicited_advertisement(mac, IPv6Address(address))
    else:
        frame = packets.gratuitous_arp(mac, IPv4Address(address))
    with node.network.open_socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.sendto(frame, ("eth0", 0))


def wait_for_neighbour(lab: Lab, address: str, mac: str) -> None:
    wait_until(
        lambda: lab.client.neighbour(address) == mac,
        ELECTION,
        f"the client sends {address} to {mac}",
    )


def is_quiet(watches: list[Watch], since: float) -> bool:
    return not any(each.outages(0.1 + each.lateness, since) for each in watches)


@pytest.mark.parametrize("is_unicast", [False, True], ids=["multicast", "unicast"])
def test_a_holder_is_known_by_the_mac_that_it_has_now(pair: Lab, *, is_unicast: bool) -> None:
    """Clients learn it at once, and a foreign announcement is answered with it."""
    addresses = [pair.virtual(1), pair.virtual6(1)]
    more = pair.peers() if is_unicast else {}
    holder = pair.serve_ranked(*addresses, **more)
    other = pair.nodes[1]
    other.wait_for_state("BACKUP")
    with Ear(pair) as heard:
        watches = [pair.client.watch(each) for each in addresses]
        wait_until(lambda: all(each.answering() for each in watches), 5, "answers")
        changed = time.monotonic()
        holder.network.ip([f"link set eth0 address {NEW_MAC}"])
        for each in addresses:
            wait_for_neighbour(pair, each, NEW_MAC)
        stays(4)  # the other would be MASTER by then if it missed the adverts
        assert [each.worst_outage(since=changed) < ANNOUNCED for each in watches] == [True, True]
        settled = time.monotonic()
        for each in addresses:
            announce(other, each)
        wait_until(
            lambda: all(
                heard.macs(each, settled) == {NEW_MAC, other.own.mac} for each in addresses
            ),
            ELECTION,
            "the announcements are answered, and never under the old MAC",
        )
        for each in addresses:
            wait_for_neighbour(pair, each, NEW_MAC)
        stays(2)
        for each in addresses:
            assert heard.macs(each, settled) == {NEW_MAC, other.own.mac}
        answered = time.monotonic() - 1.5
        assert is_quiet(watches, answered)
        assert max(each.worst_outage(since=settled) for each in watches) < 1
    for each in addresses:
        assert pair.recorder.holders(each) == [holder.name]
        assert pair.recorder.seconds_with_two(each, since=changed) == 0
        assert pair.recorder.seconds_with_none(each, since=changed) == 0
    assert not holder.events("contest.held")


def test_a_backup_that_is_known_by_its_address_goes_on_hearing(pair: Lab) -> None:
    """Its peers send to the MAC that they know: without a word of it, it becomes MASTER too."""
    addresses = [pair.virtual(1), pair.virtual6(1)]
    holder, backup = pair.nodes
    pair.serve_ranked(*addresses, **pair.peers())
    backup.wait_for_state("BACKUP")
    changed = time.monotonic()
    backup.network.ip([f"link set eth0 address {NEW_MAC}"])
    stays(10)
    for each in addresses:
        assert pair.recorder.holders(each) == [holder.name]
        assert pair.recorder.seconds_with_two(each, since=changed) == 0
        assert pair.recorder.changes(each, since=changed) == ()
