"""The stories: what is done to a scene. Each serves, says when the fault begins, and watches."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.lab.kit.chaos.scene import Scene
    from tests.lab.kit.node import Node

QUICK = 8.0  # seconds in which everything has happened, as a rule
LONG = 12.0  # and a trial too


@contextlib.contextmanager
def faulty(scene: Scene, *, then: float = QUICK) -> Iterator[None]:
    """Let all members serve, run the body as the fault, and watch so many seconds."""
    scene.serve()
    scene.begins()
    yield
    scene.watch(then)


# --- ends ----------------------------------------------------------------------------------------


def planned_stop(scene: Scene) -> None:
    with faulty(scene, then=4):
        scene.holder.terminate()


def application_dies(scene: Scene) -> None:
    with faulty(scene, then=5):
        scene.holder.application.stop()


def container_killed(scene: Scene) -> None:
    with faulty(scene):
        scene.holder.kill()


def container_killed_short_lease(scene: Scene) -> None:
    scene.serve(ADDRESS_LEASE="2")
    scene.begins()
    scene.holder.kill()
    scene.watch(QUICK)


def keepalived_killed(scene: Scene) -> None:
    with faulty(scene):
        for pid in scene.holder.pids("keepalived"):
            _send(pid, signal.SIGKILL)


def vrrp_process_killed(scene: Scene) -> None:
    """Each one that there is for 5 s, as MASTER or just born."""
    with faulty(scene):
        killed: set[int] = set()
        while time.monotonic() < scene.began + 5:
            for pid in scene.holder.pids("keepalived")[1:2]:  # its parent was born before it
                if pid not in killed:
                    killed.add(pid)
                    _send(pid, signal.SIGKILL)
            time.sleep(0.02)


def agent_killed(scene: Scene) -> None:
    scene.serve(as_pid_1=False)
    scene.begins()
    scene.holder.signal(signal.SIGKILL)
    scene.watch(QUICK)


# --- freezes -------------------------------------------------------------------------------------


def container_frozen(scene: Scene) -> None:
    _frozen(scene, 8)


def container_frozen_long(scene: Scene) -> None:
    _frozen(scene, 30)


def _frozen(scene: Scene, seconds: float) -> None:
    with faulty(scene):
        scene.holder.freeze()
        scene.watch(seconds)
        scene.holder.thaw()


def holder_stunned_2(scene: Scene) -> None:
    _stunned(scene, 0, 2)


def holder_stunned_5(scene: Scene) -> None:
    _stunned(scene, 0, 5)


def backup_stunned_5(scene: Scene) -> None:
    _stunned(scene, 1, 5)


def lone_node_stunned_5(scene: Scene) -> None:
    _stunned(scene, 0, 5, forgive=True)


def _stunned(scene: Scene, place: int, seconds: float, *, forgive: bool = False) -> None:
    """Stop everything on a node, and its network; only its kernel's clock goes on.

    A hypervisor stops the kernel's clock as well: with ``forgive`` what lapses meanwhile is the
    lab's, and the node has to serve again once it runs.
    """
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


def keepalived_frozen(scene: Scene) -> None:
    with faulty(scene, then=LONG):
        for pid in scene.holder.pids("keepalived"):
            scene.holder.freeze(pid)


def agent_frozen(scene: Scene) -> None:
    with faulty(scene, then=6):
        scene.holder.freeze(scene.holder.container.agent_pid)
        scene.watch(QUICK)
        scene.holder.thaw(scene.holder.container.agent_pid)


# --- the network ---------------------------------------------------------------------------------


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


def link_down(scene: Scene) -> None:
    with faulty(scene, then=6):
        scene.holder.link_down()
        scene.watch(QUICK)
        scene.holder.link_up()


def holder_mute(scene: Scene) -> None:
    with faulty(scene):
        scene.holder.cut("out")
        scene.watch(LONG)
        scene.holder.join("out")


def holder_deaf(scene: Scene) -> None:
    with faulty(scene, then=6):
        scene.holder.cut("in")
        scene.watch(QUICK)
        scene.holder.join("in")


def backup_deaf(scene: Scene) -> None:
    with faulty(scene):
        scene.successor.cut("in")
        scene.watch(LONG)
        scene.successor.join("in")


def firewall_everywhere(scene: Scene) -> None:
    with faulty(scene):
        for node in scene.members:
            node.firewall()
        scene.watch(LONG)
        for node in scene.members:
            node.firewall_off()


def firewall_everywhere_at_start(scene: Scene) -> None:
    for node in scene.members:
        node.firewall()
    scene.listen()
    scene.begins()
    for node in scene.members:
        node.start(scene.variables(node))
    scene.watch(20)


def holder_input(scene: Scene) -> None:
    with faulty(scene, then=LONG):
        scene.holder.firewall("in")


def backup_input(scene: Scene) -> None:
    with faulty(scene):
        scene.successor.firewall("in")
        scene.watch(LONG)
        scene.successor.firewall_off()


def all_inputs(scene: Scene) -> None:
    with faulty(scene, then=LONG):
        for node in scene.members:
            node.firewall("in")


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
    with faulty(scene):
        scene.holder.firewall("out")
        scene.watch(LONG)
        scene.holder.firewall_off()


def switch_blocks_vrrp(scene: Scene) -> None:
    with faulty(scene):
        scene.lab.switch.drop_vrrp()
        scene.watch(LONG)
        scene.lab.switch.pass_vrrp()


def set_by_hand(scene: Scene) -> None:
    with faulty(scene, then=LONG):
        node = scene.successor
        for family in scene.families:
            address, length = scene.addresses[family], 32 if family == "IPv4" else 128
            node.run(["ip", "address", "add", f"{address}/{length}", "dev", node.interface])


# --- nodes that differ ---------------------------------------------------------------------------


def other_password(scene: Scene) -> None:
    _roll(scene, reversed(range(3)), CONFIG_NAME="another")


def other_mode(scene: Scene) -> None:
    _roll(scene, reversed(range(3)), UNICAST_PEERS="" if scene.mode == "unicast" else scene.peers)


def other_version(scene: Scene) -> None:
    _roll(scene, reversed(range(3)), VRRP_VERSION="3")


def _roll(scene: Scene, order: Iterable[int], **more: str) -> None:
    with faulty(scene):
        for place in order:
            scene.restart(scene.members[place], **more)
            scene.watch(5)


def other_list(scene: Scene) -> None:
    _roll_list(scene, reversed(range(3)))


def other_list_holder_first(scene: Scene) -> None:
    _roll_list(scene, range(3))


def _roll_list(scene: Scene, order: Iterable[int]) -> None:
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
    os.kill(pid, number)
