"""The plan: what an environment on a node becomes, and what is refused."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from msgspec import structs

from ipfailover_agent import model
from ipfailover_agent.config import checks, interfaces, unicast
from ipfailover_agent.config.planner import plan
from ipfailover_agent.errors import AwaitedSource, HostNotReadyError, Problem, SettingsError
from ipfailover_agent.model import HostFacts, IPAddress, KeepalivedConfig
from tests.support.vectors import host_facts

FACTS = host_facts({"ens3": ["192.168.55.10/24", "fd00:55::10/64"]})


def addresses(text: str) -> tuple[IPAddress, ...]:
    return tuple(map(ip_address, text.split()))


def sequence(first: str, count: int) -> tuple[IPAddress, ...]:
    return tuple(ip_address(first) + number for number in range(count))


def planned(  # a keyword for each field of Settings
    ips: str | tuple[IPAddress, ...],
    facts: HostFacts = FACTS,
    **settings: Any,  # noqa: ANN401
) -> KeepalivedConfig:
    virtual = addresses(ips) if isinstance(ips, str) else ips
    return plan(model.Settings(virtual_addresses=virtual, **settings), facts)


def refused(
    ips: str | tuple[IPAddress, ...],
    facts: HostFacts = FACTS,
    **settings: Any,  # noqa: ANN401
) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        planned(ips, facts, **settings)
    return caught.value.problems


def awaited(
    ips: str,
    facts: HostFacts = FACTS,
    **settings: Any,  # noqa: ANN401
) -> HostNotReadyError:
    with pytest.raises(HostNotReadyError) as caught:
        planned(ips, facts, **settings)
    return caught.value


def shape(config: KeepalivedConfig) -> list[tuple[int, list[str]]]:
    return [
        (each.virtual_router_id, [str(held.address) for held in each.virtual_addresses])
        for each in config.instances
    ]


# --- instances ----------------------------------------------------------------------------------


def test_without_groups_every_address_has_an_instance() -> None:
    """Ungrouped, the n-th address is alone in instance n with id offset + n."""
    config = planned("10.0.0.5 fd00::5 10.0.0.7")
    assert [(11, ["10.0.0.5"]), (12, ["fd00::5"]), (13, ["10.0.0.7"])] == shape(config)
    expected = ["OpenShift_IPFailover_VIP_1", "OpenShift_IPFailover_VIP_2"]
    assert expected == [each.name for each in config.instances[:2]]


@pytest.mark.parametrize(
    ("count", "groups", "sizes"),
    [
        pytest.param(7, 3, [3, 2, 2], id="the first ones are larger"),
        pytest.param(4, 2, [2, 2], id="even"),
        pytest.param(2, 10, [1, 1], id="more groups than addresses"),
        pytest.param(3, 1, [3], id="one group"),
    ],
)
def test_group_sizes_differ_by_at_most_one(count: int, groups: int, sizes: list[int]) -> None:
    """Addresses are dealt out in order, larger groups first."""
    ips = sequence("10.0.0.1", count)
    config = planned(ips, address_groups=groups)
    assert sizes == [len(each.virtual_addresses) for each in config.instances]
    assert ips == config.addresses


def test_a_mixed_group_keeps_the_family_of_its_first_address() -> None:
    """The other family follows after the last group, one instance per mixed group in order."""
    config = planned("10.0.0.1 fd00::1 fd00::2 10.0.0.2 10.0.0.3 10.0.0.4", address_groups=3)
    assert [
        (11, ["10.0.0.1"]),
        (12, ["fd00::2"]),
        (13, ["10.0.0.3", "10.0.0.4"]),
        (14, ["fd00::1"]),
        (15, ["10.0.0.2"]),
    ] == shape(config)
    assert [4, 6, 4, 6, 4] == [each.family for each in config.instances]


@pytest.mark.parametrize(
    ("first", "count", "version", "mtu", "advertised"),
    [
        pytest.param("10.0.0.0", 300, None, 1500, 255, id="IPv4: the count is a byte"),
        pytest.param("10.0.0.0", 300, None, 700, 162, id="IPv4, version 2, small MTU"),
        pytest.param("10.0.0.0", 300, 3, 700, 164, id="IPv4, version 3, small MTU"),
        pytest.param("fd00::", 300, None, 1500, 89, id="IPv6"),
        pytest.param("fd00::", 300, None, 9000, 255, id="IPv6, jumbo frames"),
        pytest.param("10.0.0.0", 255, None, 1500, 255, id="exactly full"),
    ],
)
def test_what_does_not_fit_an_advert_is_excluded(
    first: str, count: int, version: int | None, mtu: int, advertised: int
) -> None:
    """The cut is where keepalived 2.2.7 makes it, or old and new nodes would differ."""
    interface = structs.replace(FACTS.interfaces[0], mtu=mtu)
    facts = structs.replace(FACTS, interfaces=(interface,))
    ips = sequence(first, count)
    (instance,) = planned(ips, facts, address_groups=1, vrrp_version=version).instances
    assert advertised == len(instance.virtual_addresses)
    assert ips == tuple(each.address for each in instance.all_addresses)


@pytest.mark.parametrize(
    ("name", "instance", "check", "password"),
    [
        ("my.ha-svc_1", "myha_svc_1_VIP_1", "chk_my.ha_svc_1", "my.ha-sv"),
        ("a", "a_VIP_1", "chk_a", "a"),
        (
            "ipfailover-router-a",
            "ipfailover_router_a_VIP_1",
            "chk_ipfailover_router_a",
            "ipfailov",
        ),
    ],
)
def test_names_and_password_come_from_the_configuration_name(
    name: str, instance: str, check: str, password: str
) -> None:
    """Instance names lose dots, the check keeps them, the password is the first 8 bytes."""
    config = planned("10.0.0.5", config_name=name)
    assert (instance, password) == (config.instances[0].name, config.instances[0].password)
    assert config.port_probes is not None
    assert check == config.port_probes.name


# --- ids ----------------------------------------------------------------------------------------


def test_excluded_ids_are_skipped_in_sequence() -> None:
    """Offset 0 without 2, 3 and 5 gives 1, 4, 6."""
    ids: dict[str, Any] = {"virtual_router_id_offset": 0, "excluded_virtual_router_ids": (2, 3, 5)}
    config = planned("10.0.0.1 10.0.0.2 10.0.0.3", **ids)
    assert [1, 4, 6] == [each.virtual_router_id for each in config.instances]


def test_pinned_ids_are_taken_out_of_the_sequence() -> None:
    """A pinned address has its id; the others count on over the ids that are left."""
    pins = ((ip_address("10.0.0.2"), 11), (ip_address("10.0.0.4"), 200))
    config = planned("10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4", pinned_virtual_router_ids=pins)
    assert [12, 11, 13, 200] == [each.virtual_router_id for each in config.instances]


def test_the_last_id_that_fits_is_255() -> None:
    """Offset 10 leaves room for 245 addresses."""
    config = planned(sequence("10.0.0.1", 245))
    assert 255 == config.instances[-1].virtual_router_id


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        pytest.param({}, ["246 addresses", "only 245 fit", "10.0.0.246"], id="addresses"),
        pytest.param(
            {"address_groups": 246}, ["246 groups", "only 245 fit", "10.0.0.246"], id="groups"
        ),
        pytest.param(
            {"excluded_virtual_router_ids": (11, 12, 5)},
            ["only 243 fit", "10.0.0.244"],
            id="excluded ids",
        ),
        pytest.param(
            {"pinned_virtual_router_ids": ((ip_address("10.0.0.1"), 20),)},
            ["only 245 fit", "10.0.0.246"],
            id="a pin within the sequence gains nothing",
        ),
    ],
)
def test_too_many_instances_are_refused_with_the_number_that_fits(
    settings: dict[str, Any], parts: list[str]
) -> None:
    """An id above 255 makes keepalived refuse its whole configuration."""
    (problem,) = refused(sequence("10.0.0.1", 246), **settings)
    assert "OPENSHIFT_HA_VRRP_ID_OFFSET" == problem.variable
    for part in parts:
        assert part in problem.reason


def test_a_pin_below_the_offset_makes_room() -> None:
    """A pinned id outside of the sequence leaves the sequence to the others."""
    pins = ((ip_address("10.0.0.7"), 1),)
    config = planned(sequence("10.0.0.1", 246), pinned_virtual_router_ids=pins)
    identifiers = [each.virtual_router_id for each in config.instances]
    assert 1 == identifiers[6]
    assert sorted({1, *range(11, 256)}) == sorted(identifiers)


# --- adverts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "versions"),
    [
        pytest.param({}, (2, 3), id="auto, whole seconds"),
        pytest.param({"advert_interval": 0.5}, (3, 3), id="auto, fraction"),
        pytest.param({"vrrp_version": 3}, (3, 3), id="version 3"),
        pytest.param({"vrrp_version": 2}, (2, 3), id="IPv6 has no version 2"),
    ],
)
def test_version_2_carries_the_password_and_version_3_none(
    settings: dict[str, Any], versions: tuple[int, int]
) -> None:
    """auto is version 2 for IPv4 at whole seconds, else 3."""
    config = planned("10.0.0.1 fd00::1", **settings)
    assert versions == tuple(each.advertisement.version for each in config.instances)
    for each in config.instances:
        assert (each.advertisement.version == 2) == (each.password is not None)


@pytest.mark.parametrize(
    ("count", "asked", "expected"),
    [(1, 10, 10), (100, 10, 10), (101, 10, 11), (245, 10, 25), (245, 60, 60), (245, 0, 0)],
)
def test_announcements_stay_at_ten_frames_a_second(count: int, asked: int, expected: int) -> None:
    """The refresh grows with the number of addresses; off stays off."""
    assert expected == planned(sequence("10.0.0.1", count), garp_refresh=asked).garp.refresh


@pytest.mark.parametrize("count", [1, 2, 16, 245])
def test_pacing_hardly_delays_the_first_announcement_of_a_takeover(count: int) -> None:
    """The last of all addresses is announced within some tenths of a second."""
    garp = planned(sequence("10.0.0.1", count)).garp
    assert 0 < garp.interval * count <= 0.3


# --- peers --------------------------------------------------------------------------------------


def test_peers_are_filtered_by_family_and_without_this_node() -> None:
    """An instance lists the other nodes' addresses of its own family, each once."""
    peers = addresses("192.168.55.10 192.168.55.11 fd00:55::11 192.168.55.12 192.168.55.11")
    config = planned("10.0.0.1 fd00::1", unicast_peers=peers)
    assert addresses("192.168.55.11 192.168.55.12") == config.instances[0].unicast_peers
    assert addresses("fd00:55::11") == config.instances[1].unicast_peers


