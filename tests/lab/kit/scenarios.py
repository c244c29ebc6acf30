"""What the tests of the whole agent share: bounds, variables, commands, a mounted ConfigMap."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.lab.kit.container import PROJECT
from tests.lab.kit.namespaces import base_environment

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


def documented(addresses: str, **other: str) -> dict[str, str]:
    """Return all variables of the shell image's documented manifest, as strings, empty ones too.

    ``other`` are values in place of these, without their prefix.
    """
    values = {
        "CONFIG_NAME": NAME,
        "VIRTUAL_IPS": addresses,
        "VIP_GROUPS": "10",
        "NETWORK_INTERFACE": "ens3",
        "MONITOR_PORT": str(PORT),
        "VRRP_ID_OFFSET": "0",
        "REPLICA_COUNT": "2",
        "USE_UNICAST": "true",
        "UNICAST_PEERS": "",
        "IPTABLES_CHAIN": "INPUT",
        "NOTIFY_SCRIPT": "/etc/keepalive/mynotifyscript.sh",
        "CHECK_SCRIPT": "/etc/keepalive/mycheckscript.sh",
        "PREEMPTION": "preempt_delay 300",
        "CHECK_INTERVAL": "2",
        "SELECTOR": "",
        **other,
    }
    named = {f"OPENSHIFT_HA_{name}": value for name, value in values.items()}
    return {**named, "HA_EXCLUDED_VRRP_IDS": ""}


def command(*words: str) -> list[str]:
    """Return the command line of one of the agent's commands, wherever it is called."""
    return ["env", f"--chdir={PROJECT}", sys.executable, "-m", "ipfailover_agent", *words]


def in_front_of(name: str, script: str, directory: Path) -> str:
    """Put a script in front of a program of that name; return what prepares a container for it.

    ``{program}`` in the script becomes the path of the real one.
    """
    file = directory / name
    file.write_text(script.format(program=shutil.which(name, path=base_environment()["PATH"])))
    file.chmod(0o755)
    return f"PATH='{directory}':$PATH"


def stays(seconds: float) -> None:
    """Let time pass in which nothing must happen; what did is then asked of the recorder."""
    time.sleep(seconds)


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

    @property
    def unwatched(self) -> dict[str, str]:
        """Return the same for an agent that reads it again only when it is told to."""
        return {**self.variable, "IPFAILOVER_WATCH": "false"}

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
