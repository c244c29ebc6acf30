"""Measures start-up, cost and what clients wait for; ``make bench`` runs it. Nothing is judged.

Whole processes, warm, medians of several runs, and every figure beside bare Python on the same
machine in the same run, since machines differ and are shared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from tests.bench import cost, moments, start
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.support.waiting import wait_until

_COUNTS = (1, 16, 254)
_IMPORTS = "click, jinja2, psutil"
_RENDER = (sys.executable, "-m", "ipfailover_agent", "render")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=11, help="runs of each command")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds to watch an idle agent")
    parser.add_argument("--moments", type=int, default=9, help="rounds of moments, 0 = none")
    arguments = cost.begin(parser)
    with Lab(nodes=1, ipv6=False) as lab:
        node = lab.nodes[0]
        try:
            _render(node, arguments.runs)
            start.show_beside_imports(node, arguments.runs)
            start.show(node, arguments.runs)
            for count in (1, 254):
                _serve(node, count)
            cost.show(lab, arguments.idle)
        except AssertionError:
            print(lab.report())
            raise
    if arguments.moments > 0:
        moments.show(arguments.moments)


def _render(node: Node, runs: int) -> None:
    """Measure the start to the rendered file, beside Python alone, one after the other."""
    wanted: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "bare python": ((sys.executable, "-c", "pass"), {}),
        "with imports": ((sys.executable, "-c", f"import {_IMPORTS}"), {}),
    }
    wanted |= {f"render {count}": (_RENDER, cost.environment(count)) for count in _COUNTS}
    seconds: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(runs + 1):  # the first one warms up
        for name, (command, environment) in wanted.items():
            begun = time.perf_counter()
            words = [f"{key}={value}" for key, value in environment.items()]
            node.run(["env", *words, *command])
            seconds[name].append(time.perf_counter() - begun)
    bare, importing = (statistics.median(seconds[name][1:]) for name in list(wanted)[:2])
    print("\n## start to rendered file (wall seconds, entering the namespace included)")
    print(f"beside a Python that does nothing, and one that imports {_IMPORTS}")
    for name, figures in seconds.items():
        middle = statistics.median(figures[1:])
        print(
            f"{name:14} median {middle:.3f}  min {min(figures[1:]):.3f}  "
            f"max {max(figures[1:]):.3f}  over bare {middle - bare:+.3f}  "
            f"x {middle / importing:.2f} of imports"
        )


def _serve(node: Node, count: int) -> None:
    """Measure a run: keepalived started, everything MASTER, and the stop."""
    begun = time.perf_counter()
    node.start(cost.environment(count))

    def since() -> float:
        return time.perf_counter() - begun

    wait_until(lambda: "keepalived.started" in node.stderr(), 30, "a keepalived")
    started = since()
    wait_until(lambda: node.stdout().count("Entering MASTER STATE") >= count, 60, "MASTER")
    master = since()
    print(f"\n## {count} address(es)")
    print(f"keepalived started after {started:.3f} s, all MASTER after {master:.2f} s")
    node.terminate()
    begun = time.perf_counter()
    code = node.wait()
    print(f"stopped after {since():.2f} s with exit code {code}")


if __name__ == "__main__":
    main()
