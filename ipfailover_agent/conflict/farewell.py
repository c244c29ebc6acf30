"""The last advert of an instance, of priority 0, where its keepalived could not send it.

A router that leaves MASTER announces it by an advert of priority 0, and the others take over
within their skew time instead of waiting for the master-down interval. keepalived sends it from
the address that it has on the interface, by the routes that are there. Where a network manager
took that address away, IPv6 multicast fails (2.2.7: "send advert error 22"), IPv4 unicast goes to
the router, and no node holds the address for 2.7 to 3.6 s. The adverts that left before are known
from the wire, so the same frame with priority 0 can still be sent.

Times are monotonic seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.model import VrrpState
from ipfailover_agent.vrrp import packets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.model import IPAddress

_MAC_LENGTH: Final = 6  # of the destination, at the head of a frame
_LATEST: Final = 0.3  # seconds after it left MASTER: later another node may be MASTER
_MISSED: Final = 3.5  # advert intervals, more than the master-down time


class Farewell(Struct, frozen=True, kw_only=True):
    """What is remembered of an instance.

    Attributes:
        frames: its last adverts as they left, by the address that they went to.
        sent_at: when the last of them left.
        others_at: when an advert of another node that is MASTER of its id last came.
        left_at: when it left MASTER; infinite while it is MASTER or never was.
    """

    frames: Mapping[IPAddress, bytes] = field(default_factory=dict)
    sent_at: float = 0.0
    others_at: float = -math.inf
    left_at: float = math.inf


def sent(state: Farewell, advert: packets.Advert, frame: bytes, now: float) -> Farewell:
    """Note an advert of this instance that left; priority 0 to the same MAC is the last one.

    An advert in a frame with a VLAN tag is no model for a frame of the agent.
    """
    if not packets.is_untagged(frame):
        return state
    destination = advert.destination
    if advert.priority:
        return replace(state, frames={**state.frames, destination: frame}, sent_at=now)
    if state.frames.get(destination, b"")[:_MAC_LENGTH] != frame[:_MAC_LENGTH]:
        return state
    frames = {each: kept for each, kept in state.frames.items() if each != destination}
    return replace(state, frames=frames)


def entered(
    state: Farewell, entry: VrrpState, advert_interval: float, now: float
) -> tuple[Farewell, tuple[bytes, ...]]:
    """Return the state after a transition, and the frames of priority 0 that are still to be sent.

    Only in FAULT, where the node holds nothing for certain, and only at once: a BACKUP that gets
    priority 0 from any node stops waiting for the MASTER that there is (2.2.7).
    """
    if entry is VrrpState.MASTER:
        return replace(state, left_at=math.inf), ()
    left_at = min(now, state.left_at)
    if entry is not VrrpState.FAULT:
        return replace(state, left_at=left_at), ()
    within = _MISSED * advert_interval
    is_alone = now - state.others_at > within
    is_at_once = now - left_at <= _LATEST and now - state.sent_at <= within
    frames = tuple(map(packets.goodbye, state.frames.values())) if is_alone and is_at_once else ()
    return replace(state, left_at=left_at, frames={}), frames
