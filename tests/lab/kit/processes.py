"""What /proc shows about the processes of a container."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as this program's PID namespace sees it; ``state`` is proc(5)'s letter."""

    pid: int
    parent: int
    name: str
    state: str
    arguments: tuple[str, ...]


def process(pid: int) -> Process | None:
    """Return what /proc says of ``pid``, or None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return None
    # The name may hold blanks and parentheses: the last one closes it.
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    state, parent = stat[stat.rindex(")") + 2 :].split()[:2]
    return Process(
        pid=pid, parent=int(parent), name=name, state=state, arguments=tuple(words[:-1])
    )


def pid_namespace(pid: int) -> str | None:
    """Return the identity of the PID namespace ``pid`` runs in, or None when it is gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None


def child_of(pid: int) -> int | None:
    """Return the first child of ``pid``, or None."""
    return next((each.pid for each in _all(above=pid) if each.parent == pid), None) or next(
        (each.pid for each in _all() if each.parent == pid), None
    )


def in_pid_namespace(identity: str) -> tuple[Process, ...]:
    """Return the living processes of a PID namespace, zombies left out."""
    return tuple(
        each for each in _all() if each.state != "Z" and pid_namespace(each.pid) == identity
    )


def inner_pid(pid: int) -> int | None:
    """Return the number ``pid`` has inside its own PID namespace, or None when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return None


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False when the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _all(*, above: int = 0) -> Iterator[Process]:
    for pid in sorted(int(each.name) for each in Path("/proc").glob("[1-9]*")):
        found = process(pid) if pid > above else None
        if found is not None:
            yield found
