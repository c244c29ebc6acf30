"""The application that a node runs beside its container."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.lab.kit import processes
from tests.lab.kit.namespaces import NetworkNamespace


class Application:
    """A server on one port, TCP and UDP, that answers its node's name.

    It lives in the node's network namespace and outlives the node's container.
    """

    def __init__(self, node: str, namespace: NetworkNamespace, *, port: int, ipv6: bool) -> None:
        self.port = port
        self._node = node
        self._namespace = namespace
        self._family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return the process's pid, None when it does not run."""
        return self._child.pid if self._child is not None else None

    @property
    def is_running(self) -> bool:
        """Return whether the process lives."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it; connections are accepted from the moment this returns."""
        self.stop()
        server = Path(__file__).with_name("server.py")
        with self._bound(socket.SOCK_STREAM) as tcp, self._bound(socket.SOCK_DGRAM) as udp:
            tcp.listen(128)
            fds = (tcp.fileno(), udp.fileno())
            self._child = self._namespace.spawn(
                [sys.executable, "-I", "-S", str(server), self._node, *map(str, fds)], pass_fds=fds
            )

    def stop(self) -> None:
        """Kill it: connections are refused from now on."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def freeze(self) -> None:
        """Stop it from answering while its port stays open."""
        if self._child is not None:
            processes.send(self._child.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo ``freeze``."""
        if self._child is not None:
            processes.send(self._child.pid, signal.SIGCONT)

    def _bound(self, kind: socket.SocketKind) -> socket.socket:
        bound = self._namespace.open_socket(self._family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(("::" if self._family == socket.AF_INET6 else "0.0.0.0", self.port))
        return bound
