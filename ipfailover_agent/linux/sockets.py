"""Sockets to the kernel, their filters, and the raw ones of this namespace that get VRRP.

/proc/net shows those of every container that shares the network, whatever /proc/PID shows.
"""

# pathlib costs time, and these are read again and again.
# ruff: noqa: PTH123, PTH208, PTH115

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

from ipfailover_agent.errors import NotPermittedError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ATTACH_FILTER: Final = 26  # asm/socket.h
_FILTER: Final = struct.Struct("@HP")  # struct sock_fprog of linux/filter.h
_INSTRUCTION: Final = struct.Struct("=HBBI")  # struct sock_filter
_TABLES: Final = ("/proc/net/raw", "/proc/net/raw6")
_VRRP: Final = ":0070"  # protocol 112 stands where others have a port
_LOCAL, _INODE = 1, 9  # fields of a line
_PREFIX: Final = "socket:["


class KernelSocket:
    """A socket that stays open; a context manager."""

    _socket: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor, which becomes readable when something has come in."""
        return self._socket.fileno()


def pack_filter(program: Sequence[tuple[int, int, int, int]]) -> bytes:
    """Return a classic BPF program as the kernel takes it: code, both jumps and k of each step."""
    return b"".join(_INSTRUCTION.pack(*each) for each in program)


def attach_filter(listening: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    """Have the kernel refuse what a classic BPF program does, from now on.

    Raises:
        OSError: it does not take the program.
    """
    buffer = array.array("B", pack_filter(program))  # has an address; the kernel copies it
    option = _FILTER.pack(len(program), buffer.buffer_info()[0])
    listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, option)


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
        import psutil  # noqa: PLC0415 - the agent has loaded it, other commands need not

        with contextlib.suppress(psutil.NoSuchProcess):
            return [each.pid for each in psutil.Process(pid).children()]
        return []


def _sockets(pid: int) -> set[int]:
    directory = f"/proc/{pid}/fd"
    found: set[int] = set()
    for each in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            target = os.readlink(f"{directory}/{each}")
            if target.startswith(_PREFIX):
                found.add(int(target[len(_PREFIX) : -1]))
    return found
