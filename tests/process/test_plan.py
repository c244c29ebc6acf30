"""``plan`` beside a running agent, after its end, and before there was one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.agent_process import AgentProcess, World

pytestmark = pytest.mark.netns

PIN = "pin ids: OPENSHIFT_HA_VRRP_IDS="
LONGER = "10.0.0.101-106"
REFUSED = "problem: OPENSHIFT_HA_VIRTUAL_IPS: '10.0.0.300'"


def reading_file(world: World, **variables: str) -> AgentProcess:
    """Return a running agent whose variables come from the file."""
    world.write(**{"VIRTUAL_IPS": "10.0.0.101-105", **variables})
    return world.running(reads_file=True)


def planned(world: World, *words: str) -> dict[str, Any]:
    """Return what ``plan --json`` prints."""
    found: dict[str, Any] = json.loads(world.command("plan", "--json", *words).stdout)
    return found


@pytest.mark.parametrize(
    ("before", "after", "code", "said"),
    [
        ({}, {}, 0, ["kept       5  10.0.0.101 to 10.0.0.105\n", "nothing would change"]),
        ({}, {"VIRTUAL_IPS": LONGER}, 1, ["added      1  10.0.0.106", "signalled once"]),
        ({"CHECK_WATCH": "0"}, {"MONITOR_PORT": "8080"}, 1, ["only scripts change"]),
        ({}, {"VIRTUAL_IPS": "10.0.0.300"}, 78, [REFUSED]),
        # the agent answers no HTTP: the check asks the application there, and not the agent
        ({"MONITOR_PORT": "63000"}, {}, 0, ["nothing would change"]),
    ],
    ids=[
        *("nothing to do", "an appended address", "the check alone", "what would be refused"),
        "where the agent listens",
    ],
)
def test_what_would_change_is_shown_before_it_does(
    world: World, before: dict[str, str], after: dict[str, str], code: int, said: list[str]
) -> None:
    """And the exit code says whether anything would; no warning, and the agent notices nothing."""
    agent = reading_file(world, **before)
    world.write(**{"VIRTUAL_IPS": "10.0.0.101-105", **before, **after})
    done = world.command("plan")
    assert code == done.returncode, done.stderr
    assert [] == [each for each in said if each not in done.stdout]
    assert "warning" not in done.stdout
    assert 5 == len(agent.status["instances"])


def test_ids_that_shift_are_warned_of_and_can_be_pinned(world: World) -> None:
    """What it prints under ``pin ids`` can be set as it is: then no address changes its id."""
    reading_file(world)
    world.write(VIRTUAL_IPS="10.0.0.101,10.0.0.103-105")
    printed = world.prints(1, "plan")
    flat = " ".join(printed.split())
    assert (
        "warning: the ids of 10.0.0.103 to 10.0.0.105 shift by one, from 13-15 to 12-14: nodes "
        "that still run the old list will contest them, and each may be on no node for up to "
        in flat
    )
    assert (
        "s at a time; append at the end, or pin ids, or drain all nodes but one before, and "
        "undrain them after" in flat
    )
    assert "in two steps" in flat
    (line,) = [each for each in printed.splitlines() if each.startswith(PIN)]
    value = line.removeprefix(PIN)
    assert "10.0.0.101=11,10.0.0.103=13,10.0.0.104=14,10.0.0.105=15" == value
    world.write(VIRTUAL_IPS="10.0.0.101,10.0.0.103-105", VRRP_IDS=value)
    found = planned(world)
    assert ([], [], 1) == (found["renumbered"], found["felt_by_others"], found["steps"])
    assert ["10.0.0.102"] == found["removed"]


def test_another_file_can_be_looked_at(world: World) -> None:
    """--config replaces the source; the environment is the running agent's, not the caller's."""
    reading_file(world, VRRP_ID_OFFSET="50")
    other = world.directory / "other"
    other.write_text("OPENSHIFT_HA_VIRTUAL_IPS=10.0.0.101-105\n", encoding="utf-8")
    done = world.command(
        "plan", "--json", "--config", str(other), environment={"OPENSHIFT_HA_VRRP_ID_OFFSET": "90"}
    )
    ids = {(each["old_id"], each["new_id"]) for each in json.loads(done.stdout)["renumbered"]}
    assert {(51, 11), (52, 12), (53, 13), (54, 14), (55, 15)} == ids


def test_what_needs_a_restart_would_be_refused(world: World) -> None:
    """As a reload would; another file may name it."""
    reading_file(world)
    other = world.directory / "other"
    other.write_text("KEEPALIVED_CONFIG=/tmp/elsewhere.conf\n", encoding="utf-8")
    done = world.command("plan", "--config", str(other))
    assert (78, True) == (done.returncode, "needs a restart" in " ".join(done.stdout.split()))


def test_without_an_agent_the_last_good_configuration_is_compared_with(world: World) -> None:
    """It says so; before anything was in force it compares with nothing."""
    printed = world.prints(1, "plan", environment={"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.101-103"})
    assert "compared with nothing" in printed
    assert "added      3  10.0.0.101 to 10.0.0.103" in printed
    agent = reading_file(world)
    assert 0 == agent.stop()
    printed = world.prints(0, "plan", "--config", str(world.config_file))
    assert "no agent runs: compared with the last good configuration" in printed


@pytest.mark.parametrize("text", ['{"schema": 999}', "\0garbage"], ids=["version", "damaged"])
def test_a_record_that_cannot_be_used_is_not_called_none(world: World, text: str) -> None:
    """Something is in force, and it says that it does not know what."""
    reading_file(world)
    (world.run_directory / "active.json").write_text(text)
    done = world.command("plan", "--config", str(world.config_file))
    flat = " ".join(done.stdout.split())
    assert 1 == done.returncode, done.stderr
    assert "cannot be read, or is of another version" in flat
    assert "no configuration was in force" not in flat


def test_what_a_refused_reload_wanted_is_not_what_is_active(world: World) -> None:
    """The record follows what is in force, not what was tried."""
    agent = reading_file(world)
    world.write(VIRTUAL_IPS="10.0.0.300")
    agent.reload()
    assert "refused" == agent.wait_for_reloads(1)["verdict"]
    world.write(VIRTUAL_IPS="10.0.0.101-105")
    assert 0 == world.command("plan").returncode
    assert 0o600 == (world.run_directory / "active.json").stat().st_mode & 0o777


def test_a_full_list_fits_a_terminal(world: World) -> None:
    """239 addresses are ranges, and no line but the one to be copied is wider than 80."""
    reading_file(world, VIRTUAL_IPS="10.0.0.5-243")
    world.write(VIRTUAL_IPS="10.0.0.5-100,10.0.0.102-243")
    done = world.command("plan")
    lines = [each for each in done.stdout.splitlines() if not each.startswith(PIN)]
    assert 80 >= max(map(len, lines))
    assert 30 > len(lines)
    assert "new id   142  10.0.0.102 to 10.0.0.243" in done.stdout
