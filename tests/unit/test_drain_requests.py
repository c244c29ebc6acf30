"""Requests to drain and the record of drains: what is read, and what is refused."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from ipfailover_agent.core.drains.drain import Subject
from ipfailover_agent.core.drains.drain_requests import (
    Record,
    RecordedOrder,
    Request,
    decode_record,
    decode_request,
    encode_record,
    encode_request,
    parse_duration,
    resolve,
)

REQUEST = {"schema": 1, "action": "drain", "instances": ["VIP_1"], "force": False, "for": 5}
ORDER = {
    "force": True,
    "until": 1.0,
    "until_monotonic": 2,
    "seconds": None,
    "addresses": ["10.0.0.5", "fd00::6"],
}
RECORD = {"schema": 2, "boot": "b", "instances": {"VIP_1": ORDER}, "everything": None, "known": []}
SUBJECTS = {
    "VIP_1": Subject(addresses=frozenset({ip_address("10.0.0.5")})),
    "VIP_2": Subject(
        addresses=frozenset({ip_address("fd00::6")}),
        excluded=frozenset({ip_address("10.0.0.7")}),
    ),
}


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
        ({"schema": 2}, "no request of schema 1"),
        ({"action": "stop"}, "'action' is neither"),
        ({"action": ["drain"]}, "'action' is neither"),
        ({"instances": None}, "'instances' is no list"),
        ({"instances": ["x"] * 5000}, "'instances' is no list"),
        ({"instances": [""]}, "no name"),
        ({"instances": ["x" * 201]}, "no name"),
        ({"instances": [1]}, "no name"),
        ({"force": 1}, "'force' is neither"),
        ({"for": True}, "'for' is no number"),
        ({"for": 0}, "'for' is no number"),
        ({"for": 1e9}, "'for' is no number"),
        ({"for": 10**400}, "'for' is no number"),
        ({"for": float("nan")}, "'for' is no number"),
    ],
)
def test_a_request_with_something_else_in_it_is_refused(
    changes: dict[str, object], said: str
) -> None:
    """The reason names the field."""
    assert ("VIP_1",) == decode_request(json.dumps(REQUEST)).words
    with pytest.raises(ValueError, match=said):
        decode_request(json.dumps({**REQUEST, **changes}))


@pytest.mark.parametrize("text", ["", "[1]", "null", "[" * 100000, "{"])
def test_what_is_no_object_is_refused(text: str) -> None:
    """Whatever the parser thinks of it."""
    with pytest.raises(ValueError, match="it is no "):
        decode_request(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 1}, "no record of schema 2"),
        ({"instances": []}, "'instances' does not map"),
        ({"instances": {"../x": ORDER}}, "'instances' does not map"),
        ({"instances": {"VIP_1": 5}}, "an order is damaged"),
        ({"instances": {"VIP_1": {**ORDER, "force": None}}}, "an order is damaged"),
        ({"everything": {**ORDER, "until": "soon"}}, "an order is damaged"),
        ({"instances": {"VIP_1": {**ORDER, "addresses": None}}}, "'addresses' of an order is no"),
        ({"instances": {"VIP_1": {**ORDER, "addresses": ["x"]}}}, "'addresses' of an order holds"),
        ({"known": "10.0.0.5"}, "'known' is no list"),
        ({"known": [5]}, "'known' is no list"),
        ({"known": ["VIP_1"]}, "'known' holds something that is no address"),
        ({"boot": 5}, "'boot' is no text"),
    ],
)
def test_a_damaged_record_is_refused(changes: dict[str, object], said: str) -> None:
    """A name that is no instance's cannot lead to a file elsewhere."""
    assert {"VIP_1"} == set(decode_record(json.dumps(RECORD)).instances)
    with pytest.raises(ValueError, match=said):
        decode_record(json.dumps({**RECORD, **changes}))


def test_time_goes_on_between_two_agents() -> None:
    """By the clock of the boot, or else by the wall clock, never longer than it was."""
    order = RecordedOrder(until=1100.0, until_monotonic=50.0, seconds=100.0)
    assert 20 == order.left(wall=9999.0, monotonic=30.0)
    assert 0 == order.left(wall=1000.0, monotonic=60.0)
    assert 40 == order.left(wall=1060.0, monotonic=None)
    assert 0 == order.left(wall=2000.0, monotonic=None)
    assert 100 == order.left(wall=10.0, monotonic=None)  # set back
    assert 100 == RecordedOrder(seconds=100.0).left(wall=0.0, monotonic=5.0)
    assert RecordedOrder().left(wall=0.0, monotonic=0.0) is None


def test_what_is_written_is_read() -> None:
    """Requests and records, with and without an order for everything."""
    request = Request(is_drain=False, words=("a", "b"), is_forced=True, seconds=5.0)
    assert request == decode_request(encode_request(request))
    known = frozenset(map(ip_address, ("10.0.0.5", "fd00::6")))
    order = RecordedOrder(
        is_forced=True, until=1.0, until_monotonic=2.0, seconds=3.0, addresses=known
    )
    for everything in (None, order):
        record = Record(boot="b", instances={"x": order}, everything=everything, known=known)
        assert record == decode_record(encode_record(record))


def test_instances_are_named_by_name_or_address() -> None:
    """In the order of the configuration, each once; none means all."""
    assert ("VIP_1", "VIP_2") == resolve([], SUBJECTS)
    assert ("VIP_1", "VIP_2") == resolve(["10.0.0.7", "fd00:0::6", "VIP_1"], SUBJECTS)
    with pytest.raises(ValueError, match=r"unknown instance '10\.0\.0\.9': this agent"):
        resolve(["VIP_1", "10.0.0.9"], SUBJECTS)
    with pytest.raises(ValueError, match="unknown instances 'a' 'b'"):
        resolve(["a", "b"], SUBJECTS)
