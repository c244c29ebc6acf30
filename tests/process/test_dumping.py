"""Dumps of a real keepalived in a namespace: asked for, answered, or not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfailover_agent.keepalived import dump, liveness, protocol
from ipfailover_agent.keepalived.liveness import (
    DumpFailed,
    DumpReceived,
    Event,
    Kill,
    Liveness,
    RequestDump,
    WatchOccurrence,
    step,
)
from ipfailover_agent.keepalived_watchdog import DumpRequest
from ipfailover_agent.model import VrrpState
from tests.support import missing
from tests.support.netns import NetworkNamespace, fresh_namespace
from tests.support.program import KEEPALIVED
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns


def config(count: int, *, interval: int = 1) -> str:
    """Return a configuration of so many instances that become MASTER soon."""
    blocks = [
        f"vrrp_instance vi{n} {{\n interface one\n virtual_router_id {n}\n priority 254\n"
        f" advert_int {interval}\n virtual_ipaddress {{\n  10.9.0.{n}/32\n }}\n}}\n"
        for n in range(1, count + 1)
    ]
    return "global_defs {\n max_auto_priority -1\n vrrp_garp_master_delay 1\n}\n" + "".join(blocks)


def sleep_until(deadline: float) -> None:
    select.select([], [], [], max(0.0, deadline - time.monotonic()))


class Keepalived:
    """A keepalived in a namespace of its own; its log is read all the time."""

    def __init__(self, directory: Path, namespace: NetworkNamespace, signal_number: int) -> None:
        self.directory = directory
        self.namespace = namespace
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        self.path = directory / "keepalived.conf"
        self.log = b""
        self.popen: subprocess.Popen[bytes] | None = None
        self.request = DumpRequest(str(self.temporary))
        self.request.signal_number = signal_number

    @property
    def dump_file(self) -> Path:
        return self.temporary / dump.FILE_NAME

    def start(self, text: str) -> None:
        """Start it and return when it has said that it runs."""
        self.path.write_text(text)
        self.popen = subprocess.Popen(
            [
                *("ip", "netns", "exec", self.namespace.name, KEEPALIVED),
                *("--dont-fork", "--log-console", "--vrrp", "--use-file", str(self.path)),
                *("--pid", str(self.directory / "parent.pid")),
                *("--vrrp_pid", str(self.directory / "vrrp.pid")),
                *("--checkers_pid", str(self.directory / "checkers.pid")),
            ],
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.popen.stdout is not None
        os.set_blocking(self.popen.stdout.fileno(), False)
        self.wait_for_line(protocol.says_started)

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    @property
    def child(self) -> int:
        return int((self.directory / "vrrp.pid").read_text())

    def read_log(self) -> list[bytes]:
        assert self.popen is not None
        assert self.popen.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.popen.stdout.fileno(), 1 << 16):
                self.log += data
        return self.log.split(b"\n")

    def wait_for_line(self, matches: Callable[[bytes], bool], count: int = 1) -> None:
        wait_until(lambda: sum(map(matches, self.read_log())) >= count, 20, self.describe)

    def describe(self) -> str:
        return self.log.decode(errors="replace")

    def signal_both(self, signum: int) -> None:
        for pid in (self.pid, self.child):
            os.kill(pid, signum)

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def ask(self) -> None:
        self.request.ask(self.pid, time.monotonic())

    def answer(self, timeout: float = 5) -> DumpReceived | DumpFailed | None:
        """Poll at the deadlines of the request; return None when nothing comes in time."""
        limit = time.monotonic() + timeout
        while time.monotonic() < limit:
            sleep_until(min(self.request.deadline or limit, limit))
            if (found := self.request.poll(time.monotonic())) is not None:
                return found
        return None

    def instances(self) -> tuple[dump.InstanceDump, ...]:
        """Ask and return the answer."""
        self.ask()
        found = self.answer()
        assert isinstance(found, DumpReceived), found
        return found.instances

    def close(self) -> None:
        if self.popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.communicate(timeout=10)


@pytest.fixture
def running(tmp_path: Path, signal_number: int) -> Iterator[Keepalived]:
    """Make a namespace with an interface, and a keepalived that is not started yet."""
    with fresh_namespace() as namespace:
        namespace.join("one", "two")
        namespace.ip("addr", "add", "10.9.1.1/24", "dev", "one")
        made = Keepalived(tmp_path, namespace, signal_number)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def signal_number() -> int:
    """Ask the binary."""
    done = subprocess.run(
        dump.signal_command(KEEPALIVED), capture_output=True, text=True, timeout=10, check=False
    )
    number = dump.parse_signal(done.returncode, done.stdout.splitlines())
    assert number is not None
    return number


def test_the_dump_says_what_keepalived_does(running: Keepalived) -> None:
    """Right after it has started, and when it is MASTER and sends adverts."""
    running.start(config(2))
    first = running.instances()
    assert {"vi1": 1, "vi2": 2} == {each.name: each.virtual_router_id for each in first}
    assert {1.0} == {each.advert_interval for each in first}

    def is_master() -> bool:
        found = running.instances()
        return all(each.state is VrrpState.MASTER and each.has_addresses for each in found)

    wait_until(is_master, 10, "not MASTER")
    before = running.instances()[0].counters
    wait_until(
        lambda: running.instances()[0].counters.advert_sent >= before.advert_sent + 2,
        5,
        "no adverts counted",
    )


@pytest.mark.timing
def test_it_answers_twenty_times_in_a_row(running: Keepalived) -> None:
    """Each in its first two looks; and nothing is left over in the directory."""
    running.start(config(3))
    times = []
    for _ in range(20):
        begin = time.monotonic()
        assert 3 == len(running.instances())
        times.append(time.monotonic() - begin)
    assert sorted(times)[10] < 0.1, times
    assert [dump.FILE_NAME] == [each.name for each in running.temporary.iterdir()]


def test_a_frozen_keepalived_does_not_answer_until_it_thaws(running: Keepalived) -> None:
    """A dump of before is not taken for an answer, and the signal waits for it."""
    running.start(config(2))
    running.instances()
    running.signal_both(signal.SIGSTOP)
    running.ask()
    assert not running.dump_file.exists()
    assert running.answer(1.5) is None
    running.signal_both(signal.SIGCONT)
    found = running.answer()
    assert isinstance(found, DumpReceived)
    assert running.request.deadline is None


@pytest.mark.parametrize("who", ["parent", "child"])
def test_neither_process_answers_alone(running: Keepalived, who: str) -> None:
    """The parent passes the question on, the VRRP child answers."""
    running.start(config(1))
    os.kill(running.pid if who == "parent" else running.child, signal.SIGSTOP)
    running.ask()
    assert running.answer(0.5) is None


def test_a_question_that_a_reload_swallows_is_answered_when_it_is_repeated(
    running: Keepalived,
) -> None:
    """Asked before, while and after 254 instances are read again.

    2.2.7 loses a question that comes right after SIGHUP now and then.
    """
    running.start(config(254))
    running.instances()
    for question in range(2, 12):
        running.path.write_text(config(254 - question))
        running.reload()
        sleep_until(time.monotonic() + question * 0.004)
        running.ask()
        found = running.answer(2)
        if found is None:
            running.ask()
            found = running.answer(5)
        assert isinstance(found, DumpReceived), found
        assert 254 - 11 <= len(found.instances) <= 254
    wait_until(lambda: len(running.instances()) == 254 - 11, 10, "not what was read last")


@pytest.mark.timing
def test_254_instances_are_answered_while_they_start(running: Keepalived) -> None:
    """From its first word to all of them MASTER, never near the limit."""
    running.start(config(254))
    begin, slowest = time.monotonic(), 0.0
    while time.monotonic() - begin < 15:
        asked = time.monotonic()
        all_of_them = running.instances()
        assert 254 == len(all_of_them)
        slowest = max(slowest, time.monotonic() - asked)
        sleep_until(asked + liveness.ASK_LEAST)  # as the agent does
        if all(each.state is VrrpState.MASTER for each in all_of_them):
            break
    else:
        pytest.fail("not all became MASTER")
    assert slowest < 1.0


def test_a_file_that_is_not_whole_is_looked_at_again(running: Keepalived) -> None:
    """keepalived creates it, is frozen, and goes on later."""
    running.start(config(1))
    running.instances()
    text = running.dump_file.read_bytes()
    running.signal_both(signal.SIGSTOP)
    running.ask()
    running.dump_file.write_bytes(text[: len(text) // 2])
    now = time.monotonic()
    assert running.request.poll(now) is None
    assert running.request.poll(now + 0.9) is None
    running.dump_file.write_bytes(text)
    assert isinstance(running.request.poll(now + 0.95), DumpReceived)


def test_a_file_that_is_never_whole_is_a_failure_and_no_hang(running: Keepalived) -> None:
    """There is no room for it, or it is of an unknown version."""
    running.start(config(1))
    running.signal_both(signal.SIGSTOP)
    running.ask()
    running.dump_file.write_text("[")
    now = time.monotonic()
    assert running.request.poll(now) is None
    found = running.request.poll(now + 1.0)
    assert isinstance(found, DumpFailed)
    assert found.reason.endswith("is cut off, or not what this version understands")
    assert running.request.poll(now + 2) is None


@pytest.fixture
def small(running: Keepalived) -> Iterator[Path]:
    """Put a file system of 64 KiB, and of few files, where keepalived writes."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=8", "none", running.temporary],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        missing.skip(f"cannot mount: {done.stderr}", "REQUIRE_NETNS")
    try:
        yield running.temporary
    finally:
        running.close()
        subprocess.run(["umount", "--lazy", running.temporary], check=False)


