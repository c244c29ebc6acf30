"""Watches whether the checked ports have a listener, many times a second.

:mod:`health.listener_state` decides. This module asks the kernel, and reports that a
listener is gone. It rests while nothing would follow from that: the check fails anyway, or no
instance is eligible.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipfailover_agent.errors import AgentError
from ipfailover_agent.health import listener_state
from ipfailover_agent.status.status_model import Protection

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.health.listener_socket import ListenerSocket
    from ipfailover_agent.linux.loop import Loop
    from ipfailover_agent.model import PortCheck


class ListenerWatch:
    """The listeners of one configuration. Nothing here raises.

    Args:
        log: where events go.
        loop: has the looks taken.
        gone: called with a reason when a listener is gone; returns whether there is news for
            people, or something to wait for, so that the loop has to make a round.
    """

    def __init__(self, log: FilteringBoundLogger, loop: Loop, gone: Callable[[str], bool]) -> None:
        self._log = log
        self._loop = loop
        self._gone = gone
        self._socket: ListenerSocket | None = None
        self._ports: tuple[PortCheck, ...] = ()
        self._pace = 0.0
        self._state = listener_state.ListenerState()
        self._is_wanted = False
        self.is_watching = False
        """Whether a listener that goes would be noticed at this moment."""
        self.deadline: float | None = None
        """When :meth:`tick` has something to do, in monotonic seconds."""

    def configure(self, ports: tuple[PortCheck, ...], pace: float) -> None:
        """Watch these ports from now on, so many seconds apart; 0 watches none."""
        wanted = ports if pace else ()
        if (wanted, pace) == (self._ports, self._pace):
            return
        was_wanted = self._is_wanted
        self.close()
        self._ports, self._pace = wanted, pace
        if wanted:
            self._control(time.monotonic())
            self.want(is_wanted=was_wanted)

    def close(self) -> None:
        """Watch nothing."""
        self._rest()
        if self._socket is not None:
            self._socket.close()
        self._socket = self.deadline = None
        self._ports, self._is_wanted, self._state = (), False, listener_state.ListenerState()

    def want(self, *, is_wanted: bool) -> None:
        """Watch, or rest while nothing would follow from it; the first look is taken at once."""
        self._is_wanted = is_wanted
        looks = is_wanted and self._socket is not None and not self._state.refusal
        if looks == self.is_watching:
            return
        if looks and self._socket is not None:
            self.is_watching = True
            self._socket.prepare()  # an answer from before the rest is forgotten
            pace = listener_state.pace(self._pace, len(self._ports))
            self._loop.look_every(pace, self._socket.has_changed, self._on_change)
            self._look()
        else:
            self._rest()

    def _rest(self) -> None:
        if self.is_watching:
            self._loop.look_no_more()
        self.is_watching = False
        self._state = listener_state.rested(self._state)

    # --- time -----------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Make sure once a minute that the kernel answers."""
        if self.deadline is not None and now >= self.deadline:
            self._control(now)
            self.want(is_wanted=self._is_wanted)

    def _control(self, now: float) -> None:
        """Ask after a listener of the agent's own, and after the others with new questions."""
        from ipfailover_agent.health.listener_socket import ListenerSocket  # noqa: PLC0415 - not always

        self.deadline = now + listener_state.CONTROL_PERIOD
        try:
            if self._socket is None:
                self._socket = ListenerSocket(self._ports)
            else:
                self._socket.prepare()
            failure = self._socket.control()
        except AgentError as error:
            failure = str(error)
        before = self._state.refusal
        self._state = listener_state.controlled(self._state, failure)
        if failure and failure != before:
            self._log.warning("protection.off", kind="listener", reason=failure)
        if not failure and before:
            self._log.info("listener.watched", ports=[each.port for each in self._ports])
        if failure:
            self._rest()

    # --- looking --------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look once, out of turn."""
        if self._socket is not None and self._socket.has_changed():
            self._on_change()

    def _on_change(self) -> bool:
        """Read new answers; return whether the loop has to make a round for what followed."""
        if self._socket is None:
            return False
        self._state, gone = listener_state.looked(self._state, self._socket.answers())
        return bool(gone) and self._gone(listener_state.in_words(gone))

    def accepted(self) -> None:
        """Note that the ports have just accepted connections: name those that the kernel lacks.

        Only once it is sure that the kernel would answer.
        """
        if not self.is_watching:
            return
        self._look()
        state, foreign = listener_state.accepted(self._state, self._ports)
        if foreign:
            self._control(time.monotonic())
        if not self._state.refusal:
            self._state = state
            for each in foreign:
                self._log.info(
                    "listener.unknown",
                    port=each.port,
                    reason="it accepts connections, and the kernel knows no listener of it: "
                    "only the periodic check finds its failure",
                )

    def protection(self) -> Protection:
        """Return whether the kernel answers, where its answers are wanted."""
        refusal, is_wanted = self._state.refusal, bool(self._ports)
        return Protection(kind="listener", active=is_wanted and not refusal, reason=refusal)
