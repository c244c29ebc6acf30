"""The whole agent: what it writes, and what readers and disks may do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent_process import SHORT, STANDING_BY, AgentProcess, World
from tests.support.pipes import open_pipe
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

MASTER_LINE = "(OpenShift_IPFailover_VIP_1) Entering MASTER STATE"
MANY_LINES = [f"line {number} " + "x" * 200 for number in range(20_000)]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe of the usual size, both ends blocking."""
    with open_pipe() as ends:
        yield ends


def answers_reload(agent: AgentProcess, ended: int) -> None:
    """Ask for a reload and see that the verdict comes at once."""
    begun = time.monotonic()
    agent.reload()
    agent.wait_for_reloads(ended, timeout=5)
    assert time.monotonic() - begun < 3


def read_for(fd: int, seconds: float) -> bytes:
    """Return what comes out of a descriptor in that time, or until its end."""
    os.set_blocking(fd, False)
    data = bytearray()
    end = time.monotonic() + seconds

    def drained() -> bool:
        try:
            piece = os.read(fd, 1 << 16)
        except BlockingIOError:
            return time.monotonic() >= end
        data.extend(piece)
        return not piece

    wait_until(drained, seconds + 5, "the descriptor never comes to rest")
    return bytes(data)


# --- keepalived's lines --


def test_keepaliveds_lines_reach_stdout_word_for_word(world: World) -> None:
    """People and tests grep for them; the agent's own log is elsewhere."""
    lines = [MASTER_LINE, "Startup complete", "odd \\x01 bytes: äöü \"quoted\" 'single'"]
    world.fake.plays({"says": lines})
    agent = world.running()
    agent.wait_for(lambda: "odd" in agent.output)
    assert [f"Thu Jan  1 00:00:00 1970: {line}" for line in lines] == agent.output.splitlines()
    assert "MASTER STATE" not in agent.log


def test_the_last_words_of_keepalived_are_not_lost(world: World) -> None:
    """The reason why it ends is in its last lines, however many came before."""
    world.fake.plays({"says": [*MANY_LINES[:2000], "the reason"], "exit": 2})
    agent = world.ended(78)
    assert agent.output.endswith("the reason\n")
    assert 2001 == len(agent.output.splitlines())


def test_the_end_of_one_keepalived_does_not_cost_the_next_one_its_output(world: World) -> None:
    """A roll-back starts the next one in the moment in which the last one's output ends."""
    world.write(VIRTUAL_IPS="10.0.0.101")
    world.fake.plays({"hup": "die"}, {"says": ["Startup complete", "second"]})
    agent = world.running(reads_file=True)
    agent.reloaded(VIRTUAL_IPS="10.0.0.102")
    agent.wait_for(lambda: "second" in agent.output)
    agent.wait_for_phase("running")
    assert "accepted" == agent.reloaded(VIRTUAL_IPS="10.0.0.103")[0]
    assert "Reload complete" in agent.output
    assert 2 == world.fake.count("start")


def test_a_flood_of_lines_does_not_keep_the_agent_from_its_work(world: World) -> None:
    """A hundred megabytes are read while reloads and stops are answered."""
    world.fake.plays({"flood": 100_000_000})
    agent = world.running(stdout=subprocess.DEVNULL)
    answers_reload(agent, 1)


# --- readers --


def test_a_stdout_that_nobody_reads_stops_nothing(world: World, pipe: tuple[int, int]) -> None:
    """The agent answers SIGHUP and TERM; a late reader is told how many lines are missing."""
    reading, writing = pipe
    world.fake.plays({"says": ["Startup complete", *MANY_LINES]})
    agent = world.running(stdout=writing)
    agent.wait_for(lambda: agent.status["lines_dropped"] > 0)
    answers_reload(agent, 1)
    os.close(writing)
    early = read_for(reading, 1.0)
    agent.signal(signal.SIGTERM)
    late = read_for(reading, 3.0)
    assert 0 == agent.ends()
    lines = (early + late).splitlines()
    said = [line for line in lines if b"dropped" in line]
    assert said
    missing = sum(int(line.split()[0]) for line in said)
    known = [line for line in lines if b"line " in line and b"dropped" not in line]
    assert len(MANY_LINES) >= missing + len(known) > 0
    assert 0 == world.fake.count("SIGHUP")


