"""The watch over keepalived's ground, with stand-ins for the kernel and for keepalived."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.prepare import Candidate
from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.holds import Holds
from ipfailover_agent.keepalived.dump import InstanceDump
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.linux import host
from ipfailover_agent.model import IPAddress, Settings, VrrpState
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.supervisor import link_watch
from ipfailover_agent.supervisor.link_state import LinkFacts
from ipfailover_agent.supervisor.link_watch import REASON, LinkWatch
from tests.support.dumps import instance_dump
from tests.support.services import common
from tests.support.vectors import host_facts

OWN = ip_address("10.0.0.11")
THERE = LinkFacts(index=7, is_running=True, usable=frozenset({OWN}), present=frozenset({OWN}))
PLAIN = Settings(virtual_addresses=(), interfaces=("eth0",))
FACTS = host_facts({"eth0": ["10.0.0.11/24"]})


def serving(*addresses: str, base: Settings = PLAIN) -> Candidate:
    """Return a configuration with an instance for each address."""
    virtual: tuple[IPAddress, ...] = tuple(map(ip_address, addresses))
    settings = replace(base, virtual_addresses=virtual, address_groups=len(virtual))
    rendering: Any = None
    return Candidate(
        settings=settings,
        facts=FACTS,
        config=plan(settings, FACTS),
        paths=RunPaths(directory="/nowhere", config="/nowhere/keepalived.conf"),
        rendering=rendering,
    )


def dump_of(candidate: Candidate, heard: int = 0) -> tuple[InstanceDump, ...]:
    """Return what keepalived says while it is BACKUP of everything."""
    return tuple(
        instance_dump(VrrpState.BACKUP, name=each.name, heard=heard)
        for each in candidate.config.instances
    )


class World:
    """A keepalived that cannot be started anew at present, and what is wanted of it."""

    def __init__(self, directory: Path) -> None:
        self.found = THERE
        self.reasons: list[str] = []
        self.own_adverts: set[str] = set()  # whose adverts were seen
        paths = RunPaths(directory=str(directory), config="/nowhere/keepalived.conf")
        (directory / "hold").mkdir()
        self.holds = Holds(common(paths=paths))
        nobody: Any = SimpleNamespace(
            want_dump=lambda: None,
            apply_facts=lambda _: None,
            has_left=lambda name, *_: name in self.own_adverts,
            peer_heard_at=None,
        )
        self.watch = LinkWatch(
            common(),
            holds=self.holds,
            keepalived_watchdog=nobody,
            contests=nobody,
            restart=self._restart,
        )

    def configure(self, candidate: Candidate) -> None:
        self.holds.apply(candidate.config.hold_names)
        self.watch.configure(self.watch.with_present_node(candidate), InstanceStates())

    def _restart(self, reason: str) -> bool:
        self.reasons.append(reason)
        return False


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Give a keepalived that was started on the interface with index 7."""
    made = World(tmp_path)
    index: Callable[[str], int | None] = lambda _: made.found.index  # noqa: E731
    monkeypatch.setattr(host, "index_of", index)
    monkeypatch.setattr(link_watch, "look", lambda *_: made.found)
    return made


def test_a_reload_may_add_an_instance_while_another_interface_settles(world: World) -> None:
    """Nothing was counted of it before; it has yet to show that it works."""
    before, after = serving("10.0.0.50"), serving("10.0.0.50", "10.0.0.51")
    world.configure(before)
    world.watch.keepalived_starts()
    world.watch.tick(1e9)
    world.found = replace(THERE, index=8)
    world.configure(before)
    world.watch.tick(2e9)
    world.watch.on_dump(dump_of(before), 2e9)
    world.configure(after)
    world.watch.on_dump(dump_of(after), 2e9 + 0.5)
    world.watch.tick(2e9 + 1)
    assert [] == world.reasons
    world.watch.on_dump(dump_of(after, heard=1), 2e9 + 1.2)
    world.watch.tick(2e9 + 1.4)
    world.watch.tick(3e9)
    assert [] == world.reasons  # it works there


def test_who_is_called_otherwise_is_let_go_all_the_same(world: World) -> None:
    """The reload that mends the source may rename the instances."""
    named = serving("10.0.0.50", base=replace(PLAIN, multicast_source=OWN))
    mended = serving("10.0.0.50", base=replace(PLAIN, config_name="other"))
    (old,), (new,) = (each.config.instances for each in (named, mended))
    assert old.name != new.name
    world.configure(named)
    world.watch.keepalived_starts()
    world.found = replace(THERE, present=frozenset(), usable=frozenset())
    world.watch.tick(1e9)
    assert REASON in world.holds.reasons(old.name)
    world.configure(mended)
    assert REASON in world.holds.reasons(new.name)
    world.watch.tick(2e9)
    assert not world.holds.reasons(new.name)


