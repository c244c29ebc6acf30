"""The command line, as an operator types it."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.support.agent_process import SHORT, STANDING_BY, AgentProcess, World
from tests.support.netns import fresh_namespace
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns

COMMANDS = ("run", "render", "check", "reload", "status", "events", "release")
UNPRIVILEGED = (
    *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
    *("--bounding-set", "-all", "--inh-caps", "-all"),
)
WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set", "-net_admin")
TEMPLATES = Path(__file__).parents[2] / "templates"
IPV6 = "2001:db8::a"


# --- all of them --


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_readable_for_a_stranger(world: World, command: str) -> None:
    """It fits 80 columns, says what the command does, and every option is explained."""
    done = world.command(*command.split(), "--help")
    assert (0, "") == (done.returncode, done.stderr)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Usage: ipfailover-agent")
    assert "..." not in done.stdout.replace("[ARGS]...", "")
    options = [index for index, line in enumerate(lines) if re.match(r"  -", line)]
    for index in options:
        beside = re.search(r"\S  +\S", lines[index])
        assert beside or lines[index + 1].startswith(" " * 8), lines[index]


@pytest.mark.parametrize(
    "words", [["nonsense"], ["check", "nonsense"], ["status", "--nonsense"], []], ids=str
)
def test_a_wrong_command_line_ends_with_2(world: World, words: list[str]) -> None:
    """What click says, without a traceback."""
    done = world.command(*words)
    assert 2 == done.returncode
    assert "Usage:" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        *(
            (["reload", f"--timeout={each}"], "Invalid value for '--timeout'")
            for each in ("nan", "-1", "-0.001", "inf", "-inf", "soon", "")
        ),
        # a processor kept busy helps nobody
        *(
            (["status", "--watch", each], "Invalid value for '--watch'")
            for each in ("0", "0.01", "nan", "soon")
        ),
        # nothing would be asked, and everything pass
        (["doctor", "--seconds", "0"], "Invalid value for '--seconds'"),
        # a typing error in a manifest would make it fail, much later
        (["doctor", "--tolerate", "dns,anwsers"], "'anwsers' is no check; there are capabilities"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_option_that_means_nothing_is_refused(
    world: World, words: list[str], said: str
) -> None:
    """nan would have been waited for without end, or not at all."""
    done = world.command(*words)
    assert (2, "") == (done.returncode, done.stdout)
    assert said in done.stderr


@pytest.mark.parametrize("words", ["--help", "check", "check --json", "render", "render --help"])
def test_a_reader_that_leaves_gets_no_traceback(world: World, words: str) -> None:
    """As in `| head -1`; the exit code stays the command's own."""
    script = '"$0" "$@" | true; echo ${PIPESTATUS[0]}'
    done = world.command(*words.split(), before=("bash", "-c", script))
    assert ("0\n", "") == (done.stdout, done.stderr)


