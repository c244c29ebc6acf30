"""The faults: what is done to a scene, and how long two nodes or none may hold an address."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Final

from tests.lab.kit.chaos import alarms, shaking, stories
from tests.lab.kit.chaos.scene import FAMILIES, MODES, Family, Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.kit.chaos.scene import Scene

SUDDEN = 4.2  # no holder, when a holder vanishes without a goodbye
SUDDEN_HELD = 7.2  # likewise, when its successor was held
#: A member beside a stranger who announces every second: two of these after the first one.
STRANGE = 2.2
TWO = 2.0  # two holders, at the default lease of 3 s
#: No holder after a planned stop: with known peers, and without.
PLANNED = {"unicast": 0.05, "multicast": 0.55}


@dataclass(frozen=True, slots=True)
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
            (``python -m tests.lab.kit.chaos --plain``).
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
    _: KW_ONLY
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
        name,
        story,
        runs=1,
        two=0,
        gains=0,
        nodes=3 + strangers,
        members=3,
        logged=(logged,),
        never=_HELD,
        old=old,
    )


_EVERY: Final = "each 3.6 s"
_NO_END: Final = "no end"
_HELD: Final = ("event=contest.held",)
_BLOCKED: Final = ("a firewall drops protocol 112",)

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
        "VRRP dropped by all from the start",
        stories.firewall_everywhere_at_start,
        none=8.0,
        gains=9,
        logged=_HELD,
        old=_NO_END,
    ),
    Fault("planned stop", stories.planned_stop, short="unicast", two=0, none=PLANNED, gains=1),
    Fault(
        "application dies",
        stories.application_dies,
        short="multicast",
        two=0,
        none=PLANNED,
        gains=1,
    ),
    Fault(
        "container SIGKILLed",
        stories.container_killed,
        short="multicast",
        none=SUDDEN,
        gains=1,
        old=_NO_END,
    ),
    Fault(
        "container SIGKILLed, lease 2",
        stories.container_killed_short_lease,
        two=1.0,
        none=SUDDEN,
        gains=1,
        old=_NO_END,
    ),
    Fault("keepalived killed", stories.keepalived_killed, none=SUDDEN, gains=1),
    Fault(
        "VRRP process killed again and again",
        stories.vrrp_process_killed,
        two=0,
        none=SUDDEN,
        gains=1,
        logged=("its VRRP process died",),
    ),
    Fault("agent killed", stories.agent_killed, runs=1, none=SUDDEN, gains=1),
    Fault(
        "container frozen 8 s", stories.container_frozen, short="unicast", none=SUDDEN, old="4.8 s"
    ),
    Fault(
        "container frozen 30 s", stories.container_frozen_long, runs=1, none=SUDDEN, old="26.8 s"
    ),
    Fault("holder's node frozen 2 s", stories.holder_stunned_2, none=0.1),
    Fault("holder's node frozen 5 s", stories.holder_stunned_5, none=SUDDEN, old="2.8 s"),
    Fault("backup's node frozen 5 s", stories.backup_stunned_5),
    Fault(
        "lone node frozen 5 s", stories.lone_node_stunned_5, runs=1, nodes=2, members=1, none=1.0
    ),
    Fault(
        "keepalived frozen",
        stories.keepalived_frozen,
        short="multicast",
        none=SUDDEN,
        logged=("event=keepalived.hangs",),
        old=_NO_END,
    ),
    Fault("agent frozen", stories.agent_frozen, runs=1, none=1.0),
    Fault("link down", stories.link_down, runs=1, none=SUDDEN),
    Fault(
        "interface made anew, all in turn",
        stories.interface_made_anew,
        none=SUDDEN,
        gains=6,
        old=_NO_END,
    ),
    Fault("holder cannot send", stories.holder_mute, logged=_HELD, old=_NO_END),
    Fault("holder cannot receive", stories.holder_deaf, runs=1, two=0),
    Fault("a backup cannot receive", stories.backup_deaf, logged=_HELD, old=_NO_END),
    Fault(
        "VRRP dropped by all firewalls",
        stories.firewall_everywhere,
        short="multicast",
        logged=_HELD,
        old=_NO_END,
    ),
    Fault("VRRP dropped by the holder's input", stories.holder_input, runs=1, two=0),
    Fault("VRRP dropped by a backup's input", stories.backup_input, logged=_BLOCKED, old=_NO_END),
    Fault("VRRP dropped by all inputs", stories.all_inputs, logged=_BLOCKED, old=_NO_END),
    Fault(
        "the same, then SIGKILL",
        stories.held_successor,
        none=SUDDEN_HELD,
        logged=_BLOCKED,
        old=_NO_END,
    ),
    Fault(
        "VRRP dropped by the holder's output",
        stories.holder_output,
        short="unicast",
        logged=_HELD,
        old=_NO_END,
    ),
    Fault("VRRP dropped by the switch", stories.switch_blocks_vrrp, logged=_HELD, old=_NO_END),
    Fault(
        "address set by hand on a backup",
        stories.set_by_hand,
        two=2.3,
        gains=1,
        logged=("and not by this node",),
        old=_NO_END,
    ),
    Fault(
        "other password, rolling",
        stories.other_password,
        runs=1,
        none=SUDDEN_HELD,
        families=("IPv4",),
        logged=("other password",),
        old="until done",
    ),
    Fault(
        "other list, rolling",
        stories.other_list,
        runs=1,
        short="multicast",
        none=SUDDEN_HELD,
        logged=("address list differs",),
        old="until done",
    ),
    Fault(
        "other list, holder first",
        stories.other_list_holder_first,
        runs=1,
        none=SUDDEN_HELD,
        logged=("address list differs",),
        old="until done",
    ),
    Fault(
        "multicast against unicast, rolling",
        stories.other_mode,
        runs=1,
        none=SUDDEN_HELD,
        old="until done",
    ),
    Fault(
        "version 2 against 3, rolling",
        stories.other_version,
        runs=1,
        none=SUDDEN_HELD,
        families=("IPv4",),
        logged=("VRRP version",),
        old="until done",
    ),
    Fault(
        "stranger announces, higher MAC",
        alarms.stranger_of_higher_mac,
        runs=1,
        short="multicast",
        two=0,
        none=20,
        gains=3,
        beside=STRANGE,
        gives_way=True,
        nodes=4,
        members=3,
        logged=("speaks no VRRP",),
        old=_NO_END,
    ),
    Fault(
        "stranger announces, lower MAC",
        alarms.stranger_of_lower_mac,
        runs=1,
        two=0,
        none=20,
        gains=3,
        beside=STRANGE,
        gives_way=True,
        nodes=4,
        members=3,
        logged=("speaks no VRRP",),
        old=_NO_END,
    ),
    Fault(
        "plain keepalived behind a firewall",
        alarms.plain_keepalived,
        runs=1,
        two=0,
        none=20,
        gains=4,
        beside=TWO,
        gives_way=True,
        nodes=4,
        members=3,
        logged=_HELD,
        old=_NO_END,
    ),
    Fault(
        "router with the same id, other address",
        alarms.foreign_router,
        runs=1,
        short="multicast",
        two=0,
        gains=0,
        nodes=4,
        members=3,
        logged=("choose OPENSHIFT_HA_VRRP_ID_OFFSET=",),
        never=_HELD,
    ),
    *_SHAKING,
    Fault("proxy ARP", alarms.proxy_arp, runs=1, two=0, gains=0, nodes=4, members=3, never=_HELD),
    Fault(
        "second interface of the holder",
        alarms.second_interface,
        runs=1,
        two=0,
        gains=0,
        never=_HELD,
    ),
    Fault(
        "holder has another MAC",
        alarms.holder_has_another_mac,
        runs=1,
        two=0,
        gains=0,
        client=1.0,
        never=_HELD,
        old="0, client 4.0 s",
    ),
    Fault(
        "a backup has another MAC",
        alarms.backup_has_another_mac,
        runs=1,
        two=0,
        gains=0,
        client=0.5,
        never=_HELD,
        old="0.09 s",
    ),
    Fault(
        "echoed adverts",
        alarms.echo,
        runs=1,
        short="multicast",
        two=0,
        gains=0,
        logged=("event=wire.own_echo",),
        never=_HELD,
        modes=("multicast",),
    ),
    Fault(
        "all peers powered off",
        alarms.last_peer_off,
        runs=1,
        short="unicast",
        two=0,
        gains=0,
        never=("event=contest.held", "event=keepalived.hangs"),
    ),
    Fault(
        "output drops VRRP, no rival",
        alarms.output_without_rival,
        runs=1,
        two=0,
        gains=0,
        nodes=2,
        members=1,
        logged=("event=adverts.not_leaving",),
        never=("event=contest.held", "event=keepalived.hangs"),
    ),
    Fault("starved of CPU", alarms.starved, runs=1, none=0.6, never=("event=keepalived.hangs",)),
    Fault("output never read, SIGKILL", alarms.output_unread, runs=1, none=SUDDEN, gains=1),
    Fault(
        "run directory full, inputs, SIGKILL",
        alarms.disk_full,
        runs=1,
        none=SUDDEN_HELD,
        gains=4,
        never=("event=keepalived.hangs",),
    ),
    Fault(
        "clock stepped",
        alarms.clock_stepped,
        runs=1,
        short="unicast",
        needs_compiler=True,
        two=0,
        gains=0,
        never=("event=contest.held", "event=keepalived.hangs", "event=lease.late"),
    ),
    Fault(
        "container SIGKILLed, fast",
        alarms.container_killed_fast,
        short="unicast",
        two=1.8,
        none=0.6,
        gains=2,
        old=_NO_END,
    ),
    Fault(
        "container frozen, fast",
        alarms.container_frozen_fast,
        two=1.8,
        none=0.6,
        gains=6,
        old="until thawed",
    ),
    Fault(
        "keepalived frozen, fast",
        alarms.keepalived_frozen_fast,
        two=1.8,
        none=0.6,
        logged=("event=keepalived.hangs",),
        old=_NO_END,
    ),
    Fault(
        "VRRP dropped by all firewalls, fast",
        alarms.firewall_everywhere_fast,
        two=1.8,
        none=0.6,
        logged=_HELD,
        old=_NO_END,
    ),
    Fault(
        "VRRP dropped by a backup's input, fast",
        alarms.backup_input_fast,
        two=1.8,
        none=0.6,
        logged=_HELD,
        old=_NO_END,
    ),
    Fault(
        "application dies, fast",
        alarms.application_dies_fast,
        two=0,
        none=0.5,
        client=0.5,
        gains=1,
    ),
    Fault(
        "twenty quiet seconds", alarms.quiet_for_a_moment, short="unicast", two=0, gains=0, runs=1
    ),
    Fault("ten quiet minutes", alarms.quiet, two=0, gains=0, runs=1),
)
