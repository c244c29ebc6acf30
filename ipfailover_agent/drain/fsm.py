"""Drains: an operator keeps instances in FAULT while other nodes serve their addresses.

:func:`step` is pure. ``Drains`` passes requests, configurations, adverts and time, and carries
out the actions in order. The rules for one instance:

===========  =====================================  ===========================================
phase        event                                  actions and the next phase
===========  =====================================  ===========================================
SERVING      a drain, while MASTER or by force      held at once (priority 0, addresses
                                                    dropped): DRAINING
SERVING      a drain otherwise                      PENDING
PENDING      successors serve every address         held: DRAINED
PENDING      keepalived enters MASTER, or silence   undone: SERVING
DRAINING     successors serve every address         DRAINED
DRAINING     silence                                by force DRAINED; else undone, released:
                                                    SERVING
DRAINED      silence                                undone, released: SERVING; by force, or
                                                    while this node has no link, it stays
not SERVING  a drain                                the new specification counts; one that is
                                                    held is DRAINING again, unless successors
                                                    serve every address
not SERVING  undrain, its time is over, or a        released: SERVING
             reload removes it
===========  =====================================  ===========================================

Successors serve every address when the adverts of living masters list all of them between them.
Silence lasts a master-down time (RFC 5798 section 6.1) of the slowest and lowest-ranking
successor, and ``DrainPolicy.margin``: a successor has sent an advert by then, even where a
goodbye was lost. So without force no address is off every node for longer than that and an
election here.

A drain belongs to addresses. A reload and a restart may give them another instance, id and name:
the drain goes with them, unless the new instance also has addresses that served before. A request
for all instances also applies to addresses that a reload adds. Every request gets one verdict.
"""

from __future__ import annotations

import enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.deadlines import earliest
from ipfailover_agent.status.status_model import DrainRequestStatus
from ipfailover_agent.text import listed
from ipfailover_agent.vrrp.timers import master_down_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.drain.drain_requests import DrainRequest
    from ipfailover_agent.model import IPAddress, VrrpInstance
    from ipfailover_agent.vrrp.packets import Advert

_LEAST_PRIORITY: Final = 0  # has the longest master-down interval
_MIXED: Final = "a reload put its addresses together with others, which are not drained"
_GONE: Final = "a reload removed it from the configuration"
_TIME_OVER: Final = "its time is over"


class DrainPolicy(Struct, frozen=True, kw_only=True):
    """Delays and limits."""

    margin: float = 1.0  # seconds by which silence is longer than the longest master-down time
    adverts_limit: int = 256  # senders that are remembered per instance
    requests_limit: int = 32  # requests that may wait for their verdict


# --- the state ----------------------------------------------------------------------------------


class DrainPhase(enum.IntEnum):
    """How far the drain of an instance has come."""

    SERVING = 0  # it is not drained
    PENDING = 1  # not held: it did not serve, and no other node is known to
    DRAINING = 2  # held; no other node is known to have taken over
    DRAINED = 3  # held, and successors serve, or it was forced

    @property
    def is_held(self) -> bool:
        """Return whether the drain sets the instance's hold file."""
        return self >= DrainPhase.DRAINING


class DrainSpec(Struct, frozen=True, kw_only=True):
    """How to drain: ``until`` is monotonic seconds, None for no end."""

    is_forced: bool = False
    until: float | None = None


class Target(Struct, frozen=True, kw_only=True):
    """An instance as drains see it; its adverts list ``addresses``, and not ``excluded``."""

    addresses: frozenset[IPAddress]
    excluded: frozenset[IPAddress] = frozenset()
    version: int = 2
    advert_interval: float = 1.0

    @classmethod
    def of(cls, instance: VrrpInstance) -> Target:
        """Return the target that an instance is."""
        return cls(
            addresses=frozenset(each.address for each in instance.virtual_addresses),
            excluded=frozenset(each.address for each in instance.excluded_addresses),
            version=instance.advertisement.version,
            advert_interval=instance.advertisement.interval,
        )

    @property
    def every(self) -> frozenset[IPAddress]:
        """Return all addresses of the instance."""
        return self.addresses | self.excluded


class SuccessorAdvert(Struct, frozen=True, kw_only=True):
    """The newest advert of another node, and when it came."""

    advert: Advert
    at: float


