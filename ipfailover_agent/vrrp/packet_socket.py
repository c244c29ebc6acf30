"""The wire: a raw packet socket on one interface, and the hardware addresses of this host.

A packet socket sees what a firewall keeps from keepalived, and what keepalived refuses.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.errors import NotPermittedError, SystemRefusedError
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.linux.sockets import KernelSocket, attach_filter
from ipfailover_agent.vrrp.bpf import SNAP_LENGTH
from ipfailover_agent.vrrp.packets import VRRP_GROUPS, parse_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.vrrp.bpf import Program
    from ipfailover_agent.vrrp.packets import Packet

# linux/if_ether.h, linux/if_arp.h, linux/if_packet.h, asm/socket.h
_EVERY_PROTOCOL: Final = 0x0003  # the only "protocol" under which sent frames are seen
_ETHERNET: Final = 1
_OUTGOING: Final = 4
_PACKET_LEVEL: Final = 263
_ADD_MEMBERSHIP: Final = 1
_FORCE_RECEIVE_BUFFER: Final = 33
_MULTICAST: Final = 0
_TIMESTAMPS: Final = 35  # SO_TIMESTAMPNS, and the type of the message that it adds
_TIMESTAMP: Final = struct.Struct("@ll")  # seconds and nanoseconds of CLOCK_REALTIME
_MEMBERSHIP: Final = struct.Struct("=iHH8s")
_MAC_LENGTH: Final = 6
_MESSAGES_LENGTH: Final = socket.CMSG_SPACE(_TIMESTAMP.size)
_GLANCE_SECONDS: Final = 0.1  # 254 addresses take 6 ms

_RECEIVE_BUFFER: Final = 1 << 20
"""Bytes: some 1000 adverts, 4 s of 254 instances, while the agent does not run."""

_DISCARD_LIMIT: Final = 1 << 14  # frames, more than the buffer holds


class Frame(Struct, frozen=True, kw_only=True):
    """A packet on the wire.

    Attributes:
        packet: its content.
        is_outgoing: this host sent it on this interface.
        heard_at: when the kernel had it, monotonic seconds.
        octets: the whole frame, where this host sent it; else empty.
    """

    packet: Packet
    is_outgoing: bool
    heard_at: float
    octets: bytes = b""


class PacketSocket(KernelSocket):
    """A raw packet socket on one Ethernet interface, non-blocking; a context manager.

    It gets VRRP's multicast even where keepalived has not joined its groups. It never sees what
    itself sends. While the link is down it stays open and receives again when the link is back;
    when the interface is gone it stays silent for good, and the caller opens another one.
    """

    def __init__(self, interface: str, program: Program) -> None:
        """Open the socket; not one frame that the filter refuses gets in.

        Raises:
            NotPermittedError: CAP_NET_RAW is missing.
            SystemRefusedError: no such interface, or one without Ethernet frames.
        """
        self.interface = interface
        self._emptied_at = time.monotonic()  # nothing came before that
        self._mac = b""
        with self._explained("listen"), contextlib.ExitStack() as undo:
            try:
                # without a protocol nothing is received until it is bound
                self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            except PermissionError as error:
                raise NotPermittedError(
                    f"cannot listen on {interface}: {error.strerror}, CAP_NET_RAW is missing"
                ) from error
            undo.callback(self.close)
            self._open(program)
            undo.pop_all()

    @property
    def mac(self) -> bytes:
        """Return the MAC that the interface has this very moment, or had last.

        Read for each frame: a bond that fails over or a bridge that gets a port has another one.
        """
        *_, mac = self._socket.getsockname()  # 2 microseconds
        if len(mac) == _MAC_LENGTH:  # else the interface is gone
            self._mac = mac
        return self._mac

    def receive(self, limit: int) -> tuple[Frame, ...]:
        """Return what was seen, in order, without waiting; looks at ``limit`` frames at most.

        Raises:
            SystemRefusedError: the kernel refuses, other than for a link that went down.
        """
        seen = []
        now, wall = time.monotonic(), time.time()
        with self._explained("listen"):
            for _ in range(limit):
                try:
                    frame, messages, _, sender = self._socket.recvmsg(
                        SNAP_LENGTH, _MESSAGES_LENGTH
                    )
                except BlockingIOError:
                    self._emptied_at = now
                    break
                except OSError as error:
                    if error.errno != errno.ENETDOWN:  # logged once when the link goes down
                        raise
                    continue
                packet = parse_frame(frame)
                if packet is not None:
                    is_outgoing = sender[2] == _OUTGOING
                    kept = frame if is_outgoing else b""
                    heard_at = now - max(wall - _received_at(messages, wall), 0.0)
                    # A clock that was set meanwhile makes nothing older than it can be.
                    heard_at = max(heard_at, self._emptied_at)
                    seen.append(
                        Frame(
                            packet=packet, is_outgoing=is_outgoing, heard_at=heard_at, octets=kept
                        )
                    )
        return tuple(seen)

    def discard(self) -> None:
        """Throw away what is queued, or most of it, without looking at it."""
        with contextlib.suppress(OSError):
            for _ in range(_DISCARD_LIMIT):
                self._socket.recv(1)

    def send(self, frame: bytes) -> None:
        """Send an Ethernet frame.

        Raises:
            SystemRefusedError: the link is down, gone, or its queue is full.
        """
        # named, since older kernels take the socket's own protocol for the frame's
        ethertype = int.from_bytes(frame[12:14], "big")
        with self._explained("send"):
            self._socket.sendto(frame, (self.interface, ethertype))

    def replace_filter(self, program: Program) -> None:
        """Let other frames in from now on; what is queued stays.

        Raises:
            SystemRefusedError: the kernel refuses the program.
        """
        with self._explained("listen"):
            attach_filter(self._socket, program)

    def _open(self, program: Program) -> None:
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
        attach_filter(self._socket, program)
        self._enlarge_buffer()
        self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
        self._socket.bind((self.interface, _EVERY_PROTOCOL))
        *_, kind, self._mac = self._socket.getsockname()
        if kind != _ETHERNET:
            raise SystemRefusedError(f"cannot listen on {self.interface}: it is not Ethernet")
        self.index = socket.if_nametoindex(self.interface)
        for group in VRRP_GROUPS:
            membership = _MEMBERSHIP.pack(self.index, _MULTICAST, len(group), group)
            self._socket.setsockopt(_PACKET_LEVEL, _ADD_MEMBERSHIP, membership)

    def _enlarge_buffer(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _FORCE_RECEIVE_BUFFER, _RECEIVE_BUFFER)
        except PermissionError:  # without CAP_NET_ADMIN, net.core.rmem_max is the limit
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    @contextlib.contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"cannot {verb} on {self.interface}"
            raise SystemRefusedError(f"{what}: {error.strerror}") from error


def _received_at(messages: list[tuple[int, int, bytes]], otherwise: float) -> float:
    """Return when the kernel received a frame, by its own clock of the day."""
    for level, kind, data in messages:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMPS) and len(data) == _TIMESTAMP.size:
            seconds, nanoseconds = _TIMESTAMP.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return otherwise


def host_macs() -> frozenset[bytes]:
    """Return the hardware address of every interface of this host, 6 bytes each.

    Those that network cards were made with are among them, in use or not: bonds lend the address
    of one card to all.

    Raises:
        SystemRefusedError: the kernel does not answer.
    """
    with AddressSocket() as rtnetlink:
        return frozenset[bytes]().union(*(each.macs for each in rtnetlink.links()))


def usable_addresses(index: int) -> frozenset[IPAddress]:
    """Return what this host may send from on the interface of that index, this very moment.

    An address that duplicate address detection has not passed yet is not among them. To bind a
    socket to an address would not show it: ip_nonlocal_bind lets anything pass.

    Raises:
        SystemRefusedError: the kernel does not answer.
    """
    with AddressSocket(timeout=_GLANCE_SECONDS) as rtnetlink:
        found = rtnetlink.glance_at_addresses(index)
    return frozenset(each.address.address for each in found if each.is_usable)
