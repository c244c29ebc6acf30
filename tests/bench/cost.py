"""What protection costs: the agent with it and without, its listeners, and a busy interface.

Everything is measured in one run, one after the other, so that ratios hold although machines
differ. CPU is a process's own, to the nanosecond (its CPU clock), children left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.privileges import ensure_privileges
from tests.lab.kit.renewals import Renewals
from tests.support.waiting import wait_until

_RATE = 10_000  # unrelated packets a second
_CLOSED_PORT = 9
_UNPROTECTED = {"OPENSHIFT_HA_ADDRESS_LEASE": "0", "OPENSHIFT_HA_CONFLICT": "off"}
_FLOOD = """
import socket, sys, time
host, port, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
begun, sent = time.monotonic(), 0
while (elapsed := time.monotonic() - begun) < seconds:
    while sent < elapsed * rate:
        sender.sendto(bytes(100), (host, port))
        sent += 1
    time.sleep(0.001)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one agent: share of a core when idle, and resident MiB."""

    cpu: float
    memory: float


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return what is asked for, once there is the right to make namespaces; name the machine."""
    arguments = parser.parse_args()
    ensure_privileges()
    print(f"# {os.uname().release}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs")
    return arguments


def environment(count: int) -> dict[str, str]:
    """Return variables for ``count`` addresses that need no answering port."""
    return {
        "OPENSHIFT_HA_VIRTUAL_IPS": "198.51.100.1" if count == 1 else f"198.51.100.1-{count}",
        "OPENSHIFT_HA_VRRP_ID_OFFSET": "0",
        "OPENSHIFT_HA_MONITOR_PORT": "0",
    }


def show(lab: Lab, idle: float) -> None:
    """Print the figures."""
    node = lab.nodes[0]
    print("\n## what protection costs the agent")
    print("addresses  protections  CPU, % of a core      memory, MiB")
    bare = _bare_memory(node)
    print(f"{'bare python':>35}  {'':10}  {bare:8.1f}")
    for count in (1, 254):
        without = _measure(lab, count, idle, is_protected=False)
        protected = _measure(lab, count, idle, is_protected=True)
        _line(count, "off", without, without, bare)
        _line(count, "on", protected, without, bare)


def _line(count: int, what: str, found: Figures, base: Figures, bare: float) -> None:
    share = f"{100 * found.cpu:.3f} (x {found.cpu / base.cpu:.1f})"
    memory = f"{found.memory:.1f} (x {found.memory / bare:.1f} of bare)"
    print(f"{count:9}  {what:11}  {share:20}  {memory}")


def _bare_memory(node: Node) -> float:
    """Return what Python needs that does nothing."""
    program = "print(flush=True); import time; time.sleep(60)"
    command = [sys.executable, "-c", program]
    with node.network.running(command, stdout=subprocess.PIPE) as sleeping:
        if sleeping.stdout is not None:
            sleeping.stdout.readline()
        return resident_mib(sleeping.pid)


def _measure(lab: Lab, count: int, idle: float, *, is_protected: bool) -> Figures:
    node = lab.nodes[0]
    start_and_settle(node, {**environment(count), **({} if is_protected else _UNPROTECTED)}, count)
    pid = node.container.agent_pid
    found = Figures(cpu=_share(pid, idle), memory=resident_mib(pid))
    if is_protected:
        _listeners(node, count, idle / 2)
        _flooded(lab, count, idle / 2, found)
    node.stop()
    return found


def start_and_settle(node: Node, variables: dict[str, str], count: int) -> None:
    """Start the agent; return when all is MASTER and the status file was written."""
    node.start(variables)
    wait_until(lambda: node.stdout().count("Entering MASTER STATE") >= count, 60, "MASTER")
    time.sleep(2)


# --- others -------------------------------------------------------------------------------------


def _listeners(node: Node, count: int, seconds: float) -> None:
    """Measure what renewals cost those who listen for addresses."""
    with (
        (node.directory / "monitor").open("wb") as output,
        node.network.running(["ip", "monitor", "address"], stdout=output) as monitor,
        Renewals(node.network) as ours,
    ):
        time.sleep(0.5)
        before, cpu = ours.messages, ours.cpu_seconds
        theirs = _share(monitor.pid, seconds)
        messages = (ours.messages - before) / seconds
        share = (ours.cpu_seconds - cpu) / seconds
    print(
        f"           a netlink listener: {messages:.0f} messages a second; "
        f"`ip monitor address` {100 * theirs:.3f} %, one in Python {100 * share:.3f} % of a core "
        f"({count} address(es), lease 3)"
    )


def _flooded(lab: Lab, count: int, seconds: float, idle: Figures) -> None:
    """Measure the agent while unrelated packets arrive."""
    node = lab.nodes[0]
    words: Sequence[str] = (node.ip, str(_CLOSED_PORT), str(_RATE), str(seconds + 1))
    with lab.client.network.running([sys.executable, "-c", _FLOOD, *words]):
        time.sleep(0.5)
        before = _received(node)
        share = _share(node.container.agent_pid, seconds)
        rate = (_received(node) - before) / seconds
    print(
        f"           {rate:.0f} unrelated packets a second: agent {100 * share:.3f} % of a core "
        f"(x {share / idle.cpu:.1f} of idle, {count} address(es))"
    )


# --- figures ------------------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used: clock_getcpuclockid(3), CPUCLOCK_SCHED."""
    return time.clock_gettime(~pid << 3 | 2)


def _share(pid: int, seconds: float) -> float:
    """Return which share of a core a process uses over so many seconds."""
    begun, at = cpu_seconds(pid), time.perf_counter()
    time.sleep(seconds)
    return (cpu_seconds(pid) - begun) / (time.perf_counter() - at)


def resident_mib(pid: int) -> float:
    """Return the memory that a process has resident."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _received(node: Node) -> int:
    shown = node.run(["cat", "/proc/net/dev"]).stdout.splitlines()
    (figures,) = (line.partition(":")[2] for line in shown if line.strip().startswith("eth0:"))
    return int(figures.split()[1])
