"""IPv6 unicast where a router's advertisement sets another hop limit than 64."""

from __future__ import annotations

import socket

from tests.lab.kit import raw
from tests.lab.kit.lab import Lab
from tests.lab.kit.node import Node
from tests.lab.kit.scenarios import ELECTION, variables

HOP_LIMIT = 37
PLACE = 14 + 7  # of the hop limit in a frame: an Ethernet header, then RFC 8200 section 3
NEXT_HEADER, VRRP = 14 + 6, 112
ETHERTYPE_IPV6 = 0x86DD


def hop_limits(node: Node, wanted: int) -> list[int]:
    """Return the hop limits of the next ``wanted`` adverts that a node sees of others."""
    found: list[int] = []
    protocol = socket.htons(ETHERTYPE_IPV6)
    with node.network.open_socket(socket.AF_PACKET, socket.SOCK_RAW, protocol) as wire:
        wire.settimeout(ELECTION)
        while len(found) < wanted:
            frame = wire.recv(128)
            if frame[NEXT_HEADER] == VRRP:
                found.append(frame[PLACE])
    return found


def test_a_peer_is_no_stranger_whatever_its_hop_limit(pair: Lab) -> None:
    """Plain keepalived sends with the interface's; an agent's node with 255, as the RFC wants.

    The plain one takes over a node that does not hear it: its adverts say so, not a rumour.
    """
    ours, plain = pair.nodes
    for each in pair.nodes:
        each.network.set_sysctls({"ipv6/conf/eth0/hop_limit": str(HOP_LIMIT)})
    virtual = pair.virtual6(1)
    ours.start(variables(virtual, **pair.peers(), PRIORITY="100", VRRP_ID_OFFSET="50"))
    pair.wait_for_holder(virtual, timeout=ELECTION)
    assert [255, 255] == hop_limits(plain, 2)
    ours.nft(
        "table inet lab { chain input { type filter hook input priority 0;"
        " ip6 nexthdr 112 drop; }; }"
    )
    unicast = raw.unicast(plain.ipv6, [ours.ipv6])
    plain.start_keepalived(raw.keepalived_config(virtual, priority=200, extra=unicast))
    assert [HOP_LIMIT, HOP_LIMIT] == hop_limits(ours, 2)
    line = ours.wait_for_line("event=contest.held")
    assert "kind=firewall" in line
    assert "a firewall drops protocol 112" in line
    pair.wait_for_holder(virtual, timeout=ELECTION, among=[plain])
    assert "do not come from this segment" not in ours.output()
