"""Supervision of keepalived as a state machine: what happened -> what to do.

:func:`step` is pure. The supervisor feeds it events as they happen, with the monotonic time, and
carries out the actions in order. ``Lifecycle.deadline`` is when to send
``DEADLINE_PASSED``.

keepalived is started only with files that were tested a moment before, is signalled only with
such files, and whenever it ends, whatever the reason, what is left of its process group is ended
and its addresses are released before anything else happens.
"""

from __future__ import annotations

import enum
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from ipfailover_agent.errors import ExitCode
from ipfailover_agent.keepalived.protocol import permanent_exit_code


class AgentPhase(enum.Enum):
    """Where the agent is; the values are shown to operators."""

    PREPARING = "preparing"  # a first candidate is being built and tested
    WAITING = "waiting"  # for the node, or for a configuration that can be used
    STARTING = "starting"  # keepalived was started and has not spoken yet
    RUNNING = "running"
    RESTARTING = "restarting"  # keepalived is about to end, and will be started anew
    CLEARING = "clearing"  # keepalived ended; what is left of its group is being ended
    BACKOFF = "backoff"
    STOPPING = "stopping"
    KILLING = "killing"
    STOPPED = "stopped"


class Reload(enum.Enum):
    """How far a reload has come."""

    NONE = "none"
    PREPARING = "preparing"
    APPLYING = "applying"
    VERIFYING = "verifying"  # keepalived has read its file; does it do that?
    ROLLING_BACK = "rolling back"  # keepalived does not, and is about to end


class CandidateVerdict(enum.Enum):
    """What became of a candidate."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    NOT_READY = "not ready"


class ReloadVerdict(enum.Enum):
    """What became of a reload; the values are shown to operators."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"  # it is in place, and keepalived has not confirmed it


class SupervisionPolicy(Struct, frozen=True, kw_only=True):
    """Every delay by name, in seconds, and every limit.

    The sum of ``stop_grace`` and twice ``kill_grace`` stays below the ten seconds that
    ``docker stop`` grants; keepalived needs about 1 s to stop, 3 s with 254 instances.
    """

    okay_delay: float = 10.0  # after so long without a report, keepalived counts as running
    stop_grace: float = 5.0
    kill_grace: float = 1.0
    clear_grace: float = 1.5
    clear_interval: float = 0.1
    waiting_interval: float = 1.0
    test_grace: float = 10.0  # keepalived -t needs 9 ms, some 60 ms with 254 instances
    reload_grace: float = 10.0
    verify_grace: float = 10.0
    first_step_grace: float = 2.5  # for either, of a first step: others need more to take over
    backoff_initial: float = 0.5
    backoff_factor: float = 2.0
    backoff_limit: float = 30.0
    stable_after: float = 60.0
    attempts: int = 12
    source_interval: float = 2.0
    node_interval: float = 5.0


# --- events -------------------------------------------------------------------------------------


class Occurrence(enum.Enum):
    """An event that has no fields."""

    AGENT_STARTED = enum.auto()  # the agent is set up
    KEEPALIVED_READY = enum.auto()  # keepalived reported that it has started
    RELOAD_COMPLETED = enum.auto()  # keepalived reported that it has read its file again
    GROUP_GONE = enum.auto()  # no process of keepalived's group is left
    RELOAD_REQUESTED = enum.auto()  # SIGHUP
    INPUTS_CHANGED = enum.auto()  # something else that a plan depends on changed: peers by name
    STOP_REQUESTED = enum.auto()  # SIGTERM or SIGINT
    DEADLINE_PASSED = enum.auto()  # ``Lifecycle.deadline`` has passed


class PreparationEnded(Struct, frozen=True, kw_only=True):
    """A candidate was built and tested, or was not.

    Attributes:
        verdict: what became of it.
        lines: what it changes, or what is wrong with it.
        signals: how many SIGHUPs apply it to a running keepalived (0: only scripts changed).
        may_change: the variables come from a source that may be mended while the agent waits.
        exit_code: with REFUSED, what the agent exits with if it has nothing else to run.
    """

    verdict: CandidateVerdict
    lines: tuple[str, ...] = ()
    signals: int = 1
    may_change: bool = False
    exit_code: ExitCode = ExitCode.CONFIG


