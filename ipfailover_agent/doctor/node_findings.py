"""Judges a node: facts in, a finding a line out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.config import reach, unicast
from ipfailover_agent.doctor.findings import failed, passed, skipped, warned
from ipfailover_agent.model import Family, MissingScript, ScriptState, family_of
from ipfailover_agent.text import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ipfailover_agent.doctor.findings import Finding
    from ipfailover_agent.model import HostFacts, IPAddress, KeepalivedConfig, Settings

_VERSION: Final = re.compile(r"^Keepalived v(\d+)\.(\d+)\.(\d+)", re.MULTILINE)
_BUILD: Final = re.compile(r"^Config options[^:\n]*:(.*)", re.MULTILINE)
_TESTED: Final = (2, 2)  # the oldest version that the tests run with is 2.2.7
_SERVICE_INTERFACES: Final = ("kube-ipvs0", "nodelocaldns")  # hold addresses, answer no ARP
_STRICT: Final = 1
_OPTIONS: Final = ("VRRP", "VRRP_AUTH", "JSON")
_PASSWORD_BYTES: Final = 8  # RFC 2338, section 5.3.6
_SHOWN_PROBLEMS: Final = 3
_LOOPBACK: Final = "lo"
_TAKE_OUT: Final = "take it out of OPENSHIFT_HA_VIRTUAL_IPS, on every node"
_PRESSURE_LIMIT: Final = 20.0  # per cent of ten seconds in which something waited for the CPU
_LATE_LIMIT: Final = 0.1  # seconds
_SHIFT_LIMIT: Final = 0.1  # seconds; adjusting a clock in small steps shifts it by less
_POOR_CLOCKS: Final = ("jiffies", "acpi_pm", "refined-jiffies")  # left when TSC is unstable


# --- the program and its rights -----------------------------------------------------------------


def judge_capabilities(missing: Sequence[str]) -> Finding:
    """Judge what the process may do."""
    if not missing:
        return passed("capabilities", "NET_ADMIN and NET_RAW are there")
    advice = f"run it as root with --cap-add {' '.join(missing)}"
    return failed("capabilities", f"{' and '.join(missing)} missing", advice)


def judge_keepalived(printed: str | None) -> Iterator[Finding]:
    """Judge what ``keepalived --version`` prints; None where it cannot be run."""
    if printed is None or (found := _VERSION.search(printed)) is None:
        text = "there is none on PATH" if printed is None else "it does not report its version"
        yield failed("keepalived", text, "install keepalived 2.2")
        yield skipped("build", "no keepalived")
        return
    version = tuple(map(int, found.groups()))
    text = "version " + ".".join(map(str, version))
    if version[:2] < _TESTED:
        yield warned("keepalived", f"{text} is older than any tested one", "use 2.2.7 or newer")
    else:
        yield passed("keepalived", text)
    options = " ".join(_BUILD.findall(printed)).split()
    lacking = [each for each in _OPTIONS if each not in options]
    if not lacking:
        yield passed("build", f"has {' '.join(_OPTIONS)}")
    if "VRRP" in lacking:
        yield failed("build", "without VRRP", "install another build")
    if "VRRP_AUTH" in lacking:
        advice = "install a build with it, or set OPENSHIFT_HA_VRRP_VERSION=3 on all nodes"
        yield warned("build", "without VRRP_AUTH: it knows no password", advice)
    if "JSON" in lacking:
        advice = "a keepalived that hangs is not noticed; install a build with --enable-json"
        yield warned("build", "without JSON dumps: it cannot be asked for its state", advice)


def judge_config(problems: Sequence[str]) -> Finding:
    """Judge what ``keepalived --config-test`` complains of, line by line."""
    if not problems:
        return passed("config", "keepalived accepts it")
    return failed("config", "; ".join(problems[:_SHOWN_PROBLEMS]), "see `ipfailover-agent check`")


def judge_password(settings: Settings, config: KeepalivedConfig) -> Finding:
    """Say what guards the adverts: version 2 carries eight bytes, in clear, version 3 nothing."""
    with_password = [each for each in config.instances if each.password is not None]
    if not with_password:
        return passed("password", "none: VRRP version 3 has no passwords")
    text = "OPENSHIFT_HA_CONFIG_NAME"
    if len(settings.config_name.encode()) > _PASSWORD_BYTES:
        text = f"the first {_PASSWORD_BYTES} bytes of {text}"
    if len(with_password) < len(config.instances):
        text += "; instances of version 3 (IPv6) have none"
    return passed("password", text)


# --- the interface and the addresses ------------------------------------------------------------


def judge_link(name: str, state: str | None, *, is_up: bool) -> Finding:
    """Judge the interface; ``state``: the kernel's operstate, None where it is unknown."""
    if not is_up:
        return failed("interface", f"{name} is down", f"ip link set {name} up")
    if state in {"up", "unknown", None}:
        return passed("interface", f"{name} is up")
    text = f"{name} has no carrier (state {state})"
    return failed("interface", text, "look at the cable or the switch")


