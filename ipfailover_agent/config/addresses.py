"""Grammar of address lists: text -> addresses, refusing what cannot be read safely.

Commas and newlines separate elements, blanks separate addresses; an element is an address, or a
range ``START-END``. Input is never dropped in silence. Where the shell image made a different,
valid set of an element, the element is refused and both readings are named: neither an update nor
a rollback may serve a foreign address.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.config import shell_reading
from ipfailover_agent.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipfailover_agent.model import IPAddress

MAX_ADDRESSES = 4096  # far beyond what 255 virtual router ids carry, and little memory
MAX_PROBLEMS = 50  # of one list; a list with more is another one than was meant

_SPACED_DASH = re.compile(r"[ \t]*-[ \t]*")
_TOKEN = re.compile(r"[^ \t]+")
_PLAIN = re.compile(r"[0-9.]+|[0-9A-Fa-f:]*[0-9A-Fa-f]")
_NAMED_IN_FULL = 3  # addresses of a set that a message lists one by one
_DECIMAL = re.compile(r"[0-9]+")
_HEXTET = re.compile(r"[0-9A-Fa-f]{1,4}")
_OCTETS = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_LEADING_ZERO = re.compile(r"(?<![0-9])0+(?=[0-9])")
_ADDRESS_CHARACTERS = re.compile(r"[0-9A-Fa-f.:]*")
_HOST_NAME = re.compile(r"[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*\.?")
_LARGEST_OCTET = 255
_OCTET_VALUES = 0x100
_HEXTET_VALUES = 0x10000
_ORDINARY = {4: frozenset({*range(1, 127), *range(128, 224)}), 6: frozenset(range(1, 255))}
_BROADCAST = IPv4Address("255.255.255.255")
_NETWORKS_SPELLED_OUT = 3  # /24 networks of a range that a message splits it into


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
        total = len(self._addresses) + pending + int(found.last) - int(found.first) + 1
        if total > MAX_ADDRESSES:
            raise AddressError(
                f"this makes {total} addresses; at most {MAX_ADDRESSES} are taken in all",
                "write fewer addresses",
            )
        return found.addresses()

    def _is_read_alike(self, element: str, addresses: Sequence[IPAddress]) -> bool:
        """Return whether the shell image read the same of it, or nothing at all."""
        if not _PLAIN.fullmatch(element):  # a valid address of this form was always read alike
            emitted = shell_reading.emitted(element)
            if emitted == ():
                self._newly_read.append(element)
                return True
            if emitted is None or shell_reading.parse_emitted(emitted) != tuple(addresses):
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
        emitted = shell_reading.emitted(element)
        if emitted == ():
            self._left_out.append(error.problem(self._variable, part))
            return
        served = shell_reading.parse_emitted(emitted or ())
        old = f"the old image served {describe(served)}" if served else "the old image misread it"
        reason = f"{error.reason}; {old}"
        self._problems.append(AddressError(reason, error.instead).problem(self._variable, part))


# --- one element: an address or a range ----------------------------------------------------------


class AddressError(ValueError):
    """Text that is no usable address; ``reason`` and ``instead`` are as in ``Problem``."""

    def __init__(self, reason: str, instead: str = "") -> None:
        self.reason = reason
        self.instead = instead
        super().__init__(reason)

    def problem(self, variable: str, element: str) -> Problem:
        """Return this fault as a problem of an element of a variable."""
        return Problem(variable, element, self.reason, self.instead)


class AddressRange(Struct, frozen=True, kw_only=True):
    """Consecutive addresses of one family, both ends included."""

    first: IPAddress
    last: IPAddress

    def addresses(self) -> tuple[IPAddress, ...]:
        """Return every address, in order."""
        address = type(self.first)
        return tuple(address(each) for each in range(int(self.first), int(self.last) + 1))


def parse_address(text: str) -> IPAddress:
    """Return one address that a host can hold.

    Raises:
        AddressError: it is no address, or loopback, multicast, unspecified, broadcast or
            IPv4-mapped, or bears a prefix length or a zone.
    """
    if "/" in text:
        raise AddressError(
            "a prefix length does not belong here", f"write {text.partition('/')[0]!r}"
        )
    if "%" in text:
        raise AddressError("a zone does not belong here", f"write {text.partition('%')[0]!r}")
    try:
        address = IPv6Address(text) if ":" in text else IPv4Address(text)
    except AddressValueError:
        raise _diagnosis(text) from None
    _refuse_special(address)
    return address


def parse_element(text: str) -> AddressRange:
    """Return what one address, or one range without blanks, means.

    Raises:
        AddressError: it is neither.
    """
    start, dash, end = text.partition("-")
    if not dash:
        address = parse_address(text)
        return AddressRange(first=address, last=address)
    if "/" in text:
        bare = re.sub(r"/[0-9.]*", "", text)
        raise AddressError("a prefix length does not belong here", f"write {bare!r}")
    if not start or not end:
        raise AddressError("a range needs a start and an end", "write START-END")
    if not _ADDRESS_CHARACTERS.fullmatch(start):
        raise _diagnosis(text)
    if "-" in end:
        raise AddressError("a range has one '-'", "separate ranges with commas")
    _refuse_leading_zeros(text)
    first = parse_address(start)
    if isinstance(first, IPv4Address):
        last = _ipv4_end(first, end)
    else:
        last = _ipv6_end(start, first, end)
    _refuse_special(last)
    if int(last) < int(first):
        raise AddressError(f"the end {end} is before the start", "write the lower one first")
    return AddressRange(first=first, last=last)


def _ipv4_end(first: IPv4Address, end: str) -> IPAddress:
    if _OCTETS.fullmatch(end):
        return parse_address(end)
    instead = "end it with a last octet or a full address"
    if not _DECIMAL.fullmatch(end):
        raise AddressError(f"{end!r} cannot end a range of IPv4 addresses", instead)
    if len(end) > len("255") or int(end) > _LARGEST_OCTET:
        raise AddressError(f"the end {end} is above 255", instead)
    return IPv4Address(int(first) - int(first) % _OCTET_VALUES + int(end))


def _ipv6_end(start: str, first: IPv6Address, end: str) -> IPv6Address:
    if "." in start:
        raise AddressError(
            "a range cannot start with an IPv6 address in dotted form", f"write {str(first)!r}"
        )
    if ":" in end:
        raise AddressError("the end of an IPv6 range is its last hextet", _short_end(first, end))
    if not _HEXTET.fullmatch(end):
        raise AddressError(
            f"{end!r} cannot end a range of IPv6 addresses",
            "end it with a last hextet, one to four hexadecimal digits",
        )
    return IPv6Address(int(first) - int(first) % _HEXTET_VALUES + int(end, 16))


def _short_end(first: IPv6Address, end: str) -> str:
    try:
        last = IPv6Address(end)
    except AddressValueError:
        return "write START-HEXTET"
    if int(last) // _HEXTET_VALUES != int(first) // _HEXTET_VALUES or last < first:
        return "write one range for each of the networks"
    return f"write {_ipv6_range(first, last)!r}"


def _ipv6_range(first: IPv6Address, last: IPv6Address) -> str:
    """Return a range in the form that the shell image read alike: hexadecimal in upper case."""
    base, low, high = str(first), int(first) % _HEXTET_VALUES, int(last) % _HEXTET_VALUES
    head = base if base.endswith(":") else base.rpartition(":")[0] + ":"
    return f"{head}{low:X}-{high:X}"


def unambiguous(text: str) -> str:
    """Return what to write instead of a well-formed element that the shell image misread."""
    found = parse_element(text)
    if isinstance(found.first, IPv6Address) and isinstance(found.last, IPv6Address):
        return f"write {_ipv6_range(found.first, found.last)!r}, which both read alike"
    first, last = int(found.first), int(found.last)
    starts = range(first - first % _OCTET_VALUES, last + 1, _OCTET_VALUES)
    if len(starts) > _NETWORKS_SPELLED_OUT:
        return "write one range for each /24 network"
    pieces = ",".join(
        f"{IPv4Address(max(first, start))}-{min(last - start, _LARGEST_OCTET)}" for start in starts
    )
    return f"write {pieces!r}, which both read alike"


# --- why not ------------------------------------------------------------------------------------


def _refuse_special(address: IPAddress) -> None:
    """Refuse addresses that no host can hold for others."""
    if int(address) >> (address.max_prefixlen - 8) in _ORDINARY[address.version]:
        return  # spares the usual address half a dozen look-ups
    if address.is_unspecified:
        kind = "the unspecified address"
    elif address.is_loopback:
        kind = "a loopback address"
    elif address.is_multicast:
        kind = "a multicast address"
    elif address == _BROADCAST:
        kind = "the broadcast address"
    elif isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise AddressError("an IPv4-mapped IPv6 address", f"write {str(address.ipv4_mapped)!r}")
    else:
        return
    raise AddressError(f"{kind} cannot be served", "write a unicast address")


def _refuse_leading_zeros(text: str) -> None:
    """Refuse ``010``: some read it as octal."""
    if ":" not in text and _LEADING_ZERO.search(text):
        raise AddressError(
            "a leading zero leaves open whether octal is meant",
            f"write {_LEADING_ZERO.sub('', text)!r}",
        )


def _diagnosis(text: str) -> AddressError:
    """Return why a text is no address."""
    if _OCTETS.fullmatch(text):
        for each in text.split("."):
            if len(each.lstrip("0")) > len("255") or int(each) > _LARGEST_OCTET:
                return AddressError(f"the octet {each} is above 255")
        _refuse_leading_zeros(text)
    odd = _ADDRESS_CHARACTERS.sub("", text)
    if not odd:
        family = "IPv6" if ":" in text else "IPv4"
        return AddressError(f"this is no {family} address", "write it in full")
    if _HOST_NAME.fullmatch(text):
        return AddressError("a host name is no address", "write the address")
    return AddressError(
        f"{odd[0]!r} belongs to no address", "separate addresses with commas or newlines"
    )
