"""Takes requests to drain, and holds instances while others serve their addresses.

Decisions are :mod:`core.drains.directing`'s; this reads request files, feeds it what is heard and
told, and carries out what it decides. Nothing here raises.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, assert_never

from ipfailover_agent.core.drains import directing, drain, drain_requests, draining
from ipfailover_agent.core.drains.drain import Order, Phase, Sighting, Subject
from ipfailover_agent.core.drains.drain_requests import Record, RecordedOrder
from ipfailover_agent.core.drains.draining import Draining
from ipfailover_agent.core.drains.restoring import Kept
from ipfailover_agent.core.errors import AgentError
from ipfailover_agent.core.model import VrrpState
from ipfailover_agent.core.text import listed
from ipfailover_agent.report.status_model import DrainRequestStatus
from ipfailover_agent.system import files, host, requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from structlog.typing import FilteringBoundLogger

    from ipfailover_agent.core.network.packets import Advert
    from ipfailover_agent.core.paths import RunPaths
    from ipfailover_agent.core.rivalry.rivals import ContestContext
    from ipfailover_agent.core.supervising.instance_states import InstanceStates
    from ipfailover_agent.prepare import Candidate
    from ipfailover_agent.protection.holds import Holds

REASON: Final = "drain"
_ANSWERS_KEPT: Final = 64


class Drains:
    """The drains of one agent.

    Args:
        log: where events go.
        paths: of the run directory.
        holds: the track files.
        blind: says why nothing can be heard on the wire, or nothing.
    """

    def __init__(
        self,
        *,
        log: FilteringBoundLogger,
        paths: RunPaths,
        holds: Holds,
        blind: Callable[[], str],
    ) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._log = log
        self._paths = paths
        self._holds = holds
        self._blind = blind
        self._policy = drain.Policy()
        self._state = Draining()
        self._answers: dict[str, DrainRequestStatus] = {}
        self._boot = host.boot_id()
        self._more_at: float | None = None
        self._roster: InstanceStates | None = None
        self._interface = ""
        self._save_at: float | None = None

    # --- what is told of it ---------------------------------------------------------------------

    @property
    def answers(self) -> tuple[DrainRequestStatus, ...]:
        """Return the newest requests and what became of them."""
        return tuple(self._answers.values())

    def describe(self, name: str) -> str | None:
        """Return in words how an instance is drained, None when it is not."""
        found = self._state.drains.get(name)
        if found is None or found.phase is Phase.FREE:
            return None
        match found.phase:
            case Phase.PROVING:
                words = "not held yet: nobody else was heard to serve it"
            case Phase.MOVING:
                words = "nobody has taken over yet"
            case _:
                words = f"{found.holder} has taken over" if found.holder else "nobody serves it"
        if found.order.is_forced:
            words += ", by force"
        if found.order.until is not None:
            ends = time.time() + found.order.until - time.monotonic()
            words += time.strftime(", until %Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
        return words

    # --- what happens ---------------------------------------------------------------------------

    def restore(self) -> None:
        """Hold again what a former run held, before keepalived reads of it."""
        try:
            text = files.read_text(self._paths.drain)
            record = drain_requests.decode_record(text)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._log.error(
                "drain.record_failed", error=f"cannot use {self._paths.drain}: {error}"
            )
            return
        now = time.monotonic()
        held = {
            name: Kept(order=self._order(each, record, now), addresses=each.addresses)
            for name, each in record.instances.items()
        }
        everything = None
        if record.everything is not None:
            everything = self._order(record.everything, record, now)
        self._log.info("drain.restored", instances=listed(held))
        event = draining.Restored(held=held, everything=everything, known=record.known)
        self._feed(event, now)

    def configure(self, candidate: Candidate, roster: InstanceStates) -> None:
        """Take the active configuration."""
        self._interface = candidate.config.interface
        subjects = {each.name: Subject.of(each) for each in candidate.config.instances}
        event = draining.Configured(subjects=subjects, masters=_masters(roster))
        self._feed(event, time.monotonic())
        # An address may have another instance now, and an instance another track file.
        for name in subjects:
            found = self._state.drains.get(name)
            is_held = found is not None and found.is_held
            if is_held != (REASON in self._holds.reasons(name)):
                (self._holds.set if is_held else self._holds.clear)(name, REASON)

    def look(self, roster: InstanceStates) -> None:
        """Take the requests that lie there."""
        self._roster = roster
        found, has_more = requests.take(self._paths.drain_requests)
        now = time.monotonic()
        self._more_at = now if has_more else None
        for each in found:
            reason = each.refusal
            if not reason:
                try:
                    self._on_request(each.id, drain_requests.decode_request(each.text), now)
                except ValueError as error:
                    reason = str(error)
            if reason:
                self._answer(
                    draining.Answer(
                        id=each.id, verdict="refused", lines=(f"cannot use the request: {reason}",)
                    )
                )

    def _on_request(self, request_id: str, request: drain_requests.Request, now: float) -> None:
        self._log.info(
            "drain.requested",
            request=request_id,
            action="drain" if request.is_drain else "undrain",
            instances=listed(request.words) or "all",
            force=request.is_forced or None,
            seconds=request.seconds,
        )
        masters = frozenset() if self._roster is None else _masters(self._roster)
        event = draining.Requested(
            id=request_id, request=request, masters=masters, blind=self._blind()
        )
        self._feed(event, now)

    def heard(self, name: str, advert: Advert, context: ContestContext) -> None:
        """Take an advert for an instance's id, or one that lists an address of it."""
        if self._state.phase(name) is Phase.FREE or not advert.is_checksum_right:
            return
        if context.is_own(advert.source_mac) or context.is_own_address(advert.source):
            return
        now = time.monotonic()
        router_id = advert.virtual_router_id
        event: drain.Heard | drain.Left = drain.Left(mac=advert.source_mac, router_id=router_id)
        if advert.priority:
            if not context.is_claimed_by(advert):
                return
            event = drain.Heard(
                sighting=Sighting(
                    mac=advert.source_mac,
                    router_id=router_id,
                    source=str(advert.source),
                    addresses=frozenset(advert.addresses),
                    interval=advert.interval,
                    at=now,
                )
            )
        self._feed(draining.Told(name=name, event=event), now)

    def entered(self, name: str, state: VrrpState) -> None:
        """keepalived says that an instance has entered a state."""
        if self._state.phase(name) is not Phase.FREE:
            is_master = state is VrrpState.MASTER
            event = drain.Promoted() if is_master else drain.Demoted()
            self._feed(draining.Told(name=name, event=event), time.monotonic())

    def gap(self, seconds: float) -> None:
        """Our loop did not run for so long."""
        self._feed(drain.Gap(seconds=seconds), time.monotonic())

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        due = (self._state.deadline, self._more_at, self._save_at)
        return min((each for each in due if each is not None), default=None)

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self._save_at is not None:
            self._save(now)
        if self._more_at is not None and self._roster is not None and now >= self._more_at:
            self.look(self._roster)
        if self._state.deadline is not None and now >= self._state.deadline:
            has_link = host.has_link(self._interface)
            self._feed(draining.TimePassed(blind=self._blind(), has_link=has_link), now)

    # --- decisions ------------------------------------------------------------------------------

    def _feed(self, event: draining.Event, now: float) -> None:
        self._state, actions = directing.step(self._state, event, now, self._policy)
        freed: dict[tuple[str, bool], list[str]] = {}
        for action in actions:
            match action:
                case draining.Hold(name=name):
                    self._holds.set(name, REASON)
                case draining.Release(name=name):
                    self._holds.clear(name, REASON)
                case draining.Answer():
                    self._answer(action)
                case draining.Settled():
                    pass  # the answer and the status tell
                case draining.Freed(name=name, cause=cause, is_undone=is_undone):
                    freed.setdefault((cause, is_undone), []).append(name)
                case draining.Save():
                    # 254 instances that are taken over in one batch are one write
                    self._save_at = now
                case _:
                    assert_never(action)
        for (cause, is_undone), names in freed.items():
            shown = listed(names)
            if is_undone:
                self._log.warning("drain.undone", instances=shown, cause=cause)
            else:
                self._log.info("drain.ended", instances=shown, cause=cause)
        if actions:
            self.changed()

    def _answer(self, answer: draining.Answer) -> None:
        request, lines = answer.id, answer.lines
        match answer.verdict:
            case None:
                pass
            case "refused":
                self._log.warning("drain.refused", request=request, reason=" ".join(lines))
            case verdict:
                self._log.info("drain.verdict", request=request, verdict=verdict, lines=lines)
        if not request:
            return
        self._answers.pop(request, None)
        self._answers[request] = DrainRequestStatus(
            id=request, verdict=answer.verdict, lines=lines, within=round(answer.within, 1)
        )
        done = [each.id for each in self._answers.values() if each.verdict is not None]
        for each in done[:-_ANSWERS_KEPT]:
            del self._answers[each]
        self.changed()

    # --- the record -----------------------------------------------------------------------------

    def _save(self, now: float) -> None:
        """Write down what is drained; what cannot be written is not kept over a restart."""
        state, self._save_at = self._state, None
        try:
            if not state.held and state.everything is None:
                files.remove_file(self._paths.drain)
                return
            record = Record(
                boot=self._boot,
                instances={name: _recorded(each, now) for name, each in state.held.items()},
                everything=(
                    None
                    if state.everything is None
                    else _recorded(Kept(order=state.everything), now)
                ),
                known=state.known,
            )
            files.write_atomically(self._paths.drain, drain_requests.encode_record(record))
        except AgentError as error:
            self._log.error("drain.record_failed", error=str(error))
            self._forget()

    def _forget(self) -> None:
        """Remove a record that says what is no longer true; that needs no room on the disk."""
        try:
            files.remove_file(self._paths.drain)
        except AgentError as error:
            self._log.error("drain.record_failed", error=str(error))

    def _order(self, recorded: RecordedOrder, record: Record, now: float) -> Order:
        is_same_boot = bool(self._boot) and record.boot == self._boot
        left = recorded.left(wall=time.time(), monotonic=now if is_same_boot else None)
        until = None if left is None else now + left
        return Order(is_forced=recorded.is_forced, until=until)


def _recorded(kept: Kept, now: float) -> RecordedOrder:
    order = kept.order
    if order.until is None:
        return RecordedOrder(is_forced=order.is_forced, addresses=kept.addresses)
    left = max(order.until - now, 0.0)
    return RecordedOrder(
        is_forced=order.is_forced,
        until=time.time() + left,
        until_monotonic=order.until,
        seconds=left,
        addresses=kept.addresses,
    )


def _masters(roster: InstanceStates) -> frozenset[str]:
    entries: Iterable[tuple[str, VrrpState]] = (
        (each.instance.name, each.state) for each in roster.entries
    )
    return frozenset(name for name, state in entries if state is VrrpState.MASTER)