class InstanceDrain(Struct, frozen=True, kw_only=True):
    """The drain of one instance. Times are monotonic seconds.

    Attributes:
        anchor: from when on silence counts: the last moment at which successors were known to
            serve every address, or the moment of the request.
        adverts: the newest one of each successor that lists addresses of the instance.
        holder: the successors, by their source addresses; empty while none is known.
        is_leaving: it was MASTER when it was held, and keepalived has not reported yet that this
            is over. Of 254 instances the last one is reported after 3 s on a busy node, and
            serves until then.
    """

    target: Target
    phase: DrainPhase = DrainPhase.SERVING
    spec: DrainSpec = DrainSpec()
    anchor: float = 0.0
    adverts: tuple[SuccessorAdvert, ...] = ()
    holder: str = ""
    is_leaving: bool = False

    def silence(self, policy: DrainPolicy) -> float:
        """Return how many seconds without an advert mean that there is no successor."""
        slowest = max(
            [self.target.advert_interval, *(each.advert.interval for each in self.adverts)]
        )
        longest = master_down_interval(_LEAST_PRIORITY, self.target.version, slowest)
        return longest + policy.margin

    def fresh(self, now: float, policy: DrainPolicy) -> tuple[SuccessorAdvert, ...]:
        """Return the adverts of successors that still live."""
        silence = self.silence(policy)
        return tuple(each for each in self.adverts if now - each.at < silence)

    def unserved(self, now: float, policy: DrainPolicy) -> frozenset[IPAddress]:
        """Return the addresses that no living successor lists."""
        return self.target.addresses.difference(
            *(each.advert.addresses for each in self.fresh(now, policy))
        )


class Record(Struct, frozen=True, kw_only=True):
    """What outlives the agent of a held instance: how it is drained, and all its addresses."""

    spec: DrainSpec
    addresses: frozenset[IPAddress] = frozenset()


class PendingRequest(Struct, frozen=True, kw_only=True):
    """A request without a verdict: it waits for instances, and knows the outcome of others."""

    id: str
    waiting: frozenset[str]
    outcomes: tuple[InstanceDrained | DrainEnded, ...] = ()


class DrainState(Struct, frozen=True, kw_only=True):
    """The drains of every instance of the active configuration, in its order.

    Attributes:
        drains: by instance; before a configuration is in force, those of a former run.
        everything: how to drain instances that a reload adds.
        pending: requests that wait for their verdict.
        recorded: all addresses of the former run's configuration, until this run's is in force.
        is_configured: whether a configuration is in force.
        deadline: when something may be due, for DrainTimePassed; None for never.
    """

    drains: Mapping[str, InstanceDrain] = field(default_factory=dict)
    everything: DrainSpec | None = None
    pending: tuple[PendingRequest, ...] = ()
    recorded: frozenset[IPAddress] = frozenset()
    is_configured: bool = False
    deadline: float | None = None

    def phase(self, name: str) -> DrainPhase:
        """Return how far the drain of an instance has come."""
        found = self.drains.get(name)
        return DrainPhase.SERVING if found is None else found.phase

    @property
    def records(self) -> Mapping[str, Record]:
        """Return what outlives the agent, by instance."""
        return {
            name: Record(spec=each.spec, addresses=each.target.every)
            for name, each in self.drains.items()
            if each.phase.is_held
        }

    @property
    def known(self) -> frozenset[IPAddress]:
        """Return every address of the configuration: an address that comes later is new."""
        return self.recorded.union(*(each.target.every for each in self.drains.values()))


# --- events -------------------------------------------------------------------------------------


class DrainRequested(Struct, frozen=True, kw_only=True):
    """A command asks. ``masters`` are MASTER now; ``blind``: why no adverts can be heard."""

    id: str
    request: DrainRequest
    masters: frozenset[str] = frozenset()
    blind: str = ""


class TargetsConfigured(Struct, frozen=True, kw_only=True):
    """A configuration is in force, or the same one once more."""

    targets: Mapping[str, Target]
    masters: frozenset[str] = frozenset()


class DrainsRestored(Struct, frozen=True, kw_only=True):
    """A former run left these drains; this comes before any configuration."""

    records: Mapping[str, Record]
    everything: DrainSpec | None = None
    known: frozenset[IPAddress] = frozenset()


class SuccessorHeard(Struct, frozen=True, kw_only=True):
    """Another node advertised addresses of an instance, or gave them up with priority 0."""

    name: str
    advert: Advert


