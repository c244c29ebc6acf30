"""Measures the moments that a client waits for: ``python -m tests.bench.moments``, as root.

Nothing is judged. The agent, plain keepalived with the same settings and, where ``IPFAILOVER_REF``
names its scripts, the shell image, side by side: three nodes each, one after the other in every
round, since machines differ and are shared.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from tests.bench.calls import Calls
from tests.bench.clusters import (
    CHECK_INTERVAL,
    Agents,
    Cluster,
    Plain,
    ShellImage,
    reference,
    versions,
)
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.privileges import ensure_privileges
from tests.lab.kit.scenarios import stays

_NODES: Final = 3
_SEED: Final = 1
_FEWER: Final = 3  # what takes long is done in every third round
_NO_END: Final = 6.0  # seconds for which two holders are watched
_PATIENCE: Final = 90.0
_SHOWN: Final = 0.05  # seconds: two holders are told of from here on


@dataclass(frozen=True, slots=True, kw_only=True)
class Felt:
    """What a client felt of one moment, in seconds.

    Attributes:
        gap: without an answer.
        two: two nodes held the address.
        ours: until the agent had done its part of it, None where it has none.
    """

    gap: float
    two: float = 0.0
    ours: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A row, or some that one happening gives.

    Attributes:
        rows: what each row is called, and what bounds it.
        happen: make it happen in a cluster; a figure for each row, None where it cannot.
        is_quick: it is done in every round.
    """

    rows: Mapping[str, str]
    happen: Callable[[Cluster, random.Random], Sequence[Felt | None]]
    is_quick: bool = False


_Happen = TypeVar("_Happen", bound="Callable[[Cluster, random.Random], Sequence[Felt | None]]")
MOMENTS: Final[list[Moment]] = []


def _moment(*rows: tuple[str, str], is_quick: bool = False) -> Callable[[_Happen], _Happen]:
    """Return what makes a function a moment; the arguments are those of ``Moment``."""

    def note(happen: _Happen) -> _Happen:
        MOMENTS.append(Moment(rows=dict(rows), happen=happen, is_quick=is_quick))
        return happen

    return note


# --- what happens -------------------------------------------------------------------------------


@_moment(
    (
        "application killed",
        "the next look at its listener, elsewhere the next check; then the next skew",
    ),
    is_quick=True,
)
def _application_dies(cluster: Cluster, chance: random.Random) -> Sequence[Felt]:
    """The application is killed at a random moment between two checks."""
    holder = cluster.settle()
    with Calls(cluster.lab, cluster.address) as calls:
        stays(chance.uniform(0, CHECK_INTERVAL))
        begun = _taken_over(cluster, holder, calls, holder.application.stop)
        found = begun.felt(calls, by=holder, event="check.failed")
    holder.application.start()
    return [found]


@_moment(("planned stop", "the skew of the next node"), is_quick=True)
def _planned_stop(cluster: Cluster, _: random.Random) -> Sequence[Felt]:
    holder = cluster.settle()
    with Calls(cluster.lab, cluster.address) as calls:
        found = _taken_over(cluster, holder, calls, holder.terminate).felt(calls)
    holder.wait()
    cluster.start(holder)
    return [found]


@_moment(("drain", "the skew of the next node"))
def _drain(cluster: Cluster, _: random.Random) -> Sequence[Felt | None]:
    holder = cluster.settle()
    with Calls(cluster.lab, cluster.address) as calls:
        begun = _Beginning(cluster)
        undrain = cluster.drain(holder)
        if undrain is None:
            return [None]
        calls.wait_for_another(holder.name, begun.at, timeout=_PATIENCE)
        found = begun.felt(calls)
    undrain()
    return [found]


@_moment(
    (
        "container start to first answer",
        "three advert intervals of silence and the skew: the election",
    )
)
def _start(cluster: Cluster, _: random.Random) -> Sequence[Felt]:
    """One node starts, and no other runs."""
    cluster.settle()
    cluster.stop_all()
    first = cluster.lab.nodes[0]
    begun = _Beginning(cluster)
    cluster.start(first)
    with Calls(cluster.lab, cluster.address, is_served=False) as calls:
        answer = calls.wait_for_first(timeout=_PATIENCE)
        found = Felt(gap=answer.time - begun.at, ours=begun.until(first, "keepalived.started"))
    cluster.start_all()
    return [found]


