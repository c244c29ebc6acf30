"""The bounded file of events: appended, shortened, torn, unwritable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.status.history import LIMIT, History, Journal, read_lines
from tests.support.apart import mounted

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "events.jsonl")


def test_lines_are_there_for_the_next_process(path: str) -> None:
    """In their order; one that writes nothing makes no file."""
    Journal(path, 10).append([])
    assert not os.path.exists(path)  # noqa: PTH110 - a string
    Journal(path, 10).append(["1", "2"])
    Journal(path, 10).append(["3"])
    assert ["1", "2", "3"] == read_lines(path)
    assert 0o600 == Path(path).stat().st_mode & 0o777


def test_the_newest_lines_stay_and_the_file_is_bounded(path: str) -> None:
    """Never more than twice the limit, however many processes come and go."""
    numbers = iter(range(1000))
    lines: list[str] = []
    for _ in range(5):
        journal = Journal(path, 10)
        for _ in range(30):
            newest = str(next(numbers))
            journal.append([newest])
            lines = read_lines(path)
            assert lines[-1] == newest
            assert len(lines) <= 20
            assert lines == [str(each) for each in range(int(lines[0]), int(newest) + 1)]
    assert len(lines) >= 10


def test_more_lines_than_the_limit_at_once_are_the_newest(path: str) -> None:
    """254 instances that move together."""
    journal = Journal(path, 10)
    journal.append([str(each) for each in range(100)])
    assert [str(each) for each in range(90, 100)] == read_lines(path)


def test_a_torn_line_costs_only_itself(path: str) -> None:
    """A crash in the middle of a write."""
    Path(path).write_text('{"a":1}\n{"b"', encoding="utf-8")
    Journal(path, 10).append(["next"])
    assert ['{"a":1}', '{"b"', "next"] == read_lines(path)


def test_of_a_file_that_somebody_made_long_the_end_is_read(path: str) -> None:
    """What is appended to it is there, or `events` would never show anything new."""
    Path(path).write_text("x" * 5_000_000 + "\n", encoding="utf-8")
    Journal(path, 10).append(["next"])
    assert "next" == read_lines(path)[-1]
    assert sum(map(len, read_lines(path))) < 1 << 22


def test_no_link_is_followed_and_no_pipe_is_waited_for(path: str, tmp_path: Path) -> None:
    """The run directory is root's alone; this costs nothing all the same."""
    Path(path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemRefusedError, match="cannot write"):
        Journal(path, 10).append(["x"])
    Path(path).unlink()
    os.mkfifo(path)
    with pytest.raises(SystemRefusedError, match="cannot write"):
        Journal(path, 10).append(["x"])
    Path(path).unlink()
    Path(path).mkdir()
    assert [] == read_lines(path)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """Give a directory on a disk of one page."""
    with mounted(tmp_path, "size=4k"):
        yield tmp_path


@root_only
def test_a_full_disk_costs_lines_and_nothing_else(tiny: Path) -> None:
    """What was torn there is passed over once there is room again."""
    journal = Journal(str(tiny / "events.jsonl"), 100)
    journal.append(["x" * 1000] * 3)
    for _ in range(3):
        with pytest.raises(SystemRefusedError, match="cannot write"):
            journal.append(["y" * 3000])
    os.truncate(tiny / "events.jsonl", 2002 + 50)
    journal.append(["z"])
    lines = read_lines(str(tiny / "events.jsonl"))
    assert ["x" * 1000] * 2 == lines[:2]
    assert "z" == lines[-1]


# --- the history on top of it -------------------------------------------------------------------


def move(history: History, name: str, state: str, kind: str = "silence") -> None:
    history.record(
        "vrrp.transition", instance=name, previous="BACKUP", state=state, kind=kind, cause="why"
    )


def test_what_an_earlier_agent_kept_is_in_the_status_of_the_next(path: str) -> None:
    """The last five transitions of each instance; what it counted begins anew."""
    first = History(path)
    for _ in range(4):
        move(first, "a", "MASTER")
        move(first, "a", "BACKUP", "outranked")
    first.record("reload.refused", reason="no")
    states = [first.has_unwritten]
    first.write()
    assert [True, False] == [*states, first.has_unwritten]
    second = History(path)
    second.load()
    assert 5 == len(second.transitions("a"))
    assert first.transitions("a") == second.transitions("a")
    assert first.timeline("a", 2**31) == second.timeline("a", 2**31)
    assert (("MASTER", "silence", 4), ("BACKUP", "outranked", 4)) == first.causes("a")
    assert () == second.causes("a")
    assert (1, 0) == (first.count("reload.refused"), second.count("reload.refused"))
    assert not second.has_unwritten


def test_a_file_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    """And takes no memory without end."""
    history = History(str(tmp_path / "missing" / "events.jsonl"))
    for number in range(10 * LIMIT):
        move(history, "a", "MASTER")
        if number % 100 == 0:
            history.write()
    assert 5 == len(history.transitions("a"))


def test_the_time_line_begins_before_the_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was the state then; and it is bounded."""
    now = [10_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    history = History(str(tmp_path / "events.jsonl"))
    for _ in range(3):
        move(history, "a", "MASTER")
        now[0] += 1
    now[0] += 3600
    move(history, "a", "BACKUP")
    assert ["MASTER", "BACKUP"] == [state for _, state in history.timeline("a", now[0])]
    for _ in range(100):
        move(history, "a", "MASTER")
    assert 32 == len(history.timeline("a", now[0]))
    history.record("agent.started", version="1")
    assert ["agent.started"] == [each.event for each in history.events(now[0])]
    assert () == history.events(now[0] + 3601)


def test_an_instance_that_is_no_longer_configured_is_forgotten(path: str) -> None:
    """By the memory, not by the file."""
    history = History(path)
    for name in ("a", "b"):
        move(history, name, "MASTER")
    history.keep({"b"})
    assert () == history.transitions("a")
    assert () == history.causes("a")
    assert 1 == len(history.transitions("b"))
