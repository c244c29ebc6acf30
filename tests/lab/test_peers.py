"""Peers by name, with a real DNS server and the real keepalived: one holder, whatever DNS does."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.lab.kit.lab import Lab
from tests.lab.kit.names import NAME, NameServer
from tests.lab.kit.node import AGENT, Node
from tests.lab.kit.scenarios import ELECTION, PLANNED, stays, variables
from tests.support.waiting import wait_until

#: A first start: the names are looked at until they have said the same for some seconds.
FIRST = ELECTION + 6.0
#: Until every node has taken a new one for a peer: two looks, the second a second after the first.
JOINED = 10.0


@pytest.fixture
def server(lab: Lab) -> Iterator[NameServer]:
    """Give a name server for the lab's containers."""
    server = NameServer(lab)
    yield server
    server.die()


#: The agent with another delay than ten minutes until a peer that DNS lacks is dropped.
IMPATIENT = """
import functools, sys
from ipfailover_agent import entry
from ipfailover_agent.peers import peers
peers.PeersPolicy = functools.partial(peers.PeersPolicy, drop_after=8.0)
sys.argv = ["ipfailover-agent", "run"]
entry.main()
"""


def start(
    server: NameServer,
    nodes: Sequence[Node],
    *addresses: str,
    command: Sequence[str] = AGENT,
    **more: str,
) -> None:
    """Start the agent on these nodes, with the name as the only source of peers."""
    for node in nodes:
        values = variables(*addresses, UNICAST_PEERS_DNS=NAME, **more)
        node.start(values, command, prepare=server.preparation(node.name))


def ips(nodes: Sequence[Node]) -> list[str]:
    """Return the nodes' own addresses."""
    return [each.ip for each in nodes]


def peers(node: Node, block: int = 0) -> list[str]:
    """Return the peers of the first instance in keepalived.conf, the file that is in force.

    Or of another one, counted from 0.
    """
    try:
        text = node.read("/etc/keepalived/keepalived.conf")
    except FileNotFoundError:
        return []  # it waits for an answer
    found = text.split("unicast_peer {")[1 + block :]
    return found[0].partition("}")[0].split() if found else []


def wait_for_peers(expected: dict[Node, list[str]], *, timeout: float) -> None:
    """Wait until each of these nodes has just these peers."""
    wait_until(
        lambda: all(sorted(peers(node)) == sorted(want) for node, want in expected.items()),
        timeout,
        f"the peers are {expected}",
    )


def never_two(lab: Lab, addresses: Sequence[str], *, since: float, none: float) -> None:
    """Assert that no address ever had two holders, nor none for longer than ``none`` seconds."""
    assert lab.recorder.seconds_with_two(*addresses, since=since) == 0
    assert lab.recorder.seconds_with_none(*addresses, since=since) <= none


def test_nodes_find_each_other(lab: Lab, server: NameServer) -> None:
    """Each address has one holder from the start, and adverts are unicast."""
    addresses = lab.numbered(4)
    server.say(ips(lab.nodes))
    start(server, lab.nodes, *addresses)
    lab.wait_for_each(addresses, timeout=FIRST)
    wait_for_peers({each: ips(lab.others(each)) for each in lab.nodes}, timeout=1)
    assert [lab.recorder.seconds_with_two(each) for each in addresses] == [0] * 4


def test_a_node_comes(lab: Lab, server: NameServer) -> None:
    """The reload that adds a peer costs no address, and no two nodes hold one."""
    addresses = lab.numbered(4)
    old, new = lab.nodes[:2], lab.nodes[2]
    server.say(ips(old))
    start(server, old, *addresses)
    lab.wait_for_each(addresses, timeout=FIRST)
    began = time.monotonic()
    server.say(ips(lab.nodes))
    start(server, [new], *addresses)
    wait_for_peers({each: ips(lab.others(each)) for each in lab.nodes}, timeout=JOINED)
    new.wait_for_status("ready", value=True)
    stays(5)  # longer than a master-down time
    never_two(lab, addresses, since=began, none=0)
    assert [lab.recorder.changes(each, since=began) for each in addresses] == [()] * 4
    new.stop()


