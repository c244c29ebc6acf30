"""VRRP adverts, announcements of addresses and questions for them, read and built as bytes.

The parsers never raise: what is no whole, valid packet of a kind that matters here is None. Only
frames of the untagged network count (IEEE 802.1Q: a tag with id 0 is no network of its own): the
addresses of another VLAN may be the same and belong to another host.
"""

from __future__ import annotations

import functools
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.text import shown_without

if TYPE_CHECKING:
    from ipfailover_agent.model import IPAddress

# Ethernet
BROADCAST: Final = b"\xff" * 6
ETHERNET_HEADER: Final = 14  # bytes; a VLAN tag makes it TAG bytes longer
TAG: Final = 4
VLAN_ID_MASK: Final = 0x0FFF
ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_VLAN: Final = 0x8100
ETHERTYPE_IPV6: Final = 0x86DD
VRRP_GROUPS: Final = (bytes.fromhex("01005e000012"), bytes.fromhex("333300000012"))
"""Link-layer groups of 224.0.0.18 and ff02::12 (RFC 5798 sections 5.1.1.2 and 5.1.2.2)."""

# IP: protocol numbers of IANA
PROTOCOL_ICMPV6: Final = 58
PROTOCOL_VRRP: Final = 112
EXTENSIONS: Final = frozenset((0, 43, 60))  # hop-by-hop, routing, destination options (RFC 8200)
EXTENSIONS_LIMIT: Final = 2  # no sender uses them with what matters here; a bound all the same
FRAGMENT_OFFSET_MASK: Final = 0x1FFF
IPV6_HEADER: Final = 40

# ARP over Ethernet for IPv4 (RFC 826): hardware type, protocol, lengths of their addresses
ARP_KIND: Final = (1, ETHERTYPE_IPV4, 6, 4)
ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2

# neighbour discovery (RFC 4861 section 4.4)
NEIGHBOUR_ADVERTISEMENT: Final = 136
HOP_LIMIT: Final = 255
ROUTER_FLAG: Final = 0x80
SOLICITED_FLAG: Final = 0x40
_OVERRIDE_FLAG: Final = 0x20
_SOLICITATION: Final = 135
_SOURCE_LINK_ADDRESS: Final = 1
_TARGET_LINK_ADDRESS: Final = 2
_MULTICAST: Final = 0xFF  # the first byte of an IPv6 group
_ALL_NODES: Final = IPv6Address("ff02::1")
_SOLICITED_NODE: Final = 0xFF02_0000_0000_0000_0000_0001_FF00_0000  # RFC 4291 section 2.7.1
_LAST_BITS: Final = 0xFF_FFFF

# VRRP (RFC 3768 section 5.1, RFC 5798 section 5.1)
_ADVERTISEMENT: Final = 1
_SECONDS_VERSION: Final = 2
_CENTISECONDS_VERSION: Final = 3
_PASSWORD_AUTHENTICATION: Final = 1  # RFC 2338 section 5.3.6
_PASSWORD_LENGTH: Final = 8
_REMEMBERED: Final = 512  # adverts: those of 254 instances, sent and received

# CARP (OpenBSD's and FreeBSD's ip_carp.h, ucarp's ip_carp.h): VRRP's protocol number, version 2
CARP_FIRST: Final = 0x21
CARP_COUNT: Final = 7  # 32-bit words of counter and digest, where VRRP counts addresses
CARP_LENGTH: Final = 36  # bytes; an advert of version 2 with seven addresses has 44

_SHORT: Final = struct.Struct("!H")
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_IPV4: Final = struct.Struct("!BxHxxHBBxx4s4s")
_IPV6: Final = struct.Struct("!B3xHBB16s16s")
_VRRP: Final = struct.Struct("!BBBBHxx")
_SUMMED_VRRP: Final = struct.Struct("!BBBBHH")
_NEIGHBOUR: Final = struct.Struct("!BBHB3x16s")


