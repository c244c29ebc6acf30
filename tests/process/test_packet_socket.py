"""The wire as it really is: keepalived's own packets, the kernel's filter, links that come and go.

Two namespaces, joined by a pair of interfaces: ``near0`` is this node's, ``far0`` the others'.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from ipfailover_agent.errors import NotPermittedError, SystemRefusedError
from ipfailover_agent.linux.rtnetlink import parse_link
from ipfailover_agent.vrrp import packets
from ipfailover_agent.vrrp.bpf import ADDRESSES_LIMIT, kernel_filter
from ipfailover_agent.vrrp.packet_socket import Frame, PacketSocket, host_macs, usable_addresses
from tests.support import frames
from tests.support.adverts import heard_advert
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.program import KEEPALIVED
from tests.support.rights import as_nobody
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

_CLOCKS_DIFFER = 0.02  # seconds: two are read, one after the other
_TIME = time.time

VIP = IPv4Address("10.9.0.50")
VIP6 = IPv6Address("fd00:9::50")
SIGNED = "authentication {{\nauth_type PASS\nauth_pass {}\n}}"
INSTANCES = {
    51: (SIGNED.format("OpenShif"), "10.9.0.50", "10.9.0.51", "10.9.0.52"),
    52: ("", "10.9.0.60"),
    53: (SIGNED.format("short") + "\nunicast_peer {\n10.9.0.1\n}", "10.9.0.70"),
    54: ("version 3\nadvert_int 0.25", "10.9.0.80", "10.9.0.81"),
    55: ("version 3", "fd00:9::50", "fd00:9::51"),
    56: ("version 3\nunicast_src_ip fd00:9::2\nunicast_peer {\nfd00:9::1\n}", "fd00:9::60"),
}
"""By virtual router id: what else an instance says, and its addresses."""
ADDRESSES = {number: addresses for number, (_, *addresses) in INSTANCES.items()}


def config() -> str:
    """Return a keepalived.conf of all instances; keepalived takes the last of two words."""
    text = "global_defs {\nmax_auto_priority -1\nvrrp_garp_master_delay 1\n}\n"
    for number, (rest, *addresses) in INSTANCES.items():
        held = "\n".join(f"{each}/{ip_address(each).max_prefixlen}" for each in addresses)
        text += (
            f"vrrp_instance i{number} {{\ninterface far0\nvirtual_router_id {number}\n"
            f"priority {50 + number}\nadvert_int 1\n{rest}\n"
            f"virtual_ipaddress {{\n{held}\n}}\n}}\n"
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Two hosts and the cable between them."""

    near: NetworkNamespace
    far: NetworkNamespace

    @property
    def far_mac(self) -> bytes:
        """Return the hardware address of ``far0``."""
        return mac_of(self.far, "far0")


def mac_of(namespace: NetworkNamespace, interface: str) -> bytes:
    words = namespace.ip("-oneline", "link", "show", interface).split()
    return bytes.fromhex(words[words.index("link/ether") + 1].replace(":", ""))


@contextlib.contextmanager
def fresh_segment() -> Iterator[Segment]:
    with fresh_namespace() as near, fresh_namespace() as far:
        for each in (near, far):
            names = (f"net.ipv6.conf.{name}.accept_dad=0" for name in ("all", "default"))
            each.run("sysctl", "-qw", *names)
        near.join("near0", "far0", far)
        for namespace, interface, host in ((near, "near0", 1), (far, "far0", 2)):
            namespace.ip("address", "add", f"10.9.0.{host}/24", "dev", interface)
            namespace.ip("address", "add", f"fd00:9::{host}/64", "dev", interface, "nodad")
        yield Segment(near=near, far=far)


@pytest.fixture
def segment() -> Iterator[Segment]:
    """Make two hosts and live in the near one."""
    with fresh_segment() as made, made.near.entered():
        yield made


@pytest.fixture
def wire(segment: Segment) -> Iterator[PacketSocket]:
    """Listen on the near host."""
    with segment.near.entered(), PacketSocket("near0", kernel_filter()) as opened:
        yield opened


@pytest.fixture
def remote(segment: Segment) -> Iterator[socket.socket]:
    """Return a socket that sends any frame from the far host, and hears everything there."""
    with segment.far.entered():
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        opened.bind(("far0", 3))
    with opened:
        opened.settimeout(5)
        yield opened


