"""Supervision against a model of a machine on which anything happens at any time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipfailover_agent.errors import ExitCode
from ipfailover_agent.keepalived import lifecycle
from ipfailover_agent.keepalived.lifecycle import (
    AgentPhase,
    CandidateVerdict,
    Occurrence,
    Order,
    Reload,
    SupervisionPolicy,
)

POLICY = SupervisionPolicy()
VERDICTS = st.builds(
    lifecycle.PreparationEnded,
    verdict=st.sampled_from(CandidateVerdict),
    signals=st.integers(0, 2),
    may_change=st.booleans(),
)
EXITS = st.builds(
    lifecycle.KeepalivedEnded,
    exit_code=st.sampled_from([None, 0, 1, 2, 4, 6, 255]),
    host_changed=st.booleans(),
)
UNSEEN = lifecycle.VerificationEnded(doubt="it gave no answer within 10 s")
UNPLANNED = lifecycle.VerificationEnded(difference="10.0.0.1 is still on eth0")


class Machine(RuleBasedStateMachine):
    """A node: one keepalived at most, a group that may outlive it, a preparation at most."""

    def __init__(self) -> None:
        super().__init__()
        self.state = lifecycle.Lifecycle()
        self.now = 1000.0
        self.preparing = False
        self.alive = False  # keepalived's parent
        self.group = False  # anything of its group
        self.released = True  # no address of ours can be on an interface
        self.in_place = False  # tested files are where keepalived reads them
        self.steps = 0  # of a reload, that were put in place
        self.seen = False  # the last of them was seen to be in force
        self.taken_back = False  # the active configuration is the one before the candidate
        self.asked = 0  # reloads that wait for a verdict
        self.stop_asked_at: float | None = None
        self.finished: lifecycle.Finish | None = None
        self.unseen = UNSEEN

    def feed(self, event: lifecycle.Event) -> None:
        """Feed one event and what its actions cause."""
        events = [event]
        while events:
            self.state, actions = lifecycle.step(self.state, events.pop(0), self.now)
            for action in actions:
                events += self.carry_out(action)

    def carry_out(self, action: lifecycle.Action) -> list[lifecycle.Event]:
        """Model one action; return what it causes."""
        assert self.finished is None
        match action:
            case Order.PREPARE:
                assert not self.preparing, "two preparations at once"
                self.preparing = True
            case Order.ABANDON_PREPARATION:
                self.preparing = False
            case Order.ACTIVATE | Order.RESTORE:
                self.in_place = True
                self.taken_back &= action is Order.RESTORE
                self.steps, self.seen = 0, False
            case Order.ROLL_BACK:
                assert not self.taken_back, "the candidate would be the active one again"
                self.in_place = self.taken_back = True
            case Order.PLACE_STEP:
                assert not self.steps or self.seen, "a second step on one that nobody saw"
                self.steps, self.seen = self.steps + 1, False
            case Order.CONCLUDE_VERIFICATION:
                return [self.unseen]
            case Order.SPAWN:
                assert not self.group, "a second keepalived beside the first"
                assert self.released, "started before leftovers were released"
                assert self.in_place, "started with files that nobody tested"
                self.alive = self.group = True
                self.released = False
                return [lifecycle.Spawned(pid=7)]
            case Order.HUP:
                assert self.state.phase is AgentPhase.RUNNING, "signalled before it can bear it"
                assert self.in_place
            case Order.CHECK_GROUP:
                if not self.group:
                    return [Occurrence.GROUP_GONE]
            case Order.RELEASE_ADDRESSES:
                self.released = not self.alive
            case lifecycle.EndReload():
                self.asked = 0 if not self.state.reload_again else self.asked
            case lifecycle.Finish():
                self.finished = action
            case _:
                pass
        return []

    @initialize()
    def begin(self) -> None:
        """Start the agent."""
        self.feed(Occurrence.AGENT_STARTED)

    @precondition(lambda self: self.preparing)
    @rule(verdict=VERDICTS)
    def preparation_ends(self, verdict: lifecycle.PreparationEnded) -> None:
        """A candidate is accepted or refused."""
        self.preparing = False
        self.feed(verdict)

    @precondition(lambda self: self.alive)
    @rule()
    def keepalived_speaks(self) -> None:
        """It says that it has started, or read its file again."""
        self.feed(Occurrence.KEEPALIVED_READY)
        self.feed(Occurrence.RELOAD_COMPLETED)

    @precondition(lambda self: self.alive)
    @rule(difference=st.sampled_from(["", "10.0.0.1 is still on eth0"]))
    def verification_ends(self, difference: str) -> None:
        """What keepalived does is as planned, or is not."""
        self.seen = not difference and self.state.reload is Reload.VERIFYING
        self.feed(lifecycle.VerificationEnded(difference=difference))

    @precondition(lambda self: self.alive)
    @rule(seen=st.sampled_from([UNSEEN, UNPLANNED]))
    def the_time_for_a_look_is_up(self, seen: lifecycle.VerificationEnded) -> None:
        """Whether it is as planned is not known, or that it is not."""
        self.unseen = seen
        self.feed(seen)

    @precondition(lambda self: self.alive)
    @rule(ended=EXITS, child_lingers=st.booleans())
    def keepalived_ends(self, *, ended: lifecycle.KeepalivedEnded, child_lingers: bool) -> None:
        """Its parent process ends; the VRRP child may linger."""
        self.alive, self.group = False, child_lingers
        self.feed(ended)

    @precondition(lambda self: self.group and not self.alive)
    @rule()
    def group_ends(self) -> None:
        """The rest of the group is gone, which the next look will tell."""
        self.group = False

    @rule()
    def reload(self) -> None:
        """SIGHUP."""
        if self.finished is None:
            self.asked += 1
        self.feed(Occurrence.RELOAD_REQUESTED)

    @rule()
    def inputs_change(self) -> None:
        """Peers by name are other ones; nobody waits for a verdict."""
        self.feed(Occurrence.INPUTS_CHANGED)

    @rule()
    def restart(self) -> None:
        """The interface is another one: keepalived is to be started anew."""
        attempts = self.state.attempts
        self.feed(lifecycle.RestartWanted(reason="eth0 is another interface now"))
        assert self.state.attempts == attempts

    @rule()
    def stop(self) -> None:
        """SIGTERM."""
        if self.stop_asked_at is None:
            self.stop_asked_at = self.now
        self.feed(Occurrence.STOP_REQUESTED)

    @rule(seconds=st.floats(0.0, 40.0))
    def time_passes(self, seconds: float) -> None:
        """The loop sends DEADLINE_PASSED as deadlines pass."""
        until = self.now + seconds
        while (deadline := self.state.deadline) is not None and deadline <= until:
            self.now = max(deadline, self.now)
            if self.state.phase is AgentPhase.CLEARING and self.now > deadline - 1e-9:
                waited = self.now - self.state.clearing_since
                if waited >= POLICY.clear_grace + POLICY.clear_interval:
                    self.group = False  # KILL reached it
            self.feed(Occurrence.DEADLINE_PASSED)
        self.now = until

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """Every phase has a deadline or an event that is bound to come."""
        if self.finished is not None:
            return
        if self.state.phase is AgentPhase.PREPARING:
            assert self.preparing
        elif self.state.phase is AgentPhase.RUNNING:
            assert self.alive
            assert (self.state.reload is Reload.PREPARING) is self.preparing
            waits = self.state.reload in {Reload.NONE, Reload.PREPARING}
            assert waits is (self.state.deadline is None)
        else:
            assert self.state.deadline is not None

    @invariant()
    def a_stop_is_bounded(self) -> None:
        """Ten seconds after TERM the agent has ended, whatever keepalived lifecycle."""
        if self.stop_asked_at is not None and self.now - self.stop_asked_at > 10:
            assert self.finished is not None

    @invariant()
    def the_end_is_clean(self) -> None:
        """No address is left, unless keepalived could not be killed at all."""
        if self.finished is not None and self.finished.exit_code is not ExitCode.OS_ERROR:
            assert self.released

    @invariant()
    def every_reload_gets_a_verdict(self) -> None:
        """One is owed only while something is under way that will give it."""
        if self.asked and self.finished is None:
            assert self.state.reload is not Reload.NONE or self.state.reload_again


Machine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestLifecycle = Machine.TestCase
