"""Addresses as dumps show them, read once each: a dump a second shows the same 254 again."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final

from ipfailover_agent.linux import rtnetlink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfailover_agent.linux.rtnetlink import HeldAddress

_SPARE: Final = 64  # remembered beyond twice what a dump shows
_INTERFACES: Final = 64  # whose addresses are remembered


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
            known = places.setdefault(place, {})
            known[payload[:place] + payload[place + rtnetlink.TIMES_LENGTH :]] = held
            self._count += 1
        return held