def judge_reach(config: KeepalivedConfig, facts: HostFacts, arp_ignore: int) -> Iterator[Finding]:
    """Judge whether the node answers hosts that ask for its addresses; nothing where it does.

    ``arp_ignore``: net.ipv4.conf.*.arp_ignore, the larger of all and the interface.
    """
    for each in reach.unanswered(config, facts, arp_ignore):
        yield failed("interface", each.text, each.advice)


def judge_subnets(settings: Settings, config: KeepalivedConfig, facts: HostFacts) -> Finding:
    """Judge whether the addresses are those of hosts in networks of the interface."""
    unreached = unicast.unreached(settings, facts, config.interface)
    if unreached:
        return failed("subnet", "; ".join(unreached), _TAKE_OUT)
    outside = reach.outside(config, facts)
    if outside is None:
        return passed("subnet", f"every address lies in a network of {config.interface}")
    return warned("subnet", outside.text, outside.advice)


def judge_routers(
    settings: Settings, facts: HostFacts, known: Collection[tuple[IPAddress, str]]
) -> Finding:
    """Judge whether an address is that of a router; ``known``: the next hops of all routes."""
    found = (*reach.gateways(settings, facts), *reach.next_hops(settings, facts, known))
    if not found:
        return passed("router", "no address is that of a router which this node uses")
    where = "where these nodes are the routers of their network, --tolerate router"
    return failed("router", "; ".join(found), f"{_TAKE_OUT}; or, {where}")


def judge_other_holders(config: KeepalivedConfig, facts: HostFacts) -> Iterator[Finding]:
    """Judge whether this node has an address on another interface as well."""
    virtual = frozenset(config.addresses)
    is_elsewhere = False
    for interface in facts.interfaces:
        name = interface.name
        found = [each.address for each in interface.addresses if each.address in virtual]
        if not found or name == config.interface:
            continue
        is_elsewhere = True
        text = f"{listed(found)} also on {name}"
        if name in _SERVICE_INTERFACES:
            advice = (
                "kube-proxy put it there; set strictARP in its configuration, or this node "
                "answers for the address while another one holds it"
            )
            yield warned("elsewhere", text, advice)
        else:
            advice = f"this node answers for it at all times: ip address del it from {name}"
            yield failed("elsewhere", text, advice)
    if not is_elsewhere:
        yield passed("elsewhere", "no address on another interface of this node")