@_moment(
    (
        "holder's container SIGKILLed",
        "nothing: the address stays where it was until another node takes it",
    )
)
def _holder_killed(cluster: Cluster, _: random.Random) -> Sequence[Felt]:
    """The whole container is, at once; what it held stays on its node."""
    holder = cluster.settle()
    with Calls(cluster.lab, cluster.address) as calls:
        begun = _Beginning(cluster)
        holder.kill()
        stays(_NO_END)
        found = begun.felt(calls)
    cluster.start(holder)
    return [found]


@_moment(
    (
        "holder's link cut",
        "three advert intervals and the skew, less the time since the last advert",
    )
)
def _link_cut(cluster: Cluster, _: random.Random) -> Sequence[Felt]:
    """Every frame of the holder is lost."""
    holder = cluster.settle()
    with Calls(cluster.lab, cluster.address) as calls:
        gap = calls.gap(_taken_over(cluster, holder, calls, holder.cut).at)
    holder.join()
    return [Felt(gap=gap)]  # two hold it, as far as two kernels can tell; no client reaches both


@_moment(
    ("reload, at an address that stays", "nothing: it is not touched"),
    (
        "change of the list to the first answer of what was added",
        "the next look at the source, then an election",
    ),
)
def _change(cluster: Cluster, _: random.Random) -> Sequence[Felt]:
    """An address is added: what the one before feels, and when the new one answers."""
    cluster.settle()
    with (
        Calls(cluster.lab, cluster.address) as before,
        Calls(cluster.lab, cluster.second, is_served=False) as added,
    ):
        begun = _Beginning(cluster)
        cluster.change(cluster.address, cluster.second)
        answer = added.wait_for_first(timeout=_PATIENCE)
        taken = begun.until(cluster.lab.node(answer.node), "config.activated")
        found = begun.felt(before)
    cluster.back()
    return [found, Felt(gap=answer.time - begun.at, ours=taken)]


@_moment(("rolling restart, the longest gap", "a planned stop, node by node"))
def _rolling_restart(cluster: Cluster, _: random.Random) -> Sequence[Felt]:
    """Every node in turn; the next one when nothing has moved for a while."""
    cluster.settle()
    with Calls(cluster.lab, cluster.address) as calls:
        begun = _Beginning(cluster)
        for node in cluster.lab.nodes:
            cluster.restart(node)
            cluster.settle()
        return [begun.felt(calls)]


def _taken_over(
    cluster: Cluster, holder: Node, calls: Calls, happen: Callable[[], object]
) -> _Beginning:
    """Make something happen to the holder; return when, once another node has answered."""
    begun = _Beginning(cluster)
    happen()
    calls.wait_for_another(holder.name, begun.at, timeout=_PATIENCE)
    return begun


class _Beginning:
    """When something began, by both clocks."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._wall = time.time()
        self.at = time.monotonic()

    def felt(self, calls: Calls, *, by: Node | None = None, event: str = "") -> Felt:
        """Return what was felt since, and the agent's part, that ends with an event."""
        return Felt(
            gap=calls.gap(self.at),
            two=self._cluster.lab.recorder.seconds_with_two(self._cluster.address, since=self.at),
            ours=self.until(by, event) if by is not None else None,
        )

    def until(self, node: Node, event: str) -> float | None:
        """Return when a node's agent first told of an event since, None when it did not."""
        pattern = rf"^timestamp=(\S+) .* event={re.escape(event)} "
        for stamp in re.findall(pattern, node.stderr(), re.MULTILINE):
            elapsed = datetime.fromisoformat(stamp).timestamp() - self._wall
            if elapsed >= 0:
                return elapsed
        return None


# --- all of it ----------------------------------------------------------------------------------


