"""Contests, replayed event by event."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from ipfailover_agent.conflict import causes, evidence, held, master
from ipfailover_agent.conflict.causes import Cause, CauseKind
from ipfailover_agent.conflict.contexts import ContestContext, is_from_segment
from ipfailover_agent.conflict.fsm import step
from ipfailover_agent.conflict.master import awaits_own_advert
from ipfailover_agent.conflict.state import (
    POLICY,
    Action,
    AdvertCount,
    AdvertLeft,
    AdvertSeen,
    AnnouncementSeen,
    Contest,
    ContestOrder,
    ContestPhase,
    ContestSign,
    DumpAnswered,
    Event,
    HoldInstance,
    HoldReason,
    InstanceReconfigured,
    LoopStalled,
    ReportCause,
    Rival,
)
from ipfailover_agent.keepalived.dump import VrrpStatistics
from ipfailover_agent.model import Family, VrrpState
from ipfailover_agent.vrrp.packets import Advert, Announcement, Carp
from tests.support.adverts import heard_advert

Happening = Event | float | Callable[["Replay"], Event]

OURS = bytes.fromhex("525400000005")
LOWER_MAC = bytes.fromhex("525400000001")
HIGHER_MAC = bytes.fromhex("525400000009")
VIRTUAL, SECOND = IPv4Address("10.0.0.5"), IPv4Address("10.0.0.6")
OTHER, FOREIGN = IPv4Address("10.0.0.77"), IPv4Address("10.0.0.254")
CONTEXT = ContestContext(
    addresses=(VIRTUAL,),
    virtual_router_id=11,
    priority=150,
    source=IPv4Address("10.0.0.10"),
    node_addresses=frozenset({IPv4Address("10.0.0.10"), IPv4Address("10.0.0.99")}),
    mac=OURS,
    host_macs=frozenset({OURS, bytes.fromhex("5254000000aa")}),
    password=b"OpenShif",
)
FAST = replace(CONTEXT, version=3, advert_interval=0.1, password=None)
DOWN = CONTEXT.master_down_interval
MASTER = VrrpState.MASTER
BACKUP = VrrpState.BACKUP
FAULT = VrrpState.FAULT
TICK = ContestSign.DEADLINE_PASSED

# What an instance is held for, and by which cause:
HELD_OUTRANKED = [(HoldReason.OUTRANKED, CauseKind.FIREWALL)]
HELD_OTHER_ID = [(HoldReason.OUTRANKED, CauseKind.ROUTER_ID)]
HELD_UNYIELDING = [(HoldReason.UNYIELDING, CauseKind.UNHEARD)]
HELD_ANNOUNCED = [(HoldReason.ANNOUNCED, CauseKind.STRANGER)]
HELD_UNCOUNTED = [(HoldReason.UNCOUNTED, CauseKind.FIREWALL)]
HELD_OTHER_LIST = [(HoldReason.UNCOUNTED, CauseKind.ADDRESSES)]

ADVERT = heard_advert(
    IPv4Address("10.0.0.12"), VIRTUAL, mac=HIGHER_MAC, authentication=1, password=b"OpenShif"
)


def theirs(**changes: object) -> AdvertSeen:
    """Return the other node's advert as received, with another value here and there."""
    return AdvertSeen(advert=replace(ADVERT, **changes))


HIGHER = theirs()
LOWER = theirs(priority=100)
LEAVING = theirs(priority=0)


def announced(mac: bytes) -> AnnouncementSeen:
    """Return an announcement of our address by somebody else."""
    return AnnouncementSeen(
        announcement=Announcement(source_mac=mac, announced_mac=mac, address=VIRTUAL)
    )


def becomes(**changes: object) -> InstanceReconfigured:
    """Return a reload, or another look at this node, after which the instance is another one."""
    return InstanceReconfigured(context=replace(CONTEXT, **changes))


def every_second(event: Event, times: int, pause: float = 1.0) -> list[Event | float]:
    """Return an event that comes so often, each followed by a pause."""
    return [event, pause] * times


class Replay:
    """A contest, its clock, and what it has asked for; numbers advance the clock."""

    def __init__(self, context: ContestContext = CONTEXT) -> None:
        self.state = Contest(context=context)
        self.now = 100.0
        self.received = 0
        self.errors: dict[str, Any] = {}

    def __call__(self, *events: Happening) -> tuple[Action, ...]:
        """Play events and return what they caused, all together; functions make theirs now."""
        actions: list[Action] = []
        for event in events:
            if isinstance(event, float):
                actions += self.wait(event)
            elif callable(event):
                actions += self.feed(event(self))
            else:
                actions += self.feed(event)
        return tuple(actions)

    def feed(self, event: Event) -> tuple[Action, ...]:
        """Play one event."""
        self.state, actions = step(self.state, event, self.now)
        return actions

    def wait(self, seconds: float) -> list[Action]:
        """Let time pass, with the deadlines in it."""
        end, actions = self.now + seconds, list[Action]()
        while self.state.deadline is not None and self.state.deadline <= end:
            self.now = max(self.now, self.state.deadline)
            actions += self.feed(TICK)
        self.now = end
        return actions

    def serves(self) -> DumpAnswered:
        """Return an answer of a keepalived that is MASTER."""
        return self.dump(VrrpState.MASTER)

    def dump(self, state: VrrpState = VrrpState.BACKUP) -> DumpAnswered:
        """Return an answer of keepalived's, taken now."""
        counters = VrrpStatistics(advert_rcvd=self.received, advert_sent=0, **self.errors)
        return DumpAnswered(taken_at=self.now, state=state, counters=counters)


DUMP, SERVES = Replay.dump, Replay.serves


def played(*events: Happening, context: ContestContext = CONTEXT) -> Replay:
    """Return a contest in which these events have happened."""
    replay = Replay(context)
    replay(*events)
    return replay


def holds(actions: tuple[Action, ...]) -> list[tuple[HoldReason, CauseKind]]:
    """Return the reasons for holds among actions."""
    return [(each.reason, each.cause.kind) for each in actions if isinstance(each, HoldInstance)]


def reports(actions: tuple[Action, ...]) -> list[Cause]:
    """Return the causes reported among actions."""
    return [each.cause for each in actions if isinstance(each, ReportCause)]


# --- adverts of a higher rank -------------------------------------------------------------------


def test_a_master_that_keepalived_does_not_step_down_for_a_higher_rank_yields() -> None:
    """After 0.3 s, with keepalived's own word that it is still MASTER."""
    replay = played(MASTER, 60.0)
    assert (ContestOrder.ASK_DUMP,) == replay(HIGHER, 0.25)
    assert () == replay(SERVES)
    assert HELD_OUTRANKED == holds(replay(0.06))
    assert replay.state.is_held


def test_without_an_answer_the_fifo_decides() -> None:
    """A keepalived that does not answer within 0.2 s more is taken at its last word."""
    replay = played(MASTER, 60.0)
    assert [] == holds(replay(HIGHER, 0.45))
    assert HELD_OUTRANKED == holds(replay(0.1))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(BACKUP, id="by the FIFO"),
        pytest.param(
            DumpAnswered(
                taken_at=160.21,
                state=VrrpState.BACKUP,
                counters=VrrpStatistics(advert_rcvd=1, advert_sent=0),
            ),
            id="by a dump",
        ),
    ],
)
def test_an_ordinary_handover_holds_nobody(answer: Event) -> None:
    """keepalived has stepped down: told by the FIFO, or by a dump where its line comes late."""
    replay = played(MASTER, 60.0)
    replay(HIGHER, 0.28)
    replay(answer)
    assert [] == holds(replay(0.7, HIGHER, 1.0, HIGHER, 1.0))


def test_equal_priorities_are_ranked_by_address_as_a_number() -> None:
    """10.0.0.9 ranks below 10.0.0.10, which text would not."""
    below = replace(ADVERT, priority=150, source=IPv4Address("10.0.0.9"))
    above = replace(ADVERT, priority=150, source=IPv4Address("10.0.0.11"))
    assert not CONTEXT.ranks_below(below)
    assert CONTEXT.ranks_below(above)


# --- adverts of a lower rank --------------------------------------------------------------------


def test_a_lower_rank_is_reported_and_given_time_to_yield() -> None:
    """It is his to yield; meanwhile we announce, so that neighbours find us."""
    replay = played(MASTER, 60.0)
    actions = replay(LOWER, 1.0, LOWER, 0.6)
    assert [CauseKind.UNHEARD] == [each.kind for each in reports(actions)]
    assert ContestOrder.ANNOUNCE in actions
    assert [] == holds(actions)


def test_a_lower_rank_that_cannot_yield_is_yielded_to() -> None:
    """After 1.7 s; and it is never tried whether we could preempt it."""
    replay = played(MASTER, 60.0)
    actions = replay(LOWER, 1.0, LOWER, 0.7)
    assert HELD_UNYIELDING == holds(actions)
    assert () == replay(FAULT, *every_second(LOWER, 60))


def test_a_lower_rank_that_was_answered_has_less_time() -> None:
    """Its second advert is enough: it has heard that it is to step down, if it can hear."""
    replay = played(MASTER, 60.0)
    assert [] == holds(replay(LOWER, AdvertLeft(), 0.5, LOWER, AdvertLeft(), 0.5))
    assert HELD_UNYIELDING == holds(replay(LOWER))


def test_a_lower_rank_that_nothing_was_seen_leaving_for_has_more_time() -> None:
    """It may have been told late."""
    replay = played(MASTER, AdvertLeft(), 60.0)
    assert [] == holds(replay(LOWER, 1.0, LOWER, 0.6))
    assert HELD_UNYIELDING == holds(replay(0.2))


