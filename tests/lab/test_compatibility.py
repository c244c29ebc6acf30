"""Beside the shell image, under its manifests, and with as little privilege as it can be run."""

from __future__ import annotations

import sys
import time

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import (
    ELECTION,
    NAME,
    PLANNED,
    UNPLANNED,
    documented,
    stays,
    variables,
)
from tests.support.waiting import wait_until


def shell_image_config(node: Node, address: str) -> str:
    """Return a configuration of the kind that the shell image writes for one address."""
    return f"""
global_defs {{
   notification_email {{
     root@localhost
   }}
   notification_email_from ipfailover@openshift.io
   smtp_server 127.0.0.1
   smtp_connect_timeout 30
   router_id {NAME}
}}
vrrp_script chk_{NAME} {{
    script "/bin/bash -c '</dev/tcp/{node.ip}/8080'"
    interval 2
}}
vrrp_instance {NAME}_VIP_1 {{
    interface eth0
    state MASTER
    virtual_router_id 11
    priority 243
    preempt_delay 300
    authentication {{
        auth_type PASS
        auth_pass {NAME}
    }}
    track_script {{
        chk_{NAME}
    }}
    virtual_ipaddress {{
        {address} dev eth0
    }}
}}
"""


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_an_address_moves_to_and_from_a_node_with_the_shell_image(pair: Lab, family: str) -> None:
    """While a cluster is updated: one holder at any time, planned handovers both ways."""
    old, new = pair.nodes
    address = pair.virtual(1) if family == "IPv4" else pair.virtual6(1)
    old.start_keepalived(shell_image_config(old, address))
    pair.wait_for_holder(address, timeout=ELECTION, among=[old])
    started = time.monotonic()
    new.start(variables(address, PRIORITY="250"))
    new.wait_for_line("Entering BACKUP STATE")
    stays(4.5)  # longer than an election: it hears the old node and waits
    assert pair.recorder.changes(address, since=started) == ()
    asked = time.monotonic()
    old.terminate()
    pair.wait_for_holder(address, timeout=PLANNED, among=[new])
    assert pair.recorder.seconds_with_none(address, since=asked) < PLANNED
    # Back: it comes up and hears a higher priority, so it stays BACKUP until this node goes.
    old.wait()
    old.start_keepalived(shell_image_config(old, address))
    old.wait_for_line("Entering BACKUP STATE")
    stays(4.5)  # longer than an election
    assert pair.recorder.holders(address) == [new.name]
    asked = pair.hand_over(new, address)
    assert pair.recorder.seconds_with_two(address, since=started) == 0
    assert pair.recorder.seconds_with_none(address, since=asked) < PLANNED


def test_the_shell_images_node_that_crashes_is_replaced(pair: Lab) -> None:
    """SIGKILL of the old node's container: the new one takes over after three adverts."""
    old, new = pair.nodes
    address = pair.virtual(1)
    old.start_keepalived(shell_image_config(old, address))
    pair.wait_for_holder(address, timeout=ELECTION, among=[old])
    new.start(variables(address))
    new.wait_for_line("Entering BACKUP STATE")
    old.kill()
    wait_until(lambda: new.name in pair.recorder.holders(address), UNPLANNED, "n2 holds it")


def test_the_documented_manifests_variables_give_one_master(lab: Lab) -> None:
    """All of them as strings, empty ones too, unicast without peers, scripts not mounted."""
    address = lab.virtual(1)
    unset = ("MULTICAST_SOURCE_IPADDRESS", "UNICAST_SOURCE_IPADDRESS", "KEEPALIVED_OPTIONS")
    environment = {**documented(f"{address}-102"), **dict.fromkeys(unset, "")}
    lab.start_everywhere(environment)
    for each in (address, lab.virtual(2)):
        lab.wait_for_holder(each, timeout=ELECTION)
    stays(2.5)  # two adverts
    holder = lab.wait_for_holder(address, timeout=1)
    entered = [line for line in holder.stdout().splitlines() if "Entering" in line]
    assert "(ipfailover_VIP_1) Entering MASTER STATE" in "\n".join(entered)
    said = holder.stderr()
    for word in ("ens3", "mycheckscript.sh", "mynotifyscript.sh", "OPENSHIFT_HA_USE_UNICAST"):
        assert word in said


def test_two_capabilities_and_a_read_only_root_will_do(pair: Lab) -> None:
    """NET_ADMIN and NET_RAW, everything but /run and /etc/keepalived read-only."""
    address = pair.virtual(1)
    first, second = pair.nodes
    few = "-all,+net_admin,+net_raw"
    command = [
        *("setpriv", "--bounding-set", few, "--inh-caps", few, "--"),
        *(sys.executable, "-m", "ipfailover_agent", "run"),
    ]
    first.start(variables(address, PRIORITY="250"), command, prepare="mount -o remount,bind,ro /")
    pair.wait_for_holder(address, timeout=ELECTION, among=[first])
    masks = first.run_in_container(["grep", "CapEff", "/proc/1/status"]).stdout.split()
    assert masks == ["CapEff:", "0000000000003000"]
    assert first.run_in_container(["touch", "/never"]).returncode != 0
    second.start(variables(address, PRIORITY="200"))
    second.wait_for_line("Entering BACKUP STATE")
    first.application.stop()
    pair.wait_for_holder(address, timeout=2 * PLANNED, among=[second])
    first.stop()
    assert first.virtual_addresses() == []


def test_nobody_reads_the_output_and_the_address_is_served_all_the_same(lone: Lab) -> None:
    """Both streams are pipes that no program reads: elected, and stopped in an orderly way."""
    (node,) = lone.nodes
    quiet = (
        "import os, sys, fcntl\n"
        "for fd in (1, 2):\n"
        "    reading, writing = os.pipe()\n"
        "    os.set_inheritable(reading, True)\n"
        "    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)\n"
        "    os.write(writing, b'x' * 4096)\n"
        "    os.dup2(writing, fd)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'ipfailover_agent', 'run'])\n"
    )
    node.start(variables(lone.virtual(1)), [sys.executable, "-c", quiet])
    lone.wait_for_holder(lone.virtual(1), timeout=ELECTION)
    node.stop()
    assert node.virtual_addresses() == []


def test_keepalived_options_come_before_ours(lone: Lab, node: Node) -> None:
    """``KEEPALIVED_OPTIONS`` are on keepalived's command line, which it prints."""
    node.start({**variables(lone.virtual(1)), "KEEPALIVED_OPTIONS": "--log-detail"})
    lone.wait_for_holder(lone.virtual(1), timeout=ELECTION)
    assert "'/usr/sbin/keepalived' '--log-detail' '--dont-fork'" in node.stdout()
