"""Nodes with thousands of foreign addresses and routes: they cost nothing."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from ipfailover_agent.config import ownership
from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.linux import host, rtnetlink
from ipfailover_agent.linux.dump_caches import RouteCache
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.model import Family, HostScope
from ipfailover_agent.vrrp import packet_socket
from tests.support import crowd
from tests.support.netns import NetworkNamespace, fresh_namespace

pytestmark = pytest.mark.netns

VIRTUAL = tuple(map(ip_address, ("10.9.0.100", "10.9.0.101", "fd00:9::100", "fd00:9::101")))
NODES = tuple(map(ip_address, ("10.9.0.1", "10.9.0.2", "10.8.0.1", "fd00:9::1", "fd00:9::2")))
SCOPE = HostScope(
    interfaces=("one",), virtual=VIRTUAL, nodes=NODES, passed_by=ownership.NOT_A_NETWORK
)


class Counting(socket.socket):
    """Counts what is read from the kernel."""

    read = 0

    def recvmsg(self, *arguments: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
        """Receive, and count."""
        found = super().recvmsg(*arguments)
        Counting.read += len(found[0])
        return found


class Old(Counting):
    """A kernel before 4.20, which checks nothing strictly."""

    def setsockopt(self, level: int, name: int, value: object, *_: object) -> None:
        """Refuse the option as such a kernel does."""
        if (level, name) == (rtnetlink.SOL_NETLINK, rtnetlink.GET_STRICT_CHK):
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        super().setsockopt(level, name, value)  # type: ignore[call-overload]


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    """Enter a node: ``one`` is the VRRP interface, ``two`` and ``kube-ipvs0`` are not."""
    with fresh_namespace() as made:
        made.ip("link", "add", "one", "type", "veth", "peer", "name", "one0")
        made.ip("link", "add", "two", "type", "veth", "peer", "name", "two0")
        made.ip("link", "add", "kube-ipvs0", "type", "veth", "peer", "name", "kube0")
        made.ip_batch(  # link-local addresses would come at a moment of their own
            *(f"link set {each} addrgenmode none" for each in ("one", "one0", "two", "two0")),
            *(f"link set {each} up" for each in ("lo", "one", "one0", "two", "two0")),
            "addr add 10.9.0.1/24 dev one",
            "addr add 10.9.0.100/32 dev one label one:vip",
            "addr add fd00:9::1/64 dev one nodad",
            "addr add 10.8.0.1/24 dev two",
            "addr add 10.9.0.101/32 dev kube-ipvs0",
            "addr add fd00:9::100/128 dev two nodad preferred_lft 0",
            # a tunnel's pair of halves stands before the default route and hides it
            "route add 0.0.0.0/1 via 10.8.0.254",
            "route add 128.0.0.0/1 via 10.8.0.254",
            "route add default via 10.9.0.254 metric 50",
            "route add local 10.99.0.0/24 dev lo",
        )
        made.ip_batch(
            "route add ::/1 dev two",
            "route add 8000::/1 dev two",
            "route add unreachable ::/96",
            "route add default via fd00:9::fe dev one metric 70",
            options=("-6",),
        )
        with made.entered():
            yield made


def read_by(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many bytes the agent's looks at this node read."""
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Counting)
        Counting.read = 0
        host.discover(SCOPE)
        host.discover(SCOPE, is_glance=True)
        host.local_addresses(NODES)
        packet_socket.usable_addresses(socket.if_nametoindex("one"))
        with AddressSocket() as netlink:
            netlink.held_addresses(socket.if_nametoindex("one"))
        return Counting.read


