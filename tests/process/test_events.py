"""What happened and why: in the log, in the status, and from the file when the agent is dead."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent_process import SHORT, AgentProcess, World
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

VIP = "vip_VIP_1"
NAMED = {"OPENSHIFT_HA_CONFIG_NAME": "vip", "OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.101"}


def line(state: str, priority: int = 100) -> str:
    return f'INSTANCE "{VIP}" {state} {priority}'


def transitions(agent: AgentProcess) -> list[tuple[str, str]]:
    """Return state and kind of cause of every transition, as the status tells them."""
    (instance,) = agent.status.get("instances") or [{"transitions": ()}]
    return [(each["state"], each["kind"]) for each in instance["transitions"]]


def events(world: World, *words: str) -> list[dict[str, Any]]:
    done = world.command("events", "--json", *words)
    assert (0, "") == (done.returncode, done.stderr)
    return [json.loads(each) for each in done.stdout.splitlines()]


def lived(world: World, *, ends: bool = True) -> AgentProcess:
    """Return an agent that has taken over, and was stopped (two more transitions) or killed."""
    world.fake.plays({"transitions": [line("BACKUP"), line("MASTER")]})
    agent = world.running(environment=NAMED)
    agent.wait_for(lambda: len(transitions(agent)) == 2)
    if ends:
        assert 0 == agent.stop()
    else:
        agent.kill()
    return agent


def test_a_transition_says_why_in_the_log_and_in_the_status(world: World) -> None:
    """What keepalived says before it, and what the agent does itself."""
    says = [
        "Starting Keepalived v2.2.7 (01/16,2022)",
        "Starting VRRP child process, pid=9",
        "Startup complete",
        f"({VIP}) received lower priority (50) advert from 10.0.0.12 - discarding",
        f"({VIP}) Master received advert from 10.0.0.13 with higher priority 200, ours 100",
    ]
    world.fake.plays(
        {"says": says, "transitions": [line("BACKUP"), line("MASTER"), line("BACKUP")]}
    )
    agent = world.running(environment=NAMED)
    agent.wait_for(lambda: len(transitions(agent)) == 3)
    assert [("BACKUP", "started"), ("MASTER", "preempted"), ("BACKUP", "outranked")] == (
        transitions(agent)
    )
    assert 'cause="advert of higher priority 200 from 10.0.0.13"' in agent.log
    assert "kind=preempted" in agent.log
    status = agent.status
    assert "2.2.7" == status["keepalived_version"]
    assert 12 == len(status["fingerprint"])
    assert ["MASTER", "preempted", 1] in status["instances"][0]["transition_counts"]


def test_a_keepalived_that_dies_is_the_cause_of_what_follows(world: World) -> None:
    """Of the end of its instances, which it cannot tell, and of their new beginning."""
    world.fake.plays(
        {"transitions": [line("MASTER")], "kill": 9, "after": 0.2},
        {"transitions": [line("BACKUP")]},
    )
    agent = world.running(environment=NAMED)
    agent.wait_for(lambda: agent.status.get("restarts") == 1 and len(transitions(agent)) == 3)
    assert ["keepalived ended", "restarted"] == [kind for _, kind in transitions(agent)][1:]
    assert 'cause="keepalived restarted: it ended (killed by signal 9)"' in agent.log
    assert 0 == agent.stop()
    ended = next(each for each in events(world) if each["event"] == "keepalived.exited")
    assert "killed by signal 9" == ended["cause"]


@pytest.mark.parametrize("ends", [True, False], ids=["stopped", "killed"])
def test_events_are_there_when_the_agent_is_dead(world: World, *, ends: bool) -> None:
    """However it ended; text has a line for each, JSON is the file's."""
    lived(world, ends=ends)
    kept = events(world)
    names = [each["event"] for each in kept]
    assert "agent.started" == names[0]
    count = 4 if ends else 2
    assert count == names.count("vrrp.transition")
    assert ("agent.stopped" in names) == ends
    done = world.command("events", VIP)
    assert (0, "") == (done.returncode, done.stderr)
    lines = done.stdout.splitlines()
    assert count == len([each for each in lines if f" {VIP} " in each]) == len(lines)
    assert " BACKUP -> MASTER after 0s: " in lines[1]


