"""Letting VRRP in, with real nftables and iptables-nft chains between two namespaces."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from ipfailover_agent.firewall import accept_rules
from ipfailover_agent.firewall.accept_rules import LookFailed, Report, RuleInserted, RuleRemoved
from ipfailover_agent.firewall.nft import owned_tables, read_generation
from ipfailover_agent.firewall.ruleset import Table
from ipfailover_agent.firewall.service import Firewall, remove_all
from ipfailover_agent.linux import process, rtnetlink
from ipfailover_agent.model import IPAddress
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(
        shutil.which("nft") is None or shutil.which("iptables-nft") is None,
        reason="needs nft and iptables-nft",
    ),
]

TAG = accept_rules.tag_for("lab")
GROUP4, GROUP6 = IPv4Address("224.0.0.18"), IPv6Address("ff02::12")
PEER4, PEER6 = IPv4Address("10.9.0.2"), IPv6Address("fd09::2")
OWN4, OWN6 = "10.9.0.1", "fd09::1"
WANTED: frozenset[IPAddress] = frozenset({GROUP4, GROUP6, PEER4, PEER6})
_VRRP = 112


@dataclass
class Segment:
    """Two namespaces on a cable; the test itself lives in ``near``, where the firewall is."""

    near: NetworkNamespace
    far: NetworkNamespace
    sends: dict[int, socket.socket]
    hears: dict[int, socket.socket]
    far_hears: dict[int, socket.socket]

    def arrives(self, destination: str) -> bool:
        """Tell whether protocol 112 from the peer to that address gets past the input hook."""
        version = IPv6Address if ":" in destination else IPv4Address
        family = version(destination).version
        return _passes(self.sends[family], destination, self.hears[family])

    def leaves(self, destination: str) -> bool:
        """Tell whether protocol 112 to that address gets past the output hook."""
        family = 6 if ":" in destination else 4
        return _passes(self.hears[family], destination, self.far_hears[family])

    def is_up(self) -> bool:
        """Tell whether all gets through, and make every neighbour known while it does."""
        return len(self.arriving()) == 4 and self.leaves(str(PEER4)) and self.leaves(str(PEER6))

    def arriving(self) -> list[str]:
        """Return to which of the node's addresses protocol 112 arrives."""
        return [each for each in (str(GROUP4), OWN4, str(GROUP6), OWN6) if self.arrives(each)]


def _passes(sender: socket.socket, destination: str, receiver: socket.socket) -> bool:
    """Send a marked packet, then look for it; a veth pair delivers before send returns."""
    marker = os.urandom(12)
    try:
        sender.sendto(marker, (destination, 0))
    except OSError:  # an output hook that drops, a cable that is not up yet
        return False
    deadline = time.monotonic() + 0.15
    while time.monotonic() < deadline:
        try:
            if receiver.recv(2000).endswith(marker):
                return True
        except TimeoutError:
            continue
    return False


def _raw_sockets(interface: str) -> dict[int, socket.socket]:
    """Return raw sockets of protocol 112 for IPv4 and IPv6 that joined the VRRP groups."""
    index = socket.if_nametoindex(interface)
    four = socket.socket(socket.AF_INET, socket.SOCK_RAW, _VRRP)
    membership = struct.pack("4s4si", GROUP4.packed, bytes(4), index)
    four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    four.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, membership)
    six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, _VRRP)
    group = struct.pack("16si", GROUP6.packed, index)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    for each in (four, six):
        each.settimeout(0.03)
    return {4: four, 6: six}


@pytest.fixture
def segment() -> Iterator[Segment]:
    """Join two fresh namespaces by a cable and enter the near one."""
    with fresh_namespace() as near, fresh_namespace() as far:
        for side in (near, far):  # link-local addresses, too, can be used at once
            side.run("sh", "-c", "echo 0 | tee /proc/sys/net/ipv6/conf/*/accept_dad")
        near.ip("link", "add", "net0", "type", "veth", "peer", "net0", "netns", far.name)
        for side, addresses in ((near, (OWN4, OWN6)), (far, (str(PEER4), str(PEER6)))):
            side.ip("addr", "add", f"{addresses[0]}/24", "dev", "net0")
            side.ip("addr", "add", f"{addresses[1]}/64", "dev", "net0", "nodad")
            side.ip("link", "set", "net0", "up")
        with far.entered():
            sends, far_hears = _raw_sockets("net0"), _raw_sockets("net0")
        with near.entered():
            made = Segment(near, far, sends, _raw_sockets("net0"), far_hears)
            try:
                wait_until(made.is_up, timeout=10, message="the cable does not work")
                yield made
            finally:
                for sockets in (sends, made.hears, far_hears):
                    for each in sockets.values():
                        each.close()


