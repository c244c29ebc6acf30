"""Starting, signalling and reaping processes, with their output; the only place that calls wait.

Any other waiting code (``subprocess``, asyncio) would race with the reaper for exit codes, so
nothing of that kind runs beside it.
"""

# pathlib costs start-up time and has no descriptors.
# ruff: noqa: PTH100, PTH110, PTH113, PTH118, PTH208

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ipfailover_agent.errors import KeepalivedMissingError, NotPermittedError, SystemRefusedError
from ipfailover_agent.model import ScriptState
from ipfailover_agent.text import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)
_PIPE_SIZES: Final = (1 << 20, 1 << 18)  # bytes; the first is what an ordinary user may ask for
_FIRST_PRIVATE_FD: Final = 3
_CANNOT_EXECUTE: Final = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC, errno.ELIBBAD}
_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


_LIMIT: Final = 1 << 22  # bytes of a stream
_LINES: Final = 50  # what a person reads; keepalived may write a line per instance
_LINE_LIMIT: Final = 1 << 16  # characters
_OF_LINES: Final = 1 << 18  # bytes that are read for lines: to decode all would hold up the loop
_FLAGS: Final = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
_NOEXEC_SEAL: Final = 8  # linux/memfd.h; from 6.3 on, which may then ask for it (vm.memfd_noexec)
_SEALS: Final = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK


class ChildExit(Struct, frozen=True, kw_only=True):
    """A process that ended and was reaped: a child of the agent, or an orphan that it got.

    Exactly one of ``exit_code`` and ``signal`` (the number of the one that killed it) is set.
    """

    pid: int
    exit_code: int | None = None
    signal: int | None = None


def find_program(name: str, path: str | None = None) -> str:
    """Return the absolute path of a program.

    Args:
        name: looked up in ``path`` unless it contains a slash.
        path: directories separated by colons, as in PATH; None for the usual ones.

    Raises:
        KeepalivedMissingError: it is not there, or it cannot be executed.
    """
    directories = (path or _DEFAULT_PATH).split(":")
    state, found = look_up(name, directories)
    if state is ScriptState.USABLE:
        return os.path.abspath(found)
    reason = "it is not there" if state is ScriptState.MISSING else "it is not executable"
    where = "" if "/" in name else f" (PATH is {':'.join(directories)})"
    raise KeepalivedMissingError(f"cannot start {name!r}: {reason}{where}")


def look_up(name: str, directories: Sequence[str]) -> tuple[ScriptState, str]:
    """Return whether a program can be run, and its path if it can.

    It is looked for in the directories, unless its name contains a slash. A file on a noexec mount
    cannot be run: access(2) reports that for root too.
    """
    state = ScriptState.MISSING
    for directory in [""] if "/" in name else directories:
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return ScriptState.USABLE, path
        if os.path.exists(path):
            state = ScriptState.NOT_EXECUTABLE
    return state, ""


def spawn(argv: Sequence[str], *, environment: Mapping[str, str], stdout: int, stderr: int) -> int:
    """Start a program and return its pid.

    It leads a process group of its own, has no signal blocked or ignored, reads /dev/null, and
    inherits no descriptor but ``stdout`` and ``stderr``.

    Raises:
        KeepalivedMissingError: the program is not there or cannot be executed.
        SystemRefusedError: no process could be made.
    """
    program = find_program(argv[0], environment.get("PATH"))
    try:
        _keep_descriptors_to_ourselves()
        with contextlib.ExitStack() as copies:
            # out of the way of 0 to 2, which are replaced one after the other
            out, err = (_copy_above_standard(fd, copies) for fd in (stdout, stderr))
            return os.posix_spawn(
                program,
                list(argv),
                dict(environment),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, out, 1),
                    (os.POSIX_SPAWN_DUP2, err, 2),
                ],
                setpgroup=0,
                setsigmask=[],
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
    except OSError as error:
        message = f"cannot start {program!r}: {error.strerror}"
        if error.errno in _CANNOT_EXECUTE:
            raise KeepalivedMissingError(message) from error
        raise SystemRefusedError(message) from error


def reap() -> Iterator[ChildExit]:
    """Yield every child that has ended, until none is left; exhaust it at every SIGCHLD."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            yield ChildExit(pid=pid, signal=-code)
        else:
            yield ChildExit(pid=pid, exit_code=code)


def has_ended(pid: int) -> bool:
    """Return whether a child has ended; it is left to be reaped."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def signal_process(pid: int, signum: int) -> bool:
    """Signal a process; return False when it is gone.

    Raises:
        NotPermittedError: it belongs to another user.
    """
    if pid < 1:  # 0 is the own group, -1 every process
        raise ValueError(f"internal error: {pid} is no process")
    return _send(os.kill, pid, signum)


def signal_group(group: int, signum: int) -> bool:
    """Signal every process of a group; return False when none is left.

    Raises:
        NotPermittedError: they belong to another user.
    """
    if group <= 1:  # kill(-1) reaches every process, killpg(0) the agent
        raise ValueError(f"internal error: {group} is no process group of the agent's")
    return _send(os.killpg, group, signum)