class InstanceEntered(Struct, frozen=True, kw_only=True):
    """keepalived reports that an instance has entered MASTER, or another state."""

    name: str
    is_master: bool


class ListeningPaused(Struct, frozen=True, kw_only=True):
    """The agent's loop did not run for ``seconds``, and heard no advert that came meanwhile."""

    seconds: float


class DrainTimePassed(Struct, frozen=True, kw_only=True):
    """``DrainState.deadline`` has passed; ``blind`` as in DrainRequested.

    ``has_link`` is False while this node could not serve anyway: its cable is out, for example.
    """

    blind: str = ""
    has_link: bool = True


InstanceEvent = SuccessorHeard | InstanceEntered
AgentEvent = (
    DrainRequested | TargetsConfigured | DrainsRestored | ListeningPaused | DrainTimePassed
)
DrainEvent = InstanceEvent | AgentEvent


# --- actions ------------------------------------------------------------------------------------


class SaveDrains(Struct, frozen=True):
    """Write ``DrainState.records`` down, soon: a next agent drains only what is written."""


class SetHold(Struct, frozen=True, kw_only=True):
    """Put the drain into an instance's hold file, or take it out."""

    name: str
    is_held: bool


class InstanceDrained(Struct, frozen=True, kw_only=True):
    """An instance is drained; ``holder`` serves it, empty where no node does and it was forced."""

    name: str
    holder: str


class DrainEnded(Struct, frozen=True, kw_only=True):
    """The drain of an instance has ended; ``is_undone``: because no other node serves it."""

    name: str
    cause: str
    is_undone: bool = False


Outcome = InstanceDrained | DrainEnded
DrainAction = SaveDrains | SetHold | Outcome | DrainRequestStatus
DrainStep = tuple[DrainState, tuple[DrainAction, ...]]


# --- the machine --------------------------------------------------------------------------------


def step(state: DrainState, event: DrainEvent, now: float, policy: DrainPolicy) -> DrainStep:
    """Return the state after ``event`` at ``now`` and the actions to carry out, in order.

    The actions of a step are SaveDrains where what outlives the agent has changed, then the hold
    files that change, then the rest.
    """
    work = _Step(state, now, policy)
    match event:
        case SuccessorHeard() | InstanceEntered():
            work.on_instance(event)
            return work.finish(only=event.name)
        case DrainRequested():
            work.on_request(event)
        case TargetsConfigured():
            work.on_configured(event)
        case DrainsRestored():
            work.on_restored(event)
        case ListeningPaused(seconds=seconds):
            work.on_paused(seconds)
        case DrainTimePassed():
            work.on_time(event)
        case _:
            assert_never(event)
    return work.finish()


