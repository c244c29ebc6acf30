"""``drill`` on real nodes: it measures what the recorder saw, and leaves nothing behind."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from signal import SIGTERM

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.scenarios import command
from tests.support.waiting import wait_until

_EXACT = 0.1  # seconds between what one node sees and what the recorder saw


@pytest.mark.timing
@pytest.mark.parametrize("mode", ["multicast", "unicast"])
def test_a_drill_moves_measures_and_puts_back(pair: Lab, mode: str) -> None:
    """The promise is kept; with preempt the address comes home."""
    address = pair.virtual(1)
    holder = pair.serve_ranked(address, PREEMPTION="preempt", **pair.peers(mode))
    (other,) = pair.others(holder)
    done = holder.ask("drill", "--json", address)
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert other.ip == found["taken_by"]
    assert found["no_holder"] <= found["promised"] + 0.1
    assert abs(found["no_holder"] - pair.recorder.seconds_with_none(address)) < _EXACT
    pair.wait_for_holder(address, timeout=10)
    pair.wait_for_holder(address, timeout=10, among=[holder])
    assert list(holder.drained().values()) == [None]
    assert pair.recorder.seconds_with_two(address) < _EXACT  # it preempts when it comes home


def test_a_drill_says_what_it_does_to_a_person(pair: Lab) -> None:
    """Without a name it takes the first instance that is held here."""
    holder = pair.serve_ranked(pair.virtual(1), pair.virtual(2))
    (other,) = pair.others(holder)
    done = holder.ask("drill")
    assert done.returncode == 0, done.stderr
    assert f"{other.ip} had everything" in done.stdout
    assert "no node had an address for 0." in done.stdout
    assert "both had one for 0.00 s" in done.stdout
    refused = other.ask("drill", pair.virtual(2))
    assert refused.returncode == 78
    assert "run it on the node that holds it" in refused.stderr


def test_a_lone_node_keeps_its_address(lone: Lab) -> None:
    """No node takes over: the drain is undone, and the exit code shows it."""
    holder = lone.serve_ranked(lone.virtual(1))
    done = holder.ask("drill")
    assert done.returncode == 69
    assert "no other node took over" in done.stdout
    lone.wait_for_holder(lone.virtual(1), timeout=10, among=[holder])
    unknown = holder.ask("drill", "10.9.9.9")
    assert unknown.returncode == 78
    assert "is no instance or address here" in unknown.stderr


def test_a_drill_that_is_stopped_leaves_nothing_drained(lone: Lab) -> None:
    """Ctrl-C in the middle."""
    holder = lone.serve_ranked(lone.virtual(1))

    def drills() -> list[int]:
        return [each.pid for each in holder.container.processes() if "drill" in each.arguments]

    with ThreadPoolExecutor() as pool:
        drill = pool.submit(holder.run_in_container, command("drill"))
        wait_until(lambda: any(holder.drained().values()), 10, "it is drained")
        for pid in drills():
            os.kill(pid, SIGTERM)
        done = drill.result()
    assert done.returncode == 75, done.stdout + done.stderr
    assert "stopped; the drain was ended" in done.stderr
    assert list(holder.drained().values()) == [None]
