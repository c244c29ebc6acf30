"""The event loop, with real signals, pipes and processes."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from ipfailover_agent.linux.loop import (
    LINE_LIMIT,
    Event,
    LineReceived,
    Loop,
    SignalReceived,
    StreamClosed,
    Woken,
    Writable,
)
from tests.support.pipes import open_pipe

SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1)
PROMPT = 0.05  # seconds within which the loop answers


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop(SIGNALS) as entered:
        yield entered


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    with open_pipe(os.O_NONBLOCK | os.O_CLOEXEC) as ends:
        yield ends


def soon(seconds: float = 2.0) -> float:
    return time.monotonic() + seconds


def collect_until(loop: Loop, last: Event) -> list[Event]:
    """Return every event up to and including ``last``."""
    events: list[Event] = []
    deadline = soon(5)
    while last not in events:
        assert time.monotonic() < deadline, f"never came: {last}; came: {events[-3:]}"
        events += loop.wait(deadline)
    return events


def test_a_signal_is_reported_once_however_often_it_came(loop: Loop) -> None:
    """A hundred SIGHUPs between two rounds are one event."""
    for _ in range(100):
        os.kill(os.getpid(), signal.SIGHUP)
    assert (SignalReceived(signum=signal.SIGHUP),) == loop.wait(soon())
    assert not loop.wait(soon(0.02))


def test_signals_are_reported_in_the_order_in_which_they_came(loop: Loop) -> None:
    """TERM before HUP stays TERM before HUP, although Python calls handlers by number."""

    def send() -> None:
        # to this thread, so that the main thread runs both handlers only after the join
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            signal.pthread_kill(threading.get_ident(), signum)

    sender = threading.Thread(target=send)
    sender.start()
    sender.join()
    expected = (SignalReceived(signum=signal.SIGTERM), SignalReceived(signum=signal.SIGHUP))
    assert expected == loop.wait(soon())


def test_a_wakeup_without_a_signal_is_no_event(loop: Loop) -> None:
    """The byte of a signal that was reported before it was read does not report it again."""
    wakeup_fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
    os.write(wakeup_fd, bytes([signal.SIGTERM]))
    assert not loop.wait(soon(0.02))


def test_no_signal_is_lost_in_a_flood_of_others(loop: Loop) -> None:
    """A TERM behind more signals than the wakeup socket holds still arrives."""
    for _ in range(5000):
        os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGTERM)
    events = loop.wait(soon())
    assert {signal.SIGUSR1, signal.SIGTERM} == {
        event.signum for event in events if isinstance(event, SignalReceived)
    }
    assert not loop.wait(soon(0.02))


@pytest.mark.timing
def test_a_signal_ends_the_wait_at_once(loop: Loop) -> None:
    """A wait without a deadline answers a signal within 50 ms."""
    sent = []

    def send() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    timer = threading.Timer(0.1, send)
    timer.start()
    assert (SignalReceived(signum=signal.SIGTERM),) == loop.wait(None)
    assert time.monotonic() - sent[0] < PROMPT
    timer.join()


def test_a_signal_that_was_blocked_before_reaches_the_loop() -> None:
    """A starter that blocks TERM does not make the agent deaf, and gets its mask back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with Loop(SIGNALS) as loop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (SignalReceived(signum=signal.SIGTERM),) == loop.wait(soon())
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_leaving_restores_handlers_and_wakeup_descriptor() -> None:
    """After the loop, signals are handled as before it."""
    handlers = [signal.getsignal(each) for each in SIGNALS]
    with Loop(SIGNALS):
        assert handlers != [signal.getsignal(each) for each in SIGNALS]
    assert handlers == [signal.getsignal(each) for each in SIGNALS]
    assert signal.set_wakeup_fd(-1) == -1


def test_leaving_leaks_no_descriptor() -> None:
    """A loop that is left has closed what it opened."""
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are what is compared
    with Loop(SIGNALS):
        pass
    assert before == sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - likewise


@pytest.mark.timing
@pytest.mark.parametrize("seconds", [0.0, -5.0, 0.03], ids=["now", "past", "soon"])
def test_a_deadline_ends_the_wait_with_nothing(loop: Loop, seconds: float) -> None:
    """The wait is over at its deadline, not before it and not long after it."""
    begin = time.monotonic()
    assert not loop.wait(begin + seconds)
    assert max(seconds, 0.0) <= time.monotonic() - begin < max(seconds, 0.0) + PROMPT


