"""What a change would mean, and how that is said."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.config.planner import plan
from ipfailover_agent.model import IPAddress, KeepalivedConfig, Settings
from ipfailover_agent.supervisor import impact
from ipfailover_agent.supervisor.change import compare
from ipfailover_agent.supervisor.impact import Impact, assess
from ipfailover_agent.text import ranges
from tests.property.test_reload_properties import SEVEN, SIX, SWAPPED, A, B, C, planned
from tests.unit.test_change import FACTS, config


def settings(*numbers: int, **fields: Any) -> Settings:  # noqa: ANN401 - fields of Settings
    wanted = tuple(ip_address(f"10.0.0.{number}") for number in numbers)
    return Settings(virtual_addresses=wanted, **{"config_name": "x", **fields})


def look(active: KeepalivedConfig, *numbers: int, **fields: Any) -> Impact:  # noqa: ANN401
    wanted = settings(*numbers, **fields)
    return assess(active, plan(wanted, FACTS), wanted)


def test_what_nobody_feels_is_not_warned_of() -> None:
    """Nothing, an appended address, and an address exchanged for another one."""
    for numbers in ((1, 2), (1, 2, 3), (1, 9)):
        found = look(config(1, 2), *numbers)
        assert ((), "") == (found.warnings, found.pins)


def test_ids_that_shift_are_one_warning() -> None:
    """With the range, the ids, who will contest them, and what to do."""
    found = look(config(5, 6, 7, 8, 9), 5, 7, 8, 9, priority=100)
    assert (
        "the ids of 10.0.0.7 to 10.0.0.9 shift by one, from 13-15 to 12-14: nodes that still run "
        "the old list will contest them, and each may be on no node for up to 8.2 s at a time; "
        "append at the end, or pin ids, or drain all nodes but one before, and undrain them after"
    ) == found.warnings[0]
    assert "10.0.0.5=11,10.0.0.7=13,10.0.0.8=14,10.0.0.9=15" == found.pins


def test_a_single_id_is_named() -> None:
    """And a distance of more than one is a number."""
    assert look(config(1, 2), 2).warnings[0].startswith("the id of 10.0.0.2 changes from 12 to 11")
    shifted = look(config(1, 2, 3, 4), 3, 4).warnings[0]
    assert shifted.startswith("the ids of 10.0.0.3, 10.0.0.4 shift by 2, from 13-14 to 11-12")


def test_ids_that_cannot_be_pinned_are_not_proposed() -> None:
    """The id in use is excluded now, or addresses are grouped: then only a drain helps."""
    found = look(config(1, 2), 1, 2, excluded_virtual_router_ids=(11,))
    assert "" == found.pins
    assert found.warnings[0].endswith(
        "at a time; drain all nodes but one before, and undrain them after"
    )
    assert "" == look(config(1, 2, 3), 1, 2, 3, address_groups=1).pins


def test_a_group_that_grows_is_refused_by_peers() -> None:
    """Also said of several, and not of sets that have nothing in common."""
    (one,) = look(config(1, 2, address_groups=1), 1, 2, 3, address_groups=1).warnings
    assert one.startswith("x_VIP_1 advertises another set of addresses: peers reject")
    several = look(config(1, 2, 3, 4, address_groups=2), 1, 2, 3, 4, 5, 6, address_groups=2)
    assert any(
        each.startswith("x_VIP_1 and x_VIP_2 advertise other sets") for each in several.warnings
    )


def test_an_address_that_is_dealt_to_another_group_is_named() -> None:
    """Its old holder drops it, and the new group's holder does not have it yet."""
    (one,) = (
        each
        for each in look(
            config(*range(1, 7), address_groups=2), *range(1, 8), address_groups=2
        ).warnings
        if "another group" in each
    )
    assert (
        "10.0.0.4 moves to another group: where that one has another holder, no node holds it "
        "from the reload of its holder until that of the other, and reloaded the other way round "
        "the whole group yields and is on no node for up to 7.2 s at a time; drain all nodes but "
        "one before, and undrain them after, or reload its holder first and the other right "
        "after it"
    ) == one
    several = look(config(*range(1, 7), address_groups=2), *range(1, 11), address_groups=2)
    assert any("10.0.0.4, 10.0.0.5 move to another group" in each for each in several.warnings)


