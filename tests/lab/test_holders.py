"""Every node names the holder of every address, with the real keepalived and through failovers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.lab.kit import speakers
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, NAME
from tests.lab.test_hostile import STRANGER, forged
from tests.support.waiting import wait_until


def named(found: dict[str, Any]) -> tuple[str, ...]:
    """Return whom a status names for each instance."""
    return tuple(each["holder"] for each in found.get("instances", ()))


def told(node: Node) -> tuple[str, ...]:
    """Return whom ``status --json`` names for each instance."""
    return named(node.status())


def wait_until_named(among: Iterable[Node], holders: tuple[str, ...]) -> None:
    """Wait until all of these nodes name the same holders."""
    nodes = list(among)
    wait_until(
        lambda: all(named(each.noted()) == holders == told(each) for each in nodes),
        ELECTION,
        f"{nodes} name {holders}",
    )


def test_two_that_advertise_an_address_are_both_named_and_a_foreign_router_never(lab: Lab) -> None:
    """By the node that holds it, and by one that stands by; a while later one is named again."""
    first, second, third = lab.nodes
    address = lab.virtual(1)
    lab.serve_ranked(address, CONFLICT="report")
    wait_until_named(lab.nodes, (first.ip,))
    mac = bytes.fromhex("525400999977")

    def foreign() -> bytes:
        return forged("192.0.2.200", mac=mac, router_id=11, priority=10)

    def rival() -> bytes:  # under another id, or it would shake the master
        return forged(address, mac=mac, router_id=99, priority=10)

    with speakers.sending(second, [(2.5, foreign)]):
        third.wait_for_line("event=vrrp.id_clash")
        assert [(first.ip,), (first.ip,)] == [told(first), told(third)]
    with speakers.sending(second, [(0.5, rival)]):
        wait_until_named((first, third), (f"{first.ip}, {STRANGER}",))
    wait_until_named(lab.nodes, (first.ip,))


@pytest.mark.slow
@pytest.mark.parametrize("cast", ["multicast", "unicast"])
def test_one_status_of_any_node_answers_who_holds_the_address(lab: Lab, cast: str) -> None:
    """Through a crash and a planned stop, for both families; unknown when no node is heard."""
    first, second, third = lab.nodes
    sources = {each: each.link_local if cast == "multicast" else each.ipv6 for each in lab.nodes}
    own = {each.name: (each.ip, source) for each, source in sources.items()}
    more = lab.peers(cast)
    lab.serve_ranked(lab.virtual(1), lab.virtual6(1), PREEMPTION="nopreempt", **more)
    wait_until_named(lab.nodes, own["n1"])

    heard = third.status()["instances"][0]["holders"]
    assert [(first.ip, False, 250)] == [
        (each["address"], each["is_here"], each["priority"]) for each in heard
    ]
    assert [(first.ip, True, 250, None)] == [
        (each["address"], each["is_here"], each["priority"], each["heard_at"])
        for each in first.status()["instances"][0]["holders"]
    ]
    shown = third.run_in_container(
        ["sh", "-c", "curl -s -m 5 127.0.0.1:63000/; curl -s -m 5 127.0.0.1:63000/metrics"]
    ).stdout
    assert f"holder: {first.ip} (priority 250, heard " in shown
    label = f'holder="{first.ip}",iname="{NAME}_VIP_1"'
    assert f'ipfailover_instance_holder_info{{{label},self="false"}} 1.0' in shown
    assert f"ipfailover_instance_holder_priority{{{label}}} 250.0" in shown

    first.kill()
    wait_until_named((second, third), own["n2"])
    second.terminate()
    second.wait()
    wait_until_named((third,), own["n3"])
    first.start()
    wait_until_named((first, third), own["n3"])
    # No node may serve here, so that none is heard once the other one has left.
    first.application.stop()
    third.terminate()
    third.wait()
    wait_until_named((first,), ("unknown", "unknown"))
