"""Supervision, replayed event by event."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ipfailover_agent.errors import ExitCode
from ipfailover_agent.keepalived import lifecycle
from ipfailover_agent.keepalived.lifecycle import (
    AgentPhase,
    CandidateVerdict,
    EndReload,
    Event,
    KeepalivedEnded,
    Occurrence,
    Order,
    PreparationEnded,
    Reload,
    ReloadVerdict,
    Spawned,
    SupervisionPolicy,
    VerificationEnded,
)

Events = tuple[Event | float, ...]

POLICY = SupervisionPolicy()
RELOAD = Occurrence.RELOAD_REQUESTED
READ = Occurrence.RELOAD_COMPLETED
GONE = Occurrence.GROUP_GONE
LATE = Occurrence.DEADLINE_PASSED
STOP = Occurrence.STOP_REQUESTED
BEGIN = Occurrence.AGENT_STARTED
READY = Occurrence.KEEPALIVED_READY
CHANGED = Occurrence.INPUTS_CHANGED
SPAWNED = Spawned(pid=7)
ENDED = KeepalivedEnded(exit_code=0)
CHANGES = ("10.0.0.1 is added",)
PROBLEMS = ("X is missing: set it",)
ACCEPTED = PreparationEnded(verdict=CandidateVerdict.ACCEPTED, lines=CHANGES)
UNCHANGED = PreparationEnded(verdict=CandidateVerdict.UNCHANGED, lines=("in force now: A",))
TWICE = PreparationEnded(verdict=CandidateVerdict.ACCEPTED, lines=CHANGES, signals=2)
REFUSED = PreparationEnded(verdict=CandidateVerdict.REFUSED, lines=PROBLEMS)
NOT_READY = PreparationEnded(verdict=CandidateVerdict.NOT_READY, lines=PROBLEMS)
IN_FORCE = EndReload(verdict=ReloadVerdict.ACCEPTED, lines=CHANGES)
AS_IT_WAS = EndReload(verdict=ReloadVerdict.UNCHANGED, lines=("in force now: A",))
CRASH = KeepalivedEnded(exit_code=None)
AS_PLANNED = VerificationEnded()
UNPLANNED = VerificationEnded(difference="10.0.0.1 is still on eth0")
UNSEEN = VerificationEnded(doubt="it gave no answer within 10 s")
KILL = (Order.KILL_GROUP,)
ENDING = (Order.TERM_GROUP, Order.CHECK_GROUP)
START = (Order.RELEASE_ADDRESSES, Order.ACTIVATE, Order.SPAWN)


def replay(*events: Event | float) -> lifecycle.Step:
    """Return the state after the events and what the last caused; numbers advance the clock."""
    state, actions, now = lifecycle.Lifecycle(), (), 100.0
    result: tuple[lifecycle.Action, ...] = actions
    for event in events:
        if isinstance(event, float):
            now += event
        else:
            state, result = lifecycle.step(state, event, now)
    return state, result


def to_running(*more: Event | float) -> lifecycle.Step:
    """Replay a good start, then ``more``."""
    return replay(BEGIN, ACCEPTED, SPAWNED, READY, *more)


def test_keepalived_starts_only_after_leftovers_are_gone_and_files_are_in_place() -> None:
    """Release, activate, spawn, in this order."""
    state, actions = replay(BEGIN, ACCEPTED)
    assert (AgentPhase.STARTING, START) == (state.phase, actions)


def test_a_first_word_from_keepalived_means_running() -> None:
    """The phase changes, nothing is done."""
    state, actions = to_running()
    assert (AgentPhase.RUNNING, ()) == (state.phase, actions)


def test_a_silent_keepalived_counts_as_running_after_the_okay_delay() -> None:
    """A lost log line must not keep the agent from reloading."""
    state, _ = replay(BEGIN, ACCEPTED, SPAWNED, POLICY.okay_delay, LATE)
    assert state.phase is AgentPhase.RUNNING


@pytest.mark.parametrize(
    ("verdict", "phase"),
    [(REFUSED, AgentPhase.STOPPED), (NOT_READY, AgentPhase.WAITING)],
    ids=["refused ends", "not ready waits"],
)
def test_without_a_usable_first_configuration(
    verdict: PreparationEnded, phase: AgentPhase
) -> None:
    """What cannot come by waiting ends the agent, what can is waited for."""
    state, actions = replay(BEGIN, verdict)
    assert state.phase is phase
    assert (Order.SPAWN in actions) is False


def test_a_refused_first_configuration_from_a_file_is_waited_on() -> None:
    """The file may be mended; the agent looks again every interval."""
    refused = PreparationEnded(verdict=CandidateVerdict.REFUSED, may_change=True)
    state, _ = replay(BEGIN, refused)
    assert state.phase is AgentPhase.WAITING
    _, actions = replay(BEGIN, refused, POLICY.waiting_interval, LATE)
    assert (Order.PREPARE,) == actions


def test_the_exit_code_of_a_refusal_is_the_agents() -> None:
    """A missing keepalived is 69, not 78."""
    refused = PreparationEnded(verdict=CandidateVerdict.REFUSED, exit_code=ExitCode.UNAVAILABLE)
    _, actions = replay(BEGIN, refused)
    assert ExitCode.UNAVAILABLE is finish(actions).exit_code


def finish(actions: tuple[lifecycle.Action, ...]) -> lifecycle.Finish:
    """Return the Finish among the actions."""
    return next(each for each in actions if isinstance(each, lifecycle.Finish))


def end_of_reload(actions: tuple[lifecycle.Action, ...], *then: lifecycle.Action) -> EndReload:
    """Return the verdict on a reload that is the first action; ``then`` are those after it."""
    end, *others = actions
    assert isinstance(end, EndReload)
    assert [*then] == others
    return end


# --- crash and back-off -------------------------------------------------------------------------


def test_after_a_crash_the_group_is_ended_and_addresses_released_before_anything_else() -> None:
    """TERM to the group, then wait for it, then release, then back off."""
    state, actions = to_running(CRASH)
    assert ENDING == actions
    assert state.phase is AgentPhase.CLEARING
    state, actions = to_running(CRASH, GONE)
    assert Order.RELEASE_ADDRESSES == actions[0]
    assert state.phase is AgentPhase.BACKOFF


def test_a_group_that_ignores_term_is_killed_after_the_grace() -> None:
    """KILL follows, and a group stuck in the kernel is left behind at last."""
    _, actions = to_running(CRASH, POLICY.clear_grace, LATE)
    assert (Order.KILL_GROUP, Order.CHECK_GROUP) == actions
    state, _ = to_running(CRASH, POLICY.clear_grace + POLICY.kill_grace, LATE)
    assert state.phase is AgentPhase.BACKOFF


@pytest.mark.parametrize(
    ("attempts", "delay"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (2000, 30.0)]
)
def test_back_off_doubles_up_to_its_limit(attempts: int, delay: float) -> None:
    """No number of attempts overflows."""
    assert delay == lifecycle.backoff_delay(attempts, POLICY)


def test_a_restart_prepares_a_fresh_candidate() -> None:
    """The node may have changed since."""
    _, actions = to_running(CRASH, GONE, POLICY.backoff_limit, LATE)
    assert (Order.PREPARE,) == actions


def test_a_refused_candidate_after_a_crash_starts_what_ran_before() -> None:
    """A bad edit must not cost the addresses."""
    state, actions = to_running(CRASH, GONE, POLICY.backoff_limit, LATE, REFUSED)
    assert state.phase is AgentPhase.STARTING
    assert (Order.RELEASE_ADDRESSES, Order.RESTORE, Order.SPAWN) == actions


def crashes(count: int, between: float) -> list[Event | float]:
    """Return that many further runs that end in a crash after ``between`` seconds."""
    once: list[Event | float] = [
        CRASH,
        GONE,
        POLICY.backoff_limit,
        LATE,
        ACCEPTED,
        SPAWNED,
        READY,
        between,
    ]
    return once * count


def test_keepalived_that_keeps_failing_ends_the_agent_for_the_platform_to_restart() -> None:
    """Exit code 75 after the last attempt."""
    state, _ = to_running(*crashes(POLICY.attempts, 1.0))
    assert state.phase is AgentPhase.RUNNING
    _, actions = to_running(*crashes(POLICY.attempts, 1.0), CRASH, GONE)
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
    _, actions = to_running(KeepalivedEnded(exit_code=code), GONE)
    assert Order.RELEASE_ADDRESSES == actions[0]
    assert expected is finish(actions).exit_code


def test_a_permanent_exit_is_not_permanent_when_the_node_changed() -> None:
    """The interface went away: wait and look again. It is no failed attempt, however often."""
    ended = KeepalivedEnded(exit_code=2, host_changed=True)
    state, actions = to_running(ended, GONE)
    assert (AgentPhase.BACKOFF, 0) == (state.phase, state.attempts)
    assert (Order.RELEASE_ADDRESSES,) == actions


def test_a_keepalived_that_cannot_be_started_ends_the_agent() -> None:
    """With the code that says why."""
    _, actions = replay(BEGIN, ACCEPTED, lifecycle.SpawnFailed(exit_code=ExitCode.UNAVAILABLE))
    assert ExitCode.UNAVAILABLE is finish(actions).exit_code


# --- reload -------------------------------------------------------------------------------------


def test_an_accepted_reload_puts_files_in_place_and_signals_once() -> None:
    """Activate before SIGHUP; the verdict waits for keepalived's word."""
    _, actions = to_running(RELOAD)
    assert (Order.PREPARE,) == actions
    state, actions = to_running(RELOAD, ACCEPTED)
    assert (Order.ACTIVATE, Order.HUP) == actions
    assert state.reload is Reload.APPLYING
    state, actions = to_running(RELOAD, ACCEPTED, READ)
    assert (Order.VERIFY,) == actions
    assert state.reload is Reload.VERIFYING
    state, actions = to_running(RELOAD, ACCEPTED, READ, AS_PLANNED)
    assert (IN_FORCE,) == actions
    assert state.reload is Reload.NONE