@pytest.mark.parametrize(
    ("early", "expected"),
    [
        pytest.param(
            [AdvertLeft(), 0.01, HIGHER, 0.02], HELD_OUTRANKED, id="the answer to our first advert"
        ),
        pytest.param(
            [AdvertLeft(), HIGHER, 0.01, AdvertLeft(), 0.02],
            HELD_OUTRANKED,
            id="the answer of one peer before our advert for the next",
        ),
        pytest.param(
            [AdvertLeft(), 0.4, AdvertLeft(), 0.01, HIGHER, 0.02],
            HELD_OUTRANKED,
            id="an advert from before, of which nothing came",
        ),
        pytest.param([HIGHER, 0.01, AdvertLeft(), 0.02], [], id="one before our first advert"),
        pytest.param([AdvertLeft(), 0.01, HIGHER, 0.4], [], id="keepalived's word comes too late"),
        pytest.param(
            [AdvertLeft(), 0.01, HIGHER, LoopStalled(seconds=2.0), 0.02],
            [],
            id="the loop stood still",
        ),
        pytest.param([HIGHER, 0.02], [], id="no advert of ours was seen"),
        pytest.param([AdvertLeft(), 0.01, LEAVING, 0.02], [], id="the master says goodbye"),
    ],
)
def test_an_advert_before_keepaliveds_word_of_the_promotion_is_a_challenge(
    early: list[Event | float], expected: list[tuple[HoldReason, CauseKind]]
) -> None:
    """A master that we do not hear answers our first advert before that word is read."""
    replay = played(BACKUP, DUMP, HIGHER, 3.4, *early)
    assert expected == holds(replay(MASTER, 0.25, SERVES, 0.1))


def test_keepalived_that_answers_late_is_given_time_to_read_the_advert() -> None:
    """On a starved node: it would act on a hold no sooner. One that never answers is not."""
    replay = played(BACKUP, DUMP, MASTER, 60.0, HIGHER)
    assert [] == holds(replay(0.8, DUMP, 2.0))
    mute = played(BACKUP, DUMP, MASTER, 60.0, HIGHER)
    assert [] == holds(mute(2.75))
    assert HELD_OUTRANKED == holds(mute(0.1))


def test_a_late_answer_says_nothing_of_an_advert_that_waits_beside_the_question() -> None:
    """keepalived answers first. Asked again, it has read that, and has stepped down or has not."""
    replay = played(BACKUP, DUMP, MASTER, 60.0)
    assert (ContestOrder.ASK_DUMP,) == replay(HIGHER, 0.25)
    late = replay.serves()
    assert (ContestOrder.ASK_DUMP,) == replay(0.6, late)
    again = replay.serves()
    assert HELD_OUTRANKED == holds(replay(0.5, again))
    yielding = played(BACKUP, DUMP, MASTER, 60.0, HIGHER, 0.25)
    late = yielding.serves()
    assert [] == holds(yielding(0.6, late, BACKUP, 3.0))


def test_what_keepalived_refuses_it_need_not_have_read() -> None:
    """Another id: it stays MASTER, and what says so late says it as well."""
    elsewhere = AdvertSeen(advert=ELSEWHERE)
    expected = HELD_OTHER_ID
    replay = played(BACKUP, DUMP, MASTER, 60.0, elsewhere, 0.25)
    assert expected == holds(replay(0.15, replay.serves()))
    silent = played(BACKUP, DUMP, MASTER, 60.0, elsewhere)
    assert expected == holds(silent(0.55))


def test_a_lower_rank_that_took_over_while_we_stood_still_has_a_master_down_time() -> None:
    """It heard us until then. One that is busy goes on for a while, one that is deaf for good."""
    replay = played(MASTER, 60.0, LoopStalled(seconds=3.0), LOWER, AdvertLeft())
    assert [] == holds(replay(*every_second(LOWER, 3), 0.5))
    assert HELD_UNYIELDING == holds(replay(LOWER))


Received = AdvertSeen | AnnouncementSeen


def heard(event: Received, at: float) -> Received:
    """Return what was heard earlier than it is read."""
    return replace(event, heard_at=at)


@pytest.mark.parametrize("event", [HIGHER, LOWER], ids=["higher", "lower"])
def test_who_served_while_we_stood_still_challenges_nobody(event: Received) -> None:
    """Its adverts waited to be read; it steps down, or has us step down, within milliseconds."""
    replay = played(MASTER, 60.0, LoopStalled(seconds=3.0), SERVES)
    stale = [heard(event, replay.now - seconds) for seconds in (2.0, 1.0, 0.1)]
    assert [] == holds(replay(*stale, AdvertLeft(), 0.25, SERVES, 5.0))
    assert [None] == [each.challenged_at for each in replay.state.rivals]


@pytest.mark.parametrize("stage", range(4))
def test_who_announced_while_we_stood_still_challenges_nobody(stage: int) -> None:
    """It announced as it took over, more than once."""
    replay = played(MASTER, 60.0, LoopStalled(seconds=3.0))
    now = replay.now
    stale = [heard(announced(HIGHER_MAC), now - 0.5 * each) for each in range(stage + 1, 0, -1)]
    assert [] == holds(replay(*stale, 0.01))
    assert [None] == [each.contact_at for each in replay.state.rivals]


def test_an_advert_counts_from_when_it_was_heard() -> None:
    """A lower rank has stepped down by the time that a starved agent reads its last word."""
    replay = played(MASTER, 60.0, LOWER, 0.01, AdvertLeft(), 0.31, LOWER)
    stepped_down = replay.now + 0.02
    assert [] == holds(replay(0.6, heard(LOWER, stepped_down), 2.0))
    unyielding = played(MASTER, 60.0, LOWER, 0.01, AdvertLeft(), 0.31, LOWER, 0.6)
    last = heard(LOWER, unyielding.now - 0.01)
    assert HELD_UNYIELDING == holds(unyielding(last))


def test_nothing_was_heard_later_than_now() -> None:
    """Clocks differ by some microseconds."""
    replay = Replay()
    replay(MASTER, 60.0, heard(HIGHER, replay.now + 61.0))
    assert [replay.now] == [each.advert_at for each in replay.state.rivals]


def test_most_adverts_of_ours_say_nothing_new() -> None:
    """As MASTER they count only until the one that is to step down was told so."""
    replay = Replay()
    assert not awaits_own_advert(replay.state)
    replay(BACKUP)
    assert awaits_own_advert(replay.state)
    replay(MASTER, 60.0)
    assert not awaits_own_advert(replay.state)
    replay(LOWER)
    assert awaits_own_advert(replay.state)
    replay(AdvertLeft())
    assert not awaits_own_advert(replay.state)


def test_one_that_has_our_address_under_another_id_is_challenged_at_once() -> None:
    """Adverts of ours for its id keep it silent, and keepalived never hears it."""
    elsewhere = theirs(virtual_router_id=12)
    replay = Replay()
    assert [] == holds(replay(BACKUP, DUMP, elsewhere, 0.1, elsewhere, 0.4))
    assert HELD_OTHER_ID == holds(replay(MASTER, 0.25, SERVES, 0.1))
    late = played(BACKUP, DUMP, elsewhere, DOWN + 0.1, MASTER)
    assert [] == holds(late(0.25, SERVES, 1.5))


def test_what_was_in_sight_at_the_promotion_is_yielded_to_though_it_ends_meanwhile() -> None:
    """Its next advert may be put off for seconds: that it lives is known by the newest one."""
    elsewhere = theirs(virtual_router_id=12)
    replay = Replay()
    assert [] == holds(replay(BACKUP, DUMP, elsewhere, DOWN - 0.1, MASTER, 0.25))
    assert HELD_OTHER_ID == holds(replay(SERVES, 0.1))


ELSEWHERE = replace(ADVERT, virtual_router_id=12)
BEFORE = replace(CONTEXT, addresses=(OTHER,))  # what our id was for
OLD_ID = replace(CONTEXT, virtual_router_id=12)  # what the address was under here


def heard_before_a_reload(
    *adverts: Advert, wait: float = DOWN - 0.1, now: float = 160.0
) -> tuple[Rival, ...]:
    """Return who is known ``now`` to have our address under its old id, ``wait`` seconds later."""
    backup = Replay(OLD_ID)
    backup.now = now - wait - 0.01 * len(adverts)
    backup(BACKUP)
    for each in adverts:
        backup(0.01, AdvertSeen(advert=each))
    return evidence.claims_against(CONTEXT, evidence.claims_of([backup.state], now))


def reloaded(*adverts: Advert) -> Replay:
    """Return one that has been MASTER of the id for long, and has the address since now."""
    replay = Replay(BEFORE)
    assert () == replay(MASTER, 60.0)
    rivals = heard_before_a_reload(*adverts, now=replay.now)
    assert [] == holds(replay(InstanceReconfigured(context=CONTEXT, rivals=rivals), 0.3))
    assert [] == holds(replay(LoopStalled(seconds=0.0)))  # the reload is over
    return replay


def test_a_master_whom_a_reload_gives_an_address_yields_to_who_has_it_under_its_old_id() -> None:
    """A third node's adverts for that id put off those of the holder: none comes for seconds."""
    replay = reloaded(ELSEWHERE)
    assert [] == holds(replay(0.25))
    assert HELD_OTHER_ID == holds(replay(0.3))


def test_who_ranks_above_the_one_that_has_it_under_its_old_id_announces_at_once() -> None:
    """That one has to hear of us, whoever puts off our adverts."""
    replay = reloaded(replace(ELSEWHERE, priority=100))
    assert replay.now == replay.state.announced_at
    actions = replay(1.0)
    assert 2 == len(announcements(actions))
    assert [] == holds(actions)


def test_nobody_yields_to_who_was_reloaded_a_moment_ago_as_well() -> None:
    """Its adverts for the old id list another address by now, also the first one after ours."""
    others = replace(ELSEWHERE, addresses=(IPv4Address("10.0.0.78"),))
    assert () == heard_before_a_reload(ELSEWHERE, others)
    assert 1 == len(heard_before_a_reload(ELSEWHERE, others, ELSEWHERE))
    replay = reloaded(ELSEWHERE)
    assert [] == holds(replay(0.1, AdvertSeen(advert=others), 2.0))


def test_an_address_is_no_longer_claimed_once_its_holder_is_silent() -> None:
    """Nor is one by ourselves, or under the id that it has now: of that keepalived hears."""
    assert () == heard_before_a_reload(ELSEWHERE, wait=OLD_ID.master_down_interval)
    backup = played(BACKUP, AdvertSeen(advert=ELSEWHERE), announced(LOWER_MAC), context=OLD_ID)
    heard = evidence.claims_of([backup.state], backup.now)
    assert [VIRTUAL] == list(heard)
    assert () == evidence.claims_against(OLD_ID, heard)
    assert () == evidence.claims_against(
        replace(CONTEXT, host_macs=frozenset({HIGHER_MAC})), heard
    )


