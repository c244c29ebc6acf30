"""A small, faithful model of keepalived 2.2.7 and of the network, around the real contest machine.

One instance on a few nodes. keepalived's part follows its source (vrrp.c, vrrp_scheduler.c):
timers, skew, the three kinds of preemption, priority 0, which adverts it counts and takes. The
network loses, delays and reorders frames, and lets VRRP and announcements pass or not per
direction; a firewall keeps adverts from keepalived and not from the agent. Nodes are frozen,
killed and started; an agent may be frozen alone, or missing.

Time is simulated: a run is a function of its seed.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from ipfailover_agent.conflict.contexts import ContestContext
from ipfailover_agent.conflict.fsm import step
from ipfailover_agent.conflict.state import (
    Action,
    AdvertLeft,
    AdvertSeen,
    AnnouncementSeen,
    Contest,
    ContestOrder,
    ContestSign,
    DumpAnswered,
    Event,
    HoldInstance,
    LoopStalled,
)
from ipfailover_agent.keepalived.dump import VrrpStatistics
from ipfailover_agent.model import PreemptionMode, VrrpState
from ipfailover_agent.vrrp.packets import Advert, Announcement

VIRTUAL: Final = IPv4Address("10.0.0.5")
GROUP: Final = IPv4Address("224.0.0.18")
PEERS: Final = frozenset({IPv4Address("10.0.0.99")})
BURST: Final = 5  # keepalived's vrrp_garp_master_repeat
SECOND_BURST: Final = 5.0  # seconds, vrrp_garp_master_delay
ROUTINE: Final = 10.0  # seconds between routine announcements
LEAVING: Final = 0.3  # seconds until a new MASTER's first advert is missed


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What keepalived compares before it takes an advert."""

    version: int = 2
    password: bytes | None = b"OpenShif"
    addresses: tuple[IPv4Address, ...] = (VIRTUAL,)
    is_unicast: bool = False


@dataclass(frozen=True, kw_only=True)
class NodeSetup:
    """How a node is set up; ``mac`` ranks contests by announcements."""

    priority: int
    mac: int
    preemption: PreemptionMode = PreemptionMode.PREEMPT
    preempt_delay: float = 20.0
    has_agent: bool = True
    dialect: Dialect = Dialect()
    interval: float = 1.0


@dataclass(kw_only=True)
class Network:
    """What passes, per direction (sender, receiver); absent pairs pass.

    VRRP that is blocked does not even leave where ``is_unresolved``: nobody answers ARP.
    """

    vrrp_blocked: set[tuple[int, int]] = field(default_factory=set)
    frames_blocked: set[tuple[int, int]] = field(default_factory=set)
    input_blocked: set[int] = field(default_factory=set)
    is_unresolved: bool = False
    loss: float = 0.0
    delay: float = 0.002
    lag: float = 0.0  # seconds that a frame may wait until a starved agent reads it