def test_a_second_signal_waits_for_the_first_reload_to_complete() -> None:
    """keepalived 2.2.7 loses an address that moves to an earlier instance in one step."""
    _, actions = to_running(RELOAD, TWICE)
    assert (Order.ACTIVATE, Order.PLACE_STEP, Order.HUP) == actions
    once = (RELOAD, TWICE, READ)
    assert (Order.VERIFY,) == to_running(*once)[1]
    assert (Order.PLACE_STEP, Order.HUP) == to_running(*once, AS_PLANNED)[1]
    both = (*once, AS_PLANNED, READ)
    assert (Order.VERIFY,) == to_running(*both)[1]
    assert (IN_FORCE,) == to_running(*both, AS_PLANNED)[1]


@pytest.mark.parametrize("signals", [1, 2])
def test_a_reload_that_does_not_do_what_was_planned_is_taken_back(signals: int) -> None:
    """keepalived is ended in an orderly way and started with the configuration before."""
    verdict = PreparationEnded(verdict=CandidateVerdict.ACCEPTED, signals=signals)
    events = (RELOAD, verdict, READ, UNPLANNED)
    state, actions = to_running(*events)
    assert ((Order.TERM,), Reload.ROLLING_BACK) == (actions, state.reload)
    _, actions = to_running(*events, ENDED)
    assert "10.0.0.1 is still on eth0" in end_of_reload(actions, *ENDING).reason
    state, actions = to_running(*events, ENDED, GONE)
    assert (Order.RELEASE_ADDRESSES, Order.ROLL_BACK, Order.SPAWN) == actions
    assert state.reload is Reload.NONE


