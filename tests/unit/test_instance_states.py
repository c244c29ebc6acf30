"""What each instance is doing, as far as keepalived has told."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.keepalived.instance_states import InstanceState, InstanceStates
from ipfailover_agent.model import Family, VrrpInstance, VrrpState, VrrpTransition
from tests.unit.test_change import config

SOURCE, PEER = ip_address("10.0.0.1"), ip_address("10.0.0.2")


def instance(number: int, priority: int = 100) -> VrrpInstance:
    """Return an instance that differs in number and priority only."""
    made = config(1, 2, 3).instances[number - 1]
    return replace(made, name=f"vip_{number}", priority=priority)


def transition(number: int, state: VrrpState) -> VrrpTransition:
    return VrrpTransition(instance=f"vip_{number}", state=state, priority=100)


def states(instance_states: InstanceStates) -> list[tuple[str, float | None]]:
    return [(each.state.value, each.since) for each in instance_states.entries]


TWO = InstanceStates().reconfigured([instance(1), instance(2)])


def test_before_keepalived_has_told_anything_the_state_is_init() -> None:
    """And nobody knows since when."""
    assert [("INIT", None), ("INIT", None)] == states(TWO)


def test_a_transition_changes_its_instance_only() -> None:
    """State and time of the others stay."""
    told = TWO.record(transition(2, VrrpState.MASTER), 5.0)
    assert [("INIT", None), ("MASTER", 5.0)] == states(told)


def test_a_repeated_state_keeps_its_time() -> None:
    """Since when means since the change."""
    told = TWO.record(transition(1, VrrpState.MASTER), 5.0).record(
        transition(1, VrrpState.MASTER), 9.0
    )
    assert ("MASTER", 5.0) == states(told)[0]


def test_a_transition_of_a_stranger_changes_nothing() -> None:
    """The user's own keepalived configuration may have others."""
    assert TWO == TWO.record(transition(7, VrrpState.MASTER), 5.0)


def test_an_instance_that_stays_keeps_its_state_over_a_reload() -> None:
    """keepalived keeps it and writes nothing; new ones begin in INIT, in the new order."""
    told = TWO.record(transition(1, VrrpState.MASTER), 5.0)
    after = told.reconfigured([instance(3), instance(1, priority=200)])
    assert [("INIT", None), ("MASTER", 5.0)] == states(after)
    assert [100, 200] == [each.instance.priority for each in after.entries]


def test_a_renamed_instance_keeps_its_state_over_a_reload() -> None:
    """keepalived knows it by its id, and writes nothing: OPENSHIFT_HA_CONFIG_NAME may change."""
    told = TWO.record(transition(1, VrrpState.MASTER), 5.0)
    after = told.reconfigured([replace(instance(1), name="other_1"), instance(2)])
    assert [("MASTER", 5.0), ("INIT", None)] == states(after)
    assert ["other_1", "vip_2"] == [each.instance.name for each in after.entries]


def test_instances_that_change_names_keep_what_their_ids_do() -> None:
    """As with addresses that are pinned to ids, and are listed in another order."""
    told = TWO.record(transition(1, VrrpState.MASTER), 5.0)
    swapped = [
        replace(instance(1), virtual_router_id=12),
        replace(instance(2), virtual_router_id=11),
    ]
    assert [("INIT", None), ("MASTER", 5.0)] == states(told.reconfigured(swapped))


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"virtual_router_id": 99}, id="another id"),
        pytest.param({"interface": "eth1"}, id="another interface"),
        pytest.param({"family": Family.IPV6}, id="another family"),
        pytest.param({"unicast_peers": (PEER,), "unicast_source": SOURCE}, id="unicast"),
    ],
)
def test_an_instance_that_begins_anew_is_told_of(changed: dict[str, Any]) -> None:
    """Its name does not help: keepalived starts it and writes its state."""
    told = TWO.record(transition(1, VrrpState.MASTER), 5.0)
    assert ("INIT", None) == states(told.reconfigured([replace(instance(1), **changed)]))[0]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (VrrpState.MASTER, ("STOP", 9.0)),
        (VrrpState.BACKUP, ("STOP", 9.0)),
        (VrrpState.FAULT, ("STOP", 9.0)),
        (VrrpState.STOP, ("STOP", 5.0)),
    ],
    ids=lambda each: str(getattr(each, "value", each[0] if isinstance(each, tuple) else each)),
)
def test_when_keepalived_ends_nothing_is_served(
    state: VrrpState, expected: tuple[str, float]
) -> None:
    """What had stopped already stopped then; what never began did not stop."""
    ended = TWO.record(transition(1, state), 5.0).ended(9.0)
    assert [expected, ("INIT", None)] == states(ended)


def test_entries_are_found_by_name() -> None:
    """None where there is none of that name."""
    assert InstanceState(instance=instance(2)) == TWO.entry("vip_2")
    assert TWO.entry("vip_3") is None


def test_the_last_word_on_a_deleted_instance_is_not_about_its_successor() -> None:
    """A pinned id keeps its instance, which gets the name of the one that is removed before it."""
    second = instance(2, priority=200)
    successor = replace(second, number=1, name="vip_1")
    before = InstanceStates().reconfigured([instance(1), second])
    for number, priority in ((1, 100), (2, 200)):
        told = VrrpTransition(instance=f"vip_{number}", state=VrrpState.MASTER, priority=priority)
        before = before.record(told, 1.0)
    instance_states = before.reconfigured([successor])
    last_word = transition(1, VrrpState.FAULT)
    assert instance_states.is_last_word(last_word)
    instance_states = instance_states.record(last_word, 2.0)
    assert [("MASTER", 1.0)] == states(instance_states)
    assert [("FAULT", 3.0)] == states(instance_states.record(last_word, 3.0))


def test_after_a_reload_a_fault_is_a_fault() -> None:
    """No last word is waited for any longer; nor is there one where no name is used again."""
    successor = replace(instance(2), number=1, name="vip_1")
    instance_states = TWO.reconfigured([successor])
    assert not instance_states.settled().is_last_word(transition(1, VrrpState.FAULT))
    assert not instance_states.is_last_word(transition(1, VrrpState.BACKUP))
    assert frozenset() == TWO.reconfigured([instance(1)]).deleted
