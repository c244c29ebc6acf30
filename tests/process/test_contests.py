"""Contests at work, on a real interface, with stand-ins for keepalived and its track files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.prepare import Candidate
from ipfailover_agent.config.settings import parse
from ipfailover_agent.conflict.advert_listener import AdvertListener
from ipfailover_agent.conflict.service import REASON, Contests
from ipfailover_agent.conflict.state import AdvertSeen
from ipfailover_agent.firewall.shields import Shields
from ipfailover_agent.keepalived.instance_states import InstanceState, InstanceStates
from ipfailover_agent.linux.loop import Loop
from ipfailover_agent.model import HostFacts, VrrpState
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.vrrp.packets import Advert
from tests.support.adverts import heard_advert
from tests.support.netns import fresh_namespace
from tests.support.services import common
from tests.support.vectors import host_facts

pytestmark = pytest.mark.netns

VIRTUAL = IPv4Address("10.9.0.50")
HIGHER = heard_advert(IPv4Address("10.9.0.77"), VIRTUAL, mac=b"\2\0\0\0\0\7", priority=254)


class TrackFiles:
    """Which instances are held for a contest."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    def set(self, name: str, reason: str) -> None:
        assert reason == REASON
        self.held.add(name)

    def clear(self, name: str, reason: str) -> None:
        assert reason == REASON
        self.held.discard(name)

    def reasons(self, name: str) -> frozenset[str]:
        return frozenset({REASON} if name in self.held else ())


class World:
    """The contests of a node with one instance."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.facts = host_facts({"near0": ["10.9.0.1/24"]})
        candidate = self.plan(str(VIRTUAL))
        (instance,) = candidate.config.instances
        self.name, self.instance_state = instance.name, InstanceState(instance=instance)
        self.holds = TrackFiles()
        holds: Any = self.holds
        keepalived: Any = SimpleNamespace(
            want_dump=lambda: None, suspect=lambda: None, unanswered=0.0, keepalived=None
        )
        log = structlog.get_logger()
        given = common(log=log, loop=loop, environment=os.environ)
        shields = Shields(given, keepalived)
        self.contests = Contests(
            given,
            listener=AdvertListener(log, loop),
            holds=holds,
            keepalived_watchdog=keepalived,
            shields=shields,
        )
        self.contests.configure(candidate, InstanceStates())
        assert self.contests.is_on

    def plan(self, addresses: str) -> Candidate:
        """Return the node with a list of addresses."""
        settings = parse(
            {"OPENSHIFT_HA_VIRTUAL_IPS": addresses, "OPENSHIFT_HA_NETWORK_INTERFACE": "near0"}
        )
        rendering: Any = None
        return Candidate(
            settings=settings,
            facts=self.facts,
            config=plan(settings, self.facts),
            paths=RunPaths(directory="/nowhere", config="/nowhere/keepalived.conf"),
            rendering=rendering,
        )

    def reload(self, addresses: str) -> None:
        """Have keepalived reload another list."""
        self.contests.configure(self.plan(addresses), InstanceStates())
        self.contests.rereading_began()
        self.contests.rereading_ended()

    def hear(self, advert: Advert) -> None:
        """Receive an advert."""
        now = time.monotonic()
        self.contests._on_advert(advert, now, now)  # noqa: SLF001

    def lose(self) -> None:
        """Be MASTER beside a higher rank that keepalived does not hear."""
        self.contests.on_transition(self.instance_state, VrrpState.MASTER)
        now = time.monotonic()
        for seconds in (0.0, 0.3, 0.6):
            self.contests._feed(self.name, AdvertSeen(advert=HIGHER), now + seconds)  # noqa: SLF001
        assert {self.name} == self.holds.held

    def without_address(self) -> HostFacts:
        """Return the node as it is while its interface is being made anew."""
        (near,) = self.facts.interfaces
        return replace(self.facts, interfaces=(replace(near, addresses=()),))


@pytest.fixture
def world() -> Iterator[World]:
    """Enter a namespace with an interface."""
    with fresh_namespace() as namespace:
        namespace.ip("link", "add", "near0", "type", "bridge")
        namespace.ip("link", "set", "near0", "up")
        with structlog.testing.capture_logs(), namespace.entered(), Loop(()) as loop:
            made = World(loop)
            yield made
            made.contests.close()


def test_what_was_lost_stays_lost_while_the_node_has_no_address(world: World) -> None:
    """An interface that is made anew has none for a while: that is no reason to serve again."""
    world.lose()
    world.contests.apply_facts(world.without_address())
    assert {world.name} == world.holds.held
    world.contests.apply_facts(world.facts)
    assert {world.name} == world.holds.held
    assert world.contests.status().held[world.name].startswith("held: ")


def test_what_was_lost_ends_without_an_address_too(world: World) -> None:
    """Once its rival was not heard for a master-down time."""
    world.lose()
    world.contests.apply_facts(world.without_address())
    world.contests.tick(time.monotonic() + 10)
    assert not world.holds.held


def test_an_instance_that_has_no_address_and_no_rival_is_not_covered(world: World) -> None:
    """That is said."""
    world.contests.apply_facts(world.without_address())
    (protection,) = world.contests.status().protections
    lacking = f"not for {world.name}: no address to advertise from is on the interface yet"
    assert (False, lacking) == (protection.active, protection.reason)


def test_a_foreign_speaker_of_our_id_is_no_other_node(world: World) -> None:
    """A holder beside it may be the only one: it is not ended for a deaf instance."""
    now = time.monotonic()
    router = replace(HIGHER, addresses=(IPv4Address("10.9.0.99"),))
    world.contests._on_advert(router, now, now)  # noqa: SLF001
    assert world.contests.peer_heard_at is None
    world.contests._on_advert(HIGHER, now, now)  # noqa: SLF001
    assert now == world.contests.peer_heard_at


ELSEWHERE = replace(HIGHER, virtual_router_id=12)
OTHERS = replace(ELSEWHERE, addresses=(IPv4Address("10.9.0.60"),))


@pytest.mark.parametrize(
    ("before", "after", "yields"),
    [
        pytest.param([ELSEWHERE], [], True, id="it is silent"),
        pytest.param([ELSEWHERE, OTHERS], [], False, id="it was reloaded before"),
        pytest.param([ELSEWHERE], [OTHERS], False, id="it is reloaded too"),
    ],
)
def test_an_address_that_a_reload_brings_is_yielded_to_who_has_it_under_its_old_id(
    world: World,
    before: list[Advert],
    after: list[Advert],
    yields: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The instance that serves it now never heard of that one; the one that did is gone."""
    world.reload(f"10.9.0.40,{VIRTUAL}")
    world.contests.on_transition(world.instance_state, VrrpState.MASTER)
    for each in before:
        world.hear(each)
    world.reload(str(VIRTUAL))
    for each in after:
        world.hear(each)
    now = time.monotonic()
    for seconds in (0.3, 0.6):
        world.contests.tick(now + seconds)

    assert ({world.name} if yields else set()) == world.holds.held