def receive_until(
    wire: PacketSocket, is_enough: Callable[[list[Frame]], object], timeout: float = 10
) -> list[Frame]:
    """Return everything that was seen until it is enough."""
    seen: list[Frame] = []
    deadline = time.monotonic() + timeout
    while not is_enough(seen):
        left = deadline - time.monotonic()
        assert left > 0, f"not within {timeout} s: {seen}"
        if select.select([wire], [], [], left)[0]:
            seen.extend(wire.receive(100))
    return seen


def advert_frame(*, router_id: int, source: bytes = frames.THEIR_MAC) -> bytes:
    """Return a version 2 advert of a foreign host."""
    here, group = IPv4Address("10.9.0.9"), IPv4Address("224.0.0.18")
    message = frames.vrrp(here, group, (VIP,), router_id=router_id)
    whole = frames.ipv4(message, here, group)
    return frames.ethernet(whole, frames.IPV4, source=source, destination=frames.VRRP_GROUP)


def lost(wire: PacketSocket) -> int:
    """Return how many frames that the filter let in found no room, since the last question."""
    with socket.socket(fileno=os.dup(wire.fileno())) as same:
        _, dropped = struct.unpack("=II", same.getsockopt(263, 6, 8))  # PACKET_STATISTICS
    return int(dropped)


def until_marked(wire: PacketSocket, remote: socket.socket) -> list[packets.Packet]:
    """Return what was seen up to now: a frame sent last says that all others have come."""
    remote.send(advert_frame(router_id=255))
    seen = receive_until(wire, lambda seen: seen and is_mark(seen[-1].packet))
    return [each.packet for each in seen[:-1]]


def is_mark(packet: packets.Packet) -> bool:
    return isinstance(packet, packets.Advert) and packet.virtual_router_id == 255


# --- what keepalived itself sends ---------------------------------------------------------------


@dataclass(slots=True)
class Recording:
    """What a keepalived sent from start to stop, as heard by the other host and by its own."""

    mac: bytes
    received: list[Frame] = field(default_factory=list)
    sent: list[Frame] = field(default_factory=list)

    def adverts(self, router_id: int) -> list[packets.Advert]:
        """Return the adverts of an instance that the other host heard."""
        found = (each.packet for each in self.received)
        return [
            each
            for each in found
            if isinstance(each, packets.Advert) and each.virtual_router_id == router_id
        ]

    def announced(self) -> set[packets.Announcement]:
        """Return the announcements that the other host heard."""
        found = (each.packet for each in self.received)
        return {each for each in found if isinstance(each, packets.Announcement)}


