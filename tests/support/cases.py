"""Golden cases: an environment and a node's facts, as files that a person reads."""

from __future__ import annotations

import dataclasses
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from msgspec import structs

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.settings import parse
from ipfailover_agent.config.templating import render
from ipfailover_agent.model import HostFacts, KeepalivedConfig, Rendering, ScriptState, TrackScript
from ipfailover_agent.paths import RunPaths
from tests.support.vectors import host_facts

CASES = Path(__file__).parent.parent / "golden" / "cases"
PATHS = RunPaths(directory="/run/ipfailover-agent", config="/etc/keepalived/keepalived.conf")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One golden case; ``directory`` holds env, facts.toml and the expected files."""

    directory: Path
    env: dict[str, str]
    facts: HostFacts

    def __str__(self) -> str:
        return self.directory.name

    def config(self) -> KeepalivedConfig:
        """Return what is planned for the case."""
        return plan(parse(self.env), self.facts)

    def rendering(self) -> Rendering:
        """Return what the case is rendered to."""
        return render(self.config(), PATHS)


def track_script(**fields: Any) -> TrackScript:  # noqa: ANN401 - fields of TrackScript
    """Return a check that runs each second and has a second, unless fields say otherwise."""
    usual = {"name": "chk_x", "interval": 1, "timeout": 1, "rise": 1, "fall": 1}
    return TrackScript(**{**usual, **fields})


def load_cases() -> list[Case]:
    """Return every golden case, sorted by name."""
    return [
        Case(directory=each, env=_env(each / "env"), facts=_facts(each / "facts.toml"))
        for each in sorted(CASES.iterdir())
    ]


def _env(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value for name, value in pairs}  # noqa: C416 - pairs are lists, not tuples


def _facts(path: Path) -> HostFacts:
    """Read interfaces (addresses and MTU), routes, records, peers and states of scripts."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    tables = raw["interfaces"]
    facts = host_facts({name: each["addresses"] for name, each in tables.items()}, raw["routes"])
    return structs.replace(
        facts,
        interfaces=tuple(
            structs.replace(each, mtu=tables[each.name].get("mtu", 1500))
            for each in facts.interfaces
        ),
        recorded_addresses=tuple(map(ip_address, raw.get("recorded", ()))),
        resolved_peers=tuple(map(ip_address, raw["resolved"])) if "resolved" in raw else None,
        check_script=ScriptState(raw["check_script"]) if "check_script" in raw else None,
        notify_script=ScriptState(raw["notify_script"]) if "notify_script" in raw else None,
    )