def judge_reverse_path(config: KeepalivedConfig, facts: HostFacts, value: int | None) -> Finding:
    """Judge net.ipv4.conf.*.rp_filter, the larger of all and the interface; None: unknown.

    Strict (1) does no harm where all that comes in here is also answered through here.
    """
    name = config.interface
    if not any(family_of(each) is Family.IPV4 for each in config.addresses):
        return passed("rp_filter", "no IPv4 address is served, and IPv6 has no such filter")
    if value is None:
        return skipped("rp_filter", "/proc/sys/net does not show it")
    if value != _STRICT:
        return passed("rp_filter", f"{'loose' if value else 'off'} on {name}")
    others = _other_ways(config, facts)
    if not others:
        return passed("rp_filter", f"strict on {name}, which all answers leave by")
    text = f"strict on {name}, and answers may leave by {listed(others)}"
    advice = (
        "adverts and clients that come in by another interface than the route back are dropped; "
        # with slashes, since the name of a VLAN has a dot
        f"sysctl -w net/ipv4/conf/{name}/rp_filter=2"
    )
    return warned("rp_filter", text, advice)


def _other_ways(config: KeepalivedConfig, facts: HostFacts) -> list[str]:
    """Return the other interfaces with a default route, or with a network of the interface."""
    own = reach.networks(config, facts.interface(config.interface))
    ours = [each for each in own if family_of(each.network_address) is Family.IPV4]
    ways = {each.interface for each in facts.default_routes if each.family is Family.IPV4}
    for each in facts.interfaces:
        theirs = reach.networks(config, each)
        if any(network.overlaps(mine) for network in theirs for mine in ours):
            ways.add(each.name)
    apart = {config.interface, _LOOPBACK}
    return [each.name for each in facts.interfaces if each.name in ways - apart]


# --- other programs that manage the interface ---------------------------------------------------
#
# systemd-networkd 252 to 262 and ifupdown2 3.0 remove what they did not set whenever they set an
# interface up anew, NetworkManager 1.42 to 1.58 too. networkd's KeepConfiguration decides which
# foreign addresses it keeps: by whether they have a lifetime, as the agent's have with a lease.

NETWORKD: Final = "networkd"
NETWORK_MANAGER: Final = "NetworkManager"
IFUPDOWN2: Final = "ifupdown2"

_TRUE: Final = frozenset({"1", "yes", "y", "true", "t", "on"})  # systemd's parse_boolean()
_FALSE: Final = frozenset({"0", "no", "n", "false", "f", "off"})
_WITH_LIFETIME: Final = frozenset({"dhcp", "dynamic"})  # the second since 258
_WORDS: Final = _WITH_LIFETIME | {"static", "dhcp-on-stop", "dynamic-on-stop"}
_KEYWORDS: Final = re.compile(r"(iface|auto|mapping|source|source-directory|allow-\S+)\b")
_MEANWHILE: Final = (
    "they move to another node, or are back, within the master-down time; `ipfailover-agent "
    "drain` before makes that a planned handover"
)


class Managers(Struct, frozen=True, kw_only=True):
    """The programs that claim to manage an interface.

    Attributes:
        names: NETWORKD, NETWORK_MANAGER, IFUPDOWN2.
        keep: networkd's KeepConfiguration for it, as networkd reads it.
        unread: a file that networkd reads for it and the agent cannot, or nothing.
        is_visible: their files would be seen here, if there were any.
    """

    names: frozenset[str] = frozenset()
    keep: str = "no"
    unread: str = ""
    is_visible: bool = True


def keep_configuration(texts: Sequence[str]) -> str:
    """Return KeepConfiguration as networkd reads it: no, yes, static, dhcp, dynamic, ...

    The last assignment that it understands wins, over all files; without any, that of
    CriticalConnection, which netplan writes for ``critical: true``.

    Args:
        texts: the .network file and its drop-ins, in networkd's order.
    """
    found: dict[str, str] = {}
    for text in texts:
        section = ""
        for raw in text.replace("\\\n", " ").splitlines():
            line = raw.strip()
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1]
            key, equals, value = (each.strip() for each in line.partition("="))
            word = _keep(value)
            if not equals or word is None:
                continue
            if (section, key) == ("Network", "KeepConfiguration"):
                found["keep"] = word
            elif key == "CriticalConnection" and section in {"DHCP", "DHCPv4"}:
                found["critical"] = word
    return found.get("keep") or found.get("critical") or "no"


