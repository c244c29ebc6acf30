"""A list of grouped addresses that changes node by node: how long two hold one, or no node does.

Nodes that have the old list and nodes that have the new one refuse each other's adverts. The
contest bounds what comes of that.
"""

from __future__ import annotations

import contextlib
import json
import time

import pytest

from tests.lab.kit.lab import Lab, MakeLab
from tests.lab.kit.scenarios import ELECTION, ConfigMap, stays, variables

GROUPS = "2"
#: What the contest bounds two holders by, and one planned handover.
TWO, NONE = 2.0, 0.55
#: Two holders, at a time, while an address has two ids: 0.5 s, or a round of announcements more.
SHIFTED = 1.0
#: What a machine with nothing else to do adds to either; its measured lateness comes on top.
SLACK = 0.25


def edits(lab: Lab) -> dict[str, tuple[list[str], list[str]]]:
    """Return the list before and after, by what is done to it."""
    old = lab.numbered(6)
    return {
        "add": (old, [*old, lab.virtual(7)]),
        "remove": (old, [each for each in old if each != old[1]]),
        "replace": (old, [*old[:5], lab.virtual(8)]),
    }


def group(address: str, addresses: list[str]) -> int:
    """Return which of the two groups an address is dealt to: the first is the larger one."""
    return int(addresses.index(address) >= (len(addresses) + 1) // 2)


def start(lab: Lab, addresses: list[str], *, spread: bool, groups: str = GROUPS) -> ConfigMap:
    """Start every node: the first one holds everything, or each what falls to it."""
    source = ConfigMap(lab.directory / "variables", variables(*addresses, VIP_GROUPS=groups))
    if spread:
        lab.start_everywhere({**source.unwatched, "OPENSHIFT_HA_PREEMPTION": "preempt"})
    else:
        lab.start_ranked(source.unwatched)
    lab.wait_for_each(addresses, timeout=ELECTION)
    if spread:
        stays(3)  # who is to hold them takes them
    return source


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "pause", "spread"),
    [
        pytest.param((0, 1, 2), 6.0, False, id="holder first"),
        pytest.param((2, 1, 0), 6.0, False, id="holder last"),
        pytest.param((1, 0, 2), 1.5, False, id="holder second, quickly"),
        pytest.param((0, 1, 2), 2.5, True, id="two holders"),
    ],
)
@pytest.mark.parametrize("edit", ["add", "remove", "replace"])
def test_a_grouped_list_changes_node_by_node(
    make_lab: MakeLab,
    edit: str,
    order: tuple[int, ...],
    pause: float,
    spread: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Meanwhile what is in both lists keeps within the bounds; afterwards each has one holder."""
    lab = make_lab(3, ipv6=False)
    before, after = edits(lab)[edit]
    lasting = [each for each in before if each in after]
    # What moves to another group, with another holder, is on no node until that one is reloaded.
    staying = [each for each in lasting if not spread or group(each, before) == group(each, after)]
    source = start(lab, before, spread=spread)
    source.write(variables(*after, VIP_GROUPS=GROUPS))
    with contextlib.ExitStack() as stack:
        watches = [stack.enter_context(lab.client.watch(each)) for each in staying]
        began = time.monotonic()
        for number in order:
            lab.nodes[number].reload()
            stays(pause)
        lab.wait_for_each(after, timeout=30)
        stays(2.5)  # two adverts: refused ones would make a second holder
        outages = [each.outages(threshold=0.2, since=began) for each in watches]
    lab.wait_for_each(after, timeout=1)
    two = {each: lab.recorder.seconds_with_two(each, since=began) for each in lasting}
    none = {each: lab.recorder.seconds_with_none(each, since=began) for each in staying}
    silent = [max((each.seconds for each in some), default=0.0) for some in outages]
    print(f"two at most {max(two.values()):.2f} s, none {max(none.values()):.2f} s")
    print(f"the client heard nothing for {max(silent):.2f} s at most")
    print(lab.recorder.describe())
    slack = SLACK + lab.recorder.lateness
    assert max(two.values()) <= TWO + slack
    assert max(none.values()) <= NONE + slack
    assert max(silent) <= NONE + slack


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "groups", "order"),
    [
        pytest.param("remove", GROUPS, (2, 1, 0), id="groups, holder last"),
        pytest.param("replace", GROUPS, (0, 1, 2), id="groups, holder first"),
        pytest.param("remove", "0", (1, 0, 2), id="ids shift, holder second"),
    ],
)
def test_with_all_nodes_but_one_drained_a_change_costs_one_planned_handover(
    make_lab: MakeLab, edit: str, groups: str, order: tuple[int, ...]
) -> None:
    """At a time; also where addresses change their group or their id. No two hold one."""
    lab = make_lab(3, ipv6=False)
    before, after = edits(lab)[edit]
    lasting = [each for each in before if each in after]
    source = start(lab, before, spread=True, groups=groups)
    began = time.monotonic()
    for node in lab.nodes[1:]:
        assert node.ask("drain").returncode == 0
    lab.wait_for_each(before, timeout=2, among=[lab.nodes[0]])
    source.write(variables(*after, VIP_GROUPS=groups))
    for number in order:
        lab.nodes[number].reload()
        stays(1)
    lab.wait_for_each(after, timeout=5)
    for node in lab.nodes[1:]:
        assert node.ask("undrain").returncode == 0
    stays(4)  # who is to hold them takes them
    lab.wait_for_each(after, timeout=1)
    two = {each: lab.recorder.seconds_with_two(each, since=began) for each in lasting}
    none = {each: lab.longest_gap(each, began) for each in lasting}
    print(f"two at most {max(two.values()):.2f} s, none {max(none.values()):.2f} s at a time")
    slack = SLACK + lab.recorder.lateness
    assert max(two.values()) <= slack
    assert max(none.values()) <= NONE + slack


def longest_double(lab: Lab, address: str, since: float) -> float:
    """Return the longest time in one piece for which two or more nodes held an address."""
    holding = set(lab.recorder.holders(address, at=since))
    longest, begin = 0.0, since
    for each in lab.recorder.changes(address, since=since):
        if len(holding) > 1:
            longest = max(longest, each.time - begin)
        was_double = len(holding) > 1
        (holding.add if each.held else holding.discard)(each.node)
        begin = begin if was_double else each.time
    return longest


@pytest.mark.timing
def test_while_ids_shift_one_of_two_holders_yields_in_a_second(make_lab: MakeLab) -> None:
    """Nodes that have an address under two ids keep each other's adverts from being sent.

    From the first to the last node, and in another cluster from the last to the first.
    """
    labs = [make_lab(3, ipv6=False) for _ in range(2)]
    before, after = edits(labs[0])["remove"]
    for lab in labs:
        start(lab, before, spread=True, groups="0").write(variables(*after, VIP_GROUPS="0"))
    began = time.monotonic()
    for one, other in zip(labs[0].nodes, reversed(labs[1].nodes), strict=True):
        one.reload()
        other.reload()
        stays(6)  # an election, and the contest after it
    for lab in labs:
        lab.wait_for_each(after, timeout=30)
        double = max(longest_double(lab, each, began) for each in after)
        print(f"two for at most {double:.2f} s at a time")
        print(lab.recorder.describe(since=began))
        assert double <= SHIFTED + SLACK + lab.recorder.lateness


@pytest.mark.slow
def test_with_pinned_ids_an_address_is_removed_and_nobody_notices(pair: Lab) -> None:
    """What ``plan`` proposes is set everywhere, then the list changes: no event for the rest."""
    before = pair.numbered(4)
    after = [each for each in before if each != before[1]]
    source = ConfigMap(pair.directory / "variables", variables(*before))
    pair.start_everywhere(source.unwatched)
    pair.wait_for_each(before, timeout=ELECTION)
    stays(2)
    wanted = pair.directory / "wanted.env"
    wanted.write_text(f"OPENSHIFT_HA_VIRTUAL_IPS={','.join(after)}\n")
    found = json.loads(pair.nodes[0].ask("plan", "--json", "--config", str(wanted)).stdout)
    pins = found["pin_ids"]
    began = time.monotonic()
    for values in (variables(*before, VRRP_IDS=pins), variables(*after, VRRP_IDS=pins)):
        source.write(values)
        for node in pair.nodes:
            node.reload()
            stays(4)  # a takeover, should one come
    pair.wait_for_each(after, timeout=1)
    assert [pair.recorder.changes(each, since=began) for each in after] == [(), (), ()]
    assert pair.recorder.holders(before[1]) == []
