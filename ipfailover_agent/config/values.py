"""How the value of a variable is read: a parser for each kind, which refuses what it cannot use.

A parser gets the text, never an empty one, and returns the value, or None for a text that it
refuses. So the rest is still looked at, and one report names everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ipfailover_agent.config import addresses
from ipfailover_agent.config.addresses import AddressError
from ipfailover_agent.config.keepalived_options import refusals
from ipfailover_agent.errors import Problem, no_word
from ipfailover_agent.model import HIGHEST_ID, HIGHEST_PORT, Preemption, PreemptionMode, address_of

if TYPE_CHECKING:
    import enum
    from collections.abc import Mapping

    from ipfailover_agent.model import IPAddress

T = TypeVar("T")
E = TypeVar("E", bound="enum.Enum")

_LONGEST_NAME = 253  # of a host (RFC 1123), and of whatever else is named like one
_LONGEST_DELAY = 1000  # seconds that keepalived takes for preempt_delay

_WHITE_SPACE = " \t\r\n"
_DIGITS = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_DIGITS_THAT_FIT = 9
_INTERFACE = re.compile(r"[A-Za-z0-9._+=-]{1,15}")  # IFNAMSIZ less the final zero byte
_LOOPBACK = "lo"
_MAIL = re.compile(r"[A-Za-z0-9.@_+=%/&*-]{1,254}")
_MEANT_OTHERWISE = re.compile(r"[&*]")
_LABEL_OF_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL_OF_NAME}(?:\.{_LABEL_OF_NAME})*\.?")
_LOOKS_LIKE_ADDRESS = re.compile(r"[0-9.]+|.*:.*")
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9_.-]{1,253}|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?"
    r"(?:[/?][A-Za-z0-9._~:/?@$&()*+,;=%\[\]-]*)?"
)
_ID_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+=@:-]+)+")


class Fields:
    """The variables of one environment, and what was found wrong with them so far."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.problems: list[Problem] = []
        self.left_out_by_old: list[Problem] = []
        self.warnings: list[str] = []

    def refuse(self, variable: str, element: str, reason: str, instead: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(variable, element, reason, instead))

    def warn(self, variable: str, sentence: str) -> None:
        """Note a warning about input that is accepted."""
        self.warnings.append(f"{variable}: {sentence}")

    def is_set(self, variable: str) -> bool:
        """Return whether a variable is there and not empty."""
        return bool(self._variables.get(variable, "").strip(_WHITE_SPACE))

    def is_emptied(self, variable: str) -> bool:
        """Return whether a variable is there and empty."""
        return variable in self._variables and not self.is_set(variable)

    def has_problem(self, variable: str) -> bool:
        """Return whether a variable was refused."""
        return any(each.variable == variable for each in self.problems)

    def text(self, variable: str, *, separators: str = "") -> str:
        """Return a value without surrounding white space; "" where unset or refused.

        Characters that do not print are refused, except the separators: a newline in a value
        would be a new statement in keepalived.conf.
        """
        value = self._variables.get(variable, "").strip(_WHITE_SPACE)
        if value.isprintable():
            return value
        odd = next((c for c in value if not c.isprintable() and c not in separators), None)
        if odd is None:
            return value
        instead = "write it in one line" if odd == "\n" else "remove it"
        self.refuse(variable, value, f"contains the character U+{ord(odd):04X}", instead)
        return ""


#: Reads the text of the variable of that name.
Parser = Callable[[Fields, str, str], T | None]


# --- kinds that several variables have ----------------------------------------------------------


def is_written(_fields: Fields, _variable: str, _text: str) -> bool:
    """Return that there is a text, whatever it is."""
    return True


def number(
    low: int, high: int, *, instead: str = "", old: Callable[[str], int | None] | None = None
) -> Parser[int]:
    """Return the parser of a whole number within bounds, both included.

    ``old`` returns what the shell image made of a value, for the report.
    """

    def parse(fields: Fields, variable: str, text: str) -> int | None:
        found = whole_number(text, low, high)
        if found is None:
            reason = f"must be a whole number from {low} to {high}, without leading zeros"
            misread = old(text) if old else None
            if misread is not None and str(misread) != text:
                reason += f"; the old image read {misread}"
            fields.refuse(variable, text, reason, instead)
        return found

    return parse


