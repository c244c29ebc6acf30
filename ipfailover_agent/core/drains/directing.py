"""Directs all drains of one agent: requests and their verdicts, orders for all, reloads, time.

:func:`step` is pure. Each instance is :mod:`core.drains.drain`'s; this resolves requests to
instances, gives every request exactly one verdict, and applies an order for everything to
instances that come later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from ipfailover_agent.core.drains import drain, drain_requests, restoring
from ipfailover_agent.core.drains.drain import Drain, Order, Phase, Policy, Subject
from ipfailover_agent.core.drains.draining import (
    Action,
    Answer,
    Configured,
    Draining,
    Event,
    Freed,
    Hold,
    Pending,
    Release,
    Requested,
    Restored,
    Save,
    Settled,
    Step,
    TimePassed,
    Told,
)
from ipfailover_agent.core.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfailover_agent.core.drains.drain_requests import Request

_GONE = "a reload removed it from the configuration"
_PHASES = tuple(Phase)
_MIXED = "a reload put its addresses together with others, which are not drained"


def step(state: Draining, event: Event, now: float, policy: Policy) -> Step:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order."""
    work = _Work(state, now, policy)
    match event:
        case Told(name=name, event=each):
            work.feed(name, each)
            return work.finish(only=name)
        case Requested(request=request) if request.is_drain:
            _on_drain(work, event)
        case Requested():
            _on_undrain(work, event)
        case Configured():
            _on_configured(work, event)
        case Restored(held=held, everything=everything, known=known):
            work.state = replace(state, restored=held, everything=everything, recorded=known)
            work.actions += [Hold(name=name) for name in held]
        case TimePassed():
            _on_time(work, event)
        case drain.Gap():
            for name in tuple(work.drains):
                work.feed(name, event)
        case _:
            assert_never(event)
    return work.finish()


class _Work:
    """A step under way: what it has changed so far, and what is to be done."""

    def __init__(self, state: Draining, now: float, policy: Policy) -> None:
        self.before = state
        self.state = state
        self.drains = dict(state.drains)
        self.now = now
        self.policy = policy
        self.actions: list[Action] = []

    def feed(self, name: str, event: drain.Event) -> None:
        """Let an instance answer an event, and requests learn of it."""
        before = self.drains.get(name)
        if before is None:
            return
        self.drains[name], actions = drain.step(before, event, self.now, self.policy)
        for action in actions:
            match action:
                case drain.Hold():
                    self.actions.append(Hold(name=name))
                case drain.Release():
                    self.actions.append(Release(name=name))
                case drain.Settled(holder=holder):
                    self.actions.append(Settled(name=name, holder=holder))
                    self._note(name, holder=holder)
                case drain.Freed(cause=cause, is_undone=is_undone):
                    self.actions.append(Freed(name=name, cause=cause, is_undone=is_undone))
                    self._note(name, cause=cause)
                case _:
                    assert_never(action)

    def let_go(self, name: str, cause: str) -> None:
        """Free an instance that a former run had drained, before it is configured."""
        restored = {each: order for each, order in self.state.restored.items() if each != name}
        self.state = replace(self.state, restored=restored)
        freed = Freed(name=name, cause=cause, is_undone=False)
        self.actions += [Release(name=name), freed]

    def inherit(self, heirs: Mapping[str, set[str]]) -> None:
        """Have requests wait for those that what they asked for has passed to."""
        pending = tuple(
            replace(
                each,
                waiting=frozenset(heir for name in each.waiting for heir in heirs.get(name, ())),
            )
            for each in self.state.pending
        )
        self.state = replace(self.state, pending=pending)

    def _note(self, name: str, *, holder: str = "", cause: str = "") -> None:
        """Write the outcome of an instance down for every request that waits for it."""
        pending = []
        for each in self.state.pending:
            if name in each.waiting:
                found = replace(
                    each,
                    waiting=each.waiting - {name},
                    done=each.done if cause else (*each.done, (name, holder)),
                    failed=(*each.failed, (name, cause)) if cause else each.failed,
                )
                if found.waiting:
                    pending.append(found)
                else:
                    self.actions.append(_verdict(found))
            else:
                pending.append(each)
        self.state = replace(self.state, pending=tuple(pending))

    def finish(self, only: str | None = None) -> Step:
        """Return the outcome; ``only`` names the one instance that anything happened to."""
        state = replace(self.state, drains=self.drains)
        is_over = state.everything is not None and state.drains and not _drained(state)
        if is_over:
            state = replace(state, everything=None)
        if only is not None:
            # as a rule an advert, which moves the deadline away; a look at all of 254 instances
            # for each would take longer than their adverts take to come
            found = self.drains.get(only)
            due = None if found is None else found.deadline(self.policy)
            deadline = _sooner(state.deadline, due)
            is_changed = bool(is_over) or _kept_of(self.before, only) != _kept_of(state, only)
        else:
            deadline = self._deadline(state)
            is_changed = _kept(state) != _kept(self.before)
        if is_changed:
            self.actions.insert(0, Save())
        return replace(state, deadline=deadline), tuple(self.actions)

    def _deadline(self, state: Draining) -> float | None:
        due = [each.deadline(self.policy) for each in state.drains.values()]
        due += [each.order.until for each in state.restored.values()]
        due += [None if state.everything is None else state.everything.until]
        return min((each for each in due if each is not None), default=None)


