"""When the agent probes the monitored ports itself, and what the answers mean.

keepalived 2.2.7 runs scripts at whole seconds only. Probes follow its rules: no instance may hold
an address before the first result, which decides at once, whatever rise and fall are (measured);
after it, ``fall`` bad rounds in a row or ``rise`` good ones change the verdict.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

if TYPE_CHECKING:
    from ipfailover_agent.model import PortCheck, PortProbes


class ProbePolicy(Struct, frozen=True, kw_only=True):
    """What is probed and how; ``interval`` and ``timeout`` in seconds.

    ``ports``: at least one, none twice. Where a script is run, one stands for all that it checks.
    """

    ports: tuple[PortCheck, ...]
    interval: float
    timeout: float
    rise: int = 1
    fall: int = 1


def policy_for(probes: PortProbes) -> ProbePolicy:
    """Return how the ports of a check are probed; where a script is run, how that is judged."""
    return ProbePolicy(
        ports=probes.ports or probes.listeners[:1],
        interval=probes.interval,
        timeout=probes.timeout,
        rise=probes.rise,
        fall=probes.fall,
    )


# --- events -------------------------------------------------------------------------------------


class ProbeSign(enum.Enum):
    """Events that have no more to them."""

    BEGAN = "probe from now on; what is known of the ports stays known"
    DEADLINE_PASSED = "ProbeState.deadline has passed, and no answered connection is unseen"
    ENDED = "probe no more"


class ConnectResult(Struct, frozen=True, kw_only=True):
    """The result of one connection.

    ``failure`` is the reason why the port does not answer, empty where it does.
    ``is_inconclusive``: it failed on this side (no descriptor to be had, say), which shows nothing
    about the port. ``seconds`` is how long it took.
    """

    port: PortCheck
    failure: str = ""
    is_inconclusive: bool = False
    seconds: float = 0.0


class ConnectsEnded(Struct, frozen=True):
    """Everything that was known at one moment."""

    answers: tuple[ConnectResult, ...]


class ProbeRequested(Struct, frozen=True, kw_only=True):
    """Something happened to a port: probe at once; ``cause`` names it, for people."""

    cause: str


Event = ProbeSign | ConnectsEnded | ProbeRequested


# --- actions ------------------------------------------------------------------------------------


class Connect(Struct, frozen=True):
    """Begin a connection; its answer is wanted."""

    port: PortCheck


class Close(Struct, frozen=True):
    """Give up a connection that has not been answered."""

    port: PortCheck


class ReportHealth(Struct, frozen=True, kw_only=True):
    """The verdict is known for the first time, or changed; ``reason`` is empty when healthy.

    ``cause`` names what began the deciding round, empty where it was time for it.
    """

    is_healthy: bool
    reason: str
    cause: str = ""


Action = Connect | Close | ReportHealth


class ProbeState(Struct, frozen=True, kw_only=True):
    """What is remembered between two events.

    Attributes:
        is_healthy: the verdict; None before the first one, which counts as unhealthy.
        reason: why the last bad round was bad, until the verdict is good again.
        streak: rounds in a row that contradict the verdict.
        due: when the next round begins, None unless probing.
        limit: when the present round is too late.
        waiting: ports of the present round that have not answered.
        trouble: what kept the agent from probing in the present or the last round; empty normally.
        slowest: seconds of the slowest answer in the present round so far.
        took: seconds of the last conclusive round; None before it.
        cause: what had the present round begin out of turn, or a failed one that counts towards
            the next verdict; empty where there is no such thing.
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
    cause: str = ""

    @property
    def is_steady(self) -> bool:
        """Return whether the verdict is good and no round contradicts it."""
        return self.is_healthy is True and not self.streak

    @property
    def deadline(self) -> float | None:
        """Return when ``ProbeSign.DEADLINE_PASSED`` is due."""
        return self.limit if self.waiting else self.due


