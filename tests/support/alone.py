"""Run tests, and those few that fail beside others once more, alone.

``python -m tests.support.alone PYTEST-ARGUMENT...``: pytest's exit code. The lab measures bounds
of tenths of a second while its neighbours use the same cores. A test that fails because of them
passes alone; one that fails because of us fails twice, or is one of many. What failed beside
others stays in the output and is named at the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_MOST = 4  # more than that is no accident
_LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
_TESTS_FAILED = 1  # pytest's exit code; others mean that it could not run them


def main(arguments: list[str]) -> int:
    """Run pytest with these arguments, and again where that may say more; return its code."""
    pytest = [sys.executable, "-m", "coverage", "run", "-m", "pytest"]
    code = subprocess.run([*pytest, "--cache-clear", *arguments], check=False).returncode
    if code != _TESTS_FAILED:
        return code
    failed = sorted(json.loads(_LAST_FAILED.read_text())) if _LAST_FAILED.exists() else []
    if not failed or len(failed) > _MOST:
        return code
    again = f"\n{len(failed)} failed beside others, and are run once more, alone:"
    print(again, *failed, sep="\n  ")
    sys.stdout.flush()
    return subprocess.run([*pytest, *failed], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
