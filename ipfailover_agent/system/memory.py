"""What the agent writes down for its next run: addresses, peers, what was in force.

A record that is missing or damaged is none.
"""

from __future__ import annotations

import contextlib
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ipfailover_agent.system import files, host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfailover_agent.core.changing.records import ActiveRecord
    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.peering.names import LookupResult, Question


def record_addresses(path: str, interface: str, addresses: Iterable[IPAddress]) -> None:
    """Record which addresses may be on which interface, for the clean-up after a crash.

    Raises:
        SystemRefusedError: it cannot be written.
    """
    import json  # noqa: PLC0415 - 9 ms, which render need not pay

    record = {"interface": interface, "addresses": [str(each) for each in addresses]}
    files.write_atomically(path, json.dumps(record, indent=1) + "\n")


def read_recorded_addresses(path: str) -> tuple[IPAddress, ...]:
    """Return the recorded addresses; a record that is missing or damaged is none."""
    addresses = _read_record(path).get("addresses")
    return tuple(_usable_addresses(addresses if isinstance(addresses, list) else []))


def read_recorded_interface(path: str) -> str | None:
    """Return the recorded interface; None when the record is missing or damaged."""
    interface = _read_record(path).get("interface")
    return interface if isinstance(interface, str) and interface else None


def record_peers(path: str, known: Iterable[LookupResult]) -> None:
    """Record what names resolved to and when that was confirmed, for a restart.

    Raises:
        SystemRefusedError: it cannot be written.
    """
    import json  # noqa: PLC0415 - see above

    record: dict[str, dict[str, list[str]]] = {}
    confirmed: dict[str, dict[str, float]] = {}
    for each in known:
        name, family = each.question.name, f"ipv{each.question.family:d}"
        record.setdefault(name, {})[family] = [str(address) for address in each.addresses]
        if each.age is not None:
            confirmed.setdefault(name, {})[family] = round(_uptime() - each.age, 3)
    whole = {"peers": record, "boot": host.boot_id(), "confirmed": confirmed}
    files.write_atomically(path, json.dumps(whole, indent=1) + "\n")


def read_recorded_peers(path: str, questions: Iterable[Question]) -> tuple[LookupResult, ...]:
    """Return the recorded answers; what is missing or damaged is none."""
    from ipfailover_agent.core.peering.names import LookupResult  # noqa: PLC0415 - seldom needed

    record = _read_record(path)
    is_of_this_boot = record.get("boot") == host.boot_id() != ""
    found = []
    for each in questions:
        family = f"ipv{each.family:d}"
        items = _entry(record.get("peers"), each.name, family)
        addresses = tuple(
            address
            for address in _usable_addresses(items if isinstance(items, list) else [])
            if address.version == each.family
        )
        at = _entry(record.get("confirmed"), each.name, family) if is_of_this_boot else None
        age = _uptime() - at if isinstance(at, int | float) else None
        if addresses:
            # One of the future is damaged.
            age = age if age is not None and age >= 0 else None
            found.append(LookupResult(question=each, addresses=addresses, age=age))
    return tuple(found)


def _entry(record: object, name: str, family: str) -> object:
    """Return what a record has of a name and a family, None where it has nothing."""
    by_family = record.get(name) if isinstance(record, dict) else None
    return by_family.get(family) if isinstance(by_family, dict) else None


def _uptime() -> float:
    """Return the seconds since the node booted, those in which it slept included.

    They go on while no agent runs, and no one sets them, unlike the clock on the wall.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_active(path: str) -> ActiveRecord | None:
    """Return the record of the active configuration; None when it is missing or damaged."""
    from ipfailover_agent.core.changing import records  # noqa: PLC0415 - only `plan` reads it

    try:
        return records.from_json(files.read_text(path))
    except (OSError, ValueError):
        return None


def _usable_addresses(items: list[object]) -> Iterator[IPAddress]:
    for item in items:
        with contextlib.suppress(ValueError):
            if isinstance(item, str):
                yield ip_address(item)


def _read_record(path: str) -> dict[str, object]:
    import json  # noqa: PLC0415 - see above

    try:
        record = json.loads(files.read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
