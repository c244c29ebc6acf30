"""Addresses, links and routes, in fresh network namespaces with iproute2 as the witness."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from ipfailover_agent.errors import NotPermittedError, SystemRefusedError
from ipfailover_agent.linux import host, rtnetlink
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.model import Family, HostScope, InterfaceAddress
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.rights import as_nobody
from tests.support.waiting import wait_until


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    """Enter a fresh namespace with a pair of interfaces, ``one`` and ``two``."""
    with fresh_namespace() as made:
        made.join("one", "two")
        with made.entered():
            yield made


@pytest.fixture
def netlink(namespace: NetworkNamespace) -> Iterator[AddressSocket]:
    del namespace  # it is entered
    with AddressSocket() as made:
        yield made


def witnessed(namespace: NetworkNamespace) -> set[tuple[str, str, int, str, bool]]:
    """Return what ``ip addr`` shows: interface, address, prefix length, label, deprecated."""
    return {
        (
            link["ifname"],
            held["local"],
            held["prefixlen"],
            held.get("label", "") if held["family"] == "inet" else "",
            held.get("deprecated", False),
        )
        for link in json.loads(namespace.ip("-json", "addr"))
        for held in link["addr_info"]
    }


def seen(netlink: AddressSocket) -> set[tuple[str, str, int, str, bool]]:
    """Return what the agent reads, in the same form."""
    names = {link.index: link.name for link in netlink.links()}
    return {
        (names[index], str(held.address), held.prefix_length, held.label, held.is_deprecated)
        for index, held in listed(netlink)
    }


def listed(netlink: AddressSocket) -> list[tuple[int, InterfaceAddress]]:
    return [(held.index, held.address) for held in netlink.held_addresses()]


def index_of(name: str) -> int:
    return socket.if_nametoindex(name)


def test_what_is_read_is_what_ip_addr_shows(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """Both families, labels, prefix lengths, deprecation, several interfaces."""
    namespace.ip_batch(
        "addr add 10.9.0.1/24 dev one",
        "addr add 10.9.0.100/32 dev one label one:vip",
        "addr add 10.9.0.101/32 dev one preferred_lft 0 valid_lft 100",
        "addr add fd00:9::1/64 dev one nodad",
        "addr add fd00:9::100/128 dev one nodad preferred_lft 0",
        "addr add 10.9.1.1/16 dev two",
    )
    found = seen(netlink)
    assert witnessed(namespace) == found
    assert ("one", "10.9.0.100", 32, "one:vip", False) in found
    assert ("one", "fd00:9::100", 128, "", True) in found


def test_254_addresses_of_each_family_are_read_and_deleted_one_by_one(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """All labelled and unlabelled ones are read; every delete leaves exactly the others."""
    lines = [f"addr add 10.9.0.{n}/32 dev one label one:vip" for n in range(1, 255)]
    lines += [f"addr add fd00:9::{n:x}/128 dev one nodad" for n in range(1, 255)]
    lines += ["addr add 10.8.0.1/24 dev one", "addr add fd00:8::1/64 dev one nodad"]
    namespace.ip_batch(*lines)
    before = witnessed(namespace)
    assert before == seen(netlink)
    begin = time.monotonic()
    for index, held in listed(netlink):
        if held.address in (ip_address("10.9.0.1"), ip_address("fd00:9::1")):
            assert netlink.delete(index, held)
    left = before - witnessed(namespace)
    assert {
        ("one", "10.9.0.1", 32, "one:vip", False),
        ("one", "fd00:9::1", 128, "", False),
    } == left
    for index, held in listed(netlink):
        if held.prefix_length in (32, 128) and index == index_of("one"):
            assert netlink.delete(index, held)
    assert time.monotonic() - begin < 10
    assert {held for held in before if held[2] not in (32, 128) or held[0] == "lo"} == witnessed(
        namespace
    )


@pytest.mark.parametrize(
    ("existing", "wanted"),
    [
        ("10.9.0.5/24", ("10.9.0.5", 32, "one")),
        ("10.9.0.5/32", ("10.9.0.6", 32, "one")),
        ("10.9.0.5/32", ("10.9.0.5", 32, "one:vip")),
        ("fd00:9::5/64", ("fd00:9::5", 128, "")),
    ],
    ids=["other prefix", "other address", "other label", "other IPv6 prefix"],
)
def test_only_the_very_address_is_deleted(
    namespace: NetworkNamespace,
    existing: str,
    wanted: tuple[str, int, str],
    netlink: AddressSocket,
) -> None:
    """Something alike stays, and the answer is that the address is not there."""
    namespace.ip("addr", "add", existing, "dev", "one")
    before = witnessed(namespace)
    address, prefix_length, label = wanted
    held = InterfaceAddress(address=ip_address(address), prefix_length=prefix_length, label=label)
    assert not netlink.delete(index_of("one"), held)
    assert not netlink.delete(index_of("two"), held)
    assert not netlink.delete(99_999, held)
    assert before == witnessed(namespace)


def test_the_right_one_of_two_prefix_lengths_is_deleted(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """The same address as /24 and /32: the /32 goes, the node's own stays."""
    namespace.ip("addr", "add", "10.9.0.5/24", "dev", "one")
    namespace.ip("addr", "add", "10.9.0.5/32", "dev", "one")
    held = InterfaceAddress(address=IPv4Address("10.9.0.5"), prefix_length=32, label="one")
    assert netlink.delete(index_of("one"), held)
    assert ("one", "10.9.0.5", 24, "one", False) in witnessed(namespace)
    assert ("one", "10.9.0.5", 32, "one", False) not in witnessed(namespace)


