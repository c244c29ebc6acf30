"""``doctor`` on nodes with and without an agent: what it sees, and that it changes nothing."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from ipfailover_agent.doctor.command import CHECKS
from ipfailover_agent.doctor.findings import CheckResult
from tests.lab.kit.container import PROJECT
from tests.lab.kit.lab import Lab
from tests.lab.kit.namespaces import base_environment
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, PORT, command, stays, variables
from tests.support.waiting import wait_until

DOCTOR = (sys.executable, "-m", "ipfailover_agent", "doctor", "--json", "--seconds", "2.5")
BRIEF = 0.3


def before_start(
    node: Node,
    environment: dict[str, str],
    *,
    prepare: str = "",
    before: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    seconds: float = 2.5,
) -> tuple[int, dict[str, set[str]]]:
    """Run ``doctor`` where no agent runs; return its exit code and the texts by verdict.

    ``prepare`` is shell text run before it, ``before`` a program that starts it, ``more`` its
    options, ``seconds`` how long it listens: BRIEF where no node is to be heard.
    """
    heard = ("--seconds", str(seconds))
    node.start(environment, (*before, *DOCTOR, *heard, *more), prepare=prepare)
    return node.wait(), by_verdict(node.stdout())


def by_verdict(printed: str) -> dict[str, set[str]]:
    """Return "check: text" by verdict; every check has a line, and what is no pass says why."""
    found: dict[str, set[str]] = {each.value: set() for each in CheckResult}
    told = json.loads(printed)["findings"]
    assert set(CHECKS) == {each["check"] for each in told}
    for each in told:
        assert bool(each["advice"]) >= (each["verdict"] in {"warn", "fail"})
        assert not (each["advice"] and each["verdict"] == "pass")
        found[each["verdict"]].add(f"{each['check']}: {each['text']}")
    return found


def advice_of(node: Node, check: str) -> str:
    """Return what the node's last ``doctor`` says to do about a check."""
    told = json.loads(node.stdout())["findings"]
    return next(str(each["advice"]) for each in told if each["check"] == check)


def link(node: Node) -> dict[str, Any]:
    """Return what the kernel tells of a node's eth0."""
    found: dict[str, Any] = json.loads(node.run(["ip", "-json", "link", "show", "eth0"]).stdout)[0]
    return found


def mac_of(node: Node) -> str:
    """Return the MAC of a node's eth0."""
    return str(link(node)["address"])


def test_a_healthy_backup_passes_beside_its_agent(pair: Lab) -> None:
    """The holder is named, nothing fails, and no node loses anything by being asked."""
    addresses = [pair.virtual(1), pair.virtual6(1)]
    holder = pair.serve_ranked(*addresses)
    (other,) = pair.others(holder)
    done = other.ask(*DOCTOR[3:])
    found = by_verdict(done.stdout)
    assert (0, set()) == (done.returncode, found["fail"])
    assert f"holders: {holder.ip} advertises {addresses[0]}" in found["pass"]
    assert any("runs and is ready" in each for each in found["pass"])
    assert f"port: {other.ip} port {PORT} answers" in found["pass"]
    assert "interface: eth0 is up" in found["pass"]
    assert [pair.recorder.holders(each) for each in addresses] == [[holder.name]] * 2
    assert pair.recorder.seconds_with_two(*addresses) == 0


def test_a_lone_node_hears_nobody(lone: Lab) -> None:
    """Everything is fine as far as one node can see."""
    code, found = before_start(lone.nodes[0], variables(lone.virtual(1), lone.virtual6(1)))
    assert (0, set()) == (code, found["fail"])
    assert "agent: none runs with this run directory" in found["pass"]
    assert (
        f"answers: no other host answers for {lone.virtual(1)} {lone.virtual6(1)}" in found["pass"]
    )


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"CONFIG_NAME": "other"}, "password"),
        ({"VRRP_VERSION": "3"}, "version"),
        ({"ADVERT_INTERVAL": "2"}, "interval"),
        ({"VIP_GROUPS": "1"}, "list"),
        ({"VRRP_ID_OFFSET": "50"}, "router id"),
    ],
    ids=["password", "version", "interval", "list", "id"],
)
def test_nodes_that_differ_are_named_before_they_meet(
    pair: Lab, theirs: dict[str, str], expected: str
) -> None:
    """An init container with this refuses to add a second holder."""
    first, second = pair.nodes
    addresses = [pair.virtual(1), pair.virtual(2)]
    first.start(variables(*addresses, **theirs))
    pair.wait_for_holder(addresses[0])
    code, found = before_start(second, variables(*addresses))
    assert code == 78
    assert any(each.startswith("rivals: ") and expected in each for each in found["fail"])


