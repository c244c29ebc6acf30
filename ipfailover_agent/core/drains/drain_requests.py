"""What commands ask of the agent about draining, and what the agent remembers of it, as text.

Both are files in the run directory. Whatever is in them, reading raises nothing but ValueError
with a reason in words.
"""

from __future__ import annotations

import json
import math
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, TypeGuard

from msgspec import Struct, field

from ipfailover_agent.core.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfailover_agent.core.drains.drain import Subject
    from ipfailover_agent.core.model import IPAddress


LONGEST: Final = 366 * 86400.0
"""Seconds that a drain may be asked for; without ``--for`` it has no end."""

_SCHEMA: Final = 1
_RECORD_SCHEMA: Final = 2  # 1 knew no addresses
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_WORD_LIMIT: Final = 200
_WORDS_LIMIT: Final = 4096
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", re.ASCII)
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Request(Struct, frozen=True, kw_only=True):
    """What a command asks for; ``words`` name instances, or addresses of them; none means all.

    ``seconds`` is how long a drain lasts, None for until it is undrained.
    """

    is_drain: bool
    words: tuple[str, ...] = ()
    is_forced: bool = False
    seconds: float | None = None


class RecordedOrder(Struct, frozen=True, kw_only=True):
    """An order as it outlives the agent.

    ``until`` is seconds since the epoch, ``until_monotonic`` those of this boot's clock, and
    ``seconds`` how many were left when it was written; all None for no end. ``addresses`` are what
    it is carried out for, none where it applies to everything.
    """

    is_forced: bool = False
    until: float | None = None
    until_monotonic: float | None = None
    seconds: float | None = None
    addresses: frozenset[IPAddress] = frozenset()

    def left(self, *, wall: float, monotonic: float | None) -> float | None:
        """Return how many seconds are left of it, None for no end.

        ``monotonic`` is None after a boot. Then the wall clock counts, and it may have been set:
        never more than was left when this was written.
        """
        if self.seconds is None:
            return None
        left = self.seconds
        if monotonic is not None and self.until_monotonic is not None:
            left = self.until_monotonic - monotonic
        elif self.until is not None:
            left = self.until - wall
        return min(max(left, 0.0), self.seconds)


class Record(Struct, frozen=True, kw_only=True):
    """What is drained, for an agent that starts.

    Attributes:
        boot: identifies the boot whose monotonic clock the orders mean.
        instances: by name, those that are held.
        everything: what applies to addresses that are not among ``known``.
        known: every address of the configuration of that time.
    """

    boot: str = ""
    instances: Mapping[str, RecordedOrder] = field(default_factory=dict)
    everything: RecordedOrder | None = None
    known: frozenset[IPAddress] = frozenset()


