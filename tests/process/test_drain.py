"""drain and undrain beside a whole agent, with a keepalived that obeys a script."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import pytest

from tests.support import frames
from tests.support.agent_process import AgentProcess, World

NAMES = [f"OpenShift_IPFailover_VIP_{number}" for number in (1, 2, 3)]
# a scripted keepalived does not step down: its agent must not contend
FAST = {
    "OPENSHIFT_HA_ADVERT_INTERVAL": "0.1",
    "OPENSHIFT_HA_VRRP_VERSION": "3",
    "OPENSHIFT_HA_CONFLICT": "report",
}
PEER = ip_address("10.0.0.2")


@contextmanager
def peer(world: World, *numbers: int) -> Iterator[None]:
    """Advertise what these instances serve, from the other end of the cable, until left."""
    group = ip_address("224.0.0.18")
    made = []
    for number in numbers:
        listed = [ip_address(f"10.0.0.{100 + number}")]
        advert = frames.vrrp(
            PEER, group, listed, version=3, router_id=10 + number, priority=100, timing=10
        )
        made.append(frames.packet(advert, PEER, group))
    with world.namespace.entered():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        wire.bind(("far0", 0))
    ended = threading.Event()

    def advertise() -> None:
        while not ended.wait(0.05):
            for each in made:
                wire.send(each)

    sender = threading.Thread(target=advertise)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()
        wire.close()


def running(world: World, *states: str, **options: Any) -> AgentProcess:  # noqa: ANN401
    """Start an agent whose instances are in these states."""
    lines = [f'INSTANCE "{name}" {state} 200' for name, state in zip(NAMES, states, strict=False)]
    world.fake.plays({"transitions": lines})
    agent = world.running(**{"environment": FAST, **options})

    def shown() -> list[str]:
        return [each["state"] for each in agent.status["instances"]]

    agent.wait_for(lambda: shown()[: len(states)] == list(states))
    agent.wait_for(lambda: agent.status["protections"][2]["active"])
    return agent


def held(world: World) -> dict[str, str]:
    """Return what the hold files say to keepalived, by instance; they are called by ids."""
    found = sorted((world.run_directory / "hold").iterdir())
    names = {f"{10 + number}-ipv4": f"OpenShift_IPFailover_VIP_{number}" for number in (1, 2, 3)}
    return {names[each.name]: each.read_text().strip() for each in found}


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, list[str]]:
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_masters_are_held_at_once_and_backups_too_when_somebody_serves(world: World) -> None:
    """One verdict for all; the record is there as long as the drain."""
    agent = running(world, "MASTER", "BACKUP", "MASTER")
    with peer(world, 1, 2, 3):
        code, lines = outcome(world.command("drain"))
        assert (0, "drained") == (code, lines[0])
        assert [f"  10.0.0.2 has taken over {' '.join(sorted(NAMES))}"] == [
            f"  10.0.0.2 has taken over {' '.join(sorted(line.split()[4:]))}" for line in lines[1:]
        ]
        assert dict.fromkeys(NAMES, "1") == held(world)
        assert {"10.0.0.2 has taken over"} == {
            each["drained"] for each in agent.status["instances"]
        }
        record = json.loads((world.run_directory / "drain.json").read_text())
        assert sorted(NAMES) == sorted(record["instances"])
        assert 0o600 == (world.run_directory / "drain.json").stat().st_mode & 0o777
        assert "3 instances drained: 10.0.0.2 has taken over" in world.command("status").stdout
        assert (0, ["undrained", f"  {' '.join(NAMES)} may serve again"]) == outcome(
            world.command("undrain")
        )
    assert dict.fromkeys(NAMES, "0") == held(world)
    assert not (world.run_directory / "drain.json").exists()
    assert [] == list((world.run_directory / "drain.requests").iterdir())


def test_a_drain_that_nobody_takes_over_is_undone(world: World) -> None:
    """Code 69, each cause in words; nothing stays held. The one with a successor stays drained."""
    agent = running(world, "MASTER", "BACKUP", "MASTER")
    with peer(world, 3):
        code, lines = outcome(world.command("drain"))
        assert [
            "undone",
            f"  10.0.0.2 has taken over {NAMES[2]}",
            f"  not drained: {NAMES[1]}: no other node was heard to serve it within 1.4 s",
            f"  not drained: {NAMES[0]}: keepalived was not seen to leave MASTER within 2.8 s",
        ] == lines
        assert 69 == code
        assert {NAMES[0]: "0", NAMES[1]: "0", NAMES[2]: "1"} == held(world)
    # the peer is gone
    agent.wait_for(lambda: set(held(world).values()) == {"0"})
    agent.wait_for(lambda: "had taken over" in agent.log)
    assert (0, ["undrained", "  nothing of that was drained"]) == outcome(world.command("undrain"))


def test_force_holds_without_a_successor(world: World) -> None:
    """The verdict says so; --wait 0 does not wait for it."""
    running(world, "MASTER", "BACKUP", "MASTER")
    line = f"  no other node was heard to take over {NAMES[0]}: drained by force"
    found = outcome(world.command("drain", "--force", "10.0.0.101"))
    assert (0, ["drained", line]) == found
    code, lines = outcome(world.command("drain", "--force", "--wait=0.3", NAMES[1]))
    assert 75 == code
    assert f"  {NAMES[1]}: no other node has taken over yet, by force" in lines
    assert {NAMES[0]: "1", NAMES[1]: "1", NAMES[2]: "0"} == held(world)


def test_without_the_wire_only_force_drains(world: World) -> None:
    """OPENSHIFT_HA_CONFLICT=off opens no socket: nobody could tell who takes over."""
    world.fake.plays({"transitions": [f'INSTANCE "{NAMES[0]}" MASTER 200']})
    world.running(environment={**FAST, "OPENSHIFT_HA_CONFLICT": "off"})
    code, lines = outcome(world.command("drain"))
    assert (78, "refused") == (code, lines[0])
    assert "OPENSHIFT_HA_CONFLICT=off; --force drains all the same" in lines[1]
    assert {"0"} == set(held(world).values())
    assert 0 == world.command("drain", "--force").returncode
    assert {"1"} == set(held(world).values())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["drain", "10.0.0.9"], 78, "unknown instance '10.0.0.9': this agent serves"),
        (["undrain", "VIP_9"], 78, f"unknown instance 'VIP_9': this agent serves {NAMES[0]}"),
        (["drain", "--for", "soon"], 2, "'soon' is no duration"),
        (["drain", "--for", "0"], 2, "must be more than 0"),
        (["drain", "--wait", "nan"], 2, "nan is no number of seconds"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_means_nothing_is_refused(
    world: World, words: list[str], code: int, said: str
) -> None:
    """With what there is instead; nothing is held."""
    running(world, "MASTER")
    done = world.command(*words)
    assert code == done.returncode
    assert said in done.stdout + done.stderr
    assert {"0"} == set(held(world).values())


def test_no_agent_is_said(world: World) -> None:
    """As with every other command."""
    assert 69 == world.command("drain").returncode


def test_requests_that_are_none_are_refused_and_removed(world: World) -> None:
    """Garbage, huge, foreign types, links, directories: each in words, and the agent goes on."""
    agent = running(world, "MASTER")
    requests = world.run_directory / "drain.requests"
    good = {"schema": 1, "action": "drain", "instances": [], "force": True, "for": None}
    texts = {
        "a": "{",
        "b": "[" * 50000,
        "c": "x" * 70000,
        "d": json.dumps({**good, "instances": [1]}),
        "e": json.dumps({**good, "force": "yes"}),
        "f": json.dumps({**good, "for": 1e400}),
        "g": json.dumps({**good, "for": 10**400}),
        "h": json.dumps({**good, "schema": 2}),
        "i": json.dumps({**good, "action": "stop"}),
    }
    for name, text in texts.items():
        (requests / f"{name}.json").write_text(text)
    (requests / "j.json").symlink_to("/etc/passwd")
    (requests / "k.json").mkdir()
    (requests / "l.json").write_bytes(b"\xff")
    (requests / "m m.json").write_text(json.dumps(good))
    agent.signal(signal.SIGUSR1)
    agent.wait_for(lambda: [] == list(requests.iterdir()))
    agent.wait_for(lambda: 12 == len(agent.status["drain_requests"]))
    assert {"refused"} == {each["verdict"] for each in agent.status["drain_requests"]}
    assert 13 == agent.log.count("event=drain.refused")
    assert {"0"} == set(held(world).values())
    assert 0 == agent.stop()


def test_several_requests_at_once_each_get_their_verdict(world: World) -> None:
    """Drained and undrained meanwhile: who asked first learns of it."""
    running(world, "MASTER", "MASTER", "MASTER")
    done: dict[str, subprocess.CompletedProcess[str]] = {}

    def ask(name: str, *words: str) -> None:
        done[name] = world.command(*words)

    threads = [
        threading.Thread(target=ask, args=(f"drain {number}", "drain", f"10.0.0.10{number}"))
        for number in (1, 2, 3)
    ]
    threads.append(threading.Thread(target=ask, args=("all", "drain")))
    with peer(world, 1, 2):
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    codes = {name: each.returncode for name, each in done.items()}
    assert {"drain 1": 0, "drain 2": 0, "drain 3": 69, "all": 69} == codes


def test_a_drain_is_kept_over_a_restart_and_ends_in_time(world: World) -> None:
    """Also after SIGKILL: the files are set before keepalived starts, and the time goes on."""
    agent = running(world, "MASTER", "MASTER", "MASTER")
    with peer(world, 1, 2, 3):
        assert 0 == world.command("drain", "--for", "8", NAMES[0]).returncode
        until = agent.status["instances"][0]["drained"].partition(", until ")[2]
        agent.kill()
        world.fake.plays({"transitions": [f'INSTANCE "{NAMES[0]}" FAULT 200']})
        again = world.running(environment=FAST)
        assert "event=drain.restored" in again.log
        assert {NAMES[0]: "1", NAMES[1]: "0", NAMES[2]: "0"} == held(world)
        again.wait_for(lambda: "has taken over" in (again.status["instances"][0]["drained"] or ""))
        shown = again.status["instances"][0]["drained"].partition(", until ")[2]
        apart = datetime.fromisoformat(shown) - datetime.fromisoformat(until)
        assert abs(apart.total_seconds()) <= 1
        again.wait_for(lambda: {"0"} == set(held(world).values()))
        assert "its time is over" in again.log


def test_a_drain_stays_with_its_address_when_a_restart_brings_another_list(world: World) -> None:
    """The first address is gone: the second has the first one's name and id, and is held."""
    agent = running(world, "MASTER", "MASTER", "MASTER")
    assert 0 == world.command("drain", "--force", "10.0.0.102").returncode
    assert {NAMES[0]: "0", NAMES[1]: "1", NAMES[2]: "0"} == held(world)
    record = world.run_directory / "drain.json"
    agent.wait_for(lambda: record.exists() and "10.0.0.102" in record.read_text())
    agent.kill()
    world.fake.plays({})
    again = world.running(environment={**FAST, "OPENSHIFT_HA_VIRTUAL_IPS": "10.0.0.102-103"})
    again.wait_for(lambda: held(world) == {NAMES[0]: "1", NAMES[1]: "0"})
    assert ["10.0.0.102"] == [
        address
        for each in again.status["instances"]
        if each["drained"]
        for address in each["addresses"]
    ]
    assert 0 == again.stop()


