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


def change(previous: VrrpState, state: VrrpState, **known: object) -> dict[str, Any]:
    """Return what is known of a transition; our priority is 100."""
    return {"previous": previous, "state": state, "now": NOW, "priority": 100, **known}


def takes_over(*sightings: NewestAdvert, **known: object) -> dict[str, Any]:
    """Return what is known of a BACKUP that has become MASTER."""
    return change(BACKUP, MASTER, sightings=sightings, **known)


def steps_down(*sightings: NewestAdvert, **known: object) -> dict[str, Any]:
    """Return what is known of a MASTER that has become BACKUP."""
    return change(MASTER, BACKUP, sightings=sightings, **known)


def advert(ago: float, priority: int = 50, *, host: int = 12, **fields: object) -> NewestAdvert:
    """Return an advert of another node."""
    plain = NewestAdvert(source=f"10.0.0.{host}", priority=priority, at=NOW - ago)
    return replace(plain, **fields)


def higher(ago: float, priority: int = 200, **fields: Any) -> NewestAdvert:  # noqa: ANN401
    """Return an advert of a node that ranks higher."""
    return advert(ago, priority, ranks_higher=True, **fields)


def foreign(ago: float, *, is_dropped: bool = False) -> NewestAdvert:
    """Return an advert of a router with our id, of the highest priority."""
    return higher(ago, 255, host=77, foreign=FOREIGN, is_dropped=is_dropped)


def was(kind: Kind, text: str = "a cause") -> Cause:
    return Cause(kind=kind, text=text)


def told(ago: float, text: str) -> KnownSince:
    return KnownSince(text=text, at=NOW - ago)


FOREIGN = "10.0.0.77 uses router id 11 for other addresses"
NO_ADVERT = "no advert for the master-down time"
SILENT = f"{NO_ADVERT} (the last one of 10.0.0.12, 3.2 s ago): it died, or the network lost it"
LEFT = "priority-0 advert of 10.0.0.12"
UNTAKEN = "adverts of 10.0.0.12 (priority 200) arrive and keepalived does not take them"
LOWER = "outranks 10.0.0.12 (priority 50)"
HIGHER = "advert of higher priority 200 from 10.0.0.12"
EQUAL = "advert of equal priority 100 from 10.0.0.12, whose address is higher"
GONE = (
    "the IPv4 address of eth0 was gone for a moment: another program removed it and set it again, "
    "as network managers do"
)
STOPPED = was(Kind.STOPPED, "the agent stops")
HELD = Withholding(reason="contest", text="adverts of 10.0.0.12 are refused: other password")
DRAINED = Withholding(reason=transition.DRAIN, text="drained: maintenance")


def shared(seconds: float) -> tuple[str, str]:
    """Return the cause where a master is silent beside another speaker of its id."""
    return "id shared", (
        f"the adverts of 10.0.0.12 stopped (the last one {seconds} s ago) since the id is shared: "
        f"{FOREIGN}, and each of its adverts puts off the next one of a master: choose another "
        "OPENSHIFT_HA_VRRP_ID_OFFSET"
    )