def test_of_two_instances_that_heard_a_sender_the_newest_word_counts() -> None:
    """A group's advert lists addresses of several instances, and each remembers it."""
    early, late = Replay(OLD_ID), Replay(OLD_ID)
    early(BACKUP, AdvertSeen(advert=replace(ELSEWHERE, priority=100)))
    late(BACKUP, 1.0, AdvertSeen(advert=ELSEWHERE))
    for states in ([early.state, late.state], [late.state, early.state]):
        (rival,) = evidence.claims_of(states, late.now)[VIRTUAL]
        assert ELSEWHERE == rival.advert


def test_what_others_claim_under_other_ids_is_known_by_id_and_family() -> None:
    """So an advert that lists our addresses no more finds those that wait for that."""
    claimed = reloaded(ELSEWHERE)
    claimed(HIGHER)
    state = claimed.state
    assert {(12, Family.IPV4): frozenset({"a", "b"})} == evidence.claimed_ids(
        {"a": state, "b": state, "c": Replay().state}, claimed.now
    )


def test_a_master_is_new_to_an_address_that_a_reload_gives_it() -> None:
    """keepalived stays MASTER of the id; who has held the address under another id is no newer."""
    replay = played(becomes(addresses=(SECOND,)), MASTER, 60.0, becomes())
    rival = announced(LOWER_MAC)
    assert [] == holds(replay(rival, 0.35))
    [(reason, _)] = holds(replay(0.05, rival))
    assert reason is HoldReason.ANNOUNCED


def test_no_trace_shows_the_password() -> None:
    """A context is in every state that a test or an error prints."""
    assert "virtual_router_id=11, priority=150" in repr(CONTEXT)
    assert "OpenShif" not in repr(CONTEXT)


def test_a_master_whom_a_reload_gives_an_address_is_new_to_it() -> None:
    """Where only announcements of the holder are heard, the holder is the older one."""
    replay = reloaded()
    assert HELD_ANNOUNCED == holds(replay(*every_second(announced(HIGHER_MAC), 3, pause=0.4)))


def test_one_below_us_under_another_id_hears_announcements() -> None:
    """Its adverts for our id may put ours off; they cannot put off announcements."""
    replay = played(MASTER, 60.0)
    elsewhere = theirs(virtual_router_id=12, priority=100)
    actions = replay(elsewhere, 1.0)
    assert 3 == len(announcements(actions))
    assert [] == holds(actions)


def test_after_the_goodbye_of_one_that_was_master_beside_us_we_announce() -> None:
    """Clients may have believed its announcements, and it holds nothing any more."""
    replay = played(MASTER, 60.0)
    assert () == replay(LEAVING)
    assert (ContestOrder.ANNOUNCE,) == replay(LOWER, 0.3, LEAVING)


def other(mac: bytes, host: int, priority: int) -> AdvertSeen:
    """Return an advert of one of several others."""
    source = IPv4Address("10.0.0.0") + host
    return theirs(source_mac=mac, source=source, priority=priority)


@pytest.mark.parametrize(
    ("rank", "reason"),
    [
        pytest.param(100, HoldReason.UNYIELDING, id="it ranks below us"),
        pytest.param(160, HoldReason.OUTRANKED, id="it ranks above us"),
    ],
)
@pytest.mark.parametrize("is_overtaken", [False, True], ids=["in order", "overtaken"])
def test_who_succeeds_one_that_yielded_to_a_lower_rank_yields_as_well(
    rank: int,
    reason: HoldReason,
    is_overtaken: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """That one went on against the higher rank for longer than it takes to hear it."""
    first, deaf = other(LOWER_MAC, 11, 200), other(HIGHER_MAC, 12, rank)
    replay = played(BACKUP, first, 0.5)
    one, two = (first, deaf) if is_overtaken else (deaf, first)
    replay(one, 0.01, two, 0.99)
    replay(deaf, 0.01, other(LOWER_MAC, 11, 0), 0.4)
    assert [(reason, CauseKind.UNHEARD)] == holds(replay(MASTER))


def test_who_succeeds_one_that_yielded_before_the_next_advert_yields_as_well() -> None:
    """The one that left had its reasons: the lower rank was told, and had time enough."""
    replay = played(BACKUP, other(LOWER_MAC, 11, 200), 0.4, other(HIGHER_MAC, 12, 100), 0.6)
    replay(other(LOWER_MAC, 11, 200), 0.4, other(HIGHER_MAC, 12, 100), 0.3)
    replay(other(LOWER_MAC, 11, 0), 0.3)
    assert HELD_UNYIELDING == holds(replay(MASTER))


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(["low", 0.01, "high", 0.3, "low", 0.3], id="it had no time"),
        pytest.param(["high", 0.5, "low", 0.5, "high", 3.5, "low", 1.0], id="both fell silent"),
        pytest.param(
            ["low", 0.01, "high", 1.0, "low", 0.01, "gone", *["low", 1.0] * 3],
            id="its adversary has been gone for long",
        ),
        pytest.param(["low", 0.9, "high", 0.1, "low", 0.2, "gone", 0.3], id="told just before"),
    ],
)
def test_one_that_steps_down_or_holds_by_right_is_no_reason_to_yield(
    events: list[str | float],
) -> None:
    """A handover between two others, and an ordinary takeover from the second."""
    named = {
        "low": other(HIGHER_MAC, 12, 100),
        "high": other(LOWER_MAC, 11, 200),
        "gone": other(LOWER_MAC, 11, 0),
    }
    replay = played(BACKUP, *[named[each] if isinstance(each, str) else each for each in events])
    assert [] == holds(replay(MASTER))


def test_a_third_node_that_announces_does_not_change_why_an_instance_is_held() -> None:
    """The adverts that it yielded to are in sight: a trial would only have it preempt again."""
    replay = played(MASTER, 60.0, *every_second(LOWER, 3), FAULT)
    assert replay.state.reason is HoldReason.UNYIELDING
    replay(announced(LOWER_MAC), LOWER)
    assert replay.state.reason is HoldReason.UNYIELDING
    assert () == replay(*every_second(LOWER, 30))


def test_one_advert_of_a_lower_rank_proves_nothing() -> None:
    """However seldom it advertises: what goes on comes again."""
    seldom = theirs(priority=50, interval=10.0)
    replay = played(MASTER, 60.0)
    assert [] == holds(replay(seldom, 9.0))
    assert [HoldReason.UNYIELDING] == [reason for reason, _ in holds(replay(seldom, 0.1))]


def test_addresses_under_several_ids_are_several_rivals() -> None:
    """A node that groups addresses otherwise ranks differently under each id."""
    context = replace(CONTEXT, addresses=(VIRTUAL, SECOND))
    one = theirs(priority=100)
    other = theirs(virtual_router_id=12, addresses=(SECOND,))
    replay = played(MASTER, 60.0, context=context)
    assert HELD_OTHER_ID == holds(replay(one, 0.1, other, 0.15, one, 0.1, other, 0.5))


# --- a backup that does not hear ----------------------------------------------------------------


def test_a_backup_whose_keepalived_does_not_count_adverts_yields_in_time() -> None:
    """Two adverts between two dumps, no count: before the master-down timer ends."""
    replay = Replay()
    began = replay.now
    assert (ContestOrder.ASK_DUMP,) == replay(BACKUP)
    replay(0.02, DUMP)
    replay(0.9, HIGHER, 0.01)
    replay(DUMP)
    assert (ContestOrder.ASK_DUMP,) == replay(0.99, HIGHER, 0.1)
    assert [] == holds(replay(DUMP))
    assert (ContestOrder.ASK_DUMP,) == replay(0.31)

    assert HELD_UNCOUNTED == holds(replay(DUMP))
    assert replay.now - began < 3 * CONTEXT.advert_interval


def test_a_keepalived_that_counts_late_is_no_reason_to_yield() -> None:
    """With 254 instances, after a reload, it reads its socket some tenths later."""
    replay = played(BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER, 0.1, DUMP, 0.3)
    replay.received += 2
    assert [] == holds(replay(DUMP))
    assert ContestOrder.ASK_DUMP not in replay(0.5)


def test_a_backup_that_counts_is_looked_at_every_five_seconds() -> None:
    """And never held."""
    replay = played(BACKUP, 0.02, DUMP)
    asked = 0
    for _ in range(60):
        replay.received += 1
        actions = replay(HIGHER, 0.02)
        if ContestOrder.ASK_DUMP in actions:
            asked += 1
            actions += replay(DUMP)
        assert [] == holds(actions + replay(0.98))

    assert 12 <= asked <= 14


def test_a_list_that_differs_counts_and_is_refused_all_the_same() -> None:
    """keepalived counts before it compares addresses: its error counter moves as well."""
    other = replace(ADVERT, addresses=(SECOND, VIRTUAL))
    context = replace(CONTEXT, addresses=(VIRTUAL, IPv4Address("10.0.0.7")))
    replay = Replay(context)
    seen = AdvertSeen(advert=other)
    replay(BACKUP, 0.02, DUMP, 0.9, seen, 1.0, seen, 0.1)
    replay.received = 2
    replay.errors = {"addr_list_err": 2}
    assert HELD_OTHER_LIST == holds(replay(DUMP))


OTHER_LIST = theirs(addresses=(VIRTUAL, SECOND))


def counting(replay: Replay) -> None:
    """Let a BACKUP count the adverts of its MASTER for a while."""
    replay(BACKUP, 0.02, DUMP)
    for _ in range(8):
        replay.received += 1
        if ContestOrder.ASK_DUMP in replay(HIGHER, 0.02):
            replay(DUMP)
        replay(0.98)
    assert replay.state.count.is_counting


def test_a_master_that_was_reloaded_is_yielded_to_before_it_is_missed() -> None:
    """Its list is another one, keepalived counts an error: one advert is enough."""
    replay = Replay()
    counting(replay)
    began = replay.now  # a second after the last advert that was counted
    replay.errors = {"addr_list_err": 1}
    assert ContestOrder.ASK_DUMP in replay(OTHER_LIST)
    replay(0.02, DUMP, 0.98)
    replay.errors = {"addr_list_err": 2}
    assert ContestOrder.ASK_DUMP in replay(OTHER_LIST, 0.12)

    assert HELD_OTHER_LIST == holds(replay(DUMP))
    assert replay.now - began < 2 * CONTEXT.advert_interval