def test_what_is_not_ours_is_not_read(
    namespace: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8,000 addresses and 100,000 routes: at most the one block of routes that is begun."""
    namespace.ip("route", "del", "128.0.0.0/1")
    alone, before = read_by(monkeypatch), host.discover(SCOPE)
    crowd.add_addresses("kube-ipvs0", "10.100.0.0", 4000)
    crowd.add_addresses("two0", "10.101.0.0", 4000)
    crowd.add_routes("one", "20.0.0.0", 100_000)
    crowded = read_by(monkeypatch)
    assert before == host.discover(SCOPE)
    # two looks at routes, of which the kernel fills one block of at most 32 KiB each
    assert alone <= crowded <= alone + 2 * 32768


def test_the_facts_are_those_of_the_interfaces_that_matter(namespace: NetworkNamespace) -> None:
    """Interfaces by name, by route and by address; a virtual one on kube-ipvs0 is passed by."""
    namespace.ip("addr", "add", "10.7.0.1/24", "dev", "one0")
    facts = host.discover(SCOPE)
    shown = {
        each.name: {str(held.address) for held in each.addresses if not held.address.is_link_local}
        for each in facts.interfaces
    }
    assert {
        "lo": set(),
        "one": {"10.9.0.1", "10.9.0.100", "fd00:9::1"},
        "two": {"10.8.0.1", "fd00:9::100"},
        **{name: set() for name in ("one0", "two0", "kube-ipvs0", "kube0")},
    } == shown
    local = ("10.9.0.1", "10.9.0.100", "10.9.0.101", "10.8.0.1", "fd00:9::1", "fd00:9::100")
    assert set(map(ip_address, local)) == facts.local_addresses
    assert [("one", 50), ("one", 70)] == [
        (each.interface, each.metric) for each in facts.default_routes
    ]
    found = ownership.leftovers(VIRTUAL, "vip", facts, "one")
    assert {("one", "10.9.0.100"), ("two", "fd00:9::100")} == {
        (on.name, str(held.address)) for on, held in found
    }


def test_a_kernel_without_strict_checking_gives_the_same_facts(
    namespace: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There everything is read, and sorted out afterwards."""
    expected = host.discover(SCOPE)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Old)
        with AddressSocket() as netlink:
            assert not netlink.is_strict
        found = host.discover(SCOPE)
    assert expected == found
    assert namespace.name


def test_where_packets_go_is_told_for_each_address(namespace: NetworkNamespace) -> None:
    """The node's own with its interface; neither a local prefix nor a blackhole counts.

    What a router has to pass on is not on the link.
    """
    namespace.ip("route", "add", "blackhole", "10.66.0.0/16")
    namespace.ip("route", "add", "prohibit", "10.67.0.0/16")
    namespace.ip("route", "add", "10.68.0.0/16", "via", "10.9.0.254", "dev", "one")
    index = {name: socket.if_nametoindex(name) for name in ("lo", "one", "two", "kube-ipvs0")}
    expected = {
        "10.9.0.1": (True, "one"),
        "10.9.0.101": (True, "kube-ipvs0"),
        "10.9.0.7": (False, "one"),
        "10.99.0.7": (False, "lo"),
        "127.0.0.1": (True, "lo"),
        "10.66.0.1": (False, None),
        "10.67.0.1": (False, None),
        "fd00:9::100": (True, "two"),
        "fd00:9::7": (False, "one"),
        "::1": (True, "lo"),
    }
    with AddressSocket() as netlink:
        found = netlink.ways([ip_address(each) for each in expected])
        many = netlink.ways([ip_address("10.9.0.1")] * 500)
        (routed,) = netlink.ways([ip_address("10.68.0.1")])
        assert () == netlink.ways([])
    assert [
        rtnetlink.Way(
            is_local=is_local,
            index=0 if name is None else index[name],
            is_on_link=name is not None,
        )
        for is_local, name in expected.values()
    ] == list(found)
    ours = rtnetlink.Way(is_local=True, index=index["one"], is_on_link=True)
    assert {ours} == set(many)
    assert rtnetlink.Way(is_local=False, index=index["one"], is_on_link=False) == routed


@pytest.mark.parametrize("kind", [rtnetlink.GET_ADDRESS, rtnetlink.GET_ROUTE])
@pytest.mark.usefixtures("namespace")
def test_a_dump_that_fails_is_not_taken_for_an_empty_one(kind: int) -> None:
    """Its error is in the last message, NLMSG_DONE, and not in one of its own."""
    nonsense = bytes([socket.AF_INET, 77]) + bytes(10 if kind == rtnetlink.GET_ROUTE else 6)
    with AddressSocket() as netlink:
        with pytest.raises(SystemRefusedError, match="cannot read rtnetlink: Invalid argument"):
            netlink._dump(kind, rtnetlink.NEW_ADDRESS, nonsense)  # noqa: SLF001
        assert netlink.held_addresses(1), "the socket can be used again"


