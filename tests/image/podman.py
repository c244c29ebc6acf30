"""Containers of the image on the lab's nodes: a node's network is the pod's."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.lab.kit.namespaces import LabError, run
from tests.lab.kit.node import Node
from tests.support.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]
SUITES = ("trixie", "bookworm")

#: As little as the image may be given. A real runtime adds no /tmp either.
STRICT = (
    *("--cap-drop", "ALL", "--cap-add", "NET_ADMIN,NET_RAW"),
    *("--security-opt", "no-new-privileges"),
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/run"),
)

# Where neither cgroups nor limits may be changed, podman runs with runc and with modest limits.
_PODMAN = ("podman", "--runtime", "runc")
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
_OWNER = "ipfailover-agent-test"
_numbers = itertools.count(1)


def why_impossible() -> str | None:
    """Return in a sentence why images cannot be built and run here, None when they can."""
    if os.geteuid() != 0:
        return "building and running images needs root"
    missing = [name for name in ("podman", "buildah", "runc") if shutil.which(name) is None]
    if missing:
        return f"not found: {', '.join(missing)}; tests/support/setup-image.sh installs them"
    return None


def podman(
    *arguments: str, check: bool = True, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run podman; LabError with what it said when ``check`` and it fails."""
    return run([*_PODMAN, *arguments], check=check, timeout=timeout, environment=os.environ)


def build(suite: str) -> str:
    """Build the image on that Debian and return its name; one process at a time builds."""
    name = f"localhost/ipfailover-agent-test:{suite}"
    with Path("/var/tmp/ipfailover-agent-image.lock").open("w") as lock:  # noqa: S108 - a lock
        fcntl.flock(lock, fcntl.LOCK_EX)
        for script in (["tests/support/setup-image.sh", suite], ["image/build.sh", suite, name]):
            done = subprocess.run(
                [str(PROJECT / script[0]), *script[1:]],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=900,
            )
            if done.returncode != 0:
                raise LabError(f"{' '.join(script)} failed:\n{done.stdout}\n{done.stderr}")
    return name


def build_podman() -> str:
    """Build an image with podman 5 in it and return its name; layers of before are taken again."""
    name = "localhost/ipfailover-agent-test:podman"
    recipe = str(PROJECT / "tests" / "support" / "Dockerfile.quadlet")
    with Path("/var/tmp/ipfailover-agent-image.lock").open("w") as lock:  # noqa: S108 - a lock
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = ("--layers", "--pull-never", "--network=host", "--isolation=chroot")
        run(
            ["buildah", "bud", "--quiet", *options, "--tag", name, "--file", recipe],
            timeout=600,
            environment=os.environ,
        )
    return name


