"""A real DNS server on the lab's client, and what makes a container ask it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from signal import SIGHUP, SIGSTOP

from tests.lab.kit.lab import Lab
from tests.lab.kit.namespaces import LabError, base_environment

NAME = "peers.lab"
_ADDRESS = "192.0.2.250"  # the client's


def keep_run_directory(lab: Lab, node: str) -> str:
    """Return shell text by which a node's run directory outlives its container, as on a host."""
    state = lab.directory / f"{node}-state"
    state.mkdir(exist_ok=True)
    return f"mkdir /run/ipfailover-agent\nmount --bind '{state}' /run/ipfailover-agent\n"


class NameServer:
    """dnsmasq, which knows one name, ``NAME`` at first; everything else does not exist.

    ``preparation`` is for ``Node.start``: it makes the container ask this server, and keeps the
    node's run directory over restarts as the host does. ``options`` makes podman's ask it.
    """

    options = (f"--dns={_ADDRESS}", "--dns-option=timeout:1")

    def __init__(self, lab: Lab, *, name: str = NAME, patience: int = 1) -> None:
        """Have containers wait ``patience`` seconds for each answer."""
        self._lab = lab
        self._name = name
        self._hosts = lab.directory / "hosts"
        self._resolv = lab.directory / "resolv.conf"
        self._resolv.write_text(f"nameserver {_ADDRESS}\noptions timeout:{patience} attempts:1\n")
        self._process: subprocess.Popen[bytes] | None = None

    def preparation(self, node: str) -> str:
        """Return shell text to run in the node's container before the agent."""
        kept = keep_run_directory(self._lab, node)
        return f"mount --bind '{self._resolv}' /etc/resolv.conf\n{kept}"

    def say(self, addresses: Iterable[str]) -> None:
        """Have the name resolve to these from now on; starts the server if need be."""
        self._hosts.write_text("".join(f"{each} {self._name}\n" for each in addresses))
        if self._process is None:
            self._start()
        else:
            self._process.send_signal(SIGHUP)

    def die(self) -> None:
        """Kill the server: questions get no answer, as from a host that is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Have it answer nothing from now on, while its socket takes questions."""
        if self._process is not None:
            self._process.send_signal(SIGSTOP)

    def _start(self) -> None:
        program = shutil.which("dnsmasq", path=base_environment()["PATH"])
        if program is None:
            raise LabError("dnsmasq is not installed: run make setup")
        self._process = self._lab.client.network.spawn(
            [
                program,
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                f"--addn-hosts={self._hosts}",
                f"--listen-address={_ADDRESS}",
                "--bind-interfaces",
                "--domain-needed",
                f"--local=/{self._name.partition('.')[2]}/",
                "--user=root",
                f"--pid-file={self._lab.directory / 'dnsmasq.pid'}",
            ]
        )
