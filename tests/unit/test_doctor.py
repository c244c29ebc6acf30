"""What is said of a node: a verdict, what was found, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ipfailover_agent.config import settings
from ipfailover_agent.config.planner import plan
from ipfailover_agent.conflict import causes, contexts
from ipfailover_agent.conflict.contexts import ContestContext
from ipfailover_agent.doctor import findings, firewall_findings
from ipfailover_agent.doctor import node_findings as node
from ipfailover_agent.doctor.findings import CheckResult, Finding
from ipfailover_agent.doctor.network_findings import (
    ObservedNetwork,
    judge_answers,
    judge_multicast,
    judge_peers,
    judge_wire,
)
from ipfailover_agent.firewall.ruleset import Chain, Hook, Table
from ipfailover_agent.model import (
    HostFacts,
    IPAddress,
    KeepalivedConfig,
    MissingScript,
    ScriptState,
    Settings,
)
from ipfailover_agent.vrrp import packets
from ipfailover_agent.vrrp.packets import Advert, Announcement, Carp
from tests.support.adverts import heard_advert
from tests.support.vectors import host_facts

OWN = bytes.fromhex("020000000001")
THEIRS = bytes.fromhex("020000000002")
OTHERS = bytes.fromhex("020000000003")
ROUTES = ["default via 10.0.0.1 dev eth0"]
NODE = host_facts({"eth0": ["10.0.0.11/24", "fd00::11/64", "fe80::11/64"]}, ROUTES)
VERSION = """Keepalived v2.2.7 (01/16,2022)

