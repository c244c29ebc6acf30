"""Remembers what may explain a transition until keepalived reports one.

:mod:`status.transition` infers the cause. This module keeps keepalived's log lines, the
adverts of other nodes and the agent's own actions. Nothing here raises.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct, field

from ipfailover_agent.linux import files, host
from ipfailover_agent.model import Family, VrrpState
from ipfailover_agent.status import log_lines, transition
from ipfailover_agent.status.log_lines import LogLine, Report
from ipfailover_agent.status.transition import (
    KnownSince,
    NewestAdvert,
    TransitionCause,
    TransitionKind,
)
from ipfailover_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.keepalived.instance_states import InstanceState
    from ipfailover_agent.model import KeepalivedConfig, VrrpInstance
    from ipfailover_agent.paths import RunPaths
    from ipfailover_agent.status.transition import Withholding


class Sources(Struct, kw_only=True):
    """What other services know.

    Attributes:
        withholdings: why an instance, by its name, is kept in FAULT on purpose.
        is_wire_watched: whether the adverts of other nodes are watched.
        lapsed_at: when the lease lapsed last, as seen now, None where it never has.
    """

    withholdings: Callable[[str], tuple[Withholding, ...]] = lambda _: ()
    is_wire_watched: Callable[[], bool] = lambda: False
    lapsed_at: Callable[[float], float | None] = lambda _: None


class _Memory(Struct):
    """What is remembered of one instance."""

    sightings: tuple[NewestAdvert, ...] = ()
    outranked: KnownSince | None = None
    preempted: KnownSince | None = None
    last: TransitionCause | None = None


class CheckVerdict(Struct, frozen=True, kw_only=True):
    """The newest result of the check: ``failure``, None if it passed; ``since`` UTC seconds."""

    failure: str | None
    since: float


class TransitionCauses(Struct):
    """What was seen of the active configuration's instances."""

    paths: RunPaths
    sources: Sources = field(default_factory=Sources)
    keepalived_version: str = ""
    script: CheckVerdict | None = None  # of keepalived's, by its log
    probes: CheckVerdict | None = None  # of the check that the agent makes itself
    child_death: str = ""  # how the VRRP child of this keepalived died
    _of: dict[str, _Memory] = field(default_factory=dict)
    _link: KnownSince | None = None
    _start: TransitionCause | None = None
    _ending: TransitionCause | None = None
    _reload_at: float | None = None
    _exit: LogLine | None = None
    _ended: str = "ended"

    # --- what happens ---------------------------------------------------------------------------

    def line(self, line: bytes, now: float) -> None:
        """Note a line of keepalived's log."""
        found = log_lines.parse(line)
        if found is None:
            return
        match found.report:
            case Report.OUTRANKED:
                self._memory(found.subject).outranked = KnownSince(text=found.text, at=now)
            case Report.OUTRANKS:
                self._memory(found.subject).preempted = KnownSince(text=found.text, at=now)
            case Report.CHECK_ENDED:
                self.script = CheckVerdict(failure=found.text or None, since=time.time())
            case Report.LINK_CHANGED:
                self._link = KnownSince(text=found.text, at=now)
            case Report.PROCESS_EXITED:
                self._exit = found
            case Report.CHILD_DIED:
                known = self._exit
                how = f" ({known.text})" if known and known.subject == found.subject else ""
                self.child_death = f"its VRRP process died{how}"
            case Report.VERSION:
                self.keepalived_version = found.subject

    def judged(self, failure: str | None) -> None:
        """Note the verdict of a check that the agent makes itself; None where it passes."""
        self.probes = CheckVerdict(failure=failure, since=time.time())

    def check_replaced(self, before: KeepalivedConfig, now: KeepalivedConfig) -> None:
        """Forget the verdict of a check that a reload replaces by one of another kind or name.

        Otherwise it stays in force: keepalived takes it over to a script of the same name (2.2.7)
        and reports changes only, and the agent goes on from what its own probes found.
        """
        script, newest = before.track_script, now.track_script
        if script is None or newest is None or script.name != newest.name:
            self.script = None
        if now.port_probes is None:
            self.probes = None

    def advert(self, name: str, sighting: NewestAdvert) -> None:
        """Note an advert of another node for an instance's id."""
        memory = self._memory(name)
        memory.sightings = transition.seen(memory.sightings, sighting)

    def started(self) -> None:
        """Note that keepalived was started; all that was known of the last one is past."""
        if self._start is None:
            kind, text = TransitionKind.STARTED, "started"
        else:
            kind, text = TransitionKind.RESTARTED, f"keepalived restarted: it {self._ended}"
        self._start = TransitionCause(kind=kind, text=text)
        self._ending, self.script, self._exit, self.child_death = None, None, None, ""
        self._of.clear()

    def reloaded(self, now: float) -> None:
        """Note that keepalived reads its file again."""
        self._reload_at = now

    def ends(self, cause: TransitionCause) -> None:
        """Note why keepalived ends; only the first reason is kept."""
        self._ending = self._ending or cause
        self._ended = self._ending.text.removeprefix("keepalived ")

    @property
    def check(self) -> CheckVerdict | None:
        """Return the verdict of the check, None before it is known.

        Where keepalived runs a script and the agent runs it out of turn, the node is healthy as
        long as neither of the two results is a failure.
        """
        known = [each for each in (self.probes, self.script) if each is not None]
        failing = [each for each in known if each.failure is not None]
        return next(iter(failing or known), None)

    # --- causes ---------------------------------------------------------------------------------

    def explain(
        self, before: InstanceState, state: VrrpState, now: float, lasted: float | None
    ) -> TransitionCause:
        """Return why an instance enters a state, and remember it."""
        instance = before.instance
        memory = self._memory(instance.name)
        is_fault = state is VrrpState.FAULT
        cause = transition.infer(
            transition.Knowledge(
                previous=before.state,
                state=state,
                now=now,
                priority=instance.priority,
                advert_interval=instance.advertisement.interval,
                is_wire_watched=self.sources.is_wire_watched(),
                sightings=memory.sightings,
                outranked=memory.outranked,
                preempted=memory.preempted,
                withholdings=self.sources.withholdings(instance.name),
                check_failure=self.check_failure() if is_fault else None,
                link_failure=self._link_failure(instance, now) if is_fault else None,
                sender="" if self._has_link_changed(now) else _sender(instance),
                before=memory.last,
                lasted=lasted,
                lapsed_at=self.sources.lapsed_at(now),
                start=self._start,
                reload_at=self._reload_at,
                ending=self._ending,
            )
        )
        memory.last = cause
        return cause

    def check_failure(self) -> str | None:
        """Return the reason that the check wrote, or else how its end was for keepalived.

        None while it does not fail.
        """
        if self.check is None or self.check.failure is None:
            return None
        return files.read_reason(self.paths.check_reason) or one_line(self.check.failure)

    def _link_failure(self, instance: VrrpInstance, now: float) -> str | None:
        """Return what keepalived reported of the link just now, or else how it is."""
        if self._link is not None and self._has_link_changed(now):
            return self._link.text or None
        return host.link_failure(instance.interface, instance.family)

    def _has_link_changed(self, now: float) -> bool:
        """Return whether keepalived reported it just now."""
        return self._link is not None and transition.is_recent(self._link.at, now)

    def _memory(self, name: str) -> _Memory:
        return self._of.setdefault(name, _Memory())

    def keep(self, names: set[str]) -> None:
        """Forget every other instance."""
        for name in self._of.keys() - names:
            del self._of[name]


def _sender(instance: VrrpInstance) -> str:
    """Return the address that keepalived takes from the interface, for people, if it takes any.

    It needs a link-local one with IPv6 even where it is configured to send from another (2.2.7).
    """
    if instance.family is Family.IPV6:
        return f"the link-local address of {instance.interface}"
    is_told = instance.unicast_source if instance.unicast_peers else instance.multicast_source
    return "" if is_told else f"the IPv4 address of {instance.interface}"
