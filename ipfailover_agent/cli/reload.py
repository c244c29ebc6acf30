"""``reload``: have the running agent read its variables again, and wait for its verdict."""

from __future__ import annotations

import signal
import time
from datetime import datetime
from typing import Any

from ipfailover_agent import terminal
from ipfailover_agent.errors import ExitCode, TemporaryError
from ipfailover_agent.status.running import find_agent, read_status, unseen

_LOOK_INTERVAL = 0.02
_UNSEEN = -1
_RESOLUTION = 0.001  # seconds, of times in the status


def reload(run_directory: str, timeout: float) -> int:
    """Send SIGHUP, wait at most ``timeout`` seconds, print the verdict; return 0, 78 or 75.

    The agent counts reloads that it starts and ends, and reports a start before it reads anything:
    a reload that ends with a higher number than had started before the signal has read what was
    there when this command was called.
    """
    pid = find_agent(run_directory)
    seen = read_status(run_directory)
    before = int(seen["reload"]["started"]) if seen else _UNSEEN
    asked_at = time.time()
    from ipfailover_agent.linux import process  # noqa: PLC0415 - a missing agent needs none

    if not process.signal_process(pid, signal.SIGHUP):
        raise TemporaryError(f"the agent, pid {pid}, ended meanwhile")
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        data = read_status(run_directory)
        if data is not None and _is_answer(data["reload"], before, asked_at):
            return _print(data["reload"])
        if find_agent(run_directory, must_run=False) != pid:
            raise TemporaryError(f"the agent, pid {pid}, ended during the reload")
        time.sleep(_LOOK_INTERVAL)
    data = read_status(run_directory)
    known = f"the agent is {data['phase']}" if data else unseen(run_directory, pid)
    raise TemporaryError(f"no verdict within {timeout:g} s; {known}")


def _is_answer(verdict: dict[str, Any], before: int, asked_at: float) -> bool:
    """Return whether a verdict is on a reload that began after ``before`` had begun.

    Where that was not to be seen, one that was given after ``asked_at``, in UTC seconds.
    """
    if before != _UNSEEN:
        return bool(verdict["ended"] > before)
    at = verdict["at"] and datetime.fromisoformat(verdict["at"]).timestamp()
    return bool(at and at >= asked_at - _RESOLUTION)


def _print(verdict: dict[str, Any]) -> int:
    lines = (f"reload {verdict['verdict']}", *(f"  {line}" for line in verdict["lines"]))
    terminal.say("\n".join(lines))
    codes = {"refused": ExitCode.CONFIG, "unconfirmed": ExitCode.TEMPORARY}
    return int(codes.get(verdict["verdict"], ExitCode.OK))
