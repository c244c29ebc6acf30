"""Run all tests but those of the image, each once: ``python -m tests.support.suite``.

Tests that run agents and nodes wait more than they compute: many at a time. Tests that compute
fill what those leave of the cores, at a lower priority, so that they seldom delay them. Tests
with bounds below a second come last, alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_IN_KEEPALIVED = "tests/golden/test_scripts_in_keepalived.py"
_COMPUTING = ("tests/unit", "tests/property", "tests/golden", f"--ignore={_IN_KEEPALIVED}")
_WAITING = ("tests/process", "tests/lab", _IN_KEEPALIVED)
_LOWER_PRIORITY = 10  # not lower: beside other programs they would never end
_PATIENTLY = ("--timeout", "900")  # behind others, a test of thousands of examples takes its time
_WAITING_PER_CORE = 2
_NO_TESTS = 5  # pytest's exit code when a selection has none


def main(arguments: list[str]) -> int:
    """Run everything; ``arguments`` go to each pytest. Return 0 when all tests passed."""
    cores = len(os.sched_getaffinity(0))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        shown_later = Path(directory, "computing")
        with shown_later.open("wb") as output:
            computing = subprocess.Popen(
                _pytest(
                    "-n", str(cores), *_PATIENTLY, *_COMPUTING, *arguments, nice=_LOWER_PRIORITY
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            print("tests that run agents and nodes; tests that compute run behind them")
            workers = ("-n", str(cores * _WAITING_PER_CORE), "--dist", "worksteal")
            codes = [_run("-m", "not timing", *workers, *_WAITING, *arguments)]
            _say(began, "tests that compute")
            codes.append(computing.wait())
        finally:
            computing.terminate()  # does nothing to what has ended
            computing.wait()
        sys.stdout.write(shown_later.read_text(errors="replace"))
    _say(began, "tests with bounds below a second, alone")
    codes.append(_run("-m", "timing", *_WAITING, *arguments))
    _say(began, "done")
    return max(code for code in codes if code != _NO_TESTS)


def _pytest(*arguments: str, nice: int = 0) -> list[str]:
    slower = ["nice", "-n", str(nice)] if nice else []
    return [*slower, sys.executable, "-m", "coverage", "run", "-m", "pytest", *arguments]


def _run(*arguments: str) -> int:
    sys.stdout.flush()
    return subprocess.run(_pytest(*arguments), check=False).returncode


def _say(began: float, what: str) -> None:
    print(f"after {time.monotonic() - began:.0f} s: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
