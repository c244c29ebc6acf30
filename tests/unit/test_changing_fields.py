"""Copies with a few fields changed are what dataclasses.replace gives."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields, replace
from ipaddress import IPv4Address

import pytest

from ipfailover_agent.core.changing_fields import changer
from ipfailover_agent.core.rivalry.conflict import Contest
from ipfailover_agent.core.rivalry.rivals import ContestContext, Rival


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The smallest that one field can be changed of."""

    one: int
    other: int = 2


CONTEXT = ContestContext(
    addresses=(IPv4Address("198.51.100.1"),),
    virtual_router_id=3,
    priority=4,
    source=IPv4Address("192.0.2.1"),
    mac=b"123456",
)


@pytest.mark.parametrize(
    ("before", "names"),
    [
        pytest.param(Pair(one=1), ("other",), id="one of two"),
        pytest.param(Rival(mac=b"123456", first_seen=1.0), ("advert_at",), id="a rival"),
        pytest.param(Contest(context=CONTEXT), ("passed", "rivals", "second_at"), id="a contest"),
    ],
)
def test_a_copy_is_what_replace_gives(before: object, names: tuple[str, ...]) -> None:
    """Every other field is taken over, whatever it holds, and the original stays."""
    for each in fields(before):  # type: ignore[arg-type]
        object.__setattr__(before, each.name, object())  # each one of its own: none may be swapped
    values = {name: object() for name in names}
    untouched = replace(before)  # type: ignore[type-var]
    expected = replace(before, **values)  # type: ignore[type-var]
    assert expected == changer(type(before), *names)(before, *values.values())
    assert untouched == before


def test_a_copy_is_as_frozen_as_the_original() -> None:
    """Only its making goes past the lock."""
    copy = changer(Pair, "one")(Pair(one=1), 5)
    with pytest.raises(FrozenInstanceError):
        copy.one = 6  # type: ignore[misc]


@pytest.mark.parametrize("values", [(), (1, 2)], ids=["too few", "too many"])
def test_a_value_for_each_name_is_needed(values: tuple[int, ...]) -> None:
    """A field that is left out would be missing."""
    with pytest.raises(ValueError, match="zip"):
        changer(Pair, "one")(Pair(one=1), *values)
