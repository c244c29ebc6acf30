"""Measures what checking a port costs: ``python -m tests.bench.probes``, as root.

Nothing is judged. Four nodes at the same time: the agent with its own probes and with a check
of keepalived's, and keepalived with the shell image's check, each beside one that checks nothing.
The CPU of all processes of a container counts, ended children included.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from tests.bench.cost import begin
from tests.lab.kit import raw
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import variables
from tests.support.waiting import wait_until

_SETTLING = 3.0  # seconds after the last MASTER
_TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.probes", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement")
    parser.add_argument("--interval", default="0.25", help="seconds between the agent's probes")
    arguments = begin(parser)
    with Lab(nodes=5, ipv6=False) as lab:
        probing, scripted, idle, old, bare = lab.nodes
        agents = {
            probing: {"CHECK_INTERVAL": arguments.interval},
            scripted: {"CHECK_INTERVAL": "2"},
            idle: {"MONITOR_PORT": "0"},
        }
        for number, (node, more) in enumerate(agents.items(), start=1):
            node.start(variables(lab.virtual(number), VRRP_ID_OFFSET=str(10 * number), **more))
        # The shell image's check.
        config = raw.keepalived_config(
            lab.virtual(4), priority=100, virtual_router_id=54, extra=raw.TRACKED
        )
        old.start_keepalived(raw.with_port_check(config, old, lab.port, "2"))
        bare.start_keepalived(
            raw.keepalived_config(lab.virtual(5), priority=100, virtual_router_id=55)
        )
        wait_until(
            lambda: all(lab.recorder.holders(lab.virtual(number)) for number in range(1, 6)),
            30,
            "every node holds its address",
        )
        time.sleep(_SETTLING)
        before = {each: _cpu_seconds(each) for each in lab.nodes}
        begun = time.monotonic()
        time.sleep(arguments.seconds)
        elapsed = time.monotonic() - begun
        used = {each: (_cpu_seconds(each) - before[each]) / elapsed for each in lab.nodes}
    print(f"\n## CPU over {elapsed:.0f} s, per cent of a core, agent and keepalived together")
    for name, node in (
        (f"agent, probes every {arguments.interval} s", probing),
        ("agent, script every 2 s", scripted),
        ("agent, no check", idle),
        ("keepalived, shell image's script every 2 s", old),
        ("keepalived, no check", bare),
    ):
        print(f"{name:45} {100 * used[node]:.3f}")
    ours, theirs = used[probing] - used[idle], used[old] - used[bare]
    print("\n## the check alone")
    print(f"probes every {arguments.interval} s: {100 * ours:.3f} % of a core")
    print(f"shell image's script: {100 * theirs:.3f} % of a core")
    print(f"ratio: {ours / theirs:.2f}")


def _cpu_seconds(node: Node) -> float:
    """Return what the container's processes have used, and their children that have ended."""
    total = 0.0
    for pid in node.pids():
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        own = int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])
        total += own / 1e9 + (int(stat[13]) + int(stat[14])) / _TICK
    return total


if __name__ == "__main__":
    main()
