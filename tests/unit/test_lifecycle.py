"""Supervision, replayed event by event."""

from __future__ import annotations

import signal

import pytest
from msgspec.structs import replace

from ipfailover_agent.errors import ExitCode
from ipfailover_agent.keepalived import lifecycle
from ipfailover_agent.keepalived import supervision as does
from ipfailover_agent.keepalived.supervision import (
    AgentPhase,
    CandidateVerdict,
    Occurrence,
    Order,
    Reload,
    ReloadVerdict,
    SupervisionPolicy,
)

POLICY = SupervisionPolicy()
CHANGES = ("10.0.0.1 is added",)
PROBLEMS = ("X is missing: set it",)
ACCEPTED = does.PreparationEnded(verdict=CandidateVerdict.ACCEPTED, lines=CHANGES)
UNCHANGED = does.PreparationEnded(verdict=CandidateVerdict.UNCHANGED, lines=("in force now: A",))
TWICE = does.PreparationEnded(verdict=CandidateVerdict.ACCEPTED, lines=CHANGES, signals=2)
REFUSED = does.PreparationEnded(verdict=CandidateVerdict.REFUSED, lines=PROBLEMS)
NOT_READY = does.PreparationEnded(verdict=CandidateVerdict.NOT_READY, lines=PROBLEMS)
IN_FORCE = does.EndReload(verdict=ReloadVerdict.ACCEPTED, lines=CHANGES)
AS_IT_WAS = does.EndReload(verdict=ReloadVerdict.UNCHANGED, lines=("in force now: A",))
CRASH = does.KeepalivedEnded(exit_code=None)
HUP = does.SignalKeepalived(signal=signal.SIGHUP)
AS_PLANNED = does.VerificationEnded()
UNPLANNED = does.VerificationEnded(difference="10.0.0.1 is still on eth0")
UNSEEN = does.VerificationEnded(doubt="it gave no answer within 10 s")
TERM = does.SignalKeepalived(signal=signal.SIGTERM)
START = (Order.RELEASE_ADDRESSES, Order.ACTIVATE, Order.SPAWN)


def replay(*events: does.Event | float) -> tuple[does.Lifecycle, tuple[does.Action, ...]]:
    """Return the state after the events and what the last caused; numbers advance the clock."""
    state, actions, now = does.Lifecycle(), (), 100.0
    result: tuple[does.Action, ...] = actions
    for event in events:
        if isinstance(event, float):
            now += event
        else:
            state, result = lifecycle.step(state, event, now, POLICY)
    return state, result


def to_running(*more: does.Event | float) -> tuple[does.Lifecycle, tuple[does.Action, ...]]:
    """Replay a good start, then ``more``."""
    return replay(
        Occurrence.AGENT_STARTED, ACCEPTED, does.Spawned(pid=7), Occurrence.KEEPALIVED_READY, *more
    )


def test_keepalived_starts_only_after_leftovers_are_gone_and_files_are_in_place() -> None:
    """Release, activate, spawn, in this order."""
    state, actions = replay(Occurrence.AGENT_STARTED, ACCEPTED)
    assert (AgentPhase.STARTING, START) == (state.phase, actions)


def test_a_first_word_from_keepalived_means_running() -> None:
    """The phase changes, nothing is done."""
    state, actions = to_running()
    assert (AgentPhase.RUNNING, ()) == (state.phase, actions)


def test_a_silent_keepalived_counts_as_running_after_the_okay_delay() -> None:
    """A lost log line must not keep the agent from reloading."""
    state, _ = replay(
        Occurrence.AGENT_STARTED,
        ACCEPTED,
        does.Spawned(pid=7),
        POLICY.okay_delay,
        Occurrence.DEADLINE_PASSED,
    )
    assert state.phase is AgentPhase.RUNNING


@pytest.mark.parametrize(
    ("verdict", "phase"),
    [(REFUSED, AgentPhase.STOPPED), (NOT_READY, AgentPhase.WAITING)],
    ids=["refused ends", "not ready waits"],
)
def test_without_a_usable_first_configuration(
    verdict: does.PreparationEnded, phase: AgentPhase
) -> None:
    """What cannot come by waiting ends the agent, what can is waited for."""
    state, actions = replay(Occurrence.AGENT_STARTED, verdict)
    assert state.phase is phase
    assert (Order.SPAWN in actions) is False


def test_a_refused_first_configuration_from_a_file_is_waited_on() -> None:
    """The file may be mended; the agent looks again every interval."""
    refused = does.PreparationEnded(verdict=CandidateVerdict.REFUSED, may_change=True)
    state, _ = replay(Occurrence.AGENT_STARTED, refused)
    assert state.phase is AgentPhase.WAITING
    _, actions = replay(
        Occurrence.AGENT_STARTED, refused, POLICY.waiting_interval, Occurrence.DEADLINE_PASSED
    )
    assert (Order.PREPARE,) == actions


