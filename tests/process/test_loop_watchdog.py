"""A loop that stands still for good: a second thread ends the agent, with a word."""

from __future__ import annotations

import time

import pytest

from tests.support.agent_process import World

pytestmark = [pytest.mark.netns, pytest.mark.slow]

HELD = ["10.0.0.101/32", "veth0", "veth0:vip"]
MASTER = {"transitions": ['INSTANCE "OpenShift_IPFailover_VIP_1" MASTER 200'], "holds": [HELD]}


def test_a_loop_that_stands_still_for_good_ends_the_agent(world: World) -> None:
    """With code 1, an event and a termination message; keepalived goes in order before it.

    No probe and no port is needed for that.
    """
    world.fake.plays(MASTER)
    there = world.directory / "termination-log"
    there.touch()
    agent = world.running(hangs_on_reload=True, termination_log=str(there))
    agent.wait_for(lambda: "10.0.0.101" in world.addresses())
    agent.reload()
    began = time.monotonic()
    assert 1 == agent.ends(40), agent.describe()
    assert 14.0 <= time.monotonic() - began
    told = "the agent's loop has been standing still for 15 s"
    assert f'event=loop.stuck exit_code=1 reason="{told}"' in agent.log
    assert told == there.read_text()
    assert 1 == world.fake.count("SIGTERM")
    assert "10.0.0.101" not in world.addresses()
