"""keepalived's lines that say why: as 2.2.7 and 2.3.3 word them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.status import log_lines
from ipfailover_agent.status.log_lines import (
    CheckEnded,
    ChildDied,
    LinkChanged,
    LogLine,
    Outranked,
    Outranks,
    ProcessExited,
    VersionReported,
)

SAID: dict[str, LogLine] = {
    "(vip_VIP_1) Master received advert from 10.0.0.12 with higher priority 200, ours 100": (
        Outranked(instance="vip_VIP_1", source="10.0.0.12", priority=200)
    ),
    "(a) b) Master received advert from fe80::1 with same priority 100 but higher IP address"
    " than ours": Outranked(instance="a) b", source="fe80::1", priority=100, is_equal=True),
    "(vip_VIP_1) received lower priority (150) advert from 192.0.2.12 - discarding": (
        Outranks(instance="vip_VIP_1", source="192.0.2.12", priority=150)
    ),
    "VRRP_Script(chk_vip) succeeded": CheckEnded(failure=""),
    "VRRP_Script(chk_vip) considered successful on reload": CheckEnded(failure=""),
    "VRRP_Script(chk_vip) failed (exited with status 1)": CheckEnded(
        failure="exited with status 1"
    ),
    "VRRP_Script(chk_vip) failed (due to signal 9)": CheckEnded(failure="due to signal 9"),
    "VRRP_Script(chk_vip) timed_out": CheckEnded(failure="timed out"),
    "VRRP_Script(chk_vip) considered unsuccessful on reload": CheckEnded(
        failure="considered unsuccessful on reload"
    ),
    "Netlink reports eth0 down": LinkChanged(interface="eth0", failure="interface eth0 is down"),
    "Netlink reports eth0 up": LinkChanged(interface="eth0", failure=""),
    "Interface eth0 deleted": LinkChanged(interface="eth0", failure="interface eth0 is gone"),
    "Interface eth0 added": LinkChanged(interface="eth0", failure=""),
    "(vip_VIP_1) entering FAULT state (no IPv4 address for interface)": LinkChanged(
        interface="", failure="the interface has no IPv4 address"
    ),
    "pid 9 exited due to signal 9 (Killed) - has rlimit_rttime been exceeded?": ProcessExited(
        pid=9, how="signal 9"
    ),
    "pid 9 exited due to segmentation fault (SIGSEGV).": ProcessExited(
        pid=9, how="segmentation fault"
    ),
    "pid 9 exited with status 1": ProcessExited(pid=9, how="status 1"),
    "VRRP child process(9) died: Exiting": ChildDied(pid=9),
    "VRRP child process(9) died: Respawning": ChildDied(pid=9),
    "Starting Keepalived v2.2.7 (01/16,2022)": VersionReported(version="2.2.7"),
}
NOTHING = (
    "",
    "(vip_VIP_1) Entering MASTER STATE",
    "Script `chk_vip` now returning 1",
    "Startup complete",
    "(vip_VIP_1) Received advert from 10.0.0.12 with lower priority 150, ours 250, forcing",
    "Starting VRRP child process, pid=9",
    "pid 9 exited with permanent error CONFIG. Terminating",
    "Interface eth0 is a bridge",
)


@pytest.mark.parametrize("line", SAID)
@pytest.mark.parametrize("stamp", ["", "Sun Nov 22 14:04:29 2026: "], ids=["bare", "stamped"])
def test_a_line_that_explains_is_understood(line: str, stamp: str) -> None:
    """With the time before it that keepalived writes on a console, and without."""
    assert SAID[line] == log_lines.parse((stamp + line).encode())


@pytest.mark.parametrize("line", NOTHING)
def test_any_other_line_says_nothing(line: str) -> None:
    """Most of them."""
    assert log_lines.parse(line.encode()) is None


@given(st.binary() | st.sampled_from([*SAID]).map(lambda line: line.encode()[:-3] + b"\xff"))
def test_nothing_that_keepalived_writes_raises(line: bytes) -> None:
    """Whatever a version of it, or a name in it, looks like."""
    log_lines.parse(line)
