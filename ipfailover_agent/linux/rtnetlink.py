"""The bytes of rtnetlink(7): messages for addresses, links and routes, read and built.

Pure functions of bytes; the parsers raise nothing but MalformedMessageError, where a length is
wrong or bytes are too few for what should be there.
"""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.model import EqualButForLast, Family, InterfaceAddress, IPAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# linux/netlink.h
HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ERROR: Final = 2
DONE: Final = 3
REQUEST: Final = 0x1
REPLACE: Final = 0x100
EXCLUSIVE: Final = 0x200
CREATE: Final = 0x400
ACK: Final = 0x4
DUMP: Final = 0x300
DUMP_INTERRUPTED: Final = 0x10
SOL_NETLINK: Final = 270
GET_STRICT_CHK: Final = 12  # since Linux 4.20: the kernel heeds the filters of a dump
# linux/rtnetlink.h
NEW_LINK: Final = 16
DELETE_LINK: Final = 17
GET_LINK: Final = 18
NEW_ADDRESS: Final = 20
DELETE_ADDRESS: Final = 21
GET_ADDRESS: Final = 22
NEW_ROUTE: Final = 24
GET_ROUTE: Final = 26
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_ATTRIBUTE_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
# linux/if_addr.h: struct ifaddrmsg
_ADDRESS: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_LABEL: Final = 3
_IFA_CACHEINFO: Final = 6
_IFA_FLAGS: Final = 8
_IFA_RT_PRIORITY: Final = 9  # the metric of the route that comes with the address
_IFA_PROTO: Final = 11  # the program that set it: keepalived 2.3 is 18
_KEPT: Final = (_IFA_RT_PRIORITY, _IFA_PROTO)
_IFA_F_TEMPORARY: Final = 0x01  # IPv6; with IPv4 the same bit means secondary
_IFA_F_OPTIMISTIC: Final = 0x04  # usable though still tentative
_IFA_F_DADFAILED: Final = 0x08
_IFA_F_DEPRECATED: Final = 0x20
_IFA_F_TENTATIVE: Final = 0x40
_NOT_YET_USABLE: Final = _IFA_F_OPTIMISTIC | _IFA_F_DADFAILED | _IFA_F_TENTATIVE  # RFC 4862
_IFA_F_NOPREFIXROUTE: Final = 0x200
_CACHE_INFO: Final = struct.Struct("=IIII")  # preferred, valid seconds; created, updated
_UPDATED_OFFSET: Final = 12  # of the last of them
TIMES_LENGTH: Final = 4  # of that one
FOR_EVER: Final = 0xFFFFFFFF  # seconds
# linux/rtnetlink.h: struct ifinfomsg
_LINK: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_IFLA_ADDRESSES: Final = (1, 54)  # the one in use, the one that a card was made with
_IFLA_IFNAME: Final = 3
_IFLA_MASTER: Final = 10
_IFLA_LINKINFO: Final = 18
_IFLA_INFO_SLAVE_KIND: Final = 4  # linux/if_link.h, in the one above
_MAC_LENGTH: Final = 6
_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40
_IFF_POINTOPOINT: Final = 0x10
_IFF_NOARP: Final = 0x80
# linux/rtnetlink.h: struct rtmsg, struct rtnexthop
_ROUTE: Final = struct.Struct("=8BI")  # family, destination length, ..., table, .., type; flags
_NEXT_HOP: Final = struct.Struct("=HBBi")  # length, flags, hops, interface index
_RTA_OIF: Final = 4
_RTA_PRIORITY: Final = 6
_RTA_PREFSRC: Final = 7
_RTA_MULTIPATH: Final = 9
_RTA_TABLE: Final = 15
_RTA_DST: Final = 1
_RTA_GATEWAY: Final = 5
_RTA_VIA: Final = 18  # a gateway of the other family: struct rtvia
_VIA: Final = struct.Struct("=H")
_TABLE_MAIN: Final = 254
_TYPE_UNICAST: Final = 1
_TYPE_LOCAL: Final = 2
_RTM_F_CLONED: Final = 0x200
_RTM_F_FIB_MATCH: Final = 0x2000  # answer with the route itself, not with what follows from it

