"""Readers for the kinds of values that one or two variables have."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from ipfailover_agent.core.model import Preemption, PreemptionMode
from ipfailover_agent.core.planning.keepalived_options import refusals
from ipfailover_agent.core.reading.addresses import parse_list
from ipfailover_agent.core.reading.elements import AddressError, parse_address
from ipfailover_agent.core.reading.fields import whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.core.model import IPAddress
    from ipfailover_agent.core.reading.fields import Fields

LONGEST_NAME = 253  # of a host (RFC 1123), and of whatever else is named like one
HIGHEST_PORT = 65535
HIGHEST_ID = 255
LONGEST_DELAY = 1000  # seconds that keepalived takes for preempt_delay

_INTERFACE = re.compile(r"[A-Za-z0-9._+=-]{1,15}")  # IFNAMSIZ less the final zero byte
_MAIL = re.compile(r"[A-Za-z0-9.@_+=%/&*-]{1,254}")
_LABEL_OF_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL_OF_NAME}(?:\.{_LABEL_OF_NAME})*\.?")
_LOOKS_LIKE_ADDRESS = re.compile(r"[0-9.]+|.*:.*")
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9_.-]{1,253}|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?"
    r"(?:[/?][A-Za-z0-9._~:/?@$&()*+,;=%\[\]-]*)?"
)
_LOOPBACK = "lo"
_ID_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def interfaces(fields: Fields, variable: str) -> tuple[str, ...]:
    """Return interface names in order of preference."""
    names = fields.words(variable, commas=False)
    for name in names:
        if not _INTERFACE.fullmatch(name) or name in {".", ".."}:
            instead = "separate names with blanks" if "," in name else "write a name of 15 at most"
            fields.refuse(variable, name, "no interface can have this name", instead)
        if name == _LOOPBACK:
            reason = "no client reaches an address on the loopback interface"
            fields.refuse(variable, name, reason, "name the interface of the clients' network")
    return tuple(dict.fromkeys(names))


def ports(fields: Fields, variable: str) -> tuple[int, ...]:
    """Return TCP ports that must all answer."""
    found: dict[int, None] = {}
    for word in fields.words(variable, commas=True):
        number = whole_number(word)
        if number is not None and 1 <= number <= HIGHEST_PORT:
            found[number] = None
        else:
            instead = "set OPENSHIFT_HA_MONITOR_PORT=0 for no port check" if number == 0 else ""
            fields.refuse(variable, word, f"must be a port from 1 to {HIGHEST_PORT}", instead)
    return tuple(found)


def script(fields: Fields, variable: str) -> str | None:
    """Return a command line, as it was written, that splits into words as a shell would.

    keepalived ran a full path, a command that it found on PATH, and a path relative to the
    directory it happened to start in; the last is refused. So is what only a shell understands:
    neither the old image nor the agent has one read the command.
    """
    value = fields.text(variable)
    if not value:
        return None
    from ipfailover_agent.core.reading import commands  # noqa: PLC0415 - only scripts cost it

    try:
        words = commands.split(value)
    except ValueError as error:
        fields.refuse(variable, value, str(error).lower(), "close every quote")
        return None
    command = words[0].text if words else ""
    if not command:
        fields.refuse(variable, value, "names no command", "write its full path")
        return None
    wrong = commands.objection(value, words)
    if wrong is not None:
        fields.refuse(variable, value, wrong.reason, wrong.instead)
        return None
    for sentence in commands.warnings(words):
        fields.warn(variable, sentence)
    if not command.startswith("/"):
        if "/" in command:
            fields.refuse(variable, value, f"{command!r} is no full path", "begin it with '/'")
            return None
        fields.warn(variable, f"{command!r} is looked for on PATH; write its full path")
    return value


def url(fields: Fields, variable: str) -> str | None:
    """Return an http or https URL without credentials and fragment."""
    value = fields.text(variable)
    if not value:
        return None
    matched = _URL.fullmatch(value)
    if matched is None:
        reason = "must be a URL that begins with http:// or https://, percent-encoded"
        shown = _without_secrets(value)
        fields.refuse(variable, shown, reason, "write it without user, quotes and fragment")
        return None
    reason, instead = "", ""
    address, port = matched.groups()
    if address and not _is_ipv6(address):
        reason, instead = f"{address} in brackets is no IPv6 address", "write others without them"
    elif port and not 1 <= int(port) <= HIGHEST_PORT:
        reason, instead = f"{port} is no port", "write 1 to 65535"
    if reason:
        fields.refuse(variable, _without_secrets(value), reason, instead)
        return None
    return value


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _without_secrets(url: str) -> str:
    """Return what may be shown of a URL: a refusal is readable over HTTP for every client."""
    plain, question, _ = url.partition("?")
    scheme, slashes, rest = plain.partition("://")
    if "@" in url and slashes:
        plain = f"{scheme}://...@{rest.rpartition('@')[2]}"
    return plain + ("?..." if question else "")


def preemption(fields: Fields, variable: str, default: Preemption) -> Preemption:
    """Return the preemption; documented spellings that never worked give a warning."""
    value = fields.text(variable).strip(" '\"")
    if not value:
        return default
    keyword, *arguments = value.split()
    seconds = whole_number(arguments[0]) if len(arguments) == 1 else None
    if seconds is not None and seconds > LONGEST_DELAY:
        seconds = None
    match keyword, arguments:
        case ["nopreempt", []]:
            return Preemption(mode=PreemptionMode.NEVER)
        case ["preempt", []]:
            return Preemption(mode=PreemptionMode.PREEMPT)
        case ["preempt_delay", _] if seconds is not None:
            return Preemption(mode=PreemptionMode.DELAYED, delay=seconds)
        case ["preempt", _] if seconds is not None:
            fields.warn(variable, f"{value!r} is read as 'preempt_delay {seconds}'; write that")
            return Preemption(mode=PreemptionMode.DELAYED, delay=seconds)
        case ["preempt_nodelay", _] if seconds is not None:
            fields.warn(variable, f"{value!r} is read as 'preempt'; write that")
            return Preemption(mode=PreemptionMode.PREEMPT)
    fields.refuse(
        variable,
        value,
        "is no preemption",
        f"write preempt, 'preempt_delay SECONDS' (0 to {LONGEST_DELAY}) or nopreempt",
    )
    return default


def peers(fields: Fields, variable: str) -> tuple[IPAddress, ...]:
    """Return unicast peers; host names belong into a variable of their own."""
    found = parse_list(fields.text(variable, separators="\t"), variable=variable)
    for each in found.problems:
        instead = each.instead
        if each.reason == "a host name is no address":
            instead = "write the node's address"
        fields.refuse(variable, each.element, each.reason, instead)
    return found.addresses


def host_names(fields: Fields, variable: str) -> tuple[str, ...]:
    """Return host names; addresses belong into a variable of their own."""
    names = fields.words(variable, commas=True)
    for name in names:
        if _LOOKS_LIKE_ADDRESS.fullmatch(name):
            instead = "put addresses into OPENSHIFT_HA_UNICAST_PEERS"
            fields.refuse(variable, name, "is no host name", instead)
        elif not _is_host_name(name):
            fields.refuse(variable, name, "is no host name", "write letters, digits, '-' and '.'")
    return tuple(dict.fromkeys(names))


def source(fields: Fields, variable: str) -> IPAddress | None:
    """Return a source address, from the plain or the prefixed spelling of its variable."""
    found: dict[str, IPAddress] = {}
    prefixed = f"OPENSHIFT_HA_{variable}"
    for name in (variable, prefixed):
        value = fields.text(name)
        if value:
            try:
                found[name] = parse_address(value)
            except AddressError as error:
                fields.refuse_address(name, value, error)
    if len(set(found.values())) > 1:
        reason = f"differs from {variable}, which says {found[variable]}"
        fields.refuse(prefixed, str(found[prefixed]), reason, "set one of them")
    return next(iter(found.values()), None)


def excluded_ids(fields: Fields) -> tuple[int, ...]:
    """Return the virtual router ids to skip, of both variables, in ascending order."""
    plain, extended = "HA_EXCLUDED_VRRP_IDS", "OPENSHIFT_HA_EXCLUDED_VRRP_IDS"
    found: set[int] = set()
    for word in fields.words(plain, commas=False):
        number = _identifier(word)
        if number is not None:
            found.add(number)
            continue
        fields.leave_out(
            plain,
            word,
            f"must be a number from 1 to {HIGHEST_ID}; the old image passed over it",
            "separate numbers with blanks, or use OPENSHIFT_HA_EXCLUDED_VRRP_IDS, "
            "which takes commas and ranges",
        )
    for word in fields.words(extended, commas=True):
        numbers = _identifiers(word)
        if numbers is None:
            reason = f"must be a number from 1 to {HIGHEST_ID}, or a range such as 20-29"
            fields.refuse(extended, word, reason, "separate them with blanks or commas")
        else:
            found.update(numbers)
    return tuple(sorted(found))


def _identifier(word: str) -> int | None:
    number = whole_number(word)
    return number if number is not None and 1 <= number <= HIGHEST_ID else None


def _identifiers(word: str) -> Iterable[int] | None:
    matched = _ID_RANGE.fullmatch(word)
    bounds = [_identifier(each) for each in (matched.groups() if matched else (word, word))]
    first, last = bounds
    if first is None or last is None or first > last:
        return None
    return range(first, last + 1)


def pinned_ids(fields: Fields, variable: str) -> tuple[tuple[IPAddress, int], ...]:
    """Return fixed ids of addresses: ``ADDRESS=ID`` with commas or blanks between."""
    found: dict[IPAddress, int] = {}
    spaced = fields.text(variable, separators="\t")
    for word in re.sub(r"\s*=\s*", "=", spaced).replace(",", " ").split():
        text, equals, number = word.partition("=")
        identifier = _identifier(number)
        if not equals or identifier is None:
            reason = f"must be ADDRESS=ID with an id from 1 to {HIGHEST_ID}"
            fields.refuse(variable, word, reason, "separate them with commas")
            continue
        try:
            address = parse_address(text)
        except AddressError as error:
            fields.refuse_address(variable, word, error)
            continue
        if address in found:
            fields.refuse(variable, word, f"{address} has an id already", "write it once")
        elif identifier in found.values():
            fields.refuse(variable, word, f"another address has id {identifier}", "choose another")
        else:
            found[address] = identifier
    return tuple(found.items())


def mail_addresses(fields: Fields, variable: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return mail addresses, made of characters that keepalived.conf takes as they are."""
    found = fields.words(variable, commas=False)
    for word in found:
        if not _MAIL.fullmatch(word):
            instead = "separate addresses with blanks" if "," in word else ""
            fields.refuse(variable, word, "is no mail address that keepalived takes", instead)
    return tuple(found) or default


