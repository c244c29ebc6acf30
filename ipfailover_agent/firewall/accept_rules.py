"""Letting VRRP in: which accept rules are missing, which are too many, and how nft changes them.

An accept verdict ends one base chain only, so every base chain that could drop VRRP needs rules of
its own, at its head: one per address, because iptables-nft loses the match of a rule that uses a
set.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import Struct

from ipfailover_agent.firewall import nft_commands, ruleset
from ipfailover_agent.firewall.nft_commands import Insertion, Output, TableChange
from ipfailover_agent.firewall.ruleset import Accepted, Chain, Entry, Hook, Rule, Table
from ipfailover_agent.model import Family, IPAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfailover_agent.model import KeepalivedConfig

VRRP_GROUPS: Final[Mapping[Family, IPAddress]] = {
    Family.IPV4: IPv4Address("224.0.0.18"),
    Family.IPV6: IPv6Address("ff02::12"),
}
"""Where VRRP routers listen: RFC 5798, 5.1.1.2 and 5.1.2.2."""

_TAG_LENGTH: Final = 100  # a comment of nftables holds 128 bytes
_OBJECTS_PER_SLICE: Final = 200  # some 4 ms on a small node
_TRIES: Final = 3
_FIREWALLD: Final = "firewalld"
_Result = TypeVar("_Result")


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


# --- the plan ------------------------------------------------------------------------------------


def plan(entries: Iterable[Entry], wanted: frozenset[IPAddress], tag: str) -> TableChange | None:
    """Return what has to change in the table that the entries describe, None for nothing.

    A rule of the agent stays where it has effect: nothing that could drop VRRP precedes it. Rules
    of the agent that are not wanted, or in a chain that cannot drop any more, are removed.
    """
    rules = ruleset.TableRules(entries, tag)
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


# --- one look at the firewall -------------------------------------------------------------------


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
Steps = Generator[tuple[str, ...] | None, Output, _Result]


class _FailedError(Exception):
    """nft did not do what it was asked for."""


class Look(Struct, frozen=True, kw_only=True):
    """One look at the firewall: have exactly the rules that ``wanted`` needs.

    Attributes:
        wanted: where VRRP is to be let in; with nothing all rules of the agent are removed.
        tag: their comment.
        generation: returns the number of the ruleset's generation, None where it is not known.
        owned: returns the tables that only the process that made them can change.
        report: takes what was done, and what was not.
    """

    wanted: frozenset[IPAddress]
    tag: str
    generation: Callable[[], int | None]
    owned: Callable[[], frozenset[Table]]
    report: Callable[[Report], None]

    def steps(self) -> Steps[None]:
        """Yield arguments of nft, and be sent its output; None lets others have the processor.

        The driver decides how nft is run and when. A table may vanish during a look, so all is
        tried again before a failure is reported.
        """
        try:
            tables = yield from _tables()
        except _FailedError as error:
            self.report(LookFailed(reason=str(error)))
            return
        for table in tables:
            for remaining in reversed(range(_TRIES)):
                try:
                    if (yield from self._adjust(table, is_last=not remaining)):
                        break
                except _FailedError as error:
                    if not remaining and table in (yield from _tables_or_none()):
                        reason = owner_advice(table) if table in self.owned() else str(error)
                        self.report(LookFailed(table=str(table), reason=reason))

    def _adjust(self, table: Table, *, is_last: bool) -> Steps[bool]:
        """Return False where the rules changed meanwhile: handles may mean other rules by now."""
        before = self.generation()
        change = plan((yield from _list(nft_commands.list_table(table))), self.wanted, self.tag)
        if change is None:
            return True
        if change.removed and not is_last and self.generation() != before:
            return False
        for arguments in nft_commands.change_rules(change, self.tag):
            yield from _run(arguments)
        name = str(table)
        for new in change.inserted:
            address = new.accepted.address
            self.report(RuleInserted(table=name, chain=new.chain, address=address))
        for old in change.removed:
            former = old.accepts.address if old.accepts else None
            self.report(RuleRemoved(table=name, chain=old.chain, address=former))
        return True


def owner_advice(table: Table) -> str:
    """Return what to do about a table with an owner; firewalld has a way of its own."""
    how = "have that program accept protocol 112"
    if table.name == _FIREWALLD:
        how = (
            "firewall-cmd --permanent --add-protocol=vrrp (with the --zone of the interface), "
            "then firewall-cmd --reload"
        )
    return f"only the program that owns the table can change it (flag owner): {how}"


def _tables() -> Steps[tuple[Table, ...]]:
    return ruleset.tables_to_look_at((yield from _list(nft_commands.LIST_CHAINS)))


def _tables_or_none() -> Steps[tuple[Table, ...]]:
    try:
        return (yield from _tables())
    except _FailedError:
        return ()


def _list(arguments: tuple[str, ...]) -> Steps[list[Entry]]:
    text = yield from _run(arguments)
    entries: list[Entry] = []
    try:
        for number, entry in enumerate(ruleset.read(text), 1):
            if entry is not None:
                entries.append(entry)
            if number % _OBJECTS_PER_SLICE == 0:
                yield None
    except ruleset.RulesetError as error:
        raise _FailedError(str(error)) from error
    return entries


def _run(arguments: tuple[str, ...]) -> Steps[str]:
    output = yield arguments
    if output.exit_code != 0:
        raise _FailedError(output.fault)
    return output.text
