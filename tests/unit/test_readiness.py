"""The one meaning of ready."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ipfailover_agent.keepalived.supervision import AgentPhase
from ipfailover_agent.model import VrrpState
from ipfailover_agent.status import readiness
from ipfailover_agent.status.readiness import InstanceFacts, NodeFacts
from ipfailover_agent.status.status_model import StatusPart

PART = StatusPart.__struct_fields__


def instance(number: int, state: VrrpState = VrrpState.MASTER, **fields: object) -> InstanceFacts:
    """Return an instance with one address, which has been in its state for a minute."""
    plain = InstanceFacts(
        name=f"edge_VIP_{number}", state=state, age=65.0, addresses=(f"10.0.0.{number}",)
    )
    return replace(plain, **fields)


def node(*instances: InstanceFacts, **fields: object) -> NodeFacts:
    """Return a node that has nothing wrong but what ``fields`` say."""
    held = {
        address
        for each in instances
        if each.state is VrrpState.MASTER
        for address in each.addresses
    }
    part = StatusPart(present=frozenset(held), answered_ago=1.0)
    part = replace(part, **{name: fields.pop(name) for name in PART if name in fields})
    plain = NodeFacts(phase=AgentPhase.RUNNING, has_config=True, instances=instances, part=part)
    return replace(plain, **fields)


MASTER, BACKUP, FAULT = VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT
PAIR = (instance(1), instance(2, BACKUP))


#: A node, and what is noted of it.
READY: dict[str, tuple[NodeFacts, str | None]] = {
    "master and backup": (node(*PAIR), None),
    "its own check fails": (
        node(instance(1, FAULT), instance(2, FAULT), check_failure="no answer on port 80"),
        "edge_VIP_1 and edge_VIP_2: in FAULT, the check fails: no answer on port 80",
    ),
    "its own check fails without a word": (
        node(instance(1, FAULT), check_failure=""),
        "edge_VIP_1: in FAULT, the check fails: no reason given",
    ),
    "held": (
        node(instance(1, FAULT, withheld="held: a firewall")),
        "edge_VIP_1: held: a firewall",
    ),
    "drained": (
        node(instance(1, FAULT, withheld="drained: by hand"), instance(2)),
        "edge_VIP_1: drained: by hand",
    ),
    "cannot be asked": (node(*PAIR, can_ask=False, answered_ago=None), None),
    "asked a moment ago": (node(*PAIR, answered_ago=5.1, owed=0.1), None),
    "answered before": (node(*PAIR, answered_ago=4.0, owed=3.0), None),
    "just became master": (node(instance(1, age=1.0), present=set()), None),
    "just started": (node(instance(1, age=None), present=set()), None),
    "just left master": (
        node(instance(1, BACKUP, age=1.9), present=frozenset({"10.0.0.1"})),
        None,
    ),
}


@pytest.mark.parametrize(("seen", "note"), READY.values(), ids=READY)
def test_a_node_that_does_its_part_is_ready(seen: NodeFacts, note: str | None) -> None:
    """Also one that may hold nothing: a roll-out must not wait for that."""
    found = readiness.judge(seen)
    assert () == found.reasons
    assert found.is_ready
    assert (() if note is None else (note,)) == found.notes


#: A node, and what speaks against it.
NOT_READY: dict[str, tuple[NodeFacts, tuple[str, ...]]] = {
    "first configuration": (
        node(has_config=False, phase=AgentPhase.WAITING, problems=("no eth0",)),
        ("no configuration is in force", "no eth0"),
    ),
    "keepalived down": (
        node(instance(1, VrrpState.STOP), phase=AgentPhase.BACKOFF),
        ("keepalived does not run: the agent is backoff",),
    ),
    "serve-valid": (
        node(*PAIR, problems=("10.0.0.300 was left out",)),
        ("10.0.0.300 was left out",),
    ),
    "hangs": (node(*PAIR, answered_ago=7.0, owed=2.0), ("keepalived has not answered for 7 s",)),
    "never answered": (node(*PAIR, answered_ago=None), ("keepalived has not answered",)),
    "fault by something else": (
        node(instance(1, FAULT), instance(2)),
        ("edge_VIP_1: in FAULT, and no check fails",),
    ),
    "not told yet": (node(instance(1, VrrpState.INIT)), ("edge_VIP_1: in INIT",)),
    "master without its address": (
        node(*PAIR, present=set()),
        ("edge_VIP_1: MASTER, and 10.0.0.1 is not on the interface",),
    ),
    "backup with an address": (
        node(*PAIR, present={"10.0.0.1", "10.0.0.2"}),
        ("edge_VIP_2: in BACKUP, and 10.0.0.2 is on the interface",),
    ),
    "kernel": (node(*PAIR, present=None), ("the kernel does not report its addresses",)),
}


@pytest.mark.parametrize(("seen", "reasons"), NOT_READY.values(), ids=NOT_READY)
def test_a_node_that_does_not_is_not_ready(seen: NodeFacts, reasons: tuple[str, ...]) -> None:
    """And the reasons are all that speaks against it."""
    found = readiness.judge(seen)
    assert reasons == found.reasons
    assert not found.is_ready


def test_what_is_said_of_several_instances_is_said_once() -> None:
    """Reasons and notes beside each other."""
    seen = node(
        *(instance(each, VrrpState.INIT) for each in range(1, 5)),
        instance(9, FAULT, withheld="drained: by hand"),
    )
    found = readiness.judge(seen)
    assert ("edge_VIP_1 and 3 more: in INIT",) == found.reasons
    assert ("edge_VIP_9: drained: by hand",) == found.notes


def test_what_is_to_be_noted_of_the_node_comes_first() -> None:
    """Whatever its instances do."""
    found = readiness.judge(node(notes=("ARP is off",), can_ask=False))
    assert ((), ("ARP is off",)) == (found.reasons, found.notes)
