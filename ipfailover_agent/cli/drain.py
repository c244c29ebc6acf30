"""``drain`` and ``undrain``: ask the running agent, and wait for its verdict."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any

from ipfailover_agent import codec, terminal
from ipfailover_agent.errors import ExitCode, TemporaryError
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status.running import find_agent, read_status, unseen

if TYPE_CHECKING:
    from ipfailover_agent.drain.drain_requests import DrainRequest

_LOOK_INTERVAL = 0.02
_TAKEN_WITHIN = 10.0  # seconds for an agent that is busy, or starved, to take a request
_GRACE = 5.0  # seconds beyond those that the agent needs
_CODES = {
    "drained": ExitCode.OK,
    "undrained": ExitCode.OK,
    "undone": ExitCode.UNAVAILABLE,
    "refused": ExitCode.CONFIG,
}


def run(run_directory: str, request: DrainRequest, wait: float | None = None) -> int:
    """Ask, print the verdict; return 0, 69 where a drain was undone, or 78 where it is refused."""
    answer = ask(run_directory, request, wait)
    lines = (f"  {line}" for line in answer.get("lines", ()))
    terminal.say("\n".join((answer["verdict"], *lines)))
    return int(_CODES.get(answer["verdict"], ExitCode.BUG))


def ask(run_directory: str, request: DrainRequest, wait: float | None = None) -> dict[str, Any]:
    """Ask the running agent; return its answer: ``verdict`` and ``lines`` beside other things.

    Raises:
        AgentError: no agent runs, or it gives no verdict in time.
    """
    pid = find_agent(run_directory)
    from ipfailover_agent.linux import files, process  # noqa: PLC0415 - a missing agent needs none

    request_id = f"{os.getpid()}-{secrets.token_hex(4)}"
    directory = RunPaths(directory=run_directory, config="").drain_requests
    path = f"{directory}/{request_id}.json"
    files.write_atomically(path, codec.encode(request))
    try:
        process.signal_process(pid, signal.SIGUSR1)
        return _verdict(run_directory, pid, request_id, path, wait)
    except BaseException:
        _withdraw(path)  # stopped by hand: the agent shall not do later what no command waits for
        raise


def _verdict(
    run_directory: str, pid: int, request_id: str, path: str, wait: float | None
) -> dict[str, Any]:
    """Wait for the answer to a request; see ``ask``."""
    deadline = time.monotonic() + (_TAKEN_WITHIN if wait is None else wait)
    is_taken = False
    while True:
        now = time.monotonic()
        answer = _answer_to(request_id, run_directory)
        if answer is not None and answer["verdict"] is not None:
            return answer
        if answer is not None and not is_taken:
            is_taken = True
            deadline = now + answer.get("within", 0.0) + _GRACE if wait is None else deadline
        if find_agent(run_directory, must_run=False) != pid:
            raise TemporaryError(
                f"the agent, pid {pid}, ended before it gave a verdict; "
                "if it starts again with the same run directory, status shows what is drained"
            )
        if now >= deadline:
            raise TemporaryError(_describe(path, run_directory, pid, is_taken=is_taken))
        time.sleep(_LOOK_INTERVAL)


def _answer_to(request_id: str, run_directory: str) -> dict[str, Any] | None:
    data = read_status(run_directory)
    answers = data["drain_requests"] if data else []
    return next((each for each in answers if each["id"] == request_id), None)


def _withdraw(path: str) -> bool:
    """Take a request back; return whether the agent had not taken it."""
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - start-up time
        return True
    return False


def _describe(path: str, run_directory: str, pid: int, *, is_taken: bool) -> str:
    """Return what is known when the time is over."""
    if not is_taken and _withdraw(path):
        return "the agent did not take the request in time; it was withdrawn"
    data = read_status(run_directory)
    if data is None:
        return f"no verdict to be seen in time; {unseen(run_directory, pid)}"
    instances = data["instances"]
    drained = [f"{each['name']}: {each['drained']}" for each in instances if each["drained"]]
    known = "\n  ".join(drained or ("nothing is drained",))
    return f"no verdict in time; the agent goes on, and at the moment:\n  {known}"