def test_a_master_that_was_reloaded_before_it_was_seen_to_be_counted_is_yielded_to() -> None:
    """The look came too early for its first advert; that one's count is not the next one's."""
    replay = played(BACKUP, 0.02, DUMP, 0.5)
    assert ContestOrder.ASK_DUMP in replay(HIGHER, 0.02)
    replay(DUMP)
    replay.received = 1
    replay.errors = {"addr_list_err": 1}
    assert ContestOrder.ASK_DUMP in replay(0.3, OTHER_LIST, 0.02)
    replay(DUMP, 0.98)
    replay.errors = {"addr_list_err": 2}
    assert ContestOrder.ASK_DUMP in replay(OTHER_LIST, 0.12)

    assert HELD_OTHER_LIST == holds(replay(DUMP))


def test_a_backup_that_counted_before_the_second_step_of_a_reload_yields_in_time() -> None:
    """keepalived has the new list only after the second step; the rival has the former one."""
    replay = Replay(replace(CONTEXT, addresses=OTHER_LIST.advert.addresses))
    counting(replay)  # with the former list, which the first step leaves as it is
    replay(LoopStalled(seconds=0.0), 0.02, DUMP, 0.9)
    replay.errors = {"addr_list_err": 1}
    assert ContestOrder.ASK_DUMP in replay(HIGHER, 0.12)  # the first advert that is refused
    assert HELD_OTHER_LIST == holds(replay(DUMP))


def test_a_backup_looks_soon_whether_a_keepalived_that_counts_anew_counts_a_rival() -> None:
    """Its predecessor did: that shows nothing."""
    replay = Replay()
    counting(replay)
    replay.received = 0
    replay(DUMP, 0.9, HIGHER, 1.0)
    assert ContestOrder.ASK_DUMP in replay(HIGHER, 0.4)
    assert HELD_UNCOUNTED == holds(replay(DUMP))


def test_a_late_answer_says_nothing_of_what_a_backup_has_yet_to_count() -> None:
    """A starved keepalived answers before it reads the adverts. Asked again, it has read them."""
    deaf = played(BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER)
    assert (ContestOrder.ASK_DUMP,) == deaf(0.45)
    late = deaf.dump()
    assert (ContestOrder.ASK_DUMP,) == deaf(0.2, late)
    assert HELD_UNCOUNTED == holds(deaf(DUMP))
    counts = played(BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER, 0.45)
    late = counts.dump()
    counts(0.2, late)
    counts.received = 2
    assert [] == holds(counts(DUMP, 0.9))
    assert counts.state.count.is_counting


def test_a_late_answer_to_a_question_from_before_the_last_one_shows_nothing() -> None:
    """Two questions waited: keepalived answers both before it reads the adverts."""
    deaf = played(BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER, 0.45)
    first = deaf.dump()
    deaf(0.1)
    second = deaf.dump()
    assert [] == holds(deaf(0.2, first, second, 0.05))
    assert HELD_UNCOUNTED == holds(deaf(DUMP))


def test_what_a_starved_agent_reads_late_has_time_to_be_counted_from_then_on() -> None:
    """Both adverts waited in the socket of the agent, and maybe in that of keepalived."""
    replay = played(BACKUP, 0.02, DUMP, 2.0)
    for age in (1.5, 0.5):
        replay(replace(HIGHER, heard_at=replay.now - age))
    assert [] == holds(replay(0.1, DUMP))
    assert HELD_UNCOUNTED == holds(replay(0.3, DUMP))


def test_what_was_counted_of_the_master_before_says_nothing_of_the_one_now() -> None:
    """Without an error counted two adverts are needed, and the look is not put off."""
    replay = Replay()
    counting(replay)
    stranger = theirs(source_mac=LOWER_MAC)
    replay(LEAVING, 0.1, stranger, 0.02, DUMP, 0.98, stranger, 0.12)
    assert [] == holds(replay(DUMP))
    assert ContestOrder.ASK_DUMP in replay(0.9, stranger, 0.12)
    found = holds(replay(DUMP, 0.3, DUMP))
    assert HELD_UNCOUNTED == found


def test_one_refused_advert_is_not_enough_where_adverts_look_right() -> None:
    """The error may be somebody else's, and the one advert late."""
    replay = played(BACKUP, 0.02, DUMP, 0.9, HIGHER, 0.12)
    replay.errors = {"auth_failure": 1}
    assert [] == holds(replay(DUMP))


def test_a_held_node_tries_soon_when_the_adverts_are_as_they_should_be() -> None:
    """The rival was reloaded as well; waiting for the back-off would leave nobody to take over."""
    replay = played(MASTER, 60.0, OTHER_LIST, 1.0, FAULT)
    assert () == replay(*every_second(OTHER_LIST, 5))
    assert (ContestOrder.BEGIN_TRIAL,) == replay(HIGHER)


def test_a_held_node_tries_soon_after_its_own_reload() -> None:
    """Once an advert has shown that the lists agree now."""
    context = replace(CONTEXT, addresses=(VIRTUAL, SECOND))
    replay = played(MASTER, 60.0, OTHER_LIST, 1.0, FAULT)
    assert () == replay(OTHER_LIST, 0.5, InstanceReconfigured(context=context))
    assert (ContestOrder.BEGIN_TRIAL,) == replay(*every_second(OTHER_LIST, 2))


def test_fast_timing_does_not_ask() -> None:
    """Below one second there is no time for dumps."""
    replay = Replay(FAST)
    assert () == replay(BACKUP, *every_second(HIGHER, 30, 0.1))


# --- announcements ------------------------------------------------------------------------------


def test_an_announcement_is_answered_at_once_and_briskly_until_the_contest_is_decided() -> None:
    """Eight times every 0.4 s, then every second, whoever it is."""
    replay = played(MASTER, 60.0)
    assert (ContestOrder.ASK_DUMP, ContestOrder.ANNOUNCE) == replay(announced(LOWER_MAC))
    assert () == replay(announced(LOWER_MAC), 0.2, announced(LOWER_MAC))
    assert 7 == replay(2.8).count(ContestOrder.ANNOUNCE)
    assert 10 == replay(10.0).count(ContestOrder.ANNOUNCE)


def test_a_large_node_announces_at_its_pace() -> None:
    """A round of 20 addresses takes two seconds; a contest takes as long as that makes it."""
    replay = played(
        MASTER, 60.0, announced(HIGHER_MAC), context=replace(CONTEXT, announce_interval=2.0)
    )
    assert 4 == replay(8.0).count(ContestOrder.ANNOUNCE)
    step_seconds = master.stage_length(replay.state.context)
    assert step_seconds == POLICY.escalation * 2.0


def test_who_has_just_become_master_yields_to_an_older_one() -> None:
    """He was heard for longer than a master-down time."""
    replay = played(BACKUP, announced(HIGHER_MAC), 10.0, announced(HIGHER_MAC), 1.0, MASTER, 0.1)
    assert [] == holds(replay(announced(HIGHER_MAC)))
    assert HELD_ANNOUNCED == holds(replay(0.4, announced(HIGHER_MAC)))


def stages(rival: bytes, replay: Replay) -> int:
    """Return at which of a rival's announcements, 0.4 s apart, an instance yields; 0 for none."""
    replay(announced(rival))
    for stage in range(1, 9):
        if holds(replay(0.4, announced(rival))):
            return stage
    return 0


NEW, OLD = (BACKUP, 4.0, MASTER, 0.1), (MASTER, 60.0)


@pytest.mark.parametrize(
    ("age", "rival", "stage"),
    [
        pytest.param(NEW, LOWER_MAC, 1, id="of two new ones the higher MAC yields at once"),
        pytest.param(NEW, HIGHER_MAC, 2, id="the lower MAC gives it a stage, and he goes on"),
        pytest.param(OLD, LOWER_MAC, 3, id="of two old ones the higher MAC yields first"),
        pytest.param(OLD, HIGHER_MAC, 4, id="the lower MAC yields to one who yields to nobody"),
    ],
)
def test_a_contest_by_announcements_goes_by_stages(
    age: tuple[Event | float, ...], rival: bytes, stage: int
) -> None:
    """First by age, then by the MAC; who is still there then does not hear us."""
    assert stage == stages(rival, played(*age))


@pytest.mark.parametrize("rival", [LOWER_MAC, HIGHER_MAC], ids=["lower MAC", "higher MAC"])
def test_a_stranger_who_announces_every_second_is_yielded_to_after_two(rival: bytes) -> None:
    """Time counts, not how often he announces: he may do it as he likes."""
    replay = played(MASTER, 60.0, announced(rival))
    assert [] == holds(replay(1.0, announced(rival)))
    assert HELD_ANNOUNCED == holds(replay(1.0, announced(rival)))


def test_the_second_burst_of_plain_keepalived_is_enough() -> None:
    """It comes after five seconds, and is the last one."""
    replay = played(MASTER, 60.0, announced(HIGHER_MAC))
    assert HELD_ANNOUNCED == holds(replay(5.0, announced(HIGHER_MAC)))


def test_who_announces_too_rarely_for_a_contest_is_yielded_to_at_the_third_return() -> None:
    """Deaf, and every ten seconds a routine announcement is all that is heard of it."""
    replay = played(MASTER, 60.0, announced(HIGHER_MAC))
    actions = [holds(replay(10.0, announced(HIGHER_MAC))) for _ in range(3)]
    assert [[], [], HELD_ANNOUNCED] == actions