# --- what happened ------------------------------------------------------------------------------


def _on_drain(work: _Work, event: Requested) -> None:
    state, request = work.state, event.request
    try:
        names = _resolve(work, request)
    except ValueError as error:
        work.actions.append(_refusal(event.id, str(error)))
        return
    if event.blind and not request.is_forced:
        reason = (
            f"nobody could tell whether another node takes over: {event.blind}; "
            "--force drains all the same"
        )
        work.actions.append(_refusal(event.id, reason))
        return
    if len(state.pending) >= work.policy.requests_limit:
        reason = f"{len(state.pending)} requests wait for their verdict already; ask again later"
        work.actions.append(_refusal(event.id, reason))
        return
    until = None if request.seconds is None else work.now + request.seconds
    order = Order(is_forced=request.is_forced, until=until)
    pending = (*state.pending, Pending(id=event.id, waiting=frozenset(names)))
    work.state = replace(state, pending=pending)
    if not request.words:
        work.state = replace(work.state, everything=order)
    within = 2 * max(work.drains[name].patience(work.policy) for name in names)
    work.actions.append(Answer(id=event.id, verdict=None, within=within))
    for name in names:
        work.feed(name, drain.Asked(order=order, is_master=name in event.masters))


def _on_undrain(work: _Work, event: Requested) -> None:
    try:
        names = _resolve(work, event.request)
    except ValueError as error:
        work.actions.append(_refusal(event.id, str(error)))
        return
    if not event.request.words:
        work.state = replace(work.state, everything=None)
    freed = []
    for name in names:
        if name in work.state.restored:
            work.let_go(name, "undrained")
        elif work.drains[name].phase is not Phase.FREE:
            work.feed(name, drain.Ended(cause="undrained"))
        else:
            continue
        freed.append(name)
    line = f"{listed(freed)} may serve again" if freed else "nothing of that was drained"
    work.actions.append(Answer(id=event.id, verdict="undrained", lines=(line,)))


def _resolve(work: _Work, request: Request) -> tuple[str, ...]:
    subjects = {
        name: Subject(addresses=each.addresses) for name, each in work.state.restored.items()
    }
    subjects |= {name: each.subject for name, each in work.drains.items()}
    if not work.drains and (request.is_drain or not subjects):
        message = "the agent serves nothing yet"
        raise ValueError(message)
    return drain_requests.resolve(request.words, subjects)


