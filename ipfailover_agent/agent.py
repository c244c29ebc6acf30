"""The loop: waits for events of the machine, and calls all services in their order."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from ipfailover_agent import __version__
from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError, ExitCode, NotPermittedError
from ipfailover_agent.keepalived.lifecycle import Occurrence, SupervisionPolicy
from ipfailover_agent.linux import files, host, loop, process, setgroups
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.service import Runtime
from ipfailover_agent.status.history import History
from ipfailover_agent.status.logs import recording
from ipfailover_agent.supervisor.link_watch import SOURCE as LINKS
from ipfailover_agent.supervisor.loop_watchdog import LoopWatchdog
from ipfailover_agent.supervisor.service import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.config.prepare import Options
    from ipfailover_agent.keepalived.lifecycle import Finish
    from ipfailover_agent.linux.output import LineSink

_SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1)
_LINKS = loop.Readable(source=LINKS)
_NOTIFY = "notify"  # the FIFO that keepalived reports transitions to
_SHORTEST_STALL = 1.0  # seconds by which the loop is late before that is called standing still
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
        policy: SupervisionPolicy | None = None,
        last_words: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._paths = paths = RunPaths(directory=options.run_directory, config="")
        self._history = History(paths.events)
        self._log = log = recording(log, self._history.record)
        self._output = output
        self._errors = errors
        self.failure: tuple[str, ...] = ()  # why it ended, when it has
        self._woke_at = time.monotonic()
        self._last_words = last_words
        self._loop = loop.Loop(_SIGNALS)
        runtime = Runtime(
            environment=environment,
            options=options,
            paths=paths,
            policy=policy or SupervisionPolicy(),
            log=log,
            history=self._history,
            output=output,
            errors=errors,
            wrap=wrap,
            loop=self._loop,
        )
        self._supervisor = Supervisor(runtime)
        self._services = self._supervisor.services
        self._reporter = self._services.reporter
        self._loop_watchdog = LoopWatchdog(pulse=self._pulse, tell=self._report_stuck)

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
        self._services.drains.restore()
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
            with self._loop:
                self._loop.watch_lines(fifo, _NOTIFY)
                for each in self._services:
                    each.begin()
                finish = self._serve()
                self._hear_last_words()
        except BaseException:
            self._supervisor.abandon()
            raise
        finally:
            with contextlib.ExitStack() as closing:  # one that fails keeps no other from it
                for each in reversed([*self._services]):
                    closing.callback(each.close)
            os.close(fifo)
            with contextlib.suppress(AgentError):  # it names a process that is gone in any case
                files.remove_file(self._paths.agent_pid)
        code = finish.exit_code
        say = self._log.info if code is ExitCode.OK else self._log.error
        # The last line is what platforms show of a container that ended.
        self.failure = (*filter(None, (finish.reason,)), *finish.lines)
        told = {"problems": finish.lines} if finish.lines else {}
        say("agent.stopped", exit_code=int(code), reason=finish.reason, **told)
        self._reporter.write_status()
        for sink in (self._output, self._errors):
            sink.drain(_DRAIN_SECONDS)
        return int(code)

    def _serve(self) -> Finish:
        """Go round until there is a reason to end."""
        self._supervisor.dispatch(Occurrence.AGENT_STARTED)
        self._loop_watchdog.begin()
        try:
            while self._supervisor.finish is None:
                self._round()
        finally:
            self._loop_watchdog.end()
        return self._supervisor.finish

    def _hear_last_words(self) -> None:
        """Pass on what keepalived wrote before it ended: a round reads only a part of it."""
        deadline = time.monotonic() + _LAST_WORDS_SECONDS
        while self._supervisor.child.outputs and time.monotonic() < deadline:
            for event in self._loop.wait(deadline):
                self._handle(event)

    def _pulse(self) -> tuple[float, int | None]:
        """Return when the newest round began, and keepalived's pid; for the watchdog's thread."""
        return self._woke_at, self._supervisor.pid

    def _report_stuck(self, reason: str) -> None:
        """Say in the watchdog's thread why it ends this process."""
        self._last_words(reason)
        self._log.error("loop.stuck", exit_code=int(ExitCode.BUG), reason=reason)

    # --- the loop -------------------------------------------------------------------------------

    def _round(self) -> None:
        """Wait for events once and handle them; deadlines come first."""
        events = self._wait()
        now = self._woke_at
        # What keepalived reported comes before leases, and leases before anything else.
        others = self._take_transitions(events, now)
        self._services.pass_on_states(now)
        for each in self._services:
            each.tick(now)
        for event in others:
            self._handle(event)
        self._reporter.tick(now)
        for sink in (self._output, self._errors):
            if sink.wants_write:
                self._loop.watch_writable(sink.fileno(), "sink")
            else:
                self._loop.unwatch(sink.fileno())

    def _wait(self) -> tuple[loop.Event, ...]:
        """Wait for events or a deadline.

        What a service does many times a second is no reason to return, unless it finds something
        new: a round looks at everything.
        """
        deadline = earliest(self._reporter.deadline, *(each.deadline for each in self._services))
        while True:
            first = earliest(deadline, *(each.resume_at for each in self._services))
            events = self._loop.wait(first)
            # Most of the kernel's notices of links are no reason for a round.
            matters = _LINKS in events and self._services.link_watch.readable()
            events = tuple(each for each in events if each != _LINKS)
            now = time.monotonic()
            # What was due before the last round was not kept waiting by this one.
            late = 0.0 if first is None else now - max(first, self._woke_at)
            self._woke_at = now
            is_stall = late >= _SHORTEST_STALL
            if is_stall:  # after which every deadline may be another one
                self._log.warning("loop.late", seconds=round(late, 2))
                for each in self._services:
                    each.stalled(late)
            if events or is_stall or matters or (deadline is not None and now >= deadline):
                return events
            if [each for each in self._services if each.resume(now)]:
                return ()

    def _take_transitions(self, events: Iterable[loop.Event], now: float) -> list[loop.Event]:
        """Take transitions, after what explains them; return the other events."""
        lines: list[bytes] = []
        others: list[loop.Event] = []
        for event in events:
            if isinstance(event, loop.LineReceived):
                if event.source == _NOTIFY:
                    lines.append(event.line)
                    continue
                if event.source in self._supervisor.child.outputs:
                    self._services.transition_causes.line(event.line, now)
            others.append(event)
        if lines:
            self._services.contests.readable()
        for line in lines:
            if (changed := self._reporter.take_transition(line)) is not None:
                for each in self._services:
                    each.on_transition(*changed)
        return others

    def _handle(self, event: loop.Event) -> None:
        match event:
            case loop.SignalReceived(signum=signal.SIGCHLD):
                for child in process.reap():
                    if not any(each.child_exited(child) for each in self._services):
                        code = child.exit_code
                        self._log.debug("child.orphan_reaped", pid=child.pid, exit_code=code)
                    self._supervisor.check_group_if_clearing()
            case loop.SignalReceived(signum=signal.SIGUSR1):
                self._services.drains.take_requests()
            case loop.SignalReceived(signum=number):
                self._log.info("signal.received", signal=number.name)
                is_reload = number is signal.SIGHUP
                self._supervisor.dispatch(
                    Occurrence.RELOAD_REQUESTED if is_reload else Occurrence.STOP_REQUESTED
                )
            case loop.LineReceived(source=source, line=line):
                self._services.of(source).on_line(source, line)
            case loop.StreamClosed(source=source):
                self._services.of(source).stream_closed(source)
            case loop.Readable(source=source):
                self._services.of(source).readable()
            case loop.Writable():
                self._output.flush()
                self._errors.flush()
            case loop.Woken():
                pass  # a service has found something, and the round looks at everything
