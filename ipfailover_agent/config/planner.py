"""Settings and what is known of the node, made into a keepalived configuration, or refused.

What must be the same on every node (ids, sets of addresses, names, password) depends on Settings
alone. keepalived's own test passes some files that serve nothing or serve an address twice; those
cannot come out of here.
"""

from __future__ import annotations

import math
import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent import model
from ipfailover_agent.config import checks, groups, interfaces, ownership, priority, reach, unicast
from ipfailover_agent.errors import HostNotReadyError, Problem, SettingsError, no_word
from ipfailover_agent.model import Family, family_of, first_of
from ipfailover_agent.text import listed

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.model import HostFacts, Interface, InterfaceAddress, IPAddress, Settings

_ADDRESSES = "OPENSHIFT_HA_VIRTUAL_IPS"
_V2, _V3 = 2, 3  # VRRP: RFC 3768, RFC 5798
_PASSWORD_BYTES = 8  # RFC 2338 section 5.3.10; keepalived warns about more
_GARP_FRAMES_A_SECOND = 10
_GARP_INTERVAL = 0.001  # seconds between two frames of a burst
_WORD = re.compile(r"[A-Za-z0-9._:@+=%,/-]+", re.ASCII)


def plan(settings: Settings, facts: HostFacts) -> model.KeepalivedConfig:
    """Decide what keepalived is to do on this node.

    Raises:
        SettingsError: the variables contradict each other or this node; all problems together.
        HostNotReadyError: the interface or the node's address is not there (yet).
    """
    problems: list[Problem] = []
    grouped = groups.build(settings.virtual_addresses, settings.address_groups)
    served = {family_of(first) for first, *_ in grouped}
    identifiers = groups.virtual_router_ids(settings, grouped, problems)
    peers = unicast.peers(settings, facts, served, problems)
    unicast.refuse_virtual_source(settings, problems)
    try:
        choice = interfaces.choose(settings, facts)
    except HostNotReadyError:
        if problems:
            raise SettingsError(tuple(problems)) from None
        raise
    name = choice.interface.name
    if not _WORD.fullmatch(name):
        problems.append(no_word(interfaces.VARIABLE, name))
    reports = _check_addresses(settings, facts, name, problems)
    if problems:
        raise SettingsError(tuple(problems))
    unicast.check_resolved(settings, facts)
    link_local = served & unicast.link_local_families(settings, peers)
    nodes = _own_addresses(settings, facts, choice.interface, link_local)
    unicast.require_source(settings, facts, served, name)
    node = _Node(
        settings=settings, facts=facts, interface=choice.interface, addresses=nodes, peers=peers
    )
    target = _scoped(nodes[0], name)
    errors: list[str] = []
    unsent: list[str] = []
    track_script = checks.track_script(settings, facts, target, errors)
    notify_command = checks.notify_command(settings, facts.notify_script, unsent)
    return model.KeepalivedConfig(
        config_name=settings.config_name,
        router_id=_scrubbed(settings.config_name),
        interface=name,
        node_addresses=nodes,
        instances=_instances(node, grouped, identifiers),
        track_script=track_script,
        notify_command=notify_command,
        admin_emails=settings.admin_emails,
        smtp_server=settings.smtp_server,
        garp=_garp(settings),
        keepalived_options=settings.keepalived_options,
        port_probes=checks.port_probes(settings, facts, target, track_script),
        address_lease=settings.address_lease,
        conflict=settings.conflict,
        reports=(
            *choice.reports,
            *reports,
            *(f"{_ADDRESSES}: {each}" for each in unicast.unreached(settings, facts, name)),
            *(f"{_ADDRESSES}: {each}" for each in reach.gateways(settings, facts)),
            *unicast.source_reports(settings, facts),
            *_report_family(settings, served, nodes, name),
            *errors,
            *unsent,
        ),
        errors=tuple(errors),
        degraded=(*choice.degraded, *(f"left out: {each}" for each in settings.left_out)),
        named_peers=tuple(
            each for each in facts.resolved_peers or () if each not in settings.unicast_peers
        ),
    )