class Keeper:
    """A Firewall with the loop that it needs, and what it reported."""

    def __init__(self, environment: Mapping[str, str] | None = None, tag: str = TAG) -> None:
        self.reports: list[Report] = []
        self.firewall = Firewall(tag, environment or os.environ, self.reports.append)
        self.children = 0

    def want(self, addresses: frozenset[IPAddress] = WANTED) -> list[Report]:
        """Have the rules for these addresses and return what was reported."""
        self.firewall.want(addresses, time.monotonic())
        return self.settle()

    def settle(self) -> list[Report]:
        """Run until the look is over; return and forget the reports."""

        def is_over() -> bool:
            self.turn()
            deadline = self.firewall.deadline
            is_due = deadline is not None and deadline <= time.monotonic()
            return self.firewall.is_active is not None and not is_due

        wait_until(is_over, timeout=20, message=lambda: f"looking goes on: {self.reports}")
        reports, self.reports[:] = list(self.reports), []
        return reports

    def turn(self) -> None:
        """Do what a loop does in a round."""
        for child in process.reap():
            self.children += self.firewall.child_exited(child, time.monotonic())
        self.firewall.tick(time.monotonic())


FIREWALLS = {
    "policy drop": """
        table inet filter {
          chain input { type filter hook input priority 0; policy drop;
            ct state { established, related } accept
            icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
          }
        }""",
    "a final drop": """
        table ip filter {
          chain input { type filter hook input priority 10; policy accept;
            tcp dport 22 accept
            counter drop
          }
        }
        table ip6 filter {
          chain input { type filter hook input priority 10; policy accept;
            tcp dport 22 accept
            meta l4proto != ipv6-icmp drop
          }
        }""",
    "a jump to a dropping chain, by a verdict map": """
        table inet filter {
          chain last { meta l4proto != ipv6-icmp reject; }
          chain middle { goto last; }
          chain input { type filter hook input priority -5; policy accept;
            iifname vmap { lo : accept, net0 : jump middle }
          }
        }""",
    "two chains one after the other": """
        table inet one {
          chain input { type filter hook input priority -10; policy accept;
            meta l4proto 112 drop
          }
        }
        table inet two {
          chain input { type filter hook input priority 10; policy accept;
            ip protocol vrrp drop
            ip6 nexthdr 112 drop
          }
        }""",
    "like firewalld": """
        table inet firewalld {
          chain filter_IN_public_allow {
            tcp dport 22 accept
            ip6 daddr fe80::/64 udp dport 546 accept
          }
          chain filter_IN_public {
            jump filter_IN_public_allow
            meta l4proto { icmp, ipv6-icmp } accept
          }
          chain filter_INPUT_ZONES { goto filter_IN_public; }
          chain filter_INPUT { type filter hook input priority 10; policy accept;
            ct state { established, related } accept
            ct status dnat accept
            iifname "lo" accept
            jump filter_INPUT_ZONES
            ct state invalid drop
            reject with icmpx admin-prohibited
          }
          chain filter_OUTPUT { type filter hook output priority 10; policy accept;
            ct state { established, related } accept
            oifname "lo" accept
          }
        }""",
}
IPTABLES = {
    "iptables policy": """
        {0} -P INPUT DROP
        {0} -A INPUT -p {1} -j ACCEPT""",
    "iptables REJECT in a chain": """
        {0} -N ours
        {0} -A ours -m comment --comment "no more" -j REJECT
        {0} -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
        {0} -A INPUT -p {1} -j ACCEPT
        {0} -A INPUT -g ours""",
}


def _put_up(namespace: NetworkNamespace, name: str) -> None:
    if name in FIREWALLS:
        namespace.nft(_one_per_line(FIREWALLS[name]))
        return
    for program, icmp in (("iptables-nft", "icmp"), ("ip6tables-nft", "ipv6-icmp")):
        namespace.run("sh", "-ec", IPTABLES[name].format(program, icmp))


