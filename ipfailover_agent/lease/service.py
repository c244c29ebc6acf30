"""Keeps the lifetimes of served addresses running, and undoes a renewal that came too late.

An address is served while its instance is MASTER, by keepalived's last report.

A renewal of an address that keepalived has just removed adds it again, whatever the flags. So a
renewal touches only what the kernel shows, and only for instances that keepalived last reported
as MASTER. When an instance leaves MASTER, its addresses that still have a lifetime are deleted.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from ipfailover_agent.errors import AgentError, NotPermittedError
from ipfailover_agent.lease import lifetimes
from ipfailover_agent.lease.lifetimes import Punctuality
from ipfailover_agent.linux import host
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.linux.rtnetlink import FOR_EVER
from ipfailover_agent.model import VrrpState, family_of
from ipfailover_agent.service import Service
from ipfailover_agent.status.logs import Repeats
from ipfailover_agent.status.status_model import LeaseStatus, Protection, StatusPart

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ipfailover_agent.config.prepare import Candidate
    from ipfailover_agent.keepalived.instance_states import InstanceState, InstanceStates
    from ipfailover_agent.linux.rtnetlink import HeldAddress
    from ipfailover_agent.model import IPAddress
    from ipfailover_agent.service import Common

    _Addresses = tuple[HeldAddress, ...]

_TIMEOUT = 0.5  # seconds; the kernel answers within milliseconds, or is locked by another process


class _Selection(Struct, frozen=True, kw_only=True):
    """Which of the wanted addresses an interface has, by a dump of the kernel's."""

    dump: _Addresses = ()
    wanted: frozenset[IPAddress] = frozenset()
    index: int = 0
    found: _Addresses = ()