@pytest.mark.parametrize("both", [False, True], ids=["stdout", "stdout and stderr"])
def test_a_reader_that_left_stops_nothing(world: World, both: bool) -> None:  # noqa: FBT001
    """The end of a log shipper is no reason to give addresses up."""
    reading, writing = os.pipe()
    agent = world.start(policy=SHORT, stdout=writing, stderr=writing if both else None)
    os.close(writing)
    os.close(reading)
    agent.wait_for_phase("running")
    answers_reload(agent, 1)


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_stop_nothing(world: World, closed: str) -> None:
    """No file of the agent's becomes its stdout by accident."""
    agent = world.start(policy=SHORT, before=("sh", "-c", f'exec "$@" {closed}', "sh"))
    agent.wait_for_phase("running")
    answers_reload(agent, 1)
    assert 0 == agent.stop()
    text = (world.run_directory / "status.json").read_text(encoding="utf-8")
    assert "Startup" not in text
    assert "event=" not in text


def test_a_full_disk_under_the_log_stops_nothing(world: World) -> None:
    """Lines wait for room, up to a limit; with room again they are written."""
    there = world.directory / "logs"
    there.mkdir()
    script = (
        f"mount -t tmpfs -o size=16k tmpfs {there} && dd if=/dev/zero of={there}/fill bs=4096 "
        f'2>/dev/null; exec "$@" >{there}/log 2>&1'
    )
    agent = world.start(policy=SHORT, before=("sh", "-c", script, "sh"))
    agent.wait_for_phase("running")
    answers_reload(agent, 1)
    inside(world, agent, f"rm {there}/fill")
    answers_reload(agent, 2)
    written = inside(world, agent, f"cat {there}/log")
    assert "event=agent.started" in written


@pytest.mark.timing
def test_a_stderr_that_nobody_reads_stops_nothing(world: World, pipe: tuple[int, int]) -> None:
    """Not even where stdout is the same pipe, as in a container."""
    _, writing = pipe
    world.fake.plays({"says": ["Startup complete", *MANY_LINES]})
    agent = world.running(stdout=writing, stderr=writing)
    answers_reload(agent, 1)
    assert 0 == agent.stop(timeout=4)


# --- json --


def test_with_json_every_line_of_both_streams_parses(world: World) -> None:
    """keepalived's lines are wrapped, and grep still finds its words."""
    world.fake.plays({"says": ["Startup complete", MASTER_LINE, 'a "quoted" \\ line \t']})
    agent = world.running(log_format="json")
    agent.reloaded()
    agent.wait_for(lambda: "quoted" in agent.output)
    assert 0 == agent.stop()
    for line in (*agent.output.splitlines(), *agent.log.splitlines()):
        assert "event" in json.loads(line)
    assert "Entering MASTER STATE" in agent.output
    events = [json.loads(line)["event"] for line in agent.log.splitlines()]
    assert "agent.started" == events[0]
    assert "agent.stopped" == events[-1]
    wrapped = [json.loads(line) for line in agent.output.splitlines()]
    assert {"keepalived.line"} == {each["event"] for each in wrapped}


def test_with_json_a_crash_and_a_refusal_parse_too(world: World) -> None:
    """Tracebacks and lists of problems are one line each."""
    agent = world.running(log_format="json", has_bug=True)
    agent.reload()
    assert 1 == agent.ends()
    crashed = json.loads(agent.log.splitlines()[-1])
    assert ("agent.crashed", 1) == (crashed["event"], crashed["exit_code"])
    assert "this is a bug" in json.dumps(crashed["exception"])
    agent = world.start("--log-format", "json", environment={"OPENSHIFT_HA_VIRTUAL_IPS": "x,y"})
    assert 78 == agent.ends()
    events = [json.loads(line) for line in agent.log.splitlines()]
    problems = next(each["problems"] for each in events if each["event"] == "config.rejected")
    assert 2 == len(problems)


