"""What a look at a node ends with: a check's name, a verdict, what was found, what to do.

``pass``: as it should be. ``warn``: it works, and there is something to know. ``fail``: addresses
would not be served, or by two nodes. ``skip``: it was not looked at, and why.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class CheckResult(enum.Enum):
    """How a check ended; the values are shown to operators."""

    PASS = "pass"  # noqa: S105 - a verdict, not a secret
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


class Finding(Struct, frozen=True, kw_only=True):
    """One line: ``check`` is its name, ``text`` what was found, ``advice`` what to do.

    The advice is empty with PASS, and only with SKIP it may be.
    """

    check: str
    verdict: CheckResult
    text: str
    advice: str = ""


def passed(check: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check=check, verdict=CheckResult.PASS, text=text)


def warned(check: str, text: str, advice: str) -> Finding:
    """Return a finding to know of."""
    return Finding(check=check, verdict=CheckResult.WARN, text=text, advice=advice)


def failed(check: str, text: str, advice: str) -> Finding:
    """Return a finding to mend."""
    return Finding(check=check, verdict=CheckResult.FAIL, text=text, advice=advice)


def skipped(check: str, reason: str, advice: str = "") -> Finding:
    """Return a finding that nothing is known."""
    text = f"not looked at: {reason}"
    return Finding(check=check, verdict=CheckResult.SKIP, text=text, advice=advice)


def all_skipped(checks: Collection[str], reason: str, advice: str = "") -> Iterator[Finding]:
    """Yield a finding for each check that nothing is known of it, for one reason.

    The advice is given once.
    """
    for number, each in enumerate(checks):
        yield skipped(each, reason, "" if number else advice)


def tolerated(finding: Finding, checks: Collection[str]) -> Finding:
    """Return a finding that warns where it failed and its check is among those tolerated."""
    if finding.verdict is CheckResult.FAIL and finding.check in checks:
        return replace(finding, verdict=CheckResult.WARN)
    return finding
