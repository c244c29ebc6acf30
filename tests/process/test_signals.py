"""Signals at the worst moment: before the agent can answer, and after it has ended its work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.agent_process import World

pytestmark = pytest.mark.netns
_CHECKOUT = Path(__file__).parents[2]
_TERM_IS_BLOCKED = 1 << (signal.SIGTERM - 1)


def is_blocked(pid: int) -> bool:
    """Return whether an agent has SIGTERM blocked; unshare does for a moment before it is one."""
    with contextlib.suppress(OSError):
        if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(sys.executable.encode()):
            return False
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("SigBlk:"):
                return bool(int(line.split()[1], 16) & _TERM_IS_BLOCKED)
    return False


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06, 0.1, 0.15])
def test_a_term_before_the_agent_can_answer_is_not_lost(world: World, delay: float) -> None:
    """As PID 1 the kernel would throw it away; here it waits until somebody answers."""
    agent = world.start(as_pid_1=True)
    agent.wait_for(lambda: is_blocked(agent.pid))
    time.sleep(delay)  # the moment is what is tested
    agent.signal(signal.SIGTERM)
    assert 0 == agent.ends()


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
        "import signal, sys; from ipfailover_agent import entry, cli;"
        "cli.main = lambda: print(signal.pthread_sigmask(signal.SIG_BLOCK, []));"
        "entry.main()"
    )
    for words, blocked in ((("status",), False), (("run",), True)):
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=_CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert blocked is ("SIGTERM" in done.stdout)