def decimal(lowest: float, highest: float, *, can_be_off: bool = False) -> Parser[float]:
    """Return the parser of seconds with at most two decimal places; whole ones become ints.

    ``can_be_off``: 0 may be written, too.
    """

    def parse(fields: Fields, variable: str, text: str) -> float | None:
        seconds = _seconds(text)
        is_off = can_be_off and seconds == 0
        if seconds is not None and (is_off or lowest <= seconds <= highest):
            return seconds
        reason = f"must be seconds from {lowest:g} to {highest:g}, with two decimal places at most"
        never = ", or 0 for never" if can_be_off else ""
        fields.refuse(variable, text, reason, f"write a number without a unit{never}")
        return None

    return parse


def choice(choices: Mapping[str, T]) -> Parser[T]:
    """Return the parser of one of a few words; upper and lower case do not matter."""

    def parse(fields: Fields, variable: str, text: str) -> T | None:
        word = text.lower()
        if word not in choices:
            *others, last = choices
            instead = f"write {', '.join(others)} or {last}"
            fields.refuse(variable, text, "is none of its values", instead)
        return choices.get(word)

    return parse


def member(values: type[E]) -> Parser[E]:
    """Return the parser of the values of an enum."""
    return choice({each.value: each for each in values})


def matching(pattern: str | re.Pattern[str], allowed: str) -> Parser[str]:
    """Return the parser of a text that a pattern matches as a whole.

    ``allowed`` says in words which those are.
    """

    def parse(fields: Fields, variable: str, text: str) -> str | None:
        if re.fullmatch(pattern, text):
            return text
        fields.refuse(variable, text, f"may only be {allowed}", "write it anew")
        return None

    return parse


path = matching(_PATH, "a full path of letters, digits and . _ + = @ : - without . and ..")


def address(fields: Fields, variable: str, text: str) -> IPAddress | None:
    """Return one address."""
    try:
        return addresses.parse_address(text)
    except AddressError as error:
        fields.problems.append(error.problem(variable, text))
        return None


def whole_number(text: str, low: int = 0, high: int = 10**_DIGITS_THAT_FIT - 1) -> int | None:
    """Return a number in ASCII digits without leading zeros and within bounds, or None."""
    if not _DIGITS.fullmatch(text) or len(text) > _DIGITS_THAT_FIT:
        return None
    if text[0] == "0" and len(text) > 1:
        return None
    return found if low <= (found := int(text)) <= high else None


def _seconds(text: str) -> float | None:
    if not _DECIMAL.fullmatch(text):
        return None
    whole, _, fraction = text.partition(".")
    if (whole[0] == "0" and len(whole) > 1) or len(fraction.rstrip("0")) > len("00"):
        return None
    return float(text) if fraction.strip("0") else int(whole)


def _words(text: str) -> list[str]:
    """Return the words of a list with commas or blanks between."""
    return text.replace(",", " ").split()


# --- kinds of their own -------------------------------------------------------------------------


def virtual_addresses(fields: Fields, variable: str, text: str) -> addresses.Expansion:
    """Return what a list of addresses and ranges means."""
    expansion = addresses.expand(text, variable=variable)
    fields.problems += expansion.problems
    fields.left_out_by_old += expansion.left_out_by_old
    return expansion


def interfaces(fields: Fields, variable: str, text: str) -> tuple[str, ...]:
    """Return interface names in order of preference."""
    names = text.split()
    for name in names:
        if not _INTERFACE.fullmatch(name) or name in {".", ".."}:
            instead = "separate names with blanks" if "," in name else "write a name of 15 at most"
            fields.refuse(variable, name, "no interface can have this name", instead)
        if name == _LOOPBACK:
            reason = "no client reaches an address on the loopback interface"
            fields.refuse(variable, name, reason, "name the interface of the clients' network")
    return tuple(dict.fromkeys(names))


def old_port(text: str) -> int:
    """Return the port that the shell image read: the digits, whatever stood between them."""
    digits = re.sub(r"[^0-9]", "", text)[: len("65535") + 1]
    return int(digits) if digits else 80


