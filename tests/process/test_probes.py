"""The agent's own check: what keepalived, people and the log are told of real ports."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec.structs import replace

from ipfailover_agent.errors import SystemRefusedError
from ipfailover_agent.keepalived.instance_states import InstanceState, InstanceStates
from ipfailover_agent.linux.loop import Loop
from ipfailover_agent.model import PortCheck, PortProbes, VrrpState
from tests.support.agent_process import AgentProcess, World
from tests.support.checking import Checking, no_descriptors
from tests.support.netns import NetworkNamespace
from tests.unit.test_instance_states import instance

pytestmark = pytest.mark.netns

HERE = ip_address("127.0.0.1")


@pytest.fixture
def checking(tmp_path: Path, namespace: NetworkNamespace) -> Iterator[Checking]:
    del namespace
    with Loop(()) as loop:
        made = Checking(tmp_path, loop)
        yield made
        made.probes.close()


def probing(port: int, **more: float) -> PortProbes:
    """Return a check of one port, ten times a second."""
    ports = (PortCheck(address=HERE, port=port),)
    usual = PortProbes(name="chk_x", ports=ports, interval=0.1, timeout=0.1, rise=1, fall=1)
    return replace(usual, **more)


def port_of(application: socket.socket) -> int:
    port: int = application.getsockname()[1]
    return port


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        return port_of(made)


def test_a_port_that_answers_is_known_before_keepalived_starts(
    checking: Checking, application: socket.socket
) -> None:
    """The first probe is answered at once; what an earlier run said for people goes."""
    checking.reason.write_text("cannot reach what was\n")
    checking.begin(probing(port_of(application)))
    assert ("0\n", "") == checking.said
    assert not checking.reason.exists()
    assert ["check.passed"] == checking.events


def test_a_port_that_refuses_keeps_everything_in_fault(checking: Checking) -> None:
    """And people read why."""
    port = closed_port()
    checking.begin(probing(port))
    assert ("1\n", f"cannot reach port {port} of 127.0.0.1: refused\n") == checking.said
    (told,) = checking.capture.entries
    expected = ("check.failed", "warning", f"port {port} of 127.0.0.1: refused")
    assert expected == (told["event"], told["log_level"], told["reason"])


def test_every_change_is_told_once(checking: Checking, application: socket.socket) -> None:
    """Ten rounds a second are no ten lines."""
    port = port_of(application)
    checking.begin(probing(port))
    application.close()
    checking.until_told("check.failed")
    for _ in range(5):
        checking.turn()
    assert ("1\n", f"cannot reach port {port} of 127.0.0.1: refused\n") == checking.said
    with socket.create_server(("127.0.0.1", port)):
        checking.until_told("check.passed", count=2)
        assert ("0\n", "") == checking.said
    assert ["check.passed", "check.failed", "check.passed"] == checking.events


def test_a_reason_that_stays_is_written_once(checking: Checking) -> None:
    """Ten rounds a second would be ten files a second."""
    checking.begin(probing(closed_port()))
    before = checking.reason.stat().st_ino, checking.reason.stat().st_mtime_ns
    for _ in range(5):
        checking.turn()
    assert before == (checking.reason.stat().st_ino, checking.reason.stat().st_mtime_ns)


@pytest.mark.parametrize("is_second", [False, True], ids=["the first", "after others"])
def test_a_late_answer_counts_when_it_comes(
    checking: Checking, application: socket.socket, namespace: NetworkNamespace, *, is_second: bool
) -> None:
    """Not when the round ends: the kernel asks a silent port again after a second."""
    if is_second:  # with the same number of a descriptor as the probes that have ended
        checking.begin(probing(closed_port()))
        checking.configure(None)
    begun = time.monotonic()
    drop = "table inet dropping { chain input { type filter hook input priority 0\n tcp dport"
    namespace.nft(f"{drop} {port_of(application)} drop\n }}\n }}")
    checking.begin(probing(port_of(application), interval=20, timeout=20))
    assert ("1\n", "") == checking.said
    namespace.run("nft", "flush", "ruleset")
    checking.until_told("check.passed")
    assert ("0\n", "") == checking.said
    assert time.monotonic() - begun < 10


def test_the_reason_for_people_follows(checking: Checking, namespace: NetworkNamespace) -> None:
    """Refused is no longer so when nothing answers at all."""
    port = closed_port()
    checking.begin(probing(port))
    namespace.ip("link", "set", "lo", "down")  # and with it the route to 127.0.0.1
    checking.until(lambda: "refused" not in checking.said[1])
    assert checking.said[1].startswith(f"cannot reach port {port} of 127.0.0.1: ")
    assert ["check.failed"] == checking.events


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param((), "1\n", id="nothing runs"),
        pytest.param((VrrpState.INIT, VrrpState.STOP), "1\n", id="nothing serves"),
        pytest.param((VrrpState.FAULT,), "1\n", id="not fit"),
        pytest.param((VrrpState.FAULT, VrrpState.BACKUP), "0\n", id="backup, one is held"),
        pytest.param((VrrpState.MASTER,), "0\n", id="master"),
    ],
)
def test_what_was_found_so_far_holds_until_the_first_answer(
    checking: Checking, states: tuple[VrrpState, ...], expected: str
) -> None:
    """A reload that brings probes costs no address; a start gives none before its time."""
    entries = [
        InstanceState(instance=instance(number), state=state)
        for number, state in enumerate(states, start=1)
    ]
    checking.probes.prepare(probing(9), InstanceStates(entries=tuple(entries)))
    assert expected == checking.track.read_text()


def test_without_probes_nothing_is_written(checking: Checking) -> None:
    """keepalived runs the check, or there is none."""
    checking.probes.prepare(None, InstanceStates())
    checking.configure(None)
    assert not checking.track.exists()
    assert checking.probes.resume_at is None
    checking.probes.resume(time.monotonic())
    checking.probes.readable()


def test_a_verdict_is_kept_over_a_reload(checking: Checking, application: socket.socket) -> None:
    """The file says what is known, whatever keepalived is doing; another port is asked at once."""
    wanted = probing(port_of(application))
    checking.begin(wanted)
    deadline = checking.probes.resume_at
    checking.probes.prepare(wanted, InstanceStates())
    assert "0\n" == checking.track.read_text()
    checking.configure(wanted)
    assert deadline == checking.probes.resume_at
    checking.configure(replace(wanted, name="chk_y", watch=0.2))  # its rounds go on as they were
    assert deadline == checking.probes.resume_at
    checking.configure(probing(closed_port()))
    assert "1\n" == checking.track.read_text()
    checking.probes.prepare(wanted, InstanceStates())
    assert "1\n" == checking.track.read_text()


def test_an_end_leaves_nothing_behind(checking: Checking) -> None:
    """No descriptor, no deadline, and no reason that nobody keeps up any more."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough
    checking.begin(probing(closed_port()))
    checking.configure(None)
    assert before == len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as above
    assert checking.probes.resume_at is None
    assert not checking.reason.exists()


# --- faults of the machine ----------------------------------------------------------------------


def test_a_track_file_that_cannot_be_made_is_an_error(checking: Checking) -> None:
    """Before keepalived reads of it: the candidate is refused, and says why."""
    checking.track.mkdir()
    with pytest.raises(SystemRefusedError, match=os.strerror(errno.EISDIR)):
        checking.probes.prepare(probing(9), InstanceStates())


def test_a_track_file_that_cannot_be_written_is_told_and_tried_again(
    checking: Checking, application: socket.socket
) -> None:
    """Until it says what was found."""
    checking.begin(probing(port_of(application)))
    checking.track.unlink()
    checking.track.mkdir()
    application.close()
    checking.until_told("check.unwritten")
    assert "check.failed" in checking.events
    checking.track.rmdir()
    checking.until(checking.track.exists)
    assert "1\n" == checking.track.read_text()
    assert 1 == checking.events.count("check.unwritten")


def test_want_of_descriptors_is_told_and_changes_no_verdict(
    checking: Checking, application: socket.socket
) -> None:
    """It says nothing about the port."""
    checking.begin(probing(port_of(application)))
    with no_descriptors():
        checking.until_told("check.inconclusive")
    assert ("0\n", "") == checking.said
    assert ["check.passed", "check.inconclusive"] == checking.events


def test_a_reason_that_cannot_be_written_changes_nothing(checking: Checking) -> None:
    """It is for people only."""
    checking.reason.mkdir()
    checking.begin(probing(closed_port()))
    assert "1\n" == checking.track.read_text()
    assert ["check.failed"] == checking.events


# --- the whole agent ----------------------------------------------------------------------------


def reading_file(world: World, **variables: str) -> AgentProcess:
    world.write(VIRTUAL_IPS="10.0.0.101", **variables)
    return world.running(reads_file=True)


def test_a_whole_agent_probes_and_says_what_it_found(world: World) -> None:
    """Verdicts reach the track file within an interval; a reload changes what is probed."""
    track, reason = world.run_directory / "check.track", world.run_directory / "check.reason"
    with world.namespace.entered(), socket.create_server(("10.0.0.1", 8080)):
        agent = reading_file(world, MONITOR_PORT="8080", CHECK_INTERVAL="0.1")
        assert "0\n" == track.read_text()
        assert agent.log.index("event=check.passed") < agent.log.index("event=keepalived.started")
    agent.wait_for(lambda: track.read_text() == "1\n")
    agent.wait_for(reason.exists)  # keepalived's file comes first
    assert "port 8080 of 10.0.0.1: refused" in reason.read_text()
    with world.namespace.entered(), socket.create_server(("10.0.0.1", 9090)):
        world.write(VIRTUAL_IPS="10.0.0.101", MONITOR_PORT="9090", CHECK_INTERVAL="0.2")
        agent.reload()
        assert "accepted" == agent.wait_for_reloads(1)["verdict"]
        agent.wait_for(lambda: track.read_text() == "0\n")
    script = {"CHECK_INTERVAL": "1", "CHECK_WATCH": "0"}
    world.write(VIRTUAL_IPS="10.0.0.101", MONITOR_PORT="9090", **script)
    agent.reload()
    agent.wait_for_reloads(2)
    assert not reason.exists()
    assert "vrrp_script" in world.keepalived_conf.read_text()
    assert 0 == agent.stop()


def test_another_interval_alone_is_a_change(world: World) -> None:
    """keepalived.conf says it in a comment: whoever reloads is told that it was taken."""
    agent = reading_file(world, MONITOR_PORT="8080", CHECK_INTERVAL="0.5")
    world.write(VIRTUAL_IPS="10.0.0.101", MONITOR_PORT="8080", CHECK_INTERVAL="0.25")
    agent.reload()
    assert "accepted" == agent.wait_for_reloads(1)["verdict"]
    assert 0 == agent.stop()
