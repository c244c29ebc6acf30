"""The line sink, in front of real pipes, sockets, terminals and files."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ipfailover_agent.linux.loop import Loop, SignalReceived, Writable
from ipfailover_agent.linux.output import LineSink
from tests.support.apart import mounted
from tests.support.pipes import open_pipe

LINE = b"2024-01-01 (ipfailover_VIP_1) Entering MASTER STATE " + b"." * 50
PROMPT = 0.05


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a *blocking* pipe, as container runtimes do."""
    with open_pipe() as ends:
        yield ends


def read_available(fd: int) -> bytes:
    """Return what can be read now."""
    os.set_blocking(fd, False)
    data = bytearray()
    try:
        while piece := os.read(fd, 1 << 16):
            data += piece
    except BlockingIOError:
        pass
    finally:
        os.set_blocking(fd, True)
    return bytes(data)


def read_everything(fd: int, sink: LineSink) -> bytes:
    """Read and flush in turns until nothing is left."""
    data = read_available(fd)
    while not sink.flush():
        data += read_available(fd)
    return data + read_available(fd)


def write_lines(sink: LineSink, count: int) -> None:
    """Write the same line many times."""
    for _ in range(count):
        sink.write_line(LINE)


def timed(call: Callable[[], object]) -> float:
    """Return how long a call takes, in seconds."""
    begin = time.monotonic()
    call()
    return time.monotonic() - begin


def test_a_line_is_written_at_once_with_its_newline(pipe: tuple[int, int]) -> None:
    """Nothing waits in the buffer while the reader keeps up."""
    reading, writing = pipe
    with closing(LineSink(writing)) as sink:
        sink.write_line(b"one")
        sink.write_line(b"two\n")
        assert not sink.wants_write
    assert read_available(reading) == b"one\ntwo\n"


