"""Facts about a node and its network that only doctor needs. Nothing but ``listen`` raises."""

# Most of these are names of the kernel, with one part that differs.
# ruff: noqa: PTH112, PTH119, PTH123, PTH207

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ipfailover_agent.doctor import node_findings as judging
from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.model import family_of
from ipfailover_agent.vrrp import packets
from ipfailover_agent.vrrp.packet_socket import usable_addresses

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ipfailover_agent.model import Family, IPAddress, PortCheck
    from ipfailover_agent.vrrp.packet_socket import PacketSocket
    from ipfailover_agent.vrrp.packets import Packet

_MANAGER_PLACES: Final = ("/run/systemd/netif", "/run/systemd/system", "/run/NetworkManager")
_NETWORK_DIRECTORIES: Final = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
"""Where networkd looks for drop-ins, the first one wins (systemd.network(5))."""

_IFUPDOWN2: Final = "/etc/network/ifupdown2"
_LISTENING: Final = b"0A"  # TCP_LISTEN, net/tcp_states.h
_ROUTE_FILES: Final = (("/proc/net/route", 2, 0), ("/proc/net/ipv6_route", 4, 9))
"""With the fields that hold the router and the interface."""

_MOST_ROUTES: Final = 100_000  # a tenth of a second
_IPV4_DIGITS: Final = 8


def output_of(words: Sequence[str], seconds: float) -> str | None:
    """Return what a program prints, to either stream; None where it cannot be run, or is slow.

    ``seconds`` is how long it may take.
    """
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
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


def listeners(port: int) -> frozenset[IPAddress]:
    """Return the addresses that programs listen at with a TCP port, as far as that is visible."""
    found: set[IPAddress] = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(path, "rb") as file:
            for line in file:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(b":")[2], 16) == port:
                    found.add(_address(fields[1].rpartition(b":")[0]))
    return frozenset(found)


def _address(text: bytes) -> IPAddress:
    """Return an address that /proc/net shows as numbers of the machine's byte order."""
    words = (text[each : each + 8] for each in range(0, len(text), 8))
    return ip_address(b"".join(int(each, 16).to_bytes(4, sys.byteorder) for each in words))


def managers(name: str, index: int, *, root: str = "") -> judging.Managers:
    """Return the programs that claim to manage an interface; a container may not see them.

    ``root`` is for tests.
    """
    found = set()
    texts: list[str] = []
    unread = ""
    link = read(f"{root}/run/systemd/netif/links/{index}")
    if link is not None and "ADMIN_STATE=unmanaged" not in link:
        found.add(judging.NETWORKD)
        for path in _network_files(link, root):
            text = read(f"{root}{path}")
            texts += [] if text is None else [text]
            unread = path if text is None else unread
    device = read(f"{root}/run/NetworkManager/devices/{index}")
    if device is not None and "managed=false" not in device:
        found.add(judging.NETWORK_MANAGER)
    if os.path.isdir(f"{root}{_IFUPDOWN2}") and judging.purges(_interfaces_files(root), name):
        found.add(judging.IFUPDOWN2)
    return judging.Managers(
        names=frozenset(found),
        keep=judging.keep_configuration(texts),
        unread=unread,
        # where systemd is PID 1 and neither directory is there, neither of them runs
        is_visible=any(os.path.isdir(f"{root}{each}") for each in _MANAGER_PLACES),
    )


def _network_files(link: str, root: str) -> list[str]:
    """Return the .network file that a state file of networkd names, and its drop-ins, in order.

    networkd 252 does not name them: they are looked for as it does, by file name, and of two with
    one name that of the first directory.
    """
    named = dict(line.partition("=")[::2] for line in link.splitlines())
    network = named.get("NETWORK_FILE", "").strip('"')
    if not network:
        return []
    if "NETWORK_FILE_DROPINS" in named:
        return [network, *named["NETWORK_FILE_DROPINS"].strip('"').split()]
    found: dict[str, str] = {}
    for directory in _NETWORK_DIRECTORIES:
        place = f"{directory}/systemd/network/{os.path.basename(network)}.d"
        for each in glob.glob("*.conf", root_dir=f"{root}{place}"):
            found.setdefault(each, f"{place}/{each}")
    return [network, *(found[each] for each in sorted(found))]


def _interfaces_files(root: str) -> list[str]:
    """Return the texts of ifupdown's files, as far as they are in the usual places."""
    directory = "/etc/network/interfaces.d"
    paths = ["/etc/network/interfaces"]
    names = sorted(glob.glob("*", root_dir=f"{root}{directory}"))
    paths += [f"{directory}/{each}" for each in names]
    return [text for each in paths if (text := read(f"{root}{each}")) is not None]


def connect(ports: Collection[PortCheck], seconds: float) -> dict[PortCheck, str]:
    """Connect to all at once and hang up; return what went wrong with each, or nothing."""

    def failure(port: PortCheck) -> str:
        try:
            with socket.create_connection((str(port.address), port.port), timeout=seconds):
                return ""
        except OSError as error:
            return (error.strerror or str(error)).lower()

    with ThreadPoolExecutor(max_workers=len(ports) or 1) as pool:
        return dict(zip(ports, pool.map(failure, ports), strict=True))


def neighbours() -> dict[bytes, tuple[IPAddress, ...]]:
    """Return the IPv4 addresses of other hosts in the kernel's table, by MAC."""
    found: dict[bytes, tuple[IPAddress, ...]] = {}
    for line in (read("/proc/net/arp") or "").splitlines()[1:]:
        with contextlib.suppress(ValueError):
            address, _type, _flags, digits, _mask, _device = line.split()
            mac = bytes.fromhex(digits.replace(":", ""))
            found[mac] = (*found.get(mac, ()), ip_address(address))
    return found