class _Step:
    """A step under way: the state as far as it has changed, and the actions so far."""

    def __init__(self, before: DrainState, now: float, policy: DrainPolicy) -> None:
        self._before = before
        self._state = before  # but for its drains and its deadline
        self._drains = dict(before.drains)
        self._now = now
        self._policy = policy
        self._actions: list[DrainAction] = []

    def finish(self, only: str | None = None) -> DrainStep:
        """Return the outcome; ``only`` names the one instance that the event was about."""
        before, after = self._before, self._drains
        everything = self._state.everything
        if everything is not None and self._state.is_configured:
            is_any = any(each.phase is not DrainPhase.SERVING for each in after.values())
            self._change(everything=everything if is_any else None)
        state = replace(self._state, drains=after, deadline=self._deadline(only))
        changes: list[DrainAction] = []
        for name in dict.fromkeys((*before.drains, *after)) if only is None else (only,):
            is_held = state.phase(name).is_held
            if before.phase(name).is_held != is_held:
                changes.append(SetHold(name=name, is_held=is_held))
        is_changed = bool(changes) or before.everything != state.everything
        if is_changed or (only is None and _outlives(before) != _outlives(state)):
            changes.insert(0, SaveDrains())
        return state, (*changes, *self._actions)

    def _change(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)

    def _set(self, name: str, **changes: object) -> None:
        self._drains[name] = replace(self._drains[name], **changes)

    def _deadline(self, only: str | None) -> float | None:
        """Return when something is due at the earliest.

        An event about one instance is as a rule an advert, which moves the deadline away. A look
        at all of 254 instances for each advert would take longer than their adverts take to come,
        so that the deadline may lie too early then.
        """
        if only is not None:
            return earliest(self._before.deadline, self._due(only))
        everything = self._state.everything
        every = (self._due(name) for name in self._drains)
        return earliest(*every, None if everything is None else everything.until)

    def _due(self, name: str) -> float | None:
        """Return when the end of an instance's time or silence is due, None for never.

        An instance that has not left MASTER has twice the silence. Before a configuration is in
        force no adverts are heard.
        """
        found = self._drains.get(name)
        if found is None or found.phase is DrainPhase.SERVING:
            return None
        until, is_forced = found.spec.until, found.spec.is_forced
        if not self._state.is_configured or (is_forced and found.phase is DrainPhase.DRAINED):
            return until
        silence = found.silence(self._policy) * (2 if found.is_leaving else 1)
        return earliest(until, found.anchor + silence)

    # --- requests -------------------------------------------------------------------------------

    def on_request(self, event: DrainRequested) -> None:
        """Carry a request out, or refuse it."""
        try:
            (self._on_drain if event.request.action == "drain" else self._on_undrain)(event)
        except ValueError as error:
            lines = (str(error),)
            self._actions.append(DrainRequestStatus(id=event.id, verdict="refused", lines=lines))

    def _on_drain(self, event: DrainRequested) -> None:
        """Begin to drain; raise ValueError with the reason where that is refused."""
        request = event.request
        names = self._named(request)
        if event.blind and not request.is_forced:
            raise ValueError(
                f"the agent cannot tell whether another node takes over: {event.blind}; "
                "--force drains all the same"
            )
        pending = self._state.pending
        if (count := len(pending)) >= self._policy.requests_limit:
            raise ValueError(f"{count} requests wait for their verdict already; ask again later")
        until = None if request.seconds is None else self._now + request.seconds
        spec = DrainSpec(is_forced=request.is_forced, until=until)
        if not request.words:
            self._change(everything=spec)
        pending = (*pending, PendingRequest(id=event.id, waiting=frozenset(names)))
        self._change(pending=pending)
        within = round(2 * max(self._drains[each].silence(self._policy) for each in names), 1)
        self._actions.append(DrainRequestStatus(id=event.id, verdict=None, within=within))
        for name in names:
            self._drain(name, spec, is_master=name in event.masters)

    def _on_undrain(self, event: DrainRequested) -> None:
        """End drains, and answer at once; raise ValueError with the reason where it is refused."""
        names = self._named(event.request)
        if not event.request.words:
            self._change(everything=None)
        drained = [each for each in names if self._drains[each].phase is not DrainPhase.SERVING]
        for name in drained:
            self._end(name, "undrained")
        line = f"{listed(drained)} may serve again" if drained else "nothing of that was drained"
        self._actions.append(DrainRequestStatus(id=event.id, verdict="undrained", lines=(line,)))

    def _named(self, request: DrainRequest) -> tuple[str, ...]:
        """Return the instances that a request names, in the order of the configuration."""
        drains, words = self._drains, request.words
        if not drains or (request.action == "drain" and not self._state.is_configured):
            message = "the agent serves nothing yet"
            raise ValueError(message)
        names = {str(a): name for name, each in drains.items() for a in each.target.every}
        names |= {name: name for name in drains}
        found = {word: names.get(word) or names.get(_canonical(word)) for word in words}
        unknown = [repr(word) for word in words if found[word] is None]
        if unknown:
            instances = "instance" if len(unknown) == 1 else "instances"
            raise ValueError(
                f"unknown {instances} {listed(unknown)}: this agent serves {listed(drains)}"
            )
        named = set(found.values())
        return tuple(each for each in drains if not words or each in named)

    # --- configurations -------------------------------------------------------------------------

    def on_restored(self, event: DrainsRestored) -> None:
        """Hold what a former run had drained; its successors are watched once it is configured."""
        self._drains = {
            name: InstanceDrain(
                target=Target(addresses=each.addresses), phase=DrainPhase.DRAINING, spec=each.spec
            )
            for name, each in event.records.items()
        }
        self._change(everything=event.everything, recorded=event.known)

    def on_configured(self, event: TargetsConfigured) -> None:
        """Have drains follow their addresses."""
        targets, known = event.targets, self._before.known
        served = frozenset[object]().union(*(each.every for each in targets.values()))
        sources = self._sources(targets)
        inherited = {each for found in sources.values() for each in found}
        for name, drain in self._before.drains.items():
            if drain.phase is not DrainPhase.SERVING and name not in inherited:
                cause = _MIXED if drain.target.every & served else _GONE
                # Where other drained addresses have the name now, the log does not call it ended.
                self._conclude(DrainEnded(name=name, cause=cause), is_news=not sources.get(name))
        pending = []
        for each in self._state.pending:
            waiting = (name for name, its in sources.items() if not each.waiting.isdisjoint(its))
            pending.append(replace(each, waiting=frozenset(waiting)))
        self._drains = {
            name: self._inherited(target, [self._before.drains[each] for each in sources[name]])
            for name, target in targets.items()
        }
        everything = self._state.everything
        self._change(pending=tuple(pending), recorded=frozenset(), is_configured=True)
        if everything is not None:
            for name in (name for name, each in targets.items() if not each.every & known):
                self._drain(name, everything, is_master=name in event.masters)

    def _sources(self, targets: Mapping[str, Target]) -> dict[str, list[str]]:
        """Return the instances whose drains each target inherits.

        None where an address of the target served without a drain: that one must go on.
        """
        drains, known = self._before.drains, self._before.known
        drained = [name for name in drains if drains[name].phase is not DrainPhase.SERVING]
        owners = {address: name for name in drained for address in drains[name].target.every}
        sources = {}
        for name, target in targets.items():
            its = {owners.get(address) for address in target.every & known}
            sources[name] = [] if None in its else [each for each in drained if each in its]
        return sources

    def _inherited(self, target: Target, sources: list[InstanceDrain]) -> InstanceDrain:
        """Return the drain of a target that takes over those of its addresses."""
        if not sources:
            return InstanceDrain(target=target)
        # Where one of them has no successor yet, that is still to be heard. The specification that
        # releases soonest counts: an address that stays held without need would be on no node.
        found = min(sources, key=lambda each: (each.phase, _hold_time(each.spec)))
        spec = min((each.spec for each in sources), key=_hold_time)
        is_watched = self._state.is_configured and found.target == target
        anchor = found.anchor if is_watched else self._now
        return replace(found, target=target, spec=spec, anchor=anchor)

    # --- one instance ---------------------------------------------------------------------------

    def on_instance(self, event: InstanceEvent) -> None:
        """Take a report of keepalived or another node on an instance, if it is being drained."""
        found = self._drains.get(event.name)
        if not self._state.is_configured or found is None or found.phase is DrainPhase.SERVING:
            return
        if isinstance(event, SuccessorHeard):
            self._on_advert(found, event)
        elif event.is_master and found.phase is DrainPhase.PENDING:
            cause = "it became MASTER itself: no other node serves it"
            self._end(event.name, cause, is_undone=True)
        elif not event.is_master and found.is_leaving:
            self._set(event.name, is_leaving=False, anchor=self._now)

    def _on_advert(self, found: InstanceDrain, event: SuccessorHeard) -> None:
        name, advert, now, policy = event.name, event.advert, self._now, self._policy
        others = (e for e in found.fresh(now, policy) if _sender(e.advert) != _sender(advert))
        if not advert.priority:
            self._set(name, adverts=tuple(others))
            return
        adverts = (*others, SuccessorAdvert(advert=advert, at=now))[-policy.adverts_limit :]
        heard = self._drains[name] = replace(found, adverts=adverts)
        if not heard.unserved(now, policy):
            sources = dict.fromkeys(str(e.advert.source) for e in heard.fresh(now, policy))
            holder = " and ".join(sources)
            self._set(name, phase=DrainPhase.DRAINED, anchor=now, holder=holder, is_leaving=False)
            if found.phase is not DrainPhase.DRAINED:
                self._conclude(InstanceDrained(name=name, holder=holder))

    def _drain(self, name: str, spec: DrainSpec, *, is_master: bool) -> None:
        found = self._drains[name]
        if found.phase is DrainPhase.DRAINED and not found.unserved(self._now, self._policy):
            self._set(name, spec=spec)
            self._conclude(InstanceDrained(name=name, holder=found.holder))
            return
        # One that was forced, or is under way, is watched anew.
        was_held = found.phase.is_held
        is_held = was_held or is_master or spec.is_forced
        self._set(
            name,
            spec=spec,
            phase=DrainPhase.DRAINING if is_held else DrainPhase.PENDING,
            anchor=self._now,
            is_leaving=found.is_leaving if was_held else is_master,
        )

    def _end(self, name: str, cause: str, *, is_undone: bool = False) -> None:
        """Let an instance serve again."""
        self._drains[name] = InstanceDrain(target=self._drains[name].target)
        self._conclude(DrainEnded(name=name, cause=cause, is_undone=is_undone))

    def _conclude(self, outcome: Outcome, *, is_news: bool = True) -> None:
        """Report what became of an instance, and answer the requests that waited for it alone."""
        if is_news:
            self._actions.append(outcome)
        name = outcome.name
        noted = [
            replace(each, waiting=each.waiting - {name}, outcomes=(*each.outcomes, outcome))
            if name in each.waiting
            else each
            for each in self._state.pending
        ]
        self._change(pending=tuple(each for each in noted if each.waiting))
        self._actions += [_verdict(each) for each in noted if not each.waiting]

    # --- time -----------------------------------------------------------------------------------

    def on_paused(self, seconds: float) -> None:
        """Let the time without listening count for nothing."""
        now = self._now
        for name, each in self._before.drains.items():
            if each.phase is not DrainPhase.SERVING:
                later = (replace(a, at=min(now, a.at + seconds)) for a in each.adverts)
                self._set(name, anchor=min(now, each.anchor + seconds), adverts=tuple(later))

    def on_time(self, event: DrainTimePassed) -> None:
        """Do what is due."""
        everything = self._state.everything
        if everything is not None and self._is_over(everything):
            self._change(everything=None)
        for name, found in self._before.drains.items():
            due = self._due(name)
            if due is None or self._now < due:
                continue
            if self._is_over(found.spec):
                self._end(name, _TIME_OVER)
            elif found.spec.is_forced:
                self._set(name, phase=DrainPhase.DRAINED, holder="", is_leaving=False)
                self._conclude(InstanceDrained(name=name, holder=""))
            elif found.phase is DrainPhase.DRAINED and not event.has_link:
                # Work on the network: a release would bring the addresses back to no node.
                self._set(name, anchor=self._now)
            else:
                cause = event.blind or self._silence_cause(found)
                self._end(name, cause, is_undone=True)

    def _is_over(self, spec: DrainSpec) -> bool:
        return spec.until is not None and self._now >= spec.until

    def _silence_cause(self, found: InstanceDrain) -> str:
        silence = found.silence(self._policy)
        if found.is_leaving:
            return f"keepalived was not seen to leave MASTER within {2 * silence:g} s"
        if found.fresh(self._now, self._policy):
            missing = listed(sorted(map(str, found.unserved(self._now, self._policy))))
            return f"no other node serves {missing}, though others of its addresses are served"
        if found.phase is DrainPhase.PENDING:
            return f"no other node was heard to serve it within {silence:g} s"
        if found.phase is DrainPhase.DRAINING:
            return f"no other node took over within {silence:g} s"
        had = f"{found.holder} had taken over"
        return f"{had}, and then no node was heard to serve it within {silence:g} s"