@pytest.mark.parametrize(
    ("address", "peer"),
    [("10.9.0.5", "10.9.7.6/32"), ("fd00:9::5", "fd00:9::6/128")],
    ids=["IPv4", "IPv6"],
)
def test_an_address_with_a_peer_is_read_as_ours_and_deleted(
    namespace: NetworkNamespace, address: str, peer: str, netlink: AddressSocket
) -> None:
    """The local end counts, not the other one."""
    namespace.ip("addr", "add", address, "peer", peer, "dev", "one")
    (found,) = (each for each in listed(netlink) if str(each[1].address) == address)
    assert peer.split("/", maxsplit=1)[0] not in {str(held.address) for _, held in listed(netlink)}
    assert netlink.delete(*found)
    assert address not in {each[1] for each in witnessed(namespace)}


def test_addresses_that_change_meanwhile_do_not_break_the_reading(
    namespace: NetworkNamespace,
) -> None:
    """A dump that is torn, so that it misses addresses, is asked for again."""
    names = [f"10.9.{number // 250}.{number % 250 + 1}" for number in range(2000)]
    namespace.ip_batch(*(f"addr add {name}/32 dev one" for name in names))
    vanishing, staying = names[:1800], {ip_address(name) for name in names[1800:]}
    readings = 0
    with (
        AddressSocket(timeout=10) as netlink,
        subprocess.Popen(["ip", "-batch", "-"], stdin=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdin is not None
        other.stdin.write("".join(f"addr del {name}/32 dev one\n" for name in vanishing))
        other.stdin.close()
        while other.poll() is None:
            assert staying <= {held.address.address for held in netlink.held_addresses()}
            readings += 1
    assert readings > 0


def test_what_an_address_is_good_for_is_read(namespace: NetworkNamespace) -> None:
    """Privacy addresses, duplicates, what is still being looked at, and the order of making."""
    namespace.run("sysctl", "-qw", "net.ipv6.conf.one.use_tempaddr=2")
    namespace.ip("addr", "add", "fd00:9::5/64", "dev", "two", "nodad")
    namespace.ip("addr", "add", "fd00:8::1/64", "dev", "one", "nodad", "mngtmpaddr")
    time.sleep(0.05)  # the kernel counts in hundredths
    namespace.ip("addr", "add", "fd00:9::5/64", "dev", "one")
    time.sleep(0.05)
    namespace.ip_batch("addr add 10.9.0.1/24 dev one", "addr add 10.9.0.2/24 dev one")

    def read() -> dict[str, InterfaceAddress]:
        with AddressSocket() as netlink:
            return {
                str(each.address): each
                for index, each in listed(netlink)
                if index == index_of("one") and not each.address.is_link_local
            }

    first = read()
    assert first["fd00:9::5"].is_tentative
    wait_until(lambda: read()["fd00:9::5"].is_duplicate, 10, "the duplicate is found")
    found = read()
    assert [True] == [
        each.is_temporary
        for name, each in found.items()
        if name.startswith("fd00:8::") and each.is_temporary
    ]
    assert not any(found[name].is_temporary for name in ("fd00:8::1", "10.9.0.1", "10.9.0.2"))
    assert not found["fd00:8::1"].is_tentative
    made = [found[name].created for name in ("fd00:8::1", "fd00:9::5", "10.9.0.1")]
    assert sorted(set(made)) == made
    namespace.ip(
        "addr", "change", "10.9.0.1/24", "dev", "one", "valid_lft", "100", "preferred_lft", "9"
    )
    assert made[2] == read()["10.9.0.1"].created  # a renewal is none


def test_one_glance_shows_what_is_there_with_its_lifetime(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """Both families; without a limit it is for ever."""
    namespace.ip_batch(
        "addr add 10.9.0.100/32 dev one label one:vip",
        "addr add 10.9.0.101/32 dev one valid_lft 100 preferred_lft 50",
        "addr add fd00:9::100/128 dev one nodad valid_lft 100 preferred_lft 0",
        "addr add fd00:9::101/128 dev one nodad",
    )
    found = {
        str(each.address.address): each.valid_seconds for each in netlink.glance_at_addresses()
    }
    assert rtnetlink.FOR_EVER == found["10.9.0.100"] == found["fd00:9::101"]
    assert 98 <= found["10.9.0.101"] <= 100
    assert 98 <= found["fd00:9::100"] <= 100


def lifetimes(namespace: NetworkNamespace) -> dict[str, tuple[int, int]]:
    """Return what ``ip`` shows of ``one``: valid and preferred seconds by address."""
    (link,) = json.loads(namespace.ip("-json", "addr", "show", "dev", "one"))
    return {
        each["local"]: (each["valid_life_time"], each["preferred_life_time"])
        for each in link["addr_info"]
    }


def held_on_one(netlink: AddressSocket, *names: str) -> list[rtnetlink.HeldAddress]:
    """Return those addresses, in that order."""
    found = {str(each.address.address): each for each in netlink.glance_at_addresses()}
    return [found[name] for name in names]


def test_a_renewal_changes_nothing_but_lifetimes(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """Label, scope, flags and preferred lifetime 0 stay; and it can be taken back."""
    namespace.ip_batch(
        "addr add 10.9.0.100/32 dev one label one:vip scope link",
        "addr add 10.9.0.5 peer 10.9.7.6/32 dev one",
        "addr add fd00:9::100/128 dev one nodad noprefixroute preferred_lft 0",
        "addr add fd00:9::101/128 dev one nodad",
        "addr add 10.9.0.1/24 dev one",
        "addr add 10.9.0.102/32 dev one metric 77",
        "addr add fd00:9::102/128 dev one nodad metric 77",
    )

    def everything() -> list[dict[str, object]]:
        (link,) = json.loads(namespace.ip("-json", "addr", "show", "dev", "one"))
        hidden = {"valid_life_time", "preferred_life_time", "dynamic"}
        return sorted(
            (
                {name: value for name, value in each.items() if name not in hidden}
                for each in link["addr_info"]
            ),
            key=str,
        )

    before, before_lifetimes = everything(), lifetimes(namespace)
    names = (
        *("10.9.0.100", "10.9.0.5", "10.9.0.102"),
        *("fd00:9::100", "fd00:9::101", "fd00:9::102"),
    )
    held = held_on_one(netlink, *names)
    assert 6 == netlink.renew(held, 30)
    shown = lifetimes(namespace)
    assert before == everything()
    assert all(28 <= shown[name][0] <= 30 for name in names)
    assert {0} == {shown["fd00:9::100"][1]}
    assert all(28 <= shown[name][1] <= 30 for name in names if name != "fd00:9::100")
    assert before_lifetimes["10.9.0.1"] == shown["10.9.0.1"]
    assert 6 == netlink.renew(held, rtnetlink.FOR_EVER)
    assert before_lifetimes == lifetimes(namespace)
    assert 0 == netlink.renew([], 30)


@pytest.mark.usefixtures("namespace")
def test_who_set_an_address_stays_when_it_is_renewed() -> None:
    """keepalived 2.3 marks its addresses with IFA_PROTO 18; iproute2 6.1 cannot set it yet."""
    proto, keepalived = 11, b"\x12"
    two = [
        InterfaceAddress(address=ip_address("10.9.0.100"), prefix_length=32, label="one:vip"),
        InterfaceAddress(address=ip_address("fd00:9::100"), prefix_length=128),
    ]
    names = [str(each.address) for each in two]
    with (
        AddressSocket() as netlink,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as raw,
    ):
        raw.settimeout(5)
        raw.bind((0, 0))
        for each in two:
            payload = rtnetlink.build_address(index_of("one"), each, each.address)
            payload += attribute(proto, keepalived)
            flags = rtnetlink.REQUEST | rtnetlink.ACK | 0x600  # NLM_F_CREATE, NLM_F_EXCL
            raw.send(rtnetlink.build_message(rtnetlink.NEW_ADDRESS, flags, 1, payload))
            (answer,) = rtnetlink.split_messages(raw.recv(4096))
            assert 0 == rtnetlink.parse_error_number(answer.payload)
        held = held_on_one(netlink, *names)
        assert [((proto, keepalived),)] * 2 == [each.kept for each in held]
        assert 2 == netlink.renew(held, 30)
        again = held_on_one(netlink, *names)
    assert [((proto, keepalived),)] * 2 == [each.kept for each in again]
    assert all(28 <= each.valid_seconds <= 30 for each in again)


def test_what_cannot_be_renewed_does_not_keep_the_others_from_it(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """Those of an interface that is gone are counted as refused, wherever they stand."""
    names = [f"fd00:9::{n:x}" for n in range(1, 201)]
    namespace.ip_batch(*(f"addr add {name}/128 dev one nodad" for name in names))
    refused = {0, 63, 64, 100, 199}  # the first, the last one of a batch, the very last
    held = [
        replace(each, index=99_999) if number in refused else each
        for number, each in enumerate(held_on_one(netlink, *names))
    ]
    assert 195 == netlink.renew(held, 30)
    assert 195 == netlink.renew(held, 60), "a late error was taken for one of these"
    shown = lifetimes(namespace)
    for number, name in enumerate(names):
        assert (shown[name][0] <= 60) == (number not in refused)


@pytest.mark.parametrize("address", ["10.9.0.100/32", "fd00:9::100/128"], ids=["IPv4", "IPv6"])
def test_an_address_that_was_just_removed_comes_back(
    namespace: NetworkNamespace, address: str, netlink: AddressSocket
) -> None:
    """The fact that looking afterwards rests on: the kernel adds it again, for one lifetime."""
    name = address.split("/", maxsplit=1)[0]
    namespace.ip("addr", "add", address, "dev", "one")
    held = held_on_one(netlink, name)
    namespace.ip("addr", "del", address, "dev", "one")
    assert 1 == netlink.renew(held, 30)
    assert 28 <= lifetimes(namespace)[name][0] <= 30


def test_links_are_read_with_their_state(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """Up means up and running: a veth whose other end is down is not."""

    def shown() -> dict[str, bool]:
        return {link.name: link.is_up for link in netlink.links()}

    # the kernel tells of a carrier a moment later
    both_up = {"lo": True, "one": True, "two": True}
    wait_until(lambda: both_up == shown(), 5, lambda: str(shown()))
    namespace.ip("link", "set", "two", "down")
    both_down = {"lo": True, "one": False, "two": False}
    wait_until(lambda: both_down == shown(), 5, lambda: str(shown()))


def test_ports_are_read_with_what_takes_their_frames(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """Seen by one question and among all links, and who speaks no ARP."""
    namespace.ip_batch(
        "link add name br0 type bridge", "link set one master br0", "link set two arp off"
    )
    links = {each.name: each for each in netlink.links()}
    asked = {name: netlink.port_of(each.index) for name, each in links.items()}
    assert "" == netlink.port_of(9999)
    assert {"one": "br0"} == {name: master for name, master in asked.items() if master}
    assert links["br0"].index == links["one"].master
    assert {"one"} == {each.name for each in links.values() if each.master}
    assert {"two"} == {each.name for each in links.values() if not each.speaks_arp}
    facts = host.discover(HostScope())
    assert {"one": "br0"} == {each.name: each.port_of for each in facts.interfaces if each.port_of}
    assert {"two"} == {each.name for each in facts.interfaces if not each.speaks_arp}


@pytest.mark.parametrize(("kind", "master"), [("bridge", 7), ("bond", 7), ("vrf", 0)])
def test_a_vrf_leaves_frames_to_its_ports(kind: str, master: int) -> None:
    """As no bridge, bond or other device does (linux/if_link.h)."""
    told = attribute(18, attribute(1, b"veth\0") + attribute(4, kind.encode() + b"\0"))
    payload = bytes(16) + attribute(3, b"one\0") + attribute(10, struct.pack("=I", 7)) + told
    assert master == rtnetlink.parse_link(payload).master


def test_default_routes_are_read_best_first(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """Metrics, preferred sources, both families; other tables and blackholes are left out."""
    namespace.ip_batch(
        "addr add 10.9.0.1/24 dev one",
        "addr add 10.9.0.2/32 dev one",
        "addr add 10.8.0.1/24 dev two",
        "addr add fd00:9::1/64 dev one nodad",
        "route add default via 10.8.0.254 dev two metric 200",
        "route add default via 10.9.0.254 dev one metric 50 src 10.9.0.2",
        "route add default via 10.8.0.254 dev two metric 1 table 100",
        "route add blackhole default metric 10",
        "route add 10.7.0.0/16 via 10.8.0.254 dev two",
    )
    namespace.ip_batch(
        "route add default via fd00:9::fe dev one metric 70",
        "route add unreachable default metric 4000",
        options=("-6",),
    )
    one, two = index_of("one"), index_of("two")
    found = netlink.default_routes([index_of("one"), index_of("two")])
    source = IPv4Address("10.9.0.2")
    assert (
        hop(Family.IPV4, one, 50, "10.9.0.254", source),
        hop(Family.IPV4, two, 200, "10.8.0.254"),
        hop(Family.IPV6, one, 70, "fd00:9::fe"),
    ) == found


def hop(
    family: Family, index: int, metric: int, gateway: str, source: IPv4Address | None = None
) -> rtnetlink.RouteHop:
    """Return a next hop of a default route."""
    return rtnetlink.RouteHop(
        family=family, index=index, metric=metric, source=source, gateway=ip_address(gateway)
    )


def test_the_gateway_of_a_default_route_may_be_of_the_other_family(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """RFC 5549; one without a gateway leads out of a point-to-point interface."""
    namespace.ip_batch("addr add 10.9.0.1/24 dev one", "addr add fd00:9::1/64 dev one nodad")
    namespace.ip_batch(
        "route add default via inet6 fd00:9::fe dev one metric 5",
        "route add default dev two metric 9",
        options=("-4",),
    )
    found = netlink.default_routes([])
    assert [ip_address("fd00:9::fe"), None] == [each.gateway for each in found]


def test_each_hop_of_a_multipath_default_route_is_read(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """Both interfaces count as interfaces of the default route, in both families."""
    namespace.ip_batch(
        "addr add 10.9.0.1/24 dev one",
        "addr add 10.8.0.1/24 dev two",
        "addr add fd00:9::1/64 dev one nodad",
        "addr add fd00:8::1/64 dev two nodad",
        "route add default nexthop via 10.9.0.254 dev one nexthop via 10.8.0.254 dev two",
    )
    namespace.ip_batch(
        "route add default nexthop via fd00:9::fe dev one nexthop via fd00:8::fe dev two",
        options=("-6",),
    )
    found = {
        (each.index, str(each.gateway))
        for each in netlink.default_routes([index_of("one"), index_of("two")])
    }
    one, two = index_of("one"), index_of("two")
    assert {
        *((one, "10.9.0.254"), (two, "10.8.0.254")),
        *((one, "fd00:9::fe"), (two, "fd00:8::fe")),
    } == found


def test_a_missing_capability_is_named(namespace: NetworkNamespace) -> None:
    """Without CAP_NET_ADMIN errors say so, and reading still works."""
    namespace.ip("addr", "add", "10.9.0.5/32", "dev", "one")

    def change() -> list[str]:
        with AddressSocket() as netlink:
            (found,) = (
                each
                for each in listed(netlink)
                if each[0] == index_of("one") and each[1].address.version == 4
            )
            with pytest.raises(NotPermittedError) as deleting:
                netlink.delete(*found)
            with pytest.raises(NotPermittedError) as renewing:
                netlink.renew(held_on_one(netlink, "10.9.0.5"), 3)
        return [str(deleting.value), str(renewing.value)]

    assert [
        "cannot delete 10.9.0.5/32: Operation not permitted, CAP_NET_ADMIN is missing",
        "cannot renew addresses: CAP_NET_ADMIN is missing",
    ] == as_nobody(change)


def test_a_kernel_that_does_not_answer_in_time_is_not_waited_for() -> None:
    """The error says so, and the late answers are passed by when the socket is used again."""
    with AddressSocket(timeout=0) as netlink:
        routes = functools.partial(netlink.default_routes, [1])
        for read in (netlink.links, netlink.held_addresses, routes):
            with pytest.raises(SystemRefusedError, match="no answer from rtnetlink within 0 s"):
                read()
        netlink.timeout = 5
        assert "lo" in {link.name for link in netlink.links()}
        assert IPv4Address("127.0.0.1") in {held.address for _, held in listed(netlink)}


def test_a_descriptor_that_cannot_be_had_is_our_error() -> None:
    """A closed socket is a refusal of the system, not a bare OSError."""
    netlink = AddressSocket()
    netlink.close()
    with pytest.raises(SystemRefusedError, match="cannot use rtnetlink"):
        netlink.held_addresses()


# --- parsers ------------------------------------------------------------------------------------

HEADERS = {
    rtnetlink.parse_address: 8,
    rtnetlink.parse_link: 16,
    rtnetlink.parse_default_route: 12,
    rtnetlink.parse_way: 12,
    rtnetlink.is_behind_defaults: 12,
}
AF_BYTE = st.sampled_from([socket.AF_INET, socket.AF_INET6, 0, 255])


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """Payloads that look right at first: a family, attributes with true or false lengths."""
    head = bytes([draw(AF_BYTE)]) + draw(st.binary(min_size=7, max_size=15))
    body = b"".join(
        attribute(draw(st.integers(0, 20)), draw(st.binary(max_size=20)))
        for _ in range(draw(st.integers(0, 4)))
    )
    return head + body + draw(st.binary(max_size=6))


@pytest.mark.parametrize("parse", HEADERS, ids=lambda each: str(getattr(each, "__name__", each)))
def test_no_bytes_make_a_parser_fail_otherwise_than_documented(
    parse: Callable[[bytes], object],
) -> None:
    """Whatever comes, the parser returns or raises MalformedMessageError."""

    @given(st.binary(max_size=80) | nearly_right())
    @example(b"")
    @example(bytes(200))
    @example(b"\xff" * 200)
    def check(payload: bytes) -> None:
        with contextlib.suppress(rtnetlink.MalformedMessageError):
            parse(payload)

    check()


@given(st.binary(max_size=200))
@example(struct.pack("=IHHII", 0, 0, 0, 0, 0))
@example(struct.pack("=IHHII", 16, 0, 0, 0, 0) * 3)
@example(struct.pack("=IHHII", 17, 0, 0, 0, 0) + b"x")
def test_no_bytes_make_the_splitter_fail_otherwise_than_documented(data: bytes) -> None:
    """It ends, whatever lengths say, and raises MalformedMessageError only."""
    try:
        messages = list(rtnetlink.split_messages(data))
    except rtnetlink.MalformedMessageError:
        return
    assert len(messages) <= len(data) // 16


addresses = st.builds(
    InterfaceAddress,
    address=st.ip_addresses(v=4),
    prefix_length=st.integers(0, 32),
    label=st.text("abcdefgh:0123", max_size=15),
) | st.builds(InterfaceAddress, address=st.ip_addresses(v=6), prefix_length=st.integers(0, 128))


@given(st.integers(1, 2**31 - 1), addresses)
def test_what_is_built_is_read_back(index: int, held: InterfaceAddress) -> None:
    """Builder and parser agree on every field."""
    payload = rtnetlink.build_address(index, held, held.address)
    expected = rtnetlink.HeldAddress(index=index, address=held, peer=held.address)
    assert expected == rtnetlink.parse_address(payload)


def test_the_32_bit_flags_decide_over_the_8_bit_ones() -> None:
    """IFA_FLAGS holds what the header has no room for."""
    head = struct.pack("=BBBBI", socket.AF_INET6, 128, 0, 0, 3)
    body = attribute(1, IPv6Address("fd00::1").packed) + attribute(8, struct.pack("=I", 0x420))
    found = rtnetlink.parse_address(head + body)
    assert found is not None
    assert found.address.is_deprecated


def test_an_address_gets_a_label_and_is_there_all_along(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """It keeps its lifetime; a socket that is bound to it meanwhile never misses it."""
    namespace.ip_batch(
        "addr add 10.9.0.1/24 dev one",
        "addr add 10.9.0.100/32 dev one valid_lft 100 preferred_lft 100",
    )
    index = index_of("one")
    routes = namespace.ip("route", "show", "table", "all")
    (held,) = [each for each in netlink.held_addresses() if each.address.prefix_length == 32]
    changes = _address_changes()
    netlink.relabel(held, "one:vip")
    (after,) = [each for each in netlink.held_addresses() if each.address.prefix_length == 32]
    assert ("one:vip", index) == (after.address.label, after.index)
    assert 90 < after.valid_seconds <= 100
    assert namespace.ip("route", "show", "table", "all") == routes
    present = {32}
    for is_there, prefix in _read_changes(changes):
        (present.add if is_there else present.discard)(prefix)
        assert present
    assert {32} == present
    with pytest.raises(SystemRefusedError, match=r"cannot label 10\.9\.0\.100 as two:vip"):
        netlink.relabel(replace(held, index=index_of("two")), "two:vip")
    assert not any(
        each.index == index_of("two")
        for each in netlink.held_addresses()
        if each.address.address == held.peer
    )


def test_an_ipv6_address_is_deprecated_in_its_place(
    namespace: NetworkNamespace, netlink: AddressSocket
) -> None:
    """As keepalived sets it: the node does not use it as a source by itself."""
    namespace.ip_batch("addr add fd00:9::100/128 dev one nodad")
    (held,) = [
        each
        for each in netlink.held_addresses()
        if each.address.prefix_length == 128 and each.index == index_of("one")
    ]
    netlink.deprecate(held)
    assert ("one", "fd00:9::100", 128, "", True) in witnessed(namespace)
    (after,) = [each for each in netlink.held_addresses() if each.address.address == held.peer]
    assert rtnetlink.FOR_EVER == after.valid_seconds


def _address_changes() -> socket.socket:
    """Return a socket that hears of IPv4 addresses that come and go."""
    found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    found.bind((0, 0x10))  # RTMGRP_IPV4_IFADDR
    found.settimeout(0.2)
    return found


def _read_changes(changes: socket.socket) -> Iterator[tuple[bool, int]]:
    """Yield whether an address came, and its prefix length."""
    with changes, contextlib.suppress(TimeoutError):
        while True:
            for message in rtnetlink.split_messages(changes.recv(1 << 16)):
                held = rtnetlink.parse_address(message.payload)
                assert held is not None
                yield message.kind == rtnetlink.NEW_ADDRESS, held.address.prefix_length
