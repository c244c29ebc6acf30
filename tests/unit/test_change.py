"""What a reload would do to each address, and how that is said."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from ipfailover_agent.core.change import Change, Move, Renumbering, compare
from ipfailover_agent.core.model import KeepalivedConfig, Settings
from ipfailover_agent.core.plan import plan
from tests.support.vectors import host_facts

FACTS = host_facts({"ens3": ["192.168.55.10/24"]})
A, B, C = (ip_address(f"10.0.0.{number}") for number in (1, 2, 3))


def config(*numbers: int, **settings: Any) -> KeepalivedConfig:  # noqa: ANN401 - fields of Settings
    wanted = tuple(ip_address(f"10.0.0.{number}") for number in numbers)
    return plan(Settings(virtual_addresses=wanted, config_name="x", **settings), FACTS)


def test_the_same_configuration_keeps_every_address() -> None:
    """Nothing happens, and nothing is said."""
    change = compare(config(1, 2), config(1, 2))
    assert Change(kept=(A, B)) == change
    assert () == change.lines()


def test_an_appended_address_moves_no_other() -> None:
    """Ungrouped, appending is the safe edit."""
    change = compare(config(1), config(1, 2))
    assert Change(kept=(A,), added=(B,)) == change
    assert ("10.0.0.2 is added",) == change.lines()


def test_an_address_removed_from_the_middle_moves_those_behind_it() -> None:
    """They change instance and id, and keepalived must be signalled twice."""
    change = compare(config(1, 2, 3), config(1, 3))
    assert (
        Change(
            kept=(A,),
            removed=(B,),
            moved=(Move(address=C, origin="x_VIP_3", target="x_VIP_2"),),
            renumbered=(Renumbering(address=C, old_id=13, new_id=12),),
            resized=("x_VIP_2",),
            needs_second_signal=True,
        )
        == change
    )
    assert "10.0.0.2 is removed" == change.lines()[0]
    assert "10.0.0.3 moves from x_VIP_3 to x_VIP_2" == change.lines()[1]
    assert "10.0.0.3 changes its virtual router id from 13 to 12" in change.lines()[2]
    assert "x_VIP_2 advertises another set" in change.lines()[3]
    assert "signalled twice" in change.lines()[4]


@pytest.mark.parametrize(
    ("active", "candidate", "expected"),
    [
        pytest.param((1, 2), (2, 1), True, id="swapped: one of them moves forward"),
        pytest.param((1, 2), (3, 1, 2), False, id="inserted in front: all move back"),
        pytest.param((3, 1, 2), (1, 2), True, id="removed in front: all move forward"),
    ],
)
def test_a_second_signal_is_needed_when_an_address_moves_forward(
    active: tuple[int, ...], candidate: tuple[int, ...], *, expected: bool
) -> None:
    """keepalived 2.2.7 loses an address that moves from a later to an earlier instance."""
    change = compare(config(*active), config(*candidate))
    assert expected is change.needs_second_signal


def test_another_offset_renumbers_without_moving() -> None:
    """The instances keep their names."""
    change = compare(config(1), config(1, virtual_router_id_offset=20))
    assert (Renumbering(address=A, old_id=11, new_id=21),) == change.renumbered
    assert ((), (), ()) == (change.kept, change.moved, change.resized)


def test_a_group_that_grows_is_said_to_be_dangerous() -> None:
    """A node with the old set refuses the adverts of one with the new."""
    change = compare(config(1, 2, address_groups=1), config(1, 2, 3, address_groups=1))
    assert (("x_VIP_1",), (C,)) == (change.resized, change.added)


def test_long_lists_are_cut() -> None:
    """An operator reads ten lines, not 240."""
    change = compare(config(1), config(*range(1, 101)))
    assert (11, "... and 89 more like that") == (len(change.lines()), change.lines()[-1])
