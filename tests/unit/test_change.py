"""What a reload would do to each address, and how that is said."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.config.planner import plan
from ipfailover_agent.model import IPAddress, KeepalivedConfig, Settings
from ipfailover_agent.supervisor.change import ConfigChange, Move, Renumbering, compare
from tests.support.vectors import host_facts

FACTS = host_facts({"ens3": ["192.168.55.10/24"], "ens4": ["192.168.66.10/24"]})
NETWORK = ": nodes that are not reached there may hold each address too"
GAP = ": each address is taken off and set anew"
HOLDER = ": another node may become the holder"
OTHERS = "until every node has it, two nodes may hold each address"
OWN, *PEERS = (ip_address(f"192.168.55.{number}") for number in (10, 11, 12, 13))
A, B, C = (ip_address(f"10.0.0.{number}") for number in (1, 2, 3))


def config(*numbers: int, **settings: Any) -> KeepalivedConfig:  # noqa: ANN401 - fields of Settings
    wanted = tuple(ip_address(f"10.0.0.{number}") for number in numbers)
    fields = {"config_name": "x", **settings}
    return plan(Settings(virtual_addresses=wanted, **fields), FACTS)


def test_the_same_configuration_keeps_every_address() -> None:
    """Nothing happens, and nothing is said."""
    change = compare(config(1, 2), config(1, 2))
    assert ConfigChange(kept=(A, B)) == change
    assert () == change.lines()


def test_an_appended_address_moves_no_other() -> None:
    """Ungrouped, appending is the safe edit."""
    change = compare(config(1), config(1, 2))
    assert ConfigChange(kept=(A,), added=(B,)) == change
    assert ("10.0.0.2 is added",) == change.lines()


def test_an_address_removed_from_the_middle_moves_those_behind_it() -> None:
    """They change instance and id, and keepalived must be signalled twice."""
    change = compare(config(1, 2, 3), config(1, 3))
    assert (
        ConfigChange(
            kept=(A,),
            removed=(B,),
            moved=(Move(address=C, origin="x_VIP_3", target="x_VIP_2"),),
            renumbered=(Renumbering(address=C, old_id=13, new_id=12),),
            resized=("x_VIP_2",),
            first_step=change.first_step,
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
        pytest.param((1, 2), (2, 1), 2, id="swapped: one of them moves forward"),
        pytest.param((1, 2), (3, 1, 2), 1, id="inserted in front: all move back"),
        pytest.param((3, 1, 2), (1, 2), 2, id="removed in front: all move forward"),
    ],
)
def test_a_second_signal_is_needed_when_an_address_moves_forward(
    active: tuple[int, ...], candidate: tuple[int, ...], *, expected: int
) -> None:
    """keepalived 2.2.7 loses an address that moves from a later to an earlier instance."""
    change = compare(config(*active), config(*candidate))
    assert expected == change.signals


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


# --- what other nodes hear ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        pytest.param(
            {"config_name": "one"},
            {"config_name": "two"},
            [
                "one_VIP_1 is called two_VIP_1 now",
                "one_VIP_2 is called two_VIP_2 now",
                "the password changes (the first 8 bytes of OPENSHIFT_HA_CONFIG_NAME): " + OTHERS,
            ],
            id="password",
        ),
        pytest.param(
            {"config_name": "eightchr-1"},
            {"config_name": "eightchr-2"},
            [
                "eightchr_1_VIP_1 is called eightchr_2_VIP_1 now",
                "eightchr_1_VIP_2 is called eightchr_2_VIP_2 now",
            ],
            id="a name with the same first eight bytes",
        ),
        pytest.param(
            {},
            {"vrrp_version": 3},
            ["the VRRP version changes from 2 to 3: " + OTHERS],
            id="version",
        ),
        pytest.param(
            {},
            {"advert_interval": 2},
            ["the advert interval changes from 1 s to 2 s: " + OTHERS],
            id="interval of version 2",
        ),
        pytest.param(
            {"vrrp_version": 3},
            {"vrrp_version": 3, "advert_interval": 2},
            ["the advert interval changes from 1 s to 2 s"],
            id="interval of version 3, which others follow",
        ),
        pytest.param(
            {},
            {"unicast_peers": (OWN, PEERS[0]), "priority": 9},
            [
                "adverts change from multicast to unicast: " + OTHERS,
                f"keepalived starts anew{GAP}",
            ],
            id="to unicast",
        ),
        pytest.param(
            {"unicast_peers": (OWN, PEERS[0]), "priority": 9},
            {},
            [
                "adverts change from unicast to multicast: " + OTHERS,
                f"keepalived starts anew{GAP}",
            ],
            id="to multicast",
        ),
        pytest.param(
            {"unicast_peers": (OWN, *PEERS[:2]), "priority": 9},
            {"unicast_peers": (OWN, PEERS[2], PEERS[0]), "priority": 9},
            [f"the unicast peers change (with {PEERS[2]}, without {PEERS[1]}): {OTHERS}"],
            id="other peers",
        ),
        pytest.param(
            {"unicast_peers": (OWN, *PEERS[:2]), "priority": 9},
            {"unicast_peers": (OWN, PEERS[1], PEERS[0]), "priority": 9},
            [],
            id="peers in another order",
        ),
        pytest.param(
            {},
            {"multicast_source": OWN},
            ["the source of adverts changes from the interface's own address to 192.168.55.10"],
            id="source",
        ),
        pytest.param(
            {"interfaces": ("ens3",), "priority": 9},
            {"interfaces": ("ens4",), "priority": 9},
            [f"the interface changes from ens3 to ens4{NETWORK}", f"keepalived starts anew{GAP}"],
            id="interface",
        ),
        pytest.param(
            {},
            {"address_label": ""},
            [f"the address label changes from ens3:vip to none{GAP}"],
            id="label removed",
        ),
        pytest.param(
            {"address_label": ""},
            {"address_label": "new"},
            [f"the address label changes from none to ens3:new{GAP}"],
            id="label added",
        ),
        pytest.param(
            {"priority": 9},
            {"priority": 10},
            ["the priority changes from 9 to 10: another node may become the holder"],
            id="priority",
        ),
        pytest.param(
            {}, {"garp_refresh": 20}, ["addresses are announced every 20 s"], id="announcements"
        ),
        pytest.param(
            {},
            {"garp_refresh": 0},
            ["addresses are announced only when an address is taken over"],
            id="no announcements",
        ),
    ],
)
def test_what_other_nodes_hear_is_said(
    before: dict[str, Any], after: dict[str, Any], said: list[str]
) -> None:
    """Once for all instances; only an empty answer may be called "no address is affected"."""
    defaults = {"interfaces": ("ens3",), "priority": 100}
    if {"unicast_peers", "priority"} & (before | after).keys():
        defaults["priority"] = 9
    change = compare(config(1, 2, **{**defaults, **before}), config(1, 2, **{**defaults, **after}))
    assert said == list(change.lines())
    assert (A, B) == change.kept
    assert 1 == change.signals


def test_what_differs_in_some_instances_names_them() -> None:
    """By their new names, at most two."""
    old = config(1, 2, 3, 4, priority=9)
    first, *others = old.instances
    one = (replace(first, priority=1), *others)
    assert [f"the priority changes from 9 to 1 in x_VIP_1{HOLDER}"] == list(
        compare(old, replace(old, instances=one)).lines()
    )
    three = (first, *(replace(each, priority=1) for each in others))
    assert [f"the priority changes from 9 to 1 in x_VIP_2 and 2 more{HOLDER}"] == list(
        compare(old, replace(old, instances=three)).lines()
    )
    two = (first, others[0], *(replace(each, priority=1) for each in others[1:]))
    assert "in x_VIP_3 and x_VIP_4:" in compare(old, replace(old, instances=two)).lines()[0]


def test_ids_that_take_over_from_each_other_are_said_and_stepped() -> None:
    """One id lower: what a name means moves, and keepalived would lose the second address."""
    change = compare(config(1, 2), config(1, 2, virtual_router_id_offset=9))
    assert (2, ("x_VIP_2",), 2) == (len(change.renumbered), change.resized, change.signals)
    assert () == change.differences


def test_an_instance_whose_id_is_pinned_is_only_renamed() -> None:
    """keepalived does not notice that one before it is gone."""
    pins = ((A, 50), (B, 51))
    old = config(1, 2, pinned_virtual_router_ids=pins, priority=9)
    new = config(2, pinned_virtual_router_ids=pins[1:], priority=9)
    change = compare(old, new)
    assert ConfigChange(kept=(B,), removed=(A,), renamed=(("x_VIP_2", "x_VIP_1"),)) == change


def named(*resolved: IPAddress, listed: tuple[IPAddress, ...] = ()) -> KeepalivedConfig:
    """Return a configuration whose peers come from a name, but for those that are listed."""
    wanted = Settings(
        virtual_addresses=(A,), unicast_peer_names=("peers.lab",), unicast_peers=listed, priority=9
    )
    return plan(wanted, replace(FACTS, resolved_peers=resolved))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        pytest.param(named(OWN, PEERS[0]), named(OWN, *PEERS[:2]), f"with {PEERS[1]}", id="comes"),
        pytest.param(
            named(OWN, *PEERS[:2]), named(OWN, PEERS[0]), f"without {PEERS[1]}", id="goes"
        ),
        pytest.param(named(OWN), named(OWN, PEERS[0]), f"with {PEERS[0]}", id="no longer alone"),
        pytest.param(named(OWN, PEERS[0]), named(OWN), f"without {PEERS[0]}", id="alone now"),
    ],
)
def test_peers_that_names_resolve_to_are_no_reason_to_hurry(
    before: KeepalivedConfig, after: KeepalivedConfig, said: str
) -> None:
    """Every node reads the same names."""
    follow = "the other nodes read the same names and follow by themselves"
    assert (f"the unicast peers change ({said}): {follow}",) == compare(before, after).lines()


def test_a_listed_peer_beside_names_is_everybodys_to_list() -> None:
    """The other nodes do not hear of it."""
    change = compare(named(OWN, PEERS[0]), named(OWN, PEERS[0], listed=(PEERS[1],)))
    assert (f"the unicast peers change (with {PEERS[1]}): {OTHERS}",) == change.lines()
