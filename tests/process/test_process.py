"""Starting, signalling and reaping, with real children."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfailover_agent.errors import KeepalivedMissingError, SystemRefusedError
from ipfailover_agent.linux import process
from ipfailover_agent.linux.loop import LineReceived, Loop, SignalReceived
from ipfailover_agent.linux.process import ChildExit
from tests.support.apart import run_code
from tests.support.waiting import wait_until

ENVIRONMENT = {"PATH": os.environ["PATH"], "MARK": "1"}


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as it is
    yield
    assert before == sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - likewise


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    yield fd
    os.close(fd)


@pytest.fixture
def spawned(null: int) -> Iterator[Callable[..., int]]:
    """Start programs and make sure that none outlives the test."""
    pids: list[int] = []

    def spawn(*argv: str, stdout: int = null, stderr: int = null) -> int:
        pid = process.spawn(argv, environment=ENVIRONMENT, stdout=stdout, stderr=stderr)
        pids.append(pid)
        return pid

    yield spawn
    for pid in pids:
        process.signal_group(pid, signal.SIGKILL)
    list(reap_all())


def reap_all() -> Iterator[ChildExit]:
    """Yield exits until there is no child any more."""
    deadline = time.monotonic() + 20
    while has_children():
        assert time.monotonic() < deadline, "children do not end"
        yield from process.reap()


def has_children() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def reap_one(pid: int) -> ChildExit:
    """Wait for one child's end."""
    return next(each for each in reap_all() if each.pid == pid)


def read_all(fd: int) -> bytes:
    """Return what a pipe holds until its end."""
    os.set_blocking(fd, True)
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def output_of(spawn: Callable[..., int], *argv: str) -> bytes:
    """Run a program to its end and return its output, both streams."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        pid = spawn(*argv, stdout=writing, stderr=writing)
        os.close(writing)
        output = read_all(reading)
        reap_one(pid)
        return output
    finally:
        os.close(reading)


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_an_exit_code_is_reported(spawned: Callable[..., int], code: int) -> None:
    """The child's exit code comes back as it is."""
    pid = spawned("sh", "-c", f"exit {code}")
    assert ChildExit(pid=pid, exit_code=code) == reap_one(pid)


def test_a_death_by_signal_is_reported_as_such(spawned: Callable[..., int]) -> None:
    """A killed child has a signal and no exit code."""
    pid = spawned("sleep", "60")
    assert process.signal_process(pid, signal.SIGKILL)
    assert ChildExit(pid=pid, signal=signal.SIGKILL) == reap_one(pid)


def test_nothing_to_reap_is_no_error(spawned: Callable[..., int]) -> None:
    """No child at all and a child that runs both yield nothing."""
    assert not list(process.reap())
    pid = spawned("sleep", "60")
    assert not list(process.reap())
    assert process.signal_group(pid, signal.SIGTERM)
    reap_one(pid)


def test_one_child_in_a_storm_of_a_thousand_keeps_its_exit_code() -> None:
    """A child that exits 7 is reported 7 while a thousand others exit at once, each once."""
    code = "import os\nfor n in range(1000): os.fork() or os._exit(n % 3)\nos._exit(7)"
    script = (
        "import json, os, sys, time\n"
        "from ipfailover_agent.linux import process\n"
        "process.become_subreaper()\n"
        "null = os.open(os.devnull, os.O_RDWR)\n"
        f"pid = process.spawn([sys.executable, '-c', {code!r}], environment={{}},"
        " stdout=null, stderr=null)\n"
        "found = []\n"
        "while len(found) < 1001:\n"
        "    found += [(each.pid == pid, each.exit_code) for each in process.reap()]\n"
        "    time.sleep(0.001)\n"
        "print(json.dumps([code for ours, code in found if ours]))\n"
        "print(json.dumps([sum(code == n for ours, code in found if not ours)"
        " for n in range(3)]))\n"
    )
    ours, others = run_script(script)
    assert ours == [7]
    assert others == [334, 333, 333]


