"""The types of ``answering``: what is remembered of addresses, events and actions."""

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
        settle: adverts of a holder come for so long before the agent asks anything.
        timeout: the agent waits so long for an answer; it takes milliseconds.
        limit: so many questions in a row stay unanswered before the agent reports it.
        burst: questions that may go at once; ``tick`` between two bursts.
        report_interval: between two reports; what is found meanwhile goes into one report.
    """

    interval: float = 60.0
    settle: float = 10.0
    timeout: float = 2.0
    limit: int = 3
    burst: int = 5
    tick: float = 1.0
    report_interval: float = 60.0


class ForeignMaster(Struct, frozen=True, kw_only=True):
    """Another node that is the master of an instance, by adverts that count here.

    Attributes:
        source: the node's own address, which its adverts come from.
        mac: 6 bytes, likewise.
        addresses: those that its adverts list. It may not hold an address that they do not list.
        since: when it became the only one while this node is BACKUP, in monotonic seconds.
    """

    source: IPAddress
    mac: bytes
    addresses: frozenset[IPAddress]
    since: float


class AddressQuestion(Struct, frozen=True, kw_only=True):
    """What is known of one address. Times are monotonic seconds.

    Attributes:
        instance: the one that serves the address; empty for a holder's own address.
        own: the address of this node that asks.
        due_at: when to ask again.
        holder: the holder at the last question; None for a holder's own address.
        asked_at: when that was; ``is_open`` while an answer may come.
        unanswered: questions in a row.
        since: when it was found that no host answers, None while that is not so.
        told_of: the holder that was reported; stays until a host answers.
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
        """Return, of a holder's own address, whether its silence is still to be reported."""
        return self.unanswered >= _SILENT and self.told_of is None

    @property
    def is_untold(self) -> bool:
        """Return whether there is something to report about the address."""
        is_known = self.holder is not None and self.told_of == self.holder.source
        return self.since is not None and not is_known

    def is_about(self, holder: ForeignMaster | None) -> bool:
        """Return whether ``holder`` was the holder at the last question, and ever since."""
        return (
            holder is not None
            and self.holder is not None
            and self.asked_at is not None
            and (self.holder.source, self.holder.mac) == (holder.source, holder.mac)
            and holder.since <= self.asked_at
        )

    def is_judged(self, now: float, policy: AnsweringPolicy) -> bool:
        """Return whether an answer would have come by now."""
        return self.is_open and self.asked_at is not None and now >= self.asked_at + policy.timeout

    def forgotten(self) -> AddressQuestion:
        """Return the question without its findings, but with what was reported."""
        return replace(self, holder=None, is_open=False, unanswered=0, since=None)

    def answered(self) -> AddressQuestion:
        """Return the question as a host has answered it."""
        return replace(self, is_open=False, unanswered=0, since=None, told_of=None)


class Answering(Struct, frozen=True, kw_only=True):
    """Everything that is remembered.

    Attributes:
        inquiries: questions for the configured addresses.
        holders: questions for holders' own addresses, while they are of interest.
        links: networks of the interface, each with the address of this node that asks in it.
        past: when addresses were asked for that are configured no more.
        looked_at: the last Due that counted; ``reported_at`` the last report.
        regained: addresses that are answered for again, still to be reported.
    """

    inquiries: Mapping[IPAddress, AddressQuestion] = field(default_factory=dict)
    holders: Mapping[IPAddress, AddressQuestion] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    past: Mapping[IPAddress, float] = field(default_factory=dict)
    looked_at: float | None = None
    reported_at: float | None = None
    regained: tuple[IPAddress, ...] = ()

    def may_report(self, now: float, policy: AnsweringPolicy) -> bool:
        """Return whether the last report is old enough."""
        return self.reported_at is None or now >= self.reported_at + policy.report_interval

    def own_for(self, address: IPAddress) -> IPAddress | None:
        """Return the address of this node to ask from; None for one outside of its networks."""
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
    """A host with ``mac`` answered for an address, or (``is_unasked``) announced it."""

    address: IPAddress
    mac: bytes
    is_unasked: bool = False


class Missed(Struct, frozen=True):
    """Answers may have been missed: for ``target``, or for any address."""

    target: IPAddress | None = None


Event = AddressesConfigured | Due | AddressAnswered | Missed


class AskForAddress(Struct, frozen=True, kw_only=True):
    """Ask for ``target`` from ``own``: the host with ``mac``, or all hosts."""

    target: IPAddress
    own: IPAddress
    mac: bytes | None = None


class Unanswered(Struct, frozen=True, kw_only=True):
    """No host answers for these addresses of a holder, all of them found since the last report."""

    holder: IPAddress
    addresses: tuple[IPAddress, ...]
    cause: str


class HolderUnanswered(Struct, frozen=True, kw_only=True):
    """A holder's own address is not answered for either."""

    holder: IPAddress
    cause: str


class Regained(Struct, frozen=True, kw_only=True):
    """A host answers again for addresses that were reported."""

    addresses: tuple[IPAddress, ...]


Action = AskForAddress | Unanswered | HolderUnanswered | Regained
Step = tuple[Answering, tuple[Action, ...]]