def test_an_address_that_somebody_else_has_is_found(pair: Lab) -> None:
    """He speaks no VRRP, and only answers."""
    stranger, node = pair.nodes
    addresses = [pair.virtual(1), pair.virtual6(1)]
    stranger.add(*addresses)
    code, found = before_start(node, variables(*addresses))
    mac = mac_of(stranger)
    assert code == 78
    assert {
        f"answers: {address} is answered by {mac}, which advertises nothing"
        for address in addresses
    } == found["fail"]


def test_a_router_with_our_id_is_named_with_a_way_out(pair: Lab) -> None:
    """It serves another address: no rival, and a free offset is suggested."""
    first, second = pair.nodes
    first.start(variables(pair.virtual(9)))
    pair.wait_for_holder(pair.virtual(9))
    code, found = before_start(second, variables(pair.virtual(1)))
    assert code == 0
    (clash,) = [each for each in found["warn"] if each.startswith("ids: ")]
    assert f"also used by {first.ip} for {pair.virtual(9)}" in clash
    assert "choose OPENSHIFT_HA_VRRP_ID_OFFSET=" in clash


def test_a_firewall_that_drops_vrrp_is_named(lone: Lab, node: Node) -> None:
    """A warning, or a pass where the agent would let VRRP in."""
    node.nft(
        "table inet filter { chain input { type filter hook input priority 0; policy drop; }\n}"
    )
    _, found = before_start(node, variables(lone.virtual(1)), seconds=BRIEF)
    assert "firewall: inet filter input may drop protocol 112" in found["warn"]
    _, found = before_start(node, variables(lone.virtual(1), NFTABLES_RULE="true"), seconds=BRIEF)
    assert (
        "firewall: inet filter input may drop protocol 112; the agent lets it in there"
        in found["pass"]
    )


def test_what_is_wrong_with_the_node_is_named(pair: Lab) -> None:
    """A dead application, an absent peer, an address on the wrong interface, a foreign network."""
    node, other = pair.nodes
    node.application.stop()
    node.run(["ip", "link", "add", "kube-ipvs0", "type", "bridge"])
    node.run(["ip", "address", "add", f"{pair.virtual(1)}/32", "dev", "kube-ipvs0"])
    absent = pair.virtual(99)
    code, found = before_start(
        node,
        variables(pair.virtual(1), "198.51.100.7", UNICAST_PEERS=f"{other.ip},{absent},{node.ip}"),
    )
    assert (0, set()) == (code, found["fail"])
    assert f"port: {node.ip} port {PORT}: connection refused" in found["warn"]
    assert f"peers: {other.ip} answers" in found["pass"]
    assert f"peers: {absent} does not answer ARP or neighbour requests" in found["warn"]
    assert "subnet: 198.51.100.7 in no network of eth0" in found["warn"]
    assert f"elsewhere: {pair.virtual(1)} also on kube-ipvs0" in found["warn"]


def test_a_link_without_carrier_fails(lone: Lab, node: Node) -> None:
    """Nothing would be served; the exit code says so to an init container."""
    node.link_down()
    stays(0.2)
    code, found = before_start(node, variables(lone.virtual(1)))
    assert code == 78
    assert any(each.startswith("interface: eth0 ") for each in found["fail"])


def test_settings_that_cannot_be_used_fail_with_every_problem(lone: Lab) -> None:
    """What can be told without them is told all the same."""
    code, found = before_start(lone.nodes[0], variables("10.0.0.300", PREEMPTION="sometimes"))
    assert code == 78
    assert 2 == sum(each.startswith("settings: OPENSHIFT_HA_") for each in found["fail"])
    assert any(each.startswith("keepalived: version ") for each in found["pass"])


# --- one fault each -----------------------------------------------------------------------------


def test_missing_rights_are_told_and_what_they_keep_from_us(lone: Lab, node: Node) -> None:
    """Nothing that was not looked at passes."""
    without = "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"
    code, found = before_start(
        node, variables(lone.virtual(1)), before=("setpriv", *without), seconds=BRIEF
    )
    assert code == 78
    assert {"capabilities: NET_ADMIN and NET_RAW missing"} == found["fail"]
    skipped = {each.partition(":")[0] for each in found["skip"]}
    assert {"firewall", "answers", "rivals", "ids", "holders", "multicast", "peers"} <= skipped