def test_with_json_the_line_about_dropped_lines_parses_too(
    world: World, pipe: tuple[int, int]
) -> None:
    """It is an event with a count."""
    reading, writing = pipe
    world.fake.plays({"says": ["Startup complete", *MANY_LINES]})
    agent = world.running(stdout=writing, log_format="json")
    agent.wait_for(lambda: agent.status["lines_dropped"] > 0)
    os.close(writing)
    data = read_for(reading, 1.5)
    agent.signal(signal.SIGTERM)
    data += read_for(reading, 3.0)
    assert 0 == agent.ends()
    events = [json.loads(line) for line in data.splitlines()]
    dropped = [each for each in events if each["event"] == "lines.dropped"]
    assert dropped
    assert all(each["count"] > 0 for each in dropped)


# --- disks --


def small_disk(world: World, size: str) -> tuple[str, ...]:
    """Return words that run the agent with a run directory on a tiny file system of its own."""
    there = world.run_directory
    script = f'mkdir -p {there} && mount -t tmpfs -o size={size} tmpfs {there} && exec "$@"'
    return ("sh", "-c", script, "sh")


def inside(world: World, agent: AgentProcess, script: str) -> str:
    """Run a script in the agent's mount namespace and return what it printed."""
    mounts = ["nsenter", "--target", str(agent.pid), "--mount"]
    return world.namespace.run(*mounts, "sh", "-c", script)


def test_a_run_directory_that_is_full_at_start_ends_with_71(world: World) -> None:
    """It says which file could not be written."""
    fill = f"dd if=/dev/zero of={world.run_directory}/fill bs=4096 count=100 2>/dev/null"
    words = small_disk(world, "4k")
    before = (*words[:2], words[2].replace("&& exec", f"&& {{ {fill}; exec").strip() + "; }", "sh")
    agent = world.start(policy=SHORT, before=before)
    assert 71 == agent.ends()
    assert "No space left on device" in agent.log
    assert 0 == world.fake.count("start")


def test_a_run_directory_that_is_full_at_a_reload_refuses_it(world: World) -> None:
    """Everything runs on; with room again, so does the reload."""
    world.write(VIRTUAL_IPS="10.0.0.101")
    agent = world.start(policy=SHORT, reads_file=True, before=small_disk(world, "256k"))
    there = world.run_directory
    agent.wait_for(lambda: world.fake.count("start"))
    agent.wait_for(lambda: "Startup complete" in agent.output)
    before = world.keepalived_conf.read_bytes()
    inside(world, agent, f"dd if=/dev/zero of={there}/fill bs=4096 2>/dev/null || true")
    world.write(VIRTUAL_IPS="10.0.0.101-103")
    agent.reload()
    agent.wait_for(lambda: "event=reload.refused" in agent.log)
    assert "No space left on device" in agent.log
    assert before == world.keepalived_conf.read_bytes()
    assert 0 == world.fake.count("SIGHUP")
    inside(world, agent, f"rm {there}/fill")
    agent.reload()
    agent.wait_for(lambda: "event=reload.accepted" in agent.log)

    def ended() -> object:
        return json.loads(inside(world, agent, f"cat {there}/status.json"))["reload"]["ended"]

    agent.wait_for(lambda: 2 == ended())  # the status is written after the line of the log


