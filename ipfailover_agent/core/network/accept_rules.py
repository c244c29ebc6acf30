"""Letting VRRP in: which accept rules are missing, which are too many, and how nft changes them.

An accept verdict ends one base chain only, so every base chain that could drop VRRP needs rules of
its own, at its head: one per address, because iptables-nft loses the match of a rule that uses a
set.
"""

from __future__ import annotations

import hashlib
import json
import re
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.core.model import Family
from ipfailover_agent.core.network.chains import TableRules, tables_to_look_at
from ipfailover_agent.core.network.ruleset import (
    Accepted,
    Chain,
    Entry,
    Hook,
    Rule,
    RulesetError,
    Table,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from ipfailover_agent.core.model import IPAddress, KeepalivedConfig

VRRP_GROUPS: Final[Mapping[Family, IPAddress]] = {
    Family.IPV4: IPv4Address("224.0.0.18"),
    Family.IPV6: IPv6Address("ff02::12"),
}
"""Where VRRP routers listen: RFC 5798, 5.1.1.2 and 5.1.2.2."""

_PROTOCOL: Final = 112  # IANA: VRRP
_TAG_LENGTH: Final = 100  # a comment of nftables holds 128 bytes
_CHANGES_PER_COMMAND: Final = 200  # an argument of a program holds 128 KiB, a change 350 bytes
_OBJECTS_PER_SLICE: Final = 200  # some 4 ms on a small node
_TRIES: Final = 3
_FIREWALLD: Final = "firewalld"


def tag_for(config_name: str) -> str:
    """Return the comment that distinguishes this configuration's rules from all others."""
    plain = f"ipfailover-agent {config_name}"
    shown = re.sub(r"[^A-Za-z0-9._@+ -]", "_", plain)[:_TAG_LENGTH]
    if shown == plain:
        return plain
    return f"{shown[:-9]}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def wanted_addresses(config: KeepalivedConfig) -> frozenset[IPAddress]:
    """Return the groups of the families that are served, and every unicast peer.

    The group even where peers are named: a node with the former settings still sends to it.
    """
    groups = (VRRP_GROUPS[each.family] for each in config.instances)
    peers = (peer for each in config.instances for peer in each.unicast_peers)
    return frozenset((*groups, *peers))


# --- changes ------------------------------------------------------------------------------------


class Insertion(Struct, frozen=True, kw_only=True):
    """A rule to be put at the head of a base chain."""

    chain: str
    accepted: Accepted


class TableChange(Struct, frozen=True, kw_only=True):
    """What has to change in one table."""

    table: Table
    inserted: tuple[Insertion, ...] = ()
    removed: tuple[Rule, ...] = ()


def plan(entries: Iterable[Entry], wanted: frozenset[IPAddress], tag: str) -> TableChange | None:
    """Return what has to change in the table that the entries describe, None for nothing.

    A rule of the agent stays where it has effect: nothing that could drop VRRP precedes it. Rules
    of the agent that are not wanted, or in a chain that cannot drop any more, are removed.
    """
    rules = TableRules(entries, tag)
    inserted: list[Insertion] = []
    removed: list[Rule] = []
    table: Table | None = None
    for chain in rules.base_chains:
        if not chain.takes_rules:
            continue
        table = chain.table
        missing = _accepts(chain, wanted) if rules.chain_may_drop(chain) else set[Accepted]()
        is_too_late = False
        for rule in rules.rules_of(chain.name):
            if rule.comment != tag:
                is_too_late |= rules.may_drop(rule)
            elif rule.accepts is not None and rule.accepts in missing and not is_too_late:
                missing.remove(rule.accepts)
            else:
                removed.append(rule)
        # Each goes to the head: the last one ends up first.
        ordered = sorted(missing, key=lambda each: (each.address.version, int(each.address)))
        inserted += [Insertion(chain=chain.name, accepted=each) for each in reversed(ordered)]
    if table is None or not (inserted or removed):
        return None
    return TableChange(table=table, inserted=tuple(inserted), removed=tuple(removed))


def _accepts(chain: Chain, wanted: frozenset[IPAddress]) -> set[Accepted]:
    """Return what a base chain has to accept: the group and peers as they stand in a packet."""
    families = {"ip": {4}, "ip6": {6}, "inet": {4, 6}}[chain.table.family]
    return {
        Accepted(
            field="daddr" if chain.hook is Hook.OUTPUT or each.is_multicast else "saddr",
            address=each,
        )
        for each in wanted
        if each.version in families
    }


# --- nft's commands -----------------------------------------------------------------------------

LIST_CHAINS: Final = ("-j", "list", "chains")
"""Arguments for nft: every chain, without rules. Cheap where rules are many."""


def list_table(table: Table) -> tuple[str, ...]:
    """Return nft's arguments for one table, without the elements of named sets.

    In JSON, because a name may hold anything. One at a time: nft 1.0.6 finds only the last of two.
    """
    return ("-j", "-t", _json([{"list": {"table": _named(table)}}]))


def change_rules(change: TableChange, tag: str) -> tuple[tuple[str, ...], ...]:
    """Return nft's arguments, a command after the other; each takes effect in full or not."""
    steps: list[object] = [
        {"insert": {"rule": _rule_text(change.table, each, tag)}} for each in change.inserted
    ]
    steps += [
        {"delete": {"rule": {**_place(change.table, each.chain), "handle": each.handle}}}
        for each in change.removed
    ]
    return tuple(
        ("-j", _json(steps[first : first + _CHANGES_PER_COMMAND]))
        for first in range(0, len(steps), _CHANGES_PER_COMMAND)
    )


def _rule_text(table: Table, insertion: Insertion, tag: str) -> dict[str, object]:
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


def _named(table: Table) -> dict[str, object]:
    return {"family": table.family, "name": table.name}


def _json(commands: Sequence[object]) -> str:
    return json.dumps({"nftables": commands})


# --- one look at the firewall -------------------------------------------------------------------


class Run(Struct, frozen=True, kw_only=True):
    """Run nft with these arguments and send the Output."""

    arguments: tuple[str, ...]


class Output(Struct, frozen=True, kw_only=True):
    """What became of a run: ``exit_code`` None where it was killed or could not be started."""

    exit_code: int | None
    text: str = ""
    errors: str = ""


class Pause(Struct, frozen=True):
    """Let others have the processor for a moment."""


class AskGeneration(Struct, frozen=True):
    """Send the number of the ruleset's generation, None where it cannot be had."""


class AskOwned(Struct, frozen=True):
    """Send the tables that only the process that made them can change."""


class RuleInserted(Struct, frozen=True, kw_only=True):
    """A rule of the agent was put at the head of a base chain."""

    table: str
    chain: str
    address: IPAddress


class RuleRemoved(Struct, frozen=True, kw_only=True):
    """The agent removed a rule of its own; ``address`` None where it had another form."""

    table: str
    chain: str
    address: IPAddress | None


class LookFailed(Struct, frozen=True, kw_only=True):
    """Something was not done; ``table`` is empty where that concerns all of them."""

    table: str = ""
    reason: str


Report = RuleInserted | RuleRemoved | LookFailed
Step = Run | Pause | AskGeneration | AskOwned | Report
Answer = Output | int | frozenset[Table] | None


class _FailedError(Exception):
    """nft did not do what it was asked for."""


def look(wanted: frozenset[IPAddress], tag: str) -> Generator[Step, Answer, None]:
    """Have exactly the rules that ``wanted`` needs; nothing wanted removes all of the agent's.

    Yields what has to be done and is sent the answer (None for Pause and reports); its driver
    decides how nft is run and when. A table may vanish during a look, so all is tried again
    before a failure is reported.
    """
    try:
        tables = yield from _tables()
    except _FailedError as error:
        yield LookFailed(reason=str(error))
        return
    for table in tables:
        for remaining in reversed(range(_TRIES)):
            try:
                if (yield from _adjust(table, wanted, tag, is_last=not remaining)):
                    break
            except _FailedError as error:
                if not remaining and table in (yield from _tables_or_none()):
                    owned = yield AskOwned()
                    is_owned = isinstance(owned, frozenset) and table in owned
                    reason = owner_advice(table) if is_owned else str(error)
                    yield LookFailed(table=str(table), reason=reason)


def owner_advice(table: Table) -> str:
    """Say what to do about a table with an owner, firewalld's own way where it is firewalld's."""
    how = "have that program accept protocol 112"
    if table.name == _FIREWALLD:
        how = (
            "firewall-cmd --permanent --add-protocol=vrrp (with the --zone of the interface), "
            "then firewall-cmd --reload"
        )
    return f"only the program that owns the table can change it (flag owner): {how}"


def _tables() -> Generator[Step, Answer, tuple[Table, ...]]:
    return tables_to_look_at((yield from _list(LIST_CHAINS)))


def _tables_or_none() -> Generator[Step, Answer, tuple[Table, ...]]:
    try:
        return (yield from _tables())
    except _FailedError:
        return ()


def _adjust(
    table: Table, wanted: frozenset[IPAddress], tag: str, *, is_last: bool
) -> Generator[Step, Answer, bool]:
    """Return False where the rules changed meanwhile: handles may mean other rules by now."""
    before = yield AskGeneration()
    change = plan((yield from _list(list_table(table))), wanted, tag)
    if change is None:
        return True
    if change.removed and not is_last and (yield AskGeneration()) != before:
        return False
    for arguments in change_rules(change, tag):
        yield from _run(arguments)
    for new in change.inserted:
        yield RuleInserted(table=str(table), chain=new.chain, address=new.accepted.address)
    for old in change.removed:
        address = old.accepts.address if old.accepts else None
        yield RuleRemoved(table=str(table), chain=old.chain, address=address)
    return True


def _list(arguments: tuple[str, ...]) -> Generator[Step, Answer, list[Entry]]:
    text = yield from _run(arguments)
    entries: list[Entry] = []
    try:
        for number, entry in enumerate(read(text), 1):
            if entry is not None:
                entries.append(entry)
            if number % _OBJECTS_PER_SLICE == 0:
                yield Pause()
    except RulesetError as error:
        raise _FailedError(str(error)) from error
    return entries


def _run(arguments: tuple[str, ...]) -> Generator[Step, Answer, str]:
    output = yield Run(arguments=arguments)
    if not isinstance(output, Output):
        raise TypeError(f"internal error: {output!r} is no output of nft")
    if output.exit_code != 0:
        raise _FailedError(_first_line(output.errors) or "nft ended without a word")
    return output.text


def _first_line(errors: str) -> str:
    """Return the line that names the fault; the next ones repeat the command."""
    lines = [each.strip() for each in errors.splitlines() if each.strip()]
    found = next((each for each in lines if "rror" in each or "not permitted" in each), "")
    return (found or (lines[0] if lines else "")).removeprefix("internal:0:0-0: ")
