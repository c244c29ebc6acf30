"""Reading one variable after the other, collecting everything that is wrong on the way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from ipfailover_agent.core.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ipfailover_agent.core.reading.elements import AddressError

T = TypeVar("T")

_WHITE_SPACE = " \t\r\n"
_DIGITS = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_DIGITS_THAT_FIT = 9


class Fields:
    """The variables of one environment, and what was found wrong with them so far.

    A value that cannot be used gives a problem and counts as unset, so that the rest is still
    looked at and one report names everything.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.problems: list[Problem] = []
        self.left_out_by_old: list[Problem] = []
        self.warnings: list[str] = []

    def refuse(self, variable: str, element: str, reason: str, instead: str = "") -> None:
        """Note a problem."""
        self.problems.append(
            Problem(variable=variable, element=element, reason=reason, instead=instead)
        )

    def leave_out(self, variable: str, element: str, reason: str, instead: str = "") -> None:
        """Note a problem with something that the shell image passed over too."""
        self.left_out_by_old.append(
            Problem(variable=variable, element=element, reason=reason, instead=instead)
        )

    def refuse_address(self, variable: str, element: str, error: AddressError) -> None:
        """Note a problem with an address."""
        self.problems.append(error.problem(variable, element))

    def warn(self, variable: str, sentence: str) -> None:
        """Note a warning about input that is accepted."""
        self.warnings.append(f"{variable}: {sentence}")

    def is_set(self, variable: str) -> bool:
        """Return whether a variable is there and not empty."""
        return bool(self._variables.get(variable, "").strip(_WHITE_SPACE))

    def is_there(self, variable: str) -> bool:
        """Return whether a variable is there, empty or not."""
        return variable in self._variables

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

    def words(self, variable: str, *, commas: bool) -> list[str]:
        """Return the words of a list with blanks (and commas) between."""
        value = self.text(variable, separators="\t")
        return (value.replace(",", " ") if commas else value).split()

    def number(
        self,
        variable: str,
        default: int,
        bounds: tuple[int, int],
        *,
        instead: str = "",
        old: Callable[[str], int | None] | None = None,
    ) -> int:
        """Return a whole number within bounds, both included.

        ``old`` returns what the shell image made of a value, for the report.
        """
        value = self.text(variable)
        if not value:
            return default
        number = whole_number(value)
        low, high = bounds
        if number is not None and low <= number <= high:
            return number
        reason = f"must be a whole number from {low} to {high}, without leading zeros"
        misread = old(value) if old else None
        if misread is not None and str(misread) != value:
            reason += f"; the old image read {misread}"
        self.refuse(variable, value, reason, instead)
        return default

    def decimal(
        self,
        variable: str,
        default: float,
        lowest: float,
        highest: float,
        *,
        can_be_off: bool = False,
    ) -> float:
        """Return a number of seconds with at most two decimal places; whole ones are ints.

        ``can_be_off``: 0 may be written, too.
        """
        value = self.text(variable)
        if not value:
            return default
        seconds = _seconds(value)
        if can_be_off and seconds == 0:
            return 0
        if seconds is None or not lowest <= seconds <= highest:
            self.refuse(
                variable,
                value,
                f"must be seconds from {lowest:g} to {highest:g}, with two decimal places at most",
                "write a number without a unit" + (", or 0 for never" if can_be_off else ""),
            )
            return default
        return seconds

    def choice(self, variable: str, choices: Mapping[str, T], default: str) -> T:
        """Return what one of a few words stands for; upper and lower case do not matter."""
        value = self.text(variable) or default
        word = value.lower()
        if word not in choices:
            self.refuse(variable, value, "is none of its values", f"write {_listed(choices)}")
            word = default
        return choices[word]

    def matching(
        self, variable: str, pattern: re.Pattern[str], default: str, *, allowed: str
    ) -> str:
        """Return a value that a pattern matches as a whole; ``allowed`` describes those."""
        value = self.text(variable)
        if not value:
            return default
        if not pattern.fullmatch(value):
            self.refuse(variable, value, f"may only be {allowed}", "write it anew")
            return default
        return value


def whole_number(text: str) -> int | None:
    """Return a decimal number in ASCII digits without leading zeros, or None."""
    if not _DIGITS.fullmatch(text) or len(text) > _DIGITS_THAT_FIT:
        return None
    return None if text[0] == "0" and len(text) > 1 else int(text)


def _seconds(text: str) -> float | None:
    if not _DECIMAL.fullmatch(text):
        return None
    whole, _, fraction = text.partition(".")
    if (whole[0] == "0" and len(whole) > 1) or len(fraction.rstrip("0")) > len("00"):
        return None
    return float(text) if fraction.strip("0") else int(whole)


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}"