@pytest.mark.parametrize(
    ("ips", "peers", "family"),
    [
        pytest.param("10.0.0.1 fd00::1", "192.168.55.11", "IPv6", id="other family"),
        pytest.param("10.0.0.1", "192.168.55.10", "IPv4", id="only this node"),
    ],
)
def test_a_family_without_a_peer_is_refused(ips: str, peers: str, family: str) -> None:
    """keepalived would exit, or speak to nobody."""
    (problem,) = refused(ips, unicast_peers=addresses(peers))
    assert "OPENSHIFT_HA_UNICAST_PEERS" == problem.variable
    assert family in problem.reason


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        ("192.168.55.255", "is the broadcast address of 192.168.55.0/24"),
        ("192.168.55.0", "is the network address of 192.168.55.0/24"),
    ],
    ids=["broadcast", "network"],
)
def test_a_listed_peer_that_is_no_host_is_refused(peer: str, reason: str) -> None:
    """Once, beside a good one; the same number in another network is a host's."""
    peers = addresses(f"192.168.55.11 {peer} {peer} 10.9.0.255 fd00:55::")
    instead = "write the address of a node"
    expected = Problem("OPENSHIFT_HA_UNICAST_PEERS", peer, reason, instead)
    assert (expected,) == refused("10.0.0.1 fd00::1", unicast_peers=peers)