def test_a_keepalived_that_does_not_end_for_a_roll_back_is_killed() -> None:
    """Again and again, until its end is told."""
    events: Events = (RELOAD, ACCEPTED, READ, UNPLANNED, POLICY.stop_grace, LATE)
    assert KILL == to_running(*events)[1]
    assert KILL == to_running(*events, POLICY.kill_grace, LATE)[1]


def test_a_verification_whose_time_is_up_is_ended_by_what_is_known() -> None:
    """Asked for at once, and once more should no answer come."""
    waited: Events = (POLICY.verify_grace, LATE)
    for more in (waited, waited * 2):
        state, actions = to_running(RELOAD, ACCEPTED, READ, *more)
        assert ((Order.CONCLUDE_VERIFICATION,), Reload.VERIFYING) == (actions, state.reload)


@pytest.mark.parametrize(
    "before", [(ACCEPTED,), (TWICE, READ, AS_PLANNED)], ids=["one step", "second"]
)
def test_a_last_step_that_cannot_be_seen_stays_in_place(before: tuple[Event, ...]) -> None:
    """A machine that is merely busy must not cost an address: the verdict says that nobody saw."""
    state, actions = to_running(RELOAD, *before, READ, UNSEEN)
    end = end_of_reload(actions)
    assert (ReloadVerdict.UNCONFIRMED, AgentPhase.RUNNING) == (end.verdict, state.phase)
    assert "it gave no answer" in end.reason
    assert (end.reason, *CHANGES) == end.lines