def group_exists(group: int) -> bool:
    """Return whether a process of that group exists; one that waits to be reaped counts."""
    try:
        return signal_group(group, 0)
    except NotPermittedError:
        return True


def become_subreaper() -> None:
    """Have orphaned descendants handed to this process, as PID 1 has anyway.

    Raises:
        SystemRefusedError: the kernel does not allow it.
    """
    if os.getpid() == 1:
        return
    if reason := prctl(_PR_SET_CHILD_SUBREAPER, 1):
        raise SystemRefusedError(f"cannot become child subreaper: {reason}")


def prctl(option: int, first: int, second: int = 0) -> str:
    """Set an attribute of this process; return why the kernel refuses it, or nothing."""
    import ctypes  # noqa: PLC0415 - needed outside containers, or without SETGID

    call = ctypes.CDLL(None, use_errno=True).prctl
    call.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    return os.strerror(ctypes.get_errno()) if call(option, first, second, 0, 0) else ""


def make_output_pipe() -> tuple[int, int]:
    """Return the reading and the writing end of a large pipe, both non-blocking.

    The child gets the writing end: with a full blocking one keepalived 2.2.7 never becomes MASTER,
    with a non-blocking one it loses log lines and goes on.
    """
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    enlarge_pipe(writing)
    return reading, writing


def enlarge_pipe(fd: int) -> None:
    """Give a pipe as much room as the kernel allows, up to 1 MiB."""
    for size in _PIPE_SIZES:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
            return


class CapturedRun:
    """A program that runs beside the loop, and whose output is kept in memory.

    Nothing has to be read while it runs, it cannot be blocked, and a child that it leaves behind
    does not keep its run from ending. What it writes beyond a limit is refused to it. It is over,
    and everything is known, once it was reaped.

    Args:
        argv: the command line.
        environment: what the program gets.
        limit: bytes of each stream.
        is_split: its errors are a stream of their own, and not part of its output.

    Raises:
        KeepalivedMissingError: the program cannot be executed.
        SystemRefusedError: no process or no memory is to be had.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        limit: int = _LIMIT,
        is_split: bool = False,
    ) -> None:
        self._limit = limit
        with contextlib.ExitStack() as opened:
            self._files = [_memory(opened, limit) for _ in range(1 + is_split)]
            output, errors = self._files[0], self._files[-1]
            self.pid = spawn(argv, environment=environment, stdout=output, stderr=errors)
            self._opened = opened.pop_all()

    def kill(self) -> None:
        """End it with all processes of its group; it must not have been reaped."""
        signal_group(self.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """Kill it and forget its output; the reaper of the agent finds an orphan."""
        self.kill()
        self._opened.close()

    def end(self) -> tuple[str, ...]:
        """Return the text of each stream; the run is over."""
        with self._opened:
            return tuple(_text(each, self._limit) for each in self._files)

    def end_in_lines(self) -> tuple[str, ...]:
        """Return the first lines of its output, harmless ones; the run is over."""
        with self._opened:
            text = _text(self._files[0], _OF_LINES).removesuffix("\n")
        lines = text.split("\n")[:_LINES] if text else ()
        return tuple(harmless(each[:_LINE_LIMIT], kept="\t") for each in lines)


def _send(send: Callable[[int, int], None], target: int, signum: int) -> bool:
    try:
        send(target, signum)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise NotPermittedError(f"cannot signal process {target}: {error.strerror}") from error
    return True


def _copy_above_standard(fd: int, copies: contextlib.ExitStack) -> int:
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_FD)
    copies.callback(os.close, copy)
    return copy


def _keep_descriptors_to_ourselves() -> None:
    """Close on exec what the parent process handed down beyond stdin, stdout and stderr."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd >= _FIRST_PRIVATE_FD:
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone
                if os.get_inheritable(fd):
                    os.set_inheritable(fd, False)  # noqa: FBT003 - the library's signature


def _memory(opened: contextlib.ExitStack, limit: int) -> int:
    """Return a file in memory that cannot grow beyond its limit, and takes up what is written."""
    try:
        try:
            fd = os.memfd_create("output", _FLAGS | _NOEXEC_SEAL)
        except OSError:  # an older kernel does not know that flag
            fd = os.memfd_create("output", _FLAGS)
    except OSError as error:
        raise SystemRefusedError(f"cannot keep output in memory: {error.strerror}") from error
    opened.callback(os.close, fd)
    with contextlib.suppress(OSError):  # a sandbox without seals, RLIMIT_FSIZE: then it may grow
        os.ftruncate(fd, limit)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def _text(fd: int, limit: int) -> str:
    written = os.lseek(fd, 0, os.SEEK_CUR)  # the program's writes moved the offset that it shares
    return os.pread(fd, min(written, limit), 0).decode("utf-8", "backslashreplace")