def _keep(value: str) -> str | None:
    if value.lower() in _TRUE:
        return "yes"
    if value.lower() in _FALSE:
        return "no"
    return value if value in _WORDS else None


def purges(texts: Sequence[str], interface: str) -> bool:
    """Return whether ifupdown2 removes what its files do not name from an interface.

    It does where they have one stanza for it, without ``address-purge no``.
    """
    stanzas: list[list[str]] = []
    is_inside = False
    for text in texts:
        for line in text.splitlines():
            words = line.split()
            if _KEYWORDS.match(line.strip()):
                is_inside = words[:2] == ["iface", interface]
                if is_inside:
                    stanzas.append([])
            elif is_inside and words:
                stanzas[-1].append(" ".join(words))
        is_inside = False
    return len(stanzas) == 1 and "address-purge no" not in stanzas[0]


def judge_managers(name: str, managers: Managers, lease: int) -> Iterator[Finding]:
    """Judge which programs manage the interface of that name; ``lease``: in seconds."""
    if not managers.is_visible:
        reason = "neither /run/systemd nor /run/NetworkManager is seen here"
        yield skipped("manager", reason, "mount them from the node to have them looked at")
    elif not managers.names:
        yield passed("manager", f"no network manager that is seen here manages {name}")
    if NETWORKD in managers.names:
        yield _judge_networkd(name, managers, lease)
    if NETWORK_MANAGER in managers.names:
        advice = (
            f"nmcli connection up, device reapply or a new profile for {name} removes addresses "
            f"that it did not set: {_MEANWHILE}"
        )
        yield warned("manager", f"NetworkManager manages {name}", advice)
    if IFUPDOWN2 in managers.names:
        advice = (
            "ifreload and ifup remove IPv6 addresses that its files do not name, and IPv4 ones "
            f"without a label: write address-purge no into the stanza of {name}"
        )
        yield warned("manager", f"ifupdown2 manages {name}", advice)


def _judge_networkd(name: str, managers: Managers, lease: int) -> Finding:
    if managers.unread:
        reason = f"{managers.unread}, which systemd-networkd reads for {name}, cannot be read here"
        advice = "look yourself whether it has KeepConfiguration=yes under [Network]"
        return skipped("manager", reason, advice)
    text, setting = f"systemd-networkd manages {name}", f"KeepConfiguration={managers.keep}"
    if managers.keep in {"yes", *(_WITH_LIFETIME if lease else {"static"})}:
        return passed("manager", f"{text} and keeps virtual addresses: {setting}")
    if managers.keep in {*_WITH_LIFETIME, "static"}:
        kind = "have a lifetime" if lease else "have none"
        text += f", and {setting} does not keep virtual addresses, which {kind}"
    advice = (
        "networkctl reload, reconfigure or a restart of it removes addresses that it did not set: "
        f"{_MEANWHILE}; KeepConfiguration=yes under [Network] keeps them"
    )
    return warned("manager", text, advice)


# --- the service and the machine ----------------------------------------------------------------


def judge_port(
    address: IPAddress,
    port: int,
    error: str,
    listeners: Collection[IPAddress],
    virtual: Collection[IPAddress],
) -> Finding:
    """Judge the monitored port; ``error``: why it did not answer at the address, or nothing.

    ``listeners`` are the addresses that programs of this node listen at with that port,
    ``virtual`` the virtual ones.
    """
    where = f"{address} port {port}"
    if error:
        advice = (
            "the node is in FAULT until it answers; OPENSHIFT_HA_MONITOR_PORT=0 checks nothing"
        )
        return warned("port", f"{where}: {error}", advice)
    unbound = [each for each in virtual if each not in listeners]
    is_at_all = any(each.is_unspecified for each in listeners)
    if address not in listeners or is_at_all or not unbound:
        return passed("port", f"{where} answers")
    text = f"{where} answers, and nothing listens there at {listed(unbound)}"
    mended = "have the service listen at all addresses"
    return warned("port", text, f"clients that connect to that address are refused: {mended}")


