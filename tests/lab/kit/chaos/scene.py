"""A scene: some nodes that serve one address of each family, and what was seen of them."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.lab.kit import raw, scenarios, speakers
from tests.lab.kit.client import Connecting, Watch
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.timeline import Timeline
from tests.support.waiting import wait_until

Mode = Literal["multicast", "unicast"]
Family = Literal["IPv4", "IPv6"]

MODES: tuple[Mode, ...] = ("multicast", "unicast")
FAMILIES: tuple[Family, ...] = ("IPv4", "IPv6")

#: What the agent computes: far apart where peers are unknown, close together where they are.
_PRIORITIES = {"multicast": (250, 190, 140), "unicast": (254, 250, 246)}
_STRANGE_PRIORITY = 100
_SETTLED = 1.0  # seconds after an election: dumps were asked for, neighbours are known


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one address from the fault on, in seconds.

    ``two`` and ``none`` are sums within a stage of the story (a fault, its repair), those of the
    worst stage; ``client`` is the longest silence. ``gains`` counts how often a
    node took the address. ``ends`` are the holders at the end of every stage of the story. All
    that is about members; ``beside`` is for how long one of them held it beside a stranger.
    """

    two: float
    none: float
    client: float
    gains: int
    ends: tuple[tuple[str, ...], ...]
    beside: float


