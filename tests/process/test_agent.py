"""The whole agent: start, supervision and stop, with real signals and a scripted keepalived."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.agent_process import SHORT, STANDING_BY, AgentProcess, World
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

BOTH = pytest.mark.parametrize("as_pid_1", [True, False], ids=["as PID 1", "not as PID 1"])
HELD = ["10.0.0.101/32", "veth0", "veth0:vip"]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def children_of(pid: int) -> list[int]:
    """Return a process's children, zombies included."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    return [int(word) for word in text.split()]


# --- start and stop -----------------------------------------------------------------------------


@BOTH
def test_it_runs_keepalived_and_stops_it_on_term(world: World, as_pid_1: bool) -> None:  # noqa: FBT001
    """Tested, started, running, stopped, exit code 0, in this order."""
    world.fake.plays(STANDING_BY)
    agent = world.running(as_pid_1=as_pid_1)
    agent.wait_for(lambda: agent.status["ready"] is True)
    assert 0 == agent.stop()
    assert ["test", "start", "SIGTERM"] == [each["what"] for each in world.fake.journal()]
    assert "stopped" == agent.status["phase"]
    assert "event=agent.stopped exit_code=0" in agent.log


def test_int_stops_it_too(world: World) -> None:
    """Ctrl-C in a terminal is an orderly stop."""
    assert 0 == world.running().stop(signal.SIGINT)
    assert 1 == world.fake.count("SIGTERM")


def test_keepalived_is_started_bound_to_the_agents_life_and_in_its_own_group(world: World) -> None:
    """It leads a process group, and its command line names our files."""
    agent = world.running()
    (started,) = world.fake.journal("start")
    assert agent.pid == started["parent"]
    assert started["pid"] == os.getpgid(started["pid"]) == agent.status["keepalived_pid"]
    assert str(world.keepalived_conf) == started["argv"][started["argv"].index("--use-file") + 1]


def test_files_are_private_and_pid_files_go_at_the_end(world: World) -> None:
    """The run directory is closed to others, apart from the status; the pid file ends with us."""
    agent = world.running()
    assert 0o700 == stat.S_IMODE(world.run_directory.stat().st_mode)
    pid_file = world.run_directory / "agent.pid"
    assert str(agent.pid) == pid_file.read_text(encoding="utf-8").split()[0]
    assert 0 == agent.stop()
    assert not pid_file.exists()


def test_a_second_term_changes_nothing(world: World) -> None:
    """keepalived gets one TERM and the time that it needs."""
    world.fake.plays({"stop_takes": 0.4})
    agent = world.running()
    agent.signal(signal.SIGTERM)
    agent.wait_for_phase("stopping")
    agent.signal(signal.SIGTERM)
    assert 0 == agent.stop(signal.SIGINT)
    assert 1 == world.fake.count("SIGTERM")
    assert 'meaning="stopped in an orderly way"' in agent.log


@BOTH
def test_a_keepalived_that_ignores_term_is_killed(world: World, as_pid_1: bool) -> None:  # noqa: FBT001
    """Its whole group is, after the grace; what it held is released, and the exit code is 0."""
    world.fake.plays({"term": "ignore", "orphan": "group", "holds": [HELD]})
    agent = world.running(as_pid_1=as_pid_1)
    assert "10.0.0.101" in world.addresses()
    begun = time.monotonic()
    assert 0 == agent.stop()
    assert time.monotonic() - begun < SHORT["stop_grace"] + SHORT["kill_grace"] + 1
    assert "10.0.0.101" not in world.addresses()
    assert 'meaning="killed by signal 9"' in agent.log
    if not as_pid_1:
        pids = [each["pid"] for each in world.fake.journal() if each["what"] != "test"]
        assert [] == [pid for pid in pids if is_alive(pid)]


def test_term_during_the_configuration_test_ends_at_once(world: World) -> None:
    """A test that hangs is killed; nothing was started."""
    world.fake.plays(test={"hangs": True})
    agent = world.start(policy={**SHORT, "test_grace": 60})
    agent.wait_for(lambda: world.fake.count("test"))
    assert 0 == agent.stop(timeout=2)
    (tested,) = world.fake.journal("test")
    wait_until(lambda: not is_alive(tested["pid"]), 2, "the test lives on")
    assert 0 == world.fake.count("start")


def test_term_during_start_stops_keepalived(world: World) -> None:
    """A keepalived that has not said a word yet is told to stop."""
    world.fake.plays({"says": []})
    agent = world.start(policy=SHORT)
    agent.wait_for(lambda: world.fake.count("start"))
    agent.wait_for(lambda: agent.status["phase"] == "starting")
    assert 0 == agent.stop(timeout=2)
    assert 1 == world.fake.count("SIGTERM")


