"""One drain: every row of the table in core/drains/drain.py."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from ipfailover_agent.core.drains import drain
from ipfailover_agent.core.drains.drain import Drain, Order, Phase, Policy, Sighting, Subject, step
from ipfailover_agent.core.model import (
    Advertisement,
    Family,
    Preemption,
    PreemptionMode,
    VirtualAddress,
    VrrpInstance,
)

POLICY = Policy()
FIVE, SIX = ip_address("10.0.0.5"), ip_address("10.0.0.6")
SUBJECT = Subject(addresses=frozenset({FIVE}))
FREE = Drain(subject=SUBJECT)
FORCED = Order(is_forced=True)


def sighting(at: float, *, mac: int = 2, **changes: object) -> Sighting:
    """Return an advert of 10.0.0.<mac> for 10.0.0.5."""
    seen = Sighting(
        mac=bytes([mac] * 6),
        router_id=11,
        source=f"10.0.0.{mac}",
        addresses=frozenset({FIVE}),
        interval=1.0,
        at=at,
    )
    return replace(seen, **changes)


def run(state: Drain, *events: tuple[float, drain.Event]) -> tuple[Drain, list[drain.Action]]:
    """Return the state and everything that was done after events at their times."""
    done: list[drain.Action] = []
    for now, event in events:
        state, actions = step(state, event, now, POLICY)
        done += actions
    return state, done


def asked(*, is_master: bool = True, order: Order | None = None) -> drain.Asked:
    return drain.Asked(order=order or Order(), is_master=is_master)


def heard(at: float, **changes: object) -> tuple[float, drain.Event]:
    return at, drain.Heard(sighting=sighting(at, **changes))  # type: ignore[arg-type]


def passed(blind: str = "") -> drain.DeadlinePassed:
    return drain.DeadlinePassed(blind=blind)


LEAVING, _ = run(FREE, (0, asked()))
MOVING, _ = run(LEAVING, (0, drain.Demoted()))
PROVING, _ = run(FREE, (0, asked(is_master=False)))
HELD, _ = run(MOVING, heard(1))


def test_a_master_is_held_at_once_and_settled_when_somebody_serves() -> None:
    """The ordinary way."""
    state, done = run(FREE, (0, asked()), heard(0.2))
    assert [drain.Hold(), drain.Settled(holder="10.0.0.2")] == done
    assert (Phase.HELD, "10.0.0.2", True) == (state.phase, state.holder, state.is_held)


def test_a_backup_is_held_only_once_somebody_serves() -> None:
    """Nothing is set before; that it does not serve says nothing of others."""
    state, done = run(FREE, (0, asked(is_master=False)))
    assert (Phase.PROVING, []) == (state.phase, done)
    state, done = run(state, heard(0.9))
    assert [drain.Hold(), drain.Settled(holder="10.0.0.2")] == done


def test_a_backup_that_becomes_master_is_not_drained() -> None:
    """Then nobody else was there."""
    state, done = run(PROVING, (3, drain.Promoted()))
    cause = "it became MASTER itself: nobody else serves it"
    assert (Phase.FREE, [drain.Freed(cause=cause, is_undone=True)]) == (state.phase, done)


@pytest.mark.parametrize("state", [MOVING, HELD], ids=["moving", "held"])
def test_a_line_that_comes_late_frees_nothing_that_is_held(state: Drain) -> None:
    """MASTER was told of before the hold file took effect."""
    assert (state, []) == run(state, (1.1, drain.Promoted()))


@pytest.mark.parametrize(
    ("state", "at", "words"),
    [
        (MOVING, 5.0, "nobody took over within 5 s"),
        (PROVING, 5.0, "nobody else was heard to serve it within 5 s"),
        (HELD, 6.0, "10.0.0.2 had taken over, and nobody was heard to serve it within 5 s"),
    ],
    ids=["moving", "proving", "held"],
)
def test_silence_undoes_it(state: Drain, at: float, words: str) -> None:
    """Not a moment sooner than the deadline says; what was not held is not released."""
    assert at == state.deadline(POLICY)
    assert (state, []) == run(state, (at - 0.01, passed()))
    after, done = run(state, (at, passed()))
    expected = [drain.Release()] if state.is_held else []
    assert [*expected, drain.Freed(cause=words, is_undone=True)] == done
    assert after == FREE


def test_silence_counts_from_the_moment_it_leaves_master() -> None:
    """Until then it serves; keepalived may be busy, but not for ever."""
    state, done = run(LEAVING, (3, drain.Demoted()))
    assert (8.0, []) == (state.deadline(POLICY), done)
    assert (state, []) == run(state, (4, drain.Demoted()))
    assert 10.0 == LEAVING.deadline(POLICY)
    _, done = run(LEAVING, (10, passed()))
    cause = "keepalived was not seen to leave MASTER within 10 s"
    assert [drain.Release(), drain.Freed(cause=cause, is_undone=True)] == done


def test_being_blind_is_the_cause_where_it_is() -> None:
    """The wire is not watched any more."""
    _, done = run(HELD, (6, passed("no socket")))
    assert [drain.Release(), drain.Freed(cause="no socket", is_undone=True)] == done


def test_without_a_link_what_was_taken_over_stays_drained() -> None:
    """Letting go would give nobody the address; what nobody took over is let go all the same."""
    state, done = run(HELD, (6, drain.DeadlinePassed(has_link=False)))
    assert (11.0, []) == (state.deadline(POLICY), done)
    state, done = run(MOVING, (5, drain.DeadlinePassed(has_link=False)))
    assert Phase.FREE is state.phase


def test_a_subject_is_what_an_instance_serves() -> None:
    """Its adverts list some of the addresses, as a rule all."""
    instance = VrrpInstance(
        number=1,
        name="VIP_1",
        family=Family.IPV4,
        interface="eth0",
        virtual_router_id=11,
        priority=100,
        preemption=Preemption(mode=PreemptionMode.PREEMPT),
        advertisement=Advertisement(version=3, interval=0.5),
        password=None,
        virtual_addresses=(VirtualAddress(address=FIVE),),
        excluded_addresses=(VirtualAddress(address=SIX),),
    )
    assert Subject(
        addresses=frozenset({FIVE}), excluded=frozenset({SIX}), version=3, advert_interval=0.5
    ) == Subject.of(instance)


def test_force_holds_whatever_is_heard() -> None:
    """At once, also a backup; the verdict says that nobody took over, and then nothing is due."""
    state, done = run(FREE, (0, asked(is_master=False, order=FORCED)))
    assert [drain.Hold()] == done
    state, done = run(state, (5, passed()))
    assert [drain.Settled(holder="")] == done
    assert state.deadline(POLICY) is None
    assert (state, []) == run(state, (500, passed()))
    state, done = run(state, heard(600))
    assert ("10.0.0.2", []) == (state.holder, done)


@pytest.mark.parametrize("is_forced", [False, True], ids=["watched", "forced"])
@pytest.mark.parametrize("is_master", [False, True], ids=["backup", "master"])
def test_it_ends_when_its_time_is_over(*, is_forced: bool, is_master: bool) -> None:
    """Whatever else is the case; that is not called undone."""
    order = Order(is_forced=is_forced, until=7.0)
    state, _ = run(FREE, (0, asked(order=order, is_master=is_master)), heard(3), heard(6.5))
    assert 7.0 == state.deadline(POLICY)
    state, done = run(state, (7, passed()))
    assert [drain.Release(), drain.Freed(cause="its time is over")] == done
    assert Phase.FREE is state.phase


@pytest.mark.parametrize("state", [MOVING, PROVING, HELD], ids=["moving", "proving", "held"])
def test_undraining_frees_from_everywhere(state: Drain) -> None:
    """And twice is as good as once."""
    state, done = run(state, (1, drain.Ended(cause="undrained")))
    assert drain.Freed(cause="undrained") == done[-1]
    assert (FREE, []) == run(state, (2, drain.Ended(cause="undrained")))


def test_somebody_who_serves_a_part_has_not_taken_over() -> None:
    """All addresses must be served, by one or by several between them."""
    both = replace(FREE, subject=Subject(addresses=frozenset({FIVE, SIX})))
    state, done = run(both, (0, asked()), heard(1))
    assert [drain.Hold()] == done
    _, done = run(state, heard(1.5, mac=3, addresses=frozenset({SIX})))
    assert [drain.Settled(holder="10.0.0.2 and 10.0.0.3")] == done
    _, done = run(state, (1, drain.Demoted()), heard(4), (6, passed()))
    cause = "nobody serves 10.0.0.6, though others of its addresses are served"
    assert drain.Freed(cause=cause, is_undone=True) == done[-1]


def test_who_says_goodbye_serves_no_more() -> None:
    """What it listed counts for nothing from then on; its successor has the full time."""
    state, done = run(HELD, (1.5, drain.Left(mac=bytes([2] * 6), router_id=11)))
    assert ((), []) == (state.sightings, done)
    assert 6.0 == state.deadline(POLICY)
    state, done = run(state, heard(2, mac=3))
    assert ("10.0.0.3", 7.0, []) == (state.holder, state.deadline(POLICY), done)
    assert (state, []) == run(state, (2.5, drain.Left(mac=bytes([3] * 6), router_id=12)))


def test_who_was_heard_long_ago_serves_no_more() -> None:
    """Two halves at different times are no whole."""
    both = replace(FREE, subject=Subject(addresses=frozenset({FIVE, SIX})))
    first = asked(order=FORCED)
    _, done = run(both, (0, first), heard(1), heard(7, mac=3, addresses=frozenset({SIX})))
    assert [drain.Hold()] == done


def test_a_slow_advertiser_is_waited_for() -> None:
    """Three of its own intervals; in version 3 the skew is one of them as well."""
    state, _ = run(MOVING, heard(1, interval=10.0))
    assert 1 + 30 + 1 + 1 == state.deadline(POLICY)
    fast = Drain(subject=replace(SUBJECT, version=3, advert_interval=0.1))
    assert pytest.approx(0.3 + 0.1 + 1) == fast.patience(POLICY)


def test_time_in_which_the_loop_stood_still_counts_for_nothing() -> None:
    """What came meanwhile was not heard."""
    state, _ = run(HELD, (60, drain.Gap(seconds=58.5)))
    assert 59.5 + 5 == state.deadline(POLICY)
    assert "10.0.0.2" == state.holder
    assert 60 == run(HELD, (60, drain.Gap(seconds=300)))[0].anchor


def test_asking_again_replaces_the_order() -> None:
    """It is settled at once where somebody serves, and else watched anew."""
    state, done = run(HELD, (2, asked(order=Order(until=100.0))))
    assert [drain.Settled(holder="10.0.0.2")] == done
    assert Order(until=100.0) == state.order

    forced, _ = run(FREE, (0, asked(order=FORCED)), (10, passed()))
    state, done = run(forced, (50, asked(is_master=False)))
    assert (Phase.MOVING, 55.0, []) == (state.phase, state.deadline(POLICY), done)

    state, done = run(PROVING, (2, asked(is_master=False, order=FORCED)))
    assert (Phase.MOVING, [drain.Hold()]) == (state.phase, done)


def test_a_reload_begins_the_watch_anew() -> None:
    """With the new addresses; nobody is asked to have heard of them before."""
    subject = Subject(addresses=frozenset({FIVE, SIX}))
    state, done = run(HELD, (4, drain.Reconfigured(subject=subject)))
    assert (9.0, [], subject) == (state.deadline(POLICY), done, state.subject)


def test_nothing_matters_to_what_is_not_drained() -> None:
    """And nothing is ever due."""
    events = (passed(), drain.Promoted(), drain.Gap(seconds=5), heard(1)[1])
    assert (FREE, []) == run(FREE, *((1, each) for each in events))
    assert FREE.deadline(POLICY) is None


def test_so_many_senders_are_remembered_and_no_more() -> None:
    """Somebody may invent them."""
    state, _ = run(MOVING, *(heard(1 + each / 1000, router_id=each) for each in range(300)))
    assert POLICY.sightings_limit == len(state.sightings)