def test_the_exit_code_of_a_refusal_is_the_agents() -> None:
    """A missing keepalived is 69, not 78."""
    refused = does.PreparationEnded(
        verdict=CandidateVerdict.REFUSED, exit_code=ExitCode.UNAVAILABLE
    )
    _, actions = replay(Occurrence.AGENT_STARTED, refused)
    assert ExitCode.UNAVAILABLE is finish(actions).exit_code


def finish(actions: tuple[does.Action, ...]) -> does.Finish:
    """Return the Finish among the actions."""
    return next(each for each in actions if isinstance(each, does.Finish))


# --- crash and back-off -------------------------------------------------------------------------


def test_after_a_crash_the_group_is_ended_and_addresses_released_before_anything_else() -> None:
    """TERM to the group, then wait for it, then release, then back off."""
    state, actions = to_running(CRASH)
    assert (does.SignalGroup(signal=signal.SIGTERM), Order.CHECK_GROUP) == actions
    assert state.phase is AgentPhase.CLEARING
    state, actions = to_running(CRASH, Occurrence.GROUP_GONE)
    assert Order.RELEASE_ADDRESSES == actions[0]
    assert state.phase is AgentPhase.BACKOFF


def test_a_group_that_ignores_term_is_killed_after_the_grace() -> None:
    """KILL follows, and a group stuck in the kernel is left behind at last."""
    _, actions = to_running(CRASH, POLICY.clear_grace, Occurrence.DEADLINE_PASSED)
    assert (does.SignalGroup(signal=signal.SIGKILL), Order.CHECK_GROUP) == actions
    state, _ = to_running(
        CRASH, POLICY.clear_grace + POLICY.kill_grace, Occurrence.DEADLINE_PASSED
    )
    assert state.phase is AgentPhase.BACKOFF


@pytest.mark.parametrize(
    ("attempts", "delay"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (2000, 30.0)]
)
def test_back_off_doubles_up_to_its_limit(attempts: int, delay: float) -> None:
    """No number of attempts overflows."""
    assert delay == lifecycle.backoff_delay(attempts, POLICY)


def test_a_restart_prepares_a_fresh_candidate() -> None:
    """The node may have changed since."""
    _, actions = to_running(
        CRASH, Occurrence.GROUP_GONE, POLICY.backoff_limit, Occurrence.DEADLINE_PASSED
    )
    assert (Order.PREPARE,) == actions


def test_a_refused_candidate_after_a_crash_starts_what_ran_before() -> None:
    """A bad edit must not cost the addresses."""
    state, actions = to_running(
        CRASH, Occurrence.GROUP_GONE, POLICY.backoff_limit, Occurrence.DEADLINE_PASSED, REFUSED
    )
    assert state.phase is AgentPhase.STARTING
    assert (Order.RELEASE_ADDRESSES, Order.RESTORE, Order.SPAWN) == actions


def crashes(count: int, between: float) -> list[does.Event | float]:
    """Return that many further runs that end in a crash after ``between`` seconds."""
    once: list[does.Event | float] = [
        CRASH, Occurrence.GROUP_GONE, POLICY.backoff_limit, Occurrence.DEADLINE_PASSED, ACCEPTED,
        does.Spawned(pid=7), Occurrence.KEEPALIVED_READY, between,
    ]  # fmt: skip
    return once * count


def test_keepalived_that_keeps_failing_ends_the_agent_for_the_platform_to_restart() -> None:
    """Exit code 75 after the last attempt."""
    state, _ = to_running(*crashes(POLICY.attempts, 1.0))
    assert state.phase is AgentPhase.RUNNING
    _, actions = to_running(*crashes(POLICY.attempts, 1.0), CRASH, Occurrence.GROUP_GONE)
    assert ExitCode.TEMPORARY is finish(actions).exit_code


def test_attempts_count_anew_after_a_stable_run() -> None:
    """A crash a week never ends the agent."""
    state, _ = to_running(*crashes(3 * POLICY.attempts, POLICY.stable_after))
    assert state.phase is AgentPhase.RUNNING


@pytest.mark.parametrize(
    ("code", "expected"), [(2, ExitCode.CONFIG), (6, ExitCode.CONFIG), (4, ExitCode.NO_PERMISSION)]
)
def test_a_permanent_exit_ends_the_agent_after_releasing(code: int, expected: ExitCode) -> None:
    """keepalived's own codes become ours."""
    _, actions = to_running(does.KeepalivedEnded(exit_code=code), Occurrence.GROUP_GONE)
    assert Order.RELEASE_ADDRESSES == actions[0]
    assert expected is finish(actions).exit_code


def test_a_permanent_exit_is_not_permanent_when_the_node_changed() -> None:
    """The interface went away: wait and look again. It is no failed attempt, however often."""
    ended = does.KeepalivedEnded(exit_code=2, host_changed=True)
    state, actions = to_running(ended, Occurrence.GROUP_GONE)
    assert (AgentPhase.BACKOFF, 0) == (state.phase, state.attempts)
    assert (Order.RELEASE_ADDRESSES,) == actions


