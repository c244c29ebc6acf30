"""Whether the agent lives and the node is ready: what /livez and /readyz answer, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ipfailover_agent.core.changing.wire import named
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.supervising.supervision import Phase
from ipfailover_agent.report.board import STANDS_STILL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipfailover_agent.report.board import Observation
    from ipfailover_agent.report.status import AgentStatus, InstanceStatus

_OLDEST_ANSWER = 5.0  # seconds since keepalived was asked for its newest dump
_SETTLING = 2.0  # seconds in which the kernel may differ from what keepalived has just told
_MOST_LINES = 10
_MASTER, _BACKUP, _FAULT = (
    each.value for each in (VrrpState.MASTER, VrrpState.BACKUP, VrrpState.FAULT)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``reasons`` say why not, ``notes`` what deserves a word though it is fine."""

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


def live(beat: float, now: float) -> Verdict:
    """Judge the loop; a keepalived that hangs is ours to restart, not the platform's.

    Args:
        beat: when the loop began its last round, in monotonic seconds.
        now: likewise.
    """
    still = now - beat
    if still < STANDS_STILL:
        return Verdict()
    return Verdict(reasons=(f"the agent's loop has been standing still for {still:.0f} s",))


def foreign(name: str | None, config: str | None) -> Verdict | None:
    """Return the verdict on a probe that means another deployment's agent, else None.

    Args:
        name: the OPENSHIFT_HA_CONFIG_NAME in force, None where nothing is in force yet.
        config: what the probe asks for, None for any.
    """
    if config is None or name is None or config == name:
        return None
    reason = f"this is the agent of {name!r}, not of {config[:100]!r}: give each its own port"
    return Verdict(reasons=(reason,))


def ready(look: Observation) -> Verdict:
    """Judge whether the node does its part, holding addresses or standing by.

    It does also where it may hold nothing on purpose or because its own service is dead: a
    roll-out that waits for that would never end.
    """
    status = look.status
    reasons: list[str] = []
    if status.config is None:
        reasons.append("no configuration is in force")
    elif status.phase != Phase.RUNNING.value:
        reasons.append(f"keepalived does not run: the agent is {status.phase}")
    reasons += look.problems
    if reasons:
        return Verdict(reasons=tuple(reasons))
    if look.can_ask and (look.dump_age is None or look.dump_age > _OLDEST_ANSWER):
        age = "" if look.dump_age is None else f" for {look.dump_age:.0f} s"
        reasons.append(f"keepalived has not answered{age}")
    bad: list[tuple[str, str]] = []
    fine: list[tuple[str, str]] = []
    for each in status.instances:
        if each.state == _FAULT:
            why = _why_in_fault(each, status)
            (fine if why else bad).append((each.name, why or "in FAULT, and no check fails"))
        elif each.state in {_MASTER, _BACKUP}:
            bad += [(each.name, text) for text in differences(each, look)]
        else:
            bad.append((each.name, f"in {each.state}"))
    if look.present is None:
        reasons.append("the kernel does not tell its addresses")
    return Verdict(reasons=(*reasons, *_grouped(bad)), notes=_grouped(fine))


def _grouped(told: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return what is told of instances, those of whom the same is told together."""
    names: dict[str, list[str]] = {}
    for name, text in told:
        names.setdefault(text, []).append(name)
    return tuple(f"{named(tuple(each))}: {text}" for text, each in names.items())


def _why_in_fault(instance: InstanceStatus, status: AgentStatus) -> str:
    """Return why it is in FAULT though the node is as it should be, or nothing."""
    if instance.held or instance.drained:
        return instance.held or f"drained: {instance.drained}"
    if status.check is not None and status.check.state == "failing":
        return f"in FAULT, the check fails: {status.check.reason or 'no reason given'}"
    return ""


def differences(instance: InstanceStatus, look: Observation) -> Iterator[str]:
    """Yield in words where the kernel and keepalived do not agree on who holds the addresses."""
    if look.present is None or _is_new(instance, look.status.written_at):
        return
    held = [each for each in instance.addresses if each in look.present]
    if instance.state == _BACKUP and held:
        yield f"in BACKUP, and {' '.join(held)} is on the interface"
    if instance.state == _MASTER and len(held) < len(instance.addresses):
        lost = [each for each in instance.addresses if each not in look.present]
        yield f"MASTER, and {' '.join(lost)} is not on the interface"


def _is_new(instance: InstanceStatus, now: str) -> bool:
    if instance.since is None:
        return True
    age = datetime.fromisoformat(now) - datetime.fromisoformat(instance.since)
    return 0 <= age.total_seconds() < _SETTLING
