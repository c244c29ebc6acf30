"""The bytes of a question after a listener, and of its answer."""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_address

import pytest

from ipfailover_agent.linux import sock_diag


@pytest.mark.parametrize(
    ("address", "family", "packed"),
    [
        ("192.0.2.11", 2, bytes([192, 0, 2, 11]) + bytes(12)),
        ("2001:db8::11", 10, bytes.fromhex("20010db8000000000000000000000011")),
        ("fe80::11%eth0", 10, bytes.fromhex("fe800000000000000000000000000011")),
    ],
)
def test_a_question_is_after_one_socket_by_all_that_names_it(
    address: str, family: int, packed: bytes
) -> None:
    """struct inet_diag_req_v2 behind a header without a flag of a dump."""
    told = sock_diag.question(ip_address(address), 8080, 7)
    assert (72, 20, 1, 0, 0) == struct.unpack_from("=IHHII", told)
    assert 72 == len(told)
    assert (family, 6, 0, 0, 0xFFFFFFFF) == struct.unpack_from("=BBBBI", told, 16)
    assert (8080, 0) == struct.unpack_from("!HH", told, 24)
    assert packed + packed == told[28:60]
    assert (7, 0xFFFFFFFF, 0xFFFFFFFF) == struct.unpack_from("=III", told, 60)


def answer(kind: int, rest: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(rest), kind, 0, 0, 4711) + rest


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (answer(20, bytes([2, 10, 0, 0])), 0),
        (answer(2, struct.pack("=i", -errno.ENOENT)), errno.ENOENT),
        (answer(2, struct.pack("=i", -errno.EACCES)), errno.EACCES),
        (answer(3, bytes(4)), -1),
        (answer(2, b""), -1),
        (b"", -1),
    ],
    ids=["found", "none", "refused", "a dump's end", "cut short", "nothing"],
)
def test_an_answer_is_an_error_number_or_a_socket(told: bytes, expected: int) -> None:
    """What is neither is told apart from both."""
    assert expected == sock_diag.error_number(told)
