"""When Python looks for garbage: hardly ever in a command, or while the agent starts.

A start makes tens of thousands of objects, and next to none of them is garbage. Python would go
through all of them several times meanwhile, which takes 6 of 160 ms. A command that goes on for
hours still has them looked through.
"""

from __future__ import annotations

import gc
from typing import Final

_OF_A_START: Final = 100_000  # objects; one that goes on for hours is looked through all the same
_USUAL: Final = gc.get_threshold()


def start_begins() -> None:
    """Look for none until :func:`start_is_over`, or until there are very many objects."""
    gc.set_threshold(_OF_A_START, *_USUAL[1:])


def start_is_over() -> None:
    """Look as usual from now on, and leave out what the start has made."""
    if gc.get_threshold() != _USUAL:
        gc.freeze()
        gc.set_threshold(*_USUAL)
