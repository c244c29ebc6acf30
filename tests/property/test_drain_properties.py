"""Whatever is asked, heard or reloaded: verdicts are single, and nobody is left with nothing."""

from __future__ import annotations

import contextlib
import json
from ipaddress import ip_address

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipfailover_agent.core.drains import directing, drain, draining
from ipfailover_agent.core.drains.drain import Phase, Policy, Sighting, Subject
from ipfailover_agent.core.drains.drain_requests import (
    LONGEST,
    Record,
    RecordedOrder,
    Request,
    decode_record,
    decode_request,
    encode_record,
    encode_request,
    parse_duration,
)
from ipfailover_agent.core.drains.draining import Draining
from tests.support.building import builds

POLICY = Policy(requests_limit=3)
SUBJECTS = {
    "VIP_1": Subject(addresses=frozenset({ip_address("10.0.0.5")})),
    "VIP_2": Subject(addresses=frozenset(map(ip_address, ("10.0.0.6", "10.0.0.7")))),
    "VIP_3": Subject(addresses=frozenset({ip_address("fd00::8")}), version=3),
}
SILENCE = 5.0
names = st.sampled_from(sorted(SUBJECTS))
words = st.lists(st.one_of(names, st.sampled_from(["10.0.0.7", "fd00::8", "nobody"])), max_size=3)