_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_UNSIGNED: Final = struct.Struct("=I")
_SIGNED: Final = struct.Struct("=i")
_LABEL_BYTES: Final = 16  # IFNAMSIZ, with its final NUL


class MalformedMessageError(SystemRefusedError):
    """Bytes from the kernel that are not as in rtnetlink(7)."""


class Message(Struct, frozen=True, kw_only=True):
    """One netlink message."""

    kind: int
    flags: int
    sequence: int
    payload: bytes


class Link(Struct, frozen=True, kw_only=True):
    """A network interface.

    ``is_up`` as keepalived asks for it: up and running. ``speaks_arp``: without IFF_NOARP,
    or to one other end, which needs no ARP.
    ``master`` is the index of the device that takes the frames that come in here, 0 for none: a
    VRF leaves them to the interface. ``macs`` are the hardware addresses of 6 bytes, the one in
    use and the one that a card was made with.
    """

    index: int
    name: str
    is_up: bool
    speaks_arp: bool = True
    master: int = 0
    macs: frozenset[bytes] = frozenset()


class HeldAddress(EqualButForLast, frozen=True, kw_only=True):
    """An address with its interface's index; ``peer`` is the other end, else the same address.

    ``flags`` are IFA_F_*, ``scope`` is RT_SCOPE_* and ``kept`` are further attributes by type, for
    a change that leaves them alone; ``valid_seconds`` is the lifetime that is left, FOR_EVER
    without a limit.
    """

    index: int
    address: InterfaceAddress
    peer: IPAddress
    flags: int = 0
    scope: int = 0
    kept: tuple[tuple[int, bytes], ...] = ()
    valid_seconds: int = FOR_EVER  # it runs down meanwhile, so it comes last

    @property
    def is_usable(self) -> bool:
        """Return whether duplicate address detection has let it pass, or did not look."""
        return not self.flags & _NOT_YET_USABLE


class RouteHop(Struct, frozen=True, kw_only=True):
    """A default route through one interface; several make up a multipath route."""

    family: Family
    index: int
    metric: int
    source: IPAddress | None
    gateway: IPAddress | None = None


class Way(Struct, frozen=True, kw_only=True):
    """Where the kernel takes packets for an address.

    ``is_local``: this node has that very address. ``index`` is of the interface that has it, or by
    which it is reached; 0 for none. ``is_on_link``: by no router.
    """

    is_local: bool = False
    index: int = 0
    is_on_link: bool = False


# --- builders -----------------------------------------------------------------------------------


