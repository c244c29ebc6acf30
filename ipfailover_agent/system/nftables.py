"""Cheap questions to the kernel about the rules of nftables, without a process."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
_NETLINK_NETFILTER: Final = 12
_GET_GENERATION: Final = 10 << 8 | 16
_NEW_GENERATION: Final = 10 << 8 | 15
_GET_TABLE: Final = 10 << 8 | 1
_NEW_TABLE: Final = 10 << 8 | 0
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME
_INET: Final = 1  # NFPROTO_INET
_HEADER: Final = struct.Struct("=IHHIIBBH")  # nlmsghdr and nfgenmsg
_NLMSG_HEADER: Final = 16
_ERROR: Final = struct.Struct("=i")
_ATTRIBUTE: Final = struct.Struct("=HH")
_GENERATION_ID: Final = struct.Struct("=HH4s")  # the first attribute, NFTA_GEN_ID, big endian


def read_generation() -> int | None:
    """Return the number that every change of the ruleset raises; None where it is kept from us."""
    reply = _ask(_HEADER.pack(_HEADER.size, _GET_GENERATION, 1, 1, 0, 0, 0, 0))
    if reply is None or len(reply) < _HEADER.size + _GENERATION_ID.size:
        return None
    if _HEADER.unpack_from(reply)[1] != _NEW_GENERATION:
        return None
    return int.from_bytes(_GENERATION_ID.unpack_from(reply, _HEADER.size)[2], "big")


def has_table(name: str) -> bool | None:
    """Tell whether a table of the family ``inet`` is there; None where that is kept from us."""
    packed = name.encode() + b"\0"
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _TABLE_NAME) + packed
    attribute += bytes(-len(attribute) % 4)
    length = _HEADER.size + len(attribute)
    reply = _ask(_HEADER.pack(length, _GET_TABLE, 1, 1, 0, _INET, 0, 0) + attribute)
    if reply is None or len(reply) < _HEADER.size:
        return None
    if _HEADER.unpack_from(reply)[1] == _NEW_TABLE:
        return True
    number = -_ERROR.unpack_from(reply, _NLMSG_HEADER)[0]
    return False if number == errno.ENOENT else None


def _ask(request: bytes) -> bytes | None:
    """Return the kernel's answer to a question about its rules, None where it gives none."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as asking:
            asking.setblocking(False)  # noqa: FBT003 - the kernel answers before send returns
            asking.sendto(request, (0, 0))
            return asking.recv(4096)
    except OSError:
        return None
