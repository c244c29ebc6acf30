"""Announces this node's addresses that another node claims, no faster than a network bears.

:mod:`conflict.announcing` decides when. Nothing here raises.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from ipfailover_agent.conflict import announcing
from ipfailover_agent.conflict.announcing import Announcer
from ipfailover_agent.errors import AgentError
from ipfailover_agent.linux import host
from ipfailover_agent.vrrp import packets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.conflict.rival_news import RivalNews
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.vrrp.packet_socket import PacketSocket


class AddressAnnouncer:
    """Announces addresses of instances, one after the other."""

    def __init__(self, news: RivalNews) -> None:
        self._news = news
        self._state = Announcer()

    @property
    def deadline(self) -> float | None:
        """Return when to call :meth:`send`, in monotonic seconds; None for never."""
        return self._state.deadline

    def add(self, context: ContestContext, *, is_urgent: bool = False) -> None:
        """Announce the addresses of an instance; ``is_urgent``: all of them at once."""
        into = announcing.urge if is_urgent else announcing.enqueue
        self._state = into(self._state, _addresses(context))

    def drop(self, context: ContestContext) -> None:
        """Announce nothing of an instance that holds its addresses no more."""
        self._state = announcing.drop(self._state, _addresses(context))

    def clear(self) -> None:
        """Announce nothing."""
        self._state = Announcer()

    def send_own(self, wire: PacketSocket, addresses: Iterable[IPAddress]) -> bool:
        """Announce addresses of the node itself at once; return whether that has worked."""
        try:
            for each in addresses:
                wire.send(_announcement(wire, each))
        except AgentError:
            return False
        return True

    def send(self, wire: PacketSocket, now: float, *, is_muted: bool) -> None:
        """Send what is due; ``is_muted``: drop it, since no node should yield to this one."""
        self._state, addresses = announcing.due(self._state, now)
        if is_muted:
            return
        for address in addresses:
            try:
                wire.send(_announcement(wire, address))
            except AgentError as error:
                self._news.log_event("announce.failed", error=str(error))


def _addresses(context: ContestContext) -> tuple[IPAddress, ...]:
    return (*context.addresses, *context.excluded_addresses)


def _announcement(on: PacketSocket, address: IPAddress) -> bytes:
    if isinstance(address, IPv4Address):
        return packets.gratuitous_arp(on.mac, address)
    is_router = host.forwards_ipv6(on.interface)
    return packets.unsolicited_advertisement(on.mac, address, is_router=is_router)
