"""The demo: three nodes, real keepalived, a client, and what it notices when things die.

``python -m tests.lab.demo`` ends by itself in under a minute: 0 when everything that it shows
really happened, 1 when something did not, 77 where namespaces are forbidden, 130 after Ctrl-C.
``--live`` stays until Ctrl-C and lets the user break things.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the demo and return its exit code; an early Ctrl-C is as quiet as a late one."""
    try:
        from tests.lab.demo.story import run  # noqa: PLC0415 - Ctrl-C may come while it loads

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        print("\nInterrupted; everything was cleared away.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
