"""Watching a keepalived, in processes: it is asked, it answers, it hangs, it cannot be asked.

The keepalived is a script: the real one is in ``test_dumping`` and in the lab.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from ipfailover_agent.keepalived.dump import InstanceDump
from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog
from ipfailover_agent.linux import process
from tests.support.services import common

ANSWERING = signal.SIGRTMIN + 2
DUMP = [
    {
        "data": {"iname": "VIP_1", "vrid": 11, "state": 1, "adver_int": 1},
        "stats": {"advert_rcvd": 3, "advert_sent": 0},
    }
]
KEEPALIVED = f"""#!{sys.executable} -ISs
import os, signal, sys
if sys.argv[1:] == ["--signum=JSON"]:
    sys.exit(print({int(ANSWERING)}))
def answer(*_):
    with open(os.environ["TMPDIR"] + "/new", "w") as file:
        file.write({json.dumps(DUMP)!r})
    os.rename(file.name, os.environ["TMPDIR"] + "/keepalived.json")
signal.signal({int(ANSWERING)}, answer)
print("Startup complete", flush=True)
while True:
    signal.pause()
"""


class Watched:
    """A watchdog and a keepalived, both of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.capture: LogCapture = structlog.testing.LogCapture()
        self.kills: list[float] = []
        self.answers: list[tuple[tuple[InstanceDump, ...], float]] = []
        self.programs = directory / "bin"
        self.temporary = directory / "tmp"
        for each in (self.programs, self.temporary):
            each.mkdir()
        self.environment = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "TMPDIR": str(self.temporary),
        }
        self.keepalived_watchdog = KeepalivedWatchdog(
            common(
                directory,
                log=structlog.wrap_logger(None, processors=[self.capture]),
                environment=self.environment,
            ),
            kill=lambda: self.kills.append(time.monotonic()),
            answered=lambda instances, asked_at: self.answers.append((instances, asked_at)),
        )
        self.popen: subprocess.Popen[bytes] | None = None

    @property
    def events(self) -> list[str]:
        return [each["event"] for each in self.capture.entries]

    def install(self, text: str) -> None:
        (self.programs / "keepalived").write_text(text)
        (self.programs / "keepalived").chmod(0o755)

    def start_keepalived(self) -> int:
        """Start it and return its pid once it has spoken: before, a signal would kill it."""
        self.popen = subprocess.Popen(
            [self.programs / "keepalived"], env=self.environment, stdout=subprocess.PIPE
        )
        assert self.popen.stdout is not None
        assert select.select([self.popen.stdout], [], [], 10)[0]
        return self.popen.pid

    def run_until(self, predicate: Callable[[], bool], timeout: float = 10) -> None:
        """Do what the agent's loop does, until something is so."""
        end = time.monotonic() + timeout
        while not predicate():
            assert time.monotonic() < end, f"not within {timeout} s; told: {self.events}"
            time.sleep(0.005)
            self.keepalived_watchdog.tick(time.monotonic())

    def begin(self) -> None:
        """Let it ask for the signal, and wait for the answer."""
        self.keepalived_watchdog.begin()
        lookup = self.keepalived_watchdog._lookup  # noqa: SLF001 - whose child it is, only the agent's reaper knows
        assert lookup is not None
        _, status = os.waitpid(lookup.pid, 0)
        ended = process.ChildExit(pid=lookup.pid, exit_code=os.waitstatus_to_exitcode(status))
        assert self.keepalived_watchdog.child_exited(ended)
        assert self.keepalived_watchdog._lookup is None  # noqa: SLF001 - as above

    def answer_once(self) -> None:
        """Begin, and wait until a keepalived that has just started was asked and has answered."""
        self.begin()
        self.keepalived_watchdog.keepalived_ready(self.start_keepalived())
        self.run_until(lambda: bool(self.answers))

    def close(self) -> None:
        if self.popen is not None:
            with contextlib.suppress(ProcessLookupError):
                self.popen.kill()
            self.popen.wait()
            if self.popen.stdout is not None:
                self.popen.stdout.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    found = Watched(tmp_path)
    found.install(KEEPALIVED)
    try:
        yield found
    finally:
        found.close()


