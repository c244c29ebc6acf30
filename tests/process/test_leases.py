"""Leases on a real interface: the kernel is the witness of what is renewed and what vanishes."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
import structlog

from ipfailover_agent.lease.service import Leases
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.linux.rtnetlink import HeldAddress
from ipfailover_agent.model import IPAddress
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.rights import as_nobody
from tests.support.services import common
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

FOR_EVER = 0xFFFFFFFF
ONE = ip_address("10.9.0.101")
TWO = ip_address("10.9.0.102")
SIX = ip_address("fd00:9::101")


class Segment:
    """An interface ``one`` in a namespace that the test lives in."""

    def __init__(self, namespace: NetworkNamespace) -> None:
        self.namespace = namespace

    def add(self, *addresses: IPAddress, device: str = "one") -> None:
        """Set addresses as keepalived does: IPv4 labelled, IPv6 deprecated."""
        lines = [
            f"addr add {each}/32 dev {device} label {device}:vip"
            if each.version == 4
            else f"addr add {each}/128 dev {device} nodad preferred_lft 0"
            for each in addresses
        ]
        self.namespace.ip_batch(*lines)

    def delete(self, *addresses: IPAddress) -> None:
        lines = [f"addr del {each}/{each.max_prefixlen} dev one" for each in addresses]
        self.namespace.ip_batch(*lines)

    def entries(self, device: str = "one") -> dict[str, dict[str, Any]]:
        """Return what ``ip`` shows, by address."""
        (link,) = json.loads(self.namespace.ip("-json", "addr", "show", "dev", device))
        return {each["local"]: each for each in link["addr_info"]}

    def lifetimes(self, device: str = "one") -> dict[str, int]:
        """Return the seconds that each address has left."""
        return {
            name: each["valid_life_time"]
            for name, each in self.entries(device).items()
            if not name.startswith("fe80")
        }


@pytest.fixture
def segment() -> Iterator[Segment]:
    """Make a pair of interfaces, and live there."""
    with fresh_namespace() as namespace:
        namespace.join("one", "two")
        namespace.ip("addr", "add", "10.9.0.1/24", "dev", "one")
        with namespace.entered():
            yield Segment(namespace)


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """Collect what is logged."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def leases(segment: Segment, events: list[Any]) -> Iterator[Leases]:
    """Return leases of three seconds on ``one``."""
    assert segment is not None
    assert events == []
    made = Leases(common())
    made.apply(seconds=3, interface="one", now=0.0)
    yield made
    made.close()


def hold(segment: Segment, leases: Leases, *addresses: IPAddress) -> None:
    """Have keepalived set these addresses, and lease them at 0."""
    segment.add(*addresses)
    leases.note_served(addresses, 0.0)
    leases.tick(0.0)


def test_what_is_held_gets_a_lifetime_at_once_and_nothing_else_does(
    segment: Segment, leases: Leases
) -> None:
    """Label, scope, flags, and the preferred lifetime 0 of IPv6 stay what they were."""
    segment.add(ONE, TWO, SIX)
    before = segment.entries()
    leases.note_served({ONE, SIX}, 10.0)
    leases.tick(9.9)
    leases.tick(10.0)
    after = segment.entries()
    assert 2 <= after[str(ONE)]["valid_life_time"] <= 3
    assert 2 <= after[str(SIX)]["valid_life_time"] <= 3
    assert 0 == after[str(SIX)]["preferred_life_time"]
    for name in (str(TWO), "10.9.0.1"):
        assert before[name] == after[name]
    for name in (str(ONE), str(SIX)):
        for key in ("valid_life_time", "preferred_life_time", "dynamic"):
            before[name].pop(key, None)
            after[name].pop(key, None)
        assert before[name] == after[name]
    assert leases.deadline == pytest.approx(11.0)


def test_the_kernel_removes_what_is_no_longer_renewed(segment: Segment, leases: Leases) -> None:
    """Within N and N + 1 seconds, both families; what is renewed stays."""
    leases.apply(seconds=1, interface="one", now=0.0)
    segment.add(ONE, TWO, SIX)
    leases.note_served({ONE, TWO, SIX}, time.monotonic())
    leases.tick(time.monotonic())
    leases.note_served({TWO}, time.monotonic())
    begin = time.monotonic()
    end = begin + 2.6
    while (now := time.monotonic()) < end:
        assert leases.deadline is not None
        select.select([], [], [], max(0.0, leases.deadline - now))
        leases.tick(time.monotonic())
        if time.monotonic() - begin < 0.8:
            assert str(ONE) in segment.lifetimes()
    assert {"10.9.0.1", str(TWO)} == set(segment.lifetimes())


