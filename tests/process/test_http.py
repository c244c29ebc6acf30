"""The agent's HTTP over real sockets, with a keepalived that obeys a script."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import http_client
from tests.support.agent_process import SHORT, AgentProcess, World
from tests.support.http_client import Answer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("inside")]

PORT = 63000
NAMES = [f"OpenShift_IPFailover_VIP_{each}" for each in (1, 2, 3)]
HELD = ["10.0.0.101/32", "veth0", "veth0:vip"]
ONE_MASTER = {
    "transitions": [
        f'INSTANCE "{NAMES[0]}" MASTER 200',
        *(f'INSTANCE "{each}" BACKUP 100' for each in NAMES[1:]),
    ],
    "holds": [HELD],
}


def listening(world: World, **options: object) -> AgentProcess:
    """Start an agent that listens, and wait until it does."""
    agent = world.start(listen=f"127.0.0.1:{PORT}", policy=SHORT, **options)  # type: ignore[arg-type]
    agent.wait_for(lambda: "status.listening" in agent.log)
    return agent


@pytest.fixture
def inside(world: World) -> Iterator[None]:
    """Live where the agent lives."""
    with world.namespace.entered():
        yield


def wait_for_answer(agent: AgentProcess, path: str, status: int) -> Answer:
    """Ask until the answer has that status."""
    found: list[Answer] = []

    def has_come() -> bool:
        found.append(http_client.get(PORT, path))
        return found[-1].status == status

    agent.wait_for(has_come)
    return found[-1]


def test_a_node_that_does_its_part_is_ready(world: World) -> None:
    """One address is held, by keepalived's word and by the kernel's; the others stand by."""
    world.fake.plays(ONE_MASTER)
    agent = listening(world)
    assert "ready\n" == wait_for_answer(agent, "/readyz", 200).text
    assert "live\n" == http_client.get(PORT, "/livez").text
    shown = http_client.get(PORT, "/status")
    assert "application/json" == shown.headers["content-type"]
    data = json.loads(shown.body)
    assert ["MASTER", "BACKUP", "BACKUP"] == [each["state"] for each in data["instances"]]
    assert {"address": f"127.0.0.1:{PORT}", "active": True, "reason": ""} == data["listen"]
    agent.wait_for(lambda: agent.status["listen"]["active"])
    assert 0 == agent.stop()


def test_an_address_that_the_kernel_lacks_makes_the_node_unready(world: World) -> None:
    """What keepalived says is not enough; and one that a BACKUP has left is too much."""
    world.fake.plays({**ONE_MASTER, "holds": []})
    agent = listening(world)
    text = f"{NAMES[0]}: MASTER, and 10.0.0.101 is not on the interface"
    agent.wait_for(lambda: text in http_client.get(PORT, "/readyz").text)
    world.namespace.ip("address", "add", "10.0.0.102/32", "dev", "veth0")
    try:
        text = f"{NAMES[1]}: in BACKUP, and 10.0.0.102 is on the interface"
        agent.wait_for(lambda: text in http_client.get(PORT, "/readyz").text)
    finally:
        world.namespace.ip("address", "del", "10.0.0.102/32", "dev", "veth0")
    assert 503 == http_client.get(PORT, "/readyz").status


def test_a_node_that_waits_is_alive_and_not_ready(world: World) -> None:
    """And says what it waits for."""
    environment = {"OPENSHIFT_HA_NETWORK_INTERFACE": "gone0"}
    agent = listening(world, environment=environment)
    assert 200 == http_client.get(PORT, "/livez?config=anything").status
    agent.wait_for(lambda: "gone0" in http_client.get(PORT, "/readyz").text)
    assert 503 == http_client.get(PORT, "/readyz").status


def test_a_probe_for_another_deployment_fails(world: World) -> None:
    """It would otherwise be told of the wrong pod."""
    world.fake.plays(ONE_MASTER)
    agent = listening(world)
    wait_for_answer(agent, "/readyz?config=OpenShift-IPFailover", 200)
    for path in ("/livez", "/readyz"):
        answer = http_client.get(PORT, f"{path}?config=other")
        assert (503, True) == (answer.status, "'other'" in answer.text)


def test_a_loop_that_stands_still_fails_liveness(world: World) -> None:
    """The thread goes on answering while the loop hangs, until the watchdog ends the agent."""
    agent = listening(world, hangs_on_reload=True)
    agent.wait_for_phase("running")
    assert 200 == http_client.get(PORT, "/livez").status
    agent.reload()
    agent.wait_for(lambda: http_client.get(PORT, "/livez").status == 503, timeout=25)
    assert "standing still" in http_client.get(PORT, "/livez").text
    for path in ("/readyz", "/status"):
        answer = http_client.get(PORT, path)
        assert (503, True) == (answer.status, answer.text.startswith("stale"))
    assert 1 == agent.ends(40)


def test_a_taken_port_is_a_warning_and_tried_again(world: World) -> None:
    """Addresses come first; the status says it, and the port is taken when it is free."""
    with socket.create_server(("127.0.0.1", PORT)):
        agent = world.start(listen=f"127.0.0.1:{PORT}", policy=SHORT)
        agent.wait_for_phase("running")
        agent.wait_for(lambda: agent.status["listen"]["reason"] == "Address already in use")
        assert 1 == agent.log.count("status.unavailable")
    agent.wait_for(lambda: "status.listening" in agent.log, timeout=15)
    assert 200 == http_client.get(PORT, "/livez").status
    assert 0 == agent.stop()


def test_nothing_listens_when_it_is_off(world: World) -> None:
    """No port, and no thread but the loop's and the one that watches it."""
    agent = world.start(environment={"IPFAILOVER_LISTEN": "off"})
    agent.wait_for_phase("running")
    assert agent.status["listen"] is None
    with pytest.raises(ConnectionRefusedError):
        http_client.get(PORT)
    assert 2 == len(list(Path(f"/proc/{agent.pid}/task").iterdir()))
    assert 0 == agent.stop()


