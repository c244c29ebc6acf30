"""What a configuration needs of the node, and the node does not have just now, in sentences.

Nothing of it is an error: it may come yet. But ``check`` must not be silent where the node would
stay in FAULT.

A container with a CPU limit is stopped by the kernel for the rest of a period (0.1 s) once it has
used its share: what takes the agent 0.1 s of CPU, a reload for one, takes a second of time with a
tenth of a CPU, and longer than a lease of 1 s lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ipfailover_agent.config import checks
from ipfailover_agent.model import Family, first_of

if TYPE_CHECKING:
    from ipfailover_agent.model import CpuShare, HostFacts, KeepalivedConfig, Settings

_SLOW: Final = 1.0  # seconds between adverts and between checks that any node keeps up with
_LONG_LEASE: Final = 3
_NEEDED_CPUS: Final = 0.5
_STARVED_PERCENT: Final = 25.0
_STAYS: Final = "the check fails, and this node stays in FAULT"


def judge_node(
    config: KeepalivedConfig,
    facts: HostFacts,
    *,
    vrf: str = "",
    has_curl: bool = True,
    has_authority: bool = True,
    check_interpreter: str = "",
    notify_interpreter: str = "",
) -> tuple[str, ...]:
    """Return everything that keeps the node from serving as configured.

    ``vrf`` is the VRF that the interface is in and the agent is not, or nothing;
    ``has_authority``: OPENSHIFT_HA_CHECK_URL_CA_FILE can be read. An interpreter is the program
    that the first line of a script names and that is not there, or nothing.
    """
    script = config.track_script
    told = [*_of_interface(config, facts), *checks.outside_vrf(config, vrf)]
    if script is not None and script.url and not has_curl:
        told.append(f"OPENSHIFT_HA_CHECK_URL: curl is not on PATH: {_STAYS}")
    if script is not None and script.url_ca_file and not has_authority:
        place = f"OPENSHIFT_HA_CHECK_URL_CA_FILE: {script.url_ca_file}"
        told.append(f"{place} cannot be read: {_STAYS}")
    if script is not None and script.command and check_interpreter:
        told.append(f"OPENSHIFT_HA_CHECK_SCRIPT: {_unreadable(check_interpreter)}: {_STAYS}")
    if config.notify_command and notify_interpreter:
        text = f"{_unreadable(notify_interpreter)}: no notification is sent"
        told.append(f"OPENSHIFT_HA_NOTIFY_SCRIPT: {text}")
    return tuple(told)


def _unreadable(interpreter: str) -> str:
    return f"its first line names {interpreter!r}, which is not there"


def _of_interface(config: KeepalivedConfig, facts: HostFacts) -> tuple[str, ...]:
    interface = facts.interface(config.interface)
    if interface is None:
        return ()
    if not interface.is_up:
        return (f"{interface.name} is down: every instance stays in FAULT until it is up",)
    link_local = (each.address for each in interface.addresses if each.address.is_link_local)
    needs_ipv6 = any(each.family is Family.IPV6 for each in config.instances)
    if not needs_ipv6 or first_of(Family.IPV6, link_local):
        return ()
    text = f"{interface.name} has no link-local address"
    return (f"{text}: IPv6 instances stay in FAULT without one",)


# --- CPU, for fast timing ------------------------------------------------------------------------


def fast_settings(settings: Settings) -> tuple[str, ...]:
    """Return the variables that ask for more than any node can be expected to keep up with."""
    is_probing = checks.is_probed(settings) and bool(settings.monitor_ports)
    fast = {
        "OPENSHIFT_HA_ADVERT_INTERVAL": settings.advert_interval < _SLOW,
        "OPENSHIFT_HA_CHECK_INTERVAL": is_probing and settings.check_interval < _SLOW,
        "OPENSHIFT_HA_ADDRESS_LEASE": 0 < settings.address_lease < _LONG_LEASE,
    }
    return tuple(name for name, asks in fast.items() if asks)


def judge_cpu(settings: Settings, share: CpuShare) -> tuple[str, ...]:
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
