"""The demo that stays: the user kills, freezes and cuts, and watches."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import TextIO

from tests.lab.demo.story import Stage
from tests.lab.demo.view import Screen
from tests.lab.kit.client import Outage, Watch
from tests.lab.kit.node import Node

_HINTS = (
    "   Press a letter and a node's number, again to undo; Ctrl-C or q ends:",
    "     a1  kill the application on n1        f1  freeze its container",
    "     c1  kill its whole container          x1  cut its network",
)


def live_screen(stream: TextIO) -> Screen:
    """Return a screen with the hints below the table."""
    return Screen(stream, footer=_HINTS)


def play_live(stage: Stage) -> None:
    """Obey keys and tell every outage the client sees, until q or Ctrl-C."""
    stage.screen.say("   Now it is your turn.")
    switches = _Switches(stage)
    reported = {address: len(_ended(watch)) for address, watch in stage.watches.items()}
    action = ""
    with _keys():
        while action != "q":
            stage.look()
            _tell_outages(stage, reported)
            key = _key()
            if action and key.isdigit():
                switches.toggle(action, key)
            action = key or action


class _Switches:
    """Things that can be broken on a node and mended again."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._actions: dict[str, Callable[[Node], str]] = {
            "a": self._application,
            "c": self._container,
            "f": self._freezer,
            "x": self._network,
        }
        self._cut: set[str] = set()

    def toggle(self, action: str, number: str) -> None:
        """Do or undo an action on the node of that number; nothing for unknown keys."""
        nodes = {node.name: node for node in self._stage.lab.nodes}
        node = nodes.get(f"n{number}")
        if node is not None and action in self._actions:
            self._stage.screen.say(f"   {self._actions[action](node)}")

    def _application(self, node: Node) -> str:
        if node.application.is_running:
            node.application.stop()
            return f"the application on {node.name} is killed"
        node.application.start()
        return f"the application on {node.name} is started"

    def _container(self, node: Node) -> str:
        self._stage.words.pop(node.name, None)
        if node.is_running:
            node.kill()
            return f"the container on {node.name} is killed"
        node.start()
        return f"the container on {node.name} is started"

    def _freezer(self, node: Node) -> str:
        if not node.is_running:
            return f"there is no container on {node.name} to freeze"
        if self._stage.words.get(node.name) == "frozen":
            node.thaw()
            del self._stage.words[node.name]
            return f"the container on {node.name} runs again"
        node.freeze()
        self._stage.words[node.name] = "frozen"
        return f"the container on {node.name} is frozen: it lives and does nothing"

    def _network(self, node: Node) -> str:
        if node.name in self._cut:
            self._cut.discard(node.name)
            node.join()
            return f"{node.name} is on the network again"
        self._cut.add(node.name)
        node.cut()
        return f"{node.name} is cut from the network: nothing gets in or out"


def _tell_outages(stage: Stage, reported: dict[str, int]) -> None:
    for address, watch in stage.watches.items():
        for each in _ended(watch)[reported[address] :]:
            stage.screen.say(f"   {address}: the client heard nothing for {each.seconds:.2f} s")
            reported[address] += 1


def _ended(watch: Watch) -> list[Outage]:
    return [each for each in watch.outages() if each.is_over]


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Make keys come one by one, unseen; leave anything but a terminal alone."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _key() -> str:
    """Return the key that was pressed within a moment, or nothing."""
    readable = [sys.stdin] if sys.stdin.isatty() else []
    ready, _, _ = select.select(readable, [], [], 0.05)
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""