Config options:  NFTABLES LVS REGEX VRRP VRRP_AUTH JSON BFD
"""
PASS, WARN, FAIL, SKIP = CheckResult
CHAIN = Chain(table=Table(family="inet", name="filter"), name="input", hook=Hook.INPUT)


FINE = [("rivals", PASS), ("ids", PASS), ("holders", PASS)]


def one(findings: Iterable[Finding]) -> Finding:
    """Return the only finding."""
    (found,) = findings
    return found


def verdicts(findings: Iterable[Finding]) -> list[tuple[str, CheckResult]]:
    """Return checks and verdicts."""
    return [(each.check, each.verdict) for each in findings]


def planned(addresses: str, **variables: str) -> tuple[Settings, KeepalivedConfig]:
    """Return settings and plan of variables on NODE; names without OPENSHIFT_HA_."""
    given = {f"OPENSHIFT_HA_{name}": value for name, value in variables.items()}
    parsed = settings.parse({"OPENSHIFT_HA_VIRTUAL_IPS": addresses, **given})
    return parsed, plan(parsed, NODE)


def contexts_of(**variables: str) -> list[ContestContext]:
    """Return what the instances of variables are to others, on NODE."""
    _, config = planned(**{"addresses": "10.0.0.5-6", **variables})
    return list(built(config, NODE).values())


def built(config: KeepalivedConfig, facts: HostFacts) -> dict[str, ContestContext]:
    """Return what the instances of a plan are to others, by name."""
    return contexts.build(config, facts, mac=OWN, host_macs=frozenset({OWN}))


def advert(context: ContestContext, **more: object) -> Advert:
    """Return an advert that another node of the same configuration would send."""
    usual = heard_advert(
        ip_address("10.0.0.12"),
        *context.addresses,
        mac=THEIRS,
        version=context.version,
        virtual_router_id=context.virtual_router_id,
        interval=context.advert_interval,
        authentication=1,
        password=context.password,
    )
    return replace(usual, **more)


def heard(
    contexts: Sequence[ContestContext], *frames: Advert | Announcement | Carp, **answers: bytes
) -> ObservedNetwork:
    """Return what came in; ``answers``: MACs by the last octet, as a10=..."""
    macs = {
        ip_address(f"10.0.0.{name[1:]}"): frozenset(
            mac[at : at + 6] for at in range(0, len(mac), 6)
        )
        for name, mac in answers.items()
    }
    return ObservedNetwork(contexts=contexts, seconds=4, packets=frames, answers=macs)


# --- findings -----------------------------------------------------------------------------------


def test_a_failure_that_is_tolerated_warns() -> None:
    """Nothing else changes, and no other check."""
    fault = findings.failed("dns", "text", "advice")
    assert replace(fault, verdict=WARN) == findings.tolerated(fault, {"dns"})
    assert fault is findings.tolerated(fault, {"answers"})
    fine = findings.passed("dns", "text")
    assert fine is findings.tolerated(fine, {"dns"})


def test_checks_are_skipped_for_one_reason() -> None:
    """Each has its line."""
    found = list(findings.all_skipped(("a", "b"), "because", "do"))
    assert [("a", SKIP), ("b", SKIP)] == verdicts(found)
    assert {"not looked at: because"} == {each.text for each in found}
    assert ["do", ""] == [each.advice for each in found]


# --- the node -----------------------------------------------------------------------------------


def test_missing_capabilities_fail_and_name_the_option() -> None:
    """A container is given them by name."""
    found = node.judge_capabilities(("NET_ADMIN", "NET_RAW"))
    assert FAIL is found.verdict
    assert "--cap-add NET_ADMIN NET_RAW" in found.advice
    assert PASS is node.judge_capabilities(()).verdict


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (VERSION, ["pass keepalived", "pass build"]),
        (None, ["fail keepalived", "skip build"]),
        ("", ["fail keepalived", "skip build"]),
        (VERSION.replace("2.2.7", "2.0.1"), ["warn keepalived", "pass build"]),
        (VERSION.replace(" JSON", ""), ["pass keepalived", "warn build"]),
        (VERSION.replace(" VRRP_AUTH", ""), ["pass keepalived", "warn build"]),
        (VERSION.replace(" VRRP ", " "), ["pass keepalived", "fail build"]),
    ],
    ids=["fine", "none", "mute", "old", "no dumps", "no passwords", "no VRRP"],
)
def test_keepalived_is_judged_by_what_it_prints(printed: str | None, expected: list[str]) -> None:
    """Its version, and what it was built with."""
    found = node.judge_keepalived(printed)
    assert expected == [f"{each.verdict.value} {each.check}" for each in found]


def test_what_keepalived_says_of_the_file_is_told() -> None:
    """Its first lines; `check` shows them all."""
    assert PASS is node.judge_config(()).verdict
    found = node.judge_config(("refused: 5", "line 2", "line 3", "line 4"))
    assert (FAIL, "refused: 5; line 2; line 3") == (found.verdict, found.text)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CONFIG_NAME": "short"}, "OPENSHIFT_HA_CONFIG_NAME"),
        ({"CONFIG_NAME": "long-enough"}, "the first 8 bytes of OPENSHIFT_HA_CONFIG_NAME"),
        ({"VRRP_VERSION": "3"}, "none: VRRP version 3 has no passwords"),
        (
            {"CONFIG_NAME": "short", "addresses": "10.0.0.5,fd00::5"},
            "OPENSHIFT_HA_CONFIG_NAME; instances of version 3 (IPv6) have none",
        ),
    ],
    ids=["short", "cut", "version 3", "both"],
)
def test_what_guards_the_adverts_is_told(variables: dict[str, str], expected: str) -> None:
    """Two names that begin alike are one password."""
    found = node.judge_password(*planned(**{"addresses": "10.0.0.5", **variables}))
    assert (PASS, expected) == (found.verdict, found.text)


@pytest.mark.parametrize(
    ("state", "is_up", "expected"),
    [
        ("up", True, PASS),
        ("unknown", True, PASS),
        (None, True, PASS),
        ("lowerlayerdown", True, FAIL),
        ("down", False, FAIL),
    ],
)
def test_a_link_needs_carrier(state: str | None, is_up: bool, expected: CheckResult) -> None:  # noqa: FBT001
    """Virtual interfaces say "unknown" and work."""
    assert expected is node.judge_link("eth0", state, is_up=is_up).verdict


BROADCAST = "10.0.0.255 is the broadcast address of 10.0.0.0/24 on eth0"


@pytest.mark.parametrize(
    ("addresses", "facts", "expected", "text"),
    [
        ("10.0.0.5,198.51.100.1-10", NODE, WARN, "198.51.100.8 and 2 more in no network of eth0"),
        ("10.0.0.5,fd00::5", NODE, PASS, "every address lies in a network of eth0"),
        ("10.0.0.5,fd00::5", replace(NODE, interfaces=()), WARN, "10.0.0.5 in no network of eth0"),
        ("10.0.0.254-255", NODE, FAIL, f"{BROADCAST}: no client in that network reaches it"),
    ],
    ids=["another network", "fine", "bare", "a range that goes up to .255, the likely slip"],
)
def test_an_address_that_no_client_reaches_is_told(
    addresses: str, facts: HostFacts, expected: CheckResult, text: str
) -> None:
    """A neighbour would not ask for one of another network by ARP."""
    found = node.judge_subnets(*planned(addresses), facts)
    assert expected is found.verdict
    assert text in found.text


def test_the_address_of_a_router_fails() -> None:
    """By the default route, and by any other route that is known; each one once."""
    parsed, _ = planned("10.0.0.1,10.0.0.2,10.0.0.5,fd00::fe")
    known = [(route.gateway, "eth0") for route in NODE.default_routes if route.gateway]
    assert PASS is node.judge_routers(planned("10.0.0.5")[0], NODE, known).verdict
    known += [(ip_address("10.0.0.2"), "eth0"), (ip_address("fd00::fe"), "eth1")]
    found = node.judge_routers(parsed, NODE, known)
    lost = "the node that serves it takes that router away from every host of the network, and"
    assert FAIL is found.verdict
    assert (
        f"10.0.0.1 is the gateway of this node's default route through eth0: {lost} from itself; "
        f"10.0.0.2 is the next hop of a route of this node through eth0: {lost} from itself; "
        f"fd00::fe is the next hop of a route of this node through eth1: {lost} from itself"
    ) == found.text


def test_an_address_on_a_second_interface_is_told() -> None:
    """kube-proxy's own interface is common, any other one is a mistake."""
    _, config = planned("10.0.0.5")
    for name, expected in (("kube-ipvs0", WARN), ("eth1", FAIL)):
        facts = host_facts({"eth0": ["10.0.0.11/24", "10.0.0.5/32"], name: ["10.0.0.5/32"]})
        assert expected is one(node.judge_other_holders(config, facts)).verdict
    assert PASS is one(node.judge_other_holders(config, NODE)).verdict


