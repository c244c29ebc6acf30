"""Track files: one byte each, by which keepalived puts an instance into FAULT, or does not.

keepalived reads a file when inotify reports a change (35 to 40 ms until a peer takes over). The
byte is overwritten in place: that needs no room on a full disk.
"""

from __future__ import annotations

import os

from ipfailover_agent.errors import SystemRefusedError


def write(path: str, *, is_set: bool) -> None:
    """Set or clear a track file; make it if need be.

    Raises:
        SystemRefusedError: it cannot be written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.pwrite(fd, b"1\n" if is_set else b"0\n", 0)
        finally:
            os.close(fd)
    except OSError as error:
        raise SystemRefusedError(f"cannot write {path}: {error.strerror}") from error
