"""How the shell image read its variables: a model of recorded behaviour, not of its text.

It exists for three readers: ``check --compare-old`` shows it beside the agent's, refusals name it,
and OPENSHIFT_HA_ON_INVALID=serve-valid may leave out only what that image left out too. The rules
are those of the image with GNU bc in it (without bc, IPv6 ranges vanish); the recorded vectors
in tests/golden are the proof.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.config import groups
from ipfailover_agent.model import HIGHEST_ID, Family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipfailover_agent.model import HostFacts, IPAddress

MAX_EMITTED = 4096  # addresses per element that the model follows; the image knew no limit
PASSWORD_BYTES = 8  # what VRRPv2 carries of a password (RFC 2338, section 5.3.6)

_LARGEST_OCTET = 255
_SHORTENED_HEXTETS = 7
_DIGITS_THAT_FIT = 9  # beyond, a number is too large whatever it is

_DROPPED = re.compile(r"[^0-9a-fA-F:.,\\\n-]")
_OCTETS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_HEXTETS = re.compile(r"[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*")
_BC_NUMBER = re.compile(r"[0-9A-F]+")
_BC_NAME = re.compile(r"[a-f][0-9a-f]*")
_FALLBACK_INTERFACES = ("enp0s3", "enp0s8", "eth1", "ens3")


class OldInstance(Struct, frozen=True, kw_only=True):
    """One vrrp_instance as the shell image wrote it.

    ``addresses`` are texts, because not all that it wrote were addresses. ``unicast_peers`` is
    None where adverts were multicast.
    """

    name: str
    interface: str
    virtual_router_id: int
    addresses: tuple[str, ...]
    password: str
    unicast_peers: tuple[str, ...] | None

    @property
    def served(self) -> tuple[IPAddress, ...]:
        """Return what keepalived takes of it: valid addresses of the first one's family."""
        valid = parse_emitted(self.addresses)
        return tuple(each for each in valid if each.version == valid[0].version)


class OldReading(Struct, frozen=True, kw_only=True):
    """What the shell image made of an environment on a node.

    ``interface`` and ``node_address`` are empty where it found none. ``outage`` is the reason why
    keepalived served nothing at all of it, or is empty.
    """

    interface: str
    node_address: str
    instances: tuple[OldInstance, ...]
    outage: str = ""


# --- addresses ----------------------------------------------------------------------------------


def emitted(value: str) -> tuple[str, ...] | None:
    """Return the address texts that the shell image took out of OPENSHIFT_HA_VIRTUAL_IPS.

    Every character that no address has was deleted first, blanks and slashes among them; commas
    and newlines separated; what did not look like an address was dropped silently. None where the
    model does not follow (exponents and fractions at the end of a range).
    """
    found: list[str] = []
    for element in re.split(r"[,\n]", _DROPPED.sub("", value)):
        texts = _emitted_by(element)
        if texts is None:
            return None
        found.extend(texts)
    return tuple(found)


def parse_emitted(texts: Sequence[str]) -> tuple[IPAddress, ...]:
    """Return what keepalived takes of emitted texts: it ignores what is no address."""
    found: list[IPAddress] = []
    for text in texts:
        with contextlib.suppress(AddressValueError):
            found.append(IPv6Address(text) if ":" in text else IPv4Address(text))
    return tuple(found)


def _emitted_by(element: str) -> tuple[str, ...] | None:
    start, _, rest = element.partition("-")
    end = rest.partition("-")[0]
    if _looks_like_ipv4(start):
        return _ipv4_range(start, end) if end else (start,)
    if _looks_like_ipv6(start):
        return _ipv6_range(start, end) if end else (start,)
    return ()


def _looks_like_ipv4(text: str) -> bool:
    """Four decimal numbers up to 255; leading zeros passed."""
    return _OCTETS.fullmatch(text) is not None and all(
        int(part) <= _LARGEST_OCTET for part in text.split(".")
    )


def _looks_like_ipv6(text: str) -> bool:
    """Eight hextets, or up to seven with one ``::`` that is not at the end."""
    if "::" not in text:
        return _HEXTETS.fullmatch(text) is not None and text.count(":") == _SHORTENED_HEXTETS
    head, _, tail = text.partition("::")
    if not _HEXTETS.fullmatch(tail) or (head and not _HEXTETS.fullmatch(head)):
        return False
    hextets = tail.count(":") + 1 + (head.count(":") + 1 if head else 0)
    return hextets <= _SHORTENED_HEXTETS


def _ipv4_range(start: str, end: str) -> tuple[str, ...] | None:
    """Count from the start's last octet to the end's last field, in the start's network."""
    base, _, first = start.rpartition(".")
    last = end.rpartition(".")[2]
    if re.fullmatch(r"[0-9]+[eE][0-9]+", last):
        return None  # seq took it for a floating point number
    if last and not (last.isascii() and last.isdigit()):
        return ()
    bounds = (int(first), _bounded(last)) if last else (1, int(first))
    return tuple(f"{base}.{number}" for number in _counted(*bounds))


def _ipv6_range(start: str, end: str) -> tuple[str, ...] | None:
    """Count in upper-case hexadecimal; bc took lower-case words for variables, thus for 0."""
    if "." in end:
        return None  # bc calculated with fractions
    first_text = start.rpartition(":")[2]
    base = start.removesuffix(first_text)
    bounds = [each for each in (_bc(first_text), _bc(end)) if each is not None]
    match bounds:
        case [first, last]:
            counted = _counted(first, last)
        case [last]:
            counted = _counted(1, last)  # seq with one operand counts from 1
        case _:
            return ()
    return tuple(f"{base}{number:X}" for number in counted)


