"""What the agent writes down in the run directory: addresses, and the configuration in force.

A record that is missing or damaged is none. The codec is imported where it is needed: it takes
9 ms, which ``render`` need not pay.
"""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from ipfailover_agent.linux import files
from ipfailover_agent.model import KeepalivedConfig  # noqa: TC001 - read at run time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipfailover_agent.model import IPAddress

_Record = TypeVar("_Record", bound=Struct)


class ActiveRecord(
    Struct, frozen=True, kw_only=True, tag_field="schema", tag=1, forbid_unknown_fields=True
):
    """What an agent put in force, for the commands that compare with it.

    It holds the password and the agent's variables, so it is written for root alone.

    Attributes:
        pid: of the agent that wrote it.
        agent_started_at: when that process started, in clock ticks after boot: with the pid it
            shows whether the agent that runs now wrote it.
        environment: its contract variables, before the source overrides them.
        start_only: the variables among those in force that only a restart can change.
        source: absolute path of what IPFAILOVER_CONFIG named, None for the environment alone.
        template_directory: of the user's own templates.
        listen: where its HTTP listens, as it was written; empty for the usual place.
        digest: of the rendered files.
        config: the plan that they were rendered from.
    """

    pid: int
    agent_started_at: int
    environment: tuple[tuple[str, str], ...]
    start_only: tuple[tuple[str, str], ...]
    source: str | None
    template_directory: str | None
    listen: str = ""
    digest: str
    config: KeepalivedConfig


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
    return _decoded(path, ActiveRecord)


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
    return _decoded(path, kind) or kind()


def _decoded(path: str, kind: type[_Record]) -> _Record | None:
    from ipfailover_agent import codec  # noqa: PLC0415 - see above

    try:
        return codec.decode(files.read_text(path), kind, "record")
    except (OSError, ValueError):
        return None
