"""Takes requests to drain, and holds instances while other nodes serve their addresses.

:mod:`drain.fsm` decides. This module reads request files and the record, passes adverts on,
and carries out the actions. Nothing here raises.
"""

# pathlib costs start-up time and knows no descriptors.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Final, assert_never

from ipfailover_agent import codec
from ipfailover_agent.deadlines import earliest
from ipfailover_agent.drain import fsm
from ipfailover_agent.drain.drain_records import DrainClock, decode_record, encode_record
from ipfailover_agent.drain.drain_requests import DrainRequest
from ipfailover_agent.drain.fsm import DrainPhase
from ipfailover_agent.errors import AgentError
from ipfailover_agent.keepalived.instance_states import InstanceStates
from ipfailover_agent.linux import files, host
from ipfailover_agent.model import VrrpState
from ipfailover_agent.service import Service
from ipfailover_agent.status.status_model import DrainRequestStatus, StatusPart
from ipfailover_agent.status.transition import DRAIN as REASON
from ipfailover_agent.status.transition import Withholding
from ipfailover_agent.text import listed

if TYPE_CHECKING:
    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.conflict.advert_listener import AdvertListener
    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.holds import Holds
    from ipfailover_agent.keepalived.instance_states import InstanceState
    from ipfailover_agent.service import Common
    from ipfailover_agent.vrrp.packets import Advert

_ANSWERS_KEPT: Final = 64
_SUFFIX: Final = ".json"
_UNFINISHED: Final = "~"  # the end of a file's name while it is written
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_SIZE_LIMIT: Final = 1 << 16  # bytes
_AT_ONCE: Final = 64  # files: the loop has other work