def test_a_keepalived_that_cannot_be_started_ends_the_agent() -> None:
    """With the code that says why."""
    failed = does.SpawnFailed(exit_code=ExitCode.UNAVAILABLE)
    _, actions = replay(Occurrence.AGENT_STARTED, ACCEPTED, failed)
    assert ExitCode.UNAVAILABLE is finish(actions).exit_code


# --- reload -------------------------------------------------------------------------------------


def test_an_accepted_reload_puts_files_in_place_and_signals_once() -> None:
    """Activate before SIGHUP; the verdict waits for keepalived's word."""
    _, actions = to_running(Occurrence.RELOAD_REQUESTED)
    assert (Order.PREPARE,) == actions
    state, actions = to_running(Occurrence.RELOAD_REQUESTED, ACCEPTED)
    assert (Order.ACTIVATE, HUP) == actions
    assert state.reload is Reload.APPLYING
    state, actions = to_running(Occurrence.RELOAD_REQUESTED, ACCEPTED, Occurrence.RELOAD_COMPLETED)
    assert (Order.VERIFY,) == actions
    assert state.reload is Reload.VERIFYING
    state, actions = to_running(
        Occurrence.RELOAD_REQUESTED, ACCEPTED, Occurrence.RELOAD_COMPLETED, AS_PLANNED
    )
    assert (IN_FORCE,) == actions
    assert state.reload is Reload.NONE


def test_a_second_signal_waits_for_the_first_reload_to_complete() -> None:
    """keepalived 2.2.7 loses an address that moves to an earlier instance in one step."""
    _, actions = to_running(Occurrence.RELOAD_REQUESTED, TWICE)
    assert (Order.ACTIVATE, Order.PLACE_STEP, HUP) == actions
    once = (Occurrence.RELOAD_REQUESTED, TWICE, Occurrence.RELOAD_COMPLETED)
    assert (Order.VERIFY,) == to_running(*once)[1]
    assert (Order.PLACE_STEP, HUP) == to_running(*once, AS_PLANNED)[1]
    both = (*once, AS_PLANNED, Occurrence.RELOAD_COMPLETED)
    assert (Order.VERIFY,) == to_running(*both)[1]
    assert (IN_FORCE,) == to_running(*both, AS_PLANNED)[1]


@pytest.mark.parametrize("signals", [1, 2])
def test_a_reload_that_does_not_do_what_was_planned_is_taken_back(signals: int) -> None:
    """keepalived is ended in an orderly way and started with the configuration before."""
    verdict = does.PreparationEnded(verdict=CandidateVerdict.ACCEPTED, signals=signals)
    events = (Occurrence.RELOAD_REQUESTED, verdict, Occurrence.RELOAD_COMPLETED, UNPLANNED)
    state, actions = to_running(*events)
    assert ((TERM,), Reload.ROLLING_BACK) == (actions, state.reload)
    _, actions = to_running(*events, does.KeepalivedEnded(exit_code=0))
    (end,) = (each for each in actions if isinstance(each, does.EndReload))
    assert "10.0.0.1 is still on eth0" in end.reason
    state, actions = to_running(*events, does.KeepalivedEnded(exit_code=0), Occurrence.GROUP_GONE)
    assert (Order.RELEASE_ADDRESSES, Order.ROLL_BACK, Order.SPAWN) == actions
    assert state.reload is Reload.NONE


def test_a_keepalived_that_does_not_end_for_a_roll_back_is_killed() -> None:
    """Again and again, until its end is told."""
    events: tuple[does.Event | float, ...] = (
        Occurrence.RELOAD_REQUESTED, ACCEPTED, Occurrence.RELOAD_COMPLETED, UNPLANNED,
        POLICY.stop_grace, Occurrence.DEADLINE_PASSED,
    )  # fmt: skip
    kill = (does.SignalGroup(signal=signal.SIGKILL),)
    assert kill == to_running(*events)[1]
    assert kill == to_running(*events, POLICY.kill_grace, Occurrence.DEADLINE_PASSED)[1]


def test_a_verification_whose_time_is_up_is_ended_by_what_is_known() -> None:
    """Asked for at once, and once more should no answer come."""
    waited: tuple[does.Event | float, ...] = (POLICY.verify_grace, Occurrence.DEADLINE_PASSED)
    events = (Occurrence.RELOAD_REQUESTED, ACCEPTED, Occurrence.RELOAD_COMPLETED, *waited)
    for more in ((), waited):
        state, actions = to_running(*events, *more)
        assert ((Order.CONCLUDE_VERIFICATION,), Reload.VERIFYING) == (actions, state.reload)