@contextlib.contextmanager
def keepalived(namespace: NetworkNamespace, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a keepalived of its own paths; whatever happens, it ends."""
    written = directory / "keepalived.conf"
    written.write_text(config(), encoding="ascii")
    written.chmod(0o600)
    pids = [
        word
        for name in ("pid", "vrrp_pid", "checkers_pid")
        for word in (f"--{name}", str(directory / name))
    ]
    with (directory / "log").open("wb") as log:
        running = subprocess.Popen(
            [
                *("ip", "netns", "exec", namespace.name),
                *(KEEPALIVED, "-n", "-l", "-P", "-f", str(written), *pids),
            ],
            env=os.environ | {"TMPDIR": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """Record a keepalived with six instances from its start to its stop."""
    directory = tmp_path_factory.mktemp("keepalived")
    with contextlib.ExitStack() as cleanup:
        segment = cleanup.enter_context(fresh_segment())
        with segment.near.entered():
            near = cleanup.enter_context(PacketSocket("near0", kernel_filter()))
        with segment.far.entered():
            far = cleanup.enter_context(PacketSocket("far0", kernel_filter()))
        recorded = Recording(mac=segment.far_mac)

        def record_until(is_enough: Callable[[], object]) -> None:
            def look(seen: list[Frame]) -> object:
                recorded.received += seen
                recorded.sent += far.receive(1000)
                seen.clear()
                return is_enough()

            try:
                receive_until(near, look, timeout=20)
            except AssertionError as error:
                raise AssertionError((directory / "log").read_text()) from error

        with keepalived(segment.far, directory) as running:
            addresses = {text for texts in ADDRESSES.values() for text in texts}
            record_until(
                lambda: (
                    all(len(recorded.adverts(number)) > 1 for number in ADDRESSES)
                    and {str(each.address) for each in recorded.announced()} >= addresses
                )
            )
            running.send_signal(signal.SIGTERM)
            record_until(
                lambda: all(recorded.adverts(number)[-1].priority == 0 for number in ADDRESSES)
            )
        yield recorded


THREE: dict[str, object] = {"version": 3}


@pytest.mark.parametrize(
    ("router_id", "source", "destination", "said"),
    [
        (51, "10.9.0.2", "224.0.0.18", {"authentication": 1, "password": b"OpenShif"}),
        (52, "10.9.0.2", "224.0.0.18", {}),
        (53, "10.9.0.2", "10.9.0.1", {"authentication": 1, "password": b"short"}),
        (54, "10.9.0.2", "224.0.0.18", THREE | {"interval": 0.25}),
        (55, "fe80::", "ff02::12", THREE),
        (56, "fd00:9::2", "fd00:9::1", THREE | {"ttl": 64}),
    ],
    ids=["v2 password", "v2", "v2 unicast", "v3 IPv4", "v3 IPv6", "v3 IPv6 unicast"],
)
def test_keepalived_s_adverts_are_read(
    recording: Recording, router_id: int, source: str, destination: str, said: dict[str, object]
) -> None:
    """Every field, the checksum among them, of every advert from the first to the last."""
    adverts = recording.adverts(router_id)
    assert {50 + router_id, 0} == {each.priority for each in adverts}
    assert 0 == adverts[-1].priority
    said = said | {"destination": ip_address(destination), "virtual_router_id": router_id}
    addresses = tuple(map(ip_address, ADDRESSES[router_id]))
    for each in adverts:
        assert str(each.source).startswith(source)
        said |= {"priority": each.priority}
        assert heard_advert(each.source, *addresses, mac=recording.mac, **said) == each


def test_keepalived_s_announcements_are_recognised(recording: Recording) -> None:
    """Gratuitous ARP and unsolicited advertisements at its takeover, one kind per address."""
    expected = {
        packets.Announcement(
            source_mac=recording.mac, announced_mac=recording.mac, address=ip_address(text)
        )
        for texts in ADDRESSES.values()
        for text in texts
    }
    assert expected == recording.announced()


def test_the_sender_s_own_host_sees_the_same_as_outgoing(recording: Recording) -> None:
    """What leaves is told from what comes by the kernel, not by a MAC.

    What comes are answers when the kernel asks for unicast peers.
    """
    assert recording.sent
    for each in recording.sent:
        assert isinstance(each.packet, packets.NeighbourReply) is not each.is_outgoing
    assert {False} == {each.is_outgoing for each in recording.received}
    received = {each.packet for each in recording.received}
    assert received == received & {each.packet for each in recording.sent}


# --- who only answers ---------------------------------------------------------------------------


def test_answers_are_no_announcements(
    segment: Segment, wire: PacketSocket, remote: socket.socket
) -> None:
    """The far host answers for its addresses when asked, with ARP and neighbour discovery.

    Its own agent is not woken by what it answers.
    """
    with segment.far.entered():
        far = PacketSocket("far0", kernel_filter())
    segment.far.ip_batch(*(f"address add {each} dev far0 nodad" for each in (VIP, VIP6)))
    segment.near.run("arping", "-c", "2", "-I", "near0", str(VIP))
    segment.near.run("ping", "-6", "-c", "1", "-W", "5", str(VIP6))
    known = segment.near.ip("neighbour", "show", str(VIP6))
    assert segment.far_mac.hex(":") in known
    found = until_marked(wire, remote)
    assert {
        packets.NeighbourReply(mac=segment.far_mac, address=each) for each in (VIP, VIP6)
    } == set(found)
    with far:
        sent = [each.packet for each in far.receive(100) if each.is_outgoing]
    assert not any(isinstance(each, packets.NeighbourReply) for each in sent)


@pytest.mark.parametrize("is_alone", [True, False], ids=["the holder", "everybody"])
def test_our_questions_are_answered(
    segment: Segment, wire: PacketSocket, *, is_alone: bool
) -> None:
    """By a kernel that has the addresses, whether it alone is asked or all are."""
    segment.far.ip_batch(*(f"address add {each} dev far0 nodad" for each in (VIP, VIP6)))
    wire.replace_filter(kernel_filter({VIP, VIP6}))
    receiver = segment.far_mac if is_alone else None
    wire.send(
        packets.neighbour_question(wire.mac, IPv4Address("10.9.0.1"), VIP, receiver=receiver)
    )
    wire.send(
        packets.neighbour_question(wire.mac, IPv6Address("fd00:9::1"), VIP6, receiver=receiver)
    )
    seen = receive_until(wire, lambda seen: len(seen) > 1)
    expected = {packets.NeighbourReply(mac=segment.far_mac, address=each) for each in (VIP, VIP6)}
    assert expected == {each.packet for each in seen}


def test_a_proxy_s_answer_to_our_announcement_is_none(
    segment: Segment, wire: PacketSocket, remote: socket.socket
) -> None:
    """It names its address on both sides, as announcements do; a witness sees that it came."""
    segment.far.run(
        "sysctl",
        "-qw",
        "net.ipv4.conf.far0.proxy_arp=1",
        "net.ipv4.neigh.far0.proxy_delay=0",
        "net.ipv4.ip_forward=1",
    )
    segment.far.join("else0", "else1")
    segment.far.ip("route", "add", "192.0.2.0/24", "dev", "else0")
    elsewhere = IPv4Address("192.0.2.5")
    wire.send(packets.gratuitous_arp(wire.mac, elsewhere))
    answer = receive_frame(remote, lambda frame: frame[12:14] == b"\x08\x06" and frame[21] == 2)
    assert (wire.mac, elsewhere.packed, elsewhere.packed) == (
        answer[:6],
        answer[28:32],
        answer[38:42],
    )
    assert [packets.NeighbourReply(mac=segment.far_mac, address=elsewhere)] == until_marked(
        wire, remote
    )


def receive_frame(remote: socket.socket, is_wanted: Callable[[bytes], bool]) -> bytes:
    """Return the first wanted frame that passes the far host's interface."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        frame: bytes = remote.recv(2048)
        if is_wanted(frame):
            return frame
    raise AssertionError("no such frame")


# --- the filter in the kernel -------------------------------------------------------------------


def test_the_kernel_lets_through_what_the_program_says(
    wire: PacketSocket, remote: socket.socket
) -> None:
    """Announcements of its addresses, answers and adverts in, everything else out, in order."""
    wire.replace_filter(kernel_filter({VIP, VIP6}))
    near = wire.mac
    group6, nodes = IPv6Address("ff02::12"), IPv6Address("ff02::1")
    six = frames.vrrp(VIP6, group6, (VIP6,), version=3, timing=100)
    extended = frames.ipv6(six, VIP6, group6, extensions=[(0, bytes(6)), (60, bytes(14))])
    here = IPv4Address("10.9.0.9")
    wanted = [
        frames.arp(1, VIP, VIP),
        frames.arp(2, VIP, here),
        frames.arp(2, VIP, VIP, destination=near),
        frames.arp(1, VIP, VIP, tag=0xE000),
        advert_frame(router_id=7),
        frames.ethernet(extended, frames.IPV6, destination=bytes.fromhex("333300000012")),
        packets.unsolicited_advertisement(frames.THEIR_MAC, VIP6),
        frames.icmpv6(VIP6, nodes, frames.neighbour(VIP6, flags=0xA0)),
    ]
    other = IPv4Address("10.9.0.51")
    unwanted = [
        frames.arp(1, other, other),
        frames.arp(1, VIP, here),
        frames.arp(2, other, VIP, destination=near),
        frames.arp(2, VIP, VIP, destination=bytes.fromhex("5254000000ff")),
        frames.arp(1, VIP, VIP, tag=7),
        frames.arp(1, VIP, VIP, destination=bytes.fromhex("5254000000ff")),
        packets.unsolicited_advertisement(frames.THEIR_MAC, IPv6Address("fd00:9::51")),
        frames.icmpv6(VIP6, nodes, frames.neighbour(VIP6, flags=0x60)),
        frames.icmpv6(VIP6, nodes, frames.neighbour(VIP6, kind=135)),
        frames.ethernet(frames.ipv4(bytes(9), here, VIP, protocol=17), frames.IPV4),
    ]
    for each in unwanted + wanted:
        remote.send(each)
    assert [
        packets.parse_frame(each.replace(bytes.fromhex("8100e000"), b"")) for each in wanted
    ] == until_marked(wire, remote)
    assert 0 == lost(wire)


@pytest.mark.parametrize("count", [0, 254, ADDRESSES_LIMIT])
def test_the_kernel_takes_a_filter_for_many_addresses(
    wire: PacketSocket, remote: socket.socket, count: int
) -> None:
    """The last of them passes, the one after it does not."""
    last = VIP + count - 1
    wire.replace_filter(kernel_filter({VIP + number for number in range(count)}))
    for each in (VIP - 1, last, last + 1):
        remote.send(packets.gratuitous_arp(frames.THEIR_MAC, each))
    found = until_marked(wire, remote)
    assert ([last] if count else []) == [
        each.address for each in found if isinstance(each, packets.Announcement)
    ]


def test_the_longest_filter_fits_the_memory_of_older_kernels(segment: Segment) -> None:
    """20 KiB of socket options before Linux 6.9; high addresses make the longest programs."""
    try:
        segment.near.run("sysctl", "-qw", "net.core.optmem_max=20480")
    except AssertionError:
        pytest.skip("this kernel has one limit for all namespaces")
    highest = {IPv4Address("223.0.0.0") + number for number in range(ADDRESSES_LIMIT)}
    with PacketSocket("near0", kernel_filter(highest)) as opened:
        opened.replace_filter(kernel_filter(highest))


def test_a_program_that_the_kernel_refuses_is_told(wire: PacketSocket) -> None:
    """The socket keeps the filter it has."""
    with pytest.raises(SystemRefusedError, match="cannot listen on near0: Invalid argument"):
        wire.replace_filter(kernel_filter()[:-1])


def test_multicast_is_joined_while_we_listen(segment: Segment) -> None:
    """The card's own filter lets VRRP in even while no keepalived has joined."""
    groups = ("01:00:5e:00:00:12", "33:33:00:00:00:12")
    with PacketSocket("near0", kernel_filter()):
        joined = segment.near.ip("maddress", "show", "dev", "near0")
        assert groups == tuple(each for each in groups if each in joined)
    left = segment.near.ip("maddress", "show", "dev", "near0")
    assert not [each for each in groups if each in left]


# --- sending ------------------------------------------------------------------------------------


def test_our_announcements_are_believed(segment: Segment, wire: PacketSocket) -> None:
    """A host that knew another MAC for an address knows the new one afterwards, in any form."""
    wrong = "52:54:00:00:00:99"
    for is_reply in (False, True):
        for address in (VIP, VIP6):
            segment.far.ip(
                *("neighbour", "replace", str(address), "lladdr", wrong),
                *("dev", "far0", "nud", "stale"),
            )
            if isinstance(address, IPv4Address):
                wire.send(packets.gratuitous_arp(wire.mac, address, is_reply=is_reply))
            else:
                wire.send(packets.unsolicited_advertisement(wire.mac, address, is_router=is_reply))
            wait_until_known(segment, address, wire.mac)
            routers = " router " in known(segment, address)
            assert (is_reply and address == VIP6) == routers


def known(segment: Segment, address: IPv4Address | IPv6Address) -> str:
    """Return the far host's neighbour entry."""
    return segment.far.ip("neighbour", "show", str(address))


def wait_until_known(segment: Segment, address: IPv4Address | IPv6Address, mac: bytes) -> None:
    wait_until(lambda: mac.hex(":") in known(segment, address), 2, lambda: known(segment, address))


def test_a_socket_does_not_see_what_itself_sends(
    wire: PacketSocket, remote: socket.socket
) -> None:
    """Another one on the same interface does, as outgoing."""
    with PacketSocket("near0", kernel_filter()) as second:
        wire.send(packets.gratuitous_arp(wire.mac, VIP))
        assert [] == until_marked(wire, remote)
        (seen, _) = receive_until(second, lambda seen: len(seen) == 2)
    assert seen.is_outgoing
    assert isinstance(seen.packet, packets.Announcement)
    assert VIP == seen.packet.address


# --- faults -------------------------------------------------------------------------------------


def test_a_batch_is_bounded(wire: PacketSocket, remote: socket.socket) -> None:
    """The rest stays for the next one; nothing waiting is nothing."""
    assert () == wire.receive(5)
    for number in range(7):
        remote.send(advert_frame(router_id=number))
    wait_until(lambda: select.select([wire], [], [], 0)[0], 2, "nothing came")
    found = (wire.receive(5), wire.receive(5), wire.receive(5))
    assert [5, 2, 0] == [len(each) for each in found]


def test_a_link_that_comes_back_is_heard_again(
    segment: Segment, wire: PacketSocket, remote: socket.socket
) -> None:
    """While it is down nothing is seen, nothing raises, and waiting does wait."""
    segment.near.ip("link", "set", "near0", "down")
    assert () == wire.receive(10)
    assert not select.select([wire], [], [], 0.05)[0]
    with pytest.raises(SystemRefusedError, match="cannot send on near0: Network is down"):
        wire.send(packets.gratuitous_arp(wire.mac, VIP))
    segment.near.ip("link", "set", "near0", "up")
    wait_until(lambda: "LOWER_UP" in segment.far.ip("link", "show", "far0"), 5, "no carrier")
    assert [] == until_marked(wire, remote)


def test_an_interface_that_is_gone_is_silent(segment: Segment, wire: PacketSocket) -> None:
    """Reading does not raise or spin; sending does raise; opening says what is missing."""
    segment.near.ip("link", "delete", "near0")
    assert () == wire.receive(10)
    assert not select.select([wire], [], [], 0.05)[0]
    with pytest.raises(SystemRefusedError, match="cannot send on near0: No such device"):
        wire.send(packets.gratuitous_arp(wire.mac, VIP))
    with pytest.raises(SystemRefusedError, match="cannot listen on near0: No such device"):
        PacketSocket("near0", kernel_filter())


@pytest.mark.usefixtures("segment")
def test_an_interface_without_ethernet_is_refused() -> None:
    """Loopback, tunnels: their frames are others, and no host can be a rival there."""
    with pytest.raises(SystemRefusedError, match="cannot listen on lo: it is not Ethernet"):
        PacketSocket("lo", kernel_filter())


@pytest.mark.usefixtures("segment")
def test_a_missing_capability_is_named() -> None:
    """The message says which one."""

    def listen() -> str:
        with pytest.raises(NotPermittedError) as caught:
            PacketSocket("near0", kernel_filter())
        return str(caught.value)

    said = "cannot listen on near0: Operation not permitted, CAP_NET_RAW is missing"
    assert said == as_nobody(listen)


# --- whose MAC ----------------------------------------------------------------------------------


def test_every_mac_of_this_host_is_known(segment: Segment) -> None:
    """Of interfaces up and down, of this namespace alone; loopback's zeros are none."""
    segment.near.ip("link", "add", "more0", "type", "veth", "peer", "name", "more1")
    segment.near.ip("link", "add", "bridge0", "type", "bridge")
    expected = {mac_of(segment.near, name) for name in ("near0", "more0", "more1", "bridge0")}
    assert expected == host_macs()
    assert segment.far_mac not in host_macs()


def test_the_mac_is_the_one_of_this_moment(segment: Segment) -> None:
    """One that is set, one that a bridge takes from a port, and the last of one that is gone."""
    set_mac, port_mac = bytes((2, 0, 0, 0, 0, 0x77)), bytes((2, 0, 0, 0, 0, 1))
    near = segment.near
    near.ip("link", "add", "bridge0", "type", "bridge")
    near.ip("link", "set", "bridge0", "up")
    near.ip("link", "add", "port0", "type", "veth", "peer", "port1")
    near.ip("link", "set", "port0", "address", port_mac.hex(":"))
    with near.entered():
        wire, bridge = (PacketSocket(each, kernel_filter()) for each in ("near0", "bridge0"))
    with wire, bridge:
        assert (mac_of(near, "near0"), mac_of(near, "bridge0")) == (wire.mac, bridge.mac)
        near.ip("link", "set", "near0", "address", set_mac.hex(":"))
        near.ip("link", "set", "port0", "master", "bridge0")
        assert (set_mac, port_mac) == (wire.mac, bridge.mac)
        near.ip("link", "del", "bridge0")
        assert port_mac == bridge.mac


def test_the_mac_that_a_card_was_made_with_is_known() -> None:
    """A bond gives its cards another one; addresses that are no MACs are passed by."""
    used, made = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")
    attributes = [(1, used), (54, made), (2, b"\xff" * 6), (3, b"eth0\0")]
    payload = bytes(16) + b"".join(
        struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
        for kind, value in attributes
    )
    assert {used, made} == parse_link(payload).macs
    tunnel = bytes(16) + struct.pack("=HH", 8, 1) + IPv4Address("10.0.0.1").packed
    assert set() == parse_link(tunnel).macs


# --- what may be sent from ----------------------------------------------------------------------


def test_only_what_the_interface_has_for_sure_may_be_sent_from(segment: Segment) -> None:
    """Neither an address on another interface nor one that may be another node's."""
    near = segment.near
    index = socket.if_nametoindex("near0")
    usable = {IPv4Address("10.9.0.1"), IPv6Address("fd00:9::1")}
    assert usable == {each for each in usable_addresses(index) if not each.is_link_local}
    near.ip("link", "add", "more0", "type", "veth", "peer", "name", "more1")
    near.ip("address", "add", "10.9.9.9/24", "dev", "more0")
    near.run("sysctl", "-qw", "net.ipv6.conf.near0.accept_dad=1")
    near.run("sysctl", "-qw", "net.ipv6.conf.near0.dad_transmits=100")
    near.ip("address", "add", "fd00:9::77/64", "dev", "near0")
    near.ip("address", "add", "fd00:9::78/64", "dev", "near0", "nodad")
    usable |= {IPv6Address("fd00:9::78")}
    assert usable == {each for each in usable_addresses(index) if not each.is_link_local}


# --- cost ---------------------------------------------------------------------------------------


@pytest.mark.timing
def test_unrelated_traffic_costs_the_agent_nothing(segment: Segment, wire: PacketSocket) -> None:
    """10 000 packets a second for two seconds: who waits for the socket uses < 1 % of a core."""
    flood = subprocess.Popen(
        ["ip", "netns", "exec", segment.far.name, "python3", "-c", FLOOD, "10.9.0.1", "10000", "2"]
    )
    try:
        wait_until(lambda: received_packets() > 1000, 10, "no flood")
        begun, used, packets = time.monotonic(), cpu_seconds(), received_packets()
        woken = bool(select.select([wire], [], [], 1.0)[0])
        seconds = time.monotonic() - begun
        share = (cpu_seconds() - used) / seconds
        rate = (received_packets() - packets) / seconds
    finally:
        flood.wait(20)
    assert not woken
    assert rate > 8000, f"only {rate:.0f} packets a second"
    assert share < 0.01, f"{share:.2%} of a core at {rate:.0f} packets a second"


FLOOD = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect((sys.argv[1], 9))
rate, seconds = int(sys.argv[2]), float(sys.argv[3])
begun = time.monotonic()
sent = 0
while (now := time.monotonic() - begun) < seconds:
    while sent < now * rate:
        try:
            sender.send(b"x" * 100)
        except ConnectionRefusedError:
            pass
        sent += 1
    time.sleep(0.001)
"""


def cpu_seconds() -> float:
    """Return what this process used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def received_packets() -> int:
    """Return how many packets ``near0`` received so far."""
    with open("/proc/self/net/dev", encoding="ascii") as file:  # noqa: PTH123 - of this thread
        for line in file:
            name, _, figures = line.partition(":")
            if name.strip() == "near0":
                return int(figures.split()[1])
    raise AssertionError("near0 is gone")


def test_a_frame_is_as_old_as_it_is_when_it_is_read_late(
    wire: PacketSocket, remote: socket.socket
) -> None:
    """The kernel says when it had it, so that an agent that stood still takes none for new."""
    sent = []
    for router_id in (7, 255):
        before = time.monotonic()
        remote.send(advert_frame(router_id=router_id))
        sent.append((before, time.monotonic()))
        time.sleep(0.3)
    first, second = receive_until(wire, lambda seen: len(seen) == len(sent))

    for each, (before, after) in zip((first, second), sent, strict=True):
        assert before - _CLOCKS_DIFFER <= each.heard_at <= after + _CLOCKS_DIFFER


def test_a_clock_that_is_set_makes_no_frame_older_than_the_last_look(
    wire: PacketSocket, remote: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor newer than now."""
    assert wire.receive(100) == ()
    empty = time.monotonic()
    for shift in (3600.0, -3600.0):
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda shift=shift: _TIME() + shift)
            remote.send(advert_frame(router_id=7))
            (seen,) = receive_until(wire, bool)
        assert empty - _CLOCKS_DIFFER <= seen.heard_at <= time.monotonic()
