"""The application of a node: answers its node's name, over TCP and UDP, on inherited sockets.

Started as ``python -I -S server.py NAME FD FD``: a TCP socket that listens and a UDP socket. It
imports little, so that it starts fast.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys

_IP_PKTINFO = 8  # linux/in.h; the socket module names it from 3.12 on


def answer_datagram(udp: socket.socket, name: bytes) -> None:
    """Answer ``NAME SEQUENCE`` from the very address that was asked."""
    with contextlib.suppress(OSError):  # the address may be gone, or the client
        payload, ancillary, _, client = udp.recvmsg(128, 256)
        udp.sendmsg([name + b" " + payload], ancillary, 0, client)


def answer_connection(tcp: socket.socket, name: bytes) -> None:
    """Say the name and close."""
    with contextlib.suppress(OSError):
        connection, _ = tcp.accept()
        with connection:
            connection.sendall(name + b"\n")


def main(arguments: list[str]) -> None:
    """Serve until killed."""
    name = arguments[0].encode()
    tcp, udp = (socket.socket(fileno=int(each)) for each in arguments[1:3])
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    for each in (tcp, udp):
        each.setblocking(False)  # noqa: FBT003 - the name of the socket API
    poller = select.poll()
    poller.register(tcp, select.POLLIN)
    poller.register(udp, select.POLLIN)
    while True:
        for ready, _ in poller.poll():
            if ready == udp.fileno():
                answer_datagram(udp, name)
            else:
                answer_connection(tcp, name)


if __name__ == "__main__":
    main(sys.argv[1:])