def test_a_keepalived_that_lacks_something_is_told(lone: Lab, node: Node) -> None:
    """A fake one: no package of it lacks passwords or dumps."""
    environment = {
        **variables(lone.virtual(1)),
        "PATH": f"/run/programs:{base_environment()['PATH']}",
    }
    lacking = (
        "mkdir /run/programs; printf '#!/bin/sh\\necho Keepalived v2.2.8\\n"
        "echo Config options: VRRP\\n' >/run/programs/keepalived; "
        "chmod 755 /run/programs/keepalived"
    )
    _, found = before_start(node, environment, prepare=lacking, seconds=BRIEF)
    assert "keepalived: version 2.2.8" in found["pass"]
    assert {
        "build: without VRRP_AUTH: it knows no password",
        "build: without JSON dumps: it cannot be asked for its state",
    } <= found["warn"]
    nowhere = ("env", "PATH=/run/programs")
    code, found = before_start(node, environment, before=nowhere, seconds=BRIEF)
    assert code == 78
    assert {"keepalived: there is none on PATH"} == found["fail"]


def test_a_file_that_keepalived_refuses_fails(lone: Lab, node: Node, tmp_path: Path) -> None:
    """A template of the user's own, in which something else is not what it should be."""
    text = (PROJECT / "templates" / "keepalived.conf.j2").read_text()
    own = tmp_path / "templates"
    own.mkdir()
    (own / "keepalived.conf.j2").write_text(text + "vrrp_instance odd {\n  interface nowhere\n}\n")
    more = ("--template-dir", str(own))
    code, found = before_start(node, variables(lone.virtual(1)), more=more, seconds=BRIEF)
    assert code == 78
    (said,) = found["fail"]
    assert said.startswith("config: keepalived refuses the configuration: ")
    assert "nowhere" in said


def test_a_strict_filter_of_the_way_back_is_told(lone: Lab, node: Node) -> None:
    """As soon as answers could leave by another interface."""
    node.run(["sysctl", "-qw", "net/ipv4/conf/eth0/rp_filter=1"])
    _, found = before_start(node, variables(lone.virtual(1)), seconds=BRIEF)
    assert "rp_filter: strict on eth0, which all answers leave by" in found["pass"]
    node.run(["ip", "link", "add", "eth1", "type", "bridge"])
    node.run(["ip", "address", "add", f"{lone.virtual(99)}/24", "dev", "eth1"])
    _, found = before_start(
        node, variables(lone.virtual(1), NETWORK_INTERFACE="eth0"), seconds=BRIEF
    )
    assert "rp_filter: strict on eth0, and answers may leave by eth1" in found["warn"]
    assert "rp_filter=2" in advice_of(node, "rp_filter")


def test_what_no_client_would_reach_is_told(lone: Lab, node: Node) -> None:
    """A broadcast address, a service at the node's address alone, a node that answers no ARP."""
    last = ".".join((*node.ip.split(".")[:3], "255"))
    node.application.stop()
    program = (
        f"import socket, time; kept = socket.create_server(('{node.ip}', {PORT})); time.sleep(99)"
    )
    with node.network.running([sys.executable, "-c", program]):
        ask_it = ["bash", "-c", f"</dev/tcp/{node.ip}/{PORT}"]
        wait_until(lambda: node.run(ask_it, check=False).returncode == 0, 8, "a listener")
        node.network.set_sysctls({"ipv4/conf/eth0/arp_ignore": "8"})
        addresses = (lone.virtual(1), last)
        code, found = before_start(node, variables(*addresses), seconds=BRIEF)
    assert code
    assert any(each.startswith(f"subnet: {last} is the broadcast") for each in found["fail"])
    assert any(each.startswith("interface: arp_ignore is 8") for each in found["fail"])
    listens = f"port: {node.ip} port {PORT} answers, and nothing listens there at"
    assert any(each.startswith(listens) for each in found["warn"])


