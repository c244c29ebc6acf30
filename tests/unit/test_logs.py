"""Log lines."""

from __future__ import annotations

import json

import pytest

from ipfailover_agent.status import logs
from ipfailover_agent.status.logs import LogFormat, Repeats


class Lines(list[bytes]):
    """A sink that keeps what it gets."""

    write_line = list.append


def written(log_format: LogFormat, level: str = "info", **fields: object) -> list[bytes]:
    """Return the lines that an event at info leaves."""
    lines = Lines()
    logs.configure(lines, log_format=log_format, level=level).info("noun.done", **fields)
    return lines


def test_text_is_key_value_pairs_with_time_level_and_event_first() -> None:
    """Words with blanks are quoted, lists are words, nothing is left empty."""
    (line,) = written(LogFormat.TEXT, words=("a", "b c"), number=7, missing=None, flag=True)
    assert line.startswith(b"timestamp=")
    text = line.decode()
    assert 'level=info event=noun.done words="a; b c" number=7 flag=true' in text
    assert "missing" not in text


@pytest.mark.parametrize("log_format", LogFormat)
def test_an_event_is_one_line_whatever_is_in_it(log_format: LogFormat) -> None:
    """Newlines, quotes, bytes that are no text, surrogates."""
    (line,) = written(log_format, odd='a\nb"c=d\\', surrogate="\udcff", data=b"\xff\n")
    assert b"\n" not in line


@pytest.mark.parametrize("log_format", LogFormat)
def test_no_event_moves_the_cursor_of_whoever_reads_it(log_format: LogFormat) -> None:
    """Some words come from other hosts and from scripts."""
    (line,) = written(log_format, odd="a\x1b[2J\rlevel=error\x9b", many=["b\x1b"])
    assert line.decode("utf-8").isprintable()


def test_json_parses_and_keeps_types() -> None:
    """Tuples are lists; what JSON has no notation for is text."""
    (line,) = written(LogFormat.JSON, words=("a", "b"), number=7, what=LogFormat.TEXT)
    data = json.loads(line)
    expected = {"event": "noun.done", "level": "info", "words": ["a", "b"], "number": 7}
    assert {**expected, "what": "LogFormat.TEXT", "timestamp": data["timestamp"]} == data


@pytest.mark.parametrize(("level", "count"), [("debug", 1), ("info", 1), ("warning", 0)])
def test_events_below_the_level_are_left_out(level: str, count: int) -> None:
    """As asked for."""
    assert count == len(written(LogFormat.TEXT, level))


@pytest.mark.parametrize("log_format", LogFormat)
def test_a_traceback_is_part_of_its_line(log_format: LogFormat) -> None:
    """Not a dozen lines that belong to nobody."""
    lines = Lines()
    log = logs.configure(lines, log_format=log_format, level="info")
    try:
        int("oh no")
    except ValueError:
        log.exception("agent.crashed")
    (line,) = lines
    assert b"oh no" in line
    assert b"\n" not in line


def test_keepaliveds_lines_stay_as_they_are_in_text() -> None:
    """Word for word, bytes included."""
    line = b"(x) Entering MASTER STATE \xff"
    assert line == logs.line_wrapper(LogFormat.TEXT)(line)


def test_keepaliveds_lines_are_wrapped_in_json() -> None:
    """Every byte can be told from the JSON; grep finds the words."""
    wrapped = logs.line_wrapper(LogFormat.JSON)(b'(x) Entering MASTER STATE "\xff\t')
    assert b"(x) Entering MASTER STATE" in wrapped
    line = '(x) Entering MASTER STATE "\\xff\t'
    assert {"event": "keepalived.line", "line": line} == json.loads(wrapped)


def test_dropped_lines_are_told_in_the_format_of_the_log() -> None:
    """With their number."""
    assert b"1 line dropped: no program read the output" == logs.drop_notice(LogFormat.TEXT)(1)
    assert b"2 lines dropped: no program read the output" == logs.drop_notice(LogFormat.TEXT)(2)
    data = json.loads(logs.drop_notice(LogFormat.JSON)(3))
    assert ("lines.dropped", "warning", 3) == (data["event"], data["level"], data["count"])


def test_a_repeated_cause_is_said_once_and_then_counted_each_minute() -> None:
    """Other causes are not held back by it."""
    repeats = Repeats()
    assert 0 == repeats.seen("a", 0.0)
    assert [None, None] == [repeats.seen("a", at) for at in (1.0, 59.9)]
    assert 0 == repeats.seen("b", 30.0)
    assert 3 == repeats.seen("a", 60.0)
    assert repeats.seen("a", 61.0) is None
    assert 2 == repeats.seen("a", 120.0)


def test_after_forgetting_the_same_cause_is_news() -> None:
    """A new configuration begins a new story."""
    repeats = Repeats()
    assert 0 == repeats.seen("a", 0.0)
    repeats.forget()
    assert 0 == repeats.seen("a", 1.0)


def test_more_causes_than_anyone_reads_are_not_told() -> None:
    """Strangers choose what some causes name; after a while there is room again."""
    repeats = Repeats(limit=3)
    told = [repeats.seen(str(number), now=100.0) for number in range(5)]
    assert [0, 0, 0, None, None] == told
    assert None is repeats.seen("0", now=130.0)
    assert 0 == repeats.seen("4", now=160.0)


def test_what_is_recorded_does_not_depend_on_the_level_of_the_log() -> None:
    """The status and the events file have what the log leaves out; but nothing for developers."""
    lines = Lines()
    kept: list[tuple[str, dict[str, object]]] = []
    log = logs.recording(
        logs.configure(lines, log_format=LogFormat.JSON, level="error"),
        lambda event, **fields: kept.append((event, fields)),
    )
    log.debug("a.detail", line="x")
    log.info("check.passed")
    log.warning("lease.late", lateness=0.3, lease=None)
    log.error("status.unwritten", error="full")
    late = ("lease.late", {"lateness": 0.3, "lease": None})
    assert [("check.passed", {}), late, ("status.unwritten", {"error": "full"})] == kept
    (line,) = map(json.loads, lines)
    assert ("status.unwritten", "error", "full") == (line["event"], line["level"], line["error"])