def test_who_becomes_master_in_the_midst_of_a_contest_yields_at_once() -> None:
    """Its predecessor lost against somebody who announces and is still there."""
    replay = played(BACKUP, LOWER, 0.2)
    replay(announced(LOWER_MAC), 0.4, announced(LOWER_MAC), 0.4, announced(LOWER_MAC), 0.2)
    assert [] == holds(replay(LEAVING, 0.05))
    assert HELD_ANNOUNCED == holds(replay(MASTER))


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [BACKUP, HIGHER, 1.0, HIGHER, 0.1, LEAVING, 0.05, MASTER, HIGHER, 3.0],
            id="priority 0 has overtaken an older advert",
        ),
        pytest.param(
            [
                *(MASTER, 60.0, LoopStalled(seconds=3.0), LOWER, AdvertLeft()),
                *every_second(LOWER, 3),
                10.0,
            ],
            id="the last word of one that took over in a stall, before its time ends",
        ),
        pytest.param([MASTER, 60.0, LOWER, 0.1, LOWER, 10.0], id="a lower rank steps down late"),
        pytest.param(
            [
                *(BACKUP, DUMP, HIGHER, DOWN, MASTER),
                *(lambda replay: heard(HIGHER, replay.now - 0.1), 0.25, SERVES, 5.0),
            ],
            id="an advert from before the promotion is read late: its sender has just died",
        ),
        pytest.param(
            [BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER, 5.0, DUMP],
            id="an uncounted master is gone when the answer comes",
        ),
        pytest.param(
            [BACKUP, 0.02, DUMP, 0.9, HIGHER, 0.5, DUMP],
            id="one uncounted advert: it may have come before the first dump",
        ),
        pytest.param(
            [BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER, 0.05, LEAVING, 0.1, DUMP],
            id="the rival has gone between the advert and the dump",
        ),
        pytest.param(
            [MASTER, 60.0, *every_second(announced(LOWER_MAC), 10, 40.0)],
            id="a host that comes and goes announces less than twice a minute",
        ),
        pytest.param(
            [
                *(MASTER, 60.0, announced(HIGHER_MAC), 0.4, announced(HIGHER_MAC), 7.0),
                *every_second(announced(HIGHER_MAC), 3, 0.4),
            ],
            id="a rival that returns after a loss is the new one",
        ),
        pytest.param([BACKUP, announced(LOWER_MAC), 0.1, MASTER], id="one announcement"),
        pytest.param(
            [BACKUP, announced(LOWER_MAC), 0.4, announced(LOWER_MAC), 2.0, MASTER],
            id="the announcer is silent before the promotion",
        ),
        pytest.param(
            [
                BACKUP,
                *every_second(theirs(source_mac=LOWER_MAC, priority=100), 2),
                *(announced(LOWER_MAC), 0.4, announced(LOWER_MAC), 0.4, MASTER),
            ],
            id="the announcer's adverts are in sight",
        ),
    ],
)
def test_there_is_no_reason_to_yield(events: list[Happening]) -> None:
    """The rival dies, steps down, is new itself, or what was seen of it proves nothing."""
    assert [] == holds(Replay()(*events))


def test_adverts_that_do_not_leave_are_made_up_for_by_announcements() -> None:
    """Briskly at first, then every second for as long as nobody sees them leave."""
    replay = played(MASTER, 0.3)
    assert 8 == replay(ContestSign.NOT_LEAVING, 2.99).count(ContestOrder.ANNOUNCE)
    assert 10 == replay(*every_second(ContestSign.NOT_LEAVING, 10)).count(ContestOrder.ANNOUNCE)
    assert replay(30.0).count(ContestOrder.ANNOUNCE) <= 5


@pytest.mark.parametrize("event", [BACKUP, FAULT], ids=["BACKUP", "FAULT"])
def test_only_a_master_makes_up_for_adverts(event: Event) -> None:
    """Nobody else should announce."""
    replay = Replay()
    assert ContestOrder.ANNOUNCE not in replay(event, ContestSign.NOT_LEAVING, 10.0)


def test_a_winner_announces_every_second_and_later_every_ten() -> None:
    """So that the loser notices its death."""
    replay = played(MASTER, 60.0, announced(HIGHER_MAC), 1.0, announced(HIGHER_MAC))
    assert 103 == replay(100.0).count(ContestOrder.ANNOUNCE)
    replay(POLICY.fresh_for)
    assert 10 == replay(100.0).count(ContestOrder.ANNOUNCE)


def lost_by_announcements() -> Replay:
    """Return an instance that lost a contest by announcements and is held."""
    replay = played(BACKUP, announced(LOWER_MAC), 10.0, announced(LOWER_MAC), MASTER, 0.5)
    replay(announced(LOWER_MAC), 1.0, announced(LOWER_MAC), FAULT)
    assert replay.state.is_held
    return replay


def test_the_loser_is_held_while_the_winner_announces_and_released_after() -> None:
    """Three and a half announcements missed, and at least a master-down time."""
    replay = lost_by_announcements()
    assert () == replay(1.0, *every_second(announced(LOWER_MAC), 100), announced(LOWER_MAC))
    assert () == replay(3.4)
    assert (ContestOrder.RELEASE,) == replay(0.2)


def test_a_loser_waits_longer_once_the_winner_announces_less() -> None:
    """Ten minutes after the contest it announces every ten seconds."""
    replay = lost_by_announcements()
    replay(1.0, *every_second(announced(LOWER_MAC), 600), announced(LOWER_MAC))
    assert () == replay(30.0)
    assert (ContestOrder.RELEASE,) == replay(1.0)


def test_a_released_loser_yields_again_before_it_becomes_master() -> None:
    """Adverts do not arrive here: an announcement is all there is to hear."""
    replay = lost_by_announcements()
    replay(4.0)
    assert HELD_ANNOUNCED == holds(replay(BACKUP, 1.0, announced(LOWER_MAC)))


def test_who_announces_too_seldom_ends_the_changes_as_well() -> None:
    """Each further loss doubles the wait."""
    replay = lost_by_announcements()
    changes = 0
    for _ in range(300):
        for action in replay(5.0, announced(LOWER_MAC)):
            if action in {ContestOrder.RELEASE, ContestOrder.BEGIN_TRIAL}:
                replay(BACKUP)
            if isinstance(action, HoldInstance):
                replay(FAULT)
                changes += 1

    assert changes <= 3


def test_an_announcement_by_who_advertises_is_left_to_the_adverts() -> None:
    """They say more."""
    replay = played(BACKUP, HIGHER, 1.0, MASTER, 0.1)
    assert () == replay(announced(HIGHER_MAC))


@pytest.mark.parametrize("told_first", [False, True], ids=["heard first", "told first"])
def test_an_announcement_counts_as_soon_as_adverts_are_missed(
    told_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """keepalived read the last advert a little sooner than we did, and so misses it sooner."""
    replay = played(BACKUP, LOWER, DOWN - 0.02)
    here = announced(HIGHER_MAC)
    assert ContestOrder.ANNOUNCE in replay(*((MASTER, here) if told_first else (here, MASTER)))


def test_a_simultaneous_promotion_is_noticed_though_told_late() -> None:
    """His announcements came while keepalived's line was on its way."""
    replay = played(BACKUP, 3.5, announced(LOWER_MAC), 0.05)
    assert ContestOrder.ANNOUNCE in replay(MASTER)
    assert HELD_ANNOUNCED == holds(replay(1.0, announced(LOWER_MAC)))


# --- held ---------------------------------------------------------------------------------------


def outranked() -> Replay:
    """Return an instance that is held for a higher rank behind a firewall."""
    replay = played(MASTER, 60.0, HIGHER, 1.0, FAULT)
    assert replay.state.is_held
    return replay


def test_a_held_instance_is_released_a_master_down_time_after_the_last_advert() -> None:
    """And is MASTER as long after that."""
    replay = outranked()
    replay(HIGHER)
    assert () == replay(DOWN - 0.01)
    assert (ContestOrder.RELEASE,) == replay(0.02)


def test_a_rival_that_leaves_is_not_waited_for() -> None:
    """Priority 0 is a word."""
    replay = outranked()
    assert (ContestOrder.RELEASE,) == replay(HIGHER, 0.5, LEAVING)


def test_a_trial_that_counts_ends_the_contest() -> None:
    """The firewall is mended: released for good."""
    replay = outranked()
    actions = replay(*every_second(HIGHER, 10))
    assert (ContestOrder.BEGIN_TRIAL,) == actions
    replay(0.05, BACKUP, 0.02, DUMP, 0.4, HIGHER)
    replay.received = 1
    assert (ContestOrder.ASK_DUMP, ContestOrder.END_TRIAL) == replay(0.6, DUMP)
    assert ContestPhase.WATCHING is replay.state.phase


def test_a_trial_that_fails_ends_before_the_master_down_time() -> None:
    """And the next one comes later."""
    replay = outranked()
    begins = []
    for second in range(400):
        actions = replay(HIGHER, 1.0)
        if ContestOrder.BEGIN_TRIAL in actions:
            begins.append(second)
            trial = replay.now
            replay(BACKUP, 0.02, DUMP)
            assert [HoldReason.OUTRANKED] == [
                reason for reason, _ in holds(replay(HIGHER, 1.0, HIGHER, 1.5))
            ]
            assert replay.now - trial < DOWN
            replay(FAULT)

    waits = [after - before for before, after in pairwise(begins)]
    assert sorted(waits) == waits
    assert waits[-1] > 4 * waits[0]


def test_an_advert_that_says_why_it_is_refused_is_not_tried() -> None:
    """Until it changes."""
    replay = Replay()
    other = theirs(version=3, authentication=0, password=None)
    replay(MASTER, 60.0, other, 1.0, FAULT)
    assert () == replay(*every_second(other, 60))
    assert (ContestOrder.BEGIN_TRIAL,) == replay(*every_second(HIGHER, 2))


# --- no rivals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advert", "kind"),
    [
        pytest.param(
            replace(ADVERT, source_mac=bytes.fromhex("5254000000aa")),
            CauseKind.OWN_ECHO,
            id="a MAC of this host",
        ),
        pytest.param(
            replace(ADVERT, source=IPv4Address("10.0.0.99")),
            CauseKind.OWN_ECHO,
            id="an address of this node",
        ),
        pytest.param(
            replace(ADVERT, priority=255, addresses=(FOREIGN,)),
            CauseKind.ID_CLASH,
            id="other addresses",
        ),
    ],
)
def test_what_is_no_rival_is_reported_and_never_yielded_to(
    advert: Advert, kind: CauseKind
) -> None:
    """However high it ranks."""
    replay = played(MASTER, 60.0)
    actions = replay(*every_second(AdvertSeen(advert=advert), 30))
    assert {kind} == {each.kind for each in reports(actions)}
    assert [] == holds(actions)


