"""The HTTP server by itself, over real sockets on loopback: what it bears and what it refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import select
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from ipfailover_agent.http import messages, page
from ipfailover_agent.http.messages import HttpRequest, HttpResponse
from ipfailover_agent.http.routes import Routes
from ipfailover_agent.http.server import MOST_CONNECTIONS, Server, open_listener
from ipfailover_agent.http.service import Web
from ipfailover_agent.keepalived_watchdog import KeepalivedWatchdog
from ipfailover_agent.linux.loop import Loop
from ipfailover_agent.model import ListenAddress
from ipfailover_agent.status.exchange import Exchange, Listening
from tests.support import browser, http_client
from tests.support.observed import instance, observation
from tests.support.services import common
from tests.support.waiting import wait_until
from tests.unit.test_reporter import Told

BIG = bytes(5_000_000)
OWN = 5_900_000  # bytes of an answer that is made anew for each


class Answers(Routes):
    """Answers by path: ``/big``, ``/bug``, ``/page``, ``/wait`` (until a look) or the path."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self.exchange = exchange
        self.page = page.response(observation(instance(1), instance(2, "FAULT")))

    def answer(self, request: HttpRequest, now: float, *, may_wait: bool) -> HttpResponse | None:
        match request.path:
            case "/big":
                return HttpResponse(body=BIG)
            case "/own":
                return HttpResponse(body=bytes(OWN))
            case "/bug":
                raise RuntimeError("this is a bug")
            case "/page":
                return self.page
            case "/wait" if self.exchange.look is None:
                return None if may_wait else messages.text(503, "late")
            case _:
                return messages.text(200, f"{request.path} {now > 0}")


class Served:
    """A running server."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.exchange = Exchange()
        self.server = Server(
            ListenAddress(host=host, port=self.port), self.exchange, Answers(self.exchange)
        )

    def start(self) -> None:
        self.server.start()
        wait_until(
            lambda: self.exchange.listening.active, 5, lambda: repr(self.exchange.listening)
        )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 5)

    def close(self) -> None:
        assert self.server.close(5)
        self.exchange.close()


@pytest.fixture
def served() -> Iterator[Served]:
    """Start a server on a free port."""
    made = Served()
    made.start()
    yield made
    made.close()


def test_an_answer_has_a_length_a_date_and_an_end(served: Served) -> None:
    """HEAD has the same head and no body."""
    whole = http_client.get(served.port, "/x")
    assert (200, "/x True\n") == (whole.status, whole.text)
    head = http_client.get(served.port, "/x", method="HEAD")
    assert b"" == head.body
    assert whole.headers["content-length"] == head.headers["content-length"] == "8"
    assert whole.headers["date"].endswith("GMT")


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nsomething", 405, id="POST"),
        pytest.param(b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000, 431, id="endless head"),
        pytest.param(b"\x00" * 50_000, 431, id="zeros"),
        pytest.param(b"GET /" + b"a" * 4000 + b" HTTP/1.1\r\n\r\n", 414, id="long line"),
        pytest.param(b"nonsense\r\n\r\n", 400, id="nonsense"),
    ],
)
def test_what_is_no_request_of_ours_gets_a_status(
    served: Served, request_text: bytes, status: int
) -> None:
    """Also where more was sent than is ever read: the answer arrives, and then the end."""
    with served.connect() as client:
        with contextlib.suppress(OSError):
            client.sendall(request_text)
        assert status == http_client.answer(client).status


def test_a_request_may_come_in_pieces(served: Served) -> None:
    """As a slow network brings it."""
    with served.connect() as client:
        for each in (b"GET /a", b"bc HTTP/1.1\r\nHo", b"st: x\r\n\r", b"\n"):
            client.sendall(each)
            select.select([], [], [], 0.02)
        assert "/abc True\n" == http_client.answer(client).text


def test_a_slow_reader_gets_all_of_it_and_keeps_nobody_waiting(served: Served) -> None:
    """A large answer goes out as the client takes it."""
    with served.connect() as slow:
        slow.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        select.select([slow], [], [], 5)
        for _ in range(20):
            assert 200 == http_client.get(served.port, "/x").status
        assert len(BIG) == len(http_client.answer(slow).body)


def test_a_client_that_is_gone_is_no_error(served: Served) -> None:
    """In the middle of an answer, before one, without a word."""
    for path in (b"/big", b"/wait", b"/x"):
        with served.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(b"GET " + path + b" HTTP/1.1\r\n\r\n")
    assert 200 == http_client.get(served.port, "/x").status
    assert "" == served.exchange.listening.failure


def test_who_has_said_all_may_close_its_side(served: Served) -> None:
    """As ``nc -N`` does: the answer is still wanted, at once or after a look."""
    for path in ("/x", "/wait"):
        with served.connect() as client:
            client.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            client.shutdown(socket.SHUT_WR)
            assert http_client.answer(client).text


def test_slow_readers_of_different_answers_do_not_fill_the_memory(served: Served) -> None:
    """Each look at the node makes new ones; the oldest readers lose theirs."""
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(20):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", served.port))
            client.sendall(b"GET /own HTTP/1.1\r\n\r\n")
            slow.append(client)
        assert 200 == http_client.get(served.port, "/x").status
        got = [len(http_client.answer(each).body) for each in slow]
    assert OWN == got[-1]
    assert 1 == got.count(OWN)


def test_silent_clients_lose_their_places_to_those_who_ask(served: Served) -> None:
    """The oldest first; whoever waits for an answer keeps his place."""
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(served.connect())
        waiting.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
        silent = [stack.enter_context(served.connect()) for _ in range(MOST_CONNECTIONS + 10)]
        for _ in range(5):
            assert 200 == http_client.get(served.port, "/x").status
        assert b"" == silent[0].recv(1)
        silent[-1].sendall(b"GET /last HTTP/1.1\r\n\r\n")
        assert "/last True\n" == http_client.answer(silent[-1]).text
        assert 503 == http_client.answer(waiting).status


def test_a_flood_of_connections_is_taken_in_portions(served: Served) -> None:
    """At most 200 in a second: the rest waits in the kernel, and the processor has time."""
    began = time.monotonic()
    answers = [http_client.get(served.port, "/x").status for _ in range(450)]
    assert {200} == set(answers)
    assert time.monotonic() - began >= 1.5


def test_who_waits_is_answered_by_a_look_or_after_two_seconds(served: Served) -> None:
    """The loop is woken to look."""
    began = time.monotonic()
    assert "late\n" == http_client.get(served.port, "/wait").text
    assert 1.8 <= time.monotonic() - began < 4
    assert select.select([served.exchange.to_loop], [], [], 0)[0]
    assert served.exchange.wanted_at >= began


def test_a_bug_is_told_and_ends_nothing(served: Served) -> None:
    """500 for who asked; the loop will log it."""
    assert 500 == http_client.get(served.port, "/bug").status
    assert "this is a bug" in served.exchange.listening.failure
    assert 200 == http_client.get(served.port, "/x").status


def test_a_client_that_cannot_be_watched_any_more_loses_its_answer_alone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may have no memory for it; the thread goes on."""
    selector = served.server._selector  # noqa: SLF001
    register = selector.register

    def refuse(client: socket.socket, events: int, data: object = None) -> object:
        if events == selectors.EVENT_WRITE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return register(client, events, data)

    monkeypatch.setattr(selector, "register", refuse)
    with served.connect() as client:
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"" == http_client.read_all(client)
    assert 200 == http_client.get(served.port, "/x").status