def port(fields: Fields, variable: str, text: str) -> tuple[int, ...]:
    """Return the one TCP port that must answer, or none."""
    instead = "list several ports in OPENSHIFT_HA_MONITOR_PORTS"
    found = number(0, HIGHEST_PORT, instead=instead, old=old_port)(fields, variable, text)
    return (found,) if found else ()


def ports(fields: Fields, variable: str, text: str) -> tuple[int, ...] | None:
    """Return TCP ports that must all answer."""
    found: dict[int, None] = {}
    for word in _words(text):
        number = whole_number(word)
        if number is not None and 1 <= number <= HIGHEST_PORT:
            found[number] = None
        else:
            instead = "set OPENSHIFT_HA_MONITOR_PORT=0 for no port check" if number == 0 else ""
            fields.refuse(variable, word, f"must be a port from 1 to {HIGHEST_PORT}", instead)
    return tuple(found) or None


def script(fields: Fields, variable: str, text: str) -> str | None:
    """Return a command line, as it was written, that splits into words as a shell would."""
    from ipfailover_agent.config import commands  # noqa: PLC0415 - only scripts cost it

    words: tuple[commands.Word, ...] = ()
    try:
        words = commands.split(text)
        wrong = commands.objection(text, words)
    except ValueError as error:
        wrong = str(error).lower(), "close every quote"
    if wrong is not None:
        fields.refuse(variable, text, *wrong)
        return None
    for sentence in commands.warnings(words):
        fields.warn(variable, sentence)
    return text


def url(fields: Fields, variable: str, text: str) -> str | None:
    """Return an http or https URL without credentials and fragment."""
    matched = _URL.fullmatch(text)
    bracketed, port = matched.groups() if matched else (None, None)
    if matched is None:
        reason = "must be a URL that begins with http:// or https://, percent-encoded"
        instead = "write it without user, quotes and fragment"
    elif bracketed and (":" not in bracketed or address_of(bracketed) is None):
        reason = f"{bracketed} in brackets is no IPv6 address"
        instead = "write others without them"
    elif port and not 1 <= int(port) <= HIGHEST_PORT:
        reason, instead = f"{port} is no port", "write 1 to 65535"
    else:
        return text
    fields.refuse(variable, _without_secrets(text), reason, instead)
    return None


def _without_secrets(url: str) -> str:
    """Return what may be shown of a URL: a refusal is readable over HTTP for every client."""
    plain, question, _ = url.partition("?")
    scheme, slashes, rest = plain.partition("://")
    if "@" in url and slashes:
        plain = f"{scheme}://...@{rest.rpartition('@')[2]}"
    return plain + ("?..." if question else "")


def preemption(fields: Fields, variable: str, text: str) -> Preemption | None:
    """Return the preemption; documented spellings that never worked give a warning."""
    value = text.strip(" '\"")
    if not value:
        return None
    keyword, *arguments = value.split()
    seconds = whole_number(arguments[0], high=_LONGEST_DELAY) if len(arguments) == 1 else None
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
    instead = f"write preempt, 'preempt_delay SECONDS' (0 to {_LONGEST_DELAY}) or nopreempt"
    fields.refuse(variable, value, "is no preemption", instead)
    return None


def peers(fields: Fields, variable: str, text: str) -> tuple[IPAddress, ...]:
    """Return unicast peers, each once; host names belong into a variable of their own."""
    found: dict[IPAddress, None] = {}
    for word in filter(None, re.split(r"[, \t\n]+", text)):
        try:
            found[addresses.parse_address(word)] = None
        except AddressError as error:
            is_name = error.reason == "a host name is no address"
            instead = "write the node's address" if is_name else error.instead
            fields.refuse(variable, word, error.reason, instead)
    return tuple(found)


def host_names(fields: Fields, variable: str, text: str) -> tuple[str, ...]:
    """Return host names; addresses belong into a variable of their own."""
    names = _words(text)
    for name in names:
        if not _is_host_name(name):
            instead = "write letters, digits, '-' and '.'"
            if _LOOKS_LIKE_ADDRESS.fullmatch(name):
                instead = "put addresses into OPENSHIFT_HA_UNICAST_PEERS"
            fields.refuse(variable, name, "is no host name", instead)
    return tuple(dict.fromkeys(names))


def _is_host_name(word: str) -> bool:
    if _LOOKS_LIKE_ADDRESS.fullmatch(word) or len(word) > _LONGEST_NAME:
        return False
    return bool(_HOST_NAME.fullmatch(word))