def test_what_clients_do_not_reach_is_told_by_check_plan_the_start_and_status(lone: Lab) -> None:
    """In both families: keepalived serves, ``check`` says 0, the node is ready."""
    (node,) = lone.nodes
    near, theirs = [lone.virtual(1), lone.virtual6(1)], ["10.89.0.5", "fd89::5"]
    anycast = "fd00::"
    values = variables(*near, *theirs, anycast, MONITOR_PORT="0", NETWORK_INTERFACE="eth0")
    node.network.ip(
        [
            "link add docker0 type veth peer name docker1",
            "link set docker0 up",
            "link set docker1 up",
            "address add 10.89.0.1/24 dev docker0",
            "address add fd89::1/64 dev docker0 nodad",
        ]
    )
    node.network.set_sysctls({"ipv4/conf/eth0/arp_ignore": "8"})
    muted = f"arp_ignore is 8 on eth0: no client that asks by ARP for {near[0]} {theirs[0]} is"
    outside = "10.89.0.5 fd89::5 in no network of eth0 (10.89.0.5 fd89::5 in that of docker0); "
    every = f"{anycast} is the subnet-router anycast address of fd00::/64 on eth0: every router"
    told = [f"OPENSHIFT_HA_VIRTUAL_IPS: {each}" for each in (muted, outside, every)]
    node.network.set_sysctls({"ipv6/conf/all/forwarding": "1"})
    lone.client.ask(anycast)
    wait_until(  # it answers within a second, though it holds nothing
        lambda: lone.client.neighbour(anycast) == node.name, 5, "an answer"
    )
    for asked in ("check", "plan"):
        node.start(values, command(asked, "--json"))
        assert node.wait() == int(asked == "plan")
        warnings = json.loads(node.stdout())["warnings"]
        assert all(any(w.startswith(each) for w in warnings) for each in told)
    node.start(values)
    lone.wait_for_each([*near, *theirs], timeout=ELECTION)
    found = node.wait_for_status("ready", value=True)
    assert all(any(n.startswith(each) for n in found["notes"]) for each in told)
    said = "".join(node.events("settings.warning"))
    assert all(each in said for each in told)
    assert [None, node.name] == [lone.client.ask(each) for each in near]
    node.network.set_sysctls({"ipv4/conf/eth0/arp_ignore": "0"})
    node.network.ip(["link set eth0 arp off"])
    node.reload()
    found = node.wait_for_status("ready", value=True)
    assert any("ARP is off on eth0, and neighbour discovery" in each for each in found["notes"])
    assert not any("arp_ignore" in each for each in found["notes"])
    assert [None, None] == [lone.client.ask(each) for each in near]
    shown = json.loads(node.ask("doctor", "--json", "--seconds", "0.3").stdout)["findings"]
    failed = [each["text"] for each in shown if each["verdict"] == "fail"]
    assert any(each.startswith("ARP is off on eth0") for each in failed)


@pytest.mark.parametrize("family", [4, 6])
def test_the_address_of_the_gateway_is_told_before_it_is_served(
    lone: Lab, node: Node, family: int
) -> None:
    """By the default route, and by any other one; check and run serve it with a warning."""
    gateway, other, far = {
        4: (lone.virtual(1), lone.virtual(2), "198.18.0.0/15"),
        6: (lone.virtual6(1), lone.virtual6(2), "2001:db8::/32"),
    }[family]
    node.run(["ip", f"-{family}", "route", "replace", "default", "via", gateway, "dev", "eth0"])
    node.run(["ip", f"-{family}", "route", "add", far, "via", other, "dev", "eth0"])
    values = variables(gateway, other)
    code, found = before_start(node, values, seconds=BRIEF)
    (line,) = [each for each in found["fail"] if each.startswith("router: ")]
    told = f"{gateway} is the gateway of this node's default route through eth0: the node that"
    assert code
    assert line.startswith(f"router: {told}")
    assert f"{other} is the next hop of a route of this node through eth0" in line
    node.start(values, command("check"))
    assert 0 == node.wait()
    assert f"warning: OPENSHIFT_HA_VIRTUAL_IPS: {told}" in node.stdout()


