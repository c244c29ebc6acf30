"""Judges other programs that manage the interface, and what they do to addresses.

systemd-networkd 252 to 262 and ifupdown2 3.0 remove what they did not set whenever they set an
interface up anew, NetworkManager 1.42 to 1.58 too. networkd's ``KeepConfiguration`` decides which
foreign addresses it keeps: by whether they have a lifetime, as the agent's have with a lease.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.doctor.findings import passed, skipped, warned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipfailover_agent.doctor.findings import Finding

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