def resolved(peers: str) -> HostFacts:
    """Return the usual node, where names resolve to these addresses."""
    return structs.replace(FACTS, resolved_peers=addresses(peers))


def test_peers_by_name_are_waited_for() -> None:
    """Multicast instead would be another wire than the one asked for."""
    names: dict[str, Any] = {"unicast_peer_names": ("node-b",)}
    error = awaited("10.0.0.1", structs.replace(FACTS, peers_awaited="x: timed out"), **names)
    problem = error.problem
    assert ("OPENSHIFT_HA_UNICAST_PEERS_DNS", "node-b") == (problem.variable, problem.element)
    assert "timed out" in problem.reason
    assert not error.is_usual
    error = awaited("10.0.0.1", **names)
    assert error.is_usual
    assert "mend DNS" not in str(error.problem)
    error = awaited("10.0.0.1", structs.replace(FACTS, stored_peers=2), **names)
    assert "2 peers are known from before" in str(error)
    assert error.is_usual


def test_a_node_that_is_listed_by_an_address_of_another_interface_is_no_peer_of_itself() -> None:
    """The interface is not looked at, the address was asked about."""
    facts = structs.replace(FACTS, local_addresses=frozenset(addresses("10.8.0.1 10.0.0.1")))
    peers = addresses("10.8.0.1 10.8.0.2")
    (instance,) = planned("10.0.0.1", facts, unicast_peers=peers).instances
    assert addresses("10.8.0.2") == instance.unicast_peers


def test_what_a_plan_depends_on_is_asked_of_the_node() -> None:
    """Interfaces by name, virtual addresses, and whatever may be a node's address."""
    settings = model.Settings(
        virtual_addresses=addresses("10.0.0.1"),
        interfaces=("br-ex",),
        unicast_peers=addresses("10.8.0.1"),
        unicast_source=addresses("10.8.0.3")[0],
    )
    scope = interfaces.scope(settings, addresses("10.8.0.2"))
    assert "br-ex" == scope.interfaces[0]
    assert addresses("10.0.0.1") == scope.virtual
    assert addresses("10.8.0.1 10.8.0.2 10.8.0.3") == scope.nodes
    assert {"lo", "kube-ipvs0"} == scope.passed_by
    assert not scope.is_whole


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://10.9.0.1:8090/", "10.9.0.1"),
        ("https://[fd00:9::1]/", "fd00:9::1"),
        ("http://127.0.0.1/", ""),
        ("http://www.example.com/", ""),
    ],
)
def test_the_address_of_a_url_may_be_on_any_interface(url: str, asked: str) -> None:
    """Its listener is watched there, too, so the node is asked whether it has the address."""
    settings = model.Settings(virtual_addresses=addresses("10.0.0.1"), check_url=url)
    assert addresses(asked) == interfaces.scope(settings).nodes


def test_peers_by_name_are_added_to_those_by_address() -> None:
    """Per family; this node and virtual addresses are left out."""
    facts = resolved("192.168.55.10 192.168.55.11 192.168.55.12 10.0.0.1 fd00:55::11")
    given = {"unicast_peer_names": ("node-b",), "unicast_peers": addresses("192.168.55.12")}
    four, six = planned("10.0.0.1 fd00::1", facts, **given).instances
    assert addresses("192.168.55.12 192.168.55.11") == four.unicast_peers
    assert addresses("fd00:55::11") == six.unicast_peers
    assert addresses("192.168.55.10 fd00:55::10") == (four.unicast_source, six.unicast_source)
    assert not (four.is_alone)
    assert not (six.is_alone)


def test_a_node_alone_is_its_own_peer() -> None:
    """keepalived 2.2.7 would turn to multicast without any, where nobody else would hear it."""
    facts = resolved("192.168.55.10")
    four, six = planned("10.0.0.1 fd00::1", facts, unicast_peer_names=("nodes",)).instances
    assert addresses("192.168.55.10") == four.unicast_peers
    assert addresses("fd00:55::10") == six.unicast_peers
    assert four.is_alone
    assert six.is_alone


def test_a_given_source_stands_in_for_peers() -> None:
    """It is what the others send to."""
    given = {"unicast_peer_names": ("nodes",), "unicast_source": ip_address("192.168.55.10")}
    (one,) = planned("10.0.0.1", resolved("192.168.55.10"), **given).instances
    assert addresses("192.168.55.10") == one.unicast_peers == (one.unicast_source,)


def test_a_node_alone_without_an_address_of_the_family_waits() -> None:
    """There is nothing to send from, and nothing to send to."""
    bare = host_facts({"ens3": ["192.168.55.10/24"]}, ["default via 192.168.55.1 dev ens3"])
    facts = structs.replace(bare, resolved_peers=())
    error = awaited("fd00::1", facts, unicast_peer_names=("nodes",))
    assert "no IPv6 peer" in error.problem.reason


def test_one_peer_more_leaves_the_identity_of_an_instance() -> None:
    """Else keepalived would begin anew with it, and drop its addresses."""
    sets = ("192.168.55.10", "192.168.55.10 192.168.55.11", "192.168.55.11 192.168.55.12")
    found = [planned("10.0.0.1", resolved(each), unicast_peer_names=("nodes",)) for each in sets]
    assert 1 == len({each.instances[0].identity for each in found})


def test_priorities_of_peers_by_name_agree_between_nodes() -> None:
    """Every node ranks the same addresses, whichever of them is its own."""
    nodes = "192.168.55.10 192.168.55.11 192.168.55.12"
    found = set()
    for each in nodes.split():
        node = host_facts({"ens3": [f"{each}/24"]}, ["default via 192.168.55.1 dev ens3"])
        facts = structs.replace(node, resolved_peers=addresses(nodes))
        (one,) = planned("10.0.0.1", facts, unicast_peer_names=("nodes",)).instances
        found.add(one.priority)
    assert {254, 250, 246} == found


