"""The client: asks an address many times a second and writes down who answered when."""

from __future__ import annotations

import contextlib
import itertools
import json
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Self

from tests.lab.kit.namespaces import NetworkNamespace
from tests.lab.kit.node import HostAddresses
from tests.support.waiting import wait_until

_ETHERTYPE_ARP = 0x0806
_ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")  # RFC 826 behind its Ethernet header
_KEPT = 200_000  # answers: more than an hour of them
_SMALLEST = 0.05  # seconds: shorter silences are the machine's
_BROADCAST = b"\xff" * 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``node`` answered question number ``sequence``; ``time`` is of its arrival."""

    time: float
    node: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """The client heard nothing for ``seconds`` from ``start`` on; it may still last."""

    start: float
    seconds: float
    is_over: bool = True


class Watch:
    """A client's view of one address: a question every ``interval`` seconds over UDP.

    Also a context manager, which waits for a first answer and stops asking at its end.
    """

    def __init__(
        self, network: NetworkNamespace, address: str, *, port: int, interval: float
    ) -> None:
        self.address = address
        self.started = time.monotonic()
        self._interval = interval
        self._answers: deque[Answer] = deque(maxlen=_KEPT)
        self._last_heard = self.started
        self._silences: list[Outage] = []
        self._latest_question = self.started
        self._stalled = 0.0
        self._lateness = 0.0
        self._stopped: float | None = None
        self._stopping = threading.Event()
        self._socket = _connected(network, address, port)
        self._thread = threading.Thread(target=self._run, name="lab-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        wait_until(self.answering, 2, f"{self.address} answers")
        return self

    def __exit__(self, *_raised: object) -> None:
        self.stop()

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Return the answers so far, the latest 200,000 of them, in order of arrival."""
        return tuple(self._answers)

    @property
    def lateness(self) -> float:
        """Return by how much the worst question was late: what this machine adds to outages."""
        return self._lateness

    def answering(self, patience: float = 0.25) -> str | None:
        """Return the node that answered last, None when no node did within ``patience``."""
        last = self._answers[-1] if self._answers else None
        return last.node if last and time.monotonic() - last.time <= patience else None

    def nodes(self, since: float | None = None) -> list[str]:
        """Return the nodes that answered (after a time), in order of change."""
        found: list[str] = []
        for each in self.answers:
            late_enough = since is None or each.time >= since
            if late_enough and (not found or found[-1] != each.node):
                found.append(each.node)
        return found

    def outages(self, threshold: float = 0.1, since: float | None = None) -> tuple[Outage, ...]:
        """Return every silence of at least ``threshold`` seconds between two answers.

        Only those that lasted after ``since``, where given. ``threshold`` is at least 0.05. The
        silence before the first answer counts from the start of the watch, the one after the last
        until now.
        """
        end = self._stopped if self._stopped is not None else time.monotonic()
        lasting = Outage(start=self._last_heard, seconds=end - self._last_heard, is_over=False)
        return tuple(
            each
            for each in (*self._silences, lasting)
            if each.seconds >= max(threshold, _SMALLEST)
            and (since is None or each.start + each.seconds >= since)
        )

    def worst_outage(self, since: float | None = None) -> float:
        """Return the longest silence in seconds, 0 where none was over a tenth."""
        return max((each.seconds for each in self.outages(since=since)), default=0.0)

    def stop(self) -> None:
        """Stop asking; what was seen stays."""
        if self._stopped is None:
            self._stopping.set()
            self._thread.join()
            self._socket.close()

    def _run(self) -> None:
        sequence = 0
        due = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while not self._stopping.is_set():
                if time.monotonic() >= due:
                    sequence += 1
                    self._ask(sequence)
                    due = max(due + self._interval, time.monotonic())
                if selector.select(max(0.0, due - time.monotonic())):
                    self._hear()
        self._stopped = time.monotonic()

    def _ask(self, sequence: int) -> None:
        now = time.monotonic()
        late = now - self._latest_question - self._interval
        self._stalled = max(self._stalled, late)
        self._lateness = max(self._lateness, late)
        self._latest_question = now
        with contextlib.suppress(OSError):  # unreachable, refused: no answer, that is all
            self._socket.send(str(sequence).encode())

    def _hear(self) -> None:
        with contextlib.suppress(OSError):
            node, _, sequence = self._socket.recv(256).decode().partition(" ")
            now = time.monotonic()
            # While this program itself did not run, it asked no node: that is no outage.
            if now - self._last_heard - self._stalled >= _SMALLEST:
                self._silences.append(
                    Outage(start=self._last_heard, seconds=now - self._last_heard)
                )
            self._last_heard, self._stalled = now, 0.0
            self._answers.append(Answer(time=now, node=node, sequence=int(sequence)))


