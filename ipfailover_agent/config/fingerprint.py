"""A short name for what must be equal on all nodes, so that a difference is seen at once.

Two nodes whose fingerprints differ would not accept each other's adverts, or would serve other
addresses. Every reader of the metrics sees it, so nothing secret goes into it: of the password
only whether there is one. A digest of eight bytes, mostly a guessable name, could be guessed again
by trying.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipfailover_agent.model import KeepalivedConfig, VrrpInstance

_DIGITS: Final = 12  # 48 bits: two of a few configurations are not the same by chance


def fingerprint(config: KeepalivedConfig) -> str:
    """Return twelve hexadecimal digits that name what all nodes of a deployment must agree on.

    That is, for every instance: virtual router id, family, VRRP version, advert interval, whether
    there is a password, unicast or multicast, and the addresses, advertised and held besides;
    keepalived 2.2.7 compares each of them (vrrp.c, vrrp_check_packet). Not what differs by
    nature: priorities, a node's own addresses and peers, the interface's name. The order of
    instances and of addresses has no meaning on the wire, and none here.
    """
    lines = sorted(_line(each) for each in config.instances)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_DIGITS]


def _line(instance: VrrpInstance) -> str:
    both = (instance.virtual_addresses, instance.excluded_addresses)
    addresses = (sorted(int(each.address) for each in held) for held in both)
    return " ".join(
        (
            f"{instance.family.value}",
            f"{instance.virtual_router_id}",
            f"v{instance.advertisement.version}",
            f"{instance.advertisement.interval:g}",
            "open" if instance.password is None else "password",
            "unicast" if instance.unicast_peers else "multicast",
            *(f"[{','.join(map(str, each))}]" for each in addresses),
        )
    )
