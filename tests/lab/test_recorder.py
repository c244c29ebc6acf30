"""The recorder and the client, against addresses that are set by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.recorder import Recorder
from tests.lab.kit.timeline import Change
from tests.support.waiting import wait_until


def test_every_gain_and_loss_is_written_down_with_its_time(lab: Lab) -> None:
    """Both families, in order, with a time between before and after the command."""
    node = lab.nodes[0]
    for address, length in ((lab.virtual(1), 32), (lab.virtual6(1), 128)):
        moments = [time.monotonic()]
        for number, action in enumerate(("add", "del"), start=1):
            node.run(["ip", "address", action, f"{address}/{length}", "dev", "eth0"])
            seen = partial(lab.recorder.changes, address)
            wait_until(partial(_has, seen, number), 1, f"{action} is noticed")
            moments.append(time.monotonic())
        gain, loss = lab.recorder.changes(address)
        assert (gain.node, gain.held, loss.node, loss.held) == ("n1", True, "n1", False)
        assert moments[0] < gain.time < moments[1] < loss.time < moments[2]


def _has(changes: Callable[[], tuple[Change, ...]], number: int) -> bool:
    return len(changes()) == number


def test_an_address_counts_until_its_last_copy_is_gone(lab: Lab) -> None:
    """The same address with two prefix lengths is held until both are gone."""
    node, address = lab.nodes[0], lab.virtual(1)
    node.add(address)
    node.add(f"{address}/24")
    node.remove(address)
    node.add(lab.virtual(2))
    wait_until(lambda: lab.recorder.holders(lab.virtual(2)), 1, "all was noticed")
    assert lab.recorder.holders(address) == ["n1"]
    assert len(lab.recorder.changes(address)) == 1
    node.remove(f"{address}/24")
    lab.wait_for_none([address], timeout=1)


def test_what_was_there_before_the_recorder_is_known_to_it(lab: Lab) -> None:
    """The initial state is not lost, and a lifetime's renewal is no change."""
    node, address = lab.nodes[0], lab.virtual(1)
    node.add(address)
    late = Recorder({"n1": node.network})
    try:
        assert late.holders(address) == ["n1"]
        change = ["ip", "address", "change", f"{address}/32", "dev", "eth0", "valid_lft", "1"]
        node.run([*change, "preferred_lft", "1"])
        wait_until(lambda: not late.holders(address), 4, "the kernel removes it")
        assert [each.held for each in late.changes(address)] == [True, False]
    finally:
        late.close()


def test_a_flood_of_events_ends_in_the_truth(lone: Lab) -> None:
    """Two thousand changes at once: whatever was lost on the way, the end is right."""
    node = lone.nodes[0]
    addresses = [f"10.{a}.{b}.1" for a in range(4) for b in range(250)]
    for action in ("add", "del"):
        node.network.ip([f"address {action} {each}/32 dev eth0" for each in addresses])
    node.network.ip([f"address add {addresses[7]}/32 dev eth0"])
    wait_until(
        lambda: [each for each in addresses if lone.recorder.holders(each)] == [addresses[7]],
        5,
        "one address is left",
    )


@pytest.mark.timing
def test_a_client_sees_the_length_of_an_outage_and_who_answers(lab: Lab) -> None:
    """An address away for half a second: one outage of that length, two nodes, in order."""
    address = lab.virtual(1)
    first, second, _ = lab.nodes
    set_address = ["ip", "address", "add", f"{address}/32", "dev", "eth0"]
    first.run(set_address)
    with lab.client.watch(address) as watch:
        wait_until(lambda: watch.answering() == "n1", 2, "n1 answers")
        first.remove(address)
        gone = time.monotonic()
        wait_until(lambda: time.monotonic() > gone + 0.5, 1, "half a second")
        second.run(set_address)
        lab.client.network.run(["ip", "neighbour", "flush", "dev", "eth0"])
        back = time.monotonic()
        wait_until(lambda: watch.answering() == "n2", 2, "n2 answers")
    (outage,) = watch.outages(since=gone)
    assert outage.is_over
    assert abs(outage.seconds - (back - gone)) < 0.15
    assert abs(outage.start - gone) < 0.1
    assert watch.nodes() == ["n1", "n2"]
    assert watch.answers[-1].node == "n2"