def test_managers_of_the_interface_are_told(lone: Lab, node: Node) -> None:
    """By the files that they keep below /run; networkd can be told to keep addresses."""
    index = link(node)["ifindex"]
    files = (
        "mkdir -p /run/systemd/netif/links /run/NetworkManager/devices; : >/run/eth0.network; "
        f"printf 'ADMIN_STATE=configured\\nNETWORK_FILE=/run/eth0.network\\n' "
        f">/run/systemd/netif/links/{index}; "
        f"printf '[device]\\nmanaged=true\\n' >/run/NetworkManager/devices/{index}"
    )
    _, found = before_start(node, variables(lone.virtual(1)), prepare=files, seconds=BRIEF)
    assert {"manager: systemd-networkd manages eth0", "manager: NetworkManager manages eth0"} == {
        each for each in found["warn"] if each.startswith("manager: ")
    }
    keeping = (
        f"{files}; rm -r /run/NetworkManager; "
        "printf '[Network]\\nKeepConfiguration=yes\\n' >/run/eth0.network"
    )
    _, found = before_start(node, variables(lone.virtual(1)), prepare=keeping, seconds=BRIEF)
    told = (
        "manager: systemd-networkd manages eth0 and keeps virtual addresses: KeepConfiguration=yes"
    )
    assert told in found["pass"]


def test_a_starved_doctor_says_so(pair: Lab) -> None:
    """It was stopped while it listened, as by a hypervisor; a question waits when it goes on."""
    node, other = pair.nodes
    node.start(variables(pair.virtual(1)), DOCTOR)
    wait_until(
        lambda: len(node.run(["cat", "/proc/net/packet"]).stdout.splitlines()) >= 4,
        8,
        "doctor listens, on three sockets",
    )
    node.freeze()
    asks = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('{node.ip}', 9))"
    other.run([sys.executable, "-c", asks])
    stays(0.5)
    node.thaw()
    assert node.wait() == 0
    found = by_verdict(node.stdout())
    (late,) = re.findall(r"cpu: woke up ([\d.]+) s late", " ".join(found["warn"]))
    assert float(late) > 0.3


def test_a_kernel_that_has_given_up_its_clock_is_told(lone: Lab, node: Node) -> None:
    """A file in place of the kernel's: the machine's own clock is left alone."""
    place = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    poor = f"echo acpi_pm >/run/clock; mount --bind /run/clock {place}"
    _, found = before_start(node, variables(lone.virtual(1)), prepare=poor, seconds=BRIEF)
    assert "clock: the kernel counts time with acpi_pm" in found["warn"]


def test_scripts_are_judged_by_where_they_lie(lone: Lab, node: Node) -> None:
    """One that cannot be run fails only where the node would not serve without it."""
    files = (
        "mkdir -m 777 /run/open; printf '#!/bin/sh\\n' >/run/open/look.sh; "
        "chmod 755 /run/open/look.sh; printf '#!/bin/sh\\n' >/run/plain.sh"
    )
    scripts = {"CHECK_SCRIPT": "/run/open/look.sh", "NOTIFY_SCRIPT": "/run/plain.sh"}
    code, found = before_start(
        node, variables(lone.virtual(1), **scripts), prepare=files, seconds=BRIEF
    )
    assert code == 0
    assert {
        (
            "script: OPENSHIFT_HA_CHECK_SCRIPT: /run/open/look.sh lies below /run/open, "
            "which every user may write to"
        ),
        "script: OPENSHIFT_HA_NOTIFY_SCRIPT: /run/plain.sh is not executable: it is left out",
    } <= found["warn"]
    vital = {"CHECK_SCRIPT": "/run/absent.sh", "CHECK_SCRIPT_MISSING": "fault"}
    code, found = before_start(node, variables(lone.virtual(1), **vital), seconds=BRIEF)
    assert code == 78
    (said,) = found["fail"]
    assert said.startswith("script: OPENSHIFT_HA_CHECK_SCRIPT: /run/absent.sh is missing: ")


def test_chains_that_the_agent_never_opens_are_named(lone: Lab, node: Node) -> None:
    """Before input and after output; those of iptables are tables of nftables."""
    node.nft(
        "table netdev edge {\nchain in {\n"
        'type filter hook ingress device "eth0" priority 0;\nip protocol 112 drop\n}\n}\n'
        "table ip raw {\nchain PREROUTING {\n"
        "type filter hook prerouting priority -300;\nip protocol 112 drop\n}\n}\n"
    )
    _, found = before_start(node, variables(lone.virtual(1), NFTABLES_RULE="true"), seconds=BRIEF)
    assert "firewall: ip raw PREROUTING, netdev edge in may drop protocol 112" in found["warn"]
    assert "ingress and prerouting" in advice_of(node, "firewall")


