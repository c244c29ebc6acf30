"""Reload through a mounted directory, with the real keepalived: what moves, what must not."""

from __future__ import annotations

import signal
import time

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, NAME, PLANNED, ConfigMap, stays, variables

#: Nodes follow one another within this many seconds; until then they refuse each other's adverts.
ROLLING = 5.0


def serve_from_directory(lab: Lab, *addresses: str, **more: str) -> ConfigMap:
    """Start every node with variables from one mounted directory, the first one as holder."""
    source = ConfigMap(lab.directory / "variables", variables(*addresses, **more))
    lab.start_ranked(source.unwatched)  # here each is asked to
    lab.wait_for_each(addresses, timeout=ELECTION, among=lab.nodes[:1])
    return source


def reload_everywhere(lab: Lab) -> None:
    """Reload one node after the other."""
    for node in lab.nodes:
        node.reload()


def transitions(node: Node) -> list[str]:
    """Return keepalived's lines about changed states."""
    return [line for line in node.stdout().splitlines() if " Entering " in line]


def test_an_address_is_added(pair: Lab) -> None:
    """The new address is served by one node; the old ones have no event at all."""
    old = pair.numbered(2)
    source = serve_from_directory(pair, *old)
    added = pair.virtual(3)
    source.write(variables(*old, added))
    began = time.monotonic()
    assert f"{added} is added" in pair.nodes[0].reload()
    pair.nodes[1].reload()
    pair.wait_for_holder(added, timeout=ELECTION)
    assert [pair.recorder.changes(each, since=began) for each in old] == [(), ()]


def test_an_address_is_removed_from_the_middle(pair: Lab) -> None:
    """Later addresses move to earlier instances and are still there, each on one node."""
    first, second, third, fourth = pair.numbered(4)
    source = serve_from_directory(pair, first, second, third, fourth)
    source.write(variables(first, third, fourth))
    began = time.monotonic()
    verdict = pair.nodes[0].reload()
    assert f"{third} moves from {NAME}_VIP_3 to {NAME}_VIP_2" in verdict
    assert "signalled twice" in verdict
    held = pair.nodes[0].virtual_addresses()
    assert sorted(held) == [f"{each}/32" for each in (first, third, fourth)]
    pair.nodes[1].reload()
    pair.wait_for_each([first, third, fourth], timeout=ROLLING)
    stays(2.5)  # two adverts: refused ones would make a second holder
    pair.wait_for_each([first, third, fourth], timeout=1)
    assert pair.recorder.holders(second) == []
    assert pair.recorder.changes(first, since=began) == ()
    none = pair.recorder.seconds_with_none(third, fourth, since=began)
    two = pair.recorder.seconds_with_two(third, fourth, since=began)
    print(f"removed from the middle: at worst {none:.2f} s with none, {two:.2f} s with two")
    assert none < PLANNED
    assert two < ROLLING


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_addresses_are_reordered(pair: Lab, family: str) -> None:
    """Two addresses change places; afterwards each has one holder, and nothing is left on lo."""
    addresses = pair.numbered(3) if family == "IPv4" else pair.numbered6(3)
    source = serve_from_directory(pair, *addresses)
    source.write(variables(*reversed(addresses)))
    began = time.monotonic()
    reload_everywhere(pair)
    pair.wait_for_each(addresses, timeout=ROLLING)
    stays(2.5)  # two adverts
    pair.wait_for_each(addresses, timeout=1)
    none = pair.recorder.seconds_with_none(*addresses, since=began)
    two = pair.recorder.seconds_with_two(*addresses, since=began)
    print(f"reordered: at worst {none:.2f} s with none, {two:.2f} s with two")
    assert none < PLANNED
    assert two < ROLLING
    pair.stop_everywhere()
    for node in pair.nodes:
        assert node.virtual_addresses() == []
        shown = node.run(["ip", "-brief", "address", "show", "dev", "lo"]).stdout
        assert shown.split()[2:] == ["127.0.0.1/8", "::1/128"]


def test_another_monitor_port_changes_the_check_only(pair: Lab) -> None:
    """Where keepalived runs it, it is not signalled: the next check asks the new port."""
    address = pair.virtual(1)
    source = serve_from_directory(pair, address, CHECK_WATCH="0")
    first, second = pair.nodes
    began = time.monotonic()
    source.write(variables(address, CHECK_WATCH="0", MONITOR_PORT="9"))
    first.reload()
    assert "Reloading" not in first.stdout()
    pair.wait_for_holder(address, timeout=1 + PLANNED, among=[second])
    first.wait_for_state("FAULT", timeout=1)
    assert pair.recorder.seconds_with_two(address, since=began) == 0