class Drains(Service):
    """The drains of one agent.

    Args:
        holds: the track files.
        listener: receives the adverts of the nodes that take over.
    """

    def __init__(self, common: Common, holds: Holds, listener: AdvertListener) -> None:
        super().__init__(common)
        self._holds = holds
        self._listener = listener
        self._policy = fsm.DrainPolicy()
        self._state = fsm.DrainState()
        self._answers: dict[str, DrainRequestStatus] = {}
        self._boot = host.boot_id()
        self._more_at: float | None = None
        self._instance_states = InstanceStates()
        self._interface = ""
        self._save_at: float | None = None

    # --- the status -----------------------------------------------------------------------------

    def status(self) -> StatusPart:
        """Return the newest requests and what became of them, and what is drained."""
        names = self._state.drains
        drained = {name: words for name in names if (words := self._describe(name))}
        return StatusPart(drain_requests=tuple(self._answers.values()), drained=drained)

    def withholding(self, name: str) -> Withholding | None:
        """Return how an instance is drained, None where no drain keeps it in FAULT."""
        if REASON not in self._holds.reasons(name):
            return None
        return Withholding(reason=REASON, text=f"drained: {self._describe(name) or REASON}")

    def _describe(self, name: str) -> str | None:
        """Return in words how an instance is drained, None when it is not."""
        found = self._state.drains.get(name)
        if found is None or found.phase is DrainPhase.SERVING:
            return None
        if found.phase is DrainPhase.PENDING:
            words = "not held yet: no other node was heard to serve it"
        elif found.phase is DrainPhase.DRAINING:
            words = "no other node has taken over yet"
        else:
            words = f"{found.holder} has taken over" if found.holder else "no other node serves it"
        if found.spec.is_forced:
            words += ", by force"
        if found.spec.until is not None:
            ends = time.time() + found.spec.until - time.monotonic()
            words += time.strftime(", until %Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
        return words

    # --- what happens ---------------------------------------------------------------------------

    def restore(self) -> None:
        """Hold again what a former run held, before keepalived reads the hold files."""
        try:
            event = decode_record(files.read_text(self._paths.drain), self._clock())
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._log.error(
                "drain.record_failed", error=f"cannot use {self._paths.drain}: {error}"
            )
            return
        self._log.info("drain.restored", instances=listed(event.records))
        self._feed(event)

    def configure(self, candidate: Candidate, instance_states: InstanceStates) -> None:
        """Take the active configuration."""
        self._interface = candidate.config.interface
        targets = {each.name: fsm.Target.of(each) for each in candidate.config.instances}
        masters = instance_states.names_in(VrrpState.MASTER)
        self._feed(fsm.TargetsConfigured(targets=targets, masters=masters))
        # An address may have another instance now, and an instance another hold file.
        for name, found in self._state.drains.items():
            if found.phase.is_held != (REASON in self._holds.reasons(name)):
                self._hold(name, is_held=found.phase.is_held)

    def _hold(self, name: str, *, is_held: bool) -> None:
        (self._holds.set if is_held else self._holds.clear)(name, REASON)

    def on_instance_states(self, instance_states: InstanceStates, _: float) -> None:
        """Note the states of all instances."""
        self._instance_states = instance_states

    def take_requests(self) -> None:
        """Take the request files, whatever lies there."""
        try:
            every = sorted(os.listdir(self._paths.drain_requests))
        except OSError:
            every = []
        names = [each for each in every if not each.endswith(_UNFINISHED)]
        self._more_at = time.monotonic() if len(names) > _AT_ONCE else None
        for name in names[:_AT_ONCE]:
            stem = name.removesuffix(_SUFFIX)
            known = stem if name.endswith(_SUFFIX) and _ID.fullmatch(stem) else ""
            try:
                self._on_request(name, known)
            except ValueError as error:
                line = f"cannot use the request: {error}"
                self._answer(DrainRequestStatus(id=known, verdict="refused", lines=(line,)))

    def _on_request(self, name: str, request_id: str) -> None:
        text = take_request(f"{self._paths.drain_requests}/{name}")
        if not request_id:
            raise ValueError(f"its name is not that of a request: {name[:64]!r}")
        request = codec.decode(text, DrainRequest, "request")
        self._log.info(
            "drain.requested",
            request=request_id,
            action=request.action,
            instances=listed(request.words) or "all",
            force=request.is_forced or None,
            seconds=request.seconds,
        )
        masters = self._instance_states.names_in(VrrpState.MASTER)
        blind = self._listener.blindness()
        self._feed(
            fsm.DrainRequested(id=request_id, request=request, masters=masters, blind=blind)
        )

    def on_advert(self, name: str, advert: Advert, context: ContestContext) -> None:
        """Take an advert for an instance's id, or one that lists an address of it."""
        if self._state.phase(name) is DrainPhase.SERVING or not advert.is_checksum_right:
            return
        if context.is_own_advert(advert) or (
            advert.priority and not context.is_claimed_by(advert)
        ):
            return
        self._feed(fsm.SuccessorHeard(name=name, advert=advert))

    def on_transition(self, before: InstanceState, state: VrrpState) -> None:
        """Note that an instance has entered a state."""
        name = before.instance.name
        if self._state.phase(name) is not DrainPhase.SERVING:
            self._feed(fsm.InstanceEntered(name=name, is_master=state is VrrpState.MASTER))

    def stalled(self, seconds: float) -> None:
        """Note for how long the loop did not run: nothing was received meanwhile."""
        self._feed(fsm.ListeningPaused(seconds=seconds))

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        return earliest(self._state.deadline, self._more_at, self._save_at)

    def tick(self, now: float) -> None:
        """Let time pass."""
        self._save()
        if self._more_at is not None and now >= self._more_at:
            self.take_requests()
        if self._state.deadline is not None and now >= self._state.deadline:
            has_link = host.has_link(self._interface)
            self._feed(
                fsm.DrainTimePassed(blind=self._listener.blindness(), has_link=has_link), now
            )

    def close(self) -> None:
        """Write the record: no further round of the loop follows."""
        self._save()

    # --- decisions ------------------------------------------------------------------------------

    def _feed(self, event: fsm.DrainEvent, now: float | None = None) -> None:
        now = time.monotonic() if now is None else now
        self._state, actions = fsm.step(self._state, event, now, self._policy)
        ended: dict[tuple[str, bool], list[str]] = {}
        for action in actions:
            match action:
                case fsm.SetHold(name=name, is_held=is_held):
                    self._hold(name, is_held=is_held)
                case DrainRequestStatus():
                    self._answer(action)
                case fsm.InstanceDrained():
                    pass  # the answer and the status show it
                case fsm.DrainEnded(name=name, cause=cause, is_undone=is_undone):
                    ended.setdefault((cause, is_undone), []).append(name)
                case fsm.SaveDrains():
                    # Of 254 instances that are taken over in one batch the record is one write.
                    self._save_at = now
                case _:
                    assert_never(action)
        for (cause, is_undone), names in ended.items():
            if is_undone:
                self._log.warning("drain.undone", instances=listed(names), cause=cause)
            else:
                self._log.info("drain.ended", instances=listed(names), cause=cause)
        if actions:
            self._changed()

    def _answer(self, answer: DrainRequestStatus) -> None:
        request, lines = answer.id, answer.lines
        if answer.verdict == "refused":
            self._log.warning("drain.refused", request=request, reason=" ".join(lines))
        elif answer.verdict is not None:
            self._log.info("drain.verdict", request=request, verdict=answer.verdict, lines=lines)
        if not request:
            return
        self._answers.pop(request, None)
        self._answers[request] = answer
        done = [each.id for each in self._answers.values() if each.verdict is not None]
        for each in done[:-_ANSWERS_KEPT]:
            del self._answers[each]
        self._changed()

    # --- the record -----------------------------------------------------------------------------

    def _clock(self) -> DrainClock:
        return DrainClock(boot=self._boot, wall=time.time(), monotonic=time.monotonic())

    def _save(self) -> None:
        """Write down what is drained, if that has changed; what cannot be written is not kept."""
        if self._save_at is None:
            return
        state, self._save_at = self._state, None
        try:
            if state.everything is None and not state.records:
                files.remove_file(self._paths.drain)
            else:
                files.write_atomically(self._paths.drain, encode_record(state, self._clock()))
        except AgentError as error:
            self._log.error("drain.record_failed", error=str(error))
            # What the file has is no longer true. To remove it needs no room on the disk.
            try:
                files.remove_file(self._paths.drain)
            except AgentError as again:
                self._log.error("drain.record_failed", error=str(again))


def take_request(path: str) -> str:
    """Remove a request file and return its text. The directory is root's, 0700.

    Raises:
        ValueError: it cannot be used, with the reason.
    """
    try:
        with open(path, "rb", opener=_without_following) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                reason = "it is no regular file"
            elif status.st_uid not in {0, os.geteuid()}:
                reason = f"it belongs to uid {status.st_uid}"
            elif len(data := file.read(_SIZE_LIMIT + 1)) > _SIZE_LIMIT:
                reason = f"it is longer than {_SIZE_LIMIT} bytes"
            else:
                return data.decode("utf-8")
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
    finally:
        with contextlib.suppress(OSError):
            is_directory = os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114
            (os.rmdir if is_directory else os.unlink)(path)
    raise ValueError(reason)


def _without_following(path: str, flags: int) -> int:
    return files.without_waiting(path, flags | os.O_NOFOLLOW)
