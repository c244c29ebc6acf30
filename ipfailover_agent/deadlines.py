"""Which of several deadlines comes first."""

from __future__ import annotations


def earliest(*deadlines: float | None) -> float | None:
    """Return the first of the deadlines, None where there is none."""
    return min((each for each in deadlines if each is not None), default=None)
