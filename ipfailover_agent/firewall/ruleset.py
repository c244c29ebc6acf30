"""What nftables shows of its chains and rules, and where VRRP can be dropped in them.

Reads the JSON of ``nft -j -t`` (libnftables-json(5), seen with nft 1.0.6), which shows the tables
of iptables-nft too; what iptables itself understands only is ``xt`` there. Where something cannot
be understood it counts as able to drop: an accept too many does no harm, one too few gives an
address two holders.
"""

from __future__ import annotations

import enum
import json
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ipfailover_agent.model import IPAddress

_BEGIN: Final = re.compile(r'[\s,]*(?:\{\s*"nftables"\s*:\s*\[)?[\s,]*')
_END: Final = re.compile(r"\s*\]\s*\}\s*")
FAMILIES: Final = frozenset({"ip", "ip6", "inet"})
"""Of tables that the agent puts rules into."""

_VRRP: Final = frozenset({"vrrp", "112", 112})  # a name where /etc/protocols has one
# A payload of one of these is looked at in packets of that protocol only. Not "th": any transport.
_OTHER_PROTOCOLS: Final = frozenset(
    {"tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "igmp", "esp", "ah", "comp", "gre"}
)
# Targets of iptables after which a packet goes on or is accepted.
_HARMLESS_TARGETS: Final = frozenset(
    {
        *("ACCOUNT", "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT", "DNAT"),
        *("DSCP", "HL", "HMARK", "IDLETIMER", "LED", "LOG", "MARK", "MASQUERADE", "NETMAP"),
        *("NFLOG", "NOTRACK", "RATEEST", "REDIRECT", "SECMARK", "SET", "SNAT", "TCPMSS"),
        *("TCPOPTSTRIP", "TEE", "TOS", "TRACE", "TTL", "ULOG"),
    }
)


class RulesetError(ValueError):
    """What nft printed is not what nft prints."""


class Hook(enum.Enum):
    """Where a base chain sits, as nftables names it."""

    INGRESS, PREROUTING, INPUT = "ingress", "prerouting", "input"
    OUTPUT, POSTROUTING, EGRESS = "output", "postrouting", "egress"


class Table(Struct, frozen=True, kw_only=True, order=True):
    """A table; names are unique per family (``ip``, ``ip6``, ``inet``)."""

    family: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


class Chain(Struct, frozen=True, kw_only=True):
    """A chain; ``hook`` is None unless packets enter there from a hook that matters to VRRP.

    ``devices`` are the interfaces of ``ingress`` and ``egress``; nft 1.0.6 names none of them.
    """

    table: Table
    name: str
    hook: Hook | None = None
    is_nat: bool = False
    drops_by_policy: bool = False
    devices: tuple[str, ...] = ()

    @property
    def takes_rules(self) -> bool:
        """Return whether the agent puts rules there."""
        return self.hook in {Hook.INPUT, Hook.OUTPUT} and self.table.family in FAMILIES

    @property
    def is_nat_of_iptables(self) -> bool:
        """Return whether iptables made it for NAT: it refuses DROP there."""
        return self.is_nat and self.table.name == "nat" and self.table.family != "inet"


class Accepted(Struct, frozen=True, kw_only=True):
    """VRRP with this address as ``field``: ``saddr`` or ``daddr``."""

    field: str
    address: IPAddress


class Rule(Struct, frozen=True, kw_only=True):
    """A rule, as far as it matters to VRRP.

    Attributes:
        may_drop: it drops, rejects, queues, or cannot be understood.
        targets: chains that it jumps or goes to.
        accepts: what it accepts, where it is of the form that this agent inserts.
        admits: the IP versions of which it accepts all VRRP, whichever program wrote it.
        is_about_others: it drops by a port, or for want of a way back.
    """

    table: Table
    chain: str
    handle: int
    comment: str = ""
    may_drop: bool = False
    targets: tuple[str, ...] = ()
    accepts: Accepted | None = None
    admits: frozenset[int] = frozenset()
    is_about_others: bool = False


Entry = Chain | Rule


# --- reading ------------------------------------------------------------------------------------


def read(text: str) -> Iterator[Entry | None]:
    """Yield the chains and rules of what nft printed, None for each object that is neither.

    A generator, so that a caller with deadlines can read megabytes piece by piece.

    Raises:
        RulesetError: it is no JSON, or no ruleset.
    """
    decoder = json.JSONDecoder()
    position = _start(text, 0)
    while position < len(text):
        if end := _END.match(text, position):
            position = _start(text, end.end())
            continue
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise RulesetError(f"cannot read nft's output at {position}: {error}") from error
        yield _entry(value)
        position = _start(text, position)


def _start(text: str, position: int) -> int:
    found = _BEGIN.match(text, position)
    return found.end() if found else position


def _entry(value: object) -> Entry | None:
    match value:
        case {"chain": {"family": str(family), "table": str(table), "name": str(name), **rest}}:
            return _chain(Table(family=family, name=table), name, rest)
        case {
            "rule": {
                "family": str(family),
                "table": str(table),
                "chain": str(chain),
                "handle": int(handle),
                **rest,
            }
        }:
            return _rule(Table(family=family, name=table), chain, handle, rest)
        case {"chain": _} | {"rule": _}:
            raise RulesetError(f"cannot read nft's output: {str(value)[:80]!r}")
        case _:
            return None


def _chain(table: Table, name: str, rest: Mapping[object, object]) -> Chain:
    known = {each.value: each for each in Hook}
    hook, devices = rest.get("hook"), rest.get("dev", [])
    return Chain(
        table=table,
        name=name,
        hook=known.get(hook) if isinstance(hook, str) else None,
        is_nat=rest.get("type") == "nat",
        drops_by_policy=rest.get("policy") == "drop",
        devices=tuple(map(str, devices if isinstance(devices, list) else [devices])),
    )


def _rule(table: Table, chain: str, handle: int, rest: Mapping[object, object]) -> Rule:
    comment = rest.get("comment")
    statements = rest.get("expr")
    statements = statements if isinstance(statements, list) else []
    may_drop, targets = False, tuple[str, ...]()
    if not any(_leaves_vrrp_out(each) for each in statements):
        may_drop, targets = _outcomes(statements)
    return Rule(
        table=table,
        chain=chain,
        handle=handle,
        comment=comment if isinstance(comment, str) else "",
        may_drop=may_drop,
        targets=targets,
        accepts=_accepted(statements),
        admits=_admitted(statements),
        is_about_others=any(map(_is_about_others, statements)),
    )


def _leaves_vrrp_out(statement: object) -> bool:
    """Return whether packets of protocol 112 surely do not get past this match."""
    match statement:
        case {"match": {"op": str(operator), "left": left, "right": right}}:
            pass
        case _:
            return False
    match left:
        case {"payload": {"protocol": str(protocol)}} if protocol in _OTHER_PROTOCOLS:
            return True
    if not _versions(left):
        return False
    match right:
        case {"set": list(values)}:
            pass
        case _:
            values = [right]
    if operator == "!=":
        return any(_is_vrrp(each) for each in values)
    plain = all(isinstance(each, str | int) and str(each)[:1] != "@" for each in values)
    return operator == "==" and plain and not any(_is_vrrp(each) for each in values)


def _is_about_others(statement: object) -> bool:
    """Return whether a statement asks for a port, or for a reverse path (firewalld, Calico).

    Not surely so: adverts come from a neighbour, and to it there is a way back.
    """
    match statement:
        case {"match": {"left": {"fib": {"result": "oif"}}, "right": right}}:
            return not right  # as nft shows "missing"
        case {"xt": {"type": "match", "name": "rpfilter"}}:
            return True
        case {"vmap": {"key": {"concat": list(parts)}}}:
            return {"payload": {"protocol": "th", "field": "dport"}} in parts
        case _:
            return False


def _versions(left: object) -> frozenset[int]:
    """Return the IP versions of which a match asks for the protocol, nothing where it does not."""
    match left:
        case {"meta": {"key": "l4proto"}}:
            return frozenset({4, 6})
        case {"payload": {"protocol": "ip", "field": "protocol"}}:
            return frozenset({4})
        case {"payload": {"protocol": "ip6", "field": "nexthdr"}}:
            return frozenset({6})
        case _:
            return frozenset()


def _is_vrrp(value: object) -> bool:
    return isinstance(value, str | int) and value in _VRRP


def _outcomes(statements: list[object]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a verdict in the rule may drop, and where its other verdicts lead."""
    may_drop = False
    targets: dict[str, None] = {}
    for number, statement in enumerate(statements, 1):
        match statement:
            case {"vmap": {"data": {"set": list(elements)}}}:
                verdicts = [
                    each[1] if isinstance(each, list) and len(each) == 2 else None  # noqa: PLR2004
                    for each in elements
                ]
            case {"xt": {"type": "match"}}:
                continue
            case {"xt": None} if number < len(statements):
                continue  # nft before 1.0.3 names nothing; the target comes last
            case _:
                verdicts = [statement]
        for verdict in verdicts:
            match verdict:
                case {"jump": {"target": str(target)}} | {"goto": {"target": str(target)}}:
                    targets[target] = None
                case {"xt": {"type": "target", "name": str(name)}} if name in _HARMLESS_TARGETS:
                    pass
                case {**words} if not words.keys() & {
                    *("drop", "reject", "queue", "jump", "goto", "xt", "vmap")
                }:
                    pass
                case _:  # among others an anonymous chain, which is plain text in the JSON
                    may_drop = True
    return may_drop, tuple(targets)


def _accepted(statements: list[object]) -> Accepted | None:
    """Return what a rule of this form accepts: one address, protocol 112, nothing else asked."""
    address: Accepted | None = None
    is_vrrp = is_accepted = False
    for statement in statements:
        match statement:
            case {"accept": _}:
                is_accepted = True
            case {"counter": _}:
                pass
            case {"match": {"op": "==", "left": left, "right": right}} if _versions(left):
                is_vrrp = _is_vrrp(right)
            case {
                "match": {
                    "op": "==",
                    "left": {"payload": {"field": "saddr" | "daddr" as field}},
                    "right": right,
                }
            } if address is None:
                try:
                    address = Accepted(field=field, address=ip_address(str(right)))
                except ValueError:
                    return None
            case _:
                return None
    return address if is_vrrp and is_accepted else None


def _admitted(statements: list[object]) -> frozenset[int]:
    """Return the IP versions of which a rule accepts all of VRRP, nothing else being asked."""
    versions = frozenset[int]()
    for statement in statements:
        match statement:
            case {"counter": _}:
                pass
            case {"accept": _}:
                return versions
            case {"match": {"op": "==", "left": left, "right": right}} if _is_vrrp(right):
                versions = _versions(left)
                if not versions:
                    break
            case _:
                break
    return frozenset()


# --- where packets get ---------------------------------------------------------------------------

SHIELD: Final = Table(family="inet", name="ipfailover-shield")
"""The agent's own table: what it drops is meant to be dropped."""


def tables_to_look_at(entries: Iterable[Entry]) -> tuple[Table, ...]:
    """Return the tables with a base chain that the agent puts rules into.

    iptables refuses DROP in its nat tables ("not intended for filtering"), and Kubernetes keeps
    thousands of rules there, which cost a second to list: those two are left out, and the shield.
    """
    tables = {
        each.table
        for each in entries
        if isinstance(each, Chain) and each.takes_rules and not each.is_nat_of_iptables
    } - {SHIELD}
    return tuple(sorted(tables))


class TableRules:
    """The chains and rules of one table, and where packets get from there.

    Rules in base chains whose comment is ``ours`` are passed over: they are about to be judged.
    """

    def __init__(self, entries: Iterable[Entry], ours: str | None = None) -> None:
        self._ours = ours
        self._chains: dict[str, Chain] = {}
        self._rules: dict[str, list[Rule]] = {}
        for entry in entries:
            if isinstance(entry, Chain):
                self._chains[entry.name] = entry
            else:
                self._rules.setdefault(entry.chain, []).append(entry)
        self._dropping = self._chains_that_may_drop()

    @property
    def base_chains(self) -> tuple[Chain, ...]:
        """Return the base chains that matter to VRRP, in nft's order."""
        return tuple(each for each in self._chains.values() if each.hook is not None)

    def rules_of(self, chain: str) -> tuple[Rule, ...]:
        """Return the rules of a chain, in their order."""
        return tuple(self._rules.get(chain, ()))

    def may_drop(self, rule: Rule) -> bool:
        """Return whether VRRP can be dropped by this rule or in a chain that it leads to.

        A chain that is not there cannot be judged, so it can.
        """
        return rule.may_drop or any(
            each in self._dropping or each not in self._chains for each in rule.targets
        )

    def chain_may_drop(self, chain: Chain) -> bool:
        """Return whether VRRP can be dropped from this base chain on."""
        return chain.drops_by_policy or chain.name in self._dropping

    def _chains_that_may_drop(self) -> frozenset[str]:
        """Follow the jumps backwards from every chain with a drop; cycles end by themselves."""
        sources: dict[str, set[str]] = {}
        found: set[str] = set()
        for name, rules in self._rules.items():
            is_base = name in self._chains and self._chains[name].takes_rules
            for rule in rules:
                if is_base and rule.comment == self._ours:
                    continue
                for target in rule.targets:
                    sources.setdefault(target, set()).add(name)
                if rule.may_drop or any(each not in self._chains for each in rule.targets):
                    found.add(name)
        waiting = list(found)
        while waiting:
            new = sources.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return frozenset(found)
