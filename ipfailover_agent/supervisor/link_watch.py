"""Watches keepalived's interface and source addresses, and has it restarted for other ones.

:mod:`supervisor.link_state` and :mod:`keepalived.deafness` decide. This module reads
the kernel's notices, looks at the node, collects what shows that instances work, and holds those
whose source address is gone. Nothing here raises.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.errors import AgentError, SystemRefusedError
from ipfailover_agent.keepalived import deafness
from ipfailover_agent.keepalived.dump import InstanceDump
from ipfailover_agent.linux import host
from ipfailover_agent.linux.link_monitor import AddressNotice, LinkMonitor, LinkNotice, Overrun
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.model import Family, VrrpState
from ipfailover_agent.service import Service
from ipfailover_agent.status.status_model import StatusPart
from ipfailover_agent.status.transition import Withholding
from ipfailover_agent.supervisor import link_state
from ipfailover_agent.vrrp import timers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.conflict.service import Contests
    from ipfailover_agent.holds import Holds
    from ipfailover_agent.keepalived.dump import VrrpStatistics
    from ipfailover_agent.keepalived.instance_states import InstanceStates
    from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog
    from ipfailover_agent.linux.link_monitor import Notice
    from ipfailover_agent.linux.rtnetlink import HeldAddress
    from ipfailover_agent.model import HostFacts, IPAddress, KeepalivedConfig
    from ipfailover_agent.service import Common

    _Sockets = tuple[Family, IPAddress | None, bool]  # the last: by unicast

SOURCE: Final = "links"
REASON: Final = "source"

_TOGETHER: Final = 0.05  # seconds: notices come in bursts
_LOOKS_APART: Final = 0.1
_LOOKS_WITHOUT_NOTICES: Final = 5.0  # between two looks, where the kernel sends none
_ANSWER_WITHIN: Final = 0.5  # the kernel
_HEARD_WITHIN: Final = 10.0  # an advert of another node, or three of its intervals


class _Evidence(Struct):
    """What dumps have shown since a moment: counters by name, of the first one and the newest."""

    since: float | None = None
    first: Mapping[str, VrrpStatistics] = field(default_factory=dict)
    latest: tuple[InstanceDump, ...] = ()


class LinkWatch(Service):
    """The interface of one keepalived at a time.

    Args:
        holds: the track files.
        keepalived_watchdog: asks keepalived for dumps.
        contests: receive adverts; they need the node's present addresses.
        restart: has keepalived started anew, for the reason given; returns whether it does, or
            something else is under way.
    """

    source = SOURCE

    def __init__(
        self,
        common: Common,
        *,
        holds: Holds,
        keepalived_watchdog: KeepalivedWatchdog,
        contests: Contests,
        restart: Callable[[str], bool],
    ) -> None:
        super().__init__(common)
        self._published: tuple[object, ...] = ()
        self._holds = holds
        self._keepalived_watchdog = keepalived_watchdog
        self._contests = contests
        self._restart = restart
        self._monitor: LinkMonitor | None = None
        self._config: KeepalivedConfig | None = None
        self._facts: HostFacts | None = None
        self._ground = link_state.Ground()
        self._state: link_state.ServedLink | None = None  # None while keepalived does not run
        # Interfaces that were ports while it ran, and of what: it may have lost what it knew of
        # them when they left.
        self._ports: dict[str, str] = {}
        self._deafness = deafness.Deafness()
        self._evidence = _Evidence()
        self._found: link_state.LinkFacts | None = None  # by the newest look
        self._held: frozenset[str] = frozenset()
        self._look_at: float | None = None
        self._looked_at = 0.0

    # --- the state, for others ------------------------------------------------------------------

    def troubles(self) -> tuple[str, ...]:
        """Return in sentences why the node is not ready."""
        state, facts = self._state, self._found
        if self._config is None or state is None:
            return ()
        found = () if facts is None else link_state.troubles(state, self._ground, facts)
        return (*found, *self._deaf(self._config))

    def _deaf(self, config: KeepalivedConfig) -> tuple[str, ...]:
        """Return in a sentence which instances are deaf, nothing where none is."""
        names = [each.name for each in config.instances]
        return deafness.troubles(self._deafness, config.interface, names)

    def status(self) -> StatusPart:
        """Return why the node is not ready."""
        return StatusPart(troubles=self.troubles())

    def withholding(self, name: str) -> Withholding | None:
        """Return why an instance is held for want of its source, None where it is not."""
        if REASON not in self._holds.reasons(name):
            return None
        return Withholding(reason=REASON, text=self.cause())

    def cause(self) -> str:
        """Return why instances are held: for want of their source address, or of frames."""
        return link_state.why_held(self._state or link_state.ServedLink(), self._ground.interface)

    # --- what happens ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Subscribe to the kernel's notices; where that is refused, look from time to time."""
        try:
            self._monitor = LinkMonitor()
        except AgentError as error:
            self._log.warning("links.unheard", reason=str(error))
        else:
            self._loop.watch_readable(self._monitor.fileno(), SOURCE)

    def with_present_node(self, candidate: Candidate) -> Candidate:
        """Return the configuration in force, or about to be, with the node as it is now.

        The node's state when the candidate was built may be long gone: a reload that is rolled
        back brings the former configuration, with the state that it was built on.
        """
        if self._config is None:  # it was looked at a moment ago
            return candidate
        ground = link_state.ground_of(candidate.settings, candidate.config)
        with contextlib.suppress(AgentError):  # it is looked at soon in any case
            facts = _facts_with(candidate.facts, ground, look(ground))
            return candidate if facts is None else replace(candidate, facts=facts)
        return candidate

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Apply the configuration in force."""
        config = candidate.config
        if self._state is not None and config.interface != self._ground.interface:
            # a reload moves everything there, with sockets that are new
            self._state = link_state.ServedLink(
                index=host.index_of(config.interface),
                port_of=self._ports.get(config.interface, ""),
            )
        self._config, self._facts = config, candidate.facts
        self._note_ports()
        self._ground = link_state.ground_of(candidate.settings, config)
        self._look_soon(time.monotonic())

    def keepalived_starts(self) -> None:
        """Note that keepalived is about to be started: on the interface as it is now."""
        self._state = link_state.ServedLink(index=host.index_of(self._ground.interface))
        self._ports.clear()
        self._note_ports()
        self._evidence = _Evidence()
        self._hold(frozenset())
        self._look_soon(time.monotonic())

    def _note_ports(self) -> None:
        interfaces = () if self._facts is None else self._facts.interfaces
        self._ports.update((each.name, each.port_of) for each in interfaces if each.port_of)

    def rereading_began(self) -> None:
        """Note that keepalived opens its sockets for unicast adverts anew."""
        if self._state is not None:
            self._state = replace(self._state, opened_with=None)
            self._look_soon(time.monotonic())

    def keepalived_ends(self) -> None:
        """Note that keepalived ended, or is about to."""
        self._state = self._found = None
        self._deafness = deafness.count_anew(self._deafness)
        self._evidence = _Evidence()

    def stalled(self, _: float) -> None:
        """Note that the loop stood still: what was measured across that is worth nothing."""
        self._deafness = deafness.count_anew(self._deafness)

    def on_dump(self, instances: tuple[InstanceDump, ...], asked_at: float) -> None:
        """Note keepalived's answer to a question of ``asked_at``."""
        since = self._evidence.since
        if since is not None and asked_at >= since:
            # A reload may add instances meanwhile.
            counted = {each.name: each.counters for each in instances}
            self._evidence.first = {**counted, **self._evidence.first}
            self._evidence.latest = instances
        before = self._deafness
        if self._state is None or self._config is None:
            return
        self._deafness, is_due = deafness.dumped(
            before, instances, time.monotonic(), others_heard=self._others_heard(instances)
        )
        # Until keepalived has read its file, it reports the former configuration's instances.
        deaf = self._deaf(self._config)
        if deaf and not before.deaf:
            self._log.error("instance.deaf", cause=deaf[0])
        self._publish_if_changed()
        if is_due and not (deaf and self._restart(deaf[0])):  # it counts once made
            self._deafness = replace(
                self._deafness, restarts=before.restarts, restart_at=before.restart_at
            )

    def _publish_if_changed(self) -> None:
        """Have the status written where the reasons why the node is not ready have changed."""
        state, found = self._state, self._found
        known = state and (state.index, state.lost, state.port_of)
        shown = (known, found and found.index, frozenset(self._deafness.deaf))
        if shown != self._published:
            self._published = shown
            self._changed()

    def _others_heard(self, instances: tuple[InstanceDump, ...]) -> bool:
        """Return whether an advert of another node came lately, by the wire or by the counters."""
        longest = max((each.master_advert_interval for each in instances), default=1.0)
        within = max(_HEARD_WITHIN, timers.MISSED_ADVERTS * longest)
        heard_at = self._contests.peer_heard_at
        if heard_at is not None and time.monotonic() - heard_at < within:
            return True
        before = self._deafness.standing
        return any(
            each.name in before and before[each.name].counters != each.counters
            for each in instances
            if each.state is VrrpState.BACKUP
        )

    # --- the kernel -----------------------------------------------------------------------------

    def readable(self) -> bool:
        """Read the kernel's notices; return whether any of them matters."""
        if self._monitor is None:
            return False
        try:
            notices = self._monitor.read()
        except AgentError as error:
            self._log.warning("links.unheard", reason=str(error))
            self.close()
            notices = (Overrun(),)
        if not any(map(self._matters, notices)):
            return False
        self._look_soon(time.monotonic())
        return True

    def _matters(self, notice: Notice) -> bool:
        config = self._config
        if config is None:
            return False
        index = None if self._found is None else self._found.index
        match notice:
            case LinkNotice(name=config.interface):
                return True
            case LinkNotice() | AddressNotice() if index is not None and notice.index != index:
                # an address may be one that adverts come from all the same
                return isinstance(notice, AddressNotice) and notice.address in self._ground.sources
            case AddressNotice(address=address):
                return address not in self._ground.virtual
            case _:
                return True

    def _look_soon(self, now: float) -> None:
        due = max(now + _TOGETHER, self._looked_at + _LOOKS_APART)
        self._look_at = due if self._look_at is None else min(self._look_at, due)

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return self._look_at

    def tick(self, now: float) -> None:
        """Look where it is time to."""
        if self._look_at is None or now < self._look_at:
            return
        self._look_at = None if self._monitor is not None else now + _LOOKS_WITHOUT_NOTICES
        self._looked_at = now
        config = self._config
        if config is None:
            return
        try:
            found = look(self._ground)
        except AgentError:  # it is looked at again
            self._look_at = now + link_state.SETTLE_EVERY
            return
        self._follow(found)
        if self._state is not None:
            self._judge(config, self._state, found, now)

    def _follow(self, found: link_state.LinkFacts) -> None:
        """Give contests the present addresses of this node."""
        facts = self._facts and _facts_with(self._facts, self._ground, found)
        if facts is not None:
            self._facts = facts
            self._contests.apply_facts(facts)
            self._changed()

    def _judge(
        self,
        config: KeepalivedConfig,
        state: link_state.ServedLink,
        found: link_state.LinkFacts,
        now: float,
    ) -> None:
        works = self._works(config, state, found)
        after, reason = link_state.looked(state, self._ground, found, now, works=works)
        self._state, self._found = after, found
        if after.lost - state.lost:
            self._log.error("source.lost", cause=self.cause())
        if after.port_of and not state.port_of:
            self._log.error("interface.taken", cause=self.cause())
        self._hold(link_state.held(config, after))
        if after.ready_at is None:
            self._evidence = _Evidence()
        elif self._evidence.since != after.ready_at:
            self._evidence = _Evidence(since=after.ready_at)
        if link_state.is_waiting(after, self._ground, found):
            settles = after.ready_at is not None
            self._look_at = now + (link_state.SETTLE_EVERY if settles else link_state.LOOK_EVERY)
            if settles:
                self._keepalived_watchdog.want_dump()
        self._publish_if_changed()
        if reason:
            self._restart(reason)

    def _works(
        self, config: KeepalivedConfig, state: link_state.ServedLink, found: link_state.LinkFacts
    ) -> bool:
        """Return whether every instance was seen at work on the interface that is there now.

        A MASTER's advert was seen leaving, a BACKUP's keepalived has counted one. With IPv6 that
        does not do on another interface, where it may receive and not send. An instance that
        the agent keeps in FAULT, since it is drained or yields, can show nothing: it works where
        another one works that has the same sockets, which keepalived opens for a family, a source
        and a way to send.
        A check that fails has all of them in FAULT, where a restart takes no address away.
        """
        evidence = self._evidence
        if state.ready_at is None or evidence.since != state.ready_at or found.index is None:
            return False
        is_new = found.index != state.index
        dumps = {each.name: each for each in evidence.latest}
        working: set[_Sockets] = set()
        unproven: set[_Sockets] = set()
        for each in config.instances:
            sockets = (each.family, each.named_source, bool(each.unicast_peers))
            # Why another service keeps it in FAULT.
            other_reasons = self._holds.reasons(each.name) - {REASON}
            match dumps.get(each.name):
                case InstanceDump(state=VrrpState.MASTER):
                    works = self._contests.has_left(each.name, state.ready_at, found.index)
                case InstanceDump(state=VrrpState.BACKUP, counters=counters):
                    works = counters != evidence.first[each.name]
                    # It receives. Whether it can send shows a MASTER with the same sockets:
                    # keepalived 2.2.7 goes on sending IPv6 to the interface that was there.
                    if works and is_new and each.family is Family.IPV6:
                        unproven.add(sockets)
                        continue
                case InstanceDump(state=VrrpState.FAULT) if other_reasons:
                    unproven.add(sockets)
                    continue
                case _:
                    works = False
            if not works:
                return False
            working.add(sockets)
        return bool(working) and unproven <= working

    def _hold(self, names: frozenset[str]) -> None:
        # A reload may have given an instance another name, and its hold goes with it.
        every = () if self._config is None else self._config.instances
        for name in self._held.union(names, (each.name for each in every)):
            if (name in names) != (REASON in self._holds.reasons(name)):
                (self._holds.set if name in names else self._holds.clear)(name, REASON)
        self._held = names

    def close(self) -> None:
        """Close the socket."""
        if self._monitor is not None:
            self._loop.unwatch(self._monitor.fileno())
            self._monitor.close()
        self._monitor = None