def test_a_node_alone_serves(lab: Lab, server: NameServer) -> None:
    """The name is its own only: it holds everything, in unicast, without a word each second."""
    addresses = lab.numbered(2)
    node = lab.nodes[0]
    server.say([node.ip])
    start(server, [node], *addresses)
    lab.wait_for_each(addresses, timeout=FIRST)
    assert peers(node) == [node.ip]
    wait_until(
        lambda: (
            re.findall(r"state=MASTER .*addresses=[0-9.]+$", node.stderr(), re.MULTILINE)[1:]
            and node.stdout().count("Entering MASTER STATE\n") == 2
        ),
        5,
        "both were told of",
    )
    began = time.monotonic()
    said = len(node.output())
    stays(4)  # four adverts
    assert node.output()[said:] == ""
    server.say(ips(lab.nodes[:2]))
    start(server, lab.nodes[1:2], *addresses)
    wait_for_peers({node: ips(lab.nodes[1:2])}, timeout=JOINED)
    lab.nodes[1].wait_for_status("ready", value=True)
    stays(5)
    never_two(lab, addresses, since=began, none=0)


def test_a_node_that_leaves_is_dropped_in_the_end(lab: Lab, server: NameServer) -> None:
    """Its addresses are taken over at once; it is a peer for long after DNS has forgotten it."""
    addresses = lab.numbered(3)
    server.say(ips(lab.nodes))
    start(server, lab.nodes, *addresses, command=(sys.executable, "-c", IMPATIENT))
    lab.wait_for_each(addresses, timeout=FIRST)
    gone, *left = lab.nodes
    began = time.monotonic()
    gone.stop()
    server.say(ips(left))
    stays(3)
    assert all(gone.ip in peers(each) for each in left)
    wait_for_peers({each: ips(lab.others(gone, each)) for each in left}, timeout=30)
    assert left[0].events("peers.changed")[-1].endswith("count=2")
    stays(5)  # longer than a master-down time
    never_two(lab, addresses, since=began, none=PLANNED)
    lab.wait_for_each(addresses, timeout=1, among=left)


def test_nodes_find_each_other_by_ipv6(lab: Lab, server: NameServer) -> None:
    """Each family has the peers of its own, and a node that comes costs no address."""
    addresses = [lab.virtual(1), lab.virtual6(1), lab.virtual6(2)]
    old, new = lab.nodes[:2], lab.nodes[2]
    both = {each: [each.ip, each.ipv6] for each in lab.nodes}
    server.say([address for each in old for address in both[each]])
    start(server, old, *addresses)
    lab.wait_for_each(addresses, timeout=FIRST)
    # Priorities 254 and 250 are 16 ms apart: two that start at once may meet for that long.
    assert lab.recorder.seconds_with_two(*addresses) < 0.1
    began = time.monotonic()
    server.say([address for each in lab.nodes for address in both[each]])
    start(server, [new], *addresses)
    wanted = {
        node: [sorted(both[each][family] for each in lab.others(node)) for family in (0, 1)]
        for node in lab.nodes
    }
    wait_until(
        lambda: all(
            [sorted(peers(node, block=block)) for block in (0, 1)] == expected
            for node, expected in wanted.items()
        ),
        JOINED,
        "every node has the others of each family for peers",
    )
    new.wait_for_status("ready", value=True)
    stays(5)
    never_two(lab, addresses, since=began, none=0)
    holder = lab.wait_for_holder(addresses[1])
    holder.stop()
    lab.wait_for_each(addresses, timeout=PLANNED, among=lab.others(holder))


def restarts_at_once(node: Node) -> bool:
    """Tell whether the newest start waited for nothing, and said on what its set rests."""
    _, _, newest = node.stderr().rpartition("event=agent.started")
    assert "event=host.awaited" not in newest, newest
    return 'basis="stored, and confirmed by DNS within the last 600 s"' in newest