def test_nothing_is_renewed_once_keepalived_was_told_to_end(
    segment: Segment, leases: Leases
) -> None:
    """Not even what becomes held, or another configuration; the next keepalived's is."""
    segment.add(TWO)
    hold(segment, leases, ONE)
    leases.keepalived_ends()
    assert leases.deadline is None
    assert leases.leased_until is None
    leases.note_served({ONE, TWO}, 1.0)
    leases.apply(seconds=2, interface="one", now=1.0)
    assert leases.deadline is None
    leases.keepalived_ended(keeps_holds=False)
    leases.note_served({TWO}, 2.0)
    leases.note_served({ONE, TWO}, 3.0)
    assert 3.0 == leases.deadline


def test_a_renewal_does_not_bring_back_what_is_gone(segment: Segment, leases: Leases) -> None:
    """keepalived removed it and has not told yet."""
    hold(segment, leases, ONE, TWO, SIX)
    segment.delete(ONE, SIX)
    leases.tick(1.0)
    assert {"10.9.0.1", str(TWO)} == set(segment.lifetimes())


def test_an_address_that_keepalived_sets_again_gets_its_lease_again(
    segment: Segment, leases: Leases
) -> None:
    """It comes without a lifetime."""
    hold(segment, leases, ONE)
    segment.delete(ONE)
    segment.add(ONE)
    assert FOR_EVER == segment.lifetimes()[str(ONE)]
    leases.tick(1.0)
    assert segment.lifetimes()[str(ONE)] <= 3


def test_what_a_renewal_brought_back_is_deleted(
    segment: Segment, leases: Leases, events: list[Any]
) -> None:
    """It carries a lifetime; what has none was set by keepalived since, or by an operator."""
    segment.add(TWO)
    hold(segment, leases, ONE, SIX)
    leases.note_served(set(), 0.5)
    leases.left({ONE, TWO, SIX})
    leases.sweep()
    assert {"10.9.0.1", str(TWO)} == set(segment.lifetimes())
    (event,) = events
    assert "lease.undone" == event["event"]
    assert {str(ONE), str(SIX)} == set(event["addresses"])
    leases.sweep()
    assert 1 == len(events)


def test_what_another_instance_holds_now_is_not_deleted(
    segment: Segment, leases: Leases, events: list[Any]
) -> None:
    """An address moved from one to the other, or its instance is MASTER again."""
    hold(segment, leases, ONE)
    leases.left({ONE})
    leases.sweep()
    assert str(ONE) in segment.lifetimes()
    assert [] == events


def test_an_address_of_the_node_itself_is_never_leased(segment: Segment, leases: Leases) -> None:
    """The same address with another prefix length, or on another interface, is not the agent's."""
    segment.namespace.ip("addr", "add", f"{ONE}/24", "dev", "one")
    segment.add(TWO, device="two")
    leases.note_served({ONE, TWO}, 0.0)
    leases.tick(0.0)
    leases.left({ONE, TWO})
    leases.note_served(set(), 0.0)
    leases.sweep()
    assert FOR_EVER == segment.lifetimes()[str(ONE)]
    assert FOR_EVER == segment.lifetimes("two")[str(TWO)]


def test_nothing_held_is_nothing_to_do(leases: Leases) -> None:
    """No deadline wakes the loop, and a tick is none."""
    assert leases.deadline is None
    leases.tick(100.0)
    leases.note_served({ONE}, 0.0)
    leases.note_served(set(), 0.5)
    assert leases.deadline is None
    assert leases.worst_lateness == 0.0


def test_off_is_off(segment: Segment, leases: Leases) -> None:
    """With 0 seconds nothing is leased, and nothing is swept."""
    assert leases.is_on
    leases.apply(seconds=0, interface="one", now=0.0)
    segment.add(ONE)
    leases.note_served({ONE}, 0.0)
    assert leases.deadline is None
    leases.left({ONE})
    leases.sweep()
    assert FOR_EVER == segment.lifetimes()[str(ONE)]


def test_leases_that_are_turned_off_are_taken_back(segment: Segment, leases: Leases) -> None:
    """Otherwise the addresses would vanish; and turned on they come at once."""
    hold(segment, leases, ONE, SIX)
    leases.apply(seconds=0, interface="one", now=0.5)
    assert {FOR_EVER} == {segment.lifetimes()[str(each)] for each in (ONE, SIX)}
    assert 0 == segment.entries()[str(SIX)]["preferred_life_time"]
    assert (None, False) == (leases.deadline, leases.is_on)
    leases.apply(seconds=60, interface="one", now=1.0)
    assert leases.deadline == 1.0
    leases.tick(1.0)
    assert 58 <= segment.lifetimes()[str(ONE)] <= 60