@pytest.mark.parametrize(
    ("value", "addresses", "more", "expected"),
    [
        (None, "10.0.0.5", {}, "skip not looked at: /proc/sys/net does not show it"),
        (0, "10.0.0.5", {}, "pass off on eth0"),
        (2, "10.0.0.5", {}, "pass loose on eth0"),
        (1, "10.0.0.5", {}, "pass strict on eth0, which all answers leave by"),
        (1, "10.0.0.5", {"lo": ["10.0.0.9/24"], "eth1": ["10.9.0.1/24"]}, "pass strict on eth0,"),
        (1, "10.0.0.5", {"eth1": ["10.0.0.12/24"]}, "warn strict on eth0, and answers may"),
        (1, "10.0.0.5", {"eth2": ["10.9.0.1/24"]}, "warn strict on eth0, and answers may"),
        (1, "fd00::5", {}, "pass no IPv4 address is served"),
    ],
    ids=["unknown", "off", "loose", "strict", "apart", "same network", "routed", "IPv6"],
)
def test_a_strict_reverse_path_filter_is_told_where_it_hurts(
    value: int | None, addresses: str, more: dict[str, list[str]], expected: str
) -> None:
    """Where answers leave by another interface too; eth2 has a default route here."""
    _, config = planned(addresses)
    own = {"eth0": ["10.0.0.11/24", "fd00::11/64", "10.0.0.5/32"]}
    others = ["default via 10.9.0.254 dev eth2 metric 9"] if "eth2" in more else []
    facts = host_facts({**own, **more}, [*ROUTES, *others])
    found = node.judge_reverse_path(config, facts, value)
    assert f"{found.verdict.value} {found.text}".startswith(expected)


def test_the_advice_for_the_filter_takes_a_name_with_a_dot() -> None:
    """As sysctl does where slashes separate."""
    _, config = planned("10.0.0.5")
    found = node.judge_reverse_path(replace(config, interface="bond0.7"), NODE, 1)
    assert "sysctl -w net/ipv4/conf/bond0.7/rp_filter=2" in found.advice


EARLY = replace(CHAIN, table=Table(family="ip", name="raw"), name="PRE", hook=Hook.PREROUTING)


@pytest.mark.parametrize(
    ("chains", "is_managed", "legacy", "expected"),
    [
        ([], False, [], [PASS]),
        ([CHAIN], False, [], [WARN]),
        ([CHAIN], True, [], [PASS]),
        ([EARLY], True, [], [WARN]),
        ([CHAIN, EARLY], True, [], [PASS, WARN]),
        ([], False, ["filter"], [PASS, WARN]),
    ],
    ids=["none", "drops", "managed", "before", "both", "legacy"],
)
def test_a_firewall_is_judged(
    chains: list[Chain],
    is_managed: bool,  # noqa: FBT001
    legacy: list[str],
    expected: list[CheckResult],
) -> None:
    """By the chains that may drop VRRP, and whether the agent opens them."""
    found = [
        *firewall_findings.judge_chains(chains, is_managed=is_managed),
        *firewall_findings.judge_legacy(legacy),
    ]
    assert expected == [each.verdict for each in found]


