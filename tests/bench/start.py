"""Measures what HTTP costs the start: time until keepalived is started, with it and without.

One start after the other, in turns and in one run, so that differences hold although machines
differ and are shared.
"""

from __future__ import annotations

import re
import statistics
import time
from datetime import datetime
from typing import TYPE_CHECKING

from tests.bench.cost import environment
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from tests.lab.node import Node

_STARTED = re.compile(r"^timestamp=(\S+) .* event=keepalived\.started ", re.MULTILINE)
_LISTENS: dict[str, dict[str, str]] = {"off": {"IPFAILOVER_LISTEN": "off"}, "the default": {}}


def show(node: Node, runs: int) -> None:
    """Print the figures."""
    print("\n## start until keepalived is started (wall seconds, entering namespaces included)")
    for count in (1, 254):
        seconds: dict[str, list[float]] = {name: [] for name in _LISTENS}
        for number in range(runs + 1):  # the first one warms up
            # Who comes second finds the machine as the other one left it: they take turns.
            for name in sorted(_LISTENS, reverse=bool(number % 2)):
                seconds[name].append(_start(node, {**environment(count), **_LISTENS[name]}))
        for name, figures in seconds.items():
            middle, first = statistics.median(figures[1:]), min(figures[1:])
            print(f"{count:3} address(es), HTTP {name:11}  min {first:.3f}  median {middle:.3f}")
        off, on = (figures[1:] for figures in seconds.values())
        pairs = [with_it - without for without, with_it in zip(off, on, strict=True)]
        # What else runs only ever adds to a time, so the shortest ones say the most.
        print(
            f"    the shortest differ by {1000 * (min(on) - min(off)):+.1f} ms "
            f"(x {min(on) / min(off):.3f}), "
            f"the median pair by {1000 * statistics.median(pairs):+.1f} ms"
        )


def _start(node: Node, variables: dict[str, str]) -> float:
    """Start the agent; return after how many seconds it says that it started keepalived."""
    begun = time.time()
    node.start(variables)
    found = wait_until(lambda: _STARTED.search(node.stderr()), timeout=30, what="a keepalived")
    node.terminate()
    node.wait()
    return datetime.fromisoformat(found[1]).timestamp() - begun
