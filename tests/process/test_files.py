"""Atomic files, the run directory, the FIFO, the pid file and the address record."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ipfailover_agent.config import memory, sources
from ipfailover_agent.drain.service import take_request
from ipfailover_agent.errors import SettingsError, SystemRefusedError
from ipfailover_agent.linux import files
from ipfailover_agent.linux.host import process_started_at
from ipfailover_agent.model import IPAddress, RenderedFile
from ipfailover_agent.paths import RunPaths
from ipfailover_agent.status import history
from tests.support import missing
from tests.support.apart import mounted

ADDRESSES = tuple(map(ip_address, ("10.9.0.5", "fd00:9::5")))
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run_paths(directory: Path) -> RunPaths:
    return RunPaths(directory=str(directory), config=f"{directory}/keepalived.conf")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- atomic writing -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755], ids=oct)
def test_a_file_gets_its_content_and_its_mode(tmp_path: Path, mode: int) -> None:
    """Whatever the umask, and whatever was there before."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o777)
    before = os.umask(0o777)
    try:
        files.write_atomically(str(path), "new\n", mode)
    finally:
        os.umask(before)
    assert (path.read_text(), mode_of(path)) == ("new\n", mode)
    assert [path] == list(tmp_path.iterdir())


def test_text_that_is_not_unicode_comes_out_as_it_came_in(tmp_path: Path) -> None:
    """Environment variables carry arbitrary bytes as surrogates."""
    path = tmp_path / "file"
    files.write_atomically(str(path), b"\xff\xe9".decode("utf-8", "surrogateescape"))
    assert path.read_bytes() == b"\xff\xe9"


def test_a_reader_sees_the_old_content_or_the_new_one(tmp_path: Path) -> None:
    """Never an empty or half a file, while it is replaced many times."""
    path = tmp_path / "file"
    versions = [letter * 100_000 for letter in "ab"]
    files.write_atomically(str(path), versions[0])
    seen = set()
    is_done = threading.Event()

    def read() -> None:
        while not is_done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(200):
            files.write_atomically(str(path), versions[number % 2])
    finally:
        is_done.set()
        reader.join()
    assert seen <= set(versions)


def test_what_a_link_points_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    """A configuration that is a link, in a directory that is a link: as in the image."""
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "etc").symlink_to(run)
    (run / "real.conf").write_text("old")
    (run / "keepalived.conf").symlink_to("real.conf")
    files.write_atomically(str(tmp_path / "etc" / "keepalived.conf"), "new")
    assert (tmp_path / "etc").is_symlink()
    assert (run / "keepalived.conf").is_symlink()
    assert (run / "real.conf").read_text() == "new"
    assert {"real.conf", "keepalived.conf"} == {each.name for each in run.iterdir()}


def make_special(path: Path, kind: str) -> None:
    """Make something that is no file; the device is one that reads as zeros."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "directory":
        path.mkdir()
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("no device can be made here")


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "device"])
@pytest.mark.parametrize("through_link", [False, True], ids=["itself", "through a link"])
def test_what_is_no_regular_file_is_not_replaced(
    tmp_path: Path, kind: str, *, through_link: bool
) -> None:
    """KEEPALIVED_CONFIG=/dev/null must not cost the machine its /dev/null; nor any script."""
    target, path, script = (tmp_path / name for name in ("special", "keepalived.conf", "check"))
    make_special(target, kind)
    if through_link:
        path.symlink_to(target)
    else:
        path = target
    before, there = target.lstat(), sorted(tmp_path.iterdir())
    wanted = [RenderedFile(path=str(each), text="text") for each in (script, path)]
    with pytest.raises(SystemRefusedError, match=r"cannot write .*: .*(regular file|directory)"):
        files.replace_all(wanted)
    after = target.lstat()
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    assert there == sorted(tmp_path.iterdir())


def test_what_a_dangling_link_points_to_is_made(tmp_path: Path) -> None:
    """The first start: the link of the image points to a file that is not there yet."""
    (tmp_path / "link").symlink_to("target")
    files.write_atomically(str(tmp_path / "link"), "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/file", "No such file or directory"),
        ("plain/file", "Not a directory"),
        ("directory", "it is a directory"),
        ("x" * 300, "File name too long"),
        ("loop", "symbolic links"),
    ],
    ids=["no directory", "below a file", "a directory", "too long", "loop of links"],
)
def test_a_file_that_cannot_be_written_is_named_with_the_reason(
    tmp_path: Path, name: str, reason: str
) -> None:
    """And no temporary file is left."""
    (tmp_path / "plain").write_text("")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SystemRefusedError, match=reason) as caught:
        files.write_atomically(str(tmp_path / name), "text")
    assert f"cannot write {tmp_path / name}: " in str(caught.value)
    assert before == set(tmp_path.rglob("*"))


@root_only
@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ("size=16k", "x" * 100_000, "No space left on device"),
        ("size=1m,ro", "x", "Read-only file system"),
    ],
    ids=["full", "read-only"],
)
def test_a_disk_that_refuses_leaves_the_old_file(
    tmp_path: Path, options: str, text: str, reason: str
) -> None:
    """No space, or read-only: said, the old content stands, nothing else is left."""
    with mounted(tmp_path, options.removesuffix(",ro")):
        path = tmp_path / "file"
        path.write_text("old")
        subprocess.run(["mount", "-o", f"remount,{options}", str(tmp_path)], check=True)
        with pytest.raises(SystemRefusedError, match=reason):
            files.write_atomically(str(path), text)
        assert path.read_text() == "old"
        assert [path] == list(tmp_path.iterdir())


@root_only
def test_a_file_that_is_mounted_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A file that was bound into the container cannot be replaced in one step."""
    (tmp_path / "outside").write_text("outside")
    path = tmp_path / "file"
    path.write_text("")
    done = subprocess.run(
        ["mount", "--bind", str(tmp_path / "outside"), str(path)], check=False, capture_output=True
    )
    if done.returncode != 0:
        missing.skip("nothing can be mounted here", "REQUIRE_NETNS")
    try:
        with pytest.raises(SystemRefusedError, match=r"it is mounted.*mount its directory"):
            files.write_atomically(str(path), "new")
        assert path.read_text() == "outside"
    finally:
        subprocess.run(["umount", str(path)], check=True)