def show(runs: int, only: str = "") -> None:
    """Measure ``runs`` rounds and print the table; ``only`` moments with this in their name."""
    found = reference()
    wanted = [each for each in MOMENTS if any(only in row for row in each.rows)]
    felt: dict[str, dict[str, list[Felt]]] = {}
    with contextlib.ExitStack() as stack:
        clusters: list[Cluster] = []
        for is_unicast, how in ((False, "multicast"), (True, "peers listed")):
            lab, other = (stack.enter_context(Lab(nodes=_NODES, ipv6=False)) for _ in range(2))
            clusters.append(Agents(lab, f"agent, {how}", is_unicast=is_unicast))
            clusters.append(Plain(other, f"keepalived, {how}", is_unicast=is_unicast))
        if found.scripts is not None:
            lab = stack.enter_context(Lab(nodes=_NODES, ipv6=False))
            clusters.append(
                ShellImage(lab, "shell image", is_unicast=False, scripts=found.scripts)
            )
        print("\n## the moments a client waits for (seconds without an answer)")
        print(f"{', '.join(versions(clusters[0].lab.nodes[0]))}; three nodes each")
        try:
            for each in clusters:
                each.start_all()
            _rounds(wanted, clusters, runs, felt)
        except AssertionError:
            for each in clusters:
                print(f"=== {each.name}\n{each.lab.report()}")
            raise
        columns = [each.name for each in clusters]
        late = max(each.lab.recorder.lateness for each in clusters)
    _table(felt, columns)
    if found.scripts is None:
        print(f"shell image: not measured, as {found.reason}")
    else:
        print("shell image: a change makes its containers anew, one by one")
    print(f"observers woke up to {late:.3f} s late on this machine")


def _rounds(
    wanted: Sequence[Moment],
    clusters: Sequence[Cluster],
    runs: int,
    felt: dict[str, dict[str, list[Felt]]],
) -> None:
    chance = random.Random(_SEED)  # noqa: S311 - the same moments in every run
    for moment in wanted:
        for number in range(runs):
            if number % _FEWER and not moment.is_quick:
                continue
            for cluster in clusters:
                for row, seen in zip(moment.rows, moment.happen(cluster, chance), strict=True):
                    here = felt.setdefault(row, {}).setdefault(cluster.name, [])
                    here += [seen] if seen is not None else []
                    print(f"# {row}, {cluster.name}: {cell(here[-1:])}", file=sys.stderr)


def _table(felt: Mapping[str, Mapping[str, Sequence[Felt]]], columns: Sequence[str]) -> None:
    print("median (least to most)\n")
    print(f"| Moment | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for row, seen in felt.items():
        print(f"| {row} | {' | '.join(cell(seen.get(each, ())) for each in columns)} |")
    print("\n| Moment | What bounds it | Of that the agent's |\n|---|---|---|")
    for moment in MOMENTS:
        for row, bound in moment.rows.items():
            if row in felt:
                print(f"| {row} | {bound} | {ours(felt[row].values())} |")


def cell(seen: Sequence[Felt]) -> str:
    """Return the figures of one row and column in words."""
    if not seen:
        return "-"
    gaps = [each.gap for each in seen]
    words = f"{statistics.median(gaps):.2f}"
    if len(gaps) > 1:
        words += f" ({min(gaps):.2f} to {max(gaps):.2f})"
    two = max(each.two for each in seen)
    if two > _NO_END / 3:
        return f"{words}, two hold it without end"
    return f"{words}, two hold it for {two:.2f}" if two > _SHOWN else words


def ours(columns: Iterable[Sequence[Felt]]) -> str:
    """Return in words what of a row is the agent's."""
    parts = [each.ours for seen in columns for each in seen if each.ours is not None]
    return f"{statistics.median(parts):.2f}" if parts else "-"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.moments", description=main.__doc__
    )
    parser.add_argument("--runs", type=int, default=9, help="rounds; long ones in every third")
    parser.add_argument("--only", default="", help="moments with this in their name")
    arguments = parser.parse_args()
    ensure_privileges()
    show(max(1, arguments.runs), arguments.only)


if __name__ == "__main__":
    main()
