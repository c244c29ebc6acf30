"""What happened, an entry each, and the line of JSON that keeps it.

An entry has the same name as its event in the log, so that each leads to the other.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct

from ipfailover_agent import codec

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_SENTENCES = ("cause", "reason", "meaning", "text", "error", "changes", "version", "addresses")


Text = Annotated[str, Meta(max_length=_LONGEST_READ)]


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened.

    Attributes:
        at: UTC in ISO 8601.
        event: its name in the log.
        kind: a short word: the kind of cause, a verdict, or what was done.
        cause: a sentence, empty where there is nothing to say.
        instance: None where it is about the whole node.
        previous, state, priority, lasted: of a transition; ``lasted`` in seconds.
    """

    at: Text
    event: Text
    kind: Text
    cause: Text = ""
    instance: Text | None = None
    previous: Text | None = None
    state: Text | None = None
    priority: int | None = None
    lasted: float | None = None


_COPIED: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("kind", "instance", "previous", "state"), str),
    "priority": int,
    "lasted": (int, float),
}
"""What an event of the log has under the same name."""


def entry(at: str, event: str, details: Mapping[str, object]) -> Entry | None:
    """Return the entry for an event of the log, None for one that is not kept.

    One that only counts repeats is not: what it repeats is there already.
    """
    if not (event in _KEPT or event.startswith(_KEPT_NOUNS)) or details.get("repeated"):
        return None
    kept = {
        name: value
        for name, value in details.items()
        if name in _COPIED and isinstance(value, _COPIED[name])
    }
    kept = {"kind": event.partition(".")[2], **kept, "cause": _sentence(details)}
    return Entry(at=at, event=event, **kept)  # type: ignore[arg-type] # each has been looked at


def _sentence(details: Mapping[str, object]) -> str:
    found = next((details[name] for name in _SENTENCES if details.get(name)), "")
    text = "; ".join(map(str, found)) if isinstance(found, (list, tuple)) else str(found)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def to_line(kept: Entry) -> str:
    """Return an entry as one line of JSON, without what it does not say."""
    return codec.encode(kept).rstrip("\n")


def from_line(line: str) -> Entry | None:
    """Return the entry of a line, None where there is none: a torn or a foreign line."""
    try:
        found = codec.decode(line, Entry, "entry")
    except ValueError:
        return None
    return found if is_time(found.at) and math.isfinite(found.lasted or 0) else None


def is_time(text: str) -> bool:
    """Return whether it is a moment in ISO 8601, which one without its distance to UTC is not."""
    try:
        at = datetime.fromisoformat(text)
        return at.tzinfo is not None and at.astimezone(UTC) is not None
    except (ValueError, OverflowError):
        return False