@pytest.mark.parametrize(
    "before",
    [(ACCEPTED,), (TWICE, Occurrence.RELOAD_COMPLETED, AS_PLANNED)],
    ids=["one step", "second"],
)
def test_a_last_step_that_cannot_be_seen_stays_in_place(before: tuple[does.Event, ...]) -> None:
    """A machine that is merely busy must not cost an address: the verdict says that nobody saw."""
    state, actions = to_running(
        Occurrence.RELOAD_REQUESTED, *before, Occurrence.RELOAD_COMPLETED, UNSEEN
    )
    (end,) = actions
    assert isinstance(end, does.EndReload)
    assert (ReloadVerdict.UNCONFIRMED, AgentPhase.RUNNING) == (end.verdict, state.phase)
    assert "it gave no answer" in end.reason
    assert (end.reason, *CHANGES) == end.lines


FIRST_IN_DOUBT: dict[str, tuple[does.Event | float, ...]] = {
    "not confirmed": (POLICY.reload_grace, Occurrence.DEADLINE_PASSED),
    "not seen": (Occurrence.RELOAD_COMPLETED, UNSEEN),
}


@pytest.mark.parametrize("doubt", FIRST_IN_DOUBT.values(), ids=FIRST_IN_DOUBT)
def test_a_first_step_in_doubt_is_taken_back_by_a_signal(
    doubt: tuple[does.Event | float, ...],
) -> None:
    """The second would lose addresses, were the first not in force; to go back loses none."""
    events = (Occurrence.RELOAD_REQUESTED, TWICE, *doubt)
    state, actions = to_running(*events)
    assert (Order.ROLL_BACK, HUP) == actions
    assert (Reload.APPLYING, 0) == (state.reload, state.signals_left)
    assert (Order.VERIFY,) == to_running(*events, Occurrence.RELOAD_COMPLETED)[1]
    state, actions = to_running(*events, Occurrence.RELOAD_COMPLETED, AS_PLANNED)
    (end,) = actions
    assert isinstance(end, does.EndReload)
    assert (ReloadVerdict.REFUSED, (end.reason,)) == (end.verdict, end.lines)
    assert end.reason.startswith("rolled back after the first of two steps: ")
    assert (Reload.NONE, AgentPhase.RUNNING, "") == (state.reload, state.phase, state.difference)


@pytest.mark.parametrize("doubt", FIRST_IN_DOUBT.values(), ids=FIRST_IN_DOUBT)
def test_a_way_back_that_is_in_doubt_too_ends_with_both_reasons(
    doubt: tuple[does.Event | float, ...],
) -> None:
    """Nothing is ended for it: keepalived may well serve."""
    state, actions = to_running(Occurrence.RELOAD_REQUESTED, TWICE, *doubt, *doubt)
    (end,) = actions
    assert isinstance(end, does.EndReload)
    assert (ReloadVerdict.REFUSED, (end.reason,)) == (end.verdict, end.lines)
    assert "; then: " in end.reason
    assert (Reload.NONE, AgentPhase.RUNNING) == (state.reload, state.phase)


@pytest.mark.parametrize("last", ["differs", "crashes"])
def test_a_way_back_that_fails_starts_keepalived_anew_with_what_is_active_again(last: str) -> None:
    """To roll back once more would bring the candidate; its verdict tells both."""
    events: tuple[does.Event | float, ...] = (
        Occurrence.RELOAD_REQUESTED, TWICE, *FIRST_IN_DOUBT["not confirmed"],
    )  # fmt: skip
    if last == "differs":
        events = (*events, Occurrence.RELOAD_COMPLETED, UNPLANNED)
    _, actions = to_running(*events, CRASH)
    (end,) = (each for each in actions if isinstance(each, does.EndReload))
    assert "did not confirm the reload; then: " in end.reason
    state, actions = to_running(*events, CRASH, Occurrence.GROUP_GONE)
    assert (Order.RELEASE_ADDRESSES, Order.RESTORE, Order.SPAWN) == actions
    assert not state.returns


def test_a_reload_that_was_asked_for_meanwhile_begins_after_the_way_back() -> None:
    """It may bring what mends the first."""
    doubt = FIRST_IN_DOUBT["not confirmed"]
    events = (Occurrence.RELOAD_REQUESTED, TWICE, Occurrence.RELOAD_REQUESTED, *doubt)
    _, actions = to_running(*events, Occurrence.RELOAD_COMPLETED, AS_PLANNED)
    end, prepare = actions
    assert isinstance(end, does.EndReload)
    assert prepare is Order.PREPARE


def test_keepalived_that_ends_while_it_is_verified_is_rolled_back() -> None:
    """As while it reads its file."""
    events = (Occurrence.RELOAD_REQUESTED, ACCEPTED, Occurrence.RELOAD_COMPLETED, CRASH)
    _, actions = to_running(*events)
    reason = "keepalived ended during the reload"
    refused = does.EndReload(verdict=ReloadVerdict.REFUSED, reason=reason, lines=(reason,))
    assert refused == actions[0]
    assert Order.ROLL_BACK in to_running(*events, Occurrence.GROUP_GONE)[1]


