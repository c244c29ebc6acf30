"""A node: a network namespace with an address, a container and an application."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM, Signals
from typing import Any

from tests.lab.kit import processes, scenarios
from tests.lab.kit.application import Application
from tests.lab.kit.container import Container
from tests.lab.kit.namespaces import LabError, NetworkNamespace
from tests.lab.kit.switch import Direction, Switch
from tests.support import program
from tests.support.waiting import wait_until

AGENT = (sys.executable, "-m", "ipfailover_agent", "run")
KEEPALIVED = (program.KEEPALIVED, "--dont-fork", "--log-console", "--log-detail")
INTERFACE = "eth0"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAddresses:
    """What a host in the lab is called on the wire; ``ipv6`` is None in a lab without it."""

    mac: str
    ipv4: IPv4Interface
    ipv6: IPv6Interface | None


class Node:
    """A node of the lab. The container may die or be started again; the network stays."""

    interface = INTERFACE

    def __init__(
        self,
        name: str,
        *,
        network: NetworkNamespace,
        addresses: HostAddresses,
        switch: Switch,
        application: Application,
        directory: Path,
    ) -> None:
        self.name = name
        self.network = network
        #: Runs a command on the node, outside the container.
        self.run = network.run
        self.own = addresses
        self.application = application
        self.directory = directory
        self._switch = switch
        self._runs: list[Container] = []
        self._beside: list[Container] = []

    def __repr__(self) -> str:
        return f"<node {self.name}>"

    @property
    def ip(self) -> str:
        """Return the node's own IPv4 address."""
        return str(self.own.ipv4.ip)

    @property
    def ipv6(self) -> str:
        """Return the node's own IPv6 address; LabError in a lab without IPv6."""
        if self.own.ipv6 is None:
            raise LabError("this lab has no IPv6")
        return str(self.own.ipv6.ip)

    # --- the container ---------------------------------------------------------------------

    @property
    def container(self) -> Container:
        """Return the container of the last ``start``."""
        if not self._runs:
            raise LabError(f"{self.name}: nothing was started yet")
        return self._runs[-1]

    @property
    def is_running(self) -> bool:
        """Return whether the container lives."""
        return bool(self._runs) and self.container.is_running

    def start(
        self,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = AGENT,
        *,
        as_pid_1: bool = True,
        prepare: str = "",
        run_mount: str = "",
    ) -> None:
        """Start the container and return at once.

        ``environment`` is all that the command gets beside PATH and TMPDIR; without it that of
        the last start is used again. ``as_pid_1=False`` puts the command below an init that
        adopts and reaps, as on a plain host. ``prepare`` is shell text run inside before the
        command, ``run_mount`` extra mount options of /run (``noexec``, ``mode=0777``).
        """
        if self.is_running:
            raise LabError(f"{self.name}: the container runs already")
        if environment is None:
            environment = self._runs[-1].environment if self._runs else {}
        directory = self.directory / f"run-{len(self._runs) + 1}"
        directory.mkdir()
        self._runs.append(
            Container(
                self.network,
                directory,
                command,
                environment=environment,
                as_pid_1=as_pid_1,
                prepare=prepare,
                run_mount=run_mount,
            )
        )

    def start_keepalived(self, config: str, *, prepare: str = "") -> None:
        """Start keepalived alone, as PID 1, with this configuration; ``prepare`` as in start."""
        self.start({}, KEEPALIVED, prepare=f"{self._install(config)}\n{prepare}")

    def start_keepalived_beside(self, config: str) -> Container:
        """Start keepalived alone in a second container, and return that."""
        return self.start_beside(KEEPALIVED, {}, prepare=self._install(config))

    def start_beside(
        self, command: Sequence[str], environment: Mapping[str, str], *, prepare: str = ""
    ) -> Container:
        """Start a second container in the node's network, and return it; ``prepare`` as above."""
        directory = self.directory / f"beside-{len(self._beside) + 1}"
        directory.mkdir()
        container = Container(
            self.network,
            directory,
            command,
            environment=environment,
            as_pid_1=True,
            prepare=prepare,
            run_mount="",
        )
        self._beside.append(container)
        return container

    def signal(self, number: Signals) -> None:
        """Send a signal to the agent (the command of ``start``)."""
        if not self.container.signal(number):
            raise LabError(f"{self.name}: nothing runs that could get {number.name}")

    def terminate(self) -> None:
        """Ask the agent to end: SIGTERM. ``wait`` gives the exit code."""
        self.signal(SIGTERM)

    def wait(self, timeout: float = 15) -> int:
        """Return the agent's exit code, negative for a signal, once it has ended."""
        return self.container.wait(timeout)

    def kill(self) -> None:
        """Kill the whole container at once, as the kernel or a runtime does. Nothing cleans up.

        All is stopped before: keepalived gets SIGTERM when PID 1 is gone, and is sometimes quick
        enough to leave in order.
        """
        self.freeze()
        self.container.kill()

    def freeze(self, pid: int | None = None) -> None:
        """Stop every process of the container, or one."""
        self._signal_some(pid, SIGSTOP)

    def thaw(self, pid: int | None = None) -> None:
        """Let them run again."""
        self._signal_some(pid, SIGCONT)

    def pids(self, name: str | None = None) -> list[int]:
        """Return the pids of the container's processes, or of those called ``name``, ascending.

        ``name`` is the command's base name (``keepalived``) or the kernel's name of the process.
        """
        return sorted(
            each.pid
            for each in (self.container.processes() if self._runs else ())
            if name is None or name in _names(each)
        )

    def run_in_container(
        self, command: Sequence[str], *, timeout: float = 20
    ) -> subprocess.CompletedProcess[str]:
        """Run a command beside the agent, with its environment."""
        return self.container.run(command, timeout=timeout)

    def read(self, path: str) -> str:
        """Return the text of a file of the container."""
        return self.container.path(path).read_text()

    def write(self, path: str, text: str) -> None:
        """Write a file of the container below /run or /etc/keepalived, which are its own."""
        if not path.startswith(("/run/", "/etc/keepalived/")):
            raise LabError(f"{path} is the machine's, not the container's")
        self.container.path(path).write_text(text)

    def stdout(self) -> str:
        """Return what the last container wrote to stdout."""
        return self.container.stdout.read_text(errors="replace") if self._runs else ""

    def stderr(self) -> str:
        """Return what the last container wrote to stderr."""
        return self.container.stderr.read_text(errors="replace") if self._runs else ""

    def output(self) -> str:
        """Return stdout and stderr of the last container, one after the other."""
        return self.stdout() + self.stderr()

    # --- the agent -------------------------------------------------------------------------

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of the agent's commands beside the agent, with its environment."""
        return self.run_in_container(scenarios.command(*words))

    def reload(self, *, code: int = 0) -> str:
        """Run ``reload`` in the container; return what it prints."""
        done = self.ask("reload")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        """End the agent as a runtime does, with SIGTERM: in order, with exit code 0."""
        self.terminate()
        assert self.wait() == 0

    def status(self) -> dict[str, Any]:
        """Return what ``status --json`` prints."""
        found: dict[str, Any] = json.loads(self.ask("status", "--json").stdout or "{}")
        return found

    def noted(self) -> dict[str, Any]:
        """Return the status file of the agent, empty while there is none."""
        try:
            found: dict[str, Any] = json.loads(self.read("/run/ipfailover-agent/status.json"))
        except OSError:  # a container that ends meanwhile has no files either
            return {}
        return found

    def states(self) -> dict[str, str]:
        """Return the state of each instance, as ``status`` shows it."""
        return {each["name"]: each["state"] for each in self.status().get("instances", ())}

    def protection(self, kind: str) -> dict[str, Any]:
        """Return what ``status`` says of one of the agent's protections."""
        (found,) = [each for each in self.status()["protections"] if each["kind"] == kind]
        return dict(found)

    def drained(self) -> dict[str, str | None]:
        """Return how each instance is drained, as ``status`` tells it."""
        return {each["name"]: each["drained"] for each in self.status().get("instances", ())}

    def events(self, name: str) -> list[str]:
        """Return the agent's log lines of that event."""
        return [line for line in self.stderr().splitlines() if f" event={name} " in f"{line} "]

    def wait_for_line(self, text: str, *, timeout: float = scenarios.ELECTION) -> str:
        """Return the first line of the output that contains ``text``, once there is one."""
        return wait_until(
            lambda: next((line for line in self.output().splitlines() if text in line), ""),
            timeout,
            f"{self.name} says {text!r}",
        )

    def wait_for_masters(self, count: int, *, timeout: float = scenarios.ELECTION) -> None:
        """Wait until keepalived has said so often that an instance is MASTER."""
        wait_until(
            lambda: self.output().count("Entering MASTER STATE") >= count,
            timeout,
            f"{self.name} enters MASTER {count} times",
        )

    def wait_for_state(self, state: str, *, timeout: float = scenarios.ELECTION) -> None:
        """Wait until ``status`` shows this state for every instance: it follows by some tenths."""

        def is_so(found: dict[str, Any]) -> bool:
            return {each["state"] for each in found.get("instances", ())} == {state}

        self._wait_for_status(is_so, timeout=timeout, what=f"{self.name} is {state}")

    def wait_for_status(
        self, field: str, value: object, *, timeout: float = scenarios.ELECTION
    ) -> dict[str, Any]:
        """Return the first status that has ``value`` in ``field``."""

        def is_so(found: dict[str, Any]) -> bool:
            return bool(found) and found.get(field) == value

        what = f"{self.name} is {field} {value!r}"
        return self._wait_for_status(is_so, timeout=timeout, what=what)

    def _wait_for_status(
        self, is_so: Callable[[dict[str, Any]], bool], *, timeout: float, what: str
    ) -> dict[str, Any]:
        """Return what ``status --json`` prints once it is so.

        The command is only asked when the file that it reads says so: a start of Python at every
        look takes much of a core from what is looked at.
        """

        def asked() -> dict[str, Any]:
            if not self.is_running or not is_so(self.noted()):
                return {}
            found = self.status()
            return found if is_so(found) else {}

        return wait_until(asked, timeout, what, interval=0.05)

    # --- the network -----------------------------------------------------------------------

    def addresses(self) -> list[str]:
        """Return ``address/prefix`` of everything on the interface, link-local ones left out."""
        shown = self.run(["ip", "-json", "address", "show", "dev", INTERFACE]).stdout
        return [
            f"{each['local']}/{each['prefixlen']}"
            for each in json.loads(shown)[0]["addr_info"]
            if not ip_address(each["local"]).is_link_local
        ]

    def virtual_addresses(self) -> list[str]:
        """Return ``address/prefix`` of what is on the interface beside the node's own."""
        own = {str(self.own.ipv4), str(self.own.ipv6)}
        return [each for each in self.addresses() if each not in own]

    def add(self, *addresses: str) -> None:
        """Set addresses as an administrator does; alone where they have no prefix length."""
        self.network.ip(
            [f"address add {_with_length(each)} dev {INTERFACE}" for each in addresses]
        )

    def remove(self, *addresses: str) -> None:
        """Undo ``add``."""
        self.network.ip(
            [f"address del {_with_length(each)} dev {INTERFACE}" for each in addresses]
        )

    @property
    def link_local(self) -> str:
        """Return the link-local address of the interface, from which IPv6 adverts come."""
        words = ["ip", "-json", "-6", "address", "show", "dev", INTERFACE, "scope", "link"]
        links = json.loads(self.run(words).stdout)
        return next(str(each["local"]) for link in links for each in link["addr_info"] if each)

    def cut(self, direction: Direction = "both") -> None:
        """Lose every frame of the node on the wire; its link stays up."""
        self._switch.cut(self.name, direction)

    def join(self, direction: Direction = "both") -> None:
        """Undo ``cut``."""
        self._switch.join(self.name, direction)

    def link_down(self) -> None:
        """Take the cable out: the node sees its carrier go."""
        self._switch.set_link(self.name, up=False)

    def link_up(self) -> None:
        """Put the cable in again."""
        self._switch.set_link(self.name, up=True)

    def firewall(self, direction: Direction = "both") -> None:
        """Drop VRRP on the node itself: ``in`` what it receives, ``out`` what it sends."""
        hooks = {"both": ("input", "output"), "in": ("input",), "out": ("output",)}[direction]
        chains = "\n".join(
            f"chain {hook} {{\n"
            f"type filter hook {hook} priority 0; policy accept;\n"
            "meta l4proto 112 drop\n"
            "}"
            for hook in hooks
        )
        self.nft(f"table inet lab\ndelete table inet lab\ntable inet lab {{\n{chains}\n}}\n")

    def firewall_off(self) -> None:
        """Undo ``firewall``."""
        self.nft("table inet lab\ndelete table inet lab\n")

    def nft(self, text: str) -> None:
        """Run these commands of nft on the node."""
        self.run(["nft", "-f", "-"], text=text)

    def close(self) -> None:
        """Kill everything of this node and let go of its network."""
        for each in (*self._runs, *self._beside):
            each.kill()
        self.application.stop()
        self.network.close()

    def _install(self, config: str) -> str:
        """Return shell text that puts keepalived's configuration into a container."""
        file = self.directory / f"keepalived-{len(self._runs)}-{len(self._beside)}.conf"
        file.write_text(config)
        return f"install -m 600 '{file}' /etc/keepalived/keepalived.conf"

    def _signal_some(self, pid: int | None, number: Signals) -> None:
        if pid is None:
            self.container.signal_all(number)
        elif not processes.send(pid, number):
            raise LabError(f"{self.name}: there is no process {pid}")


def _with_length(address: str) -> str:
    """Return an address with its prefix length, or that of a single host."""
    return address if "/" in address else f"{address}/{128 if ':' in address else 32}"


def _names(each: processes.Process) -> set[str]:
    command = each.arguments[0].rpartition("/")[2] if each.arguments else ""
    return {each.name, command}