def test_a_shorter_lease_is_given_at_once_and_is_not_late(
    segment: Segment, leases: Leases, events: list[Any]
) -> None:
    """The renewal before was one of another lease."""
    leases.apply(seconds=60, interface="one", now=0.0)
    hold(segment, leases, ONE)
    leases.apply(seconds=3, interface="one", now=15.0)
    assert leases.deadline == 15.0
    leases.tick(15.0)
    assert segment.lifetimes()[str(ONE)] <= 3
    assert [] == events


def test_the_same_lease_again_changes_nothing(segment: Segment, leases: Leases) -> None:
    """A reload of something else."""
    hold(segment, leases, ONE)
    leases.apply(seconds=3, interface="one", now=0.4)
    assert leases.deadline == pytest.approx(1.0)


def test_one_that_leaves_does_not_postpone_the_lease_of_one_that_came(leases: Leases) -> None:
    """Both changes arrive before the loop comes to renew."""
    leases.apply(seconds=60, interface="one", now=0.0)
    leases.note_served({ONE}, 0.0)
    leases.tick(0.0)
    leases.note_served({ONE, TWO}, 5.0)
    leases.note_served({TWO}, 5.0)
    assert leases.deadline == 5.0


@pytest.mark.parametrize(
    ("late", "expected"),
    [(0.2, None), (1.6, "lease.late"), (2.5, "lease.lapsed"), (60.0, "lease.lapsed")],
)
def test_a_late_renewal_is_told(
    segment: Segment, leases: Leases, events: list[Any], late: float, expected: str | None
) -> None:
    """With its lateness, the lease, and how starved the node is."""
    hold(segment, leases, ONE)
    leases.tick(1.0 + late)
    assert [expected] * (expected is not None) == [each["event"] for each in events]
    for event in events:
        assert {"lateness": round(late, 2), "lease": 3} == {
            name: event[name] for name in ("lateness", "lease")
        }
        assert "cpu_pressure" in event
    assert leases.lateness == pytest.approx(late)
    leases.tick(2.0 + late)
    assert leases.lateness == pytest.approx(0.0)
    assert leases.worst_lateness == pytest.approx(late)


def test_what_was_never_leased_cannot_lapse(
    segment: Segment, leases: Leases, events: list[Any]
) -> None:
    """The renewal before was one of other addresses."""
    segment.add(TWO)
    hold(segment, leases, ONE)
    leases.note_served({TWO}, 0.5)
    leases.tick(30.0)
    assert [] == events
    leases.tick(60.0)
    assert ["lease.lapsed"] == [each["event"] for each in events]


def test_an_interface_that_is_gone_is_no_error(
    segment: Segment, leases: Leases, events: list[Any]
) -> None:
    """The addresses are gone with it; a new one of that name is taken."""
    hold(segment, leases, ONE)
    segment.namespace.ip("link", "del", "one")
    leases.tick(1.0)
    segment.namespace.ip("link", "add", "one", "type", "veth", "peer", "name", "two")
    segment.add(ONE)
    leases.tick(2.0)
    assert segment.lifetimes()[str(ONE)] <= 3
    assert [] == events


def test_an_interface_that_got_another_name_keeps_no_leased_address(
    segment: Segment, leases: Leases, events: list[Any]
) -> None:
    """keepalived gives it up without a word to the kernel; named back, it is leased again."""
    leases.apply(seconds=60, interface="one", now=0.0)
    hold(segment, leases, ONE, SIX)
    segment.namespace.ip("link", "set", "one", "name", "other")
    leases.apply(seconds=600, interface="one", now=1.0)
    leases.tick(1.0)
    assert max(segment.lifetimes("other")[str(each)] for each in (ONE, SIX)) <= 60
    segment.namespace.ip("link", "set", "other", "name", "one")
    leases.tick(201.0)
    assert min(segment.lifetimes()[str(each)] for each in (ONE, SIX)) > 60
    assert [] == events


