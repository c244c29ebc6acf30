"""Measures what a crowded node costs: ``python -m tests.bench.crowd``, as root.

Nothing is judged. Two nodes at the same time, one with nothing but its own, one with tens of
thousands of addresses on another interface and a full routing table: so ratios hold although
machines differ and are shared. keepalived's own cost is shown apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from tests.bench.cost import begin, cpu_seconds
from tests.bench.start import UNTESTED, started_at
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.raw import keepalived_config
from tests.lab.kit.scenarios import command, in_front_of, variables

_LATE = ("loop.late", "lease.late", "lease.lapsed")


def crowd(node: Node, *, addresses: int, interfaces: int, routes: int) -> None:
    """Give a node so many addresses, on so many interfaces together, and routes."""
    names = ["kube-ipvs0", *(f"other{number}" for number in range(1, interfaces))]
    share = addresses // interfaces
    for number, name in enumerate(names):
        node.network.ip([f"link add {name} type veth peer name peer{number}"])
        _add(node, "addresses", name, f"10.{100 + number}.0.0", share)
    _add(node, "routes", "eth0", "20.0.0.0", routes)


def _add(node: Node, what: str, interface: str, first: str, count: int) -> None:
    words = (what, interface, first, str(count))
    module = (sys.executable, "-m", "tests.support.crowd")
    node.run([*command()[:2], *module, *words], timeout=300)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowd", description=main.__doc__)
    parser.add_argument("--addresses", type=int, default=20_000)
    parser.add_argument("--interfaces", type=int, default=1, help="that share the addresses")
    parser.add_argument("--routes", type=int, default=700_000)
    parser.add_argument("--runs", type=int, default=11, help="starts of each")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to watch idle agents")
    arguments = begin(parser)
    with Lab(nodes=2, ipv6=False) as lab:
        empty, crowded = lab.nodes
        crowd(
            crowded,
            addresses=arguments.addresses,
            interfaces=arguments.interfaces,
            routes=arguments.routes,
        )
        print(f"# {arguments.addresses} foreign addresses, {arguments.routes} routes")
        _start(lab, arguments.runs)
        _idle(lab, arguments.idle)
        _keepalived(lab, arguments.idle / 2)
        print(f"# the empty node: {empty.name}, the crowded one: {crowded.name}")


def _values(lab: Lab, node: Node) -> dict[str, str]:
    number = lab.nodes.index(node) + 1
    more = {"VRRP_ID_OFFSET": str(10 * number), "MONITOR_PORT": "0"}
    return variables(lab.virtual(number), **more)


def _start(lab: Lab, runs: int) -> None:
    for is_tested in (True, False):
        what = "its own test included" if is_tested else "its own test left out"
        print(f"\n## exec until keepalived is started, {what} (seconds, entering namespaces too)")
        seconds: dict[Node, list[float]] = {each: [] for each in lab.nodes}
        used: dict[Node, list[float]] = {each: [] for each in lab.nodes}
        for number in range(runs + 1):  # the first one warms up
            for node in sorted(lab.nodes, key=lab.nodes.index, reverse=bool(number % 2)):
                values = _values(lab, node)
                begun = time.time()
                untested = in_front_of("keepalived", UNTESTED, node.directory)
                node.start(values, prepare="" if is_tested else untested)
                seconds[node].append(started_at(node) - begun)
                used[node].append(cpu_seconds(node.container.agent_pid))
                node.stop()
        _compare({node: statistics.median(each[1:]) for node, each in seconds.items()}, "median")
        _compare({node: min(each[1:]) for node, each in seconds.items()}, "least")
        _compare({node: min(each[1:]) for node, each in used.items()}, "least, CPU of the agent")


def _idle(lab: Lab, seconds: float) -> None:
    for node in lab.nodes:
        node.start(_values(lab, node))
    for number in range(1, len(lab.nodes) + 1):
        lab.wait_for_holder(lab.virtual(number), timeout=60)
    time.sleep(3)
    print(f"\n## CPU of idle nodes over {seconds:.0f} s (seconds of CPU for 100 s)")
    agents = {node: [node.container.agent_pid] for node in lab.nodes}
    daemons = {node: node.pids("keepalived") for node in lab.nodes}
    before = [_used(agents), _used(daemons)]
    time.sleep(seconds)
    for what, first, pids in zip(
        ("agent", "its keepalived"), before, (agents, daemons), strict=True
    ):
        last = _used(pids)
        _compare({node: 100 * (last[node] - first[node]) / seconds for node in lab.nodes}, what)
    for node in lab.nodes:
        late = {each: node.stderr().count(f"event={each} ") for each in _LATE}
        print(f"{node.name}: {late}")
        node.stop()


def _keepalived(lab: Lab, seconds: float) -> None:
    print("\n## keepalived alone, without an agent")
    test: dict[Node, float] = {}
    for number, node in enumerate(lab.nodes, start=1):
        config = keepalived_config(
            lab.virtual(number), priority=100, virtual_router_id=10 * number + 1
        )
        begun = time.monotonic()
        node.start_keepalived(config)
        lab.wait_for_holder(lab.virtual(number), timeout=60)
        test[node] = time.monotonic() - begun
    _compare(test, "start until it holds")
    pids = {node: node.pids("keepalived") for node in lab.nodes}
    _compare(_used(pids), "CPU of the start")
    before = _used(pids)
    time.sleep(seconds)
    after = _used(pids)
    _compare({each: 100 * (after[each] - before[each]) / seconds for each in pids}, "CPU idle")


def _used(pids: dict[Node, list[int]]) -> dict[Node, float]:
    return {node: sum(map(cpu_seconds, each)) for node, each in pids.items()}


def _compare(figures: dict[Node, float], what: str) -> None:
    empty, crowded = figures.values()
    ratio = f"x {crowded / empty:.2f}" if empty else ""
    print(f"{what:22} empty {empty:8.3f}   crowded {crowded:8.3f}   {ratio}")


if __name__ == "__main__":
    main()
