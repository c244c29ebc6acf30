"""The addresses that variables name as the source of adverts, and what follows where one lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ipfailover_agent.config import unicast
from ipfailover_agent.errors import AwaitedSource, HostNotReadyError, Problem
from ipfailover_agent.model import Family, family_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.model import HostFacts, IPAddress, Settings

UNICAST: Final = "UNICAST_SOURCE_IPADDRESS"
MULTICAST: Final = "MULTICAST_SOURCE_IPADDRESS"


def refuse_virtual(settings: Settings, problems: list[Problem]) -> None:
    """Add a problem where adverts are to come from an address that is on one node at a time.

    A node that lacks it would wait for it, and the one that has it for the time when it goes.
    """
    variable, source = _wanted(settings)
    if source is not None and source in settings.virtual_addresses:
        problems.append(
            Problem(
                variable=variable,
                element=str(source),
                reason="it is a virtual address, which moves, and adverts are to come from it on "
                "every node",
                instead="write an address that stays on this node, or leave it out",
            )
        )


def _wanted(settings: Settings) -> tuple[str, IPAddress | None]:
    """Return the variable that names the source of adverts, and its value."""
    if unicast.is_on(settings):
        return UNICAST, settings.unicast_source
    return MULTICAST, settings.multicast_source


def require(
    settings: Settings, facts: HostFacts, families: Collection[Family], interface: str
) -> None:
    """Raise HostNotReadyError while the node lacks an address that adverts are to come from.

    keepalived (2.2.7) goes to FAULT without it and does not look again. Where nothing is sent
    from it, see :func:`reports`.
    """
    variable, source = _wanted(settings)
    if source is None or family_of(source) not in families:
        return
    if source in unicast.own_addresses(settings, facts):
        return
    raise HostNotReadyError(
        Problem(
            variable=variable,
            element=str(source),
            reason="it is not an address of this node, and adverts are to come from it",
            instead="give the node this address if it comes late; if it is another node's, set"
            f" {variable} for each node by itself, or leave it out",
        ),
        source=AwaitedSource(interface=interface, address=str(source)),
    )


def held_by(error: HostNotReadyError, mac: str) -> HostNotReadyError:
    """Return the error of :func:`require` once adverts from the address have come."""
    variable = error.problem.variable
    problem = replace(
        error.problem,
        reason=f"another node has it: adverts from it are heard, sent by {mac}",
        instead=f"set {variable} for each node by itself, or leave it out",
    )
    return HostNotReadyError(problem, source=error.source)


def reports(settings: Settings, facts: HostFacts) -> tuple[str, ...]:
    """Return the reports about a source that the node lacks."""
    own = unicast.own_addresses(settings, facts)
    named: tuple[tuple[str, IPAddress | None], ...] = (
        (UNICAST, settings.unicast_source),
        (MULTICAST, settings.multicast_source),
    )
    return tuple(
        f"{variable}: {source} is not an address of this node"
        for variable, source in named
        if source is not None and source not in own
    )
