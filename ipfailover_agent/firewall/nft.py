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
from ipfailover_agent.firewall.ruleset import SHIELD, Table
from ipfailover_agent.linux import process, rtnetlink
from ipfailover_agent.linux.process import CapturedRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
_REQUEST: Final = 0x1  # NLM_F_REQUEST
_REQUEST_DUMP: Final = 0x301  # NLM_F_DUMP as well
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME
_TABLE_FLAGS: Final = 2  # NFTA_TABLE_FLAGS, big endian
_OWNED: Final = 2  # NFT_TABLE_F_OWNER
_FAMILIES: Final = {1: "inet", 2: "ip", 10: "ip6"}  # NFPROTO_*, linux/netfilter.h
_DUMP_LIMIT: Final = 64  # datagrams of 32 KiB, of some hundred tables each
_INET: Final = 1  # NFPROTO_INET
_NFGENMSG: Final = 4  # bytes: family, version, resource
_ATTRIBUTE: Final = struct.Struct("=HH")
_GENERATION_ID: Final = 1  # NFTA_GEN_ID, big endian


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
    try:
        reply = next(_ask(_GET_GENERATION))
        number = rtnetlink.parse_attributes(reply.payload[_NFGENMSG:]).get(_GENERATION_ID)
    except (OSError, rtnetlink.MalformedMessageError):
        return None
    return int.from_bytes(number, "big") if number and reply.kind == _NEW_GENERATION else None


def has_shield() -> bool | None:
    """Return whether the shield's table is there; None where that may not be read."""
    name = SHIELD.name.encode() + b"\0"
    name = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(name), _TABLE_NAME) + name + bytes(-len(name) % 4)
    try:
        reply = next(_ask(_GET_TABLE, family=_INET, attributes=name))
        is_there = reply.kind == _NEW_TABLE
        code = 0 if is_there else rtnetlink.parse_error_number(reply.payload)
    except (OSError, rtnetlink.MalformedMessageError):
        return None
    return is_there if code in {0, errno.ENOENT} else None


def owned_tables() -> frozenset[Table]:
    """Return the tables that only the process that made them can change (``flags owner``).

    Asked of the kernel, since nft 1.0.6 lacks this flag and prints what lies in memory. Nothing
    where the question is not permitted.
    """
    found: set[Table] = set()
    try:
        for each in _ask(_GET_TABLE, flags=_REQUEST_DUMP):
            if each.kind != _NEW_TABLE:
                break
            attributes = rtnetlink.parse_attributes(each.payload[_NFGENMSG:])
            flags = int.from_bytes(attributes.get(_TABLE_FLAGS, b""), "big")
            if flags & _OWNED and each.payload[0] in _FAMILIES:
                name = attributes.get(_TABLE_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
                found.add(Table(family=_FAMILIES[each.payload[0]], name=name))
    except (OSError, rtnetlink.MalformedMessageError):
        return frozenset()
    return frozenset(found)


def _ask(
    kind: int, *, flags: int = _REQUEST, family: int = 0, attributes: bytes = b""
) -> Iterator[rtnetlink.Message]:
    """Yield the kernel's answers to a question about its rules.

    Raises:
        OSError: there is none; each part of an answer is there when it is asked for.
        MalformedMessageError: what comes cannot be read.
    """
    payload = bytes((family, *bytes(_NFGENMSG - 1))) + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as asking:
        asking.setblocking(False)  # noqa: FBT003 - the kernel answers before send returns
        asking.sendto(rtnetlink.build_message(kind, flags, 1, payload), (0, 0))
        for _ in range(_DUMP_LIMIT):
            yield from rtnetlink.split_messages(asking.recv(1 << 16))
