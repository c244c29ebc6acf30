"""Only what a command needs is imported: each of these libraries costs tens of milliseconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.agent_process import STANDING_BY, World

pytestmark = pytest.mark.netns

HEAVY = {"asyncio", "jinja2", "prometheus_client", "psutil", "ssl", "structlog"}
PROGRAM = """
import os, runpy, sys
out = open(sys.argv.pop(1), "w")
end = os._exit
def listed_and_ended(code):
    print(*sys.modules, file=out, flush=True)
    end(code)
os._exit = listed_and_ended
runpy.run_module("ipfailover_agent", run_name="__main__", alter_sys=True)
"""


def imported(world: World, command: str) -> tuple[int, set[str]]:
    """Run a command line; return its exit code and the heavy libraries that it loaded."""
    listed = world.directory / "modules"
    done = subprocess.run(
        [*world.enter(), sys.executable, "-c", PROGRAM, str(listed), *command.split()],
        env=world.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    modules = set(listed.read_text(encoding="utf-8").split())
    assert "click" in modules, done.stderr
    return done.returncode, HEAVY & modules


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param("--help", set(), id="--help"),
        pytest.param("run --help", set(), id="run --help"),
        pytest.param("check", {"jinja2", "psutil"}, id="check"),
        pytest.param("render", {"jinja2", "psutil"}, id="render"),
    ],
)
def test_without_an_agent_only_what_is_needed_is_loaded(
    world: World, command: str, expected: set[str]
) -> None:
    """Nothing for a help text, no log for what prints its answer."""
    assert (0, expected) == imported(world, command)


def test_a_running_agent_has_no_coroutines(world: World) -> None:
    """structlog would load asyncio, and that ssl: 25 ms before the first address is served."""
    agent = world.running()
    mapped = Path(f"/proc/{agent.pid}/maps").read_text(encoding="utf-8")
    assert "psutil" in mapped
    assert [] == [each for each in ("_asyncio", "_ssl") if f"/{each}." in mapped]
    assert 0 == agent.stop()


@pytest.mark.parametrize("command", ["status", "status --json", "reload"])
def test_asking_a_running_agent_loads_nothing(world: World, command: str) -> None:
    """These are called by probes and by hand, often."""
    world.fake.plays(STANDING_BY)
    agent = world.running()
    agent.wait_for(lambda: agent.status["ready"] is True)
    assert (0, set()) == imported(world, command)
    assert 0 == agent.stop()
