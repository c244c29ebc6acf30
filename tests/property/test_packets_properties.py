"""Packets of any content: nothing raises, what is built is read, the filter loses nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from ipfailover_agent.vrrp import packets
from ipfailover_agent.vrrp.bpf import kernel_filter
from tests.support import classic_bpf, frames
from tests.support.adverts import heard_advert

MACS = st.binary(min_size=6, max_size=6)
HOSTS = st.integers(1, 0xDFFFFFFF).map(IPv4Address)
HOSTS6 = st.integers(1, (0xFF << 120) - 1).map(IPv6Address)
PROTOCOLS = st.sampled_from([0, 1, 6, 17, 43, 44, 51, 58, 60, 112])
TAGS = st.none() | st.sampled_from([0, 0x6000, 1, 0x6064])
EXTENSIONS = st.lists(
    st.tuples(st.sampled_from([0, 43, 44, 60]), st.sampled_from([6, 14]).map(bytes)), max_size=3
)
ANY_TARGET = kernel_filter()


def of_family(version: int) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Return addresses of hosts of one family."""
    if version == 4:
        return HOSTS
    return HOSTS6


@st.composite
def vrrp_frames(draw: st.DrawFn) -> bytes:
    """Well-formed adverts of both versions and families, with options, extensions and tags."""
    is_ipv6 = draw(st.booleans())
    hosts = of_family(6 if is_ipv6 else 4)
    source, destination = draw(hosts), draw(hosts)
    version = draw(st.sampled_from([2, 3]))
    message = frames.vrrp(
        source,
        destination,
        draw(st.lists(hosts, max_size=20)),
        version=version,
        router_id=draw(st.integers(0, 255)),
        priority=draw(st.integers(0, 255)),
        timing=draw(st.integers(0, 255 if version == 2 else 4095)),
        authentication=draw(st.sampled_from([0, 1, 2])),
        password=draw(st.none() | st.binary(max_size=8)),
    )
    kind, whole = frames.IPV4, b""
    if isinstance(source, IPv6Address) and isinstance(destination, IPv6Address):
        kind = frames.IPV6
        whole = frames.ipv6(message, source, destination, extensions=draw(EXTENSIONS))
    elif isinstance(source, IPv4Address) and isinstance(destination, IPv4Address):
        options = bytes(draw(st.integers(0, 10)) * 4)
        fragment = draw(st.sampled_from([0, 0, 0x4000, 0x2000, 0x2001, 0x00FF]))
        whole = frames.ipv4(message, source, destination, options=options, fragment=fragment)
    return frames.ethernet(whole, kind, tag=draw(TAGS))


@st.composite
def arp_frames(draw: st.DrawFn) -> bytes:
    """Requests and replies, to all and to one, gratuitous and not."""
    sender = draw(st.just(IPv4Address(0)) | HOSTS)
    return frames.arp(
        draw(st.integers(0, 4)),
        sender,
        draw(st.just(sender) | HOSTS),
        destination=draw(st.just(frames.EVERYONE) | MACS),
        tag=draw(TAGS),
    )


@st.composite
def neighbour_frames(draw: st.DrawFn) -> bytes:
    """Valid neighbour advertisements and solicitations, with and without the S flag."""
    target = draw(HOSTS6)
    option = draw(st.just(b"") | MACS.map(b"\2\1".__add__))
    kind = draw(st.sampled_from([135, 136]))
    message = frames.neighbour(target, kind=kind, flags=draw(st.integers(0, 255)), options=option)
    return frames.icmpv6(draw(HOSTS6), draw(HOSTS6), message)


@st.composite
def other_frames(draw: st.DrawFn) -> bytes:
    """Whatever else is on a wire, over IPv4 and IPv6."""
    content = draw(st.binary(max_size=60))
    protocol = draw(PROTOCOLS.filter(lambda number: number != 112))
    source, destination = draw(HOSTS), draw(HOSTS)
    kind = frames.IPV4
    whole = frames.ipv4(content, source, destination, protocol=protocol)
    if draw(st.booleans()):
        assume(protocol not in (0, 43, 58, 60))  # their content would be a header
        kind = frames.IPV6
        whole = frames.ipv6(content, draw(HOSTS6), draw(HOSTS6), following=protocol)
    return frames.ethernet(whole, draw(st.just(kind) | st.sampled_from([0x88CC, 46])))


WELL_FORMED = vrrp_frames() | arp_frames() | neighbour_frames()


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """Well-formed frames, cut off and with some bytes changed."""
    frame = bytearray(draw(WELL_FORMED))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)))):
        if at < len(frame):
            frame[at] = value
    return bytes(frame[: draw(st.integers(0, len(frame)))])


@given(frame=st.binary(max_size=200) | damaged_frames())
def test_no_bytes_raise(frame: bytes) -> None:
    """Whatever comes is an advert, an announcement or nothing; addresses fit their family."""
    found = packets.parse_frame(frame)
    match found:
        case packets.Advert():
            assert {found.source.version} | {each.version for each in found.addresses} == {
                found.destination.version
            }
            assert found.version in (2, 3)
        case packets.Carp():
            assert 6 == len(found.source_mac)
        case packets.NeighbourReply():
            assert 6 == len(found.mac)
        case packets.Announcement():
            assert (6, 6) == (len(found.source_mac), len(found.announced_mac))
        case None:
            pass


@given(frame=damaged_frames())
def test_the_filter_loses_nothing(frame: bytes) -> None:
    """Whatever the parser understands passes, damaged or whole."""
    if packets.parse_frame(frame) is not None:
        assert classic_bpf.run(ANY_TARGET, frame) >= len(frame)


