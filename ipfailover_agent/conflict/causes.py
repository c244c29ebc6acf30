"""Why a rival is there, as sentences: what was seen, and what the operator can do about it."""

from __future__ import annotations

import enum
import itertools
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.model import Family, family_of
from ipfailover_agent.text import listed
from ipfailover_agent.vrrp.packets import HOP_LIMIT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.keepalived.dump import VrrpStatistics
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.vrrp.packets import Advert, Carp

_SECONDS_VERSION: Final = 2
_PASSWORD_AUTHENTICATION: Final = 1
_HIGHEST_ID: Final = 255
_OTHER_NAME: Final = "other password (first 8 bytes of OPENSHIFT_HA_CONFIG_NAME)"


class CauseKind(enum.Enum):
    """Kinds of causes; the values are shown to operators and label metrics."""

    FIREWALL = "firewall"  # adverts arrive and keepalived never sees them
    PASSWORD = "password"  # noqa: S105 - the name of a cause, not a secret
    ADDRESSES = "addresses"
    VERSION = "version"
    CAST = "cast"  # unicast against multicast
    INTERVAL = "interval"
    ROUTER_ID = "router id"  # the same addresses under another id
    PACKET = "packet"  # hop limit or checksum: something on the way changes adverts
    REFUSED = "refused"  # keepalived counts an error that the packet does not explain
    UNHEARD = "unheard"  # a lower rank goes on: it gets no adverts of this node
    STRANGER = "stranger"  # announces, sends no VRRP
    SILENCED = "silenced"  # announces, and its adverts have ceased to arrive
    ID_CLASH = "id clash"  # the same id for other addresses: no rival
    OWN_ECHO = "own echo"  # what this node sent itself: no rival