ELSEWHERE = ip_address("192.168.55.99")
PEER, PEER_6 = addresses("192.168.55.11"), addresses("fd00:55::11")


def test_sources_belong_to_the_family_and_the_mode() -> None:
    """A multicast source is for multicast, a unicast source for unicast, each for its family."""
    own = ip_address("192.168.55.10")
    named: dict[str, Any] = {"multicast_source": own, "unicast_source": own}
    four, six = planned("10.0.0.1 fd00::1", **named).instances
    assert (own, None) == (four.multicast_source, four.unicast_source)
    assert (None, None) == (six.multicast_source, six.unicast_source)
    (four,) = planned("10.0.0.1", unicast_peers=addresses("192.168.55.11"), **named).instances
    assert (None, own) == (four.multicast_source, four.unicast_source)


@pytest.mark.parametrize(
    ("variable", "more"),
    [
        ("MULTICAST_SOURCE_IPADDRESS", {"multicast_source": ELSEWHERE}),
        ("UNICAST_SOURCE_IPADDRESS", {"unicast_source": ELSEWHERE, "unicast_peers": PEER}),
    ],
    ids=["multicast", "unicast"],
)
def test_a_source_that_the_node_does_not_have_is_waited_for(
    variable: str, more: dict[str, Any]
) -> None:
    """It comes late, or is another node's: keepalived would stay in FAULT for ever."""
    error = awaited("10.0.0.1", **more)
    assert variable == error.problem.variable
    assert AwaitedSource(interface="ens3", address="192.168.55.99") == error.source
    assert "another node's" in error.problem.instead


@pytest.mark.parametrize(
    ("variable", "more"),
    [
        ("MULTICAST_SOURCE_IPADDRESS", {"multicast_source": ip_address("10.0.0.2")}),
        ("MULTICAST_SOURCE_IPADDRESS", {"multicast_source": ip_address("fd00::1")}),
        (
            "UNICAST_SOURCE_IPADDRESS",
            {"unicast_source": ip_address("fd00::1"), "unicast_peers": (*PEER, *PEER_6)},
        ),
        (
            "UNICAST_SOURCE_IPADDRESS",
            {"unicast_source": ip_address("10.0.0.2"), "unicast_peer_names": ("nodes",)},
        ),
    ],
)
def test_a_virtual_address_as_the_source_is_refused(variable: str, more: dict[str, Any]) -> None:
    """It moves: a node that lacks it would wait for it, without end."""
    (problem,) = refused("10.0.0.1 10.0.0.2 fd00::1", **more)
    (source,) = {str(each) for each in more.values() if not isinstance(each, tuple)}
    assert (variable, source) == (problem.variable, problem.element)
    assert problem.reason.startswith("it is a virtual address, which moves")


def test_a_source_that_another_node_advertises_from_is_said_to_be_its() -> None:
    """What was heard is certain, and says what to do."""
    error = awaited("10.0.0.1", multicast_source=ELSEWHERE)
    told = unicast.source_held_by(error, "02:00:00:00:00:0c")
    assert "another node has it: adverts from it are heard, sent by 02:00:00:00:00:0c" in str(told)
    assert error.source == told.source


@pytest.mark.parametrize(
    "more",
    [
        {"multicast_source": ip_address("fd00::99")},
        {"unicast_source": ELSEWHERE},
        {"multicast_source": ELSEWHERE, "unicast_peers": PEER},
    ],
    ids=["of another family", "unicast, and adverts are multicast", "the other way round"],
)
def test_a_source_that_nothing_is_sent_from_is_reported_only(more: dict[str, Any]) -> None:
    """It keeps nothing from being served; the operator hears of it."""
    (report,) = planned("10.0.0.1", **more).reports
    assert report.endswith("is not an address of this node")


def test_listed_nodes_share_the_instances_evenly() -> None:
    """Two nodes that list each other, or all, own every other instance."""
    ips = " ".join(map(str, sequence("10.0.0.1", 8)))
    other = host_facts({"ens3": ["192.168.55.11/24"]})
    here = planned(ips, unicast_peers=addresses("192.168.55.11"))
    there = planned(ips, other, unicast_peers=addresses("192.168.55.11 192.168.55.10"))
    owned = [a.priority > b.priority for a, b in zip(here.instances, there.instances, strict=True)]
    assert [True, False] * 4 == owned


def test_a_priority_that_is_set_holds_for_every_instance() -> None:
    """OPENSHIFT_HA_PRIORITY overrides what is computed."""
    config = planned("10.0.0.1 10.0.0.2", priority=7)
    assert [7, 7] == [each.priority for each in config.instances]


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interface", "label", "expected"),
    [
        pytest.param("ens3", "vip", "ens3:vip", id="fits"),
        pytest.param("eleven-char", "vip", "eleven-char:vip", id="fifteen characters"),
        pytest.param("twelve-chars", "vip", None, id="sixteen characters"),
        pytest.param("ens3", "", None, id="no label"),
    ],
)
def test_addresses_are_labelled_where_the_label_fits(
    interface: str, label: str, expected: str | None
) -> None:
    """A label has at most 15 characters and is IPv4's."""
    facts = host_facts({interface: ["192.168.55.10/24", "fd00:55::10/64"]})
    settings = {"interfaces": (interface,), "address_label": label}
    four, six = planned("10.0.0.1 fd00::1", facts, **settings).instances
    assert expected == four.virtual_addresses[0].label
    assert six.virtual_addresses[0].label is None


# --- the interface ------------------------------------------------------------------------------


def test_the_first_interface_of_the_list_that_exists_is_used() -> None:
    """Names that are not there are passed over."""
    facts = host_facts({"eno1": ["192.168.55.10/24"], "ens3": ["192.168.66.10/24"]})
    assert "eno1" == planned("10.0.0.1", facts, interfaces=("eth7", "eno1", "ens3")).interface


