"""Why an instance changed its state, from what a node can know."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ipfailover_agent.model import VrrpState
from ipfailover_agent.status import transition
from ipfailover_agent.status.transition import Knowledge, KnownSince, NewestAdvert, Withholding
from ipfailover_agent.status.transition import TransitionCause as Cause
from ipfailover_agent.status.transition import TransitionKind as Kind

INIT, BACKUP, MASTER = VrrpState.INIT, VrrpState.BACKUP, VrrpState.MASTER
FAULT, STOP, DELETED = VrrpState.FAULT, VrrpState.STOP, VrrpState.DELETED
NOW = 1000.0
STARTED = Cause(kind=Kind.STARTED, text="started")


def why(previous: VrrpState, state: VrrpState, **known: Any) -> tuple[str, str]:  # noqa: ANN401
    """Return kind and sentence; our priority is 100."""
    cause = transition.infer(
        Knowledge(**{"previous": previous, "state": state, "now": NOW, "priority": 100, **known})
    )
    return cause.kind.value, cause.text


def takes_over(*sightings: NewestAdvert, **known: Any) -> tuple[str, str]:  # noqa: ANN401
    """Return why a BACKUP has become MASTER."""
    return why(BACKUP, MASTER, sightings=sightings, **known)


def advert(ago: float, priority: int = 50, *, host: int = 12, **fields: object) -> NewestAdvert:
    """Return an advert of another node."""
    plain = NewestAdvert(source=f"10.0.0.{host}", priority=priority, at=NOW - ago)
    return replace(plain, **fields)


def higher(ago: float) -> NewestAdvert:
    """Return an advert of a node that ranks higher."""
    return advert(ago, 200, ranks_higher=True)


def was(kind: Kind, text: str = "a cause") -> Cause:
    return Cause(kind=kind, text=text)


# --- MASTER -------------------------------------------------------------------------------------


def test_a_master_that_said_that_it_leaves_has_handed_over() -> None:
    """Priority 0 was its last word."""
    kind, text = takes_over(advert(9, host=13), advert(0.03, 0))
    assert "handover" == kind
    assert text.startswith("priority-0 advert of 10.0.0.12: planned handover")


def test_a_master_that_fell_silent_is_named_with_how_long_ago() -> None:
    """By its last advert."""
    kind, text = takes_over(advert(60, 0, host=13), advert(3.2))
    assert "silence" == kind
    assert text.startswith("no advert for the master-down time (the last one of 10.0.0.12, 3.2 s")


def test_nobody_was_ever_heard() -> None:
    """The first node that starts."""
    expected = ("silence", "no advert for the master-down time (no other node heard)")
    assert expected == takes_over()


@pytest.mark.parametrize("is_wire_watched", [True, False])
def test_a_master_of_a_lower_rank_is_passed_over(*, is_wire_watched: bool) -> None:
    """keepalived's word for it, or its adverts that go on."""
    told = KnownSince(text="outranks 10.0.0.12 (priority 50)", at=NOW - 0.9)
    found = takes_over(preempted=told, is_wire_watched=is_wire_watched)
    assert ("preempted", told.text) == found
    going_on = ("preempted", "outranks 10.0.0.12 (priority 50, this node 100)")
    assert going_on == takes_over(advert(0.9))


def test_what_was_passed_over_long_ago_explains_nothing() -> None:
    """The next election is another one."""
    told = KnownSince(text="outranks 10.0.0.12 (priority 50)", at=NOW - 30)
    assert "silence" == takes_over(advert(3.2), preempted=told)[0]


def test_a_master_that_keepalived_does_not_take_is_not_silent() -> None:
    """A firewall: the wire shows what keepalived never gets."""
    text = "adverts of 10.0.0.12 (priority 200) arrive and keepalived does not take them"
    assert ("uncounted", text) == takes_over(higher(0.5), advert(0.4, host=13))