#: What is known -> the kind of the cause and, where it is looked at, the sentence.
CAUSES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    # --- to MASTER
    "a master that said that it leaves": (
        takes_over(advert(9, host=13), advert(0.03, 0)),
        ("handover", f"{LEFT}: planned handover (it stops, or may not serve)"),
    ),
    "a master that fell silent": (
        takes_over(advert(60, 0, host=13), advert(3.2)),
        ("silence", SILENT),
    ),
    "the first node": (takes_over(), ("silence", f"{NO_ADVERT} (no other node heard)")),
    "keepalived passes over a lower rank": (
        takes_over(preempted=told(0.9, LOWER)),
        ("preempted", LOWER),
    ),
    "the same where no adverts are watched": (
        takes_over(preempted=told(0.9, LOWER), is_wire_watched=False),
        ("preempted", LOWER),
    ),
    "a lower rank goes on": (
        takes_over(advert(0.9)),
        ("preempted", "outranks 10.0.0.12 (priority 50, this node 100)"),
    ),
    "passed over long ago": (takes_over(advert(3.2), preempted=told(30, LOWER)), ("silence",)),
    "a firewall drops a higher rank": (
        takes_over(higher(0.5), advert(0.4, host=13)),
        ("uncounted", UNTAKEN),
    ),
    "silent beside another speaker": (takes_over(higher(3.2), foreign(0.3)), shared(3.2)),
    "it answers the takeover": (takes_over(foreign(0.3), higher(0.0, gap=3.3)), shared(3.3)),
    "it answers, and no other speaks": (takes_over(higher(0.0, gap=3.3)), ("silence",)),
    "it went on beside the other": (
        takes_over(foreign(0.3), higher(0.0, gap=1.0)),
        ("uncounted",),
    ),
    "the other speaker is dropped here": (
        takes_over(higher(3.2), foreign(0.3, is_dropped=True)),
        ("silence", f"{SILENT}, or it is shaken: {FOREIGN}"),
    ),
    "the other speaker is gone": (takes_over(advert(3.2), foreign(9)), ("silence",)),
    "only the other speaker": (
        takes_over(foreign(0.3)),
        ("silence", f"{NO_ADVERT} (no other node heard; {FOREIGN})"),
    ),
    "no adverts are watched": (
        takes_over(is_wire_watched=False),
        ("unknown", "unknown: no advert was accepted, and no adverts are watched here"),
    ),
    **{
        f"{kind.value}, {lasted} s ago": (takes_over(before=was(kind), lasted=lasted), expected)
        for kind in (Kind.LEASE_LAPSED, Kind.ADDRESS_LOST)
        for lasted, expected in (  # an election takes three advert intervals
            (0.4, (kind.value, "a cause")),
            (3.4, ("silence",)),
            (None, ("silence",)),
        )
    },
    # --- to BACKUP
    "keepalived steps down": (steps_down(outranked=told(0, HIGHER)), ("outranked", HIGHER)),
    "a higher priority, before its line": (
        steps_down(higher(0.01), advert(0.0, host=13)),
        ("outranked", HIGHER),
    ),
    "a higher address, before its line": (
        steps_down(higher(0.01, 100), advert(0.0, host=13)),
        ("outranked", EQUAL),
    ),
    "a lease that lapsed": (steps_down(lapsed_at=NOW - 0.2), ("lease lapsed",)),
    "an address that another program removed": (
        steps_down(advert(0.1), outranked=told(60, HIGHER), lapsed_at=NOW - 60),
        ("address lost",),
    ),
    "the same beside another speaker": (steps_down(foreign(0.3)), ("address lost",)),
    "no look at the wire": (steps_down(is_wire_watched=False), ("unknown",)),
    **{
        f"{previous.name} to {state.name}, {name}": (change(previous, state, **known), expected)
        for previous, state in ((INIT, BACKUP), (STOP, BACKUP), (INIT, FAULT))
        for name, known, expected in (
            ("keepalived started", {"start": STARTED}, ("started", "started")),
            ("just reloaded", {"start": STARTED, "reload_at": NOW - 0.1}, ("reloaded",)),
            ("not by this agent", {}, ("unknown",)),
        )
    },
    # --- out of FAULT
    **{
        f"the end of {before.kind.name}, {before.text}": (
            change(FAULT, BACKUP, before=before),
            expected,
        )
        for before, expected in (
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
        )
    },
    "the end of a FAULT of an unknown cause": (change(FAULT, BACKUP, start=STARTED), ("started",)),
    # --- to FAULT: what was asked for, then what nothing here can mend, then ours, then the check
    **{
        f"FAULT with {known}": (change(MASTER, FAULT, **known), expected)
        for known, expected in (
            (
                {"check_failure": "cannot reach port 80"},
                ("check failed", "check failed: cannot reach port 80"),
            ),
            ({"check_failure": ""}, ("check failed", "check failed: it does not say why")),
            ({"withholdings": (HELD,)}, ("held", f"held: {HELD.text}")),
            ({"withholdings": (HELD,), "check_failure": "x"}, ("held", f"held: {HELD.text}")),
            ({"withholdings": (HELD, DRAINED), "link_failure": "x"}, ("drained", DRAINED.text)),
            ({"link_failure": "eth0 is down"}, ("interface down", "eth0 is down")),
            (
                {"link_failure": "eth0 is gone", "withholdings": (HELD,)},
                ("interface down", "eth0 is gone"),
            ),
            ({"sender": "the IPv4 address of eth0"}, ("interface down", GONE)),
            ({"sender": "x", "check_failure": "cannot"}, ("check failed", "check failed: cannot")),
            ({}, ("unknown", "unknown: no check failed, nothing is held, the interface is up")),
        )
    },
    # --- the end
    "the agent ends it": (change(MASTER, STOP, ending=STOPPED), ("stopped", "the agent stops")),
    "the end of all": (change(MASTER, DELETED, ending=STOPPED), ("stopped", "the agent stops")),
    "no longer configured": (change(MASTER, DELETED), ("reloaded",)),
    "an end without a request": (change(MASTER, STOP), ("unknown",)),
    "the first state, which keepalived never reports": (change(STOP, INIT), ("started",)),
}


@pytest.mark.parametrize(("known", "expected"), CAUSES.values(), ids=CAUSES)
def test_a_transition_has_the_cause_that_is_there(
    known: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """From what keepalived and other nodes say, and from what the agent did itself."""
    cause = transition.infer(Knowledge(**known))
    assert expected == (cause.kind.value, cause.text)[: len(expected)]


def test_the_longest_gap_that_ended_just_now_counts() -> None:
    """A MASTER answers twice at once; later it goes on as ever."""
    known: tuple[NewestAdvert, ...] = ()
    found = []
    for at in (100.0, 101.0, 104.5, 104.6, 105.6, 106.6, 107.6):
        known = transition.seen(known, replace(advert(0, 200), at=at))
        found.append(known[-1].gap)
    assert [None, 1.0, 3.5, 3.5, 3.5, 1.0, 1.0] == [gap and round(gap, 3) for gap in found]


def test_other_speakers_are_no_reason_to_forget_nodes() -> None:
    """One node may be both."""
    known = transition.seen((), advert(9, 200))
    for host in range(20, 40):
        known = transition.seen(known, replace(foreign(1), source=f"10.0.0.{host}"))
    known = transition.seen(known, replace(foreign(0), source="10.0.0.12"))
    assert 9 == len(known)
    assert [False, True] == [bool(each.foreign) for each in known if each.source == "10.0.0.12"]


# --- all of it ----------------------------------------------------------------------------------

causes = st.builds(Cause, kind=st.sampled_from(Kind), text=st.text())
times = st.none() | st.floats(NOW - 10, NOW)
lines = st.none() | st.builds(KnownSince, text=st.text(), at=st.floats(NOW - 10, NOW))
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
    **dict.fromkeys(("outranked", "preempted"), lines),
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
