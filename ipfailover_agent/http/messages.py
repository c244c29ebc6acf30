"""The messages of HTTP/1, as far as a read-only server needs them: bytes <-> structs (RFC 9112).

One request per connection, and only its first line counts: no body is read, no header changes an
answer. So there is nothing to smuggle, to negotiate or to keep in memory.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

HEAD_LIMIT: Final = 8192
"""Bytes of a request's head, its first line and headers, that are read at most."""

_LINE_LIMIT: Final = 1024  # bytes of the first line; the paths here need fewer than 100
_NOT_ALLOWED: Final = 405
_MOST_FIELDS: Final = 8  # of a query
_END = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\.[0-9]")
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    _NOT_ALLOWED: "Method Not Allowed",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
_ALWAYS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Connection", "close"),
)
_NOTHING: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
TEXT: Final = "text/plain; charset=utf-8"


class HttpRequest(Struct, frozen=True, kw_only=True):
    """What is asked for. ``config`` is the query's, None where there is none or an empty one.

    ``is_head``: only the head of the answer is wanted.
    """

    path: str
    config: str | None = None
    is_head: bool = False


class HttpResponse(Struct, frozen=True, kw_only=True):
    """An answer. ``style`` is what a Content-Security-Policy allows beside nothing, or empty."""

    body: bytes
    status: int = 200
    content_type: str = TEXT
    style: str = ""
    allow: str = ""


def text(status: int, *lines: str) -> HttpResponse:
    """Return an answer of plain text, with these lines."""
    body = "".join(f"{each}\n" for each in lines)
    return HttpResponse(status=status, body=body.encode("utf-8", "replace"))


def refusal(status: int) -> HttpResponse:
    """Return the answer to a request that cannot be answered."""
    allow = "GET, HEAD" if status == _NOT_ALLOWED else ""
    return HttpResponse(status=status, body=f"{status} {_REASONS[status]}\n".encode(), allow=allow)


def parse_request(received: bytes | bytearray) -> HttpRequest | HttpResponse | None:
    """Read the beginning of a connection.

    Returns:
        The request; what to answer where it is none that can be served; None while its head is
        not there yet.
    """
    end = _END.search(received)
    if end is None:
        # The end may be split between what is here and what comes.
        return refusal(431) if len(received) > HEAD_LIMIT else None
    if end.start() > HEAD_LIMIT:
        return refusal(431)
    line = bytes(received[: end.start()]).split(b"\n", 1)[0].removesuffix(b"\r")
    if len(line) > _LINE_LIMIT:
        return refusal(414)
    found = _LINE.fullmatch(line)
    if found is None:
        return refusal(400)
    method, target, version = (each.decode("ascii") for each in found.groups())
    if version != "1":
        return refusal(505)
    if method not in {"GET", "HEAD"}:
        return refusal(_NOT_ALLOWED)
    return _parse_target(target, is_head=method == "HEAD")


def _parse_target(target: str, *, is_head: bool) -> HttpRequest | HttpResponse:
    try:
        parts = urlsplit(target)
        fields = parse_qs(parts.query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return refusal(400)
    if not parts.path.startswith("/"):
        return refusal(400)
    [config] = fields.get("config", [None])[-1:]
    return HttpRequest(path=parts.path, config=config or None, is_head=is_head)


def build_head(answer: HttpResponse, date: str) -> bytes:
    """Return the head of an answer.

    Args:
        answer: the whole of it.
        date: the time as RFC 9110 writes it in section 5.6.7.
    """
    policy = f"{_NOTHING}; style-src {answer.style}" if answer.style else _NOTHING
    fields = [
        ("Date", date),
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Content-Security-Policy", policy),
        *_ALWAYS,
        *([("Allow", answer.allow)] if answer.allow else []),
    ]
    first = f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}"
    lines = (f"{name}: {value}" for name, value in fields)
    return "\r\n".join([first, *lines, "", ""]).encode("ascii")
