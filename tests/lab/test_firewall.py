"""Firewalls that drop VRRP, and the rules that let it in: real nft, iptables and keepalived."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from signal import SIGHUP

import pytest

from ipfailover_agent.errors import ExitCode
from tests.lab.kit import scenarios
from tests.lab.kit.lab import Lab
from tests.lab.kit.namespaces import TOOL_PATH
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, NAME, RELEASE, ConfigMap, stays, variables
from tests.support.waiting import wait_until

TAG = f"ipfailover-agent {NAME}"
NOTICED = 10.0  # seconds: how long rules may be missing after a firewall was loaded again
THREE_ADVERTS = 3.5
ADOPTED = 25.0  # seconds: a trial after 10 s, and an election
TROUBLE = ("contest.held", "contest.started", "rival.seen", "keepalived.exited", "firewall.failed")


def chain(rules: str, *, priority: int = 0, policy: str = "accept", name: str = "input") -> str:
    """Return a base chain of the input hook in nft's words."""
    head = f"type filter hook input priority {priority}; policy {policy};"
    return f"chain {name} {{\n{head}\n{rules}\n}}\n"


def table(name: str, *chains: str) -> str:
    """Return a table of the family inet in nft's words."""
    return f"table inet {name} {{\n{''.join(chains)}}}\n"


_OPEN = """
    ct state established,related accept
    iifname "lo" accept
    meta l4proto { tcp, icmp, ipv6-icmp } accept
"""
_DROP = "meta l4proto 112 drop"
_ZONE = f"chain zone {{\n{_OPEN}reject with icmpx admin-prohibited\n}}\n"
#: How many base chains need rules, and how to put it up; VRRP is not let in by any.
NFT = {
    "policy drop": (1, table("wall", chain(_OPEN, policy="drop"))),
    "a drop of protocol 112": (1, table("wall", chain(_DROP))),
    "a reject behind a jump": (1, table("wall", _ZONE, chain("jump zone", priority=10))),
    "two tables": (
        2,
        table("first", chain(_DROP, priority=-10))
        + table("second", chain(_OPEN, priority=10, policy="drop")),
    ),
}
HARMLESS = table("harmless", chain("tcp dport 1 drop\ncounter"))
IPTABLES_WALL = "iptables-nft -P INPUT DROP"
IPTABLES = """
    {0} -P INPUT DROP
    {0} -A INPUT -i lo -j ACCEPT
    {0} -A INPUT -p tcp -j ACCEPT
    {0} -A INPUT -p {1} -j ACCEPT
    """


def put_up(node: Node, wall: str) -> int:
    """Put up a wall; return how many base chains of it each family passes."""
    if wall != IPTABLES_WALL:
        count, text = NFT[wall]
        node.nft(text)
        return count
    for program, icmp in (("iptables-nft", "icmp"), ("ip6tables-nft", "ipv6-icmp")):
        node.run(["sh", "-ec", IPTABLES.format(program, icmp)])
    return 1


def ruleset(node: Node) -> str:
    """Return all rules of a node, without counters' figures."""
    return node.run(["nft", "--stateless", "list", "ruleset"]).stdout


def ours(node: Node) -> list[str]:
    """Return the rules that have the agent's comment."""
    return [line.strip() for line in ruleset(node).splitlines() if f'comment "{TAG}"' in line]


def wanted(mode: str, node: Node, other: Node) -> set[str]:
    """Return the addresses that VRRP is let in for: the groups, and peers where they are named."""
    groups = {"224.0.0.18", "ff02::12"}
    return groups if mode == "multicast" else {*groups, other.ip, other.ipv6} - {node.ip}


@pytest.mark.parametrize("mode", ["multicast", "unicast"])
@pytest.mark.parametrize(
    ("wall", "variable"),
    [
        ("policy drop", "NFTABLES_RULE"),
        ("a drop of protocol 112", "NFTABLES_RULE"),
        ("a reject behind a jump", "IPTABLES_CHAIN"),
        ("two tables", "NFTABLES_RULE"),
        (IPTABLES_WALL, "IPTABLES_CHAIN"),
    ],
)
def test_vrrp_is_let_in_and_each_address_has_one_holder(
    pair: Lab, wall: str, mode: str, variable: str
) -> None:
    """Both families. Each rule is tagged and logged; afterwards the rules are what they were."""
    addresses = [pair.virtual(1), pair.virtual6(1)]
    (chains,) = {put_up(node, wall) for node in pair.nodes}
    for node in pair.nodes:
        node.nft(HARMLESS)
    before = [ruleset(node) for node in pair.nodes]
    started = time.monotonic()
    more = {variable: "INPUT", **pair.peers(mode)}
    holder = pair.serve_ranked(*addresses, **more)
    stays(THREE_ADVERTS)
    for node, other in (pair.nodes, pair.nodes[::-1]):
        found = ours(node)
        expected = wanted(mode, node, other)
        assert len(found) == chains * len(expected), found
        for address in expected:
            with_it = [each for each in found if f"addr {address} " in each]
            assert len(with_it) == chains
            told = [each for each in node.events("firewall.rule_inserted") if address in each]
            assert len(told) == chains
        harmless = node.run(["nft", "list", "table", "inet", "harmless"]).stdout
        assert TAG not in harmless
        assert [node.events(each) for each in TROUBLE] == [[]] * len(TROUBLE)
    for address in addresses:
        assert pair.recorder.holders(address) == [holder.name]
        assert pair.recorder.seconds_with_two(address, since=started) == 0
    pair.stop_everywhere()
    assert [ruleset(node) for node in pair.nodes] == before
    assert all(
        len(node.events("firewall.rule_removed")) == len(node.events("firewall.rule_inserted"))
        for node in pair.nodes
    )


