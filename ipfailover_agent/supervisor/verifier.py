"""After a reload: asks keepalived and the kernel whether they do what was planned.

:mod:`supervisor.verify` decides. Nothing here raises.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived.supervision import VerificationEnded
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.model import family_of
from ipfailover_agent.service import Service
from ipfailover_agent.supervisor import verify
from ipfailover_agent.supervisor.verify import VerifyOutcome

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
        self._policy = verify.VerifyPolicy()
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
        outcome, text = verify.conclude(self._state, waited, self._policy)
        self._end()
        if outcome is VerifyOutcome.DIFFERS:
            self._dispatch(VerificationEnded(difference=text))
        else:
            self._dispatch(VerificationEnded(doubt=self._trouble or text))

    def reload_ended(self) -> None:
        """Forget the verification: its outcome is no longer wanted."""
        self._end()

    def keepalived_ends(self) -> None:
        """Forget the verification."""
        self._end()

    def _end(self) -> None:
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
            found = verify.mismatches(self._expected, instances, _held(self._expected.interfaces))
        except AgentError as error:
            self._log.warning("reload.unseen", error=str(error))
            self._trouble = str(error)
            self.deadline = now + self._policy.look_every
            return
        self._trouble = ""
        self._state, outcome = verify.step(self._state, found, now, self._policy)
        match outcome:
            case VerifyOutcome.PENDING:
                self.deadline = now + self._policy.look_every
            case VerifyOutcome.AGREES:
                self._end()
                self._dispatch(VerificationEnded())
            case VerifyOutcome.DIFFERS:
                self._end()
                self._dispatch(VerificationEnded(difference=verify.describe(self._state)))


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
