"""When Python looks for garbage: in a process of its own, whose settings no other process has."""

from __future__ import annotations

import json

import pytest

from tests.support.apart import run_code

_PROGRAM = """
import gc, json
from ipfailover_agent import entry
from ipfailover_agent.cli import main as cli
from ipfailover_agent.linux import garbage
seen = [gc.get_threshold()]
cli.main = lambda: seen.append(gc.get_threshold())
entry.end = lambda _: None
entry.main()
for _ in range(2):  # keepalived is started again and again
    frozen = gc.get_freeze_count()
    garbage.start_is_over()
    seen.append(gc.get_threshold())
print(json.dumps([seen, frozen, gc.get_freeze_count()]))
"""


@pytest.mark.parametrize("word", ["run", "status"])
def test_garbage_is_looked_for_as_usual_once_keepalived_is_started(word: str) -> None:
    """What the start has made is left out of that, and only that; a command never gets there."""
    (usual, meanwhile, after, again), before, frozen = json.loads(run_code(_PROGRAM, word))
    assert usual == after == again
    assert meanwhile[0] > usual[0]
    assert usual[1:] == meanwhile[1:]
    assert frozen > 0
    assert before == frozen