@pytest.mark.slow
def test_a_status_that_cannot_be_written_is_not_shown_as_it_was(world: World) -> None:
    """What it took itself is enough for the next one; without that, every reader says so."""
    world.fake.plays(STANDING_BY)
    agent = world.start(policy=SHORT, before=small_disk(world, "256k"))
    agent.wait_for(lambda: "Startup complete" in agent.output)
    there = world.run_directory
    within = ("nsenter", "--target", str(agent.pid), "--mount")
    fill = f"dd if=/dev/zero of={there}/fill bs=4096 2>/dev/null || true"
    inside(world, agent, fill)
    agent.reload()
    agent.wait_for(lambda: "event=reload.unchanged" in agent.log)
    agent.wait_for(  # written after the line
        lambda: (
            1 == json.loads(inside(world, agent, f"cat {there}/status.json"))["reload"]["ended"]
        )
    )
    assert "status.unwritten" not in agent.log
    inside(world, agent, f"rm {there}/status.json; {fill}")
    agent.reload()
    agent.wait_for(lambda: "event=status.unwritten" in agent.log)
    unseen = f"there is no {there}/status.json"
    done = world.command("status", before=within)
    assert (1, True) == (done.returncode, unseen in done.stdout), done.stdout
    for words, code in (("reload --timeout 0.5", 75), ("drill", 75)):
        done = world.command(*words.split(), before=within)
        assert (code, True) == (done.returncode, unseen in done.stderr), done.stderr
    done = world.command("doctor", "--seconds", "0.2", before=within)
    assert unseen in done.stdout
    assert 75 != world.command("plan", before=within).returncode
    inside(world, agent, f"rm {there}/fill")
    agent.wait_for(lambda: "event=status.written" in agent.log)
    agent.wait_for(lambda: "running, ready" in world.command("status", before=within).stdout)
    assert 1 == agent.log.count("event=status.unwritten")


def test_a_run_directory_that_becomes_read_only_does_not_end_the_agent(world: World) -> None:
    """A reload is refused, a crash of keepalived is survived, and TERM still ends with 0."""
    world.write(VIRTUAL_IPS="10.0.0.101")
    agent = world.start(policy=SHORT, reads_file=True, before=small_disk(world, "256k"))
    agent.wait_for(lambda: "Startup complete" in agent.output)
    inside(world, agent, f"mount -t tmpfs -o ro tmpfs {world.run_directory}")
    world.write(VIRTUAL_IPS="10.0.0.102")
    agent.reload()
    agent.wait_for(lambda: "event=reload.refused" in agent.log)
    (started,) = world.fake.journal("start")
    os.kill(started["pid"], signal.SIGKILL)
    agent.wait_for(lambda: world.fake.count("start") == 2)
    agent.wait_for(lambda: agent.output.count("Startup complete") == 2)


# --- status.json --


def test_the_status_file_is_always_whole(world: World) -> None:
    """A reader gets one of both while it is replaced."""
    world.write(VIRTUAL_IPS="10.0.9.1-240")
    agent = world.running(reads_file=True)
    seen: list[int] = []
    broken: list[str] = []
    over = threading.Event()

    def read() -> None:
        path = world.run_directory / "status.json"
        while not over.is_set():
            text = path.read_text(encoding="utf-8")
            try:
                seen.append(json.loads(text)["reload"]["ended"])
            except ValueError:
                broken.append(text)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 6):
            world.write(VIRTUAL_IPS=f"10.0.9.1-{240 - number}")
            agent.reload()
            agent.wait_for_reloads(number)
    finally:
        over.set()
        reader.join(10)
    assert [] == broken
    assert len(seen) > 20
    assert sorted(seen) == seen


def test_python_optimised_is_the_same_agent(world: World) -> None:
    """Nothing relies on assert."""
    agent = world.running(environment={"PYTHONOPTIMIZE": "2"})
    answers_reload(agent, 1)


def test_the_agent_runs_from_any_directory(world: World, tmp_path: Path) -> None:
    """A relative run directory is made absolute at once; a current directory may vanish."""
    vanishing = tmp_path / "vanishing"
    vanishing.mkdir()
    script = f'cd {vanishing} && rmdir {vanishing} && exec "$@"'
    agent = world.running(before=("sh", "-c", script, "sh"))
    answers_reload(agent, 1)
    assert 0 == agent.stop()
    assert sys.executable  # the interpreter is named by an absolute path
