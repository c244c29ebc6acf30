"""``run`` with delays of the test's choice: ``python agent_runner.py POLICY_JSON [OPTIONS]``."""

from __future__ import annotations

import json
import sys

from ipfailover_agent.commands.run import run
from ipfailover_agent.core.supervision import Policy
from ipfailover_agent.prepare import Options


def main() -> int:
    """Run the agent; ``options`` and ``policy`` come as one JSON object."""
    given = json.loads(sys.argv[1])
    return run(
        Options(**given["options"]),
        given.get("log_format", "text"),
        given.get("log_level", "debug"),
        policy=Policy(**given.get("policy", {})),
    )


if __name__ == "__main__":
    sys.exit(main())