def test_own_announcements_come_back_without_a_word() -> None:
    """A bond, a bridge loop, a second interface of this host."""
    replay = played(MASTER, 60.0)
    assert () == replay(*every_second(announced(OURS), 30))


def test_a_clash_of_ids_names_a_free_offset() -> None:
    """For as many ids as the configuration needs."""
    clash = AdvertSeen(
        advert=replace(ADVERT, source=IPv4Address("10.0.0.1"), addresses=(FOREIGN,)),
        seen_ids=frozenset({11, 21, 32}),
    )
    replay = Replay(replace(CONTEXT, router_ids=3))

    text = (
        "router id 11 is also used by 10.0.0.1 for 10.0.0.254:"
        " choose OPENSHIFT_HA_VRRP_ID_OFFSET=40"
    )
    assert [text] == [each.text for each in reports(replay(MASTER, clash))]


def test_how_it_goes_on_with_a_speaker_that_is_no_rival_is_said() -> None:
    """At the end of the sentence; with another end it is told again."""
    foreign = replace(ADVERT, addresses=(FOREIGN,))
    routed = replace(ADVERT, ttl=60)
    for advert in (foreign, routed):
        (told,) = reports(
            Replay(CONTEXT)(MASTER, AdvertSeen(advert=advert, outlook="; it is dropped"))
        )
        assert told.text.endswith("; it is dropped")
        assert "; it is dropped" == told.outlook


def test_a_carp_device_is_named_without_an_offset_where_none_is_free() -> None:
    """254 ids need them all."""
    carp = Carp(source_mac=bytes(6), source=IPv4Address("10.0.0.1"), router_id=11, skew=0, ttl=255)
    assert (
        "router id 11 is also used as vhid by a CARP device such as pfSense, OPNsense or ucarp,"
        " 10.0.0.1; it is dropped"
    ) == causes.carp_clash([carp], 255, {11}, "; it is dropped").text
    assert "10.0.0.1 (a CARP device such as" in causes.carp_speaker(carp)


def test_other_speakers_are_described() -> None:
    """One that a router forwarded may list our addresses."""
    foreign = replace(ADVERT, addresses=(FOREIGN,))
    assert causes.speaker(foreign, CONTEXT).endswith("uses router id 11 for other addresses")
    assert "(behind a router) sends adverts for router id 11" in causes.speaker(ADVERT, CONTEXT)


def test_no_free_offset_is_no_advice() -> None:
    """254 ids need them all."""
    assert causes.free_offset({100}, 254) is None
    assert 0 == causes.free_offset(set(), 255)