@given(frame=WELL_FORMED)
def test_the_filter_and_the_parser_agree_on_valid_packets(frame: bytes) -> None:
    """What passes is understood, what does not is not."""
    assert bool(classic_bpf.run(ANY_TARGET, frame)) == (packets.parse_frame(frame) is not None)


@given(frame=other_frames())
def test_nothing_else_passes(frame: bytes) -> None:
    """The rest of the wire's traffic never wakes the agent."""
    assert not classic_bpf.run(ANY_TARGET, frame)
    assert packets.parse_frame(frame) is None


@given(frame=WELL_FORMED, others=st.sets(HOSTS | HOSTS6, max_size=5), includes=st.booleans())
def test_announcements_pass_for_our_addresses(
    frame: bytes, others: set[IPv4Address | IPv6Address], *, includes: bool
) -> None:
    """Adverts pass whatever the addresses; announcements and answers by the last 32 bits."""
    found = packets.parse_frame(frame)
    ours = set(others)
    if includes and isinstance(found, packets.Announcement | packets.NeighbourReply):
        ours.add(found.address)
    program = kernel_filter(ours)
    classic_bpf.verify(program)
    expected = found is not None
    if isinstance(found, packets.Announcement | packets.NeighbourReply):
        expected = int(found.address) % 2**32 in {int(each) % 2**32 for each in ours}
    assert expected == bool(classic_bpf.run(program, frame))


@given(frame=WELL_FORMED, tag=st.integers(0, 0xFFFF), packet_type=st.integers(0, 4))
def test_other_networks_and_hosts_never_pass(frame: bytes, tag: int, packet_type: int) -> None:
    """A tag taken off by the hardware, or another receiver, only ever takes away.

    Answers pass only to the one that got them.
    """
    found = classic_bpf.run(ANY_TARGET, frame, vlan_tag=tag, packet_type=packet_type)
    untagged = classic_bpf.run(ANY_TARGET, frame)
    barred = (
        {1, 2, 3, 4} if isinstance(packets.parse_frame(frame), packets.NeighbourReply) else {3}
    )
    assert (untagged if tag & 0xFFF == 0 and packet_type not in barred else 0) == found


@given(
    source=HOSTS | HOSTS6,
    router_id=st.integers(1, 255),
    priority=st.integers(0, 255),
    seconds=st.integers(0, 255),
    password=st.binary(max_size=8).map(lambda text: text.rstrip(b"\0")),
    data=st.data(),
)
def test_an_advert_is_read_as_it_was_written(  # noqa: PLR0917 - hypothesis
    source: IPv4Address | IPv6Address,
    router_id: int,
    priority: int,
    seconds: int,
    password: bytes,
    data: st.DataObject,
) -> None:
    """Version 2 with a password, up to as many addresses as an advert counts."""
    hosts = of_family(source.version)
    addresses = data.draw(st.lists(hosts, max_size=255))
    destination = data.draw(hosts)
    message = frames.vrrp(
        source,
        destination,
        addresses,
        router_id=router_id,
        priority=priority,
        timing=seconds,
        authentication=1,
        password=password,
    )
    expected = heard_advert(
        source,
        *addresses,
        mac=frames.THEIR_MAC,
        destination=destination,
        virtual_router_id=router_id,
        priority=priority,
        interval=float(seconds),
        authentication=1,
        password=password,
    )
    assert expected == packets.parse_frame(frames.packet(message, source, destination))


@given(mac=MACS, address=HOSTS, is_reply=st.booleans())
def test_a_gratuitous_arp_is_read_as_it_was_built(
    mac: bytes, address: IPv4Address, *, is_reply: bool
) -> None:
    """And passes the filter; every cut of it is nothing."""
    check_announcement(packets.gratuitous_arp(mac, address, is_reply=is_reply), mac, address)


@given(mac=MACS, address=HOSTS6, is_router=st.booleans())
def test_an_advertisement_is_read_as_it_was_built(
    mac: bytes, address: IPv6Address, *, is_router: bool
) -> None:
    """And passes the filter; every cut of it is nothing."""
    check_announcement(
        packets.unsolicited_advertisement(mac, address, is_router=is_router), mac, address
    )


def check_announcement(frame: bytes, mac: bytes, address: IPv4Address | IPv6Address) -> None:
    """Hold what was built against the parser and the filter; every cut of it is nothing."""
    expected = packets.Announcement(source_mac=mac, announced_mac=mac, address=address)
    assert expected == packets.parse_frame(frame)
    assert classic_bpf.run(kernel_filter({address}), frame)
    assert {None} == {packets.parse_frame(frame[:length]) for length in range(len(frame))}


@given(frame=WELL_FORMED, length=st.integers(0, 60))
def test_a_truncated_frame_is_nothing_or_the_same(frame: bytes, length: int) -> None:
    """Only Ethernet's filling can be missing."""
    found = packets.parse_frame(frame[:-length] if length else frame)
    assert found in (None, packets.parse_frame(frame))


@given(vrrp_frames())
def test_a_goodbye_is_the_advert_with_priority_0(frame: bytes) -> None:
    """Whatever else it says, and whatever its checksum covers, both families and versions."""
    advert = packets.parse_frame(frame)
    header = frame[14] & 0xF if frame[12:14] == b"\x08\x00" else frame[20]
    is_plain = frame[12:14] != b"\x81\x00" and header in {5, 112}
    assume(isinstance(advert, packets.Advert) and is_plain)
    assert isinstance(advert, packets.Advert)
    assert replace(advert, priority=0) == packets.parse_frame(packets.goodbye(frame))
