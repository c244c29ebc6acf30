"""Random changes in a row on a living pair: what a reload costs the addresses it keeps.

``make changes`` makes 200 of them (``LAB_CHANGES``; ``LAB_SEED`` chooses which) and prints what
each kind of address went through.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.lab.kit.edits import Deployment, edit
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, ConfigMap, stays, variables
from tests.lab.kit.timeline import Timeline

COUNT = int(os.environ.get("LAB_CHANGES", "12"))
SEED = int(os.environ.get("LAB_SEED", "1"))
#: A node follows the other within seconds; an address that finds no place for long is lost.
SETTLED = 30.0
_BLOCK = re.compile(r"^vrrp_instance .*?^}", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"^\s+([0-9a-f.:]+)/(?:32|128) ", re.MULTILINE)
_ID = re.compile(r"virtual_router_id (\d+)")

#: The id that an address has, and the addresses that go with it.
Place = tuple[int, frozenset[str]]


@dataclass(kw_only=True)
class Tally:
    """Seconds with no holder and with two, of each kind of address."""

    none: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    two: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, none: float, two: float) -> None:
        self.none[kind].append(none)
        self.two[kind].append(two)

    def lines(self) -> list[str]:
        return [
            f"{kind:44} {len(none):5}  none: {_spread(none)}  two: {_spread(self.two[kind])}"
            for kind, none in sorted(self.none.items())
        ]


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    zero = sum(each == 0 for each in ordered)
    points = [ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.9, 0.99, 1)]
    return f"0 in {zero:4}, p50/p90/p99/max " + " ".join(f"{each:.2f}" for each in points)


class Pair:
    """Two nodes with a ConfigMap each; the first one ranks higher."""

    def __init__(self, lab: Lab, deployment: Deployment) -> None:
        self.lab = lab
        self.sources: dict[str, ConfigMap] = {}
        self.tally = Tally()
        self.watches = {each: lab.client.watch(each, interval=0.05) for each in deployment.pool}
        for node in lab.nodes:
            source = ConfigMap(
                lab.directory / f"variables-{node.name}", self._of(node, deployment)
            )
            self.sources[node.name] = source
            node.start(source.unwatched)
            node.wait_for_line("Entering BACKUP STATE")
        lab.wait_for_each(deployment.addresses, timeout=ELECTION)

    def _of(self, node: Node, deployment: Deployment) -> dict[str, str]:
        rank = 240 if node is self.lab.nodes[0] else 200
        return variables(**{**deployment.variables(), "PRIORITY": str(rank + deployment.priority)})

    def change(self, what: str, deployment: Deployment, order: Iterable[Node]) -> None:
        """Have one node after the other take what was edited; note what it costs."""
        lab = self.lab
        began = time.monotonic()
        before = places(lab.nodes[0])
        for node in order:
            self.sources[node.name].write(self._of(node, deployment))
            self._reload(node, what)
        lab.wait_for_each(deployment.addresses, timeout=SETTLED)
        gone = [each for each in before if each not in deployment.addresses]
        lab.wait_for_none(gone, timeout=SETTLED)
        stays(1.2)  # an advert: what is refused shows
        lab.wait_for_each(deployment.addresses, timeout=SETTLED)
        after = places(lab.nodes[0])
        for address in before.keys() & after.keys():
            kind = f"whole change, {kind_of(before[address], after[address])}"
            self._note(kind, address, since=began, until=time.monotonic())
            silences = [
                each.seconds
                for each in self.watches[address].outages(since=began)
                if each.start >= began
            ]
            told = f"client, {kind_of(before[address], after[address])}"
            self.tally.add(told, max(silences, default=0.0), 0.0)

    def _reload(self, node: Node, what: str) -> None:
        lab = self.lab
        before = places(node)
        held = [each for each in before if lab.recorder.holders(each) == [node.name]]
        began = time.monotonic()
        done = node.ask("reload")
        assert done.returncode == 0, f"{what}: {done.stdout}{done.stderr}"
        until = time.monotonic()
        after = places(node)
        is_twice = "signalled twice" in done.stdout
        for address in held:
            if address not in after:
                continue
            kind = kind_of(before[address], after[address])
            if kind == "another id":
                ids = {place[0] for place in before.values()}
                kind = "an id that is new" if after[address][0] not in ids else "another's id"
            lost = [
                each
                for each in lab.recorder.changes(address, since=began)
                if each.node == node.name and not each.held and each.time <= until
            ]
            if lost and "same id" in kind:
                print(f"LOST {address} on {node.name}, {kind}: {what}\n{done.stdout}")
                print(lab.recorder.describe(since=began - 2))
                for each in lab.nodes:
                    print(f"{each.name}:", *each.stdout().splitlines()[-25:], sep="\n  ")
                    print(*each.stderr().splitlines()[-25:], sep="\n  ")
            twice = ", two signals" if is_twice else ""
            self._note(f"reload on the holder, {kind}{twice}", address, since=began, until=until)

    def _note(self, kind: str, address: str, *, since: float, until: float) -> None:
        line = Timeline(self.lab.recorder.changes(address))
        none = line.seconds(address, lambda count: count == 0, since=since, until=until)
        two = line.seconds(address, lambda count: count > 1, since=since, until=until)
        self.tally.add(kind, none, two)


def kind_of(before: Place, after: Place) -> str:
    """Return what happens to an address between two places."""
    if before == after:
        return "same id and set"
    return "same id, another set" if before[0] == after[0] else "another id"


def places(node: Node) -> dict[str, Place]:
    """Return where each address is in the keepalived.conf that is in force on a node."""
    found: dict[str, Place] = {}
    for block in _BLOCK.findall(node.read("/etc/keepalived/keepalived.conf")):
        addresses = frozenset(_ADDRESS.findall(block))
        number = int(_ID.findall(block)[0])
        found |= dict.fromkeys(addresses, (number, addresses))
    return found


@pytest.mark.slow
@pytest.mark.timeout(120 + 15 * COUNT)
def test_random_changes_cost_kept_addresses_nothing(pair: Lab) -> None:
    """Whatever is edited: who holds an address that keeps its id does not let go of it."""
    random = Random(SEED)  # noqa: S311 - no secret
    pool = (*pair.numbered(8), *pair.numbered6(3))
    mixed = tuple(random.sample(pool, len(pool)))
    deployment = Deployment(pool=mixed, addresses=mixed[:5])
    changing = Pair(pair, deployment)
    began = time.monotonic()
    try:
        for number in range(1, COUNT + 1):
            what, deployment = edit(deployment, random)
            order = random.sample(pair.nodes, 2)
            names = ", ".join(each.name for each in order)
            print(f"{number:3} {time.monotonic() - began:7.1f} s {what} ({names}): {deployment}")
            changing.change(what, deployment, order)
    finally:
        print("\n".join(changing.tally.lines()))
    kept = [
        seconds
        for kind, none in changing.tally.none.items()
        if kind.startswith("reload on the holder, same id")
        for seconds in none
    ]
    assert kept
    assert max(kept) == 0
