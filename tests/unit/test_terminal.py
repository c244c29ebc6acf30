"""Text for a person at a terminal."""

from __future__ import annotations

import pytest

from ipfailover_agent import terminal


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """Two blanks apart; nothing trails."""
    assert ["NAME   ID", "a      1", "bcdef  12"] == terminal.table(
        ("NAME", "ID"), [("a", "1"), ("bcdef", "12")]
    )


def test_a_table_without_rows_is_its_header() -> None:
    """No error."""
    assert ["NAME"] == terminal.table(("NAME",), [])


@pytest.mark.parametrize(
    ("count", "columns", "expected"),
    [
        (0, None, ""),
        (0, 3, ""),
        (1, None, "10.0.0.0"),
        (4, None, "10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3"),
        (5, None, "10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 and 1 more"),
        (254, None, "10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 and 250 more"),
        (3, 26, "10.0.0.0 10.0.0.1 10.0.0.2"),
        (3, 25, "10.0.0.0 and 2 more"),
        (3, 3, "10.0.0.0 and 2 more"),
    ],
)
def test_many_addresses_are_counted(count: int, columns: int | None, expected: str) -> None:
    """The first four are named, or as many as fit; one in any case, and whole."""
    held = (f"10.0.0.{each}" for each in range(count))
    assert expected == terminal.addresses(held, columns)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [(80, ["> a bb ccc"]), (6, ["> a bb", "  ccc"]), (1, ["> a", "  bb", "  ccc"])],
)
def test_a_sentence_is_folded_between_words(columns: int, expected: list[str]) -> None:
    """A word that is too long for a line stays whole: it may be an address."""
    assert expected == terminal.fold("a bb ccc", columns, "  ", "> ")


@pytest.mark.parametrize(
    ("environment", "is_terminal", "expected"),
    [
        ({"TERM": "xterm"}, True, "\x1b[32mx\x1b[0m"),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, "\x1b[32mx\x1b[0m"),
        ({"TERM": "xterm", "NO_COLOR": "0"}, True, "x"),
        ({"TERM": "xterm"}, False, "x"),
        ({"TERM": "dumb"}, True, "x"),
        ({}, True, "x"),
    ],
    ids=str,
)
def test_only_a_terminal_that_wants_colours_gets_them(
    environment: dict[str, str],
    is_terminal: bool,  # noqa: FBT001 - a parameter of the test
    expected: str,
) -> None:
    """no-color.org: set to anything but nothing."""
    paint = terminal.painter(environment, is_terminal=is_terminal)
    assert expected == paint("x", "good")
    assert "x" == paint("x", "")
