"""What is judged of network managers is what the real ones do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ipfailover_agent.doctor import host_facts

NETWORKD = Path("/lib/systemd/systemd-networkd")
#: Files of an interface each, by name below /run/systemd/network and /etc/systemd/network.
SETTINGS: dict[str, dict[str, str]] = {
    "plain": {},
    "yes": {"run": "[Network]\nKeepConfiguration=yes\n"},
    "static": {"run": "[Network]\nKeepConfiguration=static\n"},
    "dhcp": {"run": "[Network]\nKeepConfiguration = dhcp\n"},
    "twice": {"run": "[Network]\nKeepConfiguration=yes\nKeepConfiguration=no\n"},
    "dropin": {
        "run": "[Network]\nKeepConfiguration=yes\n",
        "run/50-x.conf": "[Network]\nKeepConfiguration=no\n",
    },
    "order": {
        "run": "[Network]\nKeepConfiguration=no\n",
        "etc/20-x.conf": "[Network]\nKeepConfiguration=no\n",
        "run/50-x.conf": "[Network]\nKeepConfiguration=y\n",
    },
    "shadow": {
        "run": "[Network]\nKeepConfiguration=no\n",
        "run/50-x.conf": "[Network]\nKeepConfiguration=no\n",
        "etc/50-x.conf": "[Network]\nKeepConfiguration=yes\n",
    },
    "netplan": {"run": "[DHCP]\nCriticalConnection=true\n"},
    "wrong": {"run": "[DHCP]\nKeepConfiguration=yes\n"},
}
#: Prints, by the interface's name, which of two foreign addresses outlive a restart of networkd,
#: and what is judged of it with a lease and without.
SCRIPT = """
import json, os, subprocess, sys, time
from pathlib import Path
from ipfailover_agent.doctor import node_findings
from ipfailover_agent.doctor import host_facts as examining

settings = json.loads(sys.argv[1])

def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout

for each in ("/run", "/etc/systemd/network"):
    run("mount", "-t", "tmpfs", "tmpfs", each)
run("mount", "-t", "sysfs", "sysfs", "/sys")
for each in ("/run/systemd/netif", "/run/systemd/network", "/run/udev/data"):
    os.makedirs(each)
run("chown", "systemd-network:systemd-network", "/run/systemd/netif")
indices = {}
for number, (name, files) in enumerate(settings.items(), 1):
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"p-{name}")
    run("ip", "link", "set", f"p-{name}", "up")
    indices[name] = int(Path(f"/sys/class/net/{name}/ifindex").read_text())
    Path(f"/run/udev/data/n{indices[name]}").touch()
    text = f"[Match]\\nName={name}\\n[Network]\\nAddress=10.5.{number}.1/24\\n"
    text += "LinkLocalAddressing=no\\nIPv6AcceptRA=no\\n"
    Path(f"/run/systemd/network/{name}.network").write_text(text + files.get("run", ""))
    for place, more in files.items():
        directory, _, file = place.partition("/")
        if file:
            directory = Path(f"/{directory}/systemd/network/{name}.network.d")
            directory.mkdir(exist_ok=True)
            (directory / file).write_text(more)

def own():
    return [each for each in run("ip", "-o", "-4", "address").split() if each.startswith("10.5.")]

