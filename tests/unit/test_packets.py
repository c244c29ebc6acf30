"""Adverts and announcements as bytes: what is understood, what is not, what is built."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from ipfailover_agent.model import IPAddress
from ipfailover_agent.vrrp import packets
from ipfailover_agent.vrrp.bpf import ADDRESSES_LIMIT, SNAP_LENGTH, kernel_filter
from tests.support import classic_bpf, frames
from tests.support.adverts import heard_advert
from tests.support.frames import ALL_NODES_GROUP, EVERYONE, OUR_MAC, THEIR_MAC

HERE = IPv4Address("10.0.0.1")
GROUP = IPv4Address("224.0.0.18")
VIP = IPv4Address("10.0.0.5")
OTHER_VIP = IPv4Address("10.0.0.6")
HERE6 = IPv6Address("fe80::1")
GROUP6 = IPv6Address("ff02::12")
NODES6 = IPv6Address("ff02::1")
VIP6 = IPv6Address("fd00::5")


def carp_message(vhid: int = 51, *, length: int = 36) -> bytes:
    """Return CARP's header: counter and digest follow the first 8 bytes."""
    fixed = bytes((0x21, vhid, 100, 7, 0, 1, 0, 0))
    return (fixed + bytes(range(64)))[:length]


@pytest.mark.parametrize(("source", "group"), [(HERE, GROUP), (HERE6, GROUP6)])
def test_carp_is_told_apart_by_its_form(source: IPAddress, group: IPAddress) -> None:
    """Its digest is no list of addresses."""
    frame = frames.packet(carp_message(), source, group)
    expected = packets.Carp(source_mac=THEIR_MAC, source=source, router_id=51, skew=100, ttl=255)
    assert expected == packets.parse_frame(frame)
    assert SNAP_LENGTH == classic_bpf.run(kernel_filter([VIP]), frame)


def test_an_advert_of_seven_addresses_is_no_carp() -> None:
    """It has authentication data besides, as RFC 2338 and RFC 3768 have it."""
    seven = [IPv4Address(f"10.0.0.{number}") for number in range(1, 8)]
    frame = sent(addresses=seven, authentication=0, password=b"")
    assert 7 == len(the_advert(frame).addresses)


def the_advert(frame: bytes) -> packets.Advert:
    found = packets.parse_frame(frame)
    assert isinstance(found, packets.Advert)
    return found


def advert(
    source: IPAddress = HERE,
    destination: IPAddress = GROUP,
    addresses: tuple[IPAddress, ...] = (VIP, OTHER_VIP),
    **more: object,
) -> packets.Advert:
    """Return the one of these tests as it is read."""
    usual = {"destination": destination, "virtual_router_id": 51, "priority": 100}
    return heard_advert(source, *addresses, mac=THEIR_MAC, **usual | more)


def sent(
    source: IPAddress = HERE,
    destination: IPAddress = GROUP,
    addresses: Sequence[IPAddress] = (VIP, OTHER_VIP),
    **fields: Any,  # noqa: ANN401 - those of frames.vrrp
) -> bytes:
    """Return the same as a frame."""
    message = frames.vrrp(source, destination, addresses, **fields)
    return frames.packet(message, source, destination)


def test_a_version_2_advert_with_a_password_is_read() -> None:
    """Addresses in order, seconds, the password without the zeros that fill it up."""
    signed: dict[str, Any] = {"authentication": 1, "password": b"secret"}
    assert advert(**signed) == packets.parse_frame(sent(**signed))


def test_a_password_is_not_shown() -> None:
    """An advert that is printed says nothing of it."""
    assert "secret" not in repr(advert(authentication=1, password=b"secret"))


def test_a_version_2_advert_without_authentication_is_read() -> None:
    """With the eight empty bytes of RFC 3768, and without them."""
    for password in (b"", None):
        assert advert() == packets.parse_frame(sent(password=password))


@pytest.mark.parametrize("pseudo", [True, False], ids=["pseudo header", "no pseudo header"])
def test_a_version_3_advert_over_ipv4_is_read(*, pseudo: bool) -> None:
    """Centiseconds become seconds; both forms of the checksum are right."""
    frame = sent(version=3, timing=10, pseudo=pseudo)
    assert advert(version=3, interval=0.1) == packets.parse_frame(frame)


def test_an_advert_over_ipv6_is_read() -> None:
    """Its addresses are IPv6 addresses."""
    both = (HERE6, GROUP6, (HERE6, VIP6))
    assert advert(*both, version=3) == packets.parse_frame(sent(*both, version=3, timing=100))