def test_a_reader_that_leaves_does_not_hide_a_refusal(world: World) -> None:
    """`check | head` with pipefail still fails."""
    wrong = {"OPENSHIFT_HA_VIRTUAL_IPS": "x"}
    script = 'set -o pipefail; "$0" "$@" | true'
    done = world.command("check", environment=wrong, before=("bash", "-c", script))
    assert (78, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("words", ["check", "render"])
def test_a_disk_that_is_full_is_said_in_a_line(world: World, words: str) -> None:
    """Not with a traceback."""
    done = world.command(words, before=("sh", "-c", '"$0" "$@" >/dev/full'))
    message = "ipfailover-agent: cannot write the output: No space left on device\n"
    assert (71, message) == (done.returncode, done.stderr)


def test_an_empty_option_variable_equals_an_unset_one(world: World) -> None:
    """A manifest may set IPFAILOVER_CONFIG to nothing."""
    names = ("CONFIG", "RUN_DIR", "TEMPLATE_DIR", "LOG_FORMAT", "LOG_LEVEL")
    empty = {f"IPFAILOVER_{name}": "" for name in names}
    printed = world.prints(0, "check", environment=empty)
    expected = world.command("check", environment={"IPFAILOVER_RUN_DIR": "/run/ipfailover-agent"})
    assert expected.stdout == printed


def test_the_version_is_printed(world: World) -> None:
    """Name and version, nothing else."""
    done = world.command("--version")
    assert re.fullmatch(r"ipfailover-agent, version \d+\.\d+\.\d+\n", done.stdout)


# --- render --


def test_render_prints_the_configuration_and_touches_nothing(world: World) -> None:
    """Without root, without keepalived, without the run directory."""
    # whoever measures coverage could not write it down as nobody
    alone = ("env", "-u", "COVERAGE_PROCESS_CONFIG", "-u", "COVERAGE_PROCESS_START")
    done = world.command("render", before=(*alone, *UNPRIVILEGED))
    assert (0, "") == (done.returncode, done.stderr)
    assert 3 == done.stdout.count("vrrp_instance ")
    assert not world.run_directory.exists()
    assert [] == world.fake.journal()


def test_render_writes_every_file_into_a_directory(world: World) -> None:
    """And names them; the configuration is the one that it prints."""
    there = world.directory / "rendered"
    printed = world.prints(0, "render", "--output", str(there))
    assert sorted(printed.splitlines()) == sorted(map(str, there.iterdir()))
    printed = world.command("render").stdout
    assert printed == (there / "keepalived.conf").read_text(encoding="utf-8")


def test_render_names_every_problem(world: World) -> None:
    """On stderr, with 78, and prints no half configuration."""
    wrong = {"OPENSHIFT_HA_VIRTUAL_IPS": "x", "OPENSHIFT_HA_VIP_GROUPS": "y"}
    done = world.command("render", environment=wrong)
    assert (78, "") == (done.returncode, done.stdout)
    assert "OPENSHIFT_HA_VIRTUAL_IPS: 'x'" in done.stderr
    assert "OPENSHIFT_HA_VIP_GROUPS: 'y'" in done.stderr


def test_render_says_warnings_on_stderr(world: World) -> None:
    """So that what is piped on stays a configuration."""
    done = world.command("render", environment={"OPENSHIFT_HA_VIRTUAL_IP": "10.0.0.9"})
    assert 0 == done.returncode
    assert "OPENSHIFT_HA_VIRTUAL_IPS" in done.stderr
    assert done.stderr.startswith("warning: ")


def test_a_template_that_fails_is_named_with_its_line(world: World) -> None:
    """Users may bring their own."""
    templates = world.directory / "templates"
    templates.mkdir()
    (templates / "keepalived.conf.j2").write_text("line 1\n{{ nothing.here }}\n")
    done = world.command("render", "--template-dir", str(templates))
    assert 78 == done.returncode
    assert "keepalived.conf.j2" in done.stderr
    assert "2" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def own(world: World) -> Path:
    """Return a directory for templates of the user's own, which the agent takes them from."""
    directory = world.directory / "templates"
    directory.mkdir()
    world.environment["IPFAILOVER_TEMPLATE_DIR"] = str(directory)
    return directory


def test_a_template_without_room_for_the_agents_verdict_has_keepalived_check(
    world: World, own: Path
) -> None:
    """As one of a time before the agent checked ports at all: the script is in force."""
    (own / "keepalived.conf.j2").write_text(_without_probes())
    done = world.command("render", environment={"OPENSHIFT_HA_CHECK_WATCH": "0.2"})
    assert ("warning: ", 0) == (done.stderr[:9], done.returncode)
    assert f"CHECK_WATCH: is not looked at: {own}/keepalived.conf.j2 is one of" in done.stderr
    assert 3 == done.stdout.count('        "chk_OpenShift_IPFailover"')  # one an instance
    assert 'vrrp_script "chk_OpenShift_IPFailover" {' in done.stdout
    assert "check.track" not in done.stdout
    done = world.command("check")
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("command", ["check", "render", "run"])
def test_a_template_that_loses_the_verdict_of_fast_probes_is_refused(
    world: World, own: Path, command: str
) -> None:
    """keepalived has no check at fractions of a second that could stand in."""
    (own / "keepalived.conf.j2").write_text(_without_probes())
    done = world.command(command, environment={"OPENSHIFT_HA_CHECK_INTERVAL": "0.5"})
    assert 78 == done.returncode
    assert (
        f"{own}/keepalived.conf.j2 renders no track_file 'chk_OpenShift_IPFailover' of "
        f"{world.run_directory}/check.track, by which the agent's own check counts"
    ) in done.stdout + done.stderr
    lost = "renders no 'chk_OpenShift_IPFailover' in track_file in vrrp_instance '"
    assert lost in done.stdout + done.stderr


def test_a_template_with_a_check_script_of_its_own_has_keepalived_run_it(
    world: World, own: Path
) -> None:
    """Ports and all: what it asks is more than that a port connects."""
    (own / "check.sh.j2").write_text("exit 0  # mine\n")
    there = world.directory / "rendered"
    done = world.command("render", "--output", str(there))
    assert (0, "") == (done.returncode, done.stderr)
    assert "exit 0  # mine\n" == (there / "check").read_text()
    assert 'vrrp_script "chk_OpenShift_IPFailover" {' in (there / "keepalived.conf").read_text()


def _without_probes() -> str:
    """Return the packaged keepalived.conf.j2 without what is about the agent's probes."""
    text = (TEMPLATES / "keepalived.conf.j2").read_text(encoding="utf-8")
    head, _, rest = text.partition("{% if config.port_probes %}\n")
    tail = rest[rest.index("{% for each in config.instances %}") :]
    lines = ("{% if config.port_probes %}", "{{ config.port_probes.name | text }}", "{% endif %}")
    place = f"{lines[0]}\n        {lines[1]}\n{lines[2]}\n"
    assert place in tail
    return head + tail.replace(place, "")


# --- check --


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    "name",
    [
        *("keepalived.conf.candidate", "check", "check.reason", "notify.fifo", "agent.lock"),
        *("status.json", "tmp", "tmp/x", "agent.pid/x", "", ".."),
        *("../pipe", "../directory", "../link"),
    ],
)
def test_a_configuration_where_something_else_belongs_is_refused(
    world: World, name: str, command: str
) -> None:
    """The agent's own files, directories, devices: check and run say so alike."""
    (world.directory / "directory").mkdir()
    os.mkfifo(world.directory / "pipe")
    (world.directory / "link").symlink_to(world.run_directory / "agent.lock")
    path = os.path.normpath(world.run_directory / name)
    done = world.command(command, environment={"KEEPALIVED_CONFIG": path})
    assert 78 == done.returncode
    said = re.search(rf"KEEPALIVED_CONFIG: '{path}': (.*?)[;,]", done.stdout + done.stderr)
    assert said is not None
    assert said[1] in {
        "the agent needs that name for itself",
        "it is a directory",
        "what is there is not a regular file",
    }
    assert (world.directory / "pipe").is_fifo()
    assert 0 == world.fake.count("test")


