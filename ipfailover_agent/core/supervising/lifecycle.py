"""Supervision of keepalived as a state machine: what happened -> what to do.

:func:`step` is pure. The agent feeds it events as they happen, with the monotonic time, and
carries out the actions in order. ``Lifecycle.deadline`` is when to send
``SupervisionDeadlinePassed``.

keepalived is started only with files that were tested a moment before, is signalled only with
such files, and whenever it ends, whatever the reason, what is left of its process group is ended
and its addresses are released before anything else happens.
"""

from __future__ import annotations

import signal
from typing import assert_never

from msgspec.structs import replace

from ipfailover_agent.core.errors import ExitCode
from ipfailover_agent.core.supervising import reloading
from ipfailover_agent.core.supervising.keepalived import permanent_exit_code
from ipfailover_agent.core.supervising.supervision import (
    AbandonPreparation,
    Action,
    Activate,
    AgentPhase,
    AgentStarted,
    CandidateVerdict,
    CheckGroup,
    EndReload,
    Event,
    Finish,
    GroupGone,
    InputsChanged,
    KeepalivedEnded,
    KeepalivedReady,
    Lifecycle,
    PreparationEnded,
    Prepare,
    ReleaseAddresses,
    Reload,
    ReloadCompleted,
    ReloadRequested,
    RestartWanted,
    Restore,
    RollBack,
    ScheduleRestart,
    SignalGroup,
    SignalKeepalived,
    Spawn,
    Spawned,
    SpawnFailed,
    StopRequested,
    SupervisionDeadlinePassed,
    SupervisionPolicy,
    TellRestart,
    VerificationEnded,
)

Step = tuple[Lifecycle, tuple[Action, ...]]

_KEEPALIVED_LIVES = frozenset(
    {
        AgentPhase.STARTING,
        AgentPhase.RUNNING,
        AgentPhase.RESTARTING,
        AgentPhase.STOPPING,
        AgentPhase.KILLING,
    }
)
_REFUSED = "the new configuration was refused"
_STOPPING = "the agent is stopping"


def backoff_delay(attempts: int, policy: SupervisionPolicy) -> float:
    """Return the seconds before start number ``attempts`` + 1, growing up to the limit."""
    # The exponent is bounded, a float is not: 2.0 ** 1024 would raise.
    exponent = min(max(attempts - 1, 0), 64)
    return min(policy.backoff_initial * policy.backoff_factor**exponent, policy.backoff_limit)


