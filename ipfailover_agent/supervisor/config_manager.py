"""Configurations on their way: built, tested by keepalived, put in place, taken back.

Owns the active configuration and the one before it. Every failure becomes a verdict: nothing here
may end the agent.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent import codec
from ipfailover_agent.config import memory, ownership, prepare, templating
from ipfailover_agent.errors import AgentError, ConfigTestError, ExitCode, HostNotReadyError
from ipfailover_agent.keepalived import protocol
from ipfailover_agent.keepalived.lifecycle import CandidateVerdict, PreparationEnded
from ipfailover_agent.linux import files, netlink, process
from ipfailover_agent.linux.process import CapturedRun
from ipfailover_agent.model import VrrpState
from ipfailover_agent.service import Service
from ipfailover_agent.supervisor import change, debounce, verify
from ipfailover_agent.supervisor.source_listener import SOURCE, SourceEar
from ipfailover_agent.text import listed

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import AddPeers, Candidate
    from ipfailover_agent.health.service import Probes
    from ipfailover_agent.holds import Holds
    from ipfailover_agent.model import HostFacts, KeepalivedConfig, Settings
    from ipfailover_agent.service import Common
    from ipfailover_agent.status.reporter import Reporter
    from ipfailover_agent.supervisor.verify import Expectation

_AS_IT_IS = "keepalived's configuration stays as it is"


class _Preparation(Struct, kw_only=True):
    """A candidate that ``keepalived -t`` looks at."""

    candidate: Candidate
    test: CapturedRun
    deadline: float


class ConfigManager(Service):
    """Answers ``Order.PREPARE`` with ``PreparationEnded``, through ``dispatch``."""

    source = SOURCE

    def __init__(
        self,
        common: Common,
        *,
        reporter: Reporter,
        holds: Holds,
        probes: Probes,
        add_peers: AddPeers,
    ) -> None:
        super().__init__(common)
        self.environment = {**self._environment, "TMPDIR": self._paths.temporary}
        self.active: Candidate | None = None
        self.ear = SourceEar(self._loop)
        self._options = common.options
        self._reporter = reporter
        self._holds = holds
        self._probes = probes
        self._policy = common.policy
        self._add_peers = add_peers
        self._previous: Candidate | None = None
        self._accepted: Candidate | None = None
        self._under_way: _Preparation | None = None
        self._steps: deque[tuple[files.StagedFile, KeepalivedConfig]] = deque()
        self._target: KeepalivedConfig | None = None
        self._masters: frozenset[str] = frozenset()  # before the reload

    @property
    def is_alone(self) -> bool:
        """Return whether some instance sends its adverts to itself, for want of other nodes."""
        active = self.active
        return active is not None and any(each.is_alone for each in active.config.instances)

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return self._under_way.deadline if self._under_way else None

    def tick(self, now: float) -> None:
        """End a test that takes too long; its end is then a refusal."""
        if self._under_way is None or now < self._under_way.deadline:
            return
        self._under_way.test.kill()
        self._under_way.deadline = now + self._policy.test_grace

    # --- preparing ------------------------------------------------------------------------------

    def prepare(self, *, runs: bool) -> None:
        """Build a candidate and start its test.

        ``runs``: keepalived runs with the active configuration, so that an equal one needs
        nothing.
        """
        active = self.active
        before = None if active is None else active.variables
        try:
            candidate = prepare.attempt(
                self._environment, self._options, self._add_known, before=before
            ).found()
            if runs and active and active.rendering.digest == candidate.rendering.digest:
                self.ear.close()
                names = prepare.differing(before, candidate.variables)
                self.active = candidate
                self._record_active()
                self._reporter.unchanged(candidate, candidate.variables.warnings)
                lines = (f"{_AS_IT_IS}; in force now: {listed(names)}",) if names else ()
                self._dispatch(PreparationEnded(verdict=CandidateVerdict.UNCHANGED, lines=lines))
                return
            test = self._start_test(candidate)
        except HostNotReadyError as error:
            self._refuse(self.ear.about(error), CandidateVerdict.NOT_READY)
        except AgentError as error:
            self.ear.close()
            self._refuse(error, CandidateVerdict.REFUSED)
        else:
            self.ear.close()
            deadline = time.monotonic() + self._policy.test_grace
            self._under_way = _Preparation(candidate=candidate, test=test, deadline=deadline)

    def _add_known(self, settings: Settings, facts: HostFacts) -> HostFacts:
        """Return the facts with the peers, and with the node's addresses that are in use."""
        used = () if self.active is None else self.active.config.node_addresses
        return replace(self._add_peers(settings, facts), used_addresses=used)

    def _start_test(self, candidate: Candidate) -> CapturedRun:
        path = candidate.paths.candidate
        files.write_atomically(path, candidate.rendering.config.text, 0o600)
        program = process.find_program("keepalived", self.environment.get("PATH"))
        options = candidate.config.keepalived_options
        return CapturedRun(protocol.test_command(program, path, options), self.environment)

    def abandon(self) -> None:
        """Forget the candidate under way."""
        if self._under_way is not None:
            self._under_way.test.abandon()
            self._under_way = None

    def readable(self) -> None:
        """Note adverts of the host that may have the awaited source address."""
        self.ear.readable()

    def child_exited(self, child: process.ChildExit) -> bool:
        """Take the end of a child; return whether it was the test."""
        under_way = self._under_way
        if under_way is None or under_way.test.pid != child.pid:
            return False
        self._under_way = None
        self._judge(under_way, child)
        return True

    def _judge(self, under_way: _Preparation, child: process.ChildExit) -> None:
        """Accept or refuse the candidate whose test has ended."""
        candidate, lines = under_way.candidate, under_way.test.end_in_lines()
        active = self.active
        try:
            if child.exit_code != 0:
                refusal = protocol.failed_test(child.exit_code, child.signal)
                raise ConfigTestError(refusal, output="\n".join(lines))
            changed = active and change.compare(active.config, candidate.config)
            self._prepare_steps(candidate, changed.first_step if changed else None)
            # In place before the state machine gets the event: a full disk must be a refusal.
            self._install(candidate)
        except AgentError as error:
            self._discard_steps()
            self._refuse(error, CandidateVerdict.REFUSED)
            return
        self._accepted = candidate
        accepted = PreparationEnded(verdict=CandidateVerdict.ACCEPTED)
        if active and changed:
            is_same = active.rendering.config == candidate.rendering.config
            signals = 0 if is_same else changed.signals
            accepted = replace(accepted, lines=changed.lines(), signals=signals)
        self._dispatch(accepted)

    def _prepare_steps(self, candidate: Candidate, first: KeepalivedConfig | None) -> None:
        """Render what keepalived gets in turn, where the candidate at once would not do."""
        self._discard_steps()
        if first is None:
            return
        templates = self._options.template_directory
        rendering = templating.render(first, candidate.paths, template_directory=templates)
        # On the disk before anything changes: half of a change must not stay in force.
        for file, config in (
            (rendering.config, first),
            (candidate.rendering.config, candidate.config),
        ):
            self._steps.append((files.stage(file), config))

    def _refuse(self, error: AgentError, verdict: CandidateVerdict) -> None:
        self._dispatch(
            PreparationEnded(
                verdict=verdict,
                lines=self._reporter.refused(error, verdict),
                # No edit of a variable brings a program or room on a disk.
                may_change=self._options.config is not None and error.exit_code is ExitCode.CONFIG,
                exit_code=error.exit_code,
            )
        )

    # --- in force -------------------------------------------------------------------------------

    def activate(self) -> None:
        """Make the accepted candidate, whose files are in place, the active configuration."""
        if self._accepted is None:
            return
        self._previous = self.active
        self.active, self._accepted = self._accepted, None
        self._target = self.active.config
        self._masters = self._reporter.instance_states.names_in(VrrpState.MASTER)
        self._record_addresses()
        self._mark_addresses()
        self._record_active()
        self._reporter.activated(self.active, self._previous, self.active.variables.warnings)

    def place_step(self) -> None:
        """Put the next step's file in place."""
        if not self._steps:
            return
        try:
            file, self._target = self._steps.popleft()
            files.commit(file)
        except AgentError as error:
            self._log.error("config.step_failed", error=str(error))

    @property
    def expectation(self) -> Expectation | None:
        """Return what the last SIGHUP is to lead to, None before any."""
        if self._target is None:
            # Rolled back: the active configuration, whatever the abandoned step had done.
            return verify.Expectation(config=self.active.config) if self.active else None
        if self._previous is None:
            return None
        return verify.expect(self._previous.config, self._target, self._masters)

    def _discard_steps(self) -> None:
        while self._steps:
            files.discard(self._steps.pop()[0])

    def roll_back(self) -> None:
        """Make the previous configuration the active one again."""
        self._discard_steps()  # which also makes room for its files
        self.active, self._previous = self._previous or self.active, self.active
        self._target = None
        self.restore()

    def restore(self) -> None:
        """Put the active configuration's files in place again, as well as it goes."""
        if self.active is None:
            return
        try:
            self._install(self.active)
        except AgentError as error:
            self._log.error("config.restore_failed", error=str(error))
        else:
            self._record_active()
            self._reporter.restored(self.active)

    def _install(self, candidate: Candidate) -> None:
        """Replace the generated files; scripts first, since the configuration names them."""
        self._holds.prepare(candidate.config.hold_names)
        self._probes.prepare(candidate.config.port_probes, self._reporter.instance_states)
        # where the image's link leads, if another run directory was chosen, is not there yet
        config = os.path.realpath(candidate.paths.config)
        files.make_directory(os.path.dirname(config))  # noqa: PTH120 - a string
        files.replace_all((*candidate.rendering.scripts, candidate.rendering.config))

    def _record_addresses(self) -> None:
        """Record what may be on an interface from now on, for the next run of the agent."""
        if self.active is None:
            return
        before = self._previous.config.addresses if self._previous else ()
        served = dict.fromkeys((*before, *self.active.config.addresses))
        try:
            memory.record_addresses(self._paths.addresses, self.active.config.interface, served)
        except AgentError as error:
            self._log.error("addresses.record_failed", error=str(error))

    def _mark_addresses(self) -> None:
        """Mark what a reload adds and is on the interface already, before keepalived knows it."""
        before, active = self._previous, self.active
        on = active.facts.interface(active.config.interface) if active else None
        if before is None or active is None or on is None:
            return
        old = set(before.config.addresses)
        labels = {
            held.address: held.label
            for each in active.config.instances
            for held in each.all_addresses
            if held.address not in old
        }
        try:
            netlink.mark_addresses(on, labels)
        except AgentError as error:
            self._log.error("addresses.mark_failed", error=str(error))

    def _record_active(self) -> None:
        """Write down what is in force, for commands that compare with it."""
        if self.active is None:
            return
        record = prepare.record(self.active, self._environment, self._options)
        try:
            files.write_atomically(self._paths.active, codec.encode(record))
        except AgentError as error:
            self._log.error("config.record_failed", error=str(error))

    def look_at_node(self) -> str:
        """Return a text that is equal as long as the node is; see ``debounce``.

        Raises:
            SystemRefusedError: the kernel does not answer.
        """
        if self.active is None:
            return ""
        # While keepalived sets many addresses the loop must not wait for it.
        facts = prepare.look_at_host(
            self.active.settings,
            self.active.paths,
            self.active.facts.resolved_peers or (),
            is_glance=True,
        )
        before = self._previous.config.addresses if self._previous else ()
        ours = (*self.active.config.addresses, *before, *facts.recorded_addresses)
        return debounce.describe_node(facts, ours)

    def host_changed(self) -> bool:
        """Return whether the active plan would differ on the node as it is now."""
        if self.active is None:
            return False
        try:
            return prepare.plan_again(self.active) != self.active.config
        except AgentError:  # a plan that is impossible now is another one
            return True

    def release_addresses(self) -> None:
        """Remove virtual addresses by what the kernel shows, not by what the agent believes.

        Before anything is known of a configuration, those that a former run recorded.
        """
        known = [each for each in (self._accepted, self.active, self._previous) if each]
        recorded = memory.read_recorded_addresses(self._paths.addresses)
        addresses = {*recorded, *(each for held in known for each in held.config.addresses)}
        if not addresses:
            return
        label = known[0].settings.address_label if known else ""
        before = memory.read_recorded_interface(self._paths.addresses) or ""
        interface = known[0].config.interface if known else before
        try:
            facts = prepare.look_for(addresses, {interface, before}, recorded)
            found = ownership.leftovers(addresses, label, facts, interface)
            released = netlink.release_addresses(found)
        except AgentError as error:
            self._log.error("addresses.release_failed", error=str(error))
            return
        if released:
            self._log.warning("addresses.released", addresses=released)