def test_twenty_reloads_without_a_change_are_not_noticed(pair: Lab) -> None:
    """No address event, no transition, keepalived is not signalled, the agent says unchanged."""
    addresses = [*pair.numbered(2), pair.virtual6(1)]
    serve_from_directory(pair, *addresses)
    pair.nodes[0].wait_for_masters(len(addresses), timeout=3)
    before = [transitions(node) for node in pair.nodes]
    pids = pair.nodes[0].pids("keepalived")
    began = time.monotonic()
    for node in pair.nodes:
        for _ in range(20):
            node.signal(signal.SIGHUP)
        assert node.reload() == "reload unchanged\n  nothing changed\n"
    stays(1.5)  # an advert and a check
    assert [pair.recorder.changes(each, since=began) for each in addresses] == [()] * 3
    assert [transitions(node) for node in pair.nodes] == before
    assert pair.nodes[0].pids("keepalived")[:2] == pids[:2]
    assert pair.nodes[0].events("config.unchanged")
    assert "Reloading" not in pair.nodes[0].stdout()


@pytest.mark.parametrize("role", ["holder", "backup"])
def test_a_refused_reload_keeps_everything_and_says_why(pair: Lab, role: str) -> None:
    """A typo: exit code 78, variable and element named, no event; mended it is accepted."""
    address = pair.virtual(1)
    source = serve_from_directory(pair, address)
    node = pair.nodes[0 if role == "holder" else 1]
    before = node.read("/etc/keepalived/keepalived.conf")
    began = time.monotonic()
    source.write(variables(f"{address},192.0.2.1O7", MONITOR_PORT="http"))
    said = node.reload(code=78)
    assert said.startswith("reload refused\n")
    assert "OPENSHIFT_HA_VIRTUAL_IPS" in said
    assert "192.0.2.1O7" in said
    assert "OPENSHIFT_HA_MONITOR_PORT" in said
    (event,) = node.events("config.rejected")
    assert "192.0.2.1O7" in event
    assert node.status()["reload"]["verdict"] == "refused"
    assert node.read("/etc/keepalived/keepalived.conf") == before
    stays(1.5)  # an advert and a check
    assert pair.recorder.changes(address, since=began) == ()
    assert node.status()["phase"] == "running"
    source.write(variables(address, pair.virtual(2)))
    reload_everywhere(pair)
    pair.wait_for_each([pair.virtual(2)], timeout=ELECTION)
    assert pair.recorder.changes(address, since=began) == ()


def test_a_value_that_needs_a_restart_is_refused(lone: Lab) -> None:
    """KEEPALIVED_OPTIONS is on a command line that cannot change: refused with that word."""
    address = lone.virtual(1)
    source = serve_from_directory(lone, address)
    source.write({**variables(address), "KEEPALIVED_OPTIONS": "--log-detail"})
    said = lone.nodes[0].reload(code=78)
    assert "KEEPALIVED_OPTIONS" in said
    assert "needs a restart" in said


def test_a_refused_first_configuration_is_waited_on(lone: Lab, node: Node) -> None:
    """Not ready, phase waiting, and when the directory is mended it serves by itself."""
    address = lone.virtual(1)
    source = ConfigMap(lone.directory / "variables", variables("192.0.2.300"))
    node.start(source.variable)
    found = node.wait_for_status("phase", "waiting")
    assert not found["ready"]
    assert "192.0.2.300" in "".join(found["reasons"])
    assert node.ask("status").returncode == 1
    source.write(variables(address))
    lone.wait_for_holder(address, timeout=ELECTION)
    assert node.ask("status").returncode == 0


def test_a_holder_hands_over_while_another_node_is_reloaded(pair: Lab) -> None:
    """A reload of the backup does not make it deaf: the planned stop is as fast as ever."""
    old = pair.virtual(1)
    source = serve_from_directory(pair, old)
    first, second = pair.nodes
    source.write(variables(old, pair.virtual(2)))
    second.reload()
    asked = pair.hand_over(first, old)
    assert pair.recorder.seconds_with_none(old, since=asked) < PLANNED
    pair.wait_for_holder(pair.virtual(2), timeout=ELECTION, among=[second])
    pair.wait_for_none([old, pair.virtual(2)], on=first, timeout=1)
