"""What nft is given, and what it returns: the rules that let VRRP in, and the shield's table.

Rules that let VRRP in go into tables of other programs, whose names may hold anything: they are
JSON. The shield's table is the agent's own, and text. It has a chain at the input hook: raw
sockets get packets after it, packet sockets before it. The table is made anew as a whole each
time, in one step. Each rule has a set of its own with one element, the sender, that the kernel
ends: nft 1.0.6 forgets how long the pieces of a packet are that a concatenation compares, so they
stand in the rule.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.firewall.ruleset import SHIELD
from ipfailover_agent.vrrp.packets import CARP_COUNT, CARP_FIRST, CARP_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipfailover_agent.firewall.ruleset import Accepted, Rule, Table
    from ipfailover_agent.firewall.shield import Signature

_PROTOCOL: Final = 112  # IANA: VRRP
_CHANGES_PER_COMMAND: Final = 200  # an argument of a program holds 128 KiB, a change 350 bytes
_ADVERTISEMENT: Final = 1
_VRRP_HEADER: Final = 8  # bytes before the first address
_PRIORITY: Final = -400  # before anything else looks at them
_BITS: Final = 8


class Output(Struct, frozen=True, kw_only=True):
    """What became of a run: ``exit_code`` None where it was killed or could not be started."""

    exit_code: int | None
    text: str = ""
    errors: str = ""

    @property
    def fault(self) -> str:
        """Return the line that names what failed; the next ones repeat the command."""
        lines = [each.strip() for each in self.errors.splitlines() if each.strip()]
        lines.sort(key=lambda each: not ("rror" in each or "not permitted" in each))
        return lines[0].removeprefix("internal:0:0-0: ") if lines else "nft ended without a word"


# --- rules that let VRRP in ----------------------------------------------------------------------


class Insertion(Struct, frozen=True, kw_only=True):
    """A rule to be put at the head of a base chain."""

    chain: str
    accepted: Accepted


class TableChange(Struct, frozen=True, kw_only=True):
    """What has to change in one table."""

    table: Table
    inserted: tuple[Insertion, ...] = ()
    removed: tuple[Rule, ...] = ()


LIST_CHAINS: Final = ("-j", "list", "chains")
"""Arguments for nft: every chain, without rules. Cheap where rules are many."""


def list_table(table: Table) -> tuple[str, ...]:
    """Return nft's arguments for one table, without the elements of named sets.

    In JSON, because a name may hold anything. One at a time: nft 1.0.6 finds only the last of two.
    """
    return ("-j", "-t", _json([{"list": {"table": {"family": table.family, "name": table.name}}}]))


def change_rules(change: TableChange, tag: str) -> tuple[tuple[str, ...], ...]:
    """Return nft's arguments, a command after the other; each takes effect in full or not."""
    steps: list[object] = [
        {"insert": {"rule": _accept_rule(change.table, each, tag)}} for each in change.inserted
    ]
    steps += [
        {"delete": {"rule": {**_place(change.table, each.chain), "handle": each.handle}}}
        for each in change.removed
    ]
    return tuple(
        ("-j", _json(steps[first : first + _CHANGES_PER_COMMAND]))
        for first in range(0, len(steps), _CHANGES_PER_COMMAND)
    )


def _accept_rule(table: Table, insertion: Insertion, tag: str) -> dict[str, object]:
    accepted = insertion.accepted
    header = "ip" if accepted.address.version == 4 else "ip6"  # noqa: PLR2004 - the family
    protocol: dict[str, object] = {"meta": {"key": "l4proto"}}
    if table.family == "ip":  # as iptables-nft itself writes it
        protocol = {"payload": {"protocol": "ip", "field": "protocol"}}
    address = {"payload": {"protocol": header, "field": accepted.field}}
    return {
        **_place(table, insertion.chain),
        "comment": tag,
        "expr": [
            {"match": {"op": "==", "left": protocol, "right": _PROTOCOL}},
            {"match": {"op": "==", "left": address, "right": str(accepted.address)}},
            {"accept": None},
        ],
    }


def _place(table: Table, chain: str) -> dict[str, object]:
    return {"family": table.family, "table": table.name, "chain": chain}


def _json(commands: Sequence[object]) -> str:
    return json.dumps({"nftables": commands})


# --- the shield ----------------------------------------------------------------------------------

# By IP version: family; what matches VRRP, a hop limit, CARP's length; bits of an address.
_WORDS: Final = {
    4: ("ip", "ip protocol 112", "ip ttl", f"ip hdrlength 5 ip length {20 + CARP_LENGTH}", 32),
    6: ("ip6", "ip6 nexthdr 112", "ip6 hoplimit", f"ip6 length {CARP_LENGTH}", 128),
}
REMOVE_SHIELD: Final = f"delete table {SHIELD}"


def shield_commands(interface: str, remaining: Mapping[Signature, float]) -> str:
    """Return nft's commands that drop exactly this; ``remaining``: for how many seconds more."""
    replaced = f"add table {SHIELD}\n{REMOVE_SHIELD}"
    if not remaining:
        return replaced
    sets: list[str] = []
    rules: list[str] = []
    for number, (each, seconds) in enumerate(remaining.items()):
        kind = f"ipv{each.source.version}_addr"
        element = f"{each.source} timeout {max(math.ceil(seconds), 1)}s"
        sets.append(f"set s{number} {{ type {kind}; flags timeout; elements = {{ {element} }}; }}")
        rules.append(shield_rule(each, interface, f"s{number}"))
    chain = f"type filter hook input priority {_PRIORITY}; policy accept;"
    body = "\n".join((*sets, "chain input {", chain, *rules, "}"))
    return f"{replaced}\ntable {SHIELD} {{\n{body}\n}}"


def shield_rule(signature: Signature, interface: str, name: str) -> str:
    """Return the rule that drops such adverts of the senders in the set ``name``.

    ``ip6 nexthdr``, since nft 1.0.6 lists ``meta l4proto`` here without the protocol.
    """
    family, protocol, hops, carp, width = _WORDS[signature.source.version]
    matches = [f'iifname "{interface}"', protocol]
    if signature.hop_limit is not None:
        matches.append(f"{hops} {signature.hop_limit}")
    if signature.is_carp:
        begin, count = CARP_FIRST, CARP_COUNT
        matches.append(carp)
    else:
        begin, count = signature.version << 4 | _ADVERTISEMENT, signature.count
    matches.append(f"@th,0,16 {begin << _BITS | signature.router_id:#06x}")
    matches.append(f"@th,24,8 {count}")
    matches += [
        f"@th,{_VRRP_HEADER * _BITS + place * width},{width} {int(each):#x}"
        for place, each in enumerate(signature.listed)
    ]
    return " ".join((*matches, f"{family} saddr @{name}", "counter drop"))
