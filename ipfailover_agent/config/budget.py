"""How long an address may be on no node, or on two, with a given configuration.

What the times rest on: a backup takes over three advert intervals and its skew after the last
advert (RFC 3768 and RFC 5798 section 6.1), its skew after one of priority 0; the kernel removes a
leased address within a second of its end; of two holders one yields as ``conflict.fsm``
says. The other nodes are taken to be configured like this one, and healthy.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.config import priority
from ipfailover_agent.model import ConflictMode
from ipfailover_agent.vrrp import timers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfailover_agent.model import KeepalivedConfig, Settings, VrrpInstance

_REACTION = 0.05  # seconds: from a decision to the address on the interface
_WAKING = 0.2  # seconds by which timers of a busy machine run late
_KERNEL_ROUNDING = 1.0  # seconds: lifetimes are whole ones, and looked at once a second
_CONTEST = 1.0  # seconds beyond an advert interval in which one of two yields
_WORDS = {
    "planned_stop": "planned stop or drain: no holder for",
    "failed_check": "the check fails: no service for",
    "hanging_check": "the check gets no answer: no service for",
    "silent_death": "a node dies silently: no holder for",
    "silent_death_held": "likewise, its successor being held: no holder for",
    "two_after_death": "a container is killed: two for",
    "two_holders": "nodes do not hear each other: two for",
}
_OF_A_CHECK = ("failed_check", "hanging_check")


class Budget(Struct, frozen=True, kw_only=True):
    """The worst case of each fault, in seconds: how long no node or two hold the address.

    With ``failed_check`` (its port is refused or its script fails) and ``hanging_check`` (it does
    not answer at all) no client reaches the application; None without a check. ``silent_death``
    is of a node that vanishes without priority 0. ``two_after_death``: only the container is
    killed or frozen; ``two_holders``: nodes do not receive or do not accept each other's adverts.
    None = no end.
    """

    planned_stop: float
    failed_check: float | None
    hanging_check: float | None
    silent_death: float
    silent_death_held: float
    two_after_death: float | None
    two_holders: float | None

    def times(self) -> Iterator[tuple[str, str, float | None]]:
        """Yield (name, description, seconds); None = no end. Without a check nothing of it."""
        for name, words in _WORDS.items():
            seconds = getattr(self, name)
            if seconds is not None or name not in _OF_A_CHECK:
                yield name, words, seconds

    def lines(self) -> tuple[str, ...]:
        """Return every time as text, a line each."""
        return tuple(
            f"{words} {'ever, without end' if seconds is None else f'at most {seconds:.2f} s'}"
            for _, words, seconds in self.times()
        )


def compute(settings: Settings, config: KeepalivedConfig) -> Budget:
    """Return the worst cases over all instances."""
    intervals = [each.advertisement.interval for each in config.instances]
    slowest, fastest = max(intervals), min(intervals)
    # The next node in rank lets higher ones go first.
    timings = [
        (_next_priority(settings, each), each.advertisement.version, each.advertisement.interval)
        for each in config.instances
    ]
    skew = max(itertools.starmap(timers.skew_time, timings))
    down = max(itertools.starmap(timers.master_down_interval, timings))
    failed, hanging = None, None
    check = config.track_script or config.port_probes
    if check is not None:
        failed = check.interval * check.fall + skew + _REACTION + _WAKING
        hanging = failed + check.timeout
    return Budget(
        planned_stop=skew + _REACTION,
        failed_check=failed,
        hanging_check=hanging,
        silent_death=down + _WAKING,
        silent_death_held=2 * down + _WAKING,
        two_after_death=_two_after_death(config.address_lease, fastest),
        two_holders=slowest + _CONTEST if config.conflict is ConflictMode.RESOLVE else None,
    )


def summary(settings: Settings, config: KeepalivedConfig) -> str:
    """Return what people ask for first: ``lease 3 s, worst takeover 3.7 s``."""
    lease = f"lease {config.address_lease} s" if config.address_lease else "no lease"
    return f"{lease}, worst takeover {compute(settings, config).silent_death:.1f} s"


def _next_priority(settings: Settings, instance: VrrpInstance) -> int:
    """Return the least priority that the next node in rank may have."""
    if settings.priority is not None:
        return priority.LOWEST  # a priority that is set here is set on the other nodes too
    if instance.unicast_peers:
        return priority.for_rank(1, 1 + len(instance.unicast_peers))
    return priority.MULTICAST_LOWEST


def _two_after_death(lease: int, interval: float) -> float | None:
    """Return for how long a dead container's addresses may outlast the takeover.

    Renewed just before the end, they stay a lease and a second. The last advert may have left an
    interval before the end, so that the next node takes over two intervals after it.
    """
    if not lease:
        return None
    return max(0.0, lease + _KERNEL_ROUNDING - (timers.MISSED_ADVERTS - 1) * interval)
