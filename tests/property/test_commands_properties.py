"""Commands: split as shlex splits them, with what is quoted known for each character."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipfailover_agent.config import commands

LETTERS = st.text(alphabet="ab \\'\"$&#~*`/=", max_size=24)


@given(LETTERS)
@example("'' \"\" a''")
@example('"a\\b\\"\\\\"')
def test_words_are_those_of_shlex(command: str) -> None:
    """Whatever is quoted: the same words, or the same error; masks are as long as the words."""
    try:
        expected = shlex.split(command)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            commands.split(command)
        return
    words = commands.split(command)
    assert expected == [each.text for each in words]
    for each in words:
        assert len(each.text) == len(each.bare) == len(each.exposed)


@given(st.lists(st.text(alphabet="ab \\'\"$&#~*`/=;|<>()[]?", max_size=8), min_size=1))
def test_what_is_quoted_is_never_objected_to(words: list[str]) -> None:
    """A command put together with quotes means the same with a shell and without."""
    command = shlex.join(["/bin/x", *words])
    found = commands.split(command)
    assert commands.objection(command, found) is None
    assert not list(commands.warnings(found))
