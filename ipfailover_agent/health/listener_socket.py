"""Asks the kernel whether ports of this node have a listener: microseconds, and no right.

The answer is there when the question has been sent: the kernel answers in the sender's own time,
so nothing here waits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.linux import sock_diag
from ipfailover_agent.model import PortCheck

if TYPE_CHECKING:
    from collections.abc import Sequence


_ANSWER_BYTES: Final = sock_diag.ANSWER_BYTES
_LOOPBACK_INDEX: Final = 1  # LOOPBACK_IFINDEX, net/flow.h: in every network namespace
_LOOPBACKS: Final = {4: "127.0.0.1", 6: "::1"}
_NO_FAMILY: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


class ListenerSocket:
    """Questions after some ports, prepared once.

    Raises:
        SystemRefusedError: the kernel lets the agent ask nothing.
    """

    def __init__(self, listeners: Sequence[PortCheck]) -> None:
        self._listeners = tuple(listeners)
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK,
                sock_diag.NETLINK_SOCK_DIAG,
            )
            self._socket.connect((0, 0))  # only the kernel may answer
        except OSError as error:
            raise SystemRefusedError(_refused(error.errno)) from error
        self._send, self._receive = self._socket.send, self._socket.recv
        self._numbered: list[tuple[int, bytes]] = []
        self._answers: list[bytes] = []
        self.prepare()

    def prepare(self) -> None:
        """Write the questions anew: an interface that is made anew has another index.

        The answers are forgotten, so the next look reports every one.
        """
        questions = (_question(each) for each in self._listeners)
        self._numbered = list(enumerate(questions))
        self._answers = [b""] * len(self._numbered)

    def has_changed(self) -> bool:
        """Ask after every port; return whether an answer is another than the last time.

        It is called many times a second, so bytes are compared and nothing is made of them.
        """
        changed, send, receive, answers = False, self._send, self._receive, self._answers
        for number, question in self._numbered:
            try:
                send(question)
                answer = receive(_ANSWER_BYTES)
            except OSError:
                answer = self._stale()
            if answer != answers[number]:
                answers[number] = answer
                changed = True
        return changed

    def answers(self) -> dict[PortCheck, int]:
        """Return the error number of every port at the last look, 0 where a listener was."""
        numbers = map(sock_diag.error_number, self._answers)
        return dict(zip(self._listeners, numbers, strict=True))

    def control(self) -> str:
        """Ask after an own listener; return why it is not found, empty where it is."""
        for version in sorted({each.address.version for each in self._listeners}):
            try:
                number = self._control(version)
            except OSError as error:
                return _refused(error.errno)
            if number:
                return _refused(number)
        return ""

    def _control(self, version: int) -> int:
        """Return the error number; IPv4 stands in where IPv6 is off: one module serves both."""
        try:
            with socket.socket(_FAMILIES[version], socket.SOCK_STREAM) as own:
                own.bind((_LOOPBACKS[version], 0))
                own.listen(1)
                address, port = own.getsockname()[:2]
                self._send(_question(PortCheck(address=ip_address(address), port=port)))
                return sock_diag.error_number(self._receive(_ANSWER_BYTES))
        except OSError as error:
            self._stale()
            if version == 6 and error.errno in _NO_FAMILY:  # noqa: PLR2004
                return self._control(4)
            raise

    def _stale(self) -> bytes:
        """Throw away what still comes in, so that no answer is taken for that of another port."""
        with contextlib.suppress(OSError):
            while self._receive(_ANSWER_BYTES):
                pass
        return b""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def refusal() -> str:
    """Return why the kernel does not show IPv4 listeners, empty where it does."""
    any_port = PortCheck(address=ip_address(_LOOPBACKS[4]), port=1)
    try:
        with contextlib.closing(ListenerSocket((any_port,))) as asker:
            return asker.control()
    except SystemRefusedError as error:
        return str(error)


def _question(listener: PortCheck) -> bytes:
    """Return the question; what is sent to an address comes in by the interface that has it.

    So the kernel counts it also where lo carries it, for a listener that is bound to a device.
    """
    address, index = listener.address, _LOOPBACK_INDEX
    scope = address.scope_id if isinstance(address, IPv6Address) else None
    if name := scope or listener.interface:
        try:
            index = socket.if_nametoindex(name)
        except OSError:  # the interface is gone just now
            index = 0
    return sock_diag.question(address, listener.port, index)


def _refused(number: int | None) -> str:
    if number == errno.ENOENT:
        return "the kernel does not find a listener of the agent's own (no tcp_diag, or a sandbox)"
    reason = "it gives no answer" if number is None or number < 0 else os.strerror(number).lower()
    return f"the kernel cannot be asked for listeners: {reason}"