class Spawned(Struct, frozen=True, kw_only=True):
    """keepalived was started."""

    pid: int


class SpawnFailed(Struct, frozen=True, kw_only=True):
    """keepalived could not be started."""

    exit_code: ExitCode


class VerificationEnded(Struct, frozen=True, kw_only=True):
    """keepalived and the kernel show what was planned; else these name what they show.

    Attributes:
        difference: what is proven to be otherwise.
        doubt: why it could not be seen within the time there is.
    """

    difference: str = ""
    doubt: str = ""


class KeepalivedEnded(Struct, frozen=True, kw_only=True):
    """keepalived's parent process was reaped: ``exit_code``, or None after a signal.

    ``host_changed``: the node is no longer as it was when the file was tested.
    """

    exit_code: int | None
    host_changed: bool = False


class RestartWanted(Struct, frozen=True, kw_only=True):
    """keepalived cannot do its work as it runs, through no fault of its own: start it anew.

    The sender repeats the event: while a reload is under way it is ignored.
    """

    reason: str


Event = (
    Occurrence
    | PreparationEnded
    | Spawned
    | SpawnFailed
    | VerificationEnded
    | KeepalivedEnded
    | RestartWanted
)


# --- actions ------------------------------------------------------------------------------------


class Order(enum.Enum):
    """An action that has no fields."""

    PREPARE = enum.auto()  # build and test a candidate; answer with PreparationEnded
    ABANDON_PREPARATION = enum.auto()  # forget the candidate under way, without an answer
    ACTIVATE = enum.auto()  # have all services apply the candidate, whose files are in place
    PLACE_STEP = enum.auto()  # put the next file of a reload in place; its signal follows
    VERIFY = enum.auto()  # look whether keepalived does what its file says: VerificationEnded
    CONCLUDE_VERIFICATION = enum.auto()  # the time for that is up; answer by what is known by now
    RESTORE = enum.auto()  # put the active configuration's files in place again
    ROLL_BACK = enum.auto()  # make the previous configuration the active one again
    SPAWN = enum.auto()  # start keepalived; answer with Spawned or SpawnFailed
    CHECK_GROUP = enum.auto()  # answer with GROUP_GONE if no process of keepalived's group is left
    HUP = enum.auto()  # send SIGHUP to keepalived's parent process: it reads its file again
    TERM = enum.auto()  # send SIGTERM to it: it ends in order
    TERM_GROUP = enum.auto()  # send SIGTERM to every process of keepalived's group
    KILL_GROUP = enum.auto()  # send SIGKILL to every process of it
    RELEASE_ADDRESSES = enum.auto()  # remove this node's addresses that are still on an interface


class EndReload(Struct, frozen=True, kw_only=True):
    """The reload is over: report it.

    ``reason`` is empty where it was carried out. ``lines`` are what it changes, or why it did not
    do that.
    """

    verdict: ReloadVerdict = ReloadVerdict.ACCEPTED
    reason: str = ""
    lines: tuple[str, ...] = ()


class LogRestart(Struct, frozen=True, kw_only=True):
    """keepalived is about to be ended and started anew: say why."""

    reason: str


class ScheduleRestart(Struct, frozen=True, kw_only=True):
    """keepalived will be started again after ``delay`` seconds: say so."""

    attempt: int
    delay: float


class Finish(Struct, frozen=True, kw_only=True):
    """End the agent; ``lines``: what is wrong, where no configuration was ever in force."""

    exit_code: ExitCode
    reason: str
    lines: tuple[str, ...] = ()


Action = Order | EndReload | LogRestart | ScheduleRestart | Finish


# --- the state ----------------------------------------------------------------------------------


