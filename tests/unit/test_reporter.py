"""What is told of the agent: repeats, verdicts, readiness, the status file."""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from msgspec.structs import replace

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.prepare import Candidate
from ipfailover_agent.config.settings import parse
from ipfailover_agent.errors import (
    AgentError,
    ConfigTestError,
    HostNotReadyError,
    Problem,
    SettingsError,
    SystemRefusedError,
)
from ipfailover_agent.keepalived.lifecycle import AgentPhase, CandidateVerdict, Lifecycle
from ipfailover_agent.linux.process import ChildExit
from ipfailover_agent.model import HostFacts, Interface, InterfaceAddress, RenderedFile, Rendering
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status.history import History
from ipfailover_agent.status.reporter import Reporter, problems_of
from ipfailover_agent.status.status_model import StatusPart
from ipfailover_agent.status.transition_causes import TransitionCauses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.testing import LogCapture

ENDED = ChildExit(pid=3, exit_code=0, signal=None)
PROBLEM = Problem(variable="A", element="x", reason="is wrong", instead="write y")


class Told:
    """A reporter and everything that it tells."""

    def __init__(self, directory: Path) -> None:
        self.capture: LogCapture = structlog.testing.LogCapture()
        self.paths = RunPaths(directory=str(directory), config="/etc/k.conf")
        self.dropped = 0
        self.part = StatusPart(present=frozenset(), answered_ago=1.0)
        self.history = History(self.paths.events)
        self.transition_causes = TransitionCauses(self.paths)
        sink: Any = self
        self.reporter = Reporter(
            log=structlog.wrap_logger(None, processors=[self.capture]),
            paths=self.paths,
            source=None,
            sinks=(sink,),
            parts=lambda: self.part,
            history=self.history,
            transition_causes=self.transition_causes,
        )

    @property
    def events(self) -> list[str]:
        return [each["event"] for each in self.capture.entries]

    @property
    def status(self) -> dict[str, Any]:
        self.reporter.write_status()
        data: dict[str, Any] = json.loads(Path(self.paths.status).read_text(encoding="utf-8"))
        return data

    def is_in(self, phase: AgentPhase) -> None:
        self.reporter.state_is(Lifecycle(phase=phase))


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def candidate(ips: str = "10.0.0.101", **variables: str) -> Candidate:
    """Return a candidate of a node with one interface; its files are made up."""
    values = {f"OPENSHIFT_HA_{name}": value for name, value in variables.items()}
    settings = parse({"OPENSHIFT_HA_VIRTUAL_IPS": ips, **values})
    node = parse({"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.1"}).virtual_addresses[0]
    held = InterfaceAddress(address=node, prefix_length=24)
    facts = HostFacts(interfaces=(Interface(name="ens3", index=2, addresses=(held,)),))
    config = plan(settings, facts)
    paths = RunPaths(directory="/run/x", config="/etc/k.conf")
    rendering = Rendering(config=RenderedFile(path="/etc/k.conf", text=""), digest="d" * 64)
    return Candidate(
        settings=settings, facts=facts, config=config, paths=paths, rendering=rendering
    )


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Let no file in a directory grow, as a full disk does not."""
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:  # noqa: ANN401
        if flags & os.O_CREAT and str(path).startswith(str(directory)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return real(path, flags, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refuse)
        yield


DEGRADED = {"ips": "10.0.0.101,10.0.0.300", "ON_INVALID": "serve-valid"}


def test_a_cause_that_stays_is_said_once_while_waiting(told: Told) -> None:
    """Every look finds it again; the status shows it all the time."""
    told.is_in(AgentPhase.WAITING)
    for _ in range(50):
        told.reporter.refused(HostNotReadyError(PROBLEM), CandidateVerdict.NOT_READY)
    assert ["host.awaited"] == told.events
    assert ["no configuration is in force", str(PROBLEM)] == told.status["reasons"]
    assert told.status["ready"] is False


def test_a_degraded_node_says_so_again_every_minute(told: Told) -> None:
    """Beside the first time; and it is not ready, however well keepalived runs."""
    told.reporter.activated(candidate(**DEGRADED), None, ())
    told.is_in(AgentPhase.RUNNING)
    assert told.status["ready"] is False
    told.reporter.tick(time.monotonic())
    assert 1 == told.events.count("config.degraded")
    first = time.monotonic() + 60
    for minute in range(3):
        told.reporter.tick(first + 60 * minute)
        told.reporter.tick(first + 60 * minute + 30)
    assert 4 == told.events.count("config.degraded")


def test_a_healthy_node_has_nothing_to_repeat(told: Told) -> None:
    """The loop is woken to look whether it still is ready, and for nothing else."""
    serve(told, "BACKUP")
    assert told.status["ready"] is True
    written = Path(told.paths.status).stat().st_mtime_ns
    now = time.monotonic()
    for _ in range(10):
        told.reporter.tick(now)
        deadline = told.reporter.deadline
        assert deadline is not None
        assert 0 < deadline - now <= 5
        now = deadline
    assert written == Path(told.paths.status).stat().st_mtime_ns


def serve(told: Told, state: str, **variables: str) -> str:
    """Have an instance in that state, and return its name."""
    served = candidate(**variables)
    told.reporter.activated(served, None, ())
    told.is_in(AgentPhase.RUNNING)
    [instance] = served.config.instances
    told.reporter.notify_line(f'INSTANCE "{instance.name}" {state} 100'.encode())
    return instance.name


def test_what_changes_without_a_word_changes_the_status_file(told: Told) -> None:
    """An address that is gone, a keepalived that answers no more, and back again."""
    serve(told, "BACKUP")
    assert told.status["ready"] is True
    for part, ready in (
        (StatusPart(present=None, answered_ago=1.0), False),
        (StatusPart(present=frozenset(), answered_ago=1.0), True),
        (StatusPart(present=frozenset(), answered_ago=8.0, owed=3.0), False),
    ):
        told.part = part
        deadline = told.reporter.deadline
        assert deadline is not None
        told.reporter.tick(deadline)  # looks
        told.reporter.tick(deadline + 0.2)  # writes
        found = json.loads(Path(told.paths.status).read_text(encoding="utf-8"))
        assert ready is found["ready"]


def test_warnings_of_the_source_and_of_the_settings_are_said(told: Told) -> None:
    """Each is an event of its own; an unchanged reload says them again, being asked."""
    warned = candidate(VIRTUAL_IPZ="1")
    told.reporter.activated(warned, None, ("a note",))
    count = len(warned.warnings) + 1
    assert count == told.events.count("settings.warning") > 1
    told.reporter.unchanged(warned, ())
    assert 2 * count - 1 == told.events.count("settings.warning")


def test_an_unchanged_reload_keeps_the_time_of_the_configuration(told: Told) -> None:
    """It has been in force since then."""
    told.reporter.activated(candidate(), None, ())
    since = told.status["config"]["since"]
    time.sleep(0.002)
    told.reporter.unchanged(candidate(), ())
    assert since == told.status["config"]["since"]


def timed(
    told: Told, written: str | None, variables: dict[str, str], age: float = 0.0
) -> float | None:
    """Return how long the status says that a passing check took whose file says so."""
    told.reporter.activated(candidate(**variables), None, ())
    told.transition_causes.judged(None)
    file = Path(told.paths.check_duration)
    file.unlink(missing_ok=True)
    if written is not None:
        file.write_text(written, encoding="utf-8")
        os.utime(file, (time.time() - age, time.time() - age))
    took: float | None = told.status["check"]["duration"]
    return took


@pytest.mark.parametrize(
    ("written", "age", "expected"),
    [
        ("000000312345\n", 0, 0.312345),
        ("000000312345\n", 3, 0.312345),
        ("000000312345\n", 30, None),
        ("000000312345\n", -30, None),
        ("", 0, None),
        ("-0000312345\n", 0, None),
        ("\xff", 0, None),
        (None, 0, None),
    ],
    ids=["now", "a run ago", "too old", "of tomorrow", "empty", "negative", "rubbish", "none"],
)
def test_the_check_script_says_how_long_it_took(
    told: Told, written: str | None, age: float, expected: float | None
) -> None:
    """Unless that is about another run than the last one."""
    values = {"MONITOR_PORT": "80", "CHECK_TIMEOUT": "1", "CHECK_WATCH": "0"}
    assert expected == timed(told, written, values, age)


def test_the_duration_of_a_script_of_the_users_is_not_known(told: Told) -> None:
    """It replaces our shell, so that nobody is left to time it."""
    assert timed(told, "000000312345\n", {"CHECK_SCRIPT": "/bin/true"}) is None


def test_the_agents_own_check_is_timed_by_the_agent(tmp_path: Path) -> None:
    """Whatever a file says that a script left."""
    told = Told(tmp_path)
    told.part = replace(told.part, check_took=0.004)
    values = {"MONITOR_PORT": "80", "CHECK_INTERVAL": "0.25"}
    assert 0.004 == timed(told, "000000312345\n", values)


def test_fault_by_the_nodes_own_check_is_ready_with_its_reason(told: Told) -> None:
    """What the check wrote, in one line; a roll-out must not wait for the application."""
    Path(told.paths.check_reason).write_text("no answer\nno hope\n", encoding="utf-8")
    told.transition_causes.line(b"VRRP_Script(chk_ipfailover) failed (exited with status 1)", 0.0)
    name = serve(told, "FAULT", MONITOR_PORT="80", CHECK_INTERVAL="2")
    found = told.status
    assert (True, []) == (found["ready"], found["reasons"])
    assert [f"{name}: in FAULT, the check fails: no answer; no hope"] == found["notes"]


def test_fault_without_a_check_is_not_ready(told: Told) -> None:
    """The interface may be down, say."""
    name = serve(told, "FAULT", MONITOR_PORT="0")
    found = told.status
    assert (False, [f"{name}: in FAULT, and no check fails"]) == (found["ready"], found["reasons"])
    assert [] == found["notes"]


def test_a_reload_that_replaces_the_check_makes_its_verdict_unknown(told: Told) -> None:
    """Until the new one has said something; for one of the same name keepalived keeps it."""
    slow, fast = {"CHECK_INTERVAL": "2", "CHECK_WATCH": "0"}, {"CHECK_INTERVAL": "0.25"}
    steps = [
        (slow, "unknown"),
        (slow, "failing"),
        ({**slow, "PRIORITY": "7"}, "failing"),
        ({**slow, "MONITOR_PORT": "81"}, "failing"),
        (fast, "unknown"),
        ({**fast, "MONITOR_PORT": "81"}, "failing"),
        (slow, "unknown"),
        ({**slow, "CONFIG_NAME": "another"}, "unknown"),
    ]
    for number, (variables, expected) in enumerate(steps):
        told.reporter.activated(candidate(**variables), None, ())
        assert expected == told.status["check"]["state"], number
        if "CHECK_WATCH" in variables:
            told.transition_causes.line(b"VRRP_Script(chk) failed (exited with status 1)", 1.0)
        else:
            told.transition_causes.judged("x")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SettingsError((PROBLEM,)), (str(PROBLEM),)),
        (HostNotReadyError(PROBLEM), (str(PROBLEM),)),
        (ConfigTestError("refused", output="one\n\ntwo\n"), ("refused", "one", "two")),
        (SystemRefusedError("cannot write"), ("cannot write",)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_every_thing_to_mend_is_a_sentence(error: AgentError, expected: tuple[str, ...]) -> None:
    """Whatever the error carries."""
    assert expected == problems_of(error)


def test_a_status_file_that_cannot_be_written_costs_nothing(told: Told, tmp_path: Path) -> None:
    """A full run directory must not cost an address."""
    (tmp_path / "status.json").mkdir()
    (tmp_path / "status.json" / "x").touch()
    told.reporter.write_status()
    assert (tmp_path / "status.json" / "x").exists()


def test_a_status_that_cannot_be_replaced_is_removed_and_told_of_twice(
    told: Told, tmp_path: Path
) -> None:
    """It would pass for what is; it is tried again each second, also where nothing happens."""
    told.reporter.write_status()
    wanted = tmp_path / "status.json"
    assert wanted.exists()
    with full(tmp_path):
        told.reporter.write_status()
        assert not wanted.exists()
        for _ in range(3):
            told.reporter.tick(told.reporter.deadline or 0)
        assert ["status.unwritten"] == told.events
        assert "No space left" in told.capture.entries[0]["error"]
        due = told.reporter.deadline
        assert due is not None
        assert 0 < due - time.monotonic() <= 1
    told.reporter.tick(due)
    assert wanted.exists()
    told.reporter.write_status()
    assert ["status.unwritten", "status.written"] == told.events
    later = told.reporter.deadline
    assert later is not None
    assert 4 < later - time.monotonic() <= 5


def test_lines_that_were_dropped_get_into_the_status(told: Told) -> None:
    """Soon, though nothing else happens."""
    told.reporter.write_status()
    told.dropped = 7
    told.reporter.tick(time.monotonic())
    told.reporter.tick(told.reporter.deadline or 0)
    assert 7 == json.loads(Path(told.paths.status).read_text(encoding="utf-8"))["lines_dropped"]


def test_an_expected_end_is_no_error(told: Told) -> None:
    """An unexpected one is."""
    for expected in (True, False):
        told.reporter.keepalived_ended(ENDED, is_expected=expected)
    levels = [(each["event"], each["log_level"]) for each in told.capture.entries]
    assert [("keepalived.terminated", "info"), ("keepalived.exited", "error")] == levels


def test_a_clock_that_is_stepped_changes_no_duration(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forth and back; how long the first state took is not known."""
    served = candidate()
    told.reporter.activated(served, None, ())
    [instance] = served.config.instances
    clocks = [(1000.0, 50.0), (400.0, 53.0), (9999.0, 60.0)]
    for state, (wall, steady) in zip(("BACKUP", "MASTER", "BACKUP"), clocks, strict=True):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda wall=wall: wall)
            patch.setattr(time, "monotonic", lambda steady=steady: steady)
            line = f'INSTANCE "{instance.name}" {state} 100'
            told.reporter.notify_line(line.encode())
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1.0)
        patch.setattr(time, "monotonic", lambda: 62.5)
        told.reporter.keepalived_ended(ENDED, is_expected=True)
    moved = [each for each in told.capture.entries if each["event"] == "vrrp.transition"]
    assert [None, 3.0, 7.0] == [each["lasted"] for each in moved]
    [*_, last] = told.history.transitions(instance.name)
    assert 2.5 == last.lasted