FIRST_IN_DOUBT: dict[str, Events] = {
    "not confirmed": (POLICY.reload_grace, LATE),
    "not seen": (READ, UNSEEN),
}


@pytest.mark.parametrize("doubt", FIRST_IN_DOUBT.values(), ids=FIRST_IN_DOUBT)
def test_a_first_step_in_doubt_is_taken_back_by_a_signal(doubt: Events) -> None:
    """The second would lose addresses, were the first not in force; to go back loses none."""
    events = (RELOAD, TWICE, *doubt)
    state, actions = to_running(*events)
    assert (Order.ROLL_BACK, Order.HUP) == actions
    assert (Reload.APPLYING, 0) == (state.reload, state.signals_left)
    assert (Order.VERIFY,) == to_running(*events, READ)[1]
    state, actions = to_running(*events, READ, AS_PLANNED)
    end = end_of_reload(actions)
    assert (ReloadVerdict.REFUSED, (end.reason,)) == (end.verdict, end.lines)
    assert end.reason.startswith("rolled back after the first of two steps: ")
    assert (Reload.NONE, AgentPhase.RUNNING, "") == (state.reload, state.phase, state.difference)


@pytest.mark.parametrize("doubt", FIRST_IN_DOUBT.values(), ids=FIRST_IN_DOUBT)
def test_a_way_back_that_is_in_doubt_too_ends_with_both_reasons(doubt: Events) -> None:
    """Nothing is ended for it: keepalived may well serve."""
    state, actions = to_running(RELOAD, TWICE, *doubt, *doubt)
    end = end_of_reload(actions)
    assert (ReloadVerdict.REFUSED, (end.reason,)) == (end.verdict, end.lines)
    assert "; then: " in end.reason
    assert (Reload.NONE, AgentPhase.RUNNING) == (state.reload, state.phase)


@pytest.mark.parametrize("last", ["differs", "crashes"])
def test_a_way_back_that_fails_starts_keepalived_anew_with_what_is_active_again(last: str) -> None:
    """To roll back once more would bring the candidate; its verdict tells both."""
    events: Events = (RELOAD, TWICE, *FIRST_IN_DOUBT["not confirmed"])
    if last == "differs":
        events = (*events, READ, UNPLANNED)
    _, actions = to_running(*events, CRASH)
    assert "did not confirm the reload; then: " in end_of_reload(actions, *ENDING).reason
    state, actions = to_running(*events, CRASH, GONE)
    assert (Order.RELEASE_ADDRESSES, Order.RESTORE, Order.SPAWN) == actions
    assert not state.returns


def test_a_reload_that_was_asked_for_meanwhile_begins_after_the_way_back() -> None:
    """It may bring what mends the first."""
    doubt = FIRST_IN_DOUBT["not confirmed"]
    _, actions = to_running(RELOAD, TWICE, RELOAD, *doubt, READ, AS_PLANNED)
    end_of_reload(actions, Order.PREPARE)


