"""Goodbyes at work: what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address
from typing import Any

import structlog

from ipfailover_agent.config.planner import plan
from ipfailover_agent.conflict.farewell_sender import Farewells
from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.model import Settings, VrrpInstance, VrrpState
from ipfailover_agent.vrrp.packets import Advert, parse_frame
from tests.support import frames
from tests.support.vectors import host_facts

OWN, GROUP = IPv4Address("10.0.0.11"), IPv4Address("224.0.0.18")
VIRTUAL = tuple(ip_address(f"10.0.0.{number}") for number in range(100, 150))


class Wire:
    """A wire on which nothing leaves."""

    def send(self, _: bytes) -> None:
        raise SystemRefusedError("cannot send on eth0: Network is down")


def fail(farewells: Farewells, instances: Sequence[VrrpInstance], at: float) -> None:
    """Have instances leave MASTER while nothing leaves the node."""
    frame = frames.packet(frames.vrrp(OWN, GROUP, [VIRTUAL[0]], priority=250), OWN, GROUP)
    advert = parse_frame(frame)
    assert isinstance(advert, Advert)
    wire: Any = Wire()
    for each in instances:
        farewells.entered(each, VrrpState.MASTER, at - 9, wire)
        farewells.sent(each.name, advert, frame, at - 0.5)
        farewells.entered(each, VrrpState.FAULT, at, wire)


def test_goodbyes_that_fail_at_one_event_are_one_line_with_their_count() -> None:
    """The link goes down, and every instance with it."""
    settings = Settings(
        virtual_addresses=VIRTUAL, interfaces=("eth0",), address_groups=len(VIRTUAL)
    )
    config = plan(settings, host_facts({"eth0": ["10.0.0.11/24"]}))
    assert len(VIRTUAL) == len(config.instances)
    with structlog.testing.capture_logs() as events:
        farewells = Farewells(structlog.get_logger())
        fail(farewells, config.instances, 100.0)
        farewells.tick(100.5)
        assert [] == events
        farewells.tick(farewells.deadline or 0.0)
        farewells.tick(102.0)
        fail(farewells, config.instances[:1], 200.0)
        farewells.clear()  # keepalived ended: what is known is said before it is forgotten
        farewells.tick(300.0)
    said = {
        "event": "goodbye.failed",
        "log_level": "warning",
        "instance": config.instances[0].name,
    }
    said["error"] = "cannot send on eth0: Network is down"
    assert [{**said, "count": 50}, {**said, "count": 1}] == events