def test_check_tests_with_the_options_that_keepalived_runs_with(world: World) -> None:
    """Some change how the file is read."""
    done = world.command("check", environment={"KEEPALIVED_OPTIONS": "--config-id a"})
    assert 0 == done.returncode
    (test,) = world.fake.journal("test")
    assert ["--config-id", "a", "--config-test"] == test["argv"][:3]


@pytest.mark.parametrize("watch", ["0", "0.05"], ids=["script", "track-file"])
def test_check_tests_where_no_agent_ran_yet(world: World, watch: str) -> None:
    """keepalived 2.3 refuses a file in a directory that is not there: none is named."""
    world.fake.plays(test={"exit": 4, "shows": True})
    done = world.command("check", environment={"OPENSHIFT_HA_CHECK_WATCH": watch})
    named = re.findall(r'"(/[^" ]+)"', done.stdout)
    files = [each for each in named if each.endswith(("/check.track", "11-ipv4", ".fifo"))]
    assert (2 if watch == "0" else 3) == len(files)
    assert not [each for each in files if Path(each).is_relative_to(world.run_directory)]
    assert not world.run_directory.exists()


def test_check_says_what_run_would_do_in_80_columns(world: World) -> None:
    """A table of instances, ids, priorities and addresses."""
    printed = world.prints(0, "check", environment={"OPENSHIFT_HA_CONFIG_NAME": "vip"})
    lines = printed.splitlines()
    assert "run would serve 3 addresses on veth0, ids 11-13" == lines[0]
    assert ["INSTANCE", "ID", "PRIORITY", "VRRP", "ADDRESSES"] == lines[2].split()
    assert ["vip_VIP_1", "11", "10.0.0.101"] == [lines[3].split()[each] for each in (0, 1, -1)]
    assert max(map(len, lines)) <= 80
    assert 1 == world.fake.count("test")
    assert not world.run_directory.exists()


