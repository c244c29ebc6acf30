"""Receives this namespace's links and addresses as they change: an rtnetlink multicast socket.

The wake-ups are few: a filter in the kernel lets notices of links through, and of addresses those
that leave, or that come with a network's prefix. The renewal of a lease, which is a notice for
each virtual address each second, and what comes on kube-ipvs0 wake nothing.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.linux import rtnetlink, sockets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfailover_agent.model import IPAddress

# linux/rtnetlink.h
_GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_RECEIVE_BYTES: Final = 1 << 16
_MOST_READS: Final = 64  # at once; what is left wakes the loop again

# classic BPF, linux/bpf_common.h
_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_WHOLE: Final = 0xFFFFFFFF
_TYPE_OFFSET: Final = 4  # of nlmsghdr
_PREFIX_OFFSET: Final = 17  # of ifaddrmsg, behind it
_HOST_PREFIXES: Final = (32, 128)

_FILTER: Final = (
    (_LOAD_HALF, 0, 0, _TYPE_OFFSET),
    (_JUMP_EQUAL, 0, 3, socket.htons(rtnetlink.NEW_ADDRESS)),  # it reads in network order
    (_LOAD_BYTE, 0, 0, _PREFIX_OFFSET),
    (_JUMP_EQUAL, 2, 0, _HOST_PREFIXES[0]),
    (_JUMP_EQUAL, 1, 0, _HOST_PREFIXES[1]),
    (_RETURN, 0, 0, _WHOLE),
    (_RETURN, 0, 0, 0),
)
"""It refuses notices of addresses that come with a host's prefix."""


class LinkNotice(Struct, frozen=True, kw_only=True):
    """An interface was made, changed (its flags or its MAC, say), or (``is_gone``) deleted."""

    index: int
    name: str
    is_gone: bool = False


class AddressNotice(Struct, frozen=True, kw_only=True):
    """An address came, changed, or (``is_gone``) went."""

    index: int
    address: IPAddress
    is_gone: bool = False


class Overrun(Struct, frozen=True):
    """There were more notices than fit: what is known may be old."""


Notice = LinkNotice | AddressNotice | Overrun


class LinkMonitor(sockets.KernelSocket):
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
            sockets.attach_filter(self._socket, _FILTER)  # before: nothing else gets in
            self._socket.bind((0, _GROUPS))
        except OSError as error:
            self.close()
            raise SystemRefusedError(f"cannot hear rtnetlink: {error.strerror}") from error

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
        is_gone = message.kind in {rtnetlink.DELETE_LINK, rtnetlink.DELETE_ADDRESS}
        match message.kind:
            case rtnetlink.NEW_LINK | rtnetlink.DELETE_LINK:
                link = rtnetlink.parse_link(message.payload)
                # a port that leaves its bridge is reported as a deleted link of another family
                if message.payload[0] == socket.AF_UNSPEC:
                    yield LinkNotice(index=link.index, name=link.name, is_gone=is_gone)
            case rtnetlink.NEW_ADDRESS | rtnetlink.DELETE_ADDRESS:
                held = rtnetlink.parse_address(message.payload)
                if held is not None:
                    address = held.address.address
                    yield AddressNotice(index=held.index, address=address, is_gone=is_gone)
            case _:
                pass