@pytest.mark.parametrize(
    ("before", "after", "step"),
    [
        pytest.param((A, B), (A, B, C), "", id="one step"),
        pytest.param((A, B), (B,), "the old configuration in another order", id="order"),
        pytest.param(
            (SIX, SEVEN),
            (SEVEN,),
            "the old configuration without fd00::102, which is away for about a tenth of a second",
            id="IPv6 only",
        ),
        pytest.param(
            (A, B, SIX, SEVEN),
            (B, A, SEVEN, SIX),
            "the old configuration in another order and without 192.0.2.102, fd00::101, "
            "fd00::102, which are away for about a tenth of a second",
            id="circles of both",
        ),
    ],
)
def test_a_first_step_is_what_it_is_called(
    before: tuple[IPAddress, ...], after: tuple[IPAddress, ...], step: str
) -> None:
    """IPv6 addresses that move are taken down, the order need not be another one for that."""
    old, new = (planned({**SWAPPED, "virtual_addresses": each}) for each in (before, after))
    assert step == assess(old, new, Settings(virtual_addresses=after)).first_step


def test_differences_of_many_instances_are_counted() -> None:
    """Two of a kind are told one by one, more are a number."""
    before = config(*range(1, 20))
    after = config(*range(1, 20), priority=7)
    shown = impact.summed(compare(before, after).differences)
    assert ("the priority changes in 19 instances: another node may become the holder",) == shown
    few = impact.summed(compare(config(1, 2), config(1, 2, priority=7)).differences)
    assert 2 == len(few)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        pytest.param((), "", id="none"),
        pytest.param((1,), "10.0.0.1", id="one"),
        pytest.param((1, 2), "10.0.0.1, 10.0.0.2", id="two"),
        pytest.param((1, 2, 3, 7), "10.0.0.1 to 10.0.0.3, 10.0.0.7", id="a run and one"),
        pytest.param((3, 2, 1), "10.0.0.3, 10.0.0.2, 10.0.0.1", id="downwards"),
    ],
)
def test_runs_of_addresses_are_shortened(numbers: tuple[int, ...], expected: str) -> None:
    """From three on, in the order of the list."""
    assert expected == ranges(ip_address(f"10.0.0.{number}") for number in numbers)


def test_a_run_does_not_cross_families() -> None:
    """The last IPv4 address and an IPv6 one that follows it as a number."""
    assert "255.255.255.255, ::1:0:0" == ranges(
        [ip_address("255.255.255.255"), ip_address(2**32)].__iter__()
    )


LISTS = st.lists(st.integers(1, 40), min_size=1, max_size=12, unique=True)


@given(before=LISTS, after=LISTS, offset=st.integers(0, 30))
def test_pinned_as_proposed_no_address_changes_its_id(
    before: list[int], after: list[int], offset: int
) -> None:
    """Whatever two lists: what ``plan`` prints keeps every id, and every priority with it."""
    active = config(*before, virtual_router_id_offset=offset)
    wanted = settings(*after, virtual_router_id_offset=offset)
    value = impact.pins_for(active, wanted)
    pairs = (pair.split("=") for pair in value.split(",") if pair)
    pins = tuple((ip_address(address), int(number)) for address, number in pairs)
    pinned = plan(
        settings(*after, virtual_router_id_offset=offset, pinned_virtual_router_ids=pins), FACTS
    )
    change = compare(active, pinned)
    assert ((), ()) == (change.renumbered, change.differences)
    ids = [each.virtual_router_id for each in pinned.instances]
    assert len(set(ids)) == len(ids)
