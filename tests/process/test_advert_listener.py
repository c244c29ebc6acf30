"""The pause between two reads of the wire, with a real socket and a real loop."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest
import structlog

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.settings import parse
from ipfailover_agent.conflict.advert_listener import SOURCE, AdvertListener
from ipfailover_agent.linux.loop import Loop, Readable
from ipfailover_agent.model import KeepalivedConfig
from ipfailover_agent.vrrp.bpf import kernel_filter
from ipfailover_agent.vrrp.packet_socket import PacketSocket
from ipfailover_agent.vrrp.packets import Announcement, gratuitous_arp
from tests.support.netns import fresh_namespace
from tests.support.vectors import host_facts

pytestmark = pytest.mark.netns

VIRTUAL = IPv4Address("10.9.0.50")
MAC = b"\2\0\0\0\0\1"
Segment = tuple[AdvertListener, Loop, "Callable[[], None]"]


def planned() -> KeepalivedConfig:
    """Return the configuration of a node with one address on near0."""
    return plan(
        parse(
            {"OPENSHIFT_HA_VIRTUAL_IPS": str(VIRTUAL), "OPENSHIFT_HA_NETWORK_INTERFACE": "near0"}
        ),
        host_facts({"near0": ["10.9.0.1/24"]}, ["default via 10.9.0.254 dev near0"]),
    )


@pytest.fixture
def segment() -> Iterator[Segment]:
    """Give a listener, its loop, and what announces its address from afar."""
    config = planned()
    with fresh_namespace() as near, fresh_namespace() as far:
        near.join("near0", "far0", far)
        with far.entered():
            sender = PacketSocket("far0", kernel_filter())
        with near.entered(), sender, Loop(()) as loop:
            listener = AdvertListener(structlog.wrap_logger(None, processors=[]), loop)
            listener.configure(config, is_wanted=True)
            yield listener, loop, lambda: sender.send(gratuitous_arp(MAC, VIRTUAL))
            listener.close()


def wait(loop: Loop, seconds: float) -> tuple[object, ...]:
    return loop.wait(time.monotonic() + seconds)


def test_after_a_read_the_loop_sleeps_through_what_arrives(segment: Segment) -> None:
    """Until the pause is over: then it is told at once of what has waited."""
    listener, loop, announce = segment
    announce()
    assert (Readable(source=SOURCE),) == wait(loop, 5)
    now = time.monotonic()
    (seen,) = listener.receive(now)
    assert isinstance(seen.packet, Announcement)

    announce()
    assert () == wait(loop, 0.02)

    resume_at = listener.resume_at
    assert resume_at is not None
    assert now + 0.05 == pytest.approx(resume_at)
    listener.resume(now + 0.04)
    assert resume_at == listener.resume_at
    assert () == wait(loop, 0.02)

    listener.resume(resume_at)
    assert (Readable(source=SOURCE),) == wait(loop, 5)


def test_a_pause_is_no_deadline(segment: Segment) -> None:
    """A deadline is a reason for a whole round of the agent's loop, a pause is none."""
    listener, loop, announce = segment
    before = listener.deadline
    announce()
    wait(loop, 5)
    listener.receive(time.monotonic())
    assert listener.resume_at is not None
    assert before == listener.deadline


def test_who_is_closed_while_he_pauses_has_nothing_to_wait_for(segment: Segment) -> None:
    """Otherwise the loop would go round and round."""
    listener, loop, announce = segment
    announce()
    wait(loop, 5)
    listener.receive(time.monotonic())
    listener.close()
    assert listener.resume_at is None


def test_another_mac_is_noticed_at_once_and_the_old_one_stays_ours(segment: Segment) -> None:
    """For a master-down time: what was sent under it may come back."""
    listener, _, _ = segment
    assert listener.wire is not None
    before, after = listener.wire.mac, bytes((2, 0, 0, 0, 0, 0x77))
    now = time.monotonic()
    assert not listener.tick(now)
    assert listener.deadline is not None
    assert listener.deadline <= now + 1
    command = ["ip", "link", "set", "near0", "address", after.hex(":")]
    subprocess.run(command, check=True)
    assert listener.tick(now)
    assert listener.look(now)
    assert now == listener.moved_at
    assert {before, after} <= listener.macs
    assert not listener.tick(now + 0.5)
    assert not listener.look(now + 3.5)
    assert {before, after} <= listener.macs
    assert listener.look(now + 4)
    assert before not in listener.macs
    assert now == listener.moved_at


def test_what_is_not_wanted_stays_closed_when_the_node_is_looked_at(segment: Segment) -> None:
    """OPENSHIFT_HA_CONFLICT=off opens no socket, whatever the kernel tells of the interface."""
    listener, _, _ = segment
    listener.configure(planned(), is_wanted=False)
    assert listener.look(time.monotonic()) is False
    assert listener.wire is None
    assert listener.deadline is None

    listener.configure(planned(), is_wanted=True)
    assert listener.wire is not None
