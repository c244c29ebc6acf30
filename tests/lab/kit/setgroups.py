"""Let setgroups(2) succeed in a user namespace that forbids it.

The kernel denies it to ordinary users in their namespaces, and keepalived, which calls it before
every script even to stay what it is, then runs none of them. A seccomp filter answers "done"
instead; the one group there is stays.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

from tests.lab.kit.namespaces import LabError

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_ALLOW, _RETURN_ZERO = 0x7FFF0000, 0x00050000  # linux/seccomp.h: RET_ALLOW, RET_ERRNO with 0
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4  # struct seccomp_data

#: machine: (AUDIT_ARCH of linux/audit.h, number of setgroups)
_CALLS = {
    "x86_64": (0xC000003E, 116),
    "aarch64": (0xC00000B7, 159),
    "ppc64le": (0xC0000015, 81),
    "s390x": (0x80000016, 206),
}


class _Program(ctypes.Structure):
    """``struct sock_fprog`` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def make_setgroups_succeed() -> None:
    """Install the filter where it is needed: for the calling thread and all its children.

    LabError where it is needed and cannot be installed.
    """
    file = Path("/proc/self/setgroups")
    if not file.exists() or file.read_text().strip() != "deny":
        return
    machine = platform.machine()
    if machine not in _CALLS:
        raise LabError(f"the lab cannot run keepalived's scripts without root on {machine}")
    architecture, number = _CALLS[machine]
    libc = ctypes.CDLL(None, use_errno=True)
    # Not os.setgroups: libc has every thread call it, and aborts when only some have the filter.
    if libc.syscall(number, 0, None) != 0:
        _install(libc, architecture, number)


def _install(libc: ctypes.CDLL, architecture: int, number: int) -> None:
    steps = (
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_EQUAL, 0, 3, architecture),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_EQUAL, 0, 1, number),
        (_RETURN, 0, 0, _RETURN_ZERO),
        (_RETURN, 0, 0, _ALLOW),
    )
    code = b"".join(struct.pack("=HBBI", *each) for each in steps)
    program = _Program(len(steps), code)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise LabError(f"cannot install a seccomp filter: {os.strerror(ctypes.get_errno())}")