class Cause(Struct, frozen=True):
    """One cause.

    Attributes:
        kind: under which it is counted.
        rival: the other node's address, or its MAC where it sends no VRRP.
        text: a sentence for the operator: what was seen, why, what to look at.
        outlook: the end of that sentence, about what happens next; it may change.
    """

    kind: CauseKind
    rival: str
    text: str
    outlook: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Return what makes two reports the same one, within an instance."""
        return self.kind.value, self.rival


def mac_text(mac: bytes) -> str:
    """Return a MAC as people write it."""
    return mac.hex(":")


def difference(advert: Advert, context: ContestContext) -> Cause | None:
    """Return why keepalived refuses an advert, by its content; None: keepalived would accept it.

    The order is keepalived's own (2.2.7, vrrp_check_packet), so that the first cause named is the
    one that its log names as well.
    """
    sender, router_id = str(advert.source), context.virtual_router_id
    if advert.virtual_router_id != router_id:
        shared = listed(each for each in advert.addresses if context.serves(each))
        return Cause(
            CauseKind.ROUTER_ID,
            sender,
            f"{sender} advertises {shared} for router id {advert.virtual_router_id}, this"
            f" node for {router_id}: every node needs the same OPENSHIFT_HA_VRRP_ID_OFFSET and"
            " list",
        )
    if not context.is_unicast and advert.ttl != HOP_LIMIT:
        return _refused(CauseKind.PACKET, advert, f"hop limit {advert.ttl}, not 255")
    if advert.version != context.version:
        versions = f"VRRP version {advert.version}, this node has {context.version}"
        return _refused(CauseKind.VERSION, advert, versions)
    if advert.version == _SECONDS_VERSION:
        if _password_of(advert) != context.password:
            return _refused(CauseKind.PASSWORD, advert, _OTHER_NAME)
        if advert.interval != context.advert_interval:
            intervals = (
                f"advert interval {advert.interval:g} s, this node has"
                f" {context.advert_interval:g} s (OPENSHIFT_HA_ADVERT_INTERVAL)"
            )
            return _refused(CauseKind.INTERVAL, advert, intervals)
    if sorted(map(int, advert.addresses)) != sorted(map(int, context.addresses)):
        lists = (
            f"address list differs: they list {listed(advert.addresses) or 'no address'},"
            f" this node lists {listed(context.addresses)}"
        )
        return _refused(CauseKind.ADDRESSES, advert, lists)
    if not advert.is_checksum_right:
        return _refused(CauseKind.PACKET, advert, "wrong checksum")
    if advert.destination.is_multicast == context.is_unicast:
        theirs, ours = ("multicast", "unicast") if context.is_unicast else ("unicast", "multicast")
        casts = (
            f"they are {theirs}, this node sends {ours}: set OPENSHIFT_HA_UNICAST_PEERS or"
            " OPENSHIFT_HA_UNICAST_PEERS_DNS on all nodes, or on none"
        )
        return _refused(CauseKind.CAST, advert, casts)
    return None


def _refused(kind: CauseKind, advert: Advert, why: str) -> Cause:
    sender, router_id = str(advert.source), advert.virtual_router_id
    return Cause(
        kind, sender, f"adverts from {sender} for router id {router_id} are refused: {why}"
    )


def routed(advert: Advert, outlook: str = "") -> Cause:
    """Return the cause for adverts that a router forwarded to this node: they are ignored.

    ``outlook`` is what happens next, as the end of the sentence.
    """
    exempt = ""
    if family_of(advert.source) is Family.IPV6 and not advert.destination.is_multicast:
        exempt = ", and their sender is none of the peers"
    return Cause(
        CauseKind.PACKET,
        str(advert.source),
        f"adverts from {advert.source} for router id {advert.virtual_router_id} do not come"
        f" from this segment (hop limit {advert.ttl}, not 255{exempt}): they are ignored{outlook}",
        outlook,
    )


def explain(
    advert: Advert,
    context: ContestContext,
    before: VrrpStatistics | None = None,
    after: VrrpStatistics | None = None,
) -> Cause:
    """Return why keepalived does not step back for the sender of ``advert``.

    ``before`` and ``after`` are keepalived's counters around adverts of it, where known.
    """
    if cause := difference(advert, context):
        return cause
    if before is not None and after is not None:
        if after.auth_failure > before.auth_failure:
            return _refused(CauseKind.PASSWORD, advert, _OTHER_NAME)
        moved = ["addr_list_err"] if after.addr_list_err > before.addr_list_err else []
        if other_errors(after) > other_errors(before):
            moved.append("other_errors")
        if moved:
            counted = f"keepalived counts {' and '.join(moved)} (its log says why)"
            return _refused(CauseKind.REFUSED, advert, counted)
    sender = str(advert.source)
    return Cause(
        CauseKind.FIREWALL,
        sender,
        f"adverts from {sender} for router id {context.virtual_router_id} arrive but keepalived"
        " does not count them: a firewall drops protocol 112 (ipfailover-agent doctor names the"
        " chain), or, where it finds none, eBPF or tc (tc filter show dev INTERFACE ingress)",
    )


def other_errors(counters: VrrpStatistics) -> int:
    """Return how many adverts keepalived refused for another reason than list or password."""
    return (
        counters.packet_len_err
        + counters.ip_ttl_err
        + counters.invalid_type_rcvd
        + counters.invalid_authtype
        + counters.authtype_mismatch
    )


def unheard(advert: Advert, context: ContestContext) -> Cause:
    """Return why a rival that ranks below this node does not step back."""
    if cause := difference(advert, context):
        return cause
    sender = str(advert.source)
    return Cause(
        CauseKind.UNHEARD,
        sender,
        f"{sender} ranks lower (priority {advert.priority}, this node {context.priority}) and"
        f" goes on advertising for router id {context.virtual_router_id}: it does not receive this"
        " node's adverts (a firewall there, or one direction of the network is lost)"
        + _remedy(context, [advert.source]),
    )


def announcer(
    mac: bytes, address: IPAddress, advert: Advert | None, context: ContestContext
) -> Cause:
    """Return the cause for a MAC that announces an address of this node, without its adverts.

    ``advert`` is the last one that came from that MAC, None where it never sent one.
    """
    sender = mac_text(mac)
    if advert is None:
        text = "speaks no VRRP (or the network drops protocol 112)" + _remedy(context, [])
        return Cause(CauseKind.STRANGER, sender, f"{sender} announces {address} and {text}")
    text = (
        f"{sender} announces {address} and the adverts of {advert.source} for router id"
        f" {context.virtual_router_id} no longer arrive: the network, or a firewall there, drops"
        f" protocol 112{_remedy(context, [advert.source])}"
    )
    return Cause(CauseKind.SILENCED, str(advert.source), text)


def _remedy(context: ContestContext, others: Iterable[IPAddress]) -> str:
    dropped = "; if the network drops multicast, "
    return "" if context.is_unicast else dropped + unicast_instead([context], others)


def unicast_instead(contexts: Iterable[ContestContext], others: Iterable[IPAddress] = ()) -> str:
    """Return exactly what to set where multicast gets lost.

    The addresses of the ``contexts``' node are listed, one per family, and those that are known of
    ``others``; what cannot be listed is left out.
    """
    first: dict[int, IPAddress] = {}
    virtual: set[IPAddress] = set()
    for context in contexts:
        virtual |= {*context.addresses, *context.excluded_addresses}
        for own in (context.source, *sorted(context.node_addresses, key=int)):
            if not own.is_link_local:  # as IPv6 adverts are: no node lists such an address
                first.setdefault(own.version, own)
    known = dict.fromkeys(
        [first[version] for version in sorted(first)]
        + [each for each in others if each.version in first and each not in virtual]
    )
    usable = [str(each) for each in known if not each.is_link_local]
    text = f"={','.join(usable)} (add every other node)" if usable else " with every node"
    return (
        f"set on all nodes at once OPENSHIFT_HA_UNICAST_PEERS{text}, or"
        " OPENSHIFT_HA_UNICAST_PEERS_DNS to a name that resolves to them"
    )


def id_clash(
    adverts: Sequence[Advert], count: int, seen: Collection[int], outlook: str = ""
) -> Cause:
    """Return the cause for a router that uses ids of this node for other addresses.

    There is one advert for each such id, in the order in which to name them. ``count`` is how many
    ids in a row this node needs, ``seen`` every id that is used on the wire, ``outlook`` what
    happens next, as the end of the sentence.
    """
    sender = str(adverts[0].source)
    ids = [each.virtual_router_id for each in adverts]
    addresses = dict.fromkeys(address for each in adverts for address in each.addresses)
    user = f"by {sender} for {listed(addresses) or 'no address'}"
    return _clash(sender, ids, user, free_offset(seen, count), outlook)


def carp_clash(
    carps: Sequence[Carp], count: int, seen: Collection[int], outlook: str = ""
) -> Cause:
    """Return the cause for a CARP device whose vhid is an id of this node; arguments as above."""
    sender = str(carps[0].source)
    user = f"as vhid by {CARP_DEVICE}, {sender}"
    return _clash(
        sender, [each.router_id for each in carps], user, free_offset(seen, count), outlook
    )


def _clash(sender: str, ids: Sequence[int], user: str, offset: int | None, outlook: str) -> Cause:
    used = f"router id {ids[0]} is" if len(ids) == 1 else f"router ids {listed(ids)} are"
    advice = "" if offset is None else f": choose OPENSHIFT_HA_VRRP_ID_OFFSET={offset}"
    return Cause(CauseKind.ID_CLASH, sender, f"{used} also used {user}{advice}{outlook}", outlook)


OTHER_PROGRAM: Final = (
    "; that is another VRRP program on this node, and each of its adverts puts off the next one of"
    " a master on another node"
)
CARP_DEVICE: Final = "a CARP device such as pfSense, OPNsense or ucarp"


def speaker(advert: Advert, context: ContestContext) -> str:
    """Return a description of the sender of an advert that is no rival's."""
    sender, router_id = advert.source, advert.virtual_router_id
    if context.is_claimed_by(advert):
        return f"{sender} (behind a router) sends adverts for router id {router_id}"
    return f"{sender} uses router id {router_id} for other addresses"


