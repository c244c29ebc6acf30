"""What keeps an address from being on two nodes, or on none: leases, watching, contests.

The agent reports here what happens to keepalived, and each mechanism gets it from here. Nothing
here raises: without a right or a device the mechanism that needs it is off, and the log has why.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipfailover_agent.chronicle.history import utc
from ipfailover_agent.chronicle.protection_state import NodeAnswers, ProtectionState
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.telling.transition import DRAIN, Withholding
from ipfailover_agent.core.text import listed
from ipfailover_agent.protection.contests import REASON, Contests
from ipfailover_agent.protection.drains import Drains
from ipfailover_agent.protection.firewalls import Firewalls
from ipfailover_agent.protection.holder_monitor import HolderMonitor
from ipfailover_agent.protection.holds import Holds
from ipfailover_agent.protection.keepalived_watchdog import KeepalivedWatchdog
from ipfailover_agent.protection.leases import Leases
from ipfailover_agent.protection.link_watch import REASON as NO_SOURCE
from ipfailover_agent.protection.link_watch import SOURCE as LINKS
from ipfailover_agent.protection.link_watch import LinkWatch
from ipfailover_agent.protection.probes import SOURCE as PROBES
from ipfailover_agent.protection.probes import Probes
from ipfailover_agent.protection.shields import Shields
from ipfailover_agent.protection.stray_removal import StrayRemoval
from ipfailover_agent.protection.verification import Verifier
from ipfailover_agent.report.status_model import DumpStatus, LeaseStatus, Protection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.core.changing.verify import Expectation
    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.network.packets import Advert
    from ipfailover_agent.core.paths import RunPaths
    from ipfailover_agent.core.rivalry.rivals import ContestContext
    from ipfailover_agent.core.supervising.dump import InstanceDump
    from ipfailover_agent.core.supervising.instance_states import InstanceState, InstanceStates
    from ipfailover_agent.core.supervising.supervision import VerificationEnded
    from ipfailover_agent.core.telling.transition import NewestAdvert
    from ipfailover_agent.prepare import Candidate
    from ipfailover_agent.system.loop import Loop
    from ipfailover_agent.system.process import ChildExit

_SHORTEST_GAP = 1.0  # seconds by which the loop may be late before it is called a gap


class Guard:
    """The mechanisms of one agent.

    Args:
        log: where events go.
        paths: of the run directory.
        environment: of nft.
        kill: ends keepalived's process group at once.
        seen: called with every advert of other nodes, and the instance's name.
        dispatch: called with the outcome of a verification.
        restart: has keepalived started anew, for the reason given; returns whether it does.
    """

    def __init__(
        self,
        *,
        log: FilteringBoundLogger,
        paths: RunPaths,
        environment: Mapping[str, str],
        kill: Callable[[], None],
        dispatch: Callable[[VerificationEnded], None],
        restart: Callable[[str], bool],
        seen: Callable[[str, NewestAdvert], None] = lambda *_: None,
    ) -> None:
        self.holds = Holds(log, paths)
        self.probes = Probes(log, paths, environment)
        self.leases = Leases(log)
        self.keepalived_watchdog = KeepalivedWatchdog(
            log=log, directory=paths.temporary, kill=kill, answered=self._on_dump
        )
        self.drains = Drains(log=log, paths=paths, holds=self.holds, blind=self._blindness)
        self.strays = StrayRemoval(
            log=log, paths=paths, leases=self.leases, keepalived_watchdog=self.keepalived_watchdog
        )
        self.shields = Shields(
            log, environment, keepalived=lambda: self.keepalived_watchdog.keepalived
        )
        self.contests = Contests(
            log=log,
            holds=self.holds,
            keepalived_watchdog=self.keepalived_watchdog,
            shields=self.shields,
            heard=self._heard,
            announced=self.strays.announced,
            seen=seen,
        )
        self.holders = HolderMonitor()
        self.link_watch = LinkWatch(
            log=log,
            holds=self.holds,
            keepalived_watchdog=self.keepalived_watchdog,
            contests=self.contests,
            restart=restart,
        )
        self.firewalls = Firewalls(log, environment)
        self.verifier = Verifier(
            log=log, keepalived_watchdog=self.keepalived_watchdog, dispatch=dispatch
        )
        self._log = log
        self._instance_states: InstanceStates | None = (
            None  # as it was at the last change; it never changes in place
        )
        self._held: frozenset[IPAddress] = frozenset()
        self.dumped_at: float | None = None  # when the newest dump was asked for, monotonic

    def _heard(self, name: str, advert: Advert, context: ContestContext) -> None:
        self.drains.heard(name, advert, context)
        self.holders.on_advert(name, advert, context)
        self.strays.on_advert(name, advert, context)

    def withholdings(self, name: str) -> tuple[Withholding, ...]:
        """Return why an instance is kept in FAULT on purpose."""
        return tuple(
            Withholding(reason=each, text=self.contests.cause(name) or each)
            if each == REASON
            else Withholding(reason=each, text=f"drained: {self.drains.describe(name) or each}")
            if each == DRAIN
            else Withholding(reason=each, text=self.link_watch.cause())
            if each == NO_SOURCE
            else Withholding(reason=each, text=each)
            for each in sorted(self.holds.reasons(name))
        )

    def look(self) -> ProtectionState:
        """Return what the mechanisms know at this moment."""
        leases, until = self.leases, self.leases.leased_until
        at, took = utc(self.keepalived_watchdog.latest_at), self.probes.took
        return ProtectionState(
            lease=LeaseStatus(
                seconds=leases.seconds,
                lateness=round(leases.lateness, 3),
                worst_lateness=round(leases.worst_lateness, 3),
                lapses=leases.lapses,
            ),
            lease_remaining=None if until is None else round(until - time.monotonic(), 2),
            dumps={
                each.name: DumpStatus(
                    at=at,
                    effective_priority=each.effective_priority,
                    has_addresses=each.has_addresses,
                    counters=each.counters,
                    garp_delay=each.garp_delay,
                )
                for each in self.keepalived_watchdog.latest
            },
            holders=self.holders.named(),
            rivals=self.contests.rivals(time.time()),
            unanswered=self.contests.unanswered(),
            contests=self.contests.count,
            holds=self.holds.count,
            probes_took=took if took is None else round(took, 6),
        )

    def answers(self) -> NodeAnswers:
        """Return what the kernel and keepalived answer at this moment."""
        entries = self._instance_states.entries if self._instance_states else ()
        wanted = [held.address for each in entries for held in each.instance.all_addresses]
        present = self.leases.present(wanted) if wanted else frozenset()
        at = self.dumped_at
        return NodeAnswers(
            present=None if present is None else frozenset(map(str, present)),
            can_ask=not self.keepalived_watchdog.refusal,
            answered_ago=None if at is None else time.monotonic() - at,
            owed=self.keepalived_watchdog.unanswered,
        )

    def protections(self) -> tuple[Protection, ...]:
        """Return which mechanisms work."""
        return (
            Protection(kind="lease", active=self.leases.is_on, reason=self.leases.refusal),
            Protection(
                kind="watch",
                active=not self.keepalived_watchdog.refusal,
                reason=self.keepalived_watchdog.refusal,
            ),
            self._contest_protection(),
            self.shields.protection(),
            self.probes.listeners.protection(),
        )

    def _contest_protection(self) -> Protection:
        """Return whether contests are decided, for every instance."""
        if not (lacking := self.contests.uncovered()):
            return Protection(
                kind="conflict", active=self.contests.is_on, reason=self.contests.refusal
            )
        reason = f"not for {listed(lacking)}: no address to advertise from is on the interface yet"
        return Protection(kind="conflict", active=False, reason=reason)

    def _blindness(self) -> str:
        """Return why nothing can be received on the wire, or nothing."""
        if self.contests.is_on:
            return ""
        return f"the wire is not watched: {self.contests.refusal or 'OPENSHIFT_HA_CONFLICT=off'}"

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds.

        Not for ``probes``, which have a deadline of their own.
        """
        mechanisms = (
            self.leases,
            self.keepalived_watchdog,
            self.contests,
            self.drains,
            self.holders,
            self.firewalls,
            self.shields,
            self.verifier,
            self.link_watch,
            self.probes.listeners,
        )
        due = (each.deadline for each in mechanisms)
        return min((each for each in due if each is not None), default=None)

    def woke(self, late: float) -> bool:
        """Note that the loop woke so many seconds late; before anything else is done.

        Returns whether that was a stall, after which every deadline may be another one.
        """
        if late < _SHORTEST_GAP:
            return False
        self._log.warning("loop.late", seconds=round(late, 2))
        self.keepalived_watchdog.gap()
        self.link_watch.gap()
        self.contests.gap(late)
        self.drains.gap(late)
        self.holders.gap(late)
        return True

    def renew(self, now: float) -> None:
        """Renew leases if it is time: after the FIFO was read, before all other work."""
        self.leases.sweep()
        self.leases.tick(now)

    def tick(self, now: float) -> None:
        """Do what else is due."""
        self.probes.tick(now)
        self.keepalived_watchdog.tick(now)
        self.contests.tick(now)
        self.drains.tick(now)
        self.holders.tick(now)
        self.firewalls.tick(now)
        self.shields.tick(now)
        self.verifier.tick(now)
        self.link_watch.tick(now)
        self.probes.listeners.tick(now)

    def readable(self, source: str) -> None:
        """Read what one of the mechanisms' descriptors has."""
        if source == PROBES:
            self.probes.readable()
        elif source == LINKS:
            self.link_watch.readable()
        else:
            self.contests.readable()

    # --- what happens ---------------------------------------------------------------------------

    def activated(self, candidate: Candidate, instance_states: InstanceStates, loop: Loop) -> None:
        """Apply a configuration that is in force, or about to be."""
        now = time.monotonic()
        self.leases.configure(
            seconds=candidate.settings.address_lease,
            interface=candidate.config.interface,
            now=now,
        )
        self.probes.configure(candidate.config.port_probes, loop)
        self.holds.configure(candidate.config.hold_names)
        candidate = self.link_watch.configure(candidate)
        self.contests.configure(candidate, loop)
        self.drains.configure(candidate, instance_states)
        self.holders.configure(candidate.config, candidate.facts)
        self.strays.configure(candidate)
        self.firewalls.configure(candidate.settings, candidate.config, now)
        self.shields.configure(candidate.settings, candidate.config, now)
        self.roster_is(instance_states, now)

    def remove_rules(self) -> None:
        """Remove the agent's rules, and wait for it; when the loop has ended."""
        self.firewalls.remove_all()
        self.shields.remove_all()

    def child_exited(self, child: ChildExit, loop: Loop) -> bool:
        """Handle the end of a child; return whether it was one of the mechanisms'."""
        return (
            self.firewalls.child_exited(child)
            or self.shields.child_exited(child)
            or self.keepalived_watchdog.child_exited(child, loop)
            or self.probes.child_exited(child)
        )

    def transition(self, before: InstanceState, state: VrrpState) -> None:
        """Note that keepalived reported a transition of an instance."""
        if before.state is VrrpState.MASTER and state is not VrrpState.MASTER:
            self.leases.left([each.address for each in before.instance.all_addresses])
        self.contests.entered(before.instance.name, state)
        self.drains.entered(before.instance.name, state)

    def roster_is(self, instance_states: InstanceStates, now: float) -> None:
        """Note the states of all instances, after a batch of transitions."""
        if instance_states is self._instance_states:
            return
        self._instance_states = instance_states
        self.holders.roster_is(instance_states, now)
        self.strays.roster_is(instance_states)
        self.probes.roster_is(instance_states)
        held = frozenset(
            each.address
            for entry in instance_states.entries
            if entry.state is VrrpState.MASTER
            for each in entry.instance.all_addresses
        )
        if held != self._held:
            self._held = held
            self.leases.holds(held, now)

    def reload_began(self) -> None:
        """Note that keepalived got the signal to read its file again."""
        self.keepalived_watchdog.reload_began()
        self.contests.reload_began()

    def verify(self, expected: Expectation | None) -> None:
        """Note that keepalived has read its file: find out whether it does what was planned."""
        self.keepalived_watchdog.reload_ended()
        self.contests.reload_ended()
        self.verifier.begin(expected)

    def conclude_verification(self) -> None:
        """End the verification: there is no more time for it."""
        self.verifier.conclude()

    def reload_ended(self) -> None:
        """Note that a reload is over, with whatever outcome."""
        self.keepalived_watchdog.reload_ended()
        self.contests.reload_ended()
        self.verifier.end()

    def keepalived_ends(self) -> None:
        """Note that keepalived is about to end: what it holds must not outlive its adverts.

        A keepalived that hangs is killed only seconds later, and another node may have taken over
        by then.
        """
        self.keepalived_watchdog.keepalived_ended()
        self.link_watch.ended()
        self.leases.expire()
        self.contests.fall_silent()

    def keepalived_ended(
        self, instance_states: InstanceStates, *, keeps_holds: bool = False
    ) -> None:
        """Note that keepalived ended: it holds nothing any more.

        ``keeps_holds``: it is started anew at once, and instances kept in FAULT stay so.
        """
        self.keepalived_watchdog.keepalived_ended()
        self.link_watch.ended()
        self.leases.resume()
        self.dumped_at = None
        self.verifier.end()
        self.contests.restart(keeps_holds=keeps_holds)
        self.leases.left(self._held)
        self.roster_is(instance_states, time.monotonic())

    def _on_dump(self, instances: tuple[InstanceDump, ...], asked_at: float) -> None:
        self.dumped_at = asked_at
        self.contests.dumped(instances, asked_at)
        self.link_watch.dumped(instances, asked_at)
        self.strays.dumped(instances, asked_at)
        self.verifier.dumped(instances, asked_at)

    def close(self) -> None:
        """Close all sockets."""
        self.probes.close()
        self.leases.close()
        self.contests.close()
        self.link_watch.close()
