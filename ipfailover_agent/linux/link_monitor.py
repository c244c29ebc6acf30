"""Receives this namespace's links and addresses as they change: an rtnetlink multicast socket.

The wake-ups are few: a filter in the kernel lets notices of links through, and of addresses those
that leave, or that come with a network's prefix. The renewal of a lease, which is a notice for
each virtual address each second, and what comes on kube-ipvs0 wake nothing.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.linux import rtnetlink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfailover_agent.model import IPAddress

# linux/rtnetlink.h
_GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_LINK: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFF_UP: Final = 0x1
_UNSPECIFIED: Final = 0  # bridges report their ports under another family
# linux/filter.h, asm/socket.h
_ATTACH_FILTER: Final = 26
_FILTER_INSTRUCTION: Final = struct.Struct("=HBBI")
_FILTER: Final = struct.Struct("@HP")
_RECEIVE_BYTES: Final = 1 << 16
_MOST_READS: Final = 64  # at once; what is left wakes the loop again
_WHOLE: Final = 0xFFFFFFFF

# classic BPF, linux/bpf_common.h
_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_TYPE_OFFSET: Final = 4  # of nlmsghdr
_PREFIX_OFFSET: Final = 17  # of ifaddrmsg, behind it
_HOST_PREFIXES: Final = (32, 128)


class LinkNotice(Struct, frozen=True, kw_only=True):
    """An interface as it is now: made, changed, or (``is_gone``) deleted.

    ``is_up`` is what an administrator set. ``mac`` is empty where the interface has none.
    """

    index: int
    name: str
    is_up: bool
    mac: bytes
    is_gone: bool = False


class AddressNotice(Struct, frozen=True, kw_only=True):
    """An address came, changed, or (``is_gone``) went."""

    index: int
    address: IPAddress
    is_gone: bool = False


class Overrun(Struct, frozen=True):
    """There were more notices than fit: what is known may be old."""


Notice = LinkNotice | AddressNotice | Overrun


class LinkMonitor:
    """A non-blocking socket, readable when something has changed; a context manager."""

    def __init__(self) -> None:
        """Open the socket.

        Raises:
            SystemRefusedError: the kernel refuses.
        """
        try:
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        except OSError as error:
            raise SystemRefusedError(f"cannot open rtnetlink: {error.strerror}") from error
        try:
            _attach(self._socket)  # before it is bound: nothing else gets in
            self._socket.bind((0, _GROUPS))
        except OSError as error:
            self.close()
            raise SystemRefusedError(f"cannot hear rtnetlink: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def read(self) -> tuple[Notice, ...]:
        """Return the notices since the last call, in order, without waiting.

        Raises:
            SystemRefusedError: the kernel refuses.
        """
        found: list[Notice] = []
        for _ in range(_MOST_READS):
            try:
                data, _, _, sender = self._socket.recvmsg(_RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise SystemRefusedError(f"cannot hear rtnetlink: {error.strerror}") from error
                found.append(Overrun())
                continue
            if sender[0] == 0:  # the kernel; any process may write to a netlink socket
                found += parse(data)
        return tuple(found)


def parse(data: bytes) -> Iterator[Notice]:
    """Yield the notices of one datagram; other messages are passed by.

    Raises:
        MalformedMessageError: the bytes are not as in rtnetlink(7).
    """
    for message in rtnetlink.split_messages(data):
        match message.kind:
            case rtnetlink.NEW_LINK | rtnetlink.DELETE_LINK as kind:
                notice = _parse_link(message.payload, is_gone=kind == rtnetlink.DELETE_LINK)
                if notice is not None:
                    yield notice
            case rtnetlink.NEW_ADDRESS | rtnetlink.DELETE_ADDRESS as kind:
                held = rtnetlink.parse_address(message.payload)
                if held is not None:
                    yield AddressNotice(
                        index=held.index,
                        address=held.address.address,
                        is_gone=kind == rtnetlink.DELETE_ADDRESS,
                    )
            case _:
                pass


def _parse_link(payload: bytes, *, is_gone: bool) -> LinkNotice | None:
    if len(payload) < _LINK.size:
        raise rtnetlink.MalformedMessageError("cannot read netlink message: it is cut off")
    family, _, index, flags, _ = _LINK.unpack_from(payload)
    if family != _UNSPECIFIED:  # a port that leaves its bridge is reported as a deleted link
        return None
    attributes = rtnetlink.parse_attributes(payload[_LINK.size :])
    return LinkNotice(
        index=index,
        name=os.fsdecode(attributes.get(_IFLA_IFNAME, b"").split(b"\0", 1)[0]),
        is_up=bool(flags & _IFF_UP),
        mac=attributes.get(_IFLA_ADDRESS, b""),
        is_gone=is_gone,
    )


def _attach(listening: socket.socket) -> None:
    """Refuse, in the kernel, notices of addresses that come with a host's prefix."""
    new_address = socket.htons(rtnetlink.NEW_ADDRESS)  # the filter reads in network order
    program = (
        (_LOAD_HALF, 0, 0, _TYPE_OFFSET),
        (_JUMP_EQUAL, 0, 3, new_address),
        (_LOAD_BYTE, 0, 0, _PREFIX_OFFSET),
        (_JUMP_EQUAL, 2, 0, _HOST_PREFIXES[0]),
        (_JUMP_EQUAL, 1, 0, _HOST_PREFIXES[1]),
        (_RETURN, 0, 0, _WHOLE),
        (_RETURN, 0, 0, 0),
    )
    packed = b"".join(_FILTER_INSTRUCTION.pack(*each) for each in program)
    buffer = array.array("B", packed)  # has an address; the kernel copies what is there
    address, _ = buffer.buffer_info()
    option = _FILTER.pack(len(program), address)
    listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, option)