def build_message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Return a request to the kernel."""
    return HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def build_address_dump(index: int) -> bytes:
    """Return the payload of GET_ADDRESS for both families, of one interface or (0) of all.

    A kernel that does not check strictly leaves the index unread and sends everything.
    """
    return _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, index)


def build_link_question(index: int = 0) -> bytes:
    """Return the payload of GET_LINK for one interface, or for a dump of all."""
    return _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)


def build_route_dump(family: int, *, is_main: bool = False) -> bytes:
    """Return the payload of GET_ROUTE for a family: of every table, or of the main one."""
    return _ROUTE.pack(family, 0, 0, 0, _TABLE_MAIN if is_main else 0, 0, 0, 0, 0)


def build_route_question(address: IPAddress, index: int = 0) -> bytes:
    """Return the payload of GET_ROUTE that asks which route packets to an address take.

    ``index``: only routes through that interface count.
    """
    header = _ROUTE.pack(
        _FAMILIES[address.version], address.max_prefixlen, 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH
    )
    out = _pack_attribute(_RTA_OIF, _UNSIGNED.pack(index)) if index else b""
    return header + _pack_attribute(_RTA_DST, address.packed) + out


def build_address(
    index: int, address: InterfaceAddress, peer: IPAddress, *, scope: int = 0
) -> bytes:
    """Return the payload that names one address; ``peer`` is the same address without one."""
    attributes = [(_IFA_LOCAL, address.address.packed), (_IFA_ADDRESS, peer.packed)]
    if address.label and address.address.version == 4:  # noqa: PLR2004
        label = os.fsencode(address.label)[: _LABEL_BYTES - 1] + b"\0"
        attributes.append((_IFA_LABEL, label))
    family = _FAMILIES[address.address.version]
    payload = _ADDRESS.pack(family, address.prefix_length, 0, scope, index)
    return payload + b"".join(_pack_attribute(kind, value) for kind, value in attributes)


def build_lease(held: HeldAddress, seconds: int) -> bytes:
    """Return the payload that gives an address a lifetime and changes nothing else.

    The preferred lifetime of IPv6 stays 0 where it is 0: keepalived sets it so, and the node never
    uses the address as a source by itself. What a request does not name is reset: the route's
    metric, and the program that set the address (Linux 6.18, both families).
    """
    preferred = 0 if held.address.is_deprecated else seconds
    kept = b"".join(_pack_attribute(kind, value) for kind, value in held.kept)
    return (
        build_address(held.index, held.address, held.peer, scope=held.scope)
        + _pack_attribute(_IFA_FLAGS, _UNSIGNED.pack(held.flags))
        + _pack_attribute(_IFA_CACHEINFO, _CACHE_INFO.pack(preferred, seconds, 0, 0))
        + kept
    )


def build_routeless(held: HeldAddress, prefix_length: int) -> bytes:
    """Return the payload that adds an address once more, with another prefix and no route."""
    again = replace(held.address, prefix_length=prefix_length, label="")
    return build_address(held.index, again, held.peer, scope=held.scope) + _pack_attribute(
        _IFA_FLAGS, _UNSIGNED.pack(_IFA_F_NOPREFIXROUTE)
    )


# --- parsers ------------------------------------------------------------------------------------


def split_messages(data: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < HEADER.size:
            raise MalformedMessageError("cannot read netlink message: its header is cut off")
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if not HEADER.size <= length <= len(data) - offset:
            raise MalformedMessageError(f"cannot read netlink message: length {length} is wrong")
        payload = data[offset + HEADER.size : offset + length]
        yield Message(kind=kind, flags=flags, sequence=sequence, payload=payload)
        offset += _aligned(length)


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Return attribute values by type; the last one of a type counts."""
    found: dict[int, bytes] = {}
    offset = 0
    while len(data) - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            raise MalformedMessageError(f"cannot read netlink attribute: length {length} is wrong")
        found[kind & _ATTRIBUTE_TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)
    return found


def parse_address(payload: bytes) -> HeldAddress | None:
    """Return the address of an RTM_NEWADDR message; None for families other than IPv4 and IPv6."""
    family, prefix_length, flags, scope, index = _unpack(_ADDRESS, payload)
    attributes = parse_attributes(payload[_ADDRESS.size :])
    if family not in _FAMILIES.values():
        return None
    # On a point-to-point link IFA_ADDRESS is the peer, IFA_LOCAL is own; IPv6 addresses without
    # a peer come with IFA_ADDRESS alone.
    remote = attributes.get(_IFA_ADDRESS)
    local = attributes.get(_IFA_LOCAL, remote)
    if local is None:
        return None
    if _IFA_FLAGS in attributes:  # 32 bits, of which the header shows 8
        (flags,) = _unpack(_UNSIGNED, attributes[_IFA_FLAGS])
    valid_seconds, created = FOR_EVER, 0
    if _IFA_CACHEINFO in attributes:
        _, valid_seconds, created, _ = _unpack(_CACHE_INFO, attributes[_IFA_CACHEINFO])
    return HeldAddress(
        index=index,
        address=InterfaceAddress(
            address=_parse_ip(family, local),
            prefix_length=prefix_length,
            label=_parse_text(attributes.get(_IFA_LABEL, b"")),
            is_deprecated=bool(flags & _IFA_F_DEPRECATED),
            is_temporary=family == socket.AF_INET6 and bool(flags & _IFA_F_TEMPORARY),
            is_tentative=flags & (_IFA_F_TENTATIVE | _IFA_F_OPTIMISTIC) == _IFA_F_TENTATIVE,
            is_duplicate=bool(flags & _IFA_F_DADFAILED),
            created=created,
        ),
        peer=_parse_ip(family, local if remote is None else remote),
        flags=flags,
        scope=scope,
        kept=tuple((kind, attributes[kind]) for kind in _KEPT if kind in attributes),
        valid_seconds=valid_seconds,
    )


