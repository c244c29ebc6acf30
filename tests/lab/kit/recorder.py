"""The recorder: every node's address events, as its kernel reports them."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from tests.lab.kit.namespaces import NetworkNamespace
from tests.lab.kit.timeline import Change, Timeline

# As in linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
_HEADER = struct.Struct("=IHHII")
_ADDRESS_MESSAGE = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_NLMSG_DONE = 3
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_ADDRESS_GROUPS = 1 << 4 | 1 << 8  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_SO_RCVBUFFORCE = 33
_BUFFER = 8 << 20
_PULSE = 0.02  # seconds between two looks at how late this machine is

#: (address, prefix length, interface index): an address may be there twice.
_Entry = tuple[str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    kind: int
    entry: _Entry


def _parse(data: bytes) -> Iterator[_Event | None]:
    """Yield the address events of a datagram, None for the end of a dump."""
    while len(data) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        if kind == _NLMSG_DONE:
            yield None
        elif kind in {_RTM_NEWADDR, _RTM_DELADDR}:
            _, prefix, _, _, index = _ADDRESS_MESSAGE.unpack_from(data, _HEADER.size)
            found = _attributes(data[_HEADER.size + _ADDRESS_MESSAGE.size : length])
            packed = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
            yield _Event(kind=kind, entry=(str(ip_address(packed)), prefix, index))
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found


def _rtnetlink(namespace: NetworkNamespace) -> socket.socket:
    return namespace.open_socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


def address_events(namespace: NetworkNamespace) -> socket.socket:
    """Return a socket that gets the kernel's messages about addresses, with room for many."""
    events = _rtnetlink(namespace)
    with contextlib.suppress(PermissionError):  # a user namespace may not force it
        events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    events.bind((0, _ADDRESS_GROUPS))
    return events


