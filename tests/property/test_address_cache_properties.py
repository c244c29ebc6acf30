"""What is remembered of addresses is what reading them again would give."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from ipfailover_agent.linux import rtnetlink
from ipfailover_agent.linux.dump_caches import AddressCache
from ipfailover_agent.model import InterfaceAddress

CACHE_INFO = 6


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(number: int, *, preferred: int = 3, valid: int = 3, times: int = 0) -> bytes:
    """Return what a dump shows of an address that is leased."""
    vip = InterfaceAddress(address=IPv4Address(number), prefix_length=32, label="eth0:vip")
    lifetimes = struct.pack("=IIII", preferred, valid, 7, times)
    return (
        rtnetlink.build_address(7, vip, vip.address)
        + attribute(CACHE_INFO, lifetimes)
        + attribute(8, bytes(4))
    )


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """A message as the kernel writes it, or with attributes in any order, or damaged."""
    lifetimes = st.builds(
        lambda *each: struct.pack("=IIII", *each), *[st.integers(0, 3) for _ in range(4)]
    )
    head = struct.pack("=BBBBI", draw(st.sampled_from([2, 10, 0])), 32, 0, 0, 7)
    values = st.sampled_from([bytes(4), b"\x14\0\6\0", b"\xc6\x33\x64\1"]) | lifetimes
    kinds = st.sampled_from([1, 2, 3, CACHE_INFO, CACHE_INFO | 1 << 15, 8, 9])
    body = draw(st.lists(st.builds(attribute, kinds, values), max_size=4))
    return head + b"".join(body) + draw(st.sampled_from([b"", b"\0", b"\x14\0\6\0"]))


@given(st.lists(st.lists(payloads() | st.builds(message, st.integers(1, 3)), max_size=6)))
def test_whatever_was_read_before_an_address_is_read_as_without_memory(
    dumps: list[list[bytes]],
) -> None:
    """Every field is the same, lifetimes included, and so is every refusal."""
    memory = AddressCache()
    for dump in dumps:
        try:
            expected = [astuple(each) for each in map(rtnetlink.parse_address, dump) if each]
        except rtnetlink.MalformedMessageError as error:
            with pytest.raises(rtnetlink.MalformedMessageError, match=str(error)):
                memory.read(dump)
        else:
            assert expected == [astuple(each) for each in memory.read(dump)]


@given(st.data())
def test_one_byte_that_differs_is_never_passed_over(data: st.DataObject) -> None:
    """Damage anywhere, and the reading is that of the damaged message."""
    memory = AddressCache()
    whole = message(1)
    memory.read([whole])
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    try:
        expected = rtnetlink.parse_address(damaged)
    except rtnetlink.MalformedMessageError:
        with pytest.raises(rtnetlink.MalformedMessageError):
            memory.read([damaged])
    else:
        found = [astuple(each) for each in memory.read([damaged])]
        assert ([] if expected is None else [astuple(expected)]) == found


def test_a_renewal_later_the_same_objects_are_given() -> None:
    """Only the times differ: neither an address nor the tuple is made anew."""
    memory = AddressCache()
    before = memory.read([message(1), message(2)])
    assert before is memory.read([message(1, times=9), message(2, times=9)])
    assert [3, 3] == [each.valid_seconds for each in before]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param([message(1), message(2, valid=2)], id="a lifetime"),
        pytest.param([message(1)], id="one less"),
        pytest.param([message(1), message(2), message(3)], id="one more"),
        pytest.param([message(2), message(1)], id="another order"),
    ],
)
def test_another_dump_is_another_tuple(changed: list[bytes]) -> None:
    """Who compares by identity must not miss a change."""
    memory = AddressCache()
    before = memory.read([message(1), message(2)])
    after = memory.read(changed)
    assert after is not before
    assert [astuple(each) for each in after] == [
        astuple(each) for each in map(rtnetlink.parse_address, changed) if each
    ]


def test_memory_does_not_grow_without_end() -> None:
    """Lifetimes that run down look new each second, interfaces come and go."""
    memory = AddressCache()
    for valid in range(10_000):
        (found,) = memory.read([message(1, valid=valid)], valid // 100)
        assert valid == found.valid_seconds
    known = [
        len(each)
        for dump in memory._dumps.values()  # noqa: SLF001
        for places in dump._known.values()  # noqa: SLF001
        for each in places.values()
    ]
    assert 64 * 66 >= sum(known), "of 64 interfaces, each with twice its address and 64 more"


def test_many_addresses_are_all_remembered() -> None:
    """A dump of five thousand is read in full once, whatever other interfaces show."""
    memory = AddressCache()
    dump = [message(number) for number in range(5000)]
    before = memory.read(dump, 7)
    memory.read([message(1)], 8)
    assert before is memory.read(dump, 7)


def test_an_address_of_another_family_is_none_of_ours() -> None:
    """It is passed over, the first time and later."""
    memory = AddressCache()
    other = bytes([socket.AF_PACKET]) + message(1)[1:]
    assert memory.read([message(1)]) == memory.read([other, message(1)])