# --- the node -----------------------------------------------------------------------------------


def _facts_with(
    facts: HostFacts, ground: link_state.Ground, found: link_state.LinkFacts
) -> HostFacts | None:
    """Return the node as it was found, None where that is already known."""
    before = facts.interface(ground.interface)
    if found.index is None or before is None:
        return None
    now = replace(before, index=found.index, addresses=found.held)
    own = tuple(each for each in before.addresses if each.address not in ground.virtual)
    if now == replace(before, addresses=own):
        return None
    interfaces = tuple(now if each is before else each for each in facts.interfaces)
    return replace(facts, interfaces=interfaces)


def look(ground: link_state.Ground) -> link_state.LinkFacts:
    """Return the node as it is now, without the virtual addresses.

    Of other interfaces only those addresses are returned that are among the ground's sources.

    Raises:
        SystemRefusedError: the kernel does not answer, or addresses change at this moment: a dump
            may lack some of them then.
    """
    index = host.index_of(ground.interface)
    with AddressSocket(timeout=_ANSWER_WITHIN) as rtnetlink:
        found, again = (_own_addresses(rtnetlink, index, ground) for _ in range(2))
        here = {each.address.address for each in found}
        asked = [each for each in ground.sources if each not in here]
        ways = rtnetlink.ways(asked) if asked else ()
        port_of = "" if index is None else rtnetlink.port_of(index)
    if again != found:
        raise SystemRefusedError("cannot read rtnetlink: addresses change at this moment")
    elsewhere = {address for address, way in zip(asked, ways, strict=True) if way.is_local}
    return link_state.LinkFacts(
        index=index,
        is_running=index is not None and host.has_link(ground.interface),
        port_of=port_of,
        usable=frozenset(each.address.address for each in found if each.is_usable),
        elsewhere=frozenset(elsewhere),
        present=frozenset(here | elsewhere),
        held=tuple(each.address for each in found),
    )


def _own_addresses(
    rtnetlink: AddressSocket, index: int | None, ground: link_state.Ground
) -> list[HeldAddress]:
    held = () if index is None else rtnetlink.glance_at_addresses(index)
    return [each for each in held if each.address.address not in ground.virtual]