@pytest.mark.parametrize(
    ("interfaces", "routes", "expected"),
    [
        pytest.param(["ens3", "eth1", "enp0s8", "enp0s3"], [], "enp0s3", id="names in order"),
        pytest.param(["ens3", "eth1"], [], "eth1", id="eth1 before ens3"),
        pytest.param(["eth0", "br-ex"], ["br-ex"], "br-ex", id="the default route's"),
    ],
)
def test_without_a_name_the_old_order_decides(
    interfaces: list[str], routes: list[str], expected: str
) -> None:
    """enp0s3, enp0s8, eth1, ens3, then the interface of the default route."""
    facts = host_facts(
        {name: [f"192.168.{number}.10/24"] for number, name in enumerate(interfaces)},
        [f"default via 192.168.1.1 dev {name}" for name in routes],
    )
    config = planned("10.0.0.1", facts)
    assert (expected, ()) == (config.interface, config.reports)


def test_the_route_that_the_kernel_prefers_names_the_interface() -> None:
    """IPv4 before IPv6, then the lowest metric."""
    routes = (
        model.DefaultRoute(family=model.Family.IPV6, interface="six", metric=1),
        model.DefaultRoute(family=model.Family.IPV4, interface="slow", metric=200),
        model.DefaultRoute(family=model.Family.IPV4, interface="fast", metric=100),
    )
    facts = host_facts({name: ["192.168.1.10/24"] for name in ("six", "slow", "fast")})
    assert "fast" == planned("10.0.0.1", structs.replace(facts, default_routes=routes)).interface
    only = structs.replace(facts, default_routes=routes[:1])
    assert "six" == planned("10.0.0.1", only).interface


def test_a_listed_name_that_beats_the_default_route_is_reported() -> None:
    """Somebody with an eth1 beside br-ex most often means br-ex."""
    facts = host_facts(
        {"eth1": ["192.168.1.10/24"], "br-ex": ["192.168.2.10/24"]},
        ["default via 192.168.2.1 dev br-ex"],
    )
    config = planned("10.0.0.1", facts)
    assert "eth1" == config.interface
    (report,) = config.reports
    assert "br-ex" in report


def test_a_missing_interface_is_replaced_where_all_addresses_are_on_link() -> None:
    """The documented manifest names ens3 on hosts that have none; the node is not ready."""
    config = planned("192.168.55.101 192.168.55.102", interfaces=("eth9",))
    assert "ens3" == config.interface
    assert config.reports == config.degraded
    (report,) = config.reports
    assert "'eth9'" in report
    assert "ens3 is used instead" in report


@pytest.mark.parametrize(
    ("ips", "node"),
    [
        pytest.param("192.168.55.101 10.0.0.1", ["192.168.55.10/24"], id="one is elsewhere"),
        pytest.param(
            "10.0.0.1", ["10.0.0.1/32", "192.168.55.10/24"], id="a leftover is no network"
        ),
    ],
)
def test_a_missing_interface_is_waited_for_where_an_address_is_elsewhere(
    ips: str, node: list[str]
) -> None:
    """Addresses must not be served on a network they do not belong to."""
    problem = awaited(ips, host_facts({"ens3": node}), interfaces=("eth9", "eth8")).problem
    assert ("OPENSHIFT_HA_NETWORK_INTERFACE", "eth9 eth8") == (problem.variable, problem.element)
    assert "name one of: ens3" == problem.instead


def test_no_interface_at_all_is_waited_for() -> None:
    """Neither a known name nor a default route."""
    error = awaited("10.0.0.1", host_facts({"eno1": ["192.168.55.10/24"]}))
    assert "OPENSHIFT_HA_NETWORK_INTERFACE" == error.problem.variable


def test_settings_that_cannot_be_right_are_not_waited_for() -> None:
    """A missing interface may come; a list that is wrong stays wrong."""
    problems = refused("10.0.0.1", host_facts({}), unicast_peers=addresses("fd00::9"))
    assert ["OPENSHIFT_HA_UNICAST_PEERS"] == [each.variable for each in problems]


@pytest.mark.parametrize("node", [[], ["fe80::1/64"]], ids=["none", "link-local"])
def test_an_interface_without_an_address_is_waited_for(node: list[str]) -> None:
    """keepalived would put every instance in FAULT."""
    assert "ens3" == awaited("10.0.0.1", host_facts({"ens3": node})).problem.element


@pytest.mark.parametrize(
    ("held", "ips", "expected"),
    [
        pytest.param(["169.254.10.11/24"], "169.254.10.100", "169.254.10.11", id="IPv4"),
        pytest.param(["169.254.10.11/24"], "10.9.9.100", "169.254.10.11", id="IPv4, elsewhere"),
        pytest.param(["fe80::11/64"], "fd00::100", "fe80::11%ens3", id="IPv6"),
        pytest.param(
            ["fe80::11/64"], "fd00::100 10.0.0.1", "fe80::11%ens3", id="both, IPv6 there"
        ),
    ],
)
def test_a_node_that_has_link_local_addresses_only_serves(
    held: list[str], ips: str, expected: str
) -> None:
    """A cross-link is an ordinary link; ports are looked for where a connection can be made."""
    config = planned(ips, host_facts({"ens3": held}), monitor_ports=(80,))
    assert addresses(expected.partition("%")[0]) == config.node_addresses
    assert config.port_probes is not None
    assert [expected] == [str(each.address) for each in config.port_probes.ports]


def test_link_local_nodes_know_each_other_by_such_addresses_too() -> None:
    """With a list of them."""
    facts = host_facts({"ens3": ["169.254.10.11/24", "fe80::11/64"]})
    peers = addresses("169.254.10.11 169.254.10.12")
    (one,) = planned("10.0.0.1", facts, unicast_peers=peers).instances
    assert addresses("169.254.10.12") == one.unicast_peers
    assert 254 == one.priority