class Scene:
    """A lab in which the first ``members`` nodes serve, n1 everything at first.

    Args:
        lab: with at least ``members`` nodes; the others are strangers.
        mode: how nodes send adverts.
        families: of the addresses, one address each.
        members: how many nodes serve; all by default.
        phase: seconds to wait longer before the fault: questions are asked every 5 s.
        plain: keepalived alone instead of the agent, to see what a fault is without it; stories
            that need other variables cannot be set then.
    """

    def __init__(
        self,
        lab: Lab,
        mode: Mode,
        *,
        families: tuple[Family, ...] = FAMILIES,
        members: int | None = None,
        phase: float = 0.0,
        plain: bool = False,
    ) -> None:
        self.lab = lab
        self.mode = mode
        self.families = families
        self.members = lab.nodes[:members]
        self.strangers = lab.nodes[len(self.members) :]
        self.addresses = {
            family: lab.virtual(1) if family == "IPv4" else lab.virtual6(1) for family in families
        }
        self.phase = phase
        self._plain = plain
        self.began = 0.0
        self.earlier_output: list[str] = []
        self._none_since = 0.0
        self._stages: list[float] = []
        self._is_unread: frozenset[str] = frozenset()
        self._ends: list[dict[str, tuple[str, ...]]] = []
        self._stack = contextlib.ExitStack()
        self._connecting: dict[Family, Connecting] = {}
        self._watches: dict[Family, Watch] = {}

    # --- who is who ------------------------------------------------------------------------------

    @property
    def holder(self) -> Node:
        """Return the node that holds everything before the fault."""
        return self.members[0]

    @property
    def successor(self) -> Node:
        """Return the node that is next."""
        return self.members[1]

    # --- serving ---------------------------------------------------------------------------------

    def variables(self, node: Node, **more: str) -> dict[str, str]:
        """Return the variables of a node; ``more`` without OPENSHIFT_HA_, an empty one unset."""
        place = self.members.index(node)
        values = {"PRIORITY": str(_PRIORITIES[self.mode][place])}
        if self.mode == "unicast":
            values["UNICAST_PEERS"] = self.peers
        found = scenarios.variables(*self.addresses.values(), **{**values, **more})
        return {name: value for name, value in found.items() if value}

    @property
    def peers(self) -> str:
        """Return the addresses of all members; a lone node's peers are those that are gone."""
        nodes = self.members if len(self.members) > 1 else self.lab.nodes
        return ",".join(each for node in nodes for each in (node.ip, node.ipv6))

    def serve(
        self,
        *,
        as_pid_1: bool = True,
        prepare: Mapping[str, str] | None = None,
        run_mount: str = "",
        **more: str,
    ) -> None:
        """Start every member, n1 first; return when it holds everything and the rest wait.

        ``prepare``: shell text for a node's container, by name; it may hide its output.
        """
        self._is_unread = frozenset(prepare or ())
        for node in self.members:
            if self._plain:
                node.start_keepalived(self.plain_config(node))
            else:
                node.start(
                    self.variables(node, **more),
                    as_pid_1=as_pid_1,
                    prepare=(prepare or {}).get(node.name, ""),
                    run_mount=run_mount,
                )
            if node is self.holder:
                self.until(lambda: self._is_backup(self.holder), scenarios.ELECTION, "n1 started")
        self.until(
            lambda: (
                all(self._is_backup(each) for each in self.members) and self.holds_all(self.holder)
            ),
            scenarios.ELECTION,
            f"{self.holder.name} alone holds everything and the others wait",
        )
        self.listen()
        time.sleep(_SETTLED + self.phase)

    def listen(self) -> None:
        """Let the client ask for every address from now on."""
        for family, address in self.addresses.items():
            self._watches[family] = self.lab.client.watch(address)
            self._stack.callback(self._watches[family].stop)

    def plain_config(self, node: Node) -> str:
        """Return what the shell image would have keepalived do, but for its check.

        A stranger ranks below all members.
        """
        nodes = [each for each in self.lab.nodes if each in self.members or each is node]
        ranks = (*_PRIORITIES[self.mode], _STRANGE_PRIORITY)
        return raw.joined(
            raw.keepalived_config(
                address,
                priority=ranks[nodes.index(node)],
                virtual_router_id=number,
                name=f"plain{number}",
                extra=_unicast(node, nodes, address) if self.mode == "unicast" else "",
            )
            for number, address in enumerate(self.addresses.values(), start=11)
        )

    def holds_all(self, node: Node) -> bool:
        """Tell whether a node alone holds every address."""
        holders = self.lab.recorder.holders
        return all(holders(each) == [node.name] for each in self.addresses.values())

    def restart(self, node: Node, **more: str) -> None:
        """Stop a member as planned, and start it with other variables."""
        node.terminate()
        node.wait()
        self.earlier_output.append(node.stderr())
        node.start(self.variables(node, **more))

    def _is_backup(self, node: Node) -> bool:
        if node.name in self._is_unread:
            states = [each["state"] for each in node.noted().get("instances", ())]
            return bool(states) and set(states) <= {"BACKUP", "MASTER"}
        lines = node.output().splitlines()
        return sum("Entering BACKUP STATE" in line for line in lines) >= len(self.addresses)

    # --- time ------------------------------------------------------------------------------------

    def begins(self) -> None:
        """Call it right before the fault: everything is measured from here on."""
        self.began = time.monotonic()

    def forgive_none(self) -> None:
        """Let seconds without a holder count from here on: before, nothing could have held it."""
        self._none_since = time.monotonic()

    def watch(self, seconds: float, *, notes: bool = True) -> None:
        """Let time pass, and note who holds what then, if that is to be judged."""
        time.sleep(seconds)
        self._stages.append(time.monotonic())
        if not notes:
            return
        names = {each.name for each in self.members}
        holders = self.lab.recorder.holders
        self._ends.append(
            {
                family: tuple(name for name in holders(each) if name in names)
                for family, each in self.addresses.items()
            }
        )

    def until(self, predicate: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait until something is true."""
        wait_until(predicate, timeout, what, interval=0.02)

    def hears(self, stranger: Node, frames: Sequence[bytes]) -> None:
        """Have a stranger send these frames every second until the scene ends."""
        every = [(1.0, each) for each in frames]
        self._stack.enter_context(speakers.speaking(stranger, every))

    def connect(self) -> None:
        """From now on let the client connect over TCP, again and again, and measure that."""
        for family, address in self.addresses.items():
            connecting = self.lab.client.connecting(address, timeout=0.15)
            self._connecting[family] = self._stack.enter_context(connecting)

    def _client(self, family: Family) -> float:
        """Return the longest time that the client was without an answer."""
        if family in self._connecting:
            return self._connecting[family].longest_gap(since=self.began)
        return self._watches[family].worst_outage(since=self.began)

    # --- what was seen ---------------------------------------------------------------------------

    def seen(self) -> Iterator[tuple[Family, Seen]]:
        """End the story and yield what was seen of each address."""
        self.close()
        recorder = self.lab.recorder
        names = {each.name for each in self.members}
        for family, address in self.addresses.items():
            everything = recorder.changes(address)
            changes = [each for each in everything if each.node in names]
            spans = list(itertools.pairwise([self.began, *self._stages]))
            served = [
                (max(start, self._none_since), end)
                for start, end in spans
                if end > self._none_since
            ]
            line = Timeline(changes)
            yield (
                family,
                Seen(
                    two=_worst(line, address, lambda count: count > 1, spans),
                    none=_worst(line, address, lambda count: count == 0, served),
                    client=self._client(family),
                    gains=sum(each.held and each.time >= self.began for each in changes),
                    ends=tuple(each[family] for each in self._ends),
                    beside=_worst(Timeline(everything), address, lambda count: count > 1, spans),
                ),
            )

    @property
    def lateness(self) -> float:
        """Return by how much this machine was late at worst."""
        late = (each.lateness for each in self._watches.values())
        return max(self.lab.recorder.lateness, *late)

    def logged(self) -> str:
        """Return what all agents logged."""
        return "\n".join([*self.earlier_output, *(each.stderr() for each in self.members)])

    def close(self) -> None:
        """Stop what runs in the background."""
        self._stack.close()


def _unicast(node: Node, members: Sequence[Node], like: str) -> str:
    """Return what makes a node's instance of the family of ``like`` send to the other members."""
    own = {each.name: each.ipv6 if ":" in like else each.ip for each in members}
    return raw.unicast(own.pop(node.name), own.values())


def _worst(
    line: Timeline,
    address: str,
    counts: Callable[[int], bool],
    spans: Sequence[tuple[float, float]],
) -> float:
    seconds = (line.seconds(address, counts, since=start, until=end) for start, end in spans)
    return max(seconds, default=0.0)