class Node:
    """keepalived's model, its counters, and the agent's contest beside it."""

    def __init__(self, world: World, index: int, setup: NodeSetup) -> None:
        self.world = world
        self.index = index
        self.setup = setup
        self.address = IPv4Address("10.0.0.10") + index
        self.mac = bytes((0x52, 0x54, 0, 0, 0, setup.mac))
        self.context = ContestContext(
            addresses=setup.dialect.addresses,
            virtual_router_id=11,
            priority=setup.priority,
            source=self.address,
            mac=self.mac,
            version=setup.dialect.version,
            advert_interval=setup.interval,
            password=setup.dialect.password,
            unicast_peers=PEERS if setup.dialect.is_unicast else frozenset(),
        )
        self.is_alive = False
        self.life = 0
        self.frozen_until = 0.0
        self.agent_frozen_until = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget everything, as a start does."""
        self.state = VrrpState.INIT
        self.timer = 0
        self.preempt_at: float | None = None
        self.advert_rcvd = self.advert_sent = self.addr_list_err = self.auth_failure = 0
        self.is_held_file = False
        self.contest = Contest(context=self.context)
        self.wake: float | None = None
        self.last_run = self.world.now
        self.unread: list[Event] = []
        self.log: list[tuple[float, Action]] = []

    # --- life

    def start(self) -> None:
        """Start keepalived and the agent."""
        self.life += 1
        self.reset()
        self.is_alive = True
        self.enter(VrrpState.BACKUP)

    def kill(self) -> None:
        """End both at once; the lease removes the address."""
        self.life += 1
        self.is_alive = False
        self.enter(VrrpState.INIT)

    def after(self, seconds: float, act: Callable[[], None], *, is_agent: bool = False) -> None:
        """Do something later, unless the node has died since; later still while frozen."""
        self.world.schedule(self.world.now + seconds, self, act, is_agent=is_agent)

    # --- keepalived

    @property
    def skew(self) -> float:
        """Return VRRP_TIMER_SKEW."""
        return self.context.skew_time

    @property
    def down_time(self) -> float:
        """Return VRRP_MS_DOWN_TIMER."""
        return self.context.master_down_interval

    def enter(self, state: VrrpState) -> None:
        """Change state as keepalived does, and tell the agent a little later."""
        before, self.state = self.state, state
        self.world.note()
        self.timer += 1
        if not self.is_alive:
            return
        if state is VrrpState.FAULT and before is VrrpState.MASTER:
            self.send_advert(0)
        if state is VrrpState.BACKUP:
            self.preempt_at = None
            self.set_timer(self.down_time, self.on_master_down)
        if state is VrrpState.MASTER:
            self.send_advert(self.setup.priority)
            self.set_timer(self.setup.interval, self.on_advert_due)
            self.announce(BURST)
            self.after(SECOND_BURST, lambda: self.announce(BURST))
            if self.setup.has_agent:
                self.routine(self.timer)
                self.after(LEAVING, self.look, is_agent=True)
        self.after(self.world.random.uniform(0, 0.05), lambda: self.hear(state), is_agent=True)

    def routine(self, timer: int) -> None:
        """Announce every ten seconds while MASTER."""
        if self.state is VrrpState.MASTER:
            self.announce(1)
            self.after(ROUTINE, lambda: self.routine(timer))

    def look(self) -> None:
        """See whether adverts leave, every second while MASTER."""
        network = self.world.network
        if self.state is VrrpState.MASTER:
            if network.is_unresolved and any(one == self.index for one, _ in network.vrrp_blocked):
                self.tell(ContestSign.NOT_LEAVING)
            self.after(1.0, self.look, is_agent=True)

    def set_timer(self, seconds: float, act: Callable[[], None]) -> None:
        """Set the one timer of the instance."""
        self.timer += 1
        timer = self.timer

        def fire() -> None:
            if self.timer == timer:
                act()

        self.after(seconds, fire)

    def on_master_down(self) -> None:
        """No master was heard."""
        if self.state is VrrpState.BACKUP:
            self.enter(VrrpState.MASTER)

    def on_advert_due(self) -> None:
        """Advertise."""
        if self.state is VrrpState.MASTER:
            self.send_advert(self.setup.priority)
            self.set_timer(self.setup.interval, self.on_advert_due)

    @property
    def leaves_for_any(self) -> bool:
        """Tell whether an advert leaves at all, for whomever."""
        network = self.world.network
        others = {each.index for each in self.world.nodes} - {self.index}
        blocked = {other for one, other in network.vrrp_blocked if one == self.index}
        return not (network.is_unresolved and blocked >= others)

    def send_advert(self, priority: int) -> None:
        """Send an advert to everybody."""
        self.advert_sent += 1
        dialect = self.setup.dialect
        if priority and self.leaves_for_any:
            left = AdvertLeft(heard_at=self.world.now)
            self.tell_of_frame(self.world.random.uniform(0, 0.01), left)
        self.world.send(
            self,
            Advert(
                source_mac=self.mac,
                source=self.address,
                destination=next(iter(PEERS)) if dialect.is_unicast else GROUP,
                version=dialect.version,
                virtual_router_id=11,
                priority=priority,
                addresses=dialect.addresses,
                interval=self.setup.interval,
                authentication=0 if dialect.password is None else 1,
                password=dialect.password,
                ttl=255,
                is_checksum_right=True,
            ),
        )

    def announce(self, count: int) -> None:
        """Announce the address, if it is here."""
        if self.state is VrrpState.MASTER:
            for _ in range(count):
                self.world.send(
                    self,
                    Announcement(source_mac=self.mac, announced_mac=self.mac, address=VIRTUAL),
                )

    def takes(self, advert: Advert) -> bool:
        """Tell whether keepalived takes an advert; count as it does."""
        dialect = self.setup.dialect
        if advert.version != dialect.version:
            return False
        if advert.password != dialect.password:
            self.auth_failure += 1
            return False
        if advert.version == 2 and advert.interval != self.setup.interval:
            return False
        if len(advert.addresses) != len(dialect.addresses):
            self.addr_list_err += 1
            return False
        if advert.destination.is_multicast == dialect.is_unicast:
            self.addr_list_err += 1
            return False
        self.advert_rcvd += 1
        if set(advert.addresses) != set(dialect.addresses):
            self.addr_list_err += 1
            return False
        return True

    def receive(self, advert: Advert) -> None:
        """Take an advert as keepalived does."""
        if self.state is VrrpState.BACKUP and self.takes(advert):
            self.receive_as_backup(advert)
        elif self.state is VrrpState.MASTER and self.takes(advert):
            self.receive_as_master(advert)

    def receive_as_backup(self, advert: Advert) -> None:
        """See vrrp_state_backup."""
        own, mode, now = self.setup.priority, self.setup.preemption, self.world.now
        is_delaying = mode is PreemptionMode.DELAYED and (
            self.preempt_at is None or self.preempt_at > now
        )
        if not advert.priority:
            self.set_timer(self.skew, self.on_master_down)
        elif mode is PreemptionMode.NEVER or advert.priority >= own or is_delaying:
            self.set_timer(self.down_time, self.on_master_down)
            if advert.priority >= own:
                self.preempt_at = None
            elif self.preempt_at is None:
                self.preempt_at = now + self.setup.preempt_delay

    def receive_as_master(self, advert: Advert) -> None:
        """See vrrp_state_master_rx."""
        if not advert.priority:
            self.send_advert(self.setup.priority)
        elif (advert.priority, advert.source) > (self.setup.priority, self.address):
            if self.setup.has_agent:  # vrrp_higher_prio_send_advert
                self.send_advert(self.setup.priority)
            self.enter(VrrpState.BACKUP)
        else:
            self.send_advert(self.setup.priority)
            self.announce(BURST)
            self.set_timer(self.setup.interval, self.on_advert_due)

    def on_hold_file(self) -> None:
        """See the hold file, as inotify tells."""
        if self.is_held_file and self.state in {VrrpState.BACKUP, VrrpState.MASTER}:
            self.enter(VrrpState.FAULT)
        elif not self.is_held_file and self.state is VrrpState.FAULT:
            self.enter(VrrpState.BACKUP)

    # --- the agent

    def tell_of_frame(self, seconds: float, event: Event) -> None:
        """Tell the agent later of a frame that passes now: one socket, read until it is empty."""
        lag = self.world.random.uniform(0.0, self.world.network.lag)
        self.unread.append(event)
        self.after(seconds + lag, self.read, is_agent=True)

    def read(self) -> None:
        """Give the contest what waits in the socket."""
        unread, self.unread = self.unread, []
        for event in unread:
            self.tell(event)

    def hear(self, word: VrrpState | DumpAnswered) -> None:
        """Give the contest keepalived's word; what waits to be read came before it."""
        self.read()
        self.tell(word)

    @property
    def thawed_at(self) -> float:
        """Return when the agent runs again, or did so last."""
        return max(self.frozen_until, self.agent_frozen_until)

    def tell(self, event: Event) -> None:
        """Give the contest an event and carry out what it says."""
        if not self.setup.has_agent:
            return
        now = self.world.now
        if now - self.last_run > 0.5 and self.last_run < self.thawed_at <= now:
            gap, self.last_run = now - self.last_run, now
            self.tell(LoopStalled(seconds=gap))
        self.last_run = now
        self.contest, actions = step(self.contest, event, now)
        is_begun = self.contest.count.baseline is not None
        assert is_begun or not self.contest.count.is_counting, (
            "nothing is asked while nothing is counted"
        )
        for action in actions:
            self.carry_out(action)
        deadline = self.contest.deadline
        if deadline is not None and deadline != self.wake:
            self.wake = deadline
            self.after(
                max(0.0, deadline - now) + 1e-9, lambda: self.on_wake(deadline), is_agent=True
            )

    def on_wake(self, deadline: float) -> None:
        """Say that a deadline has passed, unless it is another one by now."""
        if self.wake == deadline:
            self.wake = None
            self.tell(ContestSign.DEADLINE_PASSED)
            left = self.contest.deadline
            assert left is None or left > self.world.now, "a deadline that has passed stays"

    def carry_out(self, action: Action) -> None:
        """Do what the contest says."""
        self.log.append((self.world.now, action))
        latency = self.world.random.uniform(0.005, 0.04)
        match action:
            case HoldInstance() | ContestOrder.RELEASE | ContestOrder.BEGIN_TRIAL:
                self.is_held_file = isinstance(action, HoldInstance)
                self.after(latency, self.on_hold_file)
            case ContestOrder.ANNOUNCE | ContestOrder.ANNOUNCE_AT_ONCE:
                self.after(latency / 4, lambda: self.announce(1), is_agent=True)
            case ContestOrder.ASK_DUMP:
                self.after(latency / 2, self.dump)
            case _:
                pass

    def dump(self) -> None:
        """Write counters, and tell the agent a little later."""
        counters = VrrpStatistics(
            advert_rcvd=self.advert_rcvd,
            advert_sent=self.advert_sent,
            addr_list_err=self.addr_list_err,
            auth_failure=self.auth_failure,
        )
        answer = DumpAnswered(taken_at=self.world.now, state=self.state, counters=counters)
        self.after(
            self.world.random.uniform(0.002, 0.02), lambda: self.hear(answer), is_agent=True
        )