def test_keepalived_that_ends_while_it_is_verified_is_rolled_back() -> None:
    """As while it reads its file."""
    events = (RELOAD, ACCEPTED, READ, CRASH)
    _, actions = to_running(*events)
    reason = "keepalived ended during the reload"
    refused = EndReload(verdict=ReloadVerdict.REFUSED, reason=reason, lines=(reason,))
    assert refused == actions[0]
    assert Order.ROLL_BACK in to_running(*events, GONE)[1]


def test_keepalived_that_ends_while_a_candidate_is_prepared_has_it_prepared_anew() -> None:
    """The reload gets its verdict from the start that follows."""
    _, actions = to_running(RELOAD, CRASH)
    assert Order.ABANDON_PREPARATION == actions[0]
    state, actions = to_running(RELOAD, CRASH, GONE)
    assert (Order.RELEASE_ADDRESSES, Order.PREPARE) == actions
    assert state.reload is Reload.PREPARING


def test_a_stop_during_a_roll_back_stops() -> None:
    """Nothing is started again."""
    _, actions = to_running(RELOAD, ACCEPTED, READ, UNPLANNED, STOP, ENDED, GONE)
    assert ExitCode.OK is finish(actions).exit_code


def test_changed_scripts_alone_are_put_in_place_without_a_signal() -> None:
    """keepalived starts them anew each time anyway."""
    _, actions = to_running(RELOAD, replace(ACCEPTED, signals=0))
    assert (Order.ACTIVATE, IN_FORCE) == actions


def test_an_unchanged_reload_signals_nothing() -> None:
    """The services apply it all the same: variables of the agent alone may be others."""
    _, actions = to_running(RELOAD, UNCHANGED)
    assert (Order.ACTIVATE, AS_IT_WAS) == actions


@pytest.mark.parametrize("verdict", [REFUSED, NOT_READY], ids=["refused", "not ready"])
def test_a_refused_reload_changes_nothing(verdict: PreparationEnded) -> None:
    """keepalived is not even signalled."""
    state, actions = to_running(RELOAD, verdict)
    assert state.phase is AgentPhase.RUNNING
    end = end_of_reload(actions)
    assert (ReloadVerdict.REFUSED, PROBLEMS) == (end.verdict, end.lines)
    assert end.reason


def test_a_reload_that_waits_for_a_keepalived_that_fails_for_good_is_refused() -> None:
    """Each reload that began gets its verdict, also where the agent ends."""
    state, _ = to_running(CRASH, RELOAD)
    assert state.reload_again
    at_last = replace(state, attempts=POLICY.attempts)
    state, actions = lifecycle.step(at_last, GONE, 101.0)
    why = "keepalived keeps failing"
    assert (AgentPhase.STOPPED, False) == (state.phase, state.reload_again)
    ended = EndReload(verdict=ReloadVerdict.REFUSED, reason=why, lines=(why,))
    assert ended == actions[0]
    assert lifecycle.Finish(exit_code=ExitCode.TEMPORARY, reason=why) == actions[-1]


def test_many_reloads_at_once_are_two() -> None:
    """What came while one is under way is answered by one more."""
    state, _ = to_running(*[RELOAD] * 20)
    assert state.reload_again
    _, actions = to_running(*[RELOAD] * 20, UNCHANGED)
    assert (Order.ACTIVATE, AS_IT_WAS, Order.PREPARE) == actions
    state, actions = to_running(*[RELOAD] * 20, UNCHANGED, UNCHANGED)
    assert (Order.ACTIVATE, AS_IT_WAS) == actions
    assert not state.reload_again


def test_a_reload_while_starting_waits_until_keepalived_can_bear_a_signal() -> None:
    """A signal within 5 ms of the spawn would kill it."""
    starting = (BEGIN, ACCEPTED, SPAWNED, RELOAD)
    _, actions = replay(*starting)
    assert () == actions
    state, actions = replay(*starting, READY)
    assert (Reload.PREPARING, (Order.PREPARE,)) == (state.reload, actions)


