"""The answers of /livez and /readyz, with reasons; ``readiness`` judges a node."""

from __future__ import annotations

from ipfailover_agent.status.exchange import STANDS_STILL
from ipfailover_agent.status.readiness import Readiness

_MOST_LINES = 10


def lines(verdict: Readiness, good: str) -> tuple[str, ...]:
    """Return what to print; ``good`` is the word for a success."""
    word = good if verdict.is_ready else f"not {good}"
    return (word, *first((*verdict.reasons, *verdict.notes)))


def first(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first few, and how many more there are."""
    more = len(texts) - _MOST_LINES
    return texts if more <= 0 else (*texts[:_MOST_LINES], f"and {more} more")


def live(beat: float, now: float) -> Readiness:
    """Judge the loop; a keepalived that hangs is restarted by the agent, not by the platform.

    Args:
        beat: when the loop began its last round, in monotonic seconds.
        now: likewise.
    """
    still = now - beat
    if still < STANDS_STILL:
        return Readiness()
    return Readiness(reasons=(f"the agent's loop has been standing still for {still:.0f} s",))


def foreign(name: str | None, config: str | None) -> Readiness | None:
    """Return the verdict on a probe that means another deployment's agent, else None.

    Args:
        name: the OPENSHIFT_HA_CONFIG_NAME in force, None where nothing is in force yet.
        config: the one that the probe names, None for any.
    """
    if config is None or name is None or config == name:
        return None
    reason = f"this is the agent of {name!r}, not of {config[:100]!r}: give each its own port"
    return Readiness(reasons=(reason,))