def _one_per_line(text: str) -> str:
    """Give braces of chains lines of their own, as nft wants them."""
    lines = []
    for line in text.splitlines():
        words = line.rstrip()
        if words.lstrip().startswith("chain") and words.endswith("; }"):
            words = words[:-1] + "\n}"
        lines.append(words)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", [*FIREWALLS, *IPTABLES])
def test_vrrp_passes_once_the_rules_are_in_and_nothing_is_left_of_them(
    segment: Segment, name: str
) -> None:
    """Before: nothing arrives. With the rules: all of it. Afterwards: the same bytes as before."""
    _put_up(segment.near, name)
    before = segment.near.run("nft", "-s", "list", "ruleset")  # without counters
    assert segment.arriving() == []
    keeper = Keeper()
    reports = keeper.want()
    assert all(isinstance(each, RuleInserted) for each in reports)
    assert {each.address for each in reports if isinstance(each, RuleInserted)} == WANTED
    assert segment.arriving() == [str(GROUP4), OWN4, str(GROUP6), OWN6]
    assert keeper.firewall.is_active
    keeper.firewall.remove_all()
    assert len(keeper.reports) == len(reports)
    assert all(isinstance(each, RuleRemoved) for each in keeper.reports)
    assert segment.near.run("nft", "-s", "list", "ruleset") == before
    assert segment.arriving() == []


def test_addresses_that_are_not_wanted_stay_out(segment: Segment) -> None:
    """One rule lets in one address, and protocol 112 only."""
    _put_up(segment.near, "policy drop")
    Keeper().want(frozenset({GROUP6}))
    assert segment.arriving() == [str(GROUP6)]


def test_rules_stand_at_the_head_one_per_address(segment: Segment) -> None:
    """In order, with the agent's comment, before what was there."""
    _put_up(segment.near, "policy drop")
    Keeper().want()
    chain = segment.near.run("nft", "list", "chain", "inet", "filter", "input")
    expected = [
        f'meta l4proto vrrp {match} accept comment "ipfailover-agent lab"'
        for match in (
            f"ip saddr {PEER4}",
            f"ip daddr {GROUP4}",
            f"ip6 saddr {PEER6}",
            f"ip6 daddr {GROUP6}",
        )
    ]
    assert [line.strip().replace("112", "vrrp") for line in chain.splitlines()[3:7]] == expected


