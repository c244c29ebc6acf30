"""What a test does apart from its own process and its own file system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support import missing

_CHECKOUT = Path(__file__).parents[2]


def run_code(code: str, *words: str, **environment: str) -> str:
    """Run Python code in a process of its own, which has to succeed; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=_CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def mounted(path: Path, options: str) -> Iterator[None]:
    """Mount a tmpfs, or skip; REQUIRE_NETNS=1 in the environment turns the skip into a failure."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        missing.skip(f"no tmpfs can be mounted here: {done.stderr}", "REQUIRE_NETNS")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)
