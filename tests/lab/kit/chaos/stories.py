"""The stories: what is done to a scene. Each serves, says when the fault begins, and watches."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.lab.kit.chaos.faults import (
    BLOCKED,
    HANGS,
    HELD,
    NO_END,
    PLANNED,
    SUDDEN,
    SUDDEN_HELD,
    Rows,
)
from tests.lab.kit.chaos.scene import Scene
from tests.lab.kit.node import Node
from tests.lab.kit.switch import Direction

QUICK = 8.0  # seconds in which everything has happened, as a rule
LONG = 12.0  # and a trial too
NORMAL: Final[Mapping[str, Any]] = {}  # nothing is set that is not by default
LEASE = {"ADDRESS_LEASE": "2"}
EVERY, HOLDER, BACKUP = slice(None), slice(1), slice(1, 2)  # of a scene's members
ROWS = Rows()


@contextlib.contextmanager
def faulty(
    scene: Scene,
    *,
    then: float = QUICK,
    **serving: Any,  # noqa: ANN401 - they are Scene.serve's
) -> Iterator[None]:
    """Let all members serve, run the body as the fault, and watch so many seconds."""
    scene.serve(**serving)
    scene.begins()
    yield
    scene.watch(then)


# --- ends ----------------------------------------------------------------------------------------


@ROWS.row("planned stop", short="unicast", two=0, none=PLANNED, gains=1)
def planned_stop(scene: Scene) -> None:
    with faulty(scene, then=4):
        scene.holder.terminate()


@ROWS.row("application dies", short="multicast", two=0, none=PLANNED, gains=1)
def application_dies(scene: Scene) -> None:
    with faulty(scene, then=5):
        scene.holder.application.stop()


@ROWS.row("container SIGKILLed, lease 2", LEASE, two=1.0, none=SUDDEN, gains=1, old=NO_END)
@ROWS.row("container SIGKILLed", short="multicast", none=SUDDEN, gains=1, old=NO_END)
def container_killed(scene: Scene, timing: Mapping[str, Any] = NORMAL) -> None:
    with faulty(scene, **timing):
        scene.holder.kill()


@ROWS.row("keepalived killed", none=SUDDEN, gains=1)
def keepalived_killed(scene: Scene) -> None:
    with faulty(scene):
        for pid in scene.holder.pids("keepalived"):
            os.kill(pid, signal.SIGKILL)


@ROWS.row(
    "VRRP process killed again and again",
    two=0,
    none=SUDDEN,
    gains=1,
    logged=("its VRRP process died",),
)
def vrrp_process_killed(scene: Scene) -> None:
    """Each one that there is for 5 s, as MASTER or just born."""
    with faulty(scene):
        killed: set[int] = set()
        while time.monotonic() < scene.began + 5:
            for pid in scene.holder.pids("keepalived")[1:2]:  # its parent was born before it
                if pid not in killed:
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


@ROWS.row("agent killed", runs=1, none=SUDDEN, gains=1)
def agent_killed(scene: Scene) -> None:
    with faulty(scene, as_pid_1=False):
        scene.holder.signal(signal.SIGKILL)


# --- freezes -------------------------------------------------------------------------------------


@ROWS.row("container frozen 30 s", 30, runs=1, none=SUDDEN, old="26.8 s")
@ROWS.row("container frozen 8 s", 8, short="unicast", none=SUDDEN, old="4.8 s")
def container_frozen(scene: Scene, seconds: float, timing: Mapping[str, Any] = NORMAL) -> None:
    with faulty(scene, **timing):
        scene.holder.freeze()
        scene.watch(seconds)
        scene.holder.thaw()


@ROWS.row("lone node frozen 5 s", 0, 5, runs=1, nodes=2, members=1, none=1.0)
@ROWS.row("backup's node frozen 5 s", 1, 5)
@ROWS.row("holder's node frozen 5 s", 0, 5, none=SUDDEN, old="2.8 s")
@ROWS.row("holder's node frozen 2 s", 0, 2, none=0.1)
def node_stunned(scene: Scene, place: int, seconds: float) -> None:
    """Stop everything on a node, and its network; only its kernel's clock goes on.

    A hypervisor stops the kernel's clock as well: what lapses on a lone node meanwhile is the
    lab's, and the node has to serve again once it runs.
    """
    forgive = len(scene.members) == 1
    scene.serve()
    node = scene.members[place]
    scene.begins()
    node.cut()
    node.freeze()
    node.application.freeze()
    scene.watch(seconds, notes=not forgive)
    node.application.thaw()
    node.thaw()
    node.join()
    if forgive:
        scene.forgive_none()
    scene.watch(QUICK)


@ROWS.row("keepalived frozen", short="multicast", none=SUDDEN, logged=HANGS, old=NO_END)
def keepalived_frozen(scene: Scene, timing: Mapping[str, Any] = NORMAL) -> None:
    with faulty(scene, then=LONG, **timing):
        for pid in scene.holder.pids("keepalived"):
            scene.holder.freeze(pid)


@ROWS.row("agent frozen", runs=1, none=1.0)
def agent_frozen(scene: Scene) -> None:
    with faulty(scene, then=6):
        scene.holder.freeze(scene.holder.container.agent_pid)
        scene.watch(QUICK)
        scene.holder.thaw(scene.holder.container.agent_pid)


# --- the network ---------------------------------------------------------------------------------


@ROWS.row("interface made anew, all in turn", none=SUDDEN, gains=6, old=NO_END)
def interface_made_anew(scene: Scene) -> None:
    """Put a bridge under the interface's name on every member in turn, the holder first."""
    scene.serve()
    scene.begins()
    for node in scene.members:
        _put_bridge(node)
        scene.watch(LONG)


