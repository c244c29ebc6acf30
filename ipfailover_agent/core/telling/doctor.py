"""What is to be said of a node: facts in, a finding a line out.

``pass``: as it should be. ``warn``: it works, and there is something to know. ``fail``: addresses
would not be served, or by two nodes. Every finding that is no pass says what to do.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.model import Family, ScriptState, family_of
from ipfailover_agent.core.words import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ipfailover_agent.core.model import HostFacts, IPAddress, KeepalivedConfig
    from ipfailover_agent.core.network.ruleset import Chain

_VERSION = re.compile(r"^Keepalived v(\d+)\.(\d+)\.(\d+)", re.MULTILINE)
_TESTED: Final = (2, 2)  # the oldest version that the tests run with is 2.2.7
_SERVICE_INTERFACES: Final = ("kube-ipvs0", "nodelocaldns")  # hold addresses, answer no ARP
_STRICT: Final = 1
_PRESSURE_LIMIT: Final = 20.0  # per cent of ten seconds in which something waited for the CPU
_LATE_LIMIT: Final = 0.1  # seconds
_SHIFT_LIMIT: Final = 0.1  # seconds; adjusting a clock in small steps shifts it by less
_POOR_CLOCKS: Final = (
    "jiffies",
    "acpi_pm",
    "refined-jiffies",
)  # what is left when TSC is unstable


class Verdict(enum.Enum):
    """How a check ended; the values are shown to operators."""

    PASS = "pass"  # noqa: S105 - a word, not a secret
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: ``check`` is a short name, ``text`` what was found, ``advice`` what to do."""

    check: str
    verdict: Verdict
    text: str
    advice: str = ""


def passed(check: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check=check, verdict=Verdict.PASS, text=text)


def warned(check: str, text: str, advice: str) -> Finding:
    """Return a finding to know of."""
    return Finding(check=check, verdict=Verdict.WARN, text=text, advice=advice)


def failed(check: str, text: str, advice: str) -> Finding:
    """Return a finding to mend."""
    return Finding(check=check, verdict=Verdict.FAIL, text=text, advice=advice)


# --- the program and its rights -----------------------------------------------------------------


def of_capabilities(missing: Sequence[str]) -> Finding:
    """Judge what the process may do."""
    if not missing:
        return passed("capabilities", "NET_ADMIN and NET_RAW are there")
    names = " and ".join(missing)
    return failed(
        "capabilities", f"{names} missing", f"run it as root with --cap-add {' '.join(missing)}"
    )


def of_keepalived(printed: str) -> Iterator[Finding]:
    """Judge what ``keepalived --version`` prints; empty where there is none."""
    found = _VERSION.search(printed)
    if found is None:
        yield failed(
            "keepalived", "no keepalived on PATH that tells its version", "install keepalived 2.2"
        )
        return
    version = tuple(map(int, found.groups()))
    text = "version " + ".".join(map(str, version))
    if version[:2] < _TESTED:
        yield warned("keepalived", f"{text} is older than any tested one", "use 2.2.7 or newer")
    else:
        yield passed("keepalived", text)
    options = " ".join(
        line.partition(":")[2]
        for line in printed.splitlines()
        if line.startswith("Config options")
    ).split()
    if "VRRP" not in options:
        yield failed("keepalived", "built without VRRP", "install another build")
    if "JSON" not in options:
        yield warned(
            "keepalived",
            "built without JSON dumps: it cannot be asked for its state",
            "a keepalived that hangs is not noticed; install a build with --enable-json",
        )


# --- the interface and the addresses ------------------------------------------------------------


def of_link(name: str, state: str | None, *, is_up: bool) -> Finding:
    """Judge the interface; ``state``: the kernel's operstate, None where it is not told."""
    if not is_up:
        return failed("interface", f"{name} is down", f"ip link set {name} up")
    if state in {"up", "unknown", None}:
        return passed("interface", f"{name} is up")
    return failed(
        "interface", f"{name} has no carrier (state {state})", "look at the cable or the switch"
    )


def of_subnets(config: KeepalivedConfig, facts: HostFacts) -> Finding:
    """Judge whether the addresses lie in networks of the interface."""
    interface = facts.interface(config.interface)
    held = () if interface is None else interface.addresses
    virtual = frozenset(config.addresses)
    networks = [
        ip_network(f"{each.address}/{each.prefix_length}", strict=False)
        for each in held
        if each.address not in virtual
    ]
    outside = [
        each for each in config.addresses if not any(each in network for network in networks)
    ]
    if not outside:
        return passed("subnet", f"every address lies in a network of {config.interface}")
    return warned(
        "subnet",
        f"{listed(outside)} in no network of {config.interface}",
        "neighbours will not ask for them by ARP: route them to these nodes, or correct "
        "OPENSHIFT_HA_VIRTUAL_IPS or OPENSHIFT_HA_NETWORK_INTERFACE",
    )


def of_other_holders(config: KeepalivedConfig, facts: HostFacts) -> Iterator[Finding]:
    """Judge whether this node has an address on another interface as well."""
    virtual = frozenset(config.addresses)
    for interface in facts.interfaces:
        found = [each.address for each in interface.addresses if each.address in virtual]
        if not found or interface.name == config.interface:
            continue
        if interface.name in _SERVICE_INTERFACES:
            yield warned(
                "elsewhere",
                f"{listed(found)} also on {interface.name}",
                "kube-proxy put it there; set strictARP in its configuration, or this node "
                "answers for the address while another one holds it",
            )
        else:
            yield failed(
                "elsewhere",
                f"{listed(found)} also on {interface.name}",
                f"this node answers for it at all times: ip address del it from {interface.name}",
            )


