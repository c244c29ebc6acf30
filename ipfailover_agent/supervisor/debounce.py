"""When variables or the node have changed: looks -> reload or not.

:func:`step` is pure. A look is a text that is equal as long as nothing has changed; its content
does not matter here. A change counts once two looks in a row agree on it, so that a file that is
being written, a link that is being swapped or an interface that flaps is waited out. A change
that was handled once, with whatever result, is not handled again until it changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipfailover_agent.model import HostFacts, IPAddress


class Debounce(Struct, frozen=True, kw_only=True):
    """One thing that is looked at. Times are monotonic seconds.

    Attributes:
        every: seconds between two looks.
        handled: the look that was handled last, None before the first.
        pending: another look than that, seen once, None without one.
        deadline: when to look next.
    """

    every: float
    handled: str | None = None
    pending: str | None = None
    deadline: float = 0.0


def step(state: Debounce, look: str, now: float) -> tuple[Debounce, bool]:
    """Return the state after a look at ``now``, and whether there is a change to handle.

    The caller handles it, or finds that it does not matter; it is the handled one from here on.
    """
    state = replace(state, deadline=now + state.every)
    if state.handled is None or look == state.handled:
        return replace(state, handled=look, pending=None), False
    if look != state.pending:
        return replace(state, pending=look), False
    return handled(state, look), True


def handled(state: Debounce, look: str) -> Debounce:
    """Return the state after another request handled what ``look`` shows: a reload by signal.

    ``look`` is older than what was read: what changed in between will be seen once more.
    """
    return replace(state, handled=look, pending=None)


def describe_node(facts: HostFacts, virtual_addresses: Collection[IPAddress]) -> str:
    """Return a look at a node: what the plan may depend on, the virtual addresses aside."""
    ours = frozenset(virtual_addresses)
    interfaces = [
        (
            replace(each, addresses=()),
            [held for held in each.addresses if held.address not in ours],
        )
        for each in facts.interfaces
    ]
    local = sorted(map(str, facts.local_addresses - ours))
    scripts = (facts.check_script, facts.notify_script)
    return repr((interfaces, facts.default_routes, local, scripts))