@pytest.mark.parametrize(("is_managed", "expected"), [(True, FAIL), (False, WARN)])
@pytest.mark.parametrize(
    ("name", "advice"),
    [("firewalld", "firewall-cmd --permanent --add-protocol=vrrp"), ("x", "have that program")],
)
def test_a_table_with_an_owner_is_the_owners_to_open(
    is_managed: bool,  # noqa: FBT001
    expected: CheckResult,
    name: str,
    advice: str,
) -> None:
    """No rule of the agent gets there, whether it was asked for or not."""
    chain = replace(CHAIN, table=Table(family="inet", name=name))
    found = list(
        firewall_findings.judge_chains([chain, CHAIN], is_managed=is_managed, owned={chain.table})
    )
    other = PASS if is_managed else WARN
    assert [expected, other] == [each.verdict for each in found]
    assert f"inet {name} input may drop protocol 112" == found[0].text
    assert advice in found[0].advice


def test_a_rule_that_a_running_agent_has_not_made_is_told() -> None:
    """It says why in its log, and there is no second look that would make it."""
    found = one(firewall_findings.judge_chains([CHAIN], is_managed=True, is_running=True))
    assert WARN is found.verdict
    assert found.text.endswith("may drop protocol 112, and the agent's rules are not there")


def test_a_chain_that_the_agent_never_opens_is_named_with_its_place() -> None:
    """For iptables: its tables raw and mangle."""
    found = one(firewall_findings.judge_chains([EARLY], is_managed=True))
    assert "ip raw PRE may drop protocol 112" == found.text
    assert "no rules into prerouting" in found.advice


def test_rules_that_cannot_be_listed_are_no_pass() -> None:
    """Without the right to, nothing was looked at; a mute nft is a word worth."""
    assert SKIP is firewall_findings.judge_unlisted_rules("not permitted", is_denied=True).verdict
    mute = firewall_findings.judge_unlisted_rules("nft prints nothing", is_denied=False)
    assert WARN is mute.verdict


def test_a_kernel_that_tells_of_no_listener_is_warned_of() -> None:
    """And is nothing to speak of where it does."""
    assert [] == list(node.judge_listeners(""))
    (found,) = node.judge_listeners("the kernel cannot be asked")
    assert ("port", WARN) == (found.check, found.verdict)
    for variables, expected in (
        ({"MONITOR_PORT": "0"}, "OPENSHIFT_HA_MONITOR_PORT=0"),
        ({"CHECK_SCRIPT": "/x"}, "OPENSHIFT_HA_CHECK_SCRIPT"),
        ({"CHECK_URL": "http://127.0.0.1/"}, "OPENSHIFT_HA_CHECK_URL"),
    ):
        without = node.judge_ports(planned("10.0.0.5", **variables)[0])
        assert SKIP is without.verdict
        assert expected in without.text


@pytest.mark.parametrize(
    ("state", "obstacle", "missing", "expected"),
    [
        (ScriptState.USABLE, "", MissingScript.FAULT, PASS),
        (ScriptState.USABLE, "", MissingScript.IGNORE, PASS),
        (ScriptState.USABLE, "below /y", MissingScript.FAULT, WARN),
        (ScriptState.MISSING, "", MissingScript.FAULT, FAIL),
        (ScriptState.MISSING, "", MissingScript.IGNORE, WARN),
        (ScriptState.NOT_EXECUTABLE, "", MissingScript.FAULT, FAIL),
    ],
)
def test_a_check_that_is_missing_fails_where_the_node_would_not_serve(
    state: ScriptState, obstacle: str, missing: MissingScript, expected: CheckResult
) -> None:
    """Elsewhere it is left out, which is worth a word."""
    found = node.judge_script("VARIABLE", "/x", state, obstacle, missing)
    assert expected is found.verdict
    assert ("chmod" in found.advice) is (state is ScriptState.NOT_EXECUTABLE)


@pytest.mark.parametrize(
    ("source", "shift", "expected"),
    [("tsc", 0.001, PASS), (None, -0.01, PASS), ("acpi_pm", 0.0, WARN), ("tsc", -1.5, WARN)],
)
def test_a_clock_that_is_poor_or_set_is_told(
    source: str | None, shift: float, expected: CheckResult
) -> None:
    """By what the kernel counts with, and by what it was set meanwhile."""
    assert expected is node.judge_clock(source, shift).verdict


@pytest.mark.parametrize(
    ("pressure", "throttled", "late", "expected"),
    [
        (None, None, 0.001, PASS),
        (5.0, 0, 0.02, PASS),
        (50.0, None, 0.0, WARN),
        (None, 3, 0.0, WARN),
        (None, None, 0.5, WARN),
        (None, None, None, PASS),
    ],
)
def test_a_starved_machine_is_told(
    pressure: float | None, throttled: int | None, late: float | None, expected: CheckResult
) -> None:
    """Leases are renewed in time, or lapse."""
    assert expected is node.judge_starvation(pressure, throttled, late).verdict


