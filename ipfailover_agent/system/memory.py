"""What the agent writes down for its next run: addresses, peers, what was in force.

A record that is missing or damaged is none. The codec is imported where it is needed: it takes
9 ms, which ``render`` need not pay.
"""

from __future__ import annotations

import contextlib
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from ipfailover_agent.system import files, host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfailover_agent.core.changing.records import ActiveRecord
    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.peering.names import LookupResult, Question

_Record = TypeVar("_Record", bound=Struct)


class _AddressRecord(Struct, frozen=True):
    """Which addresses may be on which interface; one that is damaged costs no other one."""

    interface: str = ""
    addresses: tuple[Any, ...] = ()


class _PeersRecord(Struct, frozen=True):
    """By name and family (``ipv4``): the addresses, and the uptime when DNS confirmed them."""

    peers: dict[str, dict[str, tuple[Any, ...]]] = {}
    boot: str = ""
    confirmed: dict[str, dict[str, Any]] = {}


def record_addresses(path: str, interface: str, addresses: Iterable[IPAddress]) -> None:
    """Record which addresses may be on which interface, for the clean-up after a crash.

    Raises:
        SystemRefusedError: it cannot be written.
    """
    _write(path, _AddressRecord(interface=interface, addresses=tuple(addresses)))


def read_recorded_addresses(path: str) -> tuple[IPAddress, ...]:
    """Return the recorded addresses; a record that is missing or damaged is none."""
    return tuple(_usable(_read(path, _AddressRecord).addresses))


def read_recorded_interface(path: str) -> str | None:
    """Return the recorded interface; None when the record is missing or damaged."""
    return _read(path, _AddressRecord).interface or None


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
    _write(path, record)


def read_recorded_peers(path: str, questions: Iterable[Question]) -> tuple[LookupResult, ...]:
    """Return the recorded answers; what is missing or damaged is none."""
    from ipfailover_agent.core.peering.names import LookupResult  # noqa: PLC0415 - seldom needed

    record = _read(path, _PeersRecord)
    confirmed = record.confirmed if record.boot == host.boot_id() != "" else {}
    found = []
    for each in questions:
        family = f"ipv{each.family:d}"
        items = record.peers.get(each.name, {}).get(family, ())
        addresses = tuple(item for item in _usable(items) if item.version == each.family)
        at = confirmed.get(each.name, {}).get(family)
        age = _uptime() - at if isinstance(at, int | float) else -1.0
        if addresses:
            # One of the future is damaged.
            known = age if age >= 0 else None
            found.append(LookupResult(question=each, addresses=addresses, age=known))
    return tuple(found)


def _uptime() -> float:
    """Return the seconds since the node booted, those in which it slept included.

    They go on while no agent runs, and cannot be set, unlike the clock on the wall.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_active(path: str) -> ActiveRecord | None:
    """Return the record of the active configuration; None when it is missing or damaged."""
    from ipfailover_agent.core import codec  # noqa: PLC0415 - see above
    from ipfailover_agent.core.changing.records import ActiveRecord  # noqa: PLC0415

    try:
        return codec.decode(files.read_text(path), ActiveRecord, "record")
    except (OSError, ValueError):
        return None


def _usable(items: Iterable[object]) -> Iterator[IPAddress]:
    for item in items:
        with contextlib.suppress(ValueError):
            if isinstance(item, str):
                yield ip_address(item)


def _write(path: str, record: Struct) -> None:
    from ipfailover_agent.core import codec  # noqa: PLC0415 - see above

    files.write_atomically(path, codec.encode(record, indent=1))


def _read(path: str, kind: type[_Record]) -> _Record:
    """Return the record of a file, an empty one where it is missing or damaged."""
    from ipfailover_agent.core import codec  # noqa: PLC0415 - see above

    try:
        return codec.decode(files.read_text(path), kind, "record")
    except (OSError, ValueError):
        return kind()