@pytest.mark.usefixtures("namespace")
def test_an_interface_that_is_gone_has_no_addresses() -> None:
    """The kernel refuses the question; the answer is that there are none."""
    with AddressSocket() as netlink:
        assert () == netlink.held_addresses(99_999)


def test_a_namespace_without_any_route_has_no_default_route() -> None:
    """There is no main table yet, which the kernel says with an error."""
    with fresh_namespace() as empty, empty.entered(), AddressSocket() as netlink:
        assert () == netlink.default_routes([1])


def test_the_best_ipv6_default_route_of_each_interface_counts(namespace: NetworkNamespace) -> None:
    """Also of one that another one's stands before."""
    namespace.ip_batch("route del ::/1", "route add default dev two metric 7", options=("-6",))
    indexes = [socket.if_nametoindex(each) for each in ("one", "two")]
    with AddressSocket() as netlink:
        found = netlink.default_routes(indexes)
    assert [(indexes[1], 7), (indexes[0], 70)] == [
        (each.index, each.metric) for each in found if each.family is Family.IPV6
    ]


def dumps_of_routes(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows with each dump of the IPv4 main table from now on."""
    made: list[None] = []
    dump = AddressSocket._default_routes_v4  # noqa: SLF001

    def counted(self: AddressSocket) -> list[bytes]:
        made.append(None)
        return dump(self)

    monkeypatch.setattr(AddressSocket, "_default_routes_v4", counted)
    return made


def metrics(memory: RouteCache, *, is_glance: bool = True) -> list[int]:
    """Return the metrics of the IPv4 default routes that a look shows."""
    with AddressSocket(routes=memory) as netlink:
        found = netlink.default_routes([], is_glance=is_glance)
    return [each.metric for each in found if each.family is Family.IPV4]


@pytest.mark.usefixtures("namespace")
def test_looks_at_routes_that_do_not_change_dump_them_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dump passes by every address of the node; a candidate reads anew all the same."""
    memory = RouteCache()
    made = dumps_of_routes(monkeypatch)
    assert [[50]] * 3 == [metrics(memory) for _ in range(3)]
    assert 1 == len(made)
    assert [50] == metrics(memory, is_glance=False)
    assert 2 == len(made)


def test_a_look_sees_at_once_when_the_kernel_goes_by_another_default_route(
    namespace: NetworkNamespace,
) -> None:
    """Made, made better, replaced, without its link, and gone."""
    memory = RouteCache()
    namespace.ip("route", "del", "128.0.0.0/1")
    seen = [metrics(memory)]
    for words in (
        "route add default via 10.8.0.254 metric 7",
        "route del default via 10.8.0.254",
        "route replace default via 10.9.0.253 metric 50 src 10.9.0.1",
        "route del default",
        "route add default via 10.8.0.254",
        "link set two down",
    ):
        namespace.ip(*words.split())
        seen.append(metrics(memory))
    assert [[50], [7, 50], [50], [50], [], [0], []] == seen
    with AddressSocket() as anew:
        assert () == tuple(each for each in anew.default_routes([]) if each.family is Family.IPV4)


def test_a_look_sees_a_default_route_that_the_kernel_does_not_go_by_within_a_minute(
    namespace: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer shows it."""
    memory, now = RouteCache(), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert [50] == metrics(memory)
    namespace.ip("route", "add", "default", "via", "10.8.0.254", "metric", "80")
    assert [50] == metrics(memory)
    now += 60
    assert [50, 80] == metrics(memory)


def test_a_default_route_of_another_table_is_not_remembered(
    namespace: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers say nothing about the main table: each look reads it."""
    namespace.ip("route", "add", "default", "via", "10.8.0.254", "table", "100", "metric", "9")
    namespace.ip("rule", "add", "from", "all", "lookup", "100")
    memory = RouteCache()
    made = dumps_of_routes(monkeypatch)
    assert [[50]] * 2 == [metrics(memory) for _ in range(2)]
    assert 2 == len(made)
