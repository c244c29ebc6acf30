"""The generated check script, run by bash on loopback as keepalived runs it."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ipfailover_agent.config.planner import plan
from ipfailover_agent.config.templating import render
from ipfailover_agent.linux.files import read_duration
from ipfailover_agent.model import PortCheck, Settings, TrackScript
from ipfailover_agent.paths import RunPaths
from tests.support.vectors import host_facts

LOOPBACK = ip_address("127.0.0.1")
CONFIG = plan(
    Settings(virtual_addresses=(ip_address("192.168.55.101"),)),
    host_facts({"ens3": ["192.168.55.10/24"]}),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a check said: exit status, both streams, the reason file, and seconds taken."""

    status: int
    output: str
    errors: str
    reason: str
    seconds: float


def check(directory: Path, *, env: dict[str, str] | None = None, **fields: Any) -> Verdict:  # noqa: ANN401 - fields of TrackScript
    """Render a check with these fields, run it, and see that nothing of it is left."""
    ports = tuple(
        PortCheck(address=LOOPBACK, port=each) if isinstance(each, int) else each
        for each in fields.pop("ports", ())
    )
    timeout = fields.pop("timeout", 1)
    track = TrackScript(
        name="chk_x", interval=1, timeout=timeout, rise=1, fall=1, ports=ports, **fields
    )
    paths = RunPaths(directory=str(directory), config=str(directory / "keepalived.conf"))
    (script,) = render(structs.replace(CONFIG, track_script=track), paths).scripts
    (directory / "check").write_text(script.text, encoding="utf-8")
    begun = time.monotonic()
    with subprocess.Popen(
        ["/bin/bash", script.path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
        cwd=directory,
    ) as process:
        output, errors = process.communicate(timeout=20)
        seconds = time.monotonic() - begun
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    reason = directory / "check.reason"
    return Verdict(
        status=process.returncode,
        output=output,
        errors=errors,
        reason=reason.read_text(encoding="utf-8") if reason.is_file() else "",
        seconds=seconds,
    )


@contextlib.contextmanager
def listening(family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    with socket.socket(family) as listener:
        listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@contextlib.contextmanager
def closed() -> Iterator[int]:
    """Hold a port that nobody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Hold a port whose backlog is full: connections to it are not answered at all."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def duration(directory: Path) -> float:
    """Return the seconds that the last run says it took."""
    found = read_duration(str(directory / "check.duration"), within=60)
    assert found is not None
    return found


def test_a_run_says_how_long_it_took(tmp_path: Path) -> None:
    """Good or bad, and never more than passed."""
    with listening() as port:
        verdict = check(tmp_path, ports=(port,))
        assert 0 < duration(tmp_path) <= verdict.seconds
    with silent() as port:
        verdict = check(tmp_path, ports=(port,))
    assert 1 == verdict.status
    assert 0.8 < duration(tmp_path) <= verdict.seconds
    with listening() as port:
        check(tmp_path, ports=(port,))
    assert 13 == (tmp_path / "check.duration").stat().st_size
    assert duration(tmp_path) < 0.5


def test_a_figure_that_cannot_be_written_changes_no_verdict(tmp_path: Path) -> None:
    """Nothing is printed either."""
    (tmp_path / "check.duration").mkdir()
    with listening() as port:
        verdict = check(tmp_path, ports=(port,))
    assert (0, "", "") == (verdict.status, verdict.output, verdict.errors)


def test_an_open_port_is_healthy_and_says_nothing(tmp_path: Path) -> None:
    """Exit 0, no output, no reason file."""
    with listening() as port:
        verdict = check(tmp_path, ports=(port,))
    assert (0, "", "", "") == (verdict.status, verdict.output, verdict.errors, verdict.reason)
    assert {"check", "check.duration"} == {each.name for each in tmp_path.iterdir()}


def test_an_open_ipv6_port_is_healthy(tmp_path: Path) -> None:
    """bash takes IPv6 addresses too."""
    with listening(socket.AF_INET6) as port:
        verdict = check(tmp_path, ports=(PortCheck(address=ip_address("::1"), port=port),))
    assert 0 == verdict.status


def test_a_closed_port_is_refused(tmp_path: Path) -> None:
    """Which port, which address and why, on stderr and in the file."""
    with closed() as port:
        verdict = check(tmp_path, ports=(port,))
    said = f"cannot reach port {port} of 127.0.0.1: Connection refused\n"
    assert (1, said, said) == (verdict.status, verdict.errors, verdict.reason)


def test_a_silent_port_times_out_within_the_timeout(tmp_path: Path) -> None:
    """keepalived would kill the script at the timeout, and the reason with it."""
    with silent() as port:
        verdict = check(tmp_path, ports=(port,))
    said = f"cannot reach port {port} of 127.0.0.1: timed out after 0.9 s\n"
    assert (1, said) == (verdict.status, verdict.reason)
    assert 0.85 <= verdict.seconds < 1.5


def test_all_ports_must_answer_within_one_timeout(tmp_path: Path) -> None:
    """Every port that does not is named; they are waited for together."""
    with listening() as good, closed() as bad, silent() as mute, silent() as dumb:
        verdict = check(tmp_path, ports=(mute, good, dumb, bad))
    assert 1 == verdict.status
    assert (
        f"cannot reach port {mute} of 127.0.0.1: timed out after 0.9 s; "
        f"port {dumb} of 127.0.0.1: timed out after 0.9 s; "
        f"port {bad} of 127.0.0.1: Connection refused\n"
    ) == verdict.reason
    assert verdict.seconds < 1.5  # one after the other they would take 1.8 s


def test_several_open_ports_are_healthy(tmp_path: Path) -> None:
    """All of them answer."""
    with listening() as first, listening() as second:
        assert 0 == check(tmp_path, ports=(first, second)).status


def test_recovery_empties_the_reason(tmp_path: Path) -> None:
    """What was wrong is not said of a healthy service."""
    with closed() as port:
        assert check(tmp_path, ports=(port,)).reason
    with listening() as port:
        assert (0, "") == ((verdict := check(tmp_path, ports=(port,))).status, verdict.reason)


def test_the_same_reason_is_not_written_again(tmp_path: Path) -> None:
    """The file's time says since when."""
    with closed() as port:
        check(tmp_path, ports=(port,))
        before = (tmp_path / "check.reason").stat()
        check(tmp_path, ports=(port,))
        after = (tmp_path / "check.reason").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_reason_that_cannot_be_written_changes_no_verdict(tmp_path: Path) -> None:
    """A directory in its place stands for every way that writing can fail."""
    (tmp_path / "check.reason").mkdir()
    (tmp_path / "check.reason.new").mkdir()
    with listening() as port:
        assert 0 == check(tmp_path, ports=(port,)).status
    with closed() as port:
        assert 1 == check(tmp_path, ports=(port,)).status


def test_the_language_of_the_node_does_not_matter(tmp_path: Path) -> None:
    """Decimal commas and translated messages are others' locale."""
    env = {"PATH": os.environ["PATH"], "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}
    with listening() as port:
        assert 0 == check(tmp_path, ports=(port,), env=env).status


# --- the user's own -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("/bin/sh", "-c", "exit 0"), 0),
        (("/bin/sh", "-c", "exit 3"), 3),
        (("/bin/sh", "-c", 'test "$#" = 2', "x", "a b", ""), 0),
    ],
)
def test_a_users_script_decides_by_its_exit_status(
    tmp_path: Path, command: tuple[str, ...], status: int
) -> None:
    """Its words reach it as they are."""
    assert status == check(tmp_path, command=command).status


@pytest.mark.parametrize("signalled", ["exit 0", "exit 3"])
def test_a_users_script_that_ends_in_order_at_its_timeout_fails(
    tmp_path: Path, signalled: str
) -> None:
    """keepalived sends SIGTERM to the whole group then; only what ends by it has timed out."""
    hangs = f"trap '{signalled}' TERM; kill -TERM 0; while :; do sleep 0.1; done"
    assert -signal.SIGTERM == check(tmp_path, command=("/bin/sh", "-c", hangs)).status


def test_a_users_script_in_a_group_of_its_own_ends_too(tmp_path: Path) -> None:
    """As timeout(1) makes one, which keepalived's signals miss; here it ignores SIGTERM, too."""
    signals_check = "read -r _ _ _ _ _ session _ </proc/$$/stat; kill -TERM $session"
    hangs = f"trap '' TERM; {signals_check}; while :; do sleep 0.1; done"
    verdict = check(tmp_path, command=("/usr/bin/timeout", "60", "/bin/sh", "-c", hangs))
    assert -signal.SIGTERM == verdict.status
    assert verdict.seconds < 10


@pytest.mark.parametrize(
    "word", ["*", "$HOME", "`id`", "$(id)", "a;b", "'", '"', "\\", "~", "{a,b}", "!x", "# x", "-n"]
)
def test_no_character_of_a_word_means_anything_to_bash(tmp_path: Path, word: str) -> None:
    """Wildcards, variables, commands and quotes stay literal."""
    verdict = check(tmp_path, command=("/usr/bin/printf", "%s|", word, word))
    assert f"{word}|{word}|" == verdict.output


@pytest.mark.parametrize("name", ["nowhere", "plain", "directory"])
def test_a_users_script_that_cannot_be_run_fails(tmp_path: Path, name: str) -> None:
    """Missing or not executable since it was rendered: not healthy, and the reason says so."""
    (tmp_path / "plain").write_text("exit 0\n", encoding="utf-8")
    (tmp_path / "directory").mkdir()
    verdict = check(tmp_path, command=(str(tmp_path / name), "x"))
    assert 1 == verdict.status
    assert f"OPENSHIFT_HA_CHECK_SCRIPT: cannot run {tmp_path / name}\n" == verdict.reason


@pytest.mark.parametrize("script", ["#!/no/such/interpreter", "#!/bin/sh\n/no/such/program"])
def test_a_users_script_that_lacks_a_program_says_so(tmp_path: Path, script: str) -> None:
    """It is there, and what it calls is not; versions of bash differ in the code."""
    (tmp_path / "own").write_text(f"{script}\n", encoding="utf-8")
    (tmp_path / "own").chmod(0o755)
    verdict = check(tmp_path, command=(str(tmp_path / "own"),))
    reason = "exit code 12[67]: a program that it calls cannot be run"
    assert re.fullmatch(f"OPENSHIFT_HA_CHECK_SCRIPT: {reason}\n", verdict.reason)
    assert 1 == verdict.status


def test_a_users_script_that_runs_again_has_no_reason(tmp_path: Path) -> None:
    """The reason of an earlier failure does not stay."""
    check(tmp_path, command=("/nowhere",))
    verdict = check(tmp_path, command=("/bin/true",))
    assert (0, "") == (verdict.status, verdict.reason)


def test_a_check_that_always_fails_says_why(tmp_path: Path) -> None:
    """CHECK_SCRIPT_MISSING=fault."""
    verdict = check(tmp_path, always_fails="it's missing: $HOME")
    assert (1, "it's missing: $HOME\n") == (verdict.status, verdict.reason)


# --- the URL ------------------------------------------------------------------------------------


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:4]))
        self.send_header("Location", "/200")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server that says nothing of a client that refuses its certificate."""

    def handle_error(self, *_: object) -> None:
        """That is no fault of the server's."""


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answer on a port of 127.0.0.1, over TLS where there is a context."""
    with Server(("127.0.0.1", 0), Answer) as answering:
        if context is not None:
            answering.socket = context.wrap_socket(answering.socket, server_side=True)
        thread = threading.Thread(target=answering.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield answering.server_address[1]
        answering.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[str]:
    with serving() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("code", [200, 204])
def test_a_url_that_answers_2xx_is_healthy(tmp_path: Path, server: str, code: int) -> None:
    """Whatever the body."""
    assert 0 == check(tmp_path, url=f"{server}/{code}", timeout=3).status


@pytest.mark.parametrize("code", [302, 404, 503])
def test_a_url_that_answers_anything_else_is_not(tmp_path: Path, server: str, code: int) -> None:
    """Redirects are not followed; the answer is said."""
    verdict = check(tmp_path, url=f"{server}/{code}", timeout=3)
    said = f"cannot reach {server}/{code}: HTTP {code}, which is not 2xx\n"
    assert (1, said) == (verdict.status, verdict.reason)


def test_a_url_that_refuses_or_is_silent_is_not_healthy(tmp_path: Path) -> None:
    """The reason is curl's."""
    with closed() as port:
        verdict = check(tmp_path, url=f"http://127.0.0.1:{port}/", timeout=3)
    assert 1 == verdict.status
    assert "connect" in verdict.reason.lower()
    with silent() as port:
        verdict = check(tmp_path, url=f"http://127.0.0.1:{port}/")
    assert 1 == verdict.status
    assert "timed out after" in verdict.reason
    assert verdict.seconds < 1.1


