"""Whether a reload led to what was planned: the plan beside keepalived's word and the kernel's.

What agrees once is believed at once. What differs has to differ in the same way over several
looks and seconds, with no transition of the instance in between: elections, handovers, checks,
holds and renewals go on during a reload, and a machine that is late is no reason to take a good
configuration back.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ipfailover_agent.core.model import VrrpState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ipfailover_agent.core.model import IPAddress, KeepalivedConfig, VrrpInstance
    from ipfailover_agent.core.supervising.dump import InstanceDump

#: An interface's name and a virtual address on it, as keepalived sets it.
Held = tuple[str, "IPAddress"]

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every delay by name, in seconds."""

    look_every: float = 0.5
    standing_least: float = 3.0  # for so long a difference must stand
    looks_least: int = 5  # and in so many looks, however late they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a reload is to lead to.

    Attributes:
        config: what keepalived was given.
        gone: what this node held before the reload and is to hold no more.
        moved: what it held before in another instance: its new one may hold it, as MASTER only.
    """

    config: KeepalivedConfig
    gone: frozenset[Held] = frozenset()
    moved: frozenset[Held] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One thing that is not as planned.

    ``text`` says it; ``moment`` changes with every transition of the instance in question.
    """

    text: str
    moment: float = 0.0


class Outcome(enum.Enum):
    """What is known of a reload."""

    AGREES = "agrees"
    PENDING = "pending"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What differs, in ``standing``: since when (monotonic seconds), and in how many looks."""

    standing: Mapping[Mismatch, tuple[float, int]] = field(default_factory=dict)


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
    expected: Expectation, dump: Collection[InstanceDump], held: Collection[Held]
) -> tuple[Mismatch, ...]:
    """Return everything that is not as planned.

    Args:
        expected: the plan.
        dump: keepalived's answer.
        held: the host addresses (/32, /128) that the kernel shows, by interface.
    """
    return tuple(_mismatches(expected, {each.name: each for each in dump}, frozenset(held)))


def step(
    state: Verification, found: Collection[Mismatch], now: float, policy: Policy
) -> tuple[Verification, Outcome]:
    """Return the state after a look at ``now`` (monotonic seconds) and what is known by now."""
    if not found:
        return state, Outcome.AGREES
    standing = {}
    for each in found:
        since, looks = state.standing.get(each, (now, 0))
        standing[each] = (since, looks + 1)
    state = replace(state, standing=standing)
    proven = any(
        now - since >= policy.standing_least and looks >= policy.looks_least
        for since, looks in standing.values()
    )
    return state, Outcome.DIFFERS if proven else Outcome.PENDING


def describe(state: Verification) -> str:
    """Return in words what differs, what has stood longest first."""
    texts = [each.text for each in sorted(state.standing, key=lambda each: state.standing[each])]
    more = len(texts) - _SHOWN
    shown = "; ".join(texts[:_SHOWN])
    return f"{shown}; and {more} more like that" if more > 0 else shown


def _mismatches(
    expected: Expectation, dump: Mapping[str, InstanceDump], held: frozenset[Held]
) -> Iterator[Mismatch]:
    planned = {each.name: each for each in expected.config.instances}
    for name in dump.keys() - planned.keys():
        yield Mismatch(text=f"keepalived runs {name}, which is not planned")
    for name, instance in planned.items():
        if name not in dump:
            yield Mismatch(text=f"keepalived does not run {name}")
        else:
            yield from _of_instance(instance, dump[name], expected, held)
    for interface, address in expected.gone & held:
        yield Mismatch(text=f"{address} is still on {interface}")


def _of_instance(
    planned: VrrpInstance, found: InstanceDump, expected: Expectation, held: frozenset[Held]
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
