"""Other speakers of the same router ids: routers, CARP devices, hosts behind a router."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from ipfailover_agent.model import IPAddress
from tests.lab.kit.node import Node
from tests.support import frames

GROUPS: Final[dict[int, IPAddress]] = {4: IPv4Address("224.0.0.18"), 6: IPv6Address("ff02::12")}
_GROUP_MACS: Final = {4: "01:00:5e:00:00:12", 6: "33:33:00:00:00:12"}
_SOURCES: Final[dict[int, IPAddress]] = {4: IPv4Address("192.0.2.77"), 6: IPv6Address("fe80::77")}
_FAR: Final[dict[int, IPAddress]] = {4: IPv4Address("198.51.100.7"), 6: IPv6Address("fd99::7")}
_OTHERS: Final[dict[int, IPAddress]] = {4: IPv4Address("192.0.2.200"), 6: IPv6Address("fe80::200")}


def router(
    router_id: int,
    family: int,
    *,
    version: int | None = None,
    priority: int = 100,
    interval: float = 1.0,
    to: Node | None = None,
    source: IPAddress | None = None,
    password: bytes | None = None,
) -> bytes:
    """Return the advert of a router for an address of no agent; ``to`` one node or all."""
    source = source or _SOURCES[family]
    spoken = version or {4: 2, 6: 3}[family]
    destination, mac = _target(family, to)
    message = frames.vrrp(
        source,
        destination,
        [_OTHERS[family]],
        version=spoken,
        router_id=router_id,
        priority=priority,
        timing=round(interval * 100) if spoken == 3 else round(interval),
        authentication=int(password is not None),
        password=password,
    )
    return mac + frames.packet(message, source, destination)[6:]


def routed(router_id: int, address: str, to: Node) -> bytes:
    """Return an advert of a virtual address and another that a router has forwarded to a node."""
    claimed = ip_address(address)
    source = _FAR[claimed.version]
    destination, mac = _target(claimed.version, to)
    version = {4: 2, 6: 3}[claimed.version]
    message = frames.vrrp(
        source,
        destination,
        [claimed, _OTHERS[claimed.version]],
        version=version,
        router_id=router_id,
        priority=1,
        timing=100 if version == 3 else 1,
    )
    return mac + frames.packet(message, source, destination, ttl=60)[6:]


def carp(vhid: int, family: int) -> bytes:
    """Return an advertisement of CARP: as ucarp's, over IPv6 as pfSense's."""
    fixed = struct.pack("!BBBBBBH", 0x21, vhid, 0, 7, 0, 1, 0)
    message = frames.summed_up(fixed + bytes(range(28)), 6)
    group = GROUPS[family]
    frame = frames.packet(message, _SOURCES[family], group)
    return bytes.fromhex(_GROUP_MACS[family].replace(":", "")) + frame[6:]


def _target(family: int, to: Node | None) -> tuple[IPAddress, bytes]:
    if to is None:
        return GROUPS[family], bytes.fromhex(_GROUP_MACS[family].replace(":", ""))
    own = to.ip if family == 4 else to.ipv6
    return ip_address(own), bytes.fromhex(to.own.mac.replace(":", ""))


@contextmanager
def sending(stranger: Node, every: Sequence[tuple[float, Callable[[], bytes]]]) -> Iterator[None]:
    """Send a frame of each kind after so many seconds, from one host, until the block ends."""
    is_over = threading.Event()

    def speak() -> None:
        with stranger.network.open_socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind((stranger.interface, 0))
            due = [time.monotonic()] * len(every)
            while not is_over.wait(max(min(due) - time.monotonic(), 0.001)):
                for place, (interval, make) in enumerate(every):
                    while due[place] <= time.monotonic():
                        wire.send(make())
                        due[place] += interval

    thread = threading.Thread(target=speak, name="speaker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def speaking(stranger: Node, every: Sequence[tuple[float, bytes]]) -> AbstractContextManager[None]:
    """Send each frame again after so many seconds, as ``sending`` does."""
    return sending(stranger, [(seconds, partial(bytes, frame)) for seconds, frame in every])


def ucarp(node: Node, vhid: int) -> AbstractContextManager[object]:
    """Run the real ucarp on a node, for another address, until the end of the block."""
    words = [
        *("ucarp", f"--interface={node.interface}", f"--srcip={node.ip}", f"--vhid={vhid}"),
        *("--pass=secret", f"--addr={_OTHERS[4]}", "--upscript=/bin/true"),
        "--downscript=/bin/true",
    ]
    return node.network.running(words)
