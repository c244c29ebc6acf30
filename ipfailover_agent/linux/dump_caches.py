"""What dumps of rtnetlink have shown: addresses and default routes, kept while they are the same.

A dump a second shows the same 254 addresses again. And a dump of the main table passes by every
address of the node: a network namespace without rules of its own keeps the tables ``local`` and
``main`` in one trie (Linux 6.18), so that 20,000 addresses on kube-ipvs0 cost 2 ms a dump. A
question for one route costs some microseconds.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Final

from ipfailover_agent.linux import rtnetlink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipfailover_agent.linux.rtnetlink import HeldAddress

_SPARE: Final = 64  # remembered beyond twice what a dump shows
_INTERFACES: Final = 64  # whose addresses are remembered
_KEPT: Final = 60.0  # seconds: what no answer shows, such as a worse route that is new, comes late

Answer = tuple[bytes | None, int]  # a route, or why there is none


class AddressCache:
    """Reads as :func:`rtnetlink.parse_address`; what it has read before costs a look.

    From dump to dump an address that is renewed differs in nothing but the time at which it was
    renewed, which nothing here reads. It is found only where a payload that was read in full had
    it, and every other byte counts: then that reading is this one's.
    """

    def __init__(self) -> None:
        self._dumps: dict[int, _Remembered] = {}

    def read(self, payloads: Sequence[bytes], index: int = 0) -> tuple[HeldAddress, ...]:
        """Return the IPv4 and IPv6 addresses among RTM_NEWADDR messages.

        Equal ones are the same objects from dump to dump, the whole tuple too.

        Args:
            payloads: a whole dump.
            index: of the interface that the dump is of, 0 for all of them.

        Raises:
            MalformedMessageError: as :func:`rtnetlink.parse_address`.
        """
        if index not in self._dumps and len(self._dumps) >= _INTERFACES:
            self._dumps.clear()
        return self._dumps.setdefault(index, _Remembered()).read(payloads)


class _Remembered:
    """What dumps of the same kind have shown."""

    def __init__(self) -> None:
        # by the payload's length and the place of that time in it; then by all other bytes
        self._known: dict[int, dict[int, dict[bytes, HeldAddress]]] = {}
        self._count = 0
        self._latest: tuple[HeldAddress, ...] = ()

    def read(self, payloads: Sequence[bytes]) -> tuple[HeldAddress, ...]:
        found = tuple(held for held in map(self._read, payloads) if held is not None)
        # Lifetimes that run down are new each second. What a dump shows is never too much, and
        # forgetting all of it costs at most as much again as the new ones did.
        if self._count > 2 * len(payloads) + _SPARE:
            self._known.clear()
            self._count = 0
        latest = self._latest
        if len(found) == len(latest) and all(map(operator.is_, found, latest)):
            return latest
        self._latest = found
        return found

    def _read(self, payload: bytes) -> HeldAddress | None:
        places = self._known.setdefault(len(payload), {})
        for place, known in places.items():
            held = known.get(payload[:place] + payload[place + rtnetlink.TIMES_LENGTH :])
            if held is not None:
                return held
        held = rtnetlink.parse_address(payload)
        if held is not None:
            place = rtnetlink.place_of_times(payload)
            rest = payload[:place] + payload[place + rtnetlink.TIMES_LENGTH :]
            places.setdefault(place, {})[rest] = held
            self._count += 1
        return held


class RouteCache:
    """Reads IPv4 default routes as a dump does; while none changes, it only asks for each."""

    def __init__(self) -> None:
        self._payloads: list[bytes] = []
        self._indexes: tuple[int, ...] = ()
        self._answers: list[Answer] = []
        self._until = -math.inf

    def read(
        self,
        dump: Callable[[], list[bytes]],
        ask: Callable[[Sequence[int]], list[Answer]],
        now: float,
    ) -> list[bytes]:
        """Return the default routes, as RTM_NEWROUTE messages have them, maybe among others.

        Args:
            dump: reads them.
            ask: returns which way an address takes that only default routes lead to: over any
                interface, and over each of those given.
            now: monotonic seconds.
        """
        if now < self._until and ask(self._indexes) == self._answers:
            return self._payloads
        self._payloads = dump()
        known = _hops(self._payloads)
        self._indexes = tuple(sorted({each.index for each in known}))
        self._answers = ask(self._indexes)
        # An answer with a hop that the dump does not have came after it, or is of another table.
        hops = [_hops([payload] if payload else []) for payload, _ in self._answers]
        is_borne_out = all(hops[1:]) and known.issuperset(frozenset().union(*hops))
        self._until = now + _KEPT if is_borne_out else -math.inf
        return self._payloads


def _hops(payloads: Sequence[bytes]) -> frozenset[rtnetlink.RouteHop]:
    return frozenset(hop for each in payloads for hop in rtnetlink.parse_default_route(each))
