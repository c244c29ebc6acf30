"""Judges a network by what came in for a few seconds, and by the answers of its hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import Struct, field

from ipfailover_agent.conflict import causes
from ipfailover_agent.doctor.findings import failed, passed, skipped, warned
from ipfailover_agent.model import family_of
from ipfailover_agent.text import listed
from ipfailover_agent.vrrp.packets import Advert, Announcement, Carp

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.doctor.findings import Finding
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.vrrp.packets import Packet

_Sent = TypeVar("_Sent", Advert, Carp)

_ELSEWHERE: Final = (
    "another host has it, or a proxy or gateway answers for it: choose another address, or end "
    "that"
)
_SHAKES: Final = "stops the adverts of a master, and its backup takes over every few seconds"
_SHIELDED: Final = (
    f"on every node; until then the agent drops its adverts: without that it {_SHAKES}"
)
_UNSHIELDED: Final = f"on every node; it is not shielded from here ({{}}), and {_SHAKES}"


class ObservedNetwork(Struct, frozen=True, kw_only=True):
    """What came in, and for which instances.

    Attributes:
        contexts: what the instances of this node are to others.
        near: unicast peers on the interface's own networks, which were asked for too.
        far: unicast peers behind a router.
        seconds: for how long it was listened.
        packets: received ones, this node's own left out.
        answers: the MACs that answered when asked for an address, this host's left out.
        held: the virtual addresses that this node had all the time.
        neighbours: what the kernel knows of other hosts: addresses by MAC.
    """

    contexts: Sequence[ContestContext]
    near: Sequence[IPAddress] = ()
    far: Sequence[IPAddress] = ()
    seconds: float
    packets: tuple[Packet, ...] = ()
    answers: Mapping[IPAddress, frozenset[bytes]]
    held: frozenset[IPAddress] = frozenset()
    neighbours: Mapping[bytes, tuple[IPAddress, ...]] = field(default_factory=dict)

    @property
    def is_unicast(self) -> bool:
        """Return whether adverts go to peers."""
        return any(each.is_unicast for each in self.contexts)

    def served(self) -> Iterator[tuple[ContestContext, IPAddress]]:
        """Yield every virtual address after its instance's context."""
        for context in self.contexts:
            for address in (*context.addresses, *context.excluded_addresses):
                yield context, address

    def adverts(self) -> list[Advert]:
        """Return the last advert of each sender, id and list, without this host's and priority 0.

        Two programs on one node may send for one id, each its own list.
        They are in the order of ids, whichever came first.
        """
        newest: dict[tuple[object, ...], Advert] = {}
        for each in self.packets:
            if isinstance(each, Advert) and not self._is_own(each.source_mac):
                newest[each.source_mac, each.virtual_router_id, each.addresses] = each
        order = sorted(
            newest.values(), key=lambda each: (each.virtual_router_id, str(each.source))
        )
        return [each for each in order if each.priority]

    def carps(self) -> list[Carp]:
        """Return the last advertisement of each CARP device and id, in the order of ids."""
        newest = {
            (each.source, each.router_id): each
            for each in self.packets
            if isinstance(each, Carp) and not self.is_own_address(each.source)
        }
        return sorted(newest.values(), key=lambda each: (each.router_id, str(each.source)))

    def strangers(self, address: IPAddress) -> set[bytes]:
        """Return the MACs of other hosts that answer for an address, or announce it."""
        macs = set(self.answers.get(address, ()))
        macs |= {
            each.announced_mac
            for each in self.packets
            if isinstance(each, Announcement) and each.address == address
        }
        return {mac for mac in macs if not self._is_own(mac)}

    def is_own_address(self, address: IPAddress) -> bool:
        """Return whether an address is this node's own."""
        return any(each.is_own_address(address) for each in self.contexts)

    def _is_own(self, mac: bytes) -> bool:
        return any(each.is_own(mac) for each in self.contexts)


def judge_wire(network: ObservedNetwork, shield: str = "") -> Iterator[Finding]:
    """Judge the adverts, one finding for each thing that differs.

    ``shield``: why the agent does not drop foreign ones for the same ids; empty where it does.
    """
    contexts, adverts, carps = network.contexts, network.adverts(), network.carps()
    seen_ids = {each.virtual_router_id for each in adverts} | {each.router_id for each in carps}
    # each family has ids of its own
    ours = {(each.virtual_router_id, family_of(each.source)) for each in contexts}
    others: dict[tuple[str, str], Finding] = {}
    clashing: list[Advert] = []
    agreeing: list[Advert] = []
    for advert in adverts:
        claimed = [each for each in contexts if each.is_claimed_by(advert)]
        for context in claimed:
            cause = causes.difference(advert, context)
            if cause is None:
                agreeing.append(advert)
            else:
                found = failed("rivals", cause.text, "make the nodes agree")
                others.setdefault(cause.key, found)
        is_ours = (advert.virtual_router_id, family_of(advert.source)) in ours
        if is_ours and advert.addresses and not claimed:
            clashing.append(advert)
    yield from others.values()
    needed = contexts[0].router_ids if contexts else 0
    clashes = [causes.id_clash(each, needed, seen_ids) for each in _by_source(clashing)]
    same_ids = (each for each in carps if (each.router_id, family_of(each.source)) in ours)
    clashes += [causes.carp_clash(each, needed, seen_ids) for each in _by_source(same_ids)]
    advice = _UNSHIELDED.format(shield) if shield else _SHIELDED
    for cause in clashes:
        yield warned("ids", cause.text, advice)
    if not others:
        yield passed("rivals", "no other node serves these addresses in another way")
    if not clashes:
        ids = f"; heard: {listed(sorted(seen_ids))}" if seen_ids else ""
        yield passed("ids", f"no id of this node is used for other addresses{ids}")
    for group in _by_source(agreeing):
        held = dict.fromkeys(address for advert in group for address in advert.addresses)
        yield passed("holders", f"{group[0].source} advertises {listed(held)}")
    if not agreeing:
        which = "that agrees with this node's" if adverts else "of another node"
        yield passed("holders", f"no advert {which} in {network.seconds:g} s")


