"""A switch that lets a node advertise an address and not answer for it: port security."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.lab.scenarios import (
    ELECTION,
    ask,
    events,
    status,
    variables,
    wait_for_line,
)
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.lab import Lab
    from tests.lab.node import Node

IMPATIENT = (sys.executable, "-m", "tests.support.impatient", "run")
#: keepalived's counters tell of two adverts within 10 s; three questions, two seconds apart.
NOTICED = 25.0


def unanswered(node: Node) -> dict[str, str]:
    """Return the addresses for which nobody answers, and who holds them, by ``status``."""
    return {
        told["address"]: told["holder"]
        for each in status(node).get("instances", ())
        for told in each["unanswered"]
    }


def test_port_security_is_named_by_the_backup(make_lab: Callable[..., Lab]) -> None:
    """Both families, and only those addresses; nobody moves, and the end of it is told too."""
    lab = make_lab(2)
    holder, backup = lab.nodes
    free, cut = (lab.virtual(1), lab.virtual6(1)), (lab.virtual(2), lab.virtual6(2))
    lab.switch.secure(holder.name, *cut)
    for number, node in enumerate(lab.nodes):
        node.start(variables(*free, *cut, PRIORITY=str(250 - 40 * number)), IMPATIENT)
        if number == 0:
            wait_for_line(node, "Entering BACKUP STATE")
    lab.wait_until(
        lambda: all(lab.recorder.holders(each) == [holder.name] for each in (*free, *cut)),
        timeout=ELECTION,
        what="the first node holds every address alone",
    )
    wait_until(
        lambda: set(unanswered(backup)) == set(cut),
        timeout=NOTICED,
        what="the backup misses answers for two addresses",
        interval=0.3,
    )
    assert holder.ip == unanswered(backup)[cut[0]]
    line = wait_for_line(backup, "address.unanswered")
    assert "usually port security" in line
    shown = " ".join(ask(backup, "status").stdout.split())
    assert f"{holder.ip} advertises {cut[0]}, but nobody answers for it" in shown
    assert not any(each in line for line in events(backup, "address.unanswered") for each in free)
    lab.switch.unsecure(holder.name, *cut)
    wait_until(
        lambda: unanswered(backup) == {},
        timeout=NOTICED,
        what="the backup gets answers",
        interval=0.3,
    )
    wait_for_line(backup, "address.answered")
    assert not events(backup, "holder.unanswered")
    assert not events(holder, "address.unanswered")
    for node in lab.nodes:  # nobody takes a question or an answer for a claim
        assert not [line for line in node.stderr().splitlines() if "=rival." in line]
        assert not [line for line in node.stderr().splitlines() if "=contest." in line]
    for each in (*free, *cut):
        assert lab.recorder.holders(each) == [holder.name]