class Advert(Struct, frozen=True, kw_only=True):
    """A VRRP advertisement (version 2: RFC 2338 and RFC 3768; version 3: RFC 5798).

    Attributes:
        source_mac: 6 bytes, of the Ethernet header.
        source: the sender's own address, which ranks it among equal priorities.
        destination: 224.0.0.18, ff02::12, or the unicast peer's address.
        version: 2 or 3.
        priority: 0 to 255; 0 means that the sender has stopped.
        addresses: those it holds, in its order.
        interval: seconds between its adverts.
        authentication: the type that a version 2 advert names, 0 is none; 0 in version 3.
        password: without the zeros that fill it up; None unless ``authentication`` is 1.
        ttl: the hop limit with IPv6. By the RFCs it is 255; keepalived 2.2.7 sends IPv6 unicast
            adverts with that of the interface, 64 as a rule, unless it has ``unicast_ttl``.
        is_checksum_right: keepalived drops an advert whose checksum is wrong.
    """

    source_mac: bytes
    source: IPAddress
    destination: IPAddress
    version: int
    virtual_router_id: int
    priority: int
    addresses: tuple[IPAddress, ...]
    interval: float
    authentication: int
    password: bytes | None
    ttl: int
    is_checksum_right: bool

    def __repr__(self) -> str:
        return shown_without(self, "password")


class Carp(Struct, frozen=True, kw_only=True):
    """An advertisement of CARP, which keepalived takes for a VRRP advert and refuses.

    It names no addresses: they are hidden in a digest.

    Attributes:
        source_mac: 6 bytes, of the Ethernet header: 00:00:5e:00:01 and the id.
        source: the sender's own address.
        router_id: CARP's vhid, where VRRP has its virtual router id.
        skew: CARP's advskew, where VRRP has its priority; the lowest wins.
        ttl: the hop limit with IPv6.
    """

    source_mac: bytes
    source: IPAddress
    router_id: int
    skew: int
    ttl: int


class Announcement(Struct, frozen=True, kw_only=True):
    """A host claims an address unasked: gratuitous ARP, neighbour advertisement.

    Attributes:
        source_mac: 6 bytes, of the Ethernet header.
        announced_mac: 6 bytes, where neighbours shall send to; mostly the same.
        address: the address in question.
    """

    source_mac: bytes
    announced_mac: bytes
    address: IPAddress


class NeighbourReply(Struct, frozen=True, kw_only=True):
    """A host answered a question: an ARP reply to one host, a solicited advertisement.

    That claims nothing: proxies and gateways answer for addresses that are not their own.

    Attributes:
        mac: 6 bytes, where the host that asked shall send to.
        address: the address in question.
    """

    mac: bytes
    address: IPAddress


Packet = Advert | Carp | Announcement | NeighbourReply


# --- parsers ------------------------------------------------------------------------------------


def parse_frame(frame: bytes) -> Packet | None:
    """Return the content of an Ethernet frame, or None when nothing of it matters here.

    Not an announcement but an answer is an ARP reply to one host (proxies answer gratuitous ARP
    too, and then sender and target are the same), and a neighbour advertisement with the S flag.
    ARP probes and neighbour solicitations only ask, and are nothing here.

    CARP shares protocol 112 and the first byte of a version 2 advert; its length and its count
    distinguish it.
    """
    if len(frame) < ETHERNET_HEADER + TAG:
        return None
    source_mac = frame[6:12]
    (kind,) = _SHORT.unpack_from(frame, 12)
    begin = ETHERNET_HEADER
    if kind == ETHERTYPE_VLAN:
        tag, kind = struct.unpack_from("!HH", frame, 14)
        begin += TAG
        if tag & VLAN_ID_MASK:
            return None
    payload = frame[begin:]
    if kind == ETHERTYPE_IPV4:
        return _parse_ipv4(source_mac, payload)
    if kind == ETHERTYPE_IPV6:
        return _parse_ipv6(source_mac, payload)
    if kind == ETHERTYPE_ARP:
        return _parse_arp(source_mac, payload, is_broadcast=frame[:6] == BROADCAST)
    return None