def test_check_prints_json_for_programs(world: World) -> None:
    """The same, and the digest that a running agent would show."""
    done = world.command("check", "--json")
    data = json.loads(done.stdout)
    assert (True, [], "veth0") == (data["ok"], data["problems"], data["interface"])
    assert [11, 12, 13] == [each["virtual_router_id"] for each in data["instances"]]
    agent = world.running()
    assert data["digest"] == agent.status["config"]["digest"]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("IPFAILOVER_LISTEN", "somewhere", 78),
        ("IPFAILOVER_WATCH", "maybe", 2),
        ("IPFAILOVER_LOG_FORMAT", "xml", 2),
        ("IPFAILOVER_LOG_LEVEL", "loud", 2),
    ],
)
def test_check_refuses_what_run_would_not_start_with(
    world: World, name: str, value: str, code: int
) -> None:
    """Though check itself has no use for it: 0 says that run would serve."""
    world.environment[name] = value
    done = world.command("check")
    assert code == done.returncode
    assert repr(value) in done.stdout + done.stderr


def test_check_names_all_problems_with_78(world: World) -> None:
    """In text and in JSON alike."""
    wrong = {"OPENSHIFT_HA_VIRTUAL_IPS": "x", "OPENSHIFT_HA_PREEMPTION": "maybe"}
    printed = world.prints(78, "check", environment=wrong)
    assert 2 == printed.count("problem: OPENSHIFT_HA_")
    assert "run would serve nothing" == printed.splitlines()[-1]
    as_json = world.command("check", "--json", environment=wrong)
    assert 78 == as_json.returncode
    data = json.loads(as_json.stdout)
    assert data["ok"] is False
    assert 2 == len(data["problems"])


def test_check_says_that_run_would_wait_for_the_interface(world: World) -> None:
    """Which is a failure of a check all the same."""
    printed = world.prints(78, "check", environment={"OPENSHIFT_HA_NETWORK_INTERFACE": "nosuch0"})
    assert "nosuch0" in printed
    assert "run would wait for it" in printed


def test_check_shows_what_keepalived_complains_of(world: World) -> None:
    """Word for word."""
    world.fake.plays(test={"exit": 4, "output": ["(line 9) what is that"]})
    printed = world.prints(78, "check")
    assert "problem: (line 9) what is that" in printed
    assert "run would have served 3 addresses" in printed


def test_check_without_keepalived_says_that_it_was_not_asked(world: World) -> None:
    """On an operator's own machine there need not be one."""
    path = {"PATH": str(Path(sys.executable).parent)}
    printed = world.prints(0, "check", environment=path)
    assert "warning: cannot start 'keepalived'" in printed


@pytest.mark.parametrize("is_writable", [True, False], ids=["run-directory", "nothing"])
@pytest.mark.parametrize("command", ["check", "plan"])
def test_the_test_by_keepalived_needs_no_tmp(
    world: World, command: str, *, is_writable: bool
) -> None:
    """A container with a read-only root has none: the run directory's place serves, if any."""
    world.run_directory.mkdir()
    places = ["/tmp", "/var/tmp"]  # noqa: S108 - they are made read-only
    script = [f"mount --bind {each} {each}; mount -o remount,ro,bind {each}" for each in places]
    if is_writable:
        own = world.directory
        script.append(f"mount --bind {own} {own}; mount -o remount,rw,bind {own}")
    script += ["cd /proc", 'exec "$0" "$@"']
    for name in [each for each in world.environment if each.startswith("COVERAGE")]:
        del world.environment[name]  # what measures coverage would want to write
    alone = ("unshare", "--mount", "bash", "-ec", "\n".join(script))
    done = world.command(command, before=alone)
    assert "Traceback" not in done.stderr
    message = f"cannot make a directory for keepalived's test in {world.run_directory}: Read-only"
    assert is_writable != (message in " ".join(done.stdout.split()))
    assert (1 if is_writable else 0) == world.fake.count("test")
    assert [] == [each for each in world.run_directory.iterdir() if "check-" in each.name]


def test_check_compares_with_the_old_image(world: World) -> None:
    """By virtual router id, in 80 columns; and says where nothing differs."""
    printed = world.prints(0, "check", "--compare-old")
    assert "beside this one: both read the same" in printed
    assert max(map(len, printed.splitlines())) <= 80
    data = json.loads(world.command("check", "--compare-old", "--json").stdout)
    assert [["10.0.0.101"], ["10.0.0.102"], ["10.0.0.103"]] == [
        each["addresses"] for each in data["old_image"]["instances"]
    ]


