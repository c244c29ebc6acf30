"""The HTTP server: one daemon thread, one selector, bounds on everything that clients can ask for.

http.server is not used: it gives every connection a thread, or one connection the whole server.
Here a slow or silent client costs a slot of a table and some kilobytes, and the oldest silent one
loses its slot to the next client. The thread spawns, signals and waits for nothing: it reads what
the loop left on the :class:`~ipfailover_agent.status.exchange.Exchange`.
"""

from __future__ import annotations

import enum
import selectors
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from ipfailover_agent.http import messages
from ipfailover_agent.status.exchange import Exchange, Listening, drain_wakeups, wake

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfailover_agent.http.messages import HttpRequest, HttpResponse
    from ipfailover_agent.http.routes import Routes
    from ipfailover_agent.model import ListenAddress


MOST_CONNECTIONS: Final = 64
_ACCEPTS: Final = 200  # per second: a flood must not keep the loop from running
_READ_SECONDS: Final = 5.0  # for the whole head of a request
_LOOK_SECONDS: Final = 2.0  # for the loop to look at the node
_WRITE_SECONDS: Final = 30.0  # for a whole answer
_LINGER_SECONDS: Final = 1.0  # for the client to take the end of the answer
_RETRY_SECONDS: Final = 10.0  # between two attempts to listen
_READ_BYTES: Final = 4096
_MOST_KEPT: Final = 6_000_000  # bytes of answers for slow readers; 254 instances take 2 MB a look


class _Phase(enum.Enum):
    READING = "reading"
    WAITING = "waiting"
    WRITING = "writing"
    LINGERING = "lingering"


class _Connection(Struct, eq=False):
    """One client."""

    client: socket.socket
    deadline: float
    phase: _Phase = _Phase.READING
    received: bytearray = field(default_factory=bytearray)
    request: HttpRequest | None = None
    to_send: list[memoryview] = field(default_factory=list)