def test_term_during_back_off_ends_at_once(world: World) -> None:
    """Nobody has to sit out a delay."""
    world.fake.plays({"exit": 1})
    agent = world.start(policy={**SHORT, "backoff_initial": 60, "backoff_limit": 60})
    agent.wait_for_phase("backoff")
    assert 0 == agent.stop(timeout=2)
    assert 1 == world.fake.count("start")


def test_term_while_waiting_for_the_interface_ends_at_once(world: World) -> None:
    """Exit code 0: it was asked to."""
    agent = world.start(environment={"OPENSHIFT_HA_NETWORK_INTERFACE": "nosuch0"})
    agent.wait_for_phase("waiting")
    assert 0 == agent.stop(timeout=2)


def test_a_silent_keepalived_counts_as_running_after_a_while(world: World) -> None:
    """A lost log line must not keep the agent from reloading."""
    world.fake.plays({"says": []})
    world.running(policy={**SHORT, "okay_delay": 0.3})


# --- waiting for the node -----------------------------------------------------------------------


def test_a_missing_interface_is_waited_for_and_said_once(world: World) -> None:
    """Not ready, one line in the log, and on the air once the interface is there."""
    name = "late0"
    agent = world.start(policy=SHORT, environment={"OPENSHIFT_HA_NETWORK_INTERFACE": name})
    agent.wait_for_phase("waiting")
    agent.wait_for(lambda: name in " ".join(agent.status["reasons"]))
    assert agent.status["ready"] is False
    world.namespace.ip("link", "add", name, "type", "veth", "peer", "name", "late1")
    try:
        world.namespace.ip("address", "add", "10.0.1.1/24", "dev", name)
        world.namespace.ip("link", "set", name, "up")
        agent.wait_for_phase("running")
        # without its address, which comes a moment later, it is awaited as well
        assert 1 == agent.log.count("no such interface")
        assert name not in " ".join(agent.status["reasons"])
        assert 0 == agent.stop()
    finally:
        world.namespace.ip("link", "del", name)


# --- refusals and exit codes --------------------------------------------------------------------


def test_without_keepalived_the_exit_code_is_69(world: World) -> None:
    """The log names the program and where it was looked for."""
    agent = world.ended(69, environment={"PATH": str(world.directory)})
    assert "cannot start 'keepalived': it is not there" in agent.log


def test_without_keepalived_a_mendable_source_is_not_waited_for(world: World) -> None:
    """No edit of a variable brings keepalived."""
    world.write(VIP_GROUPS="1")
    agent = world.start(policy=SHORT, environment={"PATH": str(world.directory)}, reads_file=True)
    assert 69 == agent.ends(5)


def test_invalid_variables_end_with_78_and_every_problem(world: World) -> None:
    """Nobody has to mend them one by one; nothing is started."""
    wrong = {
        "OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.300",
        "OPENSHIFT_HA_MONITOR_PORT": "x",
        "OPENSHIFT_HA_PREEMPTION": "sometimes",
    }
    agent = world.ended(78, policy=None, environment=wrong)
    for name, value in wrong.items():
        assert name in agent.log
        assert value in agent.log
    assert [] == world.fake.journal()


@pytest.mark.parametrize(("code", "expected"), [(2, 78), (6, 78), (4, 77)])
def test_a_permanent_exit_of_keepalived_ends_the_agent(
    world: World, code: int, expected: int
) -> None:
    """A restart would not mend it; the platform is told why."""
    world.fake.plays({"exit": code, "after": 0.1})
    agent = world.ended(expected)
    assert 1 == world.fake.count("start")
    assert f"event=keepalived.exited pid={world.fake.journal('start')[0]['pid']}" in agent.log


def test_a_keepalived_that_keeps_failing_ends_the_agent_with_75(world: World) -> None:
    """After the attempts of the policy, each one said."""
    world.fake.plays({"exit": 1})
    agent = world.ended(75)
    assert int(SHORT["attempts"]) + 1 == world.fake.count("start")
    assert int(SHORT["attempts"]) == agent.log.count("event=restart.scheduled")


@pytest.mark.parametrize(
    "test", [{"exit": 4, "output": ["(line 7) Unknown keyword 'nonsense'"]}, {"exit": 5}]
)
def test_a_configuration_that_keepalived_refuses_ends_with_78(
    world: World, test: dict[str, object]
) -> None:
    """What it says is in the log; nothing is written where it would be found."""
    world.fake.plays(test=test)
    agent = world.ended(78)
    for line in test.get("output", []):  # type: ignore[attr-defined]
        assert line.split("'")[0] in agent.log
    assert not world.keepalived_conf.exists()
    assert 0 == world.fake.count("start")