def test_an_ipv6_checksum_needs_the_pseudo_header() -> None:
    """Without it the checksum is wrong, other than with IPv4."""
    frame = sent(HERE6, GROUP6, (VIP6,), version=3, pseudo=False)
    assert not the_advert(frame).is_checksum_right


@pytest.mark.parametrize("version", [2, 3])
def test_a_wrong_checksum_is_told(version: int) -> None:
    """The advert is read all the same: it says why keepalived refuses it."""
    message = bytearray(frames.vrrp(HERE, GROUP, (VIP, OTHER_VIP), version=version))
    message[2] ^= 1
    found = the_advert(frames.packet(bytes(message), HERE, GROUP))
    assert (101, False) == (found.priority, found.is_checksum_right)


def test_a_unicast_advert_is_read() -> None:
    """Its destination and its hop limit are told."""
    peer = IPv4Address("10.0.0.2")
    message = frames.vrrp(HERE, peer, (VIP,))
    found = the_advert(frames.packet(message, HERE, peer, ttl=64))
    assert (peer, 64) == (found.destination, found.ttl)


def test_ip_options_are_skipped() -> None:
    """A router alert makes the header longer, at most 40 bytes."""
    message = frames.vrrp(HERE, GROUP, (VIP, OTHER_VIP))
    for length in (4, 40):
        whole = frames.ipv4(message, HERE, GROUP, options=bytes(length))
        assert advert() == packets.parse_frame(frames.ethernet(whole, frames.IPV4))


def test_ipv6_extensions_are_skipped_within_bounds() -> None:
    """Two headers are, a third is not."""
    message = frames.vrrp(HERE6, GROUP6, (VIP6,), version=3, timing=100)
    found = []
    for count in range(1, 4):
        extensions = [(0, bytes(6)), (60, bytes(14)), (43, bytes(6))][:count]
        whole = frames.ipv6(message, HERE6, GROUP6, extensions=extensions)
        found.append(packets.parse_frame(frames.ethernet(whole, frames.IPV6)))
    expected = advert(HERE6, GROUP6, (VIP6,), version=3)
    assert [expected, expected, None] == found


def test_only_frames_of_the_untagged_network_count() -> None:
    """A tag with id 0 carries a priority; the addresses of a VLAN are other ones."""
    whole = frames.ipv4(frames.vrrp(HERE, GROUP, (VIP, OTHER_VIP)), HERE, GROUP)
    found = [
        packets.parse_frame(frames.ethernet(whole, frames.IPV4, tag=tag))
        for tag in (0, 0xE000, 1, 0xE064)
    ]
    assert [advert(), advert(), None, None] == found


def packed(message: bytes, **fields: int) -> bytes:
    return frames.ipv4(message, HERE, GROUP, **fields)  # type: ignore[arg-type]


PLAIN = frames.vrrp(HERE, GROUP, (VIP,))
NO_ADVERTS = {
    "another protocol": packed(bytes(32), protocol=17),
    "a later fragment": packed(PLAIN, fragment=0x2001),
    "version 4": packed(frames.vrrp(HERE, GROUP, (VIP,), version=4)),
    "another type": packed(b"\x22" + PLAIN[1:]),
    "more addresses than bytes": packed(frames.vrrp(HERE, GROUP, (VIP, VIP))[:-1]),
    "half a header": packed(frames.vrrp(HERE, GROUP, ())[:7]),
    "IP version 5": b"\x55" + packed(PLAIN)[1:],
    "a header of 16 bytes": b"\x44" + packed(PLAIN)[1:],
}


@pytest.mark.parametrize("packet", NO_ADVERTS.values(), ids=NO_ADVERTS.keys())
def test_what_is_no_whole_advert_is_nothing(packet: bytes) -> None:
    """Ethernet's filling is no part of the packet."""
    assert packets.parse_frame(frames.ethernet(packet, frames.IPV4)) is None


def test_a_length_beyond_the_frame_is_nothing() -> None:
    """The packet was cut off, be it only the end of the password."""
    message = frames.vrrp(HERE, GROUP, (VIP,) * 20, authentication=1, password=b"password")
    whole = frames.ipv4(message, HERE, GROUP)
    assert packets.parse_frame(frames.ethernet(whole[:-1], frames.IPV4)) is None
    message = frames.vrrp(HERE6, GROUP6, (VIP6,), authentication=1, password=b"password")
    whole = frames.ipv6(message, HERE6, GROUP6)
    assert packets.parse_frame(frames.ethernet(whole[:-1], frames.IPV6)) is None


