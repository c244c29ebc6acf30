"""The table that keeps foreign adverts from keepalived, with the real nft and the real kernel."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from ipfailover_agent.config import planner
from ipfailover_agent.conflict import contexts
from ipfailover_agent.firewall import shields
from ipfailover_agent.firewall.nft import NftRun
from ipfailover_agent.firewall.shield import Signature
from ipfailover_agent.firewall.shields import Shields
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.linux import process, sockets
from ipfailover_agent.model import ConflictMode, Settings
from ipfailover_agent.status.status_model import Protection
from ipfailover_agent.vrrp.packets import Advert, Carp
from tests.support.adverts import heard_advert
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.services import candidate, common
from tests.support.vectors import host_facts
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft"),
]

OURS = ip_address("192.168.55.50")
ON = Settings(virtual_addresses=(OURS,), config_name="here")
FOREIGN = heard_advert(
    IPv4Address("192.168.55.77"), IPv4Address("192.168.55.200"), mac=b"\2\0\0\0\0\7"
)


class World:
    """A namespace with a shield; a process without sockets stands for our keepalived."""

    def __init__(self, namespace: NetworkNamespace, events: list[Any], pid: int) -> None:
        self._namespace = namespace
        self.events = events
        self.pid: int | None = pid
        self.changes = 0
        self.environment = dict(os.environ)
        keepalived: Any = self
        made = common(environment=self.environment, changed=self._changed)
        self.shields = Shields(made, keepalived)

    @property
    def keepalived(self) -> int | None:
        return self.pid

    def _changed(self) -> None:
        self.changes += 1

    def configure(self, settings: Settings = ON, interface: str = "ens3") -> None:
        facts = host_facts({interface: ["192.168.55.10/24"]})
        config = replace(planner.plan(settings, facts), conflict=settings.conflict)
        (self.context,) = contexts.build(
            config, facts, mac=bytes(6), host_macs=frozenset()
        ).values()
        (self.name,) = [each.name for each in config.instances]
        self.shields.configure(candidate(config, settings), InstanceStates())

    def hear(self, advert: Advert = FOREIGN, *, is_ours: bool = False) -> None:
        now = time.monotonic()
        for _ in range(2):
            self.shields.judge(self.name, advert, self.context, now, is_ours=is_ours)

    def table(self) -> str:
        return self._namespace.run("nft", "list", "ruleset")

    def flush(self) -> None:
        self._namespace.run("nft", "flush", "ruleset")

    def turn(self) -> None:
        for child in process.reap():
            self.shields.child_exited(child)
        self.shields.tick(time.monotonic())

    def until_so(self, condition: Callable[[], bool], what: str) -> None:
        """Go round until something is so."""

        def is_so() -> bool:
            self.turn()
            return condition()

        wait_until(is_so, timeout=20, message=what)

    def until(self, *, dropping: bool) -> None:
        """Go round until the kernel drops something, or nothing."""
        self.until_so(
            lambda: not self.shields.is_busy and dropping is ("counter" in self.table()),
            f"dropping is {dropping}",
        )

    def pass_time(self) -> None:
        """Go round for as long as the shield may take to act."""
        until = time.monotonic() + 1.5
        self.until_so(lambda: time.monotonic() > until, "time passes")

    def until_off(self, reason: str) -> None:
        self.until_so(lambda: reason in self.shields.protection().reason, f"off: {reason}")

    def named(self) -> list[str]:
        return [each["event"] for each in self.events]


@pytest.fixture
def world() -> Iterator[World]:
    """Enter a namespace."""
    with (
        fresh_namespace() as namespace,
        structlog.testing.capture_logs() as events,
        subprocess.Popen(["sleep", "600"]) as keepalived,
    ):
        with namespace.entered():
            made = World(namespace, events, keepalived.pid)
            made.configure()
            yield made
            made.shields.close()
            assert "ipfailover" not in made.table()
        keepalived.kill()


@contextmanager
def another_program() -> Iterator[None]:
    """Have a raw socket for VRRP that is not our keepalived's."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, 112):
        yield


