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
    ("count", "expected"),
    [(0, ""), (1, "0"), (4, "0 1 2 3"), (5, "0 1 2 3 and 1 more"), (254, "0 1 2 3 and 250 more")],
)
def test_many_addresses_are_counted(count: int, expected: str) -> None:
    """The first four are named."""
    assert expected == terminal.addresses(map(str, range(count)))


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


def test_addresses_are_as_many_as_fit() -> None:
    """One in any case, and whole."""
    held = ["10.0.0.5", "10.0.0.6", "10.0.0.7"]
    assert "10.0.0.5 10.0.0.6 10.0.0.7" == terminal.addresses(held, 26)
    assert "10.0.0.5 and 2 more" == terminal.addresses(held, 25)
    assert "10.0.0.5 and 2 more" == terminal.addresses(held, 3)
    assert "" == terminal.addresses([], 3)