def test_check_shows_the_old_reading_of_what_it_refuses(world: World) -> None:
    """The famous one: the prefix became part of the address."""
    values = {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.1/24"}
    printed = world.prints(78, "check", "--compare-old", environment=values)
    assert "10.0.0.124" in printed
    assert "DIFFERENT" in printed


def test_check_shows_what_is_wrong_also_where_the_kernel_refuses_a_look(world: World) -> None:
    """Without a socket of netlink there is nothing to compare with."""
    program = (
        "import ipfailover_agent.config.prepare as prepare\n"
        "from ipfailover_agent.errors import SystemRefusedError\n"
        "def refuse(*_): raise SystemRefusedError('cannot ask the kernel')\n"
        "prepare.look_for = refuse\n"
        "import sys; del sys.argv[1:4]  # python -m ipfailover_agent\n"
        "from ipfailover_agent.entry import main\n"
        "main()\n"
    )
    done = world.command(
        *("check", "--compare-old"),
        environment={"OPENSHIFT_HA_VIRTUAL_IPS": "bogus"},
        before=(sys.executable, "-c", program),
    )
    assert 78 == done.returncode, done.stderr
    assert "'bogus'" in done.stdout
    assert "cannot ask the kernel" in done.stdout


def test_check_says_when_the_old_image_serves_nothing(world: World) -> None:
    """An id above 255 ended its keepalived."""
    values = {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.2-254", "OPENSHIFT_HA_VRRP_ID_OFFSET": "10"}
    printed = world.prints(78, "check", "--compare-old", environment=values)
    assert "the old image serves nothing" in printed


# --- reload --


IN_FORCE = "keepalived's configuration stays as it is; in force now: OPENSHIFT_HA_SHIELD"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"VIRTUAL_IPS": "10.0.0.101-102"}, "reload accepted\n  10.0.0.102 is added\n"),
        ({"VIRTUAL_IPS": "10.0.0.101"}, "reload unchanged\n  nothing changed\n"),
        # keepalived is told the same as before; that nothing changed would be wrong
        ({"VIRTUAL_IPS": "10.0.0.101", "SHIELD": "off"}, f"reload unchanged\n  {IN_FORCE}\n"),
    ],
    ids=["accepted", "unchanged", "what the agent alone goes by"],
)
def test_reload_prints_what_changed(world: World, wanted: dict[str, str], said: str) -> None:
    """Accepted and unchanged end with 0; then there is nothing left to plan."""
    world.write(VIRTUAL_IPS="10.0.0.101")
    world.running(reads_file=True)
    world.write(**wanted)
    done = world.command("reload")
    assert (0, said) == (done.returncode, done.stdout)
    assert "nothing would change for keepalived" in world.command("plan").stdout


def test_a_refused_reload_ends_with_78_and_the_reasons(world: World) -> None:
    """All of them."""
    world.write(VIRTUAL_IPS="10.0.0.101")
    world.running(reads_file=True)
    world.write(VIRTUAL_IPS="wrong", VIP_GROUPS="wrong")
    printed = world.prints(78, "reload")
    assert "reload refused" == printed.splitlines()[0]
    assert 2 == printed.count("OPENSHIFT_HA_")


@pytest.mark.parametrize("command", ["reload", "status"])
def test_without_an_agent_the_exit_code_is_69(world: World, command: str) -> None:
    """It says with which run directory none runs."""
    done = world.command(command)
    assert (69, "") == (done.returncode, done.stdout)
    assert str(world.run_directory) in done.stderr


def with_a_test_that_hangs(world: World) -> AgentProcess:
    """Return an agent of which a reload would give no verdict for a minute."""
    world.write(VIRTUAL_IPS="10.0.0.101")
    agent = world.running(reads_file=True, policy={**SHORT, "test_grace": 60})
    world.fake.plays(test={"hangs": True})
    world.write(VIRTUAL_IPS="10.0.0.102")
    return agent


def test_reload_of_an_agent_that_dies_says_so(world: World) -> None:
    """Instead of waiting for a verdict that cannot come."""
    agent = with_a_test_that_hangs(world)
    with world.commanded("reload") as reload:
        agent.wait_for(lambda: world.fake.count("test") == 2)
        agent.kill()
        _, errors = reload.communicate(timeout=10)
    assert 75 == reload.returncode
    assert f"pid {agent.pid}, ended during the reload" in errors


def test_reload_gives_up_after_its_timeout(world: World) -> None:
    """And says what the agent is doing."""
    with_a_test_that_hangs(world)
    done = world.command("reload", "--timeout", "0.3")
    assert 75 == done.returncode
    assert "no verdict within 0.3 s; the agent is running" in done.stderr


