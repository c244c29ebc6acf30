"""What this node is: interfaces, routes, scripts, capabilities, processes."""

# pathlib costs start-up time and has no descriptors.
# ruff: noqa: PTH115, PTH119, PTH123

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent import model
from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.linux import process, rtnetlink
from ipfailover_agent.linux.dump_caches import AddressCache, RouteCache
from ipfailover_agent.linux.netlink import AddressSocket

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ipfailover_agent.linux.rtnetlink import Link

# linux/capability.h, those that keepalived cannot do without
_CAPABILITIES: Final = {"NET_ADMIN": 12, "NET_RAW": 13}
_QUOTA: Final = "/cpu.cfs_quota_us"  # beside its period, cgroup version 1
_THROTTLED: Final = "nr_throttled"  # of cpu.stat, either version
_STATE_FIELD: Final = 0  # of /proc/PID/stat after the command, proc_pid_stat(5) field 3
_START_FIELD: Final = 19  # likewise, field 22
_DEAD_STATES: Final = {"Z", "X"}
_GET_FLAGS: Final = 0x8913  # SIOCGIFFLAGS, linux/sockios.h
_GET_ADDRESS: Final = 0x8915  # SIOCGIFADDR
_NAME_LIMIT: Final = 15  # bytes of a name, before its zero; the answer is behind it
_REQUEST_SIZE: Final = 40  # struct ifreq
_SHEBANG_LENGTH: Final = 256  # BINPRM_BUF_SIZE, linux/binfmts.h
_LINK_LOCAL_SCOPE: Final = 0x20  # IPV6_ADDR_LINKLOCAL, net/ipv6.h
_UP_AND_RUNNING: Final = 0x41  # IFF_UP and IFF_RUNNING, linux/if.h

# The node is looked at every few seconds, for good.
_memory: Final = AddressCache()
_routes_seen: Final = RouteCache()


def discover(
    scope: model.HostScope,
    *,
    check_script: str | None = None,
    notify_script: str | None = None,
    recorded: tuple[model.IPAddress, ...] = (),
    is_glance: bool = False,
) -> model.HostFacts:
    """Read what the plan needs to know of this node.

    Args:
        scope: which addresses are wanted.
        check_script: the user's command, its first word is looked at.
        notify_script: likewise.
        recorded: the addresses that the agent served before, by the run directory.
        is_glance: do not wait until addresses stop changing, some may be missing; and a default
            route that the kernel does not go by may be a minute old.

    Raises:
        SystemRefusedError: the kernel does not answer.
    """
    with AddressSocket(memory=_memory, routes=_routes_seen) as netlink:
        links = netlink.links()
        names = {each.index: each.name for each in links}
        ready = [each.index for each in links if each.is_up]
        hops = netlink.default_routes(ready, is_glance=is_glance)
        wanted = _wanted(scope, links, {each.index for each in hops})
        addresses = _addresses(netlink, wanted, is_glance=is_glance)
        found = {held.address for each in addresses.values() for held in each}
        # The kernel names one interface only: what is on one of these is asked about no more.
        virtual = [each for each in scope.virtual if each not in found]
        asked = (*virtual, *scope.nodes)
        ways = dict(zip(asked, netlink.ways(asked), strict=True))
        further = {ways[each].index for each in virtual if ways[each].is_local}
        further |= {ways[each].index for each in scope.nodes}
        wanted = _wanted(scope, links, further) - wanted
        addresses |= _addresses(netlink, wanted, is_glance=is_glance)
    return model.HostFacts(
        interfaces=tuple(_interfaces(links, addresses)),
        default_routes=tuple(
            model.DefaultRoute(
                family=hop.family,
                interface=names[hop.index],
                metric=hop.metric,
                source=hop.source,
                gateway=hop.gateway,
            )
            for hop in hops
            if hop.index in names
        ),
        local_addresses=frozenset(
            each for each in (*scope.virtual, *scope.nodes) if each in found or ways[each].is_local
        ),
        approaches=tuple(
            model.Approach(
                address=each,
                interface=names.get(ways[each].index, ""),
                is_on_link=ways[each].is_on_link,
            )
            for each in virtual
            if not ways[each].is_local
        ),
        recorded_addresses=recorded,
        check_script=None if check_script is None else script_state(check_script),
        notify_script=None if notify_script is None else script_state(notify_script),
    )


def local_addresses(asked: Sequence[model.IPAddress]) -> frozenset[model.IPAddress]:
    """Return those of the addresses that this node has, on whatever interface.

    Raises:
        SystemRefusedError: the kernel does not answer.
    """
    with AddressSocket() as netlink:
        ways = netlink.ways(asked)
    return frozenset(address for address, way in zip(asked, ways, strict=True) if way.is_local)


def _wanted(
    scope: model.HostScope, links: Iterable[Link], indexes: Collection[int]
) -> frozenset[int]:
    """Return the indexes of the interfaces whose addresses are wanted, those given among them."""
    return frozenset(
        each.index
        for each in links
        if each.name not in scope.passed_by
        and (scope.is_whole or each.index in indexes or each.name in scope.interfaces)
    )


