"""Measures what watching listeners costs: ``python -m tests.bench.listeners``, as root.

Nothing is judged but the ratio. Agents with 1 and with 254 addresses run at the same time, each
with the watch and without it (both probe the port themselves, every 2.5 s), beside a Python loop
that only wakes as often as the watch does. The CPU of all threads of an agent counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.privileges import ensure_privileges
from tests.lab.scenarios import ELECTION, variables
from tests.lab.waiting import wait_until

_SETTLING = 5.0  # seconds after the last MASTER
_LIMIT = 2.0  # times the loop that only wakes
_LOOP = """
import select, sys
poll, seconds = select.epoll(), float(sys.argv[1])
while True:
    poll.poll(seconds)
"""


def main() -> int:
    """Print the figures; return 1 where the watch costs more than twice a loop that only wakes."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.listeners", description=main.__doc__
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement")
    parser.add_argument("--watch", default="0.05", help="seconds between two looks")
    arguments = parser.parse_args()
    ensure_privileges()
    print(f"# {os.uname().release}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs")
    kinds = {  # name: addresses, variables
        "1 address, no watch": (1, {"CHECK_WATCH": "0"}),
        "1 address": (1, {"CHECK_WATCH": arguments.watch}),
        "254 addresses, no watch": (254, {"CHECK_WATCH": "0"}),
        "254 addresses": (254, {"CHECK_WATCH": arguments.watch}),
    }
    with Lab(nodes=len(kinds), ipv6=False) as lab:
        first = {}
        for number, (node, (count, more)) in enumerate(
            zip(lab.nodes, kinds.values(), strict=True), start=1
        ):
            first[node] = f"198.18.{number}.1"
            spread = {"VIP_GROUPS": "20", "VRRP_ID_OFFSET": str(25 * number)}
            addresses = first[node] if count == 1 else f"{first[node]}-{count}"
            node.start(variables(addresses, CHECK_INTERVAL="2.5", **spread, **more))
        wait_until(
            lambda: all(lab.recorder.holders(each) for each in first.values()),
            timeout=3 * ELECTION,
            what="every node holds its addresses",
        )
        time.sleep(_SETTLING)
        with subprocess.Popen([sys.executable, "-I", "-S", "-c", _LOOP, arguments.watch]) as loop:
            time.sleep(1)  # its start is not its loop
            names = {
                name: _agent(node.pids()) for name, node in zip(kinds, lab.nodes, strict=True)
            }
            names["a loop that only wakes"] = loop.pid
            before = {name: _cpu_seconds(pid) for name, pid in names.items()}
            begun = time.monotonic()
            time.sleep(arguments.seconds)
            elapsed = time.monotonic() - begun
            used = {
                name: (_cpu_seconds(pid) - before[name]) / elapsed for name, pid in names.items()
            }
            loop.kill()
    print(f"\n## the agent's CPU over {elapsed:.0f} s, per cent of a core")
    for name, share in used.items():
        print(f"{name:28} {100 * share:.3f}")
    print(f"\n## the watch alone, every {arguments.watch} s, times a loop that only wakes")
    wakes = used["a loop that only wakes"]
    ratios = [
        (used[name] - used[f"{name}, no watch"]) / wakes for name in ("1 address", "254 addresses")
    ]
    for name, ratio in zip(("1 address", "254 addresses"), ratios, strict=True):
        print(f"{name:28} {ratio:.2f}")
    return int(max(ratios) > _LIMIT)


def _agent(pids: list[int]) -> int:
    """Return the pid of the agent among those of a container."""
    return next(
        pid for pid in pids if b"ipfailover_agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def _cpu_seconds(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e9


if __name__ == "__main__":
    sys.exit(main())