def test_a_port_of_a_bridge_is_left_to_other_nodes_until_keepalived_is_started_anew(
    world: World,
) -> None:
    """It lost its unicast sockets when the interface left the bridge."""
    served = serving("10.0.0.50", "10.0.0.51")
    names = [each.name for each in served.config.instances]
    world.configure(served)
    world.watch.keepalived_starts()
    world.found = replace(THERE, port_of="br0")
    for now in (1e9, 2e9):
        world.watch.tick(now)
        assert [{REASON}, {REASON}] == [set(world.holds.reasons(each)) for each in names]
    taken = "eth0 is a port of br0, which takes all that comes in there: no client reaches"
    assert world.watch.cause().startswith(taken)
    assert world.watch.troubles()[0].startswith(taken)
    assert [] == world.reasons
    world.found = THERE
    world.watch.tick(3e9)
    world.watch.tick(4e9)
    assert ["eth0 is no port of br0 any more"] * 2 == world.reasons  # it was refused once
    world.watch.keepalived_ends()
    world.watch.keepalived_starts()
    assert [set(), set()] == [set(world.holds.reasons(each)) for each in names]
    assert () == world.watch.troubles()


@pytest.mark.parametrize("is_port_at_start", [True, False])
def test_a_reload_to_what_was_a_port_has_keepalived_started_anew(
    world: World, *, is_port_at_start: bool
) -> None:
    """It lost what it knew of that interface, and a reload does not have it look again."""
    facts = host_facts({"eth0": ["10.0.0.11/24"], "br0": ["10.0.0.11/24"]})
    interface, bridge = facts.interfaces
    taken = replace(facts, interfaces=(replace(interface, port_of="br0"), bridge))
    before = serving("10.0.0.50")
    over = replace(
        before, facts=taken, config=replace(before.config, interface="br0", instances=())
    )
    world.configure(over if is_port_at_start else before)
    world.watch.keepalived_starts()
    world.configure(over)
    world.watch.tick(1e9)
    world.configure(replace(over, facts=facts))  # it has left
    world.watch.tick(2e9)
    assert [] == world.reasons
    world.configure(before)
    world.watch.tick(3e9)
    assert ["eth0 is no port of br0 any more"] == world.reasons
    world.watch.keepalived_ends()
    world.watch.keepalived_starts()
    world.watch.tick(4e9)
    assert 1 == len(world.reasons)


IPV6 = ip_address("fe80::11")
ANOTHER = "eth0 is another interface now (index 8, it was 7)"
DUAL = host_facts({"eth0": ["10.0.0.11/24", "fe80::11/64", "fd00::11/64"]})


def serving_both(*addresses: str) -> Candidate:
    """Return a configuration of a node that has both families."""
    virtual: tuple[IPAddress, ...] = tuple(map(ip_address, addresses))
    settings = replace(PLAIN, virtual_addresses=virtual, address_groups=len(virtual))
    return replace(
        serving("10.0.0.50"), settings=settings, facts=DUAL, config=plan(settings, DUAL)
    )


def becomes_another(world: World, candidate: Candidate) -> None:
    """Have keepalived's interface be another one, that can be served on at once."""
    both = frozenset({OWN, IPV6})
    world.found = replace(THERE, usable=both, present=both)
    world.configure(candidate)
    world.watch.keepalived_starts()
    world.watch.tick(1e9)
    world.found = replace(world.found, index=8)
    world.configure(candidate)
    world.watch.tick(2e9)


def settled(world: World, candidate: Candidate, states: dict[str, VrrpState]) -> list[str]:
    """Return why keepalived is started anew after two dumps with instances in these states.

    The others are BACKUP, and count an advert between the dumps.
    """
    for heard in (0, 1):
        dump = (
            replace(each, state=states.get(each.name, each.state))
            for each in dump_of(candidate, heard)
        )
        world.watch.on_dump(tuple(dump), 2e9 + 0.1 + heard)
    world.watch.tick(2e9 + 1)
    world.watch.tick(3e9)
    return world.reasons


@pytest.mark.parametrize("reason", ["drain", "contest"])
@pytest.mark.parametrize(
    "addresses", [("10.0.0.50", "10.0.0.51"), ("fd00::50", "fd00::51")], ids=["IPv4", "IPv6"]
)
def test_what_the_agent_keeps_in_fault_is_no_reason_to_end_what_serves(
    world: World, addresses: tuple[str, ...], reason: str
) -> None:
    """The other instance of the family has the same sockets, and works."""
    candidate = serving_both(*addresses)
    first, second = (each.name for each in candidate.config.instances)
    becomes_another(world, candidate)
    world.holds.set(second, reason)
    world.own_adverts.add(first)
    assert [] == settled(world, candidate, {first: VrrpState.MASTER, second: VrrpState.FAULT})


