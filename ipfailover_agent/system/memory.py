"""What the agent writes down for whoever comes after it: addresses, peers, what was in force.

A record that is missing or damaged is none.
"""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ipfailover_agent.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfailover_agent.core.changing.records import ActiveRecord
    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.peering.names import Answer, Question


def record_addresses(path: str, interface: str, addresses: Iterable[IPAddress]) -> None:
    """Record which addresses we may have on which interface, for whoever cleans up after a crash.

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


def record_peers(path: str, known: Iterable[Answer]) -> None:
    """Record what names resolved to, for a restart while DNS is dead.

    Raises:
        SystemRefusedError: it cannot be written.
    """
    import json  # noqa: PLC0415 - see above

    record: dict[str, dict[str, list[str]]] = {}
    for each in known:
        by_family = record.setdefault(each.question.name, {})
        by_family[f"ipv{each.question.family:d}"] = [str(address) for address in each.addresses]
    files.write_atomically(path, json.dumps({"peers": record}, indent=1) + "\n")


def read_recorded_peers(path: str, questions: Iterable[Question]) -> tuple[Answer, ...]:
    """Return the recorded answers; what is missing or damaged is none."""
    from ipfailover_agent.core.peering.names import Answer  # noqa: PLC0415 - seldom needed

    names = _read_record(path).get("peers")
    found = []
    for each in questions:
        by_family = names.get(each.name) if isinstance(names, dict) else None
        items = by_family.get(f"ipv{each.family:d}") if isinstance(by_family, dict) else None
        addresses = tuple(
            address
            for address in _usable_addresses(items if isinstance(items, list) else [])
            if address.version == each.family
        )
        if addresses:
            found.append(Answer(question=each, addresses=addresses))
    return tuple(found)


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
