"""Keeps the firewall rules of the active configuration, and removes those of former ones.

:mod:`firewall.accept_rules` decides which rules there are to be. Rules are distinguished by
the configuration's name, and a reload may change it. Most agents insert no rules: what reads and
plans them is imported when it is needed.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError
from ipfailover_agent.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.firewall.accept_rules import Report, Steps
    from ipfailover_agent.firewall.nft import NftRun
    from ipfailover_agent.firewall.nft_commands import Output
    from ipfailover_agent.keepalived.instance_states import InstanceStates
    from ipfailover_agent.linux.process import ChildExit
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.service import Common

_LOOK_INTERVAL: Final = 10.0  # seconds at most, whatever the generation is
_ASK_INTERVAL: Final = 1.0  # seconds between two questions for the generation
_LOOK_SHARE: Final = 30  # looks take at most a 30th of the time: rules may change all day
_RUN_LIMIT: Final = 10.0  # seconds that nft gets beside the loop; 20000 rules take it 1.5 s


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
        """Let VRRP in where that is configured, and remove the rules where it no longer is."""
        settings, now = candidate.settings, time.monotonic()
        if not (settings.manages_firewall or self._by_tag):
            return
        from ipfailover_agent.firewall import accept_rules, nft  # noqa: PLC0415 - see above

        self._wanted_tag = (
            accept_rules.tag_for(settings.config_name) if settings.manages_firewall else None
        )
        for tag, former in self._by_tag.items():
            if tag != self._wanted_tag:
                former.want(frozenset(), now)
        if self._wanted_tag is not None:
            if not self._by_tag and (unseen := nft.legacy_tables()):
                self._log.warning("firewall.unseen", tables=unseen)
            made = Firewall(self._wanted_tag, self._environment, self._report)
            firewall = self._by_tag.setdefault(self._wanted_tag, made)
            firewall.want(accept_rules.wanted_addresses(candidate.config), now)

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

    def _report(self, report: Report) -> None:
        from ipfailover_agent.firewall import accept_rules  # noqa: PLC0415 - see above

        match report:
            case accept_rules.RuleInserted(table=table, chain=chain, address=address):
                self._log.info(
                    "firewall.rule_inserted", table=table, chain=chain, address=str(address)
                )
            case accept_rules.RuleRemoved(table=table, chain=chain, address=address):
                shown = None if address is None else str(address)
                self._log.info("firewall.rule_removed", table=table, chain=chain, address=shown)
            case accept_rules.LookFailed(table=table, reason=reason):
                self._log.error("firewall.failed", table=table or None, reason=reason)


class Firewall:
    """Keeps the rules with a tag in place; ``report`` is called for everything that it does.

    Its owner calls :meth:`tick` when ``deadline`` has passed and :meth:`child_exited` for every
    child that was reaped. One failure is reported once, until it is another or was mended.
    """

    def __init__(
        self, tag: str, environment: Mapping[str, str], report: Callable[[Report], None]
    ) -> None:
        self._tag = tag
        self._environment = environment
        self._report = report
        self._wanted: frozenset[IPAddress] = frozenset()
        self._look: Steps[None] | None = None
        self._run: NftRun | None = None
        self._began = 0.0
        self._generation: int | None = None
        self._next_look = 0.0
        self._failures: dict[str, str] = {}  # reasons of the last look, by table
        self._failing: dict[str, str] = {}  # of the present one
        self._is_wanted_anew = False
        self.deadline: float | None = None
        self.is_active: bool | None = None
        """Whether the last look found or put everything in place; None before it."""

    @property
    def has_none(self) -> bool:
        """Return whether no rule is wanted, and the last look has left none of the agent's."""
        is_idle = self._look is None and not self._is_wanted_anew
        return is_idle and not self._wanted and self.is_active is True

    def want(self, addresses: frozenset[IPAddress], now: float) -> None:
        """Have the rules for these addresses from now on, and no others of the agent."""
        self._wanted = addresses
        self._is_wanted_anew = True
        self.is_active = None
        if self._look is None:
            self.deadline = now

    def tick(self, now: float) -> None:
        """Do what is due: begin a look, go on with one, or end a run that takes too long."""
        if self.deadline is None or now < self.deadline:
            return
        if self._run is not None:
            self._run.kill()
            self.deadline = now + _RUN_LIMIT
        elif self._look is not None:
            self._go_on(None, now)
        elif self._is_due(now):
            self._begin(now)
        else:
            self.deadline = now + _ASK_INTERVAL

    def child_exited(self, child: ChildExit, now: float) -> bool:
        """Handle the end of a child; return whether it was this nft."""
        if self._run is None or self._run.pid != child.pid:
            return False
        run, self._run = self._run, None
        self._go_on(run.take(child.exit_code), now)
        return True

    def remove_all(self) -> None:
        """Remove every rule of the agent at once; after the loop, as it waits for processes."""
        self.deadline = None
        self._look = None
        if self._run is not None:
            run, self._run = self._run, None
            run.kill_and_wait()
        remove_all(self._tag, self._environment, self._report)

    def _is_due(self, now: float) -> bool:
        if self._is_wanted_anew:
            return True
        if now < self._next_look:
            return False
        from ipfailover_agent.firewall import nft  # noqa: PLC0415 - see above

        # Failed: whatever was missing (nft itself, a permission) changes no generation.
        return (
            bool(self._failures)
            or self._generation is None
            or (nft.read_generation() != self._generation)
        )

    def _begin(self, now: float) -> None:
        from ipfailover_agent.firewall import nft  # noqa: PLC0415 - see above

        self._is_wanted_anew = False
        self._failing = {}
        self._began = now
        self._generation = nft.read_generation()
        self._look = _steps(self._wanted, self._tag, self._pass_on)
        self._go_on(None, now)

    def _go_on(self, output: Output | None, now: float) -> None:
        """Go on with the look until it needs nft, or takes long."""
        from ipfailover_agent.firewall import nft, nft_commands  # noqa: PLC0415 - see above

        while self._look is not None:
            try:
                arguments = next(self._look) if output is None else self._look.send(output)
            except StopIteration:
                self._end(now)
                return
            if arguments is None:
                self.deadline = now
                return
            try:
                self._run = nft.NftRun(arguments, self._environment)
            except (AgentError, OSError) as error:
                output = nft_commands.Output(exit_code=None, errors=str(error))
            else:
                self.deadline = now + _RUN_LIMIT
                return

    def _pass_on(self, report: Report) -> None:
        from ipfailover_agent.firewall import accept_rules  # noqa: PLC0415 - see above

        if isinstance(report, accept_rules.LookFailed):
            self._failing[report.table] = report.reason
            if self._failures.get(report.table) == report.reason:
                return
        self._report(report)

    def _end(self, now: float) -> None:
        self._look = None
        self._failures = self._failing
        self.is_active = not self._failures
        pause = min(max((now - self._began) * _LOOK_SHARE, _ASK_INTERVAL), _LOOK_INTERVAL)
        if self._failures or self._generation is None:
            pause = _LOOK_INTERVAL
        self._next_look = now + pause
        self.deadline = now if self._is_wanted_anew else self._next_look


def remove_all(tag: str, environment: Mapping[str, str], report: Callable[[Report], None]) -> None:
    """Remove every rule with this tag and wait for it; the agent is the only reaper.

    Without nft, or without the right to use it, ``report`` gets the reason.
    """
    from ipfailover_agent.firewall import nft  # noqa: PLC0415 - see above

    look = _steps(frozenset(), tag, report)
    with contextlib.suppress(StopIteration):
        arguments = next(look)
        while True:
            output = nft.run_and_wait(arguments, environment) if arguments else None
            arguments = next(look) if output is None else look.send(output)


def _steps(
    wanted: frozenset[IPAddress], tag: str, report: Callable[[Report], None]
) -> Steps[None]:
    from ipfailover_agent.firewall import accept_rules, nft  # noqa: PLC0415 - see above

    return accept_rules.Look(
        wanted=wanted,
        tag=tag,
        generation=nft.read_generation,
        owned=nft.owned_tables,
        report=report,
    ).steps()