def _addresses(
    netlink: AddressSocket, indexes: Iterable[int], *, is_glance: bool
) -> dict[int, tuple[model.InterfaceAddress, ...]]:
    read = netlink.glance_at_addresses if is_glance else netlink.held_addresses
    return {index: tuple(held.address for held in read(index)) for index in indexes}


def script_state(command: str) -> model.ScriptState:
    """Return whether the program of a command line can be run."""
    return _program_of(command)[0]


def _program_of(command: str) -> tuple[model.ScriptState, str]:
    """Return whether the program of a command line can be run, and its path if it can."""
    import shlex  # noqa: PLC0415 - needed only where a script is set

    try:
        words = shlex.split(command)
    except ValueError:  # an odd number of quotes
        words = command.split()
    # keepalived looks a bare name up on PATH
    return (
        process.look_up(words[0], os.get_exec_path()) if words else (model.ScriptState.MISSING, "")
    )


def is_on_path(name: str) -> bool:
    """Return whether a program of that name can be run."""
    return process.look_up(name, os.get_exec_path())[0] is model.ScriptState.USABLE


def can_read(path: str | None) -> bool:
    """Return whether a file can be read; where none is named, nothing is missing."""
    return path is None or os.access(path, os.R_OK)


def missing_interpreter(command: str | None) -> str:
    """Return what the ``#!`` line of a command's script names and is not there, or nothing.

    A line that ends as on Windows names a program whose name ends in a carriage return.
    """
    path = "" if command is None else _program_of(command)[1]
    if not path:
        return ""
    try:
        with open(path, "rb") as file:
            line = file.readline(_SHEBANG_LENGTH)
    except OSError:
        return ""
    if not line.startswith(b"#!"):
        return ""
    line = line[2:].partition(b"\0")[0]  # the kernel reads no further, and no path has it
    words = line.decode("utf-8", "replace").rstrip("\n").strip(" \t").split(" ")
    if os.path.basename(words[0]) == "env" and len(words) > 1 and not words[1].startswith("-"):
        words = words[1:]
    return "" if is_on_path(words[0]) else words[0]


def missing_capabilities(needed: Iterable[str] = tuple(_CAPABILITIES)) -> tuple[str, ...]:
    """Return which of the capabilities that keepalived cannot do without are not effective.

    Raises:
        SystemRefusedError: /proc does not say.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            mask = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError, IndexError) as error:
        raise SystemRefusedError(
            f"cannot read the agent's capabilities from /proc: {error}"
        ) from error
    return tuple(each for each in needed if not mask >> _CAPABILITIES[each] & 1)


def cpu_pressure() -> str | None:
    """Return how starved of CPU the node is (pressure stall information), None if unknown.

    For example ``some avg10=12.50``: in 12.5 % of the last ten seconds something had to wait.
    """
    return " ".join(_read("/proc/pressure/cpu").split()[:2]) or None


def index_of(interface: str) -> int | None:
    """Return the index of the interface of that name, None while there is none."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return None


def boot_id() -> str:
    """Return what identifies this boot, and so its monotonic clock; empty where nothing does."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def cpu_share(
    *, membership: str = "/proc/self/cgroup", control_groups: str = "/sys/fs/cgroup"
) -> model.CpuShare:
    """Return the agent's share of CPU, as far as the system shows it; the paths are for tests."""
    pressure = (cpu_pressure() or "").rpartition("avg10=")[2]
    limits: list[float] = []
    for root, path in _cpu_groups(membership, control_groups):
        limits += _limits(root, path, "/cpu.max" if root == control_groups else _QUOTA)
    return model.CpuShare(pressure=_number(pressure), limit=min(limits, default=None))


def throttled(
    *, membership: str = "/proc/self/cgroup", control_groups: str = "/sys/fs/cgroup"
) -> int | None:
    """Return how often the CPU limit of the own cgroup has stopped it, None where unknown.

    The paths are for tests.
    """
    for root, path in _cpu_groups(membership, control_groups):
        for directory in (f"{root}{path}", root):
            words = _read(f"{directory}/cpu.stat").split()
            if _THROTTLED in words[:-1]:
                with contextlib.suppress(ValueError):
                    return int(words[words.index(_THROTTLED) + 1])
    return None


def _cpu_groups(membership: str, control_groups: str) -> Iterator[tuple[str, str]]:
    """Yield the roots of control groups of either version that limit CPU, and the own paths there.

    A container may not see its own path; what it sees as the root is its own group then.
    """
    for line in filter(None, _read(membership).split("\n")):
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            yield (f"{control_groups}/cpu" if controllers else control_groups), path


def _limits(root: str, path: str, name: str) -> Iterator[float]:
    """Yield the limits of a control group and of those above it, in CPUs."""
    while True:
        if (limit := _limit(f"{root}{path}", name)) is not None:
            yield limit
        if not path:
            return
        path = path.rpartition("/")[0]


