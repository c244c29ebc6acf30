"""Where every process of the agent begins and ends; imports next to nothing.

A signal that arrives while Python still imports would end the agent, and one to PID 1 is thrown
away by the kernel as long as it has no handler. Blocked signals wait: the agent's loop unblocks
them once it can answer, and blocks them again at its end, where a late one must not change the
exit code.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

_ANSWERED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def main() -> NoReturn:
    """Run the command line."""
    if "run" in sys.argv[1:]:
        hold_signals()
    from ipfailover_agent.linux import garbage  # noqa: PLC0415 - signals come first

    garbage.start_begins()
    from ipfailover_agent.cli.main import main as run  # noqa: PLC0415 - signals come first

    end(run())


def hold_signals() -> None:
    """Have the signals that the agent answers wait until it can."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ANSWERED)


def end(exit_code: int) -> NoReturn:
    """End the process once its output is written; the kernel takes the rest back at once.

    Python would take leave of each module and each object first, which takes as long as a sixth of
    ``render``. No part of the agent waits for that moment: what has to be undone is undone before.
    Output that cannot be written is left to Python, which reports it.
    """
    try:
        for each in (sys.stdout, sys.stderr):
            if each:  # None where it was closed before the start
                each.flush()
    except OSError:
        sys.exit(exit_code)
    os._exit(exit_code)
