"""What /livez and /readyz answer, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipfailover_agent.http.messages import HttpRequest
from ipfailover_agent.http.routes import Routes
from ipfailover_agent.status.exchange import Exchange
from tests.support.observed import instance, observation

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    made = Exchange()
    yield made
    made.close()


def asked(
    exchange: Exchange, path: str, now: float = 100.0, config: str | None = None
) -> tuple[int, list[str]]:
    """Return status and lines of an answer."""
    found = Routes(exchange).answer(HttpRequest(path=path, config=config), now, may_wait=True)
    assert found is not None
    return found.status, found.body.decode().splitlines()


def test_a_loop_that_runs_is_alive_and_one_that_stands_still_is_not(exchange: Exchange) -> None:
    """Nothing else counts: keepalived is ours to restart."""
    exchange.beat = 100.0
    assert (200, ["live"]) == asked(exchange, "/livez", 109.9)
    still = "the agent's loop has been standing still for 20 s"
    assert (503, ["not live", still]) == asked(exchange, "/livez", 120.0)


@pytest.mark.parametrize(
    ("name", "config"), [("edge", None), ("edge", "edge"), (None, "edge")], ids=str
)
def test_a_probe_may_name_whom_it_means(
    exchange: Exchange, name: str | None, config: str | None
) -> None:
    """Before anything is in force nobody knows the name."""
    exchange.name, exchange.look, exchange.beat = name, observation(instance(1)), 100.0
    for path, word in (("/livez", "live"), ("/readyz", "ready")):
        assert (200, [word]) == asked(exchange, path, config=config)


@pytest.mark.parametrize("config", ["other", ""])
def test_a_probe_that_means_another_deployment_is_told_so(exchange: Exchange, config: str) -> None:
    """With both names."""
    exchange.name, exchange.look = "edge", observation(instance(1))
    text = f"this is the agent of 'edge', not of {config!r}: give each its own port"
    for path, word in (("/livez", "not live"), ("/readyz", "not ready")):
        assert (503, [word, text]) == asked(exchange, path, config=config)


@pytest.mark.parametrize(
    ("state", "code", "lines"),
    [
        ("MASTER", 200, ["ready"]),
        ("FAULT", 503, ["not ready", "edge_VIP_1: in FAULT, and no check fails"]),
    ],
)
def test_ready_is_what_the_status_says(
    exchange: Exchange, state: str, code: int, lines: list[str]
) -> None:
    """There is no second opinion."""
    exchange.look = observation(instance(1, state))
    assert exchange.look.status.ready is (code == 200)
    assert (code, lines) == asked(exchange, "/readyz")


def test_an_answer_stays_short(exchange: Exchange) -> None:
    """However many instances there are."""
    states = ("FAULT", "STOP", "INIT")
    exchange.look = observation(
        *(instance(each, states[each % 3], addresses=()) for each in range(1, 100)),
        problems=tuple(f"{each} was left out" for each in range(100)),
    )
    _, lines = asked(exchange, "/readyz")
    assert 12 == len(lines)
    assert "and 90 more" == lines[-1]
