"""Whether the node is ready: the one meaning of the word, wherever it is shown.

A node is ready when it does its part: a configuration is in force and nothing of it was left out,
keepalived runs and answers, and for every instance kernel and keepalived agree: MASTER and the
addresses are there, or BACKUP and they are not.

Ready does not mean that the node serves. FAULT by the node's own check, by a hold or by a drain is
as it should be, and is noted beside it: a roll-out that waited for the application of every node,
or for a node that yields to those of the former revision, would never end. FAULT for another
reason is not ready, nor is a state that keepalived has not reported yet.

``status`` and its exit code, ``ready`` of status.json, /readyz, the page and the metric
``ipfailover_ready`` all show the result of :func:`judge`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.keepalived.lifecycle import AgentPhase
from ipfailover_agent.model import VrrpState
from ipfailover_agent.text import named

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ipfailover_agent.status.status_model import StatusPart

_OLDEST_ANSWER: Final = 5.0  # seconds since keepalived was asked for its newest answer
_OWED: Final = 0.5  # seconds for which it may owe the next one: it is asked every 5 s
_MOST_LINES: Final = 10
_SETTLING: Final = 2.0  # seconds in which the kernel may differ from keepalived's newest report


class InstanceFacts(Struct, frozen=True, kw_only=True):
    """What is known of one instance.

    Attributes:
        name: of the instance.
        state: the last one that keepalived reported.
        age: for how many seconds it has been in that state, None where that is not known.
        addresses: those that it holds as MASTER.
        withheld: why it is kept in FAULT on purpose, as text for people, or nothing.
    """

    name: str
    state: VrrpState
    age: float | None
    addresses: tuple[str, ...]
    withheld: str = ""


class Readiness(Struct, frozen=True, kw_only=True):
    """``reasons`` why the node is not ready, ``notes`` beside it though it is."""

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Return whether there is no reason against it."""
        return not self.reasons


def first(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first few, and how many more there are."""
    more = len(texts) - _MOST_LINES
    return texts if more <= 0 else (*texts[:_MOST_LINES], f"and {more} more")


def judge(
    part: StatusPart,
    *,
    phase: AgentPhase,
    has_config: bool,
    problems: tuple[str, ...],
    notes: tuple[str, ...],
    instances: Iterable[InstanceFacts],
    check_failure: str | None,
) -> Readiness:
    """Judge whether the node does its part, holding addresses or standing by.

    Args:
        part: what all services show.
        phase: of supervision.
        has_config: a configuration is in force.
        problems: what keeps the node from being ready, as the troubles of ``part`` do.
        notes: what is worth a note, whatever the instances do.
        instances: of the configuration in force.
        check_failure: why the node's own check fails, or nothing; None where it does not fail.
    """
    reasons: list[str] = []
    if not has_config:
        reasons.append("no configuration is in force")
    elif phase is not AgentPhase.RUNNING:
        reasons.append(f"keepalived does not run: the agent is {phase.value}")
    reasons += (*problems, *part.troubles)
    if reasons:
        return Readiness(reasons=tuple(reasons))
    if part.can_ask and (silence := _silence(part)) is not None:
        reasons.append(f"keepalived has not answered{silence}")
    bad: list[tuple[str, str]] = []
    fine: list[tuple[str, str]] = []
    for each in instances:
        if each.state is VrrpState.FAULT:
            why = _why_in_fault(each, check_failure)
            (fine if why else bad).append((each.name, why or "in FAULT, and no check fails"))
        elif each.state in {VrrpState.MASTER, VrrpState.BACKUP}:
            bad += [(each.name, text) for text in differences(each, part.present)]
        else:
            bad.append((each.name, f"in {each.state.value}"))
    if part.present is None:
        reasons.append("the kernel does not report its addresses")
    return Readiness(reasons=(*reasons, *_grouped(bad)), notes=(*notes, *_grouped(fine)))


def differences(instance: InstanceFacts, present: Collection[str] | None) -> Iterator[str]:
    """Yield where the kernel and keepalived do not agree on the addresses, as text for people."""
    if present is None or instance.age is None or 0 <= instance.age < _SETTLING:
        return
    held = [each for each in instance.addresses if each in present]
    if instance.state is VrrpState.BACKUP and held:
        yield f"in BACKUP, and {' '.join(held)} is on the interface"
    if instance.state is VrrpState.MASTER and len(held) < len(instance.addresses):
        lost = [each for each in instance.addresses if each not in present]
        yield f"MASTER, and {' '.join(lost)} is not on the interface"


def _silence(part: StatusPart) -> str | None:
    """Return for how long keepalived has not answered, as text; None where it answers.

    That is counted from the question that it answered last.
    """
    if part.dump_asked_ago is None:
        return ""
    if part.dump_asked_ago <= _OLDEST_ANSWER or part.owed < _OWED:
        return None
    return f" for {part.dump_asked_ago:.0f} s"


def _why_in_fault(instance: InstanceFacts, check_failure: str | None) -> str:
    """Return why it is in FAULT though the node is as it should be, or nothing."""
    if instance.withheld:
        return instance.withheld
    if check_failure is not None:
        return f"in FAULT, the check fails: {check_failure or 'no reason given'}"
    return ""


def _grouped(texts: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the texts about instances, with the instances of an equal text together."""
    names: dict[str, list[str]] = {}
    for name, text in texts:
        names.setdefault(text, []).append(name)
    return tuple(f"{named(tuple(each))}: {text}" for text, each in names.items())