def test_a_reload_while_preparing_does_not_start_over() -> None:
    """Who signals often must not keep the agent from starting; the reload comes after it."""
    _, actions = replay(BEGIN, RELOAD)
    assert () == actions
    _, actions = replay(BEGIN, RELOAD, ACCEPTED)
    assert START == actions
    _, actions = replay(BEGIN, RELOAD, ACCEPTED, SPAWNED, READY)
    assert (Order.PREPARE,) == actions


@pytest.mark.parametrize("verdict", [REFUSED, NOT_READY], ids=["refused", "not ready"])
def test_a_reload_while_preparing_gives_a_bad_candidate_another_look(
    verdict: PreparationEnded,
) -> None:
    """It may have been read before it was mended."""
    state, actions = replay(BEGIN, RELOAD, verdict)
    assert (AgentPhase.PREPARING, (Order.PREPARE,)) == (state.phase, actions)
    _, actions = replay(BEGIN, RELOAD, verdict, ACCEPTED)
    assert (IN_FORCE, *START) == actions


def test_a_reload_ends_waiting_and_back_off_at_once() -> None:
    """The operator mended something: look now."""
    _, actions = replay(BEGIN, NOT_READY, RELOAD)
    assert (Order.PREPARE,) == actions
    _, actions = to_running(CRASH, GONE, RELOAD)
    assert (Order.PREPARE,) == actions


def test_a_reload_while_clearing_skips_the_back_off() -> None:
    """It is prepared as soon as the old group is gone."""
    _, actions = to_running(CRASH, RELOAD, GONE)
    assert (Order.RELEASE_ADDRESSES, Order.PREPARE) == actions


RESTART = lifecycle.RestartWanted(reason="eth0 is another interface now")


def test_a_restart_ends_keepalived_and_prepares_at_once() -> None:
    """In an orderly way, without a back-off, and it is no failed attempt."""
    state, actions = to_running(RESTART)
    told = lifecycle.LogRestart(reason="eth0 is another interface now")
    assert (AgentPhase.RESTARTING, (told, Order.TERM)) == (state.phase, actions)
    ended = ENDED
    state, actions = to_running(RESTART, ended, GONE)
    assert (AgentPhase.PREPARING, 0) == (state.phase, state.attempts)
    assert (Order.RELEASE_ADDRESSES, Order.PREPARE) == actions
    state, actions = to_running(RESTART, ended, GONE, ACCEPTED)
    assert (AgentPhase.STARTING, START, False) == (state.phase, actions, state.restarts)


def test_restarts_without_end_are_no_failed_attempts() -> None:
    """Something that comes and goes for hours does not end the agent."""
    again = (RESTART, ENDED, GONE, ACCEPTED)
    more = (*again, SPAWNED, READY)
    state, _ = to_running(*more * (POLICY.attempts + 3))
    assert (AgentPhase.RUNNING, 0) == (state.phase, state.attempts)


def test_a_keepalived_that_does_not_end_for_a_restart_is_killed() -> None:
    """And again, for as long as it is there."""
    late = (POLICY.stop_grace, LATE)
    state, actions = to_running(RESTART, *late)
    assert KILL == actions
    state, actions = to_running(RESTART, *late, POLICY.kill_grace, LATE)
    assert (AgentPhase.RESTARTING, KILL) == (state.phase, actions)


def test_a_reload_meanwhile_gets_its_verdict_from_the_start_that_follows() -> None:
    """It is prepared in any case."""
    state, actions = to_running(RESTART, RELOAD, ENDED, GONE, ACCEPTED)
    assert IN_FORCE == actions[0]
    assert state.phase is AgentPhase.STARTING


@pytest.mark.parametrize(
    "before",
    [(RELOAD,), (RELOAD, ACCEPTED), (RESTART,), (CRASH,)],
    ids=["prepares", "reloads", "restarts", "ended"],
)
def test_a_restart_is_passed_over_while_something_else_is_under_way(
    before: tuple[Event, ...],
) -> None:
    """What wants it goes on wanting it."""
    assert (to_running(*before)[0], ()) == to_running(*before, RESTART)


