"""What keepalived reports of its instances: the JSON dump that a real-time signal asks for.

The dump is a list of ``{"data": {...}, "stats": {...}}``; with ``json_version 2`` (keepalived
2.2.8) it is the value of ``"vrrp"``. Sources: keepalived's vrrp_json.c, 2.2.7 to 2.4.3, and dumps
of 2.2.7. The dump also holds the passwords, which are not kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ipfailover_agent.model import VrrpState

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_LARGEST_SIGNAL = 64


class VrrpStatistics(Struct, frozen=True):
    """What an instance counted since keepalived's VRRP child started; keepalived's names.

    ``advert_sent`` counts what keepalived meant to send: it rises also where a firewall or a full
    queue refuses the packet. ``advert_rcvd`` stands still in FAULT.
    """

    advert_rcvd: int
    advert_sent: int
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


class InstanceDump(Struct, frozen=True, kw_only=True):
    """One instance as keepalived sees it.

    Attributes:
        name: unique in a dump.
        effective_priority: after weights; 0 in FAULT.
        advert_interval: seconds between its own adverts.
        master_advert_interval: seconds between those of the last master.
        has_addresses: keepalived has set its virtual addresses and not removed them.
        last_transition: seconds since the epoch, by keepalived's clock.
        garp_delay: seconds from a takeover to the second announcement, as configured.
    """

    name: str
    virtual_router_id: int
    state: VrrpState
    effective_priority: int
    advert_interval: float
    master_advert_interval: float
    has_addresses: bool
    last_transition: float
    counters: VrrpStatistics
    garp_delay: float = 0.0


_Seconds = Annotated[float, Meta(gt=0, le=3600)]  # VRRP has room for 255


class _Data(Struct, frozen=True):
    """What is read of ``data``; the fields without a default have to be there."""

    iname: str
    vrid: int
    state: int
    adver_int: _Seconds
    effective_priority: int = 0
    master_adver_int: _Seconds | None = None
    vipset: Any = None
    last_transition: float = 0.0
    garp_delay: float = 0.0


class _Dumped(Struct, frozen=True):
    data: _Data
    stats: VrrpStatistics


class _DumpOfVersion2(Struct, frozen=True):
    vrrp: list[_Dumped]


def parse(text: str) -> tuple[InstanceDump, ...] | None:
    """Read a dump; None while it is incomplete, and for anything else that is no dump.

    What decisions rest on has to be there: name, state, router id, interval, adverts sent and
    received. The rest is 0 where a version lacks it. 254 instances take some 0.5 ms.
    """
    if not text.rstrip().endswith(("]", "}")):  # keepalived 2.2.7 does not write it at once
        return None
    try:
        found = msgspec.json.decode(text, type=list[_Dumped] | _DumpOfVersion2)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    dumped = found.vrrp if isinstance(found, _DumpOfVersion2) else found
    # without instances it writes none
    return tuple(_instance(each.data, each.stats) for each in dumped) or None


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


def _instance(data: _Data, counters: VrrpStatistics) -> InstanceDump:
    return InstanceDump(
        name=data.iname,
        virtual_router_id=data.vrid,
        # one that is not known here is none that holds addresses
        state=_STATES.get(data.state, VrrpState.INIT),
        effective_priority=data.effective_priority,
        advert_interval=data.adver_int,
        master_advert_interval=data.master_adver_int or data.adver_int,
        has_addresses=data.vipset is True,
        last_transition=data.last_transition,
        counters=counters,
        garp_delay=data.garp_delay,
    )
