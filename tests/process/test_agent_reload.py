"""The whole agent: reloads, with real signals and a scripted keepalived."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import pytest

from tests.support.agent_process import SHORT, STANDING_BY, AgentProcess, World

pytestmark = pytest.mark.netns

HELD = ["10.0.0.101/32", "veth0", "veth0:vip"]


def reading_file(world: World, **options: object) -> AgentProcess:
    """Return a running agent whose addresses come from the file."""
    if not world.config_file.exists():
        world.write(VIRTUAL_IPS="10.0.0.101-102")
    return world.running(reads_file=True, **options)


def generated_files(world: World) -> dict[str, str]:
    """Return the digests of the files that keepalived depends on, and their inodes."""
    return {
        path.name: f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in (world.keepalived_conf, *_scripts(world))
    }


def _scripts(world: World) -> list[Path]:
    return [path for name in ("check", "notify") if (path := world.run_directory / name).exists()]


def active_digest(world: World) -> str:
    """Return the digest of keepalived.conf as the fake notes it."""
    return hashlib.sha256(world.keepalived_conf.read_bytes()).hexdigest()


# --- accepted -----------------------------------------------------------------------------------


def test_a_changed_variable_reaches_keepalived_by_one_sighup(world: World) -> None:
    """The same process, the new file, and the verdict says what happened to which address."""
    agent = reading_file(world)
    pid = agent.status["keepalived_pid"]
    assert ("accepted", ["10.0.0.103 is added"]) == agent.reloaded(VIRTUAL_IPS="10.0.0.101-103")
    assert pid == agent.status["keepalived_pid"]
    (signalled,) = world.fake.journal("SIGHUP")
    assert active_digest(world) == signalled["digest"]
    assert 3 == len(agent.status["instances"])


def test_a_reload_without_a_change_signals_nothing(world: World) -> None:
    """Same digest, no signal, no write; the verdict is unchanged."""
    agent = reading_file(world)
    before = generated_files(world)
    assert "unchanged" == agent.reloaded()[0]
    assert before == generated_files(world)
    assert 0 == world.fake.count("SIGHUP")
    assert 1 == world.fake.count("test")


def test_a_change_that_touches_no_address_is_said_to_touch_none(world: World) -> None:
    """It is accepted all the same: keepalived is signalled."""
    agent = reading_file(world)
    assert ("accepted", ["no address is affected"]) == agent.reloaded(
        VIRTUAL_IPS="10.0.0.101-102", PREEMPTION="nopreempt"
    )
    assert 1 == world.fake.count("SIGHUP")


def test_a_change_of_the_scripts_alone_signals_nothing(world: World) -> None:
    """keepalived starts a script by its path: the next run of it is the new one."""
    addresses = {"VIRTUAL_IPS": "10.0.0.101-102", "CHECK_WATCH": "0"}
    world.write(**addresses)
    agent = world.running(reads_file=True)
    before = (world.run_directory / "check").read_text(encoding="utf-8")
    assert "accepted" == agent.reloaded(**addresses, MONITOR_PORT="8080")[0]
    assert before != (world.run_directory / "check").read_text(encoding="utf-8")
    assert 0 == world.fake.count("SIGHUP")


def test_an_address_that_moves_to_an_earlier_instance_takes_a_second_sighup(world: World) -> None:
    """In one step keepalived 2.2.7 loses it; the second waits for the first to end."""
    world.write(VIRTUAL_IPS="10.0.0.101,10.0.0.102")
    agent = reading_file(world)
    verdict, lines = agent.reloaded(VIRTUAL_IPS="10.0.0.102,10.0.0.101")
    assert "accepted" == verdict
    assert 2 == world.fake.count("SIGHUP")
    assert 2 == agent.output.count("Reload complete")
    assert "signalled twice" in lines[-1]


@pytest.mark.parametrize("deletes", [False, True], ids=["swapped", "swapped, value gone"])
def test_a_mounted_configmap_that_is_swapped_is_read_as_a_whole(
    world: World,
    deletes: bool,  # noqa: FBT001
) -> None:
    """The link ..data points elsewhere after an update, as the kubelet does it."""
    mounted = world.directory / "configmap"
    for name, ips in (("..1", "10.0.0.101"), ("..2", "10.0.0.102")):
        (mounted / name).mkdir(parents=True)
        if name == "..1" or not deletes:
            (mounted / name / "OPENSHIFT_HA_VIRTUAL_IPS").write_text(f"{ips}\n", encoding="utf-8")
    (mounted / "..data").symlink_to("..1")
    (mounted / "OPENSHIFT_HA_VIRTUAL_IPS").symlink_to("..data/OPENSHIFT_HA_VIRTUAL_IPS")
    agent = world.start("--config", str(mounted))
    agent.wait_for_phase("running")
    assert "10.0.0.101/32" in world.keepalived_conf.read_text(encoding="utf-8")
    (mounted / "..new").symlink_to("..2")
    (mounted / "..new").replace(mounted / "..data")
    assert "accepted" == agent.reloaded()[0]
    expected = "10.0.0.103/32" if deletes else "10.0.0.102/32"  # the environment's, else the new
    assert expected in world.keepalived_conf.read_text(encoding="utf-8")


def test_what_is_degraded_no_more_is_ready_again_without_a_signal(world: World) -> None:
    """The files are the same, what is said of them is not."""
    world.fake.plays(STANDING_BY)
    world.write(VIRTUAL_IPS="10.0.0.101,10.0.0.300", ON_INVALID="serve-valid")
    agent = reading_file(world)
    assert agent.status["ready"] is False
    assert "10.0.0.300" in " ".join(agent.status["reasons"])
    agent.reloaded(VIRTUAL_IPS="10.0.0.101", ON_INVALID="serve-valid")
    agent.wait_for(lambda: agent.status["ready"] is True)
    assert [] == agent.status["reasons"]


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "test", "said"),
    [
        ({"VIRTUAL_IPS": "10.0.0.400"}, {}, "10.0.0.400"),
        ({"VIRTUAL_IPS": "10.0.0.7"}, {"exit": 4, "output": ["(line 3) bad"]}, "(line 3) bad"),
        ({"VIRTUAL_IPS": "10.0.0.7"}, {"exit": 5}, "error it could survive"),
        ({"VIRTUAL_IPS": "10.0.0.7"}, {"hangs": True}, "killed"),
        ({"VIRTUAL_IPS": "10.0.0.7", "NETWORK_INTERFACE": "nosuch0"}, {}, "nosuch0"),
        ({"VIRTUAL_IPS": ""}, {}, "OPENSHIFT_HA_VIRTUAL_IPS"),
    ],
    ids=["our checks", "keepalived -t", "survivable", "test hangs", "interface", "empty is unset"],
)
def test_a_refused_reload_changes_nothing_and_says_why(
    world: World, written: dict[str, str], test: dict[str, object], said: str
) -> None:
    """File bytes, pid and process stay; status and log name the reason; it stays ready."""
    world.fake.plays(STANDING_BY)
    agent = reading_file(world)
    before, pid = generated_files(world), agent.status["keepalived_pid"]
    world.fake.plays(STANDING_BY, test=test)
    verdict, lines = agent.reloaded(**written)
    assert "refused" == verdict
    assert said in " ".join(lines)
    assert said in agent.log
    assert before.keys() == generated_files(world).keys()
    assert [each.split()[0] for each in before.values()] == [
        each.split()[0] for each in generated_files(world).values()
    ]
    assert pid == agent.status["keepalived_pid"]
    assert 0 == world.fake.count("SIGHUP")
    agent.wait_for(lambda: agent.status["ready"] is True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEEPALIVED_CONFIG", "/tmp/other.conf"),  # noqa: S108 - never written
        ("KEEPALIVED_OPTIONS", "--log-detail"),
        ("IPFAILOVER_RUN_DIR", "/run/elsewhere"),
        ("IPFAILOVER_LISTEN", "127.0.0.1:1"),
    ],
)
def test_a_change_that_only_a_restart_can_bring_is_refused(
    world: World, name: str, value: str
) -> None:
    """The verdict names the variable and says needs a restart."""
    agent = reading_file(world)
    text = world.config_file.read_text(encoding="utf-8")
    world.config_file.write_text(f"{text}{name}={value}\n", encoding="utf-8")
    verdict, lines = agent.reloaded()
    assert "refused" == verdict
    assert name in lines[0]
    assert "needs a restart" in lines[0]
    world.config_file.write_text(text, encoding="utf-8")
    assert "unchanged" == agent.reloaded()[0]


def test_a_source_that_vanished_is_a_refusal(world: World) -> None:
    """It says which file, and the next reload finds it again."""
    agent = reading_file(world)
    hidden = world.config_file.with_suffix(".hidden")
    world.config_file.rename(hidden)
    verdict, lines = agent.reloaded()
    assert "refused" == verdict
    assert str(world.config_file) in lines[0]
    hidden.rename(world.config_file)
    assert "unchanged" == agent.reloaded()[0]


def test_a_refused_first_configuration_is_waited_on_until_it_is_mended(world: World) -> None:
    """Not ready, said once however often it looks, and running once the file is good."""
    world.fake.plays(STANDING_BY)
    world.write(VIRTUAL_IPS="10.0.0.101,wrong")
    agent = world.start(policy=SHORT, reads_file=True)
    agent.wait_for_phase("waiting")
    agent.wait_for(lambda: "wrong" in " ".join(agent.status["reasons"]))
    before = agent.status["written_at"]
    agent.wait_for(lambda: agent.status["written_at"] != before)
    assert agent.status["ready"] is False
    assert 1 == agent.log.count("event=config.rejected")
    world.write(VIRTUAL_IPS="10.0.0.101")
    agent.wait_for(lambda: agent.status["ready"] is True)
    assert [] == agent.status["reasons"]


def test_a_reload_that_cannot_be_written_is_refused_and_taken_back(world: World) -> None:
    """Where keepalived.conf cannot be replaced, scripts go back to what they were."""
    agent = reading_file(world)
    before = {name: text.split()[0] for name, text in generated_files(world).items()}
    directory = world.keepalived_conf.parent
    mounted = str(directory)
    # a mount in the agent's own mount namespace, which `ip netns exec` made
    inside = ["nsenter", "--target", str(agent.pid), "--mount"]
    world.namespace.run(*inside, "mount", "--bind", mounted, mounted)
    world.namespace.run(*inside, "mount", "-o", "remount,bind,ro", mounted)
    verdict, lines = agent.reloaded(VIRTUAL_IPS="10.0.0.101-104", MONITOR_PORT="8080")
    assert "refused" == verdict
    assert "Read-only file system" in lines[0]
    after = {name: text.split()[0] for name, text in generated_files(world).items()}
    assert before == after
    assert 0 == world.fake.count("SIGHUP")


# --- keepalived's own faults at a reload --------------------------------------------------------


def test_a_reload_that_kills_keepalived_is_rolled_back(world: World) -> None:
    """The previous files are back, keepalived runs with them, and what it left is released."""
    world.fake.plays({"hup": "die", "holds": [HELD]}, {})
    agent = reading_file(world)
    before = active_digest(world)
    verdict, lines = agent.reloaded(VIRTUAL_IPS="10.0.0.101-104")
    assert ("refused", ["keepalived ended during the reload"]) == (verdict, lines)
    agent.wait_for_starts(2)
    first, second = world.fake.journal("start")
    assert before == first["digest"] == second["digest"] == active_digest(world)
    assert 2 == len(agent.status["instances"])
    assert "10.0.0.101" not in world.addresses()
    assert "event=config.restored" in agent.log


def test_a_reload_after_a_roll_back_tries_the_same_candidate_again(world: World) -> None:
    """It is no longer the active one, so it is not unchanged."""
    world.fake.plays({"hup": "die"}, {})
    agent = reading_file(world)
    agent.reloaded(VIRTUAL_IPS="10.0.0.101-104")
    agent.wait_for_starts(2)
    verdict, lines = agent.reloaded()
    assert ("accepted", ["10.0.0.103 is added", "10.0.0.104 is added"]) == (verdict, lines)


def test_a_reload_that_keepalived_does_not_confirm_is_said_to_be_unconfirmed(world: World) -> None:
    """keepalived runs on, and the next reload is carried out."""
    world.fake.plays({"hup": "silent"})
    agent = reading_file(world)
    verdict, lines = agent.reloaded(VIRTUAL_IPS="10.0.0.101-103")
    assert "unconfirmed" == verdict
    assert "keepalived did not confirm the reload" == lines[0]
    agent.reloaded(VIRTUAL_IPS="10.0.0.101-104")
    assert 2 == world.fake.count("SIGHUP")
    assert 1 == world.fake.count("start")


# --- what nobody saw, or saw to be otherwise ----------------------------------------------------

CIRCLE = "10.0.0.102,10.0.0.101,10.0.0.103"
"""After 10.0.0.101-103: an address moves to an earlier instance, which takes two steps."""


def test_a_first_step_that_keepalived_does_not_confirm_is_taken_back_by_a_signal(
    world: World,
) -> None:
    """The second could lose an address; the file before costs none, and keepalived stays."""
    world.fake.plays({"hup": ["silent", "complete"]})
    world.write(VIRTUAL_IPS="10.0.0.101-103")
    agent = reading_file(world)
    before = active_digest(world)
    pid = agent.status["keepalived_pid"]
    verdict, lines = agent.reloaded(VIRTUAL_IPS=CIRCLE)
    reason = "rolled back after the first of two steps: keepalived did not confirm the reload"
    assert ("refused", [reason]) == (verdict, lines)
    first, second = world.fake.journal("SIGHUP")
    assert first["digest"] != before
    assert before == second["digest"] == active_digest(world)
    assert pid == agent.status["keepalived_pid"]
    assert "event=config.restored" in agent.log
    assert not list(world.keepalived_conf.parent.glob(".*new~"))
    assert "accepted" == agent.reloaded()[0]
    assert 4 == world.fake.count("SIGHUP")


def test_a_first_step_that_cannot_be_seen_in_time_is_taken_back_by_a_signal(world: World) -> None:
    """keepalived says that it has read its file and answers too late to show it."""
    world.fake.plays({"dump": {"delay": [0, 1.2, 0]}})
    world.write(VIRTUAL_IPS="10.0.0.101-103")
    agent = reading_file(world, policy={**SHORT, "verify_grace": 0.7, "reload_grace": 5.0})
    agent.wait_for(lambda: world.fake.count("dump") == 1)
    before = active_digest(world)
    verdict, lines = agent.reloaded(VIRTUAL_IPS=CIRCLE)
    assert "refused" == verdict
    assert lines[0].startswith(
        "rolled back after the first of two steps: whether keepalived does what was planned "
        "could not be seen: it gave no answer within 0."
    )
    assert before == active_digest(world)
    assert 2 == world.fake.count("SIGHUP")
    assert 1 == world.fake.count("start")


def test_an_answer_that_comes_too_late_is_none(world: World) -> None:
    """The verdict stays unconfirmed, though the late answer shows what was planned."""
    world.fake.plays({"dump": {"delay": [0, 1.2, 0]}})
    agent = reading_file(world, policy={**SHORT, "verify_grace": 0.7, "reload_grace": 5.0})
    agent.wait_for(lambda: world.fake.count("dump") == 1)
    verdict, lines = agent.reloaded(VIRTUAL_IPS="10.0.0.101-103")
    assert "unconfirmed" == verdict
    assert "it gave no answer within 0." in lines[0]
    agent.wait_for(lambda: world.fake.count("dump") >= 2)
    assert "unconfirmed" == agent.status["reload"]["verdict"]
    assert "accepted" == agent.reloaded(VIRTUAL_IPS="10.0.0.101-104")[0]
    assert 1 == world.fake.count("start")


@pytest.mark.parametrize(
    ("grace", "verdict", "words", "starts"),
    [
        (3.0, "unconfirmed", "could not be seen: it answered ", 1),
        (6.5, "refused", "rolled back, since keepalived did not do what was planned", 2),
    ],
    ids=["too few answers to tell", "enough of them"],
)
def test_a_slow_keepalived_does_not_escape_by_its_few_answers(
    world: World, grace: float, verdict: str, words: str, starts: int
) -> None:
    """Three that show a lost address are enough in the end; one costs nobody anything."""
    world.fake.plays({"dump": {"delay": [0, 1.4], "state": 2}}, {"dump": {}})
    agent = reading_file(world, policy={**SHORT, "verify_grace": grace})
    agent.wait_for(lambda: world.fake.count("dump") == 1)
    world.write(VIRTUAL_IPS="10.0.0.101-103")
    agent.reload()
    told = agent.wait_for_reloads(1, timeout=15)
    assert verdict == told["verdict"]
    assert words in told["lines"][0]
    assert "is MASTER and 10.0.0.10" in told["lines"][0]
    agent.wait_for_starts(starts)


# --- signals at any time ------------------------------------------------------------------------


def test_twenty_sighups_at_once_are_at_most_two_reloads(world: World) -> None:
    """The last one sees what was written before it."""
    agent = reading_file(world)
    world.write(VIRTUAL_IPS="10.0.0.101-103")
    for _ in range(20):
        agent.reload()
    agent.wait_for(lambda: world.fake.count("SIGHUP") == 1)
    agent.wait_for(lambda: agent.status["reload"]["ended"] == agent.status["reload"]["started"])
    assert 3 == len(agent.status["instances"])
    assert 0 == agent.stop()
    assert 1 == world.fake.count("SIGHUP")
    assert world.fake.count("test") <= 4


def test_a_sighup_during_start_is_a_reload_once_keepalived_runs(world: World) -> None:
    """keepalived dies of a SIGHUP that comes too early, so it waits."""
    world.fake.plays({"says": []})
    world.write(VIRTUAL_IPS="10.0.0.101")
    agent = world.start(policy={**SHORT, "okay_delay": 0.6}, reads_file=True)
    agent.wait_for(lambda: world.fake.count("start"))
    assert "accepted" == agent.reloaded(VIRTUAL_IPS="10.0.0.102")[0]
    assert 1 == world.fake.count("SIGHUP")
    assert 1 == world.fake.count("start")


def test_a_sighup_during_the_first_configuration_test_reads_again(world: World) -> None:
    """The test under way fails, and the new file is looked at before anything is given up."""
    world.fake.plays({}, test={"hangs": True})
    world.write(VIRTUAL_IPS="10.0.0.101")
    agent = world.start(policy=SHORT, reads_file=True)
    agent.wait_for(lambda: world.fake.count("test"))
    world.fake.plays({})
    assert "accepted" == agent.reloaded(VIRTUAL_IPS="10.0.0.102")[0]
    agent.wait_for_phase("running")
    assert "10.0.0.102/32" in world.keepalived_conf.read_text(encoding="utf-8")


def test_a_sighup_during_a_test_that_hangs_gets_its_own_verdict(world: World) -> None:
    """The first reload is refused, the second sees the mended file."""
    agent = reading_file(world, policy=SHORT)
    world.fake.plays(test={"hangs": True})
    world.write(VIRTUAL_IPS="10.0.0.101-104")
    agent.reload()
    agent.wait_for(lambda: world.fake.count("test") == 2)
    world.fake.plays()
    agent.reloaded()
    assert "refused" in agent.log
    assert "accepted" == agent.wait_for_reloads(2)["verdict"]


def test_term_during_a_reload_ends_it_with_a_verdict(world: World) -> None:
    """Whoever waits for the reload is told that the agent stops."""
    agent = reading_file(world)
    world.fake.plays(test={"hangs": True})
    world.write(VIRTUAL_IPS="10.0.0.101-104")
    agent.reload()
    agent.wait_for(lambda: world.fake.count("test") == 2)
    assert 0 == agent.stop(timeout=3)
    verdict = agent.status["reload"]
    assert ("refused", ["the agent is stopping"]) == (verdict["verdict"], verdict["lines"])


def test_a_sighup_during_back_off_starts_keepalived_at_once(world: World) -> None:
    """With what the variables say now; the delay is not sat out."""
    world.fake.plays({"exit": 1}, {})
    world.write(VIRTUAL_IPS="10.0.0.101")
    slow = {**SHORT, "backoff_initial": 60, "backoff_limit": 60}
    agent = world.start(policy=slow, reads_file=True)
    agent.wait_for_phase("backoff")
    world.write(VIRTUAL_IPS="10.0.0.101-102")
    agent.reload()
    agent.wait_for_phase("running")
    assert "accepted" == agent.wait_for_reloads(1)["verdict"]
    assert 2 == len(agent.status["instances"])


def test_a_bad_edit_during_back_off_does_not_cost_the_addresses(world: World) -> None:
    """keepalived is started with what ran before, and the refusal is told."""
    world.fake.plays({"exit": 1}, {})
    world.write(VIRTUAL_IPS="10.0.0.101")
    slow = {**SHORT, "backoff_initial": 60, "backoff_limit": 60}
    agent = world.start(policy=slow, reads_file=True, environment={"OPENSHIFT_HA_VIRTUAL_IPS": ""})
    agent.wait_for_phase("backoff")
    before = active_digest(world)
    world.write(VIRTUAL_IPS="10.0.0.1001")
    agent.reload()
    agent.wait_for_phase("running")
    assert "refused" == agent.wait_for_reloads(1)["verdict"]
    assert before == world.fake.journal("start")[-1]["digest"]


def test_a_sighup_while_waiting_looks_at_once(world: World) -> None:
    """Its verdict is that nothing has come yet."""
    slow = {**SHORT, "waiting_interval": 60}
    agent = world.start(policy=slow, environment={"OPENSHIFT_HA_NETWORK_INTERFACE": "nosuch0"})
    agent.wait_for_phase("waiting")
    verdict, lines = agent.reloaded()
    assert "refused" == verdict
    assert "nosuch0" in lines[0]


def test_a_sighup_during_stop_is_refused(world: World) -> None:
    """The stop goes on as if nothing had happened."""
    world.fake.plays({"stop_takes": 0.5})
    agent = reading_file(world)
    agent.signal(signal.SIGTERM)
    agent.wait_for_phase("stopping")
    agent.reload()
    assert 0 == agent.ends()
    assert "the agent is stopping" in agent.status["reload"]["lines"][0]
    assert 0 == world.fake.count("SIGHUP")


def test_keepalived_that_dies_while_a_candidate_is_tested_gets_that_candidate(
    world: World,
) -> None:
    """The reload is not lost, and has one verdict."""
    world.fake.plays({"exit": 1, "after": 1.0}, {})
    agent = reading_file(world, policy={**SHORT, "test_grace": 10})
    world.fake.plays({"exit": 1, "after": 1.0}, {}, test={"delay": 1.5})
    world.write(VIRTUAL_IPS="10.0.0.101-104")
    agent.reload()
    agent.wait_for(lambda: world.fake.count("test") == 2)
    agent.wait_for(lambda: agent.status["keepalived_pid"] is None)
    world.fake.plays({"exit": 1, "after": 1.0}, {})
    assert "accepted" == agent.wait_for_reloads(1)["verdict"]
    agent.wait_for_phase("running")
    assert 4 == len(agent.status["instances"])
