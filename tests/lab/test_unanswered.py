"""A switch that lets a node advertise an address and not answer for it: port security."""

from __future__ import annotations

import contextlib
import socket
import sys
from ipaddress import IPv6Address

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, variables
from tests.support.waiting import wait_until

IMPATIENT = (sys.executable, "-m", "tests.support.impatient", "run")
ETHERTYPE_IPV6, SOLICITATION = 0x86DD, 135
#: keepalived's counters tell of two adverts within 10 s; three questions, two seconds apart.
NOTICED = 25.0


def unanswered(node: Node) -> dict[str, str]:
    """Return the addresses for which no host answers, and their holders, by ``status``."""
    return {
        told["address"]: told["holder"]
        for each in node.status().get("instances", ())
        for told in each["unanswered"]
    }


def test_port_security_is_named_by_the_backup(pair: Lab) -> None:
    """Both families, and only those; no address moves, and the end of it is logged too."""
    holder, backup = pair.nodes
    free, cut = (pair.virtual(1), pair.virtual6(1)), (pair.virtual(2), pair.virtual6(2))
    pair.switch.secure(holder.name, *cut)
    pair.start_ranked(variables(*free, *cut), IMPATIENT)
    pair.wait_for_each([*free, *cut], timeout=ELECTION, among=[holder])
    wait_until(
        lambda: set(unanswered(backup)) == set(cut),
        NOTICED,
        "the backup misses answers for two addresses",
        interval=0.3,
    )
    assert holder.ip == unanswered(backup)[cut[0]]
    line = backup.wait_for_line("address.unanswered")
    assert "usually port security" in line
    shown = " ".join(backup.ask("status").stdout.split())
    assert f"{holder.ip} advertises {cut[0]}, but no host answers for it" in shown
    assert not any(each in line for line in backup.events("address.unanswered") for each in free)
    pair.switch.unsecure(holder.name, *cut)
    wait_until(lambda: unanswered(backup) == {}, NOTICED, "the backup gets answers", interval=0.3)
    backup.wait_for_line("address.answered")
    assert not backup.events("holder.unanswered")
    assert not holder.events("address.unanswered")
    for node in pair.nodes:  # no node takes a question or an answer for a claim
        assert not [line for line in node.stderr().splitlines() if "=rival." in line]
        assert not [line for line in node.stderr().splitlines() if "=contest." in line]
    for each in (*free, *cut):
        assert pair.recorder.holders(each) == [holder.name]


def test_nobody_is_asked_from_another_programs_address(pair: Lab) -> None:
    """It looks like the node's own and moves: the one asked would send its traffic here."""
    holder, backup = pair.nodes
    virtual, foreign = pair.virtual6(1), "fd00::77"
    backup.network.ip([f"address add {foreign}/64 dev eth0 nodad"])
    with contextlib.closing(
        holder.network.open_socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_IPV6))
    ) as wire:
        wire.settimeout(0)
        pair.start_ranked(variables(virtual), IMPATIENT)
        assert all(each.is_link_local for each in askers(wire, backup, virtual))
        backup.network.ip([f"address del {foreign}/64 dev eth0"])
        pair.client.network.ip([f"address add {foreign}/64 dev eth0 nodad"])
        assert all(each.is_link_local for each in askers(wire, backup, virtual))


def askers(wire: socket.socket, node: Node, target: str) -> set[IPv6Address]:
    """Return the addresses from which a node asks for the target, once it has asked."""
    found = set()
    mac = bytes.fromhex(node.own.mac.replace(":", ""))

    def has_asked() -> bool:
        with contextlib.suppress(BlockingIOError):
            while frame := wire.recv(128):
                is_question = frame[6:12] == mac and frame[54:55] == bytes((SOLICITATION,))
                if is_question and frame[62:78] == IPv6Address(target).packed:
                    found.add(IPv6Address(frame[22:38]))
        return bool(found)

    wait_until(has_asked, NOTICED, f"{node.name} asks for {target}")
    return found