@pytest.mark.parametrize("kind", [frames.IPV4, frames.IPV6, 0x88CC], ids=hex)
def test_half_a_header_is_nothing(kind: int) -> None:
    """Frames that end within Ethernet's or IP's header, and frames of other protocols."""
    frame = frames.ethernet(bytes(46), kind)
    assert {None} == {
        packets.parse_frame(frame[:length]) for length in (0, 13, 17, 18, 33, 53, 60)
    }


def test_an_extension_without_its_bytes_is_nothing() -> None:
    """A header that says another one follows, and the packet's end."""
    for payload in (b"", b"\x70", b"\x70\x00" + bytes(5), b"\x70\x01" + bytes(6)):
        whole = frames.ipv6(payload, HERE6, GROUP6, following=0)
        assert packets.parse_frame(frames.ethernet(whole, frames.IPV6)) is None


def test_the_interval_leaves_reserved_bits_out() -> None:
    """Twelve bits of hundredths of a second (RFC 5798 section 5.2.7)."""
    assert 0.1 == the_advert(sent(version=3, timing=0xF00A)).interval


def test_a_checksum_covers_an_odd_byte_at_the_end() -> None:
    """RFC 1071: as if a zero followed."""
    message = frames.summed_up(frames.vrrp(HERE, GROUP, (VIP,)) + b"\7", 6)
    assert the_advert(frames.packet(message, HERE, GROUP)).is_checksum_right


def expected_of(kind: str, address: IPAddress, mac: bytes = THEIR_MAC) -> packets.Packet | None:
    """Return an announcement, an answer or nothing."""
    if kind == "announcement":
        return packets.Announcement(source_mac=THEIR_MAC, announced_mac=mac, address=address)
    return packets.NeighbourReply(mac=mac, address=address) if kind == "answer" else None


ARP = {
    "gratuitous request": (frames.arp(1, VIP, VIP), "announcement"),
    "gratuitous request to one host": (
        frames.arp(1, VIP, VIP, destination=OUR_MAC),
        "announcement",
    ),
    "gratuitous reply to all": (frames.arp(2, VIP, VIP), "announcement"),
    "reply to all": (frames.arp(2, VIP, HERE), "announcement"),
    "priority tag": (frames.arp(1, VIP, VIP, tag=0), "announcement"),
    "another network": (frames.arp(1, VIP, VIP, tag=7), "nothing"),
    "question": (frames.arp(1, VIP, HERE), "nothing"),
    "answer": (frames.arp(2, VIP, HERE, destination=OUR_MAC), "answer"),
    "a proxy's answer to a gratuitous request": (
        frames.arp(2, VIP, VIP, destination=OUR_MAC),
        "answer",
    ),
    "an answer on another network": (
        frames.arp(2, VIP, HERE, destination=OUR_MAC, tag=7),
        "nothing",
    ),
    "probe": (frames.arp(1, IPv4Address(0), VIP), "nothing"),
    "nobody's address": (frames.arp(1, IPv4Address(0), IPv4Address(0)), "nothing"),
    "an answer for nobody's address": (
        frames.arp(2, IPv4Address(0), HERE, destination=OUR_MAC),
        "nothing",
    ),
    "another operation": (frames.arp(3, VIP, VIP), "nothing"),
    "cut off": (frames.arp(1, VIP, VIP)[:41], "nothing"),
    "reply cut off": (frames.arp(2, VIP, VIP)[:41], "nothing"),
    "another hardware type": (
        frames.arp(1, VIP, VIP)[:14] + b"\0\6" + frames.arp(1, VIP, VIP)[16:],
        "nothing",
    ),
    "another length of addresses": (
        frames.arp(1, VIP, VIP)[:19] + b"\6" + frames.arp(1, VIP, VIP)[20:],
        "nothing",
    ),
}


@pytest.mark.parametrize(("frame", "kind"), ARP.values(), ids=ARP.keys())
def test_gratuitous_arp_is_an_announcement(frame: bytes, kind: str) -> None:
    """Questions are none, nor are answers to one host; the kernel's filter agrees."""
    expected = expected_of(kind, VIP)
    assert expected == packets.parse_frame(frame)
    assert (expected is not None) == bool(classic_bpf.run(kernel_filter(), frame))


def test_the_announced_mac_is_told_beside_the_sender() -> None:
    """They differ behind some bonds and proxies."""
    other = bytes.fromhex("525400000009")
    expected = packets.Announcement(source_mac=THEIR_MAC, announced_mac=other, address=VIP)
    assert expected == packets.parse_frame(frames.arp(1, VIP, VIP, mac=other))
    expected = packets.Announcement(source_mac=THEIR_MAC, announced_mac=other, address=VIP6)
    options = bytes((14, 1)) + bytes(6) + b"\2\1" + other
    assert expected == packets.parse_frame(told(options=options))