def _limit(directory: str, name: str) -> float | None:
    """Return quota by period, both in microseconds; None without a quota."""
    words = _read(f"{directory}{name}").split()
    if name == _QUOTA:
        words += _read(f"{directory}/cpu.cfs_period_us").split()
    try:
        quota, period = map(int, words)
    except ValueError:  # "max" for none
        return None
    return quota / period if quota > 0 < period else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def forwards_ipv6(interface: str) -> bool:
    """Return whether the node routes IPv6 that comes in on an interface."""
    return _read(f"/proc/sys/net/ipv6/conf/{interface}/forwarding").strip() not in {"", "0"}


def ipv4_setting(word: str, interface: str) -> int | None:
    """Return net.ipv4.conf.*.``word``, the larger of ``all`` and the interface; None: unknown.

    That is what is in force of rp_filter and of arp_ignore.
    """
    found = []
    for name in ("all", interface):
        with contextlib.suppress(ValueError):
            found.append(int(_read(f"/proc/sys/net/ipv4/conf/{name}/{word}")))
    return max(found, default=None)


def has_link(interface: str) -> bool:
    """Return whether an interface is up and has its carrier; False where that is not known."""
    try:
        return _is_up_and_running(interface)
    except OSError:
        return False


def link_failure(interface: str, family: model.Family) -> str | None:
    """Return why keepalived cannot serve on an interface, None where it can.

    Its link has to be up, and it needs an address: with IPv6 a link-local one.
    """
    try:
        if not _is_up_and_running(interface):
            return f"interface {interface} is down"
    except OSError as error:  # else out of descriptors: then nothing is known
        return f"interface {interface} is gone" if error.errno == errno.ENODEV else None
    try:
        if family is model.Family.IPV4:
            _ask_interface(interface, _GET_ADDRESS)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return f"interface {interface} has no IPv4 address"
    if family is model.Family.IPV6 and not _has_link_local(interface):
        return f"interface {interface} has no link-local address"
    return None


def _has_link_local(interface: str) -> bool:
    """Return whether an interface has one, or nothing is known of that."""
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:
            return any(
                fields[5] == interface and int(fields[3], 16) == _LINK_LOCAL_SCOPE
                for fields in map(str.split, file)
            )
    except (OSError, ValueError, IndexError):
        return True


def _is_up_and_running(interface: str) -> bool:
    """Return whether keepalived takes an interface for usable: IFF_UP and IFF_RUNNING are set."""
    (flags,) = struct.unpack_from("=H", _ask_interface(interface, _GET_FLAGS), _NAME_LIMIT + 1)
    return bool(flags & _UP_AND_RUNNING == _UP_AND_RUNNING)


def _ask_interface(interface: str, question: int) -> bytes:
    """Return a struct ifreq with the kernel's answer to an ioctl, netdevice(7).

    Raises:
        OSError: ENODEV where there is no such interface.
    """
    request = interface.encode()[:_NAME_LIMIT].ljust(_REQUEST_SIZE, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
        return fcntl.ioctl(asked, question, request)


def vrf_of(interface: str, *, root: str = "/sys/class/net") -> str:
    """Return the VRF that an interface is in, empty where it is in none, or this process is too.

    ``ip vrf exec`` binds each new socket of a process to the VRF. The path is for tests.
    """
    try:
        master = os.path.basename(os.readlink(f"{root}/{interface}/master"))
        if "DEVTYPE=vrf\n" not in _read(f"{root}/{master}/uevent"):
            return ""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as own:
            bound = own.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _NAME_LIMIT + 1)
    except OSError:
        return ""
    return "" if bound.rstrip(b"\0") == master.encode() else master


def process_started_at(pid: int) -> int | None:
    """Return when a process started, in clock ticks after boot; None when it does not run.

    Together with the pid this identifies a process. It is read from /proc rather than with psutil,
    whose wall-clock time shifts when the node's clock is set: an agent would no longer recognise
    its own pid file.
    """
    # the command in parentheses may hold blanks and parentheses itself
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    is_running = len(fields) > _START_FIELD and fields[_STATE_FIELD] not in _DEAD_STATES
    return int(fields[_START_FIELD]) if is_running else None


def uptime() -> float:
    """Return the seconds since boot by /proc, where containers may have their own."""
    try:
        return float(_read("/proc/uptime").split()[0])
    except (IndexError, ValueError):
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def _read(path: str) -> str:
    """Return a file of the kernel's, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _interfaces(
    links: tuple[Link, ...], addresses: Mapping[int, tuple[model.InterfaceAddress, ...]]
) -> Iterator[model.Interface]:
    import psutil  # noqa: PLC0415 - 26 ms, which status and reload need not pay

    # net_if_addrs is not used: it reads every address of the node, however many there are, and
    # getifaddrs(3) shows labelled ones under their label, as if br-ex:vip were an interface.
    try:
        known = psutil.net_if_stats()
    except OSError as error:
        raise SystemRefusedError(f"cannot read the interfaces: {error.strerror}") from error
    by_index = {link.index: link for link in links}
    for link in links:
        if link.name in known:
            yield model.Interface(
                name=link.name,
                index=link.index,
                is_up=known[link.name].isup,
                speaks_arp=link.speaks_arp,
                port_of=rtnetlink.topmost_master(link.index, by_index.get),
                mtu=known[link.name].mtu,
                addresses=addresses.get(link.index, ()),
            )
