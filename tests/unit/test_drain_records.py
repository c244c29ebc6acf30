"""The record of drains: what is read, what is refused, and how time goes on between two agents."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from typing import Any

import pytest

from ipfailover_agent.drain import fsm
from ipfailover_agent.drain.drain_records import DrainClock, decode_record, encode_record
from ipfailover_agent.drain.fsm import DrainPhase, DrainSpec, DrainsRestored, InstanceDrain, Target

CLOCK = DrainClock(boot="b", wall=1000.0, monotonic=20.0)
SPEC = {
    "force": True,
    "until": 1050.0,
    "until_monotonic": 70.0,
    "seconds": 50.0,
    "addresses": ["10.0.0.5", "fd00::6"],
}
EVERYTHING = {**dict.fromkeys(("until", "until_monotonic", "seconds")), "force": False}
RECORD = {
    "schema": 2,
    "boot": "b",
    "instances": {"VIP_1": SPEC},
    "everything": {**EVERYTHING, "addresses": []},
    "known": ["10.0.0.4", "10.0.0.5", "fd00::6"],
}
FIVE_AND_SIX = frozenset(map(ip_address, ("10.0.0.5", "fd00::6")))
KNOWN = FIVE_AND_SIX | {ip_address("10.0.0.4")}


def changed(**changes: Any) -> str:  # noqa: ANN401 - of JSON
    return json.dumps({**RECORD, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 1}, "it is no record of schema 2"),
        ({"instances": []}, "it is no record: Expected `object`, got `array` - at `$.instances`"),
        ({"instances": {"../x": SPEC}}, "Expected `str` matching regex"),
        ({"instances": {"VIP_1\n": SPEC}}, "Expected `str` matching regex"),
        ({"instances": {"VIP_1": 5}}, "Expected `object`, got `int` - at `$.instances[...]`"),
        ({"instances": {"VIP_1": {**SPEC, "force": None}}}, "got `null` - at `$.instances[...]."),
        ({"everything": {**SPEC, "until": "soon"}}, "got `str` - at `$.everything.until`"),
        ({"everything": {**SPEC, "seconds": 1e300}}, "`float` < 1000000000000000.0 - at"),
        ({"everything": {**SPEC, "until": float("nan")}}, "Expected `float` > -10000"),
        ({"instances": {"VIP_1": {**SPEC, "addresses": None}}}, "`null` - at `$.instances[...].a"),
        ({"instances": {"VIP_1": EVERYTHING}}, "missing required field `addresses`"),
        ({"instances": {"VIP_1": {**SPEC, "addresses": ["x"]}}}, "'x' does not appear to be an"),
        ({"known": "10.0.0.5"}, "Expected `array`, got `str` - at `$.known`"),
        ({"known": [5]}, "Expected `str`, got `int` - at `$.known[0]`"),
        ({"known": ["VIP_1"]}, "'VIP_1' does not appear to be an IPv4 or IPv6 address"),
        ({"boot": 5}, "Expected `str`, got `int` - at `$.boot`"),
    ],
)
def test_a_damaged_record_is_refused(changes: dict[str, object], said: str) -> None:
    """A name that is no instance's cannot lead to a file elsewhere."""
    with pytest.raises(ValueError, match=re.escape(said)):
        decode_record(changed(**changes), CLOCK)


def test_a_record_is_written_and_read() -> None:
    """Its text is that of the first release, which may be the next or the former agent."""
    spec = DrainSpec(is_forced=True, until=70.0)
    held = Target(
        addresses=frozenset({ip_address("fd00::6")}), excluded=frozenset({ip_address("10.0.0.5")})
    )
    free = Target(addresses=frozenset({ip_address("10.0.0.4")}))
    drains = {
        "VIP_1": InstanceDrain(target=held, phase=DrainPhase.DRAINED, spec=spec),
        "VIP_2": InstanceDrain(target=free, phase=DrainPhase.PENDING, spec=spec),
    }
    text = encode_record(fsm.DrainState(drains=drains, everything=DrainSpec()), CLOCK)
    assert json.dumps(RECORD, sort_keys=True) == json.dumps(json.loads(text), sort_keys=True)
    assert decode_record(text, CLOCK) == DrainsRestored(
        records={"VIP_1": fsm.Record(spec=spec, addresses=FIVE_AND_SIX)},
        everything=DrainSpec(),
        known=KNOWN,
    )
    nothing = decode_record(changed(everything=None, instances={}), CLOCK)
    assert DrainsRestored(records={}, known=KNOWN) == nothing


@pytest.mark.parametrize(
    ("boot", "now", "times", "left"),
    [
        ("b", (9999.0, 30.0), (1100.0, 50.0, 100.0), 20),
        ("b", (1000.0, 60.0), (1100.0, 50.0, 100.0), 0),
        ("c", (1060.0, 30.0), (1100.0, 50.0, 100.0), 40),
        ("c", (2000.0, 30.0), (1100.0, 50.0, 100.0), 0),
        ("c", (10.0, 30.0), (1100.0, 50.0, 100.0), 100),
        ("", (1060.0, 30.0), (1100.0, 50.0, 100.0), 40),
        ("b", (0.0, 5.0), (None, None, 100.0), 100),
        ("b", (0.0, 0.0), (None, None, None), None),
    ],
    ids=[
        *("same boot", "over", "after a boot", "over after a boot", "wall clock set back"),
        *("no boot known", "no clock", "no end"),
    ],
)
def test_time_goes_on_between_two_agents(
    boot: str,
    now: tuple[float, float],
    times: tuple[float | None, float | None, float | None],
    left: float | None,
) -> None:
    """By the clock of the boot, or else by the wall clock, never longer than it was."""
    until, until_monotonic, seconds = times
    spec = {**SPEC, "until": until, "until_monotonic": until_monotonic, "seconds": seconds}
    text = changed(boot=boot and "b", instances={"VIP_1": spec}, everything=spec)
    wall, monotonic = now
    found = decode_record(text, DrainClock(boot=boot, wall=wall, monotonic=monotonic))
    expected = DrainSpec(is_forced=True, until=None if left is None else monotonic + left)
    assert expected == found.records["VIP_1"].spec == found.everything
