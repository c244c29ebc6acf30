"""The faults: what is done to a scene, and how long two nodes or none may hold an address."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.chaos import wire
from tests.lab.chaos.scene import FAMILIES, MODES, Family, Mode, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

SUDDEN = 4.2  # nobody, when a holder vanishes without a word
SUDDEN_HELD = 7.2  # likewise, when its successor was held
TWO = 2.0  # two holders, at the default lease of 3 s
#: Nobody after a planned stop: with known peers, and without.
PLANNED = {"unicast": 0.05, "multicast": 0.55}
QUICK = 9.0  # seconds in which everything has happened, as a rule
LONG = 14.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the matrix.

    Attributes:
        name: as people say it.
        story: serves, calls ``scene.begins()``, breaks something, watches.
        two: the longest that two may hold an address, in seconds.
        none: likewise that nobody may; by mode where that matters.
        gains: how often a node may take the address, at most.
        tells: every one of these texts has to be in what the agents say, ``never`` none.
        old: what the shell image makes of it, in words.
        nodes, members: of the lab, and how many of them serve.
        short: the mode in which it is part of the tests, None for neither.
    """

    name: str
    story: Callable[[Scene], None]
    two: float = TWO
    none: float | dict[str, float] = 0.0
    gains: int = 3
    tells: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    old: str = ""
    nodes: int = 3
    members: int | None = None
    modes: tuple[Mode, ...] = MODES
    families: tuple[Family, ...] = FAMILIES
    short: Mode | None = None

    def none_in(self, mode: Mode) -> float:
        """Return how long nobody may hold an address in a mode."""
        return self.none[mode] if isinstance(self.none, dict) else self.none


# --- ends -----------------------------------------------------------------------------------------