def step(
    state: ProbeState, event: Event, now: float, policy: ProbePolicy
) -> tuple[ProbeState, tuple[Action, ...]]:
    """Return the state after an event and what has to be done, in that order.

    A round is good when every port accepted a connection, bad as soon as one refused or the
    timeout passed, and shows nothing when the agent could not probe. Rounds begin on a grid of
    ``interval``; those that passed unseen, or that a longer timeout overlaps, are left out.

    A round that is asked for begins at once, and moves the grid. It takes the place of the first
    failure only: while one counts already, or the verdict is bad, the next round decides when it
    is time for it. After a bad verdict that is an interval later, so that an application that
    crashes again and again has its addresses moved at most once an interval.
    """
    match event:
        case ProbeSign.BEGAN:
            closed = _closing(state.waiting)
            state, actions = _begin_round(replace(state, due=None), now, policy)
            return state, (*closed, *actions)
        case ConnectsEnded(answers=answers):
            return _answered(state, answers, now, policy)
        case ProbeSign.DEADLINE_PASSED:
            return _deadline_passed(state, now, policy)
        case ProbeRequested(cause=cause):
            return _asked(state, cause, now, policy)
        case ProbeSign.ENDED:
            return replace(state, due=None, waiting=(), cause=""), _closing(state.waiting)
        case _:
            assert_never(event)


def _asked(
    state: ProbeState, cause: str, now: float, policy: ProbePolicy
) -> tuple[ProbeState, tuple[Action, ...]]:
    """Begin a round out of turn, unless it is not probed, or would count before its time.

    One that was asked for and waits for its answers is left alone: it is given up at its timeout.
    """
    if state.due is None or not state.is_steady or (state.waiting and state.cause):
        return state, ()
    closed = _closing(state.waiting)
    state, actions = _begin_round(replace(state, due=None), now, policy)
    return replace(state, cause=cause), (*closed, *actions)


def _begin_round(
    state: ProbeState, now: float, policy: ProbePolicy
) -> tuple[ProbeState, tuple[Action, ...]]:
    due = now if state.due is None else state.due
    due += policy.interval * (int(max(now - due, 0.0) / policy.interval) + 1)
    if due <= now:  # by the rounding of floats
        due = now + policy.interval
    limit = now + policy.timeout
    cause = state.cause if state.streak else ""
    state = replace(
        state, due=due, limit=limit, waiting=policy.ports, trouble="", slowest=0.0, cause=cause
    )
    return state, tuple(Connect(each) for each in policy.ports)


def _answered(
    state: ProbeState, answers: tuple[ConnectResult, ...], now: float, policy: ProbePolicy
) -> tuple[ProbeState, tuple[Action, ...]]:
    waiting = list(state.waiting)
    slowest = state.slowest
    failed: list[ConnectResult] = []
    unclear: list[ConnectResult] = []
    for answer in answers:
        if answer.port in waiting:
            waiting.remove(answer.port)
            slowest = max(slowest, answer.seconds)
            if answer.failure:
                (unclear if answer.is_inconclusive else failed).append(answer)
    left = tuple(waiting)
    if failed:
        return _conclude(state, _in_words(failed), left, now, policy, took=slowest)
    if unclear:
        return replace(state, waiting=(), trouble=_in_words(unclear)), _closing(left)
    if state.waiting and not left:
        return _conclude(state, "", left, now, policy, took=slowest)
    return replace(state, waiting=left, slowest=slowest), ()


def _deadline_passed(
    state: ProbeState, now: float, policy: ProbePolicy
) -> tuple[ProbeState, tuple[Action, ...]]:
    actions: tuple[Action, ...] = ()
    if state.waiting and now >= state.limit:
        late = [
            ConnectResult(port=each, failure=f"timed out after {policy.timeout:g} s")
            for each in state.waiting
        ]
        reason = _in_words(late)
        state, actions = _conclude(state, reason, state.waiting, now, policy, took=policy.timeout)
    if state.due is not None and now >= state.due and not state.waiting:
        state, begun = _begin_round(state, now, policy)
        actions += begun
    return state, actions


def _conclude(
    state: ProbeState,
    failure: str,
    waiting: tuple[PortCheck, ...],
    now: float,
    policy: ProbePolicy,
    *,
    took: float,
) -> tuple[ProbeState, tuple[Action, ...]]:
    """Weigh a round that ended, a good one where ``failure`` is empty; no port is waited for."""
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
    due = state.due
    if due is not None and state.is_healthy:
        due = max(due, now + policy.interval)
    report = ReportHealth(is_healthy=is_good, reason=failure, cause="" if is_good else state.cause)
    state = replace(
        state,
        waiting=(),
        is_healthy=is_good,
        streak=0,
        reason=failure,
        took=took,
        due=due,
        cause="",
    )
    return state, (*closed, report)


def _closing(ports: tuple[PortCheck, ...]) -> tuple[Action, ...]:
    return tuple(Close(each) for each in ports)


def _in_words(answers: list[ConnectResult]) -> str:
    return "; ".join(
        f"port {each.port.port} of {each.port.address}: {each.failure}" for each in answers
    )