def step(state: Lifecycle, event: Event, now: float, policy: SupervisionPolicy) -> Step:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order.

    An event that no longer matters in a phase leaves everything as it is.
    """
    if state.phase is AgentPhase.STOPPED:
        return state, ()
    match event:
        case AgentStarted():
            # What a killed agent left must not wait for a configuration that can be used.
            state, actions = _prepare(state)
            return state, (ReleaseAddresses(), *actions)
        case PreparationEnded():
            return _on_preparation_ended(state, event, now, policy)
        case Spawned(pid=pid):
            return replace(state, pid=pid, deadline=now + policy.okay_delay), ()
        case SpawnFailed(exit_code=code):
            return _finish(state, code, "keepalived cannot be started")
        case KeepalivedReady():
            return _on_ready(state, now)
        case ReloadCompleted():
            return reloading.completed(state, now, policy)
        case VerificationEnded():
            return reloading.verified(state, event, now, policy)
        case KeepalivedEnded():
            return _on_ended(state, event, now, policy)
        case GroupGone():
            return _on_group_gone(state, now, policy)
        case ReloadRequested() | InputsChanged():
            is_reload = isinstance(event, ReloadRequested)
            return _on_reload_requested(state) if is_reload else _on_inputs_changed(state)
        case RestartWanted(reason=reason):
            return _on_restart_wanted(state, reason, now, policy)
        case StopRequested():
            return _on_stop_requested(state, now, policy)
        case SupervisionDeadlinePassed():
            return _on_deadline(state, now, policy)
    assert_never(event)


def _prepare(state: Lifecycle, reload: Reload = Reload.NONE) -> Step:
    """Build the configuration that keepalived will be started with.

    ``reload`` PREPARING: a reload was requested, and its verdict is awaited.
    """
    state = replace(
        state, phase=AgentPhase.PREPARING, deadline=None, reload=reload, reload_again=False
    )
    return state, (Prepare(),)


def _finish(state: Lifecycle, code: ExitCode, reason: str) -> Step:
    state = replace(state, phase=AgentPhase.STOPPED, deadline=None, pid=None)
    return state, (ReleaseAddresses(), Finish(exit_code=code, reason=reason))


def _on_preparation_ended(
    state: Lifecycle, event: PreparationEnded, now: float, policy: SupervisionPolicy
) -> Step:
    if state.phase is AgentPhase.PREPARING:
        return _on_first_candidate(state, event, now, policy)
    if state.phase is not AgentPhase.RUNNING or state.reload is not Reload.PREPARING:
        return state, ()
    match event.verdict:
        case CandidateVerdict.ACCEPTED if event.signals:
            return reloading.begin(state, event.signals, now, policy)
        case CandidateVerdict.ACCEPTED:
            return reloading.end(state, (Activate(),))
        case CandidateVerdict.UNCHANGED:
            return reloading.end(state, ())
        case CandidateVerdict.REFUSED | CandidateVerdict.NOT_READY:
            return reloading.end(state, (), _REFUSED)
    assert_never(event.verdict)


def _on_first_candidate(
    state: Lifecycle, event: PreparationEnded, now: float, policy: SupervisionPolicy
) -> Step:
    """Start keepalived with what was prepared, or with what ran before, or wait, or end."""
    accepted = event.verdict in {CandidateVerdict.ACCEPTED, CandidateVerdict.UNCHANGED}
    report: tuple[Action, ...] = ()
    if state.reload is Reload.PREPARING:
        report = (EndReload(reason="" if accepted else _REFUSED),)
        state = replace(state, reload=Reload.NONE)
    if accepted:
        state = replace(state, phase=AgentPhase.STARTING, has_active=True, ready_at=None)
        return state, (*report, ReleaseAddresses(), Activate(), Spawn())
    if state.reload_again:
        # Something was changed meanwhile: look at that before anything is given up.
        state, actions = _prepare(state, Reload.PREPARING)
        return state, (*report, *actions)
    if event.verdict is CandidateVerdict.REFUSED and state.has_active:
        # What ran before was good: a bad edit must not cost the addresses.
        state = replace(state, phase=AgentPhase.STARTING, ready_at=None)
        return state, (*report, ReleaseAddresses(), Restore(), Spawn())
    if event.verdict is CandidateVerdict.NOT_READY or event.may_change:
        deadline = now + policy.waiting_interval
        return replace(state, phase=AgentPhase.WAITING, deadline=deadline), report
    unusable = event.exit_code is ExitCode.CONFIG
    reason = "the configuration cannot be used" if unusable else "keepalived cannot be started"
    state, actions = _finish(state, event.exit_code, reason)
    return state, (*report, *actions)


def _on_ready(state: Lifecycle, now: float) -> Step:
    if state.phase is not AgentPhase.STARTING:
        return state, ()
    state = replace(state, phase=AgentPhase.RUNNING, ready_at=now, deadline=None)
    if not state.reload_again:
        return state, ()
    return replace(state, reload=Reload.PREPARING, reload_again=False), (Prepare(),)


def _on_ended(
    state: Lifecycle, event: KeepalivedEnded, now: float, policy: SupervisionPolicy
) -> Step:
    if state.phase not in _KEEPALIVED_LIVES:
        return state, ()
    actions: tuple[Action, ...] = ()
    if state.reload is Reload.PREPARING:
        # It will be prepared anew for the next start, and then gets its verdict.
        actions = (AbandonPreparation(),)
    elif state.reload is not Reload.NONE:
        actions = (reloading.cut_short(state),)
    state = replace(
        state,
        phase=AgentPhase.CLEARING,
        ended=event,
        clearing_since=now,
        deadline=now + policy.clear_interval,
        rolls_back=state.reload is Reload.ROLLING_BACK
        or (state.reload in reloading.UNDER_WAY and not event.host_changed),
        reload_again=state.reload_again or state.reload is Reload.PREPARING,
        restarts=state.phase is AgentPhase.RESTARTING,
        reload=Reload.NONE,
        signals_left=0,
        difference="",
    )
    # The VRRP child of a killed parent drops its addresses on TERM and then lingers for 1 s.
    return state, (*actions, SignalGroup(signal=signal.SIGTERM), CheckGroup())


def _on_group_gone(state: Lifecycle, now: float, policy: SupervisionPolicy) -> Step:
    if state.phase is not AgentPhase.CLEARING:
        return state, ()
    ended = state.ended or KeepalivedEnded(exit_code=None)
    lasted = state.ready_at is not None and now - state.ready_at >= policy.stable_after
    attempts = 1 if lasted else state.attempts + 1
    back = Restore() if state.returns else RollBack()
    is_restart = state.restarts
    state = replace(
        state, pid=None, ended=None, ready_at=None, deadline=None, returns=False, restarts=False
    )
    if state.stops:
        return _finish(state, ExitCode.OK, "stopped")
    if is_restart:
        asked = Reload.PREPARING if state.reload_again else Reload.NONE
        state, actions = _prepare(state, asked)
        return state, (ReleaseAddresses(), *actions)
    if state.rolls_back:
        state = replace(state, rolls_back=False, phase=AgentPhase.STARTING, attempts=attempts)
        return state, (ReleaseAddresses(), back, Spawn())
    permanent = permanent_exit_code(ended.exit_code)
    if permanent is not None and not ended.host_changed:
        return _finish(state, permanent, "keepalived refuses to run")
    if permanent is not None:
        # The interface, or an address, went while keepalived read of it: no failed attempt.
        attempts = state.attempts
    if attempts > policy.attempts:
        return _finish(state, ExitCode.TEMPORARY, "keepalived keeps failing")
    if state.reload_again:
        state, actions = _prepare(replace(state, attempts=attempts), Reload.PREPARING)
        return state, (ReleaseAddresses(), *actions)
    if permanent is not None:
        deadline = now + policy.backoff_initial
        return replace(state, phase=AgentPhase.BACKOFF, deadline=deadline), (ReleaseAddresses(),)
    delay = backoff_delay(attempts, policy)
    state = replace(state, phase=AgentPhase.BACKOFF, attempts=attempts, deadline=now + delay)
    return state, (ReleaseAddresses(), ScheduleRestart(attempt=attempts, delay=delay))


def _on_reload_requested(state: Lifecycle) -> Step:
    match state.phase:
        case AgentPhase.WAITING | AgentPhase.BACKOFF:
            return _prepare(state, Reload.PREPARING)
        case AgentPhase.RUNNING if state.reload is Reload.NONE:
            return replace(state, reload=Reload.PREPARING), (Prepare(),)
        case AgentPhase.PREPARING:
            # What is being prepared may have been read before the change. It is finished all the
            # same: frequent signals must not keep keepalived from starting.
            return replace(state, reload_again=True), ()
        case (
            AgentPhase.RUNNING | AgentPhase.RESTARTING | AgentPhase.STARTING | AgentPhase.CLEARING
        ) if not state.stops:
            return replace(state, reload_again=True), ()
        case _:
            return state, (EndReload(reason=_STOPPING),)


def _on_inputs_changed(state: Lifecycle) -> Step:
    """Plan again as for a reload, without a request that awaits a verdict."""
    if state.phase is AgentPhase.WAITING:
        return _prepare(state)
    if state.stops or state.phase is AgentPhase.BACKOFF:
        return state, ()  # the next start prepares in any case
    return _on_reload_requested(state)


def _on_restart_wanted(
    state: Lifecycle, reason: str, now: float, policy: SupervisionPolicy
) -> Step:
    """End keepalived in an orderly way, and start it anew with what the node is like by then."""
    if state.phase is not AgentPhase.RUNNING or state.reload is not Reload.NONE:
        return state, ()
    state = replace(state, phase=AgentPhase.RESTARTING, deadline=now + policy.stop_grace)
    return state, (TellRestart(reason=reason), SignalKeepalived(signal=signal.SIGTERM))


def _on_stop_requested(state: Lifecycle, now: float, policy: SupervisionPolicy) -> Step:
    if state.stops:
        return state, ()
    actions: tuple[Action, ...] = ()
    if state.reload is not Reload.NONE or state.reload_again:
        actions = (EndReload(reason=_STOPPING),)
    if state.phase is AgentPhase.PREPARING or state.reload is Reload.PREPARING:
        actions = (AbandonPreparation(), *actions)
    state = replace(state, stops=True, reload=Reload.NONE, reload_again=False, difference="")
    match state.phase:
        case AgentPhase.STARTING | AgentPhase.RUNNING | AgentPhase.RESTARTING:
            state = replace(state, phase=AgentPhase.STOPPING, deadline=now + policy.stop_grace)
            return state, (*actions, SignalKeepalived(signal=signal.SIGTERM))
        case AgentPhase.PREPARING | AgentPhase.WAITING | AgentPhase.BACKOFF:
            state, ending = _finish(state, ExitCode.OK, "stopped")
            return state, (*actions, *ending)
        case _:
            return state, actions


def _on_deadline(state: Lifecycle, now: float, policy: SupervisionPolicy) -> Step:
    if state.deadline is None or now < state.deadline:
        return state, ()
    match state.phase:
        case AgentPhase.WAITING | AgentPhase.BACKOFF:
            return _prepare(state)
        case AgentPhase.STARTING:
            return _on_ready(state, now)
        case AgentPhase.RUNNING:
            return reloading.deadline_passed(state, now, policy)
        case AgentPhase.RESTARTING:
            state = replace(state, deadline=now + policy.kill_grace)
            return state, (SignalGroup(signal=signal.SIGKILL),)
        case AgentPhase.STOPPING:
            state = replace(state, phase=AgentPhase.KILLING, deadline=now + policy.kill_grace)
            return state, (SignalGroup(signal=signal.SIGKILL),)
        case AgentPhase.KILLING:
            return _finish(state, ExitCode.OS_ERROR, "keepalived cannot be killed")
        case AgentPhase.CLEARING:
            return _on_clearing_deadline(state, now, policy)
        case _:
            return replace(state, deadline=None), ()


def _on_clearing_deadline(state: Lifecycle, now: float, policy: SupervisionPolicy) -> Step:
    waited = now - state.clearing_since
    if waited >= policy.clear_grace + policy.kill_grace:
        # Not even KILL ends it: it is stuck in the kernel and runs no VRRP. Go on without it.
        return _on_group_gone(state, now, policy)
    state = replace(state, deadline=now + policy.clear_interval)
    if waited >= policy.clear_grace:
        return state, (SignalGroup(signal=signal.SIGKILL), CheckGroup())
    return state, (CheckGroup(),)