class Server:
    """Answers requests in a thread of its own until the exchange closes."""

    def __init__(self, address: ListenAddress, exchange: Exchange, routes: Routes) -> None:
        self._address = address
        self._exchange = exchange
        self._routes = routes
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._listen_at = 0.0  # when to try again, or to accept again
        self._is_accepting = False
        self._window = 0.0  # since when accepts are counted
        self._accepts = 0
        self._connections: dict[int, _Connection] = {}
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Start the thread, deaf to signals: they are the loop's, which runs in another one."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self, timeout: float) -> bool:
        """Have the thread end; return whether it did within so many seconds."""
        self._exchange.is_closing = True
        wake(self._exchange.to_thread)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._selector.register(self._exchange.to_thread, selectors.EVENT_READ)
            while not self._exchange.is_closing:
                self._round()
        except Exception as error:  # noqa: BLE001 - a bug here must be logged, and cost no address
            self._report(Listening(reason="it failed", failure=repr(error)))
        finally:
            for each in tuple(self._connections.values()):
                self._close(each)
            if self._listener is not None:
                self._listener.close()
            self._selector.close()

    def _round(self) -> None:
        now = time.monotonic()
        self._see_to_listening(now)
        for key, _ in self._selector.select(self._patience(now)):
            now = time.monotonic()
            if key.fd == self._exchange.to_thread:
                drain_wakeups(self._exchange.to_thread)
                self._look_again(now)
            elif self._listener is not None and key.fd == self._listener.fileno():
                self._accept(self._listener, now)
            elif key.fd in self._connections:
                self._serve(self._connections[key.fd], now)
        self._expire(time.monotonic())

    def _patience(self, now: float) -> float | None:
        """Return how long there is nothing to do unless something happens."""
        due = [each.deadline for each in self._connections.values()]
        if not self._is_accepting:
            due.append(self._listen_at)
        return max(min(due) - now, 0.0) if due else None

    def _report(self, listening: Listening) -> None:
        if listening != self._exchange.listening:
            self._exchange.listening = listening
            wake(self._exchange.to_loop)

    # --- listening ------------------------------------------------------------------------------

    def _see_to_listening(self, now: float) -> None:
        if self._is_accepting or now < self._listen_at:
            return
        if self._listener is None:
            try:
                self._listener = open_listener(self._address)
            except OSError as error:
                self._listen_at = now + _RETRY_SECONDS
                self._report(Listening(reason=error.strerror or str(error)))
                return
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._is_accepting = True
        self._report(replace(self._exchange.listening, active=True, reason=""))

    def _pause(self, listener: socket.socket, until: float) -> None:
        """Leave new clients in the kernel's queue for a moment."""
        self._selector.unregister(listener)
        self._is_accepting, self._listen_at = False, until

    def _accept(self, listener: socket.socket, now: float) -> None:
        if now - self._window >= 1:
            self._window, self._accepts = now, 0
        if self._accepts >= _ACCEPTS:
            self._pause(listener, self._window + 1)
            return
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor or no memory left
            self._pause(listener, now + 1)
            return
        self._accepts += 1
        if len(self._connections) >= MOST_CONNECTIONS:
            self._make_room()
        client.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._connections[client.fileno()] = _Connection(client, now + _READ_SECONDS)
        self._selector.register(client, selectors.EVENT_READ)

    def _make_room(self) -> None:
        """Close the oldest connection that has not asked for anything, or else the oldest."""
        oldest = iter(self._connections.values())  # in the order in which they came
        silent = (each for each in self._connections.values() if each.phase is _Phase.READING)
        self._close(next(silent, None) or next(oldest))

    # --- one connection -------------------------------------------------------------------------

    def _serve(self, connection: _Connection, now: float) -> None:
        try:
            match connection.phase:
                case _Phase.READING:
                    self._read(connection, now)
                case _Phase.WRITING:
                    self._write(connection, now)
                case _:
                    if not connection.client.recv(_READ_BYTES):
                        self._close(connection)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # the client is gone
            self._close(connection)

    def _read(self, connection: _Connection, now: float) -> None:
        data = connection.client.recv(_READ_BYTES)
        if not data:
            self._close(connection)
            return
        connection.received += data
        found = messages.parse_request(connection.received)
        if isinstance(found, messages.HttpResponse):
            self._respond(connection, found, now)
        elif found is not None:
            connection.request = found
            self._try_to_answer(connection, now, may_wait=True)

    def _try_to_answer(self, connection: _Connection, now: float, *, may_wait: bool) -> None:
        if connection.request is None:
            return
        try:
            answer = self._routes.answer(connection.request, now, may_wait=may_wait)
        except Exception as error:  # noqa: BLE001 - a bug must be logged, and end nothing
            self._report(replace(self._exchange.listening, failure=repr(error)))
            answer = messages.refusal(500)
        if answer is not None:
            self._respond(connection, answer, now)
        elif connection.phase is not _Phase.WAITING:
            # Not watched: a client may close its side after a request and still want the answer.
            self._selector.unregister(connection.client)
            connection.phase = _Phase.WAITING
            connection.deadline = now + _LOOK_SECONDS
            self._exchange.wanted_at = now
            wake(self._exchange.to_loop)

    def _look_again(self, now: float) -> None:
        """Answer waiting clients, if the loop has looked at the node."""
        for each in tuple(self._connections.values()):
            if each.phase is _Phase.WAITING:
                self._try_to_answer(each, now, may_wait=True)

    def _respond(self, connection: _Connection, answer: HttpResponse, now: float) -> None:
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        connection.to_send = [memoryview(messages.build_head(answer, date))]
        if connection.request is None or not connection.request.is_head:
            connection.to_send.append(memoryview(answer.body))
        try:
            if connection.phase is _Phase.WAITING:
                self._selector.register(connection.client, selectors.EVENT_WRITE)
            else:
                self._selector.modify(connection.client, selectors.EVENT_WRITE)
            connection.phase = _Phase.WRITING
            connection.deadline = now + _WRITE_SECONDS
            self._write(connection, now)
        except OSError:  # the client is gone
            self._close(connection)
        self._spare_memory()

    def _spare_memory(self) -> None:
        """Close the oldest slow readers while too many bytes are kept for them.

        A body is kept once, however many read it, but each look at the node makes new ones.
        """
        slow = [each for each in self._connections.values() if each.to_send]
        while len(slow) > 1 and _kept(slow) > _MOST_KEPT:
            self._close(slow.pop(0))

    def _write(self, connection: _Connection, now: float) -> None:
        try:
            while connection.to_send:
                sent = connection.client.send(connection.to_send[0])
                rest = connection.to_send[0][sent:]
                connection.to_send[:1] = [rest] if rest else []
        except BlockingIOError:
            return
        # Closed at once, with something unread, the kernel would take the answer back.
        connection.client.shutdown(socket.SHUT_WR)
        connection.phase = _Phase.LINGERING
        connection.deadline = now + _LINGER_SECONDS
        self._selector.modify(connection.client, selectors.EVENT_READ)

    def _expire(self, now: float) -> None:
        for each in tuple(self._connections.values()):
            if now < each.deadline:
                continue
            if each.phase is _Phase.WAITING:
                self._try_to_answer(each, now, may_wait=False)
            else:
                self._close(each)

    def _close(self, connection: _Connection) -> None:
        if self._connections.pop(connection.client.fileno(), None) is not None:
            if connection.phase is not _Phase.WAITING:
                self._selector.unregister(connection.client)
            connection.client.close()


def _kept(connections: Iterable[_Connection]) -> int:
    """Return the bytes of memory in which what they have not taken yet lies."""
    bodies = {
        id(part.obj): memoryview(part.obj).nbytes for each in connections for part in each.to_send
    }
    return sum(bodies.values())


def open_listener(address: ListenAddress) -> socket.socket:
    """Return a socket that listens; raises OSError."""
    if address.host:
        return _listen(address.host, address.port)
    try:
        return _listen("::", address.port)
    except OSError:  # a kernel without IPv6
        return _listen("0.0.0.0", address.port)  # noqa: S104 - as asked for


def _listen(host: str, port: int) -> socket.socket:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    (family, kind, protocol, _, where), *_ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=flags
    )
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        listener.bind(where)
        listener.listen(MOST_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener
