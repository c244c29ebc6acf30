"""What an rtnetlink multicast socket tells, in a fresh network namespace, iproute2 making it."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.linux import host
from ipfailover_agent.linux.link_monitor import (
    AddressNotice,
    LinkMonitor,
    LinkNotice,
    Notice,
    parse,
)
from ipfailover_agent.linux.rtnetlink import MalformedMessageError
from ipfailover_agent.supervisor import link_watch
from ipfailover_agent.supervisor.link_state import Ground, LinkFacts
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.waiting import wait_until


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    """Enter a fresh namespace with an interface ``one``."""
    with fresh_namespace() as made:
        made.ip("link", "add", "one", "type", "bridge")
        made.ip("link", "set", "one", "addrgenmode", "none")  # no address of the kernel's own
        with made.entered():
            yield made


def told(monitor: LinkMonitor, *, seconds: float = 0.3) -> list[Notice]:
    """Return everything that comes until it is quiet for so long."""
    found: list[Notice] = []
    while select.select([monitor], [], [], seconds)[0]:
        found += monitor.read()
    return found


def test_an_interface_that_is_made_anew_has_another_index(namespace: NetworkNamespace) -> None:
    """Deleted and made again under its name: both are told, and the new index."""
    with LinkMonitor() as monitor:
        namespace.ip("link", "del", "one")
        namespace.ip("link", "add", "one", "type", "bridge")
        links = [each for each in told(monitor) if isinstance(each, LinkNotice)]
    gone = {each.index for each in links if each.is_gone}
    made = [each for each in links if not each.is_gone and each.name == "one"][-1]
    assert len(gone) == 1
    assert made.index not in gone


def test_flags_and_a_new_mac_are_told(namespace: NetworkNamespace) -> None:
    """What an administrator set counts: a veth whose peer is down is up."""
    namespace.ip("link", "add", "two", "type", "veth", "peer", "name", "three")
    with LinkMonitor() as monitor:
        namespace.ip("link", "set", "two", "up")
        alone = [each for each in told(monitor) if isinstance(each, LinkNotice)][-1]
        namespace.ip("link", "set", "three", "up")
        told(monitor, seconds=1.2)  # the kernel tells of carriers once a second
        namespace.ip("link", "set", "two", "address", "02:00:00:00:00:08")
        index = host.index_of("two")
        assert LinkNotice(index=index or 0, name="two") in told(monitor)
    assert (alone.name, alone.is_gone) == ("two", False)


def test_renewals_of_leases_wake_nobody(namespace: NetworkNamespace) -> None:
    """Virtual addresses come and are renewed unheard; the node's own are heard, and what goes."""
    namespace.ip("link", "set", "one", "up")
    with LinkMonitor() as monitor:
        told(monitor)
        lease = ("valid_lft", "9", "preferred_lft", "0")
        for address in ("10.0.0.1/32", "fd00::1/128"):
            for _ in range(3):
                namespace.ip("address", "replace", address, "dev", "one", *lease)
        assert told(monitor) == []
        namespace.ip("address", "add", "10.0.0.11/24", "dev", "one")
        namespace.ip("address", "add", "fd00::11/64", "dev", "one", "nodad")
        namespace.ip("address", "del", "10.0.0.1/32", "dev", "one")
        found = [
            (str(each.address), each.is_gone)
            for each in told(monitor)
            if isinstance(each, AddressNotice)
        ]
    assert ("10.0.0.11", False) in found
    assert ("fd00::11", False) in found
    assert ("10.0.0.1", True) in found
    assert {address for address, _ in found} <= {"10.0.0.11", "fd00::11", "10.0.0.1"}


def test_a_port_that_leaves_a_bridge_is_not_gone(namespace: NetworkNamespace) -> None:
    """The kernel says RTM_DELLINK of the bridge's family then."""
    namespace.ip("link", "add", "two", "type", "veth", "peer", "name", "three")
    namespace.ip("link", "set", "two", "master", "one")
    with LinkMonitor() as monitor:
        told(monitor)
        namespace.ip("link", "set", "two", "nomaster")
        found = told(monitor)
    assert [each for each in found if isinstance(each, LinkNotice) and each.is_gone] == []


def test_reading_returns_at_once_where_nothing_happens(namespace: NetworkNamespace) -> None:
    """The loop never waits for it."""
    namespace.ip("link", "set", "one", "up")
    with LinkMonitor() as monitor:
        told(monitor)
        began = time.monotonic()
        assert monitor.read() == ()
        assert time.monotonic() - began < 0.5


@given(st.binary(max_size=200))
def test_any_bytes_are_notices_or_malformed(data: bytes) -> None:
    """Nothing else is raised, whatever a process writes to the socket."""
    try:
        found = list(parse(data))
    except MalformedMessageError:
        return
    assert all(isinstance(each, LinkNotice | AddressNotice) for each in found)


def test_an_address_is_read_as_the_kernel_tells_it() -> None:
    """RTM_DELADDR of 10.0.0.1/32 on interface 7, byte for byte."""
    payload = bytes.fromhex("0220800007000000080002000a000001")
    message = (16 + len(payload)).to_bytes(4, "little") + bytes.fromhex("15000000") + bytes(8)
    notice = AddressNotice(index=7, address=ip_address("10.0.0.1"), is_gone=True)
    assert [notice] == list(parse(message + payload))


def undisturbed(ground: Ground) -> LinkFacts:
    """Look at ``two``, again where an address changes meanwhile: a dump may be torn."""
    for _ in range(10):
        with contextlib.suppress(SystemRefusedError):
            return link_watch.look(ground)
    return link_watch.look(ground)


def test_a_look_tells_usable_addresses_from_those_that_are_only_there(
    namespace: NetworkNamespace,
) -> None:
    """Tentative ones are present, other interfaces' are elsewhere, virtual ones nowhere."""
    namespace.ip("link", "add", "two", "type", "veth", "peer", "name", "three")
    for name in ("one", "two", "three"):
        namespace.ip("link", "set", name, "addrgenmode", "none")
    namespace.ip("link", "set", "two", "up")
    namespace.ip("link", "set", "three", "up")
    namespace.ip("address", "add", "10.0.0.11/24", "dev", "two")
    namespace.ip("address", "add", "10.0.0.101/32", "dev", "two")
    namespace.ip("address", "add", "10.1.0.11/24", "dev", "one")
    namespace.ip("address", "add", "fd00::11/64", "dev", "two")  # detection takes a second
    here, elsewhere, late = map(ip_address, ("10.0.0.11", "10.1.0.11", "fd00::11"))
    virtual, sources = {ip_address("10.0.0.101")}, {elsewhere, ip_address("10.9.9.9")}
    ground = Ground(interface="two", virtual=frozenset(virtual), sources=frozenset(sources))
    found = undisturbed(ground)
    assert (found.index, found.is_running) == (host.index_of("two"), True)
    assert found.usable - {late} == {here}
    assert {elsewhere} == found.elsewhere
    assert found.present == {here, late} | found.elsewhere
    assert {here, late} == {each.address for each in found.held}
    wait_until(lambda: late in undisturbed(ground).usable, 10, "it can be used")
    gone = link_watch.look(Ground(interface="four"))
    assert (gone.index, gone.is_running, gone.usable) == (None, False, frozenset())
