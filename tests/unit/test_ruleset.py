"""What nft shows, and what has to change so that VRRP gets through."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.config import planner
from ipfailover_agent.firewall import accept_rules, ruleset
from ipfailover_agent.firewall.accept_rules import LookFailed, RuleInserted, RuleRemoved, tag_for
from ipfailover_agent.firewall.nft_commands import LIST_CHAINS, Output, change_rules
from ipfailover_agent.firewall.ruleset import Chain, Entry, Table
from ipfailover_agent.model import IPAddress, Settings
from tests.support.nft_json import (
    ACCEPT,
    DROP,
    L4,
    chain,
    entries,
    jump,
    match,
    payload,
    rule,
    side,
    text_of,
)
from tests.support.vectors import host_facts

TAG = "ipfailover-agent lab"
GROUP = ip_address("224.0.0.18")
GROUP6 = ip_address("ff02::12")
PEER = ip_address("192.0.2.2")
CLOSED = chain(policy="drop")


def ours(
    address: str = "224.0.0.18",
    field: str = "daddr",
    protocol: object = "vrrp",
    **more: Any,  # noqa: ANN401 - passed on
) -> dict[str, object]:
    """Return one of our rules as nft prints it."""
    header = "ip6" if ":" in address else "ip"
    statements = [match(L4, protocol), match(payload(header, field), address), ACCEPT]
    return rule(*statements, **{"comment": TAG, **more})


def needed(*objects: object, wanted: frozenset[IPAddress] = frozenset({GROUP})) -> list[str]:
    """Return in words what a plan inserts and removes."""
    change = accept_rules.plan(entries(*objects), wanted, TAG)
    if change is None:
        return []
    return [
        *(
            f"+ {each.chain} {each.accepted.field} {each.accepted.address}"
            for each in change.inserted
        ),
        *(f"- {each.chain} {each.handle}" for each in change.removed),
    ]


INSERTED = ["+ input daddr 224.0.0.18"]
REMOVED = ["- input 9"]
MOVED = INSERTED + REMOVED


# --- which chains -------------------------------------------------------------------------------


STATES = {"ct": {"key": "state"}}
BY_STATE = {"key": STATES, "data": {"set": [["new", jump("a")], ["x", ACCEPT]]}}
DROPPING = {
    "drop": [rule(DROP)],
    "reject": [rule({"counter": {}}, {"reject": {"type": "icmp"}})],
    "queue": [rule({"queue": {"num": 1}})],
    "bare reject": [rule({"reject": None})],
    "jump": [side("a"), rule(jump("a")), rule(DROP, chain="a")],
    "a cycle behind a goto": [
        *(side("a"), side("b"), rule({"goto": {"target": "a"}}), rule(jump("b"), chain="a")),
        *(rule(jump("a"), chain="b"), rule(DROP, chain="b")),
    ],
    "jump to an unknown chain": [rule(jump("gone"))],
    "anonymous chain": [rule("jump {\n drop\n}")],
    "verdict map": [side("a"), rule({"vmap": BY_STATE}), rule(DROP, chain="a")],
    "named verdict map": [rule({"vmap": {"key": L4, "data": "@named"}})],
    "odd verdict map": [rule({"vmap": {"key": L4, "data": {"set": ["odd"]}}})],
    "xt REJECT": [rule({"xt": {"type": "target", "name": "REJECT"}})],
    "xt without a name": [rule({"xt": None})],
    "any transport": [rule(match(payload("th", "dport"), 1), DROP)],
    "VRRP by name": [rule(match(L4, "vrrp"), DROP)],
    "VRRP in a set": [rule(match(L4, {"set": ["tcp", 112]}), DROP)],
    "named set": [rule(match(L4, "@named"), DROP)],
    "all but TCP": [rule(match(L4, "tcp", "!="), DROP)],
    "range": [rule(match(L4, {"range": [1, 200]}), DROP)],
    "ct state": [rule(match(STATES, "invalid"), DROP)],
}
HARMLESS = {
    "empty": [],
    "a chain nobody jumps to": [side("a"), rule(DROP, chain="a")],
    "a chain that jumps to itself": [side("a"), rule(jump("a")), rule(jump("a"), chain="a")],
    "TCP": [rule(match(L4, "tcp"), DROP)],
    "TCP and UDP": [rule(match(L4, {"set": ["tcp", 17]}), DROP)],
    "all but VRRP": [rule(match(L4, 112, "!="), DROP)],
    "all but TCP and VRRP": [rule(match(L4, {"set": ["tcp", "vrrp"]}, "!="), DROP)],
    "a TCP port": [rule(match(payload("tcp", "dport"), 22), DROP)],
    "UDP": [rule(match(payload("ip", "protocol"), "udp"), DROP)],
    "TCP 6": [rule(match(payload("ip6", "nexthdr"), "tcp"), {"reject": None})],
    "xt LOG": [rule({"xt": {"type": "target", "name": "LOG"}})],
    "xt match": [rule({"xt": {"type": "match", "name": "comment"}})],
    "xt match without a name": [rule({"xt": None}, ACCEPT)],
    "log": [rule({"log": {}}, {"limit": {"rate": 1}})],
}


@pytest.mark.parametrize("objects", DROPPING.values(), ids=DROPPING)
def test_a_base_chain_that_could_drop_vrrp_gets_a_rule(objects: list[object]) -> None:
    """Directly, or through any number of other chains; in doubt, too."""
    assert needed(chain(), *objects) == INSERTED


@pytest.mark.parametrize("objects", HARMLESS.values(), ids=HARMLESS)
def test_a_base_chain_that_cannot_drop_vrrp_is_left_alone(objects: list[object]) -> None:
    """Nothing inserted, nothing removed."""
    assert needed(chain(), *objects) == []


def test_a_policy_counts_where_a_chain_is_at_the_hook() -> None:
    """It drops by itself; elsewhere VRRP does not come by."""
    assert needed(CLOSED) == INSERTED
    assert needed(chain(hook="forward", policy="drop")) == []
    assert needed(chain(hook=None, policy="drop")) == []


def test_each_family_gets_its_addresses_and_each_hook_its_side() -> None:
    """Peers are where packets come from at the input, and where they go at the output."""
    wanted = frozenset({GROUP, GROUP6, PEER})
    expected = ["+ input daddr 224.0.0.18", "+ input saddr 192.0.2.2"]
    assert needed(chain(family="ip", policy="drop"), wanted=wanted) == expected
    assert needed(chain(family="ip6", policy="drop"), wanted=wanted) == ["+ input daddr ff02::12"]
    output = chain(hook="output", policy="drop")
    expected = ["+ input daddr ff02::12", "+ input daddr 224.0.0.18", "+ input daddr 192.0.2.2"]
    assert needed(output, wanted=wanted) == expected


def test_tables_without_a_hook_of_ours_are_not_listed() -> None:
    """Nor those of other families, nor iptables' nat tables, where DROP is refused."""
    objects = [
        chain("c", family, table=table, type=kind, hook=hook)
        for family, table, kind, hook in (
            ("ip", "nat", "nat", "output"),
            ("ip", "filter", "filter", "input"),
            ("inet", "nat", "nat", "input"),
            ("ip6", "own", "nat", "output"),
            ("bridge", "b", "filter", "input"),
            ("inet", "f", "filter", "forward"),
        )
    ]
    expected = ["inet nat", "ip filter", "ip6 own"]
    assert [str(each) for each in ruleset.tables_to_look_at(entries(*objects))] == expected