def test_a_full_disk_drains_and_is_told(world: World) -> None:
    """What cannot be written down is not kept over a restart; undraining works all the same."""
    agent = running(world, "MASTER")
    (world.run_directory / "drain.json").mkdir()
    assert 0 == world.command("drain", "--force", NAMES[0]).returncode
    assert "event=drain.record_failed" in agent.log
    assert "1" == held(world)[NAMES[0]]
    assert 0 == world.command("undrain").returncode
    assert {"0"} == set(held(world).values())


def test_an_agent_that_ends_gives_no_verdict(world: World) -> None:
    """75, and where to look; a request that it does not take is withdrawn."""
    agent = running(world, "MASTER")
    agent.signal(signal.SIGSTOP)
    done = world.command("drain", "--wait", "0.2")
    assert (75, True) == (done.returncode, "it was withdrawn" in done.stderr)
    assert [] == list((world.run_directory / "drain.requests").iterdir())
    agent.signal(signal.SIGCONT)
    results: list[subprocess.CompletedProcess[str]] = []
    asking = threading.Thread(target=lambda: results.append(world.command("drain")))
    asking.start()
    agent.wait_for(lambda: "event=drain.requested" in agent.log)
    agent.kill()
    asking.join()
    assert 75 == results[0].returncode
    assert "ended before it gave a verdict" in results[0].stderr


