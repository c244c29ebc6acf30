"""Keeps foreign adverts for this node's ids from keepalived, with an own table of nftables.

:mod:`firewall.shield` decides which adverts are foreign. The rules apply to the whole network
namespace, so there are none while another VRRP program runs in it: it would receive nothing.
Nothing here raises, and nft runs beside the loop.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

from ipfailover_agent.deadlines import earliest
from ipfailover_agent.errors import AgentError, NotPermittedError
from ipfailover_agent.firewall import shield
from ipfailover_agent.firewall.shield import Shield, Signature
from ipfailover_agent.linux import process
from ipfailover_agent.model import ConflictMode
from ipfailover_agent.service import Service
from ipfailover_agent.status.status_model import Protection, StatusPart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.conflict.contexts import ContestContext
    from ipfailover_agent.firewall.nft import NftRun
    from ipfailover_agent.keepalived.instance_states import InstanceStates
    from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog
    from ipfailover_agent.linux.process import ChildExit
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.service import Common
    from ipfailover_agent.vrrp.packets import Advert, Carp

_LOOK_INTERVAL: Final = 10.0  # at the sockets of this network, and at what was refused
_CLOSE_LOOK: Final = 1.0  # the same, while there is something to drop
_RUN_LIMIT: Final = 10.0  # seconds that nft gets
_HANGS: Final = "nft does not end"
_OFF: Final = "; each of its adverts puts off the next one of a master, and nothing drops it here"
_DROPPED: Final = "; its adverts are dropped here before keepalived reads them"
_OTHER_PROGRAM: Final = (
    "another VRRP program runs in this node's network and would be deaf: choose another"
    " OPENSHIFT_HA_VRRP_ID_OFFSET, on every node of this deployment"
)
_NO_ANSWER: Final = "nftables does not answer: NET_ADMIN or the kernel's nf_tables is missing"


class Shields(Service):
    """The shield of one agent.

    Args:
        keepalived_watchdog: knows the pid of the keepalived that runs.
    """

    def __init__(self, common: Common, keepalived_watchdog: KeepalivedWatchdog) -> None:
        super().__init__(common)
        self._keepalived_watchdog = keepalived_watchdog
        self._is_on = False
        self._why_off = ""
        self._interface = ""
        self._peers: dict[str, frozenset[IPAddress]] = {}
        self._shield = Shield()
        self._applied: dict[Signature, float] = {}  # what the kernel drops, until when
        self._applying: dict[Signature, float] = {}  # the same, by the nft that runs
        self._applying_on = ""  # the interface of those
        self._run: NftRun | None = None
        self._run_until = 0.0
        self._look_at: float | None = None
        self._retry_at = 0.0
        self._other_program = ""  # why there may be no rule, though the agent could make it
        self._obstacle = ""  # why the agent cannot, as far as the node shows
        self._failure = ""  # why nft did not, the last time
        self._knows_sockets = False
        self._sockets: frozenset[int] = frozenset()  # of the agent's keepalived, at the last look
        self._may_be_there = False  # the table, of this run or a former one
        self._is_full = False
        self._reported = self.protection()

    # --- the state, for others ------------------------------------------------------------------

    def protection(self) -> Protection:
        """Return whether the shield works, and why not.

        Another program in this network is no reason while there is nothing to drop.
        """
        reason = self._obstacle or self._failure
        if self._shield.foreign:
            reason = reason or self._other_program
        is_active = self._is_on and not (reason or self._other_program)
        return Protection(kind="shield", active=is_active, reason=reason if self._is_on else "")

    def status(self) -> StatusPart:
        """Return whether the shield works."""
        return StatusPart(protections=(self.protection(),))

    def outlook(self) -> str:
        """Return what happens next with a foreign speaker, as the end of a sentence."""
        if not self._is_on:
            return f"{_OFF} ({self._why_off})"
        reason = self._obstacle or self._failure or self._other_program
        if reason:
            return f"; its adverts are not dropped here: {reason}"
        return _DROPPED if self._knows_sockets else ""

    @property
    def is_busy(self) -> bool:
        """Return whether nft runs."""
        return self._run is not None

    def drops(self, signature: Signature) -> bool:
        """Return whether the kernel drops such adverts."""
        return signature in self._applied

    # --- configuration --------------------------------------------------------------------------

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Apply the active configuration; what is no longer foreign is let in again."""
        settings, config, now = candidate.settings, candidate.config, time.monotonic()
        was_on = self._is_on
        resolves = config.conflict is ConflictMode.RESOLVE
        self._is_on = settings.shield and resolves
        self._why_off = (
            "OPENSHIFT_HA_SHIELD=off" if resolves else "OPENSHIFT_HA_CONFLICT is not resolve"
        )
        if self._interface != config.interface:
            self._move_to(config.interface, now)
        self._peers = {each.name: frozenset(each.unicast_peers) for each in config.instances}
        self._shield = shield.kept(
            self._shield,
            ids={(each.virtual_router_id, int(each.family)) for each in config.instances},
            ours=frozenset(config.addresses),
            peers={peer for each in config.instances for peer in each.unicast_peers},
        )
        if not self._is_on:
            self._shield, self._other_program = Shield(), ""
            self._obstacle = self._failure = ""
            is_left = self._applied or self._may_be_there or self._run is not None
            self._look_at, self._retry_at = (now if is_left else None), now
        elif not was_on:
            self._knows_sockets = False
            self._look_at = now + _CLOSE_LOOK  # keepalived begins first

    def _move_to(self, interface: str, now: float) -> None:
        """Forget what is known of another interface; its rules drop nothing here, and go."""
        if self._applied or self._run is not None:
            self._may_be_there, self._look_at, self._retry_at = True, now, now
        self._log_changes(self._applied, {})
        self._shield, self._applied, self._interface = Shield(), {}, interface

    # --- received adverts -----------------------------------------------------------------------

    def judge(
        self, name: str, advert: Advert, context: ContestContext, now: float, *, is_ours: bool
    ) -> Signature | None:
        """Note an advert for an instance's id; return what is foreign of it, None for nothing."""
        if is_ours:
            self._shield = shield.heard_of_ours(self._shield, advert)
        if context.is_own_advert(advert):
            return None
        peers = self._peers.get(name, frozenset())
        signature = shield.signature_of_advert(advert, is_ours=is_ours, peers=peers)
        if signature is not None:
            self._take(signature, context, now)
        return signature

    def heard_carp(self, carp: Carp, context: ContestContext, now: float) -> Signature:
        """Note an advertisement of a CARP device for an instance's id."""
        signature = Signature(source=carp.source, router_id=carp.router_id, is_carp=True)
        self._take(signature, context, now)
        return signature

    def _take(self, signature: Signature, context: ContestContext, now: float) -> None:
        if not self._is_on:
            return
        self._shield = shield.on_advert(self._shield, signature, now, context.advert_interval)
        if self._shield.overflowed and not self._is_full:
            self._log.warning("shield.full", limit=shield.LIMIT)
        self._is_full = self._shield.overflowed

    # --- time -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` has something to do, in monotonic seconds."""
        if self._run is not None:
            return self._run_until
        is_due = shield.is_due(self._shield, self._applied, time.monotonic())
        return earliest(self._look_at, self._retry_at if is_due else None)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._run is not None:
            if now >= self._run_until:
                # nft may be stuck in the kernel, and the loop waits for no process.
                process.signal_group(self._run.pid, signal.SIGKILL)
                self._run_until = now + _RUN_LIMIT
                self._failed(_HANGS, now)
            return
        self._shield = shield.without_ended(self._shield, now)
        is_time = self._look_at is not None and now >= self._look_at
        is_due = now >= self._retry_at and shield.is_due(self._shield, self._applied, now)
        if is_time or is_due:
            self._look(now)
            self._adjust(now)
            self._check_protection()

    def _check_protection(self) -> None:
        now = self.protection()
        if now != self._reported:
            self._reported = now
            self._changed()

    def _look(self, now: float) -> None:
        """Look which processes have sockets for VRRP, and whether the table is still there."""
        from ipfailover_agent.firewall import nft  # noqa: PLC0415 - not at the start

        is_there = nft.has_shield()
        if not self._is_on:  # then there is to be no table
            self._look_at = now + _CLOSE_LOOK
            if is_there is False:
                self._log_changes(self._applied, {})
                self._applied, self._may_be_there, self._look_at = {}, False, None
            return
        is_close = bool(self._shield.foreign or self._applied or self._may_be_there)
        self._look_at = now + (_CLOSE_LOOK if is_close else _LOOK_INTERVAL)
        if self._applied and is_there is False:
            self._log.warning("shield.vanished")
            self._applied = {}
        self._may_be_there = bool(is_there)
        if not (self._shield.foreign or is_there):
            self._failure = ""
        obstacle = self._look_at_sockets()
        if is_there is None:
            obstacle = _NO_ANSWER
        elif self._obstacle or not is_close:
            obstacle = obstacle or self._look_for_nft()
        self._obstacle, before = obstacle, self._obstacle
        self._refused(obstacle, before)

    def _look_for_nft(self) -> str:
        try:
            process.find_program("nft", self._environment.get("PATH"))
        except AgentError as error:
            return str(error)
        return ""

    def _look_at_sockets(self) -> str:
        """Find out whether another program gets VRRP here; return why that is unknown.

        A program is named after two looks: sockets come and go at a reload.
        """
        from ipfailover_agent.linux import sockets  # noqa: PLC0415 - likewise

        pid = self._keepalived_watchdog.keepalived
        if pid is None:
            # A new socket's owner is unknown, and there is no keepalived of the agent to protect.
            if sockets.vrrp_sockets() - self._sockets:
                self._knows_sockets = False
            return ""
        others: frozenset[int] | None = None
        try:
            for _ in range(2):
                found = sockets.vrrp_sockets()
                ours = sockets.sockets_of(pid)
                if ours is None:  # keepalived ends just now
                    return ""
                self._sockets = ours
                others = found - ours if others is None else others & (found - ours)
        except NotPermittedError as error:
            self._knows_sockets = False
            return str(error)
        self._knows_sockets = True
        before, self._other_program = self._other_program, _OTHER_PROGRAM if others else ""
        if others and not before:
            log = self._log.warning if self._shield.foreign else self._log.info
            log("shield.blocked", reason=_OTHER_PROGRAM)
        elif before and not others:
            self._log.info("shield.unblocked")
        return ""

    def _adjust(self, now: float) -> None:
        """Have the kernel drop what is foreign, and nothing else."""
        wanted = shield.ends(self._shield)
        if self._other_program or self._obstacle or not self._knows_sockets:
            wanted = {}
        is_needed = (
            shield.is_due(self._shield, self._applied, now)
            if wanted
            else bool(self._applied) or self._may_be_there
        )
        if not is_needed:
            self._retry_at = now + _CLOSE_LOOK  # what is due has to wait
            return
        if now < self._retry_at:
            return
        from ipfailover_agent.firewall import nft_commands  # noqa: PLC0415 - likewise
        from ipfailover_agent.firewall.nft import NftRun  # noqa: PLC0415 - likewise

        remaining = {each: until - now for each, until in wanted.items()}
        try:
            text = nft_commands.shield_commands(self._interface, remaining)
            self._run = NftRun((text,), self._environment)
        except (AgentError, OSError) as error:
            self._failed(str(error), now)
            return
        self._applying, self._applying_on = wanted, self._interface
        self._run_until = now + _RUN_LIMIT

    def child_exited(self, child: ChildExit) -> bool:
        """Handle the end of a child; return whether it was the nft of this object."""
        if self._run is None or self._run.pid != child.pid:
            return False
        now = time.monotonic()
        output = self._run.take(child.exit_code)
        self._run = None
        if output.exit_code != 0:
            hung = output.exit_code is None and self._failure == _HANGS
            self._failed(_HANGS if hung else output.fault, now)
            return True
        self._may_be_there = bool(self._applying)
        is_here = self._applying_on == self._interface  # a reload may have changed it
        applied = self._applying if is_here else {}
        self._log_changes(self._applied, applied)
        self._applied = applied
        self._failure = ""
        self._check_protection()
        self._retry_at = now + _CLOSE_LOOK
        if self._may_be_there:
            self._look_at = self._retry_at
        return True

    def _log_changes(
        self, before: Mapping[Signature, float], after: Mapping[Signature, float]
    ) -> None:
        for event, named in (
            ("shield.raised", after.keys() - before.keys()),
            ("shield.lowered", before.keys() - after.keys()),
        ):
            for each in named:
                self._log.info(
                    event,
                    source=str(each.source),
                    router_id=each.router_id,
                    speaks="CARP" if each.is_carp else f"VRRP version {each.version}",
                )

    def _failed(self, reason: str, now: float) -> None:
        self._applied = {}  # not known
        self._may_be_there = True
        self._retry_at = self._look_at = now + _LOOK_INTERVAL
        self._failure, before = reason, self._failure
        self._refused(reason, before)
        self._check_protection()

    def _refused(self, reason: str, before: str) -> None:
        if reason and reason != before:
            self._log.error("protection.off", kind="shield", reason=reason)

    def close(self) -> None:
        """Remove the table, and wait for it."""
        from ipfailover_agent.firewall import nft, nft_commands  # noqa: PLC0415 - not always needed

        if self._run is not None:
            self._run.kill_and_wait()
            self._run, self._may_be_there = None, True
        if self._applied or self._may_be_there:
            nft.run_and_wait((nft_commands.REMOVE_SHIELD,), self._environment)
        self._applied, self._may_be_there = {}, False
