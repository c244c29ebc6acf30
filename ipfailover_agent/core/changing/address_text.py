"""Texts for addresses in the descriptions of a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.core.model import IPAddress

_SHORTEST_RANGE = 3  # addresses; two are named


def ranges(addresses: Iterable[IPAddress]) -> str:
    """Return addresses for a sentence; of a run without gaps the first and the last."""
    runs: list[list[IPAddress]] = []
    for each in addresses:
        if runs and each.version == runs[-1][-1].version and int(each) == int(runs[-1][-1]) + 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) >= _SHORTEST_RANGE else ", ".join(map(str, run))
        for run in runs
    )
