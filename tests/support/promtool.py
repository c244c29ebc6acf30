"""Prometheus' own tool, which checks metrics and rules."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import missing


def promtool(*words: str, directory: Path | None = None, text: str = "") -> str:
    """Run promtool, or skip where it is not to be had; return what it prints."""
    beside = Path(sys.prefix) / "bin" / "promtool"
    program = str(beside) if beside.exists() else shutil.which("promtool")
    if program is None:
        reason = "no promtool: it is part of Debian's prometheus package"
        missing.skip(reason, "REQUIRE_PROMTOOL")
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
