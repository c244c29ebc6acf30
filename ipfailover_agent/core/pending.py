"""What this version reads and validates and cannot do yet: refused, never ignored.

Once an ability is there, its entry goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipfailover_agent.core.model import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.core.fields import Fields

_DEFAULTS = Settings(virtual_addresses=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An ability to come.

    Attributes:
        variables: the variables that ask for it.
        is_asked_for: whether settings ask for it.
        instead: what to write instead.
    """

    variables: tuple[str, ...]
    is_asked_for: Callable[[Settings], bool]
    instead: str


PENDING: tuple[Pending, ...] = (
    Pending(
        variables=("OPENSHIFT_HA_CHECK_INTERVAL",),
        is_asked_for=lambda settings: bool(settings.check_interval % 1),
        instead="write whole seconds",
    ),
    Pending(
        variables=("OPENSHIFT_HA_CHECK_TIMEOUT",),
        is_asked_for=lambda settings: bool(settings.check_timeout % 1),
        instead="write whole seconds",
    ),
)


def report_pending(fields: Fields, settings: Settings) -> None:
    """Refuse whatever settings ask for that is still to come."""
    for each in PENDING:
        variable = next(filter(fields.is_set, each.variables), None)
        if variable is None or fields.has_problem(variable) or not each.is_asked_for(settings):
            continue
        reason = "not supported by this version yet"
        fields.refuse(variable, fields.text(variable, separators="\t"), reason, each.instead)