def test_keepalived_that_ends_while_a_candidate_is_prepared_has_it_prepared_anew() -> None:
    """The reload gets its verdict from the start that follows."""
    _, actions = to_running(Occurrence.RELOAD_REQUESTED, CRASH)
    assert Order.ABANDON_PREPARATION == actions[0]
    state, actions = to_running(Occurrence.RELOAD_REQUESTED, CRASH, Occurrence.GROUP_GONE)
    assert (Order.RELEASE_ADDRESSES, Order.PREPARE) == actions
    assert state.reload is Reload.PREPARING


def test_a_stop_during_a_roll_back_stops() -> None:
    """Nothing is started again."""
    events = (Occurrence.RELOAD_REQUESTED, ACCEPTED, Occurrence.RELOAD_COMPLETED, UNPLANNED)
    stopped = (
        *events,
        Occurrence.STOP_REQUESTED,
        does.KeepalivedEnded(exit_code=0),
        Occurrence.GROUP_GONE,
    )
    assert ExitCode.OK is finish(to_running(*stopped)[1]).exit_code


def test_changed_scripts_alone_are_put_in_place_without_a_signal() -> None:
    """keepalived starts them anew each time anyway."""
    scripts = does.PreparationEnded(verdict=CandidateVerdict.ACCEPTED, lines=CHANGES, signals=0)
    _, actions = to_running(Occurrence.RELOAD_REQUESTED, scripts)
    assert (Order.ACTIVATE, IN_FORCE) == actions


def test_an_unchanged_reload_signals_nothing() -> None:
    """The services apply it all the same: variables of the agent alone may be others."""
    _, actions = to_running(Occurrence.RELOAD_REQUESTED, UNCHANGED)
    assert (Order.ACTIVATE, AS_IT_WAS) == actions


@pytest.mark.parametrize("verdict", [REFUSED, NOT_READY], ids=["refused", "not ready"])
def test_a_refused_reload_changes_nothing(verdict: does.PreparationEnded) -> None:
    """keepalived is not even signalled."""
    state, actions = to_running(Occurrence.RELOAD_REQUESTED, verdict)
    assert state.phase is AgentPhase.RUNNING
    assert [does.EndReload] == [type(each) for each in actions]
    assert isinstance(actions[0], does.EndReload)
    assert (ReloadVerdict.REFUSED, PROBLEMS) == (actions[0].verdict, actions[0].lines)
    assert actions[0].reason


def test_a_reload_that_waits_for_a_keepalived_that_fails_for_good_is_refused() -> None:
    """Each reload that began gets its verdict, also where the agent ends."""
    state, _ = to_running(CRASH, Occurrence.RELOAD_REQUESTED)
    assert state.reload_again
    at_last = replace(state, attempts=POLICY.attempts)
    state, actions = lifecycle.step(at_last, Occurrence.GROUP_GONE, 101.0, POLICY)
    why = "keepalived keeps failing"
    assert (AgentPhase.STOPPED, False) == (state.phase, state.reload_again)
    ended = does.EndReload(verdict=ReloadVerdict.REFUSED, reason=why, lines=(why,))
    assert ended == actions[0]
    assert does.Finish(exit_code=ExitCode.TEMPORARY, reason=why) == actions[-1]


def test_many_reloads_at_once_are_two() -> None:
    """What came while one is under way is answered by one more."""
    state, _ = to_running(*[Occurrence.RELOAD_REQUESTED] * 20)
    assert state.reload_again
    _, actions = to_running(*[Occurrence.RELOAD_REQUESTED] * 20, UNCHANGED)
    assert (Order.ACTIVATE, AS_IT_WAS, Order.PREPARE) == actions
    state, actions = to_running(*[Occurrence.RELOAD_REQUESTED] * 20, UNCHANGED, UNCHANGED)
    assert (Order.ACTIVATE, AS_IT_WAS) == actions
    assert not state.reload_again


def test_a_reload_while_starting_waits_until_keepalived_can_bear_a_signal() -> None:
    """A signal within 5 ms of the spawn would kill it."""
    starting = (
        Occurrence.AGENT_STARTED,
        ACCEPTED,
        does.Spawned(pid=7),
        Occurrence.RELOAD_REQUESTED,
    )
    _, actions = replay(*starting)
    assert () == actions
    state, actions = replay(*starting, Occurrence.KEEPALIVED_READY)
    assert (Reload.PREPARING, (Order.PREPARE,)) == (state.reload, actions)


def test_a_reload_while_preparing_does_not_start_over() -> None:
    """Who signals often must not keep the agent from starting; the reload comes after it."""
    _, actions = replay(Occurrence.AGENT_STARTED, Occurrence.RELOAD_REQUESTED)
    assert () == actions
    _, actions = replay(Occurrence.AGENT_STARTED, Occurrence.RELOAD_REQUESTED, ACCEPTED)
    assert START == actions
    _, actions = replay(
        Occurrence.AGENT_STARTED,
        Occurrence.RELOAD_REQUESTED,
        ACCEPTED,
        does.Spawned(pid=7),
        Occurrence.KEEPALIVED_READY,
    )
    assert (Order.PREPARE,) == actions


