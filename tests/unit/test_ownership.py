"""Whose is an address that is on an interface: what may be deleted, and what never."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from msgspec import structs

from ipfailover_agent.config import ownership
from ipfailover_agent.config.ownership import Ownership
from ipfailover_agent.model import Family, HostFacts, InterfaceAddress
from tests.support.vectors import host_facts

VIP = ip_address("192.168.55.101")
VIP6 = ip_address("fd00:55::101")
NODE = InterfaceAddress(address=ip_address("192.168.55.10"), prefix_length=24)
NODE6 = InterfaceAddress(address=ip_address("fd00:55::10"), prefix_length=64)
LINK_LOCAL = InterfaceAddress(address=ip_address("fe80::1"), prefix_length=64)


def held(text: str, *, label: str = "", deprecated: bool = False) -> InterfaceAddress:
    address, prefix = ip_address(text.partition("/")[0]), int(text.partition("/")[2])
    return InterfaceAddress(
        address=address, prefix_length=prefix, label=label, is_deprecated=deprecated
    )


def facts_with(
    *addresses: InterfaceAddress,
    recorded: tuple[str, ...] = (),
    source: str | None = None,
    name: str = "ens3",
) -> HostFacts:
    routes = [] if source is None else [f"default via 192.168.55.1 dev {name} src {source}"]
    facts = host_facts({name: []}, routes)
    return structs.replace(
        facts,
        interfaces=(structs.replace(facts.interfaces[0], addresses=addresses),),
        recorded_addresses=tuple(map(ip_address, recorded)),
    )


def found(facts: HostFacts, *, interface: str = "ens3", label: str = "vip") -> list[str]:
    wanted = (VIP, VIP6)
    return [
        f"{each.address}/{each.prefix_length} {on.name}"
        for on, each in ownership.leftovers(wanted, label, facts, interface)
    ]


HOST, NETWORK = held("192.168.55.101/32"), held("192.168.55.101/24")
LABELLED = held("192.168.55.101/32", label="ens3:vip")
OURS = "192.168.55.101"


HOST6 = held("fd00:55::101/128")
DEPRECATED = held("fd00:55::101/128", deprecated=True)
LEFTOVERS = {
    "/32 beside the node's own": facts_with(HOST, NODE),
    "the order does not matter": facts_with(NODE, HOST),
    "label, alone": facts_with(LABELLED),
    "label, other prefix": facts_with(held("192.168.55.101/24", label="ens3:vip")),
    "label, source of a default route": facts_with(LABELLED, source=OURS),
    "recorded, alone": facts_with(HOST, recorded=(OURS,)),
    "deprecated, alone": facts_with(DEPRECATED),
    "/128 in company": facts_with(HOST6, NODE6),
}
OTHERS = {
    "/32 alone: the node's": facts_with(HOST),
    "another family is no company": facts_with(HOST, NODE6),
    "source of a default route": facts_with(HOST, NODE, source=OURS),
    "other prefix": facts_with(NETWORK, NODE),
    "the plain label": facts_with(held("192.168.55.101/32", label="ens3")),
    "recorded, but the node's own since": facts_with(NETWORK, recorded=(OURS,)),
    "ours, but not wanted": facts_with(NODE, held("192.168.55.10/32", label="ens3:vip")),
    "/128 beside link-local": facts_with(HOST6, LINK_LOCAL),
    "deprecated, other prefix": facts_with(held("fd00:55::101/64", deprecated=True), NODE6),
}


@pytest.mark.parametrize("facts", LEFTOVERS.values(), ids=LEFTOVERS)
def test_an_address_is_a_leftover_by_mark_or_by_company(facts: HostFacts) -> None:
    """Deleted is what bears a mark of ours, or is /32 or /128 beside an address of the node.

    keepalived sets IPv6 addresses with a preferred lifetime of 0.
    """
    assert 1 == len(found(facts))


@pytest.mark.parametrize("facts", OTHERS.values(), ids=OTHERS)
def test_an_address_without_mark_and_company_stays(facts: HostFacts) -> None:
    """It may be the node's own."""
    assert [] == found(facts)


