"""What this version reads and validates and does not act on yet: said, never ignored.

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
        refusal: what to write instead, where going on without it would not be what was asked;
            empty where going on is safe.
        warning: what happens meanwhile, where going on is safe.
    """

    variables: tuple[str, ...]
    is_asked_for: Callable[[Settings], bool]
    refusal: str = ""
    warning: str = ""


PENDING: tuple[Pending, ...] = (
    Pending(
        variables=("OPENSHIFT_HA_CHECK_INTERVAL",),
        is_asked_for=lambda settings: bool(settings.check_interval % 1),
        refusal="write whole seconds",
    ),
    Pending(
        variables=("OPENSHIFT_HA_CHECK_TIMEOUT",),
        is_asked_for=lambda settings: bool(settings.check_timeout % 1),
        refusal="write whole seconds",
    ),
    Pending(
        variables=("OPENSHIFT_HA_UNICAST_PEERS_DNS",),
        is_asked_for=lambda settings: bool(settings.unicast_peer_names),
        refusal="list addresses in OPENSHIFT_HA_UNICAST_PEERS",
    ),
)


def report_pending(fields: Fields, settings: Settings) -> None:
    """Refuse or warn wherever settings ask for what is still to come."""
    for each in PENDING:
        variable = next(filter(fields.is_set, each.variables), None)
        if variable is None or fields.has_problem(variable) or not each.is_asked_for(settings):
            continue
        if each.refusal:
            reason = "not supported by this version yet"
            fields.refuse(variable, fields.text(variable, separators="\t"), reason, each.refusal)
        else:
            fields.warn(variable, each.warning)