FOREIGN = "10.0.0.77 uses router id 11 for other addresses"


def foreign(ago: float, *, is_dropped: bool = False) -> NewestAdvert:
    """Return an advert of a router with our id, of the highest priority."""
    fields = {"foreign": FOREIGN, "is_dropped": is_dropped}
    return advert(ago, 255, host=77, ranks_higher=True, **fields)


def test_a_master_beside_another_speaker_of_its_id_was_shaken() -> None:
    """Its adverts stopped, and the other's did not: it is not dead, nor behind a firewall."""
    kind, text = takes_over(higher(3.2), foreign(0.3))
    assert "id shared" == kind
    assert text.startswith("the adverts of 10.0.0.12 stopped (the last one 3.2 s ago) since")
    assert FOREIGN in text
    assert "OPENSHIFT_HA_VRRP_ID_OFFSET" in text


def test_a_master_that_answers_a_takeover_was_silent_before() -> None:
    """It hears that a lower rank took over, and says at once that it is there."""
    answered = replace(higher(0.0), gap=3.3)
    kind, text = takes_over(foreign(0.3), answered)
    assert "id shared" == kind
    assert "(the last one 3.3 s ago)" in text
    assert "silence" == takes_over(answered)[0]
    going_on = replace(answered, gap=1.0)
    assert "uncounted" == takes_over(foreign(0.3), going_on)[0]


def test_the_longest_gap_that_ended_just_now_counts() -> None:
    """A MASTER answers twice at once; later it goes on as ever."""
    known: tuple[NewestAdvert, ...] = ()
    found = []
    for at in (100.0, 101.0, 104.5, 104.6, 105.6, 106.6, 107.6):
        known = transition.seen(known, replace(advert(0, 200), at=at))
        found.append(known[-1].gap)
    assert [None, 1.0, 3.5, 3.5, 3.5, 1.0, 1.0] == [gap and round(gap, 3) for gap in found]


def test_another_speaker_that_is_dropped_here_explains_less() -> None:
    """Other nodes may drop it, too; the master may have died."""
    kind, text = takes_over(higher(3.2), foreign(0.3, is_dropped=True))
    assert "silence" == kind
    assert text.endswith(f"it died, or the network lost it, or it is shaken: {FOREIGN}")
    assert "silence" == takes_over(advert(3.2), foreign(9))[0]


def test_another_speaker_of_our_id_is_no_master() -> None:
    """Nobody of ours was heard, nobody outranks us."""
    text = f"no advert for the master-down time (no other node heard; {FOREIGN})"
    assert ("silence", text) == takes_over(foreign(0.3))
    assert "address lost" == why(MASTER, BACKUP, sightings=(foreign(0.3),))[0]


def test_other_speakers_are_no_reason_to_forget_nodes() -> None:
    """One node may be both."""
    known = transition.seen((), advert(9, 200))
    for host in range(20, 40):
        known = transition.seen(known, replace(foreign(1), source=f"10.0.0.{host}"))
    known = transition.seen(known, replace(foreign(0), source="10.0.0.12"))
    assert 9 == len(known)
    assert [False, True] == [bool(each.foreign) for each in known if each.source == "10.0.0.12"]


def test_without_a_look_at_the_wire_nobody_knows() -> None:
    """And it says so."""
    kind, text = takes_over(is_wire_watched=False)
    assert "unknown" == kind
    assert "no adverts are watched" in text


@pytest.mark.parametrize("kind", [Kind.LEASE_LAPSED, Kind.ADDRESS_LOST])
def test_an_address_that_keepalived_sets_again_was_no_election(kind: Kind) -> None:
    """It needs less than an advert interval for it; an election needs three."""
    assert (kind.value, "a cause") == takes_over(before=was(kind), lasted=0.4)
    assert "silence" == takes_over(before=was(kind), lasted=3.4)[0]
    assert "silence" == takes_over(before=was(kind), lasted=None)[0]


