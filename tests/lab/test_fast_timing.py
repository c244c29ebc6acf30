"""Fast timing with the real keepalived: 0.1 s adverts, the agent's own probes, a lease of 1 s."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PORT, ConfigMap, command, stays, variables
from tests.support.waiting import wait_until

_FAST = {"ADVERT_INTERVAL": "0.1", "CHECK_INTERVAL": "0.25", "ADDRESS_LEASE": "1"}
_MARGIN = 0.2  # seconds: this machine has other things to do
_DROPPING = f"""
table inet dropping {{
    chain input {{
        type filter hook input priority 0
        iifname lo tcp dport {PORT} drop
    }}
}}
"""
_REASON = "/run/ipfailover-agent/check.reason"


def serve_fast(lab: Lab, address: str, **more: str) -> Node:
    """Start every node; return the first one when it holds the address and the others wait."""
    return lab.serve_ranked(address, **_FAST, **more)


def reason_of(node: Node) -> str:
    """Return what the node says of its check."""
    with contextlib.suppress(FileNotFoundError):
        return node.read(_REASON).strip()
    return ""


def unreachable(node: Node, why: str, port: int = PORT) -> str:
    """Return how the node words that a port of it does not answer."""
    return f"cannot reach port {port} of {node.ip}: {why}"


# --- how fast -----------------------------------------------------------------------------------


@pytest.mark.timing
@pytest.mark.parametrize("phase", [0.0, 0.08, 0.16])
def test_the_death_of_an_application_is_felt_for_half_a_second_at_most(
    lab: Lab, phase: float
) -> None:
    """By a client that connects, whenever between two probes it dies; no address is held twice."""
    address = lab.virtual(1)
    holder = serve_fast(lab, address)
    with lab.client.connecting(address) as client:
        stays(1 + phase)
        holder.application.stop()
        lab.wait_for_holder(address, timeout=3, among=lab.others(holder))
        stays(1)
        gap = client.longest_gap()
        print(f"application dies: {gap:.3f} s")
        assert client.node == "n2"
    assert gap <= 0.5 + _MARGIN
    assert 0 == lab.recorder.seconds_with_two(address)
    assert reason_of(holder) == unreachable(holder, "refused")
    holder.application.start()
    holder.wait_for_state("BACKUP")
    assert reason_of(holder) == ""


@pytest.mark.timing
def test_a_silent_death_is_felt_for_little_more_than_half_a_second(lab: Lab) -> None:
    """Everything is killed and the wire cut: nothing is said, and the lease ends it."""
    address = lab.virtual(1)
    holder = serve_fast(lab, address)
    with lab.client.connecting(address) as client:
        stays(1)
        began = time.monotonic()
        holder.cut()
        holder.kill()
        lab.wait_for_holder(address, timeout=5, among=lab.others(holder))
        stays(1)
        gap = client.longest_gap()
        two = lab.recorder.seconds_with_two(address, since=began)
        print(f"silent death: no node served for {gap:.3f} s, two for {two:.3f} s")
        assert client.node == "n2"
    assert gap <= 0.6 + _MARGIN
    assert two <= 1.8 + _MARGIN


# --- what does not move an address --------------------------------------------------------------


def test_a_flapping_port_counts_by_rise_and_fall(lone: Lab) -> None:
    """Shorter than ``fall`` rounds nothing happens; ``rise`` rounds pass before it is trusted."""
    address = lone.virtual(1)
    node = lone.serve(address, **_FAST, CHECK_FALL="8", CHECK_RISE="6")
    began = time.monotonic()
    for _ in range(3):
        node.application.stop()
        stays(0.6)  # two rounds or three, of eight
        node.application.start()
        stays(0.6)
    assert () == lone.recorder.changes(address, since=began)
    assert 1 == len(node.events("check.passed"))
    assert [] == node.events("check.failed")

    stopped = time.monotonic()
    node.application.stop()
    node.wait_for_line("event=check.failed", timeout=5)
    assert 1.5 < time.monotonic() - stopped
    lone.wait_for_none([address], timeout=3)
    began = time.monotonic()
    node.application.start()
    lone.wait_for_holder(address, timeout=5)
    assert 1.0 < time.monotonic() - began


def test_a_port_that_accepts_slowly_answers_all_the_same(make_lab: MakeLab) -> None:
    """The kernel answers for a busy application, and probes do not fill its queue."""
    lab = make_lab(1, applications=False)
    (node,) = lab.nodes
    address = lab.virtual(1)
    with node.network.open_socket(socket.AF_INET, socket.SOCK_STREAM) as lazy:
        lazy.bind(("0.0.0.0", PORT))
        lazy.listen(4)  # and no program ever accepts
        node.start(variables(address, **{**_FAST, "CHECK_INTERVAL": "0.1"}))
        lab.wait_for_holder(address, timeout=ELECTION)
        stays(3)  # thirty probes
        assert [] == node.events("check.failed")
        assert [node.name] == lab.recorder.holders(address)
        lazy.setblocking(False)  # noqa: FBT003 - the name of the socket API
        with pytest.raises(BlockingIOError):
            lazy.accept()


def test_a_port_behind_a_firewall_that_drops_times_out(lab: Lab) -> None:
    """One that was reachable moves its addresses after the timeout; the reason says so."""
    address = lab.virtual(1)
    holder = serve_fast(lab, address, CHECK_TIMEOUT="0.5")
    holder.nft(_DROPPING)
    began = time.monotonic()
    lab.wait_for_holder(address, timeout=3, among=lab.others(holder))
    took = time.monotonic() - began
    print(f"port dropped: moved after {took:.3f} s")
    assert 0.4 < took
    holder.wait_for_state("FAULT")
    assert reason_of(holder) == unreachable(holder, "timed out after 0.5 s")
    (note,) = holder.status()["notes"]
    assert reason_of(holder) in note
    holder.nft("delete table inet dropping")
    holder.wait_for_state("BACKUP")


def test_nobody_holds_an_address_before_its_port_has_answered(make_lab: MakeLab) -> None:
    """Nothing answers from the start on: FAULT, never MASTER, until something does."""
    lab = make_lab(1, applications=False)
    (node,) = lab.nodes
    address = lab.virtual(1)
    node.nft(_DROPPING)
    node.start(variables(address, **_FAST, CHECK_TIMEOUT="2"))
    node.wait_for_line("entering FAULT state")
    stays(1.5)
    assert () == lab.recorder.changes(address)
    node.nft("delete table inet dropping")
    node.application.start()
    lab.wait_for_holder(address, timeout=ELECTION)


def test_many_ports_are_probed_side_by_side(lone: Lab, node: Node) -> None:
    """A hundred ports ten times a second, on time; one of them that fails is named."""
    address = lone.virtual(1)
    with listening(node, range(9000, 9100)) as sockets:
        ports = ",".join(map(str, range(9000, 9100)))
        more = {**_FAST, "CHECK_INTERVAL": "0.1", "MONITOR_PORTS": ports}
        node.start({**variables(address, **more), "OPENSHIFT_HA_MONITOR_PORT": ""})
        lone.wait_for_holder(address, timeout=ELECTION)
        began = time.monotonic()
        stays(5)
        assert () == lone.recorder.changes(address, since=began)
        assert [] == node.events("lease.late") + node.events("lease.lapsed")
        assert [] == node.events("check.failed")
        sockets[42].close()
        began = time.monotonic()
        node.wait_for_line("event=check.failed", timeout=3)
        print(f"one of a hundred ports: seen after {time.monotonic() - began:.3f} s")
        expected = unreachable(node, "refused", 9042)
        wait_until(lambda: reason_of(node) == expected, 1, "the reason is there")


@contextlib.contextmanager
def listening(node: Node, ports: range) -> Iterator[list[socket.socket]]:
    """Listen on ports of a node."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for port in ports:
            made = node.network.open_socket(socket.AF_INET, socket.SOCK_STREAM)
            sockets.append(stack.enter_context(made))
            made.bind(("0.0.0.0", port))
            made.listen(16)
        yield sockets


