"""Names resolved in threads: what comes back, what does not, and that nothing waits."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec.structs import replace

from ipfailover_agent.linux import host
from ipfailover_agent.model import Family
from ipfailover_agent.peers import peers_record, resolving
from ipfailover_agent.peers.peers import LookupResult, Question
from tests.support.waiting import wait_until

LOCAL = Question(name="localhost", family=Family.IPV4)
TEN = (ip_address("10.0.0.1"),)


@pytest.fixture
def resolver() -> Iterator[resolving.Resolver]:
    """Give a resolver that is closed in the end."""
    resolver = resolving.Resolver()
    yield resolver
    resolver.close()


def test_an_answer_comes_through_the_descriptor(resolver: resolving.Resolver) -> None:
    """It can be read once there is an answer, and not again."""
    assert () == resolver.answers()
    resolver.ask(LOCAL)
    assert select.select([resolver], [], [], 10)[0]
    (answer,) = resolver.answers()
    assert LookupResult(question=LOCAL, addresses=(ip_address("127.0.0.1"),)) == answer
    assert not select.select([resolver], [], [], 0)[0]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("nobody.invalid", id="there is no such name (RFC 6761), or no DNS"),
        pytest.param("a" * 64 + ".example", id="a label too long"),
    ],
)
def test_a_name_that_cannot_be_resolved_is_no_fault_of_ours(name: str) -> None:
    """No addresses; whether it is empty or failed is the resolver's business."""
    assert () == resolving.resolve(Question(name=name, family=Family.IPV4)).addresses


def test_a_name_without_the_family_is_an_empty_answer() -> None:
    """An address literal has one family only, so it needs no DNS."""
    question = Question(name="127.0.0.1", family=Family.IPV6)
    assert LookupResult(question=question) == resolving.resolve(question)


def test_everything_at_once_has_one_deadline() -> None:
    """What has not come by then is a failure in words."""
    other = Question(name="127.0.0.2", family=Family.IPV4)
    answers = {each.question: each for each in resolving.resolve_once([LOCAL, other, LOCAL], 10)}
    assert [ip_address("127.0.0.1")] == [*answers[LOCAL].addresses]
    assert [ip_address("127.0.0.2")] == [*answers[other].addresses]
    (late,) = resolving.resolve_once([LOCAL], 0)
    assert "no answer within 0 s" == late.failure


def test_an_answer_after_the_end_goes_nowhere(resolver: resolving.Resolver) -> None:
    """The descriptor may belong to something else by then."""
    resolver.close()
    read, write = os.pipe2(os.O_NONBLOCK)
    try:
        resolver.ask(LOCAL)
        wait_until(lambda: not _threads(), 10, "the thread has ended")
        with pytest.raises(BlockingIOError):
            os.read(read, 1)
    finally:
        os.close(read)
        os.close(write)


def _threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("resolve ")]


HANG = """
import socket, sys, time
from ipfailover_agent.model import Family
from ipfailover_agent.peers.peers import Question
from ipfailover_agent.peers import resolving
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
resolver = resolving.Resolver()
resolver.ask(Question(name="localhost", family=Family.IPV4))
resolver.close()
"""


def test_a_resolver_that_hangs_does_not_keep_the_process() -> None:
    """A call that sleeps stands in for a getaddrinfo that does, which cannot be had on demand."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HANG], check=False, timeout=30)
    assert 0 == done.returncode
    assert time.monotonic() - began < 10


def test_no_more_threads_is_a_failed_answer(
    resolver: resolving.Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's limit of processes counts threads too."""

    def refuse(_: object) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    resolver.ask(LOCAL)
    (answer,) = resolver.answers()
    assert "can't start new thread" == answer.failure


def test_another_fault_of_the_system_is_a_failed_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor left for a socket, for example."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert "too many open files" in resolving.resolve(LOCAL).failure


# --- the record ---------------------------------------------------------------------------------


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    """By name and family; a name that was not recorded has none."""
    six = Question(name="localhost", family=Family.IPV6)
    known = (
        LookupResult(question=LOCAL, addresses=(ip_address("10.0.0.1"), ip_address("10.0.0.2"))),
        LookupResult(question=six, addresses=(ip_address("fd00::1"),), age=40.0),
    )
    path = str(tmp_path / "peers.json")
    peers_record.record_peers(path, known)
    other = Question(name="other", family=Family.IPV4)
    first, second = peers_record.read_recorded_peers(path, (LOCAL, six, other))
    assert second.age is not None
    assert 40 <= round(second.age, 3) < 60  # milliseconds are written
    assert known == (first, replace(second, age=40.0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("boot", "another"),
        ("boot", ""),
        ("confirmed", {}),
        ("confirmed", {"localhost": {"ipv4": "yesterday"}}),
        ("confirmed", {"localhost": {"ipv4": 1e12}}),
    ],
)
def test_what_is_not_known_to_be_of_a_moment_ago_is_of_no_age(
    tmp_path: Path, field: str, value: object
) -> None:
    """Of another boot, of a former version, of the future."""
    path = tmp_path / "peers.json"
    answer = LookupResult(question=LOCAL, addresses=TEN, age=1.0)
    peers_record.record_peers(str(path), (answer,))
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, field: value}), encoding="utf-8")
    assert (replace(answer, age=None),) == peers_record.read_recorded_peers(str(path), (LOCAL,))


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("[]", id="a list"),
        pytest.param('{"peers": 7}', id="a number"),
        pytest.param('{"peers": {"localhost": []}}', id="no families"),
        pytest.param('{"peers": {"localhost": {"ipv4": "10.0.0.1"}}}', id="no list"),
        pytest.param('{"peers": {"localhost": {"ipv4": [1, "x", "fd00::1"]}}}', id="no addresses"),
        pytest.param('{"peers": {"localhost": {"ipv4": ["10.0', id="cut off"),
    ],
)
def test_a_damaged_record_is_none(tmp_path: Path, record: str | None) -> None:
    """An old or half-written file must not keep an agent from starting."""
    path = tmp_path / "peers.json"
    if record is not None:
        path.write_text(record, encoding="utf-8")
    assert () == peers_record.read_recorded_peers(str(path), (LOCAL,))


@pytest.mark.parametrize(
    "damage",
    [
        {"boot": None},
        {"confirmed": None},
        {"confirmed": {"localhost": {"ipv4": 10**400}}},
        {"peers": {"localhost": {"ipv4": ["10.0.0.1"], "ipv6": None}, "other": []}},
    ],
    ids=["boot", "confirmed", "a moment beyond all", "another name"],
)
def test_a_damaged_part_of_the_record_costs_no_other_one(
    tmp_path: Path, damage: dict[str, object]
) -> None:
    """The addresses of a name are used; from when they are is not known."""
    path = tmp_path / "peers.json"
    sound = {"peers": {"localhost": {"ipv4": ["10.0.0.1"]}}, "boot": host.boot_id()}
    path.write_text(json.dumps({**sound, **damage}), encoding="utf-8")
    (found,) = peers_record.read_recorded_peers(str(path), (LOCAL,))
    assert (TEN, None) == (found.addresses, found.age)
