"""Probing real ports: what is noticed, when, and what the probed application sees."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from ipfailover_agent.health.fsm import ReportHealth
from ipfailover_agent.health.probing import Prober
from ipfailover_agent.model import PortCheck, PortProbes
from tests.support.checking import no_descriptors
from tests.support.netns import NetworkNamespace
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("namespace")]

GOOD = ReportHealth(is_healthy=True, reason="")
INTERVAL = 0.1


def checking(*ports: PortCheck, **more: float) -> PortProbes:
    """Return a check of ports, ten times a second."""
    usual = PortProbes(
        name="chk", ports=ports, interval=INTERVAL, timeout=INTERVAL, rise=1, fall=1
    )
    return replace(usual, **more)


class Probing:
    """A prober with the loop that it needs, and its reports."""

    def __init__(self, *ports: PortCheck, **more: float) -> None:
        self.reports: list[ReportHealth] = []
        self.prober = Prober(checking(*ports, **more), self.reports.append)

    def turn(self) -> None:
        """Wait for an answer or the deadline as a loop does, and handle it."""
        deadline = self.prober.state.deadline
        assert deadline is not None
        pause = max(deadline - time.monotonic(), 0)
        select.select([self.prober], [], [], pause)
        self.prober.tick(time.monotonic())

    def until(self, count: int, timeout: float = 5) -> ReportHealth:
        """Turn until so many reports are there; return the last one."""

        def is_there() -> bool:
            if len(self.reports) < count:
                self.turn()
            return len(self.reports) >= count

        wait_until(is_there, timeout, lambda: f"{self.reports}")
        return self.reports[-1]

    def rounds(self, count: int) -> None:
        """Turn until so many rounds have begun."""
        for _ in range(count):
            due = self.prober.state.due
            while self.prober.state.due == due:
                self.turn()


@contextlib.contextmanager
def probing(*ports: PortCheck, **more: float) -> Iterator[Probing]:
    """Probe these ports, beginning now."""
    made = Probing(*ports, **more)
    try:
        made.prober.begin(time.monotonic())
        yield made
    finally:
        made.prober.close()


def port_of(listening: socket.socket) -> PortCheck:
    """Return the check for a socket that listens."""
    address, port = listening.getsockname()[:2]
    return PortCheck(address=ip_address(address), port=port)


@contextlib.contextmanager
def accepts_no_more() -> Iterator[socket.socket]:
    """Listen with a queue that is full: the kernel drops each SYN."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as made,
        socket.create_connection(made.getsockname()),
    ):
        yield made


def seen_by(listening: socket.socket) -> list[bytes | str]:
    """Return what an application that accepts now gets from each connection."""
    seen: list[bytes | str] = []
    while True:
        try:
            accepted, _ = listening.accept()
        except BlockingIOError:
            return seen
        with accepted:
            accepted.settimeout(1)
            try:
                seen.append(accepted.recv(10))
            except OSError as error:
                seen.append(os.strerror(error.errno or 0))


def test_a_port_that_answers_is_known_before_begin_returns(application: socket.socket) -> None:
    """The kernel answers on loopback while we connect: no moment of not knowing."""
    with probing(port_of(application)) as made:
        assert made.reports == [GOOD]
        made.rounds(5)
        assert made.reports == [GOOD]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_application_that_ends_is_noticed_within_an_interval(host: str) -> None:
    """And one that starts again, in both families."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, 0), family=family)
    port = port_of(listening)
    with probing(port) as made:
        made.rounds(2)
        listening.close()
        began = time.monotonic()
        report = made.until(2)
        assert time.monotonic() - began < INTERVAL + 0.05
        reason = f"port {port.port} of {host}: refused"
        assert report == ReportHealth(is_healthy=False, reason=reason)
        with socket.create_server((host, port.port), family=family):
            assert made.until(3) == GOOD


def test_the_application_sees_nothing_of_it(application: socket.socket) -> None:
    """Nothing to accept, and nothing in TIME_WAIT."""
    with probing(port_of(application)) as made:
        made.rounds(5)
        assert made.reports == [GOOD]
    assert seen_by(application) == []


def test_an_answer_that_is_taken_late_is_closed_as_bash_does(
    application: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our acknowledgement went out meanwhile: a connection, closed without a byte or an error."""
    monkeypatch.setattr("ipfailover_agent.health.probing._ABORT_WITHIN", 0)
    with probing(port_of(application)):
        wait_until(
            lambda: select.select([application], [], [], 0)[0], 2, "no connection to accept"
        )
    assert seen_by(application) == [b""]


