"""All drains of one agent: what is remembered of them, what happens to them, what is to be done.

:mod:`core.drains.directing` decides what becomes of it. ``Draining.deadline`` says when to send
TimePassed, or sooner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from ipfailover_agent.core.drains import drain, restoring
from ipfailover_agent.core.drains.drain import Drain, Order, Phase, Subject
from ipfailover_agent.core.drains.restoring import Kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.core.drains.drain_requests import Request
    from ipfailover_agent.core.model import IPAddress


class Pending(Struct, frozen=True, kw_only=True):
    """A request without a verdict: what became of its instances so far.

    ``done`` and ``failed`` say who took over, or why nobody did, by instance.
    """

    id: str
    waiting: frozenset[str]
    done: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


class Draining(Struct, frozen=True, kw_only=True):
    """The drains of every instance of the active configuration, in its order.

    Attributes:
        drains: by instance.
        everything: what applies to instances that a reload adds.
        restored: held since before the configuration was known, from a former run, by name.
        recorded: all addresses of that run's configuration, until ours is known.
        deadline: when something is due at the earliest, None for never.
    """

    drains: Mapping[str, Drain] = field(default_factory=dict)
    everything: Order | None = None
    pending: tuple[Pending, ...] = ()
    restored: Mapping[str, Kept] = field(default_factory=dict)
    recorded: frozenset[IPAddress] = frozenset()
    deadline: float | None = None

    def phase(self, name: str) -> Phase:
        """Return how far the drain of an instance has come."""
        found = self.drains.get(name)
        return Phase.FREE if found is None else found.phase

    @property
    def held(self) -> Mapping[str, Kept]:
        """Return the orders of the instances that are held, and for what, by name."""
        held = {
            name: Kept(order=each.order, addresses=restoring.addresses([each.subject]))
            for name, each in self.drains.items()
            if each.is_held
        }
        return {**self.restored, **held}

    @property
    def known(self) -> frozenset[IPAddress]:
        """Return every address of the configuration: what comes later is new."""
        return self.recorded | restoring.addresses(each.subject for each in self.drains.values())


# --- events -------------------------------------------------------------------------------------


class Requested(Struct, frozen=True, kw_only=True):
    """A command asks. ``masters`` are MASTER at the moment; ``blind``: why nothing is heard."""

    id: str
    request: Request
    masters: frozenset[str] = frozenset()
    blind: str = ""


class Configured(Struct, frozen=True, kw_only=True):
    """A configuration is in force, or the same once more."""

    subjects: Mapping[str, Subject]
    masters: frozenset[str] = frozenset()


class Restored(Struct, frozen=True, kw_only=True):
    """What a former run had drained; before anything is configured."""

    held: Mapping[str, Kept]
    everything: Order | None = None
    known: frozenset[IPAddress] = frozenset()


class Told(Struct, frozen=True, kw_only=True):
    """Something happened to one instance."""

    name: str
    event: drain.Promoted | drain.Demoted | drain.Heard | drain.Left


class TimePassed(Struct, frozen=True, kw_only=True):
    """``Draining.deadline`` lies behind us; ``blind`` and ``has_link`` as in DeadlinePassed."""

    blind: str = ""
    has_link: bool = True


Event = Requested | Configured | Restored | Told | TimePassed | drain.Gap


# --- actions ------------------------------------------------------------------------------------


class Hold(Struct, frozen=True, kw_only=True):
    """Set an instance's hold file."""

    name: str


class Release(Struct, frozen=True, kw_only=True):
    """Clear it."""

    name: str


class Answer(Struct, frozen=True, kw_only=True):
    """What a command is told.

    ``verdict`` is drained, undone, undrained or refused; None while there is none, which will be
    there in ``within`` seconds.
    """

    id: str
    verdict: str | None
    lines: tuple[str, ...] = ()
    within: float = 0.0


class Settled(Struct, frozen=True, kw_only=True):
    """An instance is drained; ``holder`` serves it, nobody where that is empty."""

    name: str
    holder: str


class Freed(Struct, frozen=True, kw_only=True):
    """It is drained no more; ``is_undone``: because nobody else serves it."""

    name: str
    cause: str
    is_undone: bool


class Save(Struct, frozen=True):
    """Write down what is drained, soon: an agent that ends before lets everything go."""


Action = Hold | Release | Answer | Settled | Freed | Save
Step = tuple[Draining, tuple[Action, ...]]
