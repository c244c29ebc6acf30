"""Clusters that serve the same addresses in three ways: the agent, keepalived, the shell image.

The shell image's scripts are no part of this project: ``IPFAILOVER_REF`` names a directory that
has them, with ``monitor.sh`` and ``lib``.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from signal import SIGHUP
from typing import Final

from ipfailover_agent.config import priority
from tests.lab.kit import raw
from tests.lab.kit.lab import Lab
from tests.lab.kit.namespaces import base_environment
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ConfigMap, variables
from tests.support.waiting import wait_until

REFERENCE: Final = "IPFAILOVER_REF"
CHECK_INTERVAL: Final = 2.0  # seconds: the default of all kinds
_STATE: Final = re.compile(r"\((\S+)\) Entering (\w+) STATE")
_AT_WORK: Final = frozenset({"MASTER", "BACKUP"})
_STILL: Final = 4.5  # seconds without a change: whoever is to take an address back has done so
_SETTLING: Final = 60.0
_KEEPALIVED_CONF: Final = "/etc/keepalived/keepalived.conf"
#: Commands of the shell image that need no doing here: it loads a module that nothing uses.
_NEEDLESS: Final = ("modprobe", "lsmod")


class Cluster(ABC):
    """Three nodes of one kind that serve ``address``; start, stop and change them.

    Attributes:
        name: of the column.
        note: what its column has to say beside figures.
        address: served from the beginning.
        second: served in addition after ``change``.
    """

    note = ""

    def __init__(self, lab: Lab, name: str, *, is_unicast: bool) -> None:
        self.lab = lab
        self.name = name
        self.address, self.second = lab.virtual(1), lab.virtual(2)
        self.peers = [each.ip for each in lab.nodes] if is_unicast else []
        self.addresses: tuple[str, ...] = (self.address,)

    @abstractmethod
    def start(self, node: Node) -> None:
        """Start a node's container."""

    @abstractmethod
    def change(self, *addresses: str) -> None:
        """Have all nodes serve these addresses, as an operator does."""

    def back(self) -> None:
        """Undo ``change``."""
        self.change(self.address)

    def drain(self, node: Node) -> Callable[[], object] | None:
        """Have a node give its addresses up; return what undoes it, None where it cannot."""
        del node
        return None

    def start_all(self) -> None:
        """Start every node that does not run."""
        for node in self.lab.nodes:
            if not node.is_running:
                self.start(node)

    def stop_all(self) -> None:
        """Stop every node in an orderly way."""
        for node in self.lab.nodes:
            node.terminate()
        for node in self.lab.nodes:
            node.wait()

    def restart(self, node: Node) -> None:
        """Stop a node in an orderly way, start it again, and wait until it stands by."""
        node.terminate()
        node.wait()
        self.start(node)
        wait_until(lambda: is_at_work(node), _SETTLING, f"{node.name} stands by")

    def settle(self) -> Node:
        """Return the holder, once all nodes are at work and nothing has moved for a while."""
        wait_until(self._is_settled, _SETTLING, f"{self.name} settles", interval=0.1)
        return self.lab.wait_for_holder(self.address, timeout=1)

    def _is_settled(self) -> bool:
        recorder = self.lab.recorder
        recently = time.monotonic() - _STILL
        return (
            all(is_at_work(each) for each in self.lab.nodes)
            and all(len(recorder.holders(each)) == 1 for each in self.addresses)
            and not recorder.changes(self.address, since=recently)
        )


class Agents(Cluster):
    """This project's agent, with variables from a mounted ConfigMap."""

    def __init__(self, lab: Lab, name: str, *, is_unicast: bool) -> None:
        super().__init__(lab, name, is_unicast=is_unicast)
        self._source = ConfigMap(lab.directory / "variables", self._values(self.address))

    def start(self, node: Node) -> None:
        """Start a node's container."""
        node.start(self._source.variable)

    def change(self, *addresses: str) -> None:
        """Write the ConfigMap; the agents see it themselves."""
        self.addresses = addresses
        self._source.write(self._values(*addresses))

    def drain(self, node: Node) -> Callable[[], object] | None:
        """Drain a node; return what undrains it."""
        assert node.ask("drain").returncode == 0
        return lambda: node.ask("undrain")

    def _values(self, *addresses: str) -> dict[str, str]:
        more = {"UNICAST_PEERS": ",".join(self.peers)} if self.peers else {}
        return variables(*addresses, CHECK_INTERVAL=f"{CHECK_INTERVAL:g}", **more)