# --- the network --------------------------------------------------------------------------------


def carp(vhid: int = 11, source: str = "10.0.0.12") -> Carp:
    return Carp(source_mac=OTHERS, source=ip_address(source), router_id=vhid, skew=0, ttl=255)


FIRST, SECOND = contexts_of()
BOTH = (*FIRST.addresses, *SECOND.addresses)
FOREIGN = advert(FIRST, addresses=(ip_address("10.0.0.254"),))
IN_IPV6 = advert(
    FIRST, source=ip_address("fe80::12"), addresses=(ip_address("fe80::254"),), version=3
)
CARP_DEVICE = "a CARP device such as pfSense, OPNsense or ucarp"
OFFSET = "choose OPENSHIFT_HA_VRRP_ID_OFFSET=20"
RIVAL = [("rivals", FAIL), *FINE[1:]]
CLASH = [("ids", WARN), FINE[0], FINE[2]]


@pytest.mark.parametrize(
    ("network", "expected", "text"),
    [
        (heard([FIRST, SECOND], advert(FIRST)), FINE, "10.0.0.12 advertises 10.0.0.5"),
        (heard([FIRST], advert(FIRST, password=b"other")), RIVAL, ""),
        (heard([FIRST], advert(FIRST, version=3)), RIVAL, ""),
        (heard([FIRST], advert(FIRST, addresses=BOTH)), RIVAL, ""),
        (heard([FIRST], advert(FIRST, virtual_router_id=99)), RIVAL, ""),
        # its ids are shifted: another offset would mend nothing
        (heard([FIRST, SECOND], advert(SECOND, addresses=FIRST.addresses)), RIVAL, ""),
        (heard([FIRST], FOREIGN, FOREIGN), CLASH, ""),
        (heard([FIRST], FOREIGN, advert(FIRST)), CLASH, ""),
        (
            heard([FIRST], carp(), carp(), carp(99), carp(source="fe80::12")),
            CLASH,
            f"router id 11 is also used as vhid by {CARP_DEVICE}, 10.0.0.12: {OFFSET}",
        ),
        # keepalived tells instances by id and family: the same number is no clash there
        (heard([FIRST], IN_IPV6), FINE, "no advert that agrees with this node's in 4 s"),
        # an echo, and one that has just stopped
        (
            heard([FIRST], advert(FIRST, source_mac=OWN), advert(FIRST, priority=0)),
            FINE,
            "no advert of another node in 4 s",
        ),
    ],
    ids=[
        *("an agreeing node is the holder", "password", "version", "addresses"),
        *("virtual_router_id", "another list", "a foreign router, however often it is heard"),
        *("two programs on one node", "a CARP device", "the other family", "our own adverts"),
    ],
)
def test_the_wire_is_judged_by_its_adverts(
    network: ObservedNetwork, expected: list[tuple[str, CheckResult]], text: str
) -> None:
    """Two that differ would both hold the address; an id of ours is no other's."""
    found = list(judge_wire(network))
    assert expected == verdicts(found)
    assert text in {"", *(each.text for each in found)}


@pytest.mark.parametrize(
    ("unshielded", "expected"),
    [("", "until then the agent drops its adverts"), ("it is off", "(it is off), and stops")],
)
def test_it_is_said_what_a_clash_does_without_a_shield(unshielded: str, expected: str) -> None:
    """Whether there is one here or not."""
    told = next(iter(judge_wire(heard([FIRST], carp()), unshielded)))
    assert expected in told.advice
    assert "stops the adverts of a master, and its backup takes over" in told.advice


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_every_id_that_clashes_is_named_in_order(order: int) -> None:
    """One line for each router, the same whoever is heard first."""
    found = contexts_of(addresses="10.0.0.5-7")
    frames = [
        advert(each, addresses=(ip_address(f"10.0.0.{200 + number}"),))
        for number, each in enumerate(found)
    ]
    another = advert(
        found[1], source=ip_address("10.0.0.13"), source_mac=OTHERS, addresses=frames[0].addresses
    )
    told = list(judge_wire(heard(found, *[*frames, another][::order])))
    assert [CLASH[0], *CLASH] == verdicts(told)
    assert [
        "router ids 11 12 13 are also used by 10.0.0.12 for 10.0.0.200 10.0.0.201 10.0.0.202: "
        + OFFSET,
        f"router id 12 is also used by 10.0.0.13 for 10.0.0.200: {OFFSET}",
    ] == [each.text for each in told[:2]]


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_the_first_id_in_which_a_node_differs_is_named(order: int) -> None:
    """Not another one in each run."""
    frames = [advert(each, password=b"other") for each in (FIRST, SECOND)]
    told = next(iter(judge_wire(heard([FIRST, SECOND], *frames[::order]))))
    assert "for router id 11 are refused" in told.text