# --- which rules of ours ------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["vrrp", 112, "112"])
def test_rules_that_are_there_are_kept(protocol: object) -> None:
    """However nft writes the protocol, and behind rules that cannot drop VRRP."""
    objects = [CLOSED, rule(match(L4, "tcp"), DROP), ours(protocol=protocol)]
    assert needed(*objects) == []


TWO_ADDRESSES = [
    match(payload("ip", "saddr"), "192.0.2.9"),
    match(payload("ip", "daddr"), str(GROUP)),
]
CASES: dict[str, tuple[list[object], list[str]]] = {
    "behind a drop": ([CLOSED, rule(DROP), ours(handle=9)], MOVED),
    "no drop any more": ([chain(), ours(handle=9)], REMOVED),
    "there twice": ([CLOSED, ours(), ours(handle=9)], REMOVED),
    "a peer that is gone": ([CLOSED, ours(), ours("192.0.2.2", "saddr", handle=9)], REMOVED),
    "the wrong side": ([CLOSED, ours(field="saddr", handle=9)], MOVED),
    "our comment, another rule": ([CLOSED, rule(DROP, comment=TAG, handle=9)], MOVED),
    "our comment, another protocol": ([CLOSED, ours(protocol="tcp", handle=9)], MOVED),
    "our comment, no address": ([CLOSED, ours("not an address", handle=9)], MOVED),
    "our comment, two addresses": (
        [CLOSED, rule(match(L4, "vrrp"), *TWO_ADDRESSES, ACCEPT, comment=TAG, handle=9)],
        MOVED,
    ),
    "another agent's": ([CLOSED, ours(comment=f"{TAG} two")], INSERTED),
    "without a comment": ([CLOSED, ours(comment="")], INSERTED),
}


