"""Removes an address from the interface once another node advertises it as MASTER.

:mod:`conflict.strays` decides. This module looks at the interface, asks keepalived, and
deletes. Nothing here raises.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipfailover_agent.config import ownership
from ipfailover_agent.conflict import strays
from ipfailover_agent.errors import AgentError
from ipfailover_agent.model import ConflictMode, VrrpState
from ipfailover_agent.service import Service

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.conflict.strays import StrayClaim
    from ipfailover_agent.keepalived.dump import InstanceDump
    from ipfailover_agent.keepalived.instance_states import InstanceStates
    from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog
    from ipfailover_agent.lease.service import Leases
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.service import Common
    from ipfailover_agent.vrrp.packets import Advert, Announcement


class StrayRemoval(Service):
    """The addresses of one configuration that are on its interface and are held elsewhere.

    Args:
        leases: looks at the interface.
        keepalived_watchdog: asks keepalived.
    """

    def __init__(
        self, common: Common, leases: Leases, keepalived_watchdog: KeepalivedWatchdog
    ) -> None:
        super().__init__(common)
        self._leases = leases
        self._keepalived_watchdog = keepalived_watchdog
        self._candidate: Candidate | None = None
        self._state = strays.StrayAddresses()
        self._masters: frozenset[str] = frozenset()
        self._elsewhere: frozenset[IPAddress] = frozenset()  # of instances not MASTER here
        self._kept: frozenset[IPAddress] = frozenset()  # the node's own, for all that is known

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Apply the active configuration: what it adds may be on the interface already."""
        self._candidate = candidate
        self._state, self._kept = strays.StrayAddresses(), frozenset()

    def on_instance_states(self, instance_states: InstanceStates, _: float) -> None:
        """Note the states of all instances."""
        self._masters = instance_states.names_in(VrrpState.MASTER)
        self._elsewhere = frozenset(
            each.address
            for entry in instance_states.entries
            if entry.state is not VrrpState.MASTER
            for each in entry.instance.all_addresses
        )

    def on_advert(self, name: str, advert: Advert, context: ContestContext) -> None:
        """Note an advert of another node for an instance, or for one of its addresses."""
        is_master_here = name in self._masters
        if not is_master_here and advert.priority and not context.is_own_advert(advert):
            self._claimed(name, advert.addresses, str(advert.source))

    def announced(self, name: str, announcement: Announcement, context: ContestContext) -> None:
        """Note an announcement of one of an instance's addresses."""
        mac = announcement.announced_mac
        if name in self._masters or context.is_own(mac) or context.is_own(announcement.source_mac):
            return
        self._claimed(name, (announcement.address,), mac.hex(":"))

    def _claimed(self, name: str, addresses: Collection[IPAddress], rival: str) -> None:
        now = time.monotonic()
        candidate = self._candidate
        if candidate is None or candidate.settings.conflict is not ConflictMode.RESOLVE:
            return
        if self._state.is_old(now):
            present = self._leases.glimpse(self._elsewhere)
            self._state = strays.looked(self._state, present - self._kept, now)
        self._state, is_asked = strays.on_advert(self._state, name, addresses, rival, now)
        if is_asked:
            self._keepalived_watchdog.want_dump()

    def on_dump(self, instances: tuple[InstanceDump, ...], asked_at: float) -> None:
        """Judge by keepalived's answer which instances are MASTER here."""
        if not self._state.claims:
            return
        states = {each.name: each.state for each in instances}
        self._state, going = strays.answered(self._state, states, asked_at)
        if going:
            self._remove(going)
        if self._state.claims:
            self._keepalived_watchdog.want_dump()

    def _remove(self, claims: Collection[StrayClaim]) -> None:
        """Delete what is not the node's own: an address that only looks virtual stays."""
        from ipfailover_agent.config import memory, prepare  # noqa: PLC0415 - not always needed
        from ipfailover_agent.linux import netlink  # noqa: PLC0415 - not always needed

        candidate = self._candidate
        if candidate is None:
            return
        recorded = memory.read_recorded_addresses(self._paths.addresses)
        wanted = {each.address for each in claims}
        try:
            interface = candidate.config.interface
            facts = prepare.look_for(wanted, (interface,), recorded)
            found = ownership.leftovers(wanted, candidate.settings.address_label, facts, interface)
            released = netlink.release_addresses(found)
        except AgentError as error:
            self._log.error("addresses.release_failed", error=str(error))
            return
        self._kept |= wanted - {each.address for _, each in found}
        self._state = strays.StrayAddresses()
        if released:
            rivals = sorted({each.rival for each in claims})
            self._log.warning(
                "addresses.released",
                addresses=released,
                cause=f"held by {', '.join(rivals)} and not by this node",
            )
