"""Whatever is asked, heard or reloaded: verdicts are single, and no address is left to no node."""

from __future__ import annotations

import contextlib
import json
from ipaddress import ip_address
from typing import Literal

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from ipfailover_agent import codec
from ipfailover_agent.drain import fsm
from ipfailover_agent.drain.drain_records import DrainClock, decode_record, encode_record
from ipfailover_agent.drain.drain_requests import LONGEST, DrainRequest, parse_duration
from ipfailover_agent.drain.fsm import DrainPhase, DrainSpec, DrainState, Target
from ipfailover_agent.model import IPAddress
from ipfailover_agent.status.status_model import DrainRequestStatus as Answer
from tests.support.adverts import heard_advert
from tests.support.building import builds

POLICY = fsm.DrainPolicy(requests_limit=3)
SILENCE = 5.0
CLOCK = DrainClock(boot="b", wall=1e9, monotonic=1000.0)
ADDRESSES = [*(ip_address(f"10.0.0.{number}") for number in range(1, 6)), ip_address("fd00::6")]
NAMES = ("VIP_1", "VIP_2", "VIP_3", "VIP_4")
names = st.sampled_from(NAMES)
words = st.lists(st.one_of(names, st.sampled_from(["10.0.0.4", "fd00::6", "nobody"])), max_size=3)
#: For each address the instance that serves it, or none.
lists = st.lists(st.sampled_from(["", *NAMES]), min_size=6, max_size=6).filter(any)


def targets_of(chosen: list[str]) -> dict[str, Target]:
    """Return the targets that serve addresses so; the third address of each is excluded."""
    found = {}
    for name in sorted({*chosen} - {""}):
        its = [each for each, other in zip(ADDRESSES, chosen, strict=True) if other == name]
        version = 3 if name == NAMES[-1] else 2
        found[name] = Target(
            addresses=frozenset(its[:2]), excluded=frozenset(its[2:]), version=version
        )
    return found


