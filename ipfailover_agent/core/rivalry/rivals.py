"""What an instance is to other nodes, and what was seen of a rival that claims its addresses.

keepalived's behaviour as in 2.2.7 (vrrp.c: vrrp_check_packet, vrrp_state_master_rx).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from ipfailover_agent.core.network import timers
from ipfailover_agent.core.text import shown_without

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.network.packets import Advert

_HOP_LIMIT: Final = 255  # RFC 5798 sections 5.1.1.3 and 5.1.2.3: a router would have lowered it
_IPV6: Final = 6


def is_from_segment(advert: Advert, peers: Collection[IPAddress] = ()) -> bool:
    """Return whether an advert was sent on this segment, as far as its hop limit shows.

    Protocol 112 is routed as any other, to a node's own address. A node behind a router can hold
    no address here, and must make no instance yield. For the ``peers``, with IPv6, the hop limit
    shows nothing: unless it has ``unicast_ttl``, keepalived 2.2.7 sends with that of the
    interface, 64 or what the last router advertisement set.
    """
    if advert.ttl == _HOP_LIMIT:
        return True
    is_unicast = not advert.destination.is_multicast
    return advert.source.version == _IPV6 and is_unicast and advert.source in peers


class ContestContext(Struct, frozen=True, kw_only=True):
    """What an instance of this node is to other nodes. Replaced as a whole on a reload.

    Attributes:
        addresses: those that its adverts list; ``excluded_addresses`` it holds besides.
        source: the node's address that its adverts come from; it ranks equal priorities.
        node_addresses: all addresses of this node itself, in the instance's family.
        mac: of the interface that announces; ``host_macs`` are all MACs of this host.
        advert_interval: seconds.
        password: as ``Advert.password``; None for no authentication.
        unicast_peers: the nodes that its adverts go to; none with multicast.
        announce_interval: seconds that one round of announcing all addresses of this node takes
            at the permitted rate; no delay between announcements is shorter. Nodes of one
            configuration must agree on it: the loser of a contest counts with it.
        router_ids: how many ids the whole configuration needs, for suggesting a free offset.
        is_resolving: False only reports (OPENSHIFT_HA_CONFLICT=report).
        served: all of its addresses; made of the others.
    """

    addresses: tuple[IPAddress, ...]
    excluded_addresses: tuple[IPAddress, ...] = ()
    virtual_router_id: int
    priority: int
    source: IPAddress
    node_addresses: frozenset[IPAddress] = frozenset()
    mac: bytes
    host_macs: frozenset[bytes] = frozenset()
    version: int = 2
    advert_interval: float = 1.0
    password: bytes | None = None
    unicast_peers: frozenset[IPAddress] = frozenset()
    announce_interval: float = 0.1
    router_ids: int = 1
    is_resolving: bool = True
    served: frozenset[IPAddress] = frozenset()

    def __post_init__(self) -> None:
        # An advert may list 255 addresses and comes every second.
        served = frozenset(self.addresses + self.excluded_addresses)
        force_setattr(self, "served", served)

    def __repr__(self) -> str:
        return shown_without(self, "password")

    @property
    def is_unicast(self) -> bool:
        """Return whether its adverts go to peers."""
        return bool(self.unicast_peers)

    @property
    def skew_time(self) -> float:
        """Return the Skew_Time of this instance, in seconds."""
        return timers.skew_time(self.priority, self.version, self.advert_interval)

    @property
    def master_down_interval(self) -> float:
        """Return the Master_Down_Interval of this instance, in seconds."""
        return timers.master_down_interval(self.priority, self.version, self.advert_interval)

    def master_down_interval_for(self, advert: Advert) -> float:
        """Return the seconds without an advert after which the sender of ``advert`` is gone.

        A rival may advertise more slowly than this instance; then its own interval counts.
        """
        return timers.MISSED_ADVERTS * max(self.advert_interval, advert.interval) + self.skew_time

    def is_own(self, mac: bytes) -> bool:
        """Return whether a MAC is one of this host, whichever interface it belongs to."""
        return mac == self.mac or mac in self.host_macs

    def differs_by_the_node(self, other: ContestContext) -> bool:
        """Return whether ``other`` differs only in what surrounds the instance.

        MACs and addresses of this host, and the number of further instances, change nothing about
        how the instance and other nodes judge each other's adverts. An address that a reload
        removes counts as the node's own until a moment later.
        """
        surrounded = replace(
            other,
            mac=self.mac,
            host_macs=self.host_macs,
            node_addresses=self.node_addresses,
            announce_interval=self.announce_interval,
            router_ids=self.router_ids,
        )
        return self != other and self == surrounded

    def is_own_advert(self, advert: Advert) -> bool:
        """Return whether an advert comes from this host, by its MAC or its source."""
        return self.is_own(advert.source_mac) or self.is_own_address(advert.source)

    def is_own_address(self, address: IPAddress) -> bool:
        """Return whether an address is one of this node itself."""
        return address == self.source or address in self.node_addresses

    def holds(self, address: IPAddress) -> bool:
        """Return whether this instance serves ``address``."""
        return address in self.served

    def shares(self, other: ContestContext) -> bool:
        """Return whether both serve one of the same addresses."""
        return not self.served.isdisjoint(other.served)

    def is_claimed_by(self, advert: Advert) -> bool:
        """Return whether an advert lists at least one address that this instance serves."""
        return not self.served.isdisjoint(advert.addresses)

    def ranks_below(self, advert: Advert) -> bool:
        """Return whether VRRP ranks the advert's sender higher: priority, then address.

        Addresses compare as numbers in network byte order (RFC 5798 section 6.4.3). Equal ones
        cannot be: what comes from an address of this node is no rival.
        """
        return (advert.priority, int(advert.source)) > (self.priority, int(self.source))


class Rival(Struct, frozen=True, kw_only=True):
    """What was seen of one MAC that claims addresses of this instance, in monotonic seconds.

    Its adverts are remembered per router id, since a node with other groups advertises the same
    addresses under several ids, and its announcements apart from them.

    Attributes:
        router_id: of its adverts; None where this is about its announcements.
        first_seen: its first sign of life of the present, continuous sighting.
        advert: its newest advert; ``advert_at`` when, None once it has left or never sent VRRP.
        announced_at: when it last announced such an address, ``address`` which one.
        disputed_at: when it first announced the address while none of its adverts came.
        challenged_at: its first advert since this instance became MASTER.
        answered_at: when an advert of a higher rank first asked it to step down: one of this
            instance that left after ``challenged_at``, or, while BACKUP, another rival's.
        defied_at: when it last went on advertising all the same, the higher rank still there.
        contact_at: its first announcement since this instance became MASTER, without adverts.
        stage: how far the contest has come since, see ``timing.yields``; 0 until it announces
            again.
        lapses: how often it announced anew after a silence in which a node that receives this
            node's announcements would not have been silent.
        left_at: when it last sent priority 0.
        disclaimed_at: when an advert of it for the same id last listed none of these addresses.
        is_reported: the agent has reported that it advertises beside this instance.
    """

    mac: bytes
    router_id: int | None = None
    first_seen: float
    advert: Advert | None = None
    advert_at: float | None = None
    announced_at: float | None = None
    address: IPAddress | None = None
    disputed_at: float | None = None
    challenged_at: float | None = None
    answered_at: float | None = None
    defied_at: float | None = None
    contact_at: float | None = None
    stage: int = 0
    lapses: int = 0
    left_at: float | None = None
    disclaimed_at: float | None = None
    is_reported: bool = False

    @property
    def has_disclaimed(self) -> bool:
        """Return whether its newest advert for the id lists none of this instance's addresses."""
        return self.disclaimed_at is not None and self.disclaimed_at >= (self.advert_at or 0.0)

    @property
    def last_seen(self) -> float:
        """Return when it last gave any sign of life."""
        return max(self.advert_at or self.first_seen, self.announced_at or self.first_seen)

    @property
    def rank(self) -> tuple[int, int]:
        """Return what VRRP ranks its newest advert by, below all others without one."""
        return (0, 0) if self.advert is None else (self.advert.priority, int(self.advert.source))

    def advertises(self, context: ContestContext, now: float) -> bool:
        """Return whether its adverts are recent: one came within the master-down interval."""
        silent_at = self.silent_at(context)
        return silent_at is not None and now < silent_at

    def silent_at(self, context: ContestContext) -> float | None:
        """Return when its adverts count as ended unless another one comes; None without any."""
        if self.advert is None or self.advert_at is None:
            return None
        return self.advert_at + context.master_down_interval_for(self.advert)

    def claims_elsewhere(self, context: ContestContext, now: float) -> bool:
        """Return whether recent adverts of it list this instance's addresses under another id."""
        is_elsewhere = self.router_id not in {None, context.virtual_router_id}
        return is_elsewhere and self.advertises(context, now)

    def outranks(self, context: ContestContext) -> bool:
        """Return whether its newest advert ranks above this instance."""
        return self.advert is not None and context.ranks_below(self.advert)

    def sighted(self, now: float, memory: float) -> Rival:
        """Return it as seen again; after ``memory`` silent seconds, as for the first time."""
        if now - self.last_seen <= memory:
            return self
        return Rival(mac=self.mac, router_id=self.router_id, first_seen=now, advert=self.advert)

    def forgiven(self) -> Rival:
        """Return it as it is to an instance that is not, or has just become, MASTER."""
        if self.challenged_at is None and self.contact_at is None and self.answered_at is None:
            return self
        return replace(
            self,
            challenged_at=None,
            answered_at=None,
            contact_at=None,
            stage=0,
            lapses=0,
            is_reported=False,
        )

    def lapsed(self) -> Rival:
        """Return it as seen again after a silence: the contest between the two begins anew."""
        return replace(
            self,
            disputed_at=None,
            contact_at=None,
            stage=0,
            lapses=self.lapses + (self.contact_at is not None),
        )

    def shifted(self, gap: float, now: float) -> Rival:
        """Return it as if the last ``gap`` seconds, unobserved by the agent, had not been."""

        def later(moment: float | None) -> float | None:
            return None if moment is None else min(now, moment + gap)

        return replace(
            self,
            first_seen=min(now, self.first_seen + gap),
            advert_at=later(self.advert_at),
            announced_at=later(self.announced_at),
            challenged_at=None if self.challenged_at is None else now,
            disputed_at=None,
            answered_at=None,
            defied_at=None,
            contact_at=None,
            stage=0,
            lapses=0,
        )


def is_alike(one: Advert | None, other: Advert) -> bool:
    """Return whether keepalived treats two adverts alike, ranks aside."""
    return one is not None and _treated_by(one) == _treated_by(other)


def _treated_by(advert: Advert) -> tuple[object, ...]:
    return (
        advert.virtual_router_id,
        advert.version,
        advert.interval,
        advert.authentication,
        advert.password,
        advert.addresses,
        advert.destination,
    )
