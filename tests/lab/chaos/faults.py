"""The faults: what is done to a scene, and how long two nodes or none may hold an address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.lab.chaos import alarms, shaking, stories
from tests.lab.chaos.scene import FAMILIES, MODES, Family, Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.chaos.scene import Scene

SUDDEN = 4.2  # no holder, when a holder vanishes without a goodbye
SUDDEN_HELD = 7.2  # likewise, when its successor was held
#: A member beside a stranger who announces every second: two of these after the first one.
STRANGE = 2.2
TWO = 2.0  # two holders, at the default lease of 3 s
#: No holder after a planned stop: with known peers, and without.
PLANNED = {"unicast": 0.05, "multicast": 0.55}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the matrix.

    Attributes:
        name: as the table shows it.
        story: serves, calls ``scene.begins()``, breaks something, watches.
        two: the longest that two nodes may hold an address, in seconds.
        none: likewise that no node may; by mode where that matters.
        client: likewise that a client may be without an answer, None for any time.
        gains: how often a node may take the address, at most.
        logged: every one of these texts has to be in what the agents log, ``never`` none.
        old: for how long plain keepalived leaves two holders, as in the shell image
            (``python -m tests.lab.chaos --plain``).
        nodes, members: of the lab, and how many of them serve.
        short: the mode in which it is part of the tests, None for neither.
        runs: at most so many, None for any number.
        beside: the longest that members may hold it beside a stranger, None for any time.
        gives_way: in the end no member holds the address, but a stranger.
        limits: why the aims cannot be kept in a mode: a miss there is shown, and no failure.
        needs_compiler: it cannot be produced without one.
    """

    name: str
    story: Callable[[Scene], None]
    two: float = TWO
    none: float | dict[str, float] = 0.0
    client: float | None = None
    gains: int = 3
    beside: float | None = None
    logged: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    old: str = ""
    nodes: int = 3
    members: int | None = None
    modes: tuple[Mode, ...] = MODES
    families: tuple[Family, ...] = FAMILIES
    short: Mode | None = None
    runs: int | None = None
    needs_compiler: bool = False
    gives_way: bool = False
    limits: dict[Mode, str] = field(default_factory=dict)

    def none_in(self, mode: Mode) -> float:
        """Return how long no node may hold an address in a mode."""
        return self.none[mode] if isinstance(self.none, dict) else self.none


def _shaking(
    name: str,
    story: Callable[[Scene], None],
    logged: str = "choose OPENSHIFT_HA_VRRP_ID_OFFSET=",
    *,
    old: str = "",
    strangers: int = 1,
) -> Fault:
    """Return a row of ten minutes in which another speaker of the ids moves nothing."""
    return Fault(
        name=name,
        runs=1,
        story=story,
        two=0,
        gains=0,
        nodes=3 + strangers,
        members=3,
        logged=(logged,),
        never=("event=contest.held",),
        old=old,
    )


_EVERY: Final = "each 3.6 s"

_SHAKING: Final = (
    _shaking("router with the same id, 1 s", shaking.router_1s, old=_EVERY),
    _shaking("router with the same id, 0.5 s, version 3", shaking.router_half_second, old=_EVERY),
    _shaking("router with the same id, priority 255", shaking.router_255, old=_EVERY),
    _shaking("ucarp with the same id", shaking.carp_device, old=_EVERY),
    _shaking("router with the same id, by unicast", shaking.router_by_unicast, old=_EVERY),
    _shaking(
        "same id from behind a router",
        shaking.from_behind_a_router,
        "do not come from this segment",
        old=_EVERY,
    ),
    _shaking("a second cluster, one offset", shaking.second_cluster, old=_EVERY, strangers=2),
    _shaking("a second deployment on the nodes", shaking.second_deployment, strangers=0),
    _shaking("the nodes' own keepalived, same ids", shaking.own_keepalived, strangers=0),
)

