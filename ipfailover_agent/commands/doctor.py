"""``doctor``: examines this node and its network, changes nothing, names what to repair."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from ipfailover_agent import prepare
from ipfailover_agent.commands import examination, peers_once, running
from ipfailover_agent.core.errors import AgentError, ExitCode, HostNotReadyError, SettingsError
from ipfailover_agent.core.paths import RunPaths
from ipfailover_agent.core.planning import unicast
from ipfailover_agent.core.reading import variables
from ipfailover_agent.core.telling import findings, node_findings
from ipfailover_agent.core.telling.findings import CheckResult, Finding
from ipfailover_agent.report import terminal
from ipfailover_agent.system import examining, host, memory, process
from ipfailover_agent.system.files import TERMINATION_LOG, write_termination_message

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ipfailover_agent.commands.examination import Deadline
    from ipfailover_agent.core.changing.records import ActiveRecord
    from ipfailover_agent.prepare import Candidate, Options

_INDENT = " " * 6
_NAMES_SECONDS = 3.0
_VERSION_SECONDS = 2.0
_WITHOUT = {"listener": "an application that dies is found by the periodic check alone"}
_SEE_CHECK = "see `ipfailover-agent check`"


class _Source(Struct, frozen=True, kw_only=True):
    """Where the variables come from; ``is_agents``: from the agent that runs here."""

    environment: Mapping[str, str]
    options: Options
    is_agents: bool = False


class _Configuration(Struct, frozen=True, kw_only=True):
    """What became of the settings; ``candidate`` lacks the names if no ``knows_peers``."""

    findings: tuple[Finding, ...]
    candidate: Candidate | None = None
    knows_peers: bool = True


def examine(
    options: Options, *, seconds: float, as_json: bool, tolerated: Collection[str] = ()
) -> int:
    """Print a line per finding, as it is found; return 0, or 78 where something fails.

    ``tolerated`` are checks that only warn.
    """
    found: list[Finding] = []
    columns = terminal.width() if terminal.is_terminal() else None
    for each in _findings(options, seconds):
        finding = findings.tolerated(each, tolerated)
        found.append(finding)
        if not as_json:
            terminal.say(_lines(finding, columns))  # unread or not, the exit code counts them all
    if as_json:
        told = [{**asdict(each), "verdict": each.verdict.value} for each in found]
        terminal.say(json.dumps({"findings": told}, indent=2))
    failed = [each for each in found if each.verdict is CheckResult.FAIL]
    if failed and os.getpid() == 1:  # a container of its own, not beside an agent
        write_termination_message(
            TERMINATION_LOG, "\n".join(_lines(each, None) for each in failed)
        )
    return int(ExitCode.CONFIG if failed else ExitCode.OK)


def _lines(finding: Finding, columns: int | None) -> str:
    """Return a line, and one of advice; folded where a person looks at a terminal."""
    text = terminal.harmless(f"{finding.verdict.value}  {finding.check}: {finding.text}")
    advice = terminal.harmless(finding.advice)
    if columns is None:
        return f"{text}\n{_INDENT}{advice}" if advice else text
    lines = terminal.fold(text, columns, indent=_INDENT)
    if advice:
        lines += terminal.fold(advice, columns, indent=_INDENT, lead=_INDENT)
    return "\n".join(lines)


def _findings(options: Options, seconds: float) -> Iterator[Finding]:
    deadline = examination.Deadline(seconds)
    yield from _program(deadline)
    source = _source_of(options)
    yield from _agent(source)
    found = _configuration(source, deadline)
    yield from found.findings
    if found.candidate is None:
        said = {each.check for each in found.findings}
        wanting = (*findings.CONFIGURED_CHECKS, *findings.WIRE_CHECKS)
        left = [each for each in wanting if each not in said]
        yield from findings.all_skipped(left, "there is no configuration to look with")
        yield from examination.machine()
        return
    is_running = running.find_agent(source.options.run_directory, must_run=False) != 0
    yield from examination.node(found.candidate, deadline, is_running=is_running)
    if found.knows_peers:
        yield from examination.network(found.candidate, seconds, _told_by_agent(source))
    else:
        yield from findings.all_skipped(findings.WIRE_CHECKS, "the peers are not known")
        yield from examination.machine()


def _program(deadline: Deadline) -> Iterator[Finding]:
    try:
        yield node_findings.judge_capabilities(host.missing_capabilities())
    except AgentError as error:
        yield findings.skipped("capabilities", str(error), "run it as root on the node")
    try:
        program = process.find_program("keepalived", os.environ.get("PATH"))
    except AgentError:
        printed = None
    else:
        words = (program, "--version")
        printed = examining.output_of(words, os.environ, deadline.at_most(_VERSION_SECONDS)) or ""
    yield from node_findings.judge_keepalived(printed)


def _source_of(options: Options) -> _Source:
    """Return the own variables, or those of the agent that runs here where there are none."""
    own = _Source(environment=os.environ, options=options)
    if options.config or any(map(variables.is_contract, os.environ)):
        return own
    record = _record_of_agent(options)
    if record is None:
        return own
    return _Source(
        environment=dict(record.environment),
        options=replace(
            options, config=record.source, template_directory=record.template_directory
        ),
        is_agents=True,
    )


def _record_of_agent(options: Options) -> ActiveRecord | None:
    pid = running.find_agent(options.run_directory, must_run=False)
    record = memory.read_active(RunPaths(directory=options.run_directory, config="").active)
    return record if record and running.wrote(record, pid) else None


def _told_by_agent(source: _Source) -> Mapping[str, Any] | None:
    """Return the status of the agent that runs here, None where none does or shows it."""
    try:
        return running.read_status(source.options.run_directory)
    except AgentError:
        return None


def _agent(source: _Source) -> Iterator[Finding]:
    directory = source.options.run_directory
    try:
        pid = running.find_agent(directory)
        told = running.read_status(directory)
    except AgentError:
        yield findings.passed("agent", "none runs with this run directory")
        return
    whose = "; its variables are looked at" if source.is_agents else ""
    if told is None:
        yield findings.warned(
            "agent", f"{running.unseen(directory, pid)}{whose}", "wait a moment, look again"
        )
    elif told["ready"]:
        yield findings.passed("agent", f"pid {pid} runs and is ready{whose}")
    else:
        reasons = "; ".join(told["reasons"]) or told["phase"]
        yield findings.warned(
            "agent", f"pid {pid} is not ready: {reasons}{whose}", "see `ipfailover-agent status`"
        )
    yield from _hindered(told or {})


def _hindered(told: Mapping[str, Any]) -> Iterator[Finding]:
    """Report what an agent would do and cannot, and what it keeps from serving on purpose."""
    for each in told.get("protections", ()):
        if not each["active"] and each["reason"]:
            text = f"its protection {each['kind']} is off: {each['reason']}"
            advice = _WITHOUT.get(each["kind"], "two nodes may hold an address for longer")
            yield findings.warned("agent", text, advice)
    for each in told.get("instances", ()):
        if each["held"]:
            text = f"{each['name']} is held in FAULT: {each['held']}"
            yield findings.warned("agent", text, "mend that; it is let go by itself")


def _configuration(source: _Source, deadline: Deadline) -> _Configuration:
    """Build the configuration, and say how that went."""
    names = peers_once.Found(source.options, deadline.at_most(_NAMES_SECONDS))
    try:
        read = prepare.read_variables(source.environment, source.options)
        candidate = prepare.build(read.values, source.options, names)
    except SettingsError as error:
        told = (findings.failed("settings", str(each), _SEE_CHECK) for each in error.problems)
        return _Configuration(findings=(*told, findings.skipped("dns", "no usable settings")))
    except HostNotReadyError as error:
        return _not_ready(source, error, names)
    except AgentError as error:
        told_once = findings.failed("settings", str(error), _SEE_CHECK)
        return _Configuration(findings=(told_once, findings.skipped("dns", "no usable settings")))
    return _Configuration(
        candidate=candidate,
        findings=(
            *_settings(candidate, read.warnings),
            *_names(names),
        ),
    )


def _not_ready(
    source: _Source, error: HostNotReadyError, names: peers_once.Found
) -> _Configuration:
    """Say what the node lacks; without peers, look at it as if there were no names."""
    usable = findings.passed("settings", "they can be used")
    if error.problem.variable != unicast.NAMES:
        lacking = findings.failed("interface", str(error), "run waits for it")
        return _Configuration(findings=(usable, *_names(names), lacking))
    told = findings.failed("dns", str(error), "run waits for it")
    read = prepare.read_variables(source.environment, source.options)
    without = {**read.values, unicast.NAMES: ""}
    try:
        candidate = prepare.build(without, source.options, names)
    except AgentError:
        return _Configuration(findings=(usable, told))
    return _Configuration(
        candidate=candidate,
        findings=(*_settings(candidate, read.warnings), told),
        knows_peers=False,
    )


def _settings(candidate: Candidate, warnings: tuple[str, ...]) -> Iterator[Finding]:
    config = candidate.config
    count = len(config.addresses)
    noun = "address" if count == 1 else "addresses"
    instances = "instance" if len(config.instances) == 1 else "instances"
    text = f"{count} {noun} in {len(config.instances)} {instances} on {config.interface}"
    yield findings.passed("settings", text)
    for each in dict.fromkeys((*warnings, *candidate.warnings, *config.degraded)):
        yield findings.warned("settings", each, _SEE_CHECK)


def _names(names: peers_once.Found) -> Iterator[Finding]:
    """Say what was asked of DNS, and what came back."""
    if not names.answers:
        yield findings.skipped("dns", f"{unicast.NAMES} is not set")
    for each in names.answers:
        if not each.failure:
            yield findings.passed("dns", peers_once.describe(each))
    for text in names.warnings:
        yield findings.warned("dns", text, "mend DNS, or list addresses instead")