def _put_bridge(node: Node) -> None:
    name, quick = node.interface, "stp_state 0 forward_delay 0 mcast_snooping 0"
    routes = [
        f"{family} route replace {line}"
        for family in ("-4", "-6")
        for line in node.run(["ip", family, "route", "show", "default"]).stdout.splitlines()
    ]
    node.network.ip(
        [
            f"link set {name} down",
            f"link set {name} name phys0",
            "address flush dev phys0",
            "link set phys0 up",
            f"link add {name} address {node.own.mac} type bridge {quick}",
            f"link set phys0 master {name}",
            f"link set {name} up",
            f"address add {node.own.ipv4} dev {name}",
            f"address add {node.own.ipv6} dev {name} nodad",
        ]
    )
    for each in routes:
        node.run(["ip", *each.split()], check=False)


@ROWS.row("link down", runs=1, none=SUDDEN)
def link_down(scene: Scene) -> None:
    with faulty(scene, then=6):
        scene.holder.link_down()
        scene.watch(QUICK)
        scene.holder.link_up()


@ROWS.row("a backup cannot receive", 1, "in", logged=HELD, old=NO_END)
@ROWS.row("holder cannot receive", 0, "in", runs=1, two=0)
@ROWS.row("holder cannot send", 0, "out", logged=HELD, old=NO_END)
def cut_off(scene: Scene, place: int, direction: Direction) -> None:
    node = scene.members[place]
    with faulty(scene):
        node.cut(direction)
        scene.watch(LONG)
        node.join(direction)


def firewalled(
    scene: Scene, who: slice, direction: Direction, timing: Mapping[str, Any] = NORMAL
) -> None:
    """Let some members' firewalls drop VRRP until the end."""
    with faulty(scene, then=LONG, **timing):
        for node in scene.members[who]:
            node.firewall(direction)


def firewalled_for_a_while(scene: Scene, who: slice, direction: Direction) -> None:
    with faulty(scene):
        for node in scene.members[who]:
            node.firewall(direction)
        scene.watch(LONG)
        for node in scene.members[who]:
            node.firewall_off()


ROWS.row(
    "VRRP dropped by all firewalls", EVERY, "both", short="multicast", logged=HELD, old=NO_END
)(firewalled_for_a_while)


@ROWS.row("VRRP dropped by all from the start", none=8.0, gains=9, logged=HELD, old=NO_END)
def firewall_everywhere_at_start(scene: Scene) -> None:
    for node in scene.members:
        node.firewall()
    scene.listen()
    scene.begins()
    for node in scene.members:
        node.start(scene.variables(node))
    scene.watch(20)


ROWS.row("VRRP dropped by the holder's input", HOLDER, "in", runs=1, two=0)(firewalled)
ROWS.row("VRRP dropped by a backup's input", BACKUP, "in", logged=BLOCKED, old=NO_END)(
    firewalled_for_a_while
)
ROWS.row("VRRP dropped by all inputs", EVERY, "in", logged=BLOCKED, old=NO_END)(firewalled)


@ROWS.row("the same, then SIGKILL", none=SUDDEN_HELD, logged=BLOCKED, old=NO_END)
def held_successor(scene: Scene) -> None:
    """All inputs are blocked, and then the holder vanishes."""
    scene.serve()
    for node in scene.members:
        node.firewall("in")
    scene.watch(8)
    scene.begins()
    scene.holder.kill()
    scene.watch(LONG)


ROWS.row(
    "VRRP dropped by the holder's output", HOLDER, "out", short="unicast", logged=HELD, old=NO_END
)(firewalled_for_a_while)


@ROWS.row("VRRP dropped by the switch", logged=HELD, old=NO_END)
def switch_blocks_vrrp(scene: Scene) -> None:
    with faulty(scene):
        scene.lab.switch.drop_vrrp()
        scene.watch(LONG)
        scene.lab.switch.pass_vrrp()


@ROWS.row(
    "address set by hand on a backup",
    two=2.3,
    gains=1,
    logged=("and not by this node",),
    old=NO_END,
)
def set_by_hand(scene: Scene) -> None:
    with faulty(scene, then=LONG):
        scene.successor.add(*scene.addresses.values())


# --- nodes that differ ---------------------------------------------------------------------------


_DIFFERS = {"runs": 1, "none": SUDDEN_HELD, "old": "until done"}
_OTHER_LIST = {**_DIFFERS, "logged": ("address list differs",)}


@ROWS.row("other password, rolling", families=("IPv4",), logged=("other password",), **_DIFFERS)
def other_password(scene: Scene) -> None:
    _roll(scene, CONFIG_NAME="another")


@ROWS.row("multicast against unicast, rolling", **_DIFFERS)
def other_mode(scene: Scene) -> None:
    _roll(scene, UNICAST_PEERS="" if scene.mode == "unicast" else scene.peers)


@ROWS.row("version 2 against 3, rolling", families=("IPv4",), logged=("VRRP version",), **_DIFFERS)
def other_version(scene: Scene) -> None:
    _roll(scene, VRRP_VERSION="3")


def _roll(scene: Scene, **more: str) -> None:
    with faulty(scene):
        for node in reversed(scene.members):
            scene.restart(node, **more)
            scene.watch(5)


@ROWS.row("other list, holder first", 1, **_OTHER_LIST)
@ROWS.row("other list, rolling", -1, short="multicast", **_OTHER_LIST)
def other_list(scene: Scene, step: int) -> None:
    lab = scene.lab
    before, after = ([*lab.numbered(count), *lab.numbered6(count)] for count in (2, 3))
    with faulty(scene, VIRTUAL_IPS=",".join(before), VIP_GROUPS="2"):
        for node in scene.members[::step]:
            scene.restart(node, VIRTUAL_IPS=",".join(after), VIP_GROUPS="2")
            scene.watch(5)
