"""The agent's own events: structlog onto a sink that can never block.

``text`` is one ``key=value`` line per event (people read it), ``json`` one object per line and
wraps keepalived's lines too, so that every line of the container's log parses.
"""

from __future__ import annotations

import enum
import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol, cast

from msgspec import Struct

from ipfailover_agent import lazy_imports
from ipfailover_agent.text import dropped_lines, harmless

with lazy_imports.lazy_import(
    "asyncio"
):  # 25 ms and 2 MB of ssl and more, for its coroutines only
    import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, FilteringBoundLogger, Processor


class LogFormat(enum.Enum):
    """How lines look."""

    TEXT = "text"
    JSON = "json"


class Sink(Protocol):
    """Where finished lines go; must not block."""

    def write_line(self, line: bytes) -> None:
        """Take one line without its newline."""


class _SinkLogger(Struct, frozen=True):
    """What structlog hands a rendered line to."""

    sink: Sink

    def msg(self, message: str) -> None:
        self.sink.write_line(message.encode("utf-8", "backslashreplace"))

    debug = info = warning = error = critical = log = msg


def configure(sink: Sink, *, log_format: LogFormat, level: str) -> FilteringBoundLogger:
    """Return a logger whose events of ``level`` and above go to ``sink``."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _SinkLogger(sink),
        processors=_processors(log_format),
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    return logger


def recording(log: FilteringBoundLogger, record: Callable[..., None]) -> FilteringBoundLogger:
    """Return a log whose events, but those of debug, come to ``record`` first, at any level.

    It has the four methods that the agent calls. A processor would not see events below the level.
    A second logger of structlog around the first would cost 20 us for each event, and a takeover
    of 254 addresses has as many.
    """

    def recorded(say: Callable[..., object]) -> Callable[..., None]:
        def record_and_say(event: str, **fields: object) -> None:
            record(event, **fields)
            say(event, **fields)

        return record_and_say

    says = {each: recorded(getattr(log, each)) for each in ("info", "warning", "error")}
    return cast("FilteringBoundLogger", SimpleNamespace(debug=log.debug, **says))


def _processors(log_format: LogFormat) -> list[Processor]:
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format is LogFormat.JSON:
        renderer = structlog.processors.JSONRenderer(default=str)
        return [*shared, structlog.processors.dict_tracebacks, renderer]
    logfmt = structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "event"], drop_missing=True, bool_as_flag=False
    )
    return [*shared, structlog.processors.format_exc_info, _flatten, logfmt]


def _flatten(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Turn lists into text, which logfmt has no notation for, and leave out what is not known."""
    return {key: _plain(value) for key, value in event.items() if value is not None}


def _plain(value: object) -> object:
    """Return a list as text, and no text that moves a cursor; logfmt itself escapes newlines."""
    text = "; ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return harmless(text, kept="\n") if isinstance(text, str) else text


def line_wrapper(log_format: LogFormat) -> Callable[[bytes], bytes]:
    """Return what makes a line of keepalived's a line of the agent's standard output.

    ``text`` leaves it word for word; ``json`` wraps it as the event ``keepalived.line``.
    """
    if log_format is LogFormat.TEXT:
        return bytes

    def wrap(line: bytes) -> bytes:
        text = line.decode("utf-8", "backslashreplace")
        return json.dumps({"event": "keepalived.line", "line": text}).encode()

    return wrap


def drop_notice(log_format: LogFormat) -> Callable[[int], bytes]:
    """Return what makes the line that stands where ``count`` lines were dropped."""

    def notice(count: int) -> bytes:
        text = dropped_lines(count)
        if log_format is LogFormat.TEXT:
            return text.encode()
        event = {"event": "lines.dropped", "level": "warning", "count": count, "text": text}
        return json.dumps(event).encode()

    return notice


class Repeats:
    """Logs an event once, and then how often it was repeated, once a minute.

    ``seen`` returns how many repeats to report now (0 for the first time), or None to stay quiet.
    It stays quiet about a new one, too, where it has ``limit`` others of the last ``interval``
    seconds: some causes name what strangers send, and they may send anything.
    """

    def __init__(self, interval: float = 60.0, limit: int = 1024) -> None:
        self._interval = interval
        self._limit = limit
        self._reported: dict[str, tuple[float, int]] = {}

    def seen(self, cause: str, now: float) -> int | None:
        """Note that ``cause`` was observed at monotonic ``now``."""
        if cause not in self._reported:
            if len(self._reported) >= self._limit:
                old = now - self._interval
                self._reported = {
                    name: each for name, each in self._reported.items() if each[0] > old
                }
                if len(self._reported) >= self._limit:
                    return None
            self._reported[cause] = (now, 0)
            return 0
        at, count = self._reported[cause]
        if now - at < self._interval:
            self._reported[cause] = (at, count + 1)
            return None
        self._reported[cause] = (now, 0)
        return count + 1

    def forget(self) -> None:
        """Start anew: what comes next is a new story."""
        self._reported.clear()
