"""The words of ``answering``: what is remembered of addresses, events and actions."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.core.model import IPAddress

if TYPE_CHECKING:
    from collections.abc import Mapping

_SILENT: Final = 2  # questions for a holder's own address: one may have been lost

Link = tuple[IPv4Network | IPv6Network, IPAddress]
"""A network of the interface, and the address of this node that asks in it."""


class AnsweringPolicy(Struct, frozen=True, kw_only=True):
    """Every delay by name, in seconds, and every limit.

    Attributes:
        interval: between two questions for one address, at least.
        settle: a holder is heard for so long before anything is asked.
        patience: an answer is waited for so long; it takes milliseconds.
        limit: so many questions in a row are unanswered until that is told.
        burst: questions that may go at once; ``tick`` between two bursts.
        report_interval: between two reports; what is found meanwhile is told together.
    """

    interval: float = 60.0
    settle: float = 10.0
    patience: float = 2.0
    limit: int = 3
    burst: int = 5
    tick: float = 1.0
    report_interval: float = 60.0


class ForeignMaster(Struct, frozen=True, kw_only=True):
    """Another node that is heard as the master of an instance, by adverts that count here.

    Attributes:
        source: the node's own address, which its adverts come from.
        mac: 6 bytes, likewise.
        addresses: that its adverts list. What they do not list it may not hold.
        since: it has been the only one since then, and we BACKUP, in monotonic seconds.
    """

    source: IPAddress
    mac: bytes
    addresses: frozenset[IPAddress]
    since: float


class AddressQuestion(Struct, frozen=True, kw_only=True):
    """What is known of one address. Times are monotonic seconds.

    Attributes:
        instance: that serves it; empty for a holder's own address.
        own: the address of this node that asks.
        due_at: when to ask again.
        holder: who held it when it was asked for last; None for a holder's own address.
        asked_at: when that was; ``is_open`` while an answer may come.
        unanswered: questions in a row.
        since: when it was found that nobody answers, None while that is not so.
        told_of: the holder that this was told of; stays until somebody answers.
    """

    instance: str = ""
    own: IPAddress
    due_at: float = 0.0
    holder: ForeignMaster | None = None
    asked_at: float | None = None
    is_open: bool = False
    unanswered: int = 0
    since: float | None = None
    told_of: IPAddress | None = None

    @property
    def is_silent(self) -> bool:
        """Tell, of a holder's own address, whether its silence is still to be told."""
        return self.unanswered >= _SILENT and self.told_of is None

    @property
    def is_untold(self) -> bool:
        """Tell whether there is something to say of it."""
        is_known = self.holder is not None and self.told_of == self.holder.source
        return self.since is not None and not is_known

    def is_about(self, holder: ForeignMaster | None) -> bool:
        """Tell whether ``holder`` was asked last, and has been there ever since."""
        return (
            holder is not None
            and self.holder is not None
            and self.asked_at is not None
            and (self.holder.source, self.holder.mac) == (holder.source, holder.mac)
            and holder.since <= self.asked_at
        )

    def is_judged(self, now: float, policy: AnsweringPolicy) -> bool:
        """Tell whether an answer would have come by now."""
        return (
            self.is_open and self.asked_at is not None and now >= self.asked_at + policy.patience
        )

    def forgotten(self) -> AddressQuestion:
        """Return it without what was found, and with what was told."""
        return replace(self, holder=None, is_open=False, unanswered=0, since=None)

    def answered(self) -> AddressQuestion:
        """Return it as somebody has answered."""
        return replace(self, is_open=False, unanswered=0, since=None, told_of=None)


class Answering(Struct, frozen=True, kw_only=True):
    """Everything that is remembered.

    Attributes:
        inquiries: of the configured addresses that can be asked for.
        holders: of holders' own addresses, while they are of interest.
        links: networks of the interface, each with the address of this node that asks in it.
        past: when addresses were asked for that are configured no more.
        looked_at: the last Due that counted; ``reported_at`` the last report.
        regained: addresses that are answered for again, still to be told.
    """

    inquiries: Mapping[IPAddress, AddressQuestion] = field(default_factory=dict)
    holders: Mapping[IPAddress, AddressQuestion] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    past: Mapping[IPAddress, float] = field(default_factory=dict)
    looked_at: float | None = None
    reported_at: float | None = None
    regained: tuple[IPAddress, ...] = ()

    def may_report(self, now: float, policy: AnsweringPolicy) -> bool:
        """Tell whether the last report is old enough."""
        return self.reported_at is None or now >= self.reported_at + policy.report_interval

    def own_for(self, address: IPAddress) -> IPAddress | None:
        """Return the address of this node to ask from; None where it is on no link of ours."""
        return next((own for network, own in self.links if address in network), None)


# --- events and actions -------------------------------------------------------------------------


class AddressesConfigured(Struct, frozen=True, kw_only=True):
    """Other addresses, or another network: ``instances`` by address; ``links`` as above."""

    instances: Mapping[IPAddress, str]
    links: tuple[Link, ...]


class Due(Struct, frozen=True, kw_only=True):
    """It is time; ``holders`` of the instances that :func:`due_instances` named, where known."""

    holders: Mapping[str, ForeignMaster]


class AddressAnswered(Struct, frozen=True, kw_only=True):
    """Somebody with ``mac`` answered for an address, or (``is_unasked``) announced it."""

    address: IPAddress
    mac: bytes
    is_unasked: bool = False


class Missed(Struct, frozen=True):
    """Answers may have come that were not heard: for ``target``, or for any address."""

    target: IPAddress | None = None


Event = AddressesConfigured | Due | AddressAnswered | Missed


class AskForAddress(Struct, frozen=True, kw_only=True):
    """Ask who has ``target``, from ``own``: the one with ``mac``, or everybody."""

    target: IPAddress
    own: IPAddress
    mac: bytes | None = None


class Unanswered(Struct, frozen=True, kw_only=True):
    """Nobody answers for these addresses of a holder, all of them found since the last report."""

    holder: IPAddress
    addresses: tuple[IPAddress, ...]
    cause: str


class HolderUnanswered(Struct, frozen=True, kw_only=True):
    """A holder's own address is not answered for either."""

    holder: IPAddress
    cause: str


class Regained(Struct, frozen=True, kw_only=True):
    """Somebody answers again for what was told."""

    addresses: tuple[IPAddress, ...]


Action = AskForAddress | Unanswered | HolderUnanswered | Regained
Step = tuple[Answering, tuple[Action, ...]]
