"""Text for a person at a terminal."""

from __future__ import annotations

import pytest

from ipfailover_agent.report import terminal


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """Two blanks apart; nothing trails."""
    assert [
        "NAME   ID",
        "a      1",
        "bcdef  12",
    ] == terminal.table(("NAME", "ID"), [("a", "1"), ("bcdef", "12")])


def test_a_table_without_rows_is_its_header() -> None:
    """No error."""
    assert ["NAME"] == terminal.table(("NAME",), [])


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, ""), (1, "0"), (4, "0 1 2 3"), (5, "0 1 2 3 and 1 more"), (254, "0 1 2 3 and 250 more")],
)
def test_many_addresses_are_counted(count: int, expected: str) -> None:
    """The first four are named."""
    assert expected == terminal.addresses(map(str, range(count)))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (125, "2m 5s"),
        (3600, "1h"),
        (3605, "1h 5s"),
        (90061, "1d 1h"),
        (86400 * 400, "400d"),
    ],
)
def test_durations_show_their_two_largest_units(seconds: float, expected: str) -> None:
    """A clock that was set back shows nothing negative."""
    assert expected == terminal.duration(seconds)
