"""Reports rivals: in the log once and then how often, and in the status for an hour."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.conflict.causes import CauseKind
from ipfailover_agent.status.history import utc
from ipfailover_agent.status.logs import Repeats
from ipfailover_agent.status.status_model import RivalStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.conflict.causes import Cause
    from ipfailover_agent.conflict.state import HoldReason

_SHOWN: Final = 4  # rivals of an instance, in the status
_EVENTS: Final = {CauseKind.ID_CLASH: "vrrp.id_clash", CauseKind.OWN_ECHO: "wire.own_echo"}


class RivalNews:
    """The reported rivals, by instance."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._repeats = Repeats()
        self._hold_repeats = Repeats()  # apart: adverts of strangers must not drown them
        self._rivals: dict[str, tuple[RivalStatus, ...]] = {}

    def configure(self, before: Mapping[str, str]) -> None:
        """Keep what concerns the instances that stay; ``before``: their former names."""
        self._rivals = {name: self._rivals.get(old, ()) for name, old in before.items()}

    def rivals(self, now: float) -> dict[str, tuple[RivalStatus, ...]]:
        """Return the rivals reported within the last hour before ``now`` (UTC seconds)."""
        since = utc(now - 3600)
        self._rivals = {
            name: recent
            for name, each in self._rivals.items()
            if (recent := tuple(rival for rival in each if rival.at >= since))
        }
        return dict(self._rivals)

    def held(self, name: str, reason: HoldReason, cause: Cause) -> None:
        """Report that an instance was held for a rival."""
        self._note(name, cause)
        self.log_event(
            "contest.held",
            instance=name,
            reason=reason.value,
            kind=cause.kind.value,
            rival=cause.rival,
            cause=cause.text,
        )

    def seen(self, name: str, cause: Cause, *, would_hold: bool) -> None:
        """Report a rival that an instance is not held for."""
        self._note(name, cause)
        self.log_event(
            _EVENTS.get(cause.kind, "rival.seen"),
            cause.outlook,
            instance=name,
            kind=cause.kind.value,
            rival=cause.rival,
            cause=cause.text,
            would_hold=would_hold or None,
        )

    def log_event(self, event: str, outlook: str = "", /, **fields: object) -> None:
        """Log an event once, and then how often it was repeated, each minute.

        With another ``outlook`` it is another event.
        """
        key = " ".join(str(fields.get(each)) for each in ("instance", "kind", "rival", "error"))
        repeats = self._hold_repeats if event == "contest.held" else self._repeats
        repeated = repeats.seen(f"{event} {key}{outlook}", time.monotonic())
        if repeated is not None:
            self._log.warning(event, **fields, repeated=repeated or None)

    def _note(self, name: str, cause: Cause) -> None:
        """Remember a rival for the status."""
        newest = RivalStatus(
            rival=cause.rival, kind=cause.kind.value, cause=cause.text, at=utc(time.time())
        )
        others = [
            each
            for each in self._rivals.get(name, ())
            if (each.rival, each.kind) != (newest.rival, newest.kind)
        ]
        self._rivals[name] = (*others, newest)[-_SHOWN:]
