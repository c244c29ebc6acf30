"""The loop: takes events from the machine, asks core, carries out what it decides."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from typing import TYPE_CHECKING, assert_never

from ipfailover_agent import __version__, web
from ipfailover_agent.child import Child
from ipfailover_agent.chronicle.history import History, recording
from ipfailover_agent.chronicle.reporter import Reporter
from ipfailover_agent.chronicle.transition_causes import Sources, TransitionCauses
from ipfailover_agent.configuration import awaiting, config_manager
from ipfailover_agent.configuration.peering import SOURCE as PEERS
from ipfailover_agent.configuration.peering import Peering
from ipfailover_agent.configuration.watcher import Watcher
from ipfailover_agent.core.errors import AgentError, ExitCode, NotPermittedError
from ipfailover_agent.core.paths import RunPaths
from ipfailover_agent.core.supervising import keepalived, lifecycle
from ipfailover_agent.core.supervising import supervision as does
from ipfailover_agent.core.supervising.supervision import AgentPhase, Reload
from ipfailover_agent.core.telling.transition import TransitionCause, TransitionKind
from ipfailover_agent.loop_watchdog import LoopWatchdog
from ipfailover_agent.protection import keepalived_watchdog
from ipfailover_agent.protection.guard import Guard
from ipfailover_agent.protection.link_watch import SOURCE as LINKS
from ipfailover_agent.report.logs import Repeats
from ipfailover_agent.system import files, garbage, host, loop, process, setgroups
from ipfailover_agent.web import Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.prepare import Options
    from ipfailover_agent.system.output import LineSink

_SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1)
_LINKS = loop.Readable(source=LINKS)
_DRAIN_SECONDS = 0.2  # at the very end, for a reader that is just late
_LAST_WORDS_SECONDS = 1.0  # at most, while keepalived's last output is still being read


class Agent:
    """Runs until a signal stops it or it cannot go on; :meth:`run` returns the exit code.

    Args:
        environment: the initial environment; keepalived gets it too.
        options: the agent's own settings.
        log: where events go, through ``errors``.
        output: where keepalived's lines go, as ``wrap`` makes them.
        errors: where the log goes.
        policy: every delay.
        last_words: called with the reason why the agent ends, where the exit code lacks it.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        options: Options,
        log: FilteringBoundLogger,
        output: LineSink,
        errors: LineSink,
        wrap: Callable[[bytes], bytes],
        policy: does.SupervisionPolicy | None = None,
        last_words: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._paths = RunPaths(directory=options.run_directory, config="")
        self._history = History(self._paths.events)
        self._log = log = recording(log, self._history)
        self._output = output
        self._errors = errors
        self._wrap = wrap
        self._policy = policy or does.SupervisionPolicy()
        self._state = does.Lifecycle()
        self._queue: deque[does.Event] = deque()
        self._finish: does.Finish | None = None
        self.failure: tuple[str, ...] = ()  # why it ended, when it has
        self._woke_at = time.monotonic()
        self._last_words = last_words
        self._watchdog = LoopWatchdog(
            beat=lambda: self._woke_at,
            keepalived=lambda: self._state.pid,
            tell=self._is_stuck,
        )
        self._refusals = Repeats()
        self._transition_causes = TransitionCauses(self._paths)
        self._history.heard = self._transition_causes.record
        self._guard = Guard(
            log=log,
            paths=self._paths,
            environment=environment,
            kill=self._kill_keepalived,
            seen=self._transition_causes.advert,
            dispatch=self._dispatch,
            restart=self._restart,
        )
        self._transition_causes.sources = Sources(
            withholdings=self._guard.withholdings,
            is_wire_watched=lambda: self._guard.contests.is_on,
            lapsed_at=self._guard.leases.lapsed_at,
        )
        self._reporter = Reporter(
            log=log,
            paths=self._paths,
            source=options.config,
            lines_dropped=lambda: output.dropped + errors.dropped,
            held=self._guard.contests.describe,
            protections=self._guard.protections,
            troubles=self._guard.link_watch.troubles,
            drains=self._guard.drains,
            look=self._guard.look,
            answers=self._guard.answers,
            history=self._history,
            transition_causes=self._transition_causes,
        )
        self._guard.drains.changed = self._guard.holders.changed = self._reporter.touch
        self._guard.link_watch.changed = self._reporter.touch
        self._guard.shields.changed = self._reporter.touch
        self._peering = Peering(
            log=log,
            path=self._paths.peers,
            in_force=lambda: self._config_manager.peers,
            changed=lambda: self._dispatch(does.InputsChanged()),
        )
        self._config_manager = config_manager.ConfigManager(
            environment=environment,
            options=options,
            paths=self._paths,
            reporter=self._reporter,
            holds=self._guard.holds,
            probes=self._guard.probes,
            policy=self._policy,
            add_peers=self._peering.add_to,
            dispatch=self._dispatch,
        )
        self._web = Web.made(options.listen, log=log, reporter=self._reporter, guard=self._guard)
        self._watcher = Watcher(
            log=log,
            options=options,
            config_manager=self._config_manager,
            policy=self._policy,
            request=lambda: self._dispatch(does.ReloadRequested()),
        )

    def run(self) -> int:
        """Serve until the end; return the exit code.

        Raises:
            NotPermittedError: a capability is missing.
            SystemRefusedError: the run directory, the FIFO or the pid file cannot be had.
        """
        if missing := host.missing_capabilities():
            # Without NET_ADMIN keepalived becomes MASTER and sets no address (2.2.7).
            names = " and ".join(missing)
            raise NotPermittedError(f"cannot serve addresses: {names} is missing (capabilities)")
        # Held until this process ends, however it ends.
        files.lock_run_directory(self._paths)
        files.prepare_run_directory(self._paths)
        self._guard.drains.restore()
        self._history.load()
        # A command that finds the new pid must not find a former agent's status beside it.
        self._reporter.write_status()
        files.write_pid_file(self._paths.agent_pid)
        process.become_subreaper()
        self._log.info("agent.started", version=__version__, pid=os.getpid())
        if reason := setgroups.make_setgroups_succeed():
            self._log.error("scripts.disabled", reason=reason)
        fifo = files.open_notify_fifo(self._paths.notify_fifo)
        try:
            with loop.Loop(_SIGNALS) as self._loop:
                self._child = Child(self._loop)
                self._loop.watch_lines(fifo, "notify")
                self._peering.begin(self._loop)
                self._guard.keepalived_watchdog.begin(self._loop, self._config_manager.environment)
                self._guard.link_watch.begin(self._loop)
                self._web.begin(self._loop)
                finish = self._serve()
                self._hear_last_words()
            self._guard.remove_rules()
        except BaseException:
            self._abandon_keepalived()
            self._guard.remove_rules()
            raise
        finally:
            self._web.close()
            self._guard.close()
            self._peering.close()
            os.close(fifo)
            with contextlib.suppress(AgentError):  # it names a process that is gone in any case
                files.remove_file(self._paths.agent_pid)
        code = finish.exit_code
        say = self._log.info if code is ExitCode.OK else self._log.error
        # The last line is what platforms show of a container that ended.
        problems = self._reporter.refusal if self._config_manager.active is None else ()
        self.failure = (*filter(None, (finish.reason,)), *problems)
        told = {"problems": problems} if problems else {}
        say("agent.stopped", exit_code=int(code), reason=finish.reason, **told)
        self._reporter.write_status()
        for sink in (self._output, self._errors):
            sink.drain(_DRAIN_SECONDS)
        return int(code)

    def _serve(self) -> does.Finish:
        """Go round until there is a reason to end."""
        self._dispatch(does.AgentStarted())
        self._watchdog.begin()
        try:
            while self._finish is None:
                self._round()
        finally:
            self._watchdog.end()
        return self._finish

    def _hear_last_words(self) -> None:
        """Pass on what keepalived wrote before it ended: a round reads only a part of it."""
        deadline = time.monotonic() + _LAST_WORDS_SECONDS
        while self._child.has_output and time.monotonic() < deadline:
            for event in self._loop.wait(deadline):
                self._handle(event)

    def _abandon_keepalived(self) -> None:
        """End keepalived and release its addresses after a bug of the agent, as well as it goes.

        Otherwise they would stay on the interface where the agent is PID 1: its end kills
        everything.
        """
        if self._state.pid is None:
            return
        for signum, grace in (
            (signal.SIGTERM, self._policy.stop_grace),
            (signal.SIGKILL, self._policy.kill_grace),
        ):
            process.signal_group(self._state.pid, signum)
            deadline = time.monotonic() + grace
            while process.group_exists(self._state.pid) and time.monotonic() < deadline:
                list(process.reap())
                time.sleep(self._policy.clear_interval)
        self._config_manager.release_addresses()

    def _is_stuck(self, reason: str) -> None:
        """Say in the watchdog's thread why it ends this process."""
        self._last_words(reason)
        self._log.error("loop.stuck", exit_code=int(ExitCode.BUG), reason=reason)

    # --- the loop -------------------------------------------------------------------------------

    def _round(self) -> None:
        """Wait for events once and handle them; deadlines come first."""
        due = (
            self._state.deadline,
            self._config_manager.deadline,
            self._reporter.deadline,
            self._guard.deadline,
            self._web.deadline,
            self._peering.deadline,
            self._watcher.deadline if self._state.phase is AgentPhase.RUNNING else None,
        )
        deadline = min((each for each in due if each is not None), default=None)
        events = self._wait(deadline)
        now = self._woke_at
        self._listen(events, now)
        # What keepalived reported comes before leases, and leases before anything else.
        for event in events:
            match event:
                case loop.LineReceived(source="notify", line=line):
                    self._on_notify_line(line)
                case _:
                    pass
        self._guard.roster_is(self._reporter.instance_states, now)
        self._guard.renew(now)
        self._guard.tick(now)
        if self._state.deadline is not None and now >= self._state.deadline:
            self._dispatch(does.SupervisionDeadlinePassed())
        self._config_manager.tick(now, self._loop)
        self._peering.tick(now)
        if self._state.phase is AgentPhase.RUNNING:
            self._watcher.tick(now)
        for event in events:
            self._handle(event)
        self._reporter.tick(now)
        self._web.tick(now)
        for sink in (self._output, self._errors):
            if sink.wants_write:
                self._loop.watch_writable(sink.fileno(), "sink")
            else:
                self._loop.unwatch(sink.fileno())

    def _wait(self, deadline: float | None) -> tuple[loop.Event, ...]:
        """Wait for events or the deadline.

        Probes that find nothing new are no reason to return, nor is it that the wire is listened
        to again: that comes many times a second, and a round looks at everything.
        """
        while True:
            due = (deadline, self._guard.probes.deadline, self._guard.contests.resume_at)
            first = min((each for each in due if each is not None), default=None)
            events = self._loop.wait(first)
            # Most of the kernel's notices of links are no reason for a round.
            matters = _LINKS in events and self._guard.link_watch.readable()
            events = tuple(each for each in events if each != _LINKS)
            now = time.monotonic()
            # What was due before the last round was not kept waiting by this one.
            late = 0.0 if first is None else now - max(first, self._woke_at)
            self._woke_at = now
            is_gap = self._guard.woke(late)
            self._guard.contests.resume(now)
            is_due = deadline is not None and now >= deadline
            if events or is_gap or matters or is_due:
                return events
            if self._guard.probes.tick(now):
                return ()

    def _listen(self, events: Iterable[loop.Event], now: float) -> None:
        """Take what explains transitions, before those that it explains."""
        lines = [event for event in events if isinstance(event, loop.LineReceived)]
        for each in lines:
            if self._child.writes(each.source):
                self._transition_causes.line(each.line, now)
        if any(each.source == "notify" for each in lines):
            self._guard.contests.readable()

    def _handle(self, event: loop.Event) -> None:
        match event:
            case loop.SignalReceived(signum=signal.SIGCHLD):
                for child in process.reap():
                    self._on_child_exit(child)
            case loop.SignalReceived(signum=signal.SIGUSR1):
                self._guard.drains.look(self._reporter.instance_states)
            case loop.SignalReceived(signum=number):
                self._log.info("signal.received", signal=number.name)
                asked = number is signal.SIGHUP
                self._dispatch(does.ReloadRequested() if asked else does.StopRequested())
            case loop.LineReceived(source="notify") | loop.Woken():
                pass  # taken before; a client wants a snapshot, which the round makes
            case loop.LineReceived(source=keepalived_watchdog.STREAM, line=line):
                self._guard.keepalived_watchdog.lookup_said(line)
            case loop.StreamClosed(source=keepalived_watchdog.STREAM):
                self._guard.keepalived_watchdog.lookup_closed(self._loop)
            case loop.Readable(source=web.SOURCE):
                self._web.woken()
            case loop.Readable(source=source) if source == PEERS:
                self._peering.readable()
            case loop.Readable(source=awaiting.SOURCE):
                self._config_manager.ear.readable()
            case loop.Readable(source=source):
                self._guard.readable(source)
            case loop.LineReceived(source=source, line=line) if self._child.writes(source):
                self._on_keepalived_line(source, line)
            case loop.LineReceived(source=source, line=line):
                self._config_manager.test_said(source, line)
            case loop.StreamClosed(source=source) if self._child.writes(source):
                self._child.close(source)
            case loop.StreamClosed(source=source):
                self._config_manager.test_closed(source, self._loop)
            case loop.Writable():
                self._output.flush()
                self._errors.flush()

    def _on_notify_line(self, line: bytes) -> None:
        changed = self._reporter.notify_line(line)
        if changed is not None:
            self._guard.transition(*changed)

    def _on_child_exit(self, child: process.ChildExit) -> None:
        if child.pid == self._state.pid and self._state.phase is not AgentPhase.CLEARING:
            code, is_restart = child.exit_code, self._state.phase is AgentPhase.RESTARTING
            permanent = keepalived.permanent_exit_code(code) is not None
            changed = permanent and self._config_manager.host_changed()
            self._reporter.keepalived_ended(
                expected=self._state.stops
                or is_restart
                or self._state.reload is Reload.ROLLING_BACK,
                pid=child.pid,
                code=code,
                signal=child.signal,
            )
            self._guard.keepalived_ended(self._reporter.instance_states, keeps_holds=is_restart)
            self._dispatch(does.KeepalivedEnded(exit_code=code, host_changed=changed))
        elif not (
            self._config_manager.child_exited(child, self._loop)
            or self._guard.child_exited(child, self._loop)
        ):
            self._log.debug("child.orphan_reaped", pid=child.pid, exit_code=child.exit_code)
        if self._state.phase is AgentPhase.CLEARING:
            self._check_group()

    def _on_keepalived_line(self, source: str, line: bytes) -> None:
        is_expected = keepalived.says_heard_itself(line) and self._config_manager.is_alone
        if not (is_expected or keepalived.says_dumped(line)):
            self._pass_on(line)
        if not self._child.is_newest(source):
            return  # the last lines of one that ended do not concern its successor
        if keepalived.says_started(line):
            self._dispatch(does.KeepalivedReady())
            if self._state.pid is not None:
                self._guard.keepalived_watchdog.keepalived_ready(self._state.pid)
        elif keepalived.says_reloaded(line):
            self._dispatch(does.ReloadCompleted())

    def _pass_on(self, line: bytes) -> None:
        """Pass a line of keepalived's on; its line for each refused advert, once a minute."""
        refusal = keepalived.refusal(line)
        if refusal is None:
            self._output.write_line(self._wrap(line))
            return
        repeated = self._refusals.seen(refusal, time.monotonic())
        if repeated is not None:
            self._output.write_line(self._wrap(line))
        if repeated:
            self._log.info("keepalived.repeats", line=refusal, repeated=repeated)

    # --- deciding and doing ---------------------------------------------------------------------

    def _dispatch(self, event: does.Event) -> None:
        """Let the state machine answer an event; events that its actions cause wait in line."""
        self._queue.append(event)
        if len(self._queue) > 1:
            return
        while self._queue:
            self._state, actions = lifecycle.step(
                self._state, self._queue[0], time.monotonic(), self._policy
            )
            self._reporter.state_is(self._state)
            for action in actions:
                self._carry_out(action)
            self._queue.popleft()

    def _carry_out(self, action: does.Action) -> None:
        match action:
            case does.Prepare():
                if self._state.reload is Reload.PREPARING:
                    self._reporter.reload_began()
                self._watcher.reading()
                runs = self._state.phase is AgentPhase.RUNNING
                self._config_manager.prepare(self._loop, runs=runs)
            case does.AbandonPreparation():
                self._config_manager.abandon(self._loop)
            case does.Activate():
                self._config_manager.activate()
                self._configure_guard()
            case does.PlaceStep():
                self._config_manager.place_step()
            case does.Verify() | does.ConcludeVerification():
                self._verify(action)
            case does.Restore():
                self._config_manager.restore()
                self._configure_guard()
            case does.RollBack():
                self._config_manager.roll_back()
                self._configure_guard()
            case does.Spawn():
                self._spawn()
            case does.SignalKeepalived(signal=number):
                self._signal_keepalived(number)
            case does.SignalGroup(signal=number):
                if self._state.pid is not None:
                    process.signal_group(self._state.pid, number)
            case does.CheckGroup():
                self._check_group()
            case does.ReleaseAddresses():
                self._config_manager.release_addresses()
            case does.EndReload(reason=reason, is_confirmed=is_confirmed):
                self._configure_guard()
                self._guard.reload_ended()
                self._reporter.reload_ended(reason, is_confirmed=is_confirmed)
            case does.TellRestart() | does.ScheduleRestart():
                self._tell_restart(action)
            case does.Finish():
                self._finish = action
            case _:
                assert_never(action)

    def _restart(self, reason: str) -> bool:
        """Have keepalived started anew; return False where something else is under way."""
        self._dispatch(does.RestartWanted(reason=reason))
        return self._state.phase is AgentPhase.RESTARTING

    def _tell_restart(self, action: does.TellRestart | does.ScheduleRestart) -> None:
        if isinstance(action, does.ScheduleRestart):
            delay = round(action.delay, 1)
            self._log.warning("restart.scheduled", attempt=action.attempt, delay=delay)
            return
        self._log.warning("keepalived.restarting", reason=action.reason)
        text = f"keepalived was ended to be started anew: {action.reason}"
        self._transition_causes.ends(TransitionCause(kind=TransitionKind.STOPPED, text=text))

    def _verify(self, action: does.Verify | does.ConcludeVerification) -> None:
        if isinstance(action, does.Verify):
            self._guard.verify(self._config_manager.expectation)
        else:
            self._guard.conclude_verification()

    def _configure_guard(self) -> None:
        if self._config_manager.active is not None:
            self._guard.activated(
                self._config_manager.active, self._reporter.instance_states, self._loop
            )

    def _signal_keepalived(self, number: signal.Signals) -> None:
        if self._state.pid is None:
            return
        is_reload = number is signal.SIGHUP
        if is_reload:
            self._transition_causes.reloaded(time.monotonic())
        else:
            stops = self._state.phase is AgentPhase.STOPPING
            text = "the agent stops" if stops else "keepalived is started again"
            self._transition_causes.ends(TransitionCause(kind=TransitionKind.STOPPED, text=text))
            self._guard.keepalived_ends()
        process.signal_process(self._state.pid, number)
        if is_reload:
            self._guard.reload_began()  # asks whether it still answers, after that

    def _kill_keepalived(self) -> None:
        hangs = TransitionCause(kind=TransitionKind.ENDED, text="keepalived hung and was killed")
        self._transition_causes.ends(hangs)
        if self._state.pid is not None:
            process.signal_group(self._state.pid, signal.SIGKILL)

    def _check_group(self) -> None:
        if self._state.pid is None or not process.group_exists(self._state.pid):
            self._dispatch(does.GroupGone())

    def _spawn(self) -> None:
        active = self._config_manager.active
        if active is None:
            raise AgentError("internal error: nothing to start keepalived with")
        self._guard.link_watch.starts()
        try:
            pid = self._child.spawn(active, self._config_manager.environment)
        except AgentError as error:
            self._log.error("keepalived.spawn_failed", error=str(error))
            self._dispatch(does.SpawnFailed(exit_code=error.exit_code))
            return
        self._reporter.keepalived_started(pid)
        garbage.start_is_over()
        self._dispatch(does.Spawned(pid=pid))