@pytest.mark.parametrize(
    ("address", "reasons"),
    [pytest.param("10.0.0.50", [], id="IPv4"), pytest.param("fd00::50", [ANOTHER], id="IPv6")],
)
def test_a_backup_that_receives_on_another_interface_may_not_be_able_to_send(
    world: World, address: str, reasons: list[str]
) -> None:
    """keepalived 2.2.7 sends IPv6 to the interface that was there, without end."""
    candidate = serving_both(address)
    becomes_another(world, candidate)
    assert reasons == settled(world, candidate, {})


def test_a_backup_can_send_where_a_master_with_its_sockets_does(world: World) -> None:
    """One advert that has left shows it for both."""
    candidate = serving_both("fd00::50", "fd00::51")
    first = candidate.config.instances[0].name
    becomes_another(world, candidate)
    world.own_adverts.add(first)
    assert [] == settled(world, candidate, {first: VrrpState.MASTER})


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        pytest.param(("10.0.0.50", "10.0.0.51"), "", id="IPv4, of itself"),
        pytest.param(("fd00::50", "fd00::51"), "", id="IPv6, of itself"),
        pytest.param(("10.0.0.50", "fd00::51"), "drain", id="IPv6, whose sockets show nothing"),
        pytest.param(("fd00::50", "10.0.0.51"), "drain", id="IPv4, whose sockets show nothing"),
    ],
)
def test_what_is_in_fault_and_may_be_deaf_is_started_anew(
    world: World, addresses: tuple[str, ...], reason: str
) -> None:
    """Of itself, or without another one that has its sockets."""
    candidate = serving_both(*addresses)
    (held,) = (
        each.name
        for each in candidate.config.instances
        if ip_address(addresses[1]) in {of.address for of in each.all_addresses}
    )
    becomes_another(world, candidate)
    if reason:
        world.holds.set(held, reason)
    assert [ANOTHER] == settled(world, candidate, {held: VrrpState.FAULT})


def test_a_configuration_comes_back_with_the_node_as_it_is_now(world: World) -> None:
    """After a refused reload the one of the start is taken again, and an old look with it."""
    candidate = serving_both("10.0.0.50", "fd00::50")
    (interface,) = DUAL.interfaces
    own = tuple(each for each in interface.addresses if each.address != IPV6)
    early = replace(
        candidate, facts=replace(DUAL, interfaces=(replace(interface, addresses=own),))
    )
    world.found = replace(THERE, index=interface.index, held=own)
    assert early == world.watch.with_present_node(early)
    world.watch.configure(early, InstanceStates())
    world.found = replace(world.found, held=interface.addresses)
    again = world.watch.with_present_node(early)
    assert interface.addresses == again.facts.interfaces[0].addresses
    world.watch.configure(again, InstanceStates())
    assert again == world.watch.with_present_node(again)


def test_a_kernel_that_does_not_answer_leaves_the_node_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at again soon."""

    def refuse(*_: object) -> LinkFacts:
        raise SystemRefusedError("no answer from rtnetlink")

    candidate = serving("10.0.0.50")
    world.configure(candidate)
    monkeypatch.setattr(link_watch, "look", refuse)
    assert candidate == world.watch.with_present_node(candidate)
    assert world.watch.deadline is not None


def test_what_a_reload_renames_is_deaf_under_its_new_name_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No trouble of the link stands for it, and its restart is not counted before it is made."""
    before, after = (
        serving("10.0.0.50", base=replace(PLAIN, config_name=name)) for name in ("old", "new")
    )
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    monkeypatch.setattr(link_watch, "time", clock)
    world.configure(before)
    world.watch.keepalived_starts()
    world.found = replace(THERE, port_of="br0")
    world.watch.tick(1e9)
    (taken,) = world.watch.troubles()
    world.watch.on_dump(dump_of(before), 0.0)
    world.configure(after)  # which keepalived has yet to read
    clock.monotonic = lambda: 20.0
    with structlog.testing.capture_logs() as events:
        world.watch.on_dump(dump_of(before), 20.0)
        assert ([], [], (taken,)) == (events, world.reasons, world.watch.troubles())
        world.watch.on_dump(dump_of(after), 20.0)
        clock.monotonic = lambda: 40.0
        world.watch.on_dump(dump_of(after), 40.0)
    (name,) = (each.name for each in after.config.instances)
    (deaf,) = world.reasons
    assert deaf.startswith(f"{name} deaf on eth0: BACKUP for 20 s")
    assert [("instance.deaf", deaf)] == [(each["event"], each["cause"]) for each in events]
    assert (taken, deaf) == world.watch.troubles()
