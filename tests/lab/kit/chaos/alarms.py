"""More stories: strangers and false alarms, nodes that are short of something, quiet."""

from __future__ import annotations

import time
from typing import Any

from tests.lab.kit import speakers
from tests.lab.kit.chaos import stories, wire
from tests.lab.kit.chaos.faults import (
    HANGS,
    HELD,
    NO_END,
    STILL,
    STRANGE,
    SUDDEN,
    SUDDEN_HELD,
    TWO,
    Rows,
)
from tests.lab.kit.chaos.scene import Scene
from tests.lab.kit.chaos.stories import BACKUP, EVERY, LONG, faulty, firewalled

ROWS = Rows()
#: Fast timing, as far as stories that kill what serves are concerned.
FAST: dict[str, Any] = {"ADVERT_INTERVAL": "0.1", "CHECK_INTERVAL": "1", "ADDRESS_LEASE": "1"}
_STRANGER = {"nodes": 4, "members": 3}
_GIVES_WAY = {**_STRANGER, "runs": 1, "two": 0, "none": 20, "gives_way": True, "old": NO_END}

# --- strangers, and false alarms -----------------------------------------------------------------

_ANOTHER_MAC = "02:00:00:00:00:77"
_NO_LONGER_NEW = 4.0  # seconds as MASTER: more than a master-down time
_ANNOUNCED = {**_GIVES_WAY, "beside": STRANGE, "logged": ("speaks no VRRP",)}


@ROWS.row("stranger announces, lower MAC", "02:00:00:00:00:01", **_ANNOUNCED)
@ROWS.row("stranger announces, higher MAC", "52:54:00:00:00:01", short="multicast", **_ANNOUNCED)
def stranger_announces(scene: Scene, mac: str) -> None:
    """A host takes the addresses of a holder that is no longer new, and announces them.

    The higher MAC yields, and a stranger never does.
    """
    scene.serve()
    time.sleep(_NO_LONGER_NEW)
    [stranger] = scene.strangers
    addresses = list(scene.addresses.values())
    scene.begins()
    scene.hears(stranger, wire.announcements(stranger, addresses, mac))
    scene.watch(20)


@ROWS.row("plain keepalived behind a firewall", gains=4, beside=TWO, logged=HELD, **_GIVES_WAY)
def plain_keepalived(scene: Scene) -> None:
    """A keepalived without an agent serves the same, and its firewall drops VRRP."""
    scene.serve()
    [other] = scene.strangers
    other.firewall("in")
    scene.begins()
    other.start_keepalived(scene.plain_config(other))
    scene.watch(20)


@ROWS.row(
    "router with the same id, other address",
    short="multicast",
    logged=("choose OPENSHIFT_HA_VRRP_ID_OFFSET=",),
    never=HELD,
    **_STRANGER,
    **STILL,
)
def foreign_router(scene: Scene) -> None:
    with faulty(scene, then=LONG):
        adverts = [
            speakers.router(11, 4, priority=255, password=b"ipfailov"),
            speakers.router(12, 6, priority=255),
        ]
        scene.hears(scene.strangers[0], adverts)


@ROWS.row("proxy ARP", never=HELD, **_STRANGER, **STILL)
def proxy_arp(scene: Scene) -> None:
    """A router answers for the virtual addresses, since it knows a way to them elsewhere."""
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


@ROWS.row("second interface of the holder", never=HELD, **STILL)
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


@ROWS.row("holder has another MAC", client=1.0, never=HELD, old="0, client 4.0 s", **STILL)
def holder_has_another_mac(scene: Scene) -> None:
    """As when a bond fails over; what the holder sends comes back to it."""
    scene.serve()
    holder = scene.holder
    scene.lab.switch.network.ip([f"link set {holder.name} type bridge_slave hairpin on"])
    scene.begins()
    holder.network.ip([f"link set eth0 address {_ANOTHER_MAC}"])
    scene.watch(LONG)


@ROWS.row("a backup has another MAC", client=0.5, never=HELD, old="0.09 s", **STILL)
def backup_has_another_mac(scene: Scene) -> None:
    """With unicast the holder goes on sending to the old one."""
    with faulty(scene, then=LONG):
        scene.successor.network.ip([f"link set eth0 address {_ANOTHER_MAC}"])


@ROWS.row(
    "echoed adverts",
    short="multicast",
    logged=("event=wire.own_echo",),
    never=HELD,
    modes=("multicast",),
    **STILL,
)
def echo(scene: Scene) -> None:
    """What the holder sends comes back to it."""
    with faulty(scene, then=LONG):
        scene.lab.switch.network.ip([f"link set {scene.holder.name} type bridge_slave hairpin on"])


