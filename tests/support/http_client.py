"""A client that sends exactly the given bytes, over a socket in the caller's namespace."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; names of ``headers`` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()


def get(
    port: int, path: str = "/", *, method: str = "GET", host: str = "127.0.0.1", timeout: float = 5
) -> Answer:
    """Ask and return the answer."""
    words = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    return ask(port, words.encode(), host=host, timeout=timeout)


def ask(port: int, request: bytes, *, host: str = "127.0.0.1", timeout: float = 5) -> Answer:
    """Send bytes and return the answer to them."""
    with socket.create_connection((host, port), timeout) as client:
        client.sendall(request)
        return parse(read_all(client))


def read_all(client: socket.socket) -> bytes:
    """Return everything until the other side closes."""
    received = b""
    while data := client.recv(1 << 16):
        received += data
    return received


def parse(received: bytes) -> Answer:
    """Take an answer apart."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    return Answer(status=int(first.split()[1]), headers=headers, body=body)