def test_a_reload_whose_beginning_was_not_to_be_seen_gets_its_own_verdict(world: World) -> None:
    """The status is gone when it is asked for, and shows an earlier verdict when it comes back."""
    agent = world.running()
    agent.reload()
    agent.wait_for_reloads(1)
    earlier = (world.run_directory / "status.json").read_bytes()
    agent.signal(signal.SIGSTOP)
    (world.run_directory / "status.json").unlink()
    with world.commanded("reload", "--timeout", "1.5") as reload:
        wait_until(lambda: is_pending(agent.pid, signal.SIGHUP), 10, "no SIGHUP was sent")
        (world.run_directory / "status.json").write_bytes(earlier)
        _, errors = reload.communicate(timeout=20)
    assert (75, True) == (reload.returncode, "no verdict within 1.5 s" in errors), errors
    agent.signal(signal.SIGCONT)


def is_pending(pid: int, number: int) -> bool:
    """Tell whether a signal waits for a process that is stopped."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


# --- status --


def test_status_shows_phase_instances_and_the_last_reload(world: World) -> None:
    """In 80 columns, with 0 when the agent is ready."""
    holds = [["10.0.0.101/32", "veth0", "veth0:vip"]]
    world.fake.plays({"transitions": ['INSTANCE "vip_VIP_1" MASTER 200'], "holds": holds})
    one = {"OPENSHIFT_HA_CONFIG_NAME": "vip", "OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.101"}
    agent = world.running(environment=one)
    agent.wait_for(lambda: agent.status["ready"] is True)
    agent.reload()
    agent.wait_for_reloads(1)
    printed = world.prints(0, "status")
    lines = printed.splitlines()
    assert f"running, ready, agent 0.1.0, pid {agent.pid}" == lines[0]
    row = next(line for line in lines if line.startswith("vip_VIP_1"))
    assert ["MASTER", "11", "10.0.0.101"] == [row.split()[each] for each in (1, 3, -1)]
    assert any(line.startswith("last reload unchanged") for line in lines)
    assert max(map(len, lines)) <= 80, printed


def test_status_of_an_agent_that_is_not_ready_ends_with_1(world: World) -> None:
    """And says what it waits for."""
    agent = world.start(environment={"OPENSHIFT_HA_NETWORK_INTERFACE": "nosuch0"})
    agent.wait_for_phase("waiting")
    printed = world.prints(1, "status")
    assert "waiting, not ready" in printed
    assert "nosuch0" in printed


def test_status_prints_json_for_programs(world: World) -> None:
    """The file as it is."""
    world.fake.plays(STANDING_BY)
    agent = world.running()
    agent.wait_for(lambda: agent.status["ready"] is True)
    printed = world.prints(0, "status", "--json")
    assert agent.status["started_at"] == json.loads(printed)["started_at"]


@pytest.mark.parametrize("kind", ["pipe", "endless", "directory"])
def test_a_status_file_that_is_none_keeps_nobody_waiting(world: World, kind: str) -> None:
    """No command waits for a writer, or reads without end."""
    agent = world.running()
    there = world.run_directory / "status.json"
    agent.signal(signal.SIGSTOP)  # it would write another one
    there.unlink()
    match kind:
        case "pipe":
            os.mkfifo(there)
        case "endless":
            there.symlink_to("/dev/zero")
        case _:
            there.mkdir()
    done = world.command("status", timeout=10)
    assert (1, True) == (done.returncode, f"cannot read its {there}" in done.stdout), done.stdout
    assert 75 == world.command("reload", "--timeout", "0.2", timeout=10).returncode
    agent.signal(signal.SIGCONT)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_watch_shows_changes_until_ctrl_c(world: World, as_json: bool) -> None:  # noqa: FBT001
    """And then ends with 0 and without a traceback."""
    world.write(VIRTUAL_IPS="10.0.0.101")
    agent = world.running(reads_file=True)
    out, err = world.directory / "watch.out", world.directory / "watch.err"
    words = ["status", "--watch", *(["--json"] if as_json else [])]
    with (
        out.open("w") as stdout,
        err.open("w") as stderr,
        world.commanded(*words, stdout=stdout, stderr=stderr) as watch,
    ):
        wait_until(lambda: "10.0.0.101" in out.read_text(), 10, "nothing is shown")
        world.write(VIRTUAL_IPS="10.0.0.177")
        agent.reload()
        wait_until(lambda: "10.0.0.177" in out.read_text(), 10, "no change is shown")
        watch.send_signal(signal.SIGINT)
        assert 0 == watch.wait(5)
    assert "" == err.read_text()
    if as_json:
        assert all(json.loads(line) for line in out.read_text().split("\n") if line)


def test_watch_ends_with_the_agent(world: World) -> None:
    """With 69: none runs any more."""
    agent = world.running()
    with world.commanded("status", "--watch") as watch:
        assert watch.stdout is not None
        assert "running" in watch.stdout.readline()
        assert 0 == agent.stop()
        assert 69 == watch.wait(10)


# --- release --


def hold(world: World) -> None:
    """Put leftovers of both families on the interface, and an address of somebody else's."""
    ip = world.namespace.ip
    ip("address", "add", "10.0.0.101/32", "dev", "veth0", "label", "veth0:vip")
    ip("address", "add", f"{IPV6}/128", "dev", "veth0", "preferred_lft", "0", "nodad")
    ip("address", "add", "10.0.0.200/32", "dev", "veth0")


