"""The lab: nodes, a switch and a client on one machine, made and torn down in a moment."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Self, TypeAlias

import pytest

from tests.lab.kit import scenarios
from tests.lab.kit.application import Application
from tests.lab.kit.client import Client
from tests.lab.kit.leftovers import make_run_directory
from tests.lab.kit.namespaces import NetworkNamespace
from tests.lab.kit.node import AGENT, INTERFACE, HostAddresses, Node
from tests.lab.kit.recorder import Recorder
from tests.lab.kit.setgroups import make_setgroups_succeed
from tests.lab.kit.switch import Switch
from tests.support.waiting import wait_until

_FIRST_NODE, _CLIENT, _FIRST_VIRTUAL = 11, 250, 101
_TAIL = 25


class Lab:
    """``nodes`` nodes called n1, n2, ... and a client on one switch; a context manager.

    Nodes are 192.0.2.11 and fd00::11 and so on; the client is 192.0.2.250 and their default
    gateway. ``virtual(1)`` and ``virtual6(1)`` name addresses that no node has yet. Every node's
    interface is eth0, its application answers on ``port``. Nothing is made in the machine's own
    namespaces but processes and one temporary directory, ``directory``, which ends with the lab
    unless ``keep_directory`` is set.
    """

    def __init__(
        self, nodes: int = 3, *, ipv6: bool = True, port: int = 8080, applications: bool = True
    ) -> None:
        self.is_open = False
        self.keep_directory = False
        self.port = port
        self._ipv6 = ipv6
        self._count = nodes
        self._applications = applications
        self._stack = contextlib.ExitStack()
        self.directory = Path()
        self.nodes: tuple[Node, ...] = ()

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        self.is_open = True
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill everything that was started and let go of all namespaces."""
        self.is_open = False
        self._stack.close()

    # --- names -------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """Return the node of that name."""
        return next(each for each in self.nodes if each.name == name)

    def virtual(self, number: int) -> str:
        """Return the ``number``-th (from 1) virtual IPv4 address of the lab's network."""
        return f"192.0.2.{_FIRST_VIRTUAL + number - 1}"

    def virtual6(self, number: int) -> str:
        """Return the ``number``-th (from 1) virtual IPv6 address of the lab's network."""
        return f"fd00::{_FIRST_VIRTUAL + number - 1}"

    def numbered(self, count: int) -> list[str]:
        """Return the first ``count`` virtual IPv4 addresses."""
        return [self.virtual(number) for number in range(1, count + 1)]

    def numbered6(self, count: int) -> list[str]:
        """Return the first ``count`` virtual IPv6 addresses."""
        return [self.virtual6(number) for number in range(1, count + 1)]

    def peers(self, mode: str = "unicast") -> dict[str, str]:
        """Return the variable that makes all nodes peers, in both families; none for multicast."""
        listed = ",".join(f"{each.ip},{each.ipv6}" for each in self.nodes)
        return {"UNICAST_PEERS": listed} if mode == "unicast" else {}

    def others(self, *nodes: Node) -> list[Node]:
        """Return the nodes that are not among these."""
        return [each for each in self.nodes if each not in nodes]

    # --- waiting -----------------------------------------------------------------------------

    def wait_for_holder(
        self, address: str, *, timeout: float = 10, among: Sequence[Node] | None = None
    ) -> Node:
        """Return the node once exactly one holds the address (and is one of ``among``)."""
        allowed = {each.name for each in (among if among is not None else self.nodes)}

        def only_holder() -> str | None:
            holders = self.recorder.holders(address)
            return holders[0] if len(holders) == 1 and holders[0] in allowed else None

        what = f"one of {', '.join(sorted(allowed))} alone holds {address}"
        return self.node(wait_until(only_holder, timeout, what))

    # --- agents ------------------------------------------------------------------------------

    def start_everywhere(self, environment: Mapping[str, str]) -> None:
        """Start the agent on every node with the same variables."""
        for node in self.nodes:
            node.start(environment)

    def stop_everywhere(self) -> None:
        """End all agents at once, as runtimes do: in order, each with exit code 0."""
        for node in self.nodes:
            node.terminate()
        assert [node.wait() for node in self.nodes] == [0] * len(self.nodes)

    def serve(self, *addresses: str, **more: str) -> Node:
        """Start the agent on every node; return the first address's holder, once each has one.

        ``more`` as for ``scenarios.variables``.
        """
        self.start_everywhere(scenarios.variables(*addresses, **more))
        holders = self.wait_for_each(addresses, timeout=scenarios.ELECTION)
        holder = self.node(holders[addresses[0]])
        holder.wait_for_line("Entering MASTER STATE")  # written after the address is there
        return holder

    def start_ranked(
        self,
        environment: Mapping[str, str],
        command: Sequence[str] = AGENT,
        *,
        as_pid_1: bool = True,
    ) -> None:
        """Start the agent on every node with falling priorities; return when each is BACKUP."""
        for number, node in enumerate(self.nodes):
            ranked = {**environment, "OPENSHIFT_HA_PRIORITY": str(250 - 40 * number)}
            node.start(ranked, command, as_pid_1=as_pid_1)
            if number == 0:
                # Preemption may be delayed, and three starts are not simultaneous.
                node.wait_for_line("Entering BACKUP STATE")
        for node in self.nodes[1:]:
            node.wait_for_line("Entering BACKUP STATE")  # ready to take over what comes next

    def serve_ranked(self, *addresses: str, **more: str) -> Node:
        """Like ``serve``, with falling priorities, so that the first node holds everything."""
        self.start_ranked(scenarios.variables(*addresses, **more))
        self.wait_for_each(addresses, timeout=scenarios.ELECTION, among=self.nodes[:1])
        return self.nodes[0]

    def hand_over(
        self, holder: Node, *addresses: str, timeout: float = scenarios.PLANNED
    ) -> float:
        """Stop a node as planned; return when that was, once others hold its addresses."""
        asked = time.monotonic()
        holder.terminate()
        self.wait_for_each(addresses, timeout=timeout, among=self.others(holder))
        assert holder.wait() == 0
        return asked

    def wait_for_each(
        self, addresses: Iterable[str], *, timeout: float, among: Sequence[Node] | None = None
    ) -> dict[str, str]:
        """Return the only holder's name for every address, once every address has just one."""
        wanted = list(addresses)
        allowed = {each.name for each in (self.nodes if among is None else among)}

        def settled() -> dict[str, str]:
            found = {each: self.recorder.holders(each) for each in wanted}
            alone = {each: names[0] for each, names in found.items() if len(names) == 1}
            return alone if len(alone) == len(wanted) and set(alone.values()) <= allowed else {}

        what = f"each of {len(wanted)} addresses has one holder among {', '.join(sorted(allowed))}"
        return wait_until(settled, timeout, what)

    def wait_for_none(
        self, addresses: Iterable[str], *, timeout: float, on: Node | None = None
    ) -> None:
        """Wait until no node, or not the one named, holds any of these addresses."""
        wanted = list(addresses)
        names = {each.name for each in (self.nodes if on is None else [on])}
        wait_until(
            lambda: not any(names & set(self.recorder.holders(each)) for each in wanted),
            timeout,
            f"none of {len(wanted)} addresses is held by {', '.join(sorted(names))}",
        )

    def longest_gap(self, address: str, since: float) -> float:
        """Return the longest time in one piece for which no node held an address."""
        holding = set(self.recorder.holders(address, at=since))
        longest, left = 0.0, since
        for each in self.recorder.changes(address, since=since):
            if not holding:
                longest = max(longest, each.time - left)
            (holding.add if each.held else holding.discard)(each.node)
            left = each.time
        return longest

    def report(self) -> str:
        """Return what helps to understand a failure: outputs, addresses, the time line."""
        parts = [f"--- changes of virtual addresses\n{self.recorder.describe()}"]
        losses = ", ".join(each.rule for each in self.switch.losses)
        parts += [f"--- the switch drops: {losses}"] if losses else []
        for each in self.nodes:
            shown = each.run(["ip", "-brief", "address", "show", "dev", INTERFACE], check=False)
            state = "runs" if each.is_running else "does not run"
            parts.append(f"--- {each.name} (container {state})\n{shown.stdout.strip()}")
            for stream, text in (("stdout", each.stdout()), ("stderr", each.stderr())):
                tail = "\n".join(text.splitlines()[-_TAIL:])
                parts += [f"{each.name} {stream}, last lines:\n{tail}"] if tail else []
        return "\n".join(parts)

    # --- building ----------------------------------------------------------------------------

    def _build(self) -> None:
        make_setgroups_succeed()
        self.directory = make_run_directory()
        self._stack.callback(self._remove_directory)
        names = [f"n{number}" for number in range(1, self._count + 1)]
        numbers = {name: number for number, name in enumerate(names, start=_FIRST_NODE)}
        numbers["client"] = _CLIENT
        addresses = {name: self._addresses(number) for name, number in numbers.items()}
        networks = {name: self._namespace(name) for name in ["switch", *addresses]}
        networks["switch"].ip(_switch_commands(networks, addresses))
        for name, own in addresses.items():
            gateway = addresses["client"] if name != "client" else None
            networks[name].ip(_host_commands(own, gateway))
        self.switch = Switch(networks["switch"])
        macs = {own.mac: name for name, own in addresses.items()}
        self.client = Client(
            networks["client"], addresses["client"], port=self.port, nodes_by_mac=macs
        )
        self._stack.callback(self.client.close)
        self.nodes = tuple(self._node(name, networks[name], addresses[name]) for name in names)
        self.recorder = Recorder({name: networks[name] for name in names})
        self._stack.callback(self.recorder.close)

    def _remove_directory(self) -> None:
        if not self.keep_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _namespace(self, name: str) -> NetworkNamespace:
        namespace = NetworkNamespace(name)
        self._stack.callback(namespace.close)
        without_ipv6 = not self._ipv6 or name == "switch"
        namespace.set_sysctls(_sysctls(without_ipv6=without_ipv6))
        return namespace

    def _addresses(self, number: int) -> HostAddresses:
        return HostAddresses(
            mac=f"02:00:00:00:00:{number:02x}",
            ipv4=IPv4Interface(f"192.0.2.{number}/24"),
            ipv6=IPv6Interface(f"fd00::{number}/64") if self._ipv6 else None,
        )

    def _node(self, name: str, network: NetworkNamespace, own: HostAddresses) -> Node:
        directory = self.directory / name
        directory.mkdir()
        application = Application(name, network, port=self.port, ipv6=self._ipv6)
        node = Node(
            name,
            network=network,
            addresses=own,
            switch=self.switch,
            application=application,
            directory=directory,
        )
        self._stack.callback(node.close)
        if self._applications:
            application.start()
        return node