# --- the run directory --------------------------------------------------------------------------


def test_a_run_directory_is_made_with_what_belongs_into_it(tmp_path: Path) -> None:
    """Parents too; only the directory itself is closed to others."""
    directory = tmp_path / "run" / "ipfailover-agent"
    files.prepare_run_directory(run_paths(directory))
    assert mode_of(directory) == 0o700
    assert mode_of(directory / "tmp") == 0o700
    assert mode_of(directory / "hold") == 0o700
    assert mode_of(tmp_path / "run") & 0o755 == 0o755


def test_preparing_removes_what_is_stale_and_keeps_what_is_needed(tmp_path: Path) -> None:
    """Twice in a row, with everything an earlier run can have left."""
    paths = run_paths(tmp_path / "run")
    stale = (
        paths.candidate,
        paths.keepalived_pid,
        paths.vrrp_pid,
        paths.checkers_pid,
        paths.agent_pid,
        f"{paths.directory}/.status.json.17-3.new~",
        f"{paths.temporary}/keepalived.json",
        f"{paths.drain_requests}/1.json",
    )
    kept = (paths.addresses, paths.config, paths.status, paths.check, paths.drain)
    for _ in range(2):
        files.prepare_run_directory(paths)
        os.close(files.open_notify_fifo(paths.notify_fifo))
        for path in (*stale, *kept):
            files.write_atomically(path, "x")
    files.prepare_run_directory(paths)
    left = {each.name for each in (tmp_path / "run").rglob("*")}
    expected = (*kept, paths.temporary, paths.hold_directory, paths.drain_requests)
    assert {os.path.basename(path) for path in expected} == left  # noqa: PTH119 - names


def test_an_open_directory_is_closed_to_others(tmp_path: Path) -> None:
    """A run directory that Kubernetes made as 0777 is root's alone afterwards."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    files.prepare_run_directory(run_paths(tmp_path / "run"))
    assert mode_of(tmp_path / "run") == 0o700


@root_only
def test_a_noexec_mount_below_an_open_directory_will_do(tmp_path: Path) -> None:
    """As docker's --tmpfs makes it."""
    with mounted(tmp_path, "noexec,mode=0777"):
        paths = run_paths(tmp_path / "run")
        files.prepare_run_directory(paths)
        os.close(files.open_notify_fifo(paths.notify_fifo))
        files.write_pid_file(paths.agent_pid)
        assert os.getpid() == files.read_running_agent(paths.agent_pid)


def test_a_link_of_ours_to_a_directory_of_ours_is_followed(tmp_path: Path) -> None:
    """An operator may keep the run directory elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to("elsewhere")
    files.prepare_run_directory(run_paths(tmp_path / "run"))
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "elsewhere" / "tmp").is_dir()


@root_only
def test_a_link_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """In a directory that others may write to, they could have the agent write anywhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to("elsewhere")
    os.lchown(tmp_path / "run", 65534, 65534)
    with pytest.raises(SystemRefusedError, match="link to elsewhere that belongs to uid 65534"):
        files.prepare_run_directory(run_paths(tmp_path / "run"))
    assert not list((tmp_path / "elsewhere").iterdir())


