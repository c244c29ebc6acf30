"""The stories: what is done to a scene. Each serves, says when the fault begins, and watches."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.lab.chaos.scene import Scene
    from tests.lab.node import Node

QUICK = 8.0  # seconds in which everything has happened, as a rule
LONG = 12.0  # and a trial too


# --- ends ----------------------------------------------------------------------------------------


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


def vrrp_process_killed(scene: Scene) -> None:
    """Each one that there is for 5 s, as MASTER or just born."""
    scene.serve()
    scene.begins()
    killed: set[int] = set()
    while time.monotonic() < scene.began + 5:
        for pid in scene.holder.pids("keepalived")[1:2]:  # its parent was born before it
            if pid not in killed:
                killed.add(pid)
                _send(pid, signal.SIGKILL)
        time.sleep(0.02)
    scene.watch(QUICK)


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
    scene.listen()
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


def set_by_hand(scene: Scene) -> None:
    scene.serve()
    scene.begins()
    node = scene.successor
    for family in scene.families:
        address, length = scene.addresses[family], 32 if family == "IPv4" else 128
        node.run(["ip", "address", "add", f"{address}/{length}", "dev", node.interface])
    scene.watch(LONG)


# --- nodes that differ ---------------------------------------------------------------------------


def other_password(scene: Scene) -> None:
    _roll(scene, reversed(range(3)), CONFIG_NAME="another")


def other_password_holder_first(scene: Scene) -> None:
    _roll(scene, range(3), CONFIG_NAME="another")


def other_mode(scene: Scene) -> None:
    _roll(scene, reversed(range(3)), UNICAST_PEERS="" if scene.mode == "unicast" else scene.peers)


def other_version(scene: Scene) -> None:
    _roll(scene, reversed(range(3)), VRRP_VERSION="3")


def _roll(scene: Scene, order: Iterable[int], **more: str) -> None:
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
