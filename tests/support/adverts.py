"""Adverts as they are heard, for tests that need one and care for few of its fields."""

from __future__ import annotations

from ipaddress import IPv4Address

from msgspec.structs import replace

from ipfailover_agent.model import IPAddress
from ipfailover_agent.vrrp.packets import Advert


def heard_advert(source: IPAddress, *addresses: IPAddress, mac: bytes, **more: object) -> Advert:
    """Return a multicast of version 2 from a master with id 11 and priority 200.

    ``more`` are other fields of it.
    """
    usual = Advert(
        source_mac=mac,
        source=source,
        destination=IPv4Address("224.0.0.18"),
        version=2,
        virtual_router_id=11,
        priority=200,
        addresses=addresses,
        interval=1.0,
        authentication=0,
        password=None,
        ttl=255,
        is_checksum_right=True,
    )
    return replace(usual, **more)