# --- BACKUP -------------------------------------------------------------------------------------


def test_keepalived_says_for_whom_it_steps_down() -> None:
    """Word for word as it knows it."""
    told = KnownSince(text="advert of higher priority 200 from 10.0.0.12", at=NOW)
    assert ("outranked", told.text) == why(MASTER, BACKUP, outranked=told)


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        (200, "advert of higher priority 200 from 10.0.0.12"),
        (100, "advert of equal priority 100 from 10.0.0.12, whose address is higher"),
    ],
)
def test_the_wire_says_it_where_keepalived_s_line_was_late(priority: int, expected: str) -> None:
    """The highest rank that was just heard."""
    sightings = (advert(0.01, priority, ranks_higher=True), advert(0.0, host=13))
    assert ("outranked", expected) == why(MASTER, BACKUP, sightings=sightings)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (was(Kind.CHECK_FAILED), ("check passed", "the check succeeds again")),
        (was(Kind.HELD, "held: x"), ("released", "let go again, it was held: x")),
        (was(Kind.DRAINED), ("undrained", "the drain has ended")),
        (was(Kind.INTERFACE_DOWN), ("interface up", "the interface is up again")),
        (
            was(Kind.INTERFACE_DOWN, "interface eth0 has no IPv4 address"),
            ("interface up", "the interface has its address again"),
        ),
        (STARTED, ("started", "started")),
        (was(Kind.UNKNOWN), ("unknown", "unknown: FAULT has ended, its cause was a cause")),
    ],
    ids=lambda each: each.kind.name if isinstance(each, Cause) else "",
)
def test_the_end_of_a_fault_answers_its_beginning(
    before: Cause, expected: tuple[str, str]
) -> None:
    """What kept it back is over."""
    assert expected == why(FAULT, BACKUP, before=before)


# --- FAULT --------------------------------------------------------------------------------------

HELD = Withholding(reason="contest", text="adverts of 10.0.0.12 are refused: other password")
DRAINED = Withholding(reason=transition.DRAIN, text="drained: maintenance")


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"check_failure": "cannot reach port 80"}, "check failed: cannot reach port 80"),
        ({"check_failure": ""}, "check failed: it does not say why"),
        ({"withholdings": (HELD,)}, f"held: {HELD.text}"),
        ({"withholdings": (HELD,), "check_failure": "x"}, f"held: {HELD.text}"),
        ({"withholdings": (HELD, DRAINED), "link_failure": "x"}, DRAINED.text),
        ({"link_failure": "interface eth0 is down"}, "interface eth0 is down"),
        (
            {"link_failure": "interface eth0 is gone", "withholdings": (HELD,)},
            "interface eth0 is gone",
        ),
        (
            {"sender": "the IPv4 address of eth0"},
            (
                "the IPv4 address of eth0 was gone for a moment: another program removed it and "
                "set it again, as network managers do"
            ),
        ),
        ({"sender": "x", "check_failure": "cannot reach"}, "check failed: cannot reach"),
        ({}, "unknown: no check failed, nothing is held, the interface is up"),
    ],
    ids=str,
)
def test_a_fault_has_the_cause_that_is_there(known: dict[str, Any], expected: str) -> None:
    """What was asked for first, then what nothing here can mend, then ours, then the check."""
    assert expected == why(MASTER, FAULT, **known)[1]


# --- the beginning and the end ------------------------------------------------------------------