def told(
    to: IPv6Address = NODES6,
    *,
    target: IPv6Address = VIP6,
    flags: int = 0x20,
    options: bytes = b"",
) -> bytes:
    """Return a neighbour advertisement that is sent from the address in question."""
    return frames.icmpv6(VIP6, to, frames.neighbour(target, flags=flags, options=options))


WRONG_SUM = bytearray(told())
WRONG_SUM[-1] ^= 1
NEIGHBOURS = {
    "unsolicited": (told(), "announcement"),
    "unsolicited, of a router": (told(flags=0xA0), "announcement"),
    "answer": (told(HERE6, flags=0x60), "answer"),
    "an answer to all": (told(flags=0x60), "nothing"),
    "an answer for a group": (told(HERE6, target=GROUP6, flags=0x60), "nothing"),
    "question": (frames.icmpv6(HERE6, NODES6, frames.neighbour(VIP6, kind=135)), "nothing"),
    "from afar": (frames.icmpv6(VIP6, NODES6, frames.neighbour(VIP6), 254), "nothing"),
    "wrong checksum": (bytes(WRONG_SUM), "nothing"),
    "of a group": (told(target=GROUP6), "nothing"),
    "of nobody": (told(target=IPv6Address("::")), "nothing"),
    "an option without length": (told(options=bytes(8)), "nothing"),
    "an option too long": (told(options=b"\2\2" + bytes(6)), "nothing"),
    "half an option": (told(options=b"\2"), "nothing"),
    "half a message": (frames.icmpv6(VIP6, NODES6, frames.neighbour(VIP6)[:23]), "nothing"),
}


@pytest.mark.parametrize(("frame", "kind"), NEIGHBOURS.values(), ids=NEIGHBOURS.keys())
def test_an_unsolicited_advertisement_is_an_announcement(frame: bytes, kind: str) -> None:
    """Answers are none, nor is what every host would ignore."""
    assert expected_of(kind, VIP6) == packets.parse_frame(frame)


def test_a_target_link_address_that_is_no_mac_is_passed_by() -> None:
    """Such an option has 16 bytes on other links."""
    expected = packets.Announcement(source_mac=THEIR_MAC, announced_mac=THEIR_MAC, address=VIP6)
    assert expected == packets.parse_frame(told(options=b"\2\2" + bytes(14)))


def test_our_gratuitous_arp_is_the_request_by_the_book() -> None:
    """RFC 5227 section 3, byte for byte, without Ethernet's filling."""
    target = frames.arp(1, VIP, VIP)[:42]
    expected = target[:32] + bytes(6) + target[38:]  # the target's MAC is what is asked for
    assert expected == packets.gratuitous_arp(THEIR_MAC, VIP)


def test_our_gratuitous_reply_goes_to_everyone() -> None:
    """The other form: a reply that names us on both sides."""
    expected = frames.arp(2, VIP, VIP)[:42].replace(OUR_MAC, THEIR_MAC)
    assert expected == packets.gratuitous_arp(THEIR_MAC, VIP, is_reply=True)


@pytest.mark.parametrize("is_router", [True, False])
def test_our_advertisement_is_the_one_by_the_book(*, is_router: bool) -> None:
    """RFC 4861 section 7.2.6: to all nodes, override set, solicited clear, our MAC as option."""
    flags = 0xA0 if is_router else 0x20
    expected = told(flags=flags, options=b"\2\1" + THEIR_MAC)
    found = packets.unsolicited_advertisement(THEIR_MAC, VIP6, is_router=is_router)
    assert expected == found
    assert found.startswith(ALL_NODES_GROUP)


# --- the kernel's filter ------------------------------------------------------------------------


def passes(frame: bytes, addresses: tuple[IPAddress, ...] | None = None, **facts: int) -> bool:
    return bool(classic_bpf.run(kernel_filter(addresses), frame, **facts))


ADVERT = sent(addresses=(VIP,))


def test_a_filter_lets_whole_frames_through() -> None:
    """As many bytes as the longest advert has, and more."""
    addresses = (VIP6,) * 255
    frame = sent(HERE6, GROUP6, addresses, version=3, timing=100)
    assert len(frame) < SNAP_LENGTH == classic_bpf.run(kernel_filter(()), frame)
    assert addresses == the_advert(frame).addresses


def test_a_tag_that_was_taken_off_counts() -> None:
    """Network cards and the kernel take the tag off before a packet socket sees the frame."""
    found = [passes(ADVERT, vlan_tag=tag) for tag in (0, 0xE000, 1, 0x1064)]
    assert [True, True, False, False] == found


