"""Checks the application beside the loop: by connects to its ports, or by the check script.

Connects do not block, and the application notices nothing: the answer to the SYN is all there is
to know, so the handshake is not finished (the acknowledgement is delayed, a reset takes its
place), and there is no connection to accept, to log, or to keep in TIME_WAIT. Where that comes too
late, it sees what bash's /dev/tcp shows it: a connection that is closed without a byte.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import time
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec.structs import replace

from ipfailover_agent.errors import AgentError
from ipfailover_agent.health import fsm
from ipfailover_agent.linux import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipfailover_agent.linux.process import ChildExit
    from ipfailover_agent.model import PortCheck, PortProbes

    _Report = Callable[[fsm.ReportHealth], None]

_BASH: Final = "/usr/bin/bash"  # as keepalived starts it

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


class CheckRounds:
    """Rounds of a check, judged by ``health.fsm``.

    Its owner calls :meth:`tick` when ``state.deadline`` has passed.

    Args:
        probes: what is checked, and when.
        report: called at every change of the verdict.
        state: what is known so far.
    """

    is_script: ClassVar[bool] = False
    """Whether keepalived runs the check too: while its verdict is good, none is run here."""

    def __init__(self, probes: PortProbes, report: _Report, state: fsm.ProbeState) -> None:
        self._probes = probes
        self._report = report
        self.state = state

    def begin(self, now: float, probes: PortProbes | None = None) -> None:
        """Check from now on, in another way if one is given; the verdict so far is kept."""
        if probes is not None:
            self._dispatch(fsm.ProbeSign.ENDED, now)
            self._probes = probes
        if not (self.is_script and self.state.is_steady):
            self._dispatch(fsm.ProbeSign.BEGAN, now)

    def ask(self, cause: str, now: float) -> None:
        """Check at once, if that counts; see ``health.fsm``."""
        self._dispatch(fsm.ProbeRequested(cause=cause), now)

    def tick(self, now: float) -> None:
        """Take the answers that are there, then do what is due: a late look is no timeout."""
        if answers := self._collect():
            self._dispatch(fsm.ConnectsEnded(answers), now)
        deadline = self.state.deadline
        if deadline is not None and now >= deadline:
            self._dispatch(fsm.ProbeSign.DEADLINE_PASSED, now)

    def child_exited(self, child: ChildExit) -> bool:  # noqa: ARG002 - for those that run a child
        """Handle the end of a child; return whether it was a run of the check."""
        return False

    def close(self) -> None:
        """Check no more."""
        self._dispatch(fsm.ProbeSign.ENDED, time.monotonic())

    def _dispatch(self, event: fsm.Event, now: float) -> None:
        self.state, actions = fsm.step(self.state, event, now, self._probes)
        answers: list[fsm.ConnectResult] = []
        for action in actions:
            match action:
                case fsm.Connect(port=port):
                    answers += self._connect(port)
                case fsm.Close(port=port):
                    self._close(port)
                case fsm.ReportHealth():
                    self._report(action)
        state = self.state
        if answers:
            self._dispatch(fsm.ConnectsEnded(tuple(answers)), now)
        elif self.is_script and state.is_steady and state.due is not None and not state.waiting:
            self._dispatch(fsm.ProbeSign.ENDED, now)

    def _connect(self, port: PortCheck) -> list[fsm.ConnectResult]:
        """Begin to check a port; return the answer if it is there already."""
        raise NotImplementedError

    def _close(self, port: PortCheck) -> None:
        """Give up what was begun for a port."""
        raise NotImplementedError

    def _collect(self) -> tuple[fsm.ConnectResult, ...]:
        """Return the answers that have come."""
        return ()


class CheckRuns(CheckRounds):
    """Runs of the check script, out of turn.

    keepalived runs the script at its own interval. When a listener is gone, that is too late: so
    the same script is run at once, and then at that interval for as long as it fails.

    Args:
        probes, report: as before.
        script: its path.
        environment: what the script gets.
        is_healthy: the verdict so far; a bad one is looked into at once.
    """

    is_script: ClassVar[bool] = True

    def __init__(
        self,
        probes: PortProbes,
        report: _Report,
        *,
        script: str,
        environment: Mapping[str, str],
        is_healthy: bool = True,
    ) -> None:
        reason = "" if is_healthy else "not run yet"
        super().__init__(probes, report, fsm.ProbeState(is_healthy=is_healthy, reason=reason))
        self._script = script
        self._environment = environment
        self._pid: int | None = None
        self._began = 0.0

    def ask(self, cause: str, now: float) -> None:
        """Run the script at once, if that counts."""
        if self.state.due is None:
            self.state = replace(self.state, due=now)
        super().ask(cause, now)

    def child_exited(self, child: ChildExit) -> bool:
        """Handle the end of a child; return whether it was a run of the script."""
        if child.pid != self._pid:
            return False
        self._pid = None
        now = time.monotonic()
        answer = fsm.ConnectResult(
            port=fsm.asked_ports(self._probes)[0],
            failure="" if child.exit_code == 0 else "the check fails",
            seconds=now - self._began,
        )
        self._dispatch(fsm.ConnectsEnded((answer,)), now)
        return True

    def _connect(self, port: PortCheck) -> list[fsm.ConnectResult]:
        """Run the script; return an answer where that is impossible."""
        self._began = time.monotonic()
        try:
            with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - start-up time
                self._pid = process.spawn(
                    (_BASH, self._script),
                    environment=self._environment,
                    stdout=nothing.fileno(),
                    stderr=nothing.fileno(),
                )
        except OSError as error:
            reason = f"cannot open {os.devnull}: {error.strerror}"
        except AgentError as error:
            reason = str(error)
        else:
            return []
        return [fsm.ConnectResult(port=port, failure=reason, is_inconclusive=True)]

    def _close(self, port: PortCheck) -> None:  # noqa: ARG002 - the only one
        if self._pid is not None:
            process.signal_group(self._pid, signal.SIGKILL)
        self._pid = None  # reaped as an orphan


class Prober(CheckRounds):
    """Probes of ports; tick it when ``fileno()`` is readable, too."""

    def __init__(self, probes: PortProbes, report: _Report) -> None:
        super().__init__(probes, report, fsm.ProbeState())
        self._ready = select.epoll()  # readable itself while a connection has been answered
        self._connections: dict[PortCheck, tuple[socket.socket, float]] = {}
        self._ports: dict[int, PortCheck] = {}
        self._targets: dict[PortCheck, _Target] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when an answer is there."""
        return self._ready.fileno()

    def begin(self, now: float, probes: PortProbes | None = None) -> None:
        """Probe from now on."""
        self._targets.clear()
        super().begin(now, probes)

    def close(self) -> None:
        """Probe no more, and give back every descriptor."""
        super().close()
        self._ready.close()

    def _connect(self, port: PortCheck) -> list[fsm.ConnectResult]:
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

    def _collect(self) -> tuple[fsm.ConnectResult, ...]:
        """Return what was answered; those connections are closed."""
        answers: list[fsm.ConnectResult] = []
        while self._ports and (ready := self._ready.poll(0)):
            for fd, _ in ready:
                port = self._ports[fd]
                made, began = self._connections[port]
                answers.append(_answer(port, _code_of(made), time.monotonic() - began))
                self._close(port)
        return tuple(answers)

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


def _answer(port: PortCheck, code: int | None, seconds: float) -> fsm.ConnectResult:
    if not code:
        return fsm.ConnectResult(port=port, seconds=seconds)
    words = _WORDS.get(code) or os.strerror(code).lower()
    return fsm.ConnectResult(
        port=port, failure=words, is_inconclusive=code in _INCONCLUSIVE, seconds=seconds
    )
