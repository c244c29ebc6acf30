"""Directories of runs that were killed: all that can be left of a lab."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.lab.kit import processes

_PREFIX = "ipfailover-lab"


def make_run_directory() -> Path:
    """Return a new temporary directory that bears this process in its name; sweep dead ones."""
    sweep()
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{_here()}-{os.getpid()}-"))


def sweep() -> None:
    """Delete directories of processes that are gone."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}-{_here()}-*"):
        owner = path.name.split("-")[3]
        if owner.isdecimal() and processes.process(int(owner)) is None:
            shutil.rmtree(path, ignore_errors=True)  # another user's stays


def leftovers_of(pid: int) -> list[Path]:
    """Return the directories that a process of this PID namespace has made."""
    return list(Path(tempfile.gettempdir()).glob(f"{_PREFIX}-{_here()}-{pid}-*"))


def _here() -> str:
    """Return the number of this PID namespace: in another one the same pid is another process."""
    return str(Path("/proc/self/ns/pid").stat().st_ino)