def test_a_deadline_in_the_far_future_is_no_error(loop: Loop) -> None:
    """A deadline beyond what epoll takes is waited for all the same."""
    os.kill(os.getpid(), signal.SIGHUP)
    loop.wait(soon())
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    assert (SignalReceived(signum=signal.SIGUSR1),) == loop.wait(time.monotonic() + 1e10)
    timer.join()


def test_lines_are_reported_without_newline_and_the_end_with_the_rest(
    loop: Loop, pipe: tuple[int, int]
) -> None:
    """Two lines, a line in two pieces, a last line without newline, and the end."""
    reading, writing = pipe
    loop.watch_lines(reading, "keepalived")
    os.write(writing, b"one\n\nthr")
    first = loop.wait(soon())
    os.write(writing, b"ee\nfour")
    os.close(writing)
    events = [*first, *collect_until(loop, StreamClosed(source="keepalived"))]
    lines = [LineReceived(source="keepalived", line=each) for each in (b"one", b"", b"three")]
    last = LineReceived(source="keepalived", line=b"four")
    assert [*lines, last, StreamClosed(source="keepalived")] == events
    assert not loop.wait(soon(0.02)), "a closed stream is no longer watched"


def test_half_a_line_is_no_event(loop: Loop, pipe: tuple[int, int]) -> None:
    """Bytes without a newline neither end the wait nor make it miss its deadline."""
    reading, writing = pipe
    loop.watch_lines(reading, "keepalived")
    os.write(writing, b"half")
    assert not loop.wait(soon(0.05))


@pytest.mark.parametrize("excess", [0, 1, 100_000], ids=["fits", "one over", "far over"])
def test_a_long_line_is_cut_and_that_is_said(
    loop: Loop, pipe: tuple[int, int], excess: int
) -> None:
    """A line of 64 KiB is whole, a longer one is its beginning; the next line is whole again."""
    reading, writing = pipe
    loop.watch_lines(reading, "keepalived")
    data = b"x" * (LINE_LIMIT + excess) + b"\nnext\n"
    events: list[Event] = []
    while data or LineReceived(source="keepalived", line=b"next") not in events:
        with contextlib.suppress(BlockingIOError):
            data = data[os.write(writing, data) :] if data else data
        events += loop.wait(soon(0.02))
    long = LineReceived(source="keepalived", line=b"x" * LINE_LIMIT)
    assert [long, LineReceived(source="keepalived", line=b"next")] == events


@pytest.mark.timing
@pytest.mark.parametrize("line", ["y", "y" * 500], ids=["short lines", "long lines"])
def test_a_child_that_floods_starves_neither_signals_nor_deadlines(
    loop: Loop, pipe: tuple[int, int], line: str
) -> None:
    """While one stream never ends, each round is short and a signal is in the next one."""
    reading, writing = pipe
    other, other_writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(writing, True)
    flood = subprocess.Popen(["yes", line], stdout=writing)
    try:
        loop.watch_lines(reading, "flood")
        loop.watch_lines(other, "quiet")
        loop.wait(soon())
        rounds = []
        gc.disable()  # the test runner's own heap is large, the agent's is not
        for _ in range(50):
            os.write(other_writing, b"here\n")
            os.kill(os.getpid(), signal.SIGHUP)
            begin = time.thread_time()  # of this thread alone: others may use the machine too
            events = loop.wait(soon())
            rounds.append(time.thread_time() - begin)
            assert SignalReceived(signum=signal.SIGHUP) == events[0]
            assert LineReceived(source="quiet", line=b"here") in events
        # The thread's clock runs on while a virtual machine is stopped: a few may look long.
        assert sorted(rounds)[-4] < PROMPT / 2
    finally:
        gc.enable()
        flood.kill()
        flood.wait()
        os.close(other)
        os.close(other_writing)


@pytest.mark.timing
def test_an_endless_line_does_not_outlast_the_deadline(loop: Loop, pipe: tuple[int, int]) -> None:
    """A stream that never sends a newline makes one event and then none, on time."""
    reading, writing = pipe
    os.set_blocking(writing, True)
    with open("/dev/zero", "rb") as zeros:  # noqa: PTH123 - a descriptor is wanted
        flood = subprocess.Popen(["cat"], stdin=zeros, stdout=writing)
    try:
        loop.watch_lines(reading, "flood")
        (event,) = loop.wait(soon())
        assert LineReceived(source="flood", line=bytes(LINE_LIMIT)) == event
        begin = time.monotonic()
        assert not loop.wait(begin + 0.1)
        assert time.monotonic() - begin < 0.1 + PROMPT
    finally:
        flood.kill()
        flood.wait()