def _sysctls(*, without_ipv6: bool) -> dict[str, str]:
    """Return what makes addresses usable at once and keeps the kernel from adding its own."""
    if without_ipv6:
        return {f"ipv6/conf/{each}/disable_ipv6": "1" for each in ("all", "default")}
    quiet = {"accept_dad": "0", "dad_transmits": "0", "autoconf": "0", "accept_ra": "0"}
    return {f"ipv6/conf/default/{name}": value for name, value in quiet.items()} | {
        f"ipv4/conf/{each}/rp_filter": "0" for each in ("all", "default")
    }


def _switch_commands(
    networks: dict[str, NetworkNamespace], addresses: dict[str, HostAddresses]
) -> list[str]:
    # Without snooping multicast is flooded; a bridge without a querier would drop it later.
    lines = ["link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
    for name, own in addresses.items():
        peer = f"name {INTERFACE} address {own.mac} netns {networks[name].path}"
        lines.append(f"link add {name} type veth peer {peer}")
        lines += [f"link set {name} master br0", f"link set {name} up"]
    return [*lines, "link set br0 up"]


def _host_commands(own: HostAddresses, gateway: HostAddresses | None) -> list[str]:
    lines = [
        "link set lo up",
        f"link set {INTERFACE} up",
        f"address add {own.ipv4} dev {INTERFACE}",
    ]
    if own.ipv6 is not None:
        lines.append(f"address add {own.ipv6} dev {INTERFACE} nodad")
    if gateway is not None:
        lines.append(f"route add default via {gateway.ipv4.ip} dev {INTERFACE}")
        if gateway.ipv6 is not None:
            lines.append(f"route add ::/0 via {gateway.ipv6.ip} dev {INTERFACE}")
    return lines


#: Makes labs that end with the test, see ``make_lab`` in conftest.py; the arguments are ``Lab``'s.
MakeLab: TypeAlias = "Callable[..., Lab]"
#: The labs that a test has made.
LABS = pytest.StashKey[list[Lab]]()


def labs_of(test: pytest.Item, new: MakeLab = Lab) -> Iterator[MakeLab]:
    """Yield what makes a test's labs, with ``new``; they end with it."""
    labs = test.stash.setdefault(LABS, [])

    def make(*arguments: object, **more: object) -> Lab:
        labs.append(new(*arguments, **more).__enter__())
        return labs[-1]

    yield make
    for each in labs:
        each.close()
