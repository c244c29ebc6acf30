"""Instances that neither hear nor take over: dumps of keepalived -> deaf, and a restart, or not.

:func:`dumped` is pure. A BACKUP that works counts the master's adverts, or, where none come,
becomes MASTER within a master-down time. One that does neither for three of these has a socket
that leads nowhere: it is no backup, and where it is so on every node, the address is on none.

Times are monotonic seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.keepalived.liveness import Unchanged, unchanged
from ipfailover_agent.model import VrrpState
from ipfailover_agent.vrrp import timers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ipfailover_agent.keepalived.dump import InstanceDump

# After the first restart, the second, ... there is none for so many seconds.
PAUSES: Final = (300.0, 600.0, 1200.0)
FORGOTTEN_AFTER: Final = 1200.0  # seconds without a deaf instance: counting restarts begins anew
_MASTER_DOWN_TIMES: Final = 3
_VERSION: Final = 3  # whose skew time is never the shorter one


class Deafness(Struct, frozen=True, kw_only=True):
    """What is remembered.

    Attributes:
        standing: by name, what was BACKUP in the last dump.
        deaf: names, in the dump's order, and for how many seconds.
        restarts: because of deafness, since it was last forgotten.
        restart_at: when the last one was wanted.
        deaf_at: when an instance was deaf last.
    """

    standing: Mapping[str, Unchanged] = field(default_factory=dict)
    deaf: Mapping[str, float] = field(default_factory=dict)
    restarts: int = 0
    restart_at: float = 0.0
    deaf_at: float | None = None


def dumped(
    state: Deafness, instances: tuple[InstanceDump, ...], now: float, *, others_heard: bool
) -> tuple[Deafness, bool]:
    """Return the state after a dump, and whether to start keepalived anew.

    ``others_heard``: an advert of another node came lately. Without one, an instance that is
    MASTER here may be its address's only holder, and is left alone.
    """
    standing = {
        each.name: unchanged(state.standing, each, now)
        for each in instances
        if each.state is VrrpState.BACKUP
    }
    deaf = {
        each.name: now - standing[each.name].at
        for each in instances
        if each.name in standing and now - standing[each.name].at >= longest_silence(each)
    }
    state = replace(state, standing=standing, deaf=deaf)
    if not deaf:
        if state.deaf_at is not None and now - state.deaf_at >= FORGOTTEN_AFTER:
            state = replace(state, restarts=0, deaf_at=None)
        return state, False
    state = replace(state, deaf_at=now)
    pause = PAUSES[min(state.restarts, len(PAUSES)) - 1]
    is_early = state.restarts > 0 and now < state.restart_at + pause
    has_master = any(each.state is VrrpState.MASTER for each in instances)
    if is_early or (has_master and not others_heard):
        return state, False
    return replace(state, restarts=state.restarts + 1, restart_at=now), True


def count_anew(state: Deafness) -> Deafness:
    """Return the state once keepalived has ended, or the agent's loop stood still.

    Deafness is measured anew from the next dump on; the restarts stay counted.
    """
    return replace(state, standing={}, deaf={})


def longest_silence(instance: InstanceDump) -> float:
    """Return for how many seconds a BACKUP may count nothing: three master-down times."""
    interval = max(instance.advert_interval, instance.master_advert_interval)
    down = timers.master_down_interval(instance.effective_priority, _VERSION, interval)
    return _MASTER_DOWN_TIMES * down


def troubles(state: Deafness, interface: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return in sentences why the node is not ready; ``names`` are of all instances."""
    known = [each for each in names if each in state.deaf]
    if not known:
        return ()
    more = f" and {len(known) - 1} more" if len(known) > 1 else ""
    text = (
        f"{known[0]}{more} deaf on {interface}: BACKUP for {state.deaf[known[0]]:.0f} s in which"
        " keepalived counted no advert and did not become MASTER"
    )
    return (text,)
