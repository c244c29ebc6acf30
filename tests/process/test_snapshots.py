"""The newest snapshot, asked for in any thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from ipfailover_agent.chronicle.snapshots import FRESH, PATIENCE, Snapshots
from ipfailover_agent.report.status import AgentStatus
from ipfailover_agent.system.loop import Loop, Woken

if TYPE_CHECKING:
    from collections.abc import Callable


class Maker:
    """Makes snapshots and counts them."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def __call__(self) -> AgentStatus:
        self.threads.append(threading.get_ident())
        return AgentStatus(
            version="1",
            pid=len(self.threads),
            started_at="",
            written_at="",
            phase="running",
            ready=True,
        )


def in_a_thread(ask: Callable[[], object], loop: Callable[[], None]) -> None:
    """Ask in another thread while ``loop`` runs again and again in this one."""
    other = threading.Thread(target=ask)
    other.start()
    while other.is_alive():
        loop()
    other.join()


def test_a_reader_gets_what_the_loop_s_thread_made() -> None:
    """However long the loop would have slept; nothing is made while nobody asks."""
    make = Maker()
    snapshots = Snapshots(make)
    got: list[AgentStatus] = []
    with Loop(()) as loop:
        snapshots.attach(loop.wake)
        snapshots.make()
        time.sleep(FRESH)

        def turn() -> None:
            loop.wait(time.monotonic() + 5)
            if snapshots.is_wanted:
                snapshots.make()

        begun = time.monotonic()
        reader = threading.Thread(target=lambda: got.append(snapshots.get()))
        reader.start()
        turn()
        reader.join(5)
        assert time.monotonic() - begun < PATIENCE
    assert [2] == [each.pid for each in got]
    assert {threading.get_ident()} == set(make.threads)


def test_many_readers_get_ten_a_second() -> None:
    """As many as ask."""
    make = Maker()
    snapshots = Snapshots(make)
    with Loop(()) as loop:
        snapshots.attach(loop.wake)
        begun = time.monotonic()

        def ask() -> None:
            while time.monotonic() - begun < 1:
                snapshots.get()

        def turn() -> None:
            loop.wait(time.monotonic() + 0.2)
            if snapshots.is_wanted:
                snapshots.make()

        in_a_thread(ask, turn)
    assert 2 <= len(make.threads) <= 12


def test_a_loop_that_is_stuck_leaves_the_last_one() -> None:
    """After half a second; the reader sees by its time how old it is."""
    make = Maker()
    snapshots = Snapshots(make)
    with Loop(()) as loop:
        snapshots.attach(loop.wake)
        snapshots.make()
        time.sleep(FRESH)
        got: list[int] = []
        reader = threading.Thread(target=lambda: got.append(snapshots.get().pid))
        begun = time.monotonic()
        reader.start()
        reader.join(5)
    assert [1] == got
    assert time.monotonic() - begun >= PATIENCE
    snapshots.detach()
    assert 1 == snapshots.get().pid


def test_the_loop_s_own_thread_never_waits_for_itself() -> None:
    """It makes what it asks for."""
    make = Maker()
    snapshots = Snapshots(make)
    assert 1 == snapshots.get().pid
    with Loop(()) as loop:
        snapshots.attach(loop.wake)
        time.sleep(FRESH)
        assert 2 == snapshots.get().pid
        assert 2 == snapshots.get().pid


def test_a_loop_is_woken_as_often_as_it_looks() -> None:
    """Many calls between two looks are one event; none is left over; it may have ended."""
    with Loop(()) as loop:
        for _ in range(10_000):  # more than the socket holds
            loop.wake()
        assert (Woken(),) == loop.wait(time.monotonic() + 5)
        assert () == loop.wait(time.monotonic() + 0.05)
    loop.wake()
