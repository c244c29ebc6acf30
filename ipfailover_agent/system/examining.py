"""Small facts about a node that only a person asks for. Nothing here raises."""

# pathlib costs start-up time and knows no descriptors.
# ruff: noqa: PTH116, PTH120, PTH123

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipfailover_agent.core.model import IPAddress

_SECONDS: Final = 5.0  # for a program or a connection


def output_of(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what a program prints, to either stream; empty where it cannot be run."""
    try:
        done = subprocess.run(
            words,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "backslashreplace")


def read(path: str) -> str | None:
    """Return a small file's text, stripped; None where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536).strip()
    except OSError:
        return None


def operstate(interface: str) -> str | None:
    """Return the kernel's word for the state of a link (RFC 2863), None where it is not told."""
    return read(f"/sys/class/net/{interface}/operstate")


def reverse_path(interface: str) -> int | None:
    """Return rp_filter as it is in force: the larger of ``all`` and the interface."""
    found = [
        int(text)
        for name in ("all", interface)
        if (text := read(f"/proc/sys/net/ipv4/conf/{name}/rp_filter")) and text.isdigit()
    ]
    return max(found, default=None)


def managers(index: int) -> frozenset[str]:
    """Return who says that it manages an interface; a container may not see it."""
    found = set()
    link = read(f"/run/systemd/netif/links/{index}")
    if link is not None and "ADMIN_STATE=unmanaged" not in link:
        found.add("networkd")
    device = read(f"/run/NetworkManager/devices/{index}")
    if device is not None and "managed=false" not in device:
        found.add("NetworkManager")
    return frozenset(found)


def pressure() -> float | None:
    """Return per cent of the last ten seconds in which something waited for a CPU."""
    for word in (read("/proc/pressure/cpu") or "").split():
        name, _, value = word.partition("=")
        if name == "avg10":
            try:
                return float(value)
            except ValueError:
                return None
    return None


def throttled() -> int | None:
    """Return how often our cgroup's (v2) CPU limit has stopped it, None where there is none."""
    limit = read("/sys/fs/cgroup/cpu.max")
    if limit is None or limit.startswith("max"):
        return None
    for line in (read("/sys/fs/cgroup/cpu.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name == "nr_throttled" and value.isdigit():
            return int(value)
    return None


def connect(address: IPAddress, port: int) -> str:
    """Connect and hang up; return what went wrong, or nothing."""
    try:
        with socket.create_connection((str(address), port), timeout=_SECONDS):
            return ""
    except OSError as error:
        return (error.strerror or str(error)).lower()


def clock_source() -> str | None:
    """Return what the kernel counts time with, None where it is not told."""
    return read("/sys/devices/system/clocksource/clocksource0/current_clocksource") or None


def obstacle(path: str) -> str:
    """Return what is wrong with where a script lies, in words, or nothing.

    keepalived (2.2.7) disables scripts below a directory that others may write to. A bare name
    is looked for on PATH, as keepalived does.
    """
    directory = os.path.dirname(os.path.realpath(shutil.which(path) or path))
    while True:
        try:
            mode = os.stat(directory).st_mode
        except OSError:
            return ""
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"below {directory}, which everybody may write to"
        parent = os.path.dirname(directory)
        if parent == directory:
            return ""
        directory = parent
