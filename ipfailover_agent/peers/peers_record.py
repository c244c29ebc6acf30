"""What names resolved to, written down for the next run of the agent.

A record that is missing or damaged is none.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from ipfailover_agent.config import memory
from ipfailover_agent.linux import host
from ipfailover_agent.peers.peers import LookupResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.peers.peers import Question


_LONGEST: Final = 1e15  # seconds of uptime: some million years


class _PeersRecord(Struct, frozen=True):
    """By name and family (``ipv4``): the addresses, and the uptime when DNS confirmed them.

    One that is damaged costs no other one.
    """

    peers: Any = {}
    boot: Any = ""
    confirmed: Any = {}


def record_peers(path: str, known: Iterable[LookupResult]) -> None:
    """Record what names resolved to and when that was confirmed, for a restart.

    Raises:
        SystemRefusedError: it cannot be written.
    """
    record = _PeersRecord(boot=host.boot_id())
    for each in known:
        name, family = each.question.name, f"ipv{each.question.family:d}"
        record.peers.setdefault(name, {})[family] = each.addresses
        if each.age is not None:
            at = round(_uptime() - each.age, 3)
            record.confirmed.setdefault(name, {})[family] = at
    memory.write(path, record)


def read_recorded_peers(path: str, questions: Iterable[Question]) -> tuple[LookupResult, ...]:
    """Return the recorded answers; what is missing or damaged is none."""
    record = memory.read(path, _PeersRecord)
    confirmed = record.confirmed if record.boot == host.boot_id() != "" else {}
    found = []
    for each in questions:
        family = f"ipv{each.family:d}"
        items = _at(record.peers, each.name, family)
        addresses = tuple(item for item in memory.usable(items) if item.version == each.family)
        at = _at(confirmed, each.name, family)
        age = _uptime() - at if isinstance(at, int | float) and abs(at) < _LONGEST else -1.0
        if addresses:
            # One of the future is damaged.
            known = age if age >= 0 else None
            found.append(LookupResult(question=each, addresses=addresses, age=known))
    return tuple(found)


def _at(items: object, *keys: str) -> Any:  # noqa: ANN401 - what a damaged record has there
    for key in keys:
        items = items.get(key) if isinstance(items, dict) else None
    return items


def _uptime() -> float:
    """Return the seconds since the node booted, those in which it slept included.

    They go on while no agent runs, and cannot be set, unlike the clock on the wall.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