class Lifecycle(Struct, frozen=True, kw_only=True):
    """Everything supervision remembers. Times are monotonic seconds.

    Attributes:
        policy: every delay.
        deadline: when to send DEADLINE_PASSED, None for never.
        pid: keepalived's parent process, and its group, while either may live.
        has_active: a configuration has been accepted before.
        reload: how far a reload has come.
        reload_again: another reload was asked for meanwhile.
        lines: what the newest candidate changes, or what is wrong with it.
        signals_left: SIGHUPs that the reload being applied still needs.
        difference: why the reload is rolled back, empty where it is not.
        returns: the configuration before is the active one again, while the reload goes on.
        ready_at: when keepalived was ready, None before.
        attempts: starts in a row that did not last.
        clearing_since: when keepalived's parent ended.
        ended: how it ended, kept while its group is cleared.
        rolls_back: the previous configuration is to be restored after clearing.
        restarts: keepalived was ended to be started anew, which is no failed attempt.
        stops: TERM or INT was received.
    """

    policy: SupervisionPolicy = SupervisionPolicy()
    phase: AgentPhase = AgentPhase.PREPARING
    deadline: float | None = None
    pid: int | None = None
    has_active: bool = False
    reload: Reload = Reload.NONE
    reload_again: bool = False
    lines: tuple[str, ...] = ()
    signals_left: int = 0
    difference: str = ""
    returns: bool = False
    ready_at: float | None = None
    attempts: int = 0
    clearing_since: float = 0.0
    ended: KeepalivedEnded | None = None
    rolls_back: bool = False
    restarts: bool = False
    stops: bool = False


# --- the machine --------------------------------------------------------------------------------

Step = tuple[Lifecycle, tuple[Action, ...]]

_WITHOUT_KEEPALIVED = frozenset(
    {AgentPhase.PREPARING, AgentPhase.WAITING, AgentPhase.CLEARING, AgentPhase.BACKOFF}
)
_USABLE = frozenset({CandidateVerdict.ACCEPTED, CandidateVerdict.UNCHANGED})
_UNDER_WAY = frozenset({Reload.APPLYING, Reload.VERIFYING})

_UNCONFIRMED = "keepalived did not confirm the reload"
_UNSEEN = "whether keepalived does what was planned could not be seen"
_ENDED = "keepalived ended during the reload"
_RETURNED = "rolled back after the first of two steps"
_ROLLED_BACK = "rolled back, since keepalived did not do what was planned"
_REFUSED = "the new configuration was refused"
_STOPPING = "the agent is stopping"


def backoff_delay(attempts: int, policy: SupervisionPolicy) -> float:
    """Return the seconds before start number ``attempts`` + 1, growing up to the limit."""
    # The exponent is bounded, a float is not: 2.0 ** 1024 would raise.
    exponent = min(max(attempts - 1, 0), 64)
    return min(policy.backoff_initial * policy.backoff_factor**exponent, policy.backoff_limit)


