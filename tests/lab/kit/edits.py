"""Random edits of a deployment's variables, as operators make them: pure, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

_FEWEST, _MOST = 2, 8
_PINS_FROM = 100
#: The first eight bytes, which are the password, are the same.
_NAMES = ("ipfailover", "ipfailover-b", "ipfailover.c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What a deployment's variables say; ``pool`` are the addresses that it may use."""

    pool: tuple[str, ...] = field(repr=False)
    addresses: tuple[str, ...]
    groups: int = 0
    offset: int = 10
    pins: tuple[tuple[str, int], ...] = ()
    excluded_ids: tuple[int, ...] = ()
    name: str = _NAMES[0]
    check_interval: int = 1
    priority: int = 0
    garp_refresh: int = 10

    def variables(self) -> dict[str, str]:
        """Return the variables without their prefix, the priority aside."""
        found = {
            "VIRTUAL_IPS": ",".join(self.addresses),
            "VIP_GROUPS": str(self.groups),
            "VRRP_ID_OFFSET": str(self.offset),
            "CONFIG_NAME": self.name,
            "CHECK_INTERVAL": str(self.check_interval),
            "GARP_REFRESH": str(self.garp_refresh),
        }
        if self.pins:
            found["VRRP_IDS"] = ",".join(f"{address}={number}" for address, number in self.pins)
        if self.excluded_ids:
            found["EXCLUDED_VRRP_IDS"] = ",".join(map(str, self.excluded_ids))
        return found


def edit(before: Deployment, random: Random) -> tuple[str, Deployment]:
    """Return what was edited, in words, and the deployment after it, which is another one."""
    while True:
        make = random.choice(_EDITS)
        after = _valid(make(before, random))
        if after.variables() != before.variables() or after.priority != before.priority:
            return make.__name__.strip("_").replace("_", " "), after


def _valid(found: Deployment) -> Deployment:
    """Keep pins to what may be pinned."""
    if found.groups:
        return replace(found, pins=())
    pins = tuple(each for each in found.pins if each[0] in found.addresses)
    return replace(found, pins=pins)


def _add(before: Deployment, random: Random) -> Deployment:
    free = [each for each in before.pool if each not in before.addresses]
    if not free or len(before.addresses) >= _MOST:
        return before
    addresses = list(before.addresses)
    addresses.insert(random.choice([len(addresses), random.randint(0, len(addresses))]), free[0])
    return replace(before, addresses=tuple(addresses))


def _remove(before: Deployment, random: Random) -> Deployment:
    if len(before.addresses) <= _FEWEST:
        return before
    gone = random.choice(before.addresses)
    return replace(before, addresses=tuple(each for each in before.addresses if each != gone))


def _replace_one(before: Deployment, random: Random) -> Deployment:
    free = [each for each in before.pool if each not in before.addresses]
    if not free:
        return before
    old, new = random.choice(before.addresses), random.choice(free)
    addresses = tuple(new if each == old else each for each in before.addresses)
    return replace(before, addresses=addresses)


def _swap_two(before: Deployment, random: Random) -> Deployment:
    addresses = list(before.addresses)
    one, other = random.sample(range(len(addresses)), 2)
    addresses[one], addresses[other] = addresses[other], addresses[one]
    return replace(before, addresses=tuple(addresses))


def _reorder(before: Deployment, random: Random) -> Deployment:
    return replace(before, addresses=tuple(random.sample(before.addresses, len(before.addresses))))


def _regroup(before: Deployment, random: Random) -> Deployment:
    return replace(before, groups=random.choice([0, 0, 1, 2, 3]))


def _move_the_ids(before: Deployment, random: Random) -> Deployment:
    return replace(before, offset=random.randint(9, 13))


def _pin(before: Deployment, random: Random) -> Deployment:
    chosen = random.sample(before.addresses, random.randint(1, len(before.addresses)))
    numbers = random.sample(range(_PINS_FROM, _PINS_FROM + _MOST), len(chosen))
    return replace(before, pins=tuple(zip(chosen, numbers, strict=True)))


def _pin_one_more(before: Deployment, random: Random) -> Deployment:
    pins = dict(before.pins)
    numbers = set(range(_PINS_FROM, _PINS_FROM + 2 * _MOST)) - set(pins.values())
    pins[random.choice(before.addresses)] = min(numbers)
    return replace(before, pins=tuple(pins.items()))


def _unpin(before: Deployment, random: Random) -> Deployment:
    kept = random.sample(before.pins, len(before.pins) // 2)
    return replace(before, pins=tuple(kept))


def _exclude_an_id(before: Deployment, random: Random) -> Deployment:
    return replace(before, excluded_ids=tuple(random.choice([(), (12,), (11, 14)])))


def _rename(before: Deployment, random: Random) -> Deployment:
    return replace(before, name=random.choice(_NAMES))


def _check_otherwise(before: Deployment, random: Random) -> Deployment:
    return replace(before, check_interval=random.choice([1, 2]))


def _rank_otherwise(before: Deployment, random: Random) -> Deployment:
    return replace(before, priority=random.choice([-10, 0, 5]))


def _announce_otherwise(before: Deployment, random: Random) -> Deployment:
    return replace(before, garp_refresh=random.choice([0, 10, 30]))


_EDITS: tuple[Callable[[Deployment, Random], Deployment], ...] = (
    _add,
    _add,
    _remove,
    _remove,
    _replace_one,
    _swap_two,
    _reorder,
    _regroup,
    _move_the_ids,
    _pin,
    _pin_one_more,
    _unpin,
    _exclude_an_id,
    _rename,
    _check_otherwise,
    _rank_otherwise,
    _announce_otherwise,
)