def test_names_that_nobody_answers_have_a_line_of_their_own(lone: Lab, node: Node) -> None:
    """The interface is fine; an init container may choose to let run wait for DNS."""
    named = variables(lone.virtual(1), UNICAST_PEERS_DNS="peers.invalid")
    code, found = before_start(node, named, seconds=BRIEF)
    assert code == 78
    text = "dns: OPENSHIFT_HA_UNICAST_PEERS_DNS: 'peers.invalid': no peers yet"
    assert [True] == [each.startswith(text) for each in found["fail"]]
    assert "interface: eth0 is up" in found["pass"]
    code, found = before_start(node, named, more=("--tolerate", "dns"), seconds=BRIEF)
    assert (0, set()) == (code, found["fail"])
    assert any(each.startswith(text) for each in found["warn"])


# --- while an agent runs ------------------------------------------------------------------------


def test_a_second_holder_is_found_by_the_first(pair: Lab) -> None:
    """The agent here has the address, and so has another host."""
    node, stranger = pair.nodes
    address = pair.virtual(1)
    node.start(variables(address, CONFLICT="off"))
    pair.wait_for_each([address], timeout=ELECTION)
    stranger.add(address)
    done = node.ask(*DOCTOR[3:])
    assert done.returncode == 78
    assert {f"answers: {address} is on this node, and answered by {mac_of(stranger)}"} == (
        by_verdict(done.stdout)["fail"]
    )


def test_an_agents_own_variables_are_looked_at_where_there_are_none(lone: Lab, node: Node) -> None:
    """As in a shell on a host whose service has an environment file."""
    node.start(variables(lone.virtual(1)))
    lone.wait_for_each([lone.virtual(1)], timeout=ELECTION)
    bare = ("env", "-i", f"PATH={base_environment()['PATH']}")
    done = node.run_in_container([*bare, *command(*DOCTOR[3:])])
    found = by_verdict(done.stdout)
    assert (0, set()) == (done.returncode, found["fail"])
    assert "settings: 1 address in 1 instance on eth0" in found["pass"]
    (said,) = [each for each in found["pass"] if each.startswith("agent: ")]
    assert said.endswith("runs and is ready; its variables are looked at")


# --- multicast that gets lost -------------------------------------------------------------------


def test_lost_multicast_is_told_with_what_to_set_and_that_mends_it(pair: Lab) -> None:
    """What ``doctor`` says is set as it is, and one node has the address."""
    pair.switch.drop_multicast()
    first, second = pair.nodes
    address = pair.virtual(1)
    first.start(variables(address))
    pair.wait_for_each([address], timeout=ELECTION)
    second.run(["ping", "-c", "1", "-W", "2", first.ip])  # as nodes of a cluster do all the time
    code, found = before_start(second, variables(address))
    assert code == 78
    assert {
        f"answers: {address} is answered by {mac_of(first)}, which advertises nothing"
    } == found["fail"]
    assert any(each.startswith("multicast: no advert arrives") for each in found["warn"])
    (peers,) = re.findall(r"OPENSHIFT_HA_UNICAST_PEERS=(\S+) ", advice_of(second, "multicast"))
    assert f"{second.ip},{first.ip}" == peers
    first.stop()
    pair.serve_ranked(address, UNICAST_PEERS=peers)
    assert pair.recorder.seconds_with_two(address) == 0


def test_a_contest_for_want_of_multicast_says_what_to_set(pair: Lab) -> None:
    """Both serve, neither hears the other: one yields, and says why."""
    pair.switch.drop_multicast()
    address = pair.virtual(1)
    pair.start_everywhere(variables(address))

    def causes() -> list[str]:
        return [line for node in pair.nodes for line in node.events("contest.held")]

    wait_until(lambda: bool(causes()), ELECTION + 8, "one of them yields")
    own = {f"OPENSHIFT_HA_UNICAST_PEERS={each.ip} (add every other node)" for each in pair.nodes}
    assert all(any(each in line for each in own) for line in causes())

    def held_nodes() -> list[Node]:
        told = {each: each.status().get("instances", ()) for each in pair.nodes}
        return [each for each, instances in told.items() if any(one["held"] for one in instances)]

    (held,) = wait_until(held_nodes, ELECTION, "status says so too")
    found = by_verdict(held.ask(*DOCTOR[3:]).stdout)
    said = [each for each in found["warn"] if " is held in FAULT: " in each]
    assert any(each in line for each in own for line in said)
