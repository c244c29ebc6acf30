"""Signals at the worst moment: before the agent can answer, and after it has ended its work."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.agent_process import AgentProcess, World
from tests.support.apart import run_code

pytestmark = pytest.mark.netns
_CHECKOUT = Path(__file__).parents[2]
_TERM_IS_BLOCKED = 1 << (signal.SIGTERM - 1)


def program(pid: int) -> bytes:
    """Return the name that a process was started by, empty while it cannot be read."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
    return b""


def has_term_blocked(pid: int) -> bool:
    """Return whether SIGTERM waits for this process."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("SigBlk:"):
                return bool(int(line.split()[1], 16) & _TERM_IS_BLOCKED)
    return False


def is_blocked(pid: int) -> bool:
    """Return whether an agent has SIGTERM blocked; unshare does for a moment before it is one."""
    return program(pid) == sys.executable.encode() and has_term_blocked(pid)


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06, 0.1, 0.15])
def test_a_term_before_the_agent_can_answer_is_not_lost(world: World, delay: float) -> None:
    """As PID 1 the kernel would throw it away; here it waits until the agent answers."""
    agent = world.start(as_pid_1=True)
    agent.wait_for(lambda: is_blocked(agent.pid))
    time.sleep(delay)  # the moment is what is tested
    agent.signal(signal.SIGTERM)
    assert 0 == agent.ends()


def entry_points() -> dict[str, list[str]]:
    """Return the commands that a container of the image begins with, by where they are written."""
    text = (_CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    [words] = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    return {
        "Dockerfile": json.loads(words),
        "monitor.sh": [str(_CHECKOUT / "image" / "monitor.sh")],
    }


def began(parent: int) -> int:
    """Return the pid of unshare's child right after the container's first program has ended.

    That is env, which blocks the signals. How long the kernel takes to load it is not the agent's.
    """
    children = Path(f"/proc/{parent}/task/{parent}/children")
    while not (found := children.read_text(encoding="ascii").split()):
        pass  # the first moment counts
    pid = int(found[0])
    while not (name := program(pid)) or name.endswith((b"unshare", b"ip", b"env")):
        pass
    return pid


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 5, 10, 20, 50, 100])
@pytest.mark.parametrize("name", ["Dockerfile", "monitor.sh"])
def test_a_stop_right_after_the_start_of_a_container_is_not_lost(
    world: World, name: str, milliseconds: int
) -> None:
    """A pod is deleted while it is created: it ends at once, and in order."""
    programs = f"{Path(sys.executable).parent}:{world.environment['PATH']}"
    agent = AgentProcess(
        world,
        entry_points()[name],
        environment={"PATH": programs},
        as_pid_1=True,
        stdout=None,
        stderr=None,
    )
    world.agents.append(agent)
    pid = began(agent.popen.pid)
    assert has_term_blocked(pid)
    at = time.monotonic() + milliseconds / 1000
    while time.monotonic() < at:
        pass
    os.kill(pid, signal.SIGTERM)
    assert 0 == agent.ends(), agent.describe()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_right_after_the_pid_file_is_answered(
    world: World, number: signal.Signals
) -> None:
    """``reload`` and ``drain`` find the agent by that file; they must not end it."""
    for _ in range(3):
        agent = world.start()
        pid_file = world.run_directory / "agent.pid"
        while not pid_file.exists() and agent.popen.poll() is None:
            pass  # the first moment counts
        agent.signal(number)
        agent.wait_for_phase("running")
        assert 0 == agent.stop()


def test_a_storm_of_signals_at_the_end_leaves_the_exit_code_alone(world: World) -> None:
    """TERM again and again, HUP among them: what came late changes nothing."""
    agent = world.running()
    agent.signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    while agent.popen.poll() is None and time.monotonic() < deadline:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with contextlib.suppress(ProcessLookupError):
                os.kill(agent.pid, number)
    assert 0 == agent.ends()


def test_only_the_agent_blocks_signals() -> None:
    """A command that hangs can be interrupted as ever."""
    program = (
        "import signal; from ipfailover_agent import entry;"
        "from ipfailover_agent.cli import main as cli;"
        "cli.main = lambda: print(signal.pthread_sigmask(signal.SIG_BLOCK, [])) or 0;"
        "entry.main()"
    )
    for words, blocked in ((("status",), False), (("run",), True)):
        assert blocked is ("SIGTERM" in run_code(program, *words))