def test_two_virtual_addresses_are_no_company_for_each_other() -> None:
    """Neither can be told from the node's own, so neither is deleted."""
    facts = facts_with(HOST, held("192.168.55.102/32"))
    wanted = (VIP, ip_address("192.168.55.102"))
    assert () == ownership.leftovers(wanted, "vip", facts, "ens3")


def test_the_nodes_address_listed_by_mistake_stays() -> None:
    """What is deleted then is only the leftover beside it."""
    facts = facts_with(HOST, NODE)
    wanted = (VIP, NODE.address)
    assert [VIP] == [each.address for _, each in ownership.leftovers(wanted, "vip", facts, "ens3")]


@pytest.mark.parametrize(
    ("address", "recorded", "expected"),
    [
        pytest.param(held("192.168.55.101/32", label="eth7:vip"), (), True, id="label"),
        pytest.param(HOST, (OURS,), True, id="recorded"),
        pytest.param(DEPRECATED, (), True, id="deprecated"),
        pytest.param(HOST, (), False, id="unmarked"),
        pytest.param(LABELLED, (), False, id="other's label"),
    ],
)
def test_on_another_interface_only_a_mark_makes_a_leftover(
    address: InterfaceAddress, recorded: tuple[str, ...], *, expected: bool
) -> None:
    """The VRRP interface may have changed between runs."""
    company = held("192.168.55.7/24"), held("fd00:55::7/64")
    facts = facts_with(address, *company, recorded=recorded, name="eth7")
    assert expected is bool(found(facts))


@pytest.mark.parametrize("name", ["lo", "kube-ipvs0"])
def test_addresses_bound_to_no_wire_do_not_count(name: str) -> None:
    """kube-proxy binds service addresses there, and they are its own."""
    facts = facts_with(HOST, NODE, recorded=(OURS,), name=name)
    assert [] == found(facts)


def test_without_a_label_only_the_other_marks_count() -> None:
    """An empty label must not match the empty label of IPv6 addresses."""
    facts = facts_with(HOST6)
    assert [] == found(facts, label="")


def test_node_addresses_are_ipv4_first_and_never_virtual() -> None:
    """Leftovers, marked, recorded and link-local addresses do not count."""
    facts = facts_with(
        HOST,
        held("192.168.55.5/32", label="ens3:vip"),
        held("192.168.55.6/32"),
        LINK_LOCAL,
        NODE6,
        NODE,
        recorded=("192.168.55.6",),
    )
    expected = (NODE.address, NODE6.address)
    assert expected == ownership.node_addresses((VIP,), "vip", facts, "ens3")
    assert () == ownership.node_addresses((VIP,), "vip", facts, "eth9")


def test_other_prefixes_are_neither_ours_nor_the_nodes_only_one() -> None:
    """They are refused, not deleted."""
    facts = facts_with(NETWORK, NODE)
    assert Ownership.FOREIGN is ownership.classify(
        NETWORK, facts.interfaces[0], (VIP,), "vip", facts, interface="ens3"
    )


def own(text: str, **more: Any) -> InterfaceAddress:  # noqa: ANN401 - any field
    """Return an IPv6 address of a node, ``text`` its last part."""
    return InterfaceAddress(address=ip_address(f"fd00:55::{text}"), prefix_length=64, **more)


#: The kernel shows the newest IPv6 address first.
OLD, NEW = own("1", created=100), own("2", created=200)


@pytest.mark.parametrize(
    ("held_addresses", "expected"),
    [
        pytest.param((NEW, OLD), "1", id="a second prefix is newer"),
        pytest.param((own("3"), own("4")), "3", id="made at the same time: as the kernel has it"),
        pytest.param(
            (own("3", created=50, is_temporary=True), NEW),
            "2",
            id="a privacy address is temporary",
        ),
        pytest.param((own("3", created=50, is_deprecated=True), NEW), "2", id="one that expires"),
        pytest.param(
            (own("3", created=50, is_tentative=True), NEW), "2", id="one that may be none"
        ),
        pytest.param((own("3", created=50, is_duplicate=True), NEW), "2", id="another host's"),
        pytest.param((own("3", is_deprecated=True),), "3", id="deprecated, but the only one"),
        pytest.param((own("3", is_temporary=True),), "3", id="temporary, but the only one"),
        pytest.param((own("3", is_tentative=True),), "3", id="tentative: in a second it is not"),
        pytest.param((own("3", is_duplicate=True),), None, id="another host's alone"),
        pytest.param(
            (own("3", is_temporary=True), own("4", is_deprecated=True)),
            "3",
            id="temporary before deprecated",
        ),
    ],
)
def test_the_address_that_lasts_is_the_nodes_own(
    held_addresses: tuple[InterfaceAddress, ...], expected: str | None
) -> None:
    """So that a restart chooses the same, and no day brings another."""
    facts = facts_with(*held_addresses)
    found = ownership.node_addresses((VIP,), "vip", facts, "ens3")
    assert (() if expected is None else (ip_address(f"fd00:55::{expected}"),)) == found


