"""Every base chain that VRRP passes, and which of them could drop it: for people.

The agent puts rules into the chains of ``input`` and ``output`` alone. VRRP can be lost before and
after them as well: in ``ingress`` and ``prerouting`` (where iptables has its tables raw and
mangle), ``postrouting`` and ``egress``. The agent changes nothing there; the operator should know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.network import accept_rules
from ipfailover_agent.core.network.chains import SHIELD, TableRules
from ipfailover_agent.core.network.ruleset import Chain, Hook, Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ipfailover_agent.core.model import KeepalivedConfig
    from ipfailover_agent.core.network.ruleset import Entry, Table

_VERSIONS: Final = {
    "ip": frozenset({4}),
    "ip6": frozenset({6}),
    **dict.fromkeys(("inet", "netdev"), frozenset({4, 6})),
}


def tables(entries: Iterable[Entry], interface: str) -> tuple[Table, ...]:
    """Return the tables with a base chain that VRRP passes on an interface."""
    found = {
        each.table for each in entries if isinstance(each, Chain) and _is_passed(each, interface)
    } - {SHIELD}
    return tuple(sorted(found))


def closed_chains(
    entries: Sequence[Entry], config: KeepalivedConfig, tag: str
) -> tuple[Chain, ...]:
    """Return the base chains of one table that could drop VRRP, in nft's order.

    Left out are those that let it in before: by the agent's rules, whose comment is ``tag``, or by
    a rule for all of protocol 112. Before input and after output a rule that asks for ports or for
    the way back is no reason to doubt.
    """
    wanted = accept_rules.wanted_addresses(config)
    change = accept_rules.plan(entries, wanted, tag)
    unopened = {each.chain for each in change.inserted} if change else set[str]()
    # Most clusters have some of those before input: a finding about each would be one too many.
    plain = [each for each in entries if not (isinstance(each, Rule) and each.is_about_others)]
    rules = TableRules(entries)
    elsewhere = TableRules(plain)
    versions = frozenset(int(each.family) for each in config.instances)
    return tuple(
        each
        for each in rules.base_chains
        if _is_passed(each, config.interface)
        and not _is_open(rules, each, versions)
        and (each.name in unopened if each.takes_rules else elsewhere.chain_may_drop(each))
    )


def _is_open(rules: TableRules, chain: Chain, versions: Collection[int]) -> bool:
    """Return whether a chain accepts all VRRP of these IP versions before anything may drop it."""
    missing = set(versions) & _VERSIONS[chain.table.family]
    for rule in rules.rules_of(chain.name):
        if rules.may_drop(rule):
            break
        missing -= rule.admits
    return not missing


def _is_passed(chain: Chain, interface: str) -> bool:
    """Return whether VRRP gets there: not in chains of NAT, which see the first packet of a flow.

    ``input`` and ``output`` are judged as the agent does when it puts rules there.
    """
    if chain.hook is None or chain.table.family not in _VERSIONS:
        return False
    if chain.takes_rules:
        return not chain.is_nat_of_iptables
    if chain.hook in {Hook.INGRESS, Hook.EGRESS} and chain.devices:
        return interface in chain.devices
    return not chain.is_nat
