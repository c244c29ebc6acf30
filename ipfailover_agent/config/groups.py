"""How addresses become VRRP instances, and which virtual router id each gets.

Both must come out the same on every node, old or new: a virtual router id or a set of addresses
that differs means two masters.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

from ipfailover_agent.errors import Problem
from ipfailover_agent.model import HIGHEST_ID, Family, family_of

if TYPE_CHECKING:
    from ipfailover_agent.model import IPAddress, Settings

_MOST_ADVERTISED = 255  # RFC 3768 section 5.3.5: the count is one byte
# Bytes of an advert that are no addresses, as keepalived 2.2.7 counts them (Ethernet header, IP,
# VRRP, and version 2's password), found by trying every MTU from 700 to 716.
_OVERHEAD = {(Family.IPV4, 2): 50, (Family.IPV4, 3): 42, (Family.IPV6, 3): 62}
_OFFSET = "OPENSHIFT_HA_VRRP_ID_OFFSET"
_Address = TypeVar("_Address")  # an address, or the text of one


def split(addresses: tuple[_Address, ...], count: int) -> tuple[tuple[_Address, ...], ...]:
    """Split into ``count`` runs whose sizes differ by at most one, the larger ones first.

    0 means one run per address, and so does a count above the number of addresses.
    """
    count = min(count, len(addresses)) or len(addresses)
    size, larger = divmod(len(addresses), count) if count else (0, 0)
    ends = [size * number + min(number, larger) for number in range(count + 1)]
    return tuple(addresses[start:end] for start, end in itertools.pairwise(ends))


def build(addresses: tuple[IPAddress, ...], count: int) -> tuple[tuple[IPAddress, ...], ...]:
    """Return the addresses of every instance, all of one family, in order.

    A run with both families keeps the family of its first address, because keepalived serves only
    that one; the others of the run follow in a group of their own after the last run.
    """
    groups, extra = [], []
    for run in split(addresses, count):
        family = family_of(run[0])
        groups.append(tuple(each for each in run if family_of(each) is family))
        extra.append(tuple(each for each in run if family_of(each) is not family))
    return (*groups, *filter(None, extra))


def advertised_limit(family: Family, version: int, mtu: int) -> int:
    """Return how many addresses fit one advert, as keepalived reckons.

    It moves the rest to the excluded ones by itself, with a warning and exit code 5 of its test.
    The advertised set must be the same on every node, so it is cut where that of old nodes is.
    """
    size = 4 if family is Family.IPV4 else 16
    return max(1, min(_MOST_ADVERTISED, (mtu - _OVERHEAD[family, version]) // size))


def virtual_router_ids(
    settings: Settings, groups: tuple[tuple[IPAddress, ...], ...], problems: list[Problem]
) -> tuple[int, ...]:
    """Return the virtual router id of each group; on a problem, add it and return what there is.

    An id is the offset plus the position, excluded and pinned ids passed over. Pins are of
    addresses that have an instance of their own.
    """
    pins = dict(settings.pinned_virtual_router_ids)
    taken = {*settings.excluded_virtual_router_ids, *pins.values()}
    free = [
        number
        for number in range(settings.virtual_router_id_offset + 1, HIGHEST_ID + 1)
        if number not in taken
    ]
    unpinned = [first for first, *_ in groups if first not in pins]
    if len(unpinned) > len(free):
        fit = len(groups) - len(unpinned) + len(free)
        what = "groups" if settings.address_groups else "addresses"
        reason = (
            f"{len(groups)} {what} need an id each, and only {fit} fit between the offset and "
            f"{HIGHEST_ID}: none is left for {unpinned[len(free)]} and what follows"
        )
        fewer = f"set OPENSHIFT_HA_VIP_GROUPS to {fit} or less"
        instead = fewer if fit else "set a smaller offset"
        offset = str(settings.virtual_router_id_offset)
        problems.append(Problem(_OFFSET, offset, reason, instead))
        return ()
    following = iter(free)
    return tuple(pins.get(first) or next(following) for first, *_ in groups)
