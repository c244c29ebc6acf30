"""Looks at what keepalived stands on: one interface, and the addresses of this node."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.supervising.ground import Terrain
from ipfailover_agent.system import host
from ipfailover_agent.system.netlink import AddressSocket

if TYPE_CHECKING:
    from collections.abc import Container

    from ipfailover_agent.core.model import IPAddress

_SECONDS: Final = 0.5  # for the kernel to answer
_NOT_YET_USABLE: Final = 0x04 | 0x08 | 0x40  # IFA_F_OPTIMISTIC, _DADFAILED, _TENTATIVE: RFC 4862


def index_of(interface: str) -> int | None:
    """Return the index of the interface of that name, None while there is none."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return None


def look(interface: str, virtual: Container[IPAddress]) -> Terrain:
    """Return the node as it is now; ``virtual`` addresses are left out.

    Raises:
        SystemRefusedError: the kernel does not answer.
    """
    index = index_of(interface)
    with AddressSocket(timeout=_SECONDS) as rtnetlink:
        found = [
            each for each in rtnetlink.glance_at_addresses() if each.address.address not in virtual
        ]
    usable = [each for each in found if not each.flags & _NOT_YET_USABLE]
    return Terrain(
        index=index,
        is_running=index is not None and host.has_link(interface),
        usable=frozenset(each.address.address for each in usable if each.index == index),
        elsewhere=frozenset(each.address.address for each in usable if each.index != index),
        present=frozenset(each.address.address for each in found),
        held=tuple(each.address for each in found if each.index == index),
    )