@pytest.mark.parametrize(
    ("held", "peers", "reason"),
    [
        (["169.254.10.11/24"], "10.0.0.11 10.0.0.12", "a link-local one serves only"),
        (["fe80::11/64"], "10.0.0.11 10.0.0.12", "a link-local one serves only"),
        ([], "10.0.0.11 10.0.0.12", "the interface has no address of this node"),
    ],
)
def test_a_link_local_node_waits_where_the_others_are_known_by_other_addresses(
    held: list[str], peers: str, reason: str
) -> None:
    """They do not send to it."""
    error = awaited("10.0.0.1", host_facts({"ens3": held}), unicast_peers=addresses(peers))
    assert reason in error.problem.reason


def with_addresses(*held: model.InterfaceAddress) -> HostFacts:
    facts = host_facts({"ens3": []})
    return structs.replace(
        facts, interfaces=(structs.replace(facts.interfaces[0], addresses=held),)
    )


def test_a_duplicate_is_no_address_of_the_node() -> None:
    """And is named, since whoever has it has to be found."""
    held = model.InterfaceAddress(
        address=ip_address("fd00::11"), prefix_length=64, is_duplicate=True
    )
    assert "another host has fd00::11" in awaited("10.0.0.1", with_addresses(held)).problem.reason


def test_another_address_of_the_node_changes_nothing() -> None:
    """Not the priorities, nor the check's target, nor the source: addresses would move."""
    stable = model.InterfaceAddress(
        address=ip_address("fd00:1::11"), prefix_length=64, created=100
    )
    newer = (
        model.InterfaceAddress(
            address=ip_address("fd00:1::77"), prefix_length=64, created=300, is_temporary=True
        ),
        model.InterfaceAddress(address=ip_address("fd00:2::11"), prefix_length=64, created=200),
    )
    for more in ({}, {"unicast_peers": addresses("fd00:1::12")}):
        before, after = (
            planned("fd00:1::100", with_addresses(*held), monitor_ports=(80,), **more)
            for held in ((stable,), (*newer, stable))
        )
        assert before == after
    config = planned("fd00:1::100", with_addresses(*newer, stable), **more)
    assert ip_address("fd00:1::11") == config.instances[0].unicast_source


def test_the_list_of_peers_names_the_address_of_everything() -> None:
    """Priority, check target and source follow it."""
    facts = host_facts({"ens3": ["192.168.55.10/24", "192.168.55.20/24"]})
    peers = addresses("192.168.55.20 192.168.55.21")
    config = planned("10.0.0.1", facts, monitor_ports=(80,), unicast_peers=peers)
    (own,) = addresses("192.168.55.20")
    assert (own,) == config.node_addresses
    assert own == config.instances[0].unicast_source
    assert config.port_probes is not None
    assert [own] == [each.address for each in config.port_probes.ports]


def test_ipv4_without_an_ipv4_address_of_the_node_is_reported() -> None:
    """IPv6 is served all the same."""
    config = planned("10.0.0.1 fd00::1", host_facts({"ens3": ["fd00:55::10/64"]}))
    (report,) = config.reports
    assert "no IPv4 address" in report


# --- addresses that are there already -----------------------------------------------------------


def test_the_nodes_own_address_is_refused() -> None:
    """Served as a virtual address it would put every instance in FAULT."""
    (problem,) = refused("192.168.55.10")
    assert ("OPENSHIFT_HA_VIRTUAL_IPS", "192.168.55.10") == (problem.variable, problem.element)
    assert "own address on ens3" in problem.reason


def test_an_address_with_another_prefix_is_refused_with_what_to_do() -> None:
    """It is no leftover of ours, and not the node's only one."""
    facts = host_facts({"ens3": ["192.168.55.10/24", "192.168.55.101/24"]})
    (problem,) = refused("192.168.55.101", facts)
    assert "as 192.168.55.101/24" in problem.reason
    assert "ip address del 192.168.55.101/24 dev ens3" in problem.instead


def test_a_leftover_is_neither_refused_nor_the_nodes_address() -> None:
    """A /32 that stayed, listed first by the kernel, is not what the check asks."""
    facts = host_facts({"ens3": ["192.168.55.101/32", "192.168.55.10/24"]})
    config = planned("192.168.55.101", facts)
    assert addresses("192.168.55.10") == config.node_addresses
    (report,) = config.reports
    assert "192.168.55.101 is on ens3 already, and nothing marks it as this agent's" in report


def test_a_leftover_with_a_mark_of_ours_is_nothing_to_tell_of() -> None:
    """It was served before, and is no surprise."""
    facts = host_facts({"ens3": ["192.168.55.101/32", "192.168.55.10/24"]})
    known = structs.replace(facts, recorded_addresses=(ip_address("192.168.55.101"),))
    assert () == planned("192.168.55.101", known).reports


def test_an_address_on_another_interface_is_reported() -> None:
    """It is left alone, since nothing marks it as ours."""
    facts = host_facts({"ens3": ["192.168.55.10/24"], "eth5": ["192.168.55.101/24"]})
    (report,) = planned("192.168.55.101", facts).reports
    assert "eth5" in report


def test_all_problems_are_reported_together() -> None:
    """Those of the variables and those of the node, in one error."""
    peers = addresses("fd00::9")
    ips = "192.168.55.10 10.0.0.1"
    problems = refused(ips, virtual_router_id_offset=254, unicast_peers=peers)
    expected = [f"OPENSHIFT_HA_{x}" for x in ("UNICAST_PEERS", "VIRTUAL_IPS", "VRRP_ID_OFFSET")]
    assert expected == [each.variable for each in problems]


# --- checks -------------------------------------------------------------------------------------


PORTS = tuple(
    model.PortCheck(address=ip_address("192.168.55.10"), port=port, interface="ens3")
    for port in (80, 443)
)


def test_ports_are_checked_on_the_nodes_own_address() -> None:
    """IPv4 where there is one, as before, whoever checks."""
    probes = planned("10.0.0.1", monitor_ports=(80, 443)).port_probes
    track = planned("10.0.0.1", monitor_ports=(80, 443, 80), check_watch=0).track_script
    assert probes is not None
    assert track is not None
    assert (PORTS, PORTS, PORTS) == (probes.ports, probes.listeners, track.ports)


