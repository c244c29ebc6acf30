"""What the check asks, where that is something else than the application of this node.

Such a check passes or fails whatever the application does: the agent's own HTTP server always
answers, a virtual address answers only while some node holds it, another node answers for itself.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.errors import Problem, SettingsError
from ipfailover_agent.core.planning import checks, unicast

if TYPE_CHECKING:
    from ipfailover_agent.core.model import (
        HostFacts,
        IPAddress,
        KeepalivedConfig,
        ListenAddress,
        Settings,
    )

_PORT: Final = "OPENSHIFT_HA_MONITOR_PORT"
_PORTS: Final = "OPENSHIFT_HA_MONITOR_PORTS"
_URL: Final = "OPENSHIFT_HA_CHECK_URL"
_LISTEN: Final = "IPFAILOVER_LISTEN"
_IPV6: Final = 6


def astray(
    settings: Settings, config: KeepalivedConfig, facts: HostFacts, own: ListenAddress | None
) -> tuple[str, ...]:
    """Return a sentence for each question of the check that the application may not answer.

    Args:
        settings: the variables.
        config: the plan.
        facts: what is known of the node.
        own: where the agent's own HTTP server listens, None for nowhere.

    Raises:
        SettingsError: the agent's own server answers the check, so that it never fails.
    """
    found = config.track_script or config.port_probes
    ports = () if found is None else found.ports
    url = None if config.track_script is None else config.track_script.url
    place = None if not url else _place(url)
    elsewhere = () if place is None else _elsewhere(place[0], settings, facts)
    if own is None:
        return elsewhere
    same = [each.address for each in ports if each.port == own.port]
    answered = []
    if any(_is_at(own, each) for each in same):
        answered.append(_PORTS if len(settings.monitor_ports) > 1 else _PORT)
    if place is not None and _is_own(own, place, settings, facts):
        answered.append(_URL)
    if answered:
        raise SettingsError(tuple(_answered(each, own) for each in answered))
    taken = (
        f"{_LISTEN}: {own} is the port that the check wants to be answered at {each}: an "
        "application that listens at all addresses finds it taken"
        for each in same
    )
    return (*taken, *elsewhere)


def _answered(variable: str, own: ListenAddress) -> Problem:
    return Problem(
        variable=variable,
        element=str(own.port),
        reason=f"the agent itself answers there, since {_LISTEN} is {own}: the check would pass "
        "whatever happens to the application",
        instead=f"name the application's port, or write another one into {_LISTEN}",
    )


def _is_at(own: ListenAddress, address: IPAddress) -> bool:
    """Return whether a server that listens there answers at an address of this node."""
    host = ip_address(own.host or "::")
    if host.is_unspecified:  # :: takes connections of both families
        return host.version in (address.version, _IPV6)
    return host == ip_address(str(address).partition("%")[0])


def _place(url: str) -> tuple[IPAddress, int] | None:
    """Return the address and port that a URL names, None for a name that has to be looked up."""
    host, port = checks.place(url)
    address = checks.address("127.0.0.1" if host == "localhost" else host)
    return None if address is None else (address, port)


def _is_own(
    own: ListenAddress, place: tuple[IPAddress, int], settings: Settings, facts: HostFacts
) -> bool:
    address, port = place
    is_here = address.is_loopback or address in unicast.own_addresses(settings, facts)
    return is_here and port == own.port and _is_at(own, address)


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