class Machine(RuleBasedStateMachine):
    """The agent's part: time, hold files, record and answers; what it knows it keeps beside."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.state = DrainState()
        self.held: set[str] = set()
        self.saved = ""
        self.served_at: dict[IPAddress, float] = {}  # by a successor
        self.begun_at: dict[IPAddress, float] = {}  # from when on its watch counts
        self.open: set[str] = set()
        self.answered: set[str] = set()
        self.count = 0
        chosen = [*NAMES[:3], *NAMES[:3]]
        self.feed(fsm.TargetsConfigured(targets=targets_of(chosen)))

    def feed(self, event: fsm.DrainEvent) -> tuple[fsm.DrainAction, ...]:
        self.state, actions = fsm.step(self.state, event, self.now, POLICY)
        for action in actions:
            match action:
                case fsm.SetHold(name=name, is_held=True):
                    assert name not in self.held
                    self.held.add(name)
                    self.begin(name)
                case fsm.SetHold(name=name):
                    self.held.remove(name)
                case fsm.SaveDrains():
                    assert action is actions[0]
                    self.saved = self.record()
                case Answer(id=key, verdict=None):
                    assert key not in self.answered
                    self.open.add(key)
                case Answer(id=key):
                    assert key not in self.answered
                    self.answered.add(key)
                    self.open.discard(key)
                case _:
                    pass
        return actions

    def record(self) -> str:
        """Return what would be written; nothing where nothing is drained."""
        state = self.state
        is_needed = state.records or state.everything is not None
        return encode_record(state, CLOCK) if is_needed else ""

    def begin(self, name: str) -> None:
        if name in self.state.drains:
            for address in self.state.drains[name].target.every:
                self.begun_at[address] = self.now

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
        request = DrainRequest(
            action="drain", words=tuple(words), is_forced=is_forced, seconds=seconds
        )
        key = f"d{self.count}"
        before, was = self.state, set(self.answered)
        actions = self.feed(
            fsm.DrainRequested(id=key, request=request, masters=masters, blind=blind)
        )
        assert key in self.open | (self.answered - was)
        if any(isinstance(each, Answer) and each.verdict == "refused" for each in actions):
            assert replace(before, deadline=self.state.deadline) == self.state
            return
        for name, each in self.state.drains.items():
            if not words or name in words or {*map(str, each.target.every)} & {*words}:
                self.begin(name)
                assert is_forced <= each.phase.is_held
                assert name not in masters or each.phase.is_held

    @rule(words=words)
    def undrain(self, words: list[str]) -> None:
        self.count += 1
        key = f"u{self.count}"
        request = DrainRequest(action="undrain", words=tuple(words))
        self.feed(fsm.DrainRequested(id=key, request=request))
        assert key in self.answered
        if not words:
            assert set() == self.held
            assert self.state.everything is None
            assert "" == self.saved
            assert all(self.state.phase(name) is DrainPhase.SERVING for name in NAMES)

    @rule(name=names, sender=st.integers(2, 4), part=st.booleans())
    def hear(self, name: str, sender: int, *, part: bool) -> None:
        found = self.state.drains.get(name)
        listed = sorted(found.target.addresses, key=str) if found else ADDRESSES
        listed = listed[:1] if part else listed
        if found:
            for each in listed:
                self.served_at[each] = self.now
        self.advert(name, sender, listed)

    @rule(name=names, sender=st.integers(2, 4))
    def leave(self, name: str, sender: int) -> None:
        self.advert(name, sender, [], priority=0)

    def advert(self, name: str, sender: int, listed: list[IPAddress], **changes: object) -> None:
        source = ip_address(f"10.0.0.{sender}")
        advert = heard_advert(source, *listed, mac=bytes([sender] * 6), **changes)
        self.feed(fsm.SuccessorHeard(name=name, advert=advert))

    @rule(name=names, is_master=st.booleans())
    def enter(self, name: str, *, is_master: bool) -> None:
        found = self.state.drains.get(name)
        if found is not None and found.is_leaving and not is_master:
            self.begin(name)  # until now it served
        self.feed(fsm.InstanceEntered(name=name, is_master=is_master))

    @rule(seconds=st.sampled_from([0.5, 3.0, 60.0]))
    def pause(self, seconds: float) -> None:
        """Time in which nothing is heard moves what was heard, and the deadlines, by as much."""
        self.now += seconds
        for times in (self.served_at, self.begun_at):
            for address in times:
                times[address] += seconds
        self.feed(fsm.ListeningPaused(seconds=seconds))

    @rule(chosen=lists, masters=st.frozensets(names))
    def reload(self, chosen: list[str], masters: frozenset[str]) -> None:
        self.follow(self.state, fsm.TargetsConfigured(targets=targets_of(chosen), masters=masters))

    @rule(chosen=st.one_of(st.none(), lists), masters=st.frozensets(names))
    def restart(self, chosen: list[str] | None, masters: frozenset[str]) -> None:
        """Kill the agent: requests are lost, what was written down is restored."""
        before, saved = self.state, self.saved
        targets = {name: each.target for name, each in before.drains.items()}
        if chosen is not None:
            targets = targets_of(chosen)
        self.state, self.open, self.held = DrainState(), set(), set()
        if saved:
            self.feed(decode_record(saved, CLOCK))
            assert set(before.records) == self.held
        self.follow(self.state, fsm.TargetsConfigured(targets=targets, masters=masters))

    def follow(self, before: DrainState, event: fsm.TargetsConfigured) -> None:
        """Take a configuration: what was drained stays so, what served serves, by address."""
        drained, held = set[object](), set[object]()
        for each in before.drains.values():
            if each.phase is not DrainPhase.SERVING:
                drained |= each.target.every
            if each.phase.is_held:
                held |= each.target.every
        self.feed(event)
        assert list(event.targets) == list(self.state.drains)
        every = (each.every for each in event.targets.values())
        assert frozenset[object]().union(*every) == self.state.known
        targets = {each.target: each for each in before.drains.values() if before.is_configured}
        for name, target in event.targets.items():
            if target in targets:  # under whatever name
                assert targets[target] == self.state.drains[name]
            else:
                self.begin(name)
            phase, known = self.state.phase(name), target.every & before.known
            if known - drained or (not known and before.everything is None):
                assert phase is DrainPhase.SERVING
            elif known and known <= held:
                assert phase.is_held
            else:
                assert phase is not DrainPhase.SERVING

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.5, 6.0]), has_link=st.booleans())
    def wait(self, seconds: float, *, has_link: bool = True) -> None:
        end = self.now + seconds
        while (due := self.state.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            drained = [
                name
                for name, each in self.state.drains.items()
                if each.phase is DrainPhase.DRAINED and not has_link
            ]
            self.feed(fsm.DrainTimePassed(has_link=has_link))
            for name in drained:
                self.begin(name)
            later = self.state.deadline
            assert later is None or later > self.now
        self.now = end

    @invariant()
    def files_say_what_is_known(self) -> None:
        """The hold files and the record: never both undone and held."""
        assert set(self.state.records) == self.held
        assert self.record() == self.saved

    @invariant()
    def no_address_is_left_to_no_node(self) -> None:
        """What is held without force was served by a successor within the silence."""
        for each in self.state.drains.values():
            if each.phase.is_held and not each.spec.is_forced:
                for address in each.target.addresses:
                    known = self.served_at.get(address, 0.0)
                    begun = self.begun_at.get(address, 0.0)
                    # a part that was fresh when the whole was: twice the silence
                    assert self.now - max(known, begun) < 2 * SILENCE

    @invariant()
    def requests_wait_only_for_what_is_under_way(self) -> None:
        """So that each of them comes to a verdict."""
        assert self.open == {each.id for each in self.state.pending}
        for each in self.state.pending:
            phases = {self.state.phase(name) for name in each.waiting}
            assert phases <= {DrainPhase.PENDING, DrainPhase.DRAINING}
            assert phases

    @precondition(lambda self: self.open)
    @rule()
    def verdicts_come_in_time(self) -> None:
        self.wait(2 * SILENCE + 0.01)
        assert set() == self.open

    def teardown(self) -> None:
        """When no successor is heard any more, only what was forced stays."""
        self.wait(100)
        held = [each for each in self.state.drains.values() if each.phase.is_held]
        assert all(each.spec.is_forced for each in held)
        assert set() == self.open


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_drains = Machine.TestCase


# --- files --------------------------------------------------------------------------------------

specs = builds(
    DrainSpec, is_forced=st.booleans(), until=st.one_of(st.none(), st.integers(1000, 10**9))
)
drains = builds(
    fsm.InstanceDrain,
    target=builds(
        Target,
        addresses=st.frozensets(st.ip_addresses(), max_size=3),
        excluded=st.frozensets(st.ip_addresses(), max_size=2),
    ),
    phase=st.sampled_from(DrainPhase),
    spec=specs,
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
    action=st.sampled_from(["drain", "undrain"]),
    words=st.lists(st.text(min_size=1, max_size=20), max_size=5),
    is_forced=st.booleans(),
    seconds=st.one_of(st.none(), st.floats(min_value=0.001, max_value=LONGEST)),
)
def test_a_request_is_read_as_it_was_written(
    action: Literal["drain", "undrain"],
    words: list[str],
    seconds: float | None,
    *,
    is_forced: bool,
) -> None:
    """Whatever names an operator types."""
    request = DrainRequest(action=action, words=tuple(words), is_forced=is_forced, seconds=seconds)
    assert request == codec.decode(codec.encode(request), DrainRequest, "request")


@given(
    boots=st.tuples(st.text(max_size=10), st.text(max_size=10)),
    drains=st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True), drains),
    everything=st.one_of(st.none(), specs),
    later=st.integers(0, 10**6),
)
def test_a_record_is_read_as_it_was_written(
    boots: tuple[str, str],
    drains: dict[str, fsm.InstanceDrain],
    everything: DrainSpec | None,
    later: int,
) -> None:
    """The next agent knows what this one did, and until when, also after a boot."""
    state = DrainState(drains=drains, everything=everything)
    text = encode_record(state, DrainClock(boot=boots[0], wall=1e9, monotonic=1000.0))
    is_same = boots[0] == boots[1]
    monotonic = 1000.0 + later if is_same else 5.0
    clock = DrainClock(boot=boots[1], wall=1e9 + later, monotonic=monotonic)
    found = decode_record(text, clock)
    assert state.known == found.known
    assert {name: each.addresses for name, each in state.records.items()} == {
        name: each.addresses for name, each in found.records.items()
    }
    pairs = [(each.spec, found.records[name].spec) for name, each in state.records.items()]
    assert (everything is None) == (found.everything is None)
    if everything is not None and found.everything is not None:
        pairs.append((everything, found.everything))
    for before, after in pairs:
        assert before.is_forced == after.is_forced
        left = None if before.until is None else max(before.until - 1000 - later, 0)
        until = None if left is None else pytest.approx(monotonic + left)
        assert until == after.until


@given(text=st.one_of(st.text(), json_like.map(json.dumps)))
def test_garbage_is_refused_in_words(text: str) -> None:
    """A ValueError with a reason, never anything else."""
    with contextlib.suppress(ValueError):
        codec.decode(text, DrainRequest, "request")
    with contextlib.suppress(ValueError):
        decode_record(text, CLOCK)


@given(text=st.text())
def test_a_duration_is_positive_or_refused(text: str) -> None:
    """Whatever is typed."""
    with contextlib.suppress(ValueError):
        assert 0 < parse_duration(text) <= LONGEST
