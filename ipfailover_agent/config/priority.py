"""Which node is to hold which instance: priorities, the same whenever they are computed.

Priorities are not compared on the wire beyond the election itself, so nodes with other rules may
run beside these. 255 is never given (RFC 3768 section 5.3.4: it belongs to the address owner, and
keepalived clears nopreempt and preempt_delay for it), nor 0 (it means "I resign").
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ipfailover_agent.model import Family, family_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.model import IPAddress

HIGHEST = 254
LOWEST = 1
_STEP = 4  # keeps the first ranks apart, so that no two skew timers expire together
_MODULUS = 127  # prime: every factor in 1..126 maps 0..126 one to one
_POWER = 5  # no divisor in common with 126, hence one to one
MULTICAST_LOWEST = 128  # skew at most (256 - 128) / 256 = 0.5 s


def among_peers(node: IPAddress, peers: Collection[IPAddress], position: int) -> int:
    """Return the priority of ``node`` where all nodes are known by address.

    Owner of an instance is node ``position`` modulo the number of nodes in the order of their
    addresses, so ownership differs by at most one. The order of the others turns with every round,
    so that the instances of a node that dies are spread over all the others too. ``peers`` may
    contain ``node``; ``position`` counts the instances of one family from 0.
    """
    nodes = sorted({node, *peers}, key=int)
    count = len(nodes)
    distance = (nodes.index(node) - position) % count
    rank = 0
    if distance:
        rank = 1 + (distance - 1 + position // count) % (count - 1)
    return for_rank(rank, count)


def among_resolved(node: IPAddress, peers: Collection[IPAddress], identifier: int) -> int:
    """Return the priority of ``node`` where the nodes are known by name, and so come and go.

    Nodes rank by a hash of themselves and the instance (rendezvous hashing): one node more or
    less leaves the order of the others, so that it re-owns about one instance in n. While nodes
    disagree about the set of nodes, two may get the same priority, and the address decides (RFC
    3768 section 6.4.3). ``peers`` may contain ``node``; ``identifier`` is the virtual router id.
    """

    def weight(each: IPAddress) -> tuple[bytes, int]:
        return hashlib.sha256(f"{each} {identifier}".encode()).digest(), int(each)

    ranked = sorted({node, *peers}, key=weight, reverse=True)
    return for_rank(ranked.index(node), len(ranked))


def for_rank(rank: int, count: int) -> int:
    """Return the priority of a rank, 0 the highest, among ``count`` known nodes."""
    step = max(1, min(_STEP, (HIGHEST - LOWEST) // max(1, count - 1)))
    return max(LOWEST, HIGHEST - step * rank)


def among_strangers(node: IPAddress, number: int) -> int:
    """Return the priority of ``node``, 128 to 254, where the other nodes are not known.

    128 + (a * (octet + c)^5 + b) mod 127, with a, b and c from a stable hash of a pair of
    instances; the second instance of a pair turns the order round, so that two nodes share every
    pair. The fifth power is one to one modulo 127, and does not keep neighbours together as a
    straight line would. Priorities are equal only where octets are equal modulo 127, and there
    the address decides (RFC 3768 section 6.4.3). Of the address the last octet counts, of IPv6
    the last 16 bits; ``number`` is the instance's, counted from 1.
    """
    octet = int(node) & (0xFF if family_of(node) is Family.IPV4 else 0xFFFF)
    pair, second = divmod(number - 1, 2)
    seed = int.from_bytes(hashlib.sha256(f"instances {pair}".encode()).digest()[:8])
    seed, factor = divmod(seed, _MODULUS - 1)
    seed, shift = divmod(seed, _MODULUS)
    value = ((factor + 1) * pow(octet + seed, _POWER, _MODULUS) + shift) % _MODULUS
    if second:
        value = _MODULUS - 1 - value
    return MULTICAST_LOWEST + value