def test_what_is_heard_twice_is_dropped_and_what_is_gone_let_in(world: World) -> None:
    """With an element that the kernel ends by itself; a stop leaves nothing."""
    world.hear()
    world.until(dropping=True)
    assert "192.168.55.77 timeout 1m" in world.table()
    assert Protection(kind="shield", active=True, reason="") == world.shields.protection()
    assert "are dropped here" in world.shields.outlook()
    assert ["shield.raised"] == world.named()
    world.configure(replace(ON, virtual_addresses=(ip_address("192.168.55.200"),)))
    world.until(dropping=False)
    assert ["shield.raised", "shield.lowered"] == world.named()


def test_carp_is_dropped_too(world: World) -> None:
    """By its form: it lists no address at all."""
    carp = Carp(source_mac=bytes(6), source=FOREIGN.source, router_id=11, skew=0, ttl=255)
    found = {world.shields.heard_carp(carp, world.context, time.monotonic()) for _ in range(2)}
    assert {Signature(source=FOREIGN.source, router_id=11, is_carp=True)} == found
    world.until(dropping=True)
    assert "ip length 56" in world.table()


def test_what_lists_an_address_of_ours_or_is_our_own_is_not_dropped(world: World) -> None:
    """Nor is what has to come to keepalived."""
    world.hear(replace(FOREIGN, addresses=(OURS,)), is_ours=True)
    world.hear(replace(FOREIGN, source_mac=bytes(6)))
    world.hear(replace(FOREIGN, source=world.context.source))
    world.pass_time()
    assert "counter" not in world.table()


def test_a_table_that_a_firewall_took_away_is_made_anew(world: World) -> None:
    """``flush ruleset`` at its reload."""
    world.hear()
    world.until(dropping=True)
    world.flush()
    assert "counter" not in world.table()
    world.until(dropping=True)
    assert ["shield.raised", "shield.vanished", "shield.raised"] == world.named()


def test_there_is_no_rule_while_another_program_gets_vrrp(world: World) -> None:
    """It would be deaf; that is said, and ends with it."""
    world.hear()
    world.until(dropping=True)
    with another_program():
        world.until(dropping=False)
        told = world.shields.protection()
        assert not told.active
        assert "another VRRP program" in told.reason
        assert "OPENSHIFT_HA_VRRP_ID_OFFSET" in told.reason
        assert f"not dropped here: {told.reason}" in world.shields.outlook()
        assert world.changes
    world.hear()
    world.until(dropping=True)
    assert "shield.unblocked" in world.named()
    with another_program():
        world.configure(replace(ON, virtual_addresses=(ip_address("192.168.55.200"),)))
        world.until(dropping=False)
        assert not world.shields.protection().reason  # nothing has to be dropped


def test_nothing_is_dropped_before_our_keepalived_is_known(world: World) -> None:
    """Its sockets could not be told from those of others."""
    pid, world.pid = world.pid, None
    world.hear()
    world.pass_time()
    assert "counter" not in world.table()
    assert not world.shields.outlook()
    world.pid = pid
    world.until(dropping=True)


def test_a_program_that_comes_while_our_keepalived_is_gone_is_not_made_deaf(world: World) -> None:
    """Nobody can tell then whose its socket is, and there is nothing of ours to protect."""
    world.hear()
    world.until(dropping=True)
    pid, world.pid = world.pid, None
    world.pass_time()
    assert "counter" in world.table()  # for a keepalived that is started anew
    with another_program():
        world.until(dropping=False)
        world.hear()
        world.pass_time()
        assert "counter" not in world.table()
        world.pid = pid
        world.pass_time()
        assert "another VRRP program" in world.shields.protection().reason
    world.hear()
    world.until(dropping=True)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (replace(ON, shield=False), "OPENSHIFT_HA_SHIELD=off"),
        (replace(ON, conflict=ConflictMode.REPORT), "OPENSHIFT_HA_CONFLICT is not resolve"),
    ],
)
def test_a_shield_that_is_not_wanted_any_more_goes(
    world: World, settings: Settings, why: str
) -> None:
    """By its own variable, or since conflicts are only reported."""
    world.hear()
    world.until(dropping=True)
    world.configure(settings)
    world.until(dropping=False)
    assert Protection(kind="shield", active=False, reason="") == world.shields.protection()
    assert f"nothing drops it here ({why})" in world.shields.outlook()
    world.hear()
    world.pass_time()
    assert "counter" not in world.table()


