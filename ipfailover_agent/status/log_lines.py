"""The lines of keepalived's log that explain a transition.

Only lines that 2.2.7 and 2.3.3 write without ``--log-detail`` (vrrp.c, vrrp_scheduler.c,
vrrp_track.c, vrrp_daemon.c, keepalived_netlink.c). They are written before the transition that
they explain. Any other line explains nothing, nor does one that another version words otherwise.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

_SOMETHING: Final = re.compile(
    rb"higher|discarding|VRRP_Script|Netlink reports|Interface |no IPv|Starting K|exited|died: "
)
_HIGHER: Final = re.compile(
    r"\((.+)\) Master received advert from (\S+) with higher priority (\d+), ours \d+$"
)
_EQUAL: Final = re.compile(
    r"\((.+)\) Master received advert from (\S+) with same priority (\d+)"
    r" but higher IP address than ours$"
)
_LOWER: Final = re.compile(r"\((.+)\) received lower priority \((\d+)\) advert from (\S+) - disc")
_SCRIPT: Final = re.compile(r"VRRP_Script\([^)]*\) (.+)$")
_PASSED: Final = ("succeeded", "considered successful")
_LINK: Final = re.compile(r"Netlink reports (\S+) (up|down)$")
_DEVICE: Final = re.compile(r"Interface (\S+) (added|deleted)$")
_ADDRESSLESS: Final = re.compile(r"\(.+\)\s*:? ?entering FAULT state \((no IPv[46] address).*\)$")
_EXITED: Final = re.compile(
    r"pid (\d+) exited (?:due to|with) (signal \d+|segm\w+ fault|status \d+)"
)
_DIED: Final = re.compile(r"VRRP child process\((\d+)\) died: \w+$")
_VERSION: Final = re.compile(r"Starting Keepalived v(\S+)")


class Outranked(Struct, frozen=True, kw_only=True):
    """A MASTER received an advert of a higher rank and steps down."""

    instance: str
    source: str
    priority: int
    is_equal: bool = False


class Outranks(Struct, frozen=True, kw_only=True):
    """A BACKUP received an advert of a lower rank and does not wait for that MASTER."""

    instance: str
    source: str
    priority: int


class CheckEnded(Struct, frozen=True, kw_only=True):
    """The check changed its verdict; ``failure`` is empty where it passed."""

    failure: str


class LinkChanged(Struct, frozen=True, kw_only=True):
    """An interface came or went; ``failure`` is empty where it came."""

    interface: str
    failure: str


class ProcessExited(Struct, frozen=True, kw_only=True):
    """A process of keepalived ended with a fault: ``how`` is a signal or a status."""

    pid: int
    how: str


class ChildDied(Struct, frozen=True, kw_only=True):
    """The VRRP child is gone; where it ended with a fault, a line before has it."""

    pid: int


class VersionReported(Struct, frozen=True, kw_only=True):
    """keepalived's version."""

    version: str


LogLine = (
    Outranked | Outranks | CheckEnded | LinkChanged | ProcessExited | ChildDied | VersionReported
)


def parse(line: bytes) -> LogLine | None:
    """Return what a line of keepalived's log reports, None where that is nothing of this."""
    if not _SOMETHING.search(line):
        return None
    text = line.decode("utf-8", "replace").rstrip()
    if match := _HIGHER.search(text) or _EQUAL.search(text):
        name, source, priority = match.groups()
        is_equal = match.re is _EQUAL
        return Outranked(instance=name, source=source, priority=int(priority), is_equal=is_equal)
    if match := _LOWER.search(text):
        name, priority, source = match.groups()
        return Outranks(instance=name, source=source, priority=int(priority))
    if match := _SCRIPT.search(text):
        verdict = match[1]
        return CheckEnded(failure="" if verdict.startswith(_PASSED) else _plain(verdict))
    return _parse_rest(text)


def _parse_rest(text: str) -> LogLine | None:
    if match := _LINK.search(text):
        failure = "" if match[2] == "up" else f"interface {match[1]} is down"
        return LinkChanged(interface=match[1], failure=failure)
    if match := _DEVICE.search(text):
        failure = "" if match[2] == "added" else f"interface {match[1]} is gone"
        return LinkChanged(interface=match[1], failure=failure)
    if match := _ADDRESSLESS.search(text):
        return LinkChanged(interface="", failure=f"the interface has {match[1]}")
    if match := _EXITED.search(text):
        return ProcessExited(pid=int(match[1]), how=match[2])
    if match := _DIED.search(text):
        return ChildDied(pid=int(match[1]))
    if match := _VERSION.search(text):
        return VersionReported(version=match[1])
    return None


def _plain(verdict: str) -> str:
    """Return ``failed (exited with status 1)`` as text that follows "check failed"."""
    inner = re.fullmatch(r"\w+ \((.+)\)", verdict)
    return inner[1] if inner else verdict.replace("_", " ")
