"""Configurations on their way, with stand-ins for the node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ipfailover_agent.config import prepare
from ipfailover_agent.errors import AwaitedSource, HostNotReadyError, Problem, SettingsError
from ipfailover_agent.keepalived.lifecycle import CandidateVerdict, PreparationEnded
from ipfailover_agent.supervisor.config_manager import ConfigManager
from tests.support.services import common

if TYPE_CHECKING:
    from pathlib import Path

PROBLEM = Problem(variable="X", element="", reason="is missing", instead="set it")
AWAITED = HostNotReadyError(
    PROBLEM, source=AwaitedSource(interface="nosuch0", address="10.0.0.31")
)


class Ear:
    """Whether it listens."""

    def __init__(self) -> None:
        self.is_open = False

    def about(self, error: HostNotReadyError) -> HostNotReadyError:
        self.is_open = True
        return error

    def close(self) -> None:
        self.is_open = False


@pytest.mark.parametrize("refusal", [None, SettingsError((PROBLEM,))])
def test_nobody_listens_for_a_source_that_is_awaited_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: SettingsError | None
) -> None:
    """Where a refused reload is taken back nothing changes; each advert would wake the agent."""
    no_variables = prepare.Variables(values={}, start_only={})
    active: Any = SimpleNamespace(rendering=SimpleNamespace(digest="1"), variables=no_variables)
    found: list[Exception | None] = [AWAITED, refusal]
    ended: list[PreparationEnded] = []
    anything: Any = SimpleNamespace(refused=lambda *_: (), unchanged=lambda *_: None)
    options = prepare.Options()
    ear: Any = Ear()

    def build(*_: object) -> object:
        if (error := found.pop(0)) is not None:
            raise error
        return active

    monkeypatch.setattr(prepare, "read_variables", lambda *_: no_variables)
    monkeypatch.setattr(prepare, "build", build)
    monkeypatch.setattr(ConfigManager, "_record_active", lambda _: None)
    candidates = ConfigManager(
        common(tmp_path, dispatch=ended.append),
        options=options,
        reporter=anything,
        holds=anything,
        probes=anything,
        policy=anything,
        add_peers=anything,
    )
    candidates.active, candidates.ear = active, ear
    candidates.prepare(runs=True)
    assert ear.is_open
    candidates.prepare(runs=True)
    assert not ear.is_open
    last = CandidateVerdict.UNCHANGED if refusal is None else CandidateVerdict.REFUSED
    assert [CandidateVerdict.NOT_READY, last] == [each.verdict for each in ended]
