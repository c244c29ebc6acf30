"""How long the kernel keeps an address that is not renewed, and whether renewals are in time.

While an instance is MASTER its addresses carry a lifetime. Whichever process dies, hangs or is
frozen: the kernel removes the address N to N + 1 s after the last renewal (whole seconds; Linux
6.18, both families). keepalived 2.2.7 reacts neither to the lifetime nor to renewals, and sets an
address again, without a lifetime, when it misses it.
"""

from __future__ import annotations

import enum

_RENEWALS = 3  # per lease: two may be missed. Each wakes every netlink listener of the host


class Punctuality(enum.Enum):
    """How a renewal came."""

    ON_TIME = "on time"
    LATE = "late"  # by half a lease or more: next time it may be too late
    LAPSED = "lapsed"  # the kernel may have removed the address


def interval(seconds: int) -> float:
    """Return the seconds between two renewals of a lease."""
    return seconds / _RENEWALS


def judge(seconds: int, renewed_at: float, now: float) -> Punctuality:
    """Judge how a renewal at ``now`` comes after the one at ``renewed_at`` (monotonic seconds)."""
    since = now - renewed_at
    if since >= seconds:
        return Punctuality.LAPSED
    if since >= interval(seconds) + seconds / 2:
        return Punctuality.LATE
    return Punctuality.ON_TIME
