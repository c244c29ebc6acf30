"""What keepalived stands on: its interface, and the addresses that it sends from.

:func:`looked` is pure: looks at the node -> start keepalived anew, or not. An interface that was
deleted and made again under its name is another one, with another index: keepalived (2.2.7 to
2.4.3) makes its unicast sockets before the address is there and never again, and sends IPv6
multicast through the index that is gone. A source address that a variable names and that goes
away makes it send what nothing can answer. An interface that becomes the port of a bridge or bond
still sends, so that no other node takes over, and nothing that clients send arrives there. When it
leaves the bridge, keepalived (2.2.7) takes that for its end, and has lost its unicast sockets.
Where no variable names a source, keepalived (2.2.7) sends from the interface's present address,
and goes on receiving unicast adverts at the one that was there when it opened its sockets.

Times are monotonic seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.model import Family, family_of
from ipfailover_agent.text import listed, taken_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.model import InterfaceAddress, IPAddress, KeepalivedConfig, Settings


SETTLE: Final = 1.7
"""Seconds from the moment at which another interface can be served on to a restart: in it
keepalived may show that it serves there already."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks while something is awaited; the kernel's notices come first."""

SETTLE_EVERY: Final = 0.25
"""Likewise while it settles: keepalived is asked each time, and adverts come every second."""

_STAYS: Final = "every instance stays in FAULT meanwhile"


class LinkFacts(Struct, frozen=True, kw_only=True):
    """The node at one moment.

    Attributes:
        index: of the interface, None while there is none of its name.
        is_running: it is up and has a carrier.
        port_of: the device that takes every frame that comes in on it, or nothing.
        usable: addresses on it that can be sent from, the virtual ones left out.
        elsewhere: source addresses that other interfaces have.
        present: all of these, and those that duplicate address detection has not passed yet.
        held: what is on the interface, in the kernel's order.
    """

    index: int | None = None
    is_running: bool = False
    port_of: str = ""
    usable: frozenset[IPAddress] = frozenset()
    elsewhere: frozenset[IPAddress] = frozenset()
    present: frozenset[IPAddress] = frozenset()
    held: tuple[InterfaceAddress, ...] = ()


class SourceNeed(Struct, frozen=True, kw_only=True):
    """What instances send from: ``source``, or any address of the family that will do."""

    family: Family
    source: IPAddress | None = None


class ServedLink(Struct, frozen=True, kw_only=True):
    """What is remembered of the ground of the keepalived that runs.

    Attributes:
        index: of the interface that it was started on, or was seen to serve on.
        candidate_index: of an interface that can be served on: another one, or the same once a
            lost source is back, or once it is no port any more. None while there is none.
        ready_at: since when the candidate can be served on.
        lost: the sources that went away while it ran.
        port_of: the device of which the interface became a port while it ran, or nothing.
        opened_with: what was on the interface when it opened its sockets, in the kernel's order;
            None until that was looked at.
    """

    index: int | None = None
    candidate_index: int | None = None
    ready_at: float | None = None
    lost: frozenset[IPAddress] = frozenset()
    port_of: str = ""
    opened_with: tuple[InterfaceAddress, ...] | None = None


class Ground(Struct, frozen=True, kw_only=True):
    """What a configuration needs of the node.

    Attributes:
        interface: its name.
        needs: what instances send from.
        sources: addresses that variables name and some instance sends from.
        virtual: the virtual addresses, which are no part of it.
        choosing: the families for which keepalived chooses where it receives unicast adverts.
    """

    interface: str = ""
    needs: frozenset[SourceNeed] = frozenset()
    sources: frozenset[IPAddress] = frozenset()
    virtual: frozenset[IPAddress] = frozenset()
    choosing: frozenset[Family] = frozenset()


def ground_of(settings: Settings, config: KeepalivedConfig) -> Ground:
    """Return what the configuration needs of the node, the plan of ``settings``."""
    sends_from = {(each.family, each.named_source) for each in config.instances}
    used = {source for _, source in sends_from}
    named = (settings.unicast_source, settings.multicast_source)
    return Ground(
        interface=config.interface,
        needs=frozenset(SourceNeed(family=family, source=source) for family, source in sends_from),
        sources=frozenset(each for each in named if each is not None and each in used),
        virtual=frozenset(config.addresses),
        choosing=frozenset(
            each.family
            for each in config.instances
            if each.unicast_peers and each.unicast_source is None
        ),
    )


def _chosen(ground: Ground, held: Iterable[InterfaceAddress]) -> dict[Family, IPAddress]:
    """Return where a keepalived that starts receives unicast adverts by its own choice.

    Of what the interface holds that is the first address, for IPv6 the link-local one. An IPv4
    address without a network is left out: it may be a virtual one, of another agent.
    """
    found: dict[Family, IPAddress] = {}
    for each in held:
        family = family_of(each.address)
        has_network = each.prefix_length < family.host_prefix_length
        will_do = each.address.is_link_local if family is Family.IPV6 else has_network
        if will_do and family in ground.choosing:
            found.setdefault(family, each.address)
    return found


