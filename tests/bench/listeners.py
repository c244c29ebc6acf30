"""Measures what watching listeners costs: ``python -m tests.bench.listeners``, as root.

Nothing is judged. Agents with 1 and with 254 addresses run at the same time, each with the watch
and without it (both probe the port themselves, every 2.5 s), beside a Python loop that only wakes
as often as the watch does, and beside a process that has the agent's loop and its watch and does
nothing else. The CPU of all threads counts, in rounds: what differs between two agents is small
beside what each differs from itself, so medians are printed with the least and the most.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.cost import begin
from tests.lab.kit.lab import Lab
from tests.lab.kit.scenarios import ELECTION, variables
from tests.support.waiting import wait_until

_SETTLING = 5.0  # seconds after the last MASTER
_WAKES, _ALONE = "a loop that only wakes", "the watch alone"
_PROJECT = Path(__file__).parents[2]
_LOOP = """
import select, sys
poll, seconds = select.epoll(), float(sys.argv[1])
while True:
    poll.poll(seconds)
"""
_WATCH = """
import socket, sys
from ipaddress import ip_address
import structlog
from ipfailover_agent.model import PortCheck
from ipfailover_agent.health.listener_watch import ListenerWatch
from ipfailover_agent.linux.loop import Loop
made = socket.create_server(("127.0.0.1", 0))
port = PortCheck(address=ip_address("127.0.0.1"), port=made.getsockname()[1])
with Loop(()) as loop:
    listeners = ListenerWatch(structlog.get_logger(), loop, lambda _: False)
    listeners.configure((port,), float(sys.argv[1]))
    listeners.want(is_wanted=True)
    assert listeners.is_watching
    while True:
        loop.wait(None)
"""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.listeners", description=main.__doc__
    )
    parser.add_argument("--rounds", type=int, default=15, help="how often is measured")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a round")
    parser.add_argument("--watch", default="0.05", help="seconds between two looks")
    arguments = begin(parser)
    kinds = {  # name: addresses, variables
        "1 address, no watch": (1, {"CHECK_WATCH": "0"}),
        "1 address": (1, {"CHECK_WATCH": arguments.watch}),
        "254 addresses, no watch": (254, {"CHECK_WATCH": "0"}),
        "254 addresses": (254, {"CHECK_WATCH": arguments.watch}),
    }
    with Lab(nodes=len(kinds), ipv6=False) as lab, ExitStack() as stack:
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
            3 * ELECTION,
            "every node holds its addresses",
        )
        pids = {name: _agent(node.pids()) for name, node in zip(kinds, lab.nodes, strict=True)}
        for name, text in ((_WAKES, _LOOP), (_ALONE, _WATCH)):
            words = [sys.executable, "-c", text, arguments.watch]
            child = stack.enter_context(subprocess.Popen(words, cwd=_PROJECT))
            stack.callback(child.kill)
            pids[name] = child.pid
        time.sleep(_SETTLING)
        rounds = [_round(pids, arguments.seconds) for _ in range(arguments.rounds)]
    print(f"\n## CPU, per cent of a core, {arguments.rounds} rounds of {arguments.seconds:g} s")
    for name in pids:
        _print(name, [100 * each[name] for each in rounds], 3)
    print(f"\n## the watch, every {arguments.watch} s, times a loop that only wakes")
    _print(_ALONE, [each[_ALONE] / each[_WAKES] for each in rounds], 2)
    print("\n## likewise, as what an agent with the watch takes more than one without, and a wake")
    for name in ("1 address", "254 addresses"):
        extra = [(each[name] - each[f"{name}, no watch"]) / each[_WAKES] for each in rounds]
        _print(name, extra, 2)


def _round(pids: dict[str, int], seconds: float) -> dict[str, float]:
    """Return what share of a core each process takes for so long."""
    before, begun = {name: _cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - begun
    return {name: (_cpu_seconds(pid) - before[name]) / elapsed for name, pid in pids.items()}


def _print(name: str, figures: list[float], places: int) -> None:
    middle, least, most = statistics.median(figures), min(figures), max(figures)
    print(f"{name:28} {middle:.{places}f} ({least:.{places}f} to {most:.{places}f})")


def _agent(pids: list[int]) -> int:
    """Return the pid of the agent among those of a container."""
    return next(
        pid for pid in pids if b"ipfailover_agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def _cpu_seconds(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e9


if __name__ == "__main__":
    main()