def plain_ids(fields: Fields, variable: str, text: str) -> set[int]:
    """Return virtual router ids; what else stands there the shell image passed over."""
    found = set()
    for word in text.split():
        number = whole_number(word, 1, HIGHEST_ID)
        if number is not None:
            found.add(number)
            continue
        reason = f"must be a number from 1 to {HIGHEST_ID}; the old image passed over it"
        instead = (
            "separate numbers with blanks, or use OPENSHIFT_HA_EXCLUDED_VRRP_IDS, which takes "
            "commas and ranges"
        )
        fields.left_out_by_old.append(Problem(variable, word, reason, instead))
    return found


def ids(fields: Fields, variable: str, text: str) -> set[int]:
    """Return virtual router ids, given one by one or as ranges."""
    found: set[int] = set()
    for word in _words(text):
        matched = _ID_RANGE.fullmatch(word)
        bounds = matched.groups() if matched else (word, word)
        first, last = (whole_number(each, 1, HIGHEST_ID) for each in bounds)
        if first is None or last is None or first > last:
            reason = f"must be a number from 1 to {HIGHEST_ID}, or a range such as 20-29"
            fields.refuse(variable, word, reason, "separate them with blanks or commas")
        else:
            found.update(range(first, last + 1))
    return found


def pinned_ids(fields: Fields, variable: str, text: str) -> tuple[tuple[IPAddress, int], ...]:
    """Return fixed ids of addresses: ``ADDRESS=ID`` with commas or blanks between."""
    found: dict[IPAddress, int] = {}
    for word in _words(re.sub(r"\s*=\s*", "=", text)):
        written, equals, digits = word.partition("=")
        identifier = whole_number(digits, 1, HIGHEST_ID)
        if not equals or identifier is None:
            reason = f"must be ADDRESS=ID with an id from 1 to {HIGHEST_ID}"
            fields.refuse(variable, word, reason, "separate them with commas")
            continue
        try:
            pinned = addresses.parse_address(written)
        except AddressError as error:
            fields.problems.append(error.problem(variable, word))
            continue
        if pinned in found:
            fields.refuse(variable, word, f"{pinned} has an id already", "write it once")
        elif identifier in found.values():
            fields.refuse(variable, word, f"another address has id {identifier}", "choose another")
        else:
            found[pinned] = identifier
    return tuple(found.items())


def mail_addresses(fields: Fields, variable: str, text: str) -> tuple[str, ...]:
    """Return mail addresses, made of characters that keepalived.conf takes as they are."""
    found = tuple(text.split())
    for word in found:
        if not _MAIL.fullmatch(word):
            instead = "separate addresses with blanks" if "," in word else ""
            fields.refuse(variable, word, "is no mail address that keepalived takes", instead)
        elif _MEANT_OTHERWISE.search(word):
            fields.problems.append(no_word(variable, word))
    return found


def mail_server(fields: Fields, variable: str, text: str) -> str | None:
    """Return the address of a host, which may be followed by a blank and a port.

    keepalived looks a name up whenever it reads its configuration, and refuses to run without an
    answer. No mail is ever sent, so neither name nor port are worth that.
    """
    host, *rest = text.split()
    found = None if "%" in host else address_of(host)
    has_port = len(rest) == 1 and whole_number(rest[0], 1, HIGHEST_PORT) is not None
    if (found is None and not _is_host_name(host)) or (rest and not has_port):
        instead = "write an address, or leave it out: no mail is sent"
        fields.refuse(variable, " ".join([host, *rest]), "is no mail server", instead)
    elif found is None:
        reason = f"{host!r} is a name, which keepalived could not start without looking it up"
        fields.warn(variable, f"{reason}; 127.0.0.1 is written instead, and no mail is sent")
    elif rest:
        fields.warn(variable, f"the port {rest[0]} is not written: no mail is sent")
    return None if found is None else str(found)


def keepalived_options(fields: Fields, variable: str, text: str) -> tuple[str, ...]:
    """Return further words of keepalived's command line."""
    words = text.split()
    for word, reason in refusals(words):
        fields.refuse(variable, word, reason, "leave it out")
    return tuple(words)
