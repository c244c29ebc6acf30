"""The types of peers by name: delays, events, actions, and what is remembered.

``peers`` decides with them, ``peering`` reports events and carries out actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from ipfailover_agent.core.peering.names import LookupResult, Question, in_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.core.model import Family, IPAddress


class PeersPolicy(Struct, frozen=True, kw_only=True):
    """Every delay in seconds, and the limit.

    A node that is new needs the others to look twice (``interval`` and ``again``) before they send
    to it; keepalived waits three adverts before it becomes MASTER, ``settle`` is the rest of it.
    """

    interval: float = 5.0  # from an answer to the next question
    again: float = 1.0  # likewise while something is new, or nothing is known yet
    answer_within: float = 4.0  # later counts as failed, and is taken all the same
    settle: float = 4.0
    grace: float = 2.0
    trust: float = 600.0  # since the last answer that confirmed a stored set
    note_every: float = 60.0  # how often it is stored that answers confirm the set
    timeout: float = 30.0
    drop_after: float = 600.0
    forget_after: float = 60.0  # what was seen only once
    sightings: int = 2
    limit: int = 64  # addresses of one name and family


# --- events -------------------------------------------------------------------------------------


class PeersWanted(Struct, frozen=True, kw_only=True):
    """A plan needs the peers.

    Attributes:
        questions: what there is to ask, each once.
        own: every address of this node that is known, the virtual ones left out.
        listed: addresses that are peers anyway.
        virtual: the addresses that are served; none of them is a peer.
        no_hosts: likewise, with the reason as text: ends of this node's networks.
        stored: what a former run stored.
    """

    questions: tuple[Question, ...]
    own: frozenset[IPAddress] = frozenset()
    listed: frozenset[IPAddress] = frozenset()
    virtual: frozenset[IPAddress] = frozenset()
    no_hosts: Mapping[IPAddress, str] = field(default_factory=dict)
    stored: tuple[LookupResult, ...] = ()


class LookupEnded(Struct, frozen=True, kw_only=True):
    """A question was answered; ``own``: those of the addresses that this node has."""

    answer: LookupResult
    own: frozenset[IPAddress] = frozenset()


class PeersDeadlinePassed(Struct, frozen=True):
    """``Peers.deadline`` has passed."""


Event = PeersWanted | LookupEnded | PeersDeadlinePassed


# --- actions ------------------------------------------------------------------------------------


class LookUp(Struct, frozen=True, kw_only=True):
    """Have the question answered; it is not asked again before it is."""

    question: Question


class PeersChanged(Struct, frozen=True, kw_only=True):
    """The set of a family that is ready is another one: store it, plan again.

    ``basis``: why the set of a family may be used from now on, as text; else nothing.
    """

    added: tuple[IPAddress, ...]
    removed: tuple[IPAddress, ...]
    basis: str = ""


class PeersConfirmed(Struct, frozen=True, kw_only=True):
    """Answers go on to confirm the set: store when, once a minute."""


class LookupFailed(Struct, frozen=True, kw_only=True):
    """A question was not answered, with the reason; what was known stays. Comes each time."""

    question: Question
    reason: str


class LookupRecovered(Struct, frozen=True, kw_only=True):
    """A question that had failed was answered."""

    question: Question


class OwnMissing(Struct, frozen=True, kw_only=True):
    """No answer has an address of this node: the others do not send to it. Comes each time."""

    family: Family
    own: tuple[IPAddress, ...]


Action = LookUp | PeersChanged | PeersConfirmed | LookupFailed | LookupRecovered | OwnMissing


# --- state --------------------------------------------------------------------------------------


class ResolvedAddress(Struct, frozen=True, kw_only=True):
    """One address of one answer; ``missing_since`` is set while good answers lack it."""

    address: IPAddress
    seen: int
    seen_at: float
    missing_since: float | None = None
    is_peer: bool = False


class LookupState(Struct, frozen=True, kw_only=True):
    """One question and all that came of it. Times are monotonic seconds.

    Attributes:
        question: what is asked.
        ask_at: when to ask next, or by when the answer counts as failed while ``is_asked``.
        is_asked: an answer is under way.
        was_answered: there was an answer of any kind.
        failure: why the last answer was none, or nothing.
        same_since: since when good answers have been the same, None before the first.
        last: the last good answer.
        was_stored: its set is that of a former run, and has not been used yet.
        confirmed_at: when the last good answer came, in this run or in a former one.
        sightings: the addresses, sorted.
    """

    question: Question
    ask_at: float
    is_asked: bool = False
    was_answered: bool = False
    failure: str = ""
    same_since: float | None = None
    last: frozenset[IPAddress] = frozenset()
    was_stored: bool = False
    confirmed_at: float | None = None
    sightings: tuple[ResolvedAddress, ...] = ()

    @property
    def peers(self) -> frozenset[IPAddress]:
        """Return what is taken for nodes."""
        return frozenset(each.address for each in self.sightings if each.is_peer)


class Peers(Struct, frozen=True, kw_only=True):
    """Everything that is remembered.

    ``ready``: families whose set may be used. ``noted_at``: when the set was stored last.
    """

    wanted: PeersWanted = PeersWanted(questions=())
    inquiries: tuple[LookupState, ...] = ()
    began_at: float = 0.0
    noted_at: float = 0.0
    ready: frozenset[Family] = frozenset()
    deadline: float | None = None

    @property
    def families(self) -> frozenset[Family]:
        """Return the families that are asked for."""
        return frozenset(each.question.family for each in self.inquiries)

    @property
    def is_ready(self) -> bool:
        """Return whether a plan can be made."""
        return self.families <= self.ready

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Return the set of all names together, this node's own included, sorted."""
        return in_order({address for each in self.inquiries for address in each.peers})

    @property
    def is_restart(self) -> bool:
        """Return whether a former run's set is to be used soon."""
        return not self.is_ready and any(each.was_stored for each in self.inquiries)

    def known(self, now: float) -> tuple[LookupResult, ...]:
        """Return what to store at ``now``: the set of each question whose family is ready."""
        return tuple(
            LookupResult(
                question=each.question,
                addresses=in_order(each.peers),
                age=None if each.confirmed_at is None else now - each.confirmed_at,
            )
            for each in self.inquiries
            if each.question.family in self.ready
        )