def test_an_orphan_is_handed_to_us_and_reaped(tmp_path: Path) -> None:
    """A grandchild whose parent exits becomes the subreaper's child, with its exit code."""
    mark = tmp_path / "pid"
    orphan = f"(sh -c 'echo $$ > {mark}.new; mv {mark}.new {mark}; sleep 0.2; exit 9' &) ; exit 3"
    script = (
        "import json, os, time\n"
        "from ipfailover_agent.linux import process\n"
        "process.become_subreaper()\n"
        "null = os.open(os.devnull, os.O_RDWR)\n"
        f"process.spawn(['sh', '-c', {orphan!r}], environment={{'PATH': os.environ['PATH']}},"
        " stdout=null, stderr=null)\n"
        "found = {}\n"
        f"while not os.path.exists({str(mark)!r}): time.sleep(0.005)\n"
        f"orphan = int(open({str(mark)!r}).read())\n"
        "while orphan not in found:\n"
        "    found.update({each.pid: each.exit_code for each in process.reap()})\n"
        "    time.sleep(0.005)\n"
        "print(json.dumps(found[orphan]))\n"
        "print(json.dumps(3 in found.values()))\n"
    )
    assert run_script(script) == [9, True]


def run_script(script: str) -> list[object]:
    """Run Python code in a process of its own; return the JSON lines it printed."""
    return [json.loads(line) for line in run_code(script).splitlines()]


def test_a_child_starts_with_a_clean_signal_state(spawned: Callable[..., int]) -> None:
    """Nothing blocked, nothing ignored, whatever the agent has blocked and ignored itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    usr1 = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        output = output_of(spawned, "cat", "/proc/self/status").decode()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGUSR1, usr1)
    fields = dict(line.split(":\t", 1) for line in output.splitlines() if ":\t" in line)
    # glibc's posix_spawn ignores 32 and 33, which it keeps for its threads and sets up itself
    of_glibc = 0b11 << 31
    masks = {name: int(fields[name], 16) & ~of_glibc for name in ("SigBlk", "SigIgn", "SigCgt")}
    assert masks == {"SigBlk": 0, "SigIgn": 0, "SigCgt": 0}


def test_a_child_gets_no_descriptor_of_ours(spawned: Callable[..., int], tmp_path: Path) -> None:
    """Not even one that the agent's own starter handed down as inheritable."""
    with (tmp_path / "leak").open("w") as leak:
        os.set_inheritable(leak.fileno(), True)  # noqa: FBT003 - the library's signature
        output = output_of(spawned, "ls", "-l", "/proc/self/fd").decode()
    targets = dict(line.split(" -> ") for line in output.splitlines() if " -> " in line)
    names = {link.split()[-1]: target for link, target in targets.items()}
    assert {"0", "1", "2", "3"} == set(names), output  # 3 is the directory that ls lists
    assert names["0"] == "/dev/null"
    assert names["1"] == names["2"]
    assert names["1"].startswith("pipe:")


def test_a_child_leads_its_own_process_group(spawned: Callable[..., int]) -> None:
    """A signal to the group reaches the grandchildren, and the group is gone afterwards."""
    pid = spawned("sh", "-c", "sleep 60 & wait")
    assert pid == os.getpgid(pid)
    assert process.group_exists(pid)
    assert process.signal_group(pid, signal.SIGKILL)
    reap_one(pid)
    wait_until(lambda: not process.group_exists(pid), 5, "the group is still there")
    assert not process.signal_group(pid, signal.SIGKILL)


def test_a_child_gets_the_environment_it_is_given(spawned: Callable[..., int]) -> None:
    """And nothing of the agent's."""
    lines = output_of(spawned, "env").decode().splitlines()
    assert sorted(f"{name}={value}" for name, value in ENVIRONMENT.items()) == sorted(lines)