@pytest.mark.parametrize("mode", ["multicast", "unicast"])
def test_without_the_variable_one_yields_and_a_reload_lets_vrrp_in_and_takes_it_back(
    pair: Lab, tmp_path: Path, mode: str
) -> None:
    """The contest bounds the time with two; with the rules none is held; off removes them."""
    address = pair.virtual(1)
    first, second = pair.nodes
    before = []
    maps = []
    for number, node in enumerate(pair.nodes):
        # Not "established": between two nodes that both send unicast, that is what adverts are.
        put_up(node, "a drop of protocol 112")
        before.append(ruleset(node))
        priority = str(250 - 40 * number)
        values = variables(address, PRIORITY=priority, PREEMPTION="preempt", **pair.peers(mode))
        maps.append((ConfigMap(tmp_path / node.name, values), values))
        node.start(maps[-1][0].variable)
    second.wait_for_line("contest.held", timeout=ELECTION)
    pair.wait_for_holder(address, timeout=RELEASE, among=[first])
    assert "a firewall drops protocol 112" in "".join(second.events("contest.held"))
    assert pair.recorder.seconds_with_two(address) <= 2
    assert [ours(node) for node in pair.nodes] == [[], []]

    turned_on = time.monotonic()
    for node, (mounted, values) in zip(pair.nodes, maps, strict=True):
        mounted.write({**values, "OPENSHIFT_HA_NFTABLES_RULE": "true"})
        node.signal(SIGHUP)
    wait_until(lambda: all(ours(node) for node in pair.nodes), RELEASE, "rules on both")
    second.wait_for_line("contest.ended", timeout=ADOPTED)
    stays(THREE_ADVERTS)
    assert pair.recorder.holders(address) == [first.name]
    assert pair.recorder.seconds_with_two(address, since=turned_on) == 0

    for node, (mounted, values) in zip(pair.nodes, maps, strict=True):
        mounted.write(values)
        node.signal(SIGHUP)
    wait_until(
        lambda: [ruleset(node) for node in pair.nodes] == before,
        RELEASE,
        "the rules are gone from both",
    )
    assert first.events("keepalived.exited") == second.events("keepalived.exited") == []


def test_another_name_tags_the_rules_anew(lone: Lab, node: Node, tmp_path: Path) -> None:
    """A reload that changes the configuration's name leaves none of the former name."""
    put_up(node, "policy drop")
    before = ruleset(node)
    values = variables(lone.virtual(1), NFTABLES_RULE="true")
    mounted = ConfigMap(tmp_path / "config", values)
    node.start(mounted.variable)
    wait_until(lambda: len(ours(node)) == 1, ELECTION, "a rule")
    mounted.write({**values, "OPENSHIFT_HA_CONFIG_NAME": "other"})
    node.signal(SIGHUP)
    wait_until(
        lambda: not ours(node) and ruleset(node).count('"ipfailover-agent other"') == 1,
        RELEASE,
        "the rule has the other name",
    )
    node.stop()
    assert ruleset(node) == before


@pytest.mark.parametrize("wall", ["policy drop", IPTABLES_WALL])
def test_a_firewall_that_is_loaded_again_is_noticed_and_mended(pair: Lab, wall: str) -> None:
    """A flush drops the agent's rules: they are back within ten seconds, and the holder stays."""
    addresses = [pair.virtual(1), pair.virtual6(1)]
    for node in pair.nodes:
        put_up(node, wall)
    holder = pair.serve_ranked(*addresses, NFTABLES_RULE="true")
    wait_until(
        lambda: [len(node.events("firewall.rule_inserted")) for node in pair.nodes] == [2, 2],
        ELECTION,  # the second one may still be starting
        "each node lets both families in",
    )
    for _ in range(2):
        flushed = time.monotonic()
        for node in pair.nodes:
            node.nft("flush ruleset\n")
            put_up(node, wall)
        wait_until(
            lambda: all(len(ours(node)) == 2 for node in pair.nodes), NOTICED, "the rules are back"
        )
        taken = time.monotonic() - flushed
        print(f"loaded again ({wall}): the rules are back after {taken:.2f} s")
        stays(THREE_ADVERTS)
        for address in addresses:
            assert pair.recorder.seconds_with_two(address) <= 2
            assert pair.recorder.seconds_with_none(address) == 0
    assert [len(node.events("firewall.rule_inserted")) for node in pair.nodes] == [6, 6]
    pair.wait_for_each(addresses, timeout=ADOPTED, among=[holder])


