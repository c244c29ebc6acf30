"""Keeps the firewall rules of the active configuration, and removes those of former ones.

Rules are distinguished by the configuration's name, and a reload may change it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipfailover_agent.core.network import accept_rules
from ipfailover_agent.service import Service, earliest

if TYPE_CHECKING:
    from ipfailover_agent.core.model import KeepalivedConfig, Settings
    from ipfailover_agent.core.supervising.instance_states import InstanceStates
    from ipfailover_agent.prepare import Candidate
    from ipfailover_agent.service import Common
    from ipfailover_agent.system.nft import Firewall
    from ipfailover_agent.system.process import ChildExit


class Firewalls(Service):
    """The rules of one agent. Every fault is logged, none is raised."""

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self._wanted_tag: str | None = None
        self._by_tag: dict[str, Firewall] = {}

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return earliest(*(each.deadline for each in self._by_tag.values()))

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Apply the active configuration."""
        self.apply(candidate.settings, candidate.config, time.monotonic())

    def apply(self, settings: Settings, config: KeepalivedConfig, now: float) -> None:
        """Let VRRP in where that is configured, and remove the rules where it no longer is."""
        self._wanted_tag = (
            accept_rules.tag_for(settings.config_name) if settings.manages_firewall else None
        )
        for tag, former in self._by_tag.items():
            if tag != self._wanted_tag:
                former.want(frozenset(), now)
        if self._wanted_tag is not None:
            wanted = accept_rules.wanted_addresses(config)
            self._firewall(self._wanted_tag).want(wanted, now)

    def _firewall(self, tag: str) -> Firewall:
        from ipfailover_agent.system import nft  # noqa: PLC0415 - seldom needed

        if not self._by_tag and (unseen := nft.legacy_tables()):
            self._log.warning("firewall.unseen", tables=unseen)
        if tag not in self._by_tag:
            self._by_tag[tag] = nft.Firewall(
                tag=tag, environment=self._environment, report=self._tell
            )
        return self._by_tag[tag]

    def tick(self, now: float) -> None:
        """Do what is due."""
        for tag, each in list(self._by_tag.items()):
            each.tick(now)
            if tag != self._wanted_tag and each.has_none:
                del self._by_tag[tag]

    def child_exited(self, child: ChildExit) -> bool:
        """Handle the end of a child; return whether it was an nft of this object."""
        now = time.monotonic()
        return any(each.child_exited(child, now) for each in self._by_tag.values())

    def close(self) -> None:
        """Remove all of the agent's rules, and wait for it."""
        for each in self._by_tag.values():
            each.remove_all()
        self._by_tag.clear()

    def _tell(self, report: accept_rules.Report) -> None:
        match report:
            case accept_rules.RuleInserted(table=table, chain=chain, address=address):
                self._log.info(
                    "firewall.rule_inserted", table=table, chain=chain, address=str(address)
                )
            case accept_rules.RuleRemoved(table=table, chain=chain, address=address):
                self._log.info(
                    "firewall.rule_removed",
                    table=table,
                    chain=chain,
                    address=None if address is None else str(address),
                )
            case accept_rules.LookFailed(table=table, reason=reason):
                self._log.error("firewall.failed", table=table or None, reason=reason)
