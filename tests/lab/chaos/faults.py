"""The faults: what is done to a scene, and how long two nodes or none may hold an address."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        tells: every one of these texts has to be in what the agents say.
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


def _send(pid: int, number: signal.Signals) -> None:
    import os

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
    Fault(name="lone node frozen 5 s", story=lone_node_stunned_5, nodes=1, none=1.0),
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
)