@pytest.mark.parametrize("verdict", [REFUSED, NOT_READY], ids=["refused", "not ready"])
def test_a_reload_while_preparing_gives_a_bad_candidate_another_look(
    verdict: does.PreparationEnded,
) -> None:
    """It may have been read before it was mended."""
    state, actions = replay(Occurrence.AGENT_STARTED, Occurrence.RELOAD_REQUESTED, verdict)
    assert (AgentPhase.PREPARING, (Order.PREPARE,)) == (state.phase, actions)
    _, actions = replay(Occurrence.AGENT_STARTED, Occurrence.RELOAD_REQUESTED, verdict, ACCEPTED)
    assert (IN_FORCE, *START) == actions


def test_a_reload_ends_waiting_and_back_off_at_once() -> None:
    """The operator mended something: look now."""
    _, actions = replay(Occurrence.AGENT_STARTED, NOT_READY, Occurrence.RELOAD_REQUESTED)
    assert (Order.PREPARE,) == actions
    _, actions = to_running(CRASH, Occurrence.GROUP_GONE, Occurrence.RELOAD_REQUESTED)
    assert (Order.PREPARE,) == actions


def test_a_reload_while_clearing_skips_the_back_off() -> None:
    """It is prepared as soon as the old group is gone."""
    _, actions = to_running(CRASH, Occurrence.RELOAD_REQUESTED, Occurrence.GROUP_GONE)
    assert (Order.RELEASE_ADDRESSES, Order.PREPARE) == actions


RESTART = does.RestartWanted(reason="eth0 is another interface now")


def test_a_restart_ends_keepalived_and_prepares_at_once() -> None:
    """In an orderly way, without a back-off, and it is no failed attempt."""
    state, actions = to_running(RESTART)
    told = does.LogRestart(reason="eth0 is another interface now")
    assert (AgentPhase.RESTARTING, (told, TERM)) == (state.phase, actions)
    ended = does.KeepalivedEnded(exit_code=0)
    state, actions = to_running(RESTART, ended, Occurrence.GROUP_GONE)
    assert (AgentPhase.PREPARING, 0) == (state.phase, state.attempts)
    assert (Order.RELEASE_ADDRESSES, Order.PREPARE) == actions
    state, actions = to_running(RESTART, ended, Occurrence.GROUP_GONE, ACCEPTED)
    assert (AgentPhase.STARTING, START, False) == (state.phase, actions, state.restarts)


def test_restarts_without_end_are_no_failed_attempts() -> None:
    """Something that comes and goes for hours does not end the agent."""
    again = (RESTART, does.KeepalivedEnded(exit_code=0), Occurrence.GROUP_GONE, ACCEPTED)
    more = (*again, does.Spawned(pid=7), Occurrence.KEEPALIVED_READY)
    state, _ = to_running(*more * (POLICY.attempts + 3))
    assert (AgentPhase.RUNNING, 0) == (state.phase, state.attempts)


def test_a_keepalived_that_does_not_end_for_a_restart_is_killed() -> None:
    """And again, for as long as it is there."""
    late = (POLICY.stop_grace, Occurrence.DEADLINE_PASSED)
    state, actions = to_running(RESTART, *late)
    assert (does.SignalGroup(signal=signal.SIGKILL),) == actions
    state, actions = to_running(RESTART, *late, POLICY.kill_grace, Occurrence.DEADLINE_PASSED)
    assert (AgentPhase.RESTARTING, (does.SignalGroup(signal=signal.SIGKILL),)) == (
        state.phase,
        actions,
    )


def test_a_reload_meanwhile_gets_its_verdict_from_the_start_that_follows() -> None:
    """It is prepared in any case."""
    state, actions = to_running(
        RESTART,
        Occurrence.RELOAD_REQUESTED,
        does.KeepalivedEnded(exit_code=0),
        Occurrence.GROUP_GONE,
        ACCEPTED,
    )
    assert IN_FORCE == actions[0]
    assert state.phase is AgentPhase.STARTING


@pytest.mark.parametrize(
    "before",
    [
        (Occurrence.RELOAD_REQUESTED,),
        (Occurrence.RELOAD_REQUESTED, ACCEPTED),
        (RESTART,),
        (CRASH,),
    ],
    ids=["prepares", "reloads", "restarts", "ended"],
)
def test_a_restart_is_passed_over_while_something_else_is_under_way(
    before: tuple[does.Event, ...],
) -> None:
    """What wants it goes on wanting it."""
    assert (to_running(*before)[0], ()) == to_running(*before, RESTART)


def test_a_stop_during_a_restart_ends_the_agent() -> None:
    """Nothing is started any more."""
    state, actions = to_running(RESTART, Occurrence.STOP_REQUESTED)
    assert (AgentPhase.STOPPING, (TERM,)) == (state.phase, actions)
    state, _ = to_running(
        RESTART,
        does.KeepalivedEnded(exit_code=0),
        Occurrence.STOP_REQUESTED,
        Occurrence.GROUP_GONE,
    )
    assert state.phase is AgentPhase.STOPPED