def test_a_configuration_test_that_hangs_is_a_refusal(world: World) -> None:
    """It is killed, and the log says so."""
    world.fake.plays(test={"hangs": True})
    world.ended(78)
    assert not is_alive(world.fake.journal("test")[0]["pid"])


def test_a_configuration_test_whose_output_stays_open_is_judged_all_the_same(world: World) -> None:
    """A child that it left behind does not keep the agent from starting."""
    world.fake.plays({}, test={"leaves_child": True})
    world.running()


def test_a_configuration_test_that_floods_is_cut_short(world: World) -> None:
    """The log stays readable, the agent's memory small."""
    world.fake.plays(test={"exit": 4, "flood": 20_000_000})
    agent = world.ended(78, policy={**SHORT, "test_grace": 10})
    assert len(agent.log) < 100_000


def test_a_configuration_path_that_cannot_be_written_ends_with_71(world: World) -> None:
    """The path and the reason are in the log."""
    blocked = world.directory / "file"
    blocked.write_text("", encoding="utf-8")
    path = f"{blocked}/keepalived.conf"
    agent = world.ended(71, environment={"KEEPALIVED_CONFIG": path})
    assert str(blocked) in agent.log
    assert 0 == world.fake.count("start")


def test_a_run_directory_that_cannot_be_used_ends_with_71(world: World) -> None:
    """So does one that is a file."""
    world.run_directory.write_text("", encoding="utf-8")
    agent = world.ended(71, policy=None)
    assert str(world.run_directory) in agent.log
    world.run_directory.unlink()


def test_a_second_agent_with_the_same_run_directory_is_refused(world: World) -> None:
    """It says why, and the first is not disturbed."""
    first = world.running()
    second = world.start()
    assert 71 == second.ends()
    assert "another agent runs with it" in second.log
    assert "running" == first.status["phase"]
    assert 0 == first.stop()


def test_a_pid_file_of_a_dead_agent_is_no_obstacle(world: World) -> None:
    """A killed agent's successor starts."""
    killed = world.running()
    killed.kill()
    assert 0 == world.running().stop()


def test_a_keepalived_that_cannot_be_started_ends_with_69(world: World) -> None:
    """It was there for the configuration test and is gone since."""
    world.fake.plays(test={"removes": str(world.fake.program)})
    programs = world.directory / "programs"  # without the real keepalived
    programs.mkdir()
    (programs / "setpriv").symlink_to(shutil.which("setpriv") or "")
    path = {"PATH": f"{world.fake.directory}:{programs}"}
    agent = world.ended(69, environment=path)
    assert "event=keepalived.spawn_failed" in agent.log


@pytest.mark.parametrize("capability", ["net_admin", "net_raw"])
def test_without_a_capability_nothing_is_started(world: World, capability: str) -> None:
    """keepalived would be MASTER of an address that no other node serves; exit code 77."""
    agent = world.ended(77, policy=None, before=("setpriv", "--bounding-set", f"-{capability}"))
    assert f"{capability.upper()} is missing" in agent.log
    assert 0 == world.fake.count("start")


def test_a_record_of_addresses_that_cannot_be_written_is_reported(world: World) -> None:
    """Addresses are served all the same."""
    (world.run_directory / "addresses.json" / "in-the-way").mkdir(parents=True)
    agent = world.running()
    assert "event=addresses.record_failed" in agent.log


# --- crashes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"exit": 1}, {"exit": 0}, {"kill": 9}, {"kill": 11}], ids=str)
def test_a_keepalived_that_ends_is_started_again(world: World, how: dict[str, object]) -> None:
    """Its addresses are released first, and the status counts it."""
    world.fake.plays({"after": 0.3, "holds": [HELD], **how}, {})
    agent = world.running()
    agent.wait_for_starts(2)
    assert "10.0.0.101" not in world.addresses()
    assert 'event=addresses.released addresses="10.0.0.101/32 on veth0"' in agent.log
    assert 1 == agent.status["restarts"]


def test_what_is_left_of_keepalived_is_ended_before_the_next_one_starts(world: World) -> None:
    """An orphan in its group that ignores TERM would serve addresses beside the next one."""
    world.fake.plays({"orphan": "group", "kill": 9, "after": 0.3}, {})
    agent = world.running()
    agent.wait_for(lambda: world.fake.count("start") == 2)
    (orphan,) = world.fake.journal("orphan")
    assert not is_alive(orphan["pid"])
    assert orphan["at"] + SHORT["clear_grace"] <= world.fake.journal("start")[1]["at"]