def looked(
    state: ServedLink, ground: Ground, facts: LinkFacts, now: float, *, works: bool
) -> tuple[ServedLink, str]:
    """Return the state after a look, and why to start keepalived anew, or nothing.

    ``works``: every instance has been seen to serve, or to stand by, since ``state.ready_at``.
    """
    if facts.index is None:
        return replace(state, candidate_index=None, ready_at=None), ""
    lost = (state.lost | (ground.sources - facts.present)) & ground.sources
    state = replace(state, lost=lost, port_of=facts.port_of or state.port_of)
    is_new = bool(ground.choosing) and state.opened_with is None
    if is_new and _chosen(ground, facts.held).keys() == ground.choosing:
        state = replace(state, opened_with=facts.held)
    is_other = facts.index != state.index
    left = _left(state, ground, facts)
    is_served = not is_other and not lost and not state.port_of and not left
    if is_served or lacking(ground.needs, facts):
        return replace(state, candidate_index=None, ready_at=None), ""
    if state.ready_at is None or state.candidate_index != facts.index:
        state = replace(state, candidate_index=facts.index, ready_at=now)
    if lost:
        back = " and ".join(map(str, sorted(lost, key=int)))
        return state, f"the source address {back} is on this node again"
    if state.port_of:
        return state, f"{ground.interface} is no port of {state.port_of} any more"
    if left and not is_other:
        where = " and ".join(map(str, left))
        return state, f"keepalived receives adverts at {where}, which is no longer on this node"
    if works:
        return ServedLink(index=facts.index), ""
    if state.ready_at is not None and now - state.ready_at < SETTLE:
        return state, ""
    return state, f"{ground.interface} is another interface now{_was(state.index, facts.index)}"


def is_waiting(state: ServedLink, ground: Ground, facts: LinkFacts) -> bool:
    """Return whether something is awaited, so that looks have to follow each other."""
    if state.lost or state.port_of or _left(state, ground, facts):
        return True
    return facts.index is not None and facts.index != state.index


def _left(state: ServedLink, ground: Ground, facts: LinkFacts) -> tuple[IPAddress, ...]:
    """Return where keepalived receives adverts though the node has another address instead.

    Where there is none that was not there before, the address may come back, and keepalived hears
    again.
    """
    before = state.opened_with or ()
    known = {each.address for each in before}
    instead = _chosen(ground, (each for each in facts.held if each.address not in known))
    return tuple(
        address
        for family, address in _chosen(ground, before).items()
        if address not in facts.present and family in instead
    )


def troubles(state: ServedLink, ground: Ground, facts: LinkFacts) -> tuple[str, ...]:
    """Return in sentences why the node is not ready, as far as its ground goes."""
    found = [f"{why_held(state, ground.interface)}: {_STAYS}"] if state.port_of else []
    found += [
        f"{each} is no longer an address of this node, and adverts are to come from it: what sends"
        " from it stays in FAULT until it is back"
        for each in sorted(state.lost - facts.present, key=int)
    ]
    index = facts.index
    if index is not None and index != state.index:
        missing = lacking(ground.needs, facts)
        until = f", once {missing[0]}" if missing else ""
        found.append(
            f"{ground.interface} is another interface now{_was(state.index, index)}: keepalived is"
            f" started anew{until}"
        )
    return tuple(found)


def _was(before: int | None, now: int) -> str:
    return f" (index {now})" if before is None else f" (index {now}, it was {before})"


def lacking(needs: Iterable[SourceNeed], facts: LinkFacts) -> tuple[str, ...]:
    """Return what has to come before keepalived can serve, to be read after "once"."""
    if not facts.is_running:
        return ("the interface is up and has a carrier",)
    if facts.port_of:
        return (f"the interface is no port of {facts.port_of} any more",)
    return tuple(
        _in_words(each)
        for each in sorted(needs, key=lambda each: (each.family, str(each.source or "")))
        if not _is_met(each, facts)
    )


def _is_met(need: SourceNeed, facts: LinkFacts) -> bool:
    if need.source is not None:
        return need.source in facts.usable or need.source in facts.elsewhere
    # IPv6 adverts come from a link-local address
    return any(
        family_of(each) is need.family and (need.family is Family.IPV4 or each.is_link_local)
        for each in facts.usable
    )


def _in_words(need: SourceNeed) -> str:
    if need.source is not None:
        return f"{need.source} is on this node and can be used"
    kind = "a link-local" if need.family is Family.IPV6 else "an IPv4"
    return f"the interface has {kind} address that can be used"


def held(config: KeepalivedConfig, state: ServedLink) -> frozenset[str]:
    """Return the names of the instances to be kept in FAULT, for the reason of :func:`why_held`.

    Another node takes over what it can serve, and this one cannot.
    """
    return frozenset(
        each.name for each in config.instances if state.port_of or each.named_source in state.lost
    )


def why_held(state: ServedLink, interface: str) -> str:
    """Return why instances are kept in FAULT."""
    if state.port_of:
        return taken_by(interface, state.port_of)
    lost = sorted(state.lost, key=int)
    return f"the source address {listed(lost)} is no longer on this node"