@pytest.mark.parametrize("swap", [False, True], ids=["in order", "crosswise"])
def test_streams_may_have_standard_numbers_themselves(swap: bool) -> None:  # noqa: FBT001 - a case
    """Passing the agent's own 1 and 2, even crosswise, gives the child the right ones."""
    script = (
        "import os\n"
        "from ipfailover_agent.linux import process\n"
        f"out, err = {(2, 1) if swap else (1, 2)}\n"
        "process.spawn(['sh', '-c', 'echo out; echo err >&2'],"
        " environment={'PATH': os.environ['PATH']}, stdout=out, stderr=err)\n"
        "os.waitpid(-1, 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True
    )
    expected = ("err\n", "out\n") if swap else ("out\n", "err\n")
    assert expected == (done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (None, 0, "not there"),
        ("#!/bin/sh\n", 0o644, "not executable"),
        ("not a program\n", 0o755, "Exec format error"),
        ("#!/nowhere/interpreter\n", 0o755, "No such file"),
    ],
    ids=["missing", "not executable", "no program", "no interpreter"],
)
def test_a_program_that_cannot_start_is_named(
    spawned: Callable[..., int], tmp_path: Path, content: str | None, mode: int, reason: str
) -> None:
    """The error says which program and why, and no child is left."""
    program = tmp_path / "program"
    if content is not None:
        program.write_text(content)
        program.chmod(mode)
    with pytest.raises(KeepalivedMissingError, match=reason) as caught:
        spawned(str(program))
    assert str(program) in str(caught.value)
    assert not has_children()


def test_a_program_that_is_not_on_path_is_named_with_path(null: int) -> None:
    """The message shows where was looked."""
    with pytest.raises(KeepalivedMissingError, match=r"'no-such-program'.*PATH is /nowhere"):
        process.spawn(
            ["no-such-program"], environment={"PATH": "/nowhere"}, stdout=null, stderr=null
        )


