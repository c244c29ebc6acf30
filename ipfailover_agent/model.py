"""The domain's types: frozen structs and enums that cross the borders between modules."""

from __future__ import annotations

import abc
import enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import astuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.errors import Problem

    IPAddress = IPv4Address | IPv6Address
else:

    class IPAddress(abc.ABC):  # noqa: B024 - nothing is made of it
        """Either kind; msgspec reads one type of its user's where it could read two."""

    IPAddress.register(IPv4Address)
    IPAddress.register(IPv6Address)

HIGHEST_ID = 255  # of a virtual router: RFC 3768, section 5.3.3
HIGHEST_PORT = 65535


class Family(enum.IntEnum):
    """Address family, valued as ``ipaddress`` numbers versions."""

    IPV4 = 4
    IPV6 = 6

    @property
    def host_prefix_length(self) -> int:
        """Return the prefix length of a single address: 32 or 128."""
        return 32 if self is Family.IPV4 else 128


def family_of(address: IPAddress) -> Family:
    """Return the family of an address."""
    return Family.IPV4 if address.version == 4 else Family.IPV6  # noqa: PLR2004 - the version


def in_order(addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    """Return addresses sorted, IPv4 first."""
    return tuple(sorted(addresses, key=lambda each: (each.version, int(each))))


def first_of(family: Family, addresses: Iterable[IPAddress | None]) -> IPAddress | None:
    """Return the first address of a family, None where there is none."""
    return next((each for each in addresses if each and family_of(each) is family), None)


def address_of(text: str) -> IPAddress | None:
    """Return the address that a text is, None where it is none, such as a host name."""
    try:
        return ip_address(text)
    except ValueError:
        return None


# --- settings -----------------------------------------------------------------------------------


class PreemptionMode(enum.Enum):
    """What a node with a higher priority does when it comes back."""

    PREEMPT = "preempt"
    DELAYED = "preempt_delay"
    NEVER = "nopreempt"


class Preemption(Struct, frozen=True, kw_only=True):
    """Preemption in keepalived's terms; ``delay`` in whole seconds, 0 unless DELAYED."""

    mode: PreemptionMode
    delay: int = 0


class MissingScript(enum.Enum):
    """What a check script that is not there means for the node's eligibility."""

    IGNORE = "ignore"
    FAULT = "fault"


class ConflictMode(enum.Enum):
    """What is done about a rival for a virtual address."""

    RESOLVE = "resolve"
    REPORT = "report"
    OFF = "off"


class OnInvalid(enum.Enum):
    """What invalid input means: nothing is served, or what is valid is served."""

    REFUSE = "refuse"
    SERVE_VALID = "serve-valid"


class Settings(Struct, frozen=True, kw_only=True):
    """Every contract variable, parsed and validated. Times are seconds.

    ``warnings`` are sentences about input that was accepted and deserves one; ``left_out`` are
    the problems that OPENSHIFT_HA_ON_INVALID=serve-valid passed over (empty otherwise).
    """

    virtual_addresses: tuple[IPAddress, ...]
    config_name: str = "OpenShift-IPFailover"
    address_groups: int = 0
    interfaces: tuple[str, ...] = ()
    monitor_ports: tuple[int, ...] = (80,)
    check_script: str | None = None
    check_script_missing: MissingScript = MissingScript.IGNORE
    check_url: str | None = None
    check_url_ca_file: str | None = None
    check_url_insecure: bool = False
    check_interval: float = 2
    check_timeout: float = 2
    check_rise: int = 1
    check_fall: int = 1
    check_watch: float = 0.05
    notify_script: str | None = None
    virtual_router_id_offset: int = 10
    excluded_virtual_router_ids: tuple[int, ...] = ()
    pinned_virtual_router_ids: tuple[tuple[IPAddress, int], ...] = ()
    priority: int | None = None
    preemption: Preemption = Preemption(mode=PreemptionMode.DELAYED, delay=300)
    unicast_peers: tuple[IPAddress, ...] = ()
    unicast_peer_names: tuple[str, ...] = ()
    use_unicast: bool = False
    multicast_source: IPAddress | None = None
    unicast_source: IPAddress | None = None
    manages_firewall: bool = False
    address_lease: int = 3
    conflict: ConflictMode = ConflictMode.RESOLVE
    shield: bool = True
    on_invalid: OnInvalid = OnInvalid.REFUSE
    admin_emails: tuple[str, ...] = ("root@localhost",)
    smtp_server: str = "127.0.0.1"
    advert_interval: float = 1
    vrrp_version: int | None = None
    address_label: str = "vip"
    garp_refresh: int = 10
    keepalived_options: tuple[str, ...] = ()
    keepalived_config: str = "/etc/keepalived/keepalived.conf"
    warnings: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = ()


# --- the host -----------------------------------------------------------------------------------


class EqualButForLast(Struct, frozen=True, kw_only=True):
    """A base of structs whose last field counts in no comparison: it changes by itself."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and astuple(self)[:-1] == astuple(other)[:-1]

    def __hash__(self) -> int:
        return hash(astuple(self)[:-1])


class InterfaceAddress(EqualButForLast, frozen=True, kw_only=True):
    """One address as the kernel shows it (rtnetlink(7), struct ifaddrmsg).

    ``label`` is IFA_LABEL (IPv4 only, else empty); ``is_deprecated`` is IFA_F_DEPRECATED, which
    the kernel sets when the preferred lifetime is 0: keepalived's mark on IPv6 addresses.
    ``is_temporary`` is a privacy address (RFC 8981), IPv6 only. Until duplicate address detection
    (RFC 4862) has passed an address ``is_tentative``, and ``is_duplicate`` is one that another
    host was found to have. ``created`` is in hundredths of a second since the kernel was booted;
    two that differ in it alone are equal.
    """

    address: IPAddress
    prefix_length: int
    label: str = ""
    is_deprecated: bool = False
    is_temporary: bool = False
    is_tentative: bool = False
    is_duplicate: bool = False
    created: int = 0


class Interface(Struct, frozen=True, kw_only=True):
    """A network interface of this node.

    ``mtu`` in bytes limits the addresses of an advert. ``speaks_arp`` is False with IFF_NOARP,
    which ends ARP and neighbour discovery, but on point-to-point links. ``port_of`` names the
    bridge, bond or other device that takes every frame that comes in here, the topmost one; empty
    where there is none.
    """

    name: str
    index: int
    is_up: bool = True
    speaks_arp: bool = True
    port_of: str = ""
    mtu: int = 1500
    addresses: tuple[InterfaceAddress, ...] = ()


class DefaultRoute(Struct, frozen=True, kw_only=True):
    """A default route, or one of its next hops.

    ``source`` is its preferred source address where one is set, ``gateway`` the router, which a
    route through a point-to-point interface does without.
    """

    family: Family
    interface: str
    metric: int = 0
    source: IPAddress | None = None
    gateway: IPAddress | None = None


class Approach(Struct, frozen=True, kw_only=True):
    """How this node reaches an address that it does not have.

    ``interface`` is empty where no route leads there; ``is_on_link`` is False behind a router.
    """

    address: IPAddress
    interface: str = ""
    is_on_link: bool = False


class ScriptState(enum.Enum):
    """Whether a user's script can be run, looked at when the configuration is rendered."""

    USABLE = "usable"
    MISSING = "missing"
    NOT_EXECUTABLE = "not executable"


class HostScope(Struct, frozen=True, kw_only=True):
    """Which addresses of this node a plan depends on.

    Attributes:
        interfaces: names of interfaces, there or not, whose addresses are all wanted; those with a
            default route are wanted always.
        virtual: addresses for which to find out which interface of this node has them.
        nodes: addresses of nodes: for which to find out whether they are this one's, and all
            addresses of the interface that each is reached by.
        passed_by: names of interfaces whose addresses are never read, however many they are.
        is_whole: the addresses of all other interfaces are wanted, too.
    """

    interfaces: tuple[str, ...] = ()
    virtual: tuple[IPAddress, ...] = ()
    nodes: tuple[IPAddress, ...] = ()
    passed_by: frozenset[str] = frozenset()
    is_whole: bool = False


class HostFacts(Struct, frozen=True, kw_only=True):
    """What the plan needs to know of this node, read once per candidate.

    A node may have thousands of foreign addresses: only the interfaces that matter come with
    theirs, and ``local_addresses`` are those of the addresses asked about that this node has on
    any interface; ``approaches`` are to the virtual ones among the rest. ``recorded_addresses``
    are those that this agent served before, by the run directory. ``check_script`` and
    ``notify_script`` are None where none is set. ``resolved_peers`` are the addresses behind
    OPENSHIFT_HA_UNICAST_PEERS_DNS, this node's own among them; None while they are not known, and
    then ``peers_awaited`` has the reason, if something is wrong. ``stored_peers`` is how many of
    them a former run stored, while they wait to be confirmed. ``used_addresses`` are those of the
    node itself that the configuration of a running agent was planned with.
    """

    interfaces: tuple[Interface, ...]
    default_routes: tuple[DefaultRoute, ...] = ()
    local_addresses: frozenset[IPAddress] = frozenset()
    recorded_addresses: tuple[IPAddress, ...] = ()
    check_script: ScriptState | None = None
    notify_script: ScriptState | None = None
    resolved_peers: tuple[IPAddress, ...] | None = None
    peers_awaited: str = ""
    stored_peers: int = 0
    used_addresses: tuple[IPAddress, ...] = ()
    approaches: tuple[Approach, ...] = ()

    def interface(self, name: str) -> Interface | None:
        """Return the interface of that name, or None."""
        return next((each for each in self.interfaces if each.name == name), None)


class ListenAddress(Struct, frozen=True, kw_only=True):
    """An address of this node, empty for all of them, and a TCP port from 1 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# --- the configuration --------------------------------------------------------------------------


class VirtualAddress(Struct, frozen=True, kw_only=True):
    """A virtual address as keepalived sets it: one host prefix, labelled where that fits.

    ``interface`` names another one than the instance's, None as a rule.
    """

    address: IPAddress
    label: str | None = None
    interface: str | None = None

    @property
    def prefix_length(self) -> int:
        """Return 32 or 128."""
        return family_of(self.address).host_prefix_length


class Advertisement(Struct, frozen=True, kw_only=True):
    """How an instance advertises: VRRP version (2: RFC 3768, 3: RFC 5798) and seconds between."""

    version: int
    interval: float


class VrrpInstance(Struct, frozen=True, kw_only=True):
    """One vrrp_instance block.

    ``number`` counts from 1 in configuration order. ``password`` is the at most 8 bytes that a
    VRRPv2 PASS authentication carries, None with version 3. ``excluded_addresses`` are held and
    not advertised (an advert carries at most 255, and no more than fit the interface's MTU).
    """

    number: int
    name: str
    family: Family
    interface: str
    virtual_router_id: int
    priority: int
    preemption: Preemption
    advertisement: Advertisement
    password: str | None
    virtual_addresses: tuple[VirtualAddress, ...]
    excluded_addresses: tuple[VirtualAddress, ...] = ()
    multicast_source: IPAddress | None = None
    unicast_source: IPAddress | None = None
    unicast_peers: tuple[IPAddress, ...] = ()

    @property
    def named_source(self) -> IPAddress | None:
        """Return the address that it is configured to send from, if there is one."""
        return self.unicast_source if self.unicast_peers else self.multicast_source

    @property
    def is_alone(self) -> bool:
        """Return whether the only peer is this node itself, because no other is known yet."""
        return self.unicast_peers == (self.unicast_source,)

    @property
    def identity(self) -> tuple[object, ...]:
        """Return what keepalived 2.2.7 identifies an instance by across a reload; not its name.

        An instance whose identity stays keeps its state, and nothing is written to the FIFO
        (vrrp.c, vrrp_exist).
        """
        source = (self.unicast_source,) if self.unicast_peers else ()
        return (self.virtual_router_id, self.family, self.interface, source)

    @property
    def hold_name(self) -> str:
        """Return what the track file is called: by the id, which a reload keeps, unlike names.

        keepalived watches the file all the time: under a name that passes to another instance,
        a signal for one would hit the other until the configuration is read.
        """
        return f"{self.virtual_router_id}-ipv{self.family:d}"

    @property
    def all_addresses(self) -> tuple[VirtualAddress, ...]:
        """Return advertised and excluded addresses, in order."""
        return self.virtual_addresses + self.excluded_addresses


class PortCheck(Struct, frozen=True, kw_only=True):
    """A TCP connection that must succeed from this node to itself.

    ``interface`` is the one that has the address, by which the connection comes in though ``lo``
    carries it; empty where it is not known, or for an address of ``lo``.
    """

    address: IPAddress
    port: int
    interface: str = ""


class TrackScript(Struct, frozen=True, kw_only=True):
    """The check that keepalived runs: a generated script.

    Exactly one kind of content: ``command`` (the user's words; replaces ports and URL),
    ``always_fails`` (a sentence with the reason; CHECK_SCRIPT_MISSING=fault), or ``ports`` and/or
    ``url``, whose certificate is verified with ``url_ca_file`` or the system's authorities unless
    ``url_insecure``. ``interval`` and ``timeout`` are whole seconds >= 1 (keepalived 2.2.7 takes
    no others).
    """

    name: str
    interval: int
    timeout: int
    rise: int
    fall: int
    command: tuple[str, ...] = ()
    always_fails: str = ""
    ports: tuple[PortCheck, ...] = ()
    url: str | None = None
    url_ca_file: str | None = None
    url_insecure: bool = False


class PortProbes(Struct, frozen=True, kw_only=True):
    """The check that the agent makes itself.

    ``interval`` and ``timeout`` are seconds >= 0.1. ``name`` is keepalived's name for the track
    file by which it gets the verdict.

    Attributes:
        ports: TCP ports of this node, none twice. Empty where keepalived runs the check script,
            and the agent only runs it once more when a listener is gone.
        listeners: those that the kernel is asked for every ``watch`` seconds; none where that is
            0.
    """

    name: str
    interval: float
    timeout: float
    rise: int
    fall: int
    ports: tuple[PortCheck, ...]
    listeners: tuple[PortCheck, ...] = ()
    watch: float = 0


class GarpRefresh(Struct, frozen=True, kw_only=True):
    """Announcements while MASTER: every ``refresh`` seconds, at least ``interval`` apart.

    ``refresh`` 0 switches repetition off. ``interval`` is fractional seconds between frames.
    """

    refresh: int
    interval: float


class KeepalivedConfig(Struct, frozen=True, kw_only=True):
    """The content of the rendered files; depends on nothing but Settings and HostFacts.

    ``track_script`` is what keepalived checks, ``port_probes`` what the agent does instead; both
    are there where the agent runs the script of a URL once more when its listener is gone.
    ``node_addresses`` holds this node's own address per family on the VRRP interface. ``reports``
    are sentences for the operator that the plan found (beside ``Settings.warnings``), ``errors``
    those among them that hurt the service though the node is called ready. ``degraded`` is the
    reason why the node must not be called ready, or is empty. ``named_peers`` are known by name
    only, this node perhaps among them: every node finds them by itself.
    """

    config_name: str
    router_id: str
    interface: str
    node_addresses: tuple[IPAddress, ...]
    instances: tuple[VrrpInstance, ...]
    track_script: TrackScript | None
    notify_command: tuple[str, ...]
    admin_emails: tuple[str, ...]
    smtp_server: str
    garp: GarpRefresh
    keepalived_options: tuple[str, ...] = ()
    port_probes: PortProbes | None = None
    address_lease: int = 3
    conflict: ConflictMode = ConflictMode.RESOLVE
    reports: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    named_peers: tuple[IPAddress, ...] = ()

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Return every virtual address in configuration order."""
        return tuple(held.address for each in self.instances for held in each.all_addresses)

    @property
    def by_address(self) -> dict[IPAddress, VrrpInstance]:
        """Return the instance of each virtual address, in configuration order."""
        return {held.address: each for each in self.instances for held in each.all_addresses}

    @property
    def hold_names(self) -> dict[str, str]:
        """Return the name of each instance's track file."""
        return {each.name: each.hold_name for each in self.instances}


class RenderedFile(Struct, frozen=True, kw_only=True):
    """One generated file."""

    path: str
    text: str
    mode: int = 0o600


class Rendering(Struct, frozen=True, kw_only=True):
    """All generated files of one configuration; ``digest`` is the SHA-256 of them together."""

    config: RenderedFile
    scripts: tuple[RenderedFile, ...] = ()
    digest: str = ""


# --- keepalived's reports -----------------------------------------------------------------------


class VrrpState(enum.Enum):
    """State of a VRRP instance as keepalived names it (FIFO and notify lines)."""

    INIT = "INIT"
    BACKUP = "BACKUP"
    MASTER = "MASTER"
    FAULT = "FAULT"
    STOP = "STOP"
    DELETED = "DELETED"


class VrrpTransition(Struct, frozen=True, kw_only=True):
    """One line of the notify FIFO: ``INSTANCE "name" STATE PRIORITY``."""

    instance: str
    state: VrrpState
    priority: int


class CpuShare(Struct, frozen=True, kw_only=True):
    """What of the CPU this process gets; None where the system does not say.

    ``pressure``: in how many per cent of the last ten seconds something had to wait for a CPU
    (pressure stall information, ``some avg10``). ``limit``: CPUs that its control group may use,
    None without a limit too.
    """

    pressure: float | None = None
    limit: float | None = None
