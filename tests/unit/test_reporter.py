"""What is told of the agent: repeats, verdicts, readiness, the status file."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace
from structlog.testing import LogCapture

from ipfailover_agent import errors
from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.prepare import Candidate
from ipfailover_agent.config.settings import parse
from ipfailover_agent.keepalived.lifecycle import AgentPhase, CandidateVerdict, Lifecycle
from ipfailover_agent.linux.process import ChildExit
from ipfailover_agent.model import RenderedFile, Rendering
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status.history import History
from ipfailover_agent.status.reporter import Reporter, problems_of
from ipfailover_agent.status.status_model import StatusPart
from ipfailover_agent.status.transition_causes import TransitionCauses
from tests.support.vectors import host_facts

ENDED = ChildExit(pid=3, exit_code=0, signal=None)
PROBLEM = errors.Problem(variable="A", element="x", reason="is wrong", instead="write y")


class Told:
    """A reporter and everything that it tells."""

    def __init__(self, directory: Path) -> None:
        self.capture: LogCapture = structlog.testing.LogCapture()
        self.paths = RunPaths(directory=str(directory), config="/etc/k.conf")
        self.dropped = 0
        self.part = StatusPart(present=frozenset(), dump_asked_ago=1.0)
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
        return self.written

    @property
    def written(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(Path(self.paths.status).read_text(encoding="utf-8"))
        return data

    @property
    def deadline(self) -> float:
        found = self.reporter.deadline
        assert found is not None
        return found

    def enters(self, name: str, state: str) -> None:
        self.reporter.take_transition(f'INSTANCE "{name}" {state} 100'.encode())

    def is_in(self, phase: AgentPhase) -> None:
        self.reporter.note_state(Lifecycle(phase=phase))


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def candidate(ips: str = "10.0.0.101", **variables: str) -> Candidate:
    """Return a candidate of a node with one interface; its files are made up."""
    values = {f"OPENSHIFT_HA_{name}": value for name, value in variables.items()}
    settings = parse({"OPENSHIFT_HA_VIRTUAL_IPS": ips, **values})
    facts = host_facts({"ens3": ["10.0.0.1/24"]})
    return Candidate(
        settings=settings,
        facts=facts,
        config=plan(settings, facts),
        paths=RunPaths(directory="/run/x", config="/etc/k.conf"),
        rendering=Rendering(config=RenderedFile(path="/etc/k.conf", text=""), digest="d" * 64),
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
        told.reporter.refused(errors.HostNotReadyError(PROBLEM), CandidateVerdict.NOT_READY)
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
        assert 0 < told.deadline - now <= 5
        now = told.deadline
    assert written == Path(told.paths.status).stat().st_mtime_ns


def serve(told: Told, state: str, **variables: str) -> str:
    """Have an instance in that state, and return its name."""
    served = candidate(**variables)
    told.reporter.activated(served, None, ())
    told.is_in(AgentPhase.RUNNING)
    [instance] = served.config.instances
    told.enters(instance.name, state)
    return instance.name


def verdict(told: Told) -> tuple[bool, list[str], list[str]]:
    """Return whether the node is ready, the reasons against it and the notes."""
    status = told.status
    return status["ready"], status["reasons"], status["notes"]


def test_what_changes_without_a_word_changes_the_status_file(told: Told) -> None:
    """An address that is gone, a keepalived that answers no more, and back again."""
    serve(told, "BACKUP")
    assert told.status["ready"] is True
    for part, ready in (
        (StatusPart(present=None, dump_asked_ago=1.0), False),
        (StatusPart(present=frozenset(), dump_asked_ago=1.0), True),
        (StatusPart(present=frozenset(), dump_asked_ago=8.0, owed=3.0), False),
    ):
        told.part = part
        deadline = told.deadline
        told.reporter.tick(deadline)  # looks
        told.reporter.tick(deadline + 0.2)  # writes
        assert ready is told.written["ready"]


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


TOOK = "000000312345\n"
SHELL = {"MONITOR_PORT": "80", "CHECK_TIMEOUT": "1", "CHECK_WATCH": "0"}
#: The variables, what the file of the check holds and how old it is, and what the status says.
DURATIONS: dict[str, tuple[dict[str, str], str | None, float, float | None]] = {
    "now": (SHELL, TOOK, 0, 0.312345),
    "a run ago": (SHELL, TOOK, 3, 0.312345),
    "too old": (SHELL, TOOK, 30, None),
    "of tomorrow": (SHELL, TOOK, -30, None),
    "empty": (SHELL, "", 0, None),
    "negative": (SHELL, "-0000312345\n", 0, None),
    "rubbish": (SHELL, "\xff", 0, None),
    "none": (SHELL, None, 0, None),
    "a script of the user's, which nothing times": ({"CHECK_SCRIPT": "/bin/true"}, TOOK, 0, None),
    "the agent's own": ({"MONITOR_PORT": "80", "CHECK_INTERVAL": "0.25"}, TOOK, 0, 0.004),
}


@pytest.mark.parametrize(
    ("variables", "written", "age", "expected"), DURATIONS.values(), ids=DURATIONS
)
def test_the_check_script_says_how_long_it_took(
    told: Told, variables: dict[str, str], written: str | None, age: float, expected: float | None
) -> None:
    """Unless that is about another run than the last one; the agent times its own check."""
    told.part = replace(told.part, check_took=0.004)
    told.reporter.activated(candidate(**variables), None, ())
    told.transition_causes.judged(None)
    if written is not None:
        file = Path(told.paths.check_duration)
        file.write_text(written, encoding="utf-8")
        os.utime(file, (time.time() - age, time.time() - age))
    assert expected == told.status["check"]["duration"]


def test_fault_by_the_nodes_own_check_is_ready_with_its_reason(told: Told) -> None:
    """What the check wrote, in one line; a roll-out must not wait for the application."""
    Path(told.paths.check_reason).write_text("no answer\nno hope\n", encoding="utf-8")
    told.transition_causes.line(b"VRRP_Script(chk_ipfailover) failed (exited with status 1)", 0.0)
    name = serve(told, "FAULT", MONITOR_PORT="80", CHECK_INTERVAL="2")
    note = f"{name}: in FAULT, the check fails: no answer; no hope"
    assert (True, [], [note]) == verdict(told)


def test_fault_without_a_check_is_not_ready(told: Told) -> None:
    """The interface may be down, say."""
    reason = f"{serve(told, 'FAULT', MONITOR_PORT='0')}: in FAULT, and no check fails"
    assert (False, [reason], []) == verdict(told)


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
        (errors.SettingsError((PROBLEM,)), (str(PROBLEM),)),
        (errors.HostNotReadyError(PROBLEM), (str(PROBLEM),)),
        (errors.ConfigTestError("refused", output="one\n\ntwo\n"), ("refused", "one", "two")),
        (errors.SystemRefusedError("cannot write"), ("cannot write",)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_every_thing_to_mend_is_a_sentence(
    error: errors.AgentError, expected: tuple[str, ...]
) -> None:
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
            told.reporter.tick(told.deadline)
        assert ["status.unwritten"] == told.events
        assert "No space left" in told.capture.entries[0]["error"]
        due = told.deadline
        assert 0 < due - time.monotonic() <= 1
    told.reporter.tick(due)
    assert wanted.exists()
    told.reporter.write_status()
    assert ["status.unwritten", "status.written"] == told.events
    assert 4 < told.deadline - time.monotonic() <= 5


def test_lines_that_were_dropped_get_into_the_status(told: Told) -> None:
    """Soon, though nothing else happens."""
    told.reporter.write_status()
    told.dropped = 7
    told.reporter.tick(time.monotonic())
    told.reporter.tick(told.deadline)
    assert 7 == told.written["lines_dropped"]


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

    def set_clocks(wall: float, steady: float) -> None:
        monkeypatch.setattr(time, "time", lambda: wall)
        monkeypatch.setattr(time, "monotonic", lambda: steady)

    clocks = [(1000.0, 50.0), (400.0, 53.0), (9999.0, 60.0)]
    for state, (wall, steady) in zip(("BACKUP", "MASTER", "BACKUP"), clocks, strict=True):
        set_clocks(wall, steady)
        told.enters(instance.name, state)
    set_clocks(1.0, 62.5)
    told.reporter.keepalived_ended(ENDED, is_expected=True)
    monkeypatch.undo()
    moved = [each for each in told.capture.entries if each["event"] == "vrrp.transition"]
    assert [None, 3.0, 7.0] == [each["lasted"] for each in moved]
    [*_, last] = told.history.transitions(instance.name)
    assert 2.5 == last.lasted
