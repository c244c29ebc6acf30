"""Runs the check script out of turn, and goes on until it is content.

keepalived runs the script at its own interval. When a listener is gone, that is too late: so the
same script is run at once, and then at that interval for as long as it fails.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ipfailover_agent.core.errors import AgentError
from ipfailover_agent.core.supervising import probe
from ipfailover_agent.system import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipfailover_agent.system.process import ChildExit

_BASH: Final = "/usr/bin/bash"  # as keepalived starts it


class CheckRuns:
    """Runs of a script, judged as rounds of probes are; ``report`` is called at every change.

    Args:
        policy: with one port, which stands for the whole check.
        script: its path.
        environment: what the script gets.
        report: called with the verdict.
        is_healthy: the verdict so far; a bad one is looked into at once.
    """

    def __init__(
        self,
        policy: probe.ProbePolicy,
        *,
        script: str,
        environment: Mapping[str, str],
        report: Callable[[probe.ReportHealth], None],
        is_healthy: bool = True,
    ) -> None:
        self._policy = policy
        self._script = script
        self._environment = environment
        self._report = report
        self._state = probe.ProbeState(
            is_healthy=is_healthy, reason="" if is_healthy else "not run yet"
        )
        self._pid: int | None = None
        self._began = 0.0

    @property
    def state(self) -> probe.ProbeState:
        """Return what is known."""
        return self._state

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` is due, None while no run contradicts the verdict."""
        return self._state.deadline

    def begin(self, now: float, policy: probe.ProbePolicy | None = None) -> None:
        """Take another policy if one is given; run only where the verdict is bad."""
        if policy is not None:
            self._dispatch(probe.ProbingEnded(), now)
            self._policy = policy
        if not self._state.is_steady:
            self._dispatch(probe.ProbingBegan(), now)

    def ask(self, cause: str, now: float) -> None:
        """Run it at once, if that counts; see ``core.supervising.probe``."""
        if self._state.due is None:
            self._state = replace(self._state, due=now)
        self._dispatch(probe.ProbeRequested(cause=cause), now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        deadline = self._state.deadline
        if deadline is not None and now >= deadline:
            self._dispatch(probe.ProbeDeadlinePassed(), now)

    def child_exited(self, child: ChildExit) -> bool:
        """Handle the end of a child; return whether it was one of these."""
        if child.pid != self._pid:
            return False
        self._pid = None
        failure = "" if child.exit_code == 0 else "the check fails"
        now = time.monotonic()
        self._dispatch(probe.ConnectsEnded((self._answer(failure, now),)), now)
        return True

    def close(self) -> None:
        """Run it no more."""
        self._dispatch(probe.ProbingEnded(), time.monotonic())

    def _answer(
        self, failure: str, now: float, *, is_inconclusive: bool = False
    ) -> probe.ConnectResult:
        return probe.ConnectResult(
            port=self._policy.ports[0],
            failure=failure,
            is_inconclusive=is_inconclusive,
            seconds=now - self._began,
        )

    def _dispatch(self, event: probe.Event, now: float) -> None:
        self._state, actions = probe.step(self._state, event, now, self._policy)
        answers: list[probe.ConnectResult] = []
        for action in actions:
            match action:
                case probe.Connect():
                    answers += self._run(now)
                case probe.Close():
                    self._kill()
                case probe.ReportHealth():
                    self._report(action)
        if answers:
            self._dispatch(probe.ConnectsEnded(tuple(answers)), now)
        elif self._state.is_steady and self._state.due is not None and not self._state.waiting:
            self._dispatch(probe.ProbingEnded(), now)  # keepalived's own runs are enough

    def _run(self, now: float) -> list[probe.ConnectResult]:
        self._began = now
        try:
            nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            reason = f"cannot open {os.devnull}: {error.strerror}"
            return [self._answer(reason, now, is_inconclusive=True)]
        try:
            self._pid = process.spawn(
                (_BASH, self._script),
                environment=self._environment,
                stdout=nothing,
                stderr=nothing,
            )
        except AgentError as error:
            return [self._answer(str(error), now, is_inconclusive=True)]
        finally:
            os.close(nothing)
        return []

    def _kill(self) -> None:
        if self._pid is not None:
            process.signal_group(self._pid, signal.SIGKILL)
        self._pid = None  # reaped as an orphan