@root_only
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Its owner could replace scripts that root runs."""
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 65534, 65534)
    with pytest.raises(SystemRefusedError, match="belongs to uid 65534 and the agent is uid 0"):
        files.prepare_run_directory(run_paths(tmp_path / "run"))


@pytest.mark.parametrize("obstacle", ["file", "below a file"])
def test_a_run_directory_that_cannot_be_is_named(tmp_path: Path, obstacle: str) -> None:
    """The error names the directory."""
    (tmp_path / "file").write_text("")
    directory = tmp_path / "file" / ("" if obstacle == "file" else "run")
    with pytest.raises(SystemRefusedError, match="cannot use run directory"):
        files.prepare_run_directory(run_paths(directory))


def test_a_link_in_the_run_directory_costs_nobody_a_file(tmp_path: Path) -> None:
    """Stale entries are removed themselves, not what they point to."""
    paths = run_paths(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("")
    (tmp_path / "run" / "tmp").symlink_to(tmp_path / "precious")
    Path(paths.candidate).symlink_to(tmp_path / "precious" / "file")
    files.prepare_run_directory(paths)
    assert (tmp_path / "precious" / "file").exists()


# --- the FIFO -----------------------------------------------------------------------------------


OBSTACLES: dict[str, Callable[[Path], object]] = {
    "nothing there": Path.exists,
    "fifo there": lambda path: os.mkfifo(path, 0o666),
    "file there": Path.touch,
    "directory there": lambda path: (path / "below").mkdir(parents=True),
    "link there": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("make", OBSTACLES.values(), ids=OBSTACLES.keys())
def test_the_fifo_replaces_whatever_is_in_its_place(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    """What is opened is a FIFO of the agent alone, which never ends and never blocks."""
    path = tmp_path / "notify.fifo"
    make(path)
    fd = files.open_notify_fifo(str(path))
    try:
        assert stat.S_ISFIFO(path.lstat().st_mode)
        assert mode_of(path) == 0o600
        with pytest.raises(BlockingIOError):
            os.read(fd, 1)
        path.write_text('INSTANCE "A" MASTER 100\n')  # a writer that comes and goes
        assert os.read(fd, 100) == b'INSTANCE "A" MASTER 100\n'
        with pytest.raises(BlockingIOError):
            os.read(fd, 1)
    finally:
        os.close(fd)


def test_a_fifo_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error names path and reason."""
    with pytest.raises(SystemRefusedError, match=r"cannot make FIFO .*missing/fifo: No such file"):
        files.open_notify_fifo(str(tmp_path / "missing" / "fifo"))


@contextlib.contextmanager
def living(code: str, word: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run code in a process that lives on when it is done."""
    program = (
        "import sys; from ipfailover_agent.paths import RunPaths;"
        "from ipfailover_agent.linux import files;"
        f"{code}; print(flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, word]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


# --- the pid file -------------------------------------------------------------------------------


def test_a_running_agent_is_found_by_its_pid_file(tmp_path: Path) -> None:
    """A process that wrote it and lives is found; once it is dead it is not."""
    path = str(tmp_path / "agent.pid")
    with living("files.write_pid_file(sys.argv[1])", path) as agent:
        assert agent.pid == files.read_running_agent(path)
        agent.kill()
        agent.wait()
    assert files.read_running_agent(path) is None


def test_another_process_with_the_same_pid_is_not_taken_for_the_agent(tmp_path: Path) -> None:
    """PID 1 of yesterday's container is not PID 1 of today's."""
    path = tmp_path / "agent.pid"
    started_at = process_started_at(os.getpid())
    assert started_at is not None
    path.write_text(f"{os.getpid()} {started_at - 1}\n")
    assert files.read_running_agent(str(path)) is None
    path.write_text(f"{os.getpid()} {started_at}\n")
    assert os.getpid() == files.read_running_agent(str(path))


@pytest.mark.parametrize(
    "content",
    [b"", b"17", b"x y", b"0 0", b"-1 5", b"\xff\xfe", b"1 2 3", b"9" * 5000 + b" 1"],
    ids=["empty", "no start", "words", "zero", "negative", "binary", "too many", "huge"],
)
def test_a_damaged_pid_file_is_none(tmp_path: Path, content: bytes) -> None:
    """Nothing runs, and nothing is raised."""
    path = tmp_path / "agent.pid"
    path.write_bytes(content)
    assert files.read_running_agent(str(path)) is None
    assert files.read_running_agent(str(tmp_path / "missing")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2500000\n", 2.5),
        ("0", 0.0),
        ("", None),
        ("-5", None),
        ("1_000", None),
        ("٣٤٥", None),
        ("²", None),
        ("1e3", None),
        ("9" * 400, None),
        ("9" * 5000, None),
    ],
    ids=lambda each: ascii(each)[:12],
)
def test_a_duration_is_written_in_ascii_digits(
    tmp_path: Path, text: str, expected: float | None
) -> None:
    """Whatever user may write there; nothing is raised."""
    path = tmp_path / "check.duration"
    path.write_text(text, encoding="utf-8")
    assert expected == files.read_duration(str(path), within=60)


# --- what is in the place of a file ---


def test_a_directory_in_the_place_of_a_file_costs_no_descriptor(tmp_path: Path) -> None:
    """It is looked at with each status, for as long as the agent runs."""
    path = str(tmp_path)
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        assert "" == files.read_reason(path)
        assert files.read_duration(path, within=60) is None
        assert files.read_running_agent(path) is None
        assert [] == history.read_lines(path)
        (tmp_path / "request.json").mkdir()
        with pytest.raises(ValueError, match="it cannot be read: Is a directory"):
            take_request(f"{path}/request.json")
        with pytest.raises(SettingsError, match="Is a directory"):
            sources.read_sysconfig_options(path)
    assert before == sorted(Path("/proc/self/fd").iterdir())


def test_a_pipe_in_the_place_of_a_file_is_empty(tmp_path: Path) -> None:
    """Also while another program keeps it open and writes nothing."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    assert "" == files.read_text(path)
    end = os.open(path, os.O_RDWR)
    try:
        assert "" == files.read_text(path)
        assert [] == history.read_lines(path)
    finally:
        os.close(end)


# --- the record of addresses --------------------------------------------------------------------


def recorded(path: Path) -> tuple[str | None, tuple[IPAddress, ...]]:
    """Return the interface and the addresses of a record."""
    return memory.read_recorded_interface(str(path)), memory.read_recorded_addresses(str(path))


def test_recorded_addresses_are_read_back(tmp_path: Path) -> None:
    """Both families, in order, with their interface."""
    path = tmp_path / "addresses.json"
    memory.record_addresses(str(path), "br-ex", ADDRESSES)
    assert ("br-ex", ADDRESSES) == recorded(path)


def test_no_record_is_no_addresses(tmp_path: Path) -> None:
    """A first start."""
    assert (None, ()) == recorded(tmp_path / "missing") == recorded(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=100))
