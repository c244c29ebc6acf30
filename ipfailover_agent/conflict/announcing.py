"""When to announce which address: urgent ones first, never more than the network bears."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.model import IPAddress

FRAMES_A_SECOND = 10  # of a whole node; switches punish more
_BURST = 10  # frames that may go at once after a quiet second


class Announcer(Struct, frozen=True, kw_only=True):
    """A queue of addresses, each at most once, and a bucket of permissions to send.

    ``allowance`` frames may be sent at ``refilled_at`` (monotonic seconds); the bucket refills
    with FRAMES_A_SECOND up to a burst.
    """

    queue: tuple[IPAddress, ...] = ()
    allowance: float = _BURST
    refilled_at: float = 0.0

    @property
    def deadline(self) -> float | None:
        """Return when the next frame may go, None with an empty queue."""
        if not self.queue:
            return None
        missing = max(1 - self.allowance, 0.0)
        return self.refilled_at + missing / FRAMES_A_SECOND


def enqueue(state: Announcer, addresses: Collection[IPAddress]) -> Announcer:
    """Return the announcer with addresses added that are not waiting yet."""
    waiting = frozenset(state.queue)
    fresh = tuple(each for each in dict.fromkeys(addresses) if each not in waiting)
    return replace(state, queue=state.queue + fresh)


def urge(state: Announcer, addresses: Collection[IPAddress]) -> Announcer:
    """Return the announcer with addresses put first that the rate of the others does not limit.

    As keepalived does at a takeover: what clients know of them has become wrong all at once.
    """
    urgent = tuple(dict.fromkeys(addresses))
    others = tuple(each for each in state.queue if each not in frozenset(urgent))
    allowance = max(state.allowance, 0.0) + len(urgent)
    return replace(state, queue=urgent + others, allowance=allowance)


def drop(state: Announcer, addresses: Collection[IPAddress]) -> Announcer:
    """Return the announcer without addresses that this node no longer holds."""
    gone = frozenset(addresses)
    return replace(state, queue=tuple(each for each in state.queue if each not in gone))


def due(state: Announcer, now: float) -> tuple[Announcer, tuple[IPAddress, ...]]:
    """Return the announcer after what may go at ``now`` was sent, and those addresses."""
    passed = max(now - state.refilled_at, 0.0)
    refilled = min(state.allowance + passed * FRAMES_A_SECOND, float(_BURST))
    allowance = max(refilled, state.allowance)
    count = min(int(allowance), len(state.queue))
    rest = min(allowance - count, float(_BURST))
    left = replace(state, queue=state.queue[count:], allowance=rest, refilled_at=now)
    return left, state.queue[:count]
