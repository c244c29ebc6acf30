"""A second thread that ends the agent when the loop stands still for good.

An agent that is started again does better than a loop that renews no lease and answers nothing.
The watchdog works without a probe of the platform, and needs no port.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.errors import ExitCode
from ipfailover_agent.linux import process
from ipfailover_agent.supervisor import standstill
from ipfailover_agent.supervisor.standstill import Standstill

if TYPE_CHECKING:
    from collections.abc import Callable

_TELLING: Final = 1.0  # seconds for the last event: what the loop hangs at may hang again
_STOPPING: Final = 2.0  # for keepalived, which sends its goodbye and removes its addresses


class LoopWatchdog:
    """Looks at one loop.

    Args:
        pulse: returns when the loop began its newest round, in monotonic seconds, and the pid of
            keepalived, None while there is none.
        tell: is called with a sentence before the end.
    """

    def __init__(
        self, *, pulse: Callable[[], tuple[float, int | None]], tell: Callable[[str], None]
    ) -> None:
        self._pulse = pulse
        self._tell = tell
        self._over = threading.Event()

    def begin(self) -> None:
        """Look from now on, in a thread that is deaf to signals: they are the loop's."""
        thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def end(self) -> None:
        """The loop has ended."""
        self._over.set()

    def _run(self) -> None:
        seen = Standstill(beat=self._pulse()[0], at=time.monotonic())
        while not self._over.wait(standstill.PERIOD):
            seen = standstill.looked(seen, self._pulse()[0], time.monotonic())
            if seen.still >= standstill.LIMIT:
                self._end_all(f"the agent's loop has been standing still for {seen.still:.0f} s")

    def _end_all(self, reason: str) -> None:
        """End keepalived in order, then this process, whatever the loop does meanwhile."""
        telling = threading.Thread(target=self._tell, args=(reason,), daemon=True)
        telling.start()
        pid = self._pulse()[1]
        if pid is not None:
            process.signal_group(pid, signal.SIGTERM)
            deadline = time.monotonic() + _STOPPING
            while not process.has_ended(pid) and time.monotonic() < deadline:
                time.sleep(0.02)
            process.signal_group(pid, signal.SIGKILL)
        telling.join(_TELLING)
        os._exit(int(ExitCode.BUG))
