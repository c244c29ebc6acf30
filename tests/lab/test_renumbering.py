"""A reload that renumbers while something is held: what is meant for one hits no other."""

from __future__ import annotations

import time

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, ConfigMap, stays, variables


def drained(lab: Lab, address: str, addresses: list[str], **more: str) -> ConfigMap:
    """Have the only node serve all addresses but one, which is drained by force."""
    (node,) = lab.nodes
    source = ConfigMap(lab.directory / "variables", variables(*addresses, **more))
    node.start(source.unwatched)
    lab.wait_for_each(addresses, timeout=ELECTION)
    done = node.ask("drain", "--force", address)
    assert done.returncode == 0, done.stdout + done.stderr
    lab.wait_for_none([address], on=node, timeout=2)
    return source


@pytest.mark.slow
def test_a_drain_stays_with_its_address_when_instances_get_other_names(
    lone: Lab, node: Node
) -> None:
    """Pinned ids: the first address is removed, the others change nothing but their names."""
    first, second, third = lone.numbered(3)
    pins = ",".join(f"{each}={20 + n}" for n, each in enumerate((second, third)))
    source = drained(lone, third, [first, second, third], VRRP_IDS=pins)
    source.write(variables(second, third, VRRP_IDS=pins))
    began = time.monotonic()
    node.reload()
    stays(5)  # longer than a master-down time: what was let go would be served
    assert lone.recorder.changes(second, since=began) == ()
    assert lone.recorder.changes(third, since=began) == ()
    assert node.ask("undrain").returncode == 0
    lone.wait_for_each([second, third], timeout=ELECTION)


def test_an_address_that_gets_the_instance_of_a_drained_one_is_served(
    lone: Lab, node: Node
) -> None:
    """Ids by position: the drained one is removed, and the next one has its id from then on."""
    first, second, third = lone.numbered(3)
    source = drained(lone, second, [first, second, third])
    source.write(variables(first, third))
    began = time.monotonic()
    node.reload()
    lone.wait_for_each([first, third], timeout=ELECTION)
    assert lone.recorder.changes(first, since=began) == ()


def test_a_drained_address_that_gets_another_id_is_not_served(lone: Lab, node: Node) -> None:
    """Ids by position: the one before it is removed, and its instance served all the time."""
    first, second, third = lone.numbered(3)
    source = drained(lone, third, [first, second, third])
    source.write(variables(first, third))
    began = time.monotonic()
    node.reload()
    stays(5)
    assert lone.recorder.changes(first, since=began) == ()
    assert lone.recorder.holders(third) == []
    assert lone.recorder.changes(third, since=began) == ()