@pytest.fixture
def leftovers(world: World) -> World:
    hold(world)
    return world


@pytest.fixture(autouse=True)
def _clean(world: World) -> None:
    """Begin with the node's own address only."""
    for each in ("10.0.0.101/32", "10.0.0.200/32", f"{IPV6}/128"):
        if each in world.addresses():
            world.namespace.ip("address", "del", each, "dev", "veth0")


BOTH_FAMILIES = {"OPENSHIFT_HA_VIRTUAL_IPS": f"10.0.0.101,{IPV6}"}


def test_release_removes_leftovers_of_both_families_and_only_them(leftovers: World) -> None:
    """The node's own address stays, and so does what is not ours."""
    done = leftovers.command("release", environment=BOTH_FAMILIES)
    assert (0, "") == (done.returncode, done.stderr)
    assert {"removed 10.0.0.101/32 on veth0", f"removed {IPV6}/128 on veth0"} == set(
        done.stdout.splitlines()
    )
    assert "10.0.0.101" not in leftovers.addresses()
    assert IPV6 not in leftovers.addresses()
    assert "10.0.0.1/24" in leftovers.addresses()
    assert "10.0.0.200/32" in leftovers.addresses()


def test_release_without_an_interface_variable_finds_them_too(leftovers: World) -> None:
    """It looks on every interface."""
    nowhere = {**BOTH_FAMILIES, "OPENSHIFT_HA_NETWORK_INTERFACE": ""}
    printed = leftovers.prints(0, "release", environment=nowhere)
    assert 2 == printed.count("removed ")


def test_release_needs_only_the_run_directory_of_the_agent_that_crashed(leftovers: World) -> None:
    """Without a variable; afterwards there is no trace of the agent."""
    leftovers.namespace.ip("address", "del", "10.0.0.101/32", "dev", "veth0")
    leftovers.fake.plays({"holds": [["10.0.0.101/32", "veth0", "veth0:vip"]]})
    agent = leftovers.running(environment=BOTH_FAMILIES)
    agent.kill()
    (started,) = leftovers.fake.journal("start")
    wait_until(lambda: not Path(f"/proc/{started['pid']}").exists(), 5, "keepalived lives on")
    hold_again = ("address", "add", "10.0.0.101/32", "dev", "veth0")
    leftovers.namespace.ip(*hold_again)
    nothing = {"OPENSHIFT_HA_VIRTUAL_IPS": "", "OPENSHIFT_HA_NETWORK_INTERFACE": ""}
    done = leftovers.command("release", environment=nothing)
    assert (0, "") == (done.returncode, done.stderr)
    assert "10.0.0.101" not in leftovers.addresses()
    assert IPV6 not in leftovers.addresses()
    assert not leftovers.run_directory.exists()


def test_release_leaves_files_of_others_alone(world: World) -> None:
    """The run directory may be a volume that is shared."""
    agent = world.running()
    agent.kill()
    (world.run_directory / "precious").write_text("x", encoding="utf-8")
    assert 0 == world.command("release").returncode
    assert ["precious"] == [each.name for each in world.run_directory.iterdir()]


