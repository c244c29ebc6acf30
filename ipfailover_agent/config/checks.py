"""The check that decides whether this node is eligible, and the notify script.

A check that asks something else than the application of this node passes or fails whatever the
application does: the agent's own HTTP server always answers, a virtual address answers only while
some node holds it, another node answers for itself.
"""

from __future__ import annotations

import shlex
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from ipfailover_agent import model
from ipfailover_agent.config import unicast
from ipfailover_agent.errors import Problem, SettingsError
from ipfailover_agent.model import MissingScript, PortCheck, ScriptState, address_of

if TYPE_CHECKING:
    from ipfailover_agent.model import HostFacts, IPAddress, Settings

_CHECK = "OPENSHIFT_HA_CHECK_SCRIPT"
_NOTIFY = "OPENSHIFT_HA_NOTIFY_SCRIPT"
_PORT = "OPENSHIFT_HA_MONITOR_PORT"
_PORTS = "OPENSHIFT_HA_MONITOR_PORTS"
_URL = "OPENSHIFT_HA_CHECK_URL"
_LISTEN = "IPFAILOVER_LISTEN"
_LOOPBACKS: Final = (ip_address("127.0.0.1"), ip_address("::1"))  # what localhost stands for
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_IPV6: Final = 6


def outside_vrf(config: model.KeepalivedConfig, vrf: str) -> tuple[str, ...]:
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


def port_probes(
    settings: Settings, facts: HostFacts, node: IPAddress, script: model.TrackScript | None
) -> model.PortProbes | None:
    """Return what the agent probes at the address ``node``.

    Or what has the ``script`` of a URL run once more: that a listener on this node is gone.
    """
    ports = _ports(settings, facts, node) if is_probed(settings) else ()
    listeners = ports
    if script is not None and script.url is not None:
        listeners = (*script.ports, *_url_listeners(script.url, settings, facts))
    if not settings.check_watch:
        listeners = ()
    if not (ports or listeners):
        return None
    return model.PortProbes(
        name=_name(settings) if ports else f"{_name(settings)}_watch",
        interval=settings.check_interval,
        timeout=settings.check_timeout,
        rise=settings.check_rise,
        fall=settings.check_fall,
        ports=ports,
        listeners=tuple(dict.fromkeys(listeners)),
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


def _url_listeners(url: str, settings: Settings, facts: HostFacts) -> tuple[PortCheck, ...]:
    """Return where the URL is answered on this node; nothing where that is unknown.

    A name may resolve to another node at any time, so of names only localhost counts; a virtual
    address moves, and the plan is the same whichever node holds it.
    """
    host, port = _place(url)
    if host == "localhost":
        return tuple(PortCheck(address=each, port=port) for each in _LOOPBACKS)
    named = address_of(host)
    if named is None or named in settings.virtual_addresses:
        return ()
    interface = _interface_of(named, facts)
    is_here = named.is_loopback or bool(interface) or named in facts.local_addresses
    return (PortCheck(address=named, port=port, interface=interface),) if is_here else ()


def asked_nodes(settings: Settings) -> tuple[IPAddress, ...]:
    """Return the address of the URL, of which is to be known whether it is this node's."""
    place = None if settings.check_url is None else _named_place(settings.check_url)
    return () if place is None or place[0].is_loopback else (place[0],)


def _place(url: str) -> tuple[str, int]:
    """Return the host and the port that a URL names."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - only a URL needs it

    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def _name(settings: Settings) -> str:
    return "chk_" + settings.config_name.replace("-", "_")


def track_script(
    settings: Settings, facts: HostFacts, node: IPAddress, errors: list[str]
) -> model.TrackScript | None:
    """Return what keepalived checks, the ports at the address ``node``.

    Adds an error where that is not what was asked for.
    """
    if is_probed(settings):
        return None
    state = facts.check_script
    command: tuple[str, ...] = ()
    ports: tuple[PortCheck, ...] = ()
    url, always_fails = None, ""
    if settings.check_script is None:
        ports, url = _ports(settings, facts, node), settings.check_url
        if not (ports or url):
            return None
    else:
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
    return model.TrackScript(
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


def notify_command(
    settings: Settings, state: ScriptState | None, reports: list[str]
) -> tuple[str, ...]:
    """Return the words of the notify script; adds a report where it cannot be run."""
    if settings.notify_script is None:
        return ()
    command = tuple(shlex.split(settings.notify_script))
    if state not in (None, ScriptState.USABLE):
        reports.append(f"{_NOTIFY}: {command[0]} is {state.value}: no notification is sent")
        return ()
    return command


# --- what the check asks, where that is not the application of this node -------------------------


def astray(
    settings: Settings,
    config: model.KeepalivedConfig,
    facts: HostFacts,
    own: model.ListenAddress | None,
) -> tuple[str, ...]:
    """Return a sentence for each question of the check that the application may not answer.

    ``own`` is where the agent's own HTTP server listens, None for nowhere.

    Raises:
        SettingsError: the agent's own server answers the check, so that it never fails.
    """
    found = config.track_script or config.port_probes
    ports = () if found is None else found.ports
    url = None if config.track_script is None else config.track_script.url
    place = _named_place(url) if url else None
    elsewhere = () if place is None else _elsewhere(place[0], settings, facts)
    if own is None:
        return elsewhere
    same = [each.address for each in ports if each.port == own.port]
    answered = []
    if any(_is_at(own, each) for each in same):
        answered.append(_PORTS if len(settings.monitor_ports) > 1 else _PORT)
    if place is not None and place[1] == own.port and _is_at(own, place[0]):
        address = place[0]
        if address.is_loopback or address in unicast.own_addresses(settings, facts):
            answered.append(_URL)
    if answered:
        reason = (
            f"the agent itself answers there, since {_LISTEN} is {own}: the check would pass "
            "whatever happens to the application"
        )
        instead = f"name the application's port, or write another one into {_LISTEN}"
        problems = (Problem(each, str(own.port), reason, instead) for each in answered)
        raise SettingsError(tuple(problems))
    taken = (
        f"{_LISTEN}: {own} is the port that the check wants to be answered at {each}: an "
        "application that listens at all addresses finds it taken"
        for each in same
    )
    return (*taken, *elsewhere)


def _is_at(own: model.ListenAddress, address: IPAddress) -> bool:
    """Return whether a server that listens there answers at an address of this node."""
    host = ip_address(own.host or "::")
    if host.is_unspecified:  # :: takes connections of both families
        return host.version in (address.version, _IPV6)
    return host == ip_address(str(address).partition("%")[0])


def _named_place(url: str) -> tuple[IPAddress, int] | None:
    """Return the address and port that a URL names, None for a name that has to be looked up."""
    host, port = _place(url)
    address = address_of("127.0.0.1" if host == "localhost" else host)
    return None if address is None else (address, port)


def _elsewhere(address: IPAddress, settings: Settings, facts: HostFacts) -> tuple[str, ...]:
    if address in settings.virtual_addresses:
        text = (
            f"{_URL}: {address} is a virtual address: where only the node that holds it answers "
            "there, no node passes the check before one holds it, and none ever does; ask "
            "127.0.0.1 or the node's own address"
        )
        return (text,)
    others = unicast.candidates(settings, facts)
    if address in others and address not in unicast.own_addresses(settings, facts):
        text = (
            f"{_URL}: {address} is another node: this one would hold addresses as long as that "
            "one's application lives; ask 127.0.0.1 or the node's own address"
        )
        return (text,)
    return ()