def test_room_to_write_is_reported_until_it_is_no_longer_asked_for(
    loop: Loop, pipe: tuple[int, int]
) -> None:
    """A full pipe is silent, an emptied one is writable, an unwatched one is silent again."""
    reading, writing = pipe
    filled = 0
    try:
        while True:
            filled += os.write(writing, bytes(4096))
    except BlockingIOError:
        pass
    loop.watch_writable(writing, "stdout")
    loop.watch_writable(writing, "stdout")
    assert not loop.wait(soon(0.02))
    os.read(reading, filled)
    assert (Writable(source="stdout"),) == loop.wait(soon())
    loop.unwatch(writing)
    loop.unwatch(writing)
    assert not loop.wait(soon(0.02))


def test_a_pipe_whose_reader_went_away_is_reported_as_writable(
    loop: Loop, pipe: tuple[int, int]
) -> None:
    """The writer gets to see the error by writing, which needs an event."""
    reading, writing = pipe
    loop.watch_writable(writing, "stdout")
    os.close(reading)
    assert (Writable(source="stdout"),) == loop.wait(soon())


@pytest.mark.parametrize("closed", [(0,), (1, 2), (0, 1, 2)], ids=str)
def test_it_works_when_standard_descriptors_are_closed(closed: tuple[int, ...]) -> None:
    """Nothing of the loop lands on 0 to 2, where log lines and children's output go."""
    script = """
import os, signal, sys, time
from ipfailover_agent.linux.loop import Loop
result = int(sys.argv[1])
for fd in sys.argv[2:]:
    os.close(int(fd))
with Loop([signal.SIGTERM]) as loop:
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)]
    os.kill(os.getpid(), signal.SIGTERM)
    events = loop.wait(time.monotonic() + 5)
os.write(result, repr((names, len(events))).encode())
"""
    reading, writing = os.pipe()
    try:
        subprocess.run(
            [sys.executable, "-c", script, str(writing), *map(str, closed)],
            pass_fds=[writing],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=20,
        )
        assert repr((["/dev/null"] * 3, 1)).encode() == os.read(reading, 4096)
    finally:
        os.close(reading)
        os.close(writing)


# --- looking ------------------------------------------------------------------------------------


def test_a_look_that_finds_nothing_ends_no_wait(loop: Loop) -> None:
    """It is taken as often as it was asked for, and what comes is told as ever."""
    looks: list[float] = []

    def look() -> bool:
        looks.append(time.monotonic())
        return False

    loop.look_every(0.02, look, bool)
    began = time.monotonic()
    assert not loop.wait(began + 0.5)
    assert time.monotonic() >= began + 0.5
    assert 5 <= len(looks) <= 26
    os.kill(os.getpid(), signal.SIGHUP)
    assert (SignalReceived(signum=signal.SIGHUP),) == loop.wait(soon())
    loop.look_no_more()
    before = len(looks)
    assert not loop.wait(soon(0.1))
    assert before == len(looks)


def test_a_look_that_finds_something_ends_the_wait(loop: Loop, pipe: tuple[int, int]) -> None:
    """With the event of a wake, whatever else is there; it may be the last one."""

    def found() -> bool:
        loop.look_no_more()
        return True

    reading, writing = pipe
    loop.watch_lines(reading, "pipe")
    loop.look_every(0.02, lambda: True, found)
    assert (Woken(),) == loop.wait(soon())
    os.write(writing, b"line\n")
    assert [LineReceived(source="pipe", line=b"line")] == list(loop.wait(soon()))


def test_looks_go_on_when_nothing_followed_from_one(loop: Loop) -> None:
    """Those that the last one asked for, too."""
    looks: list[str] = []

    def first() -> bool:
        looks.append("first")
        return len(looks) == 3

    def second() -> bool:
        looks.append("second")
        return True

    def found() -> bool:
        loop.look_every(0.02, second, lambda: len(looks) == 6)
        return False

    loop.look_every(0.02, first, found)
    assert (Woken(),) == loop.wait(soon(5))
    assert [*["first"] * 3, *["second"] * 3] == looks


def test_looks_go_on_while_a_descriptor_is_busy(loop: Loop, pipe: tuple[int, int]) -> None:
    """A stream that never rests is no reason not to look; what was slept through is left out."""
    looks: list[float] = []

    def look() -> bool:
        looks.append(time.monotonic())
        return False

    reading, writing = pipe
    loop.watch_writable(writing, "sink")
    del reading
    loop.look_every(0.02, look, bool)
    time.sleep(0.3)
    began = time.monotonic()
    while time.monotonic() < began + 0.2:
        assert loop.wait(soon())
    assert 3 <= len(looks) <= 11