@BOTH
def test_orphans_of_others_are_reaped(world: World, as_pid_1: bool) -> None:  # noqa: FBT001
    """A check script's grandchild that ends leaves no zombie, and its end is not keepalived's."""
    world.fake.plays({"orphan": "away", "orphan_ends": 0.3})
    agent = world.running(as_pid_1=as_pid_1)
    agent.wait_for(lambda: world.fake.count("orphan"))
    # the orphan is handed to the agent only when keepalived ends
    os.kill(children_of(agent.pid)[0], signal.SIGKILL)
    agent.wait_for(lambda: world.fake.count("start") == 2)
    agent.wait_for(lambda: "event=child.orphan_reaped" in agent.log)
    agent.wait_for_phase("running")
    wait_until(lambda: all(map(is_alive, children_of(agent.pid))), 5, "zombies are left")


def test_an_agent_that_is_killed_takes_keepalived_along(world: World) -> None:
    """Addresses that nobody supervises are worse than none."""
    agent = world.running()
    agent.kill()
    (started,) = world.fake.journal("start")
    wait_until(lambda: not is_alive(started["pid"]), 5, "keepalived lives on")
    assert 1 == world.fake.count("SIGTERM")


@pytest.mark.parametrize("reads_file", [False, True], ids=["ends", "waits to be mended"])
def test_leftovers_of_a_killed_agent_are_released_by_the_next_start(
    world: World,
    reads_file: bool,  # noqa: FBT001
) -> None:
    """Even when its successor's variables cannot be used."""
    world.fake.plays({"holds": [HELD]})
    agent = world.running()
    agent.kill()
    (started,) = world.fake.journal("start")
    wait_until(lambda: not is_alive(started["pid"]), 5, "keepalived lives on")
    world.namespace.ip("address", "add", HELD[0], "dev", "veth0", "label", HELD[2])
    world.write(VIRTUAL_IPS="nonsense")
    wrong = {"OPENSHIFT_HA_VIRTUAL_IPS": "nonsense"}
    again = world.start(policy=SHORT, environment=wrong, reads_file=reads_file)
    if reads_file:
        again.wait_for_phase("waiting")
    else:
        assert 78 == again.ends()
    assert "10.0.0.101" not in world.addresses()


def test_a_bug_ends_keepalived_and_tells_where(world: World) -> None:
    """Exit code 1, a traceback in the log, nothing left on the interface."""
    world.fake.plays({"holds": [HELD], "stop_takes": 0.1})
    agent = world.running(has_bug=True)
    agent.reload()
    assert 1 == agent.ends()
    assert "event=agent.crashed" in agent.log
    assert "this is a bug" in agent.log
    assert "10.0.0.101" not in world.addresses()
    (started,) = world.fake.journal("start")
    assert not is_alive(started["pid"])


# --- what it says of itself ---------------------------------------------------------------------


def test_transitions_are_in_the_log_and_in_the_status(world: World) -> None:
    """With name, state, since when; lines about strangers and nonsense are passed over."""
    world.fake.plays(
        {
            "transitions": [
                'INSTANCE "OpenShift_IPFailover_VIP_1" BACKUP 200',
                'INSTANCE "OpenShift_IPFailover_VIP_1" MASTER 200',
                'INSTANCE "stranger" MASTER 200',
                "nonsense",
            ]
        }
    )
    agent = world.running()
    agent.wait_for(lambda: agent.status["instances"][0]["state"] == "MASTER")
    assert agent.status["instances"][0]["since"] is not None
    assert "INIT" == agent.status["instances"][1]["state"]
    assert "event=vrrp.transition instance=OpenShift_IPFailover_VIP_1 previous=BACKUP" in agent.log
    assert "stranger" not in agent.log.replace("child", "")
    assert 0 == agent.stop()
    assert "STOP" == agent.status["instances"][0]["state"]


def test_an_idle_agent_says_nothing_and_seldom_wakes(world: World) -> None:
    """Nothing but the watch polls, and not without a port: a few wakeups a second, no line."""
    world.fake.plays(STANDING_BY)
    agent = world.running(policy={})
    agent.wait_for(lambda: agent.status["ready"] is True)
    wait_until(lambda: not _moves(agent), 5, "the agent does not come to rest")
    log, before, began = agent.log, wakeups(agent), time.monotonic()
    subprocess.run(["sleep", "3"], check=True)
    rate = (wakeups(agent) - before) / (time.monotonic() - began)
    print(f"{rate:.1f} a second")
    assert log == agent.log
    assert rate < 10


def _moves(agent: AgentProcess) -> bool:
    before = agent.status["written_at"]
    subprocess.run(["sleep", "0.3"], check=True)
    return bool(agent.status["written_at"] != before)


def wakeups(agent: AgentProcess) -> int:
    """Return how often threads of the agent have slept: no matter how fast the machine is."""
    threads = Path(f"/proc/{agent.pid}/task").iterdir()
    lines = [line for each in threads for line in (each / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
