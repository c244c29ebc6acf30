"""When the agent probes the monitored ports itself, and what the answers mean.

keepalived 2.2.7 runs scripts at whole seconds only. Of how it treats them this keeps: nobody may
hold an address before the first result, which decides at once, whatever rise and fall say
(measured); after it, ``fall`` bad rounds in a row or ``rise`` good ones change the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

if TYPE_CHECKING:
    from ipfailover_agent.core.model import PortCheck, PortProbes


class ProbePolicy(Struct, frozen=True, kw_only=True):
    """What is probed and how; ``interval`` and ``timeout`` in seconds.

    ``ports``: at least one, none twice.
    """

    ports: tuple[PortCheck, ...]
    interval: float
    timeout: float
    rise: int = 1
    fall: int = 1


def policy_for(probes: PortProbes) -> ProbePolicy:
    """Return how the ports of a check are probed."""
    return ProbePolicy(
        ports=probes.ports,
        interval=probes.interval,
        timeout=probes.timeout,
        rise=probes.rise,
        fall=probes.fall,
    )


# --- events -------------------------------------------------------------------------------------


class Begin(Struct, frozen=True):
    """Probe from now on; what is known of the ports stays known."""


class Answer(Struct, frozen=True, kw_only=True):
    """What became of one connection.

    ``failure`` says in words why there is none, empty where there is one. ``is_inconclusive``: it
    failed on our side (no descriptor to be had, say), which says nothing about the port.
    ``seconds`` is how long it took.
    """

    port: PortCheck
    failure: str = ""
    is_inconclusive: bool = False
    seconds: float = 0.0


class Answered(Struct, frozen=True):
    """Everything that was known at one moment."""

    answers: tuple[Answer, ...]


class DeadlinePassed(Struct, frozen=True):
    """``ProbeState.deadline`` lies behind us, and no connection has been answered unseen."""


class End(Struct, frozen=True):
    """Probe no more."""


Event = Begin | Answered | DeadlinePassed | End


# --- actions ------------------------------------------------------------------------------------


class Connect(Struct, frozen=True):
    """Begin a connection; its answer is wanted."""

    port: PortCheck


class Close(Struct, frozen=True):
    """Give up a connection that has not been answered."""

    port: PortCheck


class Report(Struct, frozen=True, kw_only=True):
    """The verdict is known for the first time, or changed; ``reason`` is empty when healthy."""

    is_healthy: bool
    reason: str


Action = Connect | Close | Report


class ProbeState(Struct, frozen=True, kw_only=True):
    """What is remembered between two events.

    Attributes:
        is_healthy: the verdict; None before the first one, which counts as unhealthy.
        reason: why the last bad round was bad, until the verdict is good again.
        streak: rounds in a row that speak against the verdict.
        due: when the next round begins, None unless probing.
        limit: when the present round is too late.
        waiting: ports of the present round that have not answered.
        trouble: what kept us from probing in the present or the last round; empty normally.
        slowest: seconds of the slowest answer in the present round so far.
        took: seconds that the last round took which said something; None before it.
    """

    is_healthy: bool | None = None
    reason: str = "not probed yet"
    streak: int = 0
    due: float | None = None
    limit: float = 0.0
    waiting: tuple[PortCheck, ...] = field(default=())
    trouble: str = ""
    slowest: float = 0.0
    took: float | None = None

    @property
    def deadline(self) -> float | None:
        """Return when DeadlinePassed is due."""
        return self.limit if self.waiting else self.due


def step(
    state: ProbeState, event: Event, now: float, policy: ProbePolicy
) -> tuple[ProbeState, tuple[Action, ...]]:
    """Return the state after an event and what has to be done, in that order.

    A round is good when every port accepted a connection, bad as soon as one refused or the
    timeout passed, and says nothing when we could not probe. Rounds begin on a grid of
    ``interval``; those that we slept through, or that a longer timeout overlaps, are left out.
    """
    match event:
        case Begin():
            closed = _closing(state.waiting)
            state, actions = _begin_round(replace(state, due=None), now, policy)
            return state, (*closed, *actions)
        case Answered(answers=answers):
            return _answered(state, answers, policy)
        case DeadlinePassed():
            return _deadline_passed(state, now, policy)
        case End():
            return replace(state, due=None, waiting=()), _closing(state.waiting)
        case _:
            assert_never(event)


def _begin_round(
    state: ProbeState, now: float, policy: ProbePolicy
) -> tuple[ProbeState, tuple[Action, ...]]:
    due = now if state.due is None else state.due
    due += policy.interval * (int(max(now - due, 0.0) / policy.interval) + 1)
    if due <= now:  # by the rounding of floats
        due = now + policy.interval
    limit = now + policy.timeout
    state = replace(state, due=due, limit=limit, waiting=policy.ports, trouble="", slowest=0.0)
    return state, tuple(Connect(each) for each in policy.ports)


def _answered(
    state: ProbeState, answers: tuple[Answer, ...], policy: ProbePolicy
) -> tuple[ProbeState, tuple[Action, ...]]:
    waiting = list(state.waiting)
    slowest = state.slowest
    failed: list[Answer] = []
    unclear: list[Answer] = []
    for answer in answers:
        if answer.port in waiting:
            waiting.remove(answer.port)
            slowest = max(slowest, answer.seconds)
            if answer.failure:
                (unclear if answer.is_inconclusive else failed).append(answer)
    left = tuple(waiting)
    if failed:
        return _conclude(state, _in_words(failed), left, policy, slowest)
    if unclear:
        return replace(state, waiting=(), trouble=_in_words(unclear)), _closing(left)
    if state.waiting and not left:
        return _conclude(state, "", left, policy, slowest)
    return replace(state, waiting=left, slowest=slowest), ()


def _deadline_passed(
    state: ProbeState, now: float, policy: ProbePolicy
) -> tuple[ProbeState, tuple[Action, ...]]:
    actions: tuple[Action, ...] = ()
    if state.waiting and now >= state.limit:
        late = [
            Answer(port=each, failure=f"timed out after {policy.timeout:g} s")
            for each in state.waiting
        ]
        state, actions = _conclude(state, _in_words(late), state.waiting, policy, policy.timeout)
    if state.due is not None and now >= state.due and not state.waiting:
        state, begun = _begin_round(state, now, policy)
        actions += begun
    return state, actions


def _conclude(
    state: ProbeState,
    failure: str,
    waiting: tuple[PortCheck, ...],
    policy: ProbePolicy,
    took: float,
) -> tuple[ProbeState, tuple[Action, ...]]:
    """Weigh a round that ended, a good one where ``failure`` is empty; nobody is waited for."""
    closed = _closing(waiting)
    is_good = not failure
    if state.is_healthy == is_good:
        settled = ProbeState(
            is_healthy=is_good, reason=failure, due=state.due, limit=state.limit, took=took
        )
        return settled, closed
    streak = state.streak + 1
    needed = policy.rise if is_good else policy.fall
    if state.is_healthy is not None and streak < needed:
        reason = failure or state.reason
        return replace(state, waiting=(), streak=streak, reason=reason, took=took), closed
    state = replace(state, waiting=(), is_healthy=is_good, streak=0, reason=failure, took=took)
    return state, (*closed, Report(is_healthy=is_good, reason=failure))


def _closing(ports: tuple[PortCheck, ...]) -> tuple[Action, ...]:
    return tuple(Close(each) for each in ports)


def _in_words(answers: list[Answer]) -> str:
    return "; ".join(
        f"port {each.port.port} of {each.port.address}: {each.failure}" for each in answers
    )
