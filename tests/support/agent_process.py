"""The whole agent as a process in a network namespace, with a keepalived that obeys a script."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.support.netns import NetworkNamespace
from tests.support.waiting import wait_until

_IP = shutil.which("ip") or "ip"  # some tests have a PATH without it
_CHECKOUT = Path(__file__).parents[2]
_PLAIN = Path(__file__).with_name("plain")  # see there
_FAKE = Path(__file__).with_name("fake_keepalived.py")
TERM = signal.SIGTERM
_RUNNER = Path(__file__).with_name("agent_runner.py")
SHORT = {
    "okay_delay": 5.0,
    "stop_grace": 2.0,
    "kill_grace": 1.0,
    "clear_grace": 0.3,
    "clear_interval": 0.02,
    "waiting_interval": 0.1,
    "test_grace": 1.5,
    "reload_grace": 1.5,
    "backoff_initial": 0.05,
    "backoff_limit": 0.1,
    "attempts": 3,
}
"""A policy for tests that would wait too long for the usual delays."""

VARIABLES = {
    "OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.101-103",
    "OPENSHIFT_HA_NETWORK_INTERFACE": "veth0",
}


#: A run in which the instances of up to three addresses become BACKUP: the node is ready.
STANDING_BY = {
    "transitions": [
        f'INSTANCE "OpenShift_IPFailover_VIP_{number}" BACKUP 1' for number in (1, 2, 3)
    ]
}


class FakeKeepalived:
    """A directory for PATH with a scripted keepalived, its scenario and its journal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.program = directory / "keepalived"
        text = _FAKE.read_text(encoding="utf-8").split("\n", 1)[1]
        self.program.write_text(f"#!{sys.executable} -ISs\n{text}", encoding="utf-8")
        self.program.chmod(0o755)
        self.plays()

    def plays(self, *runs: Mapping[str, object], test: Mapping[str, object] | None = None) -> None:
        """Set what it does from its next start on; see ``fake_keepalived``."""
        there = self.directory / "scenario.json"
        fresh = there.with_suffix(".new")
        fresh.write_text(json.dumps({"test": test or {}, "runs": runs}), encoding="utf-8")
        fresh.replace(there)

    def journal(self, what: str | None = None) -> list[dict[str, Any]]:
        """Return what it noted, all or of one kind."""
        with contextlib.suppress(FileNotFoundError):
            text = (self.directory / "journal").read_text(encoding="utf-8")
            entries = [json.loads(line) for line in text.splitlines(keepends=True) if "\n" in line]
            return [each for each in entries if what in {None, each["what"]}]
        return []

    def count(self, what: str) -> int:
        """Return how often it noted that."""
        return len(self.journal(what))

    def kill_leftovers(self) -> None:
        """End what a test left behind."""
        for each in self.journal():
            with contextlib.suppress(OSError, ProcessLookupError):
                command = Path(f"/proc/{each['pid']}/cmdline").read_bytes()
                if str(self.program).encode() in command:
                    os.kill(each["pid"], signal.SIGKILL)