class World:
    """Nodes, the network between them, and time."""

    def __init__(self, setups: Iterable[NodeSetup], seed: int = 0) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a simulation
        self.now = 1000.0
        self.network = Network()
        self.queue: list[tuple[float, int, Node | None, int, bool, Callable[[], None]]] = []
        self.order = itertools.count()
        self.history: list[tuple[float, frozenset[int]]] = []
        self.nodes = [Node(self, index, setup) for index, setup in enumerate(setups)]

    def start(self) -> None:
        """Start all nodes."""
        for node in self.nodes:
            node.start()

    # --- time

    def schedule(
        self, at: float, node: Node | None, act: Callable[[], None], *, is_agent: bool = False
    ) -> None:
        """Do something at a time."""
        life = node.life if node else 0
        heapq.heappush(self.queue, (at, next(self.order), node, life, is_agent, act))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.queue and self.queue[0][0] <= end:
            at, order, node, life, is_agent, act = heapq.heappop(self.queue)
            self.now = max(self.now, at)
            if node is not None:
                if node.life != life:
                    continue
                until = max(node.frozen_until, node.agent_frozen_until if is_agent else 0.0)
                if until > self.now:
                    heapq.heappush(self.queue, (until, order, node, life, is_agent, act))
                    continue
            act()
        self.now = end

    # --- the network

    def send(self, sender: Node, packet: Advert | Announcement) -> None:
        """Bring a frame to everybody else, as the network is now."""
        network = self.network
        for node in self.nodes:
            pair = (sender.index, node.index)
            if node is sender or pair in network.frames_blocked or not node.is_alive:
                continue
            if isinstance(packet, Advert) and pair in network.vrrp_blocked:
                continue
            if self.random.random() < network.loss:
                continue
            delay = self.random.uniform(0.0, network.delay)
            self.deliver(node, packet, delay)

    def deliver(self, node: Node, packet: Advert | Announcement, delay: float) -> None:
        """Bring a frame to keepalived and to the agent's packet socket, in either order."""
        early, late = sorted(self.random.uniform(0.0, 0.01) for _ in range(2))
        if self.random.random() < 0.5:
            early, late = late, early
        heard_at = self.now + delay  # by the kernel, which nothing here freezes
        event: Event = (
            AnnouncementSeen(announcement=packet, heard_at=heard_at)
            if isinstance(packet, Announcement)
            else AdvertSeen(advert=packet, heard_at=heard_at)
        )
        node.after(delay, lambda: node.tell_of_frame(early, event))
        if isinstance(packet, Announcement):
            return

        def receive() -> None:
            if node.index not in self.network.input_blocked:
                node.receive(packet)

        node.after(delay + late, receive)

    # --- what is seen from outside

    @property
    def holders(self) -> frozenset[int]:
        """Return who holds the address."""
        return frozenset(
            node.index for node in self.nodes if node.is_alive and node.state is VrrpState.MASTER
        )

    def note(self) -> None:
        """Remember who holds the address from now on."""
        if not self.history or self.history[-1][1] != self.holders:
            self.history.append((self.now, self.holders))

    def spans(self, begin: float) -> list[tuple[float, frozenset[int]]]:
        """Return (seconds, holders) since a time."""
        result = []
        ends = [each[0] for each in self.history[1:]] + [self.now]
        for (at, holders), end in zip(self.history, ends, strict=True):
            if end > begin:
                result.append((end - max(at, begin), holders))
        return result

    def freeze(self, index: int, seconds: float, *, agent_only: bool = False) -> None:
        """Let nothing of a node, or nothing of its agent, run for a while."""
        node = self.nodes[index]
        if agent_only:
            node.agent_frozen_until = max(node.agent_frozen_until, self.now + seconds)
        else:
            node.frozen_until = max(node.frozen_until, self.now + seconds)
