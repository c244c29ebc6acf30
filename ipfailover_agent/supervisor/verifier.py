"""After a reload: asks keepalived and the kernel whether they do what was planned.

:mod:`supervisor.verify` decides. Nothing here raises.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived.lifecycle import VerificationEnded
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.model import family_of
from ipfailover_agent.service import Service
from ipfailover_agent.supervisor import verify

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.keepalived.dump import InstanceDump
    from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog
    from ipfailover_agent.service import Common
    from ipfailover_agent.supervisor.verify import Expectation, Held

_TIMEOUT = 0.5  # seconds; the kernel answers within milliseconds


class Verifier(Service):
    """One verification at a time, which ends with VerificationEnded through ``dispatch``.

    Where keepalived cannot be asked at all it ends at once; the log has the reason already.
    Where it does not answer in time, :meth:`conclude` ends it; a later answer is ignored.
    """

    deadline: float | None = None

    def __init__(self, common: Common, keepalived_watchdog: KeepalivedWatchdog) -> None:
        super().__init__(common)
        self._keepalived_watchdog = keepalived_watchdog
        self._expected: Expectation | None = None
        self._state = verify.Verification()
        self._began_at = 0.0
        self._trouble = ""

    def verify(self, expected: Expectation | None) -> None:
        """Look whether keepalived, which has read its file, does what the file has."""
        if expected is None or not self._keepalived_watchdog.can_ask:
            self._dispatch(VerificationEnded())
            return
        self._expected, self._state, self._trouble = expected, verify.Verification(), ""
        self._began_at = time.monotonic()
        self._keepalived_watchdog.want_dump()

    def conclude(self) -> None:
        """End the verification by what was seen: the time is up."""
        waited = time.monotonic() - self._began_at
        ended = verify.conclude(self._state, waited)
        self._forget()
        is_unseen = self._trouble and not ended.difference
        self._dispatch(VerificationEnded(doubt=self._trouble) if is_unseen else ended)

    def rereading_ended(self) -> None:
        """Forget an earlier verification; one of what was read follows, if any."""
        self._forget()

    def keepalived_ends(self) -> None:
        """Forget the verification."""
        self._forget()

    def _forget(self) -> None:
        self._expected, self.deadline = None, None

    def tick(self, now: float) -> None:
        """Look again when it is time to."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self._keepalived_watchdog.want_dump()

    def on_dump(self, instances: tuple[InstanceDump, ...], asked_at: float) -> None:
        """Judge an answer of keepalived."""
        if self._expected is None or asked_at < self._began_at:
            return
        now = time.monotonic()
        try:
            held = _held(self._expected.interfaces)
        except AgentError as error:
            self._log.warning("reload.unseen", error=str(error))
            self._trouble = str(error)
            self.deadline = now + verify.LOOK_EVERY
            return
        self._trouble = ""
        found = tuple(verify.mismatches(self._expected, instances, held))
        self._state, ended = verify.step(self._state, found, now)
        if ended is None:
            self.deadline = now + verify.LOOK_EVERY
        else:
            self._forget()
            self._dispatch(ended)


def _held(interfaces: Collection[str]) -> set[Held]:
    """Return the host addresses that the kernel shows on these interfaces, with their names.

    While some are being deleted others may be missing: the next look shows them.
    """
    with AddressSocket(timeout=_TIMEOUT) as netlink:
        return {
            (link.name, each.address.address)
            for link in netlink.links()
            if link.name in interfaces
            for each in netlink.glance_at_addresses(link.index)
            if each.address.prefix_length == family_of(each.address.address).host_prefix_length
        }