def test_an_advert_that_arrives_shows_that_multicast_does() -> None:
    """Whoever's it is; with peers there is nothing to know."""
    found = judge_multicast(heard([FIRST], advert(FIRST)))
    assert (PASS, "it arrives: adverts of 10.0.0.12") == (found.verdict, found.text)
    assert SKIP is judge_multicast(heard([FIRST])).verdict
    to_us = advert(FIRST, destination=ip_address("10.0.0.11"))
    assert SKIP is judge_multicast(heard([FIRST], to_us)).verdict
    peers = contexts_of(UNICAST_PEERS="10.0.0.12")
    found = judge_multicast(heard(peers, advert(peers[0])))
    assert (SKIP, "") == (found.verdict, found.advice)


def test_lost_multicast_is_told_with_exactly_what_to_set() -> None:
    """The own address, and that of whoever holds ours, if the kernel knows it."""
    known = {
        THEIRS: (ip_address("10.0.0.12"), ip_address("10.0.0.5")),
        OTHERS: (ip_address("10.0.0.13"),),
    }
    found = judge_multicast(replace(heard([FIRST], a5=THEIRS), neighbours=known))
    assert WARN is found.verdict
    assert "10.0.0.5 is held by 02:00:00:00:00:02" in found.text
    assert "OPENSHIFT_HA_UNICAST_PEERS=10.0.0.11,10.0.0.12 (add" in found.advice
    assert "OPENSHIFT_HA_UNICAST_PEERS_DNS" in found.advice
    unknown = judge_multicast(heard([FIRST], a5=THEIRS))
    assert "OPENSHIFT_HA_UNICAST_PEERS=10.0.0.11 (add" in unknown.advice


def test_addresses_that_nobody_can_list_are_not_proposed() -> None:
    """Link-local ones, where a node has no other, or where another node is known by one."""
    bare = replace(FIRST, source=ip_address("fe80::11"), node_addresses=frozenset())
    assert "OPENSHIFT_HA_UNICAST_PEERS with every node" in causes.unicast_instead([bare])
    text = causes.unicast_instead([FIRST], [ip_address("fe80::12"), ip_address("10.0.0.12")])
    assert "OPENSHIFT_HA_UNICAST_PEERS=10.0.0.11,10.0.0.12 (add" in text


def test_addresses_of_both_families_are_proposed_where_both_are_served() -> None:
    """IPv6 adverts come from a link-local address, which is not one to list."""
    found = contexts_of(addresses="10.0.0.5,fd00::5")
    advice = judge_multicast(heard(found)).advice
    assert "OPENSHIFT_HA_UNICAST_PEERS=10.0.0.11,fd00::11 (add" in advice


PEER = ip_address("10.0.0.12")
(AMONG_PEERS, _) = contexts_of(UNICAST_PEERS="10.0.0.12")
ANNOUNCED = Announcement(source_mac=THEIRS, announced_mac=THEIRS, address=ip_address("10.0.0.5"))
MUTE = "02:00:00:00:00:02, which advertises nothing"


@pytest.mark.parametrize(
    ("network", "expected", "text", "proposes"),
    [
        (heard([FIRST, SECOND], advert(FIRST), a5=THEIRS), PASS, "no other host answers", False),
        (heard([FIRST], advert(FIRST), a5=THEIRS), PASS, "only nodes that advertise", False),
        (heard([FIRST], a5=OWN), PASS, "", False),
        (replace(heard([FIRST], a5=OWN), held=frozenset(FIRST.addresses)), PASS, "", False),
        (heard([FIRST], a5=THEIRS), FAIL, MUTE, True),
        (heard([FIRST], ANNOUNCED), FAIL, MUTE, True),
        (heard([FIRST], advert(SECOND, source_mac=OTHERS), a5=THEIRS), FAIL, MUTE, True),
        (
            heard([FIRST], advert(FIRST), a5=THEIRS + OTHERS),
            FAIL,
            "answered by 02:00:00:00:00:02 and 02:00:00:00:00:03",
            False,
        ),
        (
            replace(heard([FIRST], advert(FIRST), a5=THEIRS), held=frozenset(FIRST.addresses)),
            FAIL,
            "10.0.0.5 is on this node, and answered by 02:00:00:00:00:02",
            False,
        ),
        # every address of such an instance may be excluded from its adverts
        (
            heard([FIRST], advert(SECOND, virtual_router_id=30, addresses=()), a5=THEIRS),
            FAIL,
            "which advertises other addresses (none are listed)",
            False,
        ),
        # it has the address and does not list this node yet: no stranger, no proxy
        (
            replace(heard([AMONG_PEERS], a5=THEIRS, a12=THEIRS), near=(PEER,)),
            FAIL,
            "held by the peer 10.0.0.12",
            True,
        ),
        (
            replace(heard([AMONG_PEERS], a5=OTHERS, a12=THEIRS), near=(PEER,)),
            FAIL,
            "which advertises nothing",
            False,
        ),
    ],
    ids=[
        *("who advertises", "holders of everything", "this host", "this host holds it", "a mute"),
        *("an announcement", "adverts of a third host", "two", "here and elsewhere"),
        *("adverts without an address", "a peer that does not send to us", "beside a peer"),
    ],
)
def test_whoever_advertises_may_answer(
    network: ObservedNetwork,
    expected: CheckResult,
    text: str,
    proposes: bool,  # noqa: FBT001
) -> None:
    """And no other host, and not two; unicast is proposed where adverts may have been lost."""
    found = one(judge_answers(network))
    assert ("answers", expected) == (found.check, found.verdict)
    assert text in found.text
    assert proposes == ("OPENSHIFT_HA_UNICAST_PEERS" in found.advice)


