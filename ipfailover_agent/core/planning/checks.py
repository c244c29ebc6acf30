"""What keepalived runs on the node: the check that decides eligibility, and the notify script."""

from __future__ import annotations

import shlex
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.core.errors import Problem
from ipfailover_agent.core.model import (
    MissingScript,
    PortCheck,
    PortProbes,
    ScriptState,
    TrackScript,
)

if TYPE_CHECKING:
    from ipfailover_agent.core.model import HostFacts, IPAddress, KeepalivedConfig, Settings

_CHECK = "OPENSHIFT_HA_CHECK_SCRIPT"
_NOTIFY = "OPENSHIFT_HA_NOTIFY_SCRIPT"
_LOOPBACKS: Final = (ip_address("127.0.0.1"), ip_address("::1"))  # what localhost stands for
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Checks(Struct, frozen=True, kw_only=True):
    """The checks of a configuration, and what the operator should hear about them.

    ``errors`` are those of the ``reports`` that say that nothing is checked as it should be.
    """

    track_script: TrackScript | None
    port_probes: PortProbes | None
    notify_command: tuple[str, ...]
    reports: tuple[str, ...]
    errors: tuple[str, ...]


def check_commands(settings: Settings, problems: list[Problem]) -> None:
    """Add a problem for each command that has no words or whose quotes do not match."""
    for variable, text in ((_CHECK, settings.check_script), (_NOTIFY, settings.notify_script)):
        if text is None:
            continue
        try:
            words = shlex.split(text)
        except ValueError as error:
            reason = f"it cannot be split into words: {str(error).lower()}"
        else:
            reason = "" if words and words[0] else "it names no program"
        if reason:
            problems.append(
                Problem(
                    variable=variable,
                    element=text,
                    reason=reason,
                    instead="write a path and its arguments as for a shell, quotes in pairs",
                )
            )


def build(settings: Settings, facts: HostFacts, node: IPAddress) -> Checks:
    """Decide what is checked and what is notified; ``node`` is where the ports are looked for."""
    errors: list[str] = []
    reports: list[str] = []
    probed = is_probed(settings)
    track_script = None if probed else _track_script(settings, facts, node, errors)
    notify_command = _notify_command(settings, facts.notify_script, reports)
    return Checks(
        track_script=track_script,
        port_probes=_port_probes(settings, facts, node)
        if probed
        else _watched_script(settings, facts, track_script),
        notify_command=notify_command,
        reports=(*errors, *reports),
        errors=tuple(errors),
    )


def outside_vrf(config: KeepalivedConfig, vrf: str) -> tuple[str, ...]:
    """Say that the check cannot reach a service in a VRF; ``vrf`` is empty where there is none."""
    script, probes = config.track_script, config.port_probes
    connects = probes is not None or (script is not None and bool(script.ports or script.url))
    if not (vrf and connects):
        return ()
    text = (
        f"{config.interface} is in the VRF {vrf}, and the check connects outside of it: it fails, "
        f"and this node stays in FAULT; run the agent with `ip vrf exec {vrf}`, or set "
        f"{_CHECK}='/sbin/ip vrf exec {vrf} PROGRAM'"
    )
    return (text,)


def is_probed(settings: Settings) -> bool:
    """Return whether the agent probes by itself.

    It does where only ports are checked and it watches their listeners, so that one verdict
    counts; and with a fraction of a second, since keepalived 2.2.7 counts in whole ones. Settings
    with a fraction have neither a script nor a URL.
    """
    if settings.check_interval % 1:
        return True
    has_more = settings.check_script is not None or settings.check_url is not None
    return bool(settings.check_watch and settings.monitor_ports) and not has_more


def _port_probes(settings: Settings, facts: HostFacts, node: IPAddress) -> PortProbes | None:
    if not settings.monitor_ports:
        return None
    ports = _ports(settings, facts, node)
    return PortProbes(
        name=_name(settings),
        interval=settings.check_interval,
        timeout=settings.check_timeout,
        rise=settings.check_rise,
        fall=settings.check_fall,
        ports=ports,
        listeners=ports if settings.check_watch else (),
        watch=settings.check_watch,
    )


