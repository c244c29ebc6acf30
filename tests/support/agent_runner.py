"""``run`` with delays of the test's choice: ``python agent_runner.py JSON``."""

from __future__ import annotations

import json
import sys
import time

from ipfailover_agent import entry
from ipfailover_agent.cli.run import run
from ipfailover_agent.config.prepare import Options
from ipfailover_agent.keepalived.lifecycle import SupervisionPolicy
from ipfailover_agent.linux.files import TERMINATION_LOG
from ipfailover_agent.status.reporter import Reporter


def main() -> int:
    """Run the agent; ``options`` and ``policy`` come as one JSON object.

    ``has_bug``: a reload raises an unexpected error. ``hangs_on_reload``: the loop stands still.
    """
    entry.hold_signals()
    given = json.loads(sys.argv[1])
    if given["has_bug"]:
        setattr(Reporter, "reload_began", _fail)  # noqa: B010 - a fault that cannot be produced
    if given["hangs_on_reload"]:
        setattr(Reporter, "reload_began", _hang)  # noqa: B010 - likewise
    return run(
        Options(**given["options"]),
        given.get("log_format", "text"),
        given.get("log_level", "debug"),
        policy=SupervisionPolicy(**given.get("policy", {})),
        termination_log=given.get("termination_log", TERMINATION_LOG),
    )


def _fail(_: Reporter) -> None:
    raise RuntimeError("this is a bug")


def _hang(_: Reporter) -> None:
    time.sleep(600)


if __name__ == "__main__":
    sys.exit(main())
