"""What is answered to which path, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfailover_agent.http import messages
from ipfailover_agent.http.messages import HttpRequest
from ipfailover_agent.http.routes import Routes
from ipfailover_agent.status.exchange import Exchange
from tests.support.markdown import code, section, table
from tests.support.observed import instance, observation

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


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


def test_the_operations_guide_lists_every_path(exchange: Exchange) -> None:
    """And what is listed is answered."""
    listed = {code(row[0])[0] for row in table(section(OPERATIONS, "HTTP"))}
    assert {"/livez", "/readyz", "/status", "/metrics", "/"} == listed
    exchange.look, exchange.beat = observation(), 100.0
    assert {200} == {asked(exchange, path)[0] for path in listed}
    other = Routes(exchange).answer(HttpRequest(path="/other"), 0.0, may_wait=True)
    assert messages.refusal(404) == other


def test_one_look_is_made_into_each_page_once(exchange: Exchange) -> None:
    """However many ask; the next look makes them anew."""
    site = Routes(exchange)
    exchange.look = observation(instance(1))
    for path in ("/", "/metrics", "/status"):
        request, made_at = HttpRequest(path=path), exchange.look.at
        first = site.answer(request, made_at, may_wait=True)
        assert first is site.answer(request, made_at + 0.9, may_wait=True)
        assert site.answer(request, made_at + 1.1, may_wait=True) is None
        late = site.answer(request, made_at + 2.1, may_wait=False)
        assert late is not None
        assert (503, True) == (late.status, late.body.startswith(b"stale"))
    exchange.look = observation(instance(2))
    again = site.answer(HttpRequest(path="/status"), exchange.look.at, may_wait=True)
    assert again is not None
    assert b"edge_VIP_2" in again.body