def test_what_a_url_asks_for_is_not_told(tmp_path: Path) -> None:
    """The reason is shown over HTTP to anybody, and a query may hold a token."""
    with closed() as port:
        verdict = check(tmp_path, url=f"http://127.0.0.1:{port}/live?token=s3cret", timeout=3)
    assert f"cannot reach http://127.0.0.1:{port}/live: " in verdict.reason
    assert "s3cret" not in verdict.reason + verdict.errors


def test_port_and_url_must_both_answer(tmp_path: Path, server: str) -> None:
    """The URL is checked beside the port."""
    with listening() as port:
        assert 0 == check(tmp_path, ports=(port,), url=f"{server}/200", timeout=3).status
        assert 1 == check(tmp_path, ports=(port,), url=f"{server}/500", timeout=3).status
    with closed() as port:
        assert 1 == check(tmp_path, ports=(port,), url=f"{server}/200", timeout=3).status


def test_no_character_of_a_url_means_anything(tmp_path: Path, server: str) -> None:
    """Neither to bash nor to curl."""
    verdict = check(tmp_path, url=f"{server}/500/$HOME&b=[1-3]{{x,y}}#`id`?$(", timeout=3)
    assert "/500/$HOME&b=[1-3]{x,y}#`id`: HTTP" in verdict.reason