def carp_speaker(carp: Carp) -> str:
    """Return a description of the sender of a CARP advertisement."""
    return f"{carp.source} ({CARP_DEVICE}) uses router id {carp.router_id} as its vhid"


def own_echo(advert: Advert) -> Cause:
    """Return the cause for a frame that equals one of this node's own."""
    mac = mac_text(advert.source_mac)
    return Cause(
        CauseKind.OWN_ECHO,
        mac,
        f"what {advert.source} sends comes back to this node with {mac}"
        " (a loop, a bond or a mirror port), or another host uses an address of this node",
    )


def free_offset(seen: Collection[int], count: int) -> int | None:
    """Return an id offset after which ``count`` ids in a row were not seen; None where none is.

    Tens are easier to remember and leave room; where none fits, any does.
    """
    used = frozenset(seen)
    offsets = range(_HIGHEST_ID - count + 1)
    for offset in itertools.chain(offsets[10::10], offsets):
        if used.isdisjoint(range(offset + 1, offset + count + 1)):
            return offset
    return None


def _password_of(advert: Advert) -> bytes | None:
    if advert.authentication == 0:
        return None
    # Another kind of authentication matches no password, not even the empty one.
    return advert.password if advert.authentication == _PASSWORD_AUTHENTICATION else b"\0"