class Connecting:
    """A client that connects to an address all the time, and when it was served."""

    def __init__(self, client: Client, address: str, *, timeout: float) -> None:
        self._client = client
        self._address = address
        self._timeout = timeout
        self._served: list[tuple[float, str]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="connecting", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: bool(self._served), 5, "the client is served")
        return self

    def __exit__(self, *_raised: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def node(self) -> str:
        """Return the node that served it last."""
        return self._served[-1][1]

    def longest_gap(self, since: float = 0.0) -> float:
        """Return the longest time between two that were served after a time, or until now."""
        times = [*(at for at, _ in self._served if at >= since), time.monotonic()]
        return max(after - before for before, after in itertools.pairwise(times))

    def _run(self) -> None:
        while not self._stopping.wait(0.005):
            name = self._client.ask(self._address, timeout=self._timeout)
            if name is not None:
                self._served.append((time.monotonic(), name))


class Client:
    """A host on the switch that uses the virtual addresses."""

    def __init__(
        self,
        network: NetworkNamespace,
        own: HostAddresses,
        *,
        port: int,
        nodes_by_mac: Mapping[str, str],
    ) -> None:
        self.network = network
        self.own = own
        self._port = port
        self._nodes_by_mac = nodes_by_mac
        self._watches: list[Watch] = []

    def watch(self, address: str, *, interval: float = 0.02, port: int | None = None) -> Watch:
        """Start to ask an address every ``interval`` seconds."""
        watch = Watch(self.network, address, port=port or self._port, interval=interval)
        self._watches.append(watch)
        return watch

    def ask(self, address: str, *, timeout: float = 1, port: int | None = None) -> str | None:
        """Connect over TCP and return the name of the node that answers, None when none does."""
        family = socket.AF_INET if "." in address else socket.AF_INET6
        with self.network.open_socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            try:
                connection.connect((address, port or self._port))
                return connection.recv(64).decode().strip() or None
            except OSError:
                return None

    def connecting(self, address: str, *, timeout: float = 0.1) -> Connecting:
        """Connect to an address again and again, from the block's begin to its end."""
        return Connecting(self, address, timeout=timeout)

    def who_has(self, address: str, *, timeout: float = 0.3) -> list[str]:
        """Ask by ARP and return every node that answers within ``timeout`` (IPv4 only)."""
        mac = bytes.fromhex(self.own.mac.replace(":", ""))
        sought = IPv4Address(address).packed
        request = _ARP.pack(
            _BROADCAST, mac, _ETHERTYPE_ARP, 1, 0x0800, 6, 4, 1,
            mac, self.own.ipv4.ip.packed, bytes(6), sought,
        )  # fmt: skip
        protocol = socket.htons(_ETHERTYPE_ARP)
        found: set[str] = set()
        with self.network.open_socket(socket.AF_PACKET, socket.SOCK_RAW, protocol) as wire:
            wire.bind(("eth0", _ETHERTYPE_ARP))
            wire.send(request)
            deadline = time.monotonic() + timeout
            while (left := deadline - time.monotonic()) > 0:
                wire.settimeout(left)
                with contextlib.suppress(TimeoutError):
                    frame = _ARP.unpack_from(wire.recv(2048))
                    operation, sender, sender_ip = frame[7:10]
                    if operation == 2 and sender_ip == sought:
                        found.add(self._node_of(sender.hex(":")))
        return sorted(found)

    def neighbour(self, address: str) -> str | None:
        """Return the node this client's neighbour table sends an address to, None for no entry."""
        shown = self.network.run(["ip", "-json", "neighbour", "show", "to", address]).stdout
        entries = json.loads(shown or "[]")
        wanted = ip_address(address)
        for each in entries:
            if ip_address(each["dst"]) == wanted and "lladdr" in each:
                return self._node_of(each["lladdr"])
        return None

    def close(self) -> None:
        """Stop all watches and let go of the network."""
        for each in self._watches:
            each.stop()
        self.network.close()

    def _node_of(self, mac: str) -> str:
        return self._nodes_by_mac.get(mac, mac)


def _connected(network: NetworkNamespace, address: str, port: int) -> socket.socket:
    family = socket.AF_INET if "." in address else socket.AF_INET6
    opened = network.open_socket(family, socket.SOCK_DGRAM)
    opened.connect((address, port))
    opened.setblocking(False)  # noqa: FBT003 - the name of the socket API
    return opened
