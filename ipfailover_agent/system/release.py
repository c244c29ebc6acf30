"""Removing addresses from interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.core.model import Interface, InterfaceAddress


def release_addresses(found: Iterable[tuple[Interface, InterfaceAddress]]) -> tuple[str, ...]:
    """Delete the addresses; return in words those that were still there.

    Raises:
        NotPermittedError: NET_ADMIN is missing.
        SystemRefusedError: the kernel refused otherwise.
    """
    wanted = tuple(found)
    if not wanted:
        return ()
    from ipfailover_agent.system.netlink import AddressSocket  # noqa: PLC0415 - seldom needed

    with AddressSocket() as socket:
        return tuple(
            f"{held.address}/{held.prefix_length} on {interface.name}"
            for interface, held in wanted
            if socket.delete(interface.index, held)
        )
