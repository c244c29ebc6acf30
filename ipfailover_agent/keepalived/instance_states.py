"""What each VRRP instance is doing, as far as keepalived has reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.model import VrrpInstance, VrrpState, VrrpTransition

if TYPE_CHECKING:
    from collections.abc import Iterable


class InstanceState(Struct, frozen=True, kw_only=True):
    """One instance: its state and since when (UTC seconds), None before the first report.

    ``entered`` is the same moment in monotonic seconds, for how long it has been so.
    """

    instance: VrrpInstance
    state: VrrpState = VrrpState.INIT
    since: float | None = None
    entered: float | None = None


class InstanceStates(Struct, frozen=True, kw_only=True):
    """All instances of the active configuration, in its order.

    ``deleted`` are name and priority of instances that a reload takes away while another one gets
    their name: keepalived's last line about each is FAULT (2.2.7), and not about its successor.
    """

    entries: tuple[InstanceState, ...] = ()
    deleted: frozenset[tuple[str, int]] = frozenset()

    def entry(self, name: str) -> InstanceState | None:
        """Return the entry of the instance with that name, or None."""
        return next((each for each in self.entries if each.instance.name == name), None)

    def names_in(self, state: VrrpState) -> frozenset[str]:
        """Return the names of the instances that are in a state."""
        return frozenset(each.instance.name for each in self.entries if each.state is state)

    def record(
        self, transition: VrrpTransition, at: float, entered: float | None = None
    ) -> InstanceStates:
        """Return the states after keepalived reported a transition; times as in an entry."""
        if self.is_last_word(transition):
            return replace(self, deleted=self.deleted - {_key(transition)})
        return replace(
            self,
            entries=tuple(
                replace(each, state=transition.state, since=at, entered=entered)
                if each.instance.name == transition.instance and each.state != transition.state
                else each
                for each in self.entries
            ),
        )

    def is_last_word(self, transition: VrrpTransition) -> bool:
        """Return whether a line is about an instance that a reload has just deleted."""
        return transition.state is VrrpState.FAULT and _key(transition) in self.deleted

    def settled(self) -> InstanceStates:
        """Return the states after a reload: no more last lines are to come."""
        return replace(self, deleted=frozenset())

    def reconfigured(self, instances: Iterable[VrrpInstance]) -> InstanceStates:
        """Return the states under a new configuration.

        keepalived keeps the state of an instance whose identity stays, whatever its name, and
        writes nothing about it. Any other begins anew, and keepalived reports it.
        """
        known = {each.instance.identity: each for each in self.entries}
        entries = tuple(
            replace(known.get(each.identity, InstanceState(instance=each)), instance=each)
            for each in instances
        )
        kept = {each.instance.identity for each in entries}
        names = {each.instance.name for each in entries}
        return InstanceStates(
            entries=entries,
            deleted=frozenset(
                (each.instance.name, each.instance.priority)
                for each in self.entries
                if each.instance.identity not in kept and each.instance.name in names
            ),
        )

    def ended(self, at: float, entered: float | None = None) -> InstanceStates:
        """Return the states after keepalived ended: it serves nothing any more."""
        return InstanceStates(
            entries=tuple(
                each
                if each.state in {VrrpState.INIT, VrrpState.STOP}
                else replace(each, state=VrrpState.STOP, since=at, entered=entered)
                for each in self.entries
            )
        )


def _key(transition: VrrpTransition) -> tuple[str, int]:
    return transition.instance, transition.priority
