"""Requests are read and answers are written as RFC 9112 has them, and nothing more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfailover_agent.http import messages
from ipfailover_agent.http.messages import HEAD_LIMIT, HttpRequest, HttpResponse, parse_request

DATE = "Thu, 01 Jan 2026 12:00:00 GMT"
MOST = "a" * 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("GET / HTTP/1.1\r\nHost: x\r\n\r\n", HttpRequest(path="/"), id="usual"),
        pytest.param("GET / HTTP/1.0\r\n\r\n", HttpRequest(path="/"), id="1.0"),
        pytest.param("GET / HTTP/1.1\n\n", HttpRequest(path="/"), id="bare newlines"),
        pytest.param("HEAD /a HTTP/1.1\r\n\r\n", HttpRequest(path="/a", is_head=True), id="HEAD"),
        pytest.param(
            "GET /livez?config=a%20b&x HTTP/1.1\r\n\r\n",
            HttpRequest(path="/livez", config="a b"),
            id="config",
        ),
        pytest.param("GET /x?config= HTTP/1.1\r\n\r\n", HttpRequest(path="/x"), id="empty"),
        pytest.param(
            "GET /x?config=a&config=b HTTP/1.1\r\n\r\n",
            HttpRequest(path="/x", config="b"),
            id="twice",
        ),
        pytest.param("GET http://h:1/x HTTP/1.1\r\n\r\n", HttpRequest(path="/x"), id="absolute"),
        pytest.param(f"GET /{MOST} HTTP/1.1\r\n\r\n", HttpRequest(path=f"/{MOST}"), id="long"),
        pytest.param("GET / HTTP/1.1\r\n\r\nbody", HttpRequest(path="/"), id="body"),
    ],
)
def test_a_request_is_read(text: str, expected: HttpRequest) -> None:
    """Its first line counts."""
    assert expected == parse_request(text.encode())


@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param("POST / HTTP/1.1\r\n\r\n", 405, id="POST"),
        pytest.param("get / HTTP/1.1\r\n\r\n", 405, id="case"),
        pytest.param("GET /\r\n\r\n", 400, id="0.9"),
        pytest.param("GET  / HTTP/1.1\r\n\r\n", 400, id="two blanks"),
        pytest.param("GET x HTTP/1.1\r\n\r\n", 400, id="relative"),
        pytest.param("GET * HTTP/1.1\r\n\r\n", 400, id="asterisk"),
        pytest.param("GET http://[/ HTTP/1.1\r\n\r\n", 400, id="broken"),
        pytest.param("GET /\u00e9 HTTP/1.1\r\n\r\n", 400, id="not ASCII"),
        pytest.param("GET /\x00 HTTP/1.1\r\n\r\n", 400, id="control"),
        pytest.param("GET / HTTP/2.0\r\n\r\n", 505, id="version"),
        pytest.param("\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400, id="nothing"),
        pytest.param(f"GET /{'a' * 1100} HTTP/1.1\r\n\r\n", 414, id="longest"),
        pytest.param(f"GET /?{'a&' * 9} HTTP/1.1\r\n\r\n", 400, id="fields"),
        pytest.param(f"GET / HTTP/1.1\r\nA: {'a' * HEAD_LIMIT}", 431, id="endless head"),
        pytest.param(f"GET / HTTP/1.1\r\nA: {'a' * HEAD_LIMIT}\r\n\r\n", 431, id="huge head"),
        pytest.param("\x16\x03\x01\x02\x00\n\n", 400, id="TLS"),
    ],
)
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
    assert "8" == fields["Content-Length"]
    assert "nosniff" == fields["X-Content-Type-Options"]
    assert "no-store" == fields["Cache-Control"]
    assert "close" == fields["Connection"]
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