def place_of_times(payload: bytes) -> int:
    """Return where an RTM_NEWADDR message has the time at which its address was renewed.

    Those TIMES_LENGTH bytes are the only ones that :func:`parse_address` never reads. Without
    them, the end of the message; it is one that :func:`parse_address` takes.
    """
    place, offset = len(payload), _ADDRESS.size
    while len(payload) - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if kind & _ATTRIBUTE_TYPE_MASK == _IFA_CACHEINFO:
            place = offset + _ATTRIBUTE.size + _UPDATED_OFFSET
        offset += _aligned(length)
    return place


def parse_link(payload: bytes) -> Link:
    """Return the interface of an RTM_NEWLINK message."""
    _, _, index, flags, _ = _unpack(_LINK, payload)
    attributes = parse_attributes(payload[_LINK.size :])
    both = _IFF_UP | _IFF_RUNNING
    macs = (attributes.get(each, b"") for each in _IFLA_ADDRESSES)
    return Link(
        index=index,
        name=_parse_text(attributes.get(_IFLA_IFNAME, b"")),
        is_up=flags & both == both,
        speaks_arp=flags & (_IFF_NOARP | _IFF_POINTOPOINT) != _IFF_NOARP,
        master=_parse_master(attributes),
        macs=frozenset(each for each in macs if len(each) == _MAC_LENGTH and any(each)),
    )


def _parse_master(attributes: Mapping[int, bytes]) -> int:
    if _IFLA_MASTER not in attributes:
        return 0
    told = parse_attributes(attributes.get(_IFLA_LINKINFO, b""))
    if _parse_text(told.get(_IFLA_INFO_SLAVE_KIND, b"")) == "vrf":
        return 0
    return _parse_unsigned(attributes[_IFLA_MASTER], 0)


def topmost_master(index: int, find: Callable[[int], Link | None]) -> str:
    """Return the name of the device that a port's frames end at, empty where it is no port.

    ``find`` returns the interface of an index, as long as there is one.
    """
    name, seen = "", {0}  # of no interface
    while index not in seen and (link := find(index)) is not None:  # a torn dump may go round
        name = link.name if len(seen) > 1 else ""
        seen.add(index)
        index = link.master
    return name


def parse_default_route(payload: bytes) -> tuple[RouteHop, ...]:
    """Return the hops of an RTM_NEWROUTE message; none when it is no default route that counts.

    A unicast route in the main table counts; blackhole and unreachable defaults lead nowhere.
    """
    family, length, _, _, table, _, _, kind, flags = _unpack(_ROUTE, payload)
    if length or kind != _TYPE_UNICAST or flags & _RTM_F_CLONED:
        return ()
    if family not in _FAMILIES.values():
        return ()
    attributes = parse_attributes(payload[_ROUTE.size :])
    if _parse_unsigned(attributes.get(_RTA_TABLE), table) != _TABLE_MAIN:
        return ()
    source = attributes.get(_RTA_PREFSRC)
    hops = list(_parse_next_hops(attributes.get(_RTA_MULTIPATH, b"")))
    if _RTA_OIF in attributes:
        hops.append((_parse_unsigned(attributes[_RTA_OIF], 0), attributes))
    return tuple(
        RouteHop(
            family=Family.IPV4 if family == socket.AF_INET else Family.IPV6,
            index=index,
            metric=_parse_unsigned(attributes.get(_RTA_PRIORITY), 0),
            source=None if source is None else _parse_ip(family, source),
            gateway=_parse_gateway(family, found),
        )
        for index, found in hops
    )


