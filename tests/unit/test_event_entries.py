"""What is kept of the log, and its lines in the file."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from ipfailover_agent.status import event_entries
from ipfailover_agent.status.event_entries import Entry

AT = "2026-01-01T00:00:00.000+00:00"
DETAILS: dict[str, object] = {
    "instance": "vip_VIP_1",
    "previous": "BACKUP",
    "state": "MASTER",
    "priority": 100,
    "lasted": 3.5,
    "kind": "handover",
    "cause": "priority-0 advert",
}
TRANSITION = convert({"at": AT, "event": "vrrp.transition", **DETAILS}, Entry)


def test_a_transition_is_kept_with_all_that_it_says() -> None:
    """Fields that an entry has no room for are left to the log."""
    details = {**DETAILS, "addresses": ["10.0.0.5"]}
    assert event_entries.entry(AT, "vrrp.transition", details) == TRANSITION


@pytest.mark.parametrize(
    ("event", "details", "kind", "cause"),
    [
        ("reload.accepted", {"changes": ("a", "b")}, "accepted", "a; b"),
        ("reload.unchanged", {}, "unchanged", ""),
        ("keepalived.exited", {"exit_code": 1, "meaning": "failed"}, "exited", "failed"),
        ("agent.started", {"version": "1.0", "pid": 7}, "started", "1.0"),
        ("drain.set", {"instance": "x", "reason": "why"}, "set", "why"),
        ("contest.held", {"kind": "firewall", "cause": "c", "reason": "r"}, "firewall", "c"),
        ("lease.lapsed", {"lateness": 2}, "lapsed", ""),
        ("agent.stopped", {"reason": "x" * 600}, "stopped", "x" * 497 + "..."),
        ("keepalived.started", {"kind": 7, "cause": None}, "started", ""),
        ("address.unanswered", {"addresses": ["a"], "cause": "c"}, "unanswered", "c"),
        ("address.answered", {"addresses": ["a", "b"]}, "answered", "a; b"),
    ],
    ids=str,
)
def test_other_events_have_a_kind_and_a_sentence(
    event: str, details: dict[str, object], kind: str, cause: str
) -> None:
    """Whatever the log calls it there."""
    found = event_entries.entry(AT, event, details)
    assert found is not None
    assert (kind, cause) == (found.kind, found.cause)


@pytest.mark.parametrize(
    ("event", "details"),
    [("config.activated", {}), ("keepalived.line", {}), ("contest.held", {"repeated": 3})],
)
def test_what_is_not_of_interest_later_is_not_kept(event: str, details: dict[str, object]) -> None:
    """Repeats neither: a fault that stays would push out all others."""
    assert event_entries.entry(AT, event, details) is None


def test_a_line_holds_what_the_entry_says_and_no_more() -> None:
    """Compact: there are a thousand of them."""
    line = event_entries.to_line(Entry(at=AT, event="reload.unchanged", kind="unchanged"))
    assert {"at": AT, "event": "reload.unchanged", "kind": "unchanged"} == json.loads(line)
    assert "\n" not in line


names = st.none() | st.text(min_size=1)
entries = st.builds(
    Entry,
    at=st.datetimes(
        min_value=datetime(2, 1, 1),  # noqa: DTZ001 - the zone comes with the next line
        max_value=datetime(9998, 1, 1),  # noqa: DTZ001 - likewise
        timezones=st.just(UTC),
    ).map(datetime.isoformat),
    **dict.fromkeys(("event", "kind"), st.text(min_size=1)),
    cause=st.text(),
    **dict.fromkeys(("instance", "previous", "state"), names),
    priority=st.none() | st.integers(0, 255),
    lasted=st.none() | st.floats(0, 1e9),
)


@given(entries)
def test_an_entry_comes_back_from_its_line(kept: Entry) -> None:
    """Any text in it."""
    assert kept == event_entries.from_line(event_entries.to_line(kept))


WHOLE = event_entries.to_line(TRANSITION)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "7",
        "[" * 99999,
        "{}",
        WHOLE[:-1],
        WHOLE[1:],
        *(WHOLE.replace("100", each) for each in ("true", '"x"')),
        WHOLE.replace('"handover"', "null"),
        *(WHOLE.replace("3.5", each) for each in ("NaN", "1e999")),
        *(
            WHOLE.replace(AT, each)
            for each in ("yesterday", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00")
        ),
        WHOLE.replace("priority-0 advert", "x" * 1001),
    ],
)
def test_a_torn_or_foreign_line_is_none(line: str) -> None:
    """A full disk, a crash, an editor."""
    assert event_entries.from_line(line) is None


def test_good_lines_are_read_around_bad_ones() -> None:
    """In their order, and with fields of a later version."""
    later = WHOLE[:-1] + ',"more":1}'
    lines = [WHOLE, WHOLE[:20], later]
    assert [TRANSITION, None, TRANSITION] == [*map(event_entries.from_line, lines)]
