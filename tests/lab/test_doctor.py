"""``doctor`` on nodes with and without an agent: what it sees, and that it changes nothing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.scenarios import PORT, ask, serve_ranked, stays, variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.lab import Lab
    from tests.lab.node import Node

DOCTOR = (sys.executable, "-m", "ipfailover_agent", "doctor", "--json", "--seconds", "2.5")


def before_start(node: Node, environment: dict[str, str]) -> tuple[int, dict[str, set[str]]]:
    """Run ``doctor`` where no agent runs; return its exit code and the texts by verdict."""
    node.start(environment, DOCTOR)
    return node.wait(), by_verdict(node.stdout())


def by_verdict(printed: str) -> dict[str, set[str]]:
    """Return "check: text" by verdict."""
    found: dict[str, set[str]] = {"pass": set(), "warn": set(), "fail": set()}
    for each in json.loads(printed)["findings"]:
        assert bool(each["advice"]) == (each["verdict"] != "pass")
        found[each["verdict"]].add(f"{each['check']}: {each['text']}")
    return found


def mac_of(node: Node) -> str:
    """Return the MAC of a node's eth0."""
    shown = json.loads(node.run(["ip", "-json", "link", "show", "eth0"]).stdout)
    return str(shown[0]["address"])


def test_a_healthy_backup_passes_beside_its_agent(make_lab: Callable[..., Lab]) -> None:
    """The holder is named, nothing fails, and nobody loses anything by being asked."""
    lab = make_lab(2)
    addresses = [lab.virtual(1), lab.virtual6(1)]
    holder = serve_ranked(lab, *addresses)
    (other,) = lab.others(holder)
    done = ask(other, *DOCTOR[3:])
    found = by_verdict(done.stdout)
    assert (0, set()) == (done.returncode, found["fail"])
    assert f"holders: {holder.ip} advertises {addresses[0]}" in found["pass"]
    assert any("runs and is ready" in each for each in found["pass"])
    assert f"port: {other.ip} port {PORT} answers" in found["pass"]
    assert "interface: eth0 is up" in found["pass"]
    for address in addresses:
        assert lab.recorder.holders(address) == [holder.name]
        assert lab.recorder.seconds_with_two(address) == 0


def test_a_lone_node_hears_nobody(make_lab: Callable[..., Lab]) -> None:
    """Everything is fine as far as one node can see."""
    lab = make_lab(1)
    code, found = before_start(lab.nodes[0], variables(lab.virtual(1), lab.virtual6(1)))
    assert (0, set()) == (code, found["fail"])
    assert "agent: none runs with this run directory" in found["pass"]
    assert f"answers: nobody else answers for {lab.virtual(1)} {lab.virtual6(1)}" in found["pass"]


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ({"CONFIG_NAME": "other"}, {}, "password"),
        ({"VRRP_VERSION": "3"}, {}, "version"),
        ({"ADVERT_INTERVAL": "2"}, {}, "interval"),
        ({"VIP_GROUPS": "1"}, {}, "list"),
        ({"VRRP_ID_OFFSET": "50"}, {}, "router id"),
    ],
    ids=["password", "version", "interval", "list", "id"],
)
def test_nodes_that_differ_are_named_before_they_meet(
    make_lab: Callable[..., Lab], theirs: dict[str, str], ours: dict[str, str], expected: str
) -> None:
    """An init container with this refuses to add a second holder."""
    lab = make_lab(2)
    first, second = lab.nodes
    addresses = [lab.virtual(1), lab.virtual(2)]
    first.start(variables(*addresses, **theirs))
    lab.wait_for_holder(addresses[0])
    code, found = before_start(second, variables(*addresses, **ours))
    assert code == 78
    assert any(each.startswith("rivals: ") and expected in each for each in found["fail"])


