"""Reloads in two steps: against a model of how keepalived 2.2.7 goes through its instances."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipfailover_agent.config import planner, templating
from ipfailover_agent.model import Settings
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.supervisor import steps
from tests.support.vectors import host_facts

if TYPE_CHECKING:
    from ipfailover_agent.model import IPAddress, KeepalivedConfig

FACTS = host_facts({"ens3": ["192.168.55.10/24"]})
NUMBERS = st.lists(st.integers(1, 9), min_size=1, max_size=9, unique=True)


def config(
    *numbers: int, groups: int = 0, base: str = "10.0.0.", name: str = "x", offset: int = 10
) -> KeepalivedConfig:
    wanted = tuple(ip_address(f"{base}{number}") for number in numbers)
    settings = Settings(
        virtual_addresses=wanted,
        config_name=name,
        address_groups=groups,
        virtual_router_id_offset=offset,
    )
    return planner.plan(settings, FACTS)


def reloaded(held: set[IPAddress], old: KeepalivedConfig, new: KeepalivedConfig) -> set[IPAddress]:
    """Return what is on the interface after a reload, as keepalived 2.2.7 does it for IPv4.

    All instances are MASTER, and known by their ids. Instances that are gone come first; then, in
    the old order, each instance removes what it no longer has and adds what it did not have,
    unless it is there.
    """
    held = set(held)
    wanted = {
        each.virtual_router_id: {vip.address for vip in each.all_addresses}
        for each in new.instances
    }
    for each in sorted(old.instances, key=lambda each: each.virtual_router_id in wanted):
        had = {vip.address for vip in each.all_addresses}
        held -= had - wanted.get(each.virtual_router_id, set())
        held |= wanted.get(each.virtual_router_id, set()) - had
    return held


def order(*names: str) -> list[str]:
    return [f"x_VIP_{name}" for name in names]


@example(before=[1, 2, 3], after=[2, 3, 1], groups=(0, 2), offset=10, name="x")
@example(before=[4, 7, 5], after=[5, 7, 4], groups=(0, 2), offset=10, name="x")
@given(
    before=NUMBERS,
    after=NUMBERS,
    groups=st.tuples(*[st.integers(0, 4)] * 2),
    offset=st.integers(8, 12),
    name=st.sampled_from(["x", "y"]),
)
def test_no_address_is_lost_by_any_reload(
    before: list[int], after: list[int], groups: tuple[int, int], offset: int, name: str
) -> None:
    """Whatever changes, what was held and is wanted in an instance that stays is still held."""
    old = config(*before, groups=groups[0])
    new = config(*after, groups=groups[1], offset=offset, name=name)
    stay = {each.virtual_router_id for each in old.instances}
    wanted = {
        held.address
        for each in new.instances
        if each.virtual_router_id in stay
        for held in each.all_addresses
    }
    held: set[IPAddress] = set(old.addresses)
    first = steps.first_step(old, new)
    if first is not None:
        held = reloaded(held, old, first)
        assert sorted(each.virtual_router_id for each in first.instances) == sorted(stay)
        assert all(each.virtual_addresses for each in first.instances)
    held = reloaded(held, first or old, new)
    assert wanted == held


def test_the_model_loses_what_keepalived_loses() -> None:
    """Removed in front, in one step: the address that moves forward is gone."""
    old, new = config(1, 2, 3), config(2, 3)
    assert {ip_address("10.0.0.3")} == reloaded(set(old.addresses), old, new)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param((1, 2), (1, 2, 3), id="appended"),
        pytest.param((1, 2), (1,), id="last removed"),
        pytest.param((1, 2), (3, 1, 2), id="inserted in front"),
        pytest.param((1, 2), (3, 4), id="replaced"),
    ],
)
def test_one_step_will_do_where_no_address_moves_forward(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    """The common edits need no second signal."""
    assert steps.first_step(config(*before), config(*after)) is None


@pytest.mark.parametrize(
    "candidate",
    [
        pytest.param(config(1, 2, 3, offset=9), id="every id is one lower"),
        pytest.param(config(2, 3, name="y"), id="renamed, and the first one removed"),
    ],
)
def test_instances_are_told_by_their_ids(candidate: KeepalivedConfig) -> None:
    """keepalived 2.2.7 looks at id and interface, not at names."""
    old = config(1, 2, 3)
    lost = (
        set(candidate.addresses)
        - {ip_address("10.0.0.1")}
        - reloaded(set(old.addresses), old, candidate)
    )
    assert {ip_address("10.0.0.2")} == lost
    first = steps.first_step(old, candidate)
    assert first is not None
    assert order("3", "2", "1") == [each.name for each in first.instances]


def test_other_names_alone_need_no_step() -> None:
    """The instances stay what they are."""
    assert steps.first_step(config(1, 2), config(1, 2, name="y")) is None


def test_removal_from_the_middle_needs_another_order_and_parks_nothing() -> None:
    """The old configuration, block by block, later instances first."""
    old = config(1, 2, 3, 4)
    first = steps.first_step(old, config(1, 3, 4))
    assert first is not None
    assert order("1", "4", "3", "2") == [each.name for each in first.instances]
    assert set(old.instances) == set(first.instances)


def test_a_circle_parks_one_address_and_leaves_no_instance_empty() -> None:
    """Swapped: one stays until it is due, the other's instance gets an address on lo."""
    first = steps.first_step(config(1, 2), config(2, 1))
    assert first is not None
    assert order("1", "2") == [each.name for each in first.instances]
    kept, parked = (each.virtual_addresses[0] for each in first.instances)
    assert IPv4Address("10.0.0.1") == kept.address
    assert (IPv4Address("127.255.0.2"), "lo", None) == (
        parked.address,
        parked.interface,
        parked.label,
    )
    paths = RunPaths(directory="/run/agent", config="/etc/keepalived/keepalived.conf")
    assert '127.255.0.2/32 dev "lo"\n' in templating.render(first, paths).config.text


def test_an_ipv6_instance_is_parked_with_an_ipv6_address() -> None:
    """keepalived 2.2.7 ends when an instance of version 3 has no address."""
    first = steps.first_step(config(1, 2, base="fd00::"), config(2, 1, base="fd00::"))
    assert first is not None
    assert ["fe80::ffff:1", "fe80::ffff:2"] == [
        str(each.virtual_addresses[0].address) for each in first.instances
    ]


def test_an_ipv6_address_that_changes_its_instance_is_parked_in_any_order() -> None:
    """Else keepalived 2.2.7 takes the instance that gets it, and all it has, down for a moment."""
    old = config(1, 2, 3, base="fd00::")
    first = steps.first_step(old, config(1, 2, 3, base="fd00::", groups=2))
    assert first is not None
    assert ["fd00::1", "fe80::ffff:2", "fe80::ffff:3"] == [
        str(each.virtual_addresses[0].address) for each in first.instances
    ]


def test_an_ipv6_address_of_an_instance_that_is_new_is_not_parked() -> None:
    """The new one begins as BACKUP: it has nothing to lose."""
    old = config(1, 2, base="fd00::")
    assert steps.first_step(old, config(1, 2, base="fd00::", offset=20)) is None
