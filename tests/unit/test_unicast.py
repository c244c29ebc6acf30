"""Which address of this node unicast adverts leave from and arrive at."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ipfailover_agent.config import unicast
from ipfailover_agent.errors import Problem
from ipfailover_agent.model import Family, Settings
from tests.support.vectors import host_facts

FACTS = host_facts(
    {"ens3": ["192.0.2.10/24", "192.0.2.20/24", "fd00::10/64", "fd00::20/64", "fe80::10/64"]}
)
FIRST = "is the network address of 192.0.2"
LAST = "is the broadcast address of 192.0.2"
NODE = (ip_address("192.0.2.10"), ip_address("fd00::10"))


@pytest.mark.parametrize(
    ("listed", "given", "expected"),
    [
        pytest.param("192.0.2.11", None, None, id="IPv4: keepalived takes the first by itself"),
        pytest.param("192.0.2.10 192.0.2.11", None, None, id="IPv4: listed by the first"),
        pytest.param("192.0.2.20 192.0.2.11", None, "192.0.2.20", id="IPv4: by another"),
        pytest.param("192.0.2.20 192.0.2.11", "192.0.2.10", "192.0.2.10", id="IPv4: given"),
        pytest.param("fd00::11", None, "fd00::10", id="IPv6: never the link-local one"),
        pytest.param("fd00::20 fd00::11", None, "fd00::20", id="IPv6: listed by another"),
        pytest.param("fd00::11", "fd00::20", "fd00::20", id="IPv6: given"),
        pytest.param("fd00::11", "192.0.2.20", "fd00::10", id="given for the other family"),
        pytest.param("fe80::10 fe80::11", None, None, id="IPv6: link-local peers"),
    ],
)
def test_the_source_is_the_address_that_peers_send_to(
    listed: str, given: str | None, expected: str | None
) -> None:
    """keepalived 2.2.7 listens at one address only."""
    settings = Settings(
        virtual_addresses=(ip_address("192.0.2.101"),),
        unicast_peers=tuple(map(ip_address, listed.split())),
        unicast_source=None if given is None else ip_address(given),
    )
    peers = settings.unicast_peers[-1:]
    found = unicast.source(settings, FACTS, FACTS.interfaces[0], NODE, peers)
    assert (None if expected is None else ip_address(expected)) == found


def test_multicast_needs_no_source() -> None:
    """Without peers nothing is said, whatever is set."""
    settings = Settings(
        virtual_addresses=(ip_address("192.0.2.101"),), unicast_source=ip_address("192.0.2.20")
    )
    assert unicast.source(settings, FACTS, FACTS.interfaces[0], NODE, ()) is None


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        pytest.param(
            {"ens3": ["192.0.2.10/24"]},
            [f"192.0.2.0 {FIRST}.0/24", f"192.0.2.255 {LAST}.0/24"],
            id="of a /24",
        ),
        pytest.param(
            {"ens3": ["192.0.2.9/30"]},
            [f"192.0.2.8 {FIRST}.8/30", f"192.0.2.11 {LAST}.8/30"],
            id="of a /30",
        ),
        pytest.param({"ens3": ["192.0.2.10/31", "192.0.2.20/32"]}, [], id="of a /31 or /32"),
        pytest.param(
            {"ens3": ["192.0.2.0/24"]},
            [f"192.0.2.255 {LAST}.0/24"],
            id="an own address is a host's",
        ),
        pytest.param({"ens3": ["192.0.2.101/24"]}, [], id="a virtual address tells no network"),
        pytest.param({"lo": ["192.0.2.10/24"]}, [], id="the loopback device is on no wire"),
        pytest.param({"ens3": ["fd00::10/64"]}, [], id="IPv6 has no broadcast"),
    ],
)
def test_the_ends_of_a_network_are_no_hosts(
    held: dict[str, list[str]], expected: list[str]
) -> None:
    """Nobody can have them, and the kernel sends nothing to the last."""
    settings = Settings(virtual_addresses=(ip_address("192.0.2.101"),))
    found = unicast.no_hosts(settings, host_facts(held))
    assert expected == [f"{address} {words}" for address, words in found.items()]


def test_only_networks_of_the_interface_make_an_address_unreached() -> None:
    """A router of another network may hand it over; within a /31 each is a host's."""
    settings = Settings(
        virtual_addresses=tuple(map(ip_address, ("192.0.2.0", "192.0.2.255", "192.0.2.254")))
    )
    facts = host_facts({"ens3": ["192.0.2.9/24"], "ens4": ["192.0.2.253/30"]})
    some = "of the clients in that network only some reach it (Linux from 5.14 on does)"
    first = f"192.0.2.0 {FIRST}.0/24 on ens3: {some}"
    last = f"192.0.2.255 {LAST}.0/24 on ens3: no client in that network reaches it"
    assert (first, last) == unicast.unreached(settings, facts, "ens3")
    pair = host_facts({"ens3": ["192.0.2.1/31"]})
    assert () == unicast.unreached(settings, pair, "ens3")


def test_a_peer_that_is_a_virtual_address_is_refused() -> None:
    """The node that has it refuses it as its own; the others would serve it beside that node."""
    addresses = tuple(map(ip_address, ("192.0.2.12", "192.0.2.101")))
    settings = Settings(
        virtual_addresses=addresses,
        unicast_peers=tuple(map(ip_address, ("192.0.2.11", "192.0.2.12", "192.0.2.13"))),
    )
    problems: list[Problem] = []
    facts = host_facts({"ens3": ["192.0.2.11/24"]})
    unicast.peers(settings, facts, {Family.IPV4}, problems)
    (problem,) = problems
    assert ("OPENSHIFT_HA_UNICAST_PEERS", "192.0.2.12") == (problem.variable, problem.element)
    assert "is a virtual address" in problem.reason


def test_the_anycast_address_of_a_network_is_every_router_s() -> None:
    """Where nodes forward IPv6, as those of a cluster do, each of them answers for it."""
    settings = Settings(
        virtual_addresses=tuple(map(ip_address, ("fd00::", "fd00:7::", "fd00:8::")))
    )
    facts = host_facts({"ens3": ["fd00::10/64", "fd00:7::1/127"], "ens4": ["fd00:8::1/64"]})
    (text,) = unicast.unreached(settings, facts, "ens3")
    assert text == (
        "fd00:: is the subnet-router anycast address of fd00::/64 on ens3: every router there "
        "answers for it, and every node that forwards IPv6, whichever node holds it"
    )
