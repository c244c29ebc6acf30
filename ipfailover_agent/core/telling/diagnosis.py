"""What is to be said of a network that was listened to for a few seconds, and asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfailover_agent.core.model import family_of
from ipfailover_agent.core.network.packets import Advert, Announcement
from ipfailover_agent.core.rivalry import causes
from ipfailover_agent.core.telling.doctor import failed, passed, warned
from ipfailover_agent.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.network.packets import Packet
    from ipfailover_agent.core.rivalry.rivals import ContestContext
    from ipfailover_agent.core.telling.doctor import Finding

_MULTICAST_ADVICE = (
    "where the network drops multicast, list every node in OPENSHIFT_HA_UNICAST_PEERS, on all "
    "nodes at once: unicast and multicast nodes do not hear each other"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came in.

    Attributes:
        seconds: for how long we listened.
        packets: received ones, our own left out.
        answers: the MACs that answered when asked for an address, this host's left out.
    """

    seconds: float
    packets: tuple[Packet, ...] = ()
    answers: Mapping[IPAddress, frozenset[bytes]]


def of_wire(contexts: Sequence[ContestContext], heard: Heard) -> Iterator[Finding]:
    """Judge the adverts, one finding for each thing that differs."""
    adverts = _newest(heard, contexts)
    seen_ids = {each.virtual_router_id for each in adverts}
    others: dict[tuple[str, str], Finding] = {}
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
                cause = causes.id_clash(advert, context, seen_ids)
                others.setdefault(
                    cause.key,
                    warned("ids", cause.text, "on every node; keepalived logs each such advert"),
                )
    yield from others.values()
    for source, found in sorted(holders.items(), key=lambda each: str(each[0])):
        held = dict.fromkeys(address for advert in found for address in advert.addresses)
        yield passed("holders", f"{source} advertises {listed(held)}")
    if not adverts:
        yield passed("holders", f"no advert of another node in {heard.seconds:g} s")
        if contexts and not any(each.is_unicast for each in contexts):
            yield passed("multicast", f"nothing heard; {_MULTICAST_ADVICE}")


def _newest(heard: Heard, contexts: Sequence[ContestContext]) -> list[Advert]:
    """Return the last advert of each sender and id, those of this host and goodbyes left out."""
    newest: dict[tuple[bytes, int, bool], Advert] = {}
    for each in heard.packets:
        if isinstance(each, Advert) and not any(one.is_own(each.source_mac) for one in contexts):
            newest[each.source_mac, each.virtual_router_id, each.source.version == 4] = each  # noqa: PLR2004
    return [each for each in newest.values() if each.priority]


def of_answers(
    contexts: Sequence[ContestContext], heard: Heard, peers: Sequence[IPAddress] = ()
) -> Iterator[Finding]:
    """Judge who answers for or announces the addresses; ``peers``: those that were asked for."""
    adverts = _newest(heard, contexts)
    known = {mac: peer for peer in peers for mac in heard.answers.get(peer, ())}
    free: list[IPAddress] = []
    for context in contexts:
        for address in (*context.addresses, *context.excluded_addresses):
            macs = set(heard.answers.get(address, frozenset()))
            macs |= {
                each.announced_mac
                for each in heard.packets
                if isinstance(each, Announcement) and each.address == address
            }
            macs -= {mac for mac in macs if context.is_own(mac)}
            entitled = {each.source_mac for each in adverts if context.is_claimed_by(each)}
            if len(macs) > 1:
                names = " and ".join(sorted(map(causes.mac_text, macs)))
                yield failed(
                    "answers",
                    f"{address} is answered by {names}",
                    "two hosts have it: find the one that should not (arp -n on its neighbours)",
                )
            elif macs - entitled:
                (mac,) = macs
                yield _of_mute(address, mac, known.get(mac), context)
            elif not macs:
                free.append(address)
    if free:
        yield passed("answers", f"nobody else answers for {listed(free)}")


def _of_mute(
    address: IPAddress, mac: bytes, peer: IPAddress | None, context: ContestContext
) -> Finding:
    """Judge a host that has an address and sends no adverts here; ``peer``: whose MAC it is."""
    if peer is not None:
        # As for every node that is new: the others do not know it yet, and both would hold it.
        return failed(
            "answers",
            f"{address} is held by the peer {peer}, whose adverts do not get here",
            "it has to list this node too, in OPENSHIFT_HA_UNICAST_PEERS or under its names; or a "
            "firewall drops protocol 112",
        )
    advice = (
        "another host has it, or a proxy or gateway answers for it: choose another address, or "
        "end that"
    )
    return failed(
        "answers",
        f"{address} is answered by {causes.mac_text(mac)}, which advertises nothing",
        advice if context.is_unicast else f"{advice}; if it is another node: {_MULTICAST_ADVICE}",
    )


def of_far_peers(peers: Sequence[IPAddress]) -> Iterator[Finding]:
    """Tell of unicast peers behind a router: nobody answers ARP for them here."""
    if peers:
        yield passed("peers", f"{listed(peers)} on another network, not asked")


def of_peers(
    contexts: Sequence[ContestContext], peers: Sequence[IPAddress], heard: Heard
) -> Iterator[Finding]:
    """Judge unicast peers on the same network; ``peers``: those that were asked for."""
    for peer in peers:
        if heard.answers.get(peer):
            yield passed("peers", f"{peer} answers")
        elif any(each.is_own_address(peer) for each in contexts):
            continue
        else:
            yield warned(
                "peers",
                f"{peer} does not answer ARP or neighbour requests",
                "it is off, or not on this network: correct OPENSHIFT_HA_UNICAST_PEERS if it "
                "never will be",
            )
