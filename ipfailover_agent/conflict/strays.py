"""Addresses that are on an interface of this node while another node is MASTER of them.

Such an address was set by hand, or by another program. Clients may be served from it, so it stays
until a node is MASTER of it. It has to go when another node advertises it as MASTER, and
keepalived, asked after that advert, does not report that this node is MASTER.

Pure: the caller looks at the interface, asks keepalived and removes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ipfailover_agent.model import IPAddress

_LOOK_EVERY: Final = 0.9  # seconds, while other nodes advertise: at each advert of one of them


class StrayClaim(Struct, frozen=True, kw_only=True):
    """Another node claims an address that is on an interface here.

    ``instance`` serves it here, ``rival`` claims it there; ``at`` is monotonic.
    """

    address: IPAddress
    instance: str
    rival: str
    at: float


class StrayAddresses(Struct, frozen=True, kw_only=True):
    """What is on the interface, of instances that are not MASTER here, and what is claimed of it.

    ``looked_at`` is when the agent last looked at the interface.
    """

    present: frozenset[IPAddress] = frozenset()
    claims: tuple[StrayClaim, ...] = ()
    looked_at: float = -math.inf

    def is_old(self, now: float) -> bool:
        """Return whether what is known of the interface is too old to judge a claim by."""
        return now - self.looked_at >= _LOOK_EVERY


def looked(state: StrayAddresses, present: Collection[IPAddress], now: float) -> StrayAddresses:
    """Return the state after a look at the interface; an address that has gone has no claim."""
    found = frozenset(present)
    claims = tuple(each for each in state.claims if each.address in found)
    return replace(state, present=found, claims=claims, looked_at=now)


def on_advert(
    state: StrayAddresses, instance: str, addresses: Collection[IPAddress], rival: str, now: float
) -> tuple[StrayAddresses, bool]:
    """Return the state after a rival's advert or announcement, and whether to ask keepalived."""
    known = {each.address for each in state.claims}
    claims = tuple(
        StrayClaim(address=each, instance=instance, rival=rival, at=now)
        for each in addresses
        if each in state.present and each not in known
    )
    return (replace(state, claims=state.claims + claims), True) if claims else (state, False)


def answered(
    state: StrayAddresses, states: Mapping[str, VrrpState], asked_at: float
) -> tuple[StrayAddresses, tuple[StrayClaim, ...]]:
    """Return the state after keepalived's answer, and the claims whose addresses have to go.

    ``states`` are its instances' by name. An instance that keepalived does not know yet is asked
    for again; an answer to a question from before a claim shows nothing about it.
    """
    due = tuple(each for each in state.claims if each.at < asked_at and states.get(each.instance))
    left = tuple(each for each in state.claims if each not in due)
    going = tuple(each for each in due if states[each.instance] is not VrrpState.MASTER)
    return replace(state, claims=left), going
