"""Words that several sentences share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 8  # as many as fit a line


def listed(items: Iterable[object], shown: int = _SHOWN) -> str:
    """Return items in a row, the first few where there are many; empty for none."""
    texts = [str(each) for each in items]
    rest = len(texts) - shown
    return " ".join(texts[:shown]) + (f" and {rest} more" if rest > 0 else "")
