"""Grammar of address lists: text -> addresses, refusing what cannot be read safely.

Commas and newlines separate elements, blanks separate addresses. Input is never dropped in
silence. Where the shell image made a different, valid set of an element, the element is refused
and both readings are named: neither an update nor a rollback may serve a foreign address.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.core.reading import old_reading
from ipfailover_agent.core.reading.elements import (
    AddressError,
    AddressRange,
    parse_address,
    parse_element,
    unambiguous,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfailover_agent.core.errors import Problem
    from ipfailover_agent.core.model import IPAddress

MAX_ADDRESSES = 4096  # far beyond what 255 virtual router ids carry, and little memory
MAX_PROBLEMS = 50  # of one list; a list with more is another one than was meant

_SPACED_DASH = re.compile(r"[ \t]*-[ \t]*")
_TOKEN = re.compile(r"[^ \t]+")
_PLAIN = re.compile(r"[0-9.]+|[0-9A-Fa-f:]*[0-9A-Fa-f]")
_NAMED_IN_FULL = 3  # addresses of a set that a message lists one by one


class Expansion(Struct, frozen=True, kw_only=True):
    """What a value means.

    Attributes:
        addresses: every address that could be read, in order, each once.
        problems: what is wrong and must be mended.
        left_out_by_old: what is wrong and was passed over by the shell image too, so that
            leaving it out keeps the ids of all others (OPENSHIFT_HA_ON_INVALID=serve-valid).
        newly_read: elements that are fine and that the shell image passed over.
        renumbers: an element that the shell image did read comes after a newly read one, and
            so gets another virtual router id than there.
    """

    addresses: tuple[IPAddress, ...]
    problems: tuple[Problem, ...] = ()
    left_out_by_old: tuple[Problem, ...] = ()
    newly_read: tuple[str, ...] = ()
    renumbers: bool = False


def expand(value: str, *, variable: str = "OPENSHIFT_HA_VIRTUAL_IPS") -> Expansion:
    """Return the addresses that a list of addresses and ranges means, or what is wrong with it."""
    expander = _Expander(variable)
    for element in re.split(r"[,\n]", value):
        stripped = element.strip(" \t")
        if stripped and not expander.add(stripped):
            break
    return expander.expansion()


def parse_list(value: str, *, variable: str) -> Expansion:
    """Return the single addresses of a list with commas and/or blanks; ranges are refused.

    Repeated addresses are kept once: for a list of peers that changes nothing.
    """
    found: dict[IPAddress, None] = {}
    problems: list[Problem] = []
    for element in re.split(r"[, \t\n]+", value):
        if element:
            try:
                found[parse_address(element)] = None
            except AddressError as error:
                problems.append(error.problem(variable, element))
    return Expansion(addresses=tuple(found), problems=tuple(problems))


def describe(addresses: Sequence[IPAddress]) -> str:
    """Return a description of a set: few addresses one by one, more by their ends and number."""
    if not addresses:
        return "nothing"
    if len(addresses) <= _NAMED_IN_FULL:
        return ", ".join(map(str, addresses))
    return f"{addresses[0]} to {addresses[-1]} ({len(addresses)} addresses)"


# --- reading one element after the other --------------------------------------------------------


class _Expander:
    """Collects elements, and holds each against what the shell image made of it."""

    def __init__(self, variable: str) -> None:
        self._variable = variable
        self._addresses: dict[IPAddress, str] = {}
        self._problems: list[Problem] = []
        self._left_out: list[Problem] = []
        self._newly_read: list[str] = []
        self._renumbers = False

    def add(self, element: str) -> bool:
        """Read an address, a range, or addresses with blanks between; return whether to go on."""
        tokens = _TOKEN.findall(_SPACED_DASH.sub("-", element))
        if len(tokens) > 1 and any("-" in token for token in tokens):
            reason = "a list with ranges cannot be separated by blanks"
            self._refuse(element, element, AddressError(reason, "separate with commas"))
        else:
            self._read(element, tokens)
        if len(self._problems) + len(self._left_out) < MAX_PROBLEMS:
            return True
        error = AddressError("there are more faults than it makes sense to list")
        self._problems.append(error.problem(self._variable, "..."))
        return False

    def expansion(self) -> Expansion:
        """Return what was collected."""
        return Expansion(
            addresses=tuple(self._addresses),
            problems=tuple(self._problems),
            left_out_by_old=tuple(self._left_out),
            newly_read=tuple(self._newly_read),
            renumbers=self._renumbers,
        )

    def _read(self, element: str, tokens: Sequence[str]) -> None:
        addresses: list[IPAddress] = []
        faults = 0
        for token in tokens:
            try:
                addresses.extend(self._bounded(parse_element(token), len(addresses)))
            except AddressError as error:
                faults += 1
                self._refuse(token, element, error)
        if not faults and not self._is_read_alike(element, addresses):
            meaning = f"as written it would mean {describe(addresses)}"
            instead = unambiguous(tokens[0]) if len(tokens) == 1 else "separate with commas"
            self._refuse(element, element, AddressError(meaning, instead))
            return
        for address in self._unrepeated(element, addresses):
            self._addresses[address] = element

    def _bounded(self, found: AddressRange, pending: int) -> tuple[IPAddress, ...]:
        """Expand a range unless the list grows too long."""
        total = len(self._addresses) + pending + found.size
        if total > MAX_ADDRESSES:
            raise AddressError(
                f"this makes {total} addresses; at most {MAX_ADDRESSES} are taken in all",
                "write fewer addresses",
            )
        return found.addresses()

    def _is_read_alike(self, element: str, addresses: Sequence[IPAddress]) -> bool:
        """Return whether the shell image read the same of it, or nothing at all."""
        if not _PLAIN.fullmatch(element):  # a valid address of this form was always read alike
            emitted = old_reading.emitted(element)
            if emitted == ():
                self._newly_read.append(element)
                return True
            if emitted is None or old_reading.parse_emitted(emitted) != tuple(addresses):
                return False
        self._renumbers = self._renumbers or bool(self._newly_read)
        return True

    def _unrepeated(self, element: str, addresses: Sequence[IPAddress]) -> Sequence[IPAddress]:
        """Return the addresses that are new, after refusing those that are not."""
        new = tuple(dict.fromkeys(each for each in addresses if each not in self._addresses))
        if len(new) < len(addresses):
            repeated = [each for each in addresses if each in self._addresses] or addresses
            before = self._addresses.get(repeated[0], element)
            repetition = "itself" if before == element else repr(before)
            reason = f"lists {describe(tuple(dict.fromkeys(repeated)))} again, after {repetition}"
            self._refuse(element, element, AddressError(reason, "write every address once"))
        return new

    def _refuse(self, part: str, element: str, error: AddressError) -> None:
        """Note a fault in a part of an element, with what the shell image made of the element."""
        emitted = old_reading.emitted(element)
        if emitted == ():
            self._left_out.append(error.problem(self._variable, part))
            return
        served = old_reading.parse_emitted(emitted or ())
        old = f"the old image served {describe(served)}" if served else "the old image misread it"
        reason = f"{error.reason}; {old}"
        self._problems.append(AddressError(reason, error.instead).problem(self._variable, part))
