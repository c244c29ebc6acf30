"""When a change of what is watched counts."""

from __future__ import annotations

import itertools
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ipfailover_agent.model import ScriptState
from ipfailover_agent.supervisor import debounce
from ipfailover_agent.supervisor.debounce import Debounce, describe_node
from tests.support.vectors import host_facts

EVERY = 2.0


def changes(looks: str) -> str:
    """Return the looks that were handled; a capital letter is handled by somebody else."""
    state, found = Debounce(every=EVERY), ""
    for number, look in enumerate(looks):
        if look.isupper():
            state = debounce.handled(state, look.lower())
            continue
        state, is_due = debounce.step(state, look, float(number))
        assert number + EVERY == state.deadline
        found += look if is_due else ""
    return found


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param("aaaa", "", id="nothing changes"),
        pytest.param("abb", "b", id="seen twice"),
        pytest.param("abbbbb", "b", id="and then no more, whatever became of it"),
        pytest.param("aba", "", id="gone after one look"),
        pytest.param("abcdd", "d", id="still being written"),
        pytest.param("abbaa", "ba", id="and back again"),
        pytest.param("abBbb", "", id="a signal came in between"),
        pytest.param("aBbb", "", id="a signal came before the first look"),
        pytest.param("abBcc", "c", id="and then it changed once more"),
    ],
)
def test_a_change_counts_once_two_looks_agree_on_it(looks: str, expected: str) -> None:
    """What was handled is not handled again until it changes."""
    assert expected == changes(looks)


@given(st.text("abc", max_size=30))
def test_nothing_is_handled_twice_in_a_row_nor_missed(looks: str) -> None:
    """Whatever comes, and then stays: the last thing handled is what is there."""
    found = changes(looks)
    assert all(one != other for one, other in itertools.pairwise(found))
    if looks:
        settled = looks + looks[-1] * 2
        assert looks[-1] == (looks[0] + changes(settled))[-1]


NODE = {"eth0": ["10.0.0.11/24"], "eth1": []}
VIRTUAL = (ip_address("10.0.0.101"),)


def look(interfaces: dict[str, list[str]], route: str = "default via 10.0.0.1 dev eth0") -> str:
    return describe_node(host_facts(interfaces, [route]), VIRTUAL)


def test_our_own_addresses_are_no_change_of_the_node() -> None:
    """They come and go with every election, and their lifetimes every second."""
    assert look(NODE) == look({**NODE, "eth0": ["10.0.0.11/24", "10.0.0.101/32"]})


@pytest.mark.parametrize(
    "after",
    [
        pytest.param({**NODE, "eth0": ["10.0.0.12/24"]}, id="another address"),
        pytest.param({**NODE, "eth0": ["10.0.0.11/25"]}, id="another network"),
        pytest.param({"ens3": ["10.0.0.11/24"], "eth1": []}, id="another name"),
        pytest.param({"eth0": [], "eth1": ["10.0.0.11/24"]}, id="moved under a bridge"),
        pytest.param({**NODE, "eth2": []}, id="one more interface"),
    ],
)
def test_what_the_plan_may_depend_on_is_a_change(after: dict[str, list[str]]) -> None:
    """Whether it does is for the plan to say."""
    assert look(NODE) != look(after)


def test_a_nodes_address_that_comes_to_this_node_is_a_change() -> None:
    """Wherever it is; a virtual one is not."""
    facts = host_facts(NODE, [])
    peer = replace(facts, local_addresses=frozenset({ip_address("10.8.0.1"), *VIRTUAL}))
    assert describe_node(facts, VIRTUAL) != describe_node(peer, VIRTUAL)
    virtual = replace(facts, local_addresses=frozenset(VIRTUAL))
    assert describe_node(facts, VIRTUAL) == describe_node(virtual, VIRTUAL)


def test_routes_and_scripts_are_looked_at_too() -> None:
    """The default route chooses the interface; a missing check script may come back."""
    assert look(NODE) != look(NODE, "default via 10.0.0.1 dev eth1")
    facts = host_facts(NODE, [])
    missing = replace(facts, check_script=ScriptState.MISSING)
    assert describe_node(missing, ()) != describe_node(
        replace(facts, check_script=ScriptState.USABLE), ()
    )