@example(b'{"interface": "br-ex", "addresses": ["10.9.')
@example(b'{"interface": 7, "addresses": {"a": 1}}')
@example(b'{"interface": "", "addresses": [null, 5, "host", ["10.9.0.5"]]}')
@example(b"[" * 100_000)
@example(b"\xff\xfe")
def test_a_damaged_record_is_no_addresses(tmp_path: Path, content: bytes) -> None:
    """Whatever is in the file, nothing is raised and nothing is invented."""
    path = tmp_path / "addresses.json"
    path.write_bytes(content)
    assert recorded(path) in ((None, ()), ("br-ex", ()))


@pytest.mark.parametrize(
    ("record", "interface", "addresses"),
    [
        ('"br-ex", "addresses": ["10.9.0.5", "10.9", 168, "fd00:9::5"]', "br-ex", ADDRESSES),
        ('null, "addresses": ["10.9.0.5", "fd00:9::5"]', None, ADDRESSES),
        ('"br-ex", "addresses": null', "br-ex", ()),
    ],
    ids=["bad elements", "no interface", "no addresses"],
)
def test_what_is_damaged_in_a_record_costs_nothing_else(
    tmp_path: Path, record: str, interface: str | None, addresses: tuple[IPAddress, ...]
) -> None:
    """The clean-up after a crash goes by what is left."""
    path = tmp_path / "addresses.json"
    path.write_text(f'{{"interface": {record}}}')
    assert (interface, addresses) == recorded(path)


def test_removing_a_file_twice_is_no_error(tmp_path: Path) -> None:
    """Gone is gone; a directory that cannot be searched is an error with its path."""
    (tmp_path / "file").write_text("")
    files.remove_file(str(tmp_path / "file"))
    files.remove_file(str(tmp_path / "file"))
    assert not (tmp_path / "file").exists()
    (tmp_path / "plain").write_text("")
    with pytest.raises(SystemRefusedError, match=r"cannot remove .*below: Not a directory"):
        files.remove_file(str(tmp_path / "plain" / "below"))


def test_only_one_process_holds_the_run_directory(tmp_path: Path) -> None:
    """A second agent is refused, also where pids say nothing; the end of the first frees it."""
    paths = RunPaths(directory=str(tmp_path / "run"), config="/nowhere")
    program = "files.lock_run_directory(RunPaths(directory=sys.argv[1], config=''))"
    with living(program, paths.directory) as first:
        with pytest.raises(SystemRefusedError, match="another agent runs with it"):
            files.lock_run_directory(paths)
        first.kill()
    os.close(files.lock_run_directory(paths))