def _by_source(packets: Iterable[_Sent]) -> list[list[_Sent]]:
    """Return the packets of each sender, in the order of the senders' addresses as text."""
    groups: dict[str, list[_Sent]] = {}
    for each in packets:
        groups.setdefault(str(each.source), []).append(each)
    return [groups[source] for source in sorted(groups)]


def judge_multicast(network: ObservedNetwork) -> Finding:
    """Judge whether multicast arrives, by another node's advert, or by its absence.

    A host that answers for an address, and whose adverts do not get here, is another node from
    which the network keeps them, or a stranger.
    """
    if network.is_unicast:
        return skipped("multicast", "adverts go to peers, one by one")
    senders = {str(each.source) for each in network.adverts() if each.destination.is_multicast}
    if senders:
        return passed("multicast", f"it arrives: adverts of {listed(sorted(senders))}")
    for _, address in network.served():
        if macs := network.strangers(address):
            names = listed(sorted(map(causes.mac_text, macs)))
            text = (
                f"no advert arrives, and {address} is held by {names}: if that is another node, "
                "the network drops multicast"
            )
            return warned("multicast", text, _unicast_advice(network, macs))
    return skipped("multicast", "no other node advertises", _unicast_advice(network))


def _unicast_advice(network: ObservedNetwork, macs: Collection[bytes] = ()) -> str:
    """Return what to set where multicast is dropped, with the addresses that are known."""
    others = [each for mac in macs for each in network.neighbours.get(mac, ())]
    instead = causes.unicast_instead(network.contexts, others)
    why = "unicast and multicast nodes do not hear each other"
    return f"where the network drops multicast, {instead}: {why}"


def judge_answers(network: ObservedNetwork) -> Iterator[Finding]:
    """Judge the hosts that answer for or announce the addresses."""
    adverts = network.adverts()
    free: list[IPAddress] = []
    is_fine = True
    for context, address in network.served():
        macs = network.strangers(address)
        claiming = {each.source_mac for each in adverts if context.is_claimed_by(each)}
        if not macs:
            free.append(address)
        elif address in network.held or len(macs) > 1 or macs - claiming:
            is_fine = False
            yield _judge_holders(network, adverts, address, macs)
    if free:
        yield passed("answers", f"no other host answers for {listed(free)}")
    elif is_fine:
        yield passed("answers", "only nodes that advertise them answer for the addresses")


def _judge_holders(
    network: ObservedNetwork, adverts: Sequence[Advert], address: IPAddress, macs: set[bytes]
) -> Finding:
    """Judge hosts of which one at least should not have an address."""
    names = " and ".join(sorted(map(causes.mac_text, macs)))
    if address in network.held:
        text = f"{address} is on this node, and answered by {names}"
        advice = "two nodes hold it: see `ipfailover-agent status` on both, and rivals above"
        return failed("answers", text, advice)
    text = f"{address} is answered by {names}"
    if len(macs) > 1:
        advice = "two hosts have it: find the one that should not (arp -n on its neighbours)"
        return failed("answers", text, advice)
    (mac,) = macs
    its_own = {address, *network.neighbours.get(mac, ())}
    sent = [each for each in adverts if each.source_mac == mac or each.source in its_own]
    if sent:  # its adverts get here
        others = listed(dict.fromkeys(each for advert in sent for each in advert.addresses))
        text += f", which advertises other addresses ({others or 'none are listed'})"
        advice = (
            f"{_ELSEWHERE}; if it is a node of yours, it needs the same list, and no virtual "
            "address may be a node's own"
        )
        return failed("answers", text, advice)
    peers = [each for each in network.near if mac in network.answers.get(each, ())]
    if peers:
        # As for every node that is new: the others do not know it yet, and both would hold it.
        text = f"{address} is held by the peer {peers[-1]}, whose adverts do not get here"
        advice = (
            "it has to list this node too, in OPENSHIFT_HA_UNICAST_PEERS or under its names; or a "
            "firewall drops protocol 112"
        )
        return failed("answers", text, advice)
    advice = _ELSEWHERE
    if not network.is_unicast:
        advice += f"; if it is another node: {_unicast_advice(network, macs)}"
    return failed("answers", f"{text}, which advertises nothing", advice)


def judge_peers(network: ObservedNetwork) -> Iterator[Finding]:
    """Judge unicast peers: those that were asked for, and those behind a router."""
    others = [each for each in network.near if not network.is_own_address(each)]
    for peer in others:
        if network.answers.get(peer):
            yield passed("peers", f"{peer} answers")
        else:
            yield warned(
                "peers",
                f"{peer} does not answer ARP or neighbour requests",
                "it is off, or not on this network: correct OPENSHIFT_HA_UNICAST_PEERS if it "
                "never will be",
            )
    if network.far:
        advice = "ask them yourself: ping"
        yield skipped("peers", f"{listed(network.far)} on another network", advice)
    if not others and not network.far:
        why = "no peer beside this node" if network.is_unicast else "multicast needs none"
        yield skipped("peers", why)