def test_keepalived_is_asked_as_soon_as_it_runs_and_its_answer_is_passed_on(
    watched: Watched,
) -> None:
    """With the time of the question: whatever was counted before is in the answer."""
    before = time.monotonic()
    watched.answer_once()
    ((instances, asked_at),) = watched.answers
    assert ["VIP_1"] == [each.name for each in instances]
    assert before <= asked_at <= time.monotonic()
    assert ([], []) == (watched.events, watched.kills)


def test_a_wish_is_answered_by_a_newer_dump(watched: Watched) -> None:
    """What was asked before the wish is too old for it."""
    watched.answer_once()
    wished = time.monotonic()
    watched.keepalived_watchdog.want_dump()
    watched.run_until(lambda: len(watched.answers) == 2)
    assert watched.answers[1][1] >= wished


def test_a_keepalived_that_runs_before_its_signal_is_known_is_asked_afterwards(
    watched: Watched,
) -> None:
    """Nothing is sent that could kill it."""
    watched.keepalived_watchdog.keepalived_ready(watched.start_keepalived())
    assert watched.keepalived_watchdog.deadline is None
    watched.begin()
    watched.run_until(lambda: bool(watched.answers))


def test_a_keepalived_that_is_frozen_is_killed(watched: Watched) -> None:
    """Within its two seconds and some, and the log says why."""
    watched.begin()
    pid = watched.start_keepalived()
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    watched.keepalived_watchdog.keepalived_ready(pid)
    watched.run_until(lambda: bool(watched.kills))
    assert 1.9 < watched.kills[0] - begun
    (entry,) = watched.capture.entries
    assert ("keepalived.hangs", "error", pid) == (entry["event"], entry["log_level"], entry["pid"])
    assert "no answer within 2 s" in entry["reason"]


def test_a_dump_that_cannot_be_written_is_told_and_kills_nobody(watched: Watched) -> None:
    """Without its directory there is no answer, and that is not keepalived's fault."""
    watched.begin()
    pid = watched.start_keepalived()
    watched.temporary.rmdir()
    watched.keepalived_watchdog.keepalived_ready(pid)
    watched.run_until(lambda: bool(watched.events))
    assert (["dump.failed"], []) == (watched.events, watched.kills)


def test_nothing_is_asked_once_keepalived_has_ended(watched: Watched) -> None:
    """There is no process left to send a signal to."""
    watched.answer_once()
    watched.keepalived_watchdog.keepalived_ends()
    watched.keepalived_watchdog.want_dump()
    watched.keepalived_watchdog.suspect()
    assert watched.keepalived_watchdog.deadline is None


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho no such signal\n"], ids=["fails", "words"]
)
def test_a_keepalived_without_dumps_is_never_signalled(watched: Watched, text: str) -> None:
    """Any number would kill it: the protection is off, and says so."""
    watched.install(text)
    watched.begin()
    watched.keepalived_watchdog.keepalived_ready(os.getpid())
    assert ["protection.off"] == watched.events
    assert "this keepalived was built without JSON dumps" == watched.keepalived_watchdog.refusal
    assert watched.keepalived_watchdog.deadline is None


def test_a_keepalived_that_is_missing_is_told(watched: Watched) -> None:
    """What cannot be started cannot be asked; nothing raises."""
    (watched.programs / "keepalived").unlink()
    watched.environment["PATH"] = str(watched.programs)
    watched.keepalived_watchdog.begin()
    (entry,) = watched.capture.entries
    assert ("protection.off", "watch") == (entry["event"], entry["kind"])
    assert "keepalived" in watched.keepalived_watchdog.refusal


def test_the_end_of_another_child_is_not_ours(watched: Watched) -> None:
    """The agent has more children than this one."""
    ended = process.ChildExit(pid=1, exit_code=0)
    assert not watched.keepalived_watchdog.child_exited(ended)
