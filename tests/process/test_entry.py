"""How a process of the agent ends: at once, with its output and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import atexit, os, sys
from ipfailover_agent import entry
from ipfailover_agent.cli import main as cli
atexit.register(lambda: os.write(2, b"Python takes leave"))
def command():
    for stream, text in ((sys.stdout, "output"), (sys.stderr, "warning")):
        if stream:
            stream.write(text)
    return 75
cli.main = command
entry.main()
"""


def ended(redirection: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, its standard output and its standard error."""
    done = subprocess.run(
        ["sh", "-c", f'"$0" "$@" {redirection}', sys.executable, "-c", _PROGRAM],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONUNBUFFERED": ""},  # what is written waits to be sent off
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_command_ends_without_the_leave_of_python() -> None:
    """What it has written arrives, also the part that no line end has sent off."""
    assert (75, "output", "warning") == ended("")


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_stream_that_was_closed_before_is_no_obstacle(descriptor: int) -> None:
    """The exit code stays the command's own."""
    expected = {1: (75, "", "warning"), 2: (75, "output", "")}
    assert expected[descriptor] == ended(f"{descriptor}>&-")


def test_output_that_cannot_be_written_is_reported_by_python() -> None:
    """Its exit code for that is 120."""
    code, _, errors = ended(">/dev/full")
    assert 120 == code
    assert "No space left on device" in errors
