"""``doctor`` on odd nodes, without another node."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from ipfailover_agent.doctor import host_facts
from ipfailover_agent.linux import host
from tests.support.agent_process import World

pytestmark = pytest.mark.netns

ENVIRONMENT = {"OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.101"}
CHAIN = {
    "family": "inet",
    "table": "filter",
    "name": "input",
    "handle": 1,
    "type": "filter",
    "hook": "input",
    "prio": 0,
    "policy": "drop",
}


def found_by(world: World, **variables: str) -> dict[str, list[str]]:
    """Run ``doctor``; return "verdict text" by check."""
    done = world.command(
        "doctor", "--json", "--seconds", "0.2", environment={**ENVIRONMENT, **variables}
    )
    found: dict[str, list[str]] = {}
    for each in json.loads(done.stdout)["findings"]:
        found.setdefault(each["check"], []).append(f"{each['verdict']} {each['text']}")
    return found


@pytest.fixture
def programs(world: World, tmp_path: Path) -> Path:
    """Return an empty directory that comes first on PATH."""
    made = tmp_path / "programs"
    made.mkdir()
    world.environment["PATH"] = f"{made}:{world.environment['PATH']}"
    return made


def script(path: Path, text: str) -> None:
    """Write a program."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    "text",
    ["echo garbage", "exit 1", 'echo "netlink: Error" >&2; exit 1', "echo '{}'", None],
    ids=["garbage", "nothing", "error", "no ruleset", "no table"],
)
def test_an_nft_that_says_nothing_useful_is_no_pass(
    world: World, programs: Path, text: str | None
) -> None:
    """Nothing is known then, and that is said."""
    if text is None:  # tells the chain, and then not what is in its table
        chains = json.dumps({"nftables": [{"chain": CHAIN}]})
        text = f"case \"$*\" in *chains*) echo '{chains}';; esac"
    script(programs / "nft", text)
    (said,) = found_by(world)["firewall"]
    assert said.startswith("warn the rules of nftables cannot be listed: ")


def test_a_clock_and_a_wire_are_looked_at(world: World) -> None:
    """On a node where nothing is wrong."""
    found = found_by(world)
    assert found["clock"][0].startswith(("pass steady", "warn the kernel"))
    assert ["pass no other host answers for 10.0.0.101"] == found["answers"]
    assert host_facts.clock_source() is None or " " not in str(host_facts.clock_source())


def test_peers_on_this_network_and_behind_a_router_are_told_apart(world: World) -> None:
    """The former are asked, the latter cannot be."""
    found = found_by(world, OPENSHIFT_HA_UNICAST_PEERS="10.0.0.77,192.0.2.7")
    assert [
        "warn 10.0.0.77 does not answer ARP or neighbour requests",
        "skip not looked at: 192.0.2.7 on another network",
    ] == found["peers"]


def in_a_shell(world: World, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``doctor`` in a script, as "$@"."""
    words = ("doctor", "--seconds", "0.2", *words)
    return world.command(*words, environment=ENVIRONMENT, before=("bash", "-c", script))


def test_a_reader_that_leaves_gets_no_traceback(world: World) -> None:
    """As in `| head -1`."""
    done = in_a_shell(world, '"$0" "$@" | head -1')
    assert "" == done.stderr
    assert done.stdout.startswith("pass  capabilities")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('exec 3> >(true); wait $!; "$0" "$@" >&3', ()),
        ('exec 3> >(true); wait $!; "$0" "$@" >&3', ("--json",)),
        ('"$0" "$@" >&-', ()),
    ],
    ids=["left", "left, JSON", "closed before"],
)
def test_an_output_without_a_reader_does_not_hide_a_failure(
    world: World, script: str, words: tuple[str, ...]
) -> None:
    """What is found after it has gone counts as well: the keepalived here is a fake one."""
    done = in_a_shell(world, script, *words)
    assert (78, "") == (done.returncode, done.stderr)


def test_programs_that_hang_do_not_keep_it(world: World, programs: Path) -> None:
    """It ends within some ten seconds, and says what it could not see."""
    for name in ("keepalived", "nft"):
        script(programs / name, "exec sleep 60")
    began = time.monotonic()
    found = found_by(world)
    assert time.monotonic() - began < 20  # a loaded machine; alone it is 8
    assert ["fail it does not report its version"] == found["keepalived"]
    assert ["skip not looked at: keepalived takes too long"] == found["config"]
    assert "nft does not end" in found["firewall"][0]
    assert ["pass no other host answers for 10.0.0.101"] == found["answers"]


def test_an_ordinary_user_is_told_what_was_not_seen(world: World) -> None:
    """Nothing is guessed, and keepalived's verdict on a stranger's scripts is not asked for."""
    done = world.command(
        *("doctor", "--json", "--seconds", "0.2"),
        environment=ENVIRONMENT,
        before=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    )
    verdicts = {each["check"]: each["verdict"] for each in json.loads(done.stdout)["findings"]}
    assert (78, "fail") == (done.returncode, verdicts["capabilities"])
    assert {"skip"} == {verdicts[each] for each in ("config", "firewall", "answers", "rivals")}


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/pod\n", {"pod/cpu.stat": "usage_usec 1\nnr_throttled 7"}, 7),
        ("0::/../elsewhere\n", {"cpu.stat": "nr_throttled 3"}, 3),
        ("3:memory:/\n2:cpu,cpuacct:/pod\n", {"cpu/pod/cpu.stat": "nr_throttled 5"}, 5),
        ("0::/\n", {"cpu.stat": "usage_usec 1"}, None),
        ("", {}, None),
    ],
    ids=["version 2", "unseen path", "version 1", "no limit", "nothing"],
)
def test_a_limit_that_stopped_us_is_seen(
    tmp_path: Path, membership: str, files: dict[str, str], expected: int | None
) -> None:
    """In control groups of either version, whatever a container sees of its path."""
    (tmp_path / "membership").write_text(membership)
    groups = tmp_path / "groups"
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    found = host.throttled(membership=str(tmp_path / "membership"), control_groups=str(groups))
    assert expected == found


def test_a_bare_name_is_judged_where_it_is_found(
    world: World, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """keepalived looks it up on PATH, wherever we stand."""
    script(programs / "look.sh", "true")
    monkeypatch.setenv("PATH", world.environment["PATH"])
    assert "" == host_facts.obstacle("look.sh")
    programs.chmod(0o777)
    assert f"below {programs}, which every user may write to" == host_facts.obstacle("look.sh")


def test_a_firewall_that_was_opened_by_hand_passes(world: World) -> None:
    """What it advises is seen when it has been done."""
    for rule, expected in (("", "warn"), ("ip protocol 112 accept", "pass")):
        text = (
            "flush ruleset\ntable inet filter {\nchain input {\n"
            f"type filter hook input priority 0; policy drop;\n{rule}\n}}\n}}\n"
        )
        subprocess.run([*world.enter(), "nft", "-f", "-"], input=text, text=True, check=True)
        assert found_by(world)["firewall"][0].startswith(expected)
