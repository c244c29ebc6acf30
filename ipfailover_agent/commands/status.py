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
    shown = None
    while True:
        data = read_status(run_directory)
        if data != shown:
            shown = data
            _print(data, as_json=as_json, clear=watch and not as_json)
        if not watch:
            return int(ExitCode.OK if data and data["ready"] else ExitCode.BUG)
        try:
            time.sleep(_LOOK_INTERVAL)
        except KeyboardInterrupt:
            return int(ExitCode.OK)
        find_agent(run_directory)


def _print(data: dict[str, Any] | None, *, as_json: bool, clear: bool) -> None:
    if clear:
        click.clear()
    if data is None:
        click.echo("{}" if as_json else "the agent has not written a status yet")
    elif as_json:
        click.echo(json.dumps(data))
    else:
        click.echo("\n".join(_text(data, datetime.now(UTC))))


def _text(data: dict[str, Any], now: datetime) -> list[str]:
    """Return the lines of the table, for 80 columns."""
    ready = "ready" if data["ready"] else "not ready"
    lines = [f"{data['phase']}, {ready}, agent {data['version']}, pid {data['pid']}"]
    if config := data["config"]:
        lines.append(
            f"{config['name']} on {config['interface']}, from {config['source']}, "
            f"in force for {_since(config['since'], now)}, digest {config['digest'][:12]}"
        )
    if data["restarts"]:
        lines.append(f"keepalived was restarted {data['restarts']} times")
    if data["lines_dropped"]:
        lines.append(f"{data['lines_dropped']} log lines were dropped because nobody read them")
    lines += [f"  {each}" for each in data["reasons"]]
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


def _since(at: str | None, now: datetime) -> str:
    if at is None:
        return "-"
    return terminal.duration((now - datetime.fromisoformat(at)).total_seconds())