@pytest.mark.usefixtures("served")
def test_the_thread_takes_no_signal_away_from_the_loop() -> None:
    """They are blocked in it, and not in the main one."""
    blocked = {}
    for task in Path("/proc/self/task").iterdir():
        text = (task / "status").read_text(encoding="ascii")
        [mask] = re.findall(r"^SigBlk:\s+(\S+)", text, re.MULTILINE)
        blocked[task.name] = bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)
    assert blocked.pop(str(threading.main_thread().native_id)) is False
    assert True in blocked.values()


@pytest.mark.parametrize("host", ["", "::1", "::", "0.0.0.0", "127.0.0.1"])
def test_every_kind_of_address_can_be_listened_on(host: str) -> None:
    """All addresses means both families."""
    there = {"": ("127.0.0.1", "::1"), "::": ("127.0.0.1", "::1"), "::1": ("::1",)}
    served = Served(host)
    served.start()
    try:
        for each in there.get(host, ("127.0.0.1",)):
            assert 200 == http_client.get(served.port, "/x", host=each).status
    finally:
        served.close()


def test_an_address_that_is_not_there_says_why() -> None:
    """It may come later."""
    with pytest.raises(OSError, match="Cannot assign requested address"):
        open_listener(ListenAddress(host="192.0.2.1", port=63000))
    served = Served("192.0.2.1")
    served.server.start()
    reason = "Cannot assign requested address"
    wait_until(lambda: Listening(reason=reason) == served.exchange.listening, 5, "it is not told")
    served.close()


def test_no_descriptor_to_begin_with_costs_no_agent(tmp_path: Path) -> None:
    """It is told once and tried again, and nothing is lost with each attempt."""
    told = Told(tmp_path)
    log = told.reporter.log
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Loop([signal.SIGHUP]) as loop:
        web = Web(
            common(log=log, loop=loop, changed=told.reporter.touch),
            "127.0.0.1:63999",
            reporter=told.reporter,
            keepalived_watchdog=cast("KeepalivedWatchdog", None),
        )
        web.begin()
        next_free = os.dup(0)
        os.close(next_free)
        for room in (0, 1, 2):
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_free + room, hard))
            try:
                web.tick(time.monotonic() + 60 * (room + 1))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert web.deadline is not None
        after = os.dup(0)
        os.close(after)
        web.tick(time.monotonic() + 600)
        web.close()
    assert next_free == after
    assert ["status.unavailable"] == told.events


def in_chromium(profile: Path, url: str, *words: str) -> str:
    """Have a real browser look at a page, without a complaint; return what it prints."""
    done = subprocess.run(
        [
            *(browser.find(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--enable-logging=stderr", f"--user-data-dir={profile}", *words, url),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "CONSOLE" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_in_a_real_browser(served: Served, tmp_path: Path) -> None:
    """Its own style applies, wide and narrow, light and dark. Where there is a Chromium."""
    url, profile = f"http://127.0.0.1:{served.port}/page", tmp_path / "profile"
    shown = {}
    for name, words in {
        "wide": ["--window-size=1280,900"],
        "narrow": ["--window-size=390,900"],
        "dark": ["--window-size=1280,900", "--blink-settings=preferredColorScheme=0"],
    }.items():
        picture = tmp_path / f"page-{name}.png"
        in_chromium(profile, url, *words, f"--screenshot={picture}")
        shown[name] = picture.read_bytes()
    assert all(each.startswith(b"\x89PNG") for each in shown.values())
    assert len(shown["wide"]) > 20_000  # an unstyled page, or none, is smaller
    assert shown["wide"] != shown["dark"]
    content = in_chromium(profile, url, "--dump-dom")
    assert "<svg" in content
    assert "MASTER" in content