@pytest.mark.parametrize(("objects", "expected"), CASES.values(), ids=CASES)
def test_rules_of_ours_that_are_of_no_use_are_removed(
    objects: list[object], expected: list[str]
) -> None:
    """Only ours, told by the whole comment; one that has effect stays."""
    assert needed(*objects) == expected


def test_wanting_nothing_removes_everything_of_ours() -> None:
    """In every base chain of the table."""
    objects = [CLOSED, ours(handle=4), ours(comment="x"), chain("o", hook="output")]
    objects += [ours(chain="o", handle=6)]
    assert needed(*objects, wanted=frozenset()) == ["- input 4", "- o 6"]


def test_commands_insert_before_they_delete_and_stay_below_the_limit() -> None:
    """An argument of a program holds 128 KiB; the order loses no packet."""
    peers = frozenset(ip_address(f"10.0.{n // 250}.{n % 250}") for n in range(401))
    change = accept_rules.plan(entries(CLOSED, ours("9.9.9.9", "saddr", handle=3)), peers, TAG)
    assert change is not None
    commands = change_rules(change, TAG)
    assert [
        [next(iter(each)) for each in json.loads(text)["nftables"]] for _, text in commands
    ] == [["insert"] * 200, ["insert"] * 200, ["insert", "delete"]]
    assert max(len(text) for _, text in commands) < 1 << 17


# --- reading ------------------------------------------------------------------------------------


def test_chains_and_rules_are_read() -> None:
    """Everything else is passed over."""
    table = Table(family="inet", name="t")
    objects = [{"table": {"family": "inet", "name": "t"}}, CLOSED, side("a")]
    expected: list[Entry] = [
        Chain(table=table, name="input", hook=ruleset.Hook.INPUT, drops_by_policy=True),
        Chain(table=table, name="a"),
        ruleset.Rule(
            table=table,
            chain="input",
            handle=7,
            comment=TAG,
            accepts=ruleset.Accepted(field="daddr", address=GROUP),
        ),
    ]
    assert entries(*objects, ours()) == expected


def test_output_without_spaces_and_several_documents_are_read() -> None:
    """Spacing is a matter of nft's version."""
    compact = json.dumps({"nftables": [chain()]}, separators=(",", ":"))
    spread = json.dumps({"nftables": [side("a")]}, indent=2)
    names = [
        each.name for each in ruleset.read(f"{compact}\n{spread}\n") if isinstance(each, Chain)
    ]
    assert names == ["input", "a"]


