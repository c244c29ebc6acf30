"""Requests to drain: what is read, and what is refused."""

from __future__ import annotations

import json
import re

import pytest

from ipfailover_agent import codec
from ipfailover_agent.drain.drain_requests import DrainRequest, parse_duration

REQUEST = {"schema": 1, "action": "drain", "instances": ["VIP_1"], "force": False, "for": 5}


def read(text: str) -> DrainRequest:
    """Return the request in a text."""
    return codec.decode(text, DrainRequest, "request")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5s", 1.5), ("10m", 600), (" 2h ", 7200), ("1d", 86400), ("366d", 31622400)],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    """Seconds without one."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "m", "-5", "5w", "1h30m", "nan", "inf", "1e3", "0", "0s", "367d", "٣"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With what one looks like."""
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, "it is no request of schema 1"),
        ({"action": "stop"}, "it is no request: Invalid enum value 'stop' - at `$.action`"),
        ({"action": ["drain"]}, "Expected `str`, got `array` - at `$.action`"),
        ({"instances": None}, "Expected `array`, got `null` - at `$.instances`"),
        ({"instances": ["x"] * 5000}, "`array` of length <= 4096 - at `$.instances`"),
        ({"instances": [""]}, "`str` of length >= 1 - at `$.instances[0]`"),
        ({"instances": ["x" * 201]}, "`str` of length <= 200 - at `$.instances[0]`"),
        ({"instances": ["x", 1]}, "Expected `str`, got `int` - at `$.instances[1]`"),
        ({"force": 1}, "Expected `bool`, got `int` - at `$.force`"),
        ({"for": True}, "Expected `float | null`, got `bool` - at `$.for`"),
        ({"for": 0}, "Expected `float` > 0.0 - at `$.for`"),
        ({"for": 1e9}, "Expected `float` <= 31622400.0 - at `$.for`"),
        ({"for": 10**400}, "Number out of range - at `$.for`"),
        ({"for": float("nan")}, "Expected `float` > 0.0 - at `$.for`"),
    ],
)
def test_a_request_with_something_else_in_it_is_refused(
    changes: dict[str, object], said: str
) -> None:
    """The reason names the field, and what it may be."""
    assert ("VIP_1",) == read(json.dumps(REQUEST)).words
    with pytest.raises(ValueError, match=re.escape(said)):
        read(json.dumps({**REQUEST, **changes}))


@pytest.mark.parametrize("field", ["schema", "action", "instances"])
def test_a_request_without_a_field_is_refused(field: str) -> None:
    """Without names it would mean all instances."""
    with pytest.raises(ValueError, match=field):
        read(json.dumps({key: REQUEST[key] for key in REQUEST if key != field}))


@pytest.mark.parametrize("text", ["", "[1]", "null", "[" * 100000, "{"])
def test_what_is_no_object_is_refused(text: str) -> None:
    """Whatever the parser thinks of it."""
    with pytest.raises(ValueError, match="it is no "):
        read(text)


def test_what_is_written_is_read() -> None:
    """With and without an end, and with names that are no UTF-8 on the command line."""
    for words, seconds in ((("a", "b"), 5.0), ((), None), (("\udcff",), None)):
        request = DrainRequest(action="undrain", words=words, is_forced=True, seconds=seconds)
        assert request == codec.decode(codec.encode(request), DrainRequest, "request")
    assert REQUEST == json.loads(
        codec.encode(DrainRequest(action="drain", words=("VIP_1",), seconds=5.0))
    )
