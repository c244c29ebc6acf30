"""The one meaning of ready."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.keepalived.lifecycle import AgentPhase
from ipfailover_agent.model import VrrpState
from ipfailover_agent.status import readiness
from ipfailover_agent.status.readiness import InstanceFacts, Readiness
from ipfailover_agent.status.status_model import StatusPart


def instance(number: int, state: VrrpState = VrrpState.MASTER, **fields: object) -> InstanceFacts:
    """Return an instance with one address, which has been in its state for a minute."""
    plain = InstanceFacts(
        name=f"edge_VIP_{number}", state=state, age=65.0, addresses=(f"10.0.0.{number}",)
    )
    return replace(plain, **fields)


def judged(*instances: InstanceFacts, **fields: Any) -> Readiness:  # noqa: ANN401
    """Return the verdict on a node that has nothing wrong but what ``fields`` say."""
    masters = [each for each in instances if each.state is VrrpState.MASTER]
    held = frozenset(address for each in masters for address in each.addresses)
    plain: dict[str, Any] = {"phase": AgentPhase.RUNNING, "has_config": True, "problems": ()}
    plain |= {"notes": (), "instances": instances, "check_failure": None}
    part: dict[str, Any] = {"present": held, "dump_asked_ago": 1.0}
    for name, value in fields.items():
        (plain if name in plain else part)[name] = value
    return readiness.judge(StatusPart(**part), **plain)


MASTER, BACKUP, FAULT = VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT
PAIR = (instance(1), instance(2, BACKUP))


#: The verdict on a node, and what is noted of it.
READY: dict[str, tuple[Readiness, str | None]] = {
    "master and backup": (judged(*PAIR), None),
    "its own check fails": (
        judged(instance(1, FAULT), instance(2, FAULT), check_failure="no answer on port 80"),
        "edge_VIP_1 and edge_VIP_2: in FAULT, the check fails: no answer on port 80",
    ),
    "its own check fails without a word": (
        judged(instance(1, FAULT), check_failure=""),
        "edge_VIP_1: in FAULT, the check fails: no reason given",
    ),
    "held": (
        judged(instance(1, FAULT, withheld="held: a firewall")),
        "edge_VIP_1: held: a firewall",
    ),
    "drained": (
        judged(instance(1, FAULT, withheld="drained: by hand"), instance(2)),
        "edge_VIP_1: drained: by hand",
    ),
    "cannot be asked": (judged(*PAIR, can_ask=False, dump_asked_ago=None), None),
    "asked a moment ago": (judged(*PAIR, dump_asked_ago=5.1, owed=0.1), None),
    "answered before": (judged(*PAIR, dump_asked_ago=4.0, owed=3.0), None),
    "just became master": (judged(instance(1, age=1.0), present=set()), None),
    "just started": (judged(instance(1, age=None), present=set()), None),
    "just left master": (
        judged(instance(1, BACKUP, age=1.9), present=frozenset({"10.0.0.1"})),
        None,
    ),
}


@pytest.mark.parametrize(("found", "note"), READY.values(), ids=READY)
def test_a_node_that_does_its_part_is_ready(found: Readiness, note: str | None) -> None:
    """Also one that may hold nothing: a roll-out must not wait for that."""
    assert () == found.reasons
    assert found.is_ready
    assert (() if note is None else (note,)) == found.notes


#: The verdict on a node, and what speaks against it.
NOT_READY: dict[str, tuple[Readiness, tuple[str, ...]]] = {
    "first configuration": (
        judged(has_config=False, phase=AgentPhase.WAITING, problems=("no eth0",)),
        ("no configuration is in force", "no eth0"),
    ),
    "keepalived down": (
        judged(instance(1, VrrpState.STOP), phase=AgentPhase.BACKOFF),
        ("keepalived does not run: the agent is backoff",),
    ),
    "serve-valid": (
        judged(*PAIR, problems=("10.0.0.300 was left out",)),
        ("10.0.0.300 was left out",),
    ),
    "hangs": (
        judged(*PAIR, dump_asked_ago=7.0, owed=2.0),
        ("keepalived has not answered for 7 s",),
    ),
    "never answered": (judged(*PAIR, dump_asked_ago=None), ("keepalived has not answered",)),
    "fault by something else": (
        judged(instance(1, FAULT), instance(2)),
        ("edge_VIP_1: in FAULT, and no check fails",),
    ),
    "not told yet": (judged(instance(1, VrrpState.INIT)), ("edge_VIP_1: in INIT",)),
    "master without its address": (
        judged(*PAIR, present=set()),
        ("edge_VIP_1: MASTER, and 10.0.0.1 is not on the interface",),
    ),
    "backup with an address": (
        judged(*PAIR, present={"10.0.0.1", "10.0.0.2"}),
        ("edge_VIP_2: in BACKUP, and 10.0.0.2 is on the interface",),
    ),
    "kernel": (judged(*PAIR, present=None), ("the kernel does not report its addresses",)),
}


@pytest.mark.parametrize(("found", "reasons"), NOT_READY.values(), ids=NOT_READY)
def test_a_node_that_does_not_is_not_ready(found: Readiness, reasons: tuple[str, ...]) -> None:
    """And the reasons are all that speaks against it."""
    assert reasons == found.reasons
    assert not found.is_ready


def test_what_is_said_of_several_instances_is_said_once() -> None:
    """Reasons and notes beside each other."""
    found = judged(
        *(instance(each, VrrpState.INIT) for each in range(1, 5)),
        instance(9, FAULT, withheld="drained: by hand"),
    )
    assert ("edge_VIP_1 and 3 more: in INIT",) == found.reasons
    assert ("edge_VIP_9: drained: by hand",) == found.notes


def test_what_is_to_be_noted_of_the_node_comes_first() -> None:
    """Whatever its instances do."""
    found = judged(notes=("ARP is off",), can_ask=False)
    assert ((), ("ARP is off",)) == (found.reasons, found.notes)
