"""Small facts about a node that only a person asks for. Nothing here raises."""

# pathlib costs start-up time and knows no descriptors.
# ruff: noqa: PTH116, PTH120, PTH123

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.telling.doctor import Managers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ipfailover_agent.core.model import IPAddress, PortCheck

_KEEPS: Final = re.compile(
    r"^KeepConfiguration\s*=\s*(yes|true|on|1|static)\s*$", re.MULTILINE | re.IGNORECASE
)
_MANAGER_PLACES: Final = ("/run/systemd/netif", "/run/systemd/system", "/run/NetworkManager")
_ARP_FIELDS: Final = 6  # of a line of /proc/net/arp: address, type, flags, MAC, mask, device


def output_of(
    words: Sequence[str],
    environment: Mapping[str, str],
    seconds: float,
    *,
    text: str = "",
) -> str | None:
    """Return what a program prints, to either stream; None where it cannot be run, or is slow.

    ``seconds`` is how long it may take; ``text`` is what it reads.
    """
    try:
        done = subprocess.run(
            words,
            env=dict(environment),
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
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


def managers(index: int) -> Managers:
    """Return who says that it manages an interface; a container may not see it."""
    found = set()
    keeps = False
    link = read(f"/run/systemd/netif/links/{index}")
    if link is not None and "ADMIN_STATE=unmanaged" not in link:
        found.add("networkd")
        keeps = any(_KEEPS.search(read(each) or "") for each in _network_files(link))
    device = read(f"/run/NetworkManager/devices/{index}")
    if device is not None and "managed=false" not in device:
        found.add("NetworkManager")
    return Managers(
        names=frozenset(found),
        keeps=keeps,
        # where systemd is PID 1 and neither directory is there, neither of them runs
        is_visible=any(map(os.path.isdir, _MANAGER_PLACES)),
    )


def _network_files(link: str) -> list[str]:
    """Return the .network file and its drop-ins that a state file of networkd names."""
    files: list[str] = []
    for line in link.splitlines():
        name, _, value = line.partition("=")
        if name in {"NETWORK_FILE", "NETWORK_FILE_DROPINS"}:
            files += value.strip('"').split()
    return files


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


def throttled(
    *, membership: str = "/proc/self/cgroup", control_groups: str = "/sys/fs/cgroup"
) -> int | None:
    """Return how often our cgroup's CPU limit has stopped it, None where that is not told.

    A container may not see its own path; what it sees as the root is its own group then. The
    paths are for tests.
    """
    for line in (read(membership) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = f"{control_groups}/cpu" if controllers else control_groups  # version 1 or 2
        told = read(f"{root}{path}/cpu.stat") or read(f"{root}/cpu.stat") or ""
        for each in told.splitlines():
            name, _, value = each.partition(" ")
            if name == "nr_throttled" and value.isdigit():
                return int(value)
    return None


def connect(ports: Collection[PortCheck], seconds: float) -> dict[PortCheck, str]:
    """Connect to all at once and hang up; return what went wrong with each, or nothing."""
    if not ports:
        return {}
    with ThreadPoolExecutor(max_workers=len(ports)) as pool:
        return dict(zip(ports, pool.map(lambda each: _connect(each, seconds), ports), strict=True))


def _connect(port: PortCheck, seconds: float) -> str:
    try:
        with socket.create_connection((str(port.address), port.port), timeout=seconds):
            return ""
    except OSError as error:
        return (error.strerror or str(error)).lower()


def neighbours() -> dict[bytes, tuple[IPAddress, ...]]:
    """Return the IPv4 addresses of other hosts that the kernel knows, by MAC."""
    found: dict[bytes, tuple[IPAddress, ...]] = {}
    for line in (read("/proc/net/arp") or "").splitlines()[1:]:
        fields = line.split()
        if len(fields) == _ARP_FIELDS:
            with contextlib.suppress(ValueError):
                mac = bytes.fromhex(fields[3].replace(":", ""))
                found[mac] = (*found.get(mac, ()), ip_address(fields[0]))
    return found


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
