"""Let keepalived start scripts although the container lacks the capability SETGID.

keepalived 2.2.7 calls setgroups(2) before every script, even to stay what it is. Where that is
refused the script does not run, and *counts as succeeded*: a check that can never fail. A seccomp
filter answers "done" instead, for the agent and everything it starts; the groups stay as they are.
"""

from __future__ import annotations

import os
from typing import Final

from ipfailover_agent.linux.process import prctl
from ipfailover_agent.linux.sockets import pack_filter

_PR_SET_SECCOMP: Final = 22  # prctl(2)
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000  # linux/seccomp.h
_ANSWER_ZERO: Final = 0x00050000  # SECCOMP_RET_ERRNO with errno 0
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_OFFSET_OF_NUMBER, _OFFSET_OF_ARCHITECTURE = 0, 4  # struct seccomp_data

#: machine: AUDIT_ARCH_* of linux/audit.h, number of setgroups
_CALLS: Final = {
    "x86_64": (0xC000003E, 116),
    "aarch64": (0xC00000B7, 159),
    "ppc64le": (0xC0000015, 81),
    "s390x": (0x80000016, 206),
}


def make_setgroups_succeed() -> str:
    """Install the filter where setgroups is refused; return why that cannot be done, or nothing.

    It implies no_new_privs: set-user-ID programs give nothing to scripts, and without SETGID and
    SETUID they could not anyway.
    """
    try:
        os.setgroups(os.getgroups())
    except PermissionError:
        return _install()
    return ""


def _install() -> str:
    import ctypes  # noqa: PLC0415 - needed without SETGID only

    class Program(ctypes.Structure):
        """``struct sock_fprog`` of linux/filter.h."""

        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    machine = os.uname().machine
    if machine not in _CALLS:
        return f"setgroups is refused, and its number on {machine} is not known"
    architecture, setgroups = _CALLS[machine]
    steps = (
        (_LOAD, 0, 0, _OFFSET_OF_ARCHITECTURE),
        (_EQUAL, 0, 3, architecture),
        (_LOAD, 0, 0, _OFFSET_OF_NUMBER),
        (_EQUAL, 0, 1, setgroups),
        (_RETURN, 0, 0, _ANSWER_ZERO),
        (_RETURN, 0, 0, _ALLOW),
    )
    program = Program(len(steps), pack_filter(steps))
    reason = prctl(_PR_SET_NO_NEW_PRIVS, 1) or prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program)
    )
    return f"setgroups is refused, and so is a seccomp filter: {reason}" if reason else ""
