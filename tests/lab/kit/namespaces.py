"""Network namespaces that are held by file descriptors alone.

Nothing is created by name: a namespace lives as long as a descriptor or a process of this run
does, so the kernel clears everything away when this program ends, however it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)

#: Where the tools lie; an ordinary user's PATH often lacks the sbin directories.
TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PLAIN = Path(__file__).parents[2] / "support" / "plain"  # see there

_Result = TypeVar("_Result")


class LabError(Exception):
    """The lab itself could not do what it was asked."""


def base_environment() -> dict[str, str]:
    """Return the variables every child of the lab gets: little, so that runs are alike.

    None of coverage's: measuring it doubles what a start of the agent costs, and what an agent
    of the lab does, tests of processes do as well.
    """
    kept = ("LANG",)
    path = os.environ.get("PYTHONPATH", "")
    return {
        "PATH": f"{os.environ.get('PATH', '')}:{TOOL_PATH}".removeprefix(":"),
        "PYTHONPATH": f"{_PLAIN}:{path}".removesuffix(":"),
        **{name: os.environ[name] for name in kept if name in os.environ},
    }


def in_thread(action: Callable[[], _Result]) -> _Result:
    """Run ``action`` in a thread of its own and return its result or raise its error.

    unshare(2) and setns(2) change the calling thread only: the thread ends with the change.
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - handed to the caller as it is
            errors.append(error)

    thread = threading.Thread(target=body, name="lab-namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _check(result: int, doing: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} ({doing})")


class NetworkNamespace:
    """A new network namespace; ``close`` lets go of it."""

    def __init__(self, name: str) -> None:
        """Create it. OSError where the kernel or a missing CAP_SYS_ADMIN forbids it."""
        self.name = name
        self._fd = in_thread(self._create)

    @staticmethod
    def _create() -> int:
        _check(_LIBC.unshare(_CLONE_NEWNET), "unshare a network namespace")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def path(self) -> str:
        """Return the path by which other processes of this user enter it."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def close(self) -> None:
        """Let go of the namespace: it ends with its last process or socket."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def call(self, action: Callable[[], _Result]) -> _Result:
        """Run ``action`` inside; sockets that it opens stay inside."""

        def inside() -> _Result:
            _check(_LIBC.setns(self._fd, _CLONE_NEWNET), f"enter namespace {self.name}")
            return action()

        return in_thread(inside)

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Return a socket that lives inside."""
        return self.call(lambda: socket.socket(family, kind, protocol))

    def set_sysctls(self, values: Mapping[str, str]) -> None:
        """Write values below /proc/sys/net, which shows the writer's own namespace."""

        def write() -> None:
            for name, value in values.items():
                Path("/proc/sys/net", name).write_text(value)

        self.call(write)

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs ``command`` inside."""
        return ["nsenter", f"--net={self.path}", "--", *command]

    def run(
        self,
        command: Sequence[str],
        *,
        text: str | None = None,
        check: bool = True,
        timeout: float = 20,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` inside and wait for it; LabError with its output when it fails."""
        return run(self.argv(command), text=text, check=check, timeout=timeout)

    def ip(self, lines: Sequence[str]) -> None:
        """Run many commands of ip in one process."""
        self.run(["ip", "-batch", "-"], text="".join(f"{line}\n" for line in lines))

    def spawn(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
        stderr: IO[bytes] | int = subprocess.DEVNULL,
        directory: str | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` inside, in ``base_environment`` where none is given.

        It is killed when the calling *thread* ends.

        So call it from a thread that outlives the child, the main thread as a rule.
        """
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.argv(command)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=dict(environment if environment is not None else base_environment()),
            cwd=directory,
            pass_fds=pass_fds,
            start_new_session=True,
        )

    @contextlib.contextmanager
    def running(
        self,
        command: Sequence[str],
        *,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run ``command`` inside until the end of the block, and kill it then."""
        child = self.spawn(command, stdin=stdin, stdout=stdout)
        try:
            yield child
        finally:
            child.kill()
            child.communicate()


def run(
    command: Sequence[str],
    *,
    text: str | None = None,
    check: bool = True,
    timeout: float = 20,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` and wait; LabError with its output when ``check`` and it fails."""
    done = subprocess.run(
        list(command),
        check=False,
        input=text if text is not None else "",
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        env=dict(environment if environment is not None else base_environment()),
    )
    if check and done.returncode != 0:
        said = (done.stderr + done.stdout).strip()
        raise LabError(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done
