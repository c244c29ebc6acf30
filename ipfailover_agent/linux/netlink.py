"""Addresses, links and routes of this network namespace, over one rtnetlink socket.

A node may have tens of thousands of foreign addresses and routes (kube-ipvs0, a BGP router). So
addresses are dumped by interface, and the kernel is asked for single routes; where it has no
strict checking (Linux before 4.20), everything is dumped and sorted out here.

pyroute2 is deliberately not used: it costs 220 ms of start-up and 22 MB for three message types
that stand on the path which keeps addresses safe.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import time
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ipfailover_agent.errors import NotPermittedError, SystemRefusedError
from ipfailover_agent.linux import rtnetlink
from ipfailover_agent.linux.dump_caches import AddressCache, RouteCache
from ipfailover_agent.linux.sockets import KernelSocket
from ipfailover_agent.model import Family, family_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ipfailover_agent.linux.dump_caches import Answer
    from ipfailover_agent.model import Interface, InterfaceAddress, IPAddress

    _IsLast = Callable[[bytes], bool]

_RECEIVE_BYTES: Final = 1 << 18  # the kernel sends at most 32 KiB at once
_BATCH: Final = 64  # acknowledgements of so many fit into the smallest receive buffer
_NOT_PERMITTED: Final = {errno.EPERM, errno.EACCES}
_RESTLESS: Final = "cannot read rtnetlink: it keeps changing meanwhile"
_PARKED: Final = 31  # prefix length under which an address is kept for a moment
_NOT_THERE: Final = {errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO}
_NOTHING_TO_DUMP: Final = {errno.ENODEV, errno.ENOENT}  # no such interface, no such table
_EXHAUSTED: Final = {errno.ENOMEM, errno.ENOBUFS}
# Allocated to no network: only default routes lead there.
_ANYWHERE: Final = IPv6Address("4000::")
_ANYWHERE_V4: Final = IPv4Address("240.0.0.1")


class AddressSocket(KernelSocket):
    """One rtnetlink socket, a context manager; no operation takes longer than ``timeout`` seconds.

    Every method raises SystemRefusedError when the kernel refuses or does not answer, and
    NotPermittedError when CAP_NET_ADMIN is missing. After an error the socket can be used again.
    ``memory`` and ``routes`` are of what another socket of this namespace has read before.
    """

    def __init__(
        self,
        *,
        timeout: float = 2.0,
        memory: AddressCache | None = None,
        routes: RouteCache | None = None,
    ) -> None:
        self.timeout = timeout
        self._sequences = itertools.count(1)
        self._memory = memory or AddressCache()
        self._routes = routes or RouteCache()
        self._leases: tuple[Sequence[rtnetlink.HeldAddress], int, list[bytes]] = ((), 0, [])
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self._socket.bind((0, 0))
        except OSError as error:
            raise SystemRefusedError(f"cannot open rtnetlink: {error.strerror}") from error
        self.is_strict = True
        try:
            self._socket.setsockopt(rtnetlink.SOL_NETLINK, rtnetlink.GET_STRICT_CHK, 1)
        except OSError:
            self.is_strict = False

    def links(self) -> tuple[rtnetlink.Link, ...]:
        """Return every interface of this namespace."""
        question = rtnetlink.build_link_question()
        payloads = self._dump(rtnetlink.GET_LINK, rtnetlink.NEW_LINK, question)
        return tuple(map(rtnetlink.parse_link, payloads))

    def port_of(self, index: int) -> str:
        """Return the name of the device that an interface is a port of, the topmost one.

        It is empty where the interface is no port, or there is none.
        """

        def find(each: int) -> rtnetlink.Link | None:
            question = rtnetlink.build_link_question(each)
            ((answer, _),) = self._answers([question], rtnetlink.GET_LINK)
            return None if answer is None else rtnetlink.parse_link(answer)

        return rtnetlink.topmost_master(index, find)

    def ways(self, addresses: Sequence[IPAddress]) -> tuple[rtnetlink.Way, ...]:
        """Return for each address where packets for it go, in order.

        The kernel looks into the table ``local`` first, so an address of this node comes with the
        interface that has it, however many others there are. Of an address that several
        interfaces have it names one. Addresses that only a VRF has are not found.
        """
        payloads = [rtnetlink.build_route_question(each) for each in addresses]
        # All addresses of another node have the same way, byte for byte.
        known: dict[bytes | None, rtnetlink.Way] = {None: rtnetlink.Way()}
        for answer, _ in (answers := self._answers(payloads)):
            if answer is not None and answer not in known:
                known[answer] = rtnetlink.parse_way(answer)
        return tuple(known[answer] for answer, _ in answers)

    def default_routes(
        self, indexes: Collection[int], *, is_glance: bool = False
    ) -> tuple[rtnetlink.RouteHop, ...]:
        """Return default routes of the main table: IPv4 first, the best metric first.

        Of IPv6 the best one through each interface. Whatever else the tables hold costs nothing.

        Args:
            indexes: of the interfaces that count for IPv6.
            is_glance: the IPv4 ones are remembered while the kernel goes by the same, so that a
                further one may be seen a minute late.
        """
        first = (
            self._routes.read(self._default_routes_v4, self._defaults_in_force, time.monotonic())
            if is_glance
            else self._default_routes_v4()
        )
        payloads = first + self._default_routes_v6(indexes)
        hops = [hop for each in payloads for hop in rtnetlink.parse_default_route(each)]
        return tuple(sorted(dict.fromkeys(hops), key=lambda hop: (hop.family, hop.metric)))

    def _defaults_in_force(self, indexes: Sequence[int]) -> list[Answer]:
        build = rtnetlink.build_route_question
        return self._answers([build(_ANYWHERE_V4, each) for each in (0, *indexes)])

    def _default_routes_v4(self) -> list[bytes]:
        """Return the beginning of the main table, which has the default routes.

        It is read with a socket of its own: when that is closed, the kernel dumps no further.
        """
        payload = rtnetlink.build_route_dump(socket.AF_INET, is_main=self.is_strict)
        is_last = rtnetlink.is_behind_defaults if self.is_strict else None
        with AddressSocket(timeout=self.timeout) as short:
            return short._dump(rtnetlink.GET_ROUTE, rtnetlink.NEW_ROUTE, payload, is_last)

    def _default_routes_v6(self, indexes: Collection[int]) -> list[bytes]:
        """Return the IPv6 default routes; a dump has them last, so each is asked for by itself."""
        if not self.is_strict:
            payload = rtnetlink.build_route_dump(socket.AF_INET6)
            return self._dump(rtnetlink.GET_ROUTE, rtnetlink.NEW_ROUTE, payload)
        ((_, code),) = self._answers([rtnetlink.build_route_question(_ANYWHERE)])
        if code == errno.ENETUNREACH:
            return []
        # A rule or a longer prefix may hide the route that one interface has.
        questions = [rtnetlink.build_route_question(_ANYWHERE, each) for each in indexes]
        return [answer for answer, _ in self._answers(questions) if answer is not None]

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
            for held in self.held_addresses(index)
            if held.address == address and held.peer != address.address
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
        codes = self._acknowledged(
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
        wanted = tuple(held)
        if (wanted, seconds) != self._leases[:2]:  # else they are as built the last time
            payloads = [rtnetlink.build_lease(each, seconds) for each in wanted]
            self._leases = (wanted, seconds, payloads)
        for batch in _batches(self._leases[2]):
            requests = [(rtnetlink.NEW_ADDRESS, rtnetlink.REPLACE, each) for each in batch]
            codes = self._acknowledged(requests)
            if not _NOT_PERMITTED.isdisjoint(codes):
                raise NotPermittedError("cannot renew addresses: CAP_NET_ADMIN is missing")
            renewed += codes.count(0)
        return renewed

    def held_addresses(self, index: int = 0) -> tuple[rtnetlink.HeldAddress, ...]:
        """Return IPv4 and IPv6 addresses, as two dumps in a row agree on them.

        The kernel's mark for torn dumps does not cover all of them: since it dumps addresses
        without its big lock, one that is deleted meanwhile can hide others (seen with Linux 6.18).
        """
        deadline = time.monotonic() + self.timeout
        found = self.glance_at_addresses(index)
        while (again := self.glance_at_addresses(index)) != found:
            if time.monotonic() >= deadline:
                raise SystemRefusedError(_RESTLESS)
            found = again
        return found

    def glance_at_addresses(self, index: int = 0) -> tuple[rtnetlink.HeldAddress, ...]:
        """Return what one dump shows: everything there, unless something is being deleted.

        ``index``: of the interface whose addresses are wanted, 0 for those of all interfaces.
        """
        filtered = index if self.is_strict else 0
        payload = rtnetlink.build_address_dump(filtered)
        payloads = self._dump(rtnetlink.GET_ADDRESS, rtnetlink.NEW_ADDRESS, payload)
        found = self._memory.read(payloads, filtered)
        if filtered == index:
            return found
        return tuple(each for each in found if each.index == index)

    def _delete(self, index: int, address: InterfaceAddress, peer: IPAddress) -> bool:
        payload = rtnetlink.build_address(index, address, peer)
        (code,) = self._acknowledged([(rtnetlink.DELETE_ADDRESS, 0, payload)])
        if code in _NOT_THERE:
            return False
        what = f"delete {address.address}/{address.prefix_length}"
        if code in _NOT_PERMITTED:
            reason = f"{os.strerror(code)}, CAP_NET_ADMIN is missing"
            raise NotPermittedError(f"cannot {what}: {reason}")
        if code:
            raise SystemRefusedError(f"cannot {what}: {os.strerror(code)}")
        return True

    def _acknowledged(self, requests: Sequence[tuple[int, int, bytes]]) -> list[int]:
        """Send requests (kind, flags, payload) in one datagram; return the errno of each, 0: done.

        The kernel works them off one after the other and always reports errors; only the last one
        is acknowledged, which spares a message for each of the others.
        """
        deadline = time.monotonic() + self.timeout
        *others, (kind, flags, payload) = requests
        codes = dict.fromkeys(self._send([*others, (kind, flags | rtnetlink.ACK, payload)]), 0)
        last, is_done = max(codes), False
        while not is_done:
            for message in self._receive(codes, deadline):
                if message.kind == rtnetlink.ERROR:
                    codes[message.sequence] = rtnetlink.parse_error_number(message.payload)
                    is_done = is_done or message.sequence == last
        return list(codes.values())

    def _answers(self, payloads: Sequence[bytes], kind: int = rtnetlink.GET_ROUTE) -> list[Answer]:
        """Ask for one route each; return in order the answer, or None and why there is none.

        ``kind`` is another question that has one answer.
        """
        found: dict[int, Answer] = {}
        for batch in _batches(payloads):
            deadline = time.monotonic() + self.timeout
            numbers = self._send([(kind, 0, each) for each in batch])
            found |= dict.fromkeys(numbers, (None, 0))  # in their order
            is_open = set(numbers)
            while is_open:
                for message in self._receive(numbers, deadline):
                    is_open.discard(message.sequence)
                    found[message.sequence] = (message.payload, 0)
                    if message.kind == rtnetlink.ERROR:
                        code = rtnetlink.parse_error_number(message.payload)
                        if code in _EXHAUSTED:
                            raise _unreadable(code)
                        found[message.sequence] = (None, code)
        return list(found.values())

    def _dump(
        self, kind: int, answer: int, payload: bytes, is_last: _IsLast | None = None
    ) -> list[bytes]:
        """Return the payloads of a dump, asking again while the kernel marks it as torn.

        ``is_last`` decides which payload is the last one that matters: none is read after it, and
        the socket is of no more use.
        """
        deadline = time.monotonic() + self.timeout
        while (found := self._dump_once(kind, answer, payload, deadline, is_last)) is None:
            if time.monotonic() >= deadline:
                raise SystemRefusedError(_RESTLESS)
        return found

    def _dump_once(
        self, kind: int, answer: int, payload: bytes, deadline: float, is_last: _IsLast | None
    ) -> list[bytes] | None:
        sequences = self._send([(kind, rtnetlink.DUMP, payload)])
        payloads: list[bytes] = []
        is_torn = False
        while True:
            for message in self._receive(sequences, deadline):
                is_torn = is_torn or bool(message.flags & rtnetlink.DUMP_INTERRUPTED)
                code = 0
                if message.kind in {rtnetlink.ERROR, rtnetlink.DONE}:
                    # A dump that fails half way ends with its error (rtnetlink, netlink_dump).
                    code = rtnetlink.parse_error_number(message.payload)
                if code == errno.EBUSY:  # an earlier dump that was given up still goes on
                    return None
                if code in _NOTHING_TO_DUMP:
                    return []
                if code:
                    raise _unreadable(code)
                if message.kind == rtnetlink.DONE:
                    return None if is_torn else payloads
                if message.kind == answer:
                    payloads.append(message.payload)
                    if is_last is not None and is_last(message.payload):
                        return payloads

    def _send(self, requests: Iterable[tuple[int, int, bytes]]) -> list[int]:
        """Send requests (kind, flags, payload) in one datagram; return their numbers."""
        numbered = [(next(self._sequences), *each) for each in requests]
        datagram = b"".join(
            rtnetlink.build_message(kind, rtnetlink.REQUEST | flags, number, payload)
            for number, kind, flags, payload in numbered
        )
        with self._explained():
            self._socket.sendto(datagram, (0, 0))
        return [number for number, *_ in numbered]

    def _receive(self, sequences: Collection[int], deadline: float) -> Iterator[rtnetlink.Message]:
        """Yield what of one datagram answers those requests; late answers are passed by."""
        with self._explained():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data, _, flags, sender = self._socket.recvmsg(_RECEIVE_BYTES)
        if flags & socket.MSG_TRUNC:
            raise rtnetlink.MalformedMessageError(
                "cannot read netlink message: it is longer than expected"
            )
        if sender[0] == 0:  # the kernel; any process may write to a netlink socket
            for message in rtnetlink.split_messages(data):
                if message.sequence in sequences:
                    yield message

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            waited = f"within {self.timeout:g} s"
            raise SystemRefusedError(f"no answer from rtnetlink {waited}") from error
        except OSError as error:
            raise SystemRefusedError(f"cannot use rtnetlink: {error.strerror}") from error


def release_addresses(found: Iterable[tuple[Interface, InterfaceAddress]]) -> tuple[str, ...]:
    """Delete the addresses; return those that were still there, as text.

    Raises:
        NotPermittedError: NET_ADMIN is missing.
        SystemRefusedError: the kernel refused otherwise.
    """
    wanted = tuple(found)
    if not wanted:
        return ()
    with AddressSocket() as netlink:
        return tuple(
            f"{held.address}/{held.prefix_length} on {interface.name}"
            for interface, held in wanted
            if netlink.delete(interface.index, held)
        )


def mark_addresses(interface: Interface, labels: Mapping[IPAddress, str | None]) -> None:
    """Mark what is on an interface as keepalived does: IPv4 labelled, IPv6 deprecated.

    ``labels`` are the virtual addresses with their labels. keepalived takes over what is there as
    it is, and deletes an IPv4 address by its label too: another one's it would leave behind. An
    IPv6 address that duplicate address detection has not passed is deleted: keepalived sets it
    without, and one that failed would stay unusable for good, whatever becomes of it.

    Raises:
        NotPermittedError: NET_ADMIN is missing.
        SystemRefusedError: the kernel does not answer.
    """
    if not any(each.address in labels for each in interface.addresses):
        return
    with AddressSocket() as netlink:
        for held in netlink.glance_at_addresses(interface.index):
            found, family = held.address, family_of(held.address.address)
            label = labels.get(found.address)
            if found.address not in labels or found.prefix_length != family.host_prefix_length:
                continue
            if found.is_tentative:
                netlink.delete(held.index, found)
            elif family is Family.IPV6:
                netlink.deprecate(held)
            elif label and label != found.label and held.peer == found.address:
                netlink.relabel(held, label)


def _batches(payloads: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (payloads[start : start + _BATCH] for start in range(0, len(payloads), _BATCH))


def _unreadable(code: int) -> SystemRefusedError:
    return SystemRefusedError(f"cannot read rtnetlink: {os.strerror(code)}")
