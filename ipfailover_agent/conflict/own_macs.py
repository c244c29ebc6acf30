"""The hardware addresses of this host: the present ones, and for a while the former ones.

A frame that left under a MAC may come back when the interface has another one: a bond that fails
over, a bridge that gets a port, a network manager that sets one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection


class OwnMacs(Struct, frozen=True, kw_only=True):
    """MACs of this host, 6 bytes each; ``former`` ones with the time until which they count.

    Times are monotonic seconds.
    """

    present: frozenset[bytes] = frozenset()
    former: tuple[tuple[bytes, float], ...] = ()

    @property
    def all(self) -> frozenset[bytes]:
        """Return every MAC that is taken for this host's."""
        return self.present.union(mac for mac, _ in self.former)

    @property
    def deadline(self) -> float | None:
        """Return when the first of the former MACs ceases to count, None without any."""
        return min((until for _, until in self.former), default=None)


def learned(known: OwnMacs, present: Collection[bytes], now: float, memory: float) -> OwnMacs:
    """Return the MACs of this host after a look at ``now`` that found the ``present`` ones.

    Those that are gone count for ``memory`` seconds more.
    """
    found = frozenset(present)
    lasting = {mac: until for mac, until in known.former if until > now}
    lasting |= dict.fromkeys(known.present - found, now + memory)
    former = tuple((mac, until) for mac, until in sorted(lasting.items()) if mac not in found)
    return OwnMacs(present=found, former=former)