# --- reload -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reload_from_script_to_probes_and_back_keeps_the_address(pair: Lab) -> None:
    """The application is healthy all along: the holder stays, and each way still sees it die."""
    holder, other = pair.nodes
    address = pair.virtual(1)
    slow = variables(address, ADVERT_INTERVAL="1")
    source = ConfigMap(pair.directory / "variables", slow)
    for node, priority in ((holder, "250"), (other, "100")):
        node.start({**source.variable, "OPENSHIFT_HA_PRIORITY": priority})
        node.wait_for_line("Entering BACKUP STATE")
    pair.wait_for_holder(address, timeout=ELECTION, among=[holder])
    began = time.monotonic()
    for interval in ("0.25", "1", "0.1", "2"):
        source.write({**slow, "OPENSHIFT_HA_CHECK_INTERVAL": interval})
        for node in pair.nodes:
            done = node.ask("reload")
            assert 0 == done.returncode, done.stdout + done.stderr
        stays(2.5)
    assert () == pair.recorder.changes(address, since=began)
    assert not any("FAULT" in node.stdout() for node in pair.nodes)

    for interval, within in (("2", 5), ("0.25", 2)):
        source.write({**slow, "OPENSHIFT_HA_CHECK_INTERVAL": interval})
        for node in pair.nodes:
            node.ask("reload")
        pair.wait_for_holder(address, timeout=2)
        (name,) = pair.recorder.holders(address)
        node = pair.node(name)
        node.application.stop()
        pair.wait_for_holder(address, timeout=within, among=pair.others(node))
        node.application.start()
        node.wait_for_state("BACKUP")


