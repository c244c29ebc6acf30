"""What the benchmark of moments makes of what a client and the nodes wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.calls import Answer, longest_gap, parse
from tests.bench.clusters import REFERENCE, reference
from tests.bench.moments import Felt, cell, ours


def answers(*times: float) -> list[Answer]:
    return [Answer(time=each, node="n1") for each in times]


def test_a_line_that_is_being_written_is_no_answer_yet() -> None:
    text = "late 0.002\n10.500 n1\nlate 0.004\n10.505 n2\n10.5"
    assert parse(text) == ([Answer(time=10.5, node="n1"), Answer(time=10.505, node="n2")], 0.004)


def test_a_gap_counts_that_ended_after_the_beginning() -> None:
    assert longest_gap(answers(1, 4, 4.5, 6, 6.25), since=5, until=6.5) == 1.5


def test_a_gap_counts_that_has_not_ended() -> None:
    assert longest_gap(answers(1, 1.5), since=1.25, until=8) == 6.5


def test_without_an_answer_all_of_the_time_is_a_gap() -> None:
    assert longest_gap([], since=2, until=5) == 3


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ([], "-"),
        ([Felt(gap=0.25)], "0.25"),
        ([Felt(gap=0.5), Felt(gap=0.1), Felt(gap=3)], "0.50 (0.10 to 3.00)"),
        ([Felt(gap=0.25, two=0.2)], "0.25, two hold it for 0.20"),
        ([Felt(gap=0.25, two=0.01)], "0.25"),
        ([Felt(gap=0.25, two=5.5)], "0.25, two hold it without end"),
    ],
)
def test_a_cell_says_the_median_the_range_and_two_holders(seen: list[Felt], words: str) -> None:
    assert cell(seen) == words


def test_what_is_the_agents_is_said_where_its_log_tells() -> None:
    assert ours([[Felt(gap=1, ours=0.25)], [Felt(gap=1)], [Felt(gap=1, ours=0.5)]]) == "0.38"
    assert ours([[Felt(gap=1)]]) == "-"


def test_the_shell_image_is_not_measured_without_its_scripts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The reason is in words, whether the variable is unset or names another directory."""
    monkeypatch.delenv(REFERENCE, raising=False)
    assert reference().reason == "IPFAILOVER_REF names no directory with its monitor.sh and lib"
    (tmp_path / "lib").mkdir()
    monkeypatch.setenv(REFERENCE, str(tmp_path))
    assert reference().reason == f"IPFAILOVER_REF={tmp_path} has no monitor.sh"
    assert reference().scripts is None
