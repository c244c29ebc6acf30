"""Probes TCP ports of this node with non-blocking connects, beside the loop.

The probed application notices nothing: the answer to the SYN is all there is to know, so the
handshake is not finished (the acknowledgement is delayed, a reset takes its place), and there is
no connection to accept, to log, or to keep in TIME_WAIT. Where that comes too late, it sees what
bash's /dev/tcp shows it: a connection that is closed without a byte.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final

from ipfailover_agent.core.supervising import probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipfailover_agent.core.model import PortCheck

_Target = tuple[int, tuple[str, int] | tuple[str, int, int, int]]
_ABORT: Final = struct.pack("ii", 1, 0)  # struct linger: a reset instead of FIN
_ABORT_WITHIN: Final = 0.03  # seconds; Linux delays an acknowledgement for at least 40 ms
_STREAM: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
# Want of something on this side, which shows nothing about the port.
_INCONCLUSIVE: Final = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
    *(errno.EADDRNOTAVAIL, errno.EAGAIN),
}
_UNDER_WAY: Final = {0, errno.EINPROGRESS}
_WORDS: Final = {errno.ECONNREFUSED: "refused", errno.ETIMEDOUT: "timed out"}


class Prober:
    """Probes the ports of a policy; ``report`` is called at every change of the verdict.

    Its owner calls :meth:`tick` when ``fileno()`` is readable and when ``deadline`` has passed.
    """

    def __init__(
        self, policy: probe.ProbePolicy, report: Callable[[probe.ReportHealth], None]
    ) -> None:
        self._policy = policy
        self._report = report
        self._state = probe.ProbeState()
        self._ready = select.epoll()  # readable itself while a connection has been answered
        self._connections: dict[PortCheck, tuple[socket.socket, float]] = {}
        self._ports: dict[int, PortCheck] = {}
        self._targets: dict[PortCheck, _Target] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when an answer is there."""
        return self._ready.fileno()

    @property
    def state(self) -> probe.ProbeState:
        """Return what is known; its ``deadline`` is when :meth:`tick` is due."""
        return self._state

    @property
    def deadline(self) -> float | None:
        """Return when :meth:`tick` is due, None unless probing."""
        return self._state.deadline

    def begin(self, now: float, policy: probe.ProbePolicy | None = None) -> None:
        """Probe from now on, by another policy if one is given; the verdict so far is kept."""
        if policy is not None:
            self._dispatch(probe.ProbingEnded(), now)
            self._targets.clear()
            self._policy = policy
        self._dispatch(probe.ProbingBegan(), now)

    def tick(self, now: float) -> None:
        """Take the answers that are there, then what is due: a late look is no timeout."""
        if answers := self._collect():
            self._dispatch(probe.ConnectsEnded(tuple(answers)), now)
        deadline = self._state.deadline
        if deadline is not None and now >= deadline:
            self._dispatch(probe.ProbeDeadlinePassed(), now)

    def ask(self, cause: str, now: float) -> None:
        """Probe at once, if that counts; see ``core.supervising.probe``."""
        self._dispatch(probe.ProbeRequested(cause=cause), now)

    def end(self, now: float) -> None:
        """Probe no more; :meth:`begin` goes on from what is known."""
        self._dispatch(probe.ProbingEnded(), now)

    def close(self) -> None:
        """Give back every descriptor."""
        for port in tuple(self._connections):
            self._close(port)
        self._ready.close()

    def _dispatch(self, event: probe.Event, now: float) -> None:
        self._state, actions = probe.step(self._state, event, now, self._policy)
        answers: list[probe.ConnectResult] = []
        for action in actions:
            match action:
                case probe.Connect(port=port):
                    answers += self._connect(port)
                case probe.Close(port=port):
                    self._close(port)
                case probe.ReportHealth():
                    self._report(action)
        if answers:
            self._dispatch(probe.ConnectsEnded(tuple(answers)), now)

    def _connect(self, port: PortCheck) -> list[probe.ConnectResult]:
        """Begin a connection; return its answer if that is there already.

        A node's own ports answer during the connect: asking at once saves the trouble of waiting.
        """
        try:
            family, target = self._targets.get(port) or self._target(port)
            made = socket.socket(family, _STREAM)
        except OSError as error:
            # if_nametoindex(3) fails without an errno where there is no such interface
            return [_answer(port, error.errno or errno.ENODEV, 0.0)]
        began = time.monotonic()
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            code: int | None = made.connect_ex(target)
        except OSError as error:
            code = error.errno
        if code in _UNDER_WAY and (code := _code_of(made)) == errno.ENOTCONN:
            self._connections[port] = (made, began)
            self._ports[made.fileno()] = port
            self._ready.register(made, select.EPOLLOUT)
            return []
        seconds = time.monotonic() - began
        _finish(made, began)
        return [_answer(port, code, seconds)]

    def _target(self, port: PortCheck) -> _Target:
        """Return the family and where to connect to; remembered, since it is asked so often.

        But for a link-local address: an interface that is made anew has another index.

        Raises:
            OSError: the interface of a link-local address is gone.
        """
        address = port.address
        if isinstance(address, IPv6Address) and address.scope_id:
            host, index = str(IPv6Address(int(address))), socket.if_nametoindex(address.scope_id)
            return (socket.AF_INET6, (host, port.port, 0, index))
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
        self._targets[port] = (family, (str(address), port.port))
        return self._targets[port]

    def _collect(self) -> list[probe.ConnectResult]:
        """Return what was answered; those connections are closed."""
        answers: list[probe.ConnectResult] = []
        while self._ports and (ready := self._ready.poll(0)):
            for fd, _ in ready:
                port = self._ports[fd]
                made, began = self._connections[port]
                answers.append(_answer(port, _code_of(made), time.monotonic() - began))
                self._close(port)
        return answers

    def _close(self, port: PortCheck) -> None:
        made, began = self._connections.pop(port)
        del self._ports[made.fileno()]
        self._ready.unregister(made)
        _finish(made, began)


def _finish(made: socket.socket, began: float) -> None:
    """Close a connection so that the application notices nothing, if that is possible yet."""
    if time.monotonic() - began < _ABORT_WITHIN:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    made.close()


def _code_of(made: socket.socket) -> int:
    """Return what became of a connection: an errno, 0 for success, ENOTCONN for nothing yet."""
    try:
        peer = made.getpeername()
    except OSError:
        return made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ENOTCONN
    # No listener: the port that the kernel chose happened to be that one, and met itself.
    return errno.ECONNREFUSED if peer == made.getsockname() else 0


def _answer(port: PortCheck, code: int | None, seconds: float) -> probe.ConnectResult:
    if not code:
        return probe.ConnectResult(port=port, seconds=seconds)
    words = _WORDS.get(code) or os.strerror(code).lower()
    return probe.ConnectResult(
        port=port, failure=words, is_inconclusive=code in _INCONCLUSIVE, seconds=seconds
    )