def _own_addresses(
    settings: Settings, facts: HostFacts, interface: Interface, link_local: Collection[Family]
) -> tuple[IPAddress, ...]:
    """Return this node's own address per family on the VRRP interface.

    Raises:
        HostNotReadyError: there is none (yet).
    """
    nodes = ownership.node_addresses(
        settings.virtual_addresses,
        settings.address_label,
        facts,
        interface.name,
        known_by=[unicast.listed(settings, facts, family) for family in Family],
        link_local=link_local,
    )
    if not nodes:
        reason = f"the interface has no address of this node{_unfit(interface)}"
        instead = "give it one, or name another interface"
        problem = Problem(interfaces.VARIABLE, interface.name, reason, instead)
        raise HostNotReadyError(problem)
    return nodes


def _unfit(interface: Interface) -> str:
    """Return why what is on the interface will not do, as text, or nothing."""
    duplicates = [str(each.address) for each in interface.addresses if each.is_duplicate]
    if duplicates:
        return f": another host has {listed(duplicates)} (duplicate address detection)"
    if any(each.address.is_link_local for each in interface.addresses):
        return (
            "; a link-local one serves only addresses of its family, and only with peers that are "
            "listed by such addresses too"
        )
    return ""


def _scoped(address: IPAddress, interface: str) -> IPAddress:
    """Return an address to connect to: what is link-local with IPv6 needs its interface."""
    if isinstance(address, IPv6Address) and address.is_link_local:
        return IPv6Address(f"{address}%{interface}")
    return address


# --- instances ----------------------------------------------------------------------------------


class _Node(Struct, frozen=True, kw_only=True):
    """What every instance of this node has in common."""

    settings: Settings
    facts: HostFacts
    interface: Interface
    addresses: tuple[IPAddress, ...]
    peers: dict[Family, tuple[IPAddress, ...]]


def _instances(
    node: _Node, grouped: tuple[tuple[IPAddress, ...], ...], identifiers: tuple[int, ...]
) -> tuple[model.VrrpInstance, ...]:
    positions = dict.fromkeys(Family, 0)
    pinned = {identifier for _, identifier in node.settings.pinned_virtual_router_ids}
    instances = []
    for number, (group, identifier) in enumerate(zip(grouped, identifiers, strict=True), start=1):
        family = family_of(group[0])
        place, position = number, positions[family]
        positions[family] += 1
        if identifier in pinned:
            # Else an address removed before it would move its priority, and so perhaps itself.
            place = identifier - node.settings.virtual_router_id_offset
            position = place - 1
        ranked = _priority(node, family, place, position, identifier)
        instances.append(_instance(node, group, number, identifier, ranked))
    return tuple(instances)


def _instance(
    node: _Node, group: tuple[IPAddress, ...], number: int, identifier: int, ranked: int
) -> model.VrrpInstance:
    """Build an instance: ``number`` counts all from 1, ``ranked`` is its priority."""
    settings, family = node.settings, family_of(group[0])
    label = None
    if family is Family.IPV4:
        label = ownership.label_for(node.interface.name, settings.address_label)
    held = tuple(model.VirtualAddress(address=each, label=label) for each in group)
    password = settings.config_name.encode()[:_PASSWORD_BYTES].decode(errors="ignore")
    advertisement = _advertisement(settings, family)
    limit = groups.advertised_limit(family, advertisement.version, node.interface.mtu)
    multicast = None if node.peers else settings.multicast_source
    peers = node.peers.get(family, ())
    if node.peers and not peers:
        peers = (unicast.alone(settings, node.facts, node.addresses, family),)
    return model.VrrpInstance(
        number=number,
        name=f"{_scrubbed(settings.config_name)}_VIP_{number}",
        family=family,
        interface=node.interface.name,
        virtual_router_id=identifier,
        priority=ranked,
        preemption=settings.preemption,
        advertisement=advertisement,
        password=password if advertisement.version == _V2 else None,
        virtual_addresses=held[:limit],
        excluded_addresses=held[limit:],
        multicast_source=first_of(family, (multicast,)),
        unicast_source=unicast.source(settings, node.facts, node.interface, node.addresses, peers),
        unicast_peers=peers,
    )


