"""``plan``: what a reload would change, before it is made."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from ipfailover_agent import terminal
from ipfailover_agent.cli import check, options
from ipfailover_agent.config import memory, prepare, templating
from ipfailover_agent.config.prepare import Options, Variables
from ipfailover_agent.errors import ExitCode
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.peers import peers_once
from ipfailover_agent.status.running import find_agent, read_status, unseen, wrote
from ipfailover_agent.supervisor import impact
from ipfailover_agent.supervisor.change import ConfigChange, Consequence
from ipfailover_agent.supervisor.impact import Impact
from ipfailover_agent.text import ranges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.config.memory import ActiveRecord
    from ipfailover_agent.config.prepare import Candidate

_CHANGED = 1


class _Base(Struct, frozen=True, kw_only=True):
    """What the candidate is compared with, and where its variables come from.

    ``kind`` is active, last-good or nothing.
    """

    kind: str
    text: str
    record: ActiveRecord | None
    environment: Mapping[str, str]
    options: Options


class _PlanOutcome(Struct, frozen=True, kw_only=True):
    """What ``plan`` found. ``signals`` counts the SIGHUPs to keepalived, None without one."""

    base: _Base
    candidate: Candidate | None = None
    impact: Impact | None = None
    signals: int | None = None
    has_changes: bool = False
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def plan(run_directory: str, config: str | None, *, as_json: bool) -> int:
    """Print the outcome; return 0 where nothing would change, 1 where something would, or 78."""
    outcome = _look(_find_base(run_directory, config))
    terminal.say(_as_json(outcome) if as_json else "\n".join(_as_text(outcome)))
    if outcome.problems:
        return int(ExitCode.CONFIG)
    return _CHANGED if outcome.has_changes else int(ExitCode.OK)


# --- with what ----------------------------------------------------------------------------------


def _find_base(run_directory: str, config: str | None) -> _Base:
    pid = find_agent(run_directory, must_run=False)
    path = RunPaths(directory=run_directory, config="").active
    record = memory.read_active(path)
    own = options.made(
        config or os.environ.get("IPFAILOVER_CONFIG"),
        run_directory,
        os.environ.get("IPFAILOVER_TEMPLATE_DIR"),
    )
    text = "no configuration was in force here yet: compared with nothing"
    base = _Base(kind="nothing", text=text, record=record, environment=os.environ, options=own)
    if record is None:
        if not os.path.lexists(path):
            return base
        text = f"{path} cannot be read, or is of another version: what is in force is not known"
        return replace(base, text=f"{text} here, compared with nothing")
    if wrote(record, pid):
        text = f"compared with what the agent, pid {pid}, has in force"
        environment, theirs = prepare.as_recorded(record, own)
        theirs = replace(theirs, config=config or record.source)
        return replace(base, kind="active", text=text, environment=environment, options=theirs)
    why = "no agent runs"
    if pid:
        status = read_status(run_directory)
        phase = status and f"the agent has nothing in force, it is {status['phase']}"
        why = phase or unseen(run_directory, pid)
    text = f"{why}: compared with the last good configuration"
    return replace(base, kind="last-good", text=text)


def _look(base: _Base) -> _PlanOutcome:
    record, is_active = base.record, base.kind == "active"
    before = signals = None
    if record is not None and is_active:
        before = Variables(values={}, start_only=dict(record.start_only))
    names = peers_once.Found(base.options)
    attempt = prepare.attempt(base.environment, base.options, names, before=before)
    problems, warnings = check.judge(attempt)
    candidate = attempt.candidate
    if candidate is None or problems:
        return _PlanOutcome(base=base, problems=problems)
    outcome = _PlanOutcome(base=base, candidate=candidate, warnings=tuple(dict.fromkeys(warnings)))
    if record is None:
        added = Impact(change=ConfigChange(added=candidate.config.addresses))
        return replace(outcome, impact=added, has_changes=True)
    found = impact.assess(record.config, candidate.config, candidate.settings)
    if is_active:
        directory = base.options.template_directory
        now = templating.render(record.config, candidate.paths, template_directory=directory)
        is_same = now.config == candidate.rendering.config
        signals = 0 if is_same else found.change.signals
    has_changes = record.digest != candidate.rendering.digest
    return replace(outcome, impact=found, signals=signals, has_changes=has_changes)


# --- the output ---------------------------------------------------------------------------------


def _as_text(outcome: _PlanOutcome) -> list[str]:
    lines = _wrapped(outcome.base.text)
    if outcome.impact is not None:
        lines += ["", *_rows(outcome.impact.change), "", *_wrapped(_steps(outcome))]
        for each in (*outcome.impact.warnings, *outcome.warnings):
            lines += _wrapped(f"warning: {each}")
        if outcome.impact.pins:
            # on one line, however long: to be copied
            lines.append(f"pin ids: {impact.PINS}={outcome.impact.pins}")
    for each in outcome.problems:
        lines += _wrapped(f"problem: {each}")
    if outcome.problems:
        lines += _wrapped("a reload would be refused, and everything would run on as before")
    return lines


def _rows(change: ConfigChange) -> list[str]:
    """Return what happens to which addresses, a paragraph for each kind."""
    kinds = (
        ("kept", len(change.kept), [ranges(change.kept)]),
        ("added", len(change.added), [ranges(change.added)]),
        ("removed", len(change.removed), [ranges(change.removed)]),
        ("new id", len(change.renumbered), _ids(change)),
        ("moved", len(change.moved), _moves(change)),
    )
    lines: list[str] = []
    for name, count, texts in kinds:
        if count:
            text = f"{name:<8}{count:>4}  {'; '.join(texts)}"
            lines += terminal.fold(text, terminal.WIDTH, " " * 14)
    for old, new in change.renamed[:1]:
        more = len(change.renamed) - 1
        others = f", and {more} more like that" if more else ""
        lines += _wrapped(f"{old} is called {new} then{others}")
    for text in impact.summed(
        each for each in change.differences if each.consequence is Consequence.NONE
    ):
        lines += _wrapped(text)
    return lines


def _ids(change: ConfigChange) -> list[str]:
    return [
        f"{ranges(each.address for each in run)} "
        f"(from {run[0].old_id} to {run[0].new_id}{' and so on' if len(run) > 1 else ''})"
        for run in impact.shifts(change.renumbered)
    ]


def _moves(change: ConfigChange) -> list[str]:
    """Return the moves of addresses: each where there are few, else the first of each run."""
    pairs: dict[tuple[str, str], list[Any]] = {}
    for each in change.moved:
        pairs.setdefault((each.origin, each.target), []).append(each.address)
    shown = [
        f"{ranges(addresses)} from {origin} to {target}"
        for (origin, target), addresses in pairs.items()
    ]
    most = 4
    return shown if len(shown) <= most else [*shown[:most], f"{len(shown) - most} more like that"]


def _steps(outcome: _PlanOutcome) -> str:
    if not outcome.has_changes:
        return "nothing would change for keepalived"
    first = outcome.impact.first_step if outcome.impact else ""
    match outcome.signals:
        case None:
            return "keepalived would be started with it"
        case 0:
            return "only scripts change: keepalived would not be signalled"
        case 1:
            return "in one step: keepalived would be signalled once"
        case _:
            return (
                "in two steps, since keepalived would lose an address in one: first "
                f"{first}, then the new one"
            )


def _wrapped(text: str) -> list[str]:
    return terminal.fold(text, terminal.WIDTH, "  ")


def _as_json(outcome: _PlanOutcome) -> str:
    data: dict[str, Any] = {
        "ok": not outcome.problems,
        "compared_with": outcome.base.kind,
        "has_changes": outcome.has_changes,
        "problems": outcome.problems,
        "warnings": outcome.warnings,
    }
    if outcome.impact is not None and outcome.candidate is not None:
        change = outcome.impact.change
        data |= {
            "digest": outcome.candidate.rendering.digest,
            "steps": outcome.signals,
            "kept": change.kept,
            "added": change.added,
            "removed": change.removed,
            "moved": [
                {"address": each.address, "from": each.origin, "to": each.target}
                for each in change.moved
            ],
            "renumbered": [asdict(each) for each in change.renumbered],
            "renamed": [{"from": old, "to": new} for old, new in change.renamed],
            "resized": change.resized,
            "differences": change.differences,
            "felt_by_others": outcome.impact.warnings,
            "pin_ids": outcome.impact.pins or None,
        }
    return json.dumps(data, indent=2, default=str)