@pytest.mark.parametrize(
    "text",
    ["nft: segfault", '{"nftables": [{"chain": {', '{"nftables": [{"rule": {}}]}', "[" * 200_000],
    ids=["words", "cut off", "rule without a place", "deep"],
)
def test_what_is_no_ruleset_is_refused(text: str) -> None:
    """With an error in words."""
    with pytest.raises(ruleset.RulesetError, match="cannot read nft's output"):
        list(ruleset.read(text))


# --- names --------------------------------------------------------------------------------------


def test_the_tag_is_plain_where_the_name_is() -> None:
    """An operator finds the deployment's name in the comment."""
    assert tag_for("OpenShift-IPFailover") == "ipfailover-agent OpenShift-IPFailover"


def test_odd_and_long_names_get_a_tag_of_their_own() -> None:
    """At most 100 characters that need no quoting, different for different names."""
    names = ['a"b', "a'b", "x" * 300, "x" * 301]
    tags = [tag_for(each) for each in names]
    assert len(set(tags)) == len(names)
    assert max(map(len, tags)) <= 100
    assert not any(set(each) & set("\"'") for each in tags)


def test_groups_of_the_served_families_and_all_peers_are_wanted() -> None:
    """The group even in unicast mode: a node that was not changed yet still speaks to it."""
    others = (PEER, ip_address("192.0.2.3"))
    settings = Settings(virtual_addresses=(ip_address("192.0.2.9"),), unicast_peers=others)
    config = planner.plan(settings, host_facts({"ens3": ["192.0.2.1/24"]}))
    assert accept_rules.wanted_addresses(config) == {GROUP, *others}


# --- a look, driven by hand ---------------------------------------------------------------------


class Driver:
    """Drives a look by hand: the reports, and every run of nft."""

    def __init__(
        self, generations: list[int] | None = None, owned: frozenset[Table] = frozenset()
    ) -> None:
        self.reports: list[accept_rules.Report] = []
        self.runs: list[tuple[str, ...]] = []
        self.steps = accept_rules.Look(
            wanted=frozenset({GROUP}),
            tag=TAG,
            generation=lambda: generations.pop(0) if generations else 1,
            owned=lambda: owned,
            report=self.reports.append,
        ).steps()

    def drive(self, nft: Callable[[tuple[str, ...]], Output]) -> Driver:
        """Look until it is over."""
        with contextlib.suppress(StopIteration):
            arguments = next(self.steps)
            while True:
                assert arguments is not None
                self.runs.append(arguments)
                arguments = self.steps.send(nft(arguments))
        return self


def is_change(arguments: tuple[str, ...]) -> bool:
    """Tell whether a run changes anything."""
    return "insert" in arguments[-1] or "delete" in arguments[-1]


def showing(*objects: object) -> Callable[[tuple[str, ...]], Output]:
    """Return an nft that shows these objects and takes every change."""
    text = text_of(*objects)
    return lambda arguments: Output(exit_code=0, text="" if is_change(arguments) else text)


def test_a_look_inserts_and_tells() -> None:
    """Chains, the table, the change: three runs."""
    driver = Driver().drive(showing(CLOSED, ours("192.0.2.2", "saddr")))
    expected = [
        RuleInserted(table="inet t", chain="input", address=GROUP),
        RuleRemoved(table="inet t", chain="input", address=PEER),
    ]
    assert (expected, 3) == (driver.reports, len(driver.runs))


def test_a_look_that_finds_everything_in_place_changes_nothing() -> None:
    """Two runs, both of them lists."""
    driver = Driver().drive(showing(CLOSED, ours()))
    assert ([], [False, False]) == (driver.reports, [is_change(each) for each in driver.runs])


