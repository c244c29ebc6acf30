"""Files that the agent keeps: atomic replacement, run directory, FIFO, pid file, record."""

# pathlib costs start-up time and has no descriptors.
# ruff: noqa: PTH102, PTH103, PTH105, PTH108, PTH114, PTH115, PTH116, PTH123, PTH208

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.linux.host import process_started_at
from ipfailover_agent.linux.process import enlarge_pipe
from ipfailover_agent.model import RenderedFile
from ipfailover_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipfailover_agent.paths import RunPaths

TERMINATION_LOG: Final = "/dev/termination-log"
"""Where Kubernetes looks for why a container ended, by default."""

_PRIVATE_DIRECTORY: Final = 0o700
_PRIVATE_FILE: Final = 0o600
_SMALL: Final = 1 << 20  # bytes
_LONGEST_FIGURE: Final = 15  # digits
_TERMINATION_LIMIT: Final = 4096  # bytes, Kubernetes' own
_TEMPORARY_SUFFIX: Final = ".new~"
_temporary_numbers = itertools.count()


def write_atomically(path: str, text: str, mode: int = _PRIVATE_FILE) -> None:
    """Replace a file in one step: a reader sees the old content or the new one.

    A symbolic link stays, what it points to is replaced. Nothing is synced to disk: every file is
    written anew at start, and waiting for a disk would stall the loop.

    Raises:
        SystemRefusedError: with the path and the reason; the old file is as it was.
    """
    replace_all([RenderedFile(path=path, text=text, mode=mode)])


def replace_all(wanted: Sequence[RenderedFile]) -> None:
    """Replace files as :func:`write_atomically` does, all of them or none.

    What needs room on the disk is done for all before the first one is replaced.

    Raises:
        SystemRefusedError: with the path and the reason; the old files are as they were.
    """
    with contextlib.ExitStack() as undo:
        staged = []
        for each in wanted:
            staged.append(stage(each))
            undo.callback(discard, staged[-1])
        for ready in staged:
            commit(ready)


class StagedFile(Struct, frozen=True, kw_only=True):
    """A file whose content is on the disk already, beside the one that it will replace."""

    path: str
    temporary: str
    target: str