def _on_configured(work: _Work, event: Configured) -> None:
    """Have drains follow the addresses, whatever instance, id and name a reload gives them."""
    sources = _sources(work, event.subjects)
    heirs: dict[str, set[str]] = {}
    for name, found in sources.items():
        if found and all(work.drains[each].phase is not Phase.FREE for each in found):
            for each in found:
                heirs.setdefault(each, set()).add(name)
    has_served = bool(work.drains)
    used = {each for found in sources.values() for each in found}
    for name in [each for each in work.drains if each not in heirs]:
        work.feed(name, drain.Ended(cause=_MIXED if name in used else _GONE))
    work.inherit(heirs)
    drains = {}
    for name, subject in event.subjects.items():
        taken = [work.drains[each] for each in sources[name] if name in heirs.get(each, ())]
        # where one of them was not taken over yet, that is still to be heard
        drains[name] = min(taken, key=_progress) if taken else Drain(subject=subject)
    work.drains = drains
    met = work.state.recorded.union(*(each.addresses for each in work.state.restored.values()))
    _hand_down(work, event.subjects)
    for name, subject in event.subjects.items():
        if subject != drains[name].subject:
            work.feed(name, drain.Reconfigured(subject=subject))
    everything = work.state.everything
    if everything is None:
        return
    for name, subject in event.subjects.items():
        is_new = not sources[name] if has_served else not met & restoring.addresses([subject])
        if is_new:
            work.feed(name, drain.Asked(order=everything, is_master=name in event.masters))


def _hand_down(work: _Work, subjects: Mapping[str, Subject]) -> None:
    """Hold what serves now what a former run had drained, and let go of the rest."""
    restored, recorded = work.state.restored, work.state.recorded
    held = restoring.heirs(restored.values(), recorded, subjects)
    served = restoring.addresses(subjects.values())
    taken = restoring.addresses(subjects[name] for name in held)
    for name, each in restored.items():
        if not each.addresses & taken and name not in held:
            work.let_go(name, _MIXED if each.addresses & served else _GONE)
        elif name not in held:
            work.actions.append(Release(name=name))
    work.actions += [Hold(name=name) for name in held if name not in restored]
    for name, order in held.items():
        found = replace(work.drains[name], phase=Phase.MOVING, order=order, anchor=work.now)
        work.drains[name] = found
    work.state = replace(work.state, restored={}, recorded=frozenset())


def _sources(work: _Work, subjects: Mapping[str, Subject]) -> dict[str, frozenset[str]]:
    """Return the instances that have served addresses of each subject so far."""
    before = {
        address: name
        for name, each in work.drains.items()
        for address in each.subject.addresses | each.subject.excluded
    }
    return {
        name: frozenset(
            before[address] for address in each.addresses | each.excluded if address in before
        )
        for name, each in subjects.items()
    }


def _progress(each: Drain) -> int:
    return _PHASES.index(each.phase)


def _on_time(work: _Work, event: TimePassed) -> None:
    passed = drain.DeadlinePassed(blind=event.blind, has_link=event.has_link)
    now, state = work.now, work.state
    everything = state.everything
    if everything is not None and everything.until is not None and now >= everything.until:
        work.state = replace(state, everything=None)
    for name, each in state.restored.items():
        if each.order.until is not None and now >= each.order.until:
            work.let_go(name, drain.TIME_OVER)
    for name, found in tuple(work.drains.items()):
        due = found.deadline(work.policy)
        if due is not None and now >= due:
            work.feed(name, passed)


# --- words and views ----------------------------------------------------------------------------


def _refusal(request_id: str, reason: str) -> Answer:
    return Answer(id=request_id, verdict="refused", lines=(reason,))


def _verdict(pending: Pending) -> Answer:
    """Return the one answer to a request all of whose instances have come to something."""
    lines = [
        f"{holder} has taken over {names}"
        if holder
        else f"nobody was heard to take over {names}: drained by force"
        for holder, names in _grouped(pending.done)
    ]
    lines += [f"not drained: {names}: {cause}" for cause, names in _grouped(pending.failed)]
    verdict = "undone" if pending.failed else "drained"
    return Answer(id=pending.id, verdict=verdict, lines=tuple(lines))


def _grouped(outcomes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what became of instances, with the names of those that it became of."""
    names: dict[str, list[str]] = {}
    for name, outcome in outcomes:
        names.setdefault(outcome, []).append(name)
    return [(outcome, listed(each)) for outcome, each in names.items()]


def _kept(state: Draining) -> object:
    """Return what outlives the agent."""
    held = state.held
    return held, state.everything, state.known if held or state.everything else None


def _kept_of(state: Draining, name: str) -> object:
    """Return what outlives the agent of one instance."""
    found = state.drains.get(name)
    return (found.order, found.subject) if found is not None and found.is_held else None


def _drained(state: Draining) -> bool:
    return any(each.phase is not Phase.FREE for each in state.drains.values())


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((each for each in (one, other) if each is not None), default=None)