def step(state: Lifecycle, event: Event, now: float) -> Step:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order.

    An event that no longer matters in a phase leaves everything as it is.
    """
    if state.phase is AgentPhase.STOPPED:
        return state, ()
    match event:
        case Occurrence.AGENT_STARTED:
            # What a killed agent left must not wait for a configuration that can be used.
            state, actions = _prepare(state)
            return state, (Order.RELEASE_ADDRESSES, *actions)
        case PreparationEnded():
            return _on_preparation_ended(state, event, now)
        case Spawned(pid=pid):
            return replace(state, pid=pid, deadline=now + state.policy.okay_delay), ()
        case SpawnFailed(exit_code=code):
            return _finish(state, code, "keepalived cannot be started")
        case Occurrence.KEEPALIVED_READY:
            return _on_ready(state, now)
        case Occurrence.RELOAD_COMPLETED:
            return _on_reload_completed(state, now)
        case VerificationEnded():
            return _on_verified(state, event, now)
        case KeepalivedEnded():
            return _on_ended(state, event, now)
        case Occurrence.GROUP_GONE:
            return _on_group_gone(state, now)
        case Occurrence.RELOAD_REQUESTED | Occurrence.INPUTS_CHANGED:
            is_reload = event is Occurrence.RELOAD_REQUESTED
            return _on_reload_requested(state) if is_reload else _on_inputs_changed(state)
        case RestartWanted(reason=reason):
            return _on_restart_wanted(state, reason, now)
        case Occurrence.STOP_REQUESTED:
            return _on_stop_requested(state, now)
        case Occurrence.DEADLINE_PASSED:
            return _on_deadline(state, now)
    assert_never(event)


def _prepare(state: Lifecycle, reload: Reload = Reload.NONE) -> Step:
    """Build the configuration that keepalived will be started with.

    ``reload`` PREPARING: a reload was requested, and its verdict is awaited.
    """
    state = replace(
        state,
        phase=AgentPhase.PREPARING,
        deadline=None,
        reload=reload,
        reload_again=False,
        lines=() if reload is Reload.PREPARING else state.lines,
    )
    return state, (Order.PREPARE,)


def _finish(state: Lifecycle, code: ExitCode, reason: str) -> Step:
    ended = (_refused(reason),) if state.reload_again else ()
    state = replace(state, phase=AgentPhase.STOPPED, deadline=None, pid=None, reload_again=False)
    lines = () if state.has_active else state.lines
    return state, (
        *ended,
        Order.RELEASE_ADDRESSES,
        Finish(exit_code=code, reason=reason, lines=lines),
    )


def _on_preparation_ended(state: Lifecycle, event: PreparationEnded, now: float) -> Step:
    if state.phase is AgentPhase.PREPARING:
        return _on_first_candidate(state, event, now)
    if state.phase is not AgentPhase.RUNNING or state.reload is not Reload.PREPARING:
        return state, ()
    if event.verdict not in _USABLE:
        return _end_reload(state, _verdict_on(event))
    if event.verdict is CandidateVerdict.ACCEPTED and event.signals:
        return _begin_reload(state, event, now)
    return _end_reload(state, Order.ACTIVATE, _verdict_on(event))


def _verdict_on(event: PreparationEnded) -> EndReload:
    """Return the verdict on a reload that needs no signal."""
    if event.verdict not in _USABLE:
        return _refused(_REFUSED, event.lines)
    return EndReload(verdict=ReloadVerdict(event.verdict.value), lines=event.lines)


def _on_first_candidate(state: Lifecycle, event: PreparationEnded, now: float) -> Step:
    """Start keepalived with what was prepared, or with what ran before, or wait, or end."""
    report = (_verdict_on(event),) if state.reload is Reload.PREPARING else ()
    state = replace(state, reload=Reload.NONE, lines=event.lines)
    if event.verdict in _USABLE:
        state = replace(state, phase=AgentPhase.STARTING, has_active=True, ready_at=None)
        return state, (*report, Order.RELEASE_ADDRESSES, Order.ACTIVATE, Order.SPAWN)
    if state.reload_again:
        # Something was changed meanwhile: look at that before anything is given up.
        state, actions = _prepare(state, Reload.PREPARING)
        return state, (*report, *actions)
    if event.verdict is CandidateVerdict.REFUSED and state.has_active:
        # What ran before was good: a bad edit must not cost the addresses.
        state = replace(state, phase=AgentPhase.STARTING, ready_at=None)
        return state, (*report, Order.RELEASE_ADDRESSES, Order.RESTORE, Order.SPAWN)
    if event.verdict is CandidateVerdict.NOT_READY or event.may_change:
        deadline = now + state.policy.waiting_interval
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
    return replace(state, reload=Reload.PREPARING, reload_again=False), (Order.PREPARE,)


def _on_ended(state: Lifecycle, event: KeepalivedEnded, now: float) -> Step:
    if state.phase in _WITHOUT_KEEPALIVED:
        return state, ()
    actions: tuple[Action, ...] = ()
    if state.reload is Reload.PREPARING:
        # It will be prepared anew for the next start, and then gets its verdict.
        actions = (Order.ABANDON_PREPARATION,)
    elif state.reload is not Reload.NONE:
        is_wanted = state.reload is Reload.ROLLING_BACK
        actions = (_refused(_and_then(state.difference, "" if is_wanted else _ENDED)),)
    state = replace(
        state,
        phase=AgentPhase.CLEARING,
        ended=event,
        clearing_since=now,
        deadline=now + state.policy.clear_interval,
        rolls_back=state.reload is Reload.ROLLING_BACK
        or (state.reload in _UNDER_WAY and not event.host_changed),
        reload_again=state.reload_again or state.reload is Reload.PREPARING,
        restarts=state.phase is AgentPhase.RESTARTING,
        reload=Reload.NONE,
        signals_left=0,
        difference="",
    )
    # The VRRP child of a killed parent drops its addresses on TERM and then lingers for 1 s.
    return state, (*actions, Order.TERM_GROUP, Order.CHECK_GROUP)


def _on_group_gone(state: Lifecycle, now: float) -> Step:
    if state.phase is not AgentPhase.CLEARING:
        return state, ()
    ended = state.ended or KeepalivedEnded(exit_code=None)
    lasted = state.ready_at is not None and now - state.ready_at >= state.policy.stable_after
    attempts = 1 if lasted else state.attempts + 1
    back = Order.RESTORE if state.returns else Order.ROLL_BACK
    is_restart = state.restarts
    state = replace(
        state, pid=None, ended=None, ready_at=None, deadline=None, returns=False, restarts=False
    )
    if state.stops:
        return _finish(state, ExitCode.OK, "stopped")
    if is_restart:
        asked = Reload.PREPARING if state.reload_again else Reload.NONE
        state, actions = _prepare(state, asked)
        return state, (Order.RELEASE_ADDRESSES, *actions)
    if state.rolls_back:
        state = replace(state, rolls_back=False, phase=AgentPhase.STARTING, attempts=attempts)
        return state, (Order.RELEASE_ADDRESSES, back, Order.SPAWN)
    permanent = permanent_exit_code(ended.exit_code)
    if permanent is not None and not ended.host_changed:
        return _finish(state, permanent, "keepalived refuses to run")
    if permanent is not None:
        # The interface, or an address, went while keepalived read of it: no failed attempt.
        attempts = state.attempts
    if attempts > state.policy.attempts:
        return _finish(state, ExitCode.TEMPORARY, "keepalived keeps failing")
    if state.reload_again:
        state, actions = _prepare(replace(state, attempts=attempts), Reload.PREPARING)
        return state, (Order.RELEASE_ADDRESSES, *actions)
    if permanent is not None:
        deadline = now + state.policy.backoff_initial
        return replace(state, phase=AgentPhase.BACKOFF, deadline=deadline), (
            Order.RELEASE_ADDRESSES,
        )
    delay = backoff_delay(attempts, state.policy)
    state = replace(state, phase=AgentPhase.BACKOFF, attempts=attempts, deadline=now + delay)
    return state, (Order.RELEASE_ADDRESSES, ScheduleRestart(attempt=attempts, delay=delay))


def _on_reload_requested(state: Lifecycle) -> Step:
    match state.phase:
        case AgentPhase.WAITING | AgentPhase.BACKOFF:
            return _prepare(state, Reload.PREPARING)
        case AgentPhase.RUNNING if state.reload is Reload.NONE:
            return replace(state, reload=Reload.PREPARING), (Order.PREPARE,)
        case AgentPhase.PREPARING:
            # What is being prepared may have been read before the change. It is finished all the
            # same: frequent signals must not keep keepalived from starting.
            return replace(state, reload_again=True), ()
        case (
            AgentPhase.RUNNING | AgentPhase.RESTARTING | AgentPhase.STARTING | AgentPhase.CLEARING
        ) if not state.stops:
            return replace(state, reload_again=True), ()
        case _:
            return state, (_refused(_STOPPING),)


def _on_inputs_changed(state: Lifecycle) -> Step:
    """Plan again as for a reload, without a request that awaits a verdict."""
    if state.phase is AgentPhase.WAITING:
        return _prepare(state)
    if state.stops or state.phase is AgentPhase.BACKOFF:
        return state, ()  # the next start prepares in any case
    return _on_reload_requested(state)


def _on_restart_wanted(state: Lifecycle, reason: str, now: float) -> Step:
    """End keepalived in an orderly way, and start it anew with what the node is like by then."""
    if state.phase is not AgentPhase.RUNNING or state.reload is not Reload.NONE:
        return state, ()
    state = replace(state, phase=AgentPhase.RESTARTING, deadline=now + state.policy.stop_grace)
    return state, (LogRestart(reason=reason), Order.TERM)


def _on_stop_requested(state: Lifecycle, now: float) -> Step:
    if state.stops:
        return state, ()
    actions: tuple[Action, ...] = ()
    if state.reload is not Reload.NONE or state.reload_again:
        actions = (_refused(_STOPPING),)
    if state.phase is AgentPhase.PREPARING or state.reload is Reload.PREPARING:
        actions = (Order.ABANDON_PREPARATION, *actions)
    state = replace(state, stops=True, reload=Reload.NONE, reload_again=False, difference="")
    match state.phase:
        case AgentPhase.STARTING | AgentPhase.RUNNING | AgentPhase.RESTARTING:
            state = replace(
                state, phase=AgentPhase.STOPPING, deadline=now + state.policy.stop_grace
            )
            return state, (*actions, Order.TERM)
        case AgentPhase.PREPARING | AgentPhase.WAITING | AgentPhase.BACKOFF:
            state, ending = _finish(state, ExitCode.OK, "stopped")
            return state, (*actions, *ending)
        case _:
            return state, actions


def _on_deadline(state: Lifecycle, now: float) -> Step:
    if state.deadline is None or now < state.deadline:
        return state, ()
    match state.phase:
        case AgentPhase.WAITING | AgentPhase.BACKOFF:
            return _prepare(state)
        case AgentPhase.STARTING:
            return _on_ready(state, now)
        case AgentPhase.RUNNING:
            return _on_reload_deadline(state, now)
        case AgentPhase.RESTARTING:
            state = replace(state, deadline=now + state.policy.kill_grace)
            return state, (Order.KILL_GROUP,)
        case AgentPhase.STOPPING:
            state = replace(
                state, phase=AgentPhase.KILLING, deadline=now + state.policy.kill_grace
            )
            return state, (Order.KILL_GROUP,)
        case AgentPhase.KILLING:
            return _finish(state, ExitCode.OS_ERROR, "keepalived cannot be killed")
        case AgentPhase.CLEARING:
            return _on_clearing_deadline(state, now)
        case _:
            return replace(state, deadline=None), ()


def _on_clearing_deadline(state: Lifecycle, now: float) -> Step:
    waited = now - state.clearing_since
    if waited >= state.policy.clear_grace + state.policy.kill_grace:
        # Not even KILL ends it: it is stuck in the kernel and runs no VRRP. Go on without it.
        return _on_group_gone(state, now)
    state = replace(state, deadline=now + state.policy.clear_interval)
    if waited >= state.policy.clear_grace:
        return state, (Order.KILL_GROUP, Order.CHECK_GROUP)
    return state, (Order.CHECK_GROUP,)


# --- a reload whose candidate was accepted: one step or two, each of them verified --------------


def _refused(reason: str, lines: tuple[str, ...] = ()) -> EndReload:
    """Return the verdict on a reload that is not in force; ``lines``: what is wrong with it."""
    return EndReload(verdict=ReloadVerdict.REFUSED, reason=reason, lines=lines or (reason,))


def _begin_reload(state: Lifecycle, event: PreparationEnded, now: float) -> Step:
    """Put an accepted candidate in force, by one SIGHUP or two."""
    signals = event.signals
    state = replace(state, reload=Reload.APPLYING, lines=event.lines, signals_left=signals - 1)
    state = _wait(state, state.policy.reload_grace, now)
    placed = (Order.PLACE_STEP,) if signals > 1 else ()
    return state, (Order.ACTIVATE, *placed, Order.HUP)


def _end_reload(state: Lifecycle, *actions: Action) -> Step:
    """Close a reload, the last action of which is its verdict; begin the next one if asked for."""
    again = state.reload_again
    state = replace(
        state,
        reload=Reload.PREPARING if again else Reload.NONE,
        reload_again=False,
        lines=(),
        signals_left=0,
        difference="",
        returns=False,
        deadline=None,
    )
    return state, (*actions, *((Order.PREPARE,) if again else ()))


def _on_reload_completed(state: Lifecycle, now: float) -> Step:
    """keepalived reported that it has read its file: have its instances looked at."""
    if state.phase is not AgentPhase.RUNNING or state.reload is not Reload.APPLYING:
        return state, ()
    state = replace(state, reload=Reload.VERIFYING)
    return _wait(state, state.policy.verify_grace, now), (Order.VERIFY,)


def _on_verified(state: Lifecycle, event: VerificationEnded, now: float) -> Step:
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
            deadline=now + state.policy.stop_grace,
        )
        return state, (Order.TERM,)
    if event.doubt:
        return _on_doubt(state, f"{_UNSEEN}: {event.doubt}", now)
    if state.signals_left:
        left, deadline = state.signals_left - 1, now + state.policy.reload_grace
        state = replace(state, reload=Reload.APPLYING, signals_left=left, deadline=deadline)
        return state, (Order.PLACE_STEP, Order.HUP)
    done = _refused(state.difference) if state.difference else EndReload(lines=state.lines)
    return _end_reload(state, done)


def _on_reload_deadline(state: Lifecycle, now: float) -> Step:
    """keepalived, or the verification, has taken too long."""
    match state.reload:
        case Reload.APPLYING:
            return _on_doubt(state, _UNCONFIRMED, now)
        case Reload.VERIFYING:
            # answered at once; the deadline is only there so that there is always one
            state = replace(state, deadline=now + state.policy.verify_grace)
            return state, (Order.CONCLUDE_VERIFICATION,)
        case Reload.ROLLING_BACK:
            state = replace(state, deadline=now + state.policy.kill_grace)
            return state, (Order.KILL_GROUP,)
        case _:
            return replace(state, deadline=None), ()


def _wait(state: Lifecycle, grace: float, now: float) -> Lifecycle:
    """Wait less long for a first step: what it takes down is on no node meanwhile."""
    if state.signals_left:
        grace = min(grace, state.policy.first_step_grace)
    return replace(state, deadline=now + grace)


def _on_doubt(state: Lifecycle, reason: str, now: float) -> Step:
    """Go no further, and end nothing that may serve: whether a step is in force is unknown.

    After a first step keepalived is given the configuration before once more: that moves no
    address from one instance to another, so it costs none, in force or not. The second step would
    lose some, were the first not in force. What one step brings stays in place.
    """
    if state.returns:
        return _end_reload(state, _refused(_and_then(state.difference, reason)))
    if not state.signals_left:
        lines = (reason, *state.lines)
        return _end_reload(
            state, EndReload(verdict=ReloadVerdict.UNCONFIRMED, reason=reason, lines=lines)
        )
    state = replace(
        state,
        reload=Reload.APPLYING,
        signals_left=0,
        returns=True,
        difference=f"{_RETURNED}: {reason}",
        deadline=now + state.policy.reload_grace,
    )
    return state, (Order.ROLL_BACK, Order.HUP)


def _and_then(before: str, then: str) -> str:
    return "; then: ".join(filter(None, (before, then)))