def test_events_are_the_newest_and_as_many_as_asked_for(world: World) -> None:
    """None of an instance that does not exist."""
    lived(world)
    everything = events(world)
    assert everything[-2:] == events(world, "-n", "2")
    assert [] == events(world, "-n", "0") == events(world, "nonsense")
    assert [VIP] * 4 == [each["instance"] for each in events(world, VIP)]


def test_a_next_agent_knows_what_happened_before(world: World) -> None:
    """Its status has the transitions of the one that was killed."""
    lived(world, ends=False)
    world.fake.plays({})
    agent = world.running(environment=NAMED)
    assert ["BACKUP", "MASTER"] == [state for state, _ in transitions(agent)]
    assert 0 == agent.stop()
    assert 2 == [each["event"] for each in events(world)].count("agent.started")


def test_reloads_are_counted_by_verdict(world: World) -> None:
    """Accepted, unchanged and refused."""
    world.write(VIRTUAL_IPS="10.0.0.101")
    agent = world.running(reads_file=True)
    for number, ips in enumerate(["10.0.0.101", "10.0.0.102", "nonsense"], start=1):
        world.write(VIRTUAL_IPS=ips)
        agent.reload()
        agent.wait_for_reloads(number)
    counts = agent.status["counts"]
    assert (1, 1, 1) == tuple(counts[each] for each in ("accepted", "unchanged", "refused"))
    kept = [each["kind"] for each in events(world) if each["event"].startswith("reload.")]
    assert ["unchanged", "accepted", "refused"] == kept


def test_where_nothing_ever_ran_there_are_no_events(world: World) -> None:
    """69, and what to do."""
    done = world.command("events", f"--run-dir={world.directory}/nowhere")
    assert (69, "") == (done.returncode, done.stdout)
    assert "nothing is known of" in done.stderr


def test_follow_prints_what_happens_until_ctrl_c(world: World) -> None:
    """First the last ones, then each new one, once."""
    lived(world)
    out, err = world.directory / "follow.out", world.directory / "follow.err"
    words = ("events", "--follow", "-n", "1", "--json")
    with (
        out.open("w") as stdout,
        err.open("w") as stderr,
        world.commanded(*words, stdout=stdout, stderr=stderr) as follow,
    ):
        wait_until(lambda: "agent.stopped" in out.read_text(), 10, "nothing is shown")
        world.running(environment=NAMED)
        wait_until(lambda: out.read_text().count("vrrp.transition") == 2, 10, out.read_text)
        follow.send_signal(signal.SIGINT)
        assert 0 == follow.wait(5)
    assert "" == err.read_text()
    names = [json.loads(each)["event"] for each in out.read_text().splitlines() if each]
    assert ["agent.stopped", "agent.started"] == names[:2]
    assert len(names) == len(events(world, "-n", str(len(names))))


@pytest.mark.parametrize("words", ["events --follow", "status --watch 0.2"])
@pytest.mark.parametrize("ending", ["", ">&-"], ids=["left", "closed"])
def test_what_nobody_reads_ends_in_a_quiet_hour_too(world: World, words: str, ending: str) -> None:
    """Nothing happens that could not be written."""
    world.running(environment=NAMED)
    before = ("sh", "-c", f'exec "$0" "$@" {ending}')
    with world.commanded(*words.split(), before=before) as follow:
        assert follow.stdout is not None
        assert bool(follow.stdout.readline()) is not bool(ending)
        follow.stdout.close()
        assert 0 == follow.wait(10)
        assert follow.stderr is not None
        assert "" == follow.stderr.read()


def test_a_full_or_foreign_events_file_does_not_fail_the_agent(world: World) -> None:
    """A directory in its place: nothing can be kept, everything else works."""
    world.run_directory.mkdir(mode=0o700)
    (world.run_directory / "events.jsonl").mkdir()
    (world.run_directory / "events.jsonl" / "x").touch()
    lived(world)
    assert [] == events(world)


