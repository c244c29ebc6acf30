"""Words that several sentences share."""

from __future__ import annotations

import pytest

from ipfailover_agent.text import counted, duration, harmless, listed, one_line, times


def test_a_list_is_not_longer_than_a_line() -> None:
    """The rest is counted."""
    assert "" == listed([])
    assert "1 2" == listed([1, 2])
    assert "0 1 2 3 4 5 6 7 and 2 more" == listed(range(10))
    assert "a and 1 more" == listed("ab", 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \n\n", ""),
        ("cannot reach port 80\n", "cannot reach port 80"),
        ("first\r\n\n  second \n", "first; second"),
        ("\x1b[31mred\x07 \u202e", "\\x1b[31mred\\x07 \\u202e"),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 297 + "..."),
        ("\x00" * 299, ("\\x00" * 75)[:297] + "..."),
    ],
    ids=["nothing", "blank", "a line", "lines", "controls", "just fits", "long", "long escapes"],
)
def test_what_others_write_becomes_one_bounded_line(text: str, expected: str) -> None:
    """Whatever a script writes to its file."""
    assert expected == one_line(text)


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
    assert expected == duration(seconds)


def test_what_others_wrote_moves_no_cursor() -> None:
    """A check's reason, a name: a terminal gets no commands from them."""
    assert r"a\x1b[2Jb\nc é" == harmless("a\x1b[2Jb\nc é")


def test_what_may_stay_is_kept() -> None:
    """A log line escapes newlines itself."""
    assert "a\n\\x07" == harmless("a\n\x07", kept="\n")


def test_what_is_counted_has_a_plural() -> None:
    """One is none of many."""
    assert ["0 lines", "1 line", "2 lines"] == [counted(each, "line") for each in range(3)]
    assert ["1 address", "2 addresses"] == [counted(each, "address") for each in (1, 2)]
    assert ["once", "2 times"] == [times(1), times(2)]
