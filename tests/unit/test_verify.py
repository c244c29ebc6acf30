"""Whether a reload led to what was planned, and when that is known."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ipfailover_agent.keepalived.dump import InstanceDump
from ipfailover_agent.keepalived.lifecycle import VerificationEnded
from ipfailover_agent.model import KeepalivedConfig, VrrpState
from ipfailover_agent.supervisor import steps, verify
from ipfailover_agent.supervisor.verify import (
    Expectation,
    Held,
    Mismatch,
    Verification,
    expect,
    mismatches,
)
from tests.support.dumps import instance_dump
from tests.unit.test_change import A, B, C, config

MASTER, BACKUP, FAULT = VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT


def dump(of: KeepalivedConfig, *states: VrrpState, at: float = 0.0) -> list[InstanceDump]:
    """Return what keepalived says of a configuration; the last state is that of all others."""
    return [
        instance_dump(
            states[min(number, len(states) - 1)],
            name=each.name,
            virtual_router_id=each.virtual_router_id,
            last_transition=at,
        )
        for number, each in enumerate(of.instances)
    ]


def on(*addresses: object) -> set[Held]:
    return {("ens3", ip_address(str(each))) for each in addresses}


def said(expected: Expectation, found: list[InstanceDump], held: set[Held]) -> list[str]:
    return sorted(each.text for each in mismatches(expected, found, held))


NAMES = ("x_VIP_1", "x_VIP_2", "x_VIP_3")


def test_what_is_as_planned_is_no_mismatch() -> None:
    """A MASTER has its addresses, others have none of theirs; foreign addresses do not matter."""
    expected = expect(config(1, 2), config(1, 2, 3), NAMES)
    for states, held in (
        ((MASTER,), on(A, B, C)),
        ((MASTER, BACKUP), on(A)),
        ((FAULT,), on("10.9.9.9")),
        ((MASTER, FAULT, BACKUP), on(A, "10.9.9.9")),
    ):
        assert [] == said(expected, dump(expected.config, *states), held)


def test_instances_and_ids_have_to_be_those_of_the_plan() -> None:
    """One too many, one missing, one with another id."""
    expected = expect(config(1, 2), config(1, 2, 3), ())
    found = dump(config(1, 2, virtual_router_id_offset=50), BACKUP)
    found[1] = replace(found[1], name="x_VIP_9")
    assert [
        "keepalived does not run x_VIP_2",
        "keepalived does not run x_VIP_3",
        "keepalived runs x_VIP_9, which is not planned",
        "x_VIP_1 has the id 51 instead of 11",
    ] == said(expected, found, set())


def test_an_address_that_was_lost_is_seen() -> None:
    """keepalived believes that it holds it; the kernel shows none."""
    expected = expect(config(1, 2), config(2, 1), NAMES)
    assert ["x_VIP_2 is MASTER and 10.0.0.1 is not on ens3"] == said(
        expected, dump(expected.config, MASTER), on(B)
    )


def test_an_address_that_was_removed_has_to_be_gone() -> None:
    """If this node held it before the reload; else it is somebody else's."""
    old, new = config(1, 2), config(1)
    masters = expect(old, new, NAMES)
    assert ["10.0.0.2 is still on ens3"] == said(masters, dump(new, MASTER), on(A, B))
    assert [] == said(expect(old, new, ("x_VIP_1",)), dump(new, MASTER), on(A, B))


def test_only_the_interfaces_of_the_plan_and_of_what_was_there_before_matter() -> None:
    """Others may have any number of addresses."""
    old, new = config(1, 2), replace(config(1, 2), interface="br-ex")
    assert {"br-ex"} == Expectation(config=new).interfaces
    before = frozenset({("eth0", A)})
    assert {"br-ex", "eth0"} == Expectation(config=new, gone=before).interfaces
    assert {old.interface, "eth0"} == Expectation(config=old, moved=before).interfaces


def test_an_address_that_moved_to_a_backup_has_to_be_gone() -> None:
    """It would be on two nodes; what stayed in its instance is not looked at."""
    old, new = config(1, 2), config(2, 1)
    expected = expect(old, new, ("x_VIP_1",))
    assert ["x_VIP_2 is BACKUP and 10.0.0.1 is on ens3"] == said(
        expected, dump(new, BACKUP), on(A, B)
    )
    assert [] == said(expect(old, old, NAMES), dump(old, BACKUP), on(A, B))


def test_what_is_parked_on_another_interface_is_not_looked_for() -> None:
    """The first step of a circle parks addresses that mean nothing."""
    old, new = config(1, 2), config(2, 1)
    first = steps.first_step(old, new)
    assert first is not None
    expected = expect(old, first, NAMES)
    kept = {
        (each.interface, held.address)
        for each in first.instances
        for held in each.all_addresses
        if held.interface is None
    }
    assert [] == said(expected, dump(first, MASTER), kept)


# --- over time ----------------------------------------------------------------------------------

LOST = Mismatch(text="x_VIP_1 is MASTER and 10.0.0.1 is not on ens3", moment=5.0)
LATER = Mismatch(text=LOST.text, moment=6.0)


