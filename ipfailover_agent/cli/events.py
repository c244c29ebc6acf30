"""``events``: what happened on this node, from the file that outlives the agent."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

from ipfailover_agent import terminal
from ipfailover_agent.errors import ExitCode
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status import event_entries
from ipfailover_agent.status.history import read_lines
from ipfailover_agent.status.running import NotRunningError, find_agent

if TYPE_CHECKING:
    from ipfailover_agent.status.event_entries import Entry

    _Entries = list[tuple[str, Entry]]  # each after its line

_LOOK_INTERVAL = 0.5


def events(
    run_directory: str, instance: str | None, *, count: int, as_json: bool, follow: bool
) -> int:
    """Print the last ``count`` events, and with ``follow`` each new one; return 0.

    Raises:
        NotRunningError: there is neither a file of events nor an agent.
    """
    path = RunPaths(directory=run_directory, config="").events
    if not os.path.exists(path):  # noqa: PTH110 - start-up time
        try:
            find_agent(run_directory)
        except NotRunningError as error:
            raise NotRunningError(f"nothing is known of {run_directory}: {error}") from error
    before = _about(read_lines(path), instance)
    shown = before[-count:] if count else []
    is_read = _print(shown, as_json=as_json)
    try:
        while follow and is_read:
            time.sleep(_LOOK_INTERVAL)
            found = _about(read_lines(path), instance)
            is_read = terminal.is_read() and _print(_newer(before, found), as_json=as_json)
            before = found or before
    except KeyboardInterrupt:
        terminal.say("")  # the shell's prompt belongs on a line of its own, behind the ^C
    return int(ExitCode.OK)


def _about(lines: list[str], instance: str | None) -> _Entries:
    """Return lines and their entries: all, or those that concern an instance."""
    found = ((line, event_entries.from_line(line)) for line in lines)
    return [
        (line, each)
        for line, each in found
        if each is not None and instance in {None, each.instance}
    ]


def _newer(before: _Entries, found: _Entries) -> _Entries:
    """Return what was added; the beginning may be gone, since the file is bounded."""
    added = itertools.takewhile(lambda each: [each] != before[-1:], reversed(found))
    return list(added)[::-1]


def _print(found: _Entries, *, as_json: bool) -> bool:
    """Print entries; return False when they have no reader any more."""
    if not found:
        return True
    return terminal.say("\n".join(line if as_json else text(each) for line, each in found))


def text(each: Entry) -> str:
    """Return an entry as one line, with its time in UTC."""
    what = each.event
    if each.previous is not None and each.state is not None:
        what = terminal.states(each.previous, each.state, each.lasted)
    at = each.at.partition("+")[0].replace("T", " ")
    return terminal.event(at, each.instance, what, each.cause or each.kind)
