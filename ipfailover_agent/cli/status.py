"""``status``: the running agent, for a person or a program."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from msgspec import convert

from ipfailover_agent import terminal
from ipfailover_agent.conflict import holder_text
from ipfailover_agent.errors import ExitCode
from ipfailover_agent.status.running import find_agent, read_status, unseen
from ipfailover_agent.status.status_model import HolderStatus
from ipfailover_agent.text import harmless, times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Paint = Callable[[str, str], str]

_MOST_ROWS = 24  # of instances; more are summed up by their states
_NEWEST = 3  # transitions
_TONES = {"MASTER": "good", "FAULT": "bad", "BACKUP": "", "STOP": "doubtful", "INIT": "doubtful"}


def status(run_directory: str, *, as_json: bool, is_whole: bool, watch: float | None) -> int:
    """Print the status, again and again with ``watch``; return 0 when the agent is ready.

    ``watch`` is in seconds; ``is_whole`` prints every instance, however many there are.
    """
    pid = find_agent(run_directory)
    if watch is None:
        data = read_status(run_directory)
        shown = _shown(data, as_json=as_json, is_whole=is_whole)
        terminal.say(shown or unseen(run_directory, pid))
        return int(ExitCode.OK if data and data["ready"] else ExitCode.BUG)
    try:
        _watch(run_directory, pid, watch, as_json=as_json, is_whole=is_whole)
    except KeyboardInterrupt:
        terminal.say("")  # the shell's prompt belongs on a line of its own, behind the ^C
    return int(ExitCode.OK)


def _watch(run_directory: str, pid: int, seconds: float, *, as_json: bool, is_whole: bool) -> None:
    """Print the status until it has no reader any more: on a terminal anew each time.

    Elsewhere only what changed, so that a file holds no repeats.

    Raises:
        NotRunningError: the agent has ended.
    """
    is_live = terminal.is_terminal() and not as_json
    is_first, shown = True, None
    while True:
        data = read_status(run_directory)
        if is_live or is_first or data != shown:
            is_first, shown = False, data
            text = _shown(data, as_json=as_json, is_whole=is_whole) or unseen(run_directory, pid)
            if is_live:
                click.clear()
            if not terminal.say(text):
                return
        time.sleep(seconds)
        if not terminal.is_read():
            return
        pid = find_agent(run_directory)


def _shown(data: dict[str, Any] | None, *, as_json: bool, is_whole: bool) -> str:
    """Return what is printed of a status; for a person nothing where there is none."""
    if as_json:
        return json.dumps(data or {})
    if data is None:
        return ""
    paint = terminal.painter(os.environ, is_terminal=terminal.is_terminal())
    return "\n".join(_text(data, datetime.now(UTC), terminal.width(), paint, is_whole=is_whole))


def _text(
    data: dict[str, Any], now: datetime, columns: int, paint: Paint, *, is_whole: bool
) -> list[str]:
    """Return the lines of the table, for so many columns."""
    instances = data["instances"]
    lines = [*_head(data, now, columns, paint), *_remarks(data, now, columns, paint)]
    if len(instances) > _MOST_ROWS and not is_whole:
        lines += ["", *_grouped(instances, columns, paint)]
        instances = [each for each in instances if each["state"] not in {"MASTER", "BACKUP"}]
        instances = instances[:_MOST_ROWS]
    if instances:
        lines += ["", *_rows(instances, now, columns, paint)]
    if held := list(_holders(data, columns, is_whole=is_whole)):
        lines += ["", *held]
    if newest := list(_newest(data, columns)):
        lines += ["", *newest]
    if verdict := data["reload"]["verdict"]:
        lines += ["", f"last reload {verdict}, {_since(data['reload']['at'], now)} ago"]
        lines += _indented(data["reload"]["lines"], columns)
    return lines


def _head(data: dict[str, Any], now: datetime, columns: int, paint: Paint) -> Iterator[str]:
    ready = paint("ready", "good") if data["ready"] else paint("not ready", "bad")
    yield f"{data['phase']}, {ready}, agent {data['version']}, pid {data['pid']}"
    if config := data["config"]:
        text = f"{config['name']} on {config['interface']}, from {config['source']}, in force for "
        text += f"{_since(config['since'], now)}, digest {config['digest'][:12]}"
        yield from terminal.fold(harmless(text), columns, "  ")


def _remarks(data: dict[str, Any], now: datetime, columns: int, paint: Paint) -> Iterator[str]:
    """Yield what an operator should know beside the states."""
    if count := data["restarts"]:
        yield f"keepalived was restarted {times(count)}"
    if count := data["lines_dropped"]:
        were, them = ("line was", "it") if count == 1 else ("lines were", "them")
        yield f"{count} log {were} dropped because no program read {them}"
    check = data.get("check")
    if check and check["state"] == "failing":
        since = f" for {_since(check['since'], now)}" if check["since"] else ""
        text = f"{paint('the check fails', 'bad')}{since}: {harmless(check['reason'])}"
        yield from terminal.fold(text, columns, "  ")
    off = [each for each in data["protections"] if each.get("reason")]
    texts = [*data["reasons"], *(f"{each['kind']} is off: {each['reason']}" for each in off)]
    texts += _grouped_by(data["instances"], "held")
    texts += _grouped_by(data["instances"], "drained", "drained: ")
    texts += _silent(data["instances"])
    listen = data.get("listen")
    if isinstance(listen, dict) and listen.get("reason"):
        texts.append(f"HTTP is not answered on {listen.get('address')}: {listen['reason']}")
    yield from _indented(texts, columns)


def _grouped_by(instances: list[dict[str, Any]], field: str, verb: str = "") -> list[str]:
    """Return a field's values of instances; those of the same value together."""
    names: dict[str, list[str]] = {}
    for each in instances:
        if each.get(field):
            names.setdefault(each[field], []).append(each["name"])
    return [
        f"{group[0] if len(group) == 1 else f'{len(group)} instances'} {verb}{words}"
        for words, group in names.items()
    ]