MATRIX: tuple[Fault, ...] = (
    Fault(
        name="VRRP dropped by all from the start",
        story=stories.firewall_everywhere_at_start,
        none=8.0,
        gains=9,
        logged=("event=contest.held",),
        old="no end",
    ),
    Fault(
        name="planned stop",
        short="unicast",
        story=stories.planned_stop,
        two=0,
        none=PLANNED,
        gains=1,
    ),
    Fault(
        name="application dies",
        short="multicast",
        story=stories.application_dies,
        two=0,
        none=PLANNED,
        gains=1,
    ),
    Fault(
        name="container SIGKILLed",
        short="multicast",
        story=stories.container_killed,
        none=SUDDEN,
        gains=1,
        old="no end",
    ),
    Fault(
        name="container SIGKILLed, lease 2",
        story=stories.container_killed_short_lease,
        two=1.0,
        none=SUDDEN,
        gains=1,
        old="no end",
    ),
    Fault(name="keepalived killed", story=stories.keepalived_killed, none=SUDDEN, gains=1),
    Fault(
        name="VRRP process killed again and again",
        story=stories.vrrp_process_killed,
        two=0,
        none=SUDDEN,
        gains=1,
        logged=("its VRRP process died",),
    ),
    Fault(name="agent killed", runs=1, story=stories.agent_killed, none=SUDDEN, gains=1),
    Fault(
        name="container frozen 8 s",
        short="unicast",
        story=stories.container_frozen,
        none=SUDDEN,
        old="4.8 s",
    ),
    Fault(
        name="container frozen 30 s",
        runs=1,
        story=stories.container_frozen_long,
        none=SUDDEN,
        old="26.8 s",
    ),
    Fault(name="holder's node frozen 2 s", story=stories.holder_stunned_2, none=0.1),
    Fault(
        name="holder's node frozen 5 s",
        story=stories.holder_stunned_5,
        none=SUDDEN,
        old="2.8 s",
    ),
    Fault(name="backup's node frozen 5 s", story=stories.backup_stunned_5),
    Fault(
        name="lone node frozen 5 s",
        runs=1,
        story=stories.lone_node_stunned_5,
        nodes=2,
        members=1,
        none=1.0,
    ),
    Fault(
        name="keepalived frozen",
        short="multicast",
        story=stories.keepalived_frozen,
        none=SUDDEN,
        logged=("event=keepalived.hangs",),
        old="no end",
    ),
    Fault(name="agent frozen", runs=1, story=stories.agent_frozen, none=1.0),
    Fault(name="link down", runs=1, story=stories.link_down, none=SUDDEN),
    Fault(
        name="interface made anew, all in turn",
        story=stories.interface_made_anew,
        none=SUDDEN,
        gains=6,
        old="no end",
    ),
    Fault(
        name="holder cannot send",
        story=stories.holder_mute,
        logged=("event=contest.held",),
        old="no end",
    ),
    Fault(name="holder cannot receive", runs=1, story=stories.holder_deaf, two=0),
    Fault(
        name="a backup cannot receive",
        story=stories.backup_deaf,
        logged=("event=contest.held",),
        old="no end",
    ),
    Fault(
        name="VRRP dropped by all firewalls",
        short="multicast",
        story=stories.firewall_everywhere,
        logged=("event=contest.held",),
        old="no end",
    ),
    Fault(name="VRRP dropped by the holder's input", runs=1, story=stories.holder_input, two=0),
    Fault(
        name="VRRP dropped by a backup's input",
        story=stories.backup_input,
        logged=("a firewall drops protocol 112",),
        old="no end",
    ),
    Fault(
        name="VRRP dropped by all inputs",
        story=stories.all_inputs,
        logged=("a firewall drops protocol 112",),
        old="no end",
    ),
    Fault(
        name="the same, then SIGKILL",
        story=stories.held_successor,
        none=SUDDEN_HELD,
        logged=("a firewall drops protocol 112",),
        old="no end",
    ),
    Fault(
        name="VRRP dropped by the holder's output",
        short="unicast",
        story=stories.holder_output,
        logged=("event=contest.held",),
        old="no end",
    ),
    Fault(
        name="VRRP dropped by the switch",
        story=stories.switch_blocks_vrrp,
        logged=("event=contest.held",),
        old="no end",
    ),
    Fault(
        name="address set by hand on a backup",
        story=stories.set_by_hand,
        two=2.3,
        gains=1,
        logged=("and not by this node",),
        old="no end",
    ),
    Fault(
        name="other password, rolling",
        runs=1,
        story=stories.other_password,
        none=SUDDEN_HELD,
        families=("IPv4",),
        logged=("other password",),
        old="until done",
    ),
    Fault(
        name="other list, rolling",
        runs=1,
        short="multicast",
        story=stories.other_list,
        none=SUDDEN_HELD,
        logged=("address list differs",),
        old="until done",
    ),
    Fault(
        name="other list, holder first",
        runs=1,
        story=stories.other_list_holder_first,
        none=SUDDEN_HELD,
        logged=("address list differs",),
        old="until done",
    ),
    Fault(
        name="multicast against unicast, rolling",
        runs=1,
        story=stories.other_mode,
        none=SUDDEN_HELD,
        old="until done",
    ),
    Fault(
        name="version 2 against 3, rolling",
        runs=1,
        story=stories.other_version,
        none=SUDDEN_HELD,
        families=("IPv4",),
        logged=("VRRP version",),
        old="until done",
    ),
    Fault(
        name="stranger announces, higher MAC",
        runs=1,
        short="multicast",
        two=0,
        none=20,
        gains=3,
        beside=STRANGE,
        gives_way=True,
        story=alarms.stranger_of_higher_mac,
        nodes=4,
        members=3,
        logged=("speaks no VRRP",),
        old="no end",
    ),
    Fault(
        name="stranger announces, lower MAC",
        runs=1,
        two=0,
        none=20,
        gains=3,
        beside=STRANGE,
        gives_way=True,
        story=alarms.stranger_of_lower_mac,
        nodes=4,
        members=3,
        logged=("speaks no VRRP",),
        old="no end",
    ),
    Fault(
        name="plain keepalived behind a firewall",
        runs=1,
        two=0,
        none=20,
        gains=4,
        beside=TWO,
        gives_way=True,
        story=alarms.plain_keepalived,
        nodes=4,
        members=3,
        logged=("event=contest.held",),
        old="no end",
    ),
    Fault(
        name="router with the same id, other address",
        runs=1,
        short="multicast",
        story=alarms.foreign_router,
        two=0,
        gains=0,
        nodes=4,
        members=3,
        logged=("choose OPENSHIFT_HA_VRRP_ID_OFFSET=",),
        never=("event=contest.held",),
    ),
    *_SHAKING,
    Fault(
        name="proxy ARP",
        runs=1,
        story=alarms.proxy_arp,
        two=0,
        gains=0,
        nodes=4,
        members=3,
        never=("event=contest.held",),
    ),
    Fault(
        name="second interface of the holder",
        runs=1,
        story=alarms.second_interface,
        two=0,
        gains=0,
        never=("event=contest.held",),
    ),
    Fault(
        name="holder has another MAC",
        runs=1,
        story=alarms.holder_has_another_mac,
        two=0,
        gains=0,
        client=1.0,
        never=("event=contest.held",),
        old="0, client 4.0 s",
    ),
    Fault(
        name="a backup has another MAC",
        runs=1,
        story=alarms.backup_has_another_mac,
        two=0,
        gains=0,
        client=0.5,
        never=("event=contest.held",),
        old="0.09 s",
    ),
    Fault(
        name="echoed adverts",
        runs=1,
        short="multicast",
        story=alarms.echo,
        two=0,
        gains=0,
        logged=("event=wire.own_echo",),
        never=("event=contest.held",),
        modes=("multicast",),
    ),
    Fault(
        name="all peers powered off",
        runs=1,
        short="unicast",
        story=alarms.last_peer_off,
        two=0,
        gains=0,
        never=("event=contest.held", "event=keepalived.hangs"),
    ),
    Fault(
        name="output drops VRRP, no rival",
        runs=1,
        story=alarms.output_without_rival,
        two=0,
        gains=0,
        nodes=2,
        members=1,
        logged=("event=adverts.not_leaving",),
        never=("event=contest.held", "event=keepalived.hangs"),
    ),
    Fault(
        name="starved of CPU",
        runs=1,
        story=alarms.starved,
        none=0.6,
        never=("event=keepalived.hangs",),
    ),
    Fault(
        name="output never read, SIGKILL", runs=1, story=alarms.output_unread, none=SUDDEN, gains=1
    ),
    Fault(
        name="run directory full, inputs, SIGKILL",
        runs=1,
        story=alarms.disk_full,
        none=SUDDEN_HELD,
        gains=4,
        never=("event=keepalived.hangs",),
    ),
    Fault(
        name="clock stepped",
        runs=1,
        short="unicast",
        story=alarms.clock_stepped,
        needs_compiler=True,
        two=0,
        gains=0,
        never=("event=contest.held", "event=keepalived.hangs", "event=lease.late"),
    ),
    Fault(
        name="container SIGKILLed, fast",
        short="unicast",
        story=alarms.container_killed_fast,
        two=1.8,
        none=0.6,
        gains=2,
        old="no end",
    ),
    Fault(
        name="container frozen, fast",
        story=alarms.container_frozen_fast,
        two=1.8,
        none=0.6,
        gains=6,
        old="until thawed",
    ),
    Fault(
        name="keepalived frozen, fast",
        story=alarms.keepalived_frozen_fast,
        two=1.8,
        none=0.6,
        logged=("event=keepalived.hangs",),
        old="no end",
    ),
    Fault(
        name="VRRP dropped by all firewalls, fast",
        story=alarms.firewall_everywhere_fast,
        two=1.8,
        none=0.6,
        logged=("event=contest.held",),
        old="no end",
    ),
    Fault(
        name="VRRP dropped by a backup's input, fast",
        story=alarms.backup_input_fast,
        two=1.8,
        none=0.6,
        logged=("event=contest.held",),
        old="no end",
    ),
    Fault(
        name="application dies, fast",
        story=alarms.application_dies_fast,
        two=0,
        none=0.5,
        client=0.5,
        gains=1,
    ),
    Fault(
        name="twenty quiet seconds",
        short="unicast",
        story=alarms.quiet_for_a_moment,
        two=0,
        gains=0,
        runs=1,
    ),
    Fault(name="ten quiet minutes", story=alarms.quiet, two=0, gains=0, runs=1),
)