def test_what_is_addressed_to_another_host_does_not_pass() -> None:
    """PACKET_OTHERHOST is seen only while someone listens promiscuously."""
    found = [passes(ADVERT, packet_type=number) for number in (0, 1, 2, 3, 4)]
    assert [True, True, True, False, True] == found


ANSWERS = {
    "ARP": frames.arp(2, VIP, HERE, destination=OUR_MAC),
    "neighbour discovery": told(HERE6, flags=0x60),
}


@pytest.mark.parametrize("frame", ANSWERS.values(), ids=ANSWERS.keys())
def test_answers_pass_that_this_host_got(frame: bytes) -> None:
    """For our addresses; not what others got, nor what a busy holder sends to its clients."""
    found = [passes(frame, (VIP, VIP6), packet_type=number) for number in (0, 1, 2, 3, 4)]
    assert [True, False, False, False, False] == found
    assert not passes(frame, (IPv4Address("10.0.0.9"), IPv6Address("fd00::6")))


# --- questions ----------------------------------------------------------------------------------


def test_a_question_to_one_host_is_the_question_to_all_but_for_where_it_goes() -> None:
    """RFC 4861 section 7.3.3: to the address itself, with IPv6."""
    to_all = packets.neighbour_question(OUR_MAC, HERE, VIP)
    assert frames.EVERYONE + to_all[6:] == to_all
    assert THEIR_MAC + to_all[6:] == packets.neighbour_question(
        OUR_MAC, HERE, VIP, receiver=THEIR_MAC
    )
    option = b"\1\1" + OUR_MAC
    message = frames.neighbour(VIP6, kind=135, flags=0, options=option)
    expected = frames.icmpv6(HERE6, VIP6, message)[12:]
    found = packets.neighbour_question(OUR_MAC, HERE6, VIP6, receiver=THEIR_MAC)
    assert THEIR_MAC + OUR_MAC + expected == found


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 383, ADDRESSES_LIMIT])
def test_only_announcements_of_our_addresses_pass(count: int) -> None:
    """Those that were tried do, those beside them do not; the kernel would take the program."""
    first = int(IPv4Address("10.0.0.0"))
    addresses = tuple(IPv4Address(first + 2 * number) for number in range(count))
    program = kernel_filter(addresses)
    classic_bpf.verify(program)
    step = count // 40 * 2 + 1  # odd: ours and those between them alike
    for number in {*range(0, 2 * count, step), *range(396, 404), 2 * count - 2, 2 * count}:
        address = IPv4Address(first + max(number, 0))
        found = bool(classic_bpf.run(program, frames.arp(1, address, address)))
        assert (address in addresses) == found, address
    assert classic_bpf.run(program, ADVERT)


def test_announcements_of_our_ipv6_addresses_pass() -> None:
    """As with IPv4, by the last 32 bits."""
    ours = (VIP6, IPv6Address("fd00::7"))
    found = {
        text: passes(told(target=IPv6Address(text)), ours)
        for text in ("fd00::5", "fd00::7", "fd00::6", "fd00:1::5", "fd00::1:0:5")
    }
    expected = {"fd00::6": False}
    assert expected == {text: passed for text, passed in found.items() if not passed}


def test_beyond_the_limit_all_announcements_pass() -> None:
    """The kernel bounds the memory of a filter."""
    addresses = tuple(IPv4Address(number) for number in range(1, ADDRESSES_LIMIT + 2))
    assert kernel_filter() == kernel_filter(addresses)
    assert passes(frames.arp(1, VIP, VIP), addresses)


@pytest.mark.parametrize(
    "frame",
    [
        frames.arp(1, VIP, IPv4Address("10.0.0.9")),
        frames.ethernet(frames.ipv4(bytes(400), HERE, VIP, protocol=6), frames.IPV4),
        frames.ethernet(frames.ipv6(bytes(400), HERE6, VIP6, following=17), frames.IPV6),
        frames.icmpv6(HERE6, NODES6, frames.neighbour(VIP6, kind=135)),
        frames.ethernet(bytes(400), 0x88CC),
        frames.ethernet(bytes(400), 400, destination=EVERYONE),
        b"",
    ],
    ids=["ARP question", "TCP", "UDP over IPv6", "solicitation", "LLDP", "802.3", "empty"],
)
def test_unrelated_frames_do_not_pass(frame: bytes) -> None:
    """The agent is not woken for them."""
    assert not passes(frame)
    assert not passes(frame, (VIP, VIP6))
