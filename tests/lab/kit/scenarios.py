"""What the tests of the whole agent share: variables, starting, waiting, asking the agent."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.lab.kit.container import PROJECT
from tests.lab.kit.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.lab.kit.lab import Lab
    from tests.lab.kit.node import Node

#: An election: the start of Python, a first check, three adverts (3 s), the skew (up to 1 s), and
#: as much again for a machine that has other things to do.
ELECTION = 12.0
#: A planned handover: a priority-0 advert, then the skew of the next node, at most 0.5 s.
PLANNED = 2.0
#: Everything died at once: three adverts and the skew, at most 3.6 s.
UNPLANNED = 6.0
#: keepalived drops its addresses at once; what the agent removes itself takes a little longer.
RELEASE = 3.0

NAME = "ipfailover"
PORT = 8080


def variables(*addresses: str, **more: str) -> dict[str, str]:
    """Return the environment of a deployment that serves these addresses.

    ``more`` are further variables without their ``OPENSHIFT_HA_`` prefix; they win.
    """
    values = {
        "CONFIG_NAME": NAME,
        "VIRTUAL_IPS": ",".join(addresses),
        "MONITOR_PORT": str(PORT),
        "CHECK_INTERVAL": "1",
        **more,
    }
    return {f"OPENSHIFT_HA_{name}": value for name, value in values.items()}


def numbered(lab: Lab, count: int) -> list[str]:
    """Return the first ``count`` virtual IPv4 addresses of the lab."""
    return [lab.virtual(number) for number in range(1, count + 1)]


def peers(lab: Lab, mode: str = "unicast") -> dict[str, str]:
    """Return the variable that makes all nodes peers, in both families; none for multicast."""
    listed = ",".join(f"{each.ip},{each.ipv6}" for each in lab.nodes)
    return {"UNICAST_PEERS": listed} if mode == "unicast" else {}


# --- starting -----------------------------------------------------------------------------------


def start_everywhere(lab: Lab, environment: Mapping[str, str]) -> None:
    """Start the agent on every node with the same variables."""
    for node in lab.nodes:
        node.start(environment)


def serve(lab: Lab, *addresses: str, **more: str) -> Node:
    """Start the agent on every node; return the holder of the first address.

    ``more`` as for ``variables``.
    """
    start_everywhere(lab, variables(*addresses, **more))
    holder = lab.wait_for_holder(addresses[0], timeout=ELECTION)
    wait_for_line(holder, "Entering MASTER STATE")  # written after the address is there
    return holder


def serve_ranked(lab: Lab, *addresses: str, **more: str) -> Node:
    """Like ``serve``, with falling priorities, so that the first node holds everything."""
    for number, node in enumerate(lab.nodes):
        node.start(variables(*addresses, **{"PRIORITY": str(250 - 40 * number), **more}))
        if number == 0:
            # Preemption may be delayed, and three starts are not simultaneous.
            wait_for_line(node, "Entering BACKUP STATE")
    wait_until(
        lambda: all(lab.recorder.holders(each) == [lab.nodes[0].name] for each in addresses),
        timeout=ELECTION,
        what="the first node holds every address alone",
    )
    for node in lab.nodes[1:]:
        wait_for_line(node, "Entering BACKUP STATE")  # ready to take over what comes next
    return lab.nodes[0]


# --- waiting ------------------------------------------------------------------------------------


def wait_for_each(
    lab: Lab, addresses: Iterable[str], *, timeout: float, among: Sequence[Node] | None = None
) -> dict[str, str]:
    """Return the only holder's name for every address, once every address has just one."""
    wanted = list(addresses)
    allowed = {each.name for each in (lab.nodes if among is None else among)}

    def settled() -> dict[str, str]:
        found = {each: lab.recorder.holders(each) for each in wanted}
        alone = {each: names[0] for each, names in found.items() if len(names) == 1}
        return alone if len(alone) == len(wanted) and set(alone.values()) <= allowed else {}

    what = f"each of {len(wanted)} addresses has one holder among {', '.join(sorted(allowed))}"
    return wait_until(settled, timeout=timeout, what=what)


def wait_for_none(lab: Lab, addresses: Iterable[str], *, on: Node, timeout: float) -> None:
    """Wait until a node holds none of these addresses."""
    wanted = list(addresses)
    wait_until(
        lambda: not any(on.name in lab.recorder.holders(each) for each in wanted),
        timeout=timeout,
        what=f"{on.name} holds none of {len(wanted)} addresses",
    )


def wait_for_line(node: Node, text: str, *, timeout: float = ELECTION) -> str:
    """Return the first line of a node's output that contains ``text``, once there is one."""
    return wait_until(
        lambda: next((line for line in node.output().splitlines() if text in line), ""),
        timeout=timeout,
        what=f"{node.name} says {text!r}",
    )


