"""Words that several sentences share."""

from __future__ import annotations

import pytest

from ipfailover_agent.core.text import listed, one_line


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