def parse_neighbour_answer(frame: bytes) -> tuple[IPAddress, bytes] | None:
    """Return the address and the MAC of the host that answers a :func:`neighbour_question`.

    None for anything else, whatever the bytes.
    """
    payload = frame[ETHERNET_HEADER:]
    if frame[12:14] == _SHORT.pack(ETHERTYPE_ARP) and len(payload) >= _ARP.size:
        *words, mac, sender, _, _ = _ARP.unpack_from(payload)
        if tuple(words) == (*ARP_KIND, ARP_REPLY):
            return IPv4Address(sender), mac
    shortest = _IPV6.size + _NEIGHBOUR.size
    if frame[12:14] == _SHORT.pack(ETHERTYPE_IPV6) and len(payload) >= shortest:
        _, _, following, hop_limit, _, _ = _IPV6.unpack_from(payload)
        kind, code, _, _, target = _NEIGHBOUR.unpack_from(payload, _IPV6.size)
        expected = (PROTOCOL_ICMPV6, HOP_LIMIT, NEIGHBOUR_ADVERTISEMENT, 0)
        if (following, hop_limit, kind, code) == expected:
            return IPv6Address(target), frame[6:12]
    return None


def _parse_arp(
    source_mac: bytes, payload: bytes, *, is_broadcast: bool
) -> Announcement | NeighbourReply | None:
    if len(payload) < _ARP.size:
        return None
    *kind, operation, announced_mac, sender, _, target = _ARP.unpack_from(payload)
    if tuple(kind) != ARP_KIND or not any(sender):
        return None
    if operation == ARP_REPLY and not is_broadcast:
        return NeighbourReply(mac=announced_mac, address=IPv4Address(sender))
    is_announced = operation == ARP_REPLY or (operation == ARP_REQUEST and sender == target)
    if not is_announced:
        return None
    address = IPv4Address(sender)
    return Announcement(source_mac=source_mac, announced_mac=announced_mac, address=address)


def _parse_ipv4(source_mac: bytes, packet: bytes) -> Advert | Carp | None:
    if len(packet) < _IPV4.size:
        return None
    first, length, fragment, ttl, protocol, source, destination = _IPV4.unpack_from(packet)
    header = (first & 0xF) * 4
    if first >> 4 != 4 or header < _IPV4.size or not header <= length <= len(packet):  # noqa: PLR2004
        return None
    if protocol != PROTOCOL_VRRP or fragment & FRAGMENT_OFFSET_MASK:
        return None
    message = packet[header:length]  # Ethernet fills short frames up, so this length counts
    return _parse_vrrp(source_mac, source, destination, ttl, message)


def _parse_ipv6(source_mac: bytes, packet: bytes) -> Packet | None:
    if len(packet) < _IPV6.size:
        return None
    first, length, following, hop_limit, source, destination = _IPV6.unpack_from(packet)
    payload = packet[_IPV6.size : _IPV6.size + length]
    if first >> 4 != 6 or len(payload) < length:  # noqa: PLR2004 - the version
        return None
    for _ in range(EXTENSIONS_LIMIT):
        if following not in EXTENSIONS or len(payload) < 8:  # noqa: PLR2004 - bytes of the shortest
            break
        following, payload = payload[0], payload[(payload[1] + 1) * 8 :]
    if following == PROTOCOL_VRRP:
        return _parse_vrrp(source_mac, source, destination, hop_limit, payload)
    if following == PROTOCOL_ICMPV6 and hop_limit == HOP_LIMIT:
        return _parse_neighbour(source_mac, source, destination, payload)
    return None


