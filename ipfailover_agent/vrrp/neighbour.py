"""Questions to the network for an address, and their answers.

ARP requests (RFC 826) and neighbour solicitations (RFC 4861 section 4.3) from this node's own
address, as any host sends them before it sends to another: they change no host's neighbour table.
Never from 0.0.0.0 nor from a virtual address: that would be a probe for a conflict (RFC 5227).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from ipfailover_agent.vrrp import packets

if TYPE_CHECKING:
    from ipfailover_agent.model import IPAddress

_SOLICITATION: Final = 135
_SOURCE_LINK_ADDRESS: Final = 1
_SOLICITED_NODE: Final = 0xFF02_0000_0000_0000_0000_0001_FF00_0000  # RFC 4291 section 2.7.1
_LAST_BITS: Final = 0xFF_FFFF
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_IPV6: Final = struct.Struct("!B3xHBB16s16s")
_NEIGHBOUR: Final = struct.Struct("!BBHB3x16s")
_ETHERTYPE: Final = struct.Struct("!H")


def question(
    mac: bytes, own: IPAddress, target: IPAddress, *, receiver: bytes | None = None
) -> bytes:
    """Return the Ethernet frame that asks for the MAC of ``target``.

    Args:
        mac: of the interface that asks, 6 bytes.
        own: an address of this node, of the same family.
        target: the address in question.
        receiver: the MAC of the host that alone is asked, as hosts do to learn whether a
            neighbour is still there (RFC 1122 section 2.3.2.1, RFC 4861 section 7.3.3); None asks
            all.
    """
    if isinstance(target, IPv4Address):
        header = (receiver or packets.BROADCAST) + mac + _ETHERTYPE.pack(packets.ETHERTYPE_ARP)
        words = (*packets.ARP_KIND, packets.ARP_REQUEST)
        return header + _ARP.pack(*words, mac, own.packed, bytes(6), target.packed)
    group = IPv6Address(_SOLICITED_NODE | (int(target) & _LAST_BITS))
    destination, to = (target, receiver) if receiver else (group, b"\x33\x33" + group.packed[-4:])
    option = bytes((_SOURCE_LINK_ADDRESS, 1)) + mac

    def message(checksum: int) -> bytes:
        return _NEIGHBOUR.pack(_SOLICITATION, 0, checksum, 0, target.packed) + option

    length = len(message(0))
    kind, ends = packets.PROTOCOL_ICMPV6, (own.packed, destination.packed)
    pseudo = packets.pseudo_header(*ends, kind, length)
    header = _IPV6.pack(6 << 4, length, kind, packets.HOP_LIMIT, *ends)
    ethernet = to + mac + _ETHERTYPE.pack(packets.ETHERTYPE_IPV6)
    return ethernet + header + message(packets.checksum(pseudo + message(0)))


def parse_answer(frame: bytes) -> tuple[IPAddress, bytes] | None:
    """Return the host that has an address, by an answer to a question: the address and its MAC.

    None for anything else, whatever the bytes.
    """
    if len(frame) < packets.ETHERNET_HEADER:
        return None
    (kind,) = _ETHERTYPE.unpack_from(frame, 12)
    payload = frame[packets.ETHERNET_HEADER :]
    if kind == packets.ETHERTYPE_ARP and len(payload) >= _ARP.size:
        *words, operation, mac, sender, _, _ = _ARP.unpack_from(payload)
        if tuple(words) == packets.ARP_KIND and operation == packets.ARP_REPLY:
            return IPv4Address(sender), mac
    if kind == packets.ETHERTYPE_IPV6 and len(payload) >= _IPV6.size + _NEIGHBOUR.size:
        _, _, following, hop_limit, _, _ = _IPV6.unpack_from(payload)
        message = payload[_IPV6.size :]
        what, code, _, _, target = _NEIGHBOUR.unpack_from(message)
        expected = (packets.PROTOCOL_ICMPV6, packets.HOP_LIMIT, packets.NEIGHBOUR_ADVERTISEMENT, 0)
        if (following, hop_limit, what, code) == expected:
            return IPv6Address(target), frame[6:12]
    return None