def watched(*looks: tuple[float, tuple[Mismatch, ...]]) -> VerificationEnded | None:
    """Return what is known after these looks (seconds, what differed)."""
    state, ended = Verification(), None
    for now, found in looks:
        state, ended = verify.step(state, found, now)
    return ended


def test_one_look_that_agrees_is_enough() -> None:
    """At once, or after something that was under way."""
    assert VerificationEnded() == watched((0.0, ()))
    assert VerificationEnded() == watched((0.0, (LOST,)), (0.5, ()))


@pytest.mark.parametrize(
    ("looks", "difference", "doubt"),
    [
        pytest.param((), "", "it gave no answer within 10.0 s", id="no answer"),
        pytest.param(
            ((9.5, (LOST,)),),
            "",
            f"it answered 1 time within 10.0 s, the last time with: {LOST.text}",
            id="one answer",
        ),
        pytest.param(
            ((1.6, (LOST,)), (9.5, (LOST,))),
            "",
            f"it answered 2 times within 10.0 s, the last time with: {LOST.text}",
            id="two answers",
        ),
        pytest.param(
            ((1.6, (LOST,)), (3.7, (LOST,)), (5.8, (LOST,)), (7.9, (LATER,))),
            "",
            f"it answered 4 times within 10.0 s, the last time with: {LATER.text}",
            id="a transition in between",
        ),
        pytest.param(
            ((8.0, (LOST,)), (9.0, (LOST,)), (9.9, (LOST,))),
            "",
            f"it answered 3 times within 10.0 s, the last time with: {LOST.text}",
            id="not for long",
        ),
        pytest.param(
            ((1.6, (LOST,)), (3.7, (LOST,)), (5.8, (LOST,))), LOST.text, "", id="three answers"
        ),
    ],
)
def test_when_the_time_is_up_fewer_looks_have_to_do(
    looks: tuple[tuple[float, tuple[Mismatch, ...]], ...], difference: str, doubt: str
) -> None:
    """A keepalived that is slow to answer must not escape; too few answers prove nothing."""
    state = Verification()
    for now, found in looks:
        state, _ = verify.step(state, found, now)
    ended = VerificationEnded(difference=difference, doubt=doubt)
    assert ended == verify.conclude(state, 10.0)


def test_what_stands_is_known_after_three_seconds() -> None:
    """And not sooner."""
    looks = [(each / 2, (LOST,)) for each in range(7)]
    assert None is watched(*looks[:-1])
    assert VerificationEnded(difference=LOST.text) == watched(*looks)


def test_a_machine_that_is_late_proves_nothing() -> None:
    """Few looks over many seconds are few looks."""
    assert None is watched(*((each * 10.0, (LOST,)) for each in range(4)))


def test_a_transition_in_between_begins_anew() -> None:
    """The same words about another moment are about something else."""
    looks = [(each / 2, (LOST if each % 2 else LATER,)) for each in range(40)]
    assert None is watched(*looks[:2])
    assert None is watched(*looks)


def test_what_differs_is_described_by_its_age() -> None:
    """Three in full, the rest as a number."""
    many = tuple(Mismatch(text=f"{number} is wrong") for number in range(5))
    state, _ = verify.step(Verification(), many[4:], 0.0)
    state, _ = verify.step(state, many, 1.0)
    text = verify.describe(state)
    assert text.startswith("4 is wrong; ")
    assert text.endswith("; and 2 more like that")
    assert "0 is wrong" == verify.describe(verify.step(state, many[:1], 2.0)[0])


NUMBERS = st.lists(st.integers(1, 12), min_size=1, max_size=6, unique=True)
STATES = st.lists(st.sampled_from([MASTER, BACKUP, FAULT]), min_size=1, max_size=6)


@given(before=NUMBERS, after=NUMBERS, states=STATES, groups=st.integers(0, 3))
def test_a_keepalived_that_does_as_it_is_told_is_never_blamed(
    before: list[int], after: list[int], states: list[VrrpState], groups: int
) -> None:
    """Whatever the lists and the states: addresses of MASTER instances and no others are there."""
    old, new = config(*before, address_groups=groups), config(*after, address_groups=groups)
    masters = [each.name for each in old.instances]
    first = steps.first_step(old, new)
    for target in filter(None, (first, new)):
        found = dump(target, *states)
        held = {
            (each.interface, address.address)
            for each, seen in zip(target.instances, found, strict=True)
            for address in each.all_addresses
            if seen.state is MASTER and address.interface is None
        }
        assert () == (*mismatches(expect(old, target, masters), found, held),)


@given(before=NUMBERS, after=NUMBERS, data=st.data())
def test_a_lost_or_a_left_address_is_always_seen(
    before: list[int], after: list[int], data: st.DataObject
) -> None:
    """Take one address of a MASTER away, or leave one that was to go."""
    old, new = config(*before), config(*after)
    expected = expect(old, new, [each.name for each in old.instances])
    found = dump(new, MASTER)
    held = on(*(f"10.0.0.{number}" for number in after))
    lost = data.draw(st.sampled_from(after))
    assert any(mismatches(expected, found, held - on(f"10.0.0.{lost}")))
    for number in set(before) - set(after):
        assert any(mismatches(expected, found, held | on(f"10.0.0.{number}")))
