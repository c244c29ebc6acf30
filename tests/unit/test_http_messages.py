"""Requests are read and answers are written as RFC 9112 has them, and nothing more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.http import messages
from ipfailover_agent.http.messages import HEAD_LIMIT, HttpRequest, HttpResponse, parse_request

DATE = "Thu, 01 Jan 2026 12:00:00 GMT"
MOST = "a" * 1000


END = " HTTP/1.1\r\n\r\n"
REQUESTS = {
    "usual": ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", HttpRequest(path="/")),
    "1.0": ("GET / HTTP/1.0\r\n\r\n", HttpRequest(path="/")),
    "bare newlines": ("GET / HTTP/1.1\n\n", HttpRequest(path="/")),
    "HEAD": (f"HEAD /a{END}", HttpRequest(path="/a", is_head=True)),
    "config": (f"GET /livez?config=a%20b&x{END}", HttpRequest(path="/livez", config="a b")),
    "empty": (f"GET /x?config={END}", HttpRequest(path="/x")),
    "twice": (f"GET /x?config=a&config=b{END}", HttpRequest(path="/x", config="b")),
    "absolute": (f"GET http://h:1/x{END}", HttpRequest(path="/x")),
    "long": (f"GET /{MOST}{END}", HttpRequest(path=f"/{MOST}")),
    "body": (f"GET /{END}body", HttpRequest(path="/")),
}


@pytest.mark.parametrize(("text", "expected"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_is_read(text: str, expected: HttpRequest) -> None:
    """Its first line counts."""
    assert expected == parse_request(text.encode())


REFUSED = {
    "POST": (f"POST /{END}", 405),
    "case": (f"get /{END}", 405),
    "0.9": ("GET /\r\n\r\n", 400),
    "two blanks": (f"GET  /{END}", 400),
    "relative": (f"GET x{END}", 400),
    "asterisk": (f"GET *{END}", 400),
    "broken": (f"GET http://[/{END}", 400),
    "not ASCII": (f"GET /\u00e9{END}", 400),
    "control": (f"GET /\x00{END}", 400),
    "version": ("GET / HTTP/2.0\r\n\r\n", 505),
    "nothing": (f"\r\n\r\nGET /{END}", 400),
    "longest": (f"GET /{'a' * 1100}{END}", 414),
    "fields": (f"GET /?{'a&' * 9}{END}", 400),
    "endless head": (f"GET / HTTP/1.1\r\nA: {'a' * HEAD_LIMIT}", 431),
    "huge head": (f"GET / HTTP/1.1\r\nA: {'a' * HEAD_LIMIT}\r\n\r\n", 431),
    "TLS": ("\x16\x03\x01\x02\x00\n\n", 400),
}


@pytest.mark.parametrize(("text", "status"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_served_is_refused(text: str, status: int) -> None:
    """With the status that says why."""
    found = parse_request(text.encode("utf-8"))
    assert isinstance(found, HttpResponse)
    assert status == found.status
    assert ("GET, HEAD" if status == 405 else "") == found.allow


@pytest.mark.parametrize("text", ["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nA: b\r\n\r"])
def test_a_head_that_is_not_whole_is_waited_for(text: str) -> None:
    """Its rest may come."""
    assert parse_request(text.encode()) is None


@given(st.binary(max_size=300), st.sampled_from([b"", b"\r\n\r\n", b" HTTP/1.1\n\n"]))
def test_no_bytes_make_it_fail(data: bytes, end: bytes) -> None:
    """Whatever a client sends."""
    found = parse_request(data + end)
    assert found is None or isinstance(found, HttpRequest | HttpResponse)


def test_an_answer_says_what_it_is_and_forbids_the_rest() -> None:
    """No sniffing, no storing, no frames, no scripts."""
    head = messages.build_head(messages.text(200, "one", "two"), DATE).decode("ascii")
    first, *lines = head.split("\r\n")
    assert "HTTP/1.1 200 OK" == first
    assert ["", ""] == lines[-2:]
    fields = dict(each.split(": ", 1) for each in lines[:-2])
    expected = {
        "Content-Length": "8",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Connection": "close",
    }
    assert expected.items() <= fields.items()
    assert fields["Content-Security-Policy"].startswith("default-src 'none'")
    assert "style-src" not in fields["Content-Security-Policy"]
    assert "Allow" not in fields


def test_an_answer_may_allow_its_own_style_and_name_its_methods() -> None:
    """Where it has one, or where another method was tried."""
    page = messages.build_head(HttpResponse(body=b"", style="'sha256-x'"), DATE)
    assert b"; style-src 'sha256-x'\r\n" in page
    assert b"\r\nAllow: GET, HEAD\r\n" in messages.build_head(messages.refusal(405), DATE)


def test_words_that_are_no_utf_8_are_answered_all_the_same() -> None:
    """A reason may name a file."""
    assert b"not ready\n/etc/?\n" == messages.text(503, "not ready", "/etc/\udcff").body
