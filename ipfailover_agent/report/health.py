"""What /livez and /readyz answer, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.report.exchange import STANDS_STILL

if TYPE_CHECKING:
    from ipfailover_agent.report.status_model import AgentStatus

_MOST_LINES = 10


class Health(Struct, frozen=True, kw_only=True):
    """``reasons`` against it, ``notes`` beside it though it is fine."""

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Return whether the probe succeeds."""
        return not self.reasons

    def lines(self, good: str) -> tuple[str, ...]:
        """Return what to print; ``good`` is the word for a success."""
        word = good if self.is_good else f"not {good}"
        return (word, *first((*self.reasons, *self.notes)))


def first(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first few, and how many more there are."""
    more = len(texts) - _MOST_LINES
    return texts if more <= 0 else (*texts[:_MOST_LINES], f"and {more} more")


def live(beat: float, now: float) -> Health:
    """Judge the loop; a keepalived that hangs is restarted by the agent, not by the platform.

    Args:
        beat: when the loop began its last round, in monotonic seconds.
        now: likewise.
    """
    still = now - beat
    if still < STANDS_STILL:
        return Health()
    return Health(reasons=(f"the agent's loop has been standing still for {still:.0f} s",))


def foreign(name: str | None, config: str | None) -> Health | None:
    """Return the verdict on a probe that means another deployment's agent, else None.

    Args:
        name: the OPENSHIFT_HA_CONFIG_NAME in force, None where nothing is in force yet.
        config: the one that the probe names, None for any.
    """
    if config is None or name is None or config == name:
        return None
    reason = f"this is the agent of {name!r}, not of {config[:100]!r}: give each its own port"
    return Health(reasons=(reason,))


def ready(status: AgentStatus) -> Health:
    """Return whether the node is ready, as ``core.telling.readiness`` judged at that moment."""
    return Health(reasons=status.reasons, notes=status.notes)
