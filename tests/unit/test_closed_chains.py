"""Every chain that VRRP passes, and which of them could drop it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.config import settings
from ipfailover_agent.config.planner import plan
from ipfailover_agent.doctor import firewall_findings
from ipfailover_agent.firewall.ruleset import Entry, Rule, read
from tests.support.vectors import host_facts

TAG = "ipfailover-agent lab"
DROP: dict[str, Any] = {"drop": None}
ACCEPT: dict[str, Any] = {"accept": None}
NODE = host_facts(
    {"eth0": ["10.0.0.11/24", "fd00::11/64", "fe80::11/64"]}, ["default via 10.0.0.1 dev eth0"]
)
IPV4_ONLY, BOTH = (
    plan(settings.parse({"OPENSHIFT_HA_VIRTUAL_IPS": each}), NODE)
    for each in ("10.0.0.5", "10.0.0.5,fd00::5")
)


def match(left: dict[str, Any], right: object) -> dict[str, Any]:
    """Return a comparison, as nft prints it."""
    return {"match": {"op": "==", "left": left, "right": right}}


def field(protocol: str, name: str) -> dict[str, Any]:
    """Return a field of a packet, as nft prints it."""
    return {"payload": {"protocol": protocol, "field": name}}


_PROTOCOL_4 = match(field("ip", "protocol"), 112)
_PROTOCOL_6 = match(field("ip6", "nexthdr"), "vrrp")
_PROTOCOL_ANY = match({"meta": {"key": "l4proto"}}, 112)
_TCP = match({"meta": {"key": "l4proto"}}, "tcp")
_FROM_PEER = match(field("ip", "saddr"), "192.0.2.2")
_TO_GROUP = match(field("ip", "daddr"), "224.0.0.18")
_ODD_MATCH = match({"ct": {"key": "mark"}}, 112)
_WAY_BACK = {"fib": {"result": "oif", "flags": ["saddr", "mark", "iif"]}}
_COUNTER: dict[str, Any] = {"counter": {"packets": 0, "bytes": 0}}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([[_PROTOCOL_ANY, ACCEPT]], True),
        ([[_PROTOCOL_4, _COUNTER, ACCEPT], [_PROTOCOL_6, ACCEPT]], True),
        ([[_PROTOCOL_4, ACCEPT]], False),
        ([[ACCEPT]], False),
        ([[_PROTOCOL_ANY, _FROM_PEER, ACCEPT]], False),
        ([[_ODD_MATCH, ACCEPT]], False),
        ([[_PROTOCOL_ANY]], False),
        ([[_FROM_PEER, DROP], [_PROTOCOL_ANY, ACCEPT]], False),
        ([[_PROTOCOL_ANY, ACCEPT], [DROP]], True),
    ],
    ids=[
        *("both families", "one after the other", "one is missing", "anything", "one peer only"),
        *("no protocol", "no verdict", "too late", "before a drop"),
    ],
)
def test_a_chain_that_lets_vrrp_in_is_open(
    rules: list[list[dict[str, Any]]],
    expected: bool,  # noqa: FBT001
) -> None:
    """By rules of an administrator's form, as `doctor` proposes them; before anything may drop."""
    assert expected is not is_closed("input", *rules)


def shown(
    hook: str, *rules: list[dict[str, Any]], family: str = "inet", **more: object
) -> list[Entry]:
    """Return a table with one base chain, as nft prints it."""
    place = {"family": family, "table": "t"}
    base = {"handle": 1, "type": "filter", "hook": hook, "prio": 0, "policy": "accept"}
    objects: list[object] = [{"chain": {**place, "name": "c", **base, **more}}]
    objects += [
        {"rule": {**place, "chain": "c", "handle": number, "expr": each}}
        for number, each in enumerate(rules, 2)
    ]
    return [each for each in read(json.dumps({"nftables": objects})) if each is not None]


def is_closed(hook: str, *rules: list[dict[str, Any]], **more: Any) -> bool:  # noqa: ANN401
    """Tell whether such a chain could drop VRRP of either family; its policy is to drop."""
    found = firewall_findings.closed_chains(
        shown(hook, *rules, **{"policy": "drop", **more}), BOTH, TAG
    )
    return bool(found)


