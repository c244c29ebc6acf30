"""Instances that neither hear nor take over: dumps -> deaf, and a restart, or not."""

from __future__ import annotations

import pytest

from ipfailover_agent.keepalived import deafness
from ipfailover_agent.keepalived.deafness import Deafness
from ipfailover_agent.keepalived.dump import InstanceDump
from ipfailover_agent.model import VrrpState
from tests.support.dumps import instance_dump

BACKUP, MASTER = VrrpState.BACKUP, VrrpState.MASTER


def instance(
    state: VrrpState = BACKUP, *, heard: int = 0, name: str = "vi1", interval: float = 1.0
) -> InstanceDump:
    """Return one instance of a dump."""
    return instance_dump(state, name=name, heard=heard, interval=interval)


def dumps(
    state: Deafness, *at: float, of: tuple[InstanceDump, ...], others: bool = True
) -> tuple[Deafness, list[float]]:
    """Return the state after equal dumps at times, and when a restart was wanted."""
    wanted = []
    for now in at:
        state, is_due = deafness.dumped(state, of, now, others_heard=others)
        if is_due:
            wanted.append(now)
    return state, wanted


def test_three_master_down_times_without_a_word_are_deafness() -> None:
    """3 adverts and the skew, three times over: 10.5 s at priority 128."""
    assert 10.5 == deafness.longest_silence(instance())
    assert 21.0 == deafness.longest_silence(instance(interval=2.0))
    state, wanted = dumps(Deafness(), 0.0, 5.0, 10.0, of=(instance(),))
    assert ({}, []) == (state.deaf, wanted)
    state, wanted = dumps(state, 11.0, of=(instance(),))
    assert ({"vi1": 11.0}, [11.0]) == (state.deaf, wanted)


@pytest.mark.parametrize(
    "word",
    [instance(heard=1), instance(MASTER), instance(VrrpState.FAULT)],
    ids=["counts", "takes over", "in FAULT"],
)
def test_any_word_ends_the_silence(word: InstanceDump) -> None:
    """What counts, serves, or says that it cannot, is not deaf."""
    state, _ = dumps(Deafness(), 0.0, 10.0, of=(instance(),))
    state, _ = dumps(state, 11.0, of=(word,))
    state, wanted = dumps(state, 12.0, 21.0, of=(instance(heard=2),))
    assert ({}, []) == (state.deaf, wanted)


def test_restarts_come_ever_more_seldom() -> None:
    """One at once, then after 5, 10 and 20 minutes, and every 20 from then on."""
    state, found = Deafness(), []
    for second in range(0, 6000, 5):
        state, is_due = deafness.dumped(state, (instance(),), float(second), others_heard=True)
        if is_due:
            found.append(second)
            state = deafness.count_anew(state)
    assert [15, 315, 915, 2115, 3315, 4515, 5715] == found


def test_a_calm_time_lets_counting_begin_anew() -> None:
    """What mended it has mended it."""
    state, wanted = dumps(Deafness(), 0.0, 11.0, of=(instance(),))
    assert [11.0] == wanted
    state, _ = dumps(deafness.count_anew(state), 20.0, 1000.0, of=(instance(MASTER),))
    assert 1 == state.restarts
    state, _ = dumps(state, 1211.0, of=(instance(MASTER),))
    assert (0, None) == (state.restarts, state.deaf_at)


def test_a_master_here_that_may_be_the_only_one_is_left_alone() -> None:
    """No other node is heard: a restart would take its address from everybody."""
    both = (instance(), instance(MASTER, name="vi2"))
    state, wanted = dumps(Deafness(), 0.0, 11.0, 16.0, of=both, others=False)
    assert (["vi1"], []) == (list(state.deaf), wanted)
    _, wanted = dumps(state, 21.0, of=both, others=True)
    assert [21.0] == wanted
    _, wanted = dumps(Deafness(), 0.0, 11.0, of=(instance(),), others=False)
    assert [11.0] == wanted


def test_a_gap_begins_anew() -> None:
    """What was measured across it is worth nothing."""
    state, _ = dumps(Deafness(), 0.0, 5.0, of=(instance(),))
    _, wanted = dumps(deafness.count_anew(state), 11.0, 20.0, of=(instance(),))
    assert [] == wanted


def test_it_is_said_of_whom_and_where() -> None:
    """The first by name, and how many more."""
    both = (instance(), instance(name="vi2"))
    state, _ = dumps(Deafness(), 0.0, 11.0, of=both)
    (text,) = deafness.troubles(state, "eth0", ["vi1", "vi2"])
    assert text == (
        "vi1 and 1 more deaf on eth0: BACKUP for 11 s in which keepalived counted no advert and"
        " did not become MASTER"
    )
    assert () == deafness.troubles(Deafness(), "eth0", ["vi1"])
    (text,) = deafness.troubles(state, "eth0", ["vi2"])
    assert text.startswith("vi2 deaf on eth0")
