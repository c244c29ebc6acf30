"""What follows from the kernel's word on listeners."""

from __future__ import annotations

import errno
from ipaddress import ip_address

from ipfailover_agent.health import listener_state
from ipfailover_agent.health.listener_state import ListenerState, accepted, controlled, looked
from ipfailover_agent.model import PortCheck

OWN = ip_address("192.0.2.11")
WEB, MAIL = PortCheck(address=OWN, port=8080), PortCheck(address=OWN, port=25)
NONE = errno.ENOENT


def test_only_a_change_from_found_to_gone_counts() -> None:
    """A port that never had a listener is none that lost it."""
    state = ListenerState()
    for web, mail, expected in (
        (0, NONE, ()),
        (0, NONE, ()),
        (NONE, NONE, (WEB,)),
        (NONE, NONE, ()),
        (0, 0, ()),
        (NONE, NONE, (WEB, MAIL)),
    ):
        state, gone = looked(state, {WEB: web, MAIL: mail})
        assert expected == gone


def test_a_crowd_of_listeners_is_looked_at_less_often() -> None:
    """So that it takes no more of a core, and no look holds the loop up for long."""
    assert [0.05, 0.05, 0.051, 1.0] == [
        listener_state.pace(0.05, count) for count in (1, 50, 51, 1000)
    ]
    assert [0.5, 0.6] == [listener_state.pace(0.5, count) for count in (500, 600)]


def test_a_question_that_is_refused_says_nothing_of_the_port() -> None:
    """Nor does the answer after it: what was there before is not known any more."""
    state, _ = looked(ListenerState(), {WEB: 0})
    state, gone = looked(state, {WEB: errno.EACCES})
    assert () == gone
    state, gone = looked(state, {WEB: NONE})
    assert () == gone


def test_after_a_pause_nothing_is_known() -> None:
    """What went meanwhile was found by the periodic check."""
    state, _ = looked(ListenerState(), {WEB: 0})
    _, gone = looked(listener_state.rested(state), {WEB: NONE})
    assert () == gone


def test_without_the_control_nothing_is_believed() -> None:
    """ENOENT is what a kernel without tcp_diag says of every port."""
    state, _ = looked(ListenerState(), {WEB: 0})
    state = controlled(state, "no tcp_diag")
    assert "no tcp_diag" == state.refusal
    _, gone = looked(state, {WEB: NONE})
    assert () == gone
    assert "" == controlled(state, "").refusal


def test_a_port_that_accepts_without_a_listener_is_named_once() -> None:
    """The second time, since a listener may go between a connection and a look."""
    state, told = ListenerState(), []
    for answers in ({}, {WEB: 0, MAIL: NONE}, {WEB: 0, MAIL: NONE}, {WEB: NONE}, {WEB: NONE}):
        state, _ = looked(state, answers)
        state, foreign = accepted(state, (WEB, MAIL))
        told.append(foreign)
    assert [(), (MAIL,), (), (), (WEB,)] == told


def test_what_is_gone_is_told_in_words() -> None:
    """As the log has it."""
    assert "listener of port 8080 is gone" == listener_state.in_words([WEB])
    assert "listeners of port 25, port 8080 are gone" == listener_state.in_words([MAIL, WEB])