@pytest.mark.parametrize(
    ("sender", "known"),
    [
        pytest.param({}, (), id="by its MAC"),
        pytest.param({"source_mac": OTHERS}, ("10.0.0.12",), id="by an address of its MAC"),
        pytest.param(
            {"source_mac": OTHERS, "source": ip_address("10.0.0.5")}, (), id="by that very address"
        ),
    ],
)
@pytest.mark.parametrize("peers", ["", "10.0.0.12"], ids=["multicast", "unicast"])
def test_whoever_has_an_address_and_advertises_others_is_not_mute(
    peers: str, sender: dict[str, object], known: tuple[str, ...]
) -> None:
    """A node's own address is listed, or it has another list: its adverts do get here."""
    first, second = contexts_of(UNICAST_PEERS=peers)
    frames = [
        advert(second, virtual_router_id=number, **sender, addresses=(ip_address(address),))
        for number, address in ((30, "10.0.0.30"), (31, "10.0.0.31"))
    ]
    listened = replace(
        heard([first], *frames, a5=THEIRS, a12=THEIRS),
        neighbours={THEIRS: tuple(map(ip_address, known))},
        near=tuple(map(ip_address, peers.split())),
    )
    found = one(judge_answers(listened))
    assert FAIL is found.verdict
    assert (
        "10.0.0.5 is answered by 02:00:00:00:00:02, which advertises other addresses "
        "(10.0.0.30 10.0.0.31)"
    ) == found.text
    assert "OPENSHIFT_HA_UNICAST_PEERS" not in found.advice
    assert "multicast" not in found.advice


@pytest.mark.parametrize(
    ("listed", "near", "far", "expected"),
    [
        ("", (), ("192.0.2.7",), ["skip not looked at: 192.0.2.7 on another network"]),
        ("", ("10.0.0.11",), (), ["skip not looked at: multicast needs none"]),
        ("10.0.0.12", ("10.0.0.11",), (), ["skip not looked at: no peer beside this node"]),
        (
            "10.0.0.12,10.0.0.13,10.0.0.11",
            ("10.0.0.12", "10.0.0.13", "10.0.0.11"),
            (),
            ["pass 10.0.0.12 answers", "warn 10.0.0.13 does not answer ARP or neighbour requests"],
        ),
    ],
    ids=["behind a router", "multicast", "itself alone", "some answer"],
)
def test_peers_have_a_line_in_any_case(
    listed: str, near: tuple[str, ...], far: tuple[str, ...], expected: list[str]
) -> None:
    """This node itself is none, and no host answers ARP for one behind a router."""
    network = replace(
        heard(contexts_of(UNICAST_PEERS=listed), a12=THEIRS),
        near=tuple(map(ip_address, near)),
        far=tuple(map(ip_address, far)),
    )
    found = list(judge_peers(network))
    assert {"peers"} == {each.check for each in found}
    assert expected == [f"{each.verdict.value} {each.text}" for each in found]


def test_an_instance_without_a_source_is_left_out() -> None:
    """An IPv6 one where the interface has no link-local address."""
    facts = host_facts({"eth0": ["10.0.0.11/24", "fd00::11/64"]}, ROUTES)
    config = plan(settings.parse({"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.5,fd00::5"}), facts)
    assert [config.instances[0].name] == list(built(config, facts))
    assert {} == built(config, replace(facts, interfaces=()))


