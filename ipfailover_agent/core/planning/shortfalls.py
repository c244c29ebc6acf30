"""What a configuration needs of the node, and the node does not have just now, in sentences.

Nothing of it is an error: it may come yet. But ``check`` must not be silent where the node would
stay in FAULT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.core.model import Family
from ipfailover_agent.core.planning import checks

if TYPE_CHECKING:
    from ipfailover_agent.core.model import HostFacts, KeepalivedConfig

_STAYS: Final = "the check fails, and this node stays in FAULT"


class Surroundings(Struct, frozen=True, kw_only=True):
    """What was looked at beside the facts that a plan needs.

    Attributes:
        vrf: the VRF that the interface is in and the agent is not, or nothing.
        has_curl: there is a ``curl`` on PATH.
        has_authority: OPENSHIFT_HA_CHECK_URL_CA_FILE can be read.
        check_interpreter: the program that the first line of the check script names and that is
            not there, or nothing.
        notify_interpreter: likewise.
    """

    vrf: str = ""
    has_curl: bool = True
    has_authority: bool = True
    check_interpreter: str = ""
    notify_interpreter: str = ""


def judge_node(config: KeepalivedConfig, facts: HostFacts, found: Surroundings) -> tuple[str, ...]:
    """Return everything that keeps the node from serving as configured."""
    return (
        *_of_interface(config, facts),
        *checks.outside_vrf(config, found.vrf),
        *_of_check(config, found),
    )


def _of_interface(config: KeepalivedConfig, facts: HostFacts) -> tuple[str, ...]:
    interface = facts.interface(config.interface)
    if interface is None:
        return ()
    if not interface.is_up:
        return (f"{interface.name} is down: every instance stays in FAULT until it is up",)
    has_ipv6 = any(each.family is Family.IPV6 for each in config.instances)
    if has_ipv6 and not any(
        each.address.version == 6 and each.address.is_link_local  # noqa: PLR2004 - the family
        for each in interface.addresses
    ):
        text = f"{interface.name} has no link-local address"
        return (f"{text}: IPv6 instances stay in FAULT without one",)
    return ()


def _of_check(config: KeepalivedConfig, found: Surroundings) -> tuple[str, ...]:
    script = config.track_script
    told = []
    if script is not None and script.url and not found.has_curl:
        told.append(f"OPENSHIFT_HA_CHECK_URL: curl is not on PATH: {_STAYS}")
    if script is not None and script.url_ca_file and not found.has_authority:
        told.append(
            f"OPENSHIFT_HA_CHECK_URL_CA_FILE: {script.url_ca_file} cannot be read: {_STAYS}"
        )
    if script is not None and script.command and found.check_interpreter:
        told.append(
            f"OPENSHIFT_HA_CHECK_SCRIPT: its first line names {found.check_interpreter!r}, which "
            f"is not there: {_STAYS}"
        )
    if config.notify_command and found.notify_interpreter:
        told.append(
            f"OPENSHIFT_HA_NOTIFY_SCRIPT: its first line names {found.notify_interpreter!r}, "
            "which is not there: no notification is sent"
        )
    return tuple(told)
