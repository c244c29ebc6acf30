"""Which interface the addresses go on, and which cannot serve any."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ipfailover_agent.config import interfaces, settings
from ipfailover_agent.errors import HostNotReadyError, SettingsError
from ipfailover_agent.model import HostFacts
from tests.support.vectors import host_facts

OVS = "the bridge's own interface, which ovs-vsctl port-to-br prints (br-ex with OVN-Kubernetes)"
VARIABLE = "OPENSHIFT_HA_NETWORK_INTERFACE"


def node(
    ports: dict[str, str], routes: tuple[str, ...] = (), address_on: str = "br-ex"
) -> HostFacts:
    """Return a node with ens3, eth2 and a bridge; some are ports, and one has an address."""
    names = ("ens3", "eth2", "br-ex", "ovs-system")
    facts = host_facts({each: ["10.0.0.11/24"] * (each == address_on) for each in names}, routes)
    found = (replace(each, port_of=ports.get(each.name, "")) for each in facts.interfaces)
    return replace(facts, interfaces=tuple(found))


def chosen(facts: HostFacts, wanted: str = "", address: str = "10.0.0.5") -> interfaces.Choice:
    """Return the choice for the value of OPENSHIFT_HA_NETWORK_INTERFACE."""
    values = {"OPENSHIFT_HA_VIRTUAL_IPS": address, VARIABLE: wanted}
    return interfaces.choose(settings.parse(values), facts)


def test_a_port_of_a_bridge_is_passed_by_where_another_one_is_named_or_found() -> None:
    """By name, by the order of names, and by the default route."""
    facts = node({"ens3": "br-ex"}, ("default via 10.0.0.1 dev br-ex",))
    choice = chosen(facts, "ens3 br-ex")
    assert ("br-ex", ()) == (choice.interface.name, choice.reports)
    assert "br-ex" == chosen(facts).interface.name
    twice = ("default via 10.0.0.1 dev ens3", "default via 10.0.0.1 dev br-ex metric 9")
    assert "br-ex" == chosen(node({"ens3": "br-ex"}, twice)).interface.name


def test_a_named_port_is_served_on_its_bridge_where_every_address_belongs_there() -> None:
    """As with an interface that is missing: said, and not ready."""
    facts = node({"ens3": "br-ex"}, ("default via 10.0.0.1 dev br-ex",))
    choice = chosen(facts, "ens3")
    assert "br-ex" == choice.interface.name
    assert choice.degraded == choice.reports
    (text,) = choice.degraded
    assert text == (
        f"{VARIABLE}: 'ens3': ens3 is a port of br-ex, which takes all that comes in there: no "
        "client reaches an address on ens3; name br-ex; br-ex is used instead, because every "
        "address belongs to its network"
    )


@pytest.mark.parametrize(
    ("ports", "wanted", "routes", "instead"),
    [
        ({"ens3": "br-ex"}, "ens3", (), "name br-ex"),
        ({"ens3": "bond0", "eth2": "br-ex"}, "ens3 eth2", (), "name bond0 or br-ex"),
        ({"ens3": "br-ex"}, "", (), "name br-ex"),
        ({"ens3": "team0", "eth2": "team0"}, "", ("default via 10.0.0.1 dev eth2",), "name team0"),
        ({"ens3": "ovs-system"}, "ens3", (), f"name {OVS}"),
    ],
)
def test_where_there_are_ports_only_their_bridge_is_named(
    ports: dict[str, str], wanted: str, routes: tuple[str, ...], instead: str
) -> None:
    """Though the port has an address: no client reaches what is served there."""
    with pytest.raises(HostNotReadyError) as caught:
        chosen(node(ports, routes, address_on="ens3"), wanted)
    problem = caught.value.problem
    assert (VARIABLE, wanted, instead) == (problem.variable, problem.element, problem.instead)
    name, master = next(iter(ports.items()))
    assert problem.reason.startswith(f"{name} is a port of {master}, which takes all that comes")


@pytest.mark.parametrize("wanted", ["lo", "eth0 lo"])
def test_the_loopback_interface_is_refused(wanted: str) -> None:
    """It is on every node, so that one named behind it would never be used, and has no clients."""
    with pytest.raises(SettingsError) as caught:
        settings.parse({"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.5", VARIABLE: wanted})
    (problem,) = caught.value.problems
    assert (VARIABLE, "lo") == (problem.variable, problem.element)
    assert "name the interface of the clients' network" == problem.instead


def test_ports_are_not_among_the_interfaces_to_name() -> None:
    """They would be refused next."""
    with pytest.raises(HostNotReadyError) as caught:
        chosen(node({"ens3": "br-ex"}), "bond7", "172.16.0.5")
    assert "name one of: eth2, br-ex, ovs-system" == caught.value.problem.instead
