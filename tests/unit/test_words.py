"""Words that several sentences share."""

from __future__ import annotations

from ipfailover_agent.core.words import listed


def test_a_list_is_not_longer_than_a_line() -> None:
    """The rest is counted."""
    assert "" == listed([])
    assert "1 2" == listed([1, 2])
    assert "0 1 2 3 4 5 6 7 and 2 more" == listed(range(10))
    assert "a and 1 more" == listed("ab", 1)
