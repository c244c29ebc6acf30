"""The agent of a former release, taken out of this repository's history.

What a running cluster has and what replaces it must live side by side for a while, so the former
agent has to be a real one. It is run by this environment's Python: what it imports beside its own
package is what is installed here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.kit.container import PROJECT
from tests.support import missing

#: Version 0.1.0.
FIRST_RELEASE = "09bebd556884d948047f7e858e5672d8919e20f4"
_PARTS = ("ipfailover_agent", "templates")
#: What this run counts as covered is the code of the checkout.
_MEASURING = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COVERAGE_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerAgent:
    """The agent of a commit, with its templates, in a directory of its own."""

    directory: Path

    def command(self, *words: str) -> list[str]:
        """Return the command line of one of its commands, wherever it is called."""
        unset = [f"--unset={name}" for name in _MEASURING]
        start = ["env", f"--chdir={self.directory}", *unset]
        return [*start, sys.executable, "-m", "ipfailover_agent", *words]


def unpack(commit: str, directory: Path) -> FormerAgent:
    """Write the agent of a commit to ``directory``; LookupError where history lacks it."""
    # The checkout may be another user's: git refuses to read those without this option.
    git = ["git", "-c", "safe.directory=*", "-C", str(PROJECT)]
    try:
        done = subprocess.run(
            [*git, "archive", "--format=tar", commit, *_PARTS], check=False, capture_output=True
        )
    except FileNotFoundError:
        raise LookupError("git is not installed") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise LookupError(f"{said} (a shallow clone? git fetch --unshallow brings all of it)")
    directory.mkdir()
    subprocess.run(["tar", "-x", "-C", str(directory)], check=True, input=done.stdout)
    return FormerAgent(directory=directory)


@pytest.fixture(scope="session")
def former_agent(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], FormerAgent]:
    """Give a function that returns the agent of a commit, from version 0.1.0 on.

    Where the history is not there the test is skipped loudly, or fails with REQUIRE_NETNS=1.
    """
    found: dict[str, FormerAgent] = {}

    def get(commit: str = FIRST_RELEASE) -> FormerAgent:
        if commit not in found:
            try:
                found[commit] = unpack(commit, tmp_path_factory.mktemp("former") / commit)
            except LookupError as error:
                reason = f"the agent of {commit[:7]} cannot be had: {error}"
                missing.skip(reason, "REQUIRE_NETNS", loudly="THE UPDATE WAS NOT TRIED: ")
        return found[commit]

    return get
