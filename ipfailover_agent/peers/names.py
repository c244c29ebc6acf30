"""Host names and what they resolve to: questions, answers, and which answers are believed."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.model import in_order

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ipfailover_agent.model import Family, IPAddress


class Question(Struct, frozen=True, kw_only=True, order=True):
    """What is asked: the addresses of one family that a host name has."""

    name: str
    family: Family

    def __str__(self) -> str:
        return f"{self.name} (IPv{self.family:d})"


class LookupResult(Struct, frozen=True, kw_only=True):
    """The result of a look-up: addresses, or none where there are none, or why it failed.

    ``age``: of a set that was stored, for how many seconds no answer has confirmed it; None where
    that is not known.
    """

    question: Question
    addresses: tuple[IPAddress, ...] = ()
    failure: str = ""
    age: float | None = None


def judged(
    answer: LookupResult,
    virtual: Collection[IPAddress],
    limit: int,
    no_hosts: Mapping[IPAddress, str],
) -> LookupResult:
    """Return the answer, or as a failure what is not believed or empty.

    Args:
        answer: what came back.
        virtual: the addresses that are served.
        limit: how many addresses a node's name may have.
        no_hosts: why an address is no host's in a network of this node, as text.
    """
    reason = answer.failure or _flaw(answer, virtual, limit, no_hosts)
    if not reason and not answer.addresses:
        reason = "no address"
    if reason:
        return LookupResult(question=answer.question, failure=reason)
    return LookupResult(question=answer.question, addresses=in_order(answer.addresses))


def _flaw(
    answer: LookupResult,
    virtual: Collection[IPAddress],
    limit: int,
    no_hosts: Mapping[IPAddress, str],
) -> str:
    """Return why an answer is not believed, as text, or nothing.

    One address that cannot be a node's discredits the others: then DNS is wrong.
    """
    if len(answer.addresses) > limit:
        return f"{len(answer.addresses)} addresses, at most {limit} are taken"
    for each in answer.addresses:
        if why := _why_no_node(each, virtual) or no_hosts.get(each):
            return f"{each} {why}"
    return ""


def _why_no_node(address: IPAddress, virtual: Collection[IPAddress]) -> str:
    if address in virtual:
        return "is one of the virtual addresses, and no node"
    kinds = (
        (address.is_unspecified, "is the unspecified address"),
        (address.is_loopback, "is a loopback address"),
        (address.is_multicast, "is a multicast address"),
        (address.is_link_local, "is a link-local address"),
    )
    for applies, words in kinds:
        if applies:
            return words
    if isinstance(address, IPv6Address):
        return "is an IPv4 address in disguise" if address.ipv4_mapped else ""
    return "is no host's address" if address.is_reserved or int(address) < 1 << 24 else ""
