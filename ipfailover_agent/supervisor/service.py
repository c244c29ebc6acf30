"""Supervises keepalived: feeds the state machine, and carries out its actions."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from typing import TYPE_CHECKING, assert_never

from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived import lifecycle, protocol
from ipfailover_agent.keepalived.lifecycle import AgentPhase, Occurrence, Order, Reload
from ipfailover_agent.linux import garbage, process
from ipfailover_agent.service import Service
from ipfailover_agent.status.logs import Repeats
from ipfailover_agent.status.transition import TransitionCause, TransitionKind
from ipfailover_agent.supervisor.services import Services

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.service import Runtime


SOURCE = "keepalived"
"""Of the loop's events about what it writes, before its pid."""


class Child:
    """Starts keepalived, again and again, and keeps the streams that it writes to.

    Lines of one that ended may still be there to read when its successor writes already: each
    has a stream of its own, whose name is the source of the loop's events.

    Attributes:
        outputs: descriptors by the name of the stream, the newest one last.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._loop = runtime.loop
        self._log = runtime.log
        self._output = runtime.output
        self._wrap = runtime.wrap
        self._refusals = Repeats()
        self.outputs: dict[str, int] = {}

    def spawn(self, active: Candidate, environment: Mapping[str, str]) -> int:
        """Start keepalived with a configuration and return its pid.

        Raises:
            KeepalivedMissingError: keepalived or setpriv is not there or cannot be executed.
            SystemRefusedError: no process could be made.
        """
        for old in list(self.outputs)[:-1]:  # the last one may still have lines to read
            self.close(old)
        path = environment.get("PATH")
        read_end, write_end = process.make_output_pipe()
        try:
            argv = protocol.command(
                process.find_program("keepalived", path),
                process.find_program("setpriv", path),
                active.paths,
                active.config.keepalived_options,
            )
            pid = process.spawn(argv, environment=environment, stdout=write_end, stderr=write_end)
        except AgentError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        stream = f"{SOURCE} {pid}"
        self.outputs[stream] = read_end
        self._loop.watch_lines(read_end, stream)
        return pid

    def pass_on(self, line: bytes, *, is_alone: bool) -> None:
        """Pass a line of keepalived's on; what it says of each refused advert, once a minute.

        ``is_alone``: it sends to itself, and that it receives that is no news.
        """
        is_expected = is_alone and protocol.says_heard_itself(line)
        if is_expected or protocol.says_dumped(line):
            return
        refusal = protocol.refusal(line)
        if refusal is None:
            self._output.write_line(self._wrap(line))
            return
        repeated = self._refusals.seen(refusal, time.monotonic())
        if repeated is not None:
            self._output.write_line(self._wrap(line))
        if repeated:
            self._log.info("keepalived.repeats", line=refusal, repeated=repeated)

    def close(self, stream: str) -> None:
        """Let go of a stream that has ended."""
        fd = self.outputs.pop(stream)
        self._loop.unwatch(fd)
        os.close(fd)


class Supervisor(Service):
    """Starts, reloads and stops keepalived; :mod:`keepalived.lifecycle` decides.

    Attributes:
        services: all services of the agent, of which this is one.
        child: keepalived's streams.
        finish: why and how the agent is to end, None while it is not.
    """

    source = SOURCE

    def __init__(self, runtime: Runtime) -> None:
        self._state = lifecycle.Lifecycle(policy=runtime.policy)
        self._queue: deque[lifecycle.Event] = deque()
        self.finish: lifecycle.Finish | None = None
        self.child = Child(runtime)
        self.services = Services(
            runtime, self, dispatch=self.dispatch, kill=self.kill, restart=self.restart
        )
        super().__init__(self.services.common)
        self._reporter = self.services.reporter
        self._transition_causes = self.services.transition_causes
        self._config_manager = self.services.config_manager

    @property
    def pid(self) -> int | None:
        """Return the pid of keepalived's parent process, and its group, while either may live."""
        return self._state.pid

    @property
    def deadline(self) -> float | None:
        """Return when the state machine waits no longer, in monotonic seconds."""
        return self._state.deadline

    def tick(self, now: float) -> None:
        """Have the state machine wait no longer."""
        if self._state.deadline is not None and now >= self._state.deadline:
            self.dispatch(Occurrence.DEADLINE_PASSED)

    def child_exited(self, child: process.ChildExit) -> bool:
        """Take the end of keepalived's parent process; return whether it was that."""
        if child.pid != self.pid or self._state.phase is AgentPhase.CLEARING:
            return False
        code, is_restart = child.exit_code, self._state.phase is AgentPhase.RESTARTING
        permanent = protocol.permanent_exit_code(code) is not None
        changed = permanent and self._config_manager.host_changed()
        is_rolled_back = self._state.reload is Reload.ROLLING_BACK
        is_expected = self._state.stops or is_restart or is_rolled_back
        self._reporter.keepalived_ended(child, is_expected=is_expected)
        for each in self.services:
            each.keepalived_ended(keeps_holds=is_restart)
        self.services.pass_on_states(time.monotonic())
        self.dispatch(lifecycle.KeepalivedEnded(exit_code=code, host_changed=changed))
        return True

    def check_group_if_clearing(self) -> None:
        """Look whether the rest of keepalived's group has ended, where that is awaited."""
        if self._state.phase is AgentPhase.CLEARING:
            self._check_group()

    def on_line(self, source: str, line: bytes) -> None:
        """Take a line of keepalived's."""
        if source not in self.child.outputs:
            return
        self.child.pass_on(line, is_alone=self._config_manager.is_alone)
        if source != next(reversed(self.child.outputs)):
            return  # the last lines of one that ended do not concern its successor
        if protocol.says_started(line):
            self.dispatch(Occurrence.KEEPALIVED_READY)
            if self.pid is not None:
                self.services.keepalived_watchdog.keepalived_ready(self.pid)
        elif protocol.says_reloaded(line):
            self.dispatch(Occurrence.RELOAD_COMPLETED)

    def stream_closed(self, source: str) -> None:
        """Note that a keepalived has written its last line."""
        if source in self.child.outputs:
            self.child.close(source)

    # --- deciding and doing ---------------------------------------------------------------------

    def dispatch(self, event: lifecycle.Event) -> None:
        """Let the state machine answer an event; events that its actions cause wait in line."""
        self._queue.append(event)
        if len(self._queue) > 1:
            return
        while self._queue:
            self._state, actions = lifecycle.step(self._state, self._queue[0], time.monotonic())
            self._reporter.note_state(self._state)
            for action in actions:
                self._carry_out(action)
            self._queue.popleft()

    def _carry_out(self, action: lifecycle.Action) -> None:
        match action:
            case Order.PREPARE:
                if self._state.reload is Reload.PREPARING:
                    self._reporter.reload_began()
                self.services.watcher.reading()
                runs = self._state.phase is AgentPhase.RUNNING
                self._config_manager.prepare(runs=runs)
            case Order.ABANDON_PREPARATION:
                self._config_manager.abandon()
            case Order.ACTIVATE | Order.RESTORE | Order.ROLL_BACK:
                self._put_in_force(action)
            case Order.PLACE_STEP:
                self._config_manager.place_step()
            case Order.VERIFY:
                self._end_rereading()
                self.services.verifier.verify(self._config_manager.expectation)
            case Order.CONCLUDE_VERIFICATION:
                self.services.verifier.conclude()
            case Order.SPAWN:
                self._spawn()
            case Order.HUP:
                self._reload_keepalived()
            case Order.TERM:
                self._end_keepalived()
            case Order.TERM_GROUP | Order.KILL_GROUP:
                is_kill = action is Order.KILL_GROUP
                self._signal_group(signal.SIGKILL if is_kill else signal.SIGTERM)
            case Order.CHECK_GROUP:
                self._check_group()
            case Order.RELEASE_ADDRESSES:
                self._config_manager.release_addresses()
            case lifecycle.EndReload():
                self._end_rereading()
                self._reporter.reload_ended(action)
            case lifecycle.LogRestart(reason=reason):
                self._log.warning("keepalived.restarting", reason=reason)
                self._note_ending(f"keepalived was ended to be started anew: {reason}")
            case lifecycle.ScheduleRestart(attempt=attempt, delay=delay):
                self._log.warning("restart.scheduled", attempt=attempt, delay=round(delay, 1))
            case lifecycle.Finish():
                self.finish = action
            case _:
                assert_never(action)

    def _put_in_force(self, order: Order) -> None:
        if order is Order.ACTIVATE:
            self._config_manager.activate()
        elif order is Order.RESTORE:
            self._config_manager.restore()
        else:
            self._config_manager.roll_back()
        self.services.configure()

    def restart(self, reason: str) -> bool:
        """Have keepalived started anew; return False where something else is under way."""
        self.dispatch(lifecycle.RestartWanted(reason=reason))
        return self._state.phase is AgentPhase.RESTARTING

    def _note_ending(self, text: str) -> None:
        self._transition_causes.ends(TransitionCause(kind=TransitionKind.STOPPED, text=text))

    def _end_rereading(self) -> None:
        for each in self.services:
            each.rereading_ended()

    def _reload_keepalived(self) -> None:
        self._transition_causes.reloaded(time.monotonic())
        if self.pid is not None:
            process.signal_process(self.pid, signal.SIGHUP)
        for each in self.services:
            # After the SIGHUP: the watchdog asks at once whether keepalived still answers.
            each.rereading_began()

    def _end_keepalived(self) -> None:
        stops = self._state.phase is AgentPhase.STOPPING
        self._note_ending("the agent stops" if stops else "keepalived is started again")
        for each in self.services:
            each.keepalived_ends()
        if self.pid is not None:
            process.signal_process(self.pid, signal.SIGTERM)

    def _signal_group(self, number: signal.Signals) -> None:
        if self.pid is not None:
            process.signal_group(self.pid, number)

    def kill(self) -> None:
        """End keepalived's process group at once: it hangs."""
        hangs = TransitionCause(kind=TransitionKind.ENDED, text="keepalived hung and was killed")
        self._transition_causes.ends(hangs)
        self._signal_group(signal.SIGKILL)

    def _check_group(self) -> None:
        if self.pid is None or not process.group_exists(self.pid):
            self.dispatch(Occurrence.GROUP_GONE)

    def _spawn(self) -> None:
        active = self._config_manager.active
        if active is None:
            raise AgentError("internal error: nothing to start keepalived with")
        self.services.link_watch.keepalived_starts()
        try:
            pid = self.child.spawn(active, self._config_manager.environment)
        except AgentError as error:
            self._log.error("keepalived.spawn_failed", error=str(error))
            self.dispatch(lifecycle.SpawnFailed(exit_code=error.exit_code))
            return
        self._reporter.keepalived_started(pid)
        garbage.start_is_over()
        self.dispatch(lifecycle.Spawned(pid=pid))

    def abandon(self) -> None:
        """End keepalived and release its addresses after a bug of the agent, as well as it goes.

        Otherwise they would stay on the interface where the agent is PID 1: its end kills
        everything.
        """
        if self.pid is None:
            return
        for signum, grace in (
            (signal.SIGTERM, self._state.policy.stop_grace),
            (signal.SIGKILL, self._state.policy.kill_grace),
        ):
            process.signal_group(self.pid, signum)
            deadline = time.monotonic() + grace
            while process.group_exists(self.pid) and time.monotonic() < deadline:
                list(process.reap())
                time.sleep(self._state.policy.clear_interval)
        self._config_manager.release_addresses()