def test_rules_of_a_killed_container_are_removed_by_release(lone: Lab, node: Node) -> None:
    """SIGKILL leaves them; ``release`` takes the agent's and no others."""
    put_up(node, "policy drop")
    before = ruleset(node)
    node.nft('insert rule inet wall input ip saddr 192.0.2.77 accept comment "ipfailover-agent b"')
    with_others = ruleset(node)
    environment = variables(lone.virtual(1), NFTABLES_RULE="true")
    node.start(environment)
    lone.wait_for_holder(lone.virtual(1), timeout=ELECTION)
    assert len(ours(node)) == 1
    node.kill()
    assert len(ours(node)) == 1
    node.start(environment, scenarios.command("release"))
    assert node.wait() == 0
    assert "removed a rule from chain input of table inet wall" in node.output()
    assert ruleset(node) == with_others != before
    assert node.virtual_addresses() == []


_REFUSING = """#!/bin/sh
# Tests and dumps are the real one's; it refuses to run.
case " $* " in
*" -t "* | *" --config-test"* | *" --signum"* | *" -v "* | *" --version "*)
    exec {program} "$@" ;;
esac
sleep 1
exit 2
"""


def test_a_start_that_keepalived_refuses_leaves_no_rule(lone: Lab, tmp_path: Path) -> None:
    """The rules were in before keepalived said no; the agent ends, and they are gone."""
    (node,) = lone.nodes
    put_up(node, "policy drop")
    before = ruleset(node)
    environment = variables(lone.virtual(1), NFTABLES_RULE="true")
    node.start(environment, prepare=scenarios.in_front_of("keepalived", _REFUSING, tmp_path))
    assert node.wait() == 78, node.output()
    assert len(node.events("firewall.rule_inserted")) == 1
    assert len(node.events("firewall.rule_removed")) == 1
    assert ruleset(node) == before


@pytest.mark.parametrize("fault", ["nft is not there", "no right to use it"])
def test_an_nft_that_cannot_do_it_fails_no_start(lone: Lab, tmp_path: Path, fault: str) -> None:
    """An error event that says why, once; the address is served and the stop is clean."""
    (node,) = lone.nodes
    put_up(node, "policy drop")
    before = ruleset(node)
    if fault == "nft is not there":
        for directory in TOOL_PATH.split(":"):
            for each in Path(directory).iterdir():
                if each.name != "nft" and not (tmp_path / each.name).is_symlink():
                    (tmp_path / each.name).symlink_to(each)
        prepare, reason = f"PATH='{tmp_path}'", "nft"
    else:
        without = "setpriv --bounding-set -net_admin --inh-caps -net_admin"
        script = f'#!/bin/sh\nexec {without} {{program}} "$@"\n'
        prepare, reason = scenarios.in_front_of("nft", script, tmp_path), "not permitted"
    node.start(variables(lone.virtual(1), NFTABLES_RULE="true"), prepare=prepare)
    lone.wait_for_holder(lone.virtual(1), timeout=ELECTION)
    stays(THREE_ADVERTS)
    (told,) = node.events("firewall.failed")
    assert reason in told
    assert "level=error" in told
    node.stop()
    assert ruleset(node) == before
    assert node.virtual_addresses() == []


def test_a_firewall_that_owns_its_table_is_the_one_to_ask(lone: Lab, node: Node) -> None:
    """As firewalld does: an nft that stays, ``flags owner``. No rule gets in, and that is said."""
    head = "chain inet firewalld filter_INPUT { type filter hook input priority 10; }"
    rule = "rule inet firewalld filter_INPUT meta l4proto 112 reject"
    text = f"add table inet firewalld {{ flags owner; }}\nadd {head}\nadd {rule}\n"
    advice = "firewall-cmd --permanent --add-protocol=vrrp"
    with node.network.running(["nft", "-i"], stdin=subprocess.PIPE) as owner:
        assert owner.stdin is not None
        owner.stdin.write(text.encode())
        owner.stdin.flush()
        wait_until(lambda: "reject" in ruleset(node), ELECTION, "the wall")
        node.start(variables(lone.virtual(1), NFTABLES_RULE="true"))
        assert advice in node.wait_for_line("firewall.failed")
        lone.wait_for_holder(lone.virtual(1), timeout=ELECTION)
        done = node.ask("doctor", "--seconds", "0.3")
    assert done.returncode == ExitCode.CONFIG
    said = "fail  firewall: inet firewalld filter_INPUT may drop protocol 112\n"
    assert said in done.stdout
    assert advice in done.stdout


def test_rules_that_nft_cannot_see_are_named_at_the_start(lone: Lab, node: Node) -> None:
    """Tables of iptables-legacy are another world: a warning, and the rest works."""
    if node.run(["sh", "-c", "command -v iptables-legacy"], check=False).returncode:
        pytest.skip("iptables-legacy is not installed")
    node.run(["iptables-legacy", "-A", "INPUT", "-p", "112", "-j", "DROP"])
    lone.serve(lone.virtual(1), NFTABLES_RULE="true")
    (told,) = node.events("firewall.unseen")
    assert "level=warning" in told
    assert "filter" in told
    assert ours(node) == []