def test_a_reload_to_probes_of_a_dead_port_gives_the_address_up(lone: Lab, node: Node) -> None:
    """What was found so far holds only until the probes know better."""
    address = lone.virtual(1)
    source = ConfigMap(lone.directory / "variables", variables(address))
    node.start(source.variable)
    lone.wait_for_holder(address, timeout=ELECTION)
    source.write(variables(address, MONITOR_PORT="9999", CHECK_INTERVAL="0.25"))
    node.ask("reload")
    node.wait_for_state("FAULT", timeout=5)
    assert reason_of(node) == unreachable(node, "refused", 9999)
    source.write(variables(address, MONITOR_PORT=str(PORT), CHECK_INTERVAL="0.25"))
    node.ask("reload")
    lone.wait_for_holder(address, timeout=ELECTION)
    assert reason_of(node) == ""


# --- what the node lacks ------------------------------------------------------------------------


def test_a_full_disk_does_not_hide_a_dead_application(lone: Lab, node: Node) -> None:
    """The verdict needs no room; only the reason does."""
    address = lone.virtual(1)
    node.start(variables(address, **_FAST), run_mount="size=1m")
    lone.wait_for_holder(address, timeout=ELECTION)
    fill = "head -c 4m /dev/zero >/run/filler; ! echo more >/run/ipfailover-agent/more"
    assert 0 == node.run_in_container(["sh", "-c", fill]).returncode
    node.application.stop()
    lone.wait_for_none([address], on=node, timeout=2)
    node.wait_for_line("event=check.failed")
    node.application.start()
    lone.wait_for_holder(address, timeout=5)


def test_check_and_run_say_that_a_cpu_limit_does_not_back_fast_timing(lone: Lab) -> None:
    """Once each, and only where something is fast."""
    (node,) = lone.nodes
    text = "OPENSHIFT_HA_ADDRESS_LEASE: fast timing with a CPU limit of 0.3"
    with cpu_limit(30_000) as enter:
        for lease, expected in (("1", 1), ("3", 0)):
            node.start(variables(lone.virtual(1), ADDRESS_LEASE=lease), prepare=enter)
            node.wait_for_line("event=keepalived.started", timeout=30)
            said = [line for line in node.events("settings.warning") if text in line]
            assert expected == len(said)
            checked = node.run_in_container(["sh", "-c", f"{enter}\nexec {check_command()}"])
            assert expected == checked.stdout.count(f"warning: {text}")
            node.terminate()
            node.wait()


def check_command() -> str:
    return shlex.join(command("check"))


@contextlib.contextmanager
def cpu_limit(microseconds: int) -> Iterator[str]:
    """Make a control group that gets so much of every 0.1 s; yield how a shell enters it."""
    version_2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    root = Path("/sys/fs/cgroup" if version_2 else "/sys/fs/cgroup/cpu")
    group = root / f"ipfailover-lab-{os.getpid()}"
    try:
        group.mkdir()
        if version_2:
            (group / "cpu.max").write_text(f"{microseconds} 100000")
        else:
            (group / "cpu.cfs_quota_us").write_text(str(microseconds))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"needs a control group with a CPU limit: {error}")
    try:
        yield f"echo $$ >{group}/cgroup.procs"
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (root / "cgroup.procs").write_text(pid)
        group.rmdir()
