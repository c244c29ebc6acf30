"""``status``: the running agent, for a person or a program."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import click

from ipfailover_agent.commands.running import find_agent, read_status
from ipfailover_agent.core.errors import ExitCode
from ipfailover_agent.report import terminal

_LOOK_INTERVAL = 0.5


def status(run_directory: str, *, as_json: bool, watch: bool) -> int:
    """Print the status, again and again with ``watch``; return 0 when the agent is ready."""
    find_agent(run_directory)
    if not watch:
        data = read_status(run_directory)
        terminal.say(_shown(data, as_json=as_json))
        return int(ExitCode.OK if data and data["ready"] else ExitCode.BUG)
    try:
        _watch(run_directory, as_json=as_json)
    except KeyboardInterrupt:
        terminal.say("")  # the shell's prompt belongs on a line of its own, behind the ^C
    return int(ExitCode.OK)


def _watch(run_directory: str, *, as_json: bool) -> None:
    """Print each new status until nobody reads it any more.

    Raises:
        NotRunningError: the agent has ended.
    """
    shown = None
    while True:
        data = read_status(run_directory)
        if data != shown:
            shown = data
            if not as_json:
                click.clear()
            if not terminal.say(_shown(data, as_json=as_json)):
                return
        time.sleep(_LOOK_INTERVAL)
        find_agent(run_directory)


def _shown(data: dict[str, Any] | None, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(data or {})
    if data is None:
        return "the agent has not written a status yet"
    return "\n".join(_text(data, datetime.now(UTC)))


def _text(data: dict[str, Any], now: datetime) -> list[str]:
    """Return the lines of the table, for 80 columns."""
    ready = "ready" if data["ready"] else "not ready"
    lines = [f"{data['phase']}, {ready}, agent {data['version']}, pid {data['pid']}"]
    if config := data["config"]:
        lines.append(
            f"{config['name']} on {config['interface']}, from {config['source']}, "
            f"in force for {_since(config['since'], now)}, digest {config['digest'][:12]}"
        )
    if count := data["restarts"]:
        lines.append(f"keepalived was restarted {'once' if count == 1 else f'{count} times'}")
    if count := data["lines_dropped"]:
        what = "line was dropped because nobody read it"
        many = "lines were dropped because nobody read them"
        lines.append(f"{count} log {what if count == 1 else many}")
    lines += [f"  {each}" for each in data["reasons"]]
    lines += [
        f"  {each['kind']} is off: {each['reason']}"
        for each in data["protections"]
        if each["reason"]
    ]
    lines += [f"  {each['name']} {each['held']}" for each in data["instances"] if each["held"]]
    lines += _drained(data["instances"])
    rows = [
        (
            each["name"],
            each["state"],
            _since(each["since"], now),
            str(each["virtual_router_id"]),
            str(each["priority"]),
            terminal.addresses(each["addresses"]),
        )
        for each in data["instances"]
    ]
    if rows:
        header = ("INSTANCE", "STATE", "SINCE", "ID", "PRIORITY", "ADDRESSES")
        lines += ["", *terminal.table(header, rows)]
    if verdict := data["reload"]["verdict"]:
        lines += ["", f"last reload {verdict}, {_since(data['reload']['at'], now)} ago"]
        lines += [f"  {each}" for each in data["reload"]["lines"]]
    return lines


def _drained(instances: list[dict[str, Any]]) -> list[str]:
    """Return a line for each way in which instances are drained."""
    names: dict[str, list[str]] = {}
    for each in instances:
        if each["drained"]:
            names.setdefault(each["drained"], []).append(each["name"])
    return [
        f"  {found[0] if len(found) == 1 else f'{len(found)} instances'} drained: {words}"
        for words, found in names.items()
    ]


def _since(at: str | None, now: datetime) -> str:
    if at is None:
        return "-"
    return terminal.duration((now - datetime.fromisoformat(at)).total_seconds())