def next_hops() -> frozenset[tuple[IPAddress, str]]:
    """Return the routers that this node's routes lead to, each with the interface.

    Of a node with very many routes the first ones are read; of a multipath route with IPv4, which
    /proc/net/route shows by its first hop, that one.
    """
    found: set[tuple[bytes, bytes]] = set()
    for path, gateway, interface in _ROUTE_FILES:
        with contextlib.suppress(OSError, IndexError), open(path, "rb") as file:
            for line in itertools.islice(file, _MOST_ROUTES):
                fields = line.split()
                found.add((fields[gateway], fields[interface]))
    hops: set[tuple[IPAddress, str]] = set()
    for raw, name in found:
        with contextlib.suppress(ValueError):
            # IPv4 as a number of the machine's byte order, IPv6 as it goes over the wire
            is_ipv4 = len(raw) == _IPV4_DIGITS
            address = _address(raw) if is_ipv4 else ip_address(bytes.fromhex(raw.decode("ascii")))
            if not address.is_unspecified:
                hops.add((address, os.fsdecode(name)))
    return frozenset(hops)


def clock_source() -> str | None:
    """Return the kernel's clocksource, None where it is unknown."""
    return read("/sys/devices/system/clocksource/clocksource0/current_clocksource") or None


def obstacle(path: str) -> str:
    """Return what is wrong with where a script lies, as text, or nothing.

    keepalived (2.2.7) disables scripts below a directory that others may write to. A bare name
    is looked for on PATH, as keepalived does.
    """
    with contextlib.suppress(OSError):
        for each in Path(os.path.realpath(shutil.which(path) or path)).parents:
            mode = each.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                return f"below {each}, which every user may write to"
    return ""


# --- the network ---------------------------------------------------------------------------------

_FRAMES: Final = 256  # read at once
_SNAP: Final = 256  # bytes of an answer that matter
_SLICE: Final = 0.05  # seconds between two looks at the own punctuality
_ASK_AGAIN: Final = 1.0
_PACE: Final = 0.002  # seconds between two questions: 254 of them take half a second
_AT_ONCE: Final = 5  # questions between two looks at whether the asker is there


def listen(
    wire: PacketSocket,
    askers: Mapping[Family, IPAddress],
    targets: Collection[IPAddress],
    seconds: float,
) -> tuple[tuple[Packet, ...], dict[IPAddress, set[bytes]], float]:
    """Return received packets, MACs by address, and how many seconds late a wake-up was at worst.

    Args:
        wire: receives adverts and announcements.
        askers: this node's own address of each family.
        targets: each is asked for twice, while the asker of its family is there.
        seconds: how long to listen.

    Raises:
        SystemRefusedError: the interface is gone.
    """
    found: list[Packet] = []
    answers: dict[IPAddress, set[bytes]] = {}
    late = 0.0
    begin = due = time.monotonic()
    with (
        _ethernet_socket(wire.interface, packets.ETHERTYPE_ARP) as arp,
        _ethernet_socket(wire.interface, packets.ETHERTYPE_IPV6) as solicited,
    ):
        sources = [wire.fileno(), arp.fileno(), solicited.fileno()]
        ask_at = [begin, begin + _ASK_AGAIN]
        while (now := time.monotonic()) < begin + seconds:
            late = max(late, now - due)
            if ask_at and now >= ask_at[0]:
                del ask_at[0]
                late = max(late, _ask(wire, askers, targets))
            due = time.monotonic() + _SLICE
            select.select(sources, [], [], _SLICE)
            found += [each.packet for each in wire.receive(_FRAMES) if not each.is_outgoing]
            for each in (arp, solicited):
                _take(each, targets, answers)
    return tuple(found), answers, max(late, time.monotonic() - due)


def _ask(
    wire: PacketSocket, askers: Mapping[Family, IPAddress], targets: Collection[IPAddress]
) -> float:
    """Ask for each target, and return by how many seconds a pause between two was too long."""
    late = 0.0
    usable: frozenset[IPAddress] = frozenset()
    for number, target in enumerate(targets):
        if number % _AT_ONCE == 0:
            usable = usable_addresses(wire.index)
        asker = askers.get(family_of(target))
        if asker is not None and asker in usable:
            wire.send(packets.neighbour_question(wire.mac, asker, target))
        began = time.monotonic()
        time.sleep(_PACE)
        late = max(late, time.monotonic() - began - _PACE)
    return late


def _ethernet_socket(interface: str, ethertype: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
    with contextlib.ExitStack() as opened:
        try:
            # Without a protocol it receives nothing before it is bound, and is bound at once.
            found = opened.enter_context(socket.socket(socket.AF_PACKET, kind))
            found.bind((interface, ethertype))
        except OSError as error:
            raise SystemRefusedError(f"cannot listen on {interface}: {error.strerror}") from error
        opened.pop_all()
    return found


def _take(
    source: socket.socket, targets: Collection[IPAddress], answers: dict[IPAddress, set[bytes]]
) -> None:
    for _ in range(_FRAMES):
        try:
            frame = source.recv(_SNAP)
        except BlockingIOError:
            return
        except OSError as error:
            raise SystemRefusedError(f"cannot listen: {error.strerror}") from error
        answer = packets.parse_neighbour_answer(frame)
        if answer is not None and answer[0] in targets:
            answers.setdefault(answer[0], set()).add(answer[1])
