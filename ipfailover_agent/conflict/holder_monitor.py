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

    _Key = tuple[int, frozenset[IPAddress]]  # an instance's id and addresses


class HolderMonitor(Service):
    """The holders of the active configuration's instances."""

    deadline: float | None = None

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self._claims: dict[_Key, tuple[AdvertClaim, ...]] = {}
        self._newest: dict[str, tuple[Advert, ContestContext]] = {}  # where there is one claim
        self._sources: dict[str, IPAddress] = {}
        self._instance_states = InstanceStates()
        self._reported: dict[str, tuple[tuple[str, int], ...]] = {}

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Apply the active configuration; claims of instances that stay are kept."""
        config = candidate.config
        self._sources = contexts.sources(config, candidate.facts)
        self._newest.clear()
        keys = frozenset(map(_key, config.instances))
        self._claims = {key: each for key, each in self._claims.items() if key in keys}
        self.deadline = time.monotonic()

    def on_instance_states(self, instance_states: InstanceStates, now: float) -> None:
        """Note the states of all instances."""
        self._instance_states, self.deadline = instance_states, now

    def on_advert(self, name: str, advert: Advert, context: ContestContext) -> None:
        """Note an advert for an instance's id, or one that lists an address of it."""
        now = time.monotonic()
        key = context.virtual_router_id, context.served
        before = self._claims.get(key, ())
        known = self._newest.get(name)
        if known is not None and known[0] is advert and known[1] is context:
            same = holders.heard_again(before, now)
            if same is not None:
                self._claims[key] = same
                return
        if not holders.counts(advert, context):
            return
        after = self._claims[key] = holders.on_advert(before, advert, context, now)
        if holders.is_news(before, after):
            self.deadline = now
        if advert.priority and len(after) == 1 and after[0].last == now:
            self._newest[name] = advert, context
        else:
            self._newest.pop(name, None)
        # The context is newer than the configuration: the interface may have another address now.
        self._sources[name] = context.source

    def stalled(self, seconds: float) -> None:
        """Note that the loop did not run for so long; before what arrived meanwhile is read."""
        now = time.monotonic()
        self._claims = {
            key: holders.later(each, seconds, now) for key, each in self._claims.items()
        }

    def tick(self, now: float) -> None:
        """Have the status written where the holders have changed."""
        if self.deadline is None or now < self.deadline:
            return
        every = self._every(now)
        # Adverts that come meanwhile put that moment off, so that this is seldom done.
        self.deadline = earliest(*(holders.changes_at(each, now) for each in every.values()))
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
            claims, source = self._claims.get(_key(entry.instance), ()), self._sources.get(name)
            if entry.state is VrrpState.MASTER and source is not None:
                since = now if entry.entered is None else entry.entered
                claims = (*claims, holders.own(entry.instance, source, since, now))
            if claims:
                found[name] = claims
        return found


def _key(instance: VrrpInstance) -> _Key:
    return instance.virtual_router_id, frozenset(each.address for each in instance.all_addresses)