def test_a_stop_during_a_restart_ends_the_agent() -> None:
    """Nothing is started any more."""
    state, actions = to_running(RESTART, STOP)
    assert (AgentPhase.STOPPING, (Order.TERM,)) == (state.phase, actions)
    state, _ = to_running(RESTART, ENDED, STOP, GONE)
    assert state.phase is AgentPhase.STOPPED


def test_a_reload_that_is_refused_while_waiting_is_told_so() -> None:
    """Whoever asked waits for a verdict."""
    state, actions = replay(BEGIN, NOT_READY, RELOAD, NOT_READY)
    assert state.phase is AgentPhase.WAITING
    end_of_reload(actions)


def test_a_reload_that_kills_keepalived_is_rolled_back() -> None:
    """The previous files come back and keepalived is started with them."""
    dying = (RELOAD, ACCEPTED, KeepalivedEnded(exit_code=2))
    _, actions = to_running(*dying)
    assert end_of_reload(actions, *ENDING).reason
    state, actions = to_running(*dying, GONE)
    assert (Order.RELEASE_ADDRESSES, Order.ROLL_BACK, Order.SPAWN) == actions
    assert state.phase is AgentPhase.STARTING


def test_a_reload_that_is_not_confirmed_is_told_so() -> None:
    """The agent does not wait for ever."""
    _, actions = to_running(RELOAD, ACCEPTED, POLICY.reload_grace, LATE)
    end = end_of_reload(actions)
    assert end.verdict is ReloadVerdict.UNCONFIRMED
    assert end.reason


def test_a_reload_while_stopping_is_refused() -> None:
    """There is nothing left to reload."""
    state, actions = to_running(STOP, RELOAD)
    assert state.phase is AgentPhase.STOPPING
    end_of_reload(actions)


# --- stop ---------------------------------------------------------------------------------------


def test_stop_terms_waits_and_releases() -> None:
    """Exit code 0."""
    _, actions = to_running(STOP)
    assert (Order.TERM,) == actions
    _, actions = to_running(STOP, ENDED, GONE)
    assert Order.RELEASE_ADDRESSES == actions[0]
    assert ExitCode.OK is finish(actions).exit_code


def test_a_keepalived_that_ignores_term_is_killed() -> None:
    """After the grace, and never waited for without end."""
    deaf: Events = (STOP, POLICY.stop_grace, LATE)
    _, actions = to_running(*deaf)
    assert KILL == actions
    _, actions = to_running(*deaf, POLICY.kill_grace, LATE)
    assert ExitCode.OS_ERROR is finish(actions).exit_code


def test_a_second_term_changes_nothing() -> None:
    """Neither signal nor deadline."""
    once, _ = to_running(STOP)
    twice, actions = to_running(STOP, 1.0, STOP)
    assert (once, ()) == (twice, actions)


def test_stop_abandons_a_reload_under_way() -> None:
    """The test child is ended, the verdict told, keepalived stopped."""
    _, actions = to_running(RELOAD, STOP)
    abandon, end, stop = actions
    assert (Order.ABANDON_PREPARATION, Order.TERM) == (abandon, stop)
    assert isinstance(end, EndReload)
    assert end.verdict is ReloadVerdict.REFUSED


@pytest.mark.parametrize(
    "before",
    [(BEGIN,), (BEGIN, NOT_READY), (BEGIN, ACCEPTED, SPAWNED, CRASH, GONE)],
    ids=["preparing", "waiting", "backing off"],
)
def test_stop_without_a_keepalived_ends_at_once(before: tuple[Event, ...]) -> None:
    """Exit code 0, addresses released all the same."""
    _, actions = replay(*before, STOP)
    assert Order.RELEASE_ADDRESSES in actions
    assert ExitCode.OK is finish(actions).exit_code