def _silent(instances: list[dict[str, Any]]) -> list[str]:
    """Return the addresses for which no host answers; those of one holder together."""
    silent = (one for each in instances for one in each.get("unanswered", ()))
    rows = ((one["holder"], one["address"], one["since"]) for one in silent)
    return [text for _, text in holder_text.silences(rows)]


def _indented(texts: list[str], columns: int) -> Iterator[str]:
    for each in texts:
        yield from terminal.fold(harmless(each), columns, "    ", "  ")


def _rows(
    instances: list[dict[str, Any]], now: datetime, columns: int, paint: Paint
) -> Iterator[str]:
    """Yield the table of instances; of the addresses as many as there is room for."""
    header = ("INSTANCE", "STATE", "SINCE", "ID", "PRIORITY")
    fields = ("name", "state", "since", "virtual_router_id", "priority")
    shown = ({**each, "since": _since(each["since"], now)} for each in instances)
    first = [tuple(str(each[field]) for field in fields) for each in shown]
    lead = sum(max(map(len, column)) + 2 for column in zip(header, *first, strict=True))
    rows = [
        (*row, terminal.addresses(each["addresses"], columns - lead))
        for row, each in zip(first, instances, strict=True)
    ]
    if max(lead + len(row[-1]) for row in rows) > columns:  # a long name beside a long address
        header = ("INSTANCE", "STATE", "SINCE", "ID", "PRIO")
        prefix = _common_prefix([row[0] for row in rows])
        rows = [(f"..{row[0][len(prefix) :]}", *row[1:]) for row in rows] if prefix else rows
    head, *table = terminal.table((*header, "ADDRESSES"), rows)
    yield head
    for each, line in zip(instances, table, strict=True):
        state = each["state"]
        yield line.replace(f" {state} ", f" {paint(state, _TONES.get(state, ''))} ", 1)


def _common_prefix(names: list[str]) -> str:
    """Return the configuration's name that the names of instances begin with, if they do."""
    prefix = names[0].rpartition("_VIP_")[0]
    return prefix if all(each.startswith(prefix) for each in names) else ""


def _grouped(instances: list[dict[str, Any]], columns: int, paint: Paint) -> Iterator[str]:
    """Yield a line for each state: how many instances, and the first of their addresses."""
    by_state: dict[str, list[dict[str, Any]]] = {}
    for each in instances:
        by_state.setdefault(each["state"], []).append(each)
    yield f"{len(instances)} instances; --all lists them"
    for state, group in sorted(by_state.items(), key=lambda item: -len(item[1])):
        every = [address for each in group for address in each["addresses"]]
        lead = f"{state:<7} {len(group):3}  "
        shown = terminal.addresses(every, columns - len(lead))
        yield paint(state, _TONES.get(state, "")) + lead[len(state) :] + shown


def _holders(data: dict[str, Any], columns: int, *, is_whole: bool) -> Iterator[str]:
    """Yield the holders of the addresses; nothing of an agent whose status lacks them."""
    instances = [each for each in data["instances"] if "holders" in each]
    if not instances:
        return
    now = datetime.fromisoformat(data["written_at"])
    every = [convert(each["holders"], list[HolderStatus]) for each in instances]
    for group in holder_text.grouped(every):
        addresses = [text for each in group.members for text in instances[each]["addresses"]]
        lead = f"holder of {{}}: {holder_text.words(group.holders, now)}"
        fitting = terminal.addresses(addresses, columns - len(lead))
        shown = " ".join(addresses) if is_whole else fitting
        yield from terminal.fold(harmless(lead.format(shown)), columns, "  ")


def _newest(data: dict[str, Any], columns: int) -> Iterator[str]:
    """Yield the newest transitions of all instances with their causes."""
    found = [
        (instance["name"], each)
        for instance in data["instances"]
        for each in instance.get("transitions", ())
    ]
    for name, each in sorted(found, key=lambda item: item[1]["at"])[-_NEWEST:]:
        what = terminal.states(each["previous"], each["state"], None)
        text = terminal.event(each["at"][11:19], name, what, each["cause"])
        yield from terminal.fold(text, columns, "  ")


def _since(at: str | None, now: datetime) -> str:
    return "-" if at is None else terminal.since(at, now)
