"""When the agent's own loop stands still for good: pure, fed by a second thread.

Seconds in which that thread did not run on time count for nothing: a machine that is paused or
starved stops both.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

PERIOD: Final = 1.0
"""Seconds between two looks."""

LIMIT: Final = 15.0
"""Seconds without a round of the loop, seen by a thread that ran on time."""

_LATE: Final = 0.5  # seconds by which a look may come late; what passed before it is not counted


class Standstill(Struct, frozen=True, kw_only=True):
    """What was seen so far. ``beat`` and ``at`` are monotonic seconds.

    Attributes:
        beat: when the loop began its newest round.
        at: the newest look; ``still`` are the seconds counted since the beat.
    """

    beat: float
    at: float
    still: float = 0.0


def looked(before: Standstill, beat: float, now: float) -> Standstill:
    """Return what is known after one more look."""
    if beat != before.beat:
        return Standstill(beat=beat, at=now)
    passed = now - before.at
    counted = passed if passed <= PERIOD + _LATE else 0.0
    return Standstill(beat=beat, at=now, still=before.still + counted)