# --- the termination message --------------------------------------------------------------------


def ended_message(world: World, *, text: str = "before", **environment: str) -> str:
    """Return what an agent that cannot serve leaves for Kubernetes."""
    there = world.directory / "termination-log"
    there.write_text(text, encoding="utf-8")
    agent = world.start(
        policy=SHORT,
        environment={f"OPENSHIFT_HA_{name}": value for name, value in environment.items()},
        termination_log=str(there),
    )
    assert 78 == agent.ends()
    return there.read_text(encoding="utf-8")


def test_kubernetes_is_told_why_the_agent_ended(world: World) -> None:
    """The reason and every problem, in place of what was there."""
    said = ended_message(world, text="x" * 5000, VIRTUAL_IPS="10.0.0.300", VRRP_VERSION="9")
    assert "the configuration cannot be used" == said.splitlines()[0]
    assert "OPENSHIFT_HA_VIRTUAL_IPS: '10.0.0.300'" in said
    assert "OPENSHIFT_HA_VRRP_VERSION" in said
    assert "xx" not in said


def test_kubernetes_shows_at_most_4096_bytes(world: World) -> None:
    """What is longer is cut, and says so."""
    said = ended_message(world, VIRTUAL_IPS=",".join(f"{each:060}" for each in range(100)))
    assert len(said.encode()) <= 4096
    assert said.endswith("...")


def test_an_orderly_end_and_another_system_get_no_message(world: World) -> None:
    """The file is only written where the kubelet has put it."""
    there = world.directory / "termination-log"
    agent = world.running(termination_log=str(there))
    assert 0 == agent.stop()
    assert not there.exists()


# --- status at a terminal -----------------------------------------------------------------------


def at_terminal(world: World, words: Sequence[str], **environment: str) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns; return its exit code and what is shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [*world.enter(), sys.executable, "-m", "ipfailover_agent", *words]
        values = {**world.environment, "TERM": "xterm", **environment}
        os.execvpe(command[0], command, values)  # noqa: S606 - there is no shell
    shown, is_watching = b"", "--watch" in words
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        if is_watching and shown.count(b"running") >= 3:
            os.write(terminal, b"\x03")
            is_watching = False
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_a_terminal_gets_colours_unless_it_does_not_want_them(world: World) -> None:
    """NO_COLOR, a dumb terminal and a pipe get none."""
    world.fake.plays({"transitions": [line("MASTER")]})
    agent = world.running(environment=NAMED)
    agent.wait_for(lambda: transitions(agent))
    code, shown = at_terminal(world, ["status"])
    assert 0 == code
    assert "\x1b[32mMASTER\x1b[0m" in shown
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, shown = at_terminal(world, ["status"], **plain)
        assert (0, True, False) == (code, "MASTER" in shown, "\x1b[" in shown)
    assert "\x1b" not in world.command("status", environment={"TERM": "xterm"}).stdout


def test_watch_redraws_a_terminal_until_ctrl_c(world: World) -> None:
    """It clears the screen each time, and the exit code is 0."""
    world.running(environment=NAMED)
    code, shown = at_terminal(world, ["status", "--watch", "0.2"])
    assert 0 == code
    assert shown.count("\x1b[2J") >= 3 or shown.count("\x1b[H") >= 3
    assert "Traceback" not in shown


def test_many_instances_are_told_by_their_states(world: World) -> None:
    """Many of them fit a screen; --all lists them."""
    agent = world.running(environment={**NAMED, "OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.2-240"})
    agent.wait_for(lambda: len(agent.status["instances"]) == 239)
    short = world.command("status").stdout.splitlines()
    assert len(short) < 40
    assert any("239 instances" in each for each in short)
    whole = world.command("status", "--all").stdout.splitlines()
    assert 239 == len([each for each in whole if each.startswith("vip_VIP_")])
    assert max(map(len, [*short, *whole])) <= 80
    size = Path(world.run_directory / "status.json").stat().st_size
    assert size < 400_000
