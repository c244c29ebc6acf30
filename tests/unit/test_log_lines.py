"""keepalived's lines that say why: as 2.2.7 and 2.3.3 word them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.status import log_lines
from ipfailover_agent.status.log_lines import LogLine, Report

VIP = "(vip_VIP_1)"
MASTER = "Master received advert from"
SCRIPT = "VRRP_Script(chk_vip)"
OUTRANKED, CHECK, LINK = Report.OUTRANKED, Report.CHECK_ENDED, Report.LINK_CHANGED
#: Lines of keepalived, and what each reports: about what, whose, and a text.
SAID: dict[str, tuple[Report, str, str]] = {
    f"{VIP} {MASTER} 10.0.0.12 with higher priority 200, ours 100": (
        *(OUTRANKED, "vip_VIP_1", "advert of higher priority 200 from 10.0.0.12"),
    ),
    f"(a) b) {MASTER} fe80::1 with same priority 100 but higher IP address than ours": (
        *(OUTRANKED, "a) b", "advert of equal priority 100 from fe80::1, whose address is higher"),
    ),
    f"{VIP} received lower priority (150) advert from 192.0.2.12 - discarding": (
        *(Report.OUTRANKS, "vip_VIP_1", "outranks 192.0.2.12 (priority 150)"),
    ),
    f"{SCRIPT} succeeded": (CHECK, "", ""),
    f"{SCRIPT} considered successful on reload": (CHECK, "", ""),
    f"{SCRIPT} failed (exited with status 1)": (CHECK, "", "exited with status 1"),
    f"{SCRIPT} failed (due to signal 9)": (CHECK, "", "due to signal 9"),
    f"{SCRIPT} timed_out": (CHECK, "", "timed out"),
    f"{SCRIPT} considered unsuccessful on reload": (
        *(CHECK, "", "considered unsuccessful on reload"),
    ),
    "Netlink reports eth0 down": (LINK, "", "interface eth0 is down"),
    "Netlink reports eth0 up": (LINK, "", ""),
    "Interface eth0 deleted": (LINK, "", "interface eth0 is gone"),
    "Interface eth0 added": (LINK, "", ""),
    f"{VIP} entering FAULT state (no IPv4 address for interface)": (
        *(LINK, "", "the interface has no IPv4 address"),
    ),
    "pid 9 exited due to signal 9 (Killed) - has rlimit_rttime been exceeded?": (
        *(Report.PROCESS_EXITED, "9", "signal 9"),
    ),
    "pid 9 exited due to segmentation fault (SIGSEGV).": (
        *(Report.PROCESS_EXITED, "9", "segmentation fault"),
    ),
    "pid 9 exited with status 1": (Report.PROCESS_EXITED, "9", "status 1"),
    "VRRP child process(9) died: Exiting": (Report.CHILD_DIED, "9", ""),
    "VRRP child process(9) died: Respawning": (Report.CHILD_DIED, "9", ""),
    "Starting Keepalived v2.2.7 (01/16,2022)": (Report.VERSION, "2.2.7", ""),
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
    report, subject, text = SAID[line]
    expected = LogLine(report=report, subject=subject, text=text)
    assert expected == log_lines.parse((stamp + line).encode())


@pytest.mark.parametrize("line", NOTHING)
def test_any_other_line_says_nothing(line: str) -> None:
    """Most of them."""
    assert log_lines.parse(line.encode()) is None


@given(st.binary() | st.sampled_from([*SAID]).map(lambda line: line.encode()[:-3] + b"\xff"))
def test_nothing_that_keepalived_writes_raises(line: bytes) -> None:
    """Whatever a version of it, or a name in it, looks like."""
    log_lines.parse(line)