def wait_for_state(node: Node, state: str, *, timeout: float = ELECTION) -> None:
    """Wait until ``status`` shows this state for every instance: it follows by some tenths."""

    def is_so(found: dict[str, Any]) -> bool:
        return {each["state"] for each in found.get("instances", ())} == {state}

    _wait_for_status(node, is_so, timeout=timeout, what=f"{node.name} is {state}")


def stays(seconds: float) -> None:
    """Let time pass in which nothing must happen; what did is then asked of the recorder."""
    time.sleep(seconds)


# --- asking -------------------------------------------------------------------------------------


def command(*words: str) -> list[str]:
    """Return the command line of one of the agent's commands, wherever it is called."""
    return ["env", f"--chdir={PROJECT}", sys.executable, "-m", "ipfailover_agent", *words]


def ask(node: Node, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one of the agent's commands beside the agent, with its environment."""
    return node.run_in_container(command(*words))


def reload(node: Node, *, code: int = 0) -> str:
    """Run ``reload`` in the container; return what it prints."""
    done = ask(node, "reload")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def status(node: Node) -> dict[str, Any]:
    """Return what ``status --json`` prints."""
    found: dict[str, Any] = json.loads(ask(node, "status", "--json").stdout or "{}")
    return found


def wait_for_status(
    node: Node, field: str, value: object, *, timeout: float = ELECTION
) -> dict[str, Any]:
    """Return the first status that has ``value`` in ``field``."""

    def is_so(found: dict[str, Any]) -> bool:
        return bool(found) and found.get(field) == value

    what = f"{node.name} is {field} {value!r}"
    return _wait_for_status(node, is_so, timeout=timeout, what=what)


def _wait_for_status(
    node: Node, is_so: Callable[[dict[str, Any]], bool], *, timeout: float, what: str
) -> dict[str, Any]:
    """Return what ``status --json`` prints once it is so.

    The command is only asked when the file that it reads says so: a start of Python at every
    look takes much of a core from what is looked at.
    """

    def asked() -> dict[str, Any]:
        if not node.is_running or not is_so(noted(node)):
            return {}
        found = status(node)
        return found if is_so(found) else {}

    return wait_until(asked, timeout=timeout, what=what, interval=0.05)


def noted(node: Node) -> dict[str, Any]:
    """Return the status file of a node's agent, empty while there is none."""
    try:
        found: dict[str, Any] = json.loads(node.read("/run/ipfailover-agent/status.json"))
    except OSError:  # a container that ends meanwhile has no files either
        return {}
    return found


def states(node: Node) -> dict[str, str]:
    """Return the state of each instance, as ``status`` shows it."""
    return {each["name"]: each["state"] for each in status(node).get("instances", ())}


def events(node: Node, name: str) -> list[str]:
    """Return the agent's log lines of that event."""
    return [line for line in node.stderr().splitlines() if f" event={name} " in f"{line} "]


def virtual_addresses(node: Node) -> list[str]:
    """Return ``address/prefix`` of what is on the interface beside the node's own."""
    own = {str(node.own.ipv4), str(node.own.ipv6)}
    return [each for each in node.addresses() if each not in own]


def longest_gap(lab: Lab, address: str, since: float) -> float:
    """Return the longest time in one piece for which no node held an address."""
    holding = set(lab.recorder.holders(address, at=since))
    longest, left = 0.0, since
    for each in lab.recorder.changes(address, since=since):
        if not holding:
            longest = max(longest, each.time - left)
        (holding.add if each.held else holding.discard)(each.node)
        left = each.time
    return longest


# --- a mounted ConfigMap ------------------------------------------------------------------------


class ConfigMap:
    """A directory that changes as the kubelet changes a mounted ConfigMap.

    Each generation has a directory of its own; ``..data`` is a link that is swapped atomically,
    and what is listed are links through it.
    """

    def __init__(self, directory: Path, values: Mapping[str, str]) -> None:
        self.path = directory
        self._generation = 0
        directory.mkdir()
        self.write(values)

    @property
    def variable(self) -> dict[str, str]:
        """Return the variable by which an agent reads it."""
        return {"IPFAILOVER_CONFIG": str(self.path)}

    def write(self, values: Mapping[str, str]) -> None:
        """Swap in a new generation with these values."""
        self._generation += 1
        target = self.path / f"..generation-{self._generation}"
        target.mkdir()
        for name, value in values.items():
            (target / name).write_text(f"{value}\n")
        link = self.path / "..data_tmp"
        link.symlink_to(target.name)
        link.replace(self.path / "..data")
        for name in values:
            shown = self.path / name
            if not os.path.lexists(shown):
                shown.symlink_to(f"..data/{name}")
        for shown in list(self.path.iterdir()):
            if not shown.name.startswith("..") and shown.name not in values:
                shown.unlink()