def planned_stop(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.terminate()
    scene.watch(4)


def application_dies(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.application.stop()
    scene.watch(5)


def container_killed(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.kill()
    scene.watch(QUICK)


def container_killed_short_lease(scene: Scene) -> None:
    scene.serve(ADDRESS_LEASE="2")
    scene.begins()
    scene.holder.kill()
    scene.watch(QUICK)


def keepalived_killed(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    for pid in scene.holder.pids("keepalived"):
        _send(pid, signal.SIGKILL)
    scene.watch(QUICK)


def agent_killed(scene: Scene) -> None:
    scene.serve(as_pid_1=False)
    scene.begins()
    scene.holder.signal(signal.SIGKILL)
    scene.watch(QUICK)


# --- freezes --------------------------------------------------------------------------------------


def container_frozen(scene: Scene) -> None:
    _frozen(scene, 8)


def container_frozen_long(scene: Scene) -> None:
    _frozen(scene, 30)


def _frozen(scene: Scene, seconds: float) -> None:
    scene.serve()
    scene.begins()
    scene.holder.freeze()
    scene.watch(seconds)
    scene.holder.thaw()
    scene.watch(QUICK)


def holder_stunned_2(scene: Scene) -> None:
    _stunned(scene, 0, 2)


def holder_stunned_5(scene: Scene) -> None:
    _stunned(scene, 0, 5)


def backup_stunned_5(scene: Scene) -> None:
    _stunned(scene, 1, 5)


def lone_node_stunned_5(scene: Scene) -> None:
    _stunned(scene, 0, 5, forgive=True)


def _stunned(scene: Scene, place: int, seconds: float, *, forgive: bool = False) -> None:
    """Stop everything on a node, and its network; only its kernel's clock goes on."""
    scene.serve()
    node = scene.members[place]
    scene.begins()
    node.cut()
    node.freeze()
    node.application.freeze()
    scene.watch(seconds)
    node.application.thaw()
    node.thaw()
    node.join()
    if forgive:
        scene.forgive_none()
    scene.watch(QUICK)


def keepalived_frozen(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    for pid in scene.holder.pids("keepalived"):
        scene.holder.freeze(pid)
    scene.watch(LONG)


def agent_frozen(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.freeze(scene.holder.container.agent_pid)
    scene.watch(QUICK)
    scene.holder.thaw(scene.holder.container.agent_pid)
    scene.watch(6)


# --- the network ----------------------------------------------------------------------------------


def link_down(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.link_down()
    scene.watch(QUICK)
    scene.holder.link_up()
    scene.watch(6)


def holder_mute(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.cut("out")
    scene.watch(LONG)
    scene.holder.join("out")
    scene.watch(QUICK)


def holder_deaf(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.cut("in")
    scene.watch(QUICK)
    scene.holder.join("in")
    scene.watch(6)


def backup_deaf(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.successor.cut("in")
    scene.watch(LONG)
    scene.successor.join("in")
    scene.watch(QUICK)


def firewall_everywhere(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    for node in scene.members:
        node.firewall()
    scene.watch(LONG)
    for node in scene.members:
        node.firewall_off()
    scene.watch(QUICK)


def firewall_everywhere_at_start(scene: Scene) -> None:
    for node in scene.members:
        node.firewall()
    scene.begins()
    for node in scene.members:
        node.start(scene.variables(node))
    scene.watch(20)


def holder_input(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.firewall("in")
    scene.watch(LONG)


def backup_input(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.successor.firewall("in")
    scene.watch(LONG)
    scene.successor.firewall_off()
    scene.watch(QUICK)


def all_inputs(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    for node in scene.members:
        node.firewall("in")
    scene.watch(LONG)


def held_successor(scene: Scene) -> None:
    """All inputs are blocked, and then the holder vanishes."""
    scene.serve()
    for node in scene.members:
        node.firewall("in")
    scene.watch(8)
    scene.begins()
    scene.holder.kill()
    scene.watch(LONG)


def holder_output(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.firewall("out")
    scene.watch(LONG)
    scene.holder.firewall_off()
    scene.watch(QUICK)


def switch_blocks_vrrp(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.lab.switch.drop_vrrp()
    scene.watch(LONG)
    scene.lab.switch.pass_vrrp()
    scene.watch(QUICK)


# --- nodes that differ ----------------------------------------------------------------------------


def other_password(scene: Scene) -> None:
    _roll(scene, reversed(range(3)), CONFIG_NAME="another")


def other_password_holder_first(scene: Scene) -> None:
    _roll(scene, range(3), CONFIG_NAME="another")


def other_mode(scene: Scene) -> None:
    _roll(scene, reversed(range(3)), UNICAST_PEERS="" if scene.mode == "unicast" else scene.peers)


def other_version(scene: Scene) -> None:
    _roll(scene, reversed(range(3)), VRRP_VERSION="3")


def _roll(scene: Scene, order: range | reversed[int], **more: str) -> None:
    scene.serve()
    scene.begins()
    for place in order:
        scene.restart(scene.members[place], **more)
        scene.watch(5)
    scene.watch(QUICK)


def other_list(scene: Scene) -> None:
    _roll_list(scene, reversed(range(3)))


def other_list_holder_first(scene: Scene) -> None:
    _roll_list(scene, range(3))


def _roll_list(scene: Scene, order: range | reversed[int]) -> None:
    lab = scene.lab
    before = [*map(lab.virtual, (1, 2)), *map(lab.virtual6, (1, 2))]
    after = [*map(lab.virtual, (1, 2, 3)), *map(lab.virtual6, (1, 2, 3))]
    scene.serve(VIRTUAL_IPS=",".join(before), VIP_GROUPS="2")
    scene.begins()
    for place in order:
        scene.restart(scene.members[place], VIRTUAL_IPS=",".join(after), VIP_GROUPS="2")
        scene.watch(5)
    scene.watch(QUICK)


# --- strangers, and false alarms ------------------------------------------------------------------


def stranger_of_higher_mac(scene: Scene) -> None:
    _strange(scene, "52:54:00:00:00:01")


def stranger_of_lower_mac(scene: Scene) -> None:
    _strange(scene, "02:00:00:00:00:01")


def _strange(scene: Scene, mac: str) -> None:
    """A host takes the addresses, and announces them every second."""
    scene.serve()
    [stranger] = scene.strangers
    addresses = list(scene.addresses.values())
    scene.begins()
    scene.every(1.0, wire.announcer(stranger, addresses, mac))
    scene.watch(20)


def foreign_router(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    ids = {"IPv4": 11, "IPv6": 12}
    scene.every(1.0, wire.foreign_router(scene.strangers[0], ids))
    scene.watch(LONG)


def proxy_arp(scene: Scene) -> None:
    """A router answers for our addresses, since it knows a way to them elsewhere."""
    scene.serve()
    [router] = scene.strangers
    router.network.ip(
        [
            "link add far0 type veth peer name far1",
            "link set far0 up",
            "link set far1 up",
            *(f"route add {each} dev far0" for each in scene.addresses.values()),
            *(f"neighbour add proxy {each} dev eth0" for each in scene.addresses.values()),
        ]
    )
    router.network.set_sysctls({"ipv4/conf/eth0/proxy_arp": "1", "ipv6/conf/eth0/proxy_ndp": "1"})
    scene.begins()
    for _ in range(5):
        for each in scene.addresses.values():
            scene.lab.client.network.ip([f"neighbour flush to {each}"])
            scene.lab.client.ask(each, timeout=0.5)
        scene.watch(2)


def second_interface(scene: Scene) -> None:
    """The holder has a second interface on the segment, which answers with its own MAC."""
    scene.serve()
    holder = scene.holder
    scene.begins()
    peer = f"name eth1 address 02:00:00:00:01:0b netns {holder.network.path}"
    scene.lab.switch.network.ip(
        [
            f"link add {holder.name}b type veth peer {peer}",
            f"link set {holder.name}b master br0",
            f"link set {holder.name}b up",
        ]
    )
    holder.network.ip(["link set eth1 up", "address add 192.0.2.211/24 dev eth1"])
    for _ in range(5):
        scene.lab.client.who_has(scene.addresses["IPv4"])
        scene.watch(2)


def echo(scene: Scene) -> None:
    """What the holder sends comes back to it."""
    scene.serve()
    scene.begins()
    scene.lab.switch.network.ip([f"link set {scene.holder.name} type bridge_slave hairpin on"])
    scene.watch(LONG)


def last_peer_off(scene: Scene) -> None:
    """All others are powered off; their addresses can no longer be resolved."""
    scene.serve()
    scene.begins()
    for node in scene.lab.others(scene.holder):
        node.kill()
        node.cut()
        node.link_down()
    scene.holder.network.ip([f"neighbour flush dev eth0 to {each}" for each in _own(scene)])
    scene.watch(20)


def _own(scene: Scene) -> list[str]:
    return [each for node in scene.lab.others(scene.holder) for each in (node.ip, node.ipv6)]


def output_without_rival(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    scene.holder.firewall("out")
    scene.watch(20)


# --- a node that is short of something ------------------------------------------------------------


def starved(scene: Scene) -> None:
    """The holder's container runs for 40 ms in every 1.2 s."""
    scene.serve()
    scene.begins()
    for _ in range(12):
        scene.holder.freeze()
        time.sleep(1.16)
        scene.holder.thaw()
        time.sleep(0.04)
    scene.watch(5)


def output_unread(scene: Scene) -> None:
    """Nobody reads what the holder and its successor say, and the pipe is full."""
    full = (
        "mkfifo /run/full; sleep 600 </run/full & exec >/run/full 2>&1;"
        " head -c 65536 /dev/zero >/run/full"
    )
    nodes = (scene.holder, scene.successor)
    scene.serve(prepare=dict.fromkeys([each.name for each in nodes], full))
    scene.begins()
    scene.watch(5)
    scene.holder.kill()
    scene.watch(QUICK)


def disk_full(scene: Scene) -> None:
    """Run directories are full when every input drops VRRP, and then the holder vanishes."""
    scene.serve(run_mount="size=1m")
    for node in scene.members:
        node.run_in_container(["sh", "-c", "cat /dev/zero >/run/full 2>/dev/null"])
    scene.begins()
    for node in scene.members:
        node.firewall("in")
    scene.watch(10)
    scene.holder.kill()
    scene.watch(LONG)


def clock_stepped(scene: Scene) -> None:
    """The clock of the wall jumps, forth and back, on every node."""
    directory = scene.lab.directory
    text = wire.movable_clock(scene.holder, directory)
    scene.serve(prepare={each.name: text for each in scene.members})
    scene.begins()
    for offset in (3600, -86400, 5, 0):
        (directory / "offset").write_text(str(offset))
        scene.watch(3)


def _send(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)


MATRIX: tuple[Fault, ...] = (
    Fault(name="planned stop", story=planned_stop, two=0, none=PLANNED, gains=1),
    Fault(name="application dies", story=application_dies, two=0, none=PLANNED, gains=1),
    Fault(name="container SIGKILLed", story=container_killed, none=SUDDEN, gains=1, old="no end"),
    Fault(
        name="container SIGKILLed, lease 2",
        story=container_killed_short_lease,
        two=1.0,
        none=SUDDEN,
        gains=1,
        old="no end",
    ),
    Fault(name="keepalived killed", story=keepalived_killed, none=SUDDEN, gains=1),
    Fault(name="agent killed", story=agent_killed, none=SUDDEN, gains=1, old="no end"),
    Fault(name="container frozen 8 s", story=container_frozen, none=SUDDEN, old="until thawed"),
    Fault(name="container frozen 30 s", story=container_frozen_long, none=SUDDEN, old="30 s"),
    Fault(name="holder's node frozen 2 s", story=holder_stunned_2, none=0.1),
    Fault(name="holder's node frozen 5 s", story=holder_stunned_5, none=SUDDEN),
    Fault(name="backup's node frozen 5 s", story=backup_stunned_5),
    Fault(name="lone node frozen 5 s", story=lone_node_stunned_5, nodes=2, members=1, none=1.0),
    Fault(
        name="keepalived frozen",
        story=keepalived_frozen,
        none=SUDDEN,
        tells=("event=keepalived.hangs",),
        old="no end",
    ),
    Fault(name="agent frozen", story=agent_frozen, none=1.0),
    Fault(name="link down", story=link_down, none=SUDDEN),
    Fault(name="holder cannot send", story=holder_mute, tells=("event=contest.held",)),
    Fault(name="holder cannot receive", story=holder_deaf, two=0),
    Fault(name="a backup cannot receive", story=backup_deaf, tells=("event=contest.held",)),
    Fault(
        name="VRRP dropped by all firewalls",
        story=firewall_everywhere,
        tells=("event=contest.held",),
        old="no end",
    ),
    Fault(name="VRRP dropped by the holder's input", story=holder_input, two=0),
    Fault(
        name="VRRP dropped by a backup's input",
        story=backup_input,
        tells=("a firewall drops protocol 112",),
        old="no end",
    ),
    Fault(
        name="VRRP dropped by all inputs",
        story=all_inputs,
        tells=("a firewall drops protocol 112",),
        old="no end",
    ),
    Fault(
        name="the same, then SIGKILL",
        story=held_successor,
        none=SUDDEN_HELD,
        tells=("a firewall drops protocol 112",),
        old="no end",
    ),
    Fault(
        name="VRRP dropped by the holder's output",
        story=holder_output,
        tells=("event=contest.held",),
        old="no end",
    ),
    Fault(
        name="VRRP dropped by the switch",
        story=switch_blocks_vrrp,
        tells=("event=contest.held",),
        old="no end",
    ),
    Fault(
        name="other password, rolling",
        story=other_password,
        none=SUDDEN_HELD,
        families=("IPv4",),
        tells=("other password",),
        old="until done",
    ),
    Fault(
        name="other list, rolling",
        story=other_list,
        none=SUDDEN_HELD,
        tells=("address list differs",),
        old="until done",
    ),
    Fault(
        name="other list, holder first",
        story=other_list_holder_first,
        none=SUDDEN_HELD,
        tells=("address list differs",),
        old="until done",
    ),
    Fault(
        name="multicast against unicast, rolling",
        story=other_mode,
        none=SUDDEN_HELD,
        old="until done",
    ),
    Fault(
        name="version 2 against 3, rolling",
        story=other_version,
        none=SUDDEN_HELD,
        families=("IPv4",),
        tells=("VRRP version",),
        old="until done",
    ),
    Fault(
        name="stranger announces, higher MAC",
        story=stranger_of_higher_mac,
        nodes=4,
        members=3,
        tells=("speaks no VRRP",),
        old="no end",
    ),
    Fault(
        name="stranger announces, lower MAC",
        story=stranger_of_lower_mac,
        nodes=4,
        members=3,
        tells=("speaks no VRRP",),
        old="no end",
    ),
    Fault(
        name="router with our id, other address",
        story=foreign_router,
        two=0,
        gains=0,
        nodes=4,
        members=3,
        tells=("choose OPENSHIFT_HA_VRRP_ID_OFFSET=",),
        never=("event=contest.held",),
    ),
    Fault(
        name="proxy ARP",
        story=proxy_arp,
        two=0,
        gains=0,
        nodes=4,
        members=3,
        never=("event=contest.held",),
    ),
    Fault(
        name="second interface of the holder",
        story=second_interface,
        two=0,
        gains=0,
        never=("event=contest.held",),
    ),
    Fault(name="echoed adverts", story=echo, two=0, gains=0, never=("event=contest.held",)),
    Fault(
        name="all peers powered off",
        story=last_peer_off,
        two=0,
        gains=0,
        never=("event=contest.held", "event=keepalived.hangs"),
    ),
    Fault(
        name="output drops VRRP, no rival",
        story=output_without_rival,
        two=0,
        gains=0,
        nodes=2,
        members=1,
        tells=("event=adverts.not_leaving",),
        never=("event=contest.held", "event=keepalived.hangs"),
    ),
    Fault(name="starved of CPU", story=starved, none=0.6, never=("event=keepalived.hangs",)),
    Fault(name="output never read, SIGKILL", story=output_unread, none=SUDDEN, gains=1),
    Fault(
        name="run directory full, inputs, SIGKILL",
        story=disk_full,
        none=SUDDEN_HELD,
        never=("event=keepalived.hangs",),
    ),
    Fault(
        name="clock stepped",
        story=clock_stepped,
        two=0,
        gains=0,
        never=("event=contest.held", "event=keepalived.hangs", "event=lease.late"),
    ),
)