class Plain(Cluster):
    """keepalived alone, with the agent's priorities, preemption and check interval."""

    def start(self, node: Node) -> None:
        """Start a node's container."""
        node.start_keepalived(self._config(node))

    def change(self, *addresses: str) -> None:
        """Write the files, and signal every keepalived at once."""
        self.addresses = addresses
        for node in self.lab.nodes:
            node.write(_KEEPALIVED_CONF, self._config(node))
            node.signal(SIGHUP)

    def _config(self, node: Node) -> str:
        instances = raw.joined(
            raw.keepalived_config(
                address,
                priority=self._priority(node, position),
                virtual_router_id=11 + position,
                name=f"plain_{position + 1}",
                extra=self._extra(node),
            )
            for position, address in enumerate(self.addresses)
        )
        return raw.with_port_check(instances, node, self.lab.port, f"{CHECK_INTERVAL:g}")

    def _priority(self, node: Node, position: int) -> int:
        own = ip_address(node.ip)
        if self.peers:
            return priority.among_peers(own, [ip_address(each) for each in self.peers], position)
        return priority.among_strangers(own, position + 1)

    def _extra(self, node: Node) -> str:
        others = [each for each in self.peers if each != node.ip]
        unicast = raw.unicast(node.ip, others) if others else ""
        return f"preempt_delay 300\n  {raw.TRACKED}\n  {unicast}"


class ShellImage(Cluster):
    """The shell image's own scripts, with its own check every two seconds."""

    def __init__(self, lab: Lab, name: str, *, is_unicast: bool, scripts: Path) -> None:
        super().__init__(lab, name, is_unicast=is_unicast)
        self._scripts = scripts
        self._bin = lab.directory / "bin"
        self._bin.mkdir()
        for each in _NEEDLESS:
            (self._bin / each).write_text("#!/bin/sh\n")
            (self._bin / each).chmod(0o755)

    def start(self, node: Node) -> None:
        """Start a node's container."""
        node.start(self._environment(), ["bash", str(self._scripts / "monitor.sh")])

    def change(self, *addresses: str) -> None:
        """Make the containers anew one by one: it reads nothing a second time."""
        self.addresses = addresses
        for node in self.lab.nodes:
            self.restart(node)

    def back(self) -> None:
        """Make all containers anew at once."""
        self.addresses = (self.address,)
        self.stop_all()
        self.start_all()

    def _environment(self) -> Mapping[str, str]:
        path = base_environment()["PATH"]
        return {
            **variables(*self.addresses, CHECK_INTERVAL=f"{CHECK_INTERVAL:g}"),
            "OPENSHIFT_HA_NETWORK_INTERFACE": "eth0",
            "OPENSHIFT_HA_REPLICA_COUNT": str(len(self.lab.nodes)),
            "OPENSHIFT_HA_UNICAST_PEERS": ",".join(self.peers),
            "PATH": f"{self._bin}:{path}",
        }


def is_at_work(node: Node) -> bool:
    """Return whether every instance of a node has entered MASTER or BACKUP last."""
    last = dict(_STATE.findall(node.output()))
    return node.is_running and bool(last) and set(last.values()) <= _AT_WORK


# --- the shell image ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where the shell image's scripts are, or why its column is not measured."""

    scripts: Path | None
    reason: str = ""


def reference() -> Reference:
    """Return what ``IPFAILOVER_REF`` names."""
    named = os.environ.get(REFERENCE, "")
    if not named:
        reason = f"{REFERENCE} names no directory with its monitor.sh and lib"
        return Reference(scripts=None, reason=reason)
    path = Path(named).resolve()
    missing = [each for each in ("monitor.sh", "lib") if not (path / each).exists()]
    if missing:
        reason = f"{REFERENCE}={named} has no {' and no '.join(missing)}"
        return Reference(scripts=None, reason=reason)
    tools = [each for each in ("ifconfig", "killall", "awk") if not _is_there(each)]
    if tools:
        return Reference(scripts=None, reason=f"its scripts need {', '.join(tools)}")
    return Reference(scripts=path)


def _is_there(command: str) -> bool:
    return shutil.which(command, path=base_environment()["PATH"]) is not None


def versions(node: Node) -> Sequence[str]:
    """Return what of this machine the figures depend on."""
    said = node.run(["keepalived", "--version"], check=False)
    found = re.search(r"Keepalived v(\S+)", said.stderr + said.stdout)
    keepalived = found[1] if found else "unknown"
    return (f"{os.cpu_count()} cores", f"Linux {os.uname().release}", f"keepalived {keepalived}")
