"""All services of one agent: how they are made, and the order in which the loop calls them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from ipfailover_agent.conflict.advert_listener import AdvertListener
from ipfailover_agent.conflict.holder_monitor import HolderMonitor
from ipfailover_agent.conflict.service import Contests
from ipfailover_agent.conflict.stray_removal import StrayRemoval
from ipfailover_agent.drain.service import Drains
from ipfailover_agent.firewall.service import Firewalls
from ipfailover_agent.firewall.shields import Shields
from ipfailover_agent.health.service import Probes
from ipfailover_agent.holds import Holds
from ipfailover_agent.http.service import Web
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog
from ipfailover_agent.lease.service import Leases
from ipfailover_agent.peers.service import Peering
from ipfailover_agent.service import Common, Service
from ipfailover_agent.status.reporter import Reporter
from ipfailover_agent.status.status_model import together
from ipfailover_agent.status.transition_causes import Sources, TransitionCauses
from ipfailover_agent.supervisor.config_manager import ConfigManager
from ipfailover_agent.supervisor.input_watch import Watcher
from ipfailover_agent.supervisor.link_watch import LinkWatch
from ipfailover_agent.supervisor.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipfailover_agent.keepalived.dump import InstanceDump
    from ipfailover_agent.keepalived.lifecycle import Event
    from ipfailover_agent.service import Runtime
    from ipfailover_agent.status.status_model import StatusPart
    from ipfailover_agent.status.transition import Withholding


class Services:
    """Iterates over the services in order; what is asked of one alone has its name.

    Args:
        runtime: of the agent.
        supervisor: the service that has keepalived.
        dispatch: called with an event for its state machine.
        kill: has it kill keepalived.
        restart: has it start keepalived anew.
    """

    def __init__(
        self,
        runtime: Runtime,
        supervisor: Service,
        *,
        dispatch: Callable[[Event], None],
        kill: Callable[[], None],
        restart: Callable[[str], bool],
    ) -> None:
        log, options, paths = runtime.log, runtime.options, runtime.paths
        self.transition_causes = TransitionCauses(
            paths,
            Sources(
                withholdings=self.withholdings,
                is_wire_watched=self._is_wire_watched,
                lapsed_at=self._lapsed_at,
            ),
        )
        self.reporter = Reporter(
            log=log,
            paths=paths,
            source=options.config,
            sinks=(runtime.output, runtime.errors),
            parts=self.status,
            history=runtime.history,
            transition_causes=self.transition_causes,
        )
        self.common = common = Common(
            **asdict(runtime), changed=self.reporter.touch, dispatch=dispatch
        )
        self._leases = Leases(common)
        self._listener = AdvertListener(log, runtime.loop)
        holds = Holds(common)
        watchdog = KeepalivedWatchdog(common, kill=kill, answered=self._on_dump)
        self.keepalived_watchdog = watchdog
        self.drains = Drains(common, holds, self._listener)
        holders = HolderMonitor(common)
        strays = StrayRemoval(common, self._leases, watchdog)
        shields = Shields(common, watchdog)
        self.contests = Contests(
            common,
            listener=self._listener,
            holds=holds,
            keepalived_watchdog=watchdog,
            shields=shields,
            hearers=(self.drains, holders, strays),
            announced=strays.announced,
            note_sighting=self.transition_causes.advert,
        )
        self.link_watch = LinkWatch(
            common,
            holds=holds,
            keepalived_watchdog=watchdog,
            contests=self.contests,
            restart=restart,
        )
        probes = Probes(common, self.transition_causes.judged)
        self.verifier = Verifier(common, watchdog)
        peering = Peering(common)
        self.config_manager = ConfigManager(
            common, reporter=self.reporter, holds=holds, probes=probes, add_peers=peering.add_to
        )
        self.watcher = Watcher(common, reporter=self.reporter, config_manager=self.config_manager)
        # Leases come first: no other work may delay a renewal.
        self._in_order: tuple[Service, ...] = (
            self._leases,
            holds,
            watchdog,
            self.contests,
            self.drains,
            holders,
            strays,
            Firewalls(common),
            shields,
            probes,
            self.link_watch,
            self.verifier,
            supervisor,
            self.config_manager,
            peering,
            self.watcher,
            Web(common, options.listen, reporter=self.reporter, keepalived_watchdog=watchdog),
        )
        self._by_source = {each.source: each for each in self._in_order if each.source}
        self._no_service = Service(common)  # for what comes of a descriptor that was let go of
        self._instance_states = InstanceStates()  # as the services know them

    def __iter__(self) -> Iterator[Service]:
        """Go through all services in the order of a round."""
        return iter(self._in_order)

    def of(self, source: str) -> Service:
        """Return the service that the loop's events of that source are for."""
        return self._by_source.get(source.partition(" ")[0], self._no_service)

    def configure(self) -> None:
        """Have all services apply the configuration in force, on the node as it is now."""
        if self.config_manager.active is None:
            return
        candidate = self.link_watch.with_present_node(self.config_manager.active)
        for each in self._in_order:
            each.configure(candidate, self.reporter.instance_states)
        self.pass_on_states(time.monotonic())

    def pass_on_states(self, now: float) -> None:
        """Have all services know the instances' states; these never change in place."""
        states = self.reporter.instance_states
        if states is not self._instance_states:
            self._instance_states = states
            for each in self._in_order:
                each.on_instance_states(states, now)

    def withholdings(self, name: str) -> tuple[Withholding, ...]:
        """Return why an instance is kept in FAULT on purpose."""
        found = (each.withholding(name) for each in self._in_order)
        return tuple(each for each in found if each is not None)

    def _is_wire_watched(self) -> bool:
        return not self._listener.blindness()

    def _lapsed_at(self, now: float) -> float | None:
        return self._leases.lapsed_at(now)

    def status(self) -> StatusPart:
        """Return what the status shows of all services."""
        return together(each.status() for each in self._in_order)

    def _on_dump(self, instances: tuple[InstanceDump, ...], asked_at: float) -> None:
        for each in self._in_order:
            each.on_dump(instances, asked_at)
