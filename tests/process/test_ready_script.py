"""The script that a readiness probe runs: whom it believes, and what it says."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from ipfailover_agent.linux import host
from tests.support.agent_process import SHORT, STANDING_BY, AgentProcess, World

pytestmark = pytest.mark.netns

SCRIPT = Path(__file__).resolve().parents[2] / "image" / "ready.sh"
STARTING = "starting: the agent has not written its state yet\n"


def run(directory: Path, *words: str | Path, path: str = "/nowhere") -> tuple[int, str]:
    """Return how a program that looks at a run directory ends, and what it says."""
    done = subprocess.run(
        words,
        env={"IPFAILOVER_RUN_DIR": str(directory), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=10,
    )
    return done.returncode, done.stdout


def probe(directory: Path) -> tuple[int, str]:
    """Return what the kubelet gets."""
    return run(directory, SCRIPT)


def wait_for(agent: AgentProcess, world: World, code: int, text: str) -> str:
    """Wait until the script ends so and says that; return all that it says."""
    agent.wait_for(lambda: probe(world.run_directory)[0] == code)
    agent.wait_for(lambda: text in probe(world.run_directory)[1])
    return probe(world.run_directory)[1]


def lay(directory: Path, text: str, *, pid: int, age: float = 0.0, started: int = 0) -> None:
    """Write what an agent with that pid has written ``age`` seconds ago."""
    head = f"{pid} {started or host.process_started_at(pid)} {host.uptime() - age:.2f}"
    (directory / "ready").write_text(f"{head} {text}\n")


def test_an_agent_that_serves_is_ready_until_it_ends(world: World) -> None:
    """As soon as it serves; the probe does not believe what a killed one has left."""
    assert (1, STARTING) == probe(world.run_directory)
    world.fake.plays(STANDING_BY)
    agent = world.running()
    wait_for(agent, world, 0, "")
    agent.kill()
    ended = "starting: there is only what an agent left here that has ended\n"
    assert (1, ended) == probe(world.run_directory)


def test_an_agent_of_another_container_is_not_believed(world: World) -> None:
    """Both write into a directory of the host, and are PID 1 of their own."""
    world.fake.plays(STANDING_BY)
    agent = world.running(as_pid_1=True)
    agent.wait_for(lambda: " ready\n" in (world.run_directory / "ready").read_text())
    assert "1" == (world.run_directory / "ready").read_text().split()[0]
    other = "starting: there is only what another agent, or an earlier one, left here\n"
    assert (1, other) == probe(world.run_directory)
    inside = ("nsenter", "--target", str(agent.pid), "--pid", "--mount", SCRIPT)
    assert 0 == run(world.run_directory, *inside, path=os.environ["PATH"])[0]


def test_a_first_configuration_that_is_refused_is_told_of(world: World) -> None:
    """Otherwise nothing in the cluster shows why the pod is not ready."""
    world.write(VIRTUAL_IPS="10.0.0.300", VIP_GROUPS="many")
    world.fake.plays(STANDING_BY)
    agent = world.start(policy=SHORT, reads_file=True)
    said = wait_for(agent, world, 1, "OPENSHIFT_HA_VIRTUAL_IPS")
    first, *reasons = said.splitlines()
    assert "not ready" == first
    assert any("OPENSHIFT_HA_VIP_GROUPS: 'many'" in each for each in reasons), said
    world.write()
    wait_for(agent, world, 0, "")


def test_a_change_is_there_at_once_and_the_stamp_is_renewed(world: World) -> None:
    """So that a file of 15 seconds is one of an agent that stands still."""
    agent = world.running()
    there = world.run_directory / "ready"
    before = there.read_text()
    agent.wait_for(lambda: there.read_text() != before, timeout=7)
    renewed = float(there.read_text().split()[2]) - float(before.split()[2])
    assert renewed <= 6.0


def test_one_that_stands_still_is_not_ready(tmp_path: Path) -> None:
    """Its last word may have been good."""
    lay(tmp_path, "ready", pid=os.getpid(), age=14)
    assert (0, "") == probe(tmp_path)
    lay(tmp_path, "ready", pid=os.getpid(), age=20)
    assert (1, "the agent stands still: it has written nothing for 20 s\n") == probe(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "1 2 3", "x y z ready", "1; 2 3 ready", "../self 2 3 ready"]
)
def test_what_no_agent_wrote_is_not_believed(tmp_path: Path, text: str) -> None:
    """Whatever it is, the probe ends at once and says something."""
    (tmp_path / "ready").write_text(text)
    code, said = probe(tmp_path)
    assert 1 == code
    assert said.startswith("starting: ")
    assert 1 == len(said.splitlines())


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_stamp_that_is_no_number_is_not_calculated_with(tmp_path: Path, shell: str) -> None:
    """In arithmetic bash runs the commands that it finds in an index."""
    pid, left = os.getpid(), tmp_path / "left"
    hostile = f"x[$({{echo,a}}>{left})]"
    (tmp_path / "ready").write_text(f"{pid} {host.process_started_at(pid)} {hostile} ready\n")
    code, said = run(tmp_path, shell, SCRIPT, path=os.environ["PATH"])
    assert not left.exists()
    assert 1 == code
    assert said.startswith("starting: ")


def test_reasons_are_shown_as_they_are(tmp_path: Path) -> None:
    """None is read as anything else than text."""
    lines = ["not ready", r"a \n b %s $(id) `id` *", "-n  two   blanks"]
    lay(tmp_path, "\n".join(["unready", *lines[1:]]), pid=os.getpid())
    code, said = probe(tmp_path)
    assert (1, lines[:2]) == (code, said.splitlines()[:2])
    assert "two   blanks" in said


def test_a_process_that_has_ended_and_waits_for_its_parent_is_none(tmp_path: Path) -> None:
    """A zombie still has its pid."""
    with subprocess.Popen(["sleep", "60"]) as child:
        lay(tmp_path, "ready", pid=child.pid)
        assert 0 == probe(tmp_path)[0]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert 1 == probe(tmp_path)[0]


def test_a_probe_takes_less_than_five_milliseconds_of_cpu(tmp_path: Path) -> None:
    """It starts no program but the shell."""
    lay(tmp_path, "ready", pid=os.getpid())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(40):
        assert 0 == probe(tmp_path)[0]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{spent / 40 * 1000:.2f} ms of CPU for a probe")
    assert spent / 40 < 0.005
