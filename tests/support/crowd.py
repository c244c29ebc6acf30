"""A crowded node: thousands of addresses and routes that are not the agent's.

``python -m tests.support.crowd addresses|routes INTERFACE FIRST COUNT`` makes them in the network
namespace that it runs in.
"""

from __future__ import annotations

import itertools
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from ipfailover_agent.linux import rtnetlink
from ipfailover_agent.model import InterfaceAddress

_CREATE_ONLY = 0x600  # NLM_F_CREATE, NLM_F_EXCL
_BATCH = 500  # requests in a datagram
_ROUTE = struct.Struct("=8BI")
_MAIN, _PROTO_BGP, _UNIVERSE, _UNICAST = 254, 186, 0, 1
_DST, _OIF = 1, 4


def add_addresses(interface: str, first: str, count: int) -> None:
    """Give an interface of the namespace that is entered so many addresses, each a /32.

    The kernel needs a time that grows with the square: 5,000 take a second, 20,000 a quarter of a
    minute.
    """
    index = socket.if_nametoindex(interface)
    held = (
        InterfaceAddress(address=IPv4Address(first) + number, prefix_length=32)
        for number in range(count)
    )
    _send(rtnetlink.NEW_ADDRESS, (rtnetlink.build_address(index, e, e.address) for e in held))


def add_routes(interface: str, first: str, count: int) -> None:
    """Add so many routes to single hosts to the main table, as a BGP router has them."""
    index = struct.pack("=HHI", 8, _OIF, socket.if_nametoindex(interface))
    header = _ROUTE.pack(socket.AF_INET, 32, 0, 0, _MAIN, _PROTO_BGP, 253, _UNICAST, 0)
    number = int(IPv4Address(first))
    _send(
        rtnetlink.NEW_ROUTE,
        (
            header + struct.pack("=HH4s", 8, _DST, (number + each).to_bytes(4, "big")) + index
            for each in range(count)
        ),
    )


def _send(kind: int, payloads: Iterable[bytes]) -> None:
    """Have the kernel carry out all of it; it answers nothing but faults."""
    flags = rtnetlink.REQUEST | _CREATE_ONLY
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as raw:
        raw.bind((0, 0))
        raw.settimeout(0)
        for batch in _batched(payloads):
            raw.send(b"".join(rtnetlink.build_message(kind, flags, 1, each) for each in batch))
        try:
            answer = raw.recv(4096)
        except BlockingIOError:
            return
    raise AssertionError(f"the kernel refuses: {answer!r}")


def _batched(payloads: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    rest = iter(payloads)
    while batch := tuple(itertools.islice(rest, _BATCH)):
        yield batch


if __name__ == "__main__":
    what, name, start, number = sys.argv[1:]
    {"addresses": add_addresses, "routes": add_routes}[what](name, start, int(number))