@functools.lru_cache(maxsize=_REMEMBERED)
def _parse_vrrp(
    source_mac: bytes, source: bytes, destination: bytes, ttl: int, message: bytes
) -> Advert | Carp | None:
    """Return the advert; the same ones come again and again, so that most are remembered."""
    if len(message) < _VRRP.size:
        return None
    first, router_id, priority, count, timing = _VRRP.unpack_from(message)
    if (first, count, len(message)) == (CARP_FIRST, CARP_COUNT, CARP_LENGTH):
        return Carp(
            source_mac=source_mac,
            source=ip_address(source),
            router_id=router_id,
            skew=priority,
            ttl=ttl,
        )
    version = first >> 4
    if first & 0xF != _ADVERTISEMENT:
        return None
    width = len(source)
    end = _VRRP.size + count * width
    if len(message) < end:
        return None
    authentication, password = 0, None
    pseudo = pseudo_header(source, destination, PROTOCOL_VRRP, len(message))
    if version == _SECONDS_VERSION:
        authentication, interval = timing >> 8, float(timing & 0xFF)
        if authentication == _PASSWORD_AUTHENTICATION:
            password = message[end : end + _PASSWORD_LENGTH].rstrip(b"\0")
        is_right = not checksum(message)
    elif version == _CENTISECONDS_VERSION:
        interval = (timing & 0x0FFF) / 100
        # RFC 5798 left open whether IPv4 has a pseudo header; keepalived takes either form
        is_right = not checksum(pseudo + message) or (width == 4 and not checksum(message))  # noqa: PLR2004
    else:
        return None
    kind = IPv4Address if width == 4 else IPv6Address  # noqa: PLR2004
    return Advert(
        source_mac=source_mac,
        source=kind(source),
        destination=kind(destination),
        version=version,
        virtual_router_id=router_id,
        priority=priority,
        addresses=tuple(kind(message[at : at + width]) for at in range(_VRRP.size, end, width)),
        interval=interval,
        authentication=authentication,
        password=password,
        ttl=ttl,
        is_checksum_right=is_right,
    )


def _parse_neighbour(
    source_mac: bytes, source: bytes, destination: bytes, message: bytes
) -> Announcement | NeighbourReply | None:
    """Return an advertisement that a host would believe (RFC 4861 section 7.1.2)."""
    if len(message) < _NEIGHBOUR.size:
        return None
    kind, code, _, flags, target = _NEIGHBOUR.unpack_from(message)
    if (kind, code) != (NEIGHBOUR_ADVERTISEMENT, 0):
        return None
    address = IPv6Address(target)
    if address.is_multicast or address.is_unspecified:
        return None
    pseudo = pseudo_header(source, destination, PROTOCOL_ICMPV6, len(message))
    if checksum(pseudo + message):
        return None
    announced_mac = source_mac
    options = message[_NEIGHBOUR.size :]
    while options:
        length = options[1] * 8 if len(options) > 1 else 0
        if not 0 < length <= len(options):
            return None
        if options[0] == _TARGET_LINK_ADDRESS and length == 8:  # noqa: PLR2004 - that of a MAC
            announced_mac = options[2:8]
        options = options[length:]
    if flags & SOLICITED_FLAG:
        is_to_all = destination[0] == _MULTICAST  # invalid, likewise
        return None if is_to_all else NeighbourReply(mac=announced_mac, address=address)
    return Announcement(source_mac=source_mac, announced_mac=announced_mac, address=address)


# --- builders -----------------------------------------------------------------------------------


def gratuitous_arp(mac: bytes, address: IPv4Address, *, is_reply: bool = False) -> bytes:
    """Return the broadcast frame that announces an IPv4 address.

    The request form is what RFC 5227 section 3 asks for, what keepalived sends, and what reaches
    most hosts: it is the one to repeat. Some devices learn from replies only: where a contest was
    just won, send both forms.
    """
    operation, target_mac = (ARP_REPLY, mac) if is_reply else (ARP_REQUEST, bytes(6))
    return _arp_frame(BROADCAST, operation, mac, address.packed, target_mac, address.packed)


def unsolicited_advertisement(
    mac: bytes, address: IPv6Address, *, is_router: bool = False
) -> bytes:
    """Return the neighbour advertisement to all nodes that announces an IPv6 address.

    ``is_router`` is whether this node forwards: hosts that use the address as their router drop
    their default route when an advertisement denies it (RFC 4861 section 7.2.5).
    """
    fields = (NEIGHBOUR_ADVERTISEMENT, _OVERRIDE_FLAG | (ROUTER_FLAG if is_router else 0))
    option = bytes((_TARGET_LINK_ADDRESS, 1)) + mac
    return _neighbour_frame(None, (address, _ALL_NODES), fields, address, option)


