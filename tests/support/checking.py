"""The agent's own check with its files, its loop and its log, for tests of it alone."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import structlog

from ipfailover_agent.health.service import SOURCE, Probes
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.linux import process
from ipfailover_agent.linux.loop import Loop, Readable
from ipfailover_agent.model import PortProbes
from ipfailover_agent.paths import RunPaths
from tests.support.services import candidate, common
from tests.support.waiting import wait_until

NOTHING = InstanceStates()


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Have no descriptor to be had for a while."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Checking:
    """Probes in a directory of their own, the loop that drives them, and what they tell."""

    def __init__(self, directory: Path, loop: Loop) -> None:
        self.loop = loop
        self.capture = structlog.testing.LogCapture()
        self.paths = RunPaths(directory=str(directory), config="/etc/k.conf")
        self.track, self.reason = Path(self.paths.check_track), Path(self.paths.check_reason)
        log = structlog.wrap_logger(None, processors=[self.capture])
        made = common(log=log, paths=self.paths, environment=dict(os.environ), loop=loop)
        self.probes = Probes(made, lambda _: None)

    def configure(self, wanted: PortProbes | None) -> None:
        """Have a configuration with this check in force."""
        self.probes.configure(candidate(SimpleNamespace(port_probes=wanted)), NOTHING)

    def begin(self, wanted: PortProbes, instance_states: InstanceStates = NOTHING) -> None:
        """Do what a start does."""
        self.probes.prepare(wanted, instance_states)
        self.configure(wanted)
        self.probes.on_instance_states(instance_states, time.monotonic())

    def turn(self, seconds: float = 0.3) -> list[object]:
        """Go round the loop for so long, or until something was found; return what came."""
        due = (time.monotonic() + seconds, self.probes.resume_at)
        events = self.loop.wait(min(each for each in due if each is not None))
        self.probes.resume(time.monotonic())
        if Readable(source=SOURCE) in events:
            self.probes.readable()
        for child in process.reap():
            self.probes.child_exited(child)
        return list(events)

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn until something is so."""

        def is_so() -> bool:
            if not condition():
                self.turn()
            return condition()

        wait_until(is_so, 8, lambda: f"{self.said} {self.capture.entries}")

    def until_told(self, event: str, count: int = 1) -> dict[str, object]:
        """Turn until an event was logged that often; return the last one."""
        self.until(lambda: self.events.count(event) >= count)
        return [dict(each) for each in self.capture.entries if each["event"] == event][count - 1]

    @property
    def events(self) -> list[str]:
        """Return the names of what was logged."""
        return [each["event"] for each in self.capture.entries]

    @property
    def said(self) -> tuple[str, str]:
        """Return what the track file says, and the file for people."""
        return self.track.read_text(), self.reason.read_text() if self.reason.exists() else ""