def test_a_link_local_node_has_a_source_in_both_families() -> None:
    """Else nothing would watch for rivals there."""
    facts = host_facts({"eth0": ["169.254.10.11/24", "fe80::11/64"]})
    parsed = settings.parse(
        {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.5,fd00::5", "OPENSHIFT_HA_NETWORK_INTERFACE": "eth0"}
    )
    config = plan(parsed, facts)
    sources = [str(each.source) for each in built(config, facts).values()]
    assert ["169.254.10.11", "fe80::11"] == sources
    assert 4.0 == contexts.down_time(config)


def test_a_chosen_multicast_source_is_the_source() -> None:
    """keepalived sends from it."""
    facts = host_facts({"eth0": ["10.0.0.11/24", "10.0.0.99/24"]}, ROUTES)
    parsed = settings.parse(
        {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.5-6", "MULTICAST_SOURCE_IPADDRESS": "10.0.0.99"}
    )
    chosen = built(plan(parsed, facts), facts)
    assert {ip_address("10.0.0.99")} == {each.source for each in chosen.values()}


# --- asking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["10.0.0.5", "fd00::1:5"])
def test_a_question_is_no_announcement_and_no_answer(target: str) -> None:
    """Whoever hears it learns nothing wrong."""
    address = ip_address(target)
    own = ip_address("10.0.0.11" if address.version == 4 else "fd00::11")
    frame = packets.neighbour_question(OWN, own, address)
    assert packets.parse_frame(frame) is None
    assert packets.parse_neighbour_answer(frame) is None
    assert OWN == frame[6:12]
    assert address.packed in frame


def test_answers_of_both_families_are_read() -> None:
    """An ARP reply to us, a solicited advertisement."""
    arp = bytearray(
        packets.neighbour_question(THEIRS, ip_address("10.0.0.5"), ip_address("10.0.0.11"))
    )
    arp[20:22] = b"\0\2"
    assert (ip_address("10.0.0.5"), THEIRS) == packets.parse_neighbour_answer(bytes(arp))
    advertisement = bytearray(
        packets.unsolicited_advertisement(THEIRS, ip_address("fd00::5"))  # type: ignore[arg-type]
    )
    assert (ip_address("fd00::5"), THEIRS) == packets.parse_neighbour_answer(bytes(advertisement))


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x08\x06", b"\x86\xdd"]))
def test_no_bytes_disturb_the_parser(data: bytes, kind: bytes) -> None:
    """Anybody may send anything."""
    packets.parse_neighbour_answer(data)
    found = packets.parse_neighbour_answer(bytes(12) + kind + data)
    assert found is None or 6 == len(found[1])


ANY, OWN_ADDRESS, VIRTUAL = map(ip_address, ("0.0.0.0", "10.0.0.11", "10.0.0.5"))
PORT = "10.0.0.11 port 80"


@pytest.mark.parametrize(
    ("error", "listeners", "expected"),
    [
        ("", [OWN_ADDRESS], f"warn {PORT} answers, and nothing listens there at 10.0.0.5"),
        ("", [OWN_ADDRESS, VIRTUAL], f"pass {PORT} answers"),
        ("", [OWN_ADDRESS, ANY], f"pass {PORT} answers"),
        ("", [ip_address("::")], f"pass {PORT} answers"),
        ("", [], f"pass {PORT} answers"),
        ("", [ip_address("10.0.0.12")], f"pass {PORT} answers"),
        ("connection refused", [], f"warn {PORT}: connection refused"),
    ],
    ids=["own alone", "both", "all", "all by IPv6", "none: a proxy's rule", "another", "refused"],
)
def test_a_service_that_listens_at_the_node_s_address_alone_is_told(
    error: str, listeners: list[IPAddress], expected: str
) -> None:
    """The check passes, and every client is refused."""
    found = node.judge_port(OWN_ADDRESS, 80, error, listeners, [VIRTUAL])
    assert expected == f"{found.verdict.value} {found.text}"


@pytest.mark.parametrize(
    ("speaks_arp", "arp_ignore", "expected"),
    [(True, 0, 0), (True, 1, 0), (True, 2, 0), (True, 8, 1), (False, 0, 1), (False, 8, 2)],
)
def test_a_node_that_does_not_answer_arp_fails(
    speaks_arp: bool,  # noqa: FBT001
    arp_ignore: int,
    expected: int,
) -> None:
    """It would hold the address, and nobody would find it."""
    _, config = planned("10.0.0.5")
    facts = replace(NODE, interfaces=(replace(NODE.interfaces[0], speaks_arp=speaks_arp),))
    found = list(node.judge_reach(config, facts, arp_ignore))
    assert [FAIL] * expected == [each.verdict for each in found]
    assert {"interface"} >= {each.check for each in found}
