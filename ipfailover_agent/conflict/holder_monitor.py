"""Remembers the senders of adverts, so that every node can name the holder of each address.

:mod:`conflict.holders` decides. Nothing here raises, and nothing is done about a holder.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ipfailover_agent.conflict import contexts, holders
from ipfailover_agent.deadlines import earliest
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.model import VrrpState
from ipfailover_agent.service import Service
from ipfailover_agent.status.history import utc
from ipfailover_agent.status.status_model import HolderStatus, StatusPart

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.conflict.holders import AdvertClaim
    from ipfailover_agent.model import IPAddress, VrrpInstance
    from ipfailover_agent.service import Common
    from ipfailover_agent.vrrp.packets import Advert


class HolderMonitor(Service):
    """The holders of the active configuration's instances."""

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self._claims: dict[str, tuple[AdvertClaim, ...]] = {}
        self._newest: dict[str, tuple[Advert, ContestContext]] = {}  # where there is one claim
        self._identities: dict[str, object] = {}
        self._sources: dict[str, IPAddress] = {}
        self._instance_states = InstanceStates()
        self._reported: dict[str, tuple[tuple[str, int], ...]] = {}
        self._look_at: float | None = None

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Apply the active configuration; claims of instances that stay are kept."""
        config = candidate.config
        before = {identity: name for name, identity in self._identities.items()}
        self._identities = {each.name: _identity(each) for each in config.instances}
        self._sources = contexts.sources(config, candidate.facts)
        self._newest.clear()
        self._claims = {
            name: self._claims.get(before.get(identity, ""), ())
            for name, identity in self._identities.items()
        }
        self._look_at = time.monotonic()

    def on_instance_states(self, instance_states: InstanceStates, now: float) -> None:
        """Note the states of all instances."""
        self._instance_states, self._look_at = instance_states, now

    def on_advert(self, name: str, advert: Advert, context: ContestContext) -> None:
        """Note an advert for an instance's id, or one that lists an address of it."""
        now = time.monotonic()
        before = self._claims.get(name, ())
        known = self._newest.get(name)
        if known is not None and known[0] is advert and known[1] is context:
            same = holders.heard_again(before, now)
            if same is not None:
                self._claims[name] = same
                return
        if not holders.counts(advert, context):
            return
        after = self._claims[name] = holders.on_advert(before, advert, context, now)
        if holders.is_news(before, after):
            self._look_at = now
        if advert.priority and len(after) == 1 and after[0].last == now:
            self._newest[name] = advert, context
        else:
            self._newest.pop(name, None)
        # By the wire: where the source address is new, the interface may have another one since.
        self._sources[name] = context.source

    def stalled(self, seconds: float) -> None:
        """Note that the loop did not run for so long; before what arrived meanwhile is read."""
        now = time.monotonic()
        self._claims = {
            name: holders.later(each, seconds, now) for name, each in self._claims.items()
        }

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return self._look_at

    def tick(self, now: float) -> None:
        """Report it where the holders are others."""
        if self._look_at is None or now < self._look_at:
            return
        every = self._every(now)
        # Adverts that come meanwhile make it later, so that this is seldom done.
        self._look_at = earliest(*(holders.changes_at(each, now) for each in every.values()))
        named = {
            name: tuple((str(one.source), one.priority) for one in holders.holding(each, now))
            for name, each in every.items()
        }
        if named != self._reported:
            self._reported = named
            self._changed()

    def status(self) -> StatusPart:
        """Return the holders of each instance's addresses, as far as they are known."""
        now, clock = time.monotonic(), time.time()

        def shown(each: AdvertClaim) -> HolderStatus:
            return HolderStatus(
                address=str(each.source),
                is_here=each.is_own,
                priority=each.priority,
                heard_at=None if each.is_own else utc(clock - (now - each.last)),
            )

        return StatusPart(
            holders={
                name: tuple(map(shown, holders.holding(claims, now)))
                for name, claims in self._every(now).items()
            }
        )

    def _every(self, now: float) -> dict[str, tuple[AdvertClaim, ...]]:
        """Return the claims that are known, this node's too, by the instance."""
        found = {}
        for entry in self._instance_states.entries:
            name = entry.instance.name
            claims, source = self._claims.get(name, ()), self._sources.get(name)
            if entry.state is VrrpState.MASTER and source is not None:
                since = now if entry.entered is None else entry.entered
                claims = (*claims, holders.own(entry.instance, source, since, now))
            if claims:
                found[name] = claims
        return found


def _identity(instance: VrrpInstance) -> object:
    addresses = frozenset(each.address for each in instance.all_addresses)
    return instance.virtual_router_id, instance.family, addresses