def parse_duration(text: str) -> float:
    """Return the seconds that ``90``, ``90s``, ``10m``, ``2h`` or ``1d`` means.

    Raises:
        ValueError: it means nothing, or is 0 or longer than a year.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise _wrong(f"{text!r} is no duration: write seconds, or a number with s, m, h or d")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not 0 < seconds <= LONGEST:
        raise _wrong(f"{text!r} is no duration: it must be more than 0 and at most a year")
    return seconds


# --- requests -----------------------------------------------------------------------------------


def encode_request(request: Request) -> str:
    """Return the text of a request file."""
    data = {
        "schema": _SCHEMA,
        "action": "drain" if request.is_drain else "undrain",
        "instances": request.words,
        "force": request.is_forced,
        "for": request.seconds,
    }
    return json.dumps(data) + "\n"


def decode_request(text: str) -> Request:
    """Return the request in a text.

    Raises:
        ValueError: it is none, and why.
    """
    data = _load(text, "request")
    words, is_forced, seconds = data.get("instances"), data.get("force"), data.get("for")
    if not isinstance(words, list) or len(words) > _WORDS_LIMIT:
        raise _wrong(f"'instances' is no list of at most {_WORDS_LIMIT} names")
    if not all(isinstance(each, str) and 0 < len(each) <= _WORD_LIMIT for each in words):
        raise _wrong("'instances' holds something that is no name")
    if data.get("action") not in ("drain", "undrain"):
        raise _wrong("'action' is neither 'drain' nor 'undrain'")
    if not isinstance(is_forced, bool):
        raise _wrong("'force' is neither true nor false")
    if seconds is not None and not (_is_number(seconds) and 0 < seconds <= LONGEST):
        raise _wrong("'for' is no number of seconds up to a year")
    return Request(
        is_drain=data["action"] == "drain",
        words=tuple(words),
        is_forced=is_forced,
        seconds=None if seconds is None else float(seconds),
    )


def resolve(words: Iterable[str], subjects: Mapping[str, Subject]) -> tuple[str, ...]:
    """Return the names of the instances that ``words`` mean, in the configuration's order.

    Raises:
        ValueError: a word is neither a name nor an address of an instance.
    """
    wanted = tuple(words)
    if not wanted:
        return tuple(subjects)
    found, unknown = set(), []
    for word in wanted:
        name = word if word in subjects else _serving(word, subjects)
        if name is None:
            unknown.append(word)
        else:
            found.add(name)
    if unknown:
        raise _wrong(
            f"unknown {'instance' if len(unknown) == 1 else 'instances'} "
            f"{listed([repr(each) for each in unknown])}: "
            f"this agent serves {listed(subjects)}"
        )
    return tuple(each for each in subjects if each in found)


def _serving(word: str, subjects: Mapping[str, Subject]) -> str | None:
    try:
        address = ip_address(word)
    except ValueError:
        return None
    return next(
        (name for name, each in subjects.items() if address in each.addresses | each.excluded),
        None,
    )


# --- the record ---------------------------------------------------------------------------------


def encode_record(record: Record) -> str:
    """Return the text of the file that remembers what is drained."""
    data = {
        "schema": _RECORD_SCHEMA,
        "boot": record.boot,
        "instances": {name: _order_data(each) for name, each in record.instances.items()},
        "everything": None if record.everything is None else _order_data(record.everything),
        "known": _texts(record.known),
    }
    return json.dumps(data, indent=1) + "\n"


def decode_record(text: str) -> Record:
    """Return what a text remembers.

    Raises:
        ValueError: it is no record, and why.
    """
    data = _load(text, "record", _RECORD_SCHEMA)
    instances, known, boot = (data.get(each) for each in ("instances", "known", "boot"))
    everything = data.get("everything")
    if not (isinstance(instances, dict) and all(map(_is_name, instances))):
        raise _wrong("'instances' does not map names of instances")
    if not isinstance(boot, str):
        raise _wrong("'boot' is no text")
    return Record(
        boot=boot,
        instances={name: _order(each) for name, each in instances.items()},
        everything=None if everything is None else _order(everything),
        known=_addresses(known, "'known'"),
    )


def _order_data(order: RecordedOrder) -> dict[str, object]:
    return {
        "force": order.is_forced,
        "until": order.until,
        "until_monotonic": order.until_monotonic,
        "seconds": order.seconds,
        "addresses": _texts(order.addresses),
    }


def _texts(addresses: Iterable[IPAddress]) -> list[str]:
    return [str(each) for each in sorted(addresses, key=lambda each: (each.version, int(each)))]


def _addresses(data: object, what: str) -> frozenset[IPAddress]:
    if not (isinstance(data, list) and all(isinstance(each, str) for each in data)):
        raise _wrong(f"{what} is no list of addresses")
    try:
        return frozenset(map(ip_address, data))
    except ValueError as error:
        raise _wrong(f"{what} holds something that is no address") from error


def _order(data: object) -> RecordedOrder:
    if isinstance(data, dict) and isinstance(data.get("force"), bool):
        times = [data.get(each) for each in ("until", "until_monotonic", "seconds")]
        if all(each is None or _is_number(each) for each in times):
            until, until_monotonic, seconds = times
            return RecordedOrder(
                is_forced=data["force"],
                until=until,
                until_monotonic=until_monotonic,
                seconds=seconds,
                addresses=_addresses(data.get("addresses"), "'addresses' of an order"),
            )
    raise _wrong("an order is damaged")


def _load(text: str, what: str, schema: int = _SCHEMA) -> dict[str, object]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"it is no JSON: {str(error)[:_WORD_LIMIT]}") from error
    if not isinstance(data, dict) or data.get("schema") != schema:
        raise _wrong(f"it is no {what} of schema {schema}")
    return data


def _wrong(message: str) -> ValueError:
    return ValueError(message)


def _is_name(value: object) -> bool:
    """Tell whether it may become the name of a track file."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_number(value: object) -> TypeGuard[int | float]:
    # json reads integers of any length, which float() may refuse
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e15 and math.isfinite(value)  # noqa: PLR2004 - some million years