def test_a_missing_curl_is_named(tmp_path: Path, server: str) -> None:
    """Rather than a service blamed that nobody asked."""
    verdict = check(tmp_path, url=f"{server}/200", env={"PATH": str(tmp_path)})
    assert 1 == verdict.status
    assert "curl: not found" in verdict.errors


# --- certificates -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that only itself vouches for; its key lies beside it."""
    directory = tmp_path_factory.mktemp("certificate")
    command = (
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(directory / "key"), "-out", str(directory / "crt")),
    )
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return directory / "crt"


@pytest.mark.parametrize(
    ("host", "options", "said"),
    [
        pytest.param("127.0.0.1", {}, "certificate", id="of an unknown authority"),
        pytest.param("127.0.0.1", {"url_ca_file": "its own"}, "", id="of the given authority"),
        pytest.param("localhost", {"url_ca_file": "its own"}, "localhost", id="for another host"),
        pytest.param("127.0.0.1", {"url_insecure": True}, "", id="where none is verified"),
        pytest.param(
            "127.0.0.1",
            {"url_ca_file": "/no/such/ca.crt"},
            "/no/such/ca.crt",
            id="of an authority that is not there",
        ),
    ],
)
def test_a_certificate_is_verified_unless_it_is_said_otherwise(
    tmp_path: Path, certificate: Path, host: str, options: dict[str, Any], said: str
) -> None:
    """By default and by the file that replaces the system's authorities; else named as wrong.

    A ConfigMap that was not mounted must not count as healthy, nor the authority alone. Without
    verification it is as in a kubelet's probes.
    """
    if options.get("url_ca_file") == "its own":
        options = {"url_ca_file": str(certificate)}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key"))
    with serving(context) as port:
        verdict = check(tmp_path, url=f"https://{host}:{port}/200", timeout=3, **options)
    assert int(bool(said)) == verdict.status
    assert said in verdict.reason
    assert bool(said) == bool(verdict.reason)