@pytest.mark.parametrize("what", ["no space", "no inodes", "file too large"])
def test_a_full_directory_is_not_keepalived_s_fault(
    running: Keepalived, small: Path, what: str
) -> None:
    """The question fails within the time in which a hang would be one; room makes it work."""
    running.start(config(100 if what == "file too large" else 1))
    if what == "no space":
        with contextlib.suppress(OSError), (small / "big").open("wb") as file:
            file.write(bytes(1 << 20))
    elif what == "no inodes":
        with contextlib.suppress(OSError):
            for number in range(8):
                (small / str(number)).touch()
    begin = time.monotonic()
    running.ask()
    found = running.answer()
    assert isinstance(found, DumpFailed), found
    assert time.monotonic() - begin < 1.9
    assert re.search(r"No space left on device|is cut off", found.reason)
    if what == "file too large":
        return
    for entry in small.iterdir():
        entry.unlink()
    assert 1 == len(running.instances())


def test_a_keepalived_that_is_gone_is_asked_in_vain(running: Keepalived) -> None:
    """The loop that reaps it reports it: here it is neither an answer nor an error."""
    running.start(config(1))
    running.close()
    running.ask()
    assert running.answer(0.7) is None
    running.request.abandon()
    assert running.request.deadline is None
    assert running.request.poll(time.monotonic()) is None