class Leases(Service):
    """Renewals on one interface. Every fault is logged, none is raised."""

    deadline: float | None = None

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self._repeats = Repeats()
        self._netlink: AddressSocket | None = None
        self._seconds = 0
        self._interface = ""
        self._served: frozenset[IPAddress] = frozenset()
        self._leased: frozenset[IPAddress] = frozenset()  # by the last renewal
        self._renewed: _Addresses = ()  # likewise
        self._selection = _Selection()
        self._left: frozenset[IPAddress] = frozenset()  # of instances that left MASTER
        self._renewed_at: float | None = None
        self._refusal = ""
        self._addresses: tuple[IPAddress, ...] = ()  # of all instances
        self.lateness = 0.0
        self.worst_lateness = 0.0
        self.lapses = 0
        self._lapsed_at: float | None = None
        self._is_expiring = False

    @property
    def is_on(self) -> bool:
        """Return whether the kernel removes served addresses that are not renewed."""
        return bool(self._seconds) and not self._refusal

    @property
    def leased_until(self) -> float | None:
        """Return when the kernel removes what is served (monotonic), None where it never does."""
        if self._renewed_at is None or not self._served or not self.is_on:
            return None
        return self._renewed_at + self._seconds

    def lapsed_at(self, now: float) -> float | None:
        """Return when the lease lapsed last: ``now`` where it has and no renewal came since."""
        until = self.leased_until
        return now if until is not None and now >= until else self._lapsed_at

    def status(self) -> StatusPart:
        """Return the lease, and which of the configured addresses the kernel has."""
        until = self.leased_until
        present = self.present(self._addresses) if self._addresses else frozenset()
        return StatusPart(
            protections=(Protection(kind="lease", active=self.is_on, reason=self._refusal),),
            lease=LeaseStatus(
                seconds=self._seconds if self.is_on else 0,
                lateness=round(self.lateness, 3),
                worst_lateness=round(self.worst_lateness, 3),
                lapses=self.lapses,
            ),
            lease_remaining=None if until is None else round(until - time.monotonic(), 2),
            present=None if present is None else frozenset(map(str, present)),
        )

    def configure(self, candidate: Candidate, _: InstanceStates) -> None:
        """Apply the lease and the interface of the active configuration."""
        seconds, interface = candidate.settings.address_lease, candidate.config.interface
        self.apply(seconds=seconds, interface=interface, now=time.monotonic())

    def apply(self, *, seconds: int, interface: str, now: float) -> None:
        """Apply a lease, 0 for none, on an interface."""
        if self.is_on and not seconds and self._served:
            self._renew(FOR_EVER)
        if (seconds, interface) != (self._seconds, self._interface):
            self._renewed_at = None  # what was renewed was another lease
        self._seconds, self._interface = seconds, interface
        self._plan(now)

    def on_instance_states(self, instance_states: InstanceStates, now: float) -> None:
        """Note the addresses of all instances, and which of them are served."""
        entries = instance_states.entries
        self._addresses = tuple(_addresses_of(entries))
        masters = (each for each in entries if each.state is VrrpState.MASTER)
        served = frozenset(_addresses_of(masters))
        if served != self._served:
            self.note_served(served, now)

    def on_transition(self, before: InstanceState, state: VrrpState) -> None:
        """Look after the addresses of an instance that leaves MASTER."""
        if before.state is VrrpState.MASTER and state is not VrrpState.MASTER:
            self.left([each.address for each in before.instance.all_addresses])

    def note_served(self, addresses: Collection[IPAddress], now: float) -> None:
        """Note which addresses are served from now on; a new one is leased at once."""
        before, self._served = self._served, frozenset(addresses)
        if not self._served:
            self._plan(now)
        elif not self._served <= before and self.is_on and not self._is_expiring:
            self.deadline = now

    def keepalived_ends(self) -> None:
        """Renew nothing until keepalived has ended: the kernel removes what it leaves behind."""
        self._is_expiring = True
        self.deadline, self._renewed_at = None, None

    def keepalived_ended(self, *, keeps_holds: bool) -> None:  # noqa: ARG002 - for others
        """Renew again what is served from now on, and look after what was served."""
        self._is_expiring = False
        self.left(self._served)

    def left(self, addresses: Collection[IPAddress]) -> None:
        """Note the addresses of an instance that left MASTER; :meth:`sweep` looks after them."""
        if self._seconds:
            self._left |= frozenset(addresses)

    def sweep(self) -> None:
        """Delete what is still leased of instances that left MASTER.

        keepalived removed the addresses before it reported the transition, and needs a
        master-down interval to set them again. So an address with a lifetime was brought back by
        a renewal.
        """
        left, self._left = self._left - self._served, frozenset()
        if not left:
            return
        try:
            deleted = [
                str(each.address.address)
                for each in self._find(left)
                if each.valid_seconds != FOR_EVER
                and self._socket().delete(each.index, each.address)
            ]
        except AgentError as error:
            self._log_failure(f"cannot look at addresses: {error}")
            return
        if deleted:
            self._log.info("lease.undone", addresses=deleted)

    def tick(self, now: float) -> None:
        """Renew if it is time: after the FIFO was read, before all other work."""
        self.sweep()
        if self.deadline is None or now < self.deadline:
            return
        self.lateness = now - self.deadline
        self.worst_lateness = max(self.worst_lateness, self.lateness)
        self._judge(now)
        if self._renew(self._seconds):
            self._renewed_at = now
        self.deadline = now + lifetimes.interval(self._seconds) if self.is_on else None

    def _plan(self, now: float) -> None:
        """Set the deadline; addresses without a lease get theirs at once."""
        if not self._served or not self.is_on or self._is_expiring:
            self.deadline, self._renewed_at = None, None
        elif self._renewed_at is None:
            self.deadline = now
        else:
            self.deadline = self._renewed_at + lifetimes.interval(self._seconds)

    def _judge(self, now: float) -> None:
        """Log that a renewal was late: this machine does not give the agent the time it needs."""
        if self._renewed_at is None or not (self._served & self._leased):
            return
        punctuality = lifetimes.judge(self._seconds, self._renewed_at, now)
        if punctuality is Punctuality.ON_TIME:
            return
        if punctuality is Punctuality.LAPSED:
            self.lapses += 1
            self._lapsed_at = now
        event = "lease.lapsed" if punctuality is Punctuality.LAPSED else "lease.late"
        self._log.warning(
            event,
            lateness=round(self.lateness, 2),
            lease=self._seconds,
            cpu_pressure=host.cpu_pressure(),
        )

    def _renew(self, seconds: int) -> bool:
        """Give what is served a lifetime; return whether that went well."""
        try:
            found = self._find(self._served)
            renewed = self._socket().renew(found, seconds)
        except NotPermittedError as error:
            self._refusal = str(error)
            self._log.error("protection.off", kind="lease", reason=self._refusal)
            return False
        except AgentError as error:
            self._log_failure(f"cannot renew: {error}")
            return False
        if found and not renewed:  # some may just have been removed
            self._log_failure("cannot renew: the kernel refuses")
            return False
        if found is not self._renewed:  # mostly it is: hashing 254 addresses takes a while
            self._renewed = found
            self._leased = frozenset(each.address.address for each in found)
        return True

    def present(self, addresses: Collection[IPAddress]) -> frozenset[IPAddress] | None:
        """Return which of the addresses the kernel has; None where it gives no answer."""
        try:
            return frozenset(each.address.address for each in self._find(addresses))
        except AgentError:
            return None

    def glimpse(self, addresses: Collection[IPAddress]) -> frozenset[IPAddress]:
        """Return which of the addresses are on the interface as /32 or /128, by one dump.

        Nothing is found where the kernel does not answer.
        """
        wanted = frozenset(addresses)
        with suppress(AgentError):
            if wanted and (index := self._index()) is not None:
                found = _host_addresses_in(
                    self._socket().glance_at_addresses(index), wanted, index
                )
                return frozenset(each.address.address for each in found)
        return frozenset()

    def _find(self, addresses: Collection[IPAddress]) -> _Addresses:
        """Return those of the addresses that are on the interface, as keepalived sets them.

        One dump may miss some while others are being deleted: then two have to agree.
        """
        wanted = frozenset(addresses)
        index = self._index()
        if index is None:
            return ()  # the interface is gone, and the addresses with it
        found = self._select(self._socket().glance_at_addresses(index), wanted, index)
        if len(found) < len(wanted):
            found = self._select(self._socket().held_addresses(index), wanted, index)
        return found

    def _select(self, dump: _Addresses, wanted: frozenset[IPAddress], index: int) -> _Addresses:
        """Return the wanted addresses of a dump; mostly everything is as it was last time."""
        last = self._selection
        if dump is not last.dump or wanted is not last.wanted or index != last.index:
            found = _host_addresses_in(dump, wanted, index)
            self._selection = last = _Selection(dump=dump, wanted=wanted, index=index, found=found)
        return last.found

    def _index(self) -> int | None:
        """Return the interface's index, None where there is none of that name."""
        try:
            return socket.if_nametoindex(self._interface)
        except OSError:
            # The call fails for want of a descriptor, too: the open socket needs none.
            found = (each.index for each in self._socket().links() if each.name == self._interface)
            return next(found, None)

    def _socket(self) -> AddressSocket:
        if self._netlink is None:
            self._netlink = AddressSocket(timeout=_TIMEOUT)
        return self._netlink

    def _log_failure(self, text: str) -> None:
        if (repeated := self._repeats.seen(text, time.monotonic())) is not None:
            self._log.error("lease.failed", error=text, repeated=repeated or None)

    def close(self) -> None:
        """Close the socket."""
        if self._netlink is not None:
            self._netlink.close()


def _addresses_of(entries: Iterable[InstanceState]) -> Iterator[IPAddress]:
    for entry in entries:
        yield from (each.address for each in entry.instance.all_addresses)


def _host_addresses_in(dump: _Addresses, wanted: frozenset[IPAddress], index: int) -> _Addresses:
    """Return the wanted addresses that an interface has as keepalived sets them: /32 or /128."""
    return tuple(
        each
        for each in dump
        if each.index == index
        and each.address.address in wanted
        and each.address.prefix_length == family_of(each.address.address).host_prefix_length
    )