def _priority(node: _Node, family: Family, number: int, position: int, identifier: int) -> int:
    """Return a priority; ``number`` counts instances from 1, ``position`` a family's from 0."""
    settings = node.settings
    if settings.priority is not None:
        return settings.priority
    known = unicast.candidates(settings, node.facts)
    peers = [each for each in known if family_of(each) is family]
    if not unicast.is_on(settings) or not (peers or settings.unicast_peer_names):
        return priority.among_strangers(node.addresses[0], number)
    # By the address that the other nodes know this one by: all of them must sort the same list.
    listed = unicast.listed(settings, node.facts, family)
    known_by = first_of(family, (listed, settings.unicast_source, *node.addresses))
    address = known_by or node.addresses[0]
    if settings.unicast_peer_names:
        return priority.among_resolved(address, peers, identifier)
    return priority.among_peers(address, peers, position)


def _scrubbed(config_name: str) -> str:
    return config_name.replace(".", "").replace("-", "_")


# --- advertisements -----------------------------------------------------------------------------


def _advertisement(settings: Settings, family: Family) -> model.Advertisement:
    """Return version and interval; IPv6 is version 3 always (RFC 3768 is for IPv4 only)."""
    version = _V3
    if family is Family.IPV4:
        whole = float(settings.advert_interval).is_integer()
        version = settings.vrrp_version or (_V2 if whole else _V3)
    return model.Advertisement(version=version, interval=settings.advert_interval)


def _garp(settings: Settings) -> model.GarpRefresh:
    """Keep refreshes, all addresses of a node together, at 10 frames a second on average.

    keepalived knows one pace for refreshes and takeovers. It is set for takeovers: the last of 254
    addresses is announced within 0.6 s, one of a few within milliseconds (2.2.7).
    """
    refresh = settings.garp_refresh
    if refresh:
        count = len(settings.virtual_addresses)
        refresh = max(refresh, math.ceil(count / _GARP_FRAMES_A_SECOND))
    return model.GarpRefresh(refresh=refresh, interval=_GARP_INTERVAL)


# --- rules across variables and node ------------------------------------------------------------


def _check_addresses(
    settings: Settings, facts: HostFacts, interface: str, problems: list[Problem]
) -> tuple[str, ...]:
    """Find virtual addresses that are on an interface and are no leftovers of the agent."""
    wanted = frozenset(settings.virtual_addresses)
    label = settings.address_label
    reports = []
    for on in filter(ownership.holds_addresses, facts.interfaces):
        for held in on.addresses:
            if held.address not in wanted:
                continue
            match ownership.classify(held, on, wanted, label, facts, interface=interface):
                case ownership.Ownership.NODE:
                    reason = f"this is the node's own address on {on.name}"
                    instead = "choose an address that no node has"
                    problems.append(Problem(_ADDRESSES, str(held.address), reason, instead))
                case ownership.Ownership.FOREIGN if on.name == interface:
                    problems.append(_has_other_prefix(held, on.name))
                case ownership.Ownership.FOREIGN:
                    reports.append(
                        f"{_ADDRESSES}: {held.address} is on {on.name} of this node too and is "
                        "left there: nothing marks it as this agent's"
                    )
                case _ if not ownership.is_marked(held, on.name, label, facts):
                    reports.append(
                        f"{_ADDRESSES}: {held.address} is on {on.name} already, and nothing marks "
                        "it as this agent's: a reload that adds it leaves it there until a node "
                        "is MASTER of it; a start removes it, and until a node is MASTER no node "
                        "serves it"
                    )
                case _:
                    pass  # a leftover of a former run
    return tuple(reports)


def _has_other_prefix(held: InterfaceAddress, interface: str) -> Problem:
    text = f"{held.address}/{held.prefix_length}"
    host = family_of(held.address).host_prefix_length
    reason = f"it is on {interface} already as {text}, and this agent sets it as /{host} only"
    instead = f"leave it out, or remove it with: ip address del {text} dev {interface}"
    return Problem(_ADDRESSES, str(held.address), reason, instead)


def _report_family(
    settings: Settings, served: set[Family], nodes: tuple[IPAddress, ...], interface: str
) -> tuple[str, ...]:
    # IPv6 instances advertise from the link-local address, which every interface has.
    given = settings.unicast_source if unicast.is_on(settings) else settings.multicast_source
    # With a source that is given keepalived (2.2.7) asks for no other address.
    if Family.IPV4 not in served or first_of(Family.IPV4, (*nodes, given)):
        return ()
    return (
        f"{interface} has no IPv4 address of this node: IPv4 instances stay in FAULT without one",
    )
