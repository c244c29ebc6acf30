"""What keepalived reports of its instances: the JSON dump that a real-time signal asks for.

The dump is a list of ``{"data": {...}, "stats": {...}}``; with ``json_version 2`` (keepalived
2.2.8) it is the value of ``"vrrp"``. Sources: keepalived's vrrp_json.c, 2.2.7 to 2.4.3, and dumps
of 2.2.7. The dump also holds the passwords, which are not kept.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from ipfailover_agent.core.model import VrrpState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE_NAME = "keepalived.json"
"""The dump's file in keepalived's TMPDIR; 254 instances make 250 kB of it."""

_STATES = {  # vrrp.h
    0: VrrpState.INIT,
    1: VrrpState.BACKUP,
    2: VrrpState.MASTER,
    3: VrrpState.FAULT,
    97: VrrpState.DELETED,
    98: VrrpState.STOP,
}
_LONGEST_INTERVAL = 3600.0  # seconds; VRRP has room for 255
_LARGEST_SIGNAL = 64


class VrrpStatistics(Struct, frozen=True):
    """What an instance counted since keepalived's VRRP child started; keepalived's names.

    ``advert_sent`` counts what keepalived meant to send: it rises also where a firewall or a full
    queue refuses the packet. ``advert_rcvd`` stands still in FAULT.
    """

    advert_rcvd: int = 0
    advert_sent: int = 0
    become_master: int = 0
    release_master: int = 0
    packet_len_err: int = 0
    advert_interval_err: int = 0
    ip_ttl_err: int = 0
    invalid_type_rcvd: int = 0
    addr_list_err: int = 0
    invalid_authtype: int = 0
    authtype_mismatch: int = 0
    auth_failure: int = 0
    pri_zero_rcvd: int = 0
    pri_zero_sent: int = 0


_COUNTERS = VrrpStatistics.__struct_fields__[2:]  # after those that have to be there


class InstanceDump(Struct, frozen=True, kw_only=True):
    """One instance as keepalived sees it.

    Attributes:
        name: unique in a dump.
        interface: empty where keepalived has none for it.
        version: of VRRP, 2 or 3.
        effective_priority: after weights; 0 in FAULT.
        advert_interval: seconds between its own adverts.
        master_advert_interval: seconds between those of the last master.
        has_addresses: keepalived has set its virtual addresses and not removed them.
        last_transition: seconds since the epoch, by keepalived's clock.
        garp_delay: seconds from a takeover to the second announcement, as configured.
    """

    name: str
    interface: str
    virtual_router_id: int
    version: int
    state: VrrpState
    base_priority: int
    effective_priority: int
    advert_interval: float
    master_advert_interval: float
    has_addresses: bool
    last_transition: float
    counters: VrrpStatistics
    garp_delay: float = 0.0


def parse(text: str) -> tuple[InstanceDump, ...] | None:
    """Read a dump; None while it is incomplete, and for anything else that is no dump.

    What decisions rest on has to be there: name, state, router id, interval, adverts sent and
    received. The rest is 0 where a version lacks it. 254 instances take some 4 ms.
    """
    if not text.rstrip().endswith(("]", "}")):  # keepalived 2.2.7 does not write it at once
        return None
    try:
        found = json.loads(text)
        if isinstance(found, dict):
            found = found["vrrp"]
        if not isinstance(found, list) or not found:  # without instances it writes none
            return None
        return tuple(_parse_instance(each["data"], each["stats"]) for each in found)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None


def signal_command(keepalived: str) -> tuple[str, ...]:
    """Return the command line that prints the number of the signal that asks for a dump."""
    return (keepalived, "--signum=JSON")


def parse_signal(exit_code: int | None, lines: Sequence[str]) -> int | None:
    """Return the number that :func:`signal_command` printed.

    None where this keepalived was built without dumps: any number would kill it.
    """
    if (
        exit_code != 0
        or len(lines) != 1
        or not re.fullmatch(r"\d{1,2}", lines[0].strip(), re.ASCII)
    ):
        return None
    number = int(lines[0])
    return number if 0 < number <= _LARGEST_SIGNAL else None


def _parse_instance(data: Mapping[str, object], stats: Mapping[str, object]) -> InstanceDump:
    interval = _seconds(data["adver_int"])
    router_id, state, version, base, effective = _whole_numbers(
        data["vrid"],
        data["state"],
        data.get("version", 2),
        data.get("base_priority", 0),
        data.get("effective_priority", 0),
    )
    return InstanceDump(
        name=_text(data["iname"]),
        interface=_text(data.get("ifp_ifname", "")),
        virtual_router_id=router_id,
        version=version,
        # one that is not known here is none that holds addresses
        state=_STATES.get(state, VrrpState.INIT),
        base_priority=base,
        effective_priority=effective,
        advert_interval=interval,
        master_advert_interval=_seconds(data.get("master_adver_int", interval)),
        has_addresses=data.get("vipset") is True,
        last_transition=float(_number(data.get("last_transition", 0))),
        counters=_parse_counters(stats),
        garp_delay=float(_number(data.get("garp_delay", 0))),
    )


def _parse_counters(stats: Mapping[str, object]) -> VrrpStatistics:
    needed = (stats["advert_rcvd"], stats["advert_sent"])
    return VrrpStatistics(*_whole_numbers(*needed, *[stats.get(name, 0) for name in _COUNTERS]))


def _whole_numbers(*values: object) -> tuple[int, ...]:
    if {int}.issuperset(map(type, values)):  # True is an int as well, but not of that type
        return cast("tuple[int, ...]", values)
    raise TypeError


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> int | float:
    if type(value) is not int and type(value) is not float:
        raise TypeError
    return value


def _seconds(value: object) -> float:
    number = _number(value)
    if not 0 < number <= _LONGEST_INTERVAL:  # NaN is neither
        raise ValueError
    return float(number)
