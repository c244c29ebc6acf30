"""After a reload the agent looks whether keepalived does what was planned."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from signal import Signals

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, ConfigMap, stays, variables
from tests.support.waiting import wait_until

TEMPLATES = Path(__file__).parents[2] / "templates"


def test_a_reload_that_keepalived_does_not_carry_out_is_rolled_back(pair: Lab) -> None:
    """A template that loses an address: refused with what differs, and all is as before."""
    addresses = pair.numbered(2)
    templates = pair.directory / "templates"
    shutil.copytree(TEMPLATES, templates)
    source = ConfigMap(pair.directory / "variables", variables(*addresses))
    more = {"IPFAILOVER_TEMPLATE_DIR": str(templates), "OPENSHIFT_HA_PREEMPTION": "preempt"}
    pair.start_ranked({**source.unwatched, **more})
    first, second = pair.nodes
    pair.wait_for_each(addresses, timeout=ELECTION, among=[first])
    template = templates / "keepalived.conf.j2"
    whole = template.read_text()
    there = "(held.interface or each.interface)"
    assert there in whole
    template.write_text(
        whole.replace(there, f"('lo' if (held.address | string) == '{addresses[1]}' else {there})")
    )
    source.write(variables(*addresses, pair.virtual(3)))
    began = time.monotonic()
    verdict = first.reload(code=78)
    print(verdict, f"after {time.monotonic() - began:.1f} s")
    assert "rolled back" in verdict
    assert f"{addresses[1]} is not on eth0" in verdict
    wait_until(lambda: first.events("config.restored"), 10, "it is restored")
    template.write_text(whole)
    pair.wait_for_each(addresses, timeout=ELECTION)
    assert second.status()["phase"] == "running"


def test_a_first_step_that_nobody_can_see_is_taken_back_before_others_take_over(pair: Lab) -> None:
    """keepalived cannot answer: what that step parked is back, the rest has no event."""
    addresses = [*pair.numbered(3), *pair.numbered6(2)]
    source = ConfigMap(pair.directory / "variables", variables(*addresses))
    pair.start_ranked(source.unwatched)
    first, _ = pair.nodes
    pair.wait_for_each(addresses, timeout=ELECTION, among=[first])
    one, two, three, six, seven = addresses
    source.write(variables(two, one, three, seven, six))
    assert first.run_in_container(["rm", "-r", "/run/ipfailover-agent/tmp"]).returncode == 0
    began = time.monotonic()
    first.signal(Signals.SIGHUP)
    wait_until(lambda: first.events("config.restored"), 10, "it is restored")
    pair.wait_for_each(addresses, timeout=3, among=[first])
    stays(2)  # the others' contests
    pair.wait_for_each(addresses, timeout=0.5, among=[first])
    gone = {each: pair.recorder.seconds_with_none(each, since=began) for each in addresses}
    print({each: f"{seconds:.2f} s" for each, seconds in gone.items()})
    assert [pair.recorder.changes(each, since=began) for each in (one, three)] == [(), ()]
    assert {change.node for each in addresses for change in pair.recorder.changes(each)} == {
        first.name
    }


@pytest.mark.timing
def test_a_good_reload_is_verified_at_once(lone: Lab, node: Node) -> None:
    """Additions, removals, circles and renames: accepted, within a second each."""
    addresses = [*lone.numbered(4), lone.virtual6(1)]
    source = ConfigMap(lone.directory / "variables", variables(*addresses))
    node.start(source.unwatched)
    lone.wait_for_each(addresses, timeout=ELECTION)
    a, b, c, d, six = addresses
    for after, more in (
        ([a, b, c, d, six, lone.virtual(5)], {}),
        ([a, c, d, six], {}),
        ([six, d, c, a], {}),
        ([c, six, a, d], {}),
        ([c, six, a, d], {"CONFIG_NAME": "other"}),
        ([a, c, d], {"CONFIG_NAME": "other", "VIP_GROUPS": "2"}),
    ):
        source.write(variables(*after, **more))
        began = time.monotonic()
        verdict = node.reload()
        taken = time.monotonic() - began
        print(f"{len(after)} addresses: {taken:.2f} s")
        assert taken < 2
        assert verdict.startswith("reload accepted")
        lone.wait_for_each(after, timeout=ELECTION)
        stays(0.5)
    assert sorted(node.virtual_addresses()) == sorted(f"{each}/32" for each in (a, c, d))
    assert not node.events("config.restored")
