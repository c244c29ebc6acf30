"""What fast timing needs of a node, and whether the node has it.

A container with a CPU limit is stopped by the kernel for the rest of a period (0.1 s) once it has
used its share: what takes the agent 0.1 s of CPU, a reload for one, takes a second of time with a
tenth of a CPU, and longer than a lease of 1 s lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.core.planning import checks

if TYPE_CHECKING:
    from ipfailover_agent.core.model import Settings

_SLOW = 1.0  # seconds between adverts and between checks that any node keeps up with
_LONG_LEASE = 3
_NEEDED_CPUS = 0.5
_STARVED_PERCENT = 25.0


class CpuShare(Struct, frozen=True, kw_only=True):
    """What of the CPU this process gets; None where the system does not say.

    ``pressure``: in how many per cent of the last ten seconds something had to wait for a CPU
    (pressure stall information, ``some avg10``). ``limit``: CPUs that its control group may use,
    None without a limit too.
    """

    pressure: float | None = None
    limit: float | None = None


def fast_settings(settings: Settings) -> tuple[str, ...]:
    """Return the variables that ask for more than any node can be expected to keep up with."""
    is_probing = checks.is_probed(settings) and bool(settings.monitor_ports)
    fast = {
        "OPENSHIFT_HA_ADVERT_INTERVAL": settings.advert_interval < _SLOW,
        "OPENSHIFT_HA_CHECK_INTERVAL": is_probing and settings.check_interval < _SLOW,
        "OPENSHIFT_HA_ADDRESS_LEASE": 0 < settings.address_lease < _LONG_LEASE,
    }
    return tuple(name for name, asks in fast.items() if asks)


def warnings(settings: Settings, share: CpuShare) -> tuple[str, ...]:
    """Return a sentence for each thing that fast settings want and this node does not have."""
    fast = ", ".join(fast_settings(settings))
    if not fast:
        return ()
    said = []
    if share.limit is not None and share.limit < _NEEDED_CPUS:
        said.append(
            f"{fast}: fast timing with a CPU limit of {share.limit:g}: the kernel stops the "
            "container when it has used its share, and addresses may move without need; "
            f"raise the limit to {_NEEDED_CPUS:g} or remove it, or choose slower timing"
        )
    if share.pressure is not None and share.pressure >= _STARVED_PERCENT:
        said.append(
            f"{fast}: fast timing on a node that is starved of CPU (something waited for one in "
            f"{share.pressure:.0f} % of the last ten seconds), and addresses may move without "
            "need; give this container a larger share, or choose slower timing"
        )
    return tuple(said)