def test_the_shared_descriptor_keeps_its_flags(pipe: tuple[int, int]) -> None:
    """The pipe's own open file description, which others share, stays blocking."""
    _, writing = pipe
    with closing(LineSink(writing)) as sink:
        sink.write_line(b"one")
        assert fcntl.fcntl(sink.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
        assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK
    os.fstat(writing)  # still open


@pytest.mark.timing
def test_a_pipe_that_nobody_reads_blocks_nothing(pipe: tuple[int, int]) -> None:
    """Ten thousand lines into a full blocking pipe return at once; the loop hears signals."""
    _, writing = pipe
    with closing(LineSink(writing, limit_bytes=1 << 18)) as sink, Loop([signal.SIGTERM]) as loop:
        assert timed(lambda: write_lines(sink, 10_000)) < 1
        assert sink.wants_write
        assert sink.dropped > 0
        loop.watch_writable(sink.fileno(), "stdout")
        assert not loop.wait(time.monotonic() + 0.02)
        os.kill(os.getpid(), signal.SIGTERM)
        begin = time.monotonic()
        assert loop.wait(None) == (SignalReceived(signum=signal.SIGTERM),)
        assert time.monotonic() - begin < PROMPT
        assert timed(lambda: sink.write_line(LINE)) < PROMPT


def test_lines_come_out_whole_and_the_missing_ones_are_counted(pipe: tuple[int, int]) -> None:
    """What was buffered, a line that says how many are missing, then what came later."""
    reading, writing = pipe
    with closing(LineSink(writing, limit_bytes=10_000)) as sink:
        for number in range(20_000):
            sink.write_line(b"line %d" % number)
        dropped = sink.dropped
        text = read_everything(reading, sink)
        sink.write_line(b"after")
        text += read_everything(reading, sink)
    lines = text.decode().splitlines()
    kept = 20_000 - dropped
    notice = f"{dropped} lines dropped: no program read the output"
    assert dropped > 0
    assert [*(f"line {number}" for number in range(kept)), notice, "after"] == lines


def test_one_dropped_line_is_said_in_the_singular(pipe: tuple[int, int]) -> None:
    """A person reads this."""
    reading, writing = pipe
    with closing(LineSink(writing, limit_bytes=100)) as sink:
        sink.write_line(b"x" * 200)
        sink.write_line(b"next")
    text = read_available(reading)
    assert text == b"1 line dropped: no program read the output\nnext\n"


def test_the_notice_can_be_worded_by_the_caller(pipe: tuple[int, int]) -> None:
    """Where every line is JSON, this one is too."""
    reading, writing = pipe
    with closing(
        LineSink(writing, limit_bytes=50, notice=lambda count: b'{"n":%d}' % count)
    ) as sink:
        sink.write_line(b"x" * 200)
        sink.write_line(b"next")
    assert read_available(reading) == b'{"n":1}\nnext\n'


def test_a_slow_reader_does_not_get_a_notice_between_all_lines(pipe: tuple[int, int]) -> None:
    """Once lines are dropped, dropping goes on until half of the buffer is free."""
    reading, writing = pipe
    text = b""
    with closing(LineSink(writing, limit_bytes=10_000)) as sink:
        for _ in range(5000):
            sink.write_line(LINE)
            text += os.read(reading, 50)  # half of what comes in
            sink.flush()
        text += read_everything(reading, sink)
    lines = text.splitlines()
    notices = [line for line in lines if b"dropped" in line]
    assert 0 < len(notices) < len(lines) / 20
    assert {LINE} == set(lines) - set(notices)
    assert sink.dropped == sum(int(line.split()[0]) for line in notices)
    assert len(lines) - len(notices) + sink.dropped == 5000


def test_a_line_that_was_written_in_part_is_continued(pipe: tuple[int, int]) -> None:
    """A line longer than the pipe arrives in one piece, with nothing of others inside."""
    reading, writing = pipe
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    long = b"y" * 100_000
    with closing(LineSink(writing)) as sink:
        sink.write_line(b"first")
        sink.write_line(long)
        sink.write_line(b"last")
        assert sink.wants_write
        assert read_everything(reading, sink) == b"first\n" + long + b"\nlast\n"
        assert sink.dropped == 0


def test_a_reader_that_went_away_is_no_error(pipe: tuple[int, int]) -> None:
    """Lines are counted, buffered ones too, nothing is raised and nothing waits."""
    reading, writing = pipe
    with closing(LineSink(writing)) as sink:
        os.close(reading)
        for _ in range(3):
            sink.write_line(LINE)
        assert sink.flush()
        assert not sink.wants_write
        assert sink.dropped == 3


def test_a_reader_that_goes_away_while_lines_wait_is_no_error(pipe: tuple[int, int]) -> None:
    """The loop reports the descriptor, the flush finds out, and the loop is left in peace."""
    reading, writing = pipe
    with closing(LineSink(writing)) as sink, Loop([]) as loop:
        write_lines(sink, 2000)
        loop.watch_writable(sink.fileno(), "stdout")
        os.close(reading)
        assert loop.wait(time.monotonic() + 2) == (Writable(source="stdout"),)
        assert sink.flush()
        assert not sink.wants_write
        assert sink.dropped > 0


def test_the_agents_own_exit_is_not_a_death_by_sigpipe() -> None:
    """A process that writes to a closed stdout goes on and exits as it means to."""
    script = (
        "import sys\nfrom ipfailover_agent.linux.output import LineSink\n"
        "sink = LineSink(1)\nsys.stdin.readline()\n"
        "for _ in range(3): sink.write_line(b'x')\nsys.exit(sink.dropped)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        child.communicate(b"go\n", timeout=20)
    assert child.returncode == 3


def test_a_closed_descriptor_is_no_error() -> None:
    """Started with stdout closed, the agent writes nowhere and counts."""
    fd = os.open(os.devnull, os.O_WRONLY)
    os.close(fd)
    with closing(LineSink(fd)) as sink:
        sink.write_line(LINE)
        assert (sink.dropped, sink.wants_write) == (1, False)


def test_a_regular_file_is_written_where_its_offset_is(tmp_path: Path) -> None:
    """A file that another program also writes to is continued, not overwritten."""
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        file.write(b"before\n")
        with closing(LineSink(file.fileno())) as sink:
            sink.write_line(b"ours")
            assert not sink.wants_write
        file.write(b"after\n")
    assert path.read_bytes() == b"before\nours\nafter\n"


def test_a_full_disk_is_no_error_and_is_said_once_there_is_room(tmp_path: Path) -> None:
    """Lines that do not fit on the disk are counted; later ones are written again."""
    with mounted(tmp_path, "size=128k"):
        filler = tmp_path / "filler"
        filler.write_bytes(bytes(1 << 16))
        log = tmp_path / "log"
        with (
            log.open("wb", buffering=0) as file,
            closing(LineSink(file.fileno(), limit_bytes=20_000)) as sink,
        ):
            for _ in range(1000):
                sink.write_line(LINE)
            dropped = sink.dropped
            assert dropped > 0
            assert not sink.wants_write
            assert not sink.drain(0.01)
            filler.unlink()
            sink.write_line(b"nearly")  # dropped too: only after it is there room in the buffer
            assert sink.flush()
            sink.write_line(b"room again")
        lines = log.read_bytes().splitlines()
        assert lines[-1] == b"room again"
        assert set(lines[:-2]) == {LINE}
        assert lines[-2].startswith(b"%d lines dropped" % (dropped + 1))
        assert len(lines) - 2 + dropped == 1000


def test_a_socket_that_nobody_reads_blocks_nothing() -> None:
    """The socket stays blocking for others, the agent's writes do not wait."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with closing(LineSink(ours.fileno(), limit_bytes=1 << 16)) as sink:
            assert timed(lambda: write_lines(sink, 20_000)) < 2
            assert sink.dropped > 0
            assert sink.wants_write
            assert ours.getblocking()
            assert not fcntl.fcntl(ours, fcntl.F_GETFL) & os.O_NONBLOCK
            text = read_everything(theirs.fileno(), sink)
        lines = text.splitlines()
        assert {LINE, lines[-1]} == set(lines)
        assert b"%d lines dropped" % sink.dropped in lines[-1]


def test_a_socket_whose_reader_went_away_is_no_error() -> None:
    """No SIGPIPE, no exception."""
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, closing(LineSink(ours.fileno())) as sink:
        sink.write_line(LINE)
        assert sink.dropped == 1


def test_a_terminal_that_is_stopped_blocks_nothing() -> None:
    """Ctrl-S, or a terminal that no program reads: lines wait, then are dropped."""
    controller, terminal = pty.openpty()
    try:
        with closing(LineSink(terminal, limit_bytes=1 << 16)) as sink:
            assert timed(lambda: write_lines(sink, 5000)) < 1
            assert sink.dropped > 0
            assert sink.wants_write
            assert not fcntl.fcntl(terminal, fcntl.F_GETFL) & os.O_NONBLOCK
            os.close(controller)
            controller = -1
            assert sink.flush()
            assert not sink.wants_write
    finally:
        os.close(terminal)
        if controller >= 0:
            os.close(controller)


def run_as_nobody(script: str, stdout: int) -> subprocess.Popen[bytes]:
    """Run Python code as another user, who may not open root's pipe anew."""
    return subprocess.Popen([sys.executable, "-c", script], stdout=stdout, stderr=subprocess.PIPE)


def test_a_pipe_of_another_user_blocks_nothing_either(pipe: tuple[int, int]) -> None:
    """Where the pipe cannot be opened anew, poll is asked before each small write."""
    reading, writing = pipe
    script = (
        "import os, sys, time\n"
        "from ipfailover_agent.linux.output import LineSink\n"
        "os.fchmod(1, 0o600); os.fchown(1, 0, 0)\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "begin = time.monotonic()\n"
        "sink = LineSink(1, limit_bytes=20000)\n"
        "for number in range(20_000): sink.write_line(b'line %d' % number)\n"
        "print(sink.fileno(), sink.dropped, sink.wants_write, time.monotonic() - begin < 2,"
        " file=sys.stderr, flush=True)\n"
        "sink.drain(10)\n"
    )
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with run_as_nobody(script, writing) as child:
        os.close(writing)
        assert child.stderr is not None
        fd, dropped, wants_write, was_quick = child.stderr.readline().split()
        assert (fd, wants_write, was_quick) == (b"1", b"True", b"True")
        text = b""
        while piece := os.read(reading, 1 << 16):
            text += piece
        assert child.wait(20) == 0
    lines = text.splitlines()
    kept = 20_000 - int(dropped)
    assert [b"line %d" % number for number in range(kept)] == lines[:-1]
    assert lines[-1].startswith(dropped + b" lines dropped")


@pytest.mark.timing
def test_draining_waits_for_a_slow_reader_but_not_for_ever(pipe: tuple[int, int]) -> None:
    """The last lines before the exit get their bounded time."""
    reading, writing = pipe
    with closing(LineSink(writing)) as sink:
        write_lines(sink, 2000)
        assert 0.1 <= timed(lambda: sink.drain(0.1)) < 0.1 + PROMPT
        with subprocess.Popen(["cat"], stdin=reading, stdout=subprocess.DEVNULL) as reader:
            os.close(reading)
            assert sink.drain(5)
            reader.kill()


def test_nothing_is_left_open(pipe: tuple[int, int]) -> None:
    """Closing closes what the sink opened, and only that."""
    _, writing = pipe
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are compared
        for fd in (writing, ours.fileno()):
            LineSink(fd).close()
        assert before == sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - likewise