def start():
    process = subprocess.Popen(["/lib/systemd/systemd-networkd"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    names = [f"/run/systemd/netif/links/{each}" for each in indices.values()]
    while time.monotonic() < until:
        states = [Path(each).read_text() for each in names if os.path.exists(each)]
        if len([each for each in states if "ADMIN_STATE=configured" in each]) == len(names):
            return process
        time.sleep(0.05)
    raise SystemExit("networkd does not configure the links: " + "".join(states))

first = start()
for number, name in enumerate(settings, 1):
    run("ip", "address", "add", f"10.5.{number}.60/32", "dev", name)
    run("ip", "address", "add", f"10.5.{number}.61/32", "dev", name, "valid_lft", "600",
        "preferred_lft", "600")
first.terminate()
first.wait()
second = start()
time.sleep(0.5)
left = set(own())
found = {}
for number, name in enumerate(settings, 1):
    judged = examining.managers(name, indices[name])
    (leased,) = node_findings.judge_managers(name, judged, 3)
    (lasting,) = node_findings.judge_managers(name, judged, 0)
    found[name] = {
        "leased": [f"10.5.{number}.61/32" in left, leased.verdict.value == "pass"],
        "lasting": [f"10.5.{number}.60/32" in left, lasting.verdict.value == "pass"],
    }
second.terminate()
second.wait()
print(json.dumps(found))
"""


def judged_by_networkd() -> dict[str, dict[str, list[bool]]]:
    """Return what became of addresses, and what was judged, by the interface."""
    alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words = [*alone, sys.executable, "-c", SCRIPT, json.dumps(SETTINGS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, dict[str, list[bool]]] = json.loads(done.stdout)
    return found


def files(root: Path, texts: dict[str, str]) -> str:
    """Write files below a root; return it."""
    for path, text in texts.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(root)


def test_drop_ins_that_networkd_names_are_those(tmp_path: Path) -> None:
    """As networkd does since 253; before, they are looked for."""
    link = "ADMIN_STATE=configured\nNETWORK_FILE=/etc/x.network\n"
    texts = {
        "run/systemd/netif/links/7": f'{link}NETWORK_FILE_DROPINS="/etc/b.conf /etc/a.conf"\n',
        "etc/x.network": "[Network]\nKeepConfiguration=no\n",
        "etc/b.conf": "[Network]\nKeepConfiguration=static\n",
        "etc/a.conf": "[Network]\nKeepConfiguration=yes\n",
        "etc/systemd/network/x.network.d/z.conf": "[Network]\nKeepConfiguration=no\n",
    }
    found = host_facts.managers("eth0", 7, root=files(tmp_path, texts))
    assert (frozenset({"networkd"}), "yes", "", True) == (
        found.names,
        found.keep,
        found.unread,
        found.is_visible,
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """/etc of the node, where only /run is mounted; without a file nothing is managed by one."""
    link = "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/x.network\n"
    root = files(tmp_path, {"run/systemd/netif/links/7": link})
    assert "/etc/systemd/network/x.network" == host_facts.managers("eth0", 7, root=root).unread
    (tmp_path / "run/systemd/netif/links/7").write_text("ADMIN_STATE=configured\n")
    assert "" == host_facts.managers("eth0", 7, root=root).unread


def test_ifupdown2_is_told_by_its_directory_and_its_stanza(tmp_path: Path) -> None:
    """Where ifupdown itself reads the same file, nothing is removed."""
    stanza = "auto eth0\niface eth0 inet static\n    address 10.0.0.11/24\n"
    root = files(tmp_path, {"etc/network/interfaces.d/eth0": stanza})
    assert not host_facts.managers("eth0", 7, root=root).names
    (tmp_path / "etc/network/ifupdown2").mkdir()
    assert {"ifupdown2"} == host_facts.managers("eth0", 7, root=root).names
    assert not host_facts.managers("eth1", 7, root=root).names


@pytest.mark.netns
@pytest.mark.skipif(
    not NETWORKD.exists() or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs root and systemd-networkd",
)
def test_networkd_keeps_what_is_judged_as_kept() -> None:
    """At a restart: by lifetime, the last assignment, drop-ins in their order, and netplan's."""
    found = judged_by_networkd()
    for each in found.values():
        for kept_by_networkd, kept_as_judged in each.values():
            assert kept_by_networkd == kept_as_judged, found
    kept = {name: [each["leased"][0], each["lasting"][0]] for name, each in found.items()}
    assert [True, True] == kept["yes"] == kept["order"] == kept["shadow"] == kept["netplan"]
    assert [True, False] == kept["dhcp"]
    assert [False, True] == kept["static"]
    assert [False, False] == kept["plain"] == kept["twice"] == kept["dropin"] == kept["wrong"]
