"""Peers by name at work: what is logged, what is recorded, what is handed to the plan.

Numbers stand in for names: the system's resolver answers them by itself, without DNS.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.keepalived.lifecycle import Occurrence
from ipfailover_agent.linux import host
from ipfailover_agent.linux.loop import Loop, Readable
from ipfailover_agent.model import Family, IPAddress, Settings
from ipfailover_agent.peers import peers_record
from ipfailover_agent.peers import service as peering
from ipfailover_agent.peers.peers import LookupResult, PeersPolicy, Question
from ipfailover_agent.peers.service import SOURCE, Peering
from tests.support.services import candidate, common
from tests.support.vectors import host_facts

FAST = PeersPolicy(interval=0.05, again=0.01, settle=0.03, grace=0.5, timeout=1.0, note_every=0.1)
SETTINGS = Settings(
    virtual_addresses=(ip_address("10.0.0.100"),), unicast_peer_names=("10.0.0.1", "10.0.0.2")
)
QUESTIONS = tuple(Question(name=name, family=Family.IPV4) for name in SETTINGS.unicast_peer_names)
BOTH = tuple(map(ip_address, SETTINGS.unicast_peer_names))
FACTS = host_facts({"eth0": ["10.0.0.1/24"]})


def record(path: str, age: float) -> None:
    """Record that every name has its address, as confirmed so many seconds ago."""
    known = [
        LookupResult(question=question, addresses=(address,), age=age)
        for question, address in zip(QUESTIONS, BOTH, strict=True)
    ]
    peers_record.record_peers(path, known)


class Rig:
    """A peering in a loop of its own, as the agent has it."""

    def __init__(self, loop: Loop, path: str) -> None:
        self.loop = loop
        self.path = path
        self.changes = 0
        self.events: list[Any] = []
        made = common(path.removesuffix("/peers.json"), loop=loop, dispatch=self.dispatch)
        self.peering = Peering(made, policy=FAST)

    def dispatch(self, _: Occurrence) -> None:
        self.changes += 1

    def put_in_force(self, *addresses: IPAddress) -> None:
        made = candidate(None, facts=replace(FACTS, resolved_peers=addresses))
        self.peering.configure(made, InstanceStates())

    def run(self, seconds: float, *, until_changed: bool = False) -> None:
        """Go round as the agent does."""
        ends_at, before = time.monotonic() + seconds, self.changes
        while time.monotonic() < ends_at and not (until_changed and self.changes > before):
            due = self.peering.deadline
            events = self.loop.wait(ends_at if due is None else min(due, ends_at))
            self.peering.tick(time.monotonic())
            if Readable(source=SOURCE) in events:
                self.peering.readable()

    def named(self, event: str) -> list[Any]:
        return [each for each in self.events if each["event"] == event]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Give a peering that is closed in the end."""
    with Loop(()) as loop, structlog.testing.capture_logs() as events:
        rig = Rig(loop, str(tmp_path / "peers.json"))
        rig.events = events
        yield rig
        rig.peering.close()


def test_without_names_nothing_happens(rig: Rig) -> None:
    """Facts are as they were; there is no thread, no deadline, no file."""
    assert FACTS == rig.peering.add_to(replace(SETTINGS, unicast_peer_names=()), FACTS)
    rig.peering.tick(time.monotonic())
    rig.peering.readable()
    assert rig.peering.deadline is None


def test_a_set_is_found_told_and_recorded(rig: Rig) -> None:
    """The plan is asked for once there is one, and gets it."""
    assert rig.peering.add_to(SETTINGS, FACTS).resolved_peers is None
    rig.run(10, until_changed=True)
    found = rig.peering.add_to(SETTINGS, FACTS).resolved_peers
    assert BOTH == found
    (told,) = rig.named("peers.changed")
    assert (["10.0.0.1", "10.0.0.2"], [], 2) == (told["added"], told["removed"], told["count"])
    with open(rig.path, encoding="utf-8") as file:  # noqa: PTH123 - a string
        recorded = json.load(file)["peers"]
    assert {"10.0.0.1": {"ipv4": ["10.0.0.1"]}, "10.0.0.2": {"ipv4": ["10.0.0.2"]}} == recorded
    rig.run(0.3)
    assert 1 == rig.changes