OLD = KnownSince(text="advert of higher priority", at=NOW - 60)
STOPPED = was(Kind.STOPPED, "the agent stops")
#: What keepalived reports and what is known besides -> the kind and the sentence, where it counts.
SINGLE: dict[str, tuple[VrrpState, VrrpState, dict[str, Any], tuple[str, ...]]] = {
    "a lease that lapsed": (MASTER, BACKUP, {"lapsed_at": NOW - 0.2}, ("lease lapsed",)),
    "an address that another program removed": (
        *(MASTER, BACKUP, {"outranked": OLD, "lapsed_at": NOW - 60, "sightings": (advert(0.1),)}),
        ("address lost",),
    ),
    "no look at the wire": (MASTER, BACKUP, {"is_wire_watched": False}, ("unknown",)),
    **{
        f"{previous.name} to {state.name}, {name}": (previous, state, known, expected)
        for previous, state in ((INIT, BACKUP), (STOP, BACKUP), (INIT, FAULT))
        for name, known, expected in (
            ("keepalived started", {"start": STARTED}, ("started", "started")),
            ("just reloaded", {"start": STARTED, "reload_at": NOW - 0.1}, ("reloaded",)),
            ("not by this agent", {}, ("unknown",)),
        )
    },
    "FAULT of an unknown cause": (FAULT, BACKUP, {"start": STARTED}, ("started",)),
    "the agent ends it": (MASTER, STOP, {"ending": STOPPED}, ("stopped", "the agent stops")),
    "the end of all": (MASTER, DELETED, {"ending": STOPPED}, ("stopped", "the agent stops")),
    "no longer configured": (MASTER, DELETED, {}, ("reloaded",)),
    "an end without a request": (MASTER, STOP, {}, ("unknown",)),
    "the first state, which keepalived never reports": (STOP, INIT, {}, ("started",)),
}


@pytest.mark.parametrize(("previous", "state", "known", "expected"), SINGLE.values(), ids=SINGLE)
def test_a_single_fact_is_the_cause(
    previous: VrrpState, state: VrrpState, known: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """What the agent did itself, or has seen, just now."""
    assert expected == why(previous, state, **known)[: len(expected)]


# --- all of it ----------------------------------------------------------------------------------

causes = st.builds(Cause, kind=st.sampled_from(Kind), text=st.text())
times = st.none() | st.floats(NOW - 10, NOW)
told = st.none() | st.builds(KnownSince, text=st.text(), at=st.floats(NOW - 10, NOW))
sightings = st.builds(
    NewestAdvert,
    source=st.sampled_from(("10.0.0.12", "10.0.0.13")),
    priority=st.integers(0, 255),
    at=st.floats(NOW - 10, NOW),
    ranks_higher=st.booleans(),
)
knowledge = st.builds(
    Knowledge,
    **dict.fromkeys(("previous", "state"), st.sampled_from(VrrpState)),
    now=st.just(NOW),
    priority=st.integers(1, 255),
    advert_interval=st.floats(0.01, 255),
    sightings=st.lists(sightings, max_size=3).map(tuple),
    **dict.fromkeys(("outranked", "preempted"), told),
    **dict.fromkeys(("check_failure", "link_failure"), st.none() | st.text()),
    **dict.fromkeys(("before", "start", "ending"), st.none() | causes),
    lasted=st.none() | st.floats(0, 100),
    **dict.fromkeys(("lapsed_at", "reload_at"), times),
)


@given(knowledge)
def test_everything_has_an_answer(known: Knowledge) -> None:
    """Whatever is known; the same knowledge gives the same answer."""
    assert transition.infer(known) == transition.infer(known)


@given(st.lists(sightings, max_size=40))
def test_senders_are_remembered_once_and_not_too_many(adverts: list[NewestAdvert]) -> None:
    """The newest of each, the newest last."""
    known: tuple[NewestAdvert, ...] = ()
    for each in adverts:
        known = transition.seen(known, each)
        assert each == replace(known[-1], gap=None, gap_ended=0.0)
    assert len(known) == len({each.source for each in known}) <= 8


def test_of_many_senders_the_newest_are_remembered() -> None:
    """A network full of routers takes no room."""
    known: tuple[NewestAdvert, ...] = ()
    for host in range(1, 30):
        known = transition.seen(known, advert(0, host=host))
    assert [f"10.0.0.{host}" for host in range(22, 30)] == [each.source for each in known]
