"""Every chain that VRRP passes, and which of them could drop it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.config import settings
from ipfailover_agent.config.planner import plan
from ipfailover_agent.doctor import firewall_findings
from ipfailover_agent.firewall.ruleset import Entry, Rule
from tests.support.nft_json import ACCEPT, DROP, L4, chain, entries, match, payload, rule
from tests.support.vectors import host_facts

Statements = list[dict[str, object]]
TAG = "ipfailover-agent lab"
NODE = host_facts(
    {"eth0": ["10.0.0.11/24", "fd00::11/64", "fe80::11/64"]}, ["default via 10.0.0.1 dev eth0"]
)
IPV4_ONLY, BOTH = (
    plan(settings.parse({"OPENSHIFT_HA_VIRTUAL_IPS": each}), NODE)
    for each in ("10.0.0.5", "10.0.0.5,fd00::5")
)
_PROTOCOL_4 = match(payload("ip", "protocol"), 112)
_PROTOCOL_6 = match(payload("ip6", "nexthdr"), "vrrp")
_PROTOCOL_ANY = match(L4, 112)
_FROM_PEER = match(payload("ip", "saddr"), "192.0.2.2")
_ODD_MATCH = match({"ct": {"key": "mark"}}, 112)
_COUNTER: dict[str, object] = {"counter": {"packets": 0, "bytes": 0}}


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
def test_a_chain_that_lets_vrrp_in_is_open(rules: list[Statements], *, expected: bool) -> None:
    """By rules of an administrator's form, as `doctor` proposes them; before anything may drop."""
    assert expected is not is_closed("input", *rules)


def shown(hook: str, *rules: Statements, family: str = "inet", **more: object) -> list[Entry]:
    """Return a table with one base chain, as nft prints it."""
    ours = [
        rule(*each, chain="c", family=family, handle=number)
        for number, each in enumerate(rules, 2)
    ]
    return entries(chain("c", family, hook=hook, **more), *ours)


def is_closed(hook: str, *rules: Statements, **more: Any) -> bool:  # noqa: ANN401
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
    family: str, hook: str, more: dict[str, object], *, expected: bool
) -> None:
    """On our interface, outside NAT and bridges."""
    found = shown(hook, [_PROTOCOL_ANY, DROP], family=family, **more)
    assert expected is bool(firewall_findings.passed_tables(found, "eth0"))
    assert expected is bool(firewall_findings.closed_chains(found, BOTH, TAG))


def test_tables_of_iptables_for_nat_are_left_out() -> None:
    """It refuses DROP in them, and they cost a second to list."""
    found = entries(chain("INPUT", "ip", table="nat", type="nat"))
    assert () == firewall_findings.passed_tables(found, "eth0")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], False),
        ([[_PROTOCOL_ANY, DROP]], True),
        ([[match(L4, "tcp"), DROP]], False),
        ([[_PROTOCOL_4, ACCEPT], [DROP]], True),
        ([[_PROTOCOL_4, ACCEPT], [_PROTOCOL_6, ACCEPT], [DROP]], False),
    ],
    ids=["nothing", "dropped", "tcp", "half", "accepted first"],
)
def test_a_chain_of_prerouting_is_closed_where_it_may_drop(
    rules: list[Statements], *, expected: bool
) -> None:
    """As one of input is, though no rule of ours can be there."""
    assert expected is is_closed("prerouting", *rules, policy="accept")


_WAY_BACK = {"fib": {"result": "oif", "flags": ["saddr", "mark", "iif"]}}


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([match(_WAY_BACK, right=False), DROP], False),
        ([{"xt": {"type": "match", "name": "rpfilter"}}, DROP], False),
        ([{"vmap": {"key": {"concat": [payload("th", "dport")]}, "data": "@services"}}], False),
        ([{"vmap": {"key": {"concat": []}, "data": "@hosts"}}], True),
        ([{"xt": {"type": "match", "name": "set"}}, DROP], True),
        ([match(_WAY_BACK, right=True), DROP], True),
    ],
    ids=["firewalld", "Calico", "kube-proxy", "any map", "any match", "a way back"],
)
def test_rules_that_most_clusters_have_before_input_are_no_reason_to_doubt(
    statements: Statements, *, expected: bool
) -> None:
    """A reverse-path filter, or a table of services; as nft 1.0.6 shows them."""
    assert expected is is_closed("prerouting", statements, policy="accept")
    assert is_closed("input", statements, policy="accept")  # the agent takes no risk there


def test_only_families_that_are_served_have_to_get_through() -> None:
    """A table of IPv6 concerns nobody who serves IPv4."""
    found = shown("prerouting", [DROP], family="ip6")
    assert () == firewall_findings.closed_chains(found, IPV4_ONLY, TAG)
    assert firewall_findings.closed_chains(found, BOTH, TAG)


def test_a_rule_of_ours_opens_a_chain() -> None:
    """For every address that is wanted; one that comes too late does not."""
    own = [_PROTOCOL_ANY, match(payload("ip", "daddr"), "224.0.0.18"), ACCEPT]
    for rules, expected in (((own, [DROP]), False), (([DROP], own), True)):
        found = shown("input", *rules, family="ip")
        for number, each in enumerate(found):
            if isinstance(each, Rule) and each.accepts:
                found[number] = replace(each, comment=TAG)
        assert expected is bool(firewall_findings.closed_chains(found, IPV4_ONLY, TAG))


def test_other_chains_and_rules_are_no_tables() -> None:
    """What has no hook is reached by jumps."""
    found = shown("prerouting", [DROP])
    assert () == firewall_findings.passed_tables(found[1:], "eth0")