def _bc(text: str) -> int | None:
    if _BC_NUMBER.fullmatch(text):
        return int(text.lstrip("0")[: _DIGITS_THAT_FIT + 1] or "0", 16)
    return 0 if _BC_NAME.fullmatch(text) else None


def _counted(first: int, last: int) -> range:
    return range(first, min(last, first + MAX_EMITTED - 1) + 1)


def _bounded(digits: str) -> int:
    """Return the number, or one that is certainly too large: Python refuses 4300 digits."""
    return int(digits.lstrip("0")[: _DIGITS_THAT_FIT + 1] or "0")


# --- numbers ------------------------------------------------------------------------------------


def shell_number(text: str) -> int | None:
    """Return what shell arithmetic made of a value, or None where it failed.

    A leading zero is octal, ``0x`` hexadecimal, a word the value of an unset variable: 0. Sums
    and other expressions, which it calculated, count as failed here.
    """
    matched = re.fullmatch(r"([+-]?)([0-9A-Za-z_]*)", text.strip(" \t\n"), re.ASCII)
    if matched is None:
        return None
    sign, word = matched.groups()
    magnitude = _shell_word(word)
    if magnitude is None:
        return None
    return -magnitude if sign == "-" else magnitude


def _shell_word(word: str) -> int | None:
    if re.fullmatch(r"|[A-Za-z_][A-Za-z0-9_]*", word):
        return 0
    if re.fullmatch(r"0[xX][0-9A-Fa-f]{1,8}", word):
        return int(word, 16)
    if re.fullmatch(r"0[0-7]{0,10}", word):
        return int(word, 8)
    return _bounded(word) if re.fullmatch(r"[1-9][0-9]*", word) else None


# --- the whole reading --------------------------------------------------------------------------


def read(variables: Mapping[str, str], facts: HostFacts) -> OldReading:
    """Return what the shell image made of these variables on this node."""
    interface = _interface(variables, facts)
    instances = _instances(variables, interface)
    return OldReading(
        interface=interface,
        node_address=_node_address(interface, facts),
        instances=instances,
        outage=_outage(variables, interface, instances, facts),
    )


def _instances(variables: Mapping[str, str], interface: str) -> tuple[OldInstance, ...]:
    name = variables.get("OPENSHIFT_HA_CONFIG_NAME") or "OpenShift-IPFailover"
    base = re.sub(r"[^0-9A-Za-z_-]", "", name).replace("-", "_")
    password = name.strip().encode(errors="replace")[:PASSWORD_BYTES].decode(errors="replace")
    texts = emitted(variables.get("OPENSHIFT_HA_VIRTUAL_IPS", "")) or ()
    wanted = shell_number(variables.get("OPENSHIFT_HA_VIP_GROUPS", "")) or 0
    offset = shell_number(variables.get("OPENSHIFT_HA_VRRP_ID_OFFSET") or "10")
    if offset is None:
        return ()
    excluded = set(variables.get("HA_EXCLUDED_VRRP_IDS", "").split())  # exactly as written
    identifiers = (each for each in itertools.count(offset + 1) if str(each) not in excluded)
    return tuple(
        OldInstance(
            name=f"{base}_VIP_{number}",
            interface=interface,
            virtual_router_id=next(identifiers),
            addresses=group,
            password=password,
            unicast_peers=_unicast_peers(variables.get("OPENSHIFT_HA_UNICAST_PEERS", "")),
        )
        for number, group in enumerate(groups.split(texts, max(wanted, 0)), start=1)
    )


def _unicast_peers(value: str) -> tuple[str, ...] | None:
    """Split at commas and lines; keepalived takes the first word of each."""
    if not value:
        return None
    lines = re.split(r"[,\n]", value)
    return tuple(words[0] for words in map(str.split, lines) if words)


def interfaces(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of interfaces that it tried, before the one of the default route."""
    value = variables.get("OPENSHIFT_HA_NETWORK_INTERFACE", "")
    return (*value.split(), *_FALLBACK_INTERFACES)


def _interface(variables: Mapping[str, str], facts: HostFacts) -> str:
    for name in interfaces(variables):
        if facts.interface(name) is not None:
            return name
    routes = [each for each in facts.default_routes if each.family is Family.IPV4]
    if not routes:
        return ""
    name = min(routes, key=lambda route: route.metric).interface
    return "src" if "dev" in name else name  # it took the word after the last "dev" it saw


def _node_address(interface: str, facts: HostFacts) -> str:
    """Return the first IPv4 address as ifconfig shows it: without a label of its own."""
    found = facts.interface(interface)
    for each in found.addresses if found else ():
        if isinstance(each.address, IPv4Address) and each.label in {"", interface}:
            return str(each.address)
    return ""


def _outage(
    variables: Mapping[str, str],
    interface: str,
    instances: Sequence[OldInstance],
    facts: HostFacts,
) -> str:
    """Say why keepalived served nothing, though the container ran."""
    if shell_number(variables.get("OPENSHIFT_HA_VRRP_ID_OFFSET") or "10") is None:
        return "its configuration was empty: the virtual router id offset is no number"
    if not instances:
        return "it read no address at all"
    if facts.interface(interface) is None:
        return f"keepalived ended: there is no interface {interface!r}"
    for each in instances:
        if not 1 <= each.virtual_router_id <= HIGHEST_ID:
            return f"keepalived ended: {each.virtual_router_id} is no virtual router id"
    return ""