def _ports(settings: Settings, facts: HostFacts, node: IPAddress) -> tuple[PortCheck, ...]:
    interface = _interface_of(node, facts)
    return tuple(
        PortCheck(address=node, port=each, interface=interface)
        for each in dict.fromkeys(settings.monitor_ports)
    )


def _interface_of(address: IPAddress, facts: HostFacts) -> str:
    for interface in facts.interfaces:
        if any(each.address == address for each in interface.addresses):
            return interface.name
    return ""


def _watched_script(
    settings: Settings, facts: HostFacts, script: TrackScript | None
) -> PortProbes | None:
    """Return what has the script of a URL run once more when a listener on this node is gone."""
    if script is None or script.url is None or not settings.check_watch:
        return None
    listeners = (*script.ports, *_url_listeners(script.url, settings, facts))
    if not listeners:
        return None
    return PortProbes(
        name=f"{script.name}_watch",
        interval=script.interval,
        timeout=script.timeout,
        rise=script.rise,
        fall=script.fall,
        ports=(),
        listeners=tuple(dict.fromkeys(listeners)),
        watch=settings.check_watch,
    )


def _url_listeners(url: str, settings: Settings, facts: HostFacts) -> tuple[PortCheck, ...]:
    """Return where the URL is answered on this node; nothing where that is unknown.

    A name may resolve to another node at any time, so of names only localhost counts; a virtual
    address moves, and the plan is the same whichever node holds it.
    """
    host, port = place(url)
    if host == "localhost":
        return tuple(PortCheck(address=each, port=port) for each in _LOOPBACKS)
    named = address(host)
    if named is None or named in settings.virtual_addresses:
        return ()
    interface = _interface_of(named, facts)
    is_here = named.is_loopback or bool(interface) or named in facts.local_addresses
    return (PortCheck(address=named, port=port, interface=interface),) if is_here else ()


def asked_nodes(settings: Settings) -> tuple[IPAddress, ...]:
    """Return the address of the URL, of which is to be known whether it is this node's."""
    if settings.check_url is None:
        return ()
    host, _ = place(settings.check_url)
    named = address(host)
    return () if named is None or named.is_loopback else (named,)


def place(url: str) -> tuple[str, int]:
    """Return the host and the port that a URL names."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - only a URL needs it

    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def address(host: str) -> IPAddress | None:
    """Return the address that a host is written as, None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _name(settings: Settings) -> str:
    return "chk_" + settings.config_name.replace("-", "_")


def _track_script(
    settings: Settings, facts: HostFacts, node: IPAddress, errors: list[str]
) -> TrackScript | None:
    state = facts.check_script
    command: tuple[str, ...] = ()
    always_fails = ""
    if settings.check_script is not None:
        command = tuple(shlex.split(settings.check_script))
        if state not in (None, ScriptState.USABLE):
            always_fails = f"{_CHECK}: {command[0]} is {state.value}"
            command = ()
            if settings.check_script_missing is MissingScript.IGNORE:
                errors.append(
                    f"{always_fails}: the check is left out, this node stays eligible whatever "
                    "happens to the service"
                )
                return None
            errors.append(f"{always_fails}: this node stays in FAULT until it is there")
    ports: tuple[PortCheck, ...] = ()
    url = None
    if settings.check_script is None:
        ports = _ports(settings, facts, node)
        url = settings.check_url
    if not (command or always_fails or ports or url):
        return None
    return TrackScript(
        name=_name(settings),
        interval=int(settings.check_interval),
        timeout=int(settings.check_timeout),
        rise=settings.check_rise,
        fall=settings.check_fall,
        command=command,
        always_fails=always_fails,
        ports=ports,
        url=url,
        url_ca_file=settings.check_url_ca_file,
        url_insecure=settings.check_url_insecure,
    )


def _notify_command(
    settings: Settings, state: ScriptState | None, reports: list[str]
) -> tuple[str, ...]:
    if settings.notify_script is None:
        return ()
    command = tuple(shlex.split(settings.notify_script))
    if state not in (None, ScriptState.USABLE):
        reports.append(f"{_NOTIFY}: {command[0]} is {state.value}: no notification is sent")
        return ()
    return command
