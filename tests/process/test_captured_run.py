"""A program beside the loop: its output is complete and bounded, and nothing waits for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ipfailover_agent.errors import KeepalivedMissingError
from ipfailover_agent.linux.process import CapturedRun
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - as it is
    yield
    assert before == os.listdir("/proc/self/fd")  # noqa: PTH208 - likewise


def ran(script: str, *, limit: int = 1 << 20, is_split: bool = False) -> tuple[CapturedRun, int]:
    """Run a script to its end; return the run and the exit code."""
    run = CapturedRun(["/bin/sh", "-c", script], ENVIRONMENT, limit=limit, is_split=is_split)
    _, status = os.waitpid(run.pid, 0)
    return run, os.waitstatus_to_exitcode(status)


def test_output_and_errors_are_one_stream_in_their_order() -> None:
    """As keepalived writes its log."""
    run, code = ran("echo a; echo b >&2; printf c; exit 3")
    assert (3, ("a\nb\nc",)) == (code, run.end())


def test_output_and_errors_can_be_apart() -> None:
    """Of nft one is JSON."""
    run, _ = ran("echo a; echo b >&2; printf c", is_split=True)
    assert ("a\nc", "b\n") == run.end()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", ()),
        ("printf a", ("a",)),
        ("echo a; echo; echo b", ("a", "", "b")),
        (r"printf 'a\377\n'", (r"a\xff",)),
        ("seq 60", tuple(map(str, range(1, 51)))),
        (
            r"printf 'red \033[31m\tand a bell \007\n'",
            (r"red \x1b[31m" + "\t" + r"and a bell \x07",),
        ),
        ("head -c 400000 /dev/zero | tr '\\000' a", ("a" * (1 << 16),)),
    ],
)
def test_a_person_reads_the_first_lines(script: str, expected: tuple[str, ...]) -> None:
    """keepalived may write one for each of 254 instances."""
    run, _ = ran(script)
    assert expected == run.end_in_lines()


def test_a_flood_is_refused_at_the_limit() -> None:
    """It neither fills the memory nor blocks; what came before is there."""
    run, code = ran("echo a; head -c 10000000 /dev/zero", limit=100_000)
    (text,) = run.end()
    assert (1, "a\n\0\0") == (code, text[:4])
    assert 50_000 < len(text) <= 100_000


def test_a_child_that_keeps_the_output_open_is_not_waited_for() -> None:
    """The program itself has ended, and that is all there is to wait for."""
    run, _ = ran("echo a; sleep 600 & echo $!")
    first, child = run.end_in_lines()
    os.kill(int(child), 9)
    assert "a" == first


def test_what_is_abandoned_is_killed_with_its_group() -> None:
    """And left to the reaper."""
    run = CapturedRun(["/bin/sh", "-c", "sleep 600 & wait"], ENVIRONMENT)
    run.abandon()
    assert 9 == os.WTERMSIG(os.waitpid(run.pid, 0)[1])
    wait_until(lambda: not _group_lives(run.pid), 5, "a child lives on")


def test_a_program_that_is_missing_leaves_nothing() -> None:
    """Neither memory nor a descriptor."""
    with pytest.raises(KeepalivedMissingError, match="it is not there"):
        CapturedRun(["/no/such"], ENVIRONMENT)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