@pytest.mark.parametrize(
    ("family", "hook", "more", "expected"),
    [
        ("netdev", "ingress", {}, True),
        ("netdev", "ingress", {"dev": "eth0"}, True),
        ("netdev", "egress", {"dev": ["eth1", "eth0"]}, True),
        ("netdev", "ingress", {"dev": "eth1"}, False),
        ("inet", "ingress", {"dev": "eth0"}, True),
        ("ip", "prerouting", {}, True),
        ("inet", "postrouting", {}, True),
        ("ip", "input", {}, True),
        ("ip", "forward", {}, False),
        ("ip", "prerouting", {"type": "nat"}, False),
        ("inet", "input", {"type": "nat"}, True),
        ("bridge", "prerouting", {}, False),
        ("arp", "input", {}, False),
    ],
)
def test_a_chain_is_looked_at_where_vrrp_passes_it(
    family: str,
    hook: str,
    more: dict[str, object],
    expected: bool,  # noqa: FBT001
) -> None:
    """On our interface, outside NAT and bridges."""
    entries = shown(hook, [_PROTOCOL_ANY, DROP], family=family, **more)
    assert expected is bool(firewall_findings.passed_tables(entries, "eth0"))
    assert expected is bool(firewall_findings.closed_chains(entries, BOTH, TAG))


def test_tables_of_iptables_for_nat_are_left_out() -> None:
    """It refuses DROP in them, and they cost a second to list."""
    place = {"family": "ip", "table": "nat", "name": "INPUT", "handle": 1}
    chain = {**place, "type": "nat", "hook": "input", "prio": 0, "policy": "accept"}
    text = json.dumps({"nftables": [{"table": place}, {"chain": chain}]})
    assert () == firewall_findings.passed_tables(
        [each for each in read(text) if each is not None], "eth0"
    )


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], False),
        ([[_PROTOCOL_ANY, DROP]], True),
        ([[_TCP, DROP]], False),
        ([[_PROTOCOL_4, ACCEPT], [DROP]], True),
        ([[_PROTOCOL_4, ACCEPT], [_PROTOCOL_6, ACCEPT], [DROP]], False),
    ],
    ids=["nothing", "dropped", "tcp", "half", "accepted first"],
)
def test_a_chain_of_prerouting_is_closed_where_it_may_drop(
    rules: list[list[dict[str, Any]]],
    expected: bool,  # noqa: FBT001
) -> None:
    """As one of input is, though no rule of ours can be there."""
    assert expected is is_closed("prerouting", *rules, policy="accept")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ([match(_WAY_BACK, right=False), DROP], False),
        ([{"xt": {"type": "match", "name": "rpfilter"}}, DROP], False),
        ([{"vmap": {"key": {"concat": [field("th", "dport")]}, "data": "@services"}}], False),
        ([{"vmap": {"key": {"concat": []}, "data": "@hosts"}}], True),
        ([{"xt": {"type": "match", "name": "set"}}, DROP], True),
        ([match(_WAY_BACK, right=True), DROP], True),
    ],
    ids=["firewalld", "Calico", "kube-proxy", "any map", "any match", "a way back"],
)
def test_rules_that_most_clusters_have_before_input_are_no_reason_to_doubt(
    rule: list[dict[str, Any]],
    expected: bool,  # noqa: FBT001
) -> None:
    """A reverse-path filter, or a table of services; as nft 1.0.6 shows them."""
    assert expected is is_closed("prerouting", rule, policy="accept")
    assert is_closed("input", rule, policy="accept")  # the agent takes no risk there


def test_only_families_that_are_served_have_to_get_through() -> None:
    """A table of IPv6 concerns nobody who serves IPv4."""
    entries = shown("prerouting", [DROP], family="ip6")
    assert () == firewall_findings.closed_chains(entries, IPV4_ONLY, TAG)
    assert firewall_findings.closed_chains(entries, BOTH, TAG)


def test_a_rule_of_ours_opens_a_chain() -> None:
    """For every address that is wanted; one that comes too late does not."""
    own = [_PROTOCOL_ANY, _TO_GROUP, ACCEPT]
    for rules, expected in (((own, [DROP]), False), (([DROP], own), True)):
        entries = shown("input", *rules, family="ip")
        for number, each in enumerate(entries):
            if isinstance(each, Rule) and each.accepts:
                entries[number] = replace(each, comment=TAG)
        assert expected is bool(firewall_findings.closed_chains(entries, IPV4_ONLY, TAG))


def test_other_chains_and_rules_are_no_tables() -> None:
    """What has no hook is reached by jumps."""
    entries = shown("prerouting", [DROP])
    assert () == firewall_findings.passed_tables(entries[1:], "eth0")