def test_a_reload_that_is_refused_while_waiting_is_told_so() -> None:
    """Whoever asked waits for a verdict."""
    state, actions = replay(
        Occurrence.AGENT_STARTED, NOT_READY, Occurrence.RELOAD_REQUESTED, NOT_READY
    )
    assert state.phase is AgentPhase.WAITING
    assert [does.EndReload] == [type(each) for each in actions]


def test_a_reload_that_kills_keepalived_is_rolled_back() -> None:
    """The previous files come back and keepalived is started with them."""
    dying = (Occurrence.RELOAD_REQUESTED, ACCEPTED, does.KeepalivedEnded(exit_code=2))
    _, actions = to_running(*dying)
    assert isinstance(actions[0], does.EndReload)
    assert actions[0].reason
    state, actions = to_running(*dying, Occurrence.GROUP_GONE)
    assert (Order.RELEASE_ADDRESSES, Order.ROLL_BACK, Order.SPAWN) == actions
    assert state.phase is AgentPhase.STARTING


def test_a_reload_that_is_not_confirmed_is_told_so() -> None:
    """The agent does not wait for ever."""
    _, actions = to_running(
        Occurrence.RELOAD_REQUESTED, ACCEPTED, POLICY.reload_grace, Occurrence.DEADLINE_PASSED
    )
    assert isinstance(actions[0], does.EndReload)
    assert actions[0].verdict is ReloadVerdict.UNCONFIRMED
    assert actions[0].reason


def test_a_reload_while_stopping_is_refused() -> None:
    """There is nothing left to reload."""
    state, actions = to_running(Occurrence.STOP_REQUESTED, Occurrence.RELOAD_REQUESTED)
    assert state.phase is AgentPhase.STOPPING
    assert [does.EndReload] == [type(each) for each in actions]


# --- stop ---------------------------------------------------------------------------------------


def test_stop_terms_waits_and_releases() -> None:
    """Exit code 0."""
    _, actions = to_running(Occurrence.STOP_REQUESTED)
    assert (TERM,) == actions
    _, actions = to_running(
        Occurrence.STOP_REQUESTED, does.KeepalivedEnded(exit_code=0), Occurrence.GROUP_GONE
    )
    assert Order.RELEASE_ADDRESSES == actions[0]
    assert ExitCode.OK is finish(actions).exit_code


def test_a_keepalived_that_ignores_term_is_killed() -> None:
    """After the grace, and never waited for without end."""
    deaf: tuple[does.Event | float, ...] = (
        Occurrence.STOP_REQUESTED, POLICY.stop_grace, Occurrence.DEADLINE_PASSED,
    )  # fmt: skip
    _, actions = to_running(*deaf)
    assert (does.SignalGroup(signal=signal.SIGKILL),) == actions
    _, actions = to_running(*deaf, POLICY.kill_grace, Occurrence.DEADLINE_PASSED)
    assert ExitCode.OS_ERROR is finish(actions).exit_code


def test_a_second_term_changes_nothing() -> None:
    """Neither signal nor deadline."""
    once, _ = to_running(Occurrence.STOP_REQUESTED)
    twice, actions = to_running(Occurrence.STOP_REQUESTED, 1.0, Occurrence.STOP_REQUESTED)
    assert (once, ()) == (twice, actions)


def test_stop_abandons_a_reload_under_way() -> None:
    """The test child is ended, the verdict told, keepalived stopped."""
    _, actions = to_running(Occurrence.RELOAD_REQUESTED, Occurrence.STOP_REQUESTED)
    abandon, end, stop = actions
    assert (Order.ABANDON_PREPARATION, TERM) == (abandon, stop)
    assert isinstance(end, does.EndReload)
    assert end.verdict is ReloadVerdict.REFUSED


@pytest.mark.parametrize(
    "before",
    [
        (Occurrence.AGENT_STARTED,),
        (Occurrence.AGENT_STARTED, NOT_READY),
        (Occurrence.AGENT_STARTED, ACCEPTED, does.Spawned(pid=7), CRASH, Occurrence.GROUP_GONE),
    ],
    ids=["preparing", "waiting", "backing off"],
)
def test_stop_without_a_keepalived_ends_at_once(before: tuple[does.Event, ...]) -> None:
    """Exit code 0, addresses released all the same."""
    _, actions = replay(*before, Occurrence.STOP_REQUESTED)
    assert Order.RELEASE_ADDRESSES in actions
    assert ExitCode.OK is finish(actions).exit_code


def test_stop_while_clearing_ends_after_it() -> None:
    """The rest of the group goes first."""
    state, actions = to_running(CRASH, Occurrence.STOP_REQUESTED)
    assert (AgentPhase.CLEARING, ()) == (state.phase, actions)
    _, actions = to_running(CRASH, Occurrence.STOP_REQUESTED, Occurrence.GROUP_GONE)
    assert ExitCode.OK is finish(actions).exit_code


