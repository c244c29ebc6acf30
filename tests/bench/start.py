"""Measures the start until keepalived is started: beside bare imports, and what HTTP costs it.

One start after the other, in turns and in one run, so that ratios and differences hold although
machines differ and are shared.
"""

from __future__ import annotations

import statistics
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.bench.cost import environment
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import in_front_of

_LISTENS: dict[str, dict[str, str]] = {"off": {"IPFAILOVER_LISTEN": "off"}, "the default": {}}
#: As a container begins: the installed program.
_INSTALLED: Final = (str(Path(sys.executable).with_name("ipfailover-agent")), "run")
#: Says when the command is executed, as the last thing before.
_STAMP: Final = "date +%s.%N >&2"
_IMPORTS: Final = "click, jinja2, psutil, structlog"
_IMPORTING: Final = f"import {_IMPORTS}, time; print(time.time(), flush=True)"
#: A keepalived that takes every configuration for a good one at once. The real one reads all
#: addresses of the node for its test; its time grows with the square of their number (2.2.7).
UNTESTED: Final = '#!/bin/sh\n[ "$1" = --config-test ] && exit 0\nexec {program} "$@"\n'


def show_beside_imports(node: Node, runs: int) -> None:
    """Print how long exec to keepalived's start takes, beside a Python that only imports."""
    print(f"\n## from exec to keepalived's start, beside a Python that imports {_IMPORTS}")
    importing: list[float] = []
    tested: list[float] = []
    untested: list[float] = []
    for number in range(runs + 1):  # the first one warms up
        for measured in (importing, tested, untested)[:: (-1) ** number]:
            if measured is importing:
                measured.append(_import(node))
            else:
                before = in_front_of("keepalived", UNTESTED, node.directory)
                measured.append(_exec(node, "" if measured is tested else before))
    base = statistics.median(importing[1:])
    for name, figures in (
        ("Python that imports", importing),
        ("agent", tested),
        ("agent, keepalived's own test left out", untested),
    ):
        middle, least = statistics.median(figures[1:]), min(figures[1:])
        ratio, of_least = middle / base, least / min(importing[1:])
        print(
            f"{name:38} median {middle:.3f} (x {ratio:.2f})   min {least:.3f} (x {of_least:.2f})"
        )


def _import(node: Node) -> float:
    node.start({}, [sys.executable, "-c", _IMPORTING], prepare=_STAMP)
    assert node.wait() == 0
    return float(node.stdout()) - float(node.stderr())


def _exec(node: Node, prepare: str) -> float:
    """Return the seconds from the agent's exec to its word that it started keepalived."""
    node.start(environment(1), _INSTALLED, prepare=f"{prepare}\n{_STAMP}")
    started = started_at(node)
    executed = float(node.stderr().split()[0])
    node.stop()
    return started - executed


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
    started = started_at(node)
    node.stop()
    return started - begun


def started_at(node: Node) -> float:
    """Return when the agent says that it started keepalived, by the clock of the wall."""
    line = node.wait_for_line(" event=keepalived.started ", timeout=60)
    return datetime.fromisoformat(line.split()[0].partition("=")[2]).timestamp()
