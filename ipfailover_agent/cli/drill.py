"""``drill``: a planned handover, measured as far as one node can see, and undone."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from msgspec import Struct
from msgspec.structs import asdict

from ipfailover_agent import terminal
from ipfailover_agent.cli import drain
from ipfailover_agent.config import budget, prepare
from ipfailover_agent.drain import handover
from ipfailover_agent.drain.drain_requests import DrainRequest
from ipfailover_agent.errors import AgentError, ExitCode, RefusedError, TemporaryError
from ipfailover_agent.linux.netlink import AddressSocket
from ipfailover_agent.peers import peers_once
from ipfailover_agent.status.running import find_agent, read_status, unseen
from ipfailover_agent.vrrp import bpf, packet_socket
from ipfailover_agent.vrrp.packets import Carp, NeighbourReply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from ipfailover_agent.config.prepare import Options
    from ipfailover_agent.model import IPAddress

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_LONGEST: Final = 60.0  # seconds after which the drain ends even if this process is killed
_LOOK_INTERVAL: Final = 0.005
_BACK_WITHIN: Final = 5.0
_FRAMES: Final = 256
_TOLERANCE: Final = 0.1  # seconds: what is seen from one node is not exact


class _StoppedError(TemporaryError):
    """A signal has ended the drill."""


class _Subject(Struct, frozen=True, kw_only=True):
    """What is drilled."""

    name: str
    router_id: int
    interface: str
    addresses: tuple[IPAddress, ...]


def drill(options: Options, word: str | None, *, as_json: bool) -> int:
    """Do it, print it; return 0, 69, 75 or 78.

    Raises:
        AgentError: no agent runs, it refuses, or the wire cannot be listened to.
    """
    pid = find_agent(options.run_directory)
    data = read_status(options.run_directory)
    if data is None:
        raise TemporaryError(unseen(options.run_directory, pid))
    subject = _choose(data, word)
    promised = _promise(options, subject)
    if not as_json:
        terminal.say(
            f"{subject.name} ({' '.join(map(str, subject.addresses))}) is held here, "
            f"on {subject.interface}; draining it"
        )
    measured = None
    with _stoppable(), _Watcher(subject) as watcher:
        asked_at = time.monotonic()
        try:
            request = DrainRequest(action="drain", words=(subject.name,), seconds=_LONGEST)
            answer = drain.ask(options.run_directory, request)
            if answer["verdict"] == "refused":
                raise RefusedError("; ".join(answer["lines"]))
            measured = watcher.measure(asked_at)
        except _StoppedError:
            pass  # printed below, with how the drain was ended
        finally:
            _ignore_signals()  # an impatient operator must not leave the node drained
            state, ending = _put_back(options, subject)
    if measured is None:
        raise _StoppedError(f"stopped; {ending}")
    return _print(subject, measured, promised, state, ending, as_json=as_json)


def _choose(data: dict[str, Any], word: str | None) -> _Subject:
    """Return the named instance, which has to be held here, or the first that is."""
    instances = data["instances"]
    interface = data["config"]["interface"] if data["config"] else ""
    held = [each for each in instances if each["state"] == "MASTER"]
    if word is None:
        found = [each for each in held if not each["drained"]][:1]
        if not found:
            raise RefusedError("this node holds nothing: run it on the node that does")
    else:
        found = [each for each in instances if word == each["name"] or word in each["addresses"]]
        if not found:
            known = " ".join(each["name"] for each in instances[:8]) or "none"
            raise RefusedError(f"{word!r} is no instance or address here; there are: {known}")
        name, state = found[0]["name"], found[0]["state"]
        if found[0] not in held:
            raise RefusedError(f"{name} is in {state} here: run it on the node that holds it")
        if found[0]["drained"]:
            # a drain that another command asked for is not this one's to end
            raise RefusedError(f"{name} is being drained: {found[0]['drained']}")
    (chosen,) = found
    return _Subject(
        name=chosen["name"],
        router_id=chosen["virtual_router_id"],
        interface=interface,
        addresses=tuple(map(ip_address, chosen["addresses"])),
    )


def _promise(options: Options, subject: _Subject) -> float | None:
    """Return what the configuration promises; None where the variables cannot be used now."""
    try:
        candidate = prepare.attempt(os.environ, options, peers_once.Found(options)).found()
    except AgentError:
        return None
    if set(subject.addresses) - set(candidate.config.addresses):
        return None  # they are those of another configuration
    return budget.compute(candidate.settings, candidate.config).planned_stop


def _put_back(options: Options, subject: _Subject) -> tuple[str, str]:
    """End the drain, however it went; return the instance's state afterwards, and what became."""
    ending = "the drain was ended"
    try:
        drain.ask(options.run_directory, DrainRequest(action="undrain", words=(subject.name,)))
    except AgentError as error:
        ending = f"the drain ends by itself within {_LONGEST:g} s ({error})"
    deadline = time.monotonic() + _BACK_WITHIN
    while True:
        data = read_status(options.run_directory)
        instances = data["instances"] if data else []
        state = next((each["state"] for each in instances if each["name"] == subject.name), "")
        if state in {"BACKUP", "MASTER"} or time.monotonic() >= deadline:
            return state or "unknown", ending
        time.sleep(0.05)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the drill in order, so that the drain is ended too."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        _ignore_signals()
        raise _StoppedError("stopped")

    before = {each: signal.signal(each, stop) for each in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)


