"""Judges a network by what came in for a few seconds, and by the answers of its hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from ipfailover_agent.conflict import causes
from ipfailover_agent.doctor.findings import failed, passed, skipped, warned
from ipfailover_agent.model import family_of
from ipfailover_agent.text import listed
from ipfailover_agent.vrrp.packets import Advert, Announcement, Carp

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.doctor.findings import Finding
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.vrrp.packets import Packet

_ELSEWHERE: Final = (
    "another host has it, or a proxy or gateway answers for it: choose another address, or end "
    "that"
)
_SHAKES: Final = "stops the adverts of a master, and its backup takes over every few seconds"
_SHIELDED: Final = (
    f"on every node; until then the agent drops its adverts: without that it {_SHAKES}"
)
_UNSHIELDED: Final = f"on every node; it is not shielded from here ({{}}), and {_SHAKES}"
_ALL_AT_ONCE: Final = "unicast and multicast nodes do not hear each other"


class ReceivedPackets(Struct, frozen=True, kw_only=True):
    """What came in.

    Attributes:
        seconds: for how long.
        packets: received ones, this node's own left out.
        answers: the MACs that answered when asked for an address, this host's left out.
        held: the virtual addresses that this node had all the time.
        neighbours: what the kernel knows of other hosts: addresses by MAC.
    """

    seconds: float
    packets: tuple[Packet, ...] = ()
    answers: Mapping[IPAddress, frozenset[bytes]]
    held: frozenset[IPAddress] = frozenset()
    neighbours: Mapping[bytes, tuple[IPAddress, ...]] = field(default_factory=dict)


def judge_wire(
    contexts: Sequence[ContestContext], heard: ReceivedPackets, shield: str = ""
) -> Iterator[Finding]:
    """Judge the adverts, one finding for each thing that differs.

    ``shield``: why the agent does not drop foreign ones for the same ids; empty where it does.
    """
    adverts = _newest(heard, contexts)
    carps = _carps(heard, contexts)
    seen_ids = {each.virtual_router_id for each in adverts}
    seen_ids |= {each.router_id for each in carps}
    others: dict[tuple[str, str], Finding] = {}
    clashing: dict[IPAddress, list[Advert]] = {}
    holders: dict[IPAddress, list[Advert]] = {}
    for advert in adverts:
        family = family_of(advert.source)  # each family has ids of its own
        is_rival = any(context.is_claimed_by(advert) for context in contexts)
        for context in contexts:
            if context.is_claimed_by(advert):
                cause = causes.difference(advert, context)
                if cause is None:
                    holders.setdefault(advert.source, []).append(advert)
                else:
                    others.setdefault(
                        cause.key, failed("rivals", cause.text, "make the nodes agree")
                    )
            elif (
                not is_rival
                and advert.addresses
                and (advert.virtual_router_id, family)
                == (context.virtual_router_id, family_of(context.source))
            ):
                clashing.setdefault(advert.source, []).append(advert)
    yield from others.values()
    clashes = [
        causes.id_clash(foreign, contexts[0].router_ids, seen_ids)
        for _, foreign in sorted(clashing.items(), key=lambda each: str(each[0]))
    ]
    clashes += _carp_clashes(contexts, carps, seen_ids)
    advice = _UNSHIELDED.format(shield) if shield else _SHIELDED
    for cause in clashes:
        yield warned("ids", cause.text, advice)
    if not others:
        yield passed("rivals", "no other node serves these addresses in another way")
    if not clashes:
        ids = f"; heard: {listed(sorted(seen_ids))}" if seen_ids else ""
        yield passed("ids", f"no id of this node is used for other addresses{ids}")
    for source, found in sorted(holders.items(), key=lambda each: str(each[0])):
        held = dict.fromkeys(address for advert in found for address in advert.addresses)
        yield passed("holders", f"{source} advertises {listed(held)}")
    if not holders:
        which = "that agrees with this node's" if adverts else "of another node"
        yield passed("holders", f"no advert {which} in {heard.seconds:g} s")


def judge_multicast(contexts: Sequence[ContestContext], heard: ReceivedPackets) -> Finding:
    """Judge whether multicast arrives, by another node's advert, or by its absence.

    A host that answers for an address, and whose adverts do not get here, is another node from
    which the network keeps them, or a stranger.
    """
    if any(each.is_unicast for each in contexts):
        return skipped("multicast", "adverts go to peers, one by one")
    senders = {
        str(each.source) for each in _newest(heard, contexts) if each.destination.is_multicast
    }
    if senders:
        return passed("multicast", f"it arrives: adverts of {listed(sorted(senders))}")
    for context in contexts:
        for address in (*context.addresses, *context.excluded_addresses):
            macs = _strangers(address, context, heard)
            if macs:
                names = listed(sorted(map(causes.mac_text, macs)))
                return warned(
                    "multicast",
                    f"no advert arrives, and {address} is held by {names}: if that is another "
                    "node, the network drops multicast",
                    _unicast_advice(contexts, heard, macs),
                )
    return skipped("multicast", "no other node advertises", _unicast_advice(contexts, heard))


def _unicast_advice(
    contexts: Sequence[ContestContext], heard: ReceivedPackets, macs: Collection[bytes] = ()
) -> str:
    """Return what to set where multicast is dropped, with the addresses that are known."""
    others = [each for mac in macs for each in heard.neighbours.get(mac, ())]
    instead = causes.unicast_instead(contexts, others)
    return f"where the network drops multicast, {instead}: {_ALL_AT_ONCE}"


def _newest(heard: ReceivedPackets, contexts: Sequence[ContestContext]) -> list[Advert]:
    """Return the last advert of each sender, id and list, without this host's and priority 0.

    Two programs on one node may send for one id, each its own list.
    They are in the order of ids, whichever came first.
    """
    newest: dict[tuple[object, ...], Advert] = {}
    for each in heard.packets:
        if isinstance(each, Advert) and not any(one.is_own(each.source_mac) for one in contexts):
            newest[each.source_mac, each.virtual_router_id, each.addresses] = each
    order = sorted(newest.values(), key=lambda each: (each.virtual_router_id, str(each.source)))
    return [each for each in order if each.priority]


def _carps(heard: ReceivedPackets, contexts: Sequence[ContestContext]) -> list[Carp]:
    """Return the last advertisement of each CARP device and id, in the order of ids."""
    newest = {
        (each.source, each.router_id): each
        for each in heard.packets
        if isinstance(each, Carp) and not any(one.is_own_address(each.source) for one in contexts)
    }
    return sorted(newest.values(), key=lambda each: (each.router_id, str(each.source)))


def _carp_clashes(
    contexts: Sequence[ContestContext], carps: Sequence[Carp], seen_ids: Collection[int]
) -> list[causes.Cause]:
    """Return a cause for each CARP device with ids of this node, in the family of each."""
    ours = {(each.virtual_router_id, family_of(each.source)) for each in contexts}
    clashing: dict[IPAddress, list[Carp]] = {}
    for each in carps:
        if (each.router_id, family_of(each.source)) in ours:
            clashing.setdefault(each.source, []).append(each)
    return [
        causes.carp_clash(found, contexts[0].router_ids, seen_ids)
        for _, found in sorted(clashing.items(), key=lambda each: str(each[0]))
    ]


def judge_answers(
    contexts: Sequence[ContestContext], heard: ReceivedPackets, peers: Sequence[IPAddress] = ()
) -> Iterator[Finding]:
    """Judge the hosts that answer for or announce the addresses; ``peers`` were asked too."""
    adverts = _newest(heard, contexts)
    known = {mac: peer for peer in peers for mac in heard.answers.get(peer, ())}
    free: list[IPAddress] = []
    is_wrong = False
    for context in contexts:
        for address in (*context.addresses, *context.excluded_addresses):
            macs = _strangers(address, context, heard)
            entitled = {each.source_mac for each in adverts if context.is_claimed_by(each)}
            is_held_here = bool(macs) and address in heard.held
            is_wrong |= is_held_here or len(macs) > 1 or bool(macs - entitled)
            if is_held_here:
                names = " and ".join(sorted(map(causes.mac_text, macs)))
                yield failed(
                    "answers",
                    f"{address} is on this node, and answered by {names}",
                    "two nodes hold it: see `ipfailover-agent status` on both, and rivals above",
                )
            elif len(macs) > 1:
                names = " and ".join(sorted(map(causes.mac_text, macs)))
                yield failed(
                    "answers",
                    f"{address} is answered by {names}",
                    "two hosts have it: find the one that should not (arp -n on its neighbours)",
                )
            elif macs - entitled:
                (mac,) = macs
                advertised = _advertised_by(address, mac, adverts, heard)
                if advertised is None:
                    yield _judge_mute(address, mac, known.get(mac), contexts, heard)
                else:
                    yield _judge_other(address, mac, advertised)
            elif not macs:
                free.append(address)
    if free:
        yield passed("answers", f"no other host answers for {listed(free)}")
    elif not is_wrong:
        yield passed("answers", "only nodes that advertise them answer for the addresses")


def _strangers(address: IPAddress, context: ContestContext, heard: ReceivedPackets) -> set[bytes]:
    """Return the MACs of other hosts that answer for an address, or announce it."""
    macs = set(heard.answers.get(address, frozenset()))
    macs |= {
        each.announced_mac
        for each in heard.packets
        if isinstance(each, Announcement) and each.address == address
    }
    return {mac for mac in macs if not context.is_own(mac)}


def _advertised_by(
    address: IPAddress, mac: bytes, adverts: Sequence[Advert], heard: ReceivedPackets
) -> tuple[IPAddress, ...] | None:
    """Return what a host advertises that has an address; None where no advert of it came."""
    its_own = {address, *heard.neighbours.get(mac, ())}
    found = [each for each in adverts if each.source_mac == mac or each.source in its_own]
    if not found:
        return None
    return tuple(dict.fromkeys(address for each in found for address in each.addresses))


def _judge_other(address: IPAddress, mac: bytes, others: Sequence[IPAddress]) -> Finding:
    """Judge a host that has an address and advertises ``others``: its adverts get here."""
    return failed(
        "answers",
        f"{address} is answered by {causes.mac_text(mac)}, which advertises other addresses "
        f"({listed(others) or 'none are listed'})",
        f"{_ELSEWHERE}; if it is a node of yours, it needs the same list, and no virtual address "
        "may be a node's own",
    )


def _judge_mute(
    address: IPAddress,
    mac: bytes,
    peer: IPAddress | None,
    contexts: Sequence[ContestContext],
    heard: ReceivedPackets,
) -> Finding:
    """Judge a host that has an address and sends no adverts here; ``peer``: the MAC's owner."""
    if peer is not None:
        # As for every node that is new: the others do not know it yet, and both would hold it.
        return failed(
            "answers",
            f"{address} is held by the peer {peer}, whose adverts do not get here",
            "it has to list this node too, in OPENSHIFT_HA_UNICAST_PEERS or under its names; or a "
            "firewall drops protocol 112",
        )
    advice = _ELSEWHERE
    if not any(each.is_unicast for each in contexts):
        advice += f"; if it is another node: {_unicast_advice(contexts, heard, {mac})}"
    return failed(
        "answers",
        f"{address} is answered by {causes.mac_text(mac)}, which advertises nothing",
        advice,
    )


def judge_peers(
    contexts: Sequence[ContestContext],
    near: Sequence[IPAddress],
    far: Sequence[IPAddress],
    heard: ReceivedPackets,
) -> Iterator[Finding]:
    """Judge unicast peers; ``near`` ones were asked for, ``far`` ones are behind a router."""
    others = [each for each in near if not any(one.is_own_address(each) for one in contexts)]
    for peer in others:
        if heard.answers.get(peer):
            yield passed("peers", f"{peer} answers")
        else:
            yield warned(
                "peers",
                f"{peer} does not answer ARP or neighbour requests",
                "it is off, or not on this network: correct OPENSHIFT_HA_UNICAST_PEERS if it "
                "never will be",
            )
    if far:
        yield skipped("peers", f"{listed(far)} on another network", "ask them yourself: ping")
    if not others and not far:
        is_unicast = any(each.is_unicast for each in contexts)
        yield skipped(
            "peers", "no peer beside this node" if is_unicast else "multicast needs none"
        )
