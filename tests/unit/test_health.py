"""What /livez and /readyz answer, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipfailover_agent.status import probe_answers
from ipfailover_agent.status.exchange import STANDS_STILL
from ipfailover_agent.status.readiness import Readiness
from tests.support.observed import instance, observation

if TYPE_CHECKING:
    from ipfailover_agent.status.status_model import AgentStatus


def test_a_loop_that_runs_is_alive_and_one_that_stands_still_is_not() -> None:
    """Nothing else counts: keepalived is ours to restart."""
    assert probe_answers.live(100.0, 100.0 + STANDS_STILL - 0.1).is_ready
    still = probe_answers.live(100.0, 120.0)
    assert (
        "not live",
        "the agent's loop has been standing still for 20 s",
    ) == probe_answers.lines(still, "live")


@pytest.mark.parametrize(
    ("name", "config"), [("edge", None), ("edge", "edge"), (None, "edge")], ids=str
)
def test_a_probe_may_name_whom_it_means(name: str | None, config: str | None) -> None:
    """Before anything is in force nobody knows the name."""
    assert probe_answers.foreign(name, config) is None


@pytest.mark.parametrize("config", ["other", ""])
def test_a_probe_that_means_another_deployment_is_told_so(config: str) -> None:
    """With both names."""
    verdict = probe_answers.foreign("edge", config)
    assert verdict is not None
    text = f"this is the agent of 'edge', not of {config!r}: give each its own port"
    assert (text,) == verdict.reasons


def probed(status: AgentStatus) -> tuple[str, ...]:
    """Return what /readyz answers for a status."""
    return probe_answers.lines(Readiness(reasons=status.reasons, notes=status.notes), "ready")


@pytest.mark.parametrize(
    ("state", "lines"),
    [("MASTER", ("ready",)), ("FAULT", ("not ready", "edge_VIP_1: in FAULT, and no check fails"))],
)
def test_ready_is_what_the_status_says(state: str, lines: tuple[str, ...]) -> None:
    """There is no second opinion."""
    seen = observation(instance(1, state)).status
    assert seen.ready is (lines == ("ready",))
    assert lines == probed(seen)


def test_an_answer_stays_short() -> None:
    """However many instances there are."""
    states = ("FAULT", "STOP", "INIT")
    seen = observation(
        *(instance(each, states[each % 3], addresses=()) for each in range(1, 100)),
        problems=tuple(f"{each} was left out" for each in range(100)),
    )
    lines = probed(seen.status)
    assert 12 == len(lines)
    assert "and 90 more" == lines[-1]
