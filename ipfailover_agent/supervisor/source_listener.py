"""Listens whether another node has the address that adverts of this node are to come from.

The address may come late, or be another node's, as where one value is given to all nodes. A node
whose adverts come from it has it, and the error then names it for certain. Nothing here raises.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from ipfailover_agent.config import unicast
from ipfailover_agent.conflict.causes import mac_text
from ipfailover_agent.errors import AgentError
from ipfailover_agent.vrrp import bpf, packet_socket, packets

if TYPE_CHECKING:
    from ipfailover_agent.errors import AwaitedSource, HostNotReadyError
    from ipfailover_agent.linux.loop import Loop

SOURCE: Final = "configuration"

_FRAMES_PER_READ: Final = 256


class SourceEar:
    """Receives adverts from one awaited address at a time."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._awaited: AwaitedSource | None = None
        self._wire: packet_socket.PacketSocket | None = None
        self._holder = ""  # its MAC, once an advert came

    def about(self, error: HostNotReadyError) -> HostNotReadyError:
        """Return the error, or one that names for certain the host that has the address."""
        if error.source != self._awaited:
            self.close()
        if error.source is not None and self._wire is None:
            self._open(error.source)
        self.readable()
        return unicast.source_held_by(error, self._holder) if self._holder else error

    def _open(self, awaited: AwaitedSource) -> None:
        try:
            program = bpf.kernel_filter((ip_address(awaited.address),))
            self._wire = packet_socket.PacketSocket(awaited.interface, program)
        except AgentError:
            return  # then it is not known; the next attempt is in a second
        self._awaited, self._holder = awaited, ""
        self._loop.watch_readable(self._wire.fileno(), SOURCE)

    def readable(self) -> None:
        """Note the MAC of the host whose adverts come from the awaited address."""
        if self._wire is None or self._awaited is None:
            return
        try:
            found = self._wire.receive(_FRAMES_PER_READ)
        except AgentError:
            self.close()
            return
        for seen in found:
            advert = seen.packet
            if seen.is_outgoing or not isinstance(advert, packets.Advert):
                continue
            if str(advert.source) == self._awaited.address:
                self._holder = mac_text(advert.source_mac)

    def close(self) -> None:
        """Stop listening; nothing is awaited any more."""
        if self._wire is not None:
            self._loop.unwatch(self._wire.fileno())
            self._wire.close()
        self._wire = self._awaited = None
        self._holder = ""
