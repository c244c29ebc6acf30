"""Addresses, links and default routes of this network namespace, over one rtnetlink socket.

pyroute2 is deliberately not used: it costs 220 ms of start-up and 22 MB for three message types
that stand on the path which keeps addresses safe.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self, TypeVar

from ipfailover_agent.core.errors import NotPermittedError, SystemRefusedError
from ipfailover_agent.system import rtnetlink
from ipfailover_agent.system.address_memory import AddressMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from ipfailover_agent.core.model import InterfaceAddress, IPAddress

_Result = TypeVar("_Result")

_RECEIVE_BYTES: Final = 1 << 18  # the kernel sends at most 32 KiB at once
_BATCH: Final = 64  # acknowledgements of so many fit into the smallest receive buffer
_NOT_PERMITTED: Final = {errno.EPERM, errno.EACCES}
_RESTLESS: Final = "cannot read rtnetlink: it keeps changing meanwhile"
_PARKED: Final = 31  # prefix length under which an address is kept for a moment
_NOT_THERE: Final = {errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO}


class AddressSocket:
    """One rtnetlink socket, a context manager; no operation takes longer than ``timeout`` seconds.

    Every method raises SystemRefusedError when the kernel refuses or does not answer, and
    NotPermittedError when CAP_NET_ADMIN is missing. After an error the socket can be used again.
    ``memory`` is of addresses that another socket of this namespace has read before.
    """

    def __init__(self, *, timeout: float = 2.0, memory: AddressMemory | None = None) -> None:
        self.timeout = timeout
        self._sequences = itertools.count(1)
        self._memory = memory or AddressMemory()
        self._leases: tuple[Sequence[rtnetlink.HeldAddress], int, list[bytes]] = ((), 0, [])
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self._socket.bind((0, 0))
        except OSError as error:
            raise SystemRefusedError(f"cannot open rtnetlink: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def addresses(self, *, is_glance: bool = False) -> tuple[tuple[int, InterfaceAddress], ...]:
        """Return every IPv4 and IPv6 address of this namespace with its interface's index.

        ``is_glance``: as one dump shows them, see :meth:`glance_at_addresses`.
        """
        found = self.glance_at_addresses() if is_glance else self.held_addresses()
        return tuple((held.index, held.address) for held in found)

    def links(self) -> tuple[rtnetlink.Link, ...]:
        """Return every interface of this namespace."""
        payloads = self._dump(rtnetlink.GET_LINK, rtnetlink.NEW_LINK)
        return tuple(map(rtnetlink.parse_link, payloads))

    def default_routes(self) -> tuple[rtnetlink.RouteHop, ...]:
        """Return the default routes of the main table: IPv4 first, the best metric first."""
        hops = [
            hop
            for family in (socket.AF_INET, socket.AF_INET6)
            for payload in self._dump(rtnetlink.GET_ROUTE, rtnetlink.NEW_ROUTE, family)
            for hop in rtnetlink.parse_default_route(payload)
        ]
        return tuple(sorted(hops, key=lambda hop: (hop.family, hop.metric)))

    def delete(self, index: int, address: InterfaceAddress) -> bool:
        """Delete an address of that prefix length and label; return False when it is not there.

        The kernel deletes the secondary addresses of an IPv4 network with its primary one unless
        promote_secondaries is set; a /32 has no secondaries.
        """
        if self._delete(index, address, address.address):
            return True
        # IPv4 addresses with a peer are matched by the peer, which ``address`` does not know
        return any(
            self._delete(index, address, held.peer)
            for held in self.held_addresses()
            if held.index == index and held.address == address and held.peer != address.address
        )

    def deprecate(self, held: rtnetlink.HeldAddress) -> None:
        """Keep this node from using an IPv6 address as a source by itself; it stays."""
        unused = replace(held, address=replace(held.address, is_deprecated=True))
        self.renew((unused,), held.valid_seconds)

    def relabel(self, held: rtnetlink.HeldAddress, label: str) -> None:
        """Give an IPv4 /32 that is there a label; it is there all along.

        The kernel changes no label. So the address is added once more as /31, which keeps it, is
        deleted, and is added with its label: four requests in one datagram.
        """
        named = replace(held, address=replace(held.address, label=label))
        parked = rtnetlink.build_routeless(held, _PARKED)
        old = rtnetlink.build_address(held.index, held.address, held.peer)
        add = rtnetlink.CREATE | rtnetlink.EXCLUSIVE
        codes = self._acknowledged_each(
            [
                (rtnetlink.NEW_ADDRESS, add, parked),
                (rtnetlink.DELETE_ADDRESS, 0, old),
                (rtnetlink.NEW_ADDRESS, add, rtnetlink.build_lease(named, held.valid_seconds)),
                (rtnetlink.DELETE_ADDRESS, 0, parked),
            ]
        )
        if codes[1] in _NOT_THERE:  # it has just gone, and is not to come back
            self.delete(held.index, named.address)
        code = next(filter(None, codes), 0)
        if code in _NOT_PERMITTED:
            raise NotPermittedError("cannot label addresses: CAP_NET_ADMIN is missing")
        if code:
            what = f"label {held.address.address} as {label}"
            raise SystemRefusedError(f"cannot {what}: {os.strerror(code)}")

    def renew(self, held: Sequence[rtnetlink.HeldAddress], seconds: int) -> int:
        """Give addresses that are there a lifetime of whole seconds; return how many got it.

        Requests travel in batches: 254 IPv4 addresses cost some 2 ms, IPv6 ones 15 ms, the
        kernel's own work. Addresses that have just been removed come back for one lifetime,
        whatever the flags (kernel 6.18, both families): look again afterwards.
        """
        renewed = 0
        payloads = self._built(tuple(held), seconds)
        for start in range(0, len(payloads), _BATCH):
            batch = payloads[start : start + _BATCH]
            codes = self._acknowledged_all(rtnetlink.NEW_ADDRESS, rtnetlink.REPLACE, batch)
            if not _NOT_PERMITTED.isdisjoint(codes):
                raise NotPermittedError("cannot renew addresses: CAP_NET_ADMIN is missing")
            renewed += codes.count(0)
        return renewed

    def _built(self, held: tuple[rtnetlink.HeldAddress, ...], seconds: int) -> list[bytes]:
        """Return what renews them, built anew only for others than the last time."""
        if (held, seconds) != self._leases[:2]:
            payloads = [rtnetlink.build_lease(each, seconds) for each in held]
            self._leases = (held, seconds, payloads)
        return self._leases[2]

    def held_addresses(self) -> tuple[rtnetlink.HeldAddress, ...]:
        """Return every IPv4 and IPv6 address, as two dumps in a row agree on it.

        The kernel's mark for torn dumps does not cover all of them: since it dumps addresses
        without its big lock, one that is deleted meanwhile can hide others (seen with Linux 6.18).
        """
        deadline = time.monotonic() + self.timeout
        found = self.glance_at_addresses()
        while (again := self.glance_at_addresses()) != found:
            if time.monotonic() >= deadline:
                raise SystemRefusedError(_RESTLESS)
            found = again
        return found

    def glance_at_addresses(self) -> tuple[rtnetlink.HeldAddress, ...]:
        """Return what one dump shows: everything there, unless something is being deleted."""
        payloads = self._dump(rtnetlink.GET_ADDRESS, rtnetlink.NEW_ADDRESS)
        return self._memory.read(payloads)

    def _delete(self, index: int, address: InterfaceAddress, peer: IPAddress) -> bool:
        payload = rtnetlink.build_address(index, address, peer)
        code = self._acknowledged(rtnetlink.DELETE_ADDRESS, payload)
        if code in _NOT_THERE:
            return False
        what = f"delete {address.address}/{address.prefix_length}"
        if code in _NOT_PERMITTED:
            reason = f"{os.strerror(code)}, CAP_NET_ADMIN is missing"
            raise NotPermittedError(f"cannot {what}: {reason}")
        if code:
            raise SystemRefusedError(f"cannot {what}: {os.strerror(code)}")
        return True

    def _acknowledged(self, kind: int, payload: bytes) -> int:
        """Send a request and return the errno that the kernel acknowledges it with, 0 for done."""
        return self._acknowledged_all(kind, 0, [payload])[0]

    def _acknowledged_all(self, kind: int, flags: int, payloads: Sequence[bytes]) -> list[int]:
        """Send requests of one kind in one datagram and return the errno of each, in order."""
        return self._acknowledged_each([(kind, flags, each) for each in payloads])

    def _acknowledged_each(self, requests: Sequence[tuple[int, int, bytes]]) -> list[int]:
        """Send requests (kind, flags, payload) in one datagram; return the errno of each.

        The kernel works them off one after the other and always reports errors; only the last one
        is acknowledged, which spares a message for each of the others.
        """
        deadline = time.monotonic() + self.timeout
        codes = {next(self._sequences): 0 for _ in requests}
        last = max(codes)
        datagram = b"".join(
            rtnetlink.build_message(
                kind,
                rtnetlink.REQUEST | flags | (rtnetlink.ACK if sequence == last else 0),
                sequence,
                payload,
            )
            for sequence, (kind, flags, payload) in zip(codes, requests, strict=True)
        )
        self._guarded(lambda: self._socket.sendto(datagram, (0, 0)))
        is_done = False
        while not is_done:
            for message in self._receive(codes, deadline):
                if message.kind == rtnetlink.ERROR:
                    codes[message.sequence] = rtnetlink.parse_error_number(message.payload)
                    is_done = is_done or message.sequence == last
        return list(codes.values())

    def _dump(self, kind: int, answer: int, family: int = socket.AF_UNSPEC) -> list[bytes]:
        """Return the payloads of a dump, asking again while the kernel marks it as torn."""
        deadline = time.monotonic() + self.timeout
        payload = rtnetlink.build_dump_request(kind, family)
        while True:
            payloads = self._dump_once(kind, answer, payload, deadline)
            if payloads is not None:
                return payloads
            if time.monotonic() >= deadline:
                raise SystemRefusedError(_RESTLESS)

    def _dump_once(
        self, kind: int, answer: int, payload: bytes, deadline: float
    ) -> list[bytes] | None:
        sequence = self._send(kind, rtnetlink.REQUEST | rtnetlink.DUMP, payload)
        payloads: list[bytes] = []
        is_torn = False
        while True:
            for message in self._receive({sequence}, deadline):
                is_torn = is_torn or bool(message.flags & rtnetlink.DUMP_INTERRUPTED)
                code = 0
                if message.kind == rtnetlink.ERROR:
                    code = rtnetlink.parse_error_number(message.payload)
                if code == errno.EBUSY:  # an earlier dump that was given up still goes on
                    return None
                if code:
                    raise SystemRefusedError(f"cannot read rtnetlink: {os.strerror(code)}")
                if message.kind == rtnetlink.DONE:
                    return None if is_torn else payloads
                if message.kind == answer:
                    payloads.append(message.payload)

    def _send(self, kind: int, flags: int, payload: bytes) -> int:
        sequence = next(self._sequences)
        request = rtnetlink.build_message(kind, flags, sequence, payload)
        self._guarded(lambda: self._socket.sendto(request, (0, 0)))
        return sequence

    def _receive(self, sequences: Container[int], deadline: float) -> Iterator[rtnetlink.Message]:
        """Yield what of one datagram answers those requests; late answers are passed by."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise SystemRefusedError(f"no answer from rtnetlink within {self.timeout:g} s")
        self._socket.settimeout(left)
        data, _, flags, sender = self._guarded(lambda: self._socket.recvmsg(_RECEIVE_BYTES))
        if flags & socket.MSG_TRUNC:
            raise rtnetlink.MalformedMessageError(
                "cannot read netlink message: it is longer than expected"
            )
        if sender[0] == 0:  # the kernel; any process may write to a netlink socket
            for message in rtnetlink.split_messages(data):
                if message.sequence in sequences:
                    yield message

    def _guarded(self, call: Callable[[], _Result]) -> _Result:
        try:
            return call()
        except TimeoutError as error:
            raise SystemRefusedError(
                f"no answer from rtnetlink within {self.timeout:g} s"
            ) from error
        except OSError as error:
            raise SystemRefusedError(f"cannot use rtnetlink: {error.strerror}") from error
