"""Properties of reading rulesets and of planning changes."""

from __future__ import annotations

import contextlib
import json
from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.firewall.accept_rules import plan
from ipfailover_agent.firewall.nft_commands import change_rules
from ipfailover_agent.firewall.ruleset import Rule, RulesetError, TableRules, read
from tests.support.nft_json import ACCEPT, DROP, chain, entries, jump, rule, side

TAG = "ipfailover-agent lab"
WANTED = ["224.0.0.18", "ff02::12", "192.0.2.2", "2001:db8::2"]
NAMES = ["input", "output", "a", "b", "c"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
words = st.sampled_from(
    (
        *("match", "left", "right", "op", "==", "payload", "protocol", "ip", "daddr", "vmap"),
        *("data", "set", "jump", "target", "drop", "xt", "type", "name", "accept", "meta", "key"),
    )
)
any_statements = st.recursive(
    st.none() | words | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
verdicts = st.one_of(
    st.sampled_from([DROP, {"reject": None}, ACCEPT, {"counter": {}}]),
    st.sampled_from(NAMES).map(jump),
    st.sampled_from(NAMES).map(lambda name: {"goto": {"target": name}}),
)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a table of five chains, two of them base chains, and rules with any jumps."""
    family = draw(st.sampled_from(["ip", "ip6", "inet"]))
    objects: list[dict[str, Any]] = []
    for name in NAMES:
        policy = draw(st.sampled_from(["accept", "drop"]))
        is_base = name in {"input", "output"}
        objects.append(
            chain(name, family, hook=name, policy=policy) if is_base else side(name, family)
        )
    for handle in range(draw(st.integers(0, 8))):
        comment, name = draw(st.sampled_from(["", TAG, "other"])), draw(st.sampled_from(NAMES))
        statements = draw(st.lists(verdicts | any_statements, max_size=3))
        objects.append(
            rule(*statements, chain=name, family=family, handle=handle, comment=comment)
        )
    return objects


def carried_out(
    objects: list[dict[str, Any]], commands: tuple[tuple[str, ...], ...]
) -> list[dict[str, Any]]:
    """Do to the objects what nft would."""
    chains = [each for each in objects if "chain" in each]
    rules = [each for each in objects if "rule" in each]
    handle = 1000
    for _, text in commands:
        for command in json.loads(text)["nftables"]:
            if "insert" in command:
                handle += 1
                rules.insert(0, {"rule": {**command["insert"]["rule"], "handle": handle}})
            else:
                gone = command["delete"]["rule"]
                rules = [
                    each
                    for each in rules
                    if (each["rule"]["chain"], each["rule"]["handle"])
                    != (gone["chain"], gone["handle"])
                ]
    return chains + rules


@given(st.text() | json_values.map(json.dumps) | st.text().map(lambda text: text.join("[{}]")))
def test_no_text_does_more_than_raise_a_ruleset_error(text: str) -> None:
    """Whatever nft prints, the agent goes on."""
    with contextlib.suppress(RulesetError):
        list(read(text))


@given(st.lists(any_statements), st.text())
def test_no_rule_makes_reading_or_planning_fail(expr: list[object], comment: str) -> None:
    """Statements of a version to come are understood as well as it goes."""
    found = entries(chain(), rule(*expr, comment=comment))
    plan(found, frozenset({ip_address(WANTED[0])}), TAG)


@given(tables(), st.sets(st.sampled_from(WANTED)))
def test_a_plan_carried_out_leaves_nothing_to_do(
    objects: list[dict[str, Any]], wanted: set[str]
) -> None:
    """Looking again changes nothing; nothing wanted then removes exactly what is ours."""
    addresses = frozenset(map(ip_address, wanted))
    change = plan(entries(*objects), addresses, TAG)
    after = carried_out(objects, change_rules(change, TAG) if change else ())
    assert plan(entries(*after), addresses, TAG) is None
    foreign = [each for each in objects if each.get("rule", {}).get("comment") != TAG]
    removal = plan(entries(*after), frozenset(), TAG)
    bare = carried_out(after, change_rules(removal, TAG) if removal else ())
    in_base = {"input", "output"}
    left = [
        each
        for each in bare
        if each.get("rule", {}).get("comment") != TAG or each["rule"]["chain"] not in in_base
    ]
    assert left == bare
    assert [each for each in bare if each.get("rule", {}).get("comment") != TAG] == foreign


@given(tables())
def test_a_chain_may_drop_exactly_where_a_walk_through_it_finds_a_drop(
    objects: list[dict[str, Any]],
) -> None:
    """The same as following every jump from the base chain on, naively."""
    read_back = entries(*objects)
    rules = TableRules(read_back)
    by_chain: dict[str, list[Rule]] = {}
    for each in read_back:
        if isinstance(each, Rule):
            by_chain.setdefault(each.chain, []).append(each)

    def walk(name: str, path: tuple[str, ...]) -> bool:
        return any(
            each.may_drop
            or any(target not in path and walk(target, (*path, target)) for target in each.targets)
            for each in by_chain.get(name, ())
        )

    for base in rules.base_chains:
        expected = base.drops_by_policy or walk(base.name, (base.name,))
        assert rules.chain_may_drop(base) == expected