def test_a_firewall_that_cannot_drop_vrrp_is_left_alone(segment: Segment) -> None:
    """No drop, or a drop of another protocol only: no rule, no report, nothing changed."""
    segment.near.run("iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "9", "-j", "REJECT")
    segment.near.nft(
        "table inet open {\n chain input {\n type filter hook input priority 0\n"
        "udp dport 53 drop\n tcp dport { 1, 2 } reject\n}\n chain unused {\n drop\n}\n}\n"
    )
    before = segment.near.run("nft", "list", "ruleset")
    assert Keeper().want() == []
    assert segment.near.run("nft", "list", "ruleset") == before


def test_an_output_hook_that_drops_lets_adverts_out(segment: Segment) -> None:
    """Adverts to the group and to peers leave."""
    segment.near.nft(
        "table inet out {\n chain o {\n type filter hook output priority 0; policy drop\n"
        "meta l4proto ipv6-icmp accept\n}\n}\n"
    )
    destinations = [str(GROUP4), str(PEER4), str(GROUP6), str(PEER6)]
    assert [each for each in destinations if segment.leaves(each)] == []
    Keeper().want()
    assert [each for each in destinations if segment.leaves(each)] == destinations


def test_iptables_still_reads_and_saves_its_tables(segment: Segment) -> None:
    """A rule of the agent in a table of iptables-nft is one that iptables can show and restore."""
    _put_up(segment.near, "iptables policy")
    Keeper().want()
    listed = segment.near.run("iptables-nft", "-nL", "INPUT")
    assert listed.count("/* ipfailover-agent lab */") == 2
    saved = segment.near.run("iptables-nft-save")
    comment = '-m comment --comment "ipfailover-agent lab" -j ACCEPT'
    rules = [line for line in saved.splitlines() if "ipfailover" in line]
    assert rules == [
        f"-A INPUT -s {PEER4}/32 -p vrrp {comment}",
        f"-A INPUT -d {GROUP4}/32 -p vrrp {comment}",
    ]
    saved6 = segment.near.run("ip6tables-nft-save")
    assert f"-A INPUT -d {GROUP6}/128 -p vrrp {comment}" in saved6.splitlines()
    segment.near.run("iptables-nft-restore", "--test", stdin=saved)


@pytest.mark.timing
def test_a_firewall_that_was_loaded_again_gets_the_rules_again(segment: Segment) -> None:
    """A reload drops the rules; the next question for the generation notices, within 2 s."""
    _put_up(segment.near, "policy drop")
    keeper = Keeper()
    first = keeper.want()
    assert keeper.settle() == []
    segment.near.run("nft", "flush", "ruleset")
    _put_up(segment.near, "policy drop")
    assert not segment.arrives(str(GROUP4))
    began = time.monotonic()

    def is_back() -> bool:
        keeper.turn()
        return len(keeper.reports) == len(first)

    wait_until(is_back, timeout=12, message="the rules do not come back")
    assert time.monotonic() - began < 2.5
    assert segment.arrives(str(GROUP4))


def test_a_drop_that_somebody_puts_before_our_rules_is_overtaken(segment: Segment) -> None:
    """What stands before the rules could drop VRRP: they move to the head, none is lost."""
    _put_up(segment.near, "iptables policy")
    keeper = Keeper()
    keeper.want(frozenset({GROUP4}))
    segment.near.run("iptables-nft", "-I", "INPUT", "-m", "state", "--state", "NEW", "-j", "DROP")
    assert not segment.arrives(str(GROUP4))
    reports = keeper.want(frozenset({GROUP4}))
    assert [type(each) for each in reports] == [RuleInserted, RuleRemoved]
    assert segment.arrives(str(GROUP4))
    assert segment.near.run("iptables-nft", "-nL", "INPUT").count("ipfailover") == 1


def test_rules_of_a_former_run_are_kept_and_those_of_a_former_peer_removed(
    segment: Segment,
) -> None:
    """After SIGKILL the next agent finds its rules, and takes away what it does not want."""
    _put_up(segment.near, "policy drop")
    Keeper().want()
    keeper = Keeper()
    assert keeper.want() == []
    reports = keeper.want(WANTED - {PEER4})
    assert reports == [RuleRemoved(table="inet filter", chain="input", address=PEER4)]


def test_rules_of_another_configuration_are_not_ours(segment: Segment) -> None:
    """Two agents on one node, one name the beginning of the other: each removes its own."""
    _put_up(segment.near, "policy drop")
    other = Keeper(tag=accept_rules.tag_for("lab two"))
    other.want(frozenset({GROUP4}))
    theirs = segment.near.run("nft", "list", "ruleset")
    keeper = Keeper()
    keeper.want(frozenset({GROUP4}))
    assert segment.near.run("nft", "list", "ruleset").count("ipfailover-agent") == 2
    reports: list[Report] = []
    remove_all(TAG, os.environ, reports.append)
    assert len(reports) == 1
    assert segment.near.run("nft", "list", "ruleset") == theirs


def test_removing_is_done_although_a_look_is_under_way(segment: Segment) -> None:
    """The look is abandoned, its process reaped, and nothing comes back."""
    _put_up(segment.near, "policy drop")
    before = segment.near.run("nft", "list", "ruleset")
    keeper = Keeper()
    keeper.want(frozenset({GROUP4}))
    keeper.firewall.want(WANTED, time.monotonic())
    keeper.firewall.tick(time.monotonic())
    assert keeper.firewall.is_active is None
    keeper.firewall.remove_all()
    assert segment.near.run("nft", "list", "ruleset") == before
    assert list(process.reap()) == []
    assert keeper.firewall.deadline is None


def test_without_nft_the_failure_is_told_once_and_looked_at_again(
    segment: Segment, tmp_path: Path
) -> None:
    """An empty PATH: an event in words, never an exception."""
    keeper = Keeper({"PATH": str(tmp_path)})
    reports = keeper.want()
    reason = f"cannot start 'nft': it is not there (PATH is {tmp_path})"
    assert reports == [LookFailed(reason=reason)]
    assert keeper.firewall.is_active is False
    assert keeper.want() == []
    keeper.firewall.remove_all()
    assert keeper.reports == [LookFailed(reason=reason)]
    assert segment.arrives(str(GROUP4))


def another_nft(directory: Path, command: str) -> dict[str, str]:
    """Return an environment in which nft is this command."""
    program = directory / "nft"
    program.write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
    program.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


def test_without_the_right_to_use_it_nft_says_so(segment: Segment, tmp_path: Path) -> None:
    """NET_ADMIN is missing: nft's own words are the reason."""
    without = "setpriv --bounding-set -net_admin --inh-caps -net_admin"
    keeper = Keeper(another_nft(tmp_path, f'{without} {shutil.which("nft")} "$@"'))
    _put_up(segment.near, "policy drop")
    reports = keeper.want()
    assert reports == [LookFailed(reason="Operation not permitted (you must be root)")]


def test_an_nft_that_hangs_is_killed(
    segment: Segment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets its time, then it is ended and that is told."""
    del segment
    monkeypatch.setattr("ipfailover_agent.firewall.service._RUN_LIMIT", 0.2)
    keeper = Keeper(another_nft(tmp_path, "sleep 60"))
    assert keeper.want() == [LookFailed(reason="nft was killed")]


def test_a_table_that_refuses_is_told_and_the_others_are_served(segment: Segment) -> None:
    """A table can belong to a process (flags owner): its name, and what to do, are told."""
    _put_up(segment.near, "like firewalld")
    _put_up(segment.near, "policy drop")
    with owned_table():
        keeper = Keeper()
        reports = keeper.want()
        failed = [each for each in reports if isinstance(each, LookFailed)]
        assert [each.table for each in failed] == ["inet owned"]
        # whether nft was refused or, 1.0.6, prints what lies in memory for the flag: no JSON
        assert failed[0].reason == accept_rules.owner_advice(Table(family="inet", name="owned"))
        assert owned_tables() == {Table(family="inet", name="owned")}
        changed = {each.table for each in reports if isinstance(each, RuleInserted)}
        assert {"inet filter", "inet firewalld"} == changed
        assert keeper.firewall.is_active is False


def test_many_tables_are_all_asked_about(segment: Segment) -> None:
    """The kernel tells of them in several parts; none is owned."""
    segment.near.nft("".join(f"table inet {'x' * 200}{number} {{ }}\n" for number in range(300)))
    with owned_table():
        assert owned_tables() == {Table(family="inet", name="owned")}


def owned_table() -> socket.socket:
    """Return a socket that owns table ``inet owned``, with a chain that drops all input."""
    owner = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    owner.bind((0, 0))

    def attribute(kind: int, data: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

    def message(kind: int, flags: int, family: int, resource: int, data: bytes) -> bytes:
        header = struct.pack(">BBH", family, 0, resource)
        return rtnetlink.build_message(kind, flags, 0, header + data)

    hook = attribute(1, struct.pack(">I", 1)) + attribute(2, struct.pack(">I", 0))
    inet, create, name = 1, 0x401, attribute(1, b"owned\0")
    chain = name + attribute(3, b"input\0") + attribute(0x8000 | 4, hook)
    chain += attribute(5, struct.pack(">I", 0)) + attribute(7, b"filter\0")
    owner.send(
        message(16, 1, 0, 10, b"")
        + message(10 << 8 | 0, create, inet, 0, name + attribute(2, struct.pack(">I", 2)))
        + message(10 << 8 | 3, create, inet, 0, chain)
        + message(17, 1, 0, 10, b"")
    )
    return owner


@pytest.mark.timing
def test_ten_thousand_rules_of_nat_are_not_even_listed(segment: Segment) -> None:
    """What Kubernetes keeps in the nat table costs nothing, and no step takes long."""
    lines = ["*nat", *(f":KUBE-SVC-{number} - [0:0]" for number in range(2000))]
    lines += [
        f"-A KUBE-SVC-{number} -p tcp -m tcp --dport {port} -j DNAT --to 10.0.0.1:80"
        for number in range(2000)
        for port in range(1, 6)
    ]
    segment.near.run("iptables-nft-restore", stdin="\n".join([*lines, "COMMIT"]) + "\n")
    _put_up(segment.near, "iptables policy")
    keeper = Keeper()
    keeper.firewall.want(WANTED, time.monotonic())
    longest = 0.0
    while keeper.firewall.is_active is None:
        began = time.thread_time()
        keeper.turn()
        longest = max(longest, time.thread_time() - began)
    assert len(keeper.reports) == 4
    assert longest < (0.05 if sys.gettrace() is None else 0.5)  # coverage costs time


def test_the_generation_tells_changes(segment: Segment) -> None:
    """Equal while nothing changes, greater after a change."""
    first = read_generation()
    assert first is not None
    assert read_generation() == first
    _put_up(segment.near, "policy drop")
    after = read_generation()
    assert after is not None
    assert after > first