def test_stop_while_clearing_ends_after_it() -> None:
    """The rest of the group goes first."""
    state, actions = to_running(CRASH, STOP)
    assert (AgentPhase.CLEARING, ()) == (state.phase, actions)
    _, actions = to_running(CRASH, STOP, GONE)
    assert ExitCode.OK is finish(actions).exit_code


def test_the_longest_stop_fits_into_ten_seconds() -> None:
    """``docker stop`` grants ten before it kills."""
    longest = POLICY.stop_grace + POLICY.kill_grace + POLICY.clear_grace + POLICY.kill_grace
    assert longest < 10


@pytest.mark.parametrize(
    "event",
    [SPAWNED, READY, READ, CRASH, GONE, RELOAD, STOP, LATE, ACCEPTED],
    ids=lambda event: getattr(event, "name", type(event).__name__),
)
def test_nothing_matters_after_the_end(event: Event) -> None:
    """The finished machine stays finished."""
    ended, _ = replay(BEGIN, REFUSED)
    assert (ended, ()) == lifecycle.step(ended, event, 1e6)


@pytest.mark.parametrize(
    "event",
    [ACCEPTED, READ, GONE, READY, AS_PLANNED, UNPLANNED, UNSEEN],
    ids=lambda event: getattr(event, "name", type(event).__name__),
)
def test_what_nobody_waits_for_changes_nothing(event: Event) -> None:
    """A late answer must not be taken for one to another question."""
    before, _ = to_running()
    assert (before, ()) == lifecycle.step(before, event, 1e6)


def test_an_end_that_was_told_before_changes_nothing() -> None:
    """keepalived ends once."""
    before, _ = to_running(CRASH)
    after, actions = to_running(CRASH, CRASH)
    assert (before, ()) == (after, actions)


def test_a_deadline_that_lies_ahead_changes_nothing() -> None:
    """Nor does one that is not set."""
    before, _ = to_running(CRASH, GONE)
    assert (before, ()) == lifecycle.step(before, LATE, 100.0)
    running, _ = to_running()
    assert (running, ()) == lifecycle.step(running, LATE, 1e6)


@pytest.mark.parametrize(
    "phase", [AgentPhase.RUNNING, AgentPhase.PREPARING], ids=["running", "preparing"]
)
def test_a_deadline_that_no_phase_set_is_dropped(phase: AgentPhase) -> None:
    """It must not wake the loop again and again."""
    odd = lifecycle.Lifecycle(phase=phase, deadline=1.0)
    assert (lifecycle.Lifecycle(phase=phase), ()) == lifecycle.step(odd, LATE, 2.0)


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        ((REFUSED,), PROBLEMS),
        ((NOT_READY, STOP), PROBLEMS),
        ((NOT_READY, RELOAD, STOP), ()),
        ((ACCEPTED, SPAWNED, CRASH, GONE, STOP), ()),
    ],
    ids=["refused", "waiting", "looked at anew", "was in force"],
)
def test_the_end_reports_what_is_wrong_where_no_configuration_came_into_force(
    events: tuple[Event, ...], lines: tuple[str, ...]
) -> None:
    """The last line of a container is what platforms show of it."""
    _, actions = replay(BEGIN, *events)
    assert lines == finish(actions).lines


def test_changed_inputs_are_planned_with_at_once_while_waiting() -> None:
    """Nobody asked, so there is no verdict."""
    state, actions = replay(BEGIN, NOT_READY, CHANGED)
    assert (AgentPhase.PREPARING, Reload.NONE) == (state.phase, state.reload)
    assert (Order.PREPARE,) == actions


def test_changed_inputs_are_a_reload_while_running() -> None:
    """The same way as after a SIGHUP."""
    assert to_running(RELOAD) == to_running(CHANGED)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param((STOP,), id="stopping"),
        pytest.param((CRASH, GONE), id="before the next start"),
    ],
)
def test_changed_inputs_change_nothing_where_a_plan_is_made_anyway_or_never(
    events: tuple[Event, ...],
) -> None:
    """No reload is begun, and none is refused."""
    state, _ = to_running(*events)
    assert (state, ()) == to_running(*events, CHANGED)
