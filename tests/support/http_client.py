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


def get(port: int, path: str = "/", *, method: str = "GET", host: str = "127.0.0.1") -> Answer:
    """Ask and return the answer."""
    with socket.create_connection((host, port), 5) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return answer(client)


def answer(client: socket.socket) -> Answer:
    """Return the answer to what was asked, taken apart."""
    head, _, body = read_all(client).partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    return Answer(status=int(first.split()[1]), headers=headers, body=body)


def read_all(client: socket.socket) -> bytes:
    """Return everything until the other side closes."""
    return b"".join(iter(lambda: client.recv(1 << 16), b""))