def test_an_application_that_accepts_no_more_times_out() -> None:
    """Its queue is full: the kernel drops our SYN."""
    with accepts_no_more() as listening, probing(port_of(listening)) as made:
        assert made.reports == []
        reason = f"port {port_of(listening).port} of 127.0.0.1: timed out after 0.1 s"
        assert made.until(1) == ReportHealth(is_healthy=False, reason=reason)
        listening.accept()[0].close()
        assert made.until(2) == GOOD


def test_an_address_that_cannot_be_reached_is_told_in_words() -> None:
    """No route: at once, and on the next grid point again."""
    with probing(PortCheck(address=ip_address("192.0.2.1"), port=80)) as made:
        reason = "port 80 of 192.0.2.1: network is unreachable"
        assert made.reports == [ReportHealth(is_healthy=False, reason=reason)]


def test_a_port_that_only_meets_itself_is_refused(namespace: NetworkNamespace) -> None:
    """A connection may get the very port that it goes to as its own, and be its own answer."""
    namespace.run("sh", "-c", "echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range")
    with probing(PortCheck(address=ip_address("127.0.0.1"), port=40000)) as made:
        assert made.until(1).reason == "port 40000 of 127.0.0.1: refused"


def test_a_sleep_of_ours_is_no_timeout() -> None:
    """Frozen or starved for longer than the timeout: what was answered meanwhile counts."""
    with accepts_no_more() as listening, probing(port_of(listening), timeout=0.5) as made:
        listening.accept()[0].close()  # so that the kernel's second SYN, after 1 s, is answered
        wait_until(
            lambda: select.select([made.prober], [], [], 0)[0], 5, "the SYN is not repeated"
        )
        made.prober.tick(time.monotonic())
        assert made.reports == [GOOD]


def test_without_descriptors_the_verdict_stays(application: socket.socket) -> None:
    """The fault is ours: told as trouble, and over with the next round."""
    with probing(port_of(application)) as made:
        with no_descriptors():
            time_is_up = time.monotonic() + 0.25
            while time.monotonic() < time_is_up:
                made.prober.tick(time.monotonic())
        assert "too many open files" in made.prober.state.trouble
        made.rounds(2)
        assert made.prober.state.trouble == ""
        assert made.reports == [GOOD]


def test_other_ports_are_probed_after_a_reload(application: socket.socket) -> None:
    """The verdict goes on from what it was; nothing is told in between."""
    with probing(port_of(application)) as made, socket.create_server(("127.0.0.1", 0)) as other:
        made.prober.begin(time.monotonic(), checking(port_of(other)))
        made.rounds(2)
        assert made.reports == [GOOD]
        application.close()
        made.rounds(2)
        assert made.reports == [GOOD]


def test_closing_gives_every_descriptor_back() -> None:
    """Also while a connection waits for its answer."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as it is, a number
    with accepts_no_more() as listening, probing(port_of(listening), timeout=5) as made:
        assert made.prober.state.waiting
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - likewise


def test_a_link_local_address_is_probed_on_its_interface(namespace: NetworkNamespace) -> None:
    """It says nothing without one, and the node may have no other; gone, it fails in words."""
    namespace.join("one", "two")
    namespace.ip("addr", "add", "fe80::11/64", "dev", "one", "nodad")
    with socket.socket(socket.AF_INET6) as listening:
        listening.bind(("fe80::11", 0, 0, socket.if_nametoindex("one")))
        listening.listen()
        port = listening.getsockname()[1]
        check = PortCheck(address=ip_address("fe80::11%one"), port=port)
        with probing(check, interval=0.2, timeout=0.2) as made:
            assert made.until(1) == GOOD
            namespace.ip("link", "del", "one")
            assert "no such device" in made.until(2).reason