def neighbour_question(
    mac: bytes, own: IPAddress, target: IPAddress, *, receiver: bytes | None = None
) -> bytes:
    """Return the frame that asks for the MAC of ``target``: an ARP request or a solicitation.

    It asks from this node's own address, as any host does before it sends to another: no host's
    neighbour table changes. Never from 0.0.0.0 nor from a virtual address: that would be a probe
    for a conflict (RFC 5227).

    Args:
        mac: of the interface that asks, 6 bytes.
        own: an address of this node, of the same family.
        target: the address in question.
        receiver: the MAC of the host that alone is asked, as hosts do to learn whether a
            neighbour is still there (RFC 1122 section 2.3.2.1, RFC 4861 section 7.3.3); None asks
            all.
    """
    if isinstance(target, IPv4Address):
        ends = (mac, own.packed, bytes(6), target.packed)
        return _arp_frame(receiver or BROADCAST, ARP_REQUEST, *ends)
    group = IPv6Address(_SOLICITED_NODE | (int(target) & _LAST_BITS))
    option = bytes((_SOURCE_LINK_ADDRESS, 1)) + mac
    both = (own, target if receiver else group)
    return _neighbour_frame(receiver, both, (_SOLICITATION, 0), target, option)


def _arp_frame(receiver: bytes, operation: int, *ends: bytes) -> bytes:
    """Return an ARP frame; ``ends`` are the MACs and addresses of its sender and its target."""
    header = receiver + ends[0] + _SHORT.pack(ETHERTYPE_ARP)
    return header + _ARP.pack(*ARP_KIND, operation, *ends)


def _neighbour_frame(
    receiver: bytes | None,
    both: tuple[IPAddress, IPAddress],
    fields: tuple[int, int],
    target: IPAddress,
    option: bytes,
) -> bytes:
    """Return a neighbour discovery message: both ends, type and flags, target, own MAC as option.

    It goes to the MAC ``receiver``; None is that of the group that it is addressed to.
    """
    ends, kind = (both[0].packed, both[1].packed), PROTOCOL_ICMPV6

    def message(checksum: int) -> bytes:
        return _NEIGHBOUR.pack(fields[0], 0, checksum, fields[1], target.packed) + option

    whole = message(checksum(pseudo_header(*ends, kind, len(message(0))) + message(0)))
    header = _IPV6.pack(6 << 4, len(whole), kind, HOP_LIMIT, *ends)
    to = receiver or b"\x33\x33" + ends[1][-4:]
    return to + option[2:] + _SHORT.pack(ETHERTYPE_IPV6) + header + whole


def is_untagged(frame: bytes) -> bool:
    """Return whether an IP packet follows the Ethernet header directly, without a VLAN tag."""
    return frame[12:14] in {_SHORT.pack(ETHERTYPE_IPV4), _SHORT.pack(ETHERTYPE_IPV6)}


def goodbye(frame: bytes) -> bytes:
    """Return the untagged frame of an advert, with priority 0.

    The checksum is corrected by the former word of the priority (RFC 1624, equation 3), whatever
    else it covers.
    """
    is_ipv4 = frame[12:14] == _SHORT.pack(ETHERTYPE_IPV4)
    header = (frame[ETHERNET_HEADER] & 0xF) * 4 if is_ipv4 else IPV6_HEADER
    begin = ETHERNET_HEADER + header
    first, router_id, priority, count, timing, old = _SUMMED_VRRP.unpack_from(frame, begin)
    words = (old ^ 0xFFFF) + ((priority << 8 | count) ^ 0xFFFF) + count
    mended = -words % 0xFFFF
    message = _SUMMED_VRRP.pack(first, router_id, 0, count, timing, mended)
    return frame[:begin] + message + frame[begin + len(message) :]


# --- checksums (RFC 1071) -----------------------------------------------------------------------


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """Return what a checksum covers beside the message (RFC 8200 section 8.1; IPv4 sums alike)."""
    return source + destination + struct.pack("!HH", protocol, length)


def checksum(data: bytes) -> int:
    """Return the Internet checksum of an even number of bytes; 0 if they hold their own.

    A sum of 16-bit words in ones' complement is the number they write, modulo 0xFFFF. An odd byte
    at the end shifts the number, and what is 0 modulo 0xFFFF stays so.
    """
    return -int.from_bytes(data, "big") % 0xFFFF
