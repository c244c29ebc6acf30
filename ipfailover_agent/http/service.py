"""HTTP on the loop's side: a request wakes the loop, which looks at the node for the thread.

One look answers all clients for a second, however many ask. What the look asks of the kernel and
of keepalived takes the loop a few milliseconds; without clients nothing is asked.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ipfailover_agent.config import listen
from ipfailover_agent.keepalived.lifecycle import AgentPhase
from ipfailover_agent.service import Service
from ipfailover_agent.status.exchange import Exchange, Listening, drain_wakeups, wake
from ipfailover_agent.status.status_model import NOTHING, ListenStatus, StatusPart

if TYPE_CHECKING:
    from ipfailover_agent.http.server import Server
    from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog
    from ipfailover_agent.model import ListenAddress
    from ipfailover_agent.service import Common
    from ipfailover_agent.status.reporter import Reporter

SOURCE = "http"
_BEAT = 5.0  # seconds without anything to do after which the loop shows that it lives
_LOOK_INTERVAL = 0.5  # between two looks; the thread answers all clients of a second with one
_DUMP_INTERVAL = 2.0  # seconds for which keepalived is not asked again
_DUMP_PATIENCE = 1.0  # seconds to wait for its answer; it hangs only after two
_CLOSING = 0.5
_RETRY = 10.0  # seconds until what could not begin is tried again
_START = 0.5  # seconds after the start at which HTTP begins, whether keepalived runs or not


class Web(Service):
    """Serves one address in a thread of its own, or nothing. Nothing here raises.

    Args:
        written: IPFAILOVER_LISTEN.
        reporter: makes the snapshots.
        keepalived_watchdog: asks keepalived.

    Raises:
        SettingsError: ``written`` is no address to listen on.
    """

    source = SOURCE

    def __init__(
        self,
        common: Common,
        written: str,
        *,
        reporter: Reporter,
        keepalived_watchdog: KeepalivedWatchdog,
    ) -> None:
        super().__init__(common)
        self._address = listen.parse(written)
        self._reporter = reporter
        self._keepalived_watchdog = keepalived_watchdog
        self._exchange: Exchange | None = None
        self._server: Server | None = None
        self._start_at: float | None = None
        self._shown = Listening()  # in the status and in the log
        self._beat_at = 0.0
        self._looked_at = 0.0
        self._look_due: float | None = None
        self._dump_since: float | None = None  # a dump asked for after this is waited for

    def begin(self) -> None:
        """Have the thread started soon: addresses come first, and its imports take 20 ms."""
        if self._address is not None:
            self._start_at = time.monotonic() + _START

    def _start(self, address: ListenAddress) -> None:
        from ipfailover_agent.http.routes import Routes  # noqa: PLC0415 - not always needed
        from ipfailover_agent.http.server import Server  # noqa: PLC0415 - not always needed

        with contextlib.ExitStack() as undo:
            exchange = Exchange()
            undo.callback(exchange.close)
            server = Server(address, exchange, Routes(exchange))
            self._loop.watch_readable(exchange.to_loop, SOURCE)
            undo.callback(self._loop.unwatch, exchange.to_loop)
            server.start()
            undo.pop_all()
        self._exchange, self._server = exchange, server

    def close(self) -> None:
        """End the thread."""
        # A thread that does not end in time keeps what it waits on: it ends with the process.
        if self._exchange and self._server and self._server.close(_CLOSING):
            self._exchange.close()
        self._exchange = self._server = self._start_at = None

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        if self._exchange is None:
            return self._start_at
        beat = self._beat_at + _BEAT
        return beat if self._look_due is None else min(beat, self._look_due)

    def tick(self, now: float) -> None:
        """Show that the loop runs; look at the node if a client waits for that."""
        if self._start_at is not None and (
            now >= self._start_at
            or (self._reporter.phase is AgentPhase.RUNNING and not self._shown.reason)
        ):
            self._start_at = None
            if self._address is not None:
                try:
                    self._start(self._address)
                except (OSError, RuntimeError) as error:  # no descriptor, or no thread to be had
                    self._start_at = now + _RETRY
                    failed = Listening(reason=str(error))
                    if failed != self._shown:
                        self._show(failed)
        if self._exchange is None:
            return
        self._exchange.beat = self._beat_at = now
        self._exchange.name = self._reporter.config_name
        if self._dump_since is not None and self._has_answered(self._dump_since):
            self._look_due = now
        if self._look_due is not None and now >= self._look_due:
            self._look(self._exchange)

    def readable(self) -> None:
        """Take what the thread left, and look at the node if that can be done at once."""
        if self._exchange is None:
            return
        drain_wakeups(self._exchange.to_loop)
        if self._exchange.listening != self._shown:
            self._show(self._exchange.listening)
        if self._look_due is None and self._exchange.wanted_at > self._looked_at:
            now = time.monotonic()
            self._prepare_look(now)
            self.tick(now)

    def status(self) -> StatusPart:
        """Return where HTTP is to be answered, and whether it is."""
        if self._address is None:
            return NOTHING
        active, reason = self._shown.active, self._shown.reason
        listen_status = ListenStatus(address=str(self._address), active=active, reason=reason)
        return StatusPart(listen=listen_status)

    # --- looking --------------------------------------------------------------------------------

    def _prepare_look(self, now: float) -> None:
        """Ask keepalived first, unless it answered a moment ago or cannot be asked."""
        self._look_due = max(now, self._looked_at + _LOOK_INTERVAL)
        self._dump_since = None
        refusal = self._keepalived_watchdog.refusal
        asks = not refusal and self._reporter.phase is AgentPhase.RUNNING
        if asks and not self._has_answered(now - _DUMP_INTERVAL):
            self._dump_since, self._look_due = now, now + _DUMP_PATIENCE
            self._keepalived_watchdog.want_dump()

    def _has_answered(self, since: float) -> bool:
        asked_at = self._keepalived_watchdog.dump_asked_at
        return asked_at is not None and asked_at >= since

    def _look(self, exchange: Exchange) -> None:
        self._look_due = self._dump_since = None
        exchange.look = look = self._reporter.view()
        self._looked_at = look.at
        wake(exchange.to_thread)

    def _show(self, listening: Listening) -> None:
        """Have the status and the log show whether HTTP is answered."""
        before, self._shown = self._shown, listening
        address = str(self._address)
        self._changed()
        if listening.failure and listening.failure != before.failure:
            self._log.error("status.failed", address=address, error=listening.failure)
        elif listening.active and not before.active:
            self._log.info("status.listening", address=address)
        elif not listening.active:
            self._log.warning("status.unavailable", address=address, reason=listening.reason)
