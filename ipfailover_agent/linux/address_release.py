"""Removes addresses from interfaces, and marks as the agent's what is on one already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipfailover_agent.model import Family, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfailover_agent.model import Interface, InterfaceAddress, IPAddress


def release_addresses(found: Iterable[tuple[Interface, InterfaceAddress]]) -> tuple[str, ...]:
    """Delete the addresses; return those that were still there, as text.

    Raises:
        NotPermittedError: NET_ADMIN is missing.
        SystemRefusedError: the kernel refused otherwise.
    """
    wanted = tuple(found)
    if not wanted:
        return ()
    from ipfailover_agent.linux.netlink import AddressSocket  # noqa: PLC0415 - seldom needed

    with AddressSocket() as socket:
        return tuple(
            f"{held.address}/{held.prefix_length} on {interface.name}"
            for interface, held in wanted
            if socket.delete(interface.index, held)
        )


def mark_addresses(interface: Interface, labels: Mapping[IPAddress, str | None]) -> None:
    """Mark what is on an interface as keepalived does: IPv4 labelled, IPv6 deprecated.

    ``labels`` are the virtual addresses with their labels. keepalived takes over what is there as
    it is, and deletes an IPv4 address by its label too: another one's it would leave behind.

    Raises:
        NotPermittedError: NET_ADMIN is missing.
        SystemRefusedError: the kernel does not answer.
    """
    if not any(each.address in labels for each in interface.addresses):
        return
    from ipfailover_agent.linux.netlink import AddressSocket  # noqa: PLC0415 - seldom needed

    with AddressSocket() as socket:
        for held in socket.glance_at_addresses(interface.index):
            found = held.address
            is_ours = found.address in labels
            if not is_ours or found.prefix_length != family_of(found.address).host_prefix_length:
                continue
            label = labels[found.address]
            if family_of(found.address) is Family.IPV6:
                socket.deprecate(held)
            elif label and label != found.label and held.peer == found.address:
                socket.relabel(held, label)