class Machine(RuleBasedStateMachine):
    """The agent's part: time, hold files and answers; what it knows it keeps beside."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.state = Draining()
        self.held: set[str] = set()
        self.forced: set[str] = set()
        self.served_at: dict[tuple[str, object], float] = {}  # by instance and address
        self.asked_at: dict[str, float] = {}
        self.open: set[str] = set()
        self.answered: set[str] = set()
        self.count = 0
        self.feed(draining.Configured(subjects=dict(SUBJECTS)))

    def feed(self, event: draining.Event) -> tuple[draining.Action, ...]:
        self.state, actions = directing.step(self.state, event, self.now, POLICY)
        for action in actions:
            match action:
                case draining.Hold(name=name):
                    assert name not in self.held
                    self.held.add(name)
                    self.asked_at[name] = self.now
                case draining.Release(name=name):
                    self.held.remove(name)
                case draining.Answer(id=key, verdict=None):
                    assert key not in self.answered
                    self.open.add(key)
                case draining.Answer(id=key):
                    assert key not in self.answered
                    self.answered.add(key)
                    self.open.discard(key)
                case _:
                    pass
        return actions

    @rule(
        words=words,
        is_forced=st.booleans(),
        seconds=st.one_of(st.none(), st.floats(min_value=1, max_value=20)),
        masters=st.frozensets(names),
        blind=st.sampled_from(["", "", "", "no wire"]),
    )
    def drain(
        self,
        words: list[str],
        masters: frozenset[str],
        blind: str,
        seconds: float | None,
        *,
        is_forced: bool,
    ) -> None:
        self.count += 1
        request = Request(is_drain=True, words=tuple(words), is_forced=is_forced, seconds=seconds)
        key = f"d{self.count}"
        was = set(self.answered)
        event = draining.Requested(id=key, request=request, masters=masters, blind=blind)
        actions = self.feed(event)
        assert key in self.open | (self.answered - was)
        refused = any(
            isinstance(each, draining.Answer) and each.verdict == "refused" for each in actions
        )
        if not refused:
            for name in SUBJECTS:
                if not words or name in words or self.names_address(name, words):
                    self.asked_at[name] = self.now

    @staticmethod
    def names_address(name: str, words: list[str]) -> bool:
        return any(str(each) in words for each in SUBJECTS[name].addresses)

    @rule(words=words)
    def undrain(self, words: list[str]) -> None:
        self.count += 1
        key = f"u{self.count}"
        event = draining.Requested(id=key, request=Request(is_drain=False, words=tuple(words)))
        self.feed(event)
        assert key in self.answered
        if not words:
            assert set() == self.held
            assert self.state.everything is None
            assert all(self.state.phase(name) is Phase.FREE for name in self.state.drains)

    @rule(name=names, sender=st.integers(2, 4), part=st.booleans())
    def hear(self, name: str, sender: int, *, part: bool) -> None:
        listed = sorted(SUBJECTS[name].addresses)
        listed = listed[:1] if part else listed
        for each in listed:
            self.served_at[name, each] = self.now
        seen = Sighting(
            mac=bytes([sender] * 6),
            router_id=11,
            source=f"10.0.0.{sender}",
            addresses=frozenset(listed),
            interval=1.0,
            at=self.now,
        )
        self.feed(draining.Told(name=name, event=drain.Heard(sighting=seen)))

    @rule(name=names, sender=st.integers(2, 4))
    def leave(self, name: str, sender: int) -> None:
        event = drain.Left(mac=bytes([sender] * 6), router_id=11)
        self.feed(draining.Told(name=name, event=event))

    @rule(name=names)
    def promote(self, name: str) -> None:
        self.feed(draining.Told(name=name, event=drain.Promoted()))

    @rule(name=names)
    def demote(self, name: str) -> None:
        if self.state.drains.get(name) is not None and self.state.drains[name].is_leaving:
            self.asked_at[name] = self.now  # until now it served
        self.feed(draining.Told(name=name, event=drain.Demoted()))

    @rule(subjects=st.sets(names, min_size=1), masters=st.frozensets(names))
    def reload(self, subjects: set[str], masters: frozenset[str]) -> None:
        added = subjects - set(self.state.drains)
        self.feed(
            draining.Configured(
                subjects={name: SUBJECTS[name] for name in sorted(subjects)}, masters=masters
            )
        )
        for name in added:
            self.asked_at[name] = self.now

    @rule()
    def restart(self) -> None:
        """Kill the agent: requests are lost, what is held is restored."""
        names = dict.fromkeys(self.state.drains)
        event = draining.Restored(
            held=self.state.held, everything=self.state.everything, known=self.state.known
        )
        self.state, self.open, self.held = Draining(), set(), set()
        self.feed(event)
        self.feed(draining.Configured(subjects={name: SUBJECTS[name] for name in names}))
        self.asked_at |= dict.fromkeys(names, self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.5, 6.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.state.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.feed(draining.TimePassed())
            later = self.state.deadline
            assert later is None or later > self.now
        self.now = end

    @invariant()
    def files_say_what_is_known(self) -> None:
        """Never both undone and held."""
        assert set(self.state.held) == self.held

    @invariant()
    def nobody_is_left_with_nothing(self) -> None:
        """What is held without force was served by somebody else within the silence."""
        for name, each in self.state.drains.items():
            if each.is_held and not each.order.is_forced:
                for address in SUBJECTS[name].addresses:
                    known = self.served_at.get((name, address), 0.0)
                    begun = self.asked_at.get(name, 0.0)
                    # a part that was fresh when the whole was: twice the silence
                    assert self.now - max(known, begun) < 2 * SILENCE

    @invariant()
    def requests_wait_only_for_what_is_under_way(self) -> None:
        """So that each of them comes to a verdict."""
        assert self.open == {each.id for each in self.state.pending}
        for each in self.state.pending:
            phases = {self.state.phase(name) for name in each.waiting}
            assert phases <= {Phase.PROVING, Phase.MOVING}
            assert phases

    @precondition(lambda self: self.open)
    @rule()
    def verdicts_come_in_time(self) -> None:
        self.wait(2 * SILENCE + 0.01)
        assert set() == self.open

    def teardown(self) -> None:
        """With nobody heard any more, only what was forced stays."""
        self.wait(100)
        assert all(each.order.is_forced for each in self.state.drains.values() if each.is_held)
        assert set() == self.open


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_drains = Machine.TestCase


# --- files --------------------------------------------------------------------------------------

orders = builds(
    RecordedOrder,
    is_forced=st.booleans(),
    until=st.one_of(st.none(), st.floats(0, 1e10)),
    until_monotonic=st.one_of(st.none(), st.floats(0, 1e10)),
    seconds=st.one_of(st.none(), st.floats(0, LONGEST)),
    addresses=st.frozensets(st.ip_addresses(), max_size=3),
)
json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["schema", "action", "instances", "force", "for", "boot", "known", "everything"]
            ),
            inner,
            max_size=8,
        ),
    ),
)


@given(
    is_drain=st.booleans(),
    words=st.lists(st.text(min_size=1, max_size=20), max_size=5),
    is_forced=st.booleans(),
    seconds=st.one_of(st.none(), st.floats(min_value=0.001, max_value=LONGEST)),
)
def test_a_request_is_read_as_it_was_written(
    *, is_drain: bool, words: list[str], is_forced: bool, seconds: float | None
) -> None:
    """Whatever names somebody types."""
    request = Request(is_drain=is_drain, words=tuple(words), is_forced=is_forced, seconds=seconds)
    assert request == decode_request(encode_request(request))


@given(
    boot=st.text(max_size=10),
    instances=st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True), orders),
    everything=st.one_of(st.none(), orders),
)
def test_a_record_is_read_as_it_was_written(
    boot: str, instances: dict[str, RecordedOrder], everything: RecordedOrder | None
) -> None:
    """The next agent knows what this one did."""
    known = frozenset(address for each in instances.values() for address in each.addresses)
    record = Record(boot=boot, instances=instances, everything=everything, known=known)
    assert record == decode_record(encode_record(record))


def numbered(numbers: list[int]) -> dict[str, Subject]:
    """Return instances that are called by their place in the list."""
    return {
        f"VIP_{place}": Subject(addresses=frozenset({ip_address(number)}))
        for place, number in enumerate(numbers, start=1)
    }


@given(
    drained=st.sets(st.integers(1, 8), min_size=1),
    before=st.permutations(range(1, 9)),
    after=st.permutations(range(1, 9)),
    kept=st.integers(1, 8),
)
def test_a_restart_holds_the_same_addresses_whatever_they_are_called(
    drained: set[int], before: list[int], after: list[int], kept: int
) -> None:
    """Lists in another order, some addresses gone: what was drained is, and nothing else."""
    begun = draining.Configured(subjects=numbered(before))
    words = tuple(str(ip_address(number)) for number in sorted(drained))
    request = Request(is_drain=True, words=words, is_forced=True)
    state = Draining()
    for event in (begun, draining.Requested(id="a", request=request)):
        state, _ = directing.step(state, event, 0.0, POLICY)
    restored = draining.Restored(held=state.held, known=state.known)
    state, files = Draining(), set[str]()
    for each in (restored, draining.Configured(subjects=numbered(after[:kept]))):
        state, actions = directing.step(state, each, 1.0, POLICY)
        for action in actions:
            if isinstance(action, draining.Hold):
                files.add(action.name)
            elif isinstance(action, draining.Release):
                files.remove(action.name)
    held = {address for found in state.held.values() for address in found.addresses}
    assert {ip_address(number) for number in drained & set(after[:kept])} == held
    assert files == set(state.held)


@given(text=st.one_of(st.text(), json_like.map(json.dumps)))
def test_garbage_is_refused_in_words(text: str) -> None:
    """A ValueError with a reason, never anything else."""
    for decode in (decode_request, decode_record):
        with contextlib.suppress(ValueError):
            decode(text)


@given(text=st.text())
def test_a_duration_is_positive_or_refused(text: str) -> None:
    """Whatever is typed."""
    with contextlib.suppress(ValueError):
        assert 0 < parse_duration(text) <= LONGEST
