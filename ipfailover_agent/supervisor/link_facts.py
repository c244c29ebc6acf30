"""Looks at what keepalived stands on: one interface, and the addresses that it sends from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.linux import host
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.supervisor.link_state import LinkFacts

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.linux.rtnetlink import HeldAddress
    from ipfailover_agent.model import IPAddress

_SECONDS: Final = 0.5  # for the kernel to answer


def look(
    interface: str, virtual: Collection[IPAddress], sources: Collection[IPAddress] = ()
) -> LinkFacts:
    """Return the node as it is now; ``virtual`` addresses are left out.

    Of other interfaces only those addresses are returned that are among ``sources``.

    Raises:
        SystemRefusedError: the kernel does not answer, or addresses change at this moment: a dump
            may lack some of them then.
    """
    index = host.index_of(interface)
    with AddressSocket(timeout=_SECONDS) as rtnetlink:
        found, again = (_held(rtnetlink, index, virtual) for _ in range(2))
        here = {each.address.address for each in found}
        asked = [each for each in sources if each not in here]
        ways = rtnetlink.ways(asked) if asked else ()
        port_of = "" if index is None else rtnetlink.port_of(index)
    if again != found:
        raise SystemRefusedError("cannot read rtnetlink: addresses change at this moment")
    elsewhere = {address for address, way in zip(asked, ways, strict=True) if way.is_local}
    return LinkFacts(
        index=index,
        is_running=index is not None and host.has_link(interface),
        port_of=port_of,
        usable=frozenset(each.address.address for each in found if each.is_usable),
        elsewhere=frozenset(elsewhere),
        present=frozenset(here | elsewhere),
        held=tuple(each.address for each in found),
    )


def _held(
    rtnetlink: AddressSocket, index: int | None, virtual: Collection[IPAddress]
) -> list[HeldAddress]:
    if index is None:
        return []
    held = rtnetlink.glance_at_addresses(index)
    return [each for each in held if each.address.address not in virtual]
