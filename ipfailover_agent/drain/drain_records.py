"""The record: what is drained, as the text of a file, for an agent that starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from ipfailover_agent import codec
from ipfailover_agent.drain.fsm import DrainSpec, DrainsRestored, Record
from ipfailover_agent.model import IPAddress, in_order

if TYPE_CHECKING:
    from ipfailover_agent.drain.fsm import DrainState

_Number = Annotated[float, Meta(gt=-1e15, lt=1e15)]  # seconds: some million years
_Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,200}\Z")]  # may name a track file


class DrainClock(Struct, frozen=True, kw_only=True):
    """The time, in seconds since the epoch and in those of the clock of this boot."""

    boot: str
    wall: float
    monotonic: float


class _RecordedSpec(Struct, frozen=True, kw_only=True):
    """How to drain ``addresses``; those are none where it applies to new ones.

    ``seconds`` are those that were left when this was written. The times are all None for no end.
    """

    force: bool
    addresses: tuple[IPAddress, ...]
    until: _Number | None = None
    until_monotonic: _Number | None = None
    seconds: _Number | None = None


class _RecordFile(Struct, frozen=True, kw_only=True, tag_field="schema", tag=2):
    """The held instances by name, all addresses of the configuration, how to drain others.

    Schema 1 knew no addresses. ``boot`` identifies the boot of the monotonic clock.
    """

    boot: str
    instances: dict[_Name, _RecordedSpec]
    known: tuple[IPAddress, ...]
    everything: _RecordedSpec | None = None


def encode_record(state: DrainState, clock: DrainClock) -> str:
    """Return the text of the file that remembers what is drained."""
    everything = state.everything
    record = _RecordFile(
        boot=clock.boot,
        instances={name: _recorded(each, clock) for name, each in state.records.items()},
        everything=None if everything is None else _recorded(Record(spec=everything), clock),
        known=in_order(state.known),
    )
    return codec.encode(record, indent=1)


def decode_record(text: str, clock: DrainClock) -> DrainsRestored:
    """Return what a text remembers; raise ValueError with the reason where it is no record."""
    found = codec.decode(text, _RecordFile, "record")
    same = clock if found.boot and found.boot == clock.boot else None
    return DrainsRestored(
        records={
            name: Record(spec=_spec(each, clock, same), addresses=frozenset(each.addresses))
            for name, each in found.instances.items()
        },
        everything=None if found.everything is None else _spec(found.everything, clock, same),
        known=frozenset(found.known),
    )


def _recorded(record: Record, clock: DrainClock) -> _RecordedSpec:
    until = record.spec.until
    left = None if until is None else max(until - clock.monotonic, 0.0)
    return _RecordedSpec(
        force=record.spec.is_forced,
        until=None if left is None else clock.wall + left,
        until_monotonic=until,
        seconds=left,
        addresses=in_order(record.addresses),
    )


def _spec(recorded: _RecordedSpec, clock: DrainClock, same: DrainClock | None) -> DrainSpec:
    """Return a specification on this boot's clock; ``same`` is that clock if it was written in it.

    After a boot the wall clock counts, and it may have been set: never is more left than was when
    this was written.
    """
    if recorded.seconds is None:
        return DrainSpec(is_forced=recorded.force)
    left = recorded.seconds
    if same is not None and recorded.until_monotonic is not None:
        left = recorded.until_monotonic - same.monotonic
    elif recorded.until is not None:
        left = recorded.until - clock.wall
    left = min(max(left, 0.0), recorded.seconds)
    return DrainSpec(is_forced=recorded.force, until=clock.monotonic + left)
