"""The lines of keepalived's log that explain a transition.

Only lines that 2.2.7 and 2.3.3 write without ``--log-detail`` (vrrp.c, vrrp_scheduler.c,
vrrp_track.c, vrrp_daemon.c, keepalived_netlink.c). They are written before the transition that
they explain. Any other line explains nothing, nor does one that another version words otherwise.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from msgspec import Struct


class Report(enum.Enum):
    """What a line of keepalived's log is about."""

    OUTRANKED = "a MASTER received an advert of a higher rank and steps down"
    OUTRANKS = "a BACKUP received an advert of a lower rank and does not wait for that MASTER"
    CHECK_ENDED = "the check changed its verdict"
    LINK_CHANGED = "an interface came or went"
    PROCESS_EXITED = "a process of keepalived ended with a fault"
    CHILD_DIED = "the VRRP child is gone; where it ended with a fault, a line before has it"
    VERSION = "keepalived starts"


class LogLine(Struct, frozen=True, kw_only=True):
    """A line that explains something.

    Attributes:
        report: what it is about.
        subject: an instance, a process by its pid, a version, or nothing.
        text: which advert; why a check or an interface fails, empty where it does not; how a
            process ended: a signal or a status.
    """

    report: Report
    subject: str
    text: str


def parse(line: bytes) -> LogLine | None:
    """Return what a line of keepalived's log reports, None where that is nothing of this."""
    if not _SOMETHING.search(line):
        return None
    text = line.decode("utf-8", "replace").rstrip()
    for report, pattern, words in _LINES:
        if match := pattern.search(text):
            subject = match.groupdict().get("of", "")
            return LogLine(report=report, subject=subject, text=match.expand(words))
    return None


_SOMETHING: Final = re.compile(
    rb"higher|discarding|VRRP_Script|Netlink reports|Interface |no IPv|Starting K|exited|died: "
)
_MASTER: Final = r"\((?P<of>.+)\) Master received advert from (\S+) with "
_LINES: Final = tuple(
    (report, re.compile(pattern), text)
    for report, pattern, text in (
        (
            Report.OUTRANKED,
            _MASTER + r"higher priority (\d+), ours \d+$",
            r"advert of higher priority \3 from \2",
        ),
        (
            Report.OUTRANKED,
            _MASTER + r"same priority (\d+) but higher IP address than ours$",
            r"advert of equal priority \3 from \2, whose address is higher",
        ),
        (
            Report.OUTRANKS,
            r"\((?P<of>.+)\) received lower priority \((\d+)\) advert from (\S+) - disc",
            r"outranks \3 (priority \2)",
        ),
        (Report.CHECK_ENDED, r"VRRP_Script\([^)]*\) (?:succeeded|considered successful)", ""),
        (Report.CHECK_ENDED, r"VRRP_Script\([^)]*\) timed_out$", "timed out"),
        (Report.CHECK_ENDED, r"VRRP_Script\([^)]*\) \w+ \((.+)\)$", r"\1"),
        (Report.CHECK_ENDED, r"VRRP_Script\([^)]*\) (.+)$", r"\1"),
        (Report.LINK_CHANGED, r"Netlink reports \S+ up$|Interface \S+ added$", ""),
        (Report.LINK_CHANGED, r"Netlink reports (\S+) down$", r"interface \1 is down"),
        (Report.LINK_CHANGED, r"Interface (\S+) deleted$", r"interface \1 is gone"),
        (
            Report.LINK_CHANGED,
            r"\(.+\)\s*:? ?entering FAULT state \((no IPv[46] address).*\)$",
            r"the interface has \1",
        ),
        (
            Report.PROCESS_EXITED,
            r"pid (?P<of>\d+) exited (?:due to|with) (signal \d+|segm\w+ fault|status \d+)",
            r"\2",
        ),
        (Report.CHILD_DIED, r"VRRP child process\((?P<of>\d+)\) died: \w+$", ""),
        (Report.VERSION, r"Starting Keepalived v(?P<of>\S+)", ""),
    )
)