def test_nothing_is_deleted_while_the_rules_change() -> None:
    """A handle may mean another rule by then: the table is listed again first, twice at most."""
    nft = showing(CLOSED, ours(), rule(comment=TAG, handle=9))
    assert len(Driver([1, 2, 2, 2]).drive(nft).runs) == 1 + 1 + 2
    assert len(Driver([1, 2, 3, 4, 5, 6]).drive(nft).runs) == 1 + 1 + 1 + 2


def test_a_list_that_fails_is_told() -> None:
    """One failure for all tables, in nft's own words."""
    errors = "\nError: cannot open\nlist chains\n^^^\n"
    driver = Driver().drive(lambda _: Output(exit_code=1, errors=errors))
    assert ([LookFailed(reason="Error: cannot open")], 1) == (driver.reports, len(driver.runs))
    driver = Driver().drive(lambda _: Output(exit_code=None))
    assert driver.reports == [LookFailed(reason="nft ended without a word")]
    assert len(Driver().drive(lambda _: Output(exit_code=0, text="?")).reports) == 1


def test_a_table_that_refuses_is_tried_again_and_told() -> None:
    """Three times, then by its name."""

    def nft(arguments: tuple[str, ...]) -> Output:
        if is_change(arguments):
            return Output(exit_code=1, errors="internal:0:0-0: Error: Operation not permitted")
        return showing(CLOSED)(arguments)

    driver = Driver().drive(nft)
    expected = [LookFailed(table="inet t", reason="Error: Operation not permitted")]
    assert (expected, 1 + 3 * 2 + 1) == (driver.reports, len(driver.runs))


FIREWALLD_S_WAY = (
    "firewall-cmd --permanent --add-protocol=vrrp (with the --zone of the interface), "
    "then firewall-cmd --reload"
)


@pytest.mark.parametrize(
    ("name", "words"),
    [("t", "have that program accept protocol 112"), ("firewalld", FIREWALLD_S_WAY)],
)
def test_a_table_with_an_owner_is_told_with_what_to_do(name: str, words: str) -> None:
    """Nobody else may change it: nft's own words are no help."""
    table = Table(family="inet", name=name)

    def nft(arguments: tuple[str, ...]) -> Output:
        if is_change(arguments):
            return Output(exit_code=1, errors="Error: Operation not permitted")
        shown = showing(CLOSED)(arguments)
        return replace(shown, text=shown.text.replace('"t"', f'"{name}"'))

    driver = Driver(owned=frozenset({table})).drive(nft)
    reason = f"only the program that owns the table can change it (flag owner): {words}"
    assert [LookFailed(table=f"inet {name}", reason=reason)] == driver.reports


def test_a_table_that_vanished_meanwhile_is_no_failure() -> None:
    """A firewall's reload takes its tables away for a moment."""
    driver = Driver()

    def nft(arguments: tuple[str, ...]) -> Output:
        if arguments != LIST_CHAINS:
            return Output(exit_code=1, errors="Error: No such file or directory")
        return Output(exit_code=0, text=text_of(*([chain()] if len(driver.runs) == 1 else [])))

    driver.drive(nft)
    assert ([], 5) == (driver.reports, len(driver.runs))


def test_an_nft_that_fails_altogether_says_nothing_of_a_single_table() -> None:
    """Whether the table is still there cannot be told; the next look fails for all of them."""
    outputs = [Output(exit_code=0, text=text_of(chain())), *[Output(exit_code=1)] * 4]
    driver = Driver().drive(lambda _: outputs.pop(0))
    assert ([], 5) == (driver.reports, len(driver.runs))


def test_a_long_list_is_read_in_slices() -> None:
    """A pause for each 200 objects: others have deadlines."""
    steps = Driver().steps
    assert LIST_CHAINS == next(steps)
    text = text_of(*(side(f"c{number}") for number in range(1000)))
    assert steps.send(Output(exit_code=0, text=text)) is None
    assert [None] * 4 == list(steps)
