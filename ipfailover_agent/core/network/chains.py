"""Which tables the agent looks at, and which of their chains could drop VRRP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.network.ruleset import Chain, Table
from ipfailover_agent.core.network.signatures import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.core.network.ruleset import Entry, Rule


SHIELD: Final = Table(family="inet", name=TABLE)
"""The agent's own table: it drops on purpose (``shield_rules``)."""


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
