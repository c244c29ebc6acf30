"""Prometheus' own tool, which checks metrics and rules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def promtool(*words: str, directory: Path | None = None, text: str = "") -> str:
    """Run promtool, or skip where it is not to be had; return what it prints."""
    beside = Path(sys.prefix) / "bin" / "promtool"
    program = str(beside) if beside.exists() else shutil.which("promtool")
    if program is None:
        if os.environ.get("REQUIRE_PROMTOOL") == "1":
            pytest.fail("REQUIRE_PROMTOOL=1, and there is no promtool")
        pytest.skip("no promtool: it is part of Debian's prometheus package")
    done = subprocess.run(
        [program, *words],
        cwd=directory,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
