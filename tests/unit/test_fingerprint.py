"""The name of what all nodes must agree on."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from ipfailover_agent.config.fingerprint import fingerprint
from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.settings import parse
from ipfailover_agent.model import KeepalivedConfig
from tests.support.vectors import host_facts

PEERS = "10.0.0.11,10.0.0.12"


def config(node: int = 11, interface: str = "eth0", **variables: str) -> KeepalivedConfig:
    """Return what a node of a deployment plans."""
    values = {f"OPENSHIFT_HA_{name}": value for name, value in variables.items()}
    values = {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.5-7", **values}
    held = [f"10.0.0.{node}/24", f"fd00::{node}/64"]
    facts = host_facts({interface: held}, [f"default via 10.0.0.1 dev {interface}"])
    return plan(parse(values), facts)


def test_it_is_short_and_readable() -> None:
    """A label of a metric, which a person compares by eye."""
    assert re.fullmatch(r"[0-9a-f]{12}", fingerprint(config()))


@pytest.mark.parametrize(
    "other",
    [
        config(node=12),
        config(interface="bond0"),
        config(PRIORITY="77"),
        config(VIRTUAL_IPS="10.0.0.5,10.0.0.6,10.0.0.7"),
        config(PREEMPTION="nopreempt"),
        config(MONITOR_PORT="0"),
        config(ADDRESS_LEASE="0"),
        config(CONFIG_NAME="another"),
    ],
    ids=["node", "interface", "priority", "spelling", "preemption", "check", "lease", "password"],
)
def test_nodes_that_agree_have_one_fingerprint(other: KeepalivedConfig) -> None:
    """What may differ between nodes is not in it, and nothing of the password is."""
    assert fingerprint(config()) == fingerprint(other)


DIFFERENT = {
    "one address less": config(VIRTUAL_IPS="10.0.0.5-6"),
    "another address": config(VIRTUAL_IPS="10.0.0.5-6,10.0.0.8"),
    "another order": config(VIRTUAL_IPS="10.0.0.6,10.0.0.5,10.0.0.7"),  # moves the ids
    "an IPv6 address": config(VIRTUAL_IPS="10.0.0.5-7,fd00::5"),
    "groups": config(VIP_GROUPS="1"),
    "other ids": config(VRRP_ID_OFFSET="20"),
    "one id excluded": config(EXCLUDED_VRRP_IDS="12"),
    "another version": config(VRRP_VERSION="3"),
    "another interval": config(ADVERT_INTERVAL="2"),
    "unicast": config(USE_UNICAST="true", UNICAST_PEERS=PEERS),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_nodes_that_differ_in_something_that_matters_have_two(name: str) -> None:
    """keepalived would refuse the other's adverts, or an address would be served by one only."""
    assert fingerprint(config()) != fingerprint(DIFFERENT[name])


def test_every_difference_has_its_own() -> None:
    """None of them collides with another one."""
    assert len(DIFFERENT) == len({fingerprint(each) for each in DIFFERENT.values()})


def test_addresses_have_no_order_on_the_wire() -> None:
    """Within an instance, and instances among themselves."""
    grouped = config(VIP_GROUPS="1")
    turned = tuple(
        replace(each, virtual_addresses=each.virtual_addresses[::-1]) for each in grouped.instances
    )
    assert fingerprint(grouped) == fingerprint(replace(grouped, instances=turned))
    many = config()
    assert fingerprint(many) == fingerprint(replace(many, instances=many.instances[::-1]))


def test_an_address_that_is_not_advertised_is_another_matter() -> None:
    """keepalived compares what adverts list."""
    grouped = config(VIP_GROUPS="1")
    (one,) = grouped.instances
    *most, last = one.virtual_addresses
    moved = replace(one, virtual_addresses=tuple(most), excluded_addresses=(last,))
    assert fingerprint(grouped) != fingerprint(replace(grouped, instances=(moved,)))


def test_whether_there_is_a_password_matters_and_what_it_is_does_not_show() -> None:
    """A digest of eight guessable bytes could be guessed; that there is none can be seen."""
    (one, *rest) = config().instances
    open_one, other = replace(one, password=None), replace(one, password="x")  # noqa: S106 - none
    base = config()
    assert fingerprint(base) != fingerprint(replace(base, instances=(open_one, *rest)))
    assert fingerprint(base) == fingerprint(replace(base, instances=(other, *rest)))
