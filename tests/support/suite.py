"""Run all tests but those of the image, each once: ``python -m tests.support.suite``.

Tests that run agents and nodes wait for seven eighths of their time: many at a time. Tests with
bounds below a second come after them, alone. Tests that compute run behind both, with what those
leave of the cores: a process of the kernel's idle class gives its core away the moment another
one wants it.

Before all, the tests' byte code is made once. Where Python writes none, each worker of each stage
would rewrite every assertion of every file anew, which costs as much as two hundred starts of an
agent.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

#: They run programs that have limits of time of their own.
_OTHERS_PROGRAMS = (
    "tests/unit/test_check_script.py",
    "tests/unit/test_examples.py",
    "tests/unit/test_monitoring.py",
)
#: Tests in network namespaces are among them: in the idle class they would keep locks of the
#: kernel's that every other namespace waits for.
WAITING = ("tests/process", "tests/lab", "tests/golden", *_OTHERS_PROGRAMS)
COMPUTING = (*("tests/unit", "tests/property"), *(f"--ignore={each}" for each in _OTHERS_PROGRAMS))
_PATIENTLY = ("--timeout", "1800")  # behind others, a test of thousands of examples takes its time
_WAITING_PER_CORE = 4
_MOST_WAITING = 16  # a container may be shown more cores than it is given
_NO_TESTS = 5  # pytest's exit code when a selection has none


def main(arguments: list[str]) -> int:
    """Run everything; ``arguments`` go to each pytest. Return 0 when all tests passed."""
    cores = len(os.sched_getaffinity(0))
    began = time.monotonic()
    _make_byte_code()
    with tempfile.TemporaryDirectory() as directory:
        shown_later = Path(directory, "computing")
        with shown_later.open("wb") as output:
            computing = subprocess.Popen(
                _pytest("-n", str(cores), *_PATIENTLY, *COMPUTING, *arguments),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
        try:
            _schedule(computing.pid, os.SCHED_IDLE)
            _say(began, "tests that run agents and nodes; tests that compute run behind them")
            count = min(cores * _WAITING_PER_CORE, _MOST_WAITING)
            workers = ("-n", str(count), "--dist", "worksteal")
            codes = [_run("-m", "not timing", *workers, *WAITING, *arguments)]
            _say(began, "tests with bounds below a second, alone but for those that compute")
            codes.append(_run("-m", "timing", *WAITING, *arguments))
            _say(began, "what is left of the tests that compute")
            _schedule(computing.pid, os.SCHED_OTHER)
            codes.append(computing.wait())
        finally:
            computing.terminate()  # does nothing to what has ended
            computing.wait()
        sys.stdout.write(shown_later.read_text(errors="replace"))
    _say(began, "done")
    return max(code for code in codes if code != _NO_TESTS)


def _make_byte_code() -> None:
    """Import every test; what is wrong with one is said by the stage that runs it."""
    importing = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "--collect-only", "-qq", *each],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        for each in (COMPUTING, WAITING)
    ]
    for each in importing:
        each.wait()


def _schedule(pid: int, policy: int) -> None:
    """Put a process and its children into a class, where this user may: later ones inherit it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for each in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.sched_setscheduler(each.pid, policy, os.sched_param(0))


def _pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "coverage", "run", "-m", "pytest", *arguments]


def _run(*arguments: str) -> int:
    sys.stdout.flush()
    return subprocess.run(_pytest(*arguments), check=False, env=_environment()).returncode


def _environment() -> dict[str, str]:
    """Return the environment of a stage, in which Python writes byte code."""
    return {name: each for name, each in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _say(began: float, what: str) -> None:
    print(f"after {time.monotonic() - began:.0f} s: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