@pytest.mark.parametrize("place", ["in the run directory", "elsewhere", "written by hand"])
def test_release_removes_keepalived_conf_with_the_password(world: World, place: str) -> None:
    """The agent's own, wherever it lies; what a check said and half-written files as well."""
    inside = world.run_directory / "keepalived.conf"
    path = inside if place == "in the run directory" else world.keepalived_conf
    configured = {"KEEPALIVED_CONFIG": str(path), "OPENSHIFT_HA_CONFIG_NAME": "secret"}
    agent = world.running(environment=configured)
    agent.kill()
    assert "auth_pass" in path.read_text(encoding="utf-8")
    for name in ("check.reason", ".check.7-1.new~"):
        (world.run_directory / name).write_text("x", encoding="utf-8")
    if place == "written by hand":
        path.write_text("global_defs {\n}\n", encoding="utf-8")
    assert 0 == world.command("release", environment=configured).returncode
    assert not world.run_directory.exists()
    assert (place == "written by hand") == path.exists()


def test_release_says_where_it_looked_when_nothing_is_there(world: World) -> None:
    """Whoever is in the wrong network sees it."""
    done = world.command("release")
    assert (0, "none of 3 addresses is on veth0\n") == (done.returncode, done.stdout)


def test_release_refuses_while_the_agent_runs(world: World) -> None:
    """It would take addresses from under keepalived."""
    agent = world.running()
    hold(world)
    done = world.command("release")
    assert 75 == done.returncode
    assert f"the agent runs, pid {agent.pid}" in done.stderr
    assert "10.0.0.101" in world.addresses()


@pytest.mark.parametrize("is_left", [True, False], ids=["leftovers", "nothing there"])
def test_release_without_the_privilege_names_it(world: World, *, is_left: bool) -> None:
    """And does not pretend to have removed anything, or that nothing is there."""
    if is_left:
        hold(world)
    done = world.command("release", before=WITHOUT_NET_ADMIN)
    assert (77, "") == (done.returncode, done.stdout)
    assert "NET_ADMIN" in done.stderr
    assert is_left == ("10.0.0.101" in world.addresses())


def test_release_without_a_configuration_says_what_to_give(leftovers: World) -> None:
    """The variables, or the run directory."""
    nothing = {"OPENSHIFT_HA_VIRTUAL_IPS": ""}
    done = leftovers.command("release", environment=nothing)
    assert 78 == done.returncode
    assert "OPENSHIFT_HA_VIRTUAL_IPS" in done.stderr
    assert "run directory" in done.stderr


@pytest.mark.parametrize("interface", ["veth0", ""], ids=["named", "not named"])
def test_release_in_another_network_says_so(world: World, interface: str) -> None:
    """A container without the node's network has other interfaces, or none."""
    with fresh_namespace() as elsewhere:
        done = world.command(
            "release",
            environment={"OPENSHIFT_HA_NETWORK_INTERFACE": interface},
            before=("ip", "netns", "exec", elsewhere.name),
        )
    assert 78 == done.returncode
    assert "this is not the network of the node" in done.stderr


def test_the_path_holds_the_fake(world: World) -> None:
    """Or all of the above would have asked the real keepalived."""
    assert world.environment["PATH"].split(os.pathsep)[0] == str(world.fake.directory)


# --- peers by name --

LIAR = {"OPENSHIFT_HA_UNICAST_PEERS_DNS": "localhost"}


@pytest.mark.parametrize("command", ["check", "render"])
def test_names_without_a_good_answer_are_a_problem(world: World, command: str) -> None:
    """Looked up once; ``run`` would wait."""
    done = world.command(command, environment=LIAR)
    assert 78 == done.returncode
    assert "localhost (IPv4): 127.0.0.1 is a loopback address" in done.stdout + done.stderr


def test_what_was_recorded_stands_in_for_a_bad_answer(world: World) -> None:
    """As at a restart of ``run``; what was found is printed, in both forms."""
    world.run_directory.mkdir(parents=True, exist_ok=True)
    record = {"peers": {"localhost": {"ipv4": ["10.99.0.2"]}}}
    (world.run_directory / "peers.json").write_text(json.dumps(record), encoding="utf-8")
    shown = world.command("check", environment=LIAR)
    assert 0 == shown.returncode, shown.stdout
    assert "peers: localhost (IPv4): 127.0.0.1 is a loopback address" in shown.stdout
    found = json.loads(world.command("check", "--json", environment=LIAR).stdout)
    assert ["10.99.0.2"] == found["instances"][0]["unicast_peers"]
    assert [("localhost", 4, [])] == [
        (each["name"], each["family"], each["addresses"]) for each in found["resolved_peers"]
    ]