def test_without_ports_script_and_url_nothing_is_checked() -> None:
    """MONITOR_PORT=0 switches the check off."""
    assert planned("10.0.0.1", monitor_ports=()).track_script is None


def test_a_check_script_replaces_ports_and_url() -> None:
    """Its words are split as a shell would."""
    script = '/bin/sh -c "exit 0"'
    track = planned("10.0.0.1", check_script=script, check_url="http://x/").track_script
    assert track is not None
    assert ("/bin/sh", "-c", "exit 0") == track.command
    assert ((), None) == (track.ports, track.url)


@pytest.mark.parametrize("state", [model.ScriptState.MISSING, model.ScriptState.NOT_EXECUTABLE])
def test_a_missing_check_script_is_left_out_loudly(state: model.ScriptState) -> None:
    """The node stays eligible, as before."""
    facts = structs.replace(FACTS, check_script=state)
    config = planned("10.0.0.1", facts, check_script="/no/such -x")
    assert config.track_script is None
    (report,) = config.reports
    assert f"OPENSHIFT_HA_CHECK_SCRIPT: /no/such is {state.value}" in report


def test_a_missing_check_script_may_mean_fault() -> None:
    """CHECK_SCRIPT_MISSING=fault makes the check always fail, with the reason."""
    facts = structs.replace(FACTS, check_script=model.ScriptState.MISSING)
    fault = model.MissingScript.FAULT
    config = planned("10.0.0.1", facts, check_script="/no/such", check_script_missing=fault)
    assert config.track_script is not None
    assert "OPENSHIFT_HA_CHECK_SCRIPT: /no/such is missing" == config.track_script.always_fails
    assert 1 == len(config.reports)


def test_a_missing_notify_script_is_left_out_loudly() -> None:
    """keepalived would start a script that fails at every transition."""
    facts = structs.replace(FACTS, notify_script=model.ScriptState.MISSING)
    config = planned("10.0.0.1", facts, notify_script="/no/such -x")
    assert () == config.notify_command
    (report,) = config.reports
    assert "OPENSHIFT_HA_NOTIFY_SCRIPT: /no/such is missing" in report


def test_a_fraction_of_a_second_has_the_agent_probe() -> None:
    """keepalived 2.2.7 counts whole seconds: it gets no script then."""
    config = planned(
        "10.0.0.1",
        monitor_ports=(80, 443, 80),
        check_interval=0.5,
        check_timeout=1.5,
        check_rise=2,
        check_fall=3,
        config_name="a-b.c",
    )
    expected = model.PortProbes(
        name="chk_a_b.c",
        interval=0.5,
        timeout=1.5,
        rise=2,
        fall=3,
        ports=PORTS,
        listeners=PORTS,
        watch=0.05,
    )
    assert (None, expected, ()) == (config.track_script, config.port_probes, config.reports)


def test_a_fraction_beyond_a_second_is_probed_too() -> None:
    """keepalived would round it; without the watch, too."""
    config = planned("10.0.0.1", check_interval=1.5, check_timeout=1.5, check_watch=0)
    assert config.track_script is None
    assert config.port_probes is not None
    assert (0, ()) == (config.port_probes.watch, config.port_probes.listeners)


def test_whole_seconds_are_keepalived_s_where_no_listener_is_watched() -> None:
    """As ever."""
    config = planned("10.0.0.1", check_interval=3, check_timeout=1, check_watch=0)
    assert config.port_probes is None
    assert config.track_script is not None
    assert (3, 1) == (config.track_script.interval, config.track_script.timeout)


def test_ports_whose_listeners_are_watched_are_the_agents_at_any_interval() -> None:
    """One verdict counts, so that rise and fall keep their meaning."""
    config = planned("10.0.0.1", check_interval=3, check_timeout=1, check_watch=0.5)
    assert config.track_script is None
    assert config.port_probes is not None
    probes = config.port_probes
    assert (3, 1, 0.5) == (probes.interval, probes.timeout, probes.watch)


def test_a_script_of_the_users_is_keepalived_s_alone() -> None:
    """Nothing is known of what it asks."""
    config = planned("10.0.0.1", check_script="/bin/true", check_watch=0.05)
    assert config.port_probes is None
    assert config.track_script is not None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080/x", ["127.0.0.1 8080"]),
        ("http://127.1.2.3/", ["127.1.2.3 80"]),
        ("HTTPS://[::1]/", ["::1 443"]),
        ("https://localhost:8443/healthz?a=b", ["127.0.0.1 8443", "::1 8443"]),
        ("http://192.168.55.10:30123/healthz", ["192.168.55.10 30123"]),
        ("http://192.168.55.99:30123/healthz", []),
        ("http://node.example.com/", []),
    ],
)
def test_of_a_url_the_listeners_on_this_node_are_watched(url: str, expected: list[str]) -> None:
    """Its script stays keepalived's, and is run once more when one is gone."""
    config = planned("10.0.0.1", monitor_ports=(), check_url=url, check_fall=2)
    assert config.track_script is not None
    assert url == config.track_script.url
    if not expected:
        assert config.port_probes is None
        return
    assert config.port_probes is not None
    watched = config.port_probes
    assert expected == [f"{each.address} {each.port}" for each in watched.listeners]
    assert ((), "chk_OpenShift_IPFailover_watch", 2) == (watched.ports, watched.name, watched.fall)


def test_a_plan_with_the_url_of_a_virtual_address_is_the_same_whoever_holds_it() -> None:
    """Otherwise a node that took it over would differ from its configuration, and reload."""
    url = "http://10.0.0.1:8080/"
    held = structs.replace(FACTS, local_addresses=frozenset(addresses("10.0.0.1")))
    config = planned("10.0.0.1", monitor_ports=(), check_url=url)
    assert config == planned("10.0.0.1", held, monitor_ports=(), check_url=url)
    assert config.port_probes is None


