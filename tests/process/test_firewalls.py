"""The rules of a whole configuration, through its reloads, with real nft."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from ipfailover_agent.config import planner
from ipfailover_agent.firewall.service import Firewalls
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.linux import process
from ipfailover_agent.model import Settings
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.services import candidate, common
from tests.support.vectors import host_facts
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft"),
]

WALL = """
table inet wall {
  chain input {
    type filter hook input priority 0; policy drop;
  }
}
"""
ON = Settings(
    virtual_addresses=(ip_address("10.0.0.1"),), config_name="here", manages_firewall=True
)


class World:
    """A namespace with a wall, where rules are kept and events are heard."""

    def __init__(self, namespace: NetworkNamespace, events: list[Any]) -> None:
        self._namespace = namespace
        self._events = events
        self.firewalls = Firewalls(common(environment=os.environ))
        self.before = self.rules()

    def rules(self) -> str:
        return self._namespace.run("nft", "list", "ruleset")

    def run(self, *argv: str) -> None:
        self._namespace.run(*argv)

    def is_looked_after(self) -> bool:
        return self.firewalls.deadline is not None

    def configured(self, settings: Settings) -> list[dict[str, Any]]:
        """Take settings, let what they cause happen, and return the events."""
        config = planner.plan(settings, host_facts({"ens3": ["192.168.55.10/24"]}))
        self.firewalls.configure(candidate(config, settings), InstanceStates())
        return self.settled()

    def settled(self) -> list[dict[str, Any]]:
        """Go round until nothing is due at once; return the events."""

        def is_over() -> bool:
            for child in process.reap():
                assert self.firewalls.child_exited(child)
            now = time.monotonic()
            self.firewalls.tick(now)
            deadline = self.firewalls.deadline
            return deadline is None or now + 0.5 < deadline < now + 5

        wait_until(is_over, timeout=20, message="nft goes on")
        told, self._events[:] = list(self._events), []
        return told


@pytest.fixture
def world() -> Iterator[World]:
    """Enter a namespace with a wall."""
    with fresh_namespace() as namespace, structlog.testing.capture_logs() as events:
        namespace.nft(WALL)
        with namespace.entered():
            made = World(namespace, events)
            yield made
            made.firewalls.close()


def test_rules_come_and_go_with_the_variable(world: World) -> None:
    """Each is told with where it is; what is turned off is not looked after any more."""
    assert [] == world.configured(replace(ON, manages_firewall=False))
    assert not world.is_looked_after()
    place = {"table": "inet wall", "chain": "input", "address": "224.0.0.18"}
    inserted = {**place, "event": "firewall.rule_inserted", "log_level": "info"}
    assert [inserted] == world.configured(ON)
    assert 'comment "ipfailover-agent here"' in world.rules()
    assert world.is_looked_after()
    assert [] == world.configured(ON)
    removed = {**place, "event": "firewall.rule_removed", "log_level": "info"}
    assert [removed] == world.configured(replace(ON, manages_firewall=False))
    assert world.before == world.rules()
    assert not world.is_looked_after()
    assert [inserted] == world.configured(ON)


def test_a_configuration_that_is_renamed_has_the_rules_of_its_new_name(world: World) -> None:
    """``release`` knows the new name only: nothing is left of the former one."""
    world.configured(ON)
    told = world.configured(replace(ON, config_name="there"))

    def is_renamed() -> bool:
        told.extend(world.settled())
        return len(told) == 2

    wait_until(is_renamed, timeout=10, message=world.rules)
    expected = ["firewall.rule_inserted", "firewall.rule_removed"]
    assert expected == sorted(each["event"] for each in told)
    assert 'comment "ipfailover-agent there"' in world.rules()
    assert "ipfailover-agent here" not in world.rules()
    world.firewalls.close()
    assert world.before == world.rules()
    assert not world.is_looked_after()


def test_rules_that_cannot_be_removed_yet_are_removed_later(world: World) -> None:
    """Turned off while nft is missing: that is told, and it is not forgotten."""
    world.configured(ON)
    path = os.environ["PATH"]
    try:
        os.environ["PATH"] = "/nonexistent"
        (told,) = world.configured(replace(ON, manages_firewall=False))
    finally:
        os.environ["PATH"] = path
    assert ("firewall.failed", "error") == (told["event"], told["log_level"])
    assert "nft" in told["reason"]
    assert world.is_looked_after()
    assert ["firewall.rule_removed"] == [
        each["event"] for each in world.configured(replace(ON, manages_firewall=False))
    ]
    assert world.before == world.rules()
    assert not world.is_looked_after()


@pytest.mark.skipif(shutil.which("iptables-legacy") is None, reason="needs iptables-legacy")
def test_tables_that_nft_cannot_see_are_named(world: World) -> None:
    """``nat`` drops nothing; the others may."""
    world.run("iptables-legacy", "-t", "nat", "-L", "-n")
    assert ["firewall.rule_inserted"] == [each["event"] for each in world.configured(ON)]
    world.configured(replace(ON, manages_firewall=False))
    world.run("iptables-legacy", "-A", "INPUT", "-p", "112", "-j", "DROP")
    first, second = world.configured(ON)
    assert ("firewall.unseen", "warning") == (first["event"], first["log_level"])
    assert ("filter",) == first["tables"]
    assert "firewall.rule_inserted" == second["event"]
