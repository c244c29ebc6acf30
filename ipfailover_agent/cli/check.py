"""``check``: what ``run`` would do on this node, or every reason why it would not."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ipfailover_agent import terminal
from ipfailover_agent.config import budget, config_test, prepare, shell_reading
from ipfailover_agent.errors import (
    AgentError,
    ExitCode,
    HostNotReadyError,
    KeepalivedMissingError,
    SystemRefusedError,
)
from ipfailover_agent.keepalived import protocol
from ipfailover_agent.peers import peers_once

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Attempt, Candidate, Options
    from ipfailover_agent.config.shell_reading import OldReading
    from ipfailover_agent.peers.peers import LookupResult

_TEST_SECONDS = 10.0


class _CheckOutcome(Struct, frozen=True, kw_only=True):
    """What ``check`` found; ``problems`` empty means that ``run`` would serve."""

    candidate: Candidate | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    old: OldReading | None
    names: tuple[LookupResult, ...] = ()


def check(options: Options, *, compare_old: bool, as_json: bool) -> int:
    """Print the outcome; return 0 or 78."""
    outcome = _look(options, compare_old=compare_old)
    terminal.say(_as_json(outcome) if as_json else _as_text(outcome))
    return int(ExitCode.CONFIG if outcome.problems else ExitCode.OK)


def _look(options: Options, *, compare_old: bool) -> _CheckOutcome:
    found = peers_once.Found(options)
    attempt = prepare.attempt(os.environ, options, found)
    problems, warnings = judge(attempt)
    if isinstance(attempt.outcome, HostNotReadyError):
        problems = (f"{attempt.outcome}; run would wait for it",)
    old = None
    is_seen = not isinstance(attempt.outcome, SystemRefusedError)
    if compare_old and is_seen and attempt.variables is not None:
        values = attempt.variables.values
        try:
            node = prepare.look_for((), shell_reading.interfaces(values))
            old = shell_reading.read(values, node)
        except AgentError as error:
            problems += (str(error),)
    return _CheckOutcome(
        candidate=attempt.candidate,
        problems=problems,
        warnings=tuple(dict.fromkeys((*warnings, *found.warnings))),
        old=old,
        names=found.answers,
    )


def judge(attempt: Attempt) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the problems and the warnings of an attempt, and keepalived's of the candidate."""
    problems, warnings = attempt.problems, attempt.warnings
    if attempt.candidate is not None:
        try:
            problems = config_test.complaints(attempt.candidate, _TEST_SECONDS)
        except KeepalivedMissingError as error:
            warnings += (f"{error}; not tested by it",)
        except AgentError as error:
            problems = (str(error),)
        except subprocess.TimeoutExpired:
            problems = (f"keepalived did not test the configuration within {_TEST_SECONDS:g} s",)
    return problems, warnings


def _as_text(outcome: _CheckOutcome) -> str:
    lines: list[str] = []
    if outcome.candidate is not None:
        config = outcome.candidate.config
        verb = "would serve" if not outcome.problems else "would have served"
        lines += [f"run {verb} {protocol.summary(config)}", ""]
        lines += terminal.table(
            ("INSTANCE", "ID", "PRIORITY", "VRRP", "ADDRESSES"),
            [
                (
                    each.name,
                    str(each.virtual_router_id),
                    str(each.priority),
                    f"v{each.advertisement.version} {each.advertisement.interval:g}s",
                    terminal.addresses(str(held.address) for held in each.all_addresses),
                )
                for each in config.instances
            ],
        )
        times = budget.compute(outcome.candidate.settings, config)
        lines += ["", *times.lines(), ""]
    lines += [f"peers: {each}" for each in outcome.names]
    if outcome.old is not None:
        lines += _compared(outcome, outcome.old)
    lines += [f"warning: {each}" for each in outcome.warnings]
    lines += [f"problem: {each}" for each in outcome.problems]
    if outcome.problems:
        lines.append("run would serve nothing")
    return "\n".join(lines)


def _compared(outcome: _CheckOutcome, old: OldReading) -> list[str]:
    """Show both readings by virtual router id."""
    if old.outage:
        return [f"the old image serves nothing: {old.outage}"]
    before = {each.virtual_router_id: each.served for each in old.instances}
    instances = outcome.candidate.config.instances if outcome.candidate else ()
    after = {
        each.virtual_router_id: [held.address for held in each.all_addresses] for each in instances
    }
    rows = []
    for identifier in sorted(before.keys() | after.keys()):
        was, now = (list(map(str, each.get(identifier, ()))) for each in (before, after))
        verdict = "same" if sorted(was) == sorted(now) else "DIFFERENT"
        rows.append((str(identifier), " ".join(was) or "-", " ".join(now) or "-", verdict))
    differing = sum(row[-1] != "same" for row in rows)
    verdict = f"{differing} of {len(rows)} differ" if differing else "both read the same"
    head = f"the old image, on {old.interface or 'no interface'}, beside this one: {verdict}"
    return [head, *terminal.table(("ID", "OLD IMAGE", "THIS AGENT", ""), rows), ""]


def _as_json(outcome: _CheckOutcome) -> str:
    data: dict[str, Any] = {
        "ok": not outcome.problems,
        "problems": outcome.problems,
        "warnings": outcome.warnings,
    }
    if outcome.candidate is not None:
        config = outcome.candidate.config
        data["interface"] = config.interface
        data["node_addresses"] = config.node_addresses
        data["digest"] = outcome.candidate.rendering.digest
        times = budget.compute(outcome.candidate.settings, config).times()
        data["worst_seconds"] = {name: seconds for name, _, seconds in times}
        data["instances"] = [
            {
                "name": each.name,
                "virtual_router_id": each.virtual_router_id,
                "priority": each.priority,
                "vrrp_version": each.advertisement.version,
                "advert_interval": each.advertisement.interval,
                "unicast_peers": each.unicast_peers,
                "addresses": [held.address for held in each.all_addresses],
            }
            for each in config.instances
        ]
    if outcome.names:
        data["resolved_peers"] = [
            {
                "name": each.question.name,
                "family": int(each.question.family),
                "addresses": each.addresses,
                "failure": each.failure,
            }
            for each in outcome.names
        ]
    if outcome.old is not None:
        data["old_image"] = {
            "interface": outcome.old.interface,
            "outage": outcome.old.outage,
            "instances": [
                {
                    "name": each.name,
                    "virtual_router_id": each.virtual_router_id,
                    "addresses": each.served,
                }
                for each in outcome.old.instances
            ],
        }
    return json.dumps(data, indent=2, default=str)
