"""Whether a reload led to what was planned: the plan beside keepalived's and the kernel's answers.

An instance that agrees once is believed at once. A difference has to stay the same over several
looks and seconds, with no transition of the instance in between: elections, handovers, checks,
holds and renewals go on during a reload, and a machine that is late is no reason to take a good
configuration back.

A slow keepalived gives fewer answers in the time there is, and each of them shows that it has
worked through what was due: a few are enough then. Fewer than that prove nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.keepalived.lifecycle import VerificationEnded
from ipfailover_agent.model import VrrpState
from ipfailover_agent.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ipfailover_agent.keepalived.dump import InstanceDump
    from ipfailover_agent.model import IPAddress, KeepalivedConfig, VrrpInstance

#: An interface's name and a virtual address on it, as keepalived sets it.
Held = tuple[str, "IPAddress"]

LOOK_EVERY: Final = 0.5  # seconds
STANDING_LEAST: Final = 3.0  # seconds for which a difference must stand
LOOKS_LEAST: Final = 5  # and in so many looks, however late they are
LOOKS_LATE: Final = 3  # or in so many, once there is no more time
_SHOWN: Final = 3


class Expectation(Struct, frozen=True, kw_only=True):
    """What a reload is to lead to.

    Attributes:
        config: what keepalived was given.
        gone: what this node held before the reload and is to hold no more.
        moved: what it held before in another instance: its new one may hold it, as MASTER only.
    """

    config: KeepalivedConfig
    gone: frozenset[Held] = frozenset()
    moved: frozenset[Held] = frozenset()

    @property
    def interfaces(self) -> frozenset[str]:
        """Return the names of the interfaces whose addresses matter."""
        pairs = (*self.gone, *self.moved)
        return frozenset({self.config.interface, *(interface for interface, _ in pairs)})


class Mismatch(Struct, frozen=True, kw_only=True):
    """One thing that is not as planned.

    ``text`` describes it; ``moment`` changes with every transition of the instance in question.
    """

    text: str
    moment: float = 0.0


class Verification(Struct, frozen=True, kw_only=True):
    """What was seen; times are monotonic seconds.

    Attributes:
        standing: what differs: since when, and in how many looks.
        looks: how many there were in all.
        looked_at: when the last one was.
    """

    standing: Mapping[Mismatch, tuple[float, int]] = field(default_factory=dict)
    looks: int = 0
    looked_at: float = 0.0


def expect(
    active: KeepalivedConfig, target: KeepalivedConfig, masters: Collection[str]
) -> Expectation:
    """Return what the reload from ``active`` to ``target`` is to lead to.

    Args:
        active: what keepalived had.
        target: what it is given.
        masters: the instances of ``active`` that were MASTER just before.
    """
    held = {
        pair: each.identity
        for each in active.instances
        if each.name in masters
        for pair in _pairs(each)
    }
    after = {pair: each.identity for each in target.instances for pair in _pairs(each)}
    return Expectation(
        config=target,
        gone=frozenset(pair for pair in held if pair not in after),
        moved=frozenset(pair for pair in held if after.get(pair, held[pair]) != held[pair]),
    )


def mismatches(
    expected: Expectation, dump: Collection[InstanceDump], held: set[Held]
) -> Iterator[Mismatch]:
    """Yield everything that is not as planned.

    Args:
        expected: the plan.
        dump: keepalived's answer.
        held: the host addresses (/32, /128) that the kernel shows, by interface.
    """
    found = {each.name: each for each in dump}
    planned = {each.name: each for each in expected.config.instances}
    for name in found.keys() - planned.keys():
        yield Mismatch(text=f"keepalived runs {name}, which is not planned")
    for name, instance in planned.items():
        if name not in found:
            yield Mismatch(text=f"keepalived does not run {name}")
        else:
            yield from _of_instance(instance, found[name], expected, held)
    for interface, address in expected.gone & held:
        yield Mismatch(text=f"{address} is still on {interface}")


def step(
    state: Verification, found: Collection[Mismatch], now: float
) -> tuple[Verification, VerificationEnded | None]:
    """Return the state after a look at ``now`` (monotonic seconds) and the end, if this is it."""
    if not found:
        return state, VerificationEnded()
    standing = {}
    for each in found:
        since, looks = state.standing.get(each, (now, 0))
        standing[each] = (since, looks + 1)
    state = replace(state, standing=standing, looks=state.looks + 1, looked_at=now)
    return state, _proven(state, LOOKS_LEAST)


def conclude(state: Verification, waited: float) -> VerificationEnded:
    """Return what is known after ``waited`` seconds, when there is no more time."""
    if (proven := _proven(state, LOOKS_LATE)) is not None:
        return proven
    within = f"within {waited:.1f} s"
    if not state.looks:
        return VerificationEnded(doubt=f"it gave no answer {within}")
    answers = f"it answered {counted(state.looks, 'time')} {within}"
    return VerificationEnded(doubt=f"{answers}, the last time with: {describe(state)}")


def _proven(state: Verification, looks_least: int) -> VerificationEnded | None:
    is_proven = any(
        state.looked_at - since >= STANDING_LEAST and looks >= looks_least
        for since, looks in state.standing.values()
    )
    return VerificationEnded(difference=describe(state)) if is_proven else None


def describe(state: Verification) -> str:
    """Return the differences as text, what has stood longest first."""
    texts = [each.text for each in sorted(state.standing, key=lambda each: state.standing[each])]
    more = len(texts) - _SHOWN
    shown = "; ".join(texts[:_SHOWN])
    return f"{shown}; and {more} more like that" if more > 0 else shown


def _of_instance(
    planned: VrrpInstance, found: InstanceDump, expected: Expectation, held: set[Held]
) -> Iterator[Mismatch]:
    identifier = planned.virtual_router_id
    if found.virtual_router_id != identifier:
        text = f"{planned.name} has the id {found.virtual_router_id} instead of {identifier}"
        yield Mismatch(text=text)
    pairs = frozenset(_pairs(planned))
    if found.state is VrrpState.MASTER:
        for interface, address in pairs - held:
            text = f"{planned.name} is MASTER and {address} is not on {interface}"
            yield Mismatch(text=text, moment=found.last_transition)
    else:
        for interface, address in pairs & expected.moved & held:
            text = f"{planned.name} is {found.state.value} and {address} is on {interface}"
            yield Mismatch(text=text, moment=found.last_transition)


def _pairs(instance: VrrpInstance) -> Iterator[Held]:
    """Yield what an instance holds while MASTER; what is parked elsewhere means nothing."""
    for each in instance.all_addresses:
        if each.interface is None:
            yield instance.interface, each.address
