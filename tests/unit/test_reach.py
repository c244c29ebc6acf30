"""Whether clients reach what is served, as far as the node itself can tell."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from ipfailover_agent.config import reach, settings
from ipfailover_agent.config.planner import plan
from ipfailover_agent.model import Approach, HostFacts
from tests.support.vectors import host_facts

NODE = host_facts({"eth0": ["10.0.0.11/24", "fd00::11/64", "fe80::11/64"]})
ROUTE_THEM = (
    "neighbours will not ask for them by ARP: route them to these nodes, or correct "
    "OPENSHIFT_HA_VIRTUAL_IPS or OPENSHIFT_HA_NETWORK_INTERFACE"
)
SYSCTL = "sysctl -w net/ipv4/conf/eth0/arp_ignore=1, and that of all as well"


def told(addresses: str, facts: HostFacts = NODE, arp_ignore: int = 0) -> tuple[str, ...]:
    """Return what is said, without the variable."""
    values = {"VIRTUAL_IPS": addresses, "NETWORK_INTERFACE": "eth0"}
    parsed = settings.parse({f"OPENSHIFT_HA_{name}": text for name, text in values.items()})
    found = reach.unserved(parsed, plan(parsed, facts), facts, arp_ignore)
    assert all(each.startswith("OPENSHIFT_HA_VIRTUAL_IPS: ") for each in found)
    return tuple(each.removeprefix("OPENSHIFT_HA_VIRTUAL_IPS: ") for each in found)


def reached(*ways: tuple[str, str, bool]) -> HostFacts:
    """Return the node with what it knows of the way to addresses."""
    found = (
        Approach(address=ip_address(address), interface=name, is_on_link=is_on_link)
        for address, name, is_on_link in ways
    )
    return replace(NODE, approaches=tuple(found))


@pytest.mark.parametrize("arp_ignore", [0, 1, 2, 3])
def test_addresses_of_the_network_are_nothing_to_tell(arp_ignore: int) -> None:
    """With arp_ignore 2 they are answered for, as asker and address are in one network."""
    assert () == told("10.0.0.5,fd00::5", arp_ignore=arp_ignore)


def test_a_node_that_answers_no_arp_is_told() -> None:
    """IPv4 alone has that setting, and IFF_NOARP silences both families."""
    text = "arp_ignore is 8 on eth0: no client that asks by ARP for 10.0.0.5 is answered"
    assert (f"{text}; {SYSCTL}",) == told("10.0.0.5,fd00::5", arp_ignore=8)
    assert () == told("fd00::5", arp_ignore=8)
    deaf = replace(NODE, interfaces=(replace(NODE.interfaces[0], speaks_arp=False),))
    text = (
        "ARP is off on eth0, and neighbour discovery with it: no client in its network reaches an"
        " address there; ip link set eth0 arp on, or name another interface"
    )
    assert (text,) == told("fd00::5", deaf)


def test_an_address_out_of_the_network_needs_a_route() -> None:
    """And is asked for in vain where only the same network is answered."""
    text = f"198.51.100.5 in no network of eth0; {ROUTE_THEM}"
    assert (text,) == told("10.0.0.5,198.51.100.5")
    assert (text,) == told("198.51.100.5", reached(("198.51.100.5", "eth0", False)))
    mute = "arp_ignore is 2 on eth0: no client that asks by ARP for 198.51.100.5 is answered"
    assert (f"{mute}; {SYSCTL}", text) == told("10.0.0.5,198.51.100.5", arp_ignore=2)


def test_an_address_in_the_network_of_another_interface_is_told_with_its_name() -> None:
    """A container bridge, or the wrong interface."""
    ways = reached(("10.89.0.5", "docker0", True), ("fd89::5", "", False))
    text = f"10.89.0.5 fd89::5 in no network of eth0 (10.89.0.5 in that of docker0); {ROUTE_THEM}"
    assert (text,) == told("10.89.0.5,fd89::5", ways)


def test_a_network_that_a_route_brings_is_one_of_the_interface() -> None:
    """A router announced it, and the address came from DHCPv6 as /128."""
    assert () == told("fd89::5", reached(("fd89::5", "eth0", True)))
    assert () == told("fd89::5")  # this node has it at the moment, so that no way is known


def test_a_broadcast_address_is_told_as_the_plan_does() -> None:
    """One sentence, word for word, so that it is said once."""
    parsed = settings.parse({"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.255"})
    routes = host_facts({}, ["default via 10.0.0.1 dev eth0"]).default_routes
    node = replace(NODE, default_routes=routes)
    config = plan(parsed, node)
    assert config.reports == reach.unserved(parsed, config, node, 0)


def test_an_interface_that_has_gone_is_another_s_to_tell() -> None:
    """The plan was made with it."""
    parsed = settings.parse(
        {"OPENSHIFT_HA_VIRTUAL_IPS": "fd00::5", "OPENSHIFT_HA_NETWORK_INTERFACE": "eth0"}
    )
    assert () == reach.unserved(parsed, plan(parsed, NODE), host_facts({}), 0)
