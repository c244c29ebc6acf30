"""The raw sockets of this network namespace that get VRRP, and which process has them.

/proc/net shows those of every container that shares the network, whatever /proc/PID shows.
"""

# pathlib costs time, and these are read again and again.
# ruff: noqa: PTH123, PTH208, PTH115

from __future__ import annotations

import contextlib
import os
from typing import Final

from ipfailover_agent.errors import NotPermittedError

_TABLES: Final = ("/proc/net/raw", "/proc/net/raw6")
_VRRP: Final = ":0070"  # protocol 112 stands where others have a port
_LOCAL, _INODE = 1, 9  # fields of a line
_PREFIX: Final = "socket:["


def vrrp_sockets() -> frozenset[int]:
    """Return the inodes of all raw sockets of protocol 112; none where /proc hides them."""
    found: set[int] = set()
    for path in _TABLES:
        with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                fields = line.split()
                if len(fields) > _INODE and fields[_LOCAL].endswith(_VRRP):
                    found.add(int(fields[_INODE]))
    return frozenset(found)


def sockets_of(pid: int) -> frozenset[int] | None:
    """Return the inodes of the sockets of a process and its children; None where it is gone.

    Raises:
        NotPermittedError: the agent may not look.
    """
    try:
        pids = [pid, *_children(pid)]
        return frozenset[int]().union(*(_sockets(each) for each in pids))
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise NotPermittedError(
            f"cannot tell keepalived's sockets from those of others: {error.strerror}"
            f" ({error.filename})"
        ) from error


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(each) for each in file.read().split()]
    except FileNotFoundError:  # without CONFIG_PROC_CHILDREN
        return [
            int(each) for each in os.listdir("/proc") if each.isdigit() and _is_child(each, pid)
        ]


def _is_child(other: str, pid: int) -> bool:
    try:
        with open(f"/proc/{other}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1]) == pid
    except OSError:
        return False


def _sockets(pid: int) -> set[int]:
    directory = f"/proc/{pid}/fd"
    found: set[int] = set()
    for each in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            target = os.readlink(f"{directory}/{each}")
            if target.startswith(_PREFIX):
                found.add(int(target[len(_PREFIX) : -1]))
    return found
