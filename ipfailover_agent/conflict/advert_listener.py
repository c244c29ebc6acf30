"""Receives adverts: opens the packet socket, and opens it anew for another interface.

Nothing here raises: without a right or a device nothing is received, and the log has the reason.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.conflict import contexts
from ipfailover_agent.errors import AgentError, NotPermittedError
from ipfailover_agent.linux import host
from ipfailover_agent.vrrp import bpf, packet_socket

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.linux.loop import Loop
    from ipfailover_agent.model import IPAddress, KeepalivedConfig

SOURCE: Final = "wire"

_FRAMES_PER_READ: Final = 1024
_READ_PAUSE: Final = 0.05  # between two reads: 254 masters advertise 254 times a second
_READ_REST: Final = 4.0  # after too much, so many times as long belongs to everything else
_LOOK_INTERVAL: Final = 5.0  # at the interface and the MACs of this host
_MAC_INTERVAL: Final = 0.8  # at the interface's own; a MASTER announces within a second
_SHORTEST_MAC_INTERVAL: Final = 0.1


class AdvertListener:
    """One packet socket at a time, on the interface of the active configuration.

    Attributes:
        wire: the socket, None while nothing can be received or adverts are not wanted.
        macs: this host's MACs of now and of a moment ago, 6 bytes each.
        moved_at: when the interface was last found to have another MAC, monotonic seconds.
        resume_at: when to :meth:`resume`, monotonic seconds, None while nothing pauses.
        refusal: why nothing can be received; empty where something can.
    """

    def __init__(self, log: FilteringBoundLogger, loop: Loop) -> None:
        self._log = log
        self._loop = loop
        self._config: KeepalivedConfig | None = None
        self._is_wanted = False
        self._rest_until: float | None = None  # when to listen again after a flood
        self._look_at: float | None = None
        self._memory = 0.0  # seconds for which a former MAC counts as this host's
        # Nothing else wakes an agent whose peers send to a MAC that the interface had.
        self._mac_interval = _MAC_INTERVAL
        self._mac_at = 0.0
        self._mac = b""  # the interface's, at the last look
        self._own: dict[bytes, float] = {}  # MACs of this host, and until when they count
        self._others: frozenset[IPAddress] = frozenset()
        self.macs: frozenset[bytes] = frozenset()
        self.wire: packet_socket.PacketSocket | None = None
        self.moved_at: float | None = None
        self.resume_at: float | None = None
        self.refusal = ""

    def configure(self, config: KeepalivedConfig, *, is_wanted: bool) -> None:
        """Listen on the configuration's interface, unless adverts are not wanted."""
        self._config, self._is_wanted = config, is_wanted
        self._memory = contexts.down_time(config)
        shortest = min(each.advertisement.interval for each in config.instances)
        self._mac_interval = min(_MAC_INTERVAL, max(_SHORTEST_MAC_INTERVAL, shortest))
        name = config.interface
        program = self._program(config)
        try:
            if self.wire is not None:
                present = name, host.index_of(name)
                if is_wanted and (self.wire.interface, self.wire.index) == present:
                    self.wire.replace_filter(program)
                    return
                self.close()
            if is_wanted:
                macs = packet_socket.host_macs()
                self.wire = packet_socket.PacketSocket(name, program)
                self._learn(self.wire, macs, time.monotonic())
                self._loop.watch_readable(self.wire.fileno(), SOURCE)
        except NotPermittedError as error:
            self._refuse(str(error))
        except AgentError as error:
            self._refuse(str(error))
            self._look_at = time.monotonic() + _LOOK_INTERVAL
        else:
            self.refusal = ""

    def blindness(self) -> str:
        """Return why no adverts are received, empty where they are."""
        if self.wire is not None:
            return ""
        return f"the wire is not watched: {self.refusal or 'OPENSHIFT_HA_CONFLICT=off'}"

    def hear_also(self, others: frozenset[IPAddress]) -> None:
        """Receive answers for these addresses too, beside those of the configuration."""
        if others == self._others:
            return
        self._others = others
        if self.wire is not None and self._config is not None:
            with contextlib.suppress(AgentError):  # then their hosts seem to be silent
                self.wire.replace_filter(self._program(self._config))

    def _program(self, config: KeepalivedConfig) -> bpf.Program:
        return bpf.kernel_filter((*config.addresses, *self._others))

    def close(self) -> None:
        """Close the socket."""
        if self.wire is not None:
            self._loop.unwatch(self.wire.fileno())
            self.wire.close()
        self.wire, self._look_at, self.resume_at = None, None, None

    def receive(self, now: float) -> tuple[packet_socket.Frame, ...]:
        """Return the received frames; then the socket is left alone for a moment."""
        if self.wire is None or (self._rest_until is not None and now < self._rest_until):
            return ()
        if self._rest_until is not None:
            self._rest_until = None
            self.wire.discard()  # old adverts would be taken for new ones
            return ()
        try:
            found = self.wire.receive(_FRAMES_PER_READ)
        except AgentError as error:
            self._refuse(str(error))
            self.close()
            self._look_at = now + _LOOK_INTERVAL
            return ()
        self._loop.unwatch(self.wire.fileno())
        self.resume_at = now + _READ_PAUSE
        return found

    def rest(self, worked: float, now: float) -> None:
        """Receive nothing for a while: there was more to read than ``worked`` seconds of work.

        A flood of frames must not stop the loop.
        """
        if self.wire is None:  # handling a frame has closed it
            return
        self._rest_until = now + _READ_REST * worked
        self.resume_at = max(self.resume_at or now, self._rest_until)

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        if self._look_at is None or self.wire is None:
            return self._look_at
        return min(self._look_at, self._mac_at)

    def resume(self, now: float) -> None:
        """Listen again after a pause."""
        if self.resume_at is not None and now >= self.resume_at and self.wire is not None:
            self.resume_at = None
            self._loop.watch_readable(self.wire.fileno(), SOURCE)

    def tick(self, now: float) -> bool:
        """Return whether it is time for :meth:`look`."""
        return self.has_moved(now) or (self._look_at is not None and now >= self._look_at)

    def has_moved(self, now: float) -> bool:
        """Return whether the interface has another MAC than at the last look; costs nothing."""
        self._mac_at = now + self._mac_interval
        return self.wire is not None and self.wire.mac != self._mac

    def look(self, now: float) -> bool:
        """Open the socket anew for another interface, and note new MACs.

        Returns whether the interface or a MAC of this host is another one now.
        """
        config = self._config
        if config is None or not self._is_wanted:
            return False
        self._look_at = now + _LOOK_INTERVAL
        index = host.index_of(config.interface)
        if self.wire is None or index != self.wire.index:
            if index is None:
                return False
            self.close()
            self.configure(config, is_wanted=True)
            return self.wire is not None
        before = self.macs
        try:
            macs = packet_socket.host_macs()
        except AgentError:
            macs = frozenset(mac for mac, until in self._own.items() if until == math.inf)
        self._learn(self.wire, macs, now)
        return self.moved_at == now or before != self.macs

    def _learn(self, on: packet_socket.PacketSocket, macs: frozenset[bytes], now: float) -> None:
        """Note the MACs of this host after a look at them."""
        mac = on.mac
        self._own = contexts.known_macs(self._own, macs | {mac}, now, self._memory)
        self.macs = frozenset(self._own)
        if self._mac and mac != self._mac:
            self.moved_at = now
        self._mac, self._mac_at = mac, now + self._mac_interval
        self._look_at = min(now + _LOOK_INTERVAL, *self._own.values())

    def _refuse(self, reason: str) -> None:
        if reason != self.refusal:
            self._log.error("protection.off", kind="conflict", reason=reason)
        self.refusal = reason
