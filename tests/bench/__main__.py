"""Measures start-up, memory and idle CPU; ``make bench`` runs it. Not a test: nothing is judged.

Whole processes, warm, medians of several runs, and every figure beside bare Python on the same
machine in the same run, since machines differ and are shared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.lab import Lab
from tests.lab.privileges import ensure_privileges
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from tests.lab.node import Node

_COUNTS = (1, 16, 254)
_RENDER = (sys.executable, "-m", "ipfailover_agent", "render")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=11, help="runs of each command")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to watch an idle agent")
    arguments = parser.parse_args()
    ensure_privileges()
    with Lab(nodes=1, ipv6=False) as lab:
        node = lab.nodes[0]
        print(f"# {os.uname().release}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs")
        _render(node, arguments.runs)
        for count in (1, 254):
            _serve(node, count, arguments.idle)


def _environment(count: int) -> dict[str, str]:
    """Return variables for ``count`` addresses that need no answering port."""
    return {
        "OPENSHIFT_HA_VIRTUAL_IPS": "198.51.100.1" if count == 1 else f"198.51.100.1-{count}",
        "OPENSHIFT_HA_VRRP_ID_OFFSET": "0",
        "OPENSHIFT_HA_MONITOR_PORT": "0",
    }


def _render(node: Node, runs: int) -> None:
    """Measure the start to the rendered file, beside bare Python, one after the other."""
    bare = (sys.executable, "-c", "pass")
    wanted: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {"bare python": (bare, {})}
    wanted |= {f"render {count}": (_RENDER, _environment(count)) for count in _COUNTS}
    seconds: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(runs + 1):  # the first one warms up
        for name, (command, environment) in wanted.items():
            begun = time.perf_counter()
            words = [f"{key}={value}" for key, value in environment.items()]
            node.run(["env", *words, *command])
            seconds[name].append(time.perf_counter() - begun)
    entering = statistics.median(seconds["bare python"][1:])
    print("\n## start to rendered file (wall seconds, entering the namespace included)")
    for name, figures in seconds.items():
        middle = statistics.median(figures[1:])
        print(
            f"{name:14} median {middle:.3f}  min {min(figures[1:]):.3f}  "
            f"max {max(figures[1:]):.3f}  over bare {middle - entering:+.3f}"
        )


def _serve(node: Node, count: int, idle: float) -> None:
    """Measure a run: keepalived started, everything MASTER, then idle memory and CPU."""
    begun = time.perf_counter()
    node.start(_environment(count))

    def since() -> float:
        return time.perf_counter() - begun

    wait_until(lambda: "keepalived.started" in node.stderr(), timeout=30, what="a keepalived")
    started = since()
    wait_until(
        lambda: node.stdout().count("Entering MASTER STATE") == count, timeout=60, what="MASTER"
    )
    master = since()
    pid = node.container.agent_pid
    time.sleep(2)  # the status file of the last transition
    before, at = _cpu_seconds(pid), time.perf_counter()
    time.sleep(idle)
    used = _cpu_seconds(pid) - before
    share = 100 * used / (time.perf_counter() - at)
    print(f"\n## {count} address(es)")
    print(f"keepalived started after {started:.3f} s, all MASTER after {master:.2f} s")
    print(f"agent idle: {_resident_mib(pid):.1f} MiB resident, {share:.3f} % of a core")
    node.terminate()
    begun = time.perf_counter()
    code = node.wait()
    print(f"stopped after {since():.2f} s with exit code {code}")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    return 0.0


main()
