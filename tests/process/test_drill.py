"""``drill`` that is disturbed, beside a whole agent with a keepalived that obeys a script."""

from __future__ import annotations

import contextlib
import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.agent_process import AgentProcess, World
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

NAME = "OpenShift_IPFailover_VIP_1"
DRILL = ("drill", "10.0.0.101")


def holder(world: World, *, interval: str = "0.1") -> AgentProcess:
    """Start an agent that holds its first instance and hears no other node."""
    world.fake.plays({"transitions": [f'INSTANCE "{NAME}" MASTER 200']})
    timing = {"OPENSHIFT_HA_ADVERT_INTERVAL": interval, "OPENSHIFT_HA_VRRP_VERSION": "3"}
    agent = world.running(environment=timing)
    agent.wait_for(lambda: agent.status["instances"][0]["state"] == "MASTER")
    agent.wait_for(lambda: agent.status["protections"][2]["active"])
    return agent


def requested(world: World) -> list[str]:
    """Return what is asked for in requests that the agent has not taken."""
    found = []
    for each in (world.run_directory / "drain.requests").glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # withdrawn while we look
            found.append(json.loads(each.read_text())["action"])
    return found


def test_an_impatient_person_leaves_nothing_drained(world: World) -> None:
    """Ctrl-C before the agent has taken the request, and again while the drain is ended."""
    agent = holder(world)
    agent.signal(signal.SIGSTOP)
    with world.commanded(*DRILL) as drill:
        wait_until(lambda: requested(world) == ["drain"], 10, "the drain was not requested")
        drill.send_signal(signal.SIGINT)
        # the request is withdrawn: the agent might take it after the other one
        wait_until(lambda: requested(world) == ["undrain"], 10, "it was not ended")
        drill.send_signal(signal.SIGINT)
        agent.signal(signal.SIGCONT)
        _, errors = drill.communicate(timeout=20)
    assert (75, True) == (drill.returncode, "stopped; the drain was ended" in errors), errors
    assert "action=drain" not in agent.log
    assert agent.status["instances"][0]["drained"] is None
    assert 0 == agent.stop()


def test_an_agent_that_dies_in_a_drill_is_said(world: World) -> None:
    """Nothing claims that the drain was ended."""
    agent = holder(world)
    with world.commanded(*DRILL) as drill:
        agent.wait_for(lambda: "event=drain.requested" in agent.log)
        agent.kill()
        output, errors = drill.communicate(timeout=20)
    assert 75 == drill.returncode, errors
    assert "ended before it gave a verdict" in errors
    assert "the drain was ended" not in output + errors


def test_what_somebody_else_drains_is_not_drilled(world: World) -> None:
    """Putting back would end a drain that is not ours: also that of a second drill."""
    agent = holder(world, interval="2")  # a drain is undone after 9 s: two commands start by then
    with world.commanded(*DRILL) as first:
        agent.wait_for(lambda: agent.status["instances"][0]["drained"])
        first.send_signal(signal.SIGSTOP)  # its drain lasts until both others have looked
        with ThreadPoolExecutor() as pool:
            named, unnamed = (pool.submit(world.command, *words) for words in (DRILL, ("drill",)))
        done = named.result()
        assert (78, True) == (done.returncode, "is being drained" in done.stderr), done.stderr
        assert 78 == unnamed.result().returncode
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=20)
    assert 69 == first.returncode
    assert 0 == agent.stop()
