"""Frames by the book, made by code that shares nothing with ``vrrp.packets``."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from ipfailover_agent.model import IPAddress

EVERYONE = bytes.fromhex("ffffffffffff")
VRRP_GROUP = bytes.fromhex("01005e000012")
ALL_NODES_GROUP = bytes.fromhex("333300000001")
THEIR_MAC = bytes.fromhex("525400000001")
OUR_MAC = bytes.fromhex("525400000002")
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD


def checksum(data: bytes) -> int:
    """Return the Internet checksum as RFC 1071 section 4.1 computes it."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def summed_up(message: bytes, at: int, pseudo: bytes = b"") -> bytes:
    """Return the message with its checksum at that offset."""
    value = checksum(pseudo + message[:at] + b"\0\0" + message[at + 2 :])
    return message[:at] + struct.pack("!H", value) + message[at + 2 :]


def ethernet(
    payload: bytes,
    kind: int,
    *,
    source: bytes = THEIR_MAC,
    destination: bytes = EVERYONE,
    tag: int | None = None,
) -> bytes:
    """Return a frame, filled up to the least that Ethernet carries."""
    inline = b"" if tag is None else struct.pack("!HH", 0x8100, tag)
    return (destination + source + inline + struct.pack("!H", kind) + payload).ljust(60, b"\0")


def ipv4(
    payload: bytes,
    source: IPv4Address,
    destination: IPv4Address,
    *,
    protocol: int = 112,
    ttl: int = 255,
    options: bytes = b"",
    fragment: int = 0,
) -> bytes:
    """Return an IPv4 packet; ``options`` are a multiple of 4 bytes."""
    words = 5 + len(options) // 4
    length = words * 4 + len(payload)
    fixed = struct.pack("!BBHHHBBH", 0x40 | words, 0xC0, length, 7, fragment, ttl, protocol, 0)
    header = fixed + source.packed + destination.packed + options
    return summed_up(header, 10) + payload


def ipv6(
    payload: bytes,
    source: IPv6Address,
    destination: IPv6Address,
    *,
    following: int = 112,
    hop_limit: int = 255,
    extensions: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """Return an IPv6 packet; an extension is its type and 6 bytes, or 8 more each."""
    first = following
    for kind, content in reversed(extensions):
        payload = bytes((first, len(content) // 8)) + content + payload
        first = kind
    header = struct.pack("!IHBB", 6 << 28, len(payload), first, hop_limit)
    return header + source.packed + destination.packed + payload


def pseudo_header(source: IPAddress, destination: IPAddress, protocol: int, length: int) -> bytes:
    """Return what a checksum covers beside the message."""
    return source.packed + destination.packed + struct.pack("!II", length, protocol)


def vrrp(
    source: IPAddress,
    destination: IPAddress,
    addresses: Sequence[IPAddress],
    *,
    version: int = 2,
    router_id: int = 51,
    priority: int = 100,
    timing: int = 1,
    authentication: int = 0,
    password: bytes | None = None,
    pseudo: bool = True,
) -> bytes:
    """Return a VRRP message; ``timing`` is seconds (version 2) or centiseconds (version 3)."""
    last = authentication << 8 | timing if version == 2 else timing
    fixed = struct.pack("!BBBBHH", version << 4 | 1, router_id, priority, len(addresses), last, 0)
    message = fixed + b"".join(each.packed for each in addresses)
    if password is not None:
        message += password.ljust(8, b"\0")
    covered = b""
    if version == 3 and pseudo:
        covered = pseudo_header(source, destination, 112, len(message))
    return summed_up(message, 6, covered)


def packet(message: bytes, source: IPAddress, destination: IPAddress, ttl: int = 255) -> bytes:
    """Return a frame with that VRRP message, of the family of ``source``."""
    if isinstance(source, IPv4Address) and isinstance(destination, IPv4Address):
        whole = ipv4(message, source, destination, ttl=ttl)
        return ethernet(whole, IPV4, destination=VRRP_GROUP)
    assert isinstance(source, IPv6Address)
    assert isinstance(destination, IPv6Address)
    return ethernet(ipv6(message, source, destination, hop_limit=ttl), IPV6)


def arp(
    operation: int,
    sender: IPv4Address,
    target: IPv4Address,
    *,
    mac: bytes = THEIR_MAC,
    destination: bytes = EVERYONE,
    tag: int | None = None,
) -> bytes:
    """Return an ARP frame: 1 is a request, 2 a reply."""
    fixed = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    payload = fixed + mac + sender.packed + OUR_MAC + target.packed
    return ethernet(payload, ARP, destination=destination, tag=tag)


def icmpv6(
    source: IPv6Address, destination: IPv6Address, message: bytes, hop_limit: int = 255
) -> bytes:
    """Return a frame with that ICMPv6 message and its checksum."""
    covered = pseudo_header(source, destination, 58, len(message))
    whole = summed_up(message, 2, covered)
    return ethernet(
        ipv6(whole, source, destination, following=58, hop_limit=hop_limit),
        IPV6,
        destination=ALL_NODES_GROUP,
    )


def neighbour(
    target: IPv6Address, *, kind: int = 136, flags: int = 0x20, options: bytes = b""
) -> bytes:
    """Return a neighbour advertisement (or another message of its form) without checksum."""
    return struct.pack("!BBHI", kind, 0, 0, flags << 24) + target.packed + options
