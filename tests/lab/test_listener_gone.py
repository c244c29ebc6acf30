"""An application dies: the kernel's word, long before the next check."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import ExitStack
from datetime import datetime

import pytest

from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PORT, stays, variables

_GONE = f'cause="listener of port {PORT} is gone"'


def times(node: Node, name: str) -> list[float]:
    """Return when an event was logged, in seconds."""
    stamps = (line.split()[0].partition("=")[2] or line.split()[0] for line in node.events(name))
    return [datetime.fromisoformat(each).timestamp() for each in stamps]


@pytest.mark.parametrize("version", [4, 6])
def test_a_dead_application_moves_its_address_long_before_the_next_check(
    lab: Lab, version: int
) -> None:
    """At once, though it is checked every 8 s; it is trusted again an interval later at best."""
    address = lab.virtual(1) if version == 4 else lab.virtual6(1)
    holder = lab.serve_ranked(address, CHECK_INTERVAL="8")
    began = time.monotonic()
    holder.application.stop()
    lab.wait_for_holder(address, timeout=4, among=lab.others(holder))
    print(f"application dies: moved after {time.monotonic() - began:.3f} s")
    (failed,) = holder.events("check.failed")
    assert _GONE in failed
    holder.application.start()
    holder.wait_for_state("BACKUP", timeout=12)
    (down,), (_, up) = times(holder, "check.failed"), times(holder, "check.passed")
    assert 7.95 < up - down
    assert holder.protection("listener")["active"] is True


def test_an_application_that_crashes_in_a_circle_is_believed_once_an_interval(lone: Lab) -> None:
    """Down at once, and up when it is time for a check, however often it starts meanwhile."""
    address = lone.virtual(1)
    node = lone.serve(address, CHECK_INTERVAL="2")
    began = time.monotonic()
    crashes = 0
    while len(node.events("check.failed")) < 3:
        assert time.monotonic() < began + 60
        node.application.stop()
        stays(0.12)
        node.application.start()
        # A constant time could have each check, every 2 s, meet the same moment of the circle.
        stays(0.12 + 0.03 * (crashes % 4))
        crashes += 1
    down, (_, *up) = times(node, "check.failed"), times(node, "check.passed")
    assert crashes > 2 * len(down)
    assert len(down) <= 1 + (time.monotonic() - began) / 1.95
    assert all(_GONE in each for each in node.events("check.failed"))
    assert all(after - before >= 1.95 for before, after in zip(down, up, strict=False))


def test_with_fall_a_restart_moves_nothing_and_a_death_is_found_an_interval_sooner(
    lone: Lab,
) -> None:
    """The first failure counts at once, the second when it is time for a check."""
    address = lone.virtual(1)
    node = lone.serve(address, CHECK_INTERVAL="3", CHECK_FALL="2")
    began = time.monotonic()
    for _ in range(3):
        node.application.stop()
        stays(0.5)
        node.application.start()
        stays(3)
    assert () == lone.recorder.changes(address, since=began)
    assert [] == node.events("check.failed")
    stopped = time.time()
    node.application.stop()
    lone.wait_for_none([address], on=node, timeout=8)
    (failed,) = times(node, "check.failed")
    assert 2.9 < failed - stopped < 5.9
    assert _GONE in node.events("check.failed")[0]


def test_a_process_that_hangs_has_a_listener_and_is_found_by_the_periodic_check(
    make_lab: MakeLab,
) -> None:
    """Its queue is full: the kernel's word changes nothing of the timeout."""
    lab = make_lab(1, applications=False)
    (node,) = lab.nodes
    address = lab.virtual(1)
    with ExitStack() as stack:
        lazy = stack.enter_context(node.network.open_socket(socket.AF_INET, socket.SOCK_STREAM))
        lazy.bind(("0.0.0.0", PORT))
        lazy.listen(4)  # no program ever accepts
        node.start(variables(address, CHECK_INTERVAL="1"))
        lab.wait_for_holder(address, timeout=ELECTION)
        for _ in range(5):
            client = node.network.open_socket(socket.AF_INET, socket.SOCK_STREAM)
            stack.enter_context(client).connect((str(node.ip), PORT))
        lab.wait_for_none([address], on=node, timeout=6)
        node.wait_for_line("event=check.failed")  # keepalived may be faster than the agent's log
        (failed,) = node.events("check.failed")
        assert ("timed out after 1 s" in failed, _GONE in failed) == (True, False)


def test_the_death_of_what_answers_a_url_is_found_at_once_by_the_agent(pair: Lab) -> None:
    """It runs keepalived's script itself, which asks every 8 s only; both say so in the end."""
    holder, other = pair.nodes
    address = pair.virtual(1)
    words = [sys.executable, "-m", "http.server", "8090"]
    with ExitStack() as stack:
        servers = [stack.enter_context(each.network.running(words)) for each in pair.nodes]
        for node, priority in ((holder, "250"), (other, "100")):
            url = {"CHECK_URL": f"http://{node.ip}:8090/", "CHECK_INTERVAL": "8"}
            node.start(variables(address, PRIORITY=priority, **url))
            node.wait_for_line("Entering BACKUP STATE", timeout=20)
        pair.wait_for_holder(address, timeout=ELECTION, among=[holder])
        servers[0].kill()
        pair.wait_for_holder(address, timeout=4, among=[other])
        (failed,) = holder.events("check.failed")
        assert 'cause="listener of port 8090 is gone"' in failed
        assert f"cannot reach http://{holder.ip}:8090/" in failed
        stack.enter_context(holder.network.running(words))
        holder.wait_for_state("BACKUP", timeout=25)
