"""Configurations on their way, with stand-ins for the node."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ipfailover_agent.config import prepare
from ipfailover_agent.errors import AwaitedSource, HostNotReadyError, Problem, SettingsError
from ipfailover_agent.keepalived.lifecycle import CandidateVerdict, PreparationEnded
from ipfailover_agent.supervisor.config_manager import ConfigManager
from tests.support.services import common

PROBLEM = Problem(variable="X", element="", reason="is missing", instead="set it")
NO_VARIABLES = prepare.Variables(values={}, start_only={})
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


class World:
    """A manager whose candidates are built as ``found`` has it, and what it answers."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[Any] = []
        self.ended: list[PreparationEnded] = []
        states = SimpleNamespace(names_in=lambda _: frozenset())
        anything: Any = SimpleNamespace(
            refused=lambda *_: (),
            unchanged=lambda *_: None,
            activated=lambda *_: None,
            restored=lambda *_: None,
            instance_states=states,
        )
        monkeypatch.setattr(prepare, "read_variables", lambda *_: NO_VARIABLES)
        monkeypatch.setattr(prepare, "build", self._build)
        for step in ("_record_active", "_record_addresses", "_mark_addresses", "_install"):
            monkeypatch.setattr(ConfigManager, step, lambda *_: None)
        self.manager = ConfigManager(
            common(directory, dispatch=self.ended.append),
            reporter=anything,
            holds=anything,
            probes=anything,
            add_peers=anything,
        )

    def _build(self, *_: object) -> object:
        if isinstance(found := self.found.pop(0), Exception):
            raise found
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def candidate(digest: str, **values: str) -> Any:  # noqa: ANN401 - as much of one as is needed
    """Return a candidate of variables with these values."""
    variables = prepare.Variables(values=values, start_only={})
    rendering = SimpleNamespace(digest=digest)
    return SimpleNamespace(rendering=rendering, variables=variables, config=None)


@pytest.mark.parametrize("refusal", [None, SettingsError((PROBLEM,))])
def test_nobody_listens_for_a_source_that_is_awaited_no_more(
    world: World, refusal: SettingsError | None
) -> None:
    """Where a refused reload is taken back nothing changes; each advert would wake the agent."""
    active = candidate("1")
    ear: Any = Ear()
    world.found = [AWAITED, refusal or active]
    world.manager.active, world.manager.ear = active, ear
    world.manager.prepare(runs=True)
    assert ear.is_open
    world.manager.prepare(runs=True)
    assert not ear.is_open
    last = CandidateVerdict.UNCHANGED if refusal is None else CandidateVerdict.REFUSED
    assert [CandidateVerdict.NOT_READY, last] == [each.verdict for each in world.ended]


def test_the_variables_that_a_reload_is_compared_with_are_rolled_back_too(world: World) -> None:
    """A reload to what is in force changes no variable, whatever was refused before."""
    before, after = candidate("1", X="1"), candidate("2", X="2")
    world.manager.active, world.manager._accepted = before, after  # noqa: SLF001 - tested before
    world.manager.activate()
    world.manager.roll_back()
    world.found = [before]
    world.manager.prepare(runs=True)
    assert [PreparationEnded(verdict=CandidateVerdict.UNCHANGED)] == world.ended
