"""Judges chains that could drop VRRP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.network import accept_rules
from ipfailover_agent.core.telling.findings import failed, passed, skipped, warned

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ipfailover_agent.core.network.ruleset import Chain, Table
    from ipfailover_agent.core.telling.findings import Finding

_BY_HAND: Final = "look yourself: nft list ruleset"


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
        yield judged(
            "firewall",
            f"{_named([each])} may drop protocol 112",
            accept_rules.owner_advice(each.table),
        )
    if ours and is_managed and is_running:
        yield warned(
            "firewall",
            f"{_named(ours)} may drop protocol 112, and the agent's rules are not there",
            "see firewall.failed in the agent's log; rules that a firewall's reload took away "
            "are back within 10 s",
        )
    elif ours and is_managed:
        yield passed(
            "firewall", f"{_named(ours)} may drop protocol 112; the agent lets it in there"
        )
    elif ours:
        yield warned(
            "firewall",
            f"{_named(ours)} may drop protocol 112",
            "set OPENSHIFT_HA_NFTABLES_RULE=true, or accept protocol 112 there yourself",
        )
    if beyond:
        hooks = sorted({each.hook.value for each in beyond if each.hook})
        yield warned(
            "firewall",
            f"{_named(beyond)} may drop protocol 112",
            f"the agent puts no rules into {' and '.join(hooks)}: accept it there yourself, "
            "before anything drops",
        )
    if not closed:
        yield passed("firewall", "no chain of nftables drops protocol 112")


def judge_legacy(tables: Sequence[str]) -> Iterator[Finding]:
    """Warn of tables of iptables-legacy: whether they drop anything is not known."""
    if tables:
        yield warned(
            "firewall",
            f"iptables-legacy has tables that nft does not show: {' '.join(tables)}",
            "look yourself: iptables-legacy -S; accept protocol 112 there",
        )


def _named(chains: Sequence[Chain]) -> str:
    return ", ".join(f"{each.table} {each.name}" for each in chains)
