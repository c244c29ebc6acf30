"""Sends priority 0 for an instance whose keepalived could not. Nothing here raises.

:mod:`conflict.farewell` decides when.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ipfailover_agent.conflict import farewell
from ipfailover_agent.conflict.farewell import Farewell
from ipfailover_agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.model import VrrpInstance, VrrpState
    from ipfailover_agent.vrrp.packet_socket import PacketSocket
    from ipfailover_agent.vrrp.packets import Advert


_TOGETHER: Final = 1.0  # seconds: all instances leave MASTER at one event


class Farewells:
    """What is known of the last adverts of each instance. Times are monotonic seconds.

    Attributes:
        deadline: when to :meth:`tick`, None while there is nothing to log.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._of: defaultdict[str, Farewell] = defaultdict(Farewell)
        self._failed: dict[str, str] = {}  # why, by the instance; logged together
        self.deadline: float | None = None

    def configure(self, before: Mapping[str, str]) -> None:
        """Keep what concerns the instances that stay; ``before``: their former names."""
        kept = {name: self._of[old] for name, old in before.items() if old in self._of}
        self._of = defaultdict(Farewell, kept)

    def clear(self) -> None:
        """Note that keepalived is not running."""
        self._of.clear()
        self._log_failed()

    def sent(self, name: str, advert: Advert, frame: bytes, now: float) -> None:
        """Note that an advert of an instance has left."""
        self._of[name] = farewell.sent(self._of[name], advert, frame, now)

    def on_advert(self, name: str, now: float) -> None:
        """Note that another node is MASTER of an instance's id."""
        self._of[name] = replace(self._of[name], others_at=now)

    def entered(
        self, instance: VrrpInstance, state: VrrpState, now: float, wire: PacketSocket | None
    ) -> None:
        """Note a transition that keepalived reported, after all adverts that left before it."""
        name, interval = instance.name, instance.advertisement.interval
        self._of[name], frames = farewell.entered(self._of[name], state, interval, now)
        if not frames or wire is None:
            return
        try:
            for frame in frames:
                wire.send(frame)
        except AgentError as error:  # the link is down: no node can be reached
            self._failed[name] = str(error)
            self.deadline = self.deadline or now + _TOGETHER
        else:
            self._log.warning(
                "goodbye.sent",
                instance=name,
                cause="it left MASTER and keepalived could not say so: the address that its "
                "adverts come from is gone",
            )

    def tick(self, now: float) -> None:
        """Log which farewells could not leave, in one line for each reason."""
        if self.deadline is not None and now >= self.deadline:
            self._log_failed()

    def _log_failed(self) -> None:
        failed, self._failed, self.deadline = self._failed, {}, None
        for error in dict.fromkeys(failed.values()):
            names = [name for name, why in failed.items() if why == error]
            self._log.warning("goodbye.failed", instance=names[0], count=len(names), error=error)