def mail_server(fields: Fields, variable: str, default: str) -> str:
    """Return the address of a host, which may be followed by a blank and a port.

    keepalived looks a name up whenever it reads its configuration, and refuses to run without an
    answer. No mail is ever sent, so neither name nor port are worth that.
    """
    words = fields.words(variable, commas=False)
    if not words:
        return default
    host, *rest = words
    port = whole_number(rest[0]) if len(rest) == 1 else None
    address = _address(host)
    if (address is None and not _is_host_name(host)) or (
        rest and (port is None or not 1 <= port <= HIGHEST_PORT)
    ):
        fields.refuse(
            variable,
            " ".join(words),
            "is no mail server",
            "write an address, or leave it out: no mail is sent",
        )
        return default
    if address is None:
        reason = f"{host!r} is a name, which keepalived could not start without looking it up"
        fields.warn(variable, f"{reason}; {default} is written instead, and no mail is sent")
    elif rest:
        fields.warn(variable, f"the port {port} is not written: no mail is sent")
    return default if address is None else str(address)


def _address(word: str) -> IPAddress | None:
    """Return any address, of this node's own too, without a scope."""
    try:
        return None if "%" in word else ip_address(word)
    except ValueError:
        return None


def _is_host_name(word: str) -> bool:
    if _LOOKS_LIKE_ADDRESS.fullmatch(word) or len(word) > LONGEST_NAME:
        return False
    return bool(_HOST_NAME.fullmatch(word))


def keepalived_options(fields: Fields, variable: str) -> tuple[str, ...]:
    """Return further words of keepalived's command line."""
    words = fields.words(variable, commas=False)
    for word, reason in refusals(words):
        fields.refuse(variable, word, reason, "leave it out")
    return tuple(words)