def test_names_that_are_gone_are_asked_no_more(rig: Rig) -> None:
    """A late answer is thrown away."""
    rig.peering.add_to(SETTINGS, FACTS)
    rig.peering.add_to(replace(SETTINGS, unicast_peer_names=()), FACTS)
    rig.run(0.2)
    assert rig.peering.deadline is None
    assert 0 == rig.changes


def test_a_failure_is_told_once_and_a_missing_self_too(rig: Rig) -> None:
    """However often it happens within a minute."""
    names = ("10.0.0.2", "127.0.0.1")
    rig.peering.add_to(replace(SETTINGS, unicast_peer_names=names), FACTS)
    # on a busy machine there may be no answer in time before there is one, and that is told too
    expected = {"name": "127.0.0.1 (IPv4)", "reason": "127.0.0.1 is a loopback address"}
    told: list[Any] = []
    for _ in range(20):
        rig.run(0.5)
        told = [each for each in rig.named("peers.unresolved") if expected.items() <= each.items()]
        if told:
            break
    assert 1 == len(told)
    rig.peering.add_to(replace(SETTINGS, unicast_peer_names=("10.0.0.2",)), FACTS)
    rig.run(0.3)
    (missing,) = rig.named("peers.self_missing")
    assert (["10.0.0.2"], ["10.0.0.1"]) == (missing["names"], missing["own"])


def test_what_cannot_be_recorded_is_used_all_the_same(rig: Rig, tmp_path: Path) -> None:
    """A full disk costs no peer."""
    (tmp_path / "peers.json").mkdir()
    rig.peering.add_to(SETTINGS, FACTS)
    rig.run(10, until_changed=True)
    assert rig.peering.add_to(SETTINGS, FACTS).resolved_peers
    assert 1 == len(rig.named("peers.record_failed"))


def test_a_recorded_set_is_used_at_a_restart(rig: Rig, tmp_path: Path) -> None:
    """Together with the first answer, which adds to it."""
    stored = {"peers": {"10.0.0.1": {"ipv4": ["10.0.0.9"]}}}
    (tmp_path / "peers.json").write_text(json.dumps(stored), encoding="utf-8")
    rig.peering.add_to(SETTINGS, FACTS)
    rig.run(10, until_changed=True)
    found = rig.peering.add_to(SETTINGS, FACTS).resolved_peers
    assert tuple(map(ip_address, ("10.0.0.1", "10.0.0.2", "10.0.0.9"))) == found


def test_a_set_that_was_confirmed_a_moment_ago_is_used_at_once(rig: Rig) -> None:
    """The plan has it from the first question on, and the log says why."""
    record(rig.path, age=50.0)
    found = rig.peering.add_to(SETTINGS, FACTS)
    assert BOTH == found.resolved_peers
    (told,) = rig.named("peers.changed")
    assert "stored, and confirmed by DNS within the last 600 s" == told["basis"]
    rig.run(0.3)
    assert 0 == rig.changes
    ages = [each.age for each in peers_record.read_recorded_peers(rig.path, QUESTIONS)]
    assert all(age is not None and age < 40 for age in ages), "answers have confirmed it since"


def test_a_recorded_set_is_read_again_where_the_kernel_refused_the_first_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it keepalived would wait for DNS."""
    record(rig.path, age=1.0)

    def refuse(_: object) -> frozenset[IPAddress]:
        raise SystemRefusedError("no answer from rtnetlink within 2 s")

    with monkeypatch.context() as patched:
        patched.setattr(host, "local_addresses", refuse)
        for _ in range(2):
            with pytest.raises(SystemRefusedError):
                rig.peering.add_to(SETTINGS, FACTS)
    found = rig.peering.add_to(SETTINGS, FACTS).resolved_peers
    assert BOTH == found


def test_a_set_that_did_not_come_into_force_is_asked_for_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What refused it, a full disk say, may have passed; once it is in force, all is quiet."""
    monkeypatch.setattr(peering, "_INSIST_AFTER", 0.2)
    rig.peering.add_to(SETTINGS, FACTS)
    rig.run(10, until_changed=True)
    rig.put_in_force(ip_address("10.0.0.1"))
    rig.run(10, until_changed=True)
    assert 2 == rig.changes
    rig.put_in_force(*BOTH)
    rig.run(0.6)
    assert 2 == rig.changes
