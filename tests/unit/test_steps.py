"""Reloads in two steps: against a model of how keepalived 2.2.7 goes through its instances."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest

from ipfailover_agent.config import planner, templating
from ipfailover_agent.model import IPAddress, KeepalivedConfig, Settings
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.supervisor import steps
from tests.property.test_reload_properties import Reloading
from tests.unit.test_change import FACTS, config


def config_of_ipv6(*numbers: int, **settings: Any) -> KeepalivedConfig:  # noqa: ANN401 - fields
    wanted = tuple(ip_address(f"fd00::{number}") for number in numbers)
    return planner.plan(Settings(virtual_addresses=wanted, config_name="x", **settings), FACTS)


def reloaded(old: KeepalivedConfig, new: KeepalivedConfig) -> set[IPAddress]:
    """Return what is on the interface after a reload in one step, all instances being MASTER."""
    keepalived = Reloading.begin(old, frozenset(each.identity for each in old.instances))
    keepalived.reload(new)
    return keepalived.held


def order(*names: str) -> list[str]:
    return [f"x_VIP_{name}" for name in names]


def test_the_model_loses_what_keepalived_loses() -> None:
    """Removed in front, in one step: the address that moves forward is gone."""
    old, new = config(1, 2, 3), config(2, 3)
    assert {ip_address("10.0.0.3")} == reloaded(old, new)


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
        pytest.param(config(1, 2, 3, virtual_router_id_offset=9), id="every id is one lower"),
        pytest.param(config(2, 3, config_name="y"), id="renamed, and the first one removed"),
    ],
)
def test_instances_are_told_by_their_ids(candidate: KeepalivedConfig) -> None:
    """keepalived 2.2.7 looks at id and interface, not at names."""
    old = config(1, 2, 3)
    lost = set(candidate.addresses) - {ip_address("10.0.0.1")} - reloaded(old, candidate)
    assert {ip_address("10.0.0.2")} == lost
    first = steps.first_step(old, candidate)
    assert first is not None
    assert order("3", "2", "1") == [each.name for each in first.instances]


def test_other_names_alone_need_no_step() -> None:
    """The instances stay what they are."""
    assert steps.first_step(config(1, 2), config(1, 2, config_name="y")) is None


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
    first = steps.first_step(config_of_ipv6(1, 2), config_of_ipv6(2, 1))
    assert first is not None
    assert ["fe80::ffff:1", "fe80::ffff:2"] == [
        str(each.virtual_addresses[0].address) for each in first.instances
    ]


def test_an_ipv6_address_that_changes_its_instance_is_parked_in_any_order() -> None:
    """Else keepalived 2.2.7 takes the instance that gets it, and all it has, down for a moment."""
    old = config_of_ipv6(1, 2, 3)
    first = steps.first_step(old, config_of_ipv6(1, 2, 3, address_groups=2))
    assert first is not None
    assert ["fd00::1", "fe80::ffff:2", "fe80::ffff:3"] == [
        str(each.virtual_addresses[0].address) for each in first.instances
    ]


def test_an_ipv6_address_of_an_instance_that_is_new_is_not_parked() -> None:
    """The new one begins as BACKUP: it has nothing to lose."""
    old = config_of_ipv6(1, 2)
    assert steps.first_step(old, config_of_ipv6(1, 2, virtual_router_id_offset=20)) is None
