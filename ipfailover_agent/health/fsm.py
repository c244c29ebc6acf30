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


def asked_ports(probes: PortProbes) -> tuple[PortCheck, ...]:
    """Return what a round asks; where a script is run, one port stands for all that it checks."""
    return probes.ports or probes.listeners[:1]


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


ProbeStep = tuple[ProbeState, tuple[Action, ...]]


def step(state: ProbeState, event: Event, now: float, probes: PortProbes) -> ProbeStep:
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
            return _begin_round(replace(state, due=None), now, probes)
        case ConnectsEnded(answers=answers):
            return _answered(state, answers, now, probes)
        case ProbeSign.DEADLINE_PASSED:
            return _deadline_passed(state, now, probes)
        case ProbeRequested(cause=cause):
            # One that was asked for and waits for its answers is given up at its timeout.
            if state.due is None or not state.is_steady or (state.waiting and state.cause):
                return state, ()
            state, actions = _begin_round(replace(state, due=None), now, probes)
            return replace(state, cause=cause), actions
        case ProbeSign.ENDED:
            return replace(state, due=None, waiting=(), cause=""), _closing(state.waiting)
        case _:
            assert_never(event)


def _begin_round(state: ProbeState, now: float, probes: PortProbes) -> ProbeStep:
    """Begin a round on the grid, and give up one that waits for its answers."""
    due = now if state.due is None else state.due
    due += probes.interval * (int(max(now - due, 0.0) / probes.interval) + 1)
    if due <= now:  # by the rounding of floats
        due = now + probes.interval
    limit, ports = now + probes.timeout, asked_ports(probes)
    cause = state.cause if state.streak else ""
    begun = replace(
        state, due=due, limit=limit, waiting=ports, trouble="", slowest=0.0, cause=cause
    )
    return begun, (*_closing(state.waiting), *map(Connect, ports))


def _answered(
    state: ProbeState, answers: tuple[ConnectResult, ...], now: float, probes: PortProbes
) -> ProbeStep:
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
    is_over = bool(state.waiting) and not waiting
    state = replace(state, waiting=tuple(waiting), slowest=slowest)
    if failed:
        return _conclude(state, _in_words(failed), now, probes, took=slowest)
    if unclear:
        return replace(state, waiting=(), trouble=_in_words(unclear)), _closing(state.waiting)
    return _conclude(state, "", now, probes, took=slowest) if is_over else (state, ())


def _deadline_passed(state: ProbeState, now: float, probes: PortProbes) -> ProbeStep:
    actions: tuple[Action, ...] = ()
    if state.waiting and now >= state.limit:
        late = [
            ConnectResult(port=each, failure=f"timed out after {probes.timeout:g} s")
            for each in state.waiting
        ]
        state, actions = _conclude(state, _in_words(late), now, probes, took=probes.timeout)
    if state.due is not None and now >= state.due and not state.waiting:
        state, begun = _begin_round(state, now, probes)
        actions += begun
    return state, actions


def _conclude(
    state: ProbeState, failure: str, now: float, probes: PortProbes, *, took: float
) -> ProbeStep:
    """Weigh a round that ended, a good one where ``failure`` is empty; no port is waited for."""
    actions = _closing(state.waiting)
    is_good, due = not failure, state.due
    if state.is_healthy != is_good:
        streak = state.streak + 1
        if state.is_healthy is not None and streak < (probes.rise if is_good else probes.fall):
            reason = failure or state.reason
            return replace(state, waiting=(), streak=streak, reason=reason, took=took), actions
        if due is not None and state.is_healthy:
            due = max(due, now + probes.interval)
        cause = "" if is_good else state.cause
        actions += (ReportHealth(is_healthy=is_good, reason=failure, cause=cause),)
    settled = ProbeState(is_healthy=is_good, reason=failure, due=due, limit=state.limit, took=took)
    return settled, actions


def _closing(ports: tuple[PortCheck, ...]) -> tuple[Action, ...]:
    return tuple(Close(each) for each in ports)


def _in_words(answers: list[ConnectResult]) -> str:
    return "; ".join(
        f"port {each.port.port} of {each.port.address}: {each.failure}" for each in answers
    )