def judge_listeners(refusal: str) -> Iterator[Finding]:
    """Warn that the kernel does not show listeners; nothing where it does."""
    if refusal:
        advice = (
            "an application that dies is found by the periodic check alone: allow the agent to "
            "ask (SELinux, seccomp, module tcp_diag), or set OPENSHIFT_HA_CHECK_WATCH=0"
        )
        yield warned("port", refusal, advice)


def judge_ports(settings: Settings) -> Finding:
    """Say why no port is connected to."""
    if settings.check_script is not None:
        return skipped("port", "OPENSHIFT_HA_CHECK_SCRIPT decides instead")
    if settings.check_url is not None:
        return skipped("port", "only OPENSHIFT_HA_CHECK_URL is asked, by the agent")
    return skipped("port", "none is monitored: OPENSHIFT_HA_MONITOR_PORT=0")


def judge_script(
    variable: str, path: str, state: ScriptState, obstacle: str, missing: MissingScript
) -> Finding:
    """Judge a script; ``obstacle``: what is wrong with where it lies, or nothing.

    Without it the node stays in FAULT, or does without, as ``missing`` says.
    """
    what = f"{variable}: {path}"
    if state is not ScriptState.USABLE:
        advice = "mount it there, or correct the path"
        if state is ScriptState.NOT_EXECUTABLE:
            advice = f"chmod +x {path}, on a file system without noexec"
        if missing is MissingScript.FAULT:
            text = f"{what} is {state.value}: this node would stay in FAULT"
            return failed("script", text, advice)
        return warned("script", f"{what} is {state.value}: it is left out", advice)
    if obstacle:
        return warned("script", f"{what} lies {obstacle}", "move it elsewhere")
    return passed("script", f"{what} can be run")


def judge_clock(source: str | None, shift: float) -> Finding:
    """Judge the node's clock by the kernel's clocksource, None where it is unknown.

    ``shift``: by how many seconds the wall clock was set during the look, if there was one.
    """
    if source in _POOR_CLOCKS:
        advice = "it has given up a better clock: look at dmesg, and at the hypervisor"
        return warned("clock", f"the kernel counts time with {source}", advice)
    if abs(shift) > _SHIFT_LIMIT:
        advice = "logs of the nodes cannot be compared: let one service set it, chronyd or ntpd"
        return warned("clock", f"the wall clock was set by {shift:+.2f} s meanwhile", advice)
    counted = source or "a clock that the kernel does not name"
    return passed("clock", f"steady, counted with {counted}")


def judge_starvation(pressure: float | None, throttled: int | None, late: float | None) -> Finding:
    """Judge whether the agent would run on time; None: unknown.

    Args:
        pressure: per cent of the last ten seconds in which something waited.
        throttled: how often the container's CPU limit has stopped it.
        late: by how many seconds doctor woke too late at worst, if it looked at the network.
    """
    if throttled:
        text = f"the container's CPU limit has stopped it {throttled} times"
        return warned("cpu", text, "raise or remove the limit: leases are renewed late")
    if late is not None and late > _LATE_LIMIT:
        advice = "give the container CPU requests; leases need it"
        return warned("cpu", f"woke up {late:.2f} s late", advice)
    if pressure is not None and pressure > _PRESSURE_LIMIT:
        text = f"in {pressure:.0f} % of the last ten seconds something waited for a CPU"
        return warned("cpu", text, "give the container CPU requests, and no fast settings")
    if late is None:
        return passed("cpu", "nothing speaks of starvation; not measured")
    return passed("cpu", f"woke up at most {late * 1000:.0f} ms late")
