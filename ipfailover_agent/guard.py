"""What keeps an address from being on two nodes, or on none: leases, watching, contests.

One place that the agent tells what happens to keepalived, and that tells each mechanism. Nothing
here raises: without a right or a device the mechanism that needs it is off and says so.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipfailover_agent.contests import SOURCE, Contests
from ipfailover_agent.core import firewall as rules
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.holds import Holds
from ipfailover_agent.leases import Leases
from ipfailover_agent.overseer import Overseer
from ipfailover_agent.report.status import Protection
from ipfailover_agent.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.core.dump import InstanceDump
    from ipfailover_agent.core.model import IPAddress, RunPaths
    from ipfailover_agent.core.roster import Roster, RosterEntry
    from ipfailover_agent.core.supervision import VerificationEnded
    from ipfailover_agent.core.verify import Expectation
    from ipfailover_agent.prepare import Candidate
    from ipfailover_agent.system.firewall import Firewall
    from ipfailover_agent.system.loop import Loop
    from ipfailover_agent.system.process import ChildExit

WIRE = SOURCE
_SHORTEST_GAP = 1.0  # seconds by which the loop may be late before it is called a gap


class Guard:
    """The mechanisms of one agent.

    Args:
        log: where events go.
        paths: of the run directory.
        environment: of nft.
        kill: ends keepalived's process group at once.
        dispatch: hears how a verification ended.
    """

    def __init__(
        self,
        *,
        log: FilteringBoundLogger,
        paths: RunPaths,
        environment: Mapping[str, str],
        kill: Callable[[], None],
        dispatch: Callable[[VerificationEnded], None],
    ) -> None:
        self.holds = Holds(log, paths)
        self.leases = Leases(log)
        self.overseer = Overseer(
            log=log, directory=paths.temporary, kill=kill, answered=self._on_dump
        )
        self.contests = Contests(log=log, holds=self.holds, overseer=self.overseer)
        self.verifier = Verifier(log=log, overseer=self.overseer, dispatch=dispatch)
        self.firewall: Firewall | None = None
        self._environment = environment
        self._log = log
        self._held: frozenset[IPAddress] = frozenset()

    def protections(self) -> tuple[Protection, ...]:
        """Return which mechanisms work."""
        return (
            Protection(kind="lease", active=self.leases.is_on, reason=self.leases.refusal),
            Protection(
                kind="watch", active=not self.overseer.refusal, reason=self.overseer.refusal
            ),
            Protection(kind="conflict", active=self.contests.is_on, reason=self.contests.refusal),
        )

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        due = [self.leases.deadline, self.overseer.deadline, self.contests.deadline]
        due.append(self.verifier.deadline)
        if self.firewall is not None:
            due.append(self.firewall.deadline)
        return min((each for each in due if each is not None), default=None)

    def woke(self, late: float) -> None:
        """The loop woke so many seconds after its deadline; before anything else is done."""
        if late >= _SHORTEST_GAP:
            self._log.warning("loop.late", seconds=round(late, 2))
            self.overseer.gap()
            self.contests.gap(late)

    def renew(self, now: float) -> None:
        """Renew leases if it is time: after the FIFO was read, before all other work."""
        self.leases.sweep()
        self.leases.tick(now)

    def tick(self, now: float, loop: Loop) -> None:
        """Do what else is due."""
        self.overseer.tick(now)
        self.contests.tick(now, loop)
        self.verifier.tick(now)
        if self.firewall is not None:
            self.firewall.tick(now)

    # --- what happens ---------------------------------------------------------------------------

    def activated(self, candidate: Candidate, roster: Roster, loop: Loop) -> None:
        """A configuration is in force, or about to be."""
        now = time.monotonic()
        self.leases.configure(
            seconds=candidate.settings.address_lease,
            interface=candidate.config.interface,
            now=now,
        )
        self.contests.configure(candidate, loop)
        self._want_rules(candidate, now)
        self.roster_is(roster, now)

    def _want_rules(self, candidate: Candidate, now: float) -> None:
        """Let VRRP in where asked for, and take our rules back where it no longer is."""
        if candidate.settings.manages_firewall:
            if self.firewall is None:
                from ipfailover_agent.system.firewall import Firewall  # noqa: PLC0415 - seldom

                tag = rules.tag_for(candidate.settings.config_name)
                self.firewall = Firewall(
                    tag=tag, environment=self._environment, report=self._on_rules
                )
            self.firewall.want(rules.wanted_addresses(candidate.config), now)
        elif self.firewall is not None:
            self.firewall.want(frozenset(), now)

    def _on_rules(self, report: rules.Report) -> None:
        match report:
            case rules.RuleInserted(table=table, chain=chain, address=address):
                self._log.info(
                    "firewall.rule_inserted", table=str(table), chain=chain, address=str(address)
                )
            case rules.RuleRemoved(table=table, chain=chain, address=address):
                self._log.info(
                    "firewall.rule_removed",
                    table=str(table),
                    chain=chain,
                    address=None if address is None else str(address),
                )
            case rules.LookFailed(table=table, reason=reason):
                self._log.error("firewall.failed", table=str(table) or None, reason=reason)

    def remove_rules(self) -> None:
        """Take our rules back, and wait for it; when the loop has ended."""
        if self.firewall is not None:
            self.firewall.remove_all()

    def child_exited(self, child: ChildExit, loop: Loop) -> bool:
        """Take the end of a child; return whether it was one of the mechanisms'."""
        if self.firewall is not None and self.firewall.child_exited(child, time.monotonic()):
            return True
        return self.overseer.child_exited(child, loop)

    def transition(self, before: RosterEntry, state: VrrpState) -> None:
        """keepalived told that an instance entered a state."""
        if before.state is VrrpState.MASTER and state is not VrrpState.MASTER:
            self.leases.left([each.address for each in before.instance.all_addresses])
        self.contests.entered(before.instance.name, state)

    def roster_is(self, roster: Roster, now: float) -> None:
        """Take what all instances do, after a batch of transitions."""
        held = frozenset(
            each.address
            for entry in roster.entries
            if entry.state is VrrpState.MASTER
            for each in entry.instance.all_addresses
        )
        if held != self._held:
            self._held = held
            self.leases.holds(held, now)

    def verify(self, expected: Expectation | None) -> None:
        """keepalived has read its file: find out whether it does what was planned."""
        self.overseer.reload_ended()
        self.verifier.begin(expected)

    def reload_ended(self) -> None:
        """A reload is over, however it went."""
        self.overseer.reload_ended()
        self.verifier.end()

    def keepalived_ended(self, roster: Roster) -> None:
        """keepalived ended: nothing is held any more."""
        self.overseer.keepalived_ended()
        self.verifier.end()
        self.contests.restart()
        self.leases.left(self._held)
        self.roster_is(roster, time.monotonic())

    def _on_dump(self, instances: tuple[InstanceDump, ...], asked_at: float) -> None:
        self.contests.dumped(instances, asked_at)
        self.verifier.dumped(instances, asked_at)

    def close(self) -> None:
        """Let go of sockets."""
        self.leases.close()
        self.contests.close()
