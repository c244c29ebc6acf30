"""What other commands read of a running agent: its pid file and its status file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ipfailover_agent.errors import AgentError, ExitCode
from ipfailover_agent.paths import RunPaths

if TYPE_CHECKING:
    from ipfailover_agent.config.memory import ActiveRecord

_LONGEST = 1 << 24  # bytes; 254 instances take about one MB


class NotRunningError(AgentError):
    """No agent runs with that run directory."""

    exit_code = ExitCode.UNAVAILABLE


def find_agent(run_directory: str, *, must_run: bool = True) -> int:
    """Return the pid of the agent that runs with ``run_directory``, or 0 if none has to.

    Raises:
        NotRunningError: none runs.
    """
    from ipfailover_agent.linux import files  # noqa: PLC0415 - start-up time of --help

    path = RunPaths(directory=run_directory, config="").agent_pid
    pid = files.read_running_agent(path)
    if pid is None and must_run:
        raise NotRunningError(
            f"no agent runs with the run directory {run_directory}; "
            "call this where it runs (in its container), or name its --run-dir"
        )
    return pid or 0


def wrote(record: ActiveRecord, pid: int) -> bool:
    """Return whether a record is of the agent that runs with that pid; pids are used again."""
    from ipfailover_agent.linux import host  # noqa: PLC0415 - start-up time of --help

    started_at = host.process_started_at(pid) if pid else None
    return (record.pid, record.agent_started_at) == (pid, started_at)


def unseen(run_directory: str, pid: int) -> str:
    """Return what is known of an agent that runs and whose status cannot be read, as text."""
    path = RunPaths(directory=run_directory, config="").status
    if os.path.exists(path):  # noqa: PTH110 - start-up time
        return f"the agent, pid {pid}, runs, and this version cannot read its {path}"
    return (
        f"the agent, pid {pid}, runs, and there is no {path}: it has just started, or cannot "
        f"write it; its log has status.unwritten, `df {run_directory}` shows whether room is left"
    )


def read_status(run_directory: str) -> dict[str, Any] | None:
    """Return the agent's newest snapshot as plain data, None if there is none (yet)."""
    from ipfailover_agent.linux import files  # noqa: PLC0415 - likewise
    from ipfailover_agent.status import status_model  # noqa: PLC0415 - start-up time of render

    path = RunPaths(directory=run_directory, config="").status
    try:
        return status_model.from_json(files.read_text(path, _LONGEST))
    except (OSError, ValueError):
        return None