# --- causes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advert", "kind", "words"),
    [
        (replace(ADVERT, version=3), CauseKind.VERSION, "VRRP version 3, this node has 2"),
        (replace(ADVERT, password=b"x"), CauseKind.PASSWORD, "other password"),
        (replace(ADVERT, authentication=0, password=None), CauseKind.PASSWORD, "other password"),
        (replace(ADVERT, authentication=2, password=None), CauseKind.PASSWORD, "other password"),
        (
            replace(ADVERT, addresses=(VIRTUAL, SECOND)),
            CauseKind.ADDRESSES,
            "address list differs: they list 10.0.0.5 10.0.0.6, this node lists 10.0.0.5",
        ),
        (
            replace(ADVERT, interval=2.0),
            CauseKind.INTERVAL,
            "advert interval 2 s, this node has 1 s",
        ),
        (
            replace(ADVERT, destination=IPv4Address("10.0.0.10")),
            CauseKind.CAST,
            "they are unicast, this node sends multicast",
        ),
        (replace(ADVERT, is_checksum_right=False), CauseKind.PACKET, "wrong checksum"),
        (
            replace(ADVERT, virtual_router_id=1),
            CauseKind.ROUTER_ID,
            "10.0.0.12 advertises 10.0.0.5 for router id 1, this node for 11",
        ),
        (
            ADVERT,
            CauseKind.FIREWALL,
            "keepalived does not count them: a firewall drops protocol 112",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_cause_is_told_in_words(advert: Advert, kind: CauseKind, words: str) -> None:
    """What was seen, and what differs."""
    replay = Replay()
    actions = replay(MASTER, 60.0, AdvertSeen(advert=advert), 1.0)
    assert [(HoldReason.OUTRANKED, kind)] == holds(actions)
    assert [True] == [
        words in each.cause.text for each in actions if isinstance(each, HoldInstance)
    ]


@pytest.mark.parametrize(
    ("counts", "kind"),
    [
        ({"auth_failure": 2}, CauseKind.PASSWORD),
        ({"addr_list_err": 2}, CauseKind.REFUSED),
        ({"packet_len_err": 2}, CauseKind.REFUSED),
        ({"ip_ttl_err": 2}, CauseKind.REFUSED),
        ({"invalid_type_rcvd": 2}, CauseKind.REFUSED),
        ({"invalid_authtype": 2}, CauseKind.REFUSED),
        ({"authtype_mismatch": 2}, CauseKind.REFUSED),
        ({"advert_interval_err": 2}, CauseKind.FIREWALL),
        ({}, CauseKind.FIREWALL),
    ],
    ids=str,
)
def test_counters_say_what_the_packet_does_not(counts: dict[str, int], kind: CauseKind) -> None:
    """keepalived counted why it refuses."""
    replay = played(BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER, 0.1)
    replay.errors = dict(counts)
    if kind is CauseKind.FIREWALL:  # keepalived may be late with counting
        assert [] == holds(replay(DUMP, 0.3))
    assert [(HoldReason.UNCOUNTED, kind)] == holds(replay(DUMP))


def test_adverts_that_ceased_are_told_from_a_stranger() -> None:
    """The announcer is known."""
    replay = played(BACKUP, *every_second(LOWER, 5), 4.0, MASTER, announced(HIGHER_MAC), 1.0)
    (hold,) = (each for each in replay(announced(HIGHER_MAC)) if isinstance(each, HoldInstance))
    cause = hold.cause

    assert CauseKind.SILENCED is cause.kind
    assert cause.text == (
        "52:54:00:00:00:09 announces 10.0.0.5 and the adverts of 10.0.0.12 for router id 11"
        " no longer arrive: the network, or a firewall there, drops protocol 112; if the network"
        " drops multicast, set on all nodes at once OPENSHIFT_HA_UNICAST_PEERS=10.0.0.10,10.0.0.12"
        " (add every other node), or OPENSHIFT_HA_UNICAST_PEERS_DNS to a name that resolves to"
        " them"
    )
    unicast = replace(replay.state.context, unicast_peers=frozenset({ADVERT.source}))
    for advert in (None, ADVERT):
        told = causes.announcer(HIGHER_MAC, unicast.addresses[0], advert, unicast)
        assert told.text.rstrip(")").endswith("drops protocol 112")


@pytest.mark.parametrize(
    ("advert", "words"),
    [
        pytest.param(
            replace(ADVERT, addresses=tuple(IPv4Address("10.0.1.0") + n for n in range(200))),
            "10.0.1.7 and 192 more",
            id="a long list is cut short",
        ),
        pytest.param(
            replace(ADVERT, addresses=()),
            "they list no address, this node lists 10.0.0.5",
            id="a router advertises nothing",
        ),
        pytest.param(replace(ADVERT, ttl=64), "hop limit 64, not 255", id="a hop limit"),
    ],
)
def test_what_keepalived_refuses_is_named(advert: Advert, words: str) -> None:
    """A sentence, not a page."""
    cause = causes.difference(advert, CONTEXT)
    assert cause is not None
    assert words in cause.text


def test_what_keepalived_takes_differs_in_nothing() -> None:
    """The order of addresses does not matter, nor the hop limit of a peer behind a router."""
    addresses = (SECOND, VIRTUAL)
    context = replace(CONTEXT, addresses=addresses[::-1])
    assert causes.difference(replace(ADVERT, addresses=addresses, ttl=255), context) is None
    unicast = replace(CONTEXT, unicast_peers=frozenset({ADVERT.source}))
    sent = replace(ADVERT, ttl=64, destination=CONTEXT.source)
    assert causes.difference(sent, unicast) is None


def test_other_errors_are_neither_of_the_list_nor_of_the_password() -> None:
    """Each number is a bit of its own, so that none can stand for another in the sum."""
    bits = {name: 1 << place for place, name in enumerate(VrrpStatistics.__struct_fields__)}
    others = ("packet_len_err", "ip_ttl_err", "invalid_type_rcvd", "invalid_authtype")
    expected = sum(bits[each] for each in (*others, "authtype_mismatch"))
    assert expected == causes.other_errors(VrrpStatistics(**bits))


# --- time, reload, modes ------------------------------------------------------------------------


def test_after_a_gap_a_master_announces_unless_it_steps_down() -> None:
    """Half a second later, when keepalived has heard what went on."""
    replay = played(MASTER, 60.0, LoopStalled(seconds=30.0))
    assert (ContestOrder.ANNOUNCE,) == replay(1.0)
    replay(LoopStalled(seconds=30.0), 0.2, BACKUP)
    assert ContestOrder.ANNOUNCE not in replay(1.0)


def test_time_in_which_we_did_not_look_makes_nobody_silent() -> None:
    """A held instance stays held over a gap."""
    replay = outranked()
    replay(*every_second(HIGHER, 5), HIGHER)
    replay.now += 30.0
    assert () == replay(LoopStalled(seconds=30.0), TICK, 1.0)


def test_time_in_which_we_did_not_look_confirms_nothing() -> None:
    """keepalived may not have run either."""
    replay = played(MASTER, 60.0, HIGHER)
    replay.now += 30.0
    assert [] == holds(replay(LoopStalled(seconds=30.0), TICK, BACKUP, 1.0))


def test_a_reload_looks_anew() -> None:
    """Rivals of addresses that are gone are forgotten, and in time the hold."""
    replay = outranked()
    assert () == replay(HIGHER, becomes(addresses=(VIRTUAL,), priority=90))
    assert (ContestOrder.RELEASE,) == replay(DOWN + 1.0)


@pytest.mark.parametrize("state", [FAULT, BACKUP], ids=["held", "in a trial"])
def test_an_id_that_gets_other_addresses_is_let_go_at_once(state: VrrpState) -> None:
    """What one address was held for must not take another one away."""
    replay = outranked()
    replay(HIGHER, state)
    assert (ContestOrder.RELEASE,) == replay(becomes(addresses=(OTHER,)))[:1]
    assert (ContestPhase.WATCHING, state) == (replay.state.phase, replay.state.state)
    assert () == tuple(
        each for each in replay(*every_second(HIGHER, 4)) if isinstance(each, HoldInstance)
    )


def test_an_address_that_is_excluded_now_is_still_the_same() -> None:
    """The hold goes on."""
    replay = outranked()
    assert () == replay(HIGHER, becomes(addresses=(OTHER,), excluded_addresses=(VIRTUAL,)))
    assert replay.state.is_held


def test_an_end_of_the_instance_is_an_end_of_the_hold() -> None:
    """Its successor begins unheld."""
    replay = outranked()
    assert (ContestOrder.RELEASE,) == replay(VrrpState.STOP)
    assert Contest(context=CONTEXT, state=VrrpState.STOP, since=replay.now) == replay.state


def test_report_mode_tells_the_same_and_holds_nothing() -> None:
    """At most once a minute."""
    replay = played(MASTER, 60.0, context=replace(CONTEXT, is_resolving=False))
    actions = replay(*every_second(HIGHER, 50))
    assert [] == holds(actions)
    assert [CauseKind.FIREWALL] == [each.kind for each in reports(actions)]
    assert ContestPhase.WATCHING is replay.state.phase


def test_a_hold_that_came_too_late_is_set_once_more() -> None:
    """keepalived became MASTER while the hold file was being written."""
    replay = outranked()
    assert HELD_OUTRANKED == holds(replay(MASTER))


def test_rivals_are_remembered_within_limits() -> None:
    """A flood of MACs costs no memory."""
    replay = played(BACKUP)
    for number in range(2 * POLICY.rivals_limit):
        mac = (number % 8).to_bytes(6, "big")
        router_id = number // 8
        replay(theirs(source_mac=mac, virtual_router_id=router_id))
    assert POLICY.rivals_limit == len(replay.state.rivals)


# --- odds and ends ------------------------------------------------------------------------------


def test_what_is_neither_our_id_nor_our_address_is_nobodys_business() -> None:
    """The filter lets all adverts pass."""
    other = replace(ADVERT, virtual_router_id=99, addresses=(FOREIGN,))
    elsewhere = Announcement(source_mac=LOWER_MAC, announced_mac=LOWER_MAC, address=FOREIGN)
    replay = played(MASTER, 60.0)
    assert () == replay(AdvertSeen(advert=other), AnnouncementSeen(announcement=elsewhere), 9.0)
    assert () == replay.state.rivals


def test_the_announcement_of_one_who_leaves_is_no_contact() -> None:
    """It was under way, or waited for its turn."""
    replay = played(BACKUP, HIGHER, announced(HIGHER_MAC), 1.0, LEAVING, 0.1, MASTER)
    assert () == replay(announced(HIGHER_MAC))


def test_an_answer_from_before_the_advert_is_not_waited_on() -> None:
    """Another instance asked: we ask again as soon as the advert must have been counted."""
    replay = played(BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER, 0.05, DUMP)
    assert (ContestOrder.ASK_DUMP,) == replay(0.06)


def test_a_restarted_keepalived_is_counted_anew() -> None:
    """Its counters began at zero."""
    replay = Replay()
    replay.received = 50
    replay(BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER, 0.1)
    replay.received = 0
    assert [] == holds(replay(DUMP))


def test_a_gap_begins_counting_anew() -> None:
    """keepalived's down timer may have stood still as well."""
    replay = played(BACKUP, 0.02, DUMP, 0.9, HIGHER, 1.0, HIGHER)
    assert (ContestOrder.ASK_DUMP,) == replay(LoopStalled(seconds=5.0))
    assert [] == holds(replay(0.1, DUMP))


def test_a_gap_puts_a_trial_off() -> None:
    """By as long as it lasted."""
    replay = outranked()
    due = replay.state.trial_at
    replay(HIGHER, LoopStalled(seconds=3.0))
    assert due + 3.0 == replay.state.trial_at


def test_a_reload_of_a_backup_asks_anew() -> None:
    """The counters may have begun anew."""
    replay = played(BACKUP, 0.02, DUMP)
    assert (ContestOrder.ASK_DUMP,) == replay(becomes())


MOVED = replace(CONTEXT, mac=HIGHER_MAC, host_macs=CONTEXT.host_macs | {HIGHER_MAC})


ANNOUNCING = (ContestOrder.ANNOUNCE, ContestOrder.ANNOUNCE_AT_ONCE)


def announcements(actions: tuple[Action, ...]) -> list[Action]:
    return [each for each in actions if each in ANNOUNCING]


def test_a_master_announces_at_once_under_another_mac() -> None:
    """Urgently the first time, and for a while more, since a switch may not forward at once."""
    replay = played(MASTER, 60.0)
    assert [ContestOrder.ANNOUNCE_AT_ONCE] == announcements(
        replay(InstanceReconfigured(context=MOVED))
    )
    brisk = announcements(replay(4.0))
    assert [ContestOrder.ANNOUNCE] * 7 == brisk
    assert len(announcements(replay(60.0))) <= 6  # then as often as keepalived


@pytest.mark.parametrize(
    ("state", "context"),
    [
        pytest.param(BACKUP, MOVED, id="a backup"),
        pytest.param(FAULT, MOVED, id="one in FAULT"),
        pytest.param(
            MASTER, replace(CONTEXT, host_macs=frozenset({LOWER_MAC})), id="another interface's"
        ),
    ],
)
def test_other_macs_of_this_host_are_no_reason_to_announce(
    state: VrrpState, context: ContestContext
) -> None:
    """Who holds nothing has nothing to say."""
    replay = played(state, 60.0)
    assert [] == announcements(replay(InstanceReconfigured(context=context), 9.0))
    assert context == replay.state.context


def test_a_contest_goes_on_when_a_mac_of_this_host_changes() -> None:
    """As it happens with each pod of a node: the rivals are the same, and so is the hold."""
    replay = played(MASTER, 60.0, HIGHER, 1.0)
    assert replay.state.is_held
    rivals = replay.state.rivals
    replay(becomes(host_macs=frozenset({LOWER_MAC})))
    assert replay.state.is_held
    assert rivals == replay.state.rivals
    assert [] == announcements(replay(becomes(mac=LOWER_MAC)))


@pytest.mark.parametrize(
    "around",
    [
        pytest.param({"node_addresses": frozenset({CONTEXT.source})}, id="an address less"),
        pytest.param({"router_ids": 5, "announce_interval": 0.5}, id="an instance less"),
    ],
)
def test_a_contest_goes_on_when_what_surrounds_the_instance_changes(
    around: dict[str, object],
) -> None:
    """As after a reload that removes an address: it is still there when the node is looked at."""
    replay = reloaded(ELSEWHERE)
    replay(0.2, becomes(**around))
    assert HELD_OTHER_ID == holds(replay(0.35))


def test_what_was_taken_for_a_rival_by_an_address_of_ours_is_none() -> None:
    """The node has an address since, and heard what it sent from there itself."""
    replay = played(MASTER, 60.0, HIGHER, announced(LOWER_MAC), 0.1)
    context = replace(CONTEXT, node_addresses=CONTEXT.node_addresses | {ADVERT.source})
    replay(InstanceReconfigured(context=context))
    assert [LOWER_MAC] == [each.mac for each in replay.state.rivals]


def test_what_was_taken_for_a_rival_by_our_own_frames_is_none() -> None:
    """A bond gives a frame back under the MAC that we have not heard of yet."""
    replay = Replay()
    echo = announced(HIGHER_MAC)
    replay(MASTER, 60.0, echo, 0.1)
    assert [HIGHER_MAC] == [each.mac for each in replay.state.rivals]
    replay(InstanceReconfigured(context=MOVED))
    assert () == replay.state.rivals
    replay(echo, 1.0, echo, 1.0, echo, 1.0)
    assert not replay.state.is_held


def test_a_reload_under_another_mac_announces_too() -> None:
    """Both at once: a network manager that was given another file."""
    replay = played(MASTER, 60.0)
    actions = replay(InstanceReconfigured(context=replace(MOVED, priority=90)))
    assert [ContestOrder.ANNOUNCE_AT_ONCE] == announcements(actions)


def test_a_trial_ends_well_when_the_rival_has_gone_silent_in_it() -> None:
    """Nobody is left to yield to."""
    replay = outranked()
    replay(*every_second(HIGHER, 8), HIGHER)
    actions = replay(10.0)
    assert [] == holds(actions)
    assert ContestPhase.WATCHING is replay.state.phase


def test_rare_adverts_of_a_slow_rival_have_their_own_silence() -> None:
    """Version 3 takes any interval: three of his count."""
    context = replace(CONTEXT, version=3, password=None)
    slow = replace(ADVERT, version=3, authentication=0, password=None, interval=5.0)
    replay = played(
        MASTER, 60.0, AdvertSeen(advert=slow), 1.0, FAULT, AdvertSeen(advert=slow), context=context
    )
    assert ContestOrder.RELEASE not in replay(14.0)
    assert ContestOrder.RELEASE in replay(2.0)


def test_a_lower_rank_that_refuses_our_adverts_is_told_as_such() -> None:
    """What differs explains why he does not yield."""
    other = replace(ADVERT, priority=100, addresses=(VIRTUAL, SECOND))
    cause = causes.unheard(other, CONTEXT)
    assert (CauseKind.ADDRESSES, ("addresses", "10.0.0.12")) == (cause.kind, cause.key)


def test_an_unknown_rival_leaves_without_a_trace() -> None:
    """Nothing was remembered."""
    replay = Replay()
    assert () == replay(MASTER, LEAVING)
    assert () == replay.state.rivals


def test_states_told_twice_change_nothing() -> None:
    """A line of the FIFO may repeat what a dump said."""
    replay = played(MASTER, 5.0)
    since = replay.state.since
    replay(MASTER)
    assert since == replay.state.since


def test_all_who_have_yielded_at_once_return_one_by_one() -> None:
    """From the second loss in a row on, each lower MAC that was heard has a second's start."""
    replay = lost_by_announcements()
    first = held.silence_after_loss(replay.state, replay.now)
    again = replace(replay.state, losses=2)
    lower = replace(again, context=replace(CONTEXT, mac=bytes(6)))
    assert first == 3.5 * POLICY.defend_interval
    assert held.silence_after_loss(lower, replay.now) == 2 * first
    assert held.silence_after_loss(again, replay.now) == 2 * first + POLICY.defend_interval


def test_after_a_long_gap_a_master_counts_as_new() -> None:
    """Somebody may have taken over with good reason: the lower MAC does not insist."""
    replay = played(MASTER, 60.0, LoopStalled(seconds=30.0), 1.0, announced(HIGHER_MAC), 1.0)
    assert HELD_ANNOUNCED == holds(replay(announced(HIGHER_MAC), 1.0, announced(HIGHER_MAC)))


def test_a_loser_whose_rival_is_only_heard_announcing_now_goes_by_that() -> None:
    """Adverts have ceased to arrive: its announcements, soon rarer, say whether it lives."""
    replay = outranked()
    replay(*every_second(HIGHER, 5), 1.0)
    replay(*every_second(announced(HIGHER_MAC), 650), announced(HIGHER_MAC))
    assert () == replay(30.0)
    assert (ContestOrder.RELEASE,) == replay(1.0)


# --- the rest of the branches -------------------------------------------------------------------


def test_a_fast_backup_makes_nothing_of_answers() -> None:
    """It does not count adverts."""
    replay = played(BACKUP, 1.0, context=FAST)
    assert () == replay(DUMP, 10.0)


def test_a_fast_instance_that_is_held_tries_nothing() -> None:
    """There is no time to count in."""
    replay = Replay(FAST)
    fast = theirs(version=3, interval=0.1, authentication=0)
    replay(MASTER, 60.0, *every_second(fast, 10, 0.1), FAULT)
    assert replay.state.is_held
    assert () == replay(*every_second(fast, 300, 0.1))


def test_a_lower_rank_that_falls_silent_is_not_looked_at_any_more() -> None:
    """Announcements go on, for its sake."""
    replay = played(MASTER, 60.0, LOWER, 0.4, LOWER)
    actions = replay(10.0)
    assert [] == holds(actions)
    assert 10 == actions.count(ContestOrder.ANNOUNCE)


def test_a_trial_in_which_nothing_is_counted_ends_at_once() -> None:
    """There is no need to wait for its end."""
    replay = outranked()
    while ContestOrder.BEGIN_TRIAL not in replay(HIGHER, 1.0):
        pass
    replay(BACKUP, 0.02, DUMP, 0.9, HIGHER, 0.4, HIGHER, 0.1)
    found = holds(replay(DUMP, 0.3, DUMP))
    assert [HoldReason.OUTRANKED] == [reason for reason, _ in found]
    assert replay.state.is_held
    assert 1 == replay.state.trials


def test_a_hold_needs_a_reason() -> None:
    """Anything else is a mistake of ours."""
    with pytest.raises(AssertionError, match="held without a reason"):
        held.hold_again(Contest(context=CONTEXT))


def test_a_hold_ends_where_a_reload_says_that_rivals_are_only_reported() -> None:
    """And it does not come back, however long the rival is there."""
    replay = played(MASTER, HIGHER, 0.5)
    assert replay.state.is_held
    context = replace(CONTEXT, is_resolving=False)
    assert (ContestOrder.RELEASE,) == replay(InstanceReconfigured(context=context))
    actions = replay(*every_second(HIGHER, 30))
    assert [] == holds(actions)
    assert {ContestOrder.RELEASE, ContestOrder.BEGIN_TRIAL}.isdisjoint(actions)


@pytest.mark.parametrize(
    ("changes", "is_ignored"),
    [
        ({"ttl": 60}, True),
        ({"ttl": 254, "destination": IPv4Address("10.0.0.11")}, True),
        ({"ttl": 64, "destination": IPv4Address("10.0.0.11")}, True),
        ({"ttl": 255, "destination": IPv4Address("10.0.0.11")}, False),
        ({"ttl": 255}, False),
    ],
    ids=["multicast", "unicast", "the kernel's default", "unicast from here", "from here"],
)
@pytest.mark.parametrize("is_unicast", [False, True], ids=["multicast", "unicast"])
def test_nobody_yields_to_what_a_router_has_forwarded(
    changes: dict[str, Any], *, is_ignored: bool, is_unicast: bool
) -> None:
    """Protocol 112 can be sent to a node from anywhere, with any priority and no password."""
    peers = frozenset({IPv4Address("10.0.0.13")} if is_unicast else ())
    replay = Replay(replace(CONTEXT, unicast_peers=peers))
    seen = theirs(priority=255, **changes)
    actions = replay(MASTER, *every_second(seen, 4))
    assert is_ignored is not replay.state.is_held
    assert is_ignored is not bool(replay.state.rivals)
    if is_ignored:
        assert {CauseKind.PACKET} == {each.kind for each in reports(actions)}
        assert "do not come from this segment" in reports(actions)[0].text


@pytest.mark.parametrize("ttl", [64, 37, 1])
def test_the_hop_limit_of_an_ipv6_unicast_peer_says_nothing(ttl: int) -> None:
    """keepalived leaves the interface's there, which a router advertisement sets."""
    source, peer = IPv6Address("fd00::12"), IPv6Address("fd00::11")
    advert = replace(ADVERT, source=source, destination=peer, ttl=ttl)
    assert is_from_segment(advert, {source})
    assert not is_from_segment(advert, {peer})
    assert not is_from_segment(advert)
    assert not is_from_segment(replace(advert, destination=IPv6Address("ff02::12")), {source})
    assert not is_from_segment(replace(ADVERT, ttl=ttl), {ADVERT.source})
    assert is_from_segment(replace(advert, ttl=255))


def test_an_ipv6_unicast_stranger_is_told_of_as_one() -> None:
    """What would make it none is named: to be a peer."""
    source, own = IPv6Address("fd00::12"), IPv6Address("fd00::11")
    context = replace(
        CONTEXT,
        addresses=(IPv6Address("fd00::5"),),
        source=own,
        unicast_peers=frozenset({IPv6Address("fd00::13")}),
    )
    advert = replace(ADVERT, source=source, destination=own, ttl=64, addresses=context.addresses)
    replay = Replay(context)
    (told,) = reports(replay(MASTER, AdvertSeen(advert=advert)))
    assert "hop limit 64, not 255, and their sender is none of the peers" in told.text
    replay(AdvertSeen(advert=replace(advert, source=IPv6Address("fd00::13"))))
    assert ["fd00::13"] == [str(each.advert.source) for each in replay.state.rivals if each.advert]


def test_forged_senders_are_forgotten_for_newer_ones() -> None:
    """Every event looks at all that is remembered, and a flood names any number."""
    replay = played(MASTER)
    for number in range(500):
        mac = b"\x02\xaa\0\0" + number.to_bytes(2, "big")
        replay(AdvertSeen(advert=replace(LOWER.advert, source_mac=mac)))
    assert POLICY.macs_limit == len(replay.state.rivals)
    newest = (499).to_bytes(2, "big")
    assert newest == replay.state.rivals[-1].mac[-2:]


def test_one_sender_may_advertise_under_every_id() -> None:
    """A node that groups addresses otherwise does; all of it is remembered."""
    replay = played(MASTER)
    for number in range(1, 256):
        replay(AdvertSeen(advert=replace(LOWER.advert, virtual_router_id=number)))
    assert 255 == len(replay.state.rivals)


def test_report_mode_says_once_that_a_successor_would_be_held() -> None:
    """And is silent for a minute, as always."""
    replay = played(
        BACKUP,
        announced(LOWER_MAC),
        0.5,
        announced(LOWER_MAC),
        0.1,
        context=replace(CONTEXT, is_resolving=False),
    )
    [would] = replay(MASTER)
    assert isinstance(would, ReportCause)
    assert would.would_hold

    assert [] == reports(replay(BACKUP, announced(LOWER_MAC), 0.1, MASTER))


@pytest.mark.parametrize(
    ("gap", "announces", "is_new"),
    [(0.5, 0, False), (2.0, 1, False), (5.0, 1, True)],
    ids=["less than an interval", "a few", "more than a master-down time"],
)
def test_a_gap_matters_by_its_length(gap: float, announces: int, is_new: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Announce what may have been lost, and be the new one if somebody may have taken over."""
    replay = played(MASTER, 60.0)
    begin = replay.now
    actions = replay(LoopStalled(seconds=gap), 3.0)
    assert announces == actions.count(ContestOrder.ANNOUNCE)
    assert is_new is (replay.state.since >= begin)


def test_a_gap_of_a_backup_announces_nothing() -> None:
    """There is nothing that it holds."""
    replay = played(BACKUP, 10.0)
    assert ContestOrder.ANNOUNCE not in replay(LoopStalled(seconds=30.0), 10.0)


def test_a_backup_that_counts_goes_on_counting_beside_a_second_rival() -> None:
    """Two that advertise are no reason to ask more often."""
    replay = Replay()
    second = other(LOWER_MAC, 11, 100)
    replay(BACKUP, 0.02, DUMP)
    for _ in range(3):
        replay.received += 2
        replay(HIGHER, 0.01, second, 0.99)
    replay(DUMP, second, 0.01)
    actions: tuple[Action, ...] = ()
    for _ in range(3):
        actions += replay(HIGHER, 0.01, second, 0.99)

    assert actions.count(ContestOrder.ASK_DUMP) <= 2


def test_an_instance_that_stays_held_over_a_start_forgets_what_was_counted() -> None:
    """Who holds the address is remembered: there is no second holder for an election."""
    replay = played(MASTER, 60.0, HIGHER, 0.6)
    before = replay.state
    after = held.restarted(before)
    assert (True, True) == (before.is_held, after.is_held)
    assert VrrpState.INIT is after.state
    assert (before.rivals, before.deadline) == (after.rivals, after.deadline)
    assert (None, AdvertCount()) == (after.dump, after.count)
    replay.state = after
    assert [] == holds(replay(FAULT, 1.0))
    assert replay.state.is_held