def test_rules_of_a_former_interface_drop_nothing_and_go(world: World) -> None:
    """A reload that moves to another one starts anew there."""
    world.hear()
    world.until(dropping=True)
    (signature,) = world.shields._applied  # noqa: SLF001
    world.configure(interface="eth1")
    assert not world.shields.drops(signature)
    world.hear()
    world.until_so(lambda: 'iifname "eth1"' in world.table(), "eth1")
    assert 'iifname "ens3"' not in world.table()
    world.until_so(lambda: world.shields.drops(signature), "it is known")
    assert ["shield.raised", "shield.lowered", "shield.raised"] == world.named()


def test_rules_of_a_former_interface_go_though_nothing_is_foreign_on_the_new_one(
    world: World,
) -> None:
    """Also those that nft is just about to make."""
    world.hear()
    world.until_so(lambda: world.shields.is_busy, "nft runs")
    world.configure(interface="eth1")
    world.until_so(lambda: not world.shields.is_busy, "nft ends")
    assert [] == world.named()
    world.until(dropping=False)
    assert "ipfailover" not in world.table()
    world.pass_time()
    assert world.shields.deadline is not None


@pytest.mark.parametrize("is_mended", [True, False])
def test_a_table_that_nft_could_not_take_back_goes_when_the_shield_is_put_off(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_mended: bool
) -> None:
    """At once where nft works by then; else it is tried again until it does."""
    monkeypatch.setattr(shields, "_LOOK_INTERVAL", 0.5)
    world.hear()
    world.until(dropping=True)
    path, world.environment["PATH"] = world.environment["PATH"], "/nowhere"
    # another sender, whom nft is to be called for
    world.hear(replace(FOREIGN, source=IPv4Address("192.168.55.78")))
    world.until_off("cannot start 'nft'")
    if is_mended:
        world.environment["PATH"] = path
    world.configure(replace(ON, shield=False))
    if not is_mended:
        world.pass_time()
        assert "counter" in world.table()
        world.environment["PATH"] = path
    world.until(dropping=False)
    world.until_so(lambda: world.shields.deadline is None, "all is done")


def test_a_shield_without_nft_is_off_and_says_so(world: World) -> None:
    """Until there is one."""
    path, world.environment["PATH"] = world.environment["PATH"], "/nowhere"
    world.until_off("cannot start 'nft'")
    assert ["protection.off"] == world.named()
    world.environment["PATH"] = path
    world.hear()
    world.until(dropping=True)
    assert Protection(kind="shield", active=True, reason="") == world.shields.protection()


def test_an_nft_that_hangs_is_killed_and_not_waited_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be stuck in the kernel for long; leases have to be renewed meanwhile."""
    hanging = tmp_path / "nft"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    path, world.environment["PATH"] = world.environment["PATH"], f"{tmp_path}:/usr/bin:/bin"
    monkeypatch.setattr(shields, "_RUN_LIMIT", 0.3)
    with monkeypatch.context() as patched:
        patched.setattr(NftRun, "kill_and_wait", lambda _: pytest.fail("the loop waits for nft"))
        world.hear()
        world.until_off("nft does not end")
        world.pass_time()
        assert not world.shields.is_busy
        assert ["protection.off"] == world.named()
    world.environment["PATH"] = path
    monkeypatch.undo()
    world.hear()
    world.until(dropping=True)
    assert Protection(kind="shield", active=True, reason="") == world.shields.protection()


def test_a_table_of_a_run_that_was_killed_goes(world: World) -> None:
    """Nothing in it is known to this run."""
    world.hear()
    world.until(dropping=True)
    keepalived: Any = world
    later = Shields(common(environment=world.environment), keepalived)
    world.shields = later
    world.configure()
    world.until(dropping=False)


def test_more_speakers_than_the_kernel_is_to_hold_are_told(world: World) -> None:
    """Once."""
    for number in range(80):
        world.hear(replace(FOREIGN, addresses=(IPv4Address(number),)))
    assert ["shield.full"] == world.named()
    world.until(dropping=True)
    assert 64 == world.table().count("counter")


def test_sockets_of_a_process_that_is_gone_are_not_known() -> None:
    """Its pid may be another's soon."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert sockets.sockets_of(ended.pid) is None
