"""Track files and what is kept in them: why an instance stays in FAULT."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.holds import Holds
from ipfailover_agent.keepalived import track
from ipfailover_agent.paths import RunPaths
from tests.support.services import common


class Held:
    """Holds in a directory of their own, and what they tell."""

    def __init__(self, directory: Path) -> None:
        self.capture: LogCapture = structlog.testing.LogCapture()
        self.paths = RunPaths(directory=str(directory), config="/etc/k.conf")
        self.directory = directory / "hold"
        self.directory.mkdir()
        self.holds = Holds(
            common(log=structlog.wrap_logger(None, processors=[self.capture]), paths=self.paths)
        )

    def files(self) -> dict[str, str]:
        return {each.name: each.read_text() for each in self.directory.iterdir()}


def files_of(*names: str) -> dict[str, str]:
    """Return track files that are called as their instances are."""
    return {each: each for each in names}


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def test_every_instance_has_its_file_before_keepalived_reads_of_them(held: Held) -> None:
    """What an earlier agent left there counts for nothing."""
    (held.directory / "VIP_1").write_text("1\n")
    held.holds.prepare(files_of("VIP_1", "VIP_2"))
    assert {"VIP_1": "0\n", "VIP_2": "0\n"} == held.files()


def test_an_instance_is_let_go_when_no_reason_is_left(held: Held) -> None:
    """Two reasons need two words; an unknown one changes nothing."""
    held.holds.prepare(files_of("VIP_1", "VIP_2"))
    held.holds.apply(files_of("VIP_1", "VIP_2"))
    held.holds.set("VIP_1", "contest")
    held.holds.set("VIP_1", "drain")
    held.holds.clear("VIP_1", "contest")
    assert {"VIP_1": "1\n", "VIP_2": "0\n"} == held.files()

    held.holds.clear("VIP_1", "drain")
    held.holds.clear("VIP_2", "contest")
    assert {"VIP_1": "0\n", "VIP_2": "0\n"} == held.files()


def test_preparing_again_keeps_what_is_held(held: Held) -> None:
    """A reload goes through here as well."""
    held.holds.set("VIP_1", "contest")
    held.holds.prepare(files_of("VIP_1", "VIP_3"))
    assert {"VIP_1": "1\n", "VIP_3": "0\n"} == held.files()


def test_a_hold_stays_with_its_file_whatever_the_instance_is_called(held: Held) -> None:
    """VIP_1 is removed, and with pinned ids its successors get other names, not other files."""
    before = {"VIP_1": "11", "VIP_2": "12", "VIP_3": "13"}
    held.holds.prepare(before)
    held.holds.apply(before)
    held.holds.set("VIP_1", "drain")
    held.holds.set("VIP_3", "contest")
    after = {"VIP_1": "12", "VIP_2": "13"}
    held.holds.prepare(after)
    assert {"11": "1\n", "12": "0\n", "13": "1\n"} == held.files()
    held.holds.apply(after)
    assert {"11": "0\n", "12": "0\n", "13": "1\n"} == held.files()
    assert not held.holds.reasons("VIP_1")
    assert {"contest"} == held.holds.reasons("VIP_2")
    held.holds.clear("VIP_2", "contest")
    assert "0\n" == held.files()["13"]


def test_an_instance_with_another_file_begins_without_a_hold(held: Held) -> None:
    """Another id: for keepalived it is another instance."""
    held.holds.apply({"VIP_1": "11"})
    held.holds.set("VIP_1", "contest")
    held.holds.prepare({"VIP_1": "21"})
    held.holds.apply({"VIP_1": "21"})
    assert {"11": "0\n", "21": "0\n"} == held.files()


def test_a_file_that_cannot_be_written_is_told_and_raises_nothing(held: Held) -> None:
    """The agent goes on; only preparing refuses, since then keepalived would read nonsense."""
    held.directory.rmdir()
    held.holds.apply(files_of("VIP_1"))
    held.holds.set("VIP_1", "contest")
    (entry,) = held.capture.entries
    assert ("hold.failed", "error", "VIP_1") == (
        entry["event"],
        entry["log_level"],
        entry["instance"],
    )
    with pytest.raises(SystemRefusedError, match=r"cannot write .*VIP_1: No such file"):
        held.holds.prepare(files_of("VIP_1"))


def test_a_track_file_is_overwritten_in_place(tmp_path: Path) -> None:
    """The same inode: keepalived watches that one, and a full disk has room for it."""
    path = tmp_path / "VIP_1"
    track.write(str(path), is_set=False)
    before = path.stat()
    track.write(str(path), is_set=True)
    after = path.stat()
    assert "1\n" == path.read_text()
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size)
    assert 0o600 == stat.S_IMODE(after.st_mode)


def test_a_track_file_is_no_way_to_another_file(tmp_path: Path) -> None:
    """A link is not followed."""
    (tmp_path / "other").write_text("precious")
    (tmp_path / "VIP_1").symlink_to(tmp_path / "other")
    with pytest.raises(SystemRefusedError, match="cannot write"):
        track.write(str(tmp_path / "VIP_1"), is_set=True)
    assert "precious" == (tmp_path / "other").read_text()