class _Watcher:
    """Looks at the interface and the wire, in a thread, until it is left."""

    def __init__(self, subject: _Subject) -> None:
        self._subject = subject
        self._macs = packet_socket.host_macs()
        program = bpf.kernel_filter(subject.addresses)
        self._wire = packet_socket.PacketSocket(subject.interface, program)
        self._index = socket.if_nametoindex(subject.interface)
        self._looks: list[handover.AddressLook] = []
        self._sightings: list[handover.OtherHolderSeen] = []
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drill", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending.set()
        self._thread.join()
        self._wire.close()

    def measure(self, asked_at: float) -> handover.Handover:
        """Return what was seen since the request."""
        looks, sightings = tuple(self._looks), tuple(self._sightings)
        return handover.measure(self._subject.addresses, asked_at, looks, sightings)

    def _run(self) -> None:
        wanted = frozenset(self._subject.addresses)
        with AddressSocket() as netlink:
            while not self._is_ending.is_set():
                with contextlib.suppress(AgentError):  # the next look may be better
                    found = netlink.glance_at_addresses(self._index)
                    here = wanted & {each.address.address for each in found}
                    self._looks.append(handover.AddressLook(at=time.monotonic(), here=here))
                    self._listen()

    def _listen(self) -> None:
        select.select([self._wire.fileno()], [], [], _LOOK_INTERVAL)
        subject, own = self._subject, {*self._macs, self._wire.mac}
        for each in self._wire.receive(_FRAMES):
            packet = each.packet
            if each.is_outgoing or isinstance(packet, (NeighbourReply, Carp)):
                continue
            if packet.source_mac not in own:
                now = time.monotonic()
                seen = handover.sighting(packet, now, subject.addresses, subject.router_id)
                self._sightings += [] if seen is None else [seen]


def _print(
    subject: _Subject,
    measured: handover.Handover,
    promised: float | None,
    state: str,
    ending: str,
    *,
    as_json: bool,
) -> int:
    ended = f"{ending}, and {subject.name} is in {state}"
    if as_json:
        found = {"instance": subject.name, **asdict(measured), "promised": promised}
        terminal.say(json.dumps({**found, "state": state}, indent=2))
    elif measured.taken_by is None:
        terminal.say(f"no other node took over; {ended}")
    else:
        promise = "" if promised is None else f" (promised: at most {promised:.2f} s)"
        terminal.say(
            f"{measured.taken_by} had everything {measured.after:.2f} s after the request\n"
            f"no node had an address for {measured.no_holder:.2f} s{promise}\n"
            f"both had one for {measured.two_holders:.2f} s\n"
            f"{ended} here"
        )
    if measured.taken_by is None:
        return int(ExitCode.UNAVAILABLE)
    longest = max(measured.no_holder, measured.two_holders)
    is_kept = promised is None or longest <= promised + _TOLERANCE
    return int(ExitCode.OK if is_kept else ExitCode.TEMPORARY)