def test_without_a_signal_nothing_is_sent(running: Keepalived) -> None:
    """A keepalived that was built without dumps would die of it."""
    running.start(config(1))
    running.request.signal_number = None
    running.ask()
    expected = DumpFailed(reason="this keepalived was built without JSON dumps")
    assert expected == running.answer()
    assert running.popen is not None
    assert running.popen.poll() is None


def test_a_last_answer_that_cannot_be_removed_is_not_taken(running: Keepalived) -> None:
    """Nothing is asked where the answer could not be told from the last one."""
    running.start(config(1))
    running.dump_file.mkdir()
    running.ask()
    found = running.answer()
    assert isinstance(found, DumpFailed)
    assert found.reason.startswith(f"cannot remove {running.dump_file}: ")


# --- together with the machine ------------------------------------------------------------------


class Watcher:
    """The machine and the request, wired as the agent does it."""

    def __init__(self, running: Keepalived) -> None:
        self.running = running
        self.request = running.request
        self.state = Liveness()
        self.kills: list[str] = []
        self.feed(WatchOccurrence.WATCH_BEGAN)

    def feed(self, event: Event) -> None:
        now = time.monotonic()
        self.state, actions = step(self.state, event, now)
        for action in actions:
            match action:
                case RequestDump():
                    self.request.ask(self.running.pid, now)
                case Kill(reason=reason):
                    self.request.abandon()
                    self.kills.append(reason)

    def run(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            due = (end, self.state.deadline, self.request.deadline)
            sleep_until(min(each for each in due if each is not None))
            now = time.monotonic()
            if (event := self.request.poll(now)) is not None:
                self.feed(event)
            if self.state.deadline is not None and now >= self.state.deadline:
                self.feed(WatchOccurrence.TICKED)


def test_a_frozen_keepalived_is_found_within_the_limit_of_a_suspicion(running: Keepalived) -> None:
    """And one that lives is not, suspicion or none."""
    running.start(config(2))
    watcher = Watcher(running)
    for _ in range(5):
        watcher.feed(WatchOccurrence.SUSPECTED)
        watcher.run(0.5)
    assert [] == watcher.kills
    running.signal_both(signal.SIGSTOP)
    watcher.run(5.2 - 2.5)  # the last suspicion is past
    begin = time.monotonic()
    watcher.feed(WatchOccurrence.SUSPECTED)
    watcher.run(6, until=lambda: watcher.kills)
    assert ["it gave no answer within 2 s in which this agent ran on time"] == watcher.kills
    assert time.monotonic() - begin < 4


def test_adverts_that_a_firewall_keeps_from_leaving_are_counted(running: Keepalived) -> None:
    """A MASTER whose output chain drops VRRP sends, as far as it knows: it is not killed."""
    running.start(config(1))
    wait_until(lambda: running.instances()[0].state is VrrpState.MASTER, 10, "not MASTER")
    running.namespace.run(
        "nft",
        "add table inet t; add chain inet t out { type filter hook output priority 0; };"
        " add rule inet t out meta l4proto 112 drop",
    )
    watcher = Watcher(running)
    for _ in range(12):
        watcher.feed(WatchOccurrence.SUSPECTED)
        watcher.run(0.5)
    rules = json.loads(running.namespace.run("nft", "--json", "list", "table", "inet", "t"))
    assert "drop" in json.dumps(rules)
    running.read_log()
    assert b"Operation not permitted" in running.log, "the firewall refuses what it sends"
    assert [] == watcher.kills
    assert watcher.state.cleared_at is not None