def of_managers(name: str, managers: Collection[str]) -> Iterator[Finding]:
    """Judge who else manages the interface: ``networkd``, ``NetworkManager``."""
    if "networkd" in managers:
        yield warned(
            "manager",
            f"systemd-networkd manages {name}",
            "networkctl reload or a restart of it may remove addresses that it did not set; they "
            "come back within a second",
        )
    if "NetworkManager" in managers:
        yield warned(
            "manager",
            f"NetworkManager manages {name}",
            f"nmcli device reapply or a new profile for {name} may remove addresses that it did "
            "not set; they come back within a second",
        )


def of_reverse_path(config: KeepalivedConfig, value: int | None) -> Iterator[Finding]:
    """Judge net.ipv4.conf.*.rp_filter, the larger of all and the interface; None: not told."""
    name = config.interface
    serves_ipv4 = any(family_of(each) is Family.IPV4 for each in config.addresses)
    if value == _STRICT and serves_ipv4:
        yield warned(
            "rp_filter",
            f"strict on {name}",
            "adverts and clients that come in by another interface than the route back are "
            # with slashes, since the name of a VLAN has a dot
            f"dropped; sysctl -w net/ipv4/conf/{name}/rp_filter=2 where nodes have several",
        )


# --- what may drop VRRP -------------------------------------------------------------------------


def of_firewall(
    chains: Sequence[Chain] | None, *, is_managed: bool, legacy: Sequence[str] = ()
) -> Iterator[Finding]:
    """Judge base chains that may drop VRRP; None: they could not be listed.

    ``is_managed``: the agent inserts rules of its own. ``legacy``: tables of iptables-legacy.
    """
    if chains is None:
        yield warned(
            "firewall", "the rules of nftables cannot be listed", "look yourself: nft list ruleset"
        )
    elif not chains:
        yield passed("firewall", "no input or output chain of nftables drops protocol 112")
    elif is_managed:
        yield passed(
            "firewall", f"{_chains(chains)} may drop protocol 112; the agent lets it in there"
        )
    else:
        yield warned(
            "firewall",
            f"{_chains(chains)} may drop protocol 112",
            "set OPENSHIFT_HA_NFTABLES_RULE=true, or accept protocol 112 there yourself",
        )
    if legacy:
        yield warned(
            "firewall",
            f"iptables-legacy has tables that nft does not show: {' '.join(legacy)}",
            "look yourself: iptables-legacy -S; accept protocol 112 there",
        )


def _chains(chains: Sequence[Chain]) -> str:
    return ", ".join(f"{each.table} {each.name}" for each in chains)


# --- the service and the machine ----------------------------------------------------------------


def of_port(address: IPAddress, port: int, error: str) -> Finding:
    """Judge the monitored port; ``error`` empty: it answered."""
    if not error:
        return passed("port", f"{address} port {port} answers")
    return warned(
        "port",
        f"{address} port {port}: {error}",
        "the node is in FAULT until it answers; OPENSHIFT_HA_MONITOR_PORT=0 checks nothing",
    )


def of_script(variable: str, path: str, state: ScriptState, obstacle: str) -> Finding:
    """Judge a user's script; ``obstacle``: what is wrong with where it lies, or nothing."""
    if state is not ScriptState.USABLE:
        is_there = state is ScriptState.NOT_EXECUTABLE
        advice = f"chmod +x {path}" if is_there else "mount it there, or correct the path"
        return failed("script", f"{variable}: {path} is {state.value}", advice)
    if obstacle:
        return warned("script", f"{variable}: {path} lies {obstacle}", "move it elsewhere")
    return passed("script", f"{variable}: {path} can be run")


def of_clock(source: str | None, shift: float) -> Finding:
    """Judge the node's clock.

    Args:
        source: the kernel's clocksource, None where it is not told.
        shift: by how many seconds the wall clock was set while we listened.
    """
    if source in _POOR_CLOCKS:
        return warned(
            "clock",
            f"the kernel counts time with {source}",
            "it has given up a better clock: look at dmesg, and at the hypervisor",
        )
    if abs(shift) > _SHIFT_LIMIT:
        return warned(
            "clock",
            f"the wall clock was set by {shift:+.2f} s meanwhile",
            "logs of the nodes cannot be compared: let one service set it, chronyd or ntpd",
        )
    return passed("clock", f"steady, counted with {source or 'what the kernel does not tell'}")


def of_starvation(pressure: float | None, throttled: int | None, late: float) -> Finding:
    """Judge whether the agent would run on time.

    Args:
        pressure: per cent of the last ten seconds in which something waited, None: not told.
        throttled: how often the container's CPU limit has stopped it, None: not told.
        late: by how many seconds we woke too late at worst while we listened.
    """
    if throttled:
        return warned(
            "cpu",
            f"the container's CPU limit has stopped it {throttled} times",
            "raise or remove the limit: leases are renewed late",
        )
    if late > _LATE_LIMIT:
        return warned(
            "cpu", f"woke up {late:.2f} s late", "give the container CPU requests; leases need it"
        )
    if pressure is not None and pressure > _PRESSURE_LIMIT:
        return warned(
            "cpu",
            f"in {pressure:.0f} % of the last ten seconds something waited for a CPU",
            "give the container CPU requests, and no fast settings",
        )
    return passed("cpu", f"woke up at most {late * 1000:.0f} ms late")
