"""What adverts have in common that one rule of the shield drops, and where these rules are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from ipfailover_agent.model import IPAddress

TABLE: Final = "ipfailover-shield"
"""The name of the shield's table, of nftables' family ``inet``."""

LISTED: Final = 16
"""Addresses of an advert that a rule compares, the first ones: the last of 16 IPv6 addresses
begins as far into a packet, 255 bytes, as nftables looks."""


class Signature(Struct, frozen=True, kw_only=True):
    """What is alike in all adverts that one rule drops.

    Attributes:
        source: the sender's address.
        router_id: the id, ``version`` that of VRRP.
        count: how many addresses it lists; ``listed`` are those, the first 16.
        is_carp: it is CARP, which has no such list.
        hop_limit: None unless it is dropped for not coming from this segment.
    """

    source: IPAddress
    router_id: int
    version: int = 2
    count: int = 0
    listed: tuple[IPAddress, ...] = ()
    is_carp: bool = False
    hop_limit: int | None = None