def test_the_address_in_use_stays_in_use_until_it_is_deprecated() -> None:
    """One that is older comes back, or a network manager makes it anew."""
    facts = structs.replace(facts_with(NEW, OLD, NODE), used_addresses=(NEW.address,))
    assert (NODE.address, NEW.address) == ownership.node_addresses((), "vip", facts, "ens3")
    for change in ({"is_tentative": True}, {"is_temporary": True}):
        held_now = structs.replace(NEW, **change)
        again = structs.replace(facts_with(held_now, OLD), used_addresses=(NEW.address,))
        assert (NEW.address,) == ownership.node_addresses((), "vip", again, "ens3")
    gone = structs.replace(NEW, is_deprecated=True)
    later = structs.replace(facts_with(gone, OLD), used_addresses=(NEW.address,))
    assert (OLD.address,) == ownership.node_addresses((), "vip", later, "ens3")


def test_the_address_that_others_know_comes_before_all() -> None:
    """Even if it is none of the best, or another one is in use."""
    listed = own("3", created=300, is_temporary=True, is_deprecated=True)
    facts = structs.replace(facts_with(NEW, OLD, listed), used_addresses=(OLD.address,))
    known_by = (NODE.address, listed.address)
    found = ownership.node_addresses((), "vip", facts, "ens3", known_by=known_by)
    assert (listed.address,) == found


LINK_LOCAL_IPV4 = InterfaceAddress(address=ip_address("169.254.10.11"), prefix_length=24)


@pytest.mark.parametrize(
    ("held_addresses", "families", "expected"),
    [
        pytest.param((LINK_LOCAL_IPV4, LINK_LOCAL), "46", [LINK_LOCAL_IPV4], id="IPv4 alone"),
        pytest.param((LINK_LOCAL,), "46", [LINK_LOCAL], id="IPv6 alone"),
        pytest.param((LINK_LOCAL_IPV4, NODE), "46", [NODE], id="not beside another"),
        pytest.param((LINK_LOCAL_IPV4, NODE6), "46", [LINK_LOCAL_IPV4, NODE6], id="each family"),
        pytest.param((NODE, LINK_LOCAL), "46", [NODE], id="IPv6 always has one"),
        pytest.param((LINK_LOCAL_IPV4, LINK_LOCAL), "", [], id="where it will not do"),
        pytest.param((LINK_LOCAL_IPV4, LINK_LOCAL), "6", [LINK_LOCAL], id="in one family"),
    ],
)
def test_a_link_local_address_is_the_nodes_where_it_has_no_other(
    held_addresses: tuple[InterfaceAddress, ...], families: str, expected: list[InterfaceAddress]
) -> None:
    """A cross-link between two nodes often has nothing else."""
    facts = facts_with(*held_addresses)
    link_local = [Family(int(each)) for each in families]
    found = ownership.node_addresses((VIP,), "vip", facts, "ens3", link_local=link_local)
    assert tuple(each.address for each in expected) == found


@pytest.mark.parametrize(
    ("company", "expected"),
    [
        pytest.param(LINK_LOCAL_IPV4, True, id="beside the node's own link-local address"),
        pytest.param(NODE6, False, id="alone in its family"),
    ],
)
def test_a_link_local_leftover_is_one_beside_a_link_local_address(
    company: InterfaceAddress, *, expected: bool
) -> None:
    """On a cross-link the node's own address is of that kind too."""
    virtual = ip_address("169.254.10.100")
    facts = facts_with(held("169.254.10.100/32"), company)
    released = ownership.leftovers((virtual,), "", facts, "ens3")
    assert expected is bool(released)