def _sender(advert: Advert) -> tuple[bytes, int]:
    return advert.source_mac, advert.virtual_router_id


def _canonical(word: str) -> str:
    """Return the usual text of an address; empty where ``word`` is none."""
    try:
        return str(ip_address(word))
    except ValueError:
        return ""


def _verdict(request: PendingRequest) -> DrainRequestStatus:
    """Return the one answer to a request all of whose instances have an outcome."""
    outcomes = sorted(request.outcomes, key=lambda each: isinstance(each, DrainEnded))
    names: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        names.setdefault(_words(outcome), []).append(outcome.name)
    lines = tuple(f"{head}{listed(each)}{tail}" for (head, tail), each in names.items())
    verdict = "undone" if isinstance(outcomes[-1], DrainEnded) else "drained"
    return DrainRequestStatus(id=request.id, verdict=verdict, lines=lines)


def _words(outcome: Outcome) -> tuple[str, str]:
    """Return the texts before and after the names of instances with this outcome."""
    if isinstance(outcome, DrainEnded):
        return "not drained: ", f": {outcome.cause}"
    if outcome.holder:
        return f"{outcome.holder} has taken over ", ""
    return "no other node was heard to take over ", ": drained by force"


def _outlives(state: DrainState) -> object:
    """Return what outlives the agent."""
    records, everything = state.records, state.everything
    return records, everything, state.known if records or everything else None


def _hold_time(spec: DrainSpec) -> tuple[bool, float]:
    return spec.is_forced, float("inf") if spec.until is None else spec.until
