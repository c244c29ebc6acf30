"""What /livez and /readyz answer, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipfailover_agent.report import probes, status
from ipfailover_agent.report.board import STANDS_STILL, Observation
from tests.support.observed import ago, instance, observation

FAILING = status.CheckStatus(state="failing", reason="no answer on port 80", since=ago(9))
HEALTHY = observation(instance(1), instance(2, "BACKUP"))


def test_a_loop_that_runs_is_alive_and_one_that_stands_still_is_not() -> None:
    """Nothing else counts: keepalived is ours to restart."""
    assert probes.live(100.0, 100.0 + STANDS_STILL - 0.1).is_good
    still = probes.live(100.0, 120.0)
    assert ("not live", "the agent's loop has been standing still for 20 s") == still.lines("live")


@pytest.mark.parametrize(
    ("name", "config"), [("edge", None), ("edge", "edge"), (None, "edge")], ids=str
)
def test_a_probe_may_name_whom_it_means(name: str | None, config: str | None) -> None:
    """Before anything is in force nobody knows the name."""
    assert probes.foreign(name, config) is None


@pytest.mark.parametrize("config", ["other", ""])
def test_a_probe_that_means_another_deployment_is_told_so(config: str) -> None:
    """With both names."""
    verdict = probes.foreign("edge", config)
    assert verdict is not None
    text = f"this is the agent of 'edge', not of {config!r}: give each its own port"
    assert (text,) == verdict.reasons


@pytest.mark.parametrize(
    ("seen", "note"),
    [
        pytest.param(HEALTHY, None, id="master and backup"),
        pytest.param(
            observation(instance(1, "FAULT"), instance(2, "FAULT"), check=FAILING),
            "edge_VIP_1 and edge_VIP_2: in FAULT, the check fails: no answer on port 80",
            id="the user's check fails",
        ),
        pytest.param(
            observation(instance(1, "FAULT", held="held: a firewall")),
            "edge_VIP_1: held: a firewall",
            id="held",
        ),
        pytest.param(
            observation(instance(1, "FAULT", drained="by hand")),
            "edge_VIP_1: drained: by hand",
            id="drained",
        ),
        pytest.param(
            replace(HEALTHY, can_ask=False, dump_age=None), None, id="no dumps to be had"
        ),
        pytest.param(
            replace(observation(instance(1, since=ago(1))), present=frozenset()),
            None,
            id="just became master",
        ),
    ],
)
def test_a_node_that_does_its_part_is_ready(seen: Observation, note: str | None) -> None:
    """Also one that may hold nothing: a roll-out must not wait for that."""
    verdict = probes.ready(seen)
    assert () == verdict.reasons
    assert verdict.is_good
    assert (() if note is None else (note,)) == verdict.notes
    assert "ready" == verdict.lines("ready")[0]


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        pytest.param(
            observation(config=None, phase="waiting", problems=("no eth0",)),
            "no configuration is in force",
            id="first configuration",
        ),
        pytest.param(
            observation(instance(1, "STOP"), phase="backoff"),
            "keepalived does not run: the agent is backoff",
            id="keepalived down",
        ),
        pytest.param(
            observation(instance(1), problems=("10.0.0.300 was left out",)),
            "10.0.0.300 was left out",
            id="serve-valid",
        ),
        pytest.param(
            replace(HEALTHY, dump_age=7.0), "keepalived has not answered for 7 s", id="hangs"
        ),
        pytest.param(
            replace(HEALTHY, dump_age=None), "keepalived has not answered", id="never answered"
        ),
        pytest.param(
            observation(instance(1, "FAULT")),
            "edge_VIP_1: in FAULT, and no check fails",
            id="fault by something else",
        ),
        pytest.param(observation(instance(1, "INIT")), "edge_VIP_1: in INIT", id="init"),
        pytest.param(
            replace(HEALTHY, present=frozenset()),
            "edge_VIP_1: MASTER, and 10.0.0.2 is not on the interface",
            id="master without its address",
        ),
        pytest.param(
            replace(HEALTHY, present=frozenset({"10.0.0.2", "10.0.0.3"})),
            "edge_VIP_2: in BACKUP, and 10.0.0.3 is on the interface",
            id="backup with an address",
        ),
        pytest.param(
            replace(HEALTHY, present=None), "the kernel does not tell its addresses", id="kernel"
        ),
    ],
)
def test_a_node_that_does_not_is_not_ready(seen: Observation, reason: str) -> None:
    """And says why, in the answer that the kubelet shows."""
    verdict = probes.ready(seen)
    assert not verdict.is_good
    assert reason in verdict.reasons
    assert reason in verdict.lines("ready")
    assert "not ready" == verdict.lines("ready")[0]


def test_an_answer_stays_short() -> None:
    """However many instances there are."""
    seen = replace(observation(*(instance(each) for each in range(1, 100))), present=frozenset())
    lines = probes.ready(seen).lines("ready")
    assert 12 == len(lines)
    assert "and 89 more" == lines[-1]
