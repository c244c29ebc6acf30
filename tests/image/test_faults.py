"""What befalls a whole container, and what the node's kernel and the other node do about it."""

from __future__ import annotations

import time

import pytest

from tests.image.conftest import StartPod
from tests.image.podman import SUITES, Pod
from tests.lab.kit.lab import Lab
from tests.lab.kit.scenarios import ELECTION, UNPLANNED, stays, variables
from tests.support.waiting import wait_until

#: The lease of 3 s, up to a second until the kernel looks, and its lazy timer.
GONE = 4.0
MARGIN = 0.3
#: What is promised of two holders where a container dies or is frozen.
TWO = 2.0


def serve(start: StartPod, lab: Lab) -> Pod:
    """Start a pod on both nodes; return the one on n1, which holds the first address."""
    address = lab.virtual(1)
    first, second = lab.nodes
    holder = start(first, variables(address, PRIORITY="200"))
    lab.wait_for_holder(address, among=[first], timeout=ELECTION)
    start(second, variables(address, PRIORITY="100")).wait_for_log("Entering BACKUP STATE")
    return holder


@pytest.mark.parametrize("image", SUITES, indirect=True)
def test_a_killed_containers_address_goes_with_its_lease(start: StartPod, lab: Lab) -> None:
    """Nobody is left to remove it and no other node can: the kernel does, within 4 s."""
    address = lab.virtual(1)
    holder = serve(start, lab)
    with lab.client.watch(address) as watch:
        wait_until(lambda: watch.answering() == "n1", 3, "n1 answers")
        killed = time.monotonic()
        holder.crash()
        lab.wait_for_holder(address, among=lab.nodes[1:], timeout=UNPLANNED)
        wait_until(lambda: watch.answering() == "n2", 2, "n2 answers")
    lost = [each for each in lab.recorder.changes(address, since=killed) if each.node == "n1"]
    assert [False] == [each.held for each in lost]
    gone = lost[0].time - killed
    two = lab.recorder.seconds_with_two(address, since=killed)
    print(f"killed: gone after {gone:.2f} s, two held it for {two:.2f} s")
    assert 1.5 < gone < GONE + MARGIN
    assert two < TWO


def test_a_container_that_was_paused_is_never_a_second_holder_for_long(
    start: StartPod, lab: Lab
) -> None:
    """8 s frozen: its address went meanwhile, and it does not come back as a second MASTER."""
    address = lab.virtual(1)
    holder = serve(start, lab)
    paused = time.monotonic()
    holder.pause()
    try:
        lab.wait_for_holder(address, among=lab.nodes[1:], timeout=UNPLANNED)
        stays(8 - (time.monotonic() - paused))
    finally:
        holder.unpause()
    resumed = time.monotonic()
    holder.wait_for_log("event=loop.late", timeout=3)
    stays(4)
    assert len(lab.recorder.holders(address)) == 1
    two = lab.recorder.seconds_with_two(address, since=paused)
    after = lab.recorder.seconds_with_two(address, since=resumed)
    print(f"paused for 8 s: two held it for {two:.2f} s, {after:.2f} s of them afterwards")
    assert two < TWO
    assert holder.is_running
    assert holder.run("ipfailover-agent", "status").returncode == 0