def test_an_address_that_cannot_be_is_refused_at_the_start(world: World) -> None:
    """With the variable's name, and before anything else is done."""
    agent = world.start(environment={"IPFAILOVER_LISTEN": "localhost:63000"})
    assert 78 == agent.ends()
    assert "IPFAILOVER_LISTEN: 'localhost:63000'" in agent.log
    assert [] == world.fake.journal("start")


@pytest.mark.timing
def test_slow_and_silent_clients_cost_nothing_that_matters(world: World) -> None:
    """200 that say nothing and one that says a letter a second: leases are renewed on time."""
    world.fake.plays(ONE_MASTER)
    agent = listening(world)
    wait_for_answer(agent, "/readyz", 200)
    until = time.monotonic() + 6
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", PORT), 5))
            for _ in range(200)
        ]
        slow = stack.enter_context(socket.create_connection(("127.0.0.1", PORT), 5))
        letters = iter(b"GET /livez HTTP/1.1\r\nX-Slow: " + b"a" * 100)
        answers = []

        def asked_for_a_while() -> bool:
            with contextlib.suppress(OSError):
                slow.send(bytes([next(letters)]))
            answers.append(http_client.get(PORT, "/readyz").status)
            time.sleep(0.1)
            return time.monotonic() >= until

        wait_until(asked_for_a_while, 30, "it never ends")
        assert {200} == set(answers)
        assert any(each.recv(1) == b"" for each in silent)
        assert b"" == http_client.read_all(slow)
    data = json.loads(http_client.get(PORT, "/status").body)
    assert data["lease"]["worst_lateness"] < 0.1
    assert "lease.l" not in agent.log
    assert "loop.late" not in agent.log
    assert 0 == agent.stop()
    assert signal.SIGTERM.name in agent.log
