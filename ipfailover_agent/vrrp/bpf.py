"""The kernel's filter: which frames wake the agent at all, as a classic BPF program.

It lets through what ``packets.parse_frame`` understands, and these besides, which cost more to
distinguish here than there, and which hardly ever come: protocol 112 that is no whole VRRP advert;
neighbour advertisements that are not valid; and IPv6 announcements of an address that shares its
last 32 bits with a virtual one.

Adverts pass whatever their virtual router id: a node with another offset advertises the same
addresses under another id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct, field

from ipfailover_agent.vrrp import packets

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ipfailover_agent.model import IPAddress

SNAP_LENGTH: Final = 8192
"""Bytes of a frame that pass: more than the longest advert, 255 IPv6 addresses."""

ADDRESSES_LIMIT: Final = 384
"""With more addresses than this all announcements and answers pass: the kernel bounds the length
of a filter (4096 instructions) and its memory (net.core.optmem_max, 20 KiB before Linux 6.9), in
which the old and the new one must fit together when one replaces the other."""

# linux/bpf_common.h: classes, sizes, modes
_LD, _LDX, _ST, _ALU, _JMP, _RET, _MISC = 0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x07
_WORD, _HALF, _BYTE = 0x00, 0x08, 0x10
_IMMEDIATE, _ABSOLUTE, _INDIRECT, _MEMORY = 0x00, 0x20, 0x40, 0x60
_ADD, _SHIFT_LEFT = 0x00, 0x60
_ALWAYS, _EQUAL, _ANY_BIT = 0x00, 0x10, 0x40
_X, _TO_X = 0x08, 0x00
# linux/filter.h: what the kernel knows of a frame beside its bytes
_ANCILLARY: Final = 0xFFFFF000
_PACKET_TYPE: Final = _ANCILLARY + 4
_VLAN_TAG: Final = _ANCILLARY + 44
_VLAN_TAG_PRESENT: Final = _ANCILLARY + 48

_THIS_HOST: Final = 0  # linux/if_packet.h
_OTHER_HOST: Final = 3

_HEADER: Final = packets.ETHERNET_HEADER
_CHAIN: Final = 200  # comparisons that can jump to one place: jumps reach 255 instructions


class Instruction(NamedTuple):
    """One struct sock_filter; ``jt`` and ``jf`` count the instructions that a jump skips."""

    code: int
    jt: int
    jf: int
    k: int


Program = tuple[Instruction, ...]


def kernel_filter(addresses: Collection[IPAddress] | None = None) -> Program:
    """Return the filter for a raw packet socket, whose frames begin with the Ethernet header.

    It passes adverts, and announcements of ``addresses`` (None: of any address), received and
    sent ones, and answers for these addresses that this host got; not those that it gives, of
    which the holder of a busy address has many. A VLAN tag that the network card or the kernel
    has taken off counts as well. What is addressed to another host never passes: whether it is
    seen at all depends on other programs that listen on this interface.
    """
    code = _Assembly()
    _find_payload(code)
    _take_ipv4(code)
    _take_ipv6(code)
    _take_arp(code)
    code.label("drop")
    code.add(_RET, 0)
    code.label("pass")
    code.add(_RET, SNAP_LENGTH)
    code.label("announced")  # the accumulator holds the last 32 bits of the address
    if addresses is None or len(addresses) > ADDRESSES_LIMIT:
        code.add(_RET, SNAP_LENGTH)
    else:
        _take_one_of(code, sorted({int(each) & 0xFFFFFFFF for each in addresses}))
    return code.program()


class _Assembly(Struct):
    """Instructions whose jumps name labels; "next" is the instruction that follows."""

    lines: list[tuple[int, int, str, str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def label(self, name: str) -> None:
        self.labels[name] = len(self.lines)

    def add(self, code: int, k: int = 0, *, then: str = "next", other: str = "next") -> None:
        self.lines.append((code, k, then, other))

    def load(self, size: int, offset: int) -> None:
        """Load from the frame, ``offset`` bytes behind X."""
        self.add(_LD | size | _INDIRECT, offset)

    def go(self, name: str) -> None:
        """Jump however far."""
        self.add(_JMP | _ALWAYS, then=name)

    def jump(self, test: int, k: int, then: str = "next", other: str = "next") -> None:
        self.add(_JMP | test, k, then=then, other=other)

    def program(self) -> Program:
        return tuple(
            Instruction(code, 0, 0, self._skip(at, then))
            if code == _JMP | _ALWAYS
            else Instruction(code, self._skip(at, then), self._skip(at, other), k)
            for at, (code, k, then, other) in enumerate(self.lines)
        )

    def _skip(self, at: int, name: str) -> int:
        return 0 if name == "next" else self.labels[name] - at - 1


def _find_payload(code: _Assembly) -> None:
    """Put the length of an inline tag into X and branch by the kind of payload."""
    code.add(_LD | _BYTE | _ABSOLUTE, _PACKET_TYPE)
    code.jump(_EQUAL, _OTHER_HOST, then="drop")
    code.add(_LD | _BYTE | _ABSOLUTE, _VLAN_TAG_PRESENT)  # else Linux 5.0 to 6.1 show an old tag
    code.jump(_EQUAL, 0, then="untagged")
    code.add(_LD | _HALF | _ABSOLUTE, _VLAN_TAG)
    code.jump(_ANY_BIT, packets.VLAN_ID_MASK, then="drop")
    code.label("untagged")
    code.add(_LDX | _IMMEDIATE, 0)
    code.load(_HALF, 12)
    code.jump(_EQUAL, packets.ETHERTYPE_VLAN, other="kind")
    code.load(_HALF, 14)
    code.jump(_ANY_BIT, packets.VLAN_ID_MASK, then="drop")
    code.add(_LDX | _IMMEDIATE, packets.TAG)
    code.load(_HALF, 12)
    code.label("kind")
    code.jump(_EQUAL, packets.ETHERTYPE_IPV4, then="ipv4")
    code.jump(_EQUAL, packets.ETHERTYPE_IPV6, then="ipv6")
    code.jump(_EQUAL, packets.ETHERTYPE_ARP, then="arp", other="drop")


def _take_ipv4(code: _Assembly) -> None:
    code.label("ipv4")
    code.load(_BYTE, _HEADER + 9)
    code.jump(_EQUAL, packets.PROTOCOL_VRRP, other="drop")
    code.load(_HALF, _HEADER + 6)
    code.jump(_ANY_BIT, packets.FRAGMENT_OFFSET_MASK, then="drop", other="pass")


def _take_ipv6(code: _Assembly) -> None:
    code.label("ipv6")
    code.load(_BYTE, _HEADER + 6)
    behind = _HEADER + packets.IPV6_HEADER
    for number in range(packets.EXTENSIONS_LIMIT):
        code.jump(_EQUAL, packets.PROTOCOL_VRRP, then="pass")
        code.jump(_EQUAL, packets.PROTOCOL_ICMPV6, then="icmpv6")
        extension = f"extension {number}"
        for each in sorted(packets.EXTENSIONS):
            code.jump(_EQUAL, each, then=extension)
        code.go("drop")
        code.label(extension)
        code.load(_BYTE, behind)  # the next header
        code.add(_ST, 0)
        code.load(_BYTE, behind + 1)  # this one's length: units of 8 bytes, without the first
        code.add(_ALU | _ADD, 1)
        code.add(_ALU | _SHIFT_LEFT, 3)
        code.add(_ALU | _ADD | _X)
        code.add(_MISC | _TO_X)
        code.add(_LD | _MEMORY, 0)
    code.jump(_EQUAL, packets.PROTOCOL_VRRP, then="pass")
    code.jump(_EQUAL, packets.PROTOCOL_ICMPV6, other="drop")
    code.label("icmpv6")
    code.load(_BYTE, behind)
    code.jump(_EQUAL, packets.NEIGHBOUR_ADVERTISEMENT, other="drop")
    code.load(_BYTE, behind + 4)
    code.jump(_ANY_BIT, packets.SOLICITED_FLAG, other="target")
    code.add(_LD | _BYTE | _ABSOLUTE, _PACKET_TYPE)
    code.jump(_EQUAL, _THIS_HOST, other="drop")
    code.label("target")
    code.load(_WORD, behind + 20)  # the end of the target
    code.go("announced")


def _take_arp(code: _Assembly) -> None:
    hardware, protocol, hardware_length, protocol_length = packets.ARP_KIND
    sender = _HEADER + 14
    code.label("arp")
    code.load(_WORD, _HEADER)
    code.jump(_EQUAL, hardware << 16 | protocol, other="drop")
    code.load(_HALF, _HEADER + 4)
    code.jump(_EQUAL, hardware_length << 8 | protocol_length, other="drop")
    code.load(_HALF, _HEADER + 6)
    code.jump(_EQUAL, packets.ARP_REPLY, then="reply")
    code.jump(_EQUAL, packets.ARP_REQUEST, other="drop")
    code.load(_WORD, sender + 10)  # the target
    code.add(_ST, 0)
    code.load(_WORD, sender)
    code.add(_LDX | _MEMORY, 0)
    code.jump(_EQUAL | _X, 0, then="sender", other="drop")
    code.label("reply")
    code.add(_LD | _WORD | _ABSOLUTE, 0)  # sent to all?
    code.jump(_EQUAL, 0xFFFFFFFF, other="answer")
    code.add(_LD | _HALF | _ABSOLUTE, 4)
    code.jump(_EQUAL, 0xFFFF, then="whole")
    code.label("answer")
    code.add(_LD | _BYTE | _ABSOLUTE, _PACKET_TYPE)
    code.jump(_EQUAL, _THIS_HOST, other="drop")
    code.label("whole")
    code.load(_WORD, sender + 10)  # the frame has to reach that far
    code.load(_WORD, sender)
    code.label("sender")
    code.jump(_EQUAL, 0, then="drop", other="announced")


def _take_one_of(code: _Assembly, words: Sequence[int]) -> None:
    for begin in range(0, len(words), _CHAIN):
        found = f"found {begin}"
        for each in words[begin : begin + _CHAIN]:
            code.jump(_EQUAL, each, then=found)
        code.go(f"behind {begin}")
        code.label(found)
        code.add(_RET, SNAP_LENGTH)
        code.label(f"behind {begin}")
    code.add(_RET, 0)