@ROWS.row("all peers powered off", short="unicast", never=HELD + HANGS, **STILL)
def last_peer_off(scene: Scene) -> None:
    """All others are powered off; their addresses can no longer be resolved."""
    with faulty(scene, then=20):
        for node in scene.lab.others(scene.holder):
            node.kill()
            node.cut()
            node.link_down()
        scene.holder.network.ip([f"neighbour flush dev eth0 to {each}" for each in _own(scene)])


def _own(scene: Scene) -> list[str]:
    return [each for node in scene.lab.others(scene.holder) for each in (node.ip, node.ipv6)]


@ROWS.row(
    "output drops VRRP, no rival",
    nodes=2,
    members=1,
    logged=("event=adverts.not_leaving",),
    never=HELD + HANGS,
    **STILL,
)
def output_without_rival(scene: Scene) -> None:
    with faulty(scene, then=20):
        scene.holder.firewall("out")


# --- a node that is short of something -----------------------------------------------------------


@ROWS.row("starved of CPU", runs=1, none=0.6, never=HANGS)
def starved(scene: Scene) -> None:
    """The holder's container runs for 40 ms in every 1.2 s."""
    with faulty(scene, then=5):
        for _ in range(12):
            scene.holder.freeze()
            time.sleep(1.16)
            scene.holder.thaw()
            time.sleep(0.04)


@ROWS.row("output never read, SIGKILL", runs=1, none=SUDDEN, gains=1)
def output_unread(scene: Scene) -> None:
    """No program reads the output of the holder and its successor, and the pipe is full."""
    full = (
        "mkfifo /run/full; sleep 600 </run/full & exec >/run/full 2>&1;"
        " head -c 65536 /dev/zero >/run/full"
    )
    nodes = (scene.holder, scene.successor)
    with faulty(scene, prepare=dict.fromkeys([each.name for each in nodes], full)):
        scene.watch(5)
        scene.holder.kill()


@ROWS.row("run directory full, inputs, SIGKILL", runs=1, none=SUDDEN_HELD, gains=4, never=HANGS)
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


@ROWS.row(
    "clock stepped",
    short="unicast",
    needs_compiler=True,
    never=(*HELD, *HANGS, "event=lease.late"),
    **STILL,
)
def clock_stepped(scene: Scene) -> None:
    """The clock of the wall jumps, forth and back, on every node."""
    directory = scene.lab.directory
    text = wire.movable_clock(scene.holder, directory)
    scene.serve(prepare={each.name: text for each in scene.members})
    scene.begins()
    for offset in (3600, -86400, 5, 0):
        (directory / "offset").write_text(str(offset))
        scene.watch(3)


# --- fast timing, and quiet ----------------------------------------------------------------------


_SOON = {"two": 1.8, "none": 0.6}


ROWS.row("container SIGKILLed, fast", FAST, short="unicast", gains=2, old=NO_END, **_SOON)(
    stories.container_killed
)
ROWS.row("container frozen, fast", 5, FAST, gains=6, old="until thawed", **_SOON)(
    stories.container_frozen
)
ROWS.row("keepalived frozen, fast", FAST, logged=HANGS, old=NO_END, **_SOON)(
    stories.keepalived_frozen
)
ROWS.row(
    "VRRP dropped by all firewalls, fast", EVERY, "both", FAST, logged=HELD, old=NO_END, **_SOON
)(firewalled)
ROWS.row(
    "VRRP dropped by a backup's input, fast", BACKUP, "in", FAST, logged=HELD, old=NO_END, **_SOON
)(firewalled)


@ROWS.row("application dies, fast", two=0, none=0.5, client=0.5, gains=1)
def application_dies_fast(scene: Scene) -> None:
    scene.serve(**{**FAST, "CHECK_INTERVAL": "0.25"})
    scene.connect()
    scene.begins()
    scene.holder.application.stop()
    scene.watch(4)


@ROWS.row("ten quiet minutes", 600, **STILL)
@ROWS.row("twenty quiet seconds", 20, short="unicast", **STILL)
def quiet(scene: Scene, seconds: float) -> None:
    """Nothing happens, and no agent logs anything."""
    scene.serve()
    scene.watch(5)
    scene.begins()
    before = [each.output() for each in scene.members]
    scene.watch(seconds)
    said = [
        f"{node.name}: {line}"
        for node, known in zip(scene.members, before, strict=True)
        for line in node.output()[len(known) :].splitlines()
    ]
    assert said == []