class AgentProcess:
    """A running agent. ``pid`` is what the test sees, whatever the agent calls itself."""

    def __init__(
        self,
        world: World,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        as_pid_1: bool,
        stdout: int | IO[bytes] | None,
        stderr: int | IO[bytes] | None,
    ) -> None:
        self._world = world
        self._log = world.directory / "agent.log"
        self._output = world.directory / "agent.out"
        as_init = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        with self._output.open("wb") as out, self._log.open("wb") as log:
            self.popen = subprocess.Popen(
                [*world.enter(), *(as_init if as_pid_1 else ()), *argv],
                cwd=_CHECKOUT,
                env={**world.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=log if stderr is None else stderr,
                start_new_session=True,
            )
        self._as_pid_1 = as_pid_1
        self._pid: int | None = None if as_pid_1 else self.popen.pid

    @property
    def pid(self) -> int:
        """Return the agent's pid as it is outside."""
        if self._pid is None:
            there = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
            wait_until(lambda: there.read_text().split(), 10, "no child of unshare")
            self._pid = int(there.read_text().split()[0])
        return self._pid

    @property
    def log(self) -> str:
        """Return the agent's own log so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def output(self) -> str:
        """Return its standard output so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    @property
    def status(self) -> dict[str, Any]:
        """Return its status file, empty while there is none of its own."""
        data = self._world.status()
        return data if data.get("pid") == (1 if self._as_pid_1 else self.pid) else {}

    def signal(self, number: int) -> None:
        """Signal the agent."""
        os.kill(self.pid, number)

    def reload(self) -> None:
        """Send SIGHUP."""
        self.signal(signal.SIGHUP)

    def reloaded(self, **variables: str) -> tuple[str, list[str]]:
        """Write the variables that are given, ask for a reload; return its verdict and lines."""
        ended: int = self.status["reload"]["ended"]
        if variables:
            self._world.write(**variables)
        self.reload()
        told = self.wait_for_reloads(ended + 1)
        return told["verdict"], told["lines"]

    def wait_for_phase(self, *phases: str, timeout: float = 10) -> None:
        """Wait until the status file says one of the phases."""
        self.wait_for(lambda: self.status.get("phase") in phases, timeout)

    def wait_for_starts(self, count: int) -> None:
        """Wait until keepalived was started that often, and runs."""
        self.wait_for(lambda: self._world.fake.count("start") == count)
        self.wait_for_phase("running")

    def wait_for_reloads(self, ended: int, timeout: float = 10) -> dict[str, Any]:
        """Wait until that many reloads have ended; return the last one's verdict."""
        self.wait_for(lambda: self.status.get("reload", {}).get("ended", 0) >= ended, timeout)
        verdict: dict[str, Any] = self.status["reload"]
        return verdict

    def wait_for(self, predicate: Any, timeout: float = 10) -> None:  # noqa: ANN401
        """Wait until the predicate holds; a failure shows everything there is to see."""
        wait_until(predicate, timeout, self.describe)

    def stop(self, number: int = TERM, timeout: float = 15) -> int:
        """Signal it and return its exit code."""
        self.signal(number)
        return self.ends(timeout)

    def ends(self, timeout: float = 15) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {timeout} s: {self.describe()}") from None

    def describe(self) -> str:
        """Return all that helps to understand a failure."""
        return (
            f"exit code {self.popen.poll()}\nstatus {self.status}\nlog:\n{self.log}\n"
            f"output:\n{self.output[-2000:]}\njournal: {self._world.fake.journal()}"
        )

    def kill(self) -> None:
        """End it, and everything that it started."""
        if self.popen.poll() is None:
            with contextlib.suppress(AssertionError, ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.popen.kill()
            self.popen.wait(10)


class World:
    """A directory and a network namespace for agents: ``veth0`` holds 10.0.0.1/24.

    ``config_file`` is where variables can be changed while an agent runs (IPFAILOVER_CONFIG).
    """

    def __init__(self, directory: Path, namespace: NetworkNamespace) -> None:
        self.directory = directory
        self.namespace = namespace
        self.run_directory = directory / "run"
        self.config_file = directory / "variables"
        self.keepalived_conf = directory / "etc" / "keepalived.conf"
        self.fake = FakeKeepalived(directory / "bin")
        self.agents: list[AgentProcess] = []
        path = f"{self.fake.directory}:{os.environ['PATH']}"
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("COVERAGE", "PYTHON")) or name in {"HOME", "LANG"}
        }
        self.environment = {
            **kept,
            "PATH": path,
            "PYTHONPATH": f"{_PLAIN}:{_CHECKOUT}",
            "KEEPALIVED_CONFIG": str(self.keepalived_conf),
            "IPFAILOVER_RUN_DIR": str(self.run_directory),
            **VARIABLES,
        }

    def enter(self) -> tuple[str, ...]:
        """Return the words that run a command in the namespace."""
        return (_IP, "netns", "exec", self.namespace.name)

    def start(
        self,
        *words: str,
        policy: Mapping[str, float] | None = None,
        environment: Mapping[str, str] | None = None,
        as_pid_1: bool = False,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        log_format: str = "text",
        reads_file: bool = False,
        watches: bool = False,
        has_bug: bool = False,
        hangs_on_reload: bool = False,
        listen: str = "off",
        termination_log: str | None = None,
        before: Sequence[str] = (),
    ) -> AgentProcess:
        """Start an agent.

        Args:
            words: options of ``run``, where no ``policy`` is given.
            policy: delays; the agent is started through a runner that sets them.
            environment: overrides variables; an empty value unsets one.
            as_pid_1: it is PID 1 of a PID namespace.
            stdout: where its output goes instead of a file.
            stderr: likewise.
            log_format: with a policy, ``text`` or ``json``.
            reads_file: with a policy, ``config_file`` overrides the environment.
            watches: with a policy, it reloads by itself when the file or the node has changed; a
                test that changes the file and then asks for something would else race with that.
            has_bug: with a policy, a reload raises an unexpected error.
            hangs_on_reload: with a policy, the loop stands still from a reload on.
            listen: with a policy, where it answers HTTP.
            termination_log: with a policy, where Kubernetes looks for why it ended.
            before: words that run the agent, such as ``setpriv ...``.
        """
        given: dict[str, Any] = {
            "options": {
                "run_directory": str(self.run_directory),
                "config": str(self.config_file) if reads_file else None,
                "listen": listen,
                "watches": watches,
            },
            "log_format": log_format,
            "policy": policy,
            "has_bug": has_bug,
            "hangs_on_reload": hangs_on_reload,
            "termination_log": termination_log or str(self.directory / "no-termination-log"),
        }
        runner = (sys.executable, str(_RUNNER), json.dumps(given))
        plain = (sys.executable, "-m", "ipfailover_agent", "run", *words)
        agent = AgentProcess(
            self,
            (*before, *(plain if policy is None else runner)),
            environment=environment or {},
            as_pid_1=as_pid_1,
            stdout=stdout,
            stderr=stderr,
        )
        self.agents.append(agent)
        return agent

    def ended(self, code: int, **options: Any) -> AgentProcess:  # noqa: ANN401 - those of start
        """Start an agent with short delays, and see it end with that exit code."""
        agent = self.start(**{"policy": SHORT, **options})
        assert code == agent.ends()
        return agent

    def running(self, **options: Any) -> AgentProcess:  # noqa: ANN401 - those of start
        """Start an agent with short delays and wait until it runs."""
        agent = self.start(**{"policy": SHORT, **options})
        agent.wait_for_phase("running")
        return agent

    def command(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        timeout: float = 30,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the agent to its end; ``before`` are words that run it."""
        with self.commanded(*words, environment=environment, before=before) as popen:
            output, errors = popen.communicate(timeout=timeout)
        return subprocess.CompletedProcess(popen.args, popen.returncode, output, errors)

    def prints(self, code: int, *words: str, **options: Any) -> str:  # noqa: ANN401 - of command
        """Run a command that ends with this code; return its standard output."""
        done = self.command(*words, **options)
        assert code == done.returncode, done
        return done.stdout

    @contextlib.contextmanager
    def commanded(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        stdout: int | IO[str] = subprocess.PIPE,
        stderr: int | IO[str] = subprocess.PIPE,
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a command of the agent, and end it if it has not ended by itself."""
        with subprocess.Popen(
            [*self.enter(), *before, sys.executable, "-m", "ipfailover_agent", *words],
            cwd=_CHECKOUT,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
        ) as popen:
            try:
                yield popen
            finally:
                popen.kill()

    def write(self, **variables: str) -> None:
        """Replace the variables in ``config_file``; names without OPENSHIFT_HA_."""
        text = "".join(f"OPENSHIFT_HA_{name}={value}\n" for name, value in variables.items())
        fresh = self.config_file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.config_file)

    def status(self) -> dict[str, Any]:
        """Return the status file, empty while there is none."""
        try:
            text = (self.run_directory / "status.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        data: dict[str, Any] = json.loads(text)
        return data

    def addresses(self) -> str:
        """Return what ``ip`` shows of the interface."""
        return self.namespace.ip("-brief", "address", "show", "dev", "veth0")

    def close(self) -> None:
        """End everything."""
        for agent in self.agents:
            agent.kill()
        self.fake.kill_leftovers()
        shutil.rmtree(self.run_directory, ignore_errors=True)


@contextlib.contextmanager
def world(directory: Path, namespace: NetworkNamespace) -> Iterator[World]:
    """Make a world and end everything in it at the end."""
    made = World(directory, namespace)
    try:
        yield made
    finally:
        made.close()
