"""What the agent writes down for its next run: addresses, and what was in force.

A record that is missing or damaged is none. The codec is imported where it is needed: it takes
9 ms, which ``render`` need not pay.
"""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from ipfailover_agent.linux import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfailover_agent.config.records import ActiveRecord
    from ipfailover_agent.model import IPAddress

_Record = TypeVar("_Record", bound=Struct)


class _AddressRecord(Struct, frozen=True):
    """Which addresses may be on which interface; one that is damaged costs no other one."""

    interface: Any = ""
    addresses: Any = ()


def record_addresses(path: str, interface: str, addresses: Iterable[IPAddress]) -> None:
    """Record which addresses may be on which interface, for the clean-up after a crash.

    Raises:
        SystemRefusedError: it cannot be written.
    """
    write(path, _AddressRecord(interface=interface, addresses=tuple(addresses)))


def read_recorded_addresses(path: str) -> tuple[IPAddress, ...]:
    """Return the recorded addresses; a record that is missing or damaged is none."""
    return tuple(usable(read(path, _AddressRecord).addresses))


def read_recorded_interface(path: str) -> str | None:
    """Return the recorded interface; None when the record is missing or damaged."""
    found = read(path, _AddressRecord).interface
    return found if found and isinstance(found, str) else None


def read_active(path: str) -> ActiveRecord | None:
    """Return the record of the active configuration; None when it is missing or damaged."""
    from ipfailover_agent import codec  # noqa: PLC0415 - see above
    from ipfailover_agent.config.records import ActiveRecord  # noqa: PLC0415 - not always needed

    try:
        return codec.decode(files.read_text(path), ActiveRecord, "record")
    except (OSError, ValueError):
        return None


def usable(items: object) -> Iterator[IPAddress]:
    """Yield the items that are addresses, none where ``items`` is no list."""
    for item in items if isinstance(items, list | tuple) else ():
        with contextlib.suppress(ValueError):
            if isinstance(item, str):
                yield ip_address(item)


def write(path: str, record: Struct) -> None:
    """Write a record.

    Raises:
        SystemRefusedError: it cannot be written.
    """
    from ipfailover_agent import codec  # noqa: PLC0415 - see above

    files.write_atomically(path, codec.encode(record, indent=1))


def read(path: str, kind: type[_Record]) -> _Record:
    """Return the record of a file, an empty one where it is missing or damaged."""
    from ipfailover_agent import codec  # noqa: PLC0415 - see above

    try:
        return codec.decode(files.read_text(path), kind, "record")
    except (OSError, ValueError):
        return kind()