def test_what_is_asked_for_in_the_last_round_is_written_down(world: World) -> None:
    """SIGUSR1 and SIGTERM at once, while no keepalived has to be waited for."""
    order = {"force": True, "until": None, "until_monotonic": None, "seconds": None}
    drained = {NAMES[0]: {**order, "addresses": ["10.0.0.101"]}}
    record = {"schema": 2, "boot": "", "known": [], "instances": drained}
    world.run_directory.mkdir()
    path = world.run_directory / "drain.json"
    path.write_text(json.dumps(record))
    agent = world.start(environment={"OPENSHIFT_HA_NETWORK_INTERFACE": "missing0"})
    agent.wait_for_phase("waiting")
    assert path.exists()
    request = {"schema": 1, "action": "undrain", "instances": [], "force": False, "for": None}
    agent.signal(signal.SIGSTOP)
    (world.run_directory / "drain.requests" / "a.json").write_text(json.dumps(request))
    for number in (signal.SIGUSR1, signal.SIGTERM):
        agent.signal(number)
    assert 0 == agent.stop(signal.SIGCONT)
    assert "event=drain.ended" in agent.log
    assert not path.exists()


def test_a_damaged_record_is_told_and_drains_nothing(world: World) -> None:
    """It cannot name files elsewhere, either."""
    world.run_directory.mkdir()
    damaged = {
        "schema": 2,
        "boot": "",
        "known": [],
        "instances": {
            "../evil": {"force": True, "until": None, "until_monotonic": None, "seconds": None}
        },
    }
    (world.run_directory / "drain.json").write_text(json.dumps(damaged))
    agent = running(world, "MASTER")
    assert "event=drain.record_failed" in agent.log
    assert not (world.run_directory / "evil").exists()
    assert {"0"} == set(held(world).values())


def test_a_restart_alone_does_not_stay_drained(world: World) -> None:
    """Nobody serves: the same watch applies to what a former run held."""
    order = {"force": False, "until": None, "until_monotonic": None, "seconds": None}
    drained = {
        NAMES[0]: {**order, "addresses": ["10.0.0.101"]},
        "GONE": {**order, "addresses": ["10.0.0.99"]},
    }
    record = {"schema": 2, "boot": "", "known": [], "instances": drained}
    world.run_directory.mkdir()
    (world.run_directory / "drain.json").write_text(json.dumps(record))
    agent = running(world, "BACKUP")
    agent.wait_for(lambda: {"0"} == set(held(world).values()))
    agent.wait_for(lambda: "no other node took over within 1.4 s" in agent.log)
    assert "a reload removed it from the configuration" in agent.log
    agent.wait_for(lambda: not (world.run_directory / "drain.json").exists())