def test_leases_go_on_without_a_free_descriptor(segment: Segment, leases: Leases) -> None:
    """What they need is open by then; the interface is not taken for one that is gone."""
    hold(segment, leases, ONE, SIX)
    leases.apply(seconds=60, interface="one", now=1.0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open("/dev/null", "rb") as lowest:  # noqa: PTH123 - the lowest that was free
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 1, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                os.dup(lowest.fileno())
            leases.tick(1.0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    shown = segment.lifetimes()
    assert 50 < shown[str(ONE)] <= 60
    assert 50 < shown[str(SIX)] <= 60


@pytest.mark.parametrize(
    ("network", "limit"), [("10.9.8.", 0.04), ("fd00:9::", 0.12)], ids=["IPv4", "IPv6"]
)
def test_254_addresses_are_renewed_in_no_time(
    segment: Segment, leases: Leases, network: str, limit: float
) -> None:
    """Some 5 ms and 20 ms of CPU, the latter by the kernel's own work."""
    addresses = [
        ip_address(f"{network}{n:x}" if ":" in network else f"{network}{n}") for n in range(1, 255)
    ]
    segment.add(*addresses)
    leases.note_served(addresses, 0.0)
    times = []
    for number in range(20):
        begin = time.thread_time()
        leases.tick(float(number))
        times.append(time.thread_time() - begin)
    lifetimes = segment.lifetimes()
    assert all(lifetimes[str(each)] <= 3 for each in addresses)
    assert min(times) < limit, times


def test_addresses_that_come_and_go_meanwhile_do_not_hide_others(
    segment: Segment, leases: Leases, events: list[Any]
) -> None:
    """A dump that is torn is asked for again: no virtual address misses its renewal."""
    ours = [ip_address(f"10.9.8.{n}") for n in range(1, 101)]
    others = [f"10.8.{n // 250}.{n % 250 + 1}" for n in range(1500)]
    segment.namespace.ip_batch(*(f"addr add {name}/32 dev one" for name in others))
    segment.add(*ours)
    leases.apply(seconds=60, interface="one", now=0.0)
    leases.note_served(ours, 0.0)
    ours_by_name = {str(each) for each in ours}
    rounds = 0
    with subprocess.Popen(["ip", "-batch", "-"], stdin=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        other.stdin.write("".join(f"addr del {name}/32 dev one\n" for name in others))
        other.stdin.close()
        while other.poll() is None:
            leases.apply(seconds=60 + 10 * rounds, interface="one", now=float(rounds))
            leases.tick(float(rounds))
            lifetimes: dict[str, int] = {}
            while not ours_by_name <= lifetimes.keys():  # what ``ip`` shows is torn as well
                lifetimes |= segment.lifetimes()
            assert all(lifetimes[name] >= 55 + 10 * rounds for name in ours_by_name)
            rounds += 1
    assert rounds > 0
    assert [] == events


def test_without_the_right_to_renew_it_is_said_once(segment: Segment) -> None:
    """The agent runs on without leases, and shows why."""
    segment.add(ONE)

    def renew() -> list[object]:
        with structlog.testing.capture_logs() as captured:
            leases = Leases(common())
            leases.apply(seconds=3, interface="one", now=0.0)
            leases.note_served({ONE}, 0.0)
            leases.tick(0.0)
            leases.tick(1.0)
            leases.note_served({ONE, TWO}, 2.0)
            leases.tick(2.0)
            leases.apply(seconds=0, interface="one", now=3.0)
        return [captured, leases.is_on, leases.status().protections[0].reason, leases.deadline]

    reason = "cannot renew addresses: CAP_NET_ADMIN is missing"
    told = {"event": "protection.off", "kind": "lease", "reason": reason, "log_level": "error"}
    assert [[told], False, reason, None] == as_nobody(renew)
    assert FOR_EVER == segment.lifetimes()[str(ONE)]


def test_a_kernel_that_does_not_answer_is_told_and_tried_again(
    segment: Segment, leases: Leases, events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not renewed does not count as renewed: the lapse is told as well."""
    hold(segment, leases, ONE)
    monkeypatch.setattr(leases._socket(), "timeout", 0)  # noqa: SLF001 - no kernel is as slow
    for now in (1.0, 2.0, 3.0):
        leases.tick(now)
        assert leases.deadline == now + 1.0
    monkeypatch.undo()
    leases.tick(4.0)
    assert ["lease.failed", "lease.lapsed", "lease.lapsed"] == [each["event"] for each in events]
    assert events[0]["error"] == "cannot renew: no answer from rtnetlink within 0 s"
    wait_until(lambda: segment.lifetimes()[str(ONE)] <= 3, 1, "not renewed")


def test_a_glimpse_reads_the_addresses_of_one_interface_alone(
    segment: Segment, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands may be on another one, and a BACKUP looks at each advert of the MASTER."""
    read: list[int] = []
    glance = AddressSocket.glance_at_addresses

    def noted(netlink: AddressSocket, index: int = 0) -> tuple[HeldAddress, ...]:
        read.append(index)
        return glance(netlink, index)

    monkeypatch.setattr(AddressSocket, "glance_at_addresses", noted)
    segment.add(ONE, SIX)
    segment.add(TWO, device="two")
    assert {ONE, SIX} == leases.glimpse([ONE, TWO, SIX])
    assert [socket.if_nametoindex("one")] == read
    segment.namespace.ip("link", "delete", "one")
    assert frozenset() == leases.glimpse([ONE])
