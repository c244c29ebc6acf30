"""The table that keeps foreign adverts from keepalived, as nft reads it.

A chain at the input hook: raw sockets get packets after it, packet sockets before it. The table is
made anew as a whole each time, in one step. Each rule has a set of its own with one element, the
sender, that the kernel ends: nft 1.0.6 forgets how long the pieces of a packet are that a
concatenation compares, so they stand in the rule.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.network.packets import CARP_COUNT, CARP_FIRST, CARP_LENGTH
from ipfailover_agent.core.network.signatures import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.core.network.signatures import Signature

_ADVERTISEMENT: Final = 1
_VRRP_HEADER: Final = 8  # bytes before the first address
_IPV4_HEADER: Final = 20
_PRIORITY: Final = -400  # before anything else looks at them
_BITS: Final = 8

_TABLE: Final = f"inet {TABLE}"
REMOVE: Final = f"delete table {_TABLE}"


def commands(interface: str, remaining: Mapping[Signature, float]) -> str:
    """Return nft's commands that drop exactly this; ``remaining``: for how many seconds more."""
    replaced = f"add table {_TABLE}\n{REMOVE}"
    if not remaining:
        return replaced
    sets: list[str] = []
    rules: list[str] = []
    for number, (each, seconds) in enumerate(remaining.items()):
        kind = "ipv4_addr" if each.source.version == 4 else "ipv6_addr"  # noqa: PLR2004
        element = f"{each.source} timeout {max(math.ceil(seconds), 1)}s"
        sets.append(f"set s{number} {{ type {kind}; flags timeout; elements = {{ {element} }}; }}")
        rules.append(rule(each, interface, f"s{number}"))
    chain = f"type filter hook input priority {_PRIORITY}; policy accept;"
    body = "\n".join((*sets, "chain input {", chain, *rules, "}"))
    return f"{replaced}\ntable {_TABLE} {{\n{body}\n}}"


def rule(signature: Signature, interface: str, name: str) -> str:
    """Return the rule that drops such adverts of the senders in the set ``name``.

    ``ip6 nexthdr``, since nft 1.0.6 lists ``meta l4proto`` here without the protocol.
    """
    is_ipv4 = signature.source.version == 4  # noqa: PLR2004
    family, protocol, hops = (
        ("ip", "ip protocol 112", "ip ttl")
        if is_ipv4
        else ("ip6", "ip6 nexthdr 112", "ip6 hoplimit")
    )
    matches = [f'iifname "{interface}"', protocol]
    if signature.hop_limit is not None:
        matches.append(f"{hops} {signature.hop_limit}")
    if signature.is_carp:
        begin, count = CARP_FIRST, CARP_COUNT
        whole = _IPV4_HEADER + CARP_LENGTH
        matches.append(
            f"ip hdrlength 5 ip length {whole}" if is_ipv4 else f"ip6 length {CARP_LENGTH}"
        )
    else:
        begin, count = signature.version << 4 | _ADVERTISEMENT, signature.count
    matches.append(f"@th,0,16 {begin << _BITS | signature.router_id:#06x}")
    matches.append(f"@th,24,8 {count}")
    width = 32 if is_ipv4 else 128
    matches += [
        f"@th,{_VRRP_HEADER * _BITS + place * width},{width} {int(each):#x}"
        for place, each in enumerate(signature.listed)
    ]
    return " ".join((*matches, f"{family} saddr @{name}", "counter drop"))
