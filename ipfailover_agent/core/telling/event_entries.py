"""What happened, an entry each, and the line of JSON that keeps it.

An entry has the same name as its event in the log, so that each leads to the other.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LONGEST: Final = 500  # characters of a sentence that are kept
_LONGEST_READ: Final = 1000  # characters of a text in a line; the agent writes shorter ones
_KEPT: Final = frozenset(
    (
        *("agent.started", "agent.stopped"),
        *("vrrp.transition", "vrrp.id_clash", "rival.seen", "adverts.not_leaving"),
        *("contest.held", "contest.trial", "contest.ended", "contest.released"),
        *("keepalived.started", "keepalived.terminated", "keepalived.exited"),
        *("keepalived.hangs", "keepalived.spawn_failed", "keepalived.restarting"),
        *("instance.deaf", "source.lost", "interface.taken"),
        *("reload.accepted", "reload.unchanged", "reload.refused", "reload.unconfirmed"),
        *("lease.lapsed", "protection.off"),
        *("address.unanswered", "address.answered", "holder.unanswered"),
    )
)
_KEPT_NOUNS: Final = ("check.", "drain.", "hold.")
_SENTENCES: Final = (
    *("cause", "reason", "meaning", "text", "error", "changes", "version", "addresses"),
)


class Entry(Struct, frozen=True, kw_only=True):
    """Something that happened.

    Attributes:
        at: UTC in ISO 8601.
        event: its name in the log.
        kind: a short word: the kind of cause, a verdict, or what was done.
        cause: a sentence, empty where there is nothing to say.
        instance: None where it is about the whole node.
        previous, state, priority, lasted: of a transition; ``lasted`` in seconds.
    """

    at: str
    event: str
    kind: str
    cause: str = ""
    instance: str | None = None
    previous: str | None = None
    state: str | None = None
    priority: int | None = None
    lasted: float | None = None


_NAMES: Final = Entry.__struct_fields__
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("at", "event", "kind", "cause", "instance", "previous", "state"), str),
    "priority": int,
    "lasted": (int, float),
}
_NEEDED: Final = frozenset(("at", "event", "kind"))


def entry(at: str, event: str, details: Mapping[str, object]) -> Entry | None:
    """Return the entry for an event of the log, None for one that is not kept.

    One that only counts repeats is not: what it repeats is there already.
    """
    if not (event in _KEPT or event.startswith(_KEPT_NOUNS)) or details.get("repeated"):
        return None
    kept = {
        name: value
        for name, value in details.items()
        if name in _TYPES and isinstance(value, _TYPES[name])
    }
    kept |= {
        "at": at,
        "event": event,
        "kind": kept.get("kind", event.partition(".")[2]),
        "cause": _sentence(details),
    }
    return Entry(**kept)  # type: ignore[arg-type] # each has been looked at


def _sentence(details: Mapping[str, object]) -> str:
    found = next((details[name] for name in _SENTENCES if details.get(name)), "")
    text = "; ".join(map(str, found)) if isinstance(found, (list, tuple)) else str(found)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def to_line(kept: Entry) -> str:
    """Return an entry as one line of JSON, without what it does not say."""
    values = ((name, getattr(kept, name)) for name in _NAMES)
    told = {name: value for name, value in values if value is not None and value != ""}
    return json.dumps(told, separators=(",", ":"))


def from_line(line: str) -> Entry | None:
    """Return the entry of a line, None where there is none: a torn or a foreign line."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not found.keys() >= _NEEDED:
        return None
    kept = {name: value for name, value in found.items() if name in _TYPES}
    if not all(_fits(name, value) for name, value in kept.items()):
        return None
    return Entry(**kept)


def _fits(name: str, value: object) -> bool:
    """Return whether a value can be shown: the page and the status count from times."""
    if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
        return False
    match value:
        case str():
            return len(value) <= _LONGEST_READ and (name != "at" or _is_time(value))
        case float():
            return math.isfinite(value)
        case _:
            return True


def _is_time(text: str) -> bool:
    """Return whether it is a moment in ISO 8601, which one without its distance to UTC is not."""
    try:
        at = datetime.fromisoformat(text)
        return at.tzinfo is not None and at.astimezone(UTC) is not None
    except (ValueError, OverflowError):
        return False


def from_lines(lines: Iterable[str]) -> list[Entry]:
    """Return the entries of lines, in their order."""
    return [found for line in lines if (found := from_line(line)) is not None]
