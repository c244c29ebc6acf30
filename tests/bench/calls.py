"""What a client that opens a connection every 5 ms sees of one address."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.lab.kit.lab import Lab
from tests.lab.kit.scenarios import stays
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A node has answered a connection at a time of the monotonic clock."""

    time: float
    node: str


def parse(text: str) -> tuple[list[Answer], float]:
    """Return the answers and the worst lateness of what the client's process wrote."""
    answers, late = [], 0.0
    for line in text.splitlines(keepends=True):
        first, _, second = line.strip().partition(" ")
        if not line.endswith("\n"):
            break  # it is being written
        if first == "late":
            late = float(second)
        else:
            answers.append(Answer(time=float(first), node=second))
    return answers, late


def longest_gap(answers: Sequence[Answer], since: float, until: float) -> float:
    """Return the longest time without an answer that lasted after ``since``.

    From one answer to the next, or to ``until``.
    """
    times = [*(each.time for each in answers), until]
    return max(
        (after - before for before, after in itertools.pairwise(times) if after > since),
        default=until - since,
    )


class Calls:
    """A context manager; the client calls from its beginning to its end."""

    def __init__(self, lab: Lab, address: str, *, is_served: bool = True) -> None:
        """Wait for a first answer where the address ``is_served``."""
        self._lab = lab
        self._is_served = is_served
        self._address = address
        self._file = Path()

    def __enter__(self) -> Self:
        number = sum(1 for _ in self._lab.directory.glob("calls-*"))
        self._file = self._lab.directory / f"calls-{number}"
        words = [self._address, str(self._lab.port)]
        with self._file.open("wb") as output:
            self._process = self._lab.client.network.spawn(
                [sys.executable, "-I", "-S", str(Path(__file__).with_name("caller.py")), *words],
                stdout=output,
            )
        if self._is_served:
            # What a moment before has left in the client's cache is none of this one's.
            self._lab.client.network.ip([f"neighbour flush to {self._address}"])
            self.wait_for_first(timeout=10)
        return self

    def __exit__(self, *_raised: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def answers(self) -> list[Answer]:
        """Return all answers so far."""
        return parse(self._file.read_text())[0]

    @property
    def lateness(self) -> float:
        """Return by how much the client itself was late at worst."""
        return parse(self._file.read_text())[1]

    def gap(self, since: float) -> float:
        """Return the longest time without an answer that lasted after ``since``."""
        until = time.monotonic()  # before the answers are read: none may be on its way
        return longest_gap(self.answers, since, until)

    def wait_for_first(self, *, timeout: float) -> Answer:
        """Return the first answer of all, once there is one."""
        return wait_until(
            lambda: next(iter(self.answers), None),
            timeout,
            f"{self._address} answers",
            interval=0.05,
        )

    def wait_for_another(self, than: str, since: float, *, timeout: float) -> None:
        """Wait until a node other than ``than`` has answered, and half a second more."""
        wait_until(
            lambda: any(each.time > since and each.node != than for each in self.answers),
            timeout,
            f"a node other than {than} answers at {self._address}",
            interval=0.05,
        )
        stays(0.5)