def test_dns_dies(lab: Lab, server: NameServer) -> None:
    """Everything stays; restarted nodes take the set of before at once, and no node is alone.

    So they do while DNS is alive.
    """
    addresses = lab.numbered(3)
    server.say(ips(lab.nodes))
    start(server, lab.nodes, *addresses)
    lab.wait_for_each(addresses, timeout=FIRST)
    again = lab.nodes[2]
    again.stop()
    lab.wait_for_each(addresses, timeout=PLANNED, among=lab.others(again))
    began = time.monotonic()
    start(server, [again], *addresses)
    again.wait_for_status("ready", value=True, timeout=10)
    assert restarts_at_once(again)
    server.die()
    lab.nodes[0].wait_for_line("peers.unresolved")
    assert all(lab.recorder.changes(each, since=began) == () for each in addresses)
    victim = lab.wait_for_holder(addresses[0])
    victim.stop()
    restarted = time.monotonic()
    start(server, [victim], *addresses)
    victim.wait_for_status("ready", value=True, timeout=10)
    assert time.monotonic() - restarted < 8  # not a first start's looks
    assert restarts_at_once(victim)
    assert sorted(peers(victim)) == sorted(ips(lab.others(victim)))
    stays(5)
    never_two(lab, addresses, since=began, none=PLANNED)


@pytest.mark.slow
def test_dns_lies(lab: Lab, server: NameServer) -> None:
    """What cannot be nodes is refused with words, and what was known stays."""
    addresses = lab.numbered(2)
    server.say(ips(lab.nodes))
    start(server, lab.nodes, *addresses)
    lab.wait_for_each(addresses, timeout=FIRST)
    began = time.monotonic()
    before = {each: peers(each) for each in lab.nodes}
    server.say([*ips(lab.nodes), addresses[0]])
    lab.nodes[0].wait_for_line(f"{addresses[0]} is one of the virtual addresses")
    server.say(["127.0.0.1"])
    lab.nodes[0].wait_for_line("127.0.0.1 is a loopback address")
    server.say([f"10.9.{number // 250}.{1 + number % 250}" for number in range(300)])
    lab.nodes[0].wait_for_line("at most 64 are taken")
    assert {each: peers(each) for each in lab.nodes} == before
    server.say([])
    lab.nodes[0].wait_for_line("no address")
    server.say(ips(lab.nodes))
    lab.nodes[0].wait_for_line("peers.resolved")
    assert [lab.recorder.changes(each, since=began) for each in addresses] == [(), ()]


def test_a_dead_dns_at_a_first_start_is_waited_for(lab: Lab, server: NameServer) -> None:
    """Not ready, with the reason; served as soon as there is an answer; ended at once if asked."""
    address = lab.virtual(1)
    start(server, lab.nodes[:2], address)
    first, second = lab.nodes[:2]
    first.wait_for_status("phase", "waiting")
    first.wait_for_line("no peers yet")
    second.terminate()
    assert second.wait(3) == 0
    server.say([first.ip])
    lab.wait_for_holder(address, timeout=FIRST)


def test_a_node_that_dns_does_not_know_says_so(lab: Lab, server: NameServer) -> None:
    """The others do not send to it."""
    address = lab.virtual(1)
    server.say(ips(lab.nodes[:2]))
    start(server, [lab.nodes[2]], address)
    lab.nodes[2].wait_for_line("peers.self_missing")
    assert len(lab.nodes[2].events("peers.self_missing")) == 1
    shown = lab.nodes[2].ask("check")
    assert "no name resolves to an IPv4 address of this node" in shown.stdout
    assert f"peers: {NAME} (IPv4): {' '.join(ips(lab.nodes[:2]))}" in shown.stdout


def test_a_resolver_that_hangs_keeps_nobody_from_ending(lab: Lab) -> None:
    """Half a minute for an answer: addresses stay, it is said, and TERM ends at once."""
    server = NameServer(lab, patience=30)
    address = lab.virtual(1)
    server.say(ips(lab.nodes[:2]))
    start(server, lab.nodes[:2], address)
    holder = lab.wait_for_holder(address, timeout=FIRST)
    began = time.monotonic()
    server.freeze()
    try:
        holder.wait_for_line("no answer within 4 s", timeout=15)
        assert lab.recorder.changes(address, since=began) == ()
        holder.terminate()
        assert holder.wait(3) == 0
        lab.wait_for_holder(address, timeout=PLANNED, among=lab.nodes[:2])
    finally:
        server.die()
