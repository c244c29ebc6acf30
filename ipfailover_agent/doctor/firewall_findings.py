"""Every base chain that VRRP passes, which of them could drop it, and what to do about that.

The agent puts rules into the chains of ``input`` and ``output`` alone. VRRP can be lost before and
after them as well: in ``ingress`` and ``prerouting`` (where iptables has its tables raw and
mangle), ``postrouting`` and ``egress``. The agent changes nothing there; the operator should know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ipfailover_agent.doctor.findings import failed, passed, skipped, warned
from ipfailover_agent.firewall import accept_rules
from ipfailover_agent.firewall.ruleset import SHIELD, Chain, Hook, Rule, TableRules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ipfailover_agent.doctor.findings import Finding
    from ipfailover_agent.firewall.ruleset import Entry, Table
    from ipfailover_agent.model import KeepalivedConfig

_BY_HAND: Final = "look yourself: nft list ruleset"
_VERSIONS: Final = {
    "ip": frozenset({4}),
    "ip6": frozenset({6}),
    **dict.fromkeys(("inet", "netdev"), frozenset({4, 6})),
}


def judge_unlisted_rules(reason: str, *, is_denied: bool) -> Finding:
    """Say that the rules cannot be listed; ``is_denied``: for want of a right, or of nft."""
    if is_denied:
        return skipped("firewall", reason, _BY_HAND)
    return warned("firewall", f"the rules of nftables cannot be listed: {reason}", _BY_HAND)


def judge_chains(
    closed: Sequence[Chain],
    *,
    is_managed: bool,
    is_running: bool = False,
    owned: Collection[Table] = (),
) -> Iterator[Finding]:
    """Judge base chains that may drop VRRP, and hold no rule of the agent that lets it in.

    Args:
        closed: the chains.
        is_managed: the agent inserts rules of its own, into chains of input and output.
        is_running: it runs, so they should be there.
        owned: tables that only the process that made them can change.
    """
    beyond = [each for each in closed if not each.takes_rules]
    sealed = [each for each in closed if each.takes_rules and each.table in owned]
    ours = [each for each in closed if each.takes_rules and each.table not in owned]
    for each in sealed:
        judged = failed if is_managed else warned
        yield judged("firewall", _dropping([each]), accept_rules.owner_advice(each.table))
    if ours and is_managed and is_running:
        advice = (
            "see firewall.failed in the agent's log; rules that a firewall's reload took away "
            "are back within 10 s"
        )
        text = f"{_dropping(ours)}, and the agent's rules are not there"
        yield warned("firewall", text, advice)
    elif ours and is_managed:
        yield passed("firewall", f"{_dropping(ours)}; the agent lets it in there")
    elif ours:
        advice = "set OPENSHIFT_HA_NFTABLES_RULE=true, or accept protocol 112 there yourself"
        yield warned("firewall", _dropping(ours), advice)
    if beyond:
        hooks = " and ".join(sorted({each.hook.value for each in beyond if each.hook}))
        mended = "accept it there yourself, before anything drops"
        advice = f"the agent puts no rules into {hooks}: {mended}"
        yield warned("firewall", _dropping(beyond), advice)
    if not closed:
        yield passed("firewall", "no chain of nftables drops protocol 112")


def judge_legacy(tables: Sequence[str]) -> Iterator[Finding]:
    """Warn of tables of iptables-legacy: whether they drop anything is not known."""
    if tables:
        text = f"iptables-legacy has tables that nft does not show: {' '.join(tables)}"
        advice = "look yourself: iptables-legacy -S; accept protocol 112 there"
        yield warned("firewall", text, advice)


def _dropping(chains: Sequence[Chain]) -> str:
    names = ", ".join(f"{each.table} {each.name}" for each in chains)
    return f"{names} may drop protocol 112"


# --- which chains that are --------------------------------------------------------------------


def passed_tables(entries: Iterable[Entry], interface: str) -> tuple[Table, ...]:
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
