"""Runs nft, beside the loop or at once, and asks the kernel what nft need not be run for.

Beside the loop nft is a child whose output goes to memory files: nothing has to be read while it
runs, and it cannot be blocked. The ruleset's generation, one cheap question to the kernel, shows
whether looking again is worth a process at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from ipfailover_agent.errors import AgentError
from ipfailover_agent.firewall.nft_commands import Output
from ipfailover_agent.firewall.ruleset import Table
from ipfailover_agent.linux import process
from ipfailover_agent.linux.process import CapturedRun
from ipfailover_agent.linux.rtnetlink import MalformedMessageError, parse_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

_NFT: Final = "nft"
_WAIT_LIMIT: Final = 3.0  # seconds that it gets while nothing else is done: a stop has to end
_OUTPUT_LIMIT: Final = 1 << 26  # bytes of it that are read
_LEGACY_TABLES: Final = ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names")
# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
_NETLINK_NETFILTER: Final = 12
_GET_GENERATION: Final = 10 << 8 | 16
_NEW_GENERATION: Final = 10 << 8 | 15
_GET_TABLE: Final = 10 << 8 | 1
_NEW_TABLE: Final = 10 << 8 | 0
_REQUEST_DUMP: Final = 0x301  # NLM_F_REQUEST and NLM_F_DUMP
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME
_TABLE_FLAGS: Final = 2  # NFTA_TABLE_FLAGS, big endian
_OWNED: Final = 2  # NFT_TABLE_F_OWNER
_FAMILIES: Final = {1: "inet", 2: "ip", 10: "ip6"}  # NFPROTO_*, linux/netfilter.h
_DUMP_LIMIT: Final = 64  # datagrams of 32 KiB, of some hundred tables each
_INET: Final = 1  # NFPROTO_INET
_HEADER: Final = struct.Struct("=IHHIIBBH")  # nlmsghdr and nfgenmsg
_NLMSG_HEADER: Final = 16
_ERROR: Final = struct.Struct("=i")
_ATTRIBUTE: Final = struct.Struct("=HH")
_GENERATION_ID: Final = struct.Struct("=HH4s")  # the first attribute, NFTA_GEN_ID, big endian


class NftRun(CapturedRun):
    """One run of nft."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        super().__init__([_NFT, *arguments], environment, limit=_OUTPUT_LIMIT, is_split=True)

    def kill_and_wait(self) -> None:
        """End it, and wait until it has; the agent is the only reaper."""
        self.abandon()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def take(self, exit_code: int | None) -> Output:
        """Return its output; the run is over."""
        text, errors = self.end()
        if exit_code is None and not errors:
            errors = "nft was killed"
        return Output(exit_code=exit_code, text=text, errors=errors)


def run_and_wait(arguments: tuple[str, ...], environment: Mapping[str, str]) -> Output:
    """Run nft and wait for it, for 3 seconds at most."""
    import subprocess  # noqa: PLC0415 - seldom needed

    try:
        program = process.find_program(_NFT, environment.get("PATH"))
        done = subprocess.run(
            [program, *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=_WAIT_LIMIT,
            check=False,
        )
    except (AgentError, OSError, subprocess.TimeoutExpired) as error:
        return Output(exit_code=None, errors=str(error))
    return Output(exit_code=done.returncode, text=done.stdout, errors=done.stderr)


def legacy_tables() -> tuple[str, ...]:
    """Return the tables of iptables-legacy in which VRRP can be dropped: nft shows none of them.

    A table exists from the first look at it on, also without a rule.
    """
    found: dict[str, None] = {}
    for path in _LEGACY_TABLES:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as names:  # noqa: PTH123
            found |= dict.fromkeys(names.read().split())
    return tuple(each for each in found if each != "nat")


# --- questions to the kernel ---------------------------------------------------------------------


def read_generation() -> int | None:
    """Return the number that every change of the ruleset raises; None where it may not be read."""
    reply = _ask(_HEADER.pack(_HEADER.size, _GET_GENERATION, 1, 1, 0, 0, 0, 0))
    if reply is None or len(reply) < _HEADER.size + _GENERATION_ID.size:
        return None
    if _HEADER.unpack_from(reply)[1] != _NEW_GENERATION:
        return None
    return int.from_bytes(_GENERATION_ID.unpack_from(reply, _HEADER.size)[2], "big")


def has_table(name: str) -> bool | None:
    """Return whether a table of the family ``inet`` is there; None where that may not be read."""
    packed = name.encode() + b"\0"
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _TABLE_NAME) + packed
    attribute += bytes(-len(attribute) % 4)
    length = _HEADER.size + len(attribute)
    reply = _ask(_HEADER.pack(length, _GET_TABLE, 1, 1, 0, _INET, 0, 0) + attribute)
    if reply is None or len(reply) < _HEADER.size:
        return None
    if _HEADER.unpack_from(reply)[1] == _NEW_TABLE:
        return True
    number = -_ERROR.unpack_from(reply, _NLMSG_HEADER)[0]
    return False if number == errno.ENOENT else None


def owned_tables() -> frozenset[Table]:
    """Return the tables that only the process that made them can change (``flags owner``).

    Asked of the kernel, since nft 1.0.6 lacks this flag and prints what lies in memory. Nothing
    where the question is not permitted.
    """
    request = _HEADER.pack(_HEADER.size, _GET_TABLE, _REQUEST_DUMP, 1, 0, 0, 0, 0)
    found: set[Table] = set()
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as asking:
            asking.setblocking(False)  # noqa: FBT003 - each part is there when asked for
            asking.sendto(request, (0, 0))
            for _ in range(_DUMP_LIMIT):
                if not _read_tables(asking.recv(1 << 16), found):
                    break
    except (OSError, struct.error, MalformedMessageError):
        return frozenset()
    return frozenset(found)


def _read_tables(datagram: bytes, found: set[Table]) -> bool:
    """Add the owned tables of one part of a dump; return whether more parts follow."""
    position = 0
    while position + _HEADER.size <= len(datagram):
        length, kind, _, _, _, family, _, _ = _HEADER.unpack_from(datagram, position)
        if kind != _NEW_TABLE or length < _HEADER.size:
            return False
        attributes = parse_attributes(datagram[position + _HEADER.size : position + length])
        flags = int.from_bytes(attributes.get(_TABLE_FLAGS, b""), "big")
        if flags & _OWNED and family in _FAMILIES:
            name = attributes.get(_TABLE_NAME, b"").rstrip(b"\0")
            found.add(Table(family=_FAMILIES[family], name=name.decode("utf-8", "replace")))
        position += length + -length % 4
    return True


def _ask(request: bytes) -> bytes | None:
    """Return the kernel's answer to a question about its rules, None where it gives none."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as asking:
            asking.setblocking(False)  # noqa: FBT003 - the kernel answers before send returns
            asking.sendto(request, (0, 0))
            return asking.recv(4096)
    except OSError:
        return None
