"""The faults: how long two nodes or none may hold an address when a story is played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, TypeVar

from tests.lab.kit.chaos.scene import FAMILIES, MODES, Family, Mode, Scene

SUDDEN: Final = 4.2  # no holder, when a holder vanishes without a goodbye
SUDDEN_HELD: Final = 7.2  # likewise, when its successor was held
#: A member beside a stranger who announces every second: two of these after the first one.
STRANGE: Final = 2.2
TWO: Final = 2.0  # two holders, at the default lease of 3 s
#: No holder after a planned stop: with known peers, and without.
PLANNED: Final = {"unicast": 0.05, "multicast": 0.55}

NO_END: Final = "no end"
HELD: Final = ("event=contest.held",)
HANGS: Final = ("event=keepalived.hangs",)
BLOCKED: Final = ("a firewall drops protocol 112",)
#: Bounds of a story that moves no address; one run of it is enough.
STILL: Final = {"runs": 1, "two": 0, "gains": 0}

_Story = TypeVar("_Story", bound="Callable[..., None]")


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the matrix.

    Attributes:
        name: as the table shows it.
        story: serves, calls ``scene.begins()``, breaks something, watches.
        two: the longest that two nodes may hold an address, in seconds.
        none: likewise that no node may; by mode where that matters.
        client: likewise that a client may be without an answer, None for any time.
        gains: how often a node may take the address, at most.
        logged: every one of these texts has to be in what the agents log, ``never`` none.
        old: for how long plain keepalived leaves two holders, as in the shell image
            (``python -m tests.lab.kit.chaos --plain``).
        nodes, members: of the lab, and how many of them serve.
        short: the mode in which it is part of the tests, None for neither.
        runs: at most so many, None for any number.
        beside: the longest that members may hold it beside a stranger, None for any time.
        gives_way: in the end no member holds the address, but a stranger.
        needs_compiler: it cannot be produced without one.
    """

    name: str
    story: Callable[[Scene], None]
    _: KW_ONLY
    two: float = TWO
    none: float | dict[str, float] = 0.0
    client: float | None = None
    gains: int = 3
    beside: float | None = None
    logged: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    old: str = ""
    nodes: int = 3
    members: int | None = None
    modes: tuple[Mode, ...] = MODES
    families: tuple[Family, ...] = FAMILIES
    short: Mode | None = None
    runs: int | None = None
    needs_compiler: bool = False
    gives_way: bool = False

    def none_in(self, mode: Mode) -> float:
        """Return how long no node may hold an address in a mode."""
        return self.none[mode] if isinstance(self.none, dict) else self.none


class Rows(list[Fault]):
    """The rows of a module, in the order in which its stories are written."""

    def row(
        self,
        name: str,
        *arguments: object,
        **bounds: Any,  # noqa: ANN401 - they are the fields of Fault
    ) -> Callable[[_Story], _Story]:
        """Return what makes a story a row; ``arguments`` come after its scene."""

        def note(story: _Story) -> _Story:
            def play(scene: Scene) -> None:
                story(scene, *arguments)

            self.append(Fault(name, play, **bounds))
            return story

        return note
