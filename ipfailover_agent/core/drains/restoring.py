"""What a former run had drained, once it is known what is served now.

Drains follow addresses, as in a reload: names and ids of instances may have passed to others
while no agent ran, or with the variables that this one was started with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ipfailover_agent.core.drains.drain import Order, Subject
    from ipfailover_agent.core.model import IPAddress


class Kept(Struct, frozen=True, kw_only=True):
    """An order and the addresses that it was carried out for."""

    order: Order
    addresses: frozenset[IPAddress] = frozenset()


def addresses(subjects: Iterable[Subject]) -> frozenset[IPAddress]:
    """Return everything that instances serve."""
    return frozenset(address for each in subjects for address in each.addresses | each.excluded)


def heirs(
    held: Collection[Kept], known: frozenset[IPAddress], subjects: Mapping[str, Subject]
) -> dict[str, Order]:
    """Return the orders of the instances that are to be held, by the names they have now.

    Something of such an instance was held, and nothing of it was served here without a drain.

    Args:
        held: what was drained.
        known: every address of the configuration of that time.
        subjects: what is served now, by name.
    """
    free = known.difference(*(each.addresses for each in held))
    found = {}
    for name, subject in subjects.items():
        its = addresses([subject])
        orders = [each.order for each in held if its & each.addresses]
        if orders and not its & free:
            # of several, what lets go soonest: an address too many would be on nobody
            found[name] = min(orders, key=_hold_time)
    return found


def _hold_time(order: Order) -> tuple[bool, float]:
    return order.is_forced, float("inf") if order.until is None else order.until