def stage(wanted: RenderedFile) -> StagedFile:
    """Write a file beside its target: everything that needs room is done then.

    Raises:
        SystemRefusedError: with the path and the reason; nothing is left.
    """
    target = os.path.realpath(wanted.path)
    directory, name = os.path.split(target)
    number = next(_temporary_numbers)
    temporary = f"{directory}/.{name}.{os.getpid()}-{number}{_TEMPORARY_SUFFIX}"
    staged = StagedFile(path=wanted.path, temporary=temporary, target=target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with _explained(f"cannot write {wanted.path}"):
        if os.path.islink(target):  # what realpath leaves of a loop
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if reason := obstacle(target):
            raise OSError(errno.EINVAL, reason)
        discard(staged)  # of an earlier process with the same pid
        try:
            with open(os.open(temporary, flags, _PRIVATE_FILE), "wb") as file:
                file.write(wanted.text.encode("utf-8", "surrogateescape"))
                os.fchmod(file.fileno(), wanted.mode)
        except BaseException:
            discard(staged)
            raise
    return staged


def commit(staged: StagedFile) -> None:
    """Put a staged file in the place of its target.

    Raises:
        SystemRefusedError: with the path and the reason; the old file is as it was.
    """
    with _explained(f"cannot write {staged.path}"):
        os.replace(staged.temporary, staged.target)


def discard(staged: StagedFile) -> None:
    """Remove a staged file that was not put in place."""
    with contextlib.suppress(OSError):
        os.unlink(staged.temporary)


def obstacle(path: str) -> str:
    """Return what makes it impossible to put a file at ``path``, as text, or nothing.

    A device, a pipe or a socket could be replaced, as root /dev/null too: the machine needs it.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISDIR(mode):
        return "it is a directory"
    return "" if stat.S_ISREG(mode) else "what is there is not a regular file"


def lock_run_directory(paths: RunPaths) -> int:
    """Make the run directory if need be and take it for this process; return the lock.

    The lock ends with the process, however it ends, and holds across PID namespaces, where a pid
    says nothing.

    Raises:
        SystemRefusedError: it cannot be made or locked, or another agent holds it.
    """
    what = f"cannot use run directory {paths.directory}"
    with _explained(what):
        _refuse_foreign_link(paths.directory, what)
        os.makedirs(paths.directory, mode=0o755, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(paths.lock, flags, _PRIVATE_FILE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise SystemRefusedError(f"{what}: another agent runs with it") from error
    return lock


def prepare_run_directory(paths: RunPaths) -> None:
    """Make the run directory the agent's alone, and remove what an earlier run left in it.

    Kept are the records of addresses and of drains, and the active configuration where it lies
    here. Lock it first: pid files are removed.

    Raises:
        SystemRefusedError: it cannot be made, or it belongs to another user.
    """
    what = f"cannot use run directory {paths.directory}"
    with _explained(what):
        _refuse_foreign_link(paths.directory, what)
        os.makedirs(paths.directory, mode=0o755, exist_ok=True)
        _claim(paths.directory, what)
        _remove_temporary(paths.directory)
        made_anew = (paths.temporary, paths.hold_directory, paths.drain_requests)
        for stale in (
            *made_anew,
            paths.candidate,
            paths.notify_fifo,
            paths.keepalived_pid,
            paths.vrrp_pid,
            paths.checkers_pid,
            paths.agent_pid,
            paths.check_track,
            paths.ready,
        ):
            _remove(stale)
        for each in made_anew:
            os.mkdir(each, _PRIVATE_DIRECTORY)


def make_directory(path: str) -> None:
    """Make a directory and its parents, unless it is there.

    Raises:
        SystemRefusedError: it cannot be made.
    """
    with _explained(f"cannot make directory {path}"):
        os.makedirs(path, mode=0o755, exist_ok=True)


def remove_run_directory(paths: RunPaths) -> None:
    """Remove what the agent made in the run directory, and the directory if nothing is left.

    keepalived.conf holds the password. It is removed in the run directory, and at
    ``paths.config`` where its first line shows that the agent wrote it.

    Raises:
        SystemRefusedError: something in it cannot be removed, or it belongs to another user.
    """
    what = f"cannot remove run directory {paths.directory}"
    with _explained(what):
        _refuse_foreign_link(paths.directory, what)
        for each in (*paths.all_files, f"{paths.directory}/keepalived.conf"):
            with contextlib.suppress(NotADirectoryError):
                _remove(each)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            _remove_temporary(paths.directory)
        if _is_generated(paths.config):
            _remove(os.path.realpath(paths.config))  # the image's is a link, which stays
        with contextlib.suppress(OSError):  # a mount, or another program's file in it
            os.rmdir(paths.directory)  # noqa: PTH106 - pathlib costs start-up time


def open_notify_fifo(path: str) -> int:
    """Make the FIFO that keepalived writes transitions to, and return a descriptor of it.

    It is opened for reading and writing, so that it does not end when keepalived's VRRP child is
    restarted, and enlarged: keepalived drops lines silently when it is full.

    Raises:
        SystemRefusedError: it cannot be made or opened.
    """
    with _explained(f"cannot make FIFO {path}"):
        _remove(path)
        os.mkfifo(path, _PRIVATE_FILE)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.fchmod(fd, _PRIVATE_FILE)
    enlarge_pipe(fd)
    return fd


def write_pid_file(path: str) -> None:
    """Record this process: its pid and when it started, in clock ticks after boot.

    Raises:
        SystemRefusedError: it cannot be written.
    """
    pid = os.getpid()
    write_atomically(path, f"{pid} {process_started_at(pid)}\n")


def read_running_agent(path: str) -> int | None:
    """Return the pid in a pid file if that very process still runs, else None."""
    try:
        pid, started_at = (int(word) for word in read_text(path).split())
    except (OSError, ValueError):
        return None
    return pid if pid > 0 and process_started_at(pid) == started_at else None


def remove_file(path: str) -> None:
    """Remove a file; one that is not there is no error.

    Raises:
        SystemRefusedError: it cannot be removed.
    """
    with _explained(f"cannot remove {path}"):
        _remove(path)


def remove_stale(path: str) -> None:
    """Remove the regular file that a path leads to; what else is there stays as it is.

    Raises:
        SystemRefusedError: it cannot be removed.
    """
    target = os.path.realpath(path)
    if not obstacle(target):
        remove_file(target)


def read_reason(path: str) -> str:
    """Return why the check script failed, in one line; empty where it does not say."""
    try:
        return one_line(read_text(path, errors="backslashreplace"))
    except OSError:
        return ""


def read_duration(path: str, within: float) -> float | None:
    """Return the seconds that the last run of the check script took; None where unknown.

    A figure that is older than ``within`` seconds is that of an earlier run: the last one was
    killed, or does not measure itself.
    """
    try:
        written = os.stat(path).st_mtime
        text = read_text(path).strip()
    except (OSError, ValueError):
        return None
    is_figure = text.isascii() and text.isdigit() and len(text) <= _LONGEST_FIGURE
    return int(text) / 1_000_000 if is_figure and abs(time.time() - written) <= within else None


def read_text(path: str, limit: int = _SMALL, errors: str = "strict") -> str:
    """Return the first ``limit`` bytes of a file; ``errors`` as :meth:`bytes.decode` takes it.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    with open(path, "rb", opener=without_waiting) as file:
        # None of a pipe that a writer keeps open without writing anything.
        return (file.read(limit) or b"").decode("utf-8", errors)


def write_termination_message(path: str, text: str) -> None:
    """Write why the agent ends where Kubernetes looks for it: the kubelet mounts that file.

    It shows at most 4096 bytes of it (the pod's ``terminationMessagePath``). A file that is not
    there, or is something else than a file, is another program's, and no error costs the exit
    code.
    """
    data = text.encode("utf-8", "replace")
    if len(data) > _TERMINATION_LIMIT:
        data = data[: _TERMINATION_LIMIT - 4].decode("utf-8", "ignore").encode() + b"..."
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with contextlib.suppress(OSError), open(os.open(path, flags), "wb", buffering=0) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
            file.write(data)


def without_waiting(path: str, flags: int) -> int:
    """Return a descriptor, as an ``opener`` of :func:`open`; a pipe is not waited for.

    Given a descriptor instead, ``open`` would leave it open where it finds a directory.
    """
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def _refuse_foreign_link(path: str, what: str) -> None:
    """Refuse a link that another user made: it could point elsewhere at any time."""
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in {0, os.geteuid()}:
            raise SystemRefusedError(
                f"{what}: it is a link to {os.readlink(path)} that belongs to uid {found.st_uid}"
            )


def _claim(path: str, what: str) -> None:
    """Make sure that the directory is the agent's and closed to other users."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        owner = os.fstat(fd).st_uid
        if owner != os.geteuid():
            raise SystemRefusedError(
                f"{what}: it belongs to uid {owner} and the agent is uid {os.geteuid()}"
            )
        os.fchmod(fd, _PRIVATE_DIRECTORY)
    finally:
        os.close(fd)


def _remove_temporary(directory: str) -> None:
    """Remove what a writer that was killed had not put in place yet."""
    for entry in os.listdir(directory):
        if entry.endswith(_TEMPORARY_SUFFIX):
            _remove(f"{directory}/{entry}")


def _is_generated(path: str) -> bool:
    """Return whether a file's first line shows that the agent wrote it."""
    if obstacle(path):
        return False
    try:
        with open(path, "rb") as file:
            return b"generated by ipfailover-agent" in file.readline(_SMALL)
    except OSError:
        return False


def _remove(path: str) -> None:
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except IsADirectoryError:
        import shutil  # noqa: PLC0415 - 10 ms, hardly ever needed

        shutil.rmtree(path)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the system's error into the agent's: what could not be done, and why."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EBUSY:
            reason = "it is mounted and cannot be replaced; mount its directory instead"
        raise SystemRefusedError(f"{what}: {reason}") from error
