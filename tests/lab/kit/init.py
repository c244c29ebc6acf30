"""PID 1 of a container whose agent is not: starts the agent, adopts and reaps, never ends.

``python -I -S init.py DIRECTORY COMMAND...`` writes the agent's pid (inside the container) to
``DIRECTORY/agent.pid`` and its exit code (negative: the signal) to ``DIRECTORY/agent.exit``.
"""

from __future__ import annotations

import os
import signal
import sys


def main(arguments: list[str]) -> None:
    """Run until killed."""
    directory, *command = arguments
    agent = os.posix_spawnp(command[0], command, os.environ)
    _write(f"{directory}/agent.pid", agent)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            signal.pause()  # no child left: a new one can only come by adoption, with SIGCHLD
            continue
        if pid == agent:
            _write(f"{directory}/agent.exit", os.waitstatus_to_exitcode(status))


def _write(path: str, number: int) -> None:
    with open(f"{path}.new", "w", encoding="ascii") as file:  # noqa: PTH123 - starts faster
        file.write(f"{number}\n")
    os.replace(f"{path}.new", path)  # noqa: PTH105 - likewise


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, lambda *_: None)
    main(sys.argv[1:])