def test_a_program_that_is_found_is_absolute(tmp_path: Path) -> None:
    """The first executable on PATH wins; one that is not executable is passed over."""
    for name, mode in (("a", 0o644), ("b", 0o755)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text("#!/bin/sh\n")
        (tmp_path / name / "tool").chmod(mode)
    found = process.find_program("tool", f"{tmp_path}/a:{tmp_path}/b")
    assert f"{tmp_path}/b/tool" == found


def test_no_process_can_be_made_is_an_error_of_its_own(null: int) -> None:
    """An argument list that is too long is refused by the system, not missing."""
    with pytest.raises(SystemRefusedError, match="too long"):
        process.spawn(["true", "x" * (1 << 21)], environment={}, stdout=null, stderr=null)


def test_a_process_that_is_gone_is_said_to_be(spawned: Callable[..., int]) -> None:
    """Signalling a reaped process is False, not an exception."""
    pid = spawned("true")
    reap_one(pid)
    assert not process.signal_process(pid, signal.SIGTERM)


@pytest.mark.parametrize("target", [0, -1, -7])
def test_no_signal_goes_to_everybody(target: int) -> None:
    """A pid that was never set must not signal the agent's own group or every process."""
    with pytest.raises(ValueError, match="internal error"):
        process.signal_process(target, 0)
    with pytest.raises(ValueError, match="internal error"):
        process.signal_group(target, 0)
    with pytest.raises(ValueError, match="internal error"):
        process.signal_group(1, 0)


@pytest.mark.timing
def test_a_full_output_pipe_blocks_neither_writer_nor_loop(spawned: Callable[..., int]) -> None:
    """A child that writes far more than the pipe holds ends, and the loop still hears signals."""
    reading, writing = process.make_output_pipe()
    try:
        flood = "dd if=/dev/zero bs=4096 count=1000 2>/dev/null; exit 7"
        with Loop([signal.SIGCHLD, signal.SIGTERM]) as loop:
            pid = spawned("sh", "-c", flood, stdout=writing)
            assert SignalReceived(signum=signal.SIGCHLD) in loop.wait(time.monotonic() + 10)
            assert ChildExit(pid=pid, exit_code=7) in list(process.reap())
            os.kill(os.getpid(), signal.SIGTERM)
            begin = time.monotonic()
            assert SignalReceived(signum=signal.SIGTERM) in loop.wait(begin + 5)
            assert time.monotonic() - begin < 0.05
    finally:
        os.close(reading)
        os.close(writing)


def test_an_output_pipe_is_large_and_its_lines_arrive(spawned: Callable[..., int]) -> None:
    """It takes 200 kB while no program reads, and gives them back line by line."""
    reading, writing = process.make_output_pipe()
    try:
        pid = spawned("sh", "-c", "seq 1 40000", stdout=writing)
        reap_one(pid)
        os.close(writing)
        lines: list[bytes] = []
        with Loop([]) as loop:
            loop.watch_lines(reading, "keepalived")
            while events := loop.wait(time.monotonic() + 0.2):
                lines += [event.line for event in events if isinstance(event, LineReceived)]
        assert [str(number).encode() for number in range(1, 40001)] == lines
    finally:
        os.close(reading)


def test_running_out_of_descriptors_is_no_crash_of_spawn(null: int) -> None:
    """The error is the system's refusal, not a bare OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - likewise
    taken = [os.dup(null) for _ in range(highest + 2 - used)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with pytest.raises(SystemRefusedError):
            process.spawn(["true"], environment=ENVIRONMENT, stdout=null, stderr=null)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


# --- output that is kept in memory --------------------------------------------------------------


def ran(
    script: str, *, limit: int = 1 << 20, is_split: bool = False
) -> tuple[process.CapturedRun, int]:
    """Run a script to its end; return the run and the exit code."""
    run = process.CapturedRun(
        ["/bin/sh", "-c", script], ENVIRONMENT, limit=limit, is_split=is_split
    )
    _, status = os.waitpid(run.pid, 0)
    return run, os.waitstatus_to_exitcode(status)


def test_output_and_errors_are_one_stream_in_their_order() -> None:
    """As keepalived writes its log."""
    run, code = ran("echo a; echo b >&2; printf c; exit 3")
    assert (3, ("a\nb\nc",)) == (code, run.end())


def test_output_and_errors_can_be_apart() -> None:
    """Of nft one is JSON."""
    run, _ = ran("echo a; echo b >&2; printf c", is_split=True)
    assert ("a\nc", "b\n") == run.end()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", ()),
        ("printf a", ("a",)),
        ("echo a; echo; echo b", ("a", "", "b")),
        (r"printf 'a\377\n'", (r"a\xff",)),
        ("seq 60", tuple(map(str, range(1, 51)))),
        (
            r"printf 'red \033[31m\tand a bell \007\n'",
            (r"red \x1b[31m" + "\t" + r"and a bell \x07",),
        ),
        ("head -c 400000 /dev/zero | tr '\\000' a", ("a" * (1 << 16),)),
    ],
)
def test_a_person_reads_the_first_lines(script: str, expected: tuple[str, ...]) -> None:
    """keepalived may write one for each of 254 instances."""
    run, _ = ran(script)
    assert expected == run.end_in_lines()


def test_a_flood_is_refused_at_the_limit() -> None:
    """It neither fills the memory nor blocks; what came before is there."""
    run, code = ran("echo a; head -c 10000000 /dev/zero", limit=100_000)
    (text,) = run.end()
    assert (1, "a\n\0\0") == (code, text[:4])
    assert 50_000 < len(text) <= 100_000


def test_a_child_that_keeps_the_output_open_is_not_waited_for() -> None:
    """The program itself has ended, and that is all there is to wait for."""
    run, _ = ran("echo a; sleep 600 & echo $!")
    first, child = run.end_in_lines()
    os.kill(int(child), 9)
    assert "a" == first


def test_what_is_abandoned_is_killed_with_its_group() -> None:
    """And left to the reaper."""
    run = process.CapturedRun(["/bin/sh", "-c", "sleep 600 & wait"], ENVIRONMENT)
    run.abandon()
    assert 9 == os.WTERMSIG(os.waitpid(run.pid, 0)[1])
    wait_until(lambda: not process.group_exists(run.pid), 5, "a child lives on")


def test_a_program_that_is_missing_leaves_nothing() -> None:
    """Neither memory nor a descriptor."""
    with pytest.raises(KeepalivedMissingError, match="it is not there"):
        process.CapturedRun(["/no/such"], ENVIRONMENT)
