"""IPv4 default routes as a dump showed them, for as long as the kernel's answers bear it out.

A dump of the main table passes by every address of the node: a network namespace without rules of
its own keeps the tables ``local`` and ``main`` in one trie (Linux 6.18), so that 20,000 addresses
on kube-ipvs0 cost 2 ms a dump. A question for one route costs some microseconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ipfailover_agent.linux import rtnetlink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_KEPT: Final = 60.0  # seconds: what no answer shows, such as a worse route that is new, comes late

Answer = tuple[bytes | None, int]  # a route, or why there is none


class RouteCache:
    """Reads as a dump does; while nothing changes, it costs a question for each default route."""

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