def parse_way(payload: bytes) -> Way:
    """Return where the route of an RTM_NEWROUTE message leads, the first hop of several.

    A whole prefix that is local (127.0.0.0/8, AnyIP) makes none of its addresses this node's.
    """
    family, length, *_, kind, _ = _unpack(_ROUTE, payload)
    is_host = length == (32 if family == socket.AF_INET else 128)
    attributes = parse_attributes(payload[_ROUTE.size :])
    hops = _parse_next_hops(attributes.get(_RTA_MULTIPATH, b""))
    first, found = next(hops, (0, attributes))
    index = _parse_unsigned(attributes.get(_RTA_OIF), first)
    return Way(
        is_local=is_host and kind == _TYPE_LOCAL,
        index=index,
        is_on_link=bool(index) and _RTA_GATEWAY not in found and _RTA_VIA not in found,
    )


def is_behind_defaults(payload: bytes) -> bool:
    """Return whether no default route follows this one in a dump of an IPv4 table.

    The kernel walks the table by destination, and 0.0.0.0/0 stands with the other routes to
    0.0.0.0, behind those with a longer prefix (Linux 6.18).
    """
    _unpack(_ROUTE, payload)
    return any(parse_attributes(payload[_ROUTE.size :]).get(_RTA_DST, b""))


def _parse_gateway(family: int, attributes: Mapping[int, bytes]) -> IPAddress | None:
    if _RTA_GATEWAY in attributes:
        return _parse_ip(family, attributes[_RTA_GATEWAY])
    if _RTA_VIA not in attributes:
        return None
    raw = attributes[_RTA_VIA]
    (family,) = _unpack(_VIA, raw)
    return _parse_ip(family, raw[_VIA.size :])


def _parse_next_hops(data: bytes) -> Iterator[tuple[int, dict[int, bytes]]]:
    """Yield the interface of each next hop, with the attributes that hang on it."""
    offset = 0
    while len(data) - offset >= _NEXT_HOP.size:
        length, _, _, index = _NEXT_HOP.unpack_from(data, offset)
        if not _NEXT_HOP.size <= length <= len(data) - offset:
            raise MalformedMessageError(f"cannot read next hop: length {length} is wrong")
        yield index, parse_attributes(data[offset + _NEXT_HOP.size : offset + length])
        offset += _aligned(length)


def _parse_ip(family: int, raw: bytes) -> IPAddress:
    width = 4 if family == socket.AF_INET else 16
    if len(raw) != width:
        raise MalformedMessageError(f"cannot read address: {len(raw)} bytes instead of {width}")
    return IPv4Address(raw) if family == socket.AF_INET else IPv6Address(raw)


def _parse_text(raw: bytes) -> str:
    return os.fsdecode(raw.split(b"\0", 1)[0])


def _parse_unsigned(raw: bytes | None, default: int) -> int:
    if raw is None:
        return default
    (value,) = _unpack(_UNSIGNED, raw)
    return int(value)


def _unpack(layout: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) < layout.size:
        raise MalformedMessageError(
            f"cannot read netlink structure: {len(data)} bytes instead of {layout.size}"
        )
    return layout.unpack_from(data)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def parse_error_number(payload: bytes) -> int:
    """Return the errno of an NLMSG_ERROR or NLMSG_DONE message; 0 is an acknowledgement."""
    (code,) = _unpack(_SIGNED, payload)
    return -code


def _pack_attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(_aligned(length) - length)