def test_an_address_that_somebody_else_has_is_found(make_lab: Callable[..., Lab]) -> None:
    """He speaks no VRRP, and only answers."""
    lab = make_lab(2)
    stranger, node = lab.nodes
    addresses = [lab.virtual(1), lab.virtual6(1)]
    stranger.run(["ip", "address", "add", f"{addresses[0]}/32", "dev", "eth0"])
    stranger.run(["ip", "-6", "address", "add", f"{addresses[1]}/128", "dev", "eth0", "nodad"])
    code, found = before_start(node, variables(*addresses))
    mac = mac_of(stranger)
    assert code == 78
    assert {
        f"answers: {address} is answered by {mac}, which advertises nothing"
        for address in addresses
    } == found["fail"]


def test_a_router_with_our_id_is_named_with_a_way_out(make_lab: Callable[..., Lab]) -> None:
    """It serves another address: no rival, and a free offset is suggested."""
    lab = make_lab(2)
    first, second = lab.nodes
    first.start(variables(lab.virtual(9)))
    lab.wait_for_holder(lab.virtual(9))
    code, found = before_start(second, variables(lab.virtual(1)))
    assert code == 0
    (clash,) = [each for each in found["warn"] if each.startswith("ids: ")]
    assert f"also used by {first.ip} for {lab.virtual(9)}" in clash
    assert "choose OPENSHIFT_HA_VRRP_ID_OFFSET=" in clash


def test_a_firewall_that_drops_vrrp_is_named(make_lab: Callable[..., Lab]) -> None:
    """A warning, or a pass where the agent would let VRRP in."""
    lab = make_lab(1)
    (node,) = lab.nodes
    node.nft(
        "table inet filter { chain input { type filter hook input priority 0; policy drop; }\n}"
    )
    _, found = before_start(node, variables(lab.virtual(1)))
    assert "firewall: inet filter input may drop protocol 112" in found["warn"]
    _, found = before_start(node, variables(lab.virtual(1), NFTABLES_RULE="true"))
    assert (
        "firewall: inet filter input may drop protocol 112; the agent lets it in there"
        in found["pass"]
    )


def test_what_is_wrong_with_the_node_is_named(make_lab: Callable[..., Lab]) -> None:
    """A dead application, an absent peer, an address on the wrong interface, a foreign network."""
    lab = make_lab(2)
    node, other = lab.nodes
    node.application.stop()
    node.run(["ip", "link", "add", "kube-ipvs0", "type", "bridge"])
    node.run(["ip", "address", "add", f"{lab.virtual(1)}/32", "dev", "kube-ipvs0"])
    absent = lab.virtual(99)
    code, found = before_start(
        node,
        variables(lab.virtual(1), "198.51.100.7", UNICAST_PEERS=f"{other.ip},{absent},{node.ip}"),
    )
    assert (0, set()) == (code, found["fail"])
    assert f"port: {node.ip} port {PORT}: connection refused" in found["warn"]
    assert f"peers: {other.ip} answers" in found["pass"]
    assert f"peers: {absent} does not answer ARP or neighbour requests" in found["warn"]
    assert "subnet: 198.51.100.7 in no network of eth0" in found["warn"]
    assert f"elsewhere: {lab.virtual(1)} also on kube-ipvs0" in found["warn"]


def test_a_link_without_carrier_fails(make_lab: Callable[..., Lab]) -> None:
    """Nothing would be served; the exit code says so to an init container."""
    lab = make_lab(1)
    (node,) = lab.nodes
    node.link_down()
    stays(0.2)
    code, found = before_start(node, variables(lab.virtual(1)))
    assert code == 78
    assert any(each.startswith("interface: eth0 ") for each in found["fail"])


def test_settings_that_cannot_be_used_fail_with_every_problem(
    make_lab: Callable[..., Lab],
) -> None:
    """What can be told without them is told all the same."""
    lab = make_lab(1)
    code, found = before_start(lab.nodes[0], variables("10.0.0.300", PREEMPTION="sometimes"))
    assert code == 78
    assert 2 == sum(each.startswith("settings: OPENSHIFT_HA_") for each in found["fail"])
    assert any(each.startswith("keepalived: version ") for each in found["pass"])
