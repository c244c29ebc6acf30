"""When addresses are announced: never too many frames, none forgotten, first come first served."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.conflict import announcing
from ipfailover_agent.conflict.announcing import FRAMES_A_SECOND, Announcer
from ipfailover_agent.model import IPAddress

ROUNDING = 1e-6

addresses = st.integers(1, 40).map(lambda number: IPv4Address(f"192.0.2.{number}"))
batches = st.lists(addresses, max_size=40)
#: Seconds that pass, and what is added then.
days = st.lists(st.tuples(st.floats(0, 3), batches), min_size=1, max_size=40)


def numbered(*numbers: int) -> tuple[IPAddress, ...]:
    return tuple(IPv4Address(f"192.0.2.{each}") for each in numbers)


def drained(state: Announcer, now: float) -> list[tuple[float, IPAddress]]:
    """Wake only at deadlines, until nothing waits; return when what was sent."""
    sent: list[tuple[float, IPAddress]] = []
    while (deadline := state.deadline) is not None:
        now = max(now, deadline) + ROUNDING
        state, frames = announcing.due(state, now)
        assert frames, "a deadline without anything to do would keep the loop busy"
        sent += [(now, each) for each in frames]
    return sent


def test_a_quiet_announcer_sends_a_burst_at_once_and_then_ten_a_second() -> None:
    """254 addresses after a takeover take some 24 seconds."""
    everything = tuple(IPv4Address(f"192.0.2.{each}") for each in range(1, 255))
    sent = drained(announcing.enqueue(Announcer(), everything), 100.0)
    assert [100.0 + ROUNDING] * 10 == [at for at, _ in sent[:10]]
    assert list(everything) == [address for _, address in sent]
    assert 24.4 <= sent[-1][0] - 100.0 < 24.5


def test_what_is_urgent_goes_at_once_and_first() -> None:
    """All of it, as at a takeover; the pace of the others is what it was."""
    everything = tuple(IPv4Address(f"198.51.100.{each}") for each in range(1, 255))
    waiting = tuple(IPv4Address(f"192.0.2.{each}") for each in range(1, 41))
    state = announcing.enqueue(Announcer(), (*waiting, everything[7]))
    state, first = announcing.due(state, 100.0)
    assert waiting[:10] == first
    sent = drained(announcing.urge(state, (*everything, everything[0])), 100.0)
    assert list(everything) == [address for at, address in sent if at < 100.01]
    later = [(at, address) for at, address in sent if at > 100.01]
    assert list(waiting[10:]) == [address for _, address in later]
    assert 102.9 <= later[-1][0] <= 103.1


def test_permission_for_what_was_urgent_is_not_kept() -> None:
    """It was dropped meanwhile: the others have no use of it."""
    everything = tuple(IPv4Address(f"198.51.100.{each}") for each in range(1, 255))
    state = announcing.drop(announcing.urge(Announcer(), everything), everything)
    state, none = announcing.due(state, 100.0)
    assert none == ()
    state = announcing.enqueue(state, everything)
    assert len(announcing.due(state, 100.0)[1]) == 10


def test_an_announcer_with_nothing_to_send_has_no_deadline() -> None:
    """The loop sleeps."""
    assert Announcer().deadline is None
    assert announcing.due(Announcer(), 5.0)[1] == ()


def test_an_address_waits_once_however_often_it_is_asked_for() -> None:
    """Ten contests over one address are one frame."""
    state = announcing.enqueue(Announcer(), numbered(1, 2, 1))
    state = announcing.enqueue(state, numbered(2, 3))
    assert numbered(1, 2, 3) == state.queue


def test_what_is_no_longer_held_is_not_announced() -> None:
    """An instance that leaves MASTER takes its addresses out of the queue."""
    state = announcing.enqueue(Announcer(), numbered(1, 2, 3))
    assert numbered(1, 3) == announcing.drop(state, numbered(2, 4)).queue


def test_time_that_goes_backwards_gives_no_allowance() -> None:
    """Nothing is refilled and nothing raises."""
    state, _ = announcing.due(announcing.enqueue(Announcer(), numbered(*range(1, 21))), 100.0)
    assert announcing.due(state, 50.0)[1] == ()


@given(days)
def test_no_window_of_time_sees_more_than_a_burst_and_the_rate(
    day: list[tuple[float, list[IPAddress]]],
) -> None:
    """Over any window of W seconds: at most 10 frames and 10 more for each second of it."""
    state, now, sent = Announcer(), 1000.0, list[float]()
    for passed, batch in day:
        now += passed
        state, frames = announcing.due(announcing.enqueue(state, batch), now)
        sent += [now] * len(frames)

    for first, begin in enumerate(sent):
        for last in range(first, len(sent)):
            allowed = 10 + FRAMES_A_SECOND * (sent[last] - begin)
            assert last - first + 1 <= allowed + ROUNDING


@given(days)
def test_every_address_goes_in_its_turn_whatever_is_added_later(
    day: list[tuple[float, list[IPAddress]]],
) -> None:
    """Nothing starves: what waits behind n others goes within n / 10 seconds and a tenth."""
    state, now = Announcer(), 1000.0
    due_by: dict[IPAddress, float] = {}
    order: list[IPAddress] = []
    sent: list[IPAddress] = []

    def let_pass(state: Announcer, until: float) -> Announcer:
        while (deadline := state.deadline) is not None and deadline + ROUNDING <= until:
            at = deadline + ROUNDING
            state, frames = announcing.due(state, at)
            for each in frames:
                assert at <= due_by.pop(each) + 1e-3
            sent.extend(frames)
        return state

    for passed, batch in day:
        state = let_pass(state, now + passed)
        now += passed
        before = len(state.queue)
        state = announcing.enqueue(state, batch)
        for place, each in enumerate(state.queue[before:], before + 1):
            due_by[each] = max(now, state.refilled_at) + place / FRAMES_A_SECOND
            order.append(each)
    let_pass(state, now + 1000)

    assert order == sent
    assert due_by == {}
