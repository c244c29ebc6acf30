"""``python -m tests.lab.kit.chaos``: run the matrix and print it; 1 when an aim is missed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.kit.chaos import matrix, report, wire


def _until_interrupted(outcomes: Iterator[matrix.Outcome]) -> Iterator[matrix.Outcome]:
    try:
        yield from outcomes
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.kit.chaos")
    parser.add_argument("--runs", type=int, default=3, help="of every fault in every mode")
    parser.add_argument("--workers", type=int, default=3, help="labs at a time")
    parser.add_argument("--keep", type=Path, help="a directory for what every node said")
    parser.add_argument("--mode", choices=["multicast", "unicast"])
    parser.add_argument("--plain", action="store_true", help="keepalived without the agent")
    parser.add_argument("words", nargs="*", help="only faults whose name contains one of these")
    options = parser.parse_args()
    faults = [
        each
        for each in matrix.MATRIX
        if not options.words or any(word in each.name for word in options.words)
        if not each.needs_compiler or wire.has_compiler()
    ]
    wanted = matrix.cases(faults, runs=options.runs, plain=options.plain)
    wanted = [each for each in wanted if options.mode in (None, each.mode)]
    begun = time.monotonic()
    outcomes = []
    # An early end still shows what was seen.
    for each in _until_interrupted(
        matrix.run_all(wanted, workers=options.workers, keep=options.keep)
    ):
        outcomes.append(each)
        said = "; ".join(each.misses) or "ok"
        numbers = ", ".join(
            f"{family} two {seen.two:.2f} none {seen.none:.2f} client {seen.client:.2f}"
            f" gains {seen.gains}"
            for family, seen in each.seen.items()
        )
        print(
            f"[{len(outcomes)}/{len(wanted)}] {each.case.fault}, {each.case.mode},"
            f" run {each.case.number}"
            f" ({each.seconds:.0f} s, late {each.lateness:.2f} s): {numbers}: {said}",
            file=sys.stderr,
            flush=True,
        )
    outcomes.sort(key=lambda each: wanted.index(each.case))
    print(report.table(outcomes))
    missed = [each for each in outcomes if each.misses]
    print(f"{len(outcomes)} runs in {time.monotonic() - begun:.0f} s, {len(missed)} with a miss")
    return 1 if missed or len(outcomes) < len(wanted) else 0


if __name__ == "__main__":
    sys.exit(main())
