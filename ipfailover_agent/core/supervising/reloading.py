"""How a reload goes on once its candidate was accepted: one step or two, each of them verified.

Part of :mod:`core.supervising.lifecycle`, which calls these while keepalived runs.
"""

from __future__ import annotations

import signal

from msgspec.structs import replace

from ipfailover_agent.core.supervising.supervision import (
    Action,
    Activate,
    AgentPhase,
    ConcludeVerification,
    EndReload,
    Lifecycle,
    PlaceStep,
    Prepare,
    Reload,
    RollBack,
    SignalGroup,
    SignalKeepalived,
    SupervisionPolicy,
    VerificationEnded,
    Verify,
)

Step = tuple[Lifecycle, tuple[Action, ...]]

UNDER_WAY = frozenset({Reload.APPLYING, Reload.VERIFYING})

_UNCONFIRMED = "keepalived did not confirm the reload"
_UNSEEN = "whether keepalived does what was planned could not be seen"
_ENDED = "keepalived ended during the reload"
_RETURNED = "rolled back after the first of two steps"
_ROLLED_BACK = "rolled back, since keepalived did not do what was planned"


def begin(state: Lifecycle, signals: int, now: float, policy: SupervisionPolicy) -> Step:
    """Put an accepted candidate in force, by one SIGHUP or two."""
    state = replace(state, reload=Reload.APPLYING, signals_left=signals - 1)
    state = _wait(state, policy.reload_grace, now, policy)
    placed = (PlaceStep(),) if signals > 1 else ()
    return state, (Activate(), *placed, SignalKeepalived(signal=signal.SIGHUP))


def end(
    state: Lifecycle, actions: tuple[Action, ...], reason: str = "", *, is_confirmed: bool = True
) -> Step:
    """Close a reload; begin the next one if it was asked for meanwhile."""
    again = state.reload_again
    state = replace(
        state,
        reload=Reload.PREPARING if again else Reload.NONE,
        reload_again=False,
        signals_left=0,
        difference="",
        returns=False,
        deadline=None,
    )
    end = EndReload(reason=reason, is_confirmed=is_confirmed)
    return state, (*actions, end, *((Prepare(),) if again else ()))


def completed(state: Lifecycle, now: float, policy: SupervisionPolicy) -> Step:
    """keepalived reported that it has read its file: have its instances looked at."""
    if state.phase is not AgentPhase.RUNNING or state.reload is not Reload.APPLYING:
        return state, ()
    state = replace(state, reload=Reload.VERIFYING)
    return _wait(state, policy.verify_grace, now, policy), (Verify(),)


def verified(
    state: Lifecycle, event: VerificationEnded, now: float, policy: SupervisionPolicy
) -> Step:
    """Go on with what is there as planned; take the reload back where it is not.

    keepalived is ended for that, in an orderly way, and started with the configuration before: of
    one that does something else than its file has, no further SIGHUP can be relied on.
    """
    if state.phase is not AgentPhase.RUNNING or state.reload is not Reload.VERIFYING:
        return state, ()
    if event.difference:
        state = replace(
            state,
            reload=Reload.ROLLING_BACK,
            difference=_and_then(state.difference, f"{_ROLLED_BACK}: {event.difference}"),
            signals_left=0,
            deadline=now + policy.stop_grace,
        )
        return state, (SignalKeepalived(signal=signal.SIGTERM),)
    if event.doubt:
        return _on_doubt(state, f"{_UNSEEN}: {event.doubt}", now, policy)
    if state.signals_left:
        return _next_step(state, now, policy)
    return end(state, (), state.difference)


def deadline_passed(state: Lifecycle, now: float, policy: SupervisionPolicy) -> Step:
    """keepalived, or the verification, has taken too long."""
    match state.reload:
        case Reload.APPLYING:
            return _on_doubt(state, _UNCONFIRMED, now, policy)
        case Reload.VERIFYING:
            # answered at once; the deadline is only there so that there is always one
            state = replace(state, deadline=now + policy.verify_grace)
            return state, (ConcludeVerification(),)
        case Reload.ROLLING_BACK:
            state = replace(state, deadline=now + policy.kill_grace)
            return state, (SignalGroup(signal=signal.SIGKILL),)
        case _:
            return replace(state, deadline=None), ()


def cut_short(state: Lifecycle) -> EndReload:
    """Return the verdict on a reload during which keepalived ended, if only on purpose."""
    if state.reload is Reload.ROLLING_BACK:
        return EndReload(reason=state.difference)
    return EndReload(reason=_and_then(state.difference, _ENDED))


def _wait(state: Lifecycle, grace: float, now: float, policy: SupervisionPolicy) -> Lifecycle:
    """Wait less long for a first step: what it takes down is on no node meanwhile."""
    if state.signals_left:
        grace = min(grace, policy.first_step_grace)
    return replace(state, deadline=now + grace)


def _next_step(state: Lifecycle, now: float, policy: SupervisionPolicy) -> Step:
    state = replace(
        state,
        reload=Reload.APPLYING,
        signals_left=state.signals_left - 1,
        deadline=now + policy.reload_grace,
    )
    return state, (PlaceStep(), SignalKeepalived(signal=signal.SIGHUP))


def _on_doubt(state: Lifecycle, reason: str, now: float, policy: SupervisionPolicy) -> Step:
    """Go no further, and end nothing that may serve: whether a step is in force is unknown.

    After a first step keepalived is given the configuration before once more: that moves no
    address from one instance to another, so it costs none, in force or not. The second step would
    lose some, were the first not in force. What one step brings stays in place.
    """
    if state.returns:
        return end(state, (), _and_then(state.difference, reason))
    if not state.signals_left:
        return end(state, (), reason, is_confirmed=False)
    state = replace(
        state,
        reload=Reload.APPLYING,
        signals_left=0,
        returns=True,
        difference=f"{_RETURNED}: {reason}",
        deadline=now + policy.reload_grace,
    )
    return state, (RollBack(), SignalKeepalived(signal=signal.SIGHUP))


def _and_then(before: str, then: str) -> str:
    return f"{before}; then: {then}" if before else then
