"""The bytes of sock_diag(7): one question about one listening TCP socket, and its answer.

Without NLM_F_DUMP the kernel does not go through its sockets: it looks one up by addresses, ports
and interface, with the function that takes a SYN to its listener (inet_diag.c,
inet_diag_find_one_icsk). So a question costs the same however many sockets there are, the answer
is what a client would meet, and the application sees nothing. It needs no right.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipfailover_agent.model import IPAddress

NETLINK_SOCK_DIAG: Final = 4  # linux/netlink.h
ANSWER_BYTES: Final = 20
"""Bytes of an answer that matter: the header, and the error number behind it."""

_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY, linux/sock_diag.h
_ERROR: Final = 2  # NLMSG_ERROR
_REQUEST: Final = 0x1  # NLM_F_REQUEST, and nothing else
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_QUESTION: Final = struct.Struct("=BBBBI2s2x16s16sIII")
"""Family, protocol, extensions, padding, states; ports, addresses, interface, cookie."""

_NUMBER: Final = struct.Struct("=i")
_FAMILIES: Final = {4: 2, 6: 10}  # AF_INET, AF_INET6
_TCP: Final = 6
_ALL_STATES: Final = 0xFFFFFFFF
_NO_COOKIE: Final = 0xFFFFFFFF  # INET_DIAG_NOCOOKIE: whichever socket it is
_MALFORMED: Final = -1


def question(address: IPAddress, port: int, interface: int) -> bytes:
    """Return the question whether a SYN to address and port would meet a listener.

    The kernel sees the socket's own end as the source. The other end is the same address, as in a
    connection from the node to itself, and port 0, which no connection has: another port could
    meet one.

    Args:
        address: of this node.
        port: of the listener.
        interface: the index of the one that the SYN comes in by.
    """
    fixed = (_FAMILIES[address.version], _TCP, 0, 0, _ALL_STATES)
    ends = (port.to_bytes(2, "big"), address.packed, address.packed)
    body = _QUESTION.pack(*fixed, *ends, interface, _NO_COOKIE, _NO_COOKIE)
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 0, 0) + body


def error_number(answer: bytes) -> int:
    """Return 0 where a listener was found, else an errno; -1 for what is no answer."""
    if len(answer) < ANSWER_BYTES:
        return _MALFORMED
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _BY_FAMILY:
        return 0
    if kind != _ERROR:
        return _MALFORMED
    (number,) = _NUMBER.unpack_from(answer, _HEADER.size)
    return -int(number)