def test_the_longest_stop_fits_into_ten_seconds() -> None:
    """``docker stop`` grants ten before it kills."""
    longest = POLICY.stop_grace + POLICY.kill_grace + POLICY.clear_grace + POLICY.kill_grace
    assert longest < 10


@pytest.mark.parametrize(
    "event",
    [
        does.Spawned(pid=7), Occurrence.KEEPALIVED_READY, Occurrence.RELOAD_COMPLETED, CRASH,
        Occurrence.GROUP_GONE, Occurrence.RELOAD_REQUESTED, Occurrence.STOP_REQUESTED,
        Occurrence.DEADLINE_PASSED, ACCEPTED,
    ],
    ids=lambda event: getattr(event, "name", type(event).__name__),
)  # fmt: skip
def test_nothing_matters_after_the_end(event: does.Event) -> None:
    """The finished machine stays finished."""
    ended, _ = replay(Occurrence.AGENT_STARTED, REFUSED)
    assert (ended, ()) == lifecycle.step(ended, event, 1e6, POLICY)


@pytest.mark.parametrize(
    "event",
    [
        ACCEPTED, Occurrence.RELOAD_COMPLETED, Occurrence.GROUP_GONE, Occurrence.KEEPALIVED_READY,
        AS_PLANNED, UNPLANNED, UNSEEN,
    ],
    ids=lambda event: getattr(event, "name", type(event).__name__),
)  # fmt: skip
def test_what_nobody_waits_for_changes_nothing(event: does.Event) -> None:
    """A late answer must not be taken for one to another question."""
    before, _ = to_running()
    assert (before, ()) == lifecycle.step(before, event, 1e6, POLICY)


def test_an_end_that_was_told_before_changes_nothing() -> None:
    """keepalived ends once."""
    before, _ = to_running(CRASH)
    after, actions = to_running(CRASH, CRASH)
    assert (before, ()) == (after, actions)


def test_a_deadline_that_lies_ahead_changes_nothing() -> None:
    """Nor does one that is not set."""
    before, _ = to_running(CRASH, Occurrence.GROUP_GONE)
    assert (before, ()) == lifecycle.step(before, Occurrence.DEADLINE_PASSED, 100.0, POLICY)
    running, _ = to_running()
    assert (running, ()) == lifecycle.step(running, Occurrence.DEADLINE_PASSED, 1e6, POLICY)


@pytest.mark.parametrize(
    "phase", [AgentPhase.RUNNING, AgentPhase.PREPARING], ids=["running", "preparing"]
)
def test_a_deadline_that_no_phase_set_is_dropped(phase: AgentPhase) -> None:
    """It must not wake the loop again and again."""
    odd = does.Lifecycle(phase=phase, deadline=1.0)
    assert (does.Lifecycle(phase=phase), ()) == lifecycle.step(
        odd, Occurrence.DEADLINE_PASSED, 2.0, POLICY
    )


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        ((REFUSED,), PROBLEMS),
        ((NOT_READY, Occurrence.STOP_REQUESTED), PROBLEMS),
        ((NOT_READY, Occurrence.RELOAD_REQUESTED, Occurrence.STOP_REQUESTED), ()),
        (
            (
                ACCEPTED,
                does.Spawned(pid=7),
                CRASH,
                Occurrence.GROUP_GONE,
                Occurrence.STOP_REQUESTED,
            ),
            (),
        ),
    ],
    ids=["refused", "waiting", "looked at anew", "was in force"],
)
def test_the_end_reports_what_is_wrong_where_no_configuration_came_into_force(
    events: tuple[does.Event, ...], lines: tuple[str, ...]
) -> None:
    """The last line of a container is what platforms show of it."""
    _, actions = replay(Occurrence.AGENT_STARTED, *events)
    assert lines == finish(actions).lines


def test_changed_inputs_are_planned_with_at_once_while_waiting() -> None:
    """Nobody asked, so there is no verdict."""
    state, actions = replay(Occurrence.AGENT_STARTED, NOT_READY, Occurrence.INPUTS_CHANGED)
    assert (AgentPhase.PREPARING, Reload.NONE) == (state.phase, state.reload)
    assert (Order.PREPARE,) == actions


def test_changed_inputs_are_a_reload_while_running() -> None:
    """The same way as after a SIGHUP."""
    assert to_running(Occurrence.RELOAD_REQUESTED) == to_running(Occurrence.INPUTS_CHANGED)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param((Occurrence.STOP_REQUESTED,), id="stopping"),
        pytest.param((CRASH, Occurrence.GROUP_GONE), id="before the next start"),
    ],
)
def test_changed_inputs_change_nothing_where_a_plan_is_made_anyway_or_never(
    events: tuple[does.Event, ...],
) -> None:
    """No reload is begun, and none is refused."""
    state, _ = to_running(*events)
    assert (state, ()) == to_running(*events, Occurrence.INPUTS_CHANGED)
