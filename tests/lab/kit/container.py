"""A node's container: a process tree in PID and mount namespaces of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, Signals

from tests.lab.kit import processes
from tests.lab.kit.namespaces import LabError, NetworkNamespace, base_environment, run
from tests.support.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[3]


class Container:
    """One run of a command in a node's network namespace, which survives it.

    Everything in it dies with PID 1, and PID 1 with this program.
    """

    def __init__(
        self,
        network: NetworkNamespace,
        directory: Path,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        as_pid_1: bool,
        prepare: str,
        run_mount: str,
    ) -> None:
        self.stdout = directory / "stdout"
        self.stderr = directory / "stderr"
        self.environment = {**base_environment(), "TMPDIR": "/run/tmp", **environment}
        self._directory = directory
        self._network = network
        self._as_pid_1 = as_pid_1
        self._pid: int | None = None
        init = Path(__file__).with_name("init.py")
        adopted = [] if as_pid_1 else [sys.executable, "-I", "-S", str(init), str(directory)]
        self._noise = directory / "unshare"
        with (
            self.stdout.open("wb") as stdout,
            self.stderr.open("wb") as stderr,
            self._noise.open("wb") as noise,
        ):
            self._unshare = network.spawn(
                [
                    *("unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"),
                    *("sh", str(Path(__file__).with_name("container.sh")), run_mount, prepare),
                    *adopted,
                    *command,
                ],
                stdin=stderr,
                stdout=stdout,
                stderr=noise,
                environment=self.environment,
                directory=str(PROJECT),
            )

    @property
    def is_running(self) -> bool:
        """Return whether PID 1 lives."""
        return self._unshare.poll() is None

    @property
    def pid(self) -> int:
        """Return the pid of the container's PID 1 as this program sees it."""
        if self._pid is None:
            self._pid = wait_until(self._find_pid, 5, "the container's PID 1 starts")
        return self._pid

    @property
    def agent_pid(self) -> int:
        """Return the pid of the command as this program sees it."""
        if self._as_pid_1:
            return self.pid
        inner = int(wait_until(self._agent_pid_text, 5, "the agent starts"))
        for each in self.processes():
            if processes.inner_pid(each.pid) == inner:
                return each.pid
        raise LabError(f"{self._network.name}: the agent does not run")

    def processes(self) -> tuple[processes.Process, ...]:
        """Return everything that runs in the container, zombies left out."""
        if not self.is_running:
            return ()
        identity = processes.pid_namespace(self.pid)
        return processes.in_pid_namespace(identity) if identity else ()

    def signal(self, number: Signals) -> bool:
        """Send a signal to the command; False when it is gone."""
        return self.is_running and processes.send(self.agent_pid, number)

    def signal_all(self, number: Signals) -> None:
        """Send a signal to every process; once more for those that were born meanwhile."""
        for _ in range(2):
            for each in self.processes():
                processes.send(each.pid, number)

    def kill(self) -> None:
        """Kill everything at once, as the kernel does when PID 1 is killed; wait for the end."""
        if self.is_running:
            # Either may be gone by now; killing unshare takes PID 1 along.
            with contextlib.suppress(AssertionError):
                processes.send(self.pid, SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._unshare.wait(2)
            self._unshare.kill()
        self._unshare.wait()

    def wait(self, timeout: float) -> int:
        """Return the command's exit code, negative for a signal; LabError when it lives on."""
        if self._as_pid_1:
            try:
                code = self._unshare.wait(timeout)
            except subprocess.TimeoutExpired:
                message = f"{self._network.name}: the container still runs after {timeout:g} s"
                raise LabError(message) from None
            # util-linux 2.38 stumbles when it passes on that PID 1 was killed, and exits 1.
            stumbled = "sigprocmask" in _text(self._noise)
            return -SIGKILL if stumbled else code
        text = wait_until(self._agent_exit_text, timeout, "the agent ends")
        return int(text)

    def run(self, command: Sequence[str], *, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run ``command`` in the container's namespaces with the container's environment."""
        enter = ["nsenter", f"--target={self.pid}", "--pid", "--mount", "--net", "--root", "--"]
        return run([*enter, *command], check=False, timeout=timeout, environment=self.environment)

    def path(self, path: str) -> Path:
        """Return where this program finds the container's ``path``."""
        return Path(f"/proc/{self.pid}/root{path}")

    def _find_pid(self) -> int | None:
        if not self.is_running:
            last = (_text(self._noise) + _text(self.stderr)).splitlines()[-1:]
            raise LabError(f"{self._network.name}: the container does not run: {''.join(last)}")
        return processes.child_of(self._unshare.pid)

    def _agent_pid_text(self) -> str:
        return _text(self._directory / "agent.pid")

    def _agent_exit_text(self) -> str:
        return _text(self._directory / "agent.exit")


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