class _Watched:
    """One node: a socket for its events, one for asking, and what it has."""

    def __init__(self, node: str, namespace: NetworkNamespace) -> None:
        self.node = node
        self.entries: set[_Entry] = set()
        self.count: Counter[str] = Counter()  # of an address: interfaces and prefix lengths
        self.before: dict[str, int] = {}  # likewise, before the events that are being read
        self._asking = _rtnetlink(namespace)
        self.events = address_events(namespace)
        self.events.setblocking(False)  # noqa: FBT003 - the name of the socket API
        self._asking.settimeout(5)

    def dump(self) -> set[_Entry]:
        """Ask the kernel for every address."""
        length = _HEADER.size + _ADDRESS_MESSAGE.size
        header = _HEADER.pack(length, _RTM_GETADDR, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
        self._asking.send(header + _ADDRESS_MESSAGE.pack(0, 0, 0, 0, 0))
        entries: set[_Entry] = set()
        while True:
            for each in _parse(self._asking.recv(1 << 16)):
                if each is None:
                    return entries
                entries.add(each.entry)

    def put(self, entry: _Entry, *, is_there: bool) -> None:
        """Take note of an entry that is there or is not."""
        if is_there != (entry in self.entries):
            (self.entries.add if is_there else self.entries.discard)(entry)
            self.count[entry[0]] += 1 if is_there else -1

    def close(self) -> None:
        self.events.close()
        self._asking.close()


class Recorder:
    """A thread that writes down which node has which address, from its start on.

    Times are ``time.monotonic`` at which this program heard of a change: some tenths of a
    millisecond after it on an idle machine. What it hears of several nodes at one look gets one
    time, since nothing shows which was first. An address counts as held while any interface of the
    node has it with any prefix length, whether or not its link is up.

    Attributes:
        started: when recording began.
        resyncs: how often events were lost, and the kernel's list was taken instead.
        lateness: by how many seconds this thread woke too late at worst. Tests that run beside
            others add it to bounds of tenths of a second: what this machine took from the
            recorder it took from the nodes as well.
    """

    def __init__(self, namespaces: Mapping[str, NetworkNamespace]) -> None:
        """Start to record these nodes (name: namespace)."""
        self.started = time.monotonic()
        self.resyncs = 0
        self.lateness = 0.0
        self._timeline = Timeline()
        self._lock = threading.Lock()
        self._wake, self._woken = os.pipe()[::-1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._watched: list[_Watched] = []
        for node, namespace in namespaces.items():
            watched = _Watched(node, namespace)
            self._watched.append(watched)
            self._selector.register(watched.events, selectors.EVENT_READ, watched)
            self._take(watched, watched.dump(), self.started)
        self._thread = threading.Thread(target=self._run, name="lab-recorder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop recording; what was recorded stays."""
        if self._thread.is_alive():
            os.write(self._wake, b".")
            self._thread.join()
            self._selector.close()
            for each in self._watched:
                each.close()
            os.close(self._wake)
            os.close(self._woken)

    # --- questions ---------------------------------------------------------------------------

    def addresses(self) -> list[str]:
        """Return every address that was ever seen."""
        with self._lock:
            return self._timeline.addresses()

    def holders(self, address: str, at: float | None = None) -> list[str]:
        """Return the names of the nodes that hold an address now, or did at a time."""
        with self._lock:
            return self._timeline.holders(address, at)

    def changes(self, address: str, since: float | None = None) -> tuple[Change, ...]:
        """Return every gain and loss of an address, or those after a time."""
        with self._lock:
            changes = self._timeline.changes(address)
        return tuple(each for each in changes if since is None or each.time >= since)

    def seconds_with_two(
        self, *addresses: str, since: float | None = None, among: Collection[str] | None = None
    ) -> float:
        """Return for how long at worst two nodes or more (``among`` some) held an address."""
        return self._seconds(addresses, lambda count: count > 1, since, among)

    def seconds_with_none(
        self, *addresses: str, since: float | None = None, among: Collection[str] | None = None
    ) -> float:
        """Return for how long at worst no node (``among`` some) did, from its first holder on."""
        return self._seconds(addresses, lambda count: count == 0, since, among)

    def describe(self, since: float | None = None) -> str:
        """Return all changes as lines: seconds since the start, node, gain or loss."""
        changes = [each for name in self.addresses() for each in self.changes(name, since)]
        own = {each.address for each in changes if each.time == self.started}
        return "\n".join(
            f"{each.time - self.started:9.3f} s  {each.node:<6} "
            f"{'+' if each.held else '-'} {each.address}"
            for each in sorted(changes, key=lambda each: each.time)
            if each.address not in own
        )

    def _seconds(
        self,
        addresses: Iterable[str],
        counts: Callable[[int], bool],
        since: float | None,
        among: Collection[str] | None,
    ) -> float:
        def one(address: str) -> float:
            first = next(iter(self._timeline.changes(address)), None)
            begin = since if since is not None else first.time if first else self.started
            return self._timeline.seconds(address, counts, since=begin, until=now, among=among)

        with self._lock:
            now = time.monotonic()
            return max(map(one, addresses))

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        due = time.monotonic() + _PULSE
        while True:
            ready = self._selector.select(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now >= due:
                self.lateness = max(self.lateness, now - due)
                due = now + _PULSE
            watched = [key.data for key, _ in ready]
            if None in watched:
                return
            read = [(each, self._read(each)) for each in watched]
            now = time.monotonic()
            for each, data in read:
                if data is None:
                    self._take(each, each.dump(), now)
                else:
                    self._hear(each, data, now)

    def _read(self, watched: _Watched) -> bytes | None:
        """Return a node's events; None when some were lost: what its kernel shows is the truth."""
        try:
            return watched.events.recv(1 << 16)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.resyncs += 1
            return None

    def _hear(self, watched: _Watched, data: bytes, now: float) -> None:
        touched = set()
        for each in _parse(data):
            if each is not None:
                address, _, _ = each.entry
                if address not in touched:
                    touched.add(address)
                    watched.before[address] = watched.count[address]
                watched.put(each.entry, is_there=each.kind == _RTM_NEWADDR)
        self._note(watched, touched, now)

    def _take(self, watched: _Watched, entries: set[_Entry], now: float) -> None:
        touched = {address for address, _, _ in watched.entries ^ entries}
        watched.before = {address: watched.count[address] for address in touched}
        for each in watched.entries - entries:
            watched.put(each, is_there=False)
        for each in entries - watched.entries:
            watched.put(each, is_there=True)
        self._note(watched, touched, now)

    def _note(self, watched: _Watched, touched: set[str], now: float) -> None:
        """Write down which of the addresses that were touched have come or gone."""
        with self._lock:
            for address in sorted(touched):
                held = watched.count[address] > 0
                if held != (watched.before.pop(address) > 0):
                    self._timeline.add(
                        Change(time=now, node=watched.node, address=address, held=held)
                    )