def remove_abandoned() -> None:
    """Remove containers of test runs that were killed before they could."""
    shown = podman("ps", "--all", "--filter", f"label={_OWNER}", "--format", "json").stdout
    for each in json.loads(shown or "[]"):
        if not Path("/proc", each["Labels"][_OWNER]).exists():
            podman("rm", "--force", "--time", "0", each["Id"], check=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a container ended, and in how many seconds."""

    exit_code: int
    seconds: float


class Pod:
    """One container of the image on a node; a context manager that removes it.

    ``environment`` is all it gets. ``options`` are podman's, ``command`` replaces the image's
    arguments, ``entrypoint`` its entry point.
    """

    def __init__(
        self,
        node: Node | None,
        image: str,
        environment: Mapping[str, str] | None = None,
        *,
        options: Sequence[str] = STRICT,
        entrypoint: str | None = None,
        command: Sequence[str] = (),
    ) -> None:
        self.node = node
        self.environment = dict(environment or {})
        self.name = f"{_OWNER}-{os.getpid()}-{next(_numbers)}"
        network = f"ns:{node.network.path}" if node is not None else "none"
        variables = [f"--env={name}={value}" for name, value in self.environment.items()]
        self._create = [
            *("run", "--detach", "--name", self.name, "--label", f"{_OWNER}={os.getpid()}"),
            *("--log-driver", "k8s-file", f"--network={network}", "--pull=never", *_LIMITS),
            # That of the machine cannot be reached from a node: keepalived would wait for it.
            *(() if "--dns" in options else ("--dns", "127.0.0.1")),
            *variables,
            *options,
            *(("--entrypoint", entrypoint) if entrypoint is not None else ()),
            *(image, *command),
        ]
        self.started = time.monotonic()
        podman(*self._create)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.remove()

    # --- what it says --------------------------------------------------------------------------

    def logs(self) -> str:
        """Return everything it wrote, both streams in their order."""
        done = podman("logs", self.name, check=False)
        return done.stdout + done.stderr

    def entered(self, instance: str) -> str:
        """Return the state that the last such log line says the instance has entered, or -."""
        start = f"({instance}) Entering "
        lines = [each.partition(start)[2] for each in self.logs().splitlines() if start in each]
        return lines[-1].split()[0] if lines else "-"

    def wait_for_log(self, text: str, *, timeout: float = 15) -> str:
        """Return the first log line with that text, once it is there."""

        def found() -> str | None:
            return next((each for each in self.logs().splitlines() if text in each), None)

        try:
            return wait_until(found, timeout, f"a log line with {text!r}", interval=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def status(self) -> dict[str, Any]:
        """Return what ``ipfailover-agent status --json`` says."""
        said = self.run("ipfailover-agent", "status", "--json").stdout
        status: dict[str, Any] = json.loads(said or "{}")
        return status

    # --- what is done to it --------------------------------------------------------------------

    def run(self, *command: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as a probe or a person does."""
        return podman("exec", self.name, *command, check=False, timeout=timeout)

    def stop(self, grace: int = 30) -> Ended:
        """Stop it as the platform does: SIGTERM, and SIGKILL after ``grace`` seconds."""
        begun = time.monotonic()
        podman("stop", "--time", str(grace), self.name, timeout=grace + 30)
        seconds = time.monotonic() - begun
        return Ended(exit_code=self.wait(), seconds=seconds)

    def signal(self, name: str) -> None:
        """Send a signal to its PID 1."""
        podman("kill", "--signal", name, self.name)

    def crash(self) -> None:
        """Kill all of it at once; its node's network stays as it is.

        keepalived is stopped before: when PID 1 is killed, the kernel sends it SIGTERM first, and
        it may be quick enough to clean up.
        """
        self.run("sh", "-c", "kill -STOP $(pgrep keepalived)")
        self.signal("KILL")
        assert self.wait() == 137

    def pause(self) -> None:
        """Freeze all its processes, as ``podman pause`` or a snapshot of a machine does."""
        podman("pause", self.name)

    def unpause(self) -> None:
        """Let them run again."""
        podman("unpause", self.name)

    def wait(self, timeout: float = 20) -> int:
        """Return its exit code, once it has ended."""
        return int(podman("wait", self.name, timeout=timeout).stdout)

    def start_again(self) -> None:
        """Start it again, as a restart policy does: the same container."""
        podman("start", self.name)

    @property
    def is_running(self) -> bool:
        """Return whether its PID 1 lives."""
        shown = podman("inspect", "--format", "{{.State.Running}}", self.name, check=False)
        return shown.stdout.strip() == "true"

    def remove(self) -> None:
        """Kill it and forget it."""
        with contextlib.suppress(LabError, subprocess.TimeoutExpired):
            podman("rm", "--force", "--time", "0", self.name)


def output(
    image: str, *command: str, options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command in a container of its own without a network, and wait."""
    name, *arguments = command
    return podman(
        *("run", "--rm", "--network=none", "--pull=never", *_LIMITS, *options),
        *("--entrypoint", name, image, *arguments),
        check=False,
    )


def inspect(image: str) -> dict[str, Any]:
    """Return what podman knows of an image."""
    found: dict[str, Any] = json.loads(podman("image", "inspect", image).stdout)[0]
    return found