def test_ports_beside_a_url_are_watched_with_it() -> None:
    """The script asks all of them; without the watch keepalived is alone with it."""
    url, ports = "http://192.168.55.10:8080/", (80, 8080)
    config = planned("10.0.0.1", monitor_ports=ports, check_url=url)
    assert config.track_script is not None
    assert config.port_probes is not None
    assert config.track_script.ports == config.port_probes.listeners
    alone = planned("10.0.0.1", monitor_ports=ports, check_url=url, check_watch=0)
    assert alone.port_probes is None


def test_without_ports_nothing_is_probed() -> None:
    """However fast."""
    config = planned("10.0.0.1", monitor_ports=(), check_interval=0.5)
    assert (None, None) == (config.track_script, config.port_probes)


# --- the rest -----------------------------------------------------------------------------------


def test_what_was_left_out_makes_the_node_not_ready() -> None:
    """serve-valid serves, and says what it does not."""
    problem = Problem("OPENSHIFT_HA_VIRTUAL_IPS", "x", "no address")
    config = planned("10.0.0.1", left_out=(problem,))
    assert (f"left out: {problem}",) == config.degraded


def test_an_interface_whose_name_is_no_word_is_refused() -> None:
    """The kernel takes almost anything for a name, keepalived.conf does not."""
    (problem,) = refused("10.0.0.1", host_facts({"e#0": ["10.0.0.9/24"]}), interfaces=("e#0",))
    assert ("OPENSHIFT_HA_NETWORK_INTERFACE", "e#0") == (problem.variable, problem.element)


def test_preemption_is_the_same_for_every_instance() -> None:
    """What is asked for reaches every instance."""
    never = model.Preemption(mode=model.PreemptionMode.NEVER)
    config = planned("10.0.0.1 fd00::1", preemption=never)
    assert [never, never] == [each.preemption for each in config.instances]


def test_an_address_that_no_client_reaches_is_served_with_a_warning() -> None:
    """The old image served it, and upstream's own acceptance list ends in .255."""
    config = planned("192.168.55.254 192.168.55.255")
    assert [(11, ["192.168.55.254"]), (12, ["192.168.55.255"])] == shape(config)
    expected = "OPENSHIFT_HA_VIRTUAL_IPS: 192.168.55.255 is the broadcast address of"
    expected += " 192.168.55.0/24 on ens3: no client in that network reaches it"
    assert (expected,) == config.reports


@pytest.mark.parametrize(
    ("address", "route"),
    [
        ("192.168.55.1", "default via 192.168.55.1 dev ens3"),
        ("192.168.55.1", "default via 192.168.55.1 dev ens4 metric 300"),
        ("fd00:55::1", "default via fd00:55::1 dev ens3"),
    ],
)
def test_an_address_that_is_the_gateway_of_this_node_is_served_with_a_warning(
    address: str, route: str
) -> None:
    """Served, it takes the gateway from every host of the segment; router pairs want just that."""
    interfaces = {"ens3": ["192.168.55.10/24", "fd00:55::10/64"]}
    near = host_facts(interfaces, ["default via 192.168.55.254 dev ens3", route])
    config = planned(f"{address} 192.168.55.7", near)
    assert [[address], ["192.168.55.7"]] == [held for _, held in shape(config)]
    expected = (
        f"OPENSHIFT_HA_VIRTUAL_IPS: {address} is the gateway of this node's default route through "
        f"{route.split()[4]}: the node that serves it takes that router away from every host of "
        "the network, and from itself"
    )
    assert (expected,) == config.reports


WITHOUT_IPV4 = host_facts({"ens3": ["fd00:55::10/64"], "ens4": ["192.0.2.9/24"]})


@pytest.mark.parametrize(
    ("given", "is_told"),
    [
        ({}, True),
        ({"multicast_source": ip_address("192.0.2.9")}, False),
        ({"multicast_source": ip_address("fd00:55::10")}, True),
        ({"unicast_source": ip_address("192.0.2.9")}, True),
        (
            {"unicast_source": ip_address("192.0.2.9"), "unicast_peers": addresses("192.0.2.8")},
            False,
        ),
    ],
    ids=["none", "multicast", "of the other family", "not used", "unicast"],
)
def test_ipv4_needs_an_address_where_no_source_is_named(
    given: dict[str, Any],
    is_told: bool,  # noqa: FBT001
) -> None:
    """keepalived stays MASTER without one where it was told which to send from."""
    config = planned("192.168.55.20", WITHOUT_IPV4, interfaces=("ens3",), **given)
    expected = "ens3 has no IPv4 address of this node: IPv4 instances stay in FAULT without one"
    assert is_told == (expected in config.reports)


@pytest.mark.parametrize(
    ("vrf", "more", "is_told"),
    [
        ("mgmt", {"monitor_ports": (80,)}, True),
        ("mgmt", {"monitor_ports": (80,), "check_interval": 0.5, "check_timeout": 0.5}, True),
        ("mgmt", {"monitor_ports": (), "check_url": "http://10.0.0.1/"}, True),
        ("", {"monitor_ports": (80,)}, False),
        ("mgmt", {"monitor_ports": ()}, False),
        ("mgmt", {"check_script": "/bin/true"}, False),
    ],
    ids=["port", "probed port", "URL", "no VRF", "no check", "a script"],
)
def test_a_check_that_connects_outside_of_the_interfaces_vrf_is_told(
    vrf: str,
    more: dict[str, Any],
    is_told: bool,  # noqa: FBT001
) -> None:
    """It would always fail, on every node."""
    config = planned("192.168.55.20", **more)
    expected = (
        "ens3 is in the VRF mgmt, and the check connects outside of it: it fails, and this node "
        "stays in FAULT; run the agent with `ip vrf exec mgmt`, or set OPENSHIFT_HA_CHECK_SCRIPT="
        "'/sbin/ip vrf exec mgmt PROGRAM'"
    )
    assert ((expected,) if is_told else ()) == checks.outside_vrf(config, vrf)
